"""Run in a network of its own: the address at which workers know the coordinator vanishes, and comes back.

Nothing that either side sends arrives then, and neither hears of it. Says on its last line what became of the job.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from chaos_journal import read
from chaos_stage import BUCKET, SHELL, Stage, until

ADDRESS = "10.77.0.1"
SKIP = 77


def ip(*words: str) -> int:
    return subprocess.run(["ip", *words], check=False).returncode


def main() -> int:
    if ip("link", "set", "lo", "up") or ip("address", "add", f"{ADDRESS}/32", "dev", "lo"):
        return SKIP
    stage = Stage(Path(sys.argv[1]), "--host-addr", ADDRESS)
    try:
        stage.open()
        words = ["-n", "2", "-b", BUCKET, "-l", SHELL, "--", "sleep 3"]
        job = stage.api.post("jobs", body={"pipeline": "exec", "words": words, "source": None})["job"]
        until(lambda: len(read(stage.state_dir, job).live) == 2, "two workers are at work")
        ip("address", "del", f"{ADDRESS}/32", "dev", "lo")
        until(lambda: len(read(stage.state_dir, job).ended) == 2, "both are given up", 120.0, 0.5)
        ip("address", "add", f"{ADDRESS}/32", "dev", "lo")
        kinds = [record["kind"] for record in read(stage.state_dir, job).ended.values()]
        until(lambda: (stage.job(job) or {}).get("state") != "running", "the job is over", 90.0, 0.2)
        story = read(stage.state_dir, job)
        fact = stage.job(job) or {}
        sys.stdout.write(json.dumps({"kinds": kinds, "state": fact["state"], "attempts": story.attempts}) + "\n")
    finally:
        stage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
