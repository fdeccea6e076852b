"""What is told of a state directory's jobs where no coordinator runs: of their files alone, and of all records."""

import json
from pathlib import Path
from typing import Any

from mu_twisted.daemons.records import opened
from mu_twisted.storage import StoredJobs

Question = tuple[tuple[str, ...], dict[str, object]]


def stored(directory: Path, questions: list[Question]) -> list[Any]:
    """The answers of the files; None where they do not say."""
    jobs = StoredJobs(directory)
    answers = [jobs.answer(path, query) for path, query in questions]
    return [None if answer is None else json.loads(answer) for answer in answers]


def whole(directory: Path, questions: list[Question]) -> list[Any]:
    """The answers of all records; None where these are refused."""
    found = []
    with opened(directory, lambda: 9.0) as records:
        for path, query in questions:
            texts = {key: str(value) for key, value in query.items()}
            status, body = records.answer("GET", ("v1", *path), texts, b"")
            found.append(json.loads(body) if status == 200 else None)
    return found


def without_task_files(directory: Path) -> Path:
    """The directory, of whose jobs the records alone are left to tell."""
    for file in directory.glob("jobs/*/tasks.jsonl"):
        file.unlink()
    return directory
