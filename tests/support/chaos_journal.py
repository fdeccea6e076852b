"""What the journal says of a job, read from beside the coordinator that writes it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Try = tuple[int, int]
"""A task and the number of an attempt at it."""


@dataclass
class Story:
    """A job so far.

    :ivar live: attempts under way, each with its worker's launch id.
    :ivar ended: how attempts ended: the record of each.
    :ivar results: how often each task's result was announced.
    :ivar costs: retries that each task has used up.
    :ivar begun: attempts at each task.
    :ivar stores: the tokens under which the rendezvous kept the job's messages.
    """

    live: dict[Try, str | None] = field(default_factory=dict)
    ended: dict[Try, dict[str, Any]] = field(default_factory=dict)
    results: dict[int, int] = field(default_factory=dict)
    costs: dict[int, int] = field(default_factory=dict)
    begun: dict[int, int] = field(default_factory=dict)
    stores: list[str] = field(default_factory=list)
    generation: int = -1
    attempts: int = 0
    reopened: int = 0
    launched: int = 0
    after_result: list[Try] = field(default_factory=list)
    finished: list[str | None] = field(default_factory=list)

    def on(self, launch_id: str) -> Try | None:
        """What the worker of this launch is at."""
        return next((attempt for attempt, by in self.live.items() if by == launch_id), None)

    def _tell(self, record: dict[str, Any]) -> None:
        attempt = (record.get("task", -1), record.get("attempt", -1))
        match record["type"]:
            case "started":
                self.generation = record["generation"]
            case "launched":
                self.launched += record["count"]
            case "assigned":
                self.attempts += 1
                self.begun[attempt[0]] = self.begun.get(attempt[0], 0) + 1
                self.live[attempt] = record["launch_id"]
                if attempt[0] in self.results and not self.reopened:
                    self.after_result.append(attempt)
            case "attempt-ended":
                assert attempt in self.live, f"attempt {attempt} ended, but was not under way"
                del self.live[attempt]
                self.ended[attempt] = record
                self.costs[attempt[0]] = self.costs.get(attempt[0], 0) + bool(record.get("costs"))
            case "result":
                self.results[attempt[0]] = self.results.get(attempt[0], 0) + 1
            case "reopened":
                self.reopened += len(record["tasks"])
            case "store":
                self.stores.append(record["store"])
            case "finished":
                self.finished.append(record["error"])


def read(state_dir: Path, job: str) -> Story:
    """The story of a job."""
    story = Story()
    for row in rows(state_dir, job):
        if "record" in row:
            story._tell({**row["record"], "at": row["at"]})
    return story


def rows(state_dir: Path, job: str) -> list[dict[str, Any]]:
    """The rows of a job."""
    with closing(sqlite3.connect(f"file:{state_dir / 'journal.db'}?mode=ro", uri=True, timeout=180)) as database:
        found = database.execute("SELECT record FROM events WHERE job = ? ORDER BY number", (job,)).fetchall()
    return [json.loads(text) for (text,) in found]
