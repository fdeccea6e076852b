"""The local stack is measured: how soon it answers, how soon environments poll, what a warm one costs.

On a state directory of its own, under the temporary directory; a stack that already runs is not touched.
"""

import base64
import json
import re
import statistics
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from bench._figure import Figure
from mu_twisted.local import RunningStack, start

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

ENVIRONMENTS = 100
WARM = 200
_HANDLER = "import time\ndef handler(event, context):\n    time.sleep(event.get('for', 0))\n    return time.time()\n"
_ROLE = "arn:aws:iam::000000000000:role/any"


def run() -> list[Figure]:
    """All figures; takes about a quarter of a minute."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        state = Path(directory) / "state"
        stack = start(state, options=["--s3=auto"])
        try:
            figures = _starts((state / "local.log").read_text())
            client = _client(stack)
            try:
                figures += _polls(client, stack.pid)
                figures.append(_warm(client))
            finally:
                client.close()
        finally:
            stack.stop()
    return figures


def _starts(log: str) -> list[Figure]:
    """What the stack itself says, from its service's start: Lambda and S3 are started together."""
    found = dict(re.findall(r"(Lambda|S3)(?: \(\w+\))? answers at \S+ after ([\d.]+) s", log))
    return [
        Figure("local stack: Lambda endpoint ready", float(found["Lambda"]), "s", 2.0),
        Figure("local stack: S3 ready, started beside it", float(found["S3"]), "s", 10.0),
    ]


def _client(stack: RunningStack) -> "LambdaClient":
    session = boto3.Session(
        aws_access_key_id=stack.stack.access_key,
        aws_secret_access_key=stack.stack.secret_key,
        region_name=stack.stack.region,
    )
    config = Config(retries={"max_attempts": 0}, max_pool_connections=ENVIRONMENTS, proxies={})
    client = session.client("lambda", endpoint_url=stack.stack.lambda_endpoint, config=config)
    package = BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("m.py", _HANDLER)
    client.create_function(
        FunctionName="f",
        Runtime="python3.12",
        Role=_ROLE,
        Handler="m.handler",
        Timeout=60,
        Code={"ZipFile": package.getvalue()},
    )
    return client


def _invoke(client: "LambdaClient", seconds: float = 0.0) -> float:
    """When the handler was done, by its own clock, which is ours."""
    answer = client.invoke(FunctionName="f", Payload=json.dumps({"for": seconds}), LogType="Tail")
    with answer["Payload"] as body:
        done = json.loads(body.read())
    if "FunctionError" in answer:
        raise RuntimeError(base64.b64decode(answer["LogResult"]).decode())
    return float(done)


def _polls(client: "LambdaClient", pid: int) -> list[Figure]:
    """So many environments at once, all cold; each is busy until the last has polled."""
    _invoke(client)
    before = _memory(pid)
    hold = 4.0
    with ThreadPoolExecutor(ENVIRONMENTS) as threads:
        began = time.time()
        calls = [threads.submit(_invoke, client, hold) for _ in range(ENVIRONMENTS)]
        time.sleep(max(0.0, began + hold - 0.5 - time.time()))
        held = _memory(pid)
        # A handler starts as soon as its environment has polled.
        seconds = max(call.result() for call in calls) - hold - began
    more = ENVIRONMENTS - 1
    return [
        Figure(
            f"local stack: {ENVIRONMENTS} environments have polled",
            seconds,
            "s",
            2.0,
            "from the first of boto3's calls, one of them warm; its own work is within",
        ),
        Figure("local stack: memory per environment", (held - before) / more / 1e6, "MB", None, "PSS, whole stack"),
    ]


def _warm(client: "LambdaClient") -> Figure:
    times = []
    for _ in range(WARM):
        began = time.perf_counter()
        _invoke(client)
        times.append(time.perf_counter() - began)
    return Figure("local stack: warm invoke, boto3's part within", statistics.median(times) * 1e3, "ms")


def _memory(pid: int) -> int:
    """Proportional set size of a process and all below it, in bytes."""
    total = 0
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            rollup = Path(f"/proc/{current}/smaps_rollup").read_text()
            for thread in Path(f"/proc/{current}/task").iterdir():
                waiting += [int(child) for child in (thread / "children").read_text().split()]
        except OSError:
            continue
        found = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total


if __name__ == "__main__":
    for figure in run():
        print(figure)
