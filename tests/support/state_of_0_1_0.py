"""Makes a state directory as version 0.1.0 left it, and functions of that version's worker.

``tests/upgrade/state-0.1.0`` is what the daemons of 0.1.0 wrote while they ran these jobs on an embedded stack, until
both were killed: the journal as SQL, the files of attempts unpacked. ``@PORT@`` stands for the rendezvous's port. The
CA and its key are not part of it. The jobs ``exec-0000000N`` have no files: 0.1.0's decisions for workers and launches
that behave at random, so that each kind of record is there. ``worker-0.1.0.zip`` is a function's package of then.
"""

import gzip
import io
import sqlite3
import zipfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

UPGRADE = Path(__file__).resolve().parents[1] / "upgrade"

DONE = "exec-9ee8d73a"
FAILED = "exec-a7531efd"
CANCELLED = "exec-8187bf0d"
REPORTED = "linpack-35f7ed68"
WITH_MESSAGES = "xcenc-335abc5e"
RUNNING = "exec-ac65a049"
"""Tasks 0 and 1 are done, 2 and 3 were active; each stores its number under ``running/``."""
RUNNING_WITH_MESSAGES = "xcenc-6dab61a2"
"""Tasks 0 to 2 are done, 3 was active; the messages are gone with the rendezvous."""
BUCKET, SHELL, XCENC = "chaos", "shell", "xcenc"
"""What the jobs' options name."""


def write_state(directory: Path, port: int = 13580) -> None:
    """Write journal and files of jobs.

    :param directory: exists; the state directory.
    :param port: of the rendezvous that the jobs are to find.
    """
    source = UPGRADE / "state-0.1.0"
    journal = directory / "journal.db"
    journal.touch(mode=0o600)
    with closing(sqlite3.connect(journal)) as database:
        database.executescript((source / "journal.sql").read_text().replace("@PORT@", str(port)))
    for path in (source / "jobs").glob("*/*.jsonl"):
        target = directory / path.relative_to(source)
        target.parent.mkdir(parents=True, mode=0o700)
        with gzip.open(f"{target}.gz", "wb") as file:
            file.write(path.read_bytes())


def worker_package(programs: Iterable[Path] = ()) -> bytes:
    """A function's package of then, with these programs beside the worker's files."""
    package = io.BytesIO((UPGRADE / "worker-0.1.0.zip").read_bytes())
    with zipfile.ZipFile(package, "a", zipfile.ZIP_DEFLATED) as archive:
        for program in programs:
            archive.write(program, program.name)
    return package.getvalue()
