"""Launches are measured against a TLS endpoint on this machine: a client's CPU and wall time, beside boto3's and C's.

Each client is a fresh process, measured from its first launch to its last answer: imports and the making of boto3's
client are left out, connecting is not. The endpoint is a process of its own that reads a request and says 202. The
reference in C (launch.c) sends the same requests, signed by the launcher's own code, over OpenSSL and epoll alone.
"""

import json
import resource
import selectors
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench._figure import Figure, median_of, ratio_of

SIZES = (100, 1000, 4000)
TARGETS = {1000: 0.08, 4000: 0.05}
"""CPU, as a share of boto3's."""
REFERENCE_TARGETS = {1000: 0.05, 4000: 0.035}
"""The same of the reference: where it needs more, the reference is at fault."""
OVER_REFERENCE = 1.3
ROUNDS = 5
THREADS = 64
CONNECTIONS = 8
"""Of the reference; with more it takes more."""
WHY_OVER_REFERENCE = "beyond the reference: 3 us a launch of policy, values and outcomes in Python"
PAYLOAD = json.dumps({"id": "##ID##", "cert": "x" * 3000})
"""About as large as the coordinator's event."""

Times = list[tuple[float, float]]
"""CPU and wall time of each round, seconds."""

_ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"


def run() -> list[Figure]:
    """All figures; takes about half a minute."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        certificate = Path(directory) / "endpoint.pem"
        _make_certificate(certificate)
        with _endpoint(certificate) as url:
            reference = _compile(Path(directory))
            for size in SIZES:
                figures += _figures(size, *_rounds(size, url, certificate, reference))
    return figures


def _figures(size: int, ours: Times, boto3: Times, raw: Times) -> list[Figure]:
    def cpu(of: Times) -> list[float]:
        return [one[0] * 1e3 for one in of]

    def wall(of: Times) -> list[float]:
        return [one[1] * 1e3 for one in of]

    name = f"launch, N={size}:"
    fresh = "fresh processes, imports left out, response payloads read"
    return [
        median_of(f"{name} client CPU", cpu(ours), "ms"),
        median_of(f"{name} client CPU of boto3 in {THREADS} threads", cpu(boto3), "ms"),
        median_of(f"{name} wall", wall(ours), "ms"),
        median_of(f"{name} wall of boto3 in {THREADS} threads", wall(boto3), "ms"),
        ratio_of(f"{name} client CPU over boto3's", cpu(ours), cpu(boto3), TARGETS.get(size), fresh),
        ratio_of(
            f"{name} CPU of the reference in C over boto3's",
            cpu(raw),
            cpu(boto3),
            REFERENCE_TARGETS.get(size),
            f"{CONNECTIONS} connections, sessions resumed",
        ),
        ratio_of(
            f"{name} client CPU over the reference's in C",
            cpu(ours),
            cpu(raw),
            OVER_REFERENCE if size in TARGETS else None,
            WHY_OVER_REFERENCE,
        ),
    ]


def _rounds(size: int, url: str, ca_bundle: Path, reference: Path) -> list[Times]:
    """Ours, boto3's and the reference's, measured in turn."""
    raw = [str(reference), url.rpartition(":")[2], str(ca_bundle), str(size), str(CONNECTIONS), PAYLOAD]
    clients = [
        [sys.executable, "-m", "bench.launch", name, str(size), url, str(ca_bundle)] for name in ("ours", "boto3")
    ]
    rounds = [[_measure(command, size) for command in (*clients, raw)] for _ in range(ROUNDS)]
    return [list(times) for times in zip(*rounds, strict=True)]


def _compile(work: Path) -> Path:
    here = Path(__file__).resolve().parent
    sources = [here / "launch.c", here.parent / "launch" / "request.c", here.parent / "launch" / "sigv4.c"]
    command = ["cc", "-std=gnu11", "-O2", "-o", str(work / "launch"), *map(str, sources), "-lssl", "-lcrypto"]
    subprocess.run(command, check=True)
    return work / "launch"


def _measure(command: list[str], size: int) -> tuple[float, float]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
    cpu, wall, accepted = json.loads(done.stdout)
    if accepted != size:
        raise RuntimeError(f"{command[:4]}: {accepted} of {size} launches were accepted")
    return cpu, wall


# -- the clients ---------------------------------------------------------------------------------------------------


def _ours(size: int, url: str, ca_bundle: str) -> tuple[float, float, int]:
    from mu_twisted.launch import LaunchPolicy, launchpar

    policy = LaunchPolicy(burst=size, rate=size)
    begin = _now()
    outcomes = launchpar(
        size, "worker", "AKID", "secret", PAYLOAD, ["us-east-1"], endpoint_url=url, ca_bundle=ca_bundle, policy=policy
    )
    return *_since(begin), sum(outcome.accepted for outcome in outcomes)


def _boto3(size: int, url: str, ca_bundle: str) -> tuple[float, float, int]:
    from concurrent.futures import ThreadPoolExecutor

    import boto3
    from botocore.config import Config

    client = boto3.client(
        "lambda",
        region_name="us-east-1",
        endpoint_url=url,
        verify=ca_bundle,
        aws_access_key_id="AKID",
        aws_secret_access_key="secret",
        config=Config(max_pool_connections=THREADS, proxies={}),
    )

    def invoke(number: int) -> bool:
        payload = PAYLOAD.replace("##ID##", str(number))
        answer: Any = client.invoke(FunctionName="worker", InvocationType="Event", Payload=payload)
        answer["Payload"].read()
        return bool(answer["StatusCode"] == 202)

    begin = _now()
    with ThreadPoolExecutor(THREADS) as pool:
        accepted = sum(pool.map(invoke, range(size)))
    return *_since(begin), accepted


def _now() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, time.monotonic()


def _since(begin: tuple[float, float]) -> tuple[float, float]:
    cpu, wall = _now()
    return cpu - begin[0], wall - begin[1]


# -- the endpoint --------------------------------------------------------------------------------------------------


@contextmanager
def _endpoint(certificate: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "bench.launch", "endpoint", str(certificate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        try:
            assert process.stdout is not None
            yield f"https://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def _make_certificate(path: Path) -> None:
    from mu_twisted.tls import Authority

    authority = Authority.generate()
    pair = authority.issue(None, hosts=["127.0.0.1"], lifetime=timedelta(hours=1))
    path.write_bytes(pair.certificate + authority.certificate + pair.key)


class _Connection:
    """Answers each request with 202; non-blocking."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        self.shaken = False
        self.held = b""

    def readable(self) -> bool:
        """Go on; whether the connection is still there."""
        try:
            if not self.shaken:
                self.socket.do_handshake()
                self.shaken = True
            while data := self.socket.recv(65536):
                self.held += data
                self._answer()
        except ssl.SSLWantReadError:
            return True
        except OSError:
            pass
        self.socket.close()
        return False

    def _answer(self) -> None:
        while (end := self.held.find(b"\r\n\r\n")) >= 0:
            head = self.held[:end].lower()
            size = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self.held) < end + 4 + size:
                return
            self.held = self.held[end + 4 + size :]
            self.socket.send(_ANSWER)


def _serve(certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening, selectors.DefaultSelector() as selector:
        listening.setblocking(False)
        selector.register(listening, selectors.EVENT_READ)
        print(listening.getsockname()[1], flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listening:
                    connection = _Connection(listening.accept()[0], context)
                    selector.register(connection.socket, selectors.EVENT_READ, connection)
                elif not key.data.readable():
                    selector.unregister(key.fd)


def main(arguments: list[str]) -> None:
    """One of the processes."""
    match arguments:
        case ["endpoint", certificate]:
            _serve(certificate)
        case [client, size, url, ca_bundle]:
            clients = {"ours": _ours, "boto3": _boto3}
            print(json.dumps(clients[client](int(size), url, ca_bundle)))
        case _:
            raise SystemExit("usage: python -m bench launch")


if __name__ == "__main__":
    main(sys.argv[1:])
