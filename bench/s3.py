"""The worker's S3 client is measured beside boto3: objects and files of two sizes, against the embedded S3.

Each client is a process of its own. Its first transfer counts from before the client is imported until the file or the
object is there, as a new worker pays for it; the later ones are warm. boto3 does it as its users do, by
``download_file`` and ``upload_file``, which take several connections for large ones.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench._figure import Figure

SIZES = {"100 KB": 100_000, "50 MB": 50_000_000}
WARM = {"100 KB": 40, "50 MB": 3}
FRESH = 3
"""Processes of each kind; the medians count."""
TARGETS = {("fresh", "100 KB"): 0.5, ("fresh", "50 MB"): 1.0, ("warm", "100 KB"): 1.0, ("warm", "50 MB"): 1.5}
"""Our time at most, as a share of boto3's, which stores large files over ten connections where we take one."""

_BUCKET = "bench"
_CLIENTS = ("ours", "boto3")
_VERBS = ("get", "put")


def run() -> list[Figure]:
    """All figures; takes about two thirds of a minute."""
    from mu_twisted.local import start

    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        stack = start(work / "state", options=["--s3=auto"])
        try:
            # Both clients reach loopback directly, whatever proxy this machine has.
            environment = {**os.environ, **stack.stack.environment(), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
            _make_objects(work, stack.stack.environment())
            return [figure for size in SIZES for verb in _VERBS for figure in _figures(work, environment, verb, size)]
        finally:
            stack.stop()


def _make_objects(work: Path, variables: dict[str, str]) -> None:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        config=Config(proxies={}),
        endpoint_url=variables["AWS_ENDPOINT_URL_S3"],
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )
    client.create_bucket(Bucket=_BUCKET)
    for name, size in SIZES.items():
        (work / name).write_bytes(os.urandom(size))
        client.upload_file(str(work / name), _BUCKET, name)
    client.close()


def _figures(work: Path, environment: dict[str, str], verb: str, size: str) -> list[Figure]:
    """In turn, so that what else the machine does falls on both."""
    runs: dict[str, list[dict[str, float]]] = {client: [] for client in _CLIENTS}
    for _ in range(FRESH):
        for client in _CLIENTS:
            command = [sys.executable, "-m", "bench.s3", client, verb, size, str(work)]
            done = subprocess.run(
                command,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parent.parent,
                env=environment,
            )
            runs[client].append(json.loads(done.stdout))
    figures = []
    for kind in ("fresh", "warm"):
        ours, theirs = (statistics.median(each[kind] for each in runs[client]) for client in _CLIENTS)
        name = f"S3 {verb} of {size}, {kind}"
        figures += [
            Figure(name, ours * 1e3, "ms"),
            Figure(f"{name}, boto3", theirs * 1e3, "ms"),
            Figure(f"{name}: over boto3's", ours / theirs, "times", TARGETS[kind, size]),
        ]
    return figures


# -- the clients ---------------------------------------------------------------------------------------------------


def _ours(verb: str) -> Callable[[str, str], None]:
    from worker_lambda.s3 import S3

    client = S3(os.environ["AWS_REGION"])
    move = client.get if verb == "get" else client.put

    def once(key: str, path: str) -> None:
        move(_BUCKET, key.encode(), path, lambda: False)

    return once


def _boto3(verb: str) -> Callable[[str, str], None]:
    import boto3

    client = boto3.client("s3")

    def once(key: str, path: str) -> None:
        if verb == "get":
            client.download_file(_BUCKET, key, path)
        else:
            client.upload_file(path, _BUCKET, key)

    return once


def measure(client: str, verb: str, size: str, work: Path) -> dict[str, float]:
    """Seconds of the first transfer, and the median of the later ones."""
    key, path = (size, work / "out") if verb == "get" else ("in", work / size)
    began = time.perf_counter()
    once = {"ours": _ours, "boto3": _boto3}[client](verb)
    once(key, str(path))
    fresh = time.perf_counter() - began
    times = []
    for _ in range(WARM[size]):
        began = time.perf_counter()
        once(key, str(path))
        times.append(time.perf_counter() - began)
    if verb == "get" and path.stat().st_size != SIZES[size]:
        raise RuntimeError(f"{client} fetched {path.stat().st_size} of {SIZES[size]} bytes")
    return {"fresh": fresh, "warm": statistics.median(times)}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        name, verb, size, work = sys.argv[1:]
        print(json.dumps(measure(name, verb, size, Path(work))))
    else:
        for each in run():
            print(each)
