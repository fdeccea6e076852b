"""The start: nothing heavy is imported, since it is part of every burst."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = {
    *("boto3", "botocore", "asyncio", "twisted", "urllib3", "requests", "cryptography", "OpenSSL", "http", "email"),
    "hashlib",
}


def test_nothing_heavy_is_imported() -> None:
    script = "import json, sys, worker_lambda.lambda_function; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    loaded = {name.split(".")[0] for name in json.loads(out)}
    assert loaded & HEAVY == set()
    own = {name for name in json.loads(out) if name.startswith("mu_twisted")}
    assert all(name == "mu_twisted" or name.startswith("mu_twisted.wire") for name in own)
