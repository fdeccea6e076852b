"""This module keeps which tasks are held, as the store of their messages is out of reach, and why.

A store has shards; a task exchanges its messages over one of them. Knows no rendezvous: the reasons come from outside.
"""

from collections.abc import Callable, Container

SHOWN = 2
"""Reasons that are named; the rest are counted."""


class Holds:
    """The shards that are out of reach.

    :param needs: whether a task exchanges messages at all.
    :ivar since: when the first of those that are out of reach now went; None: none is.
    """

    def __init__(self, needs: Callable[[int], bool]) -> None:
        self._needs = needs
        self._away: dict[int, tuple[str, Container[int] | None]] = {}
        self.since: float | None = None

    def __bool__(self) -> bool:
        return bool(self._away)

    def add(self, shard: int, why: str, tasks: Container[int] | None, now: float) -> bool:
        """A shard is out of reach, or still is for another reason.

        :param tasks: whose messages it keeps; None: those of all.
        :returns: whether other tasks may be held than before.
        """
        changed = shard not in self._away or self._away[shard][1] != tasks
        self._away[shard] = (why, tasks)
        if self.since is None:
            self.since = now
        return changed

    def remove(self, shard: int) -> bool:
        """A shard is within reach; whether it was not before."""
        found = self._away.pop(shard, None) is not None
        if not self._away:
            self.since = None
        return found

    def cover(self, task: int) -> bool:
        """Whether the task is to be held."""
        if not self._away or not self._needs(task):
            return False
        for _, tasks in self._away.values():  # noqa: SIM110 - any() costs more, and there are many tasks to ask for
            if tasks is None or task in tasks:
                return True
        return False

    def explanation(self, held: int) -> str | None:
        """One line for the user; None where nothing is out of reach.

        :param held: how many tasks wait for it.
        """
        if not self._away:
            return None
        reasons = list(dict.fromkeys(why for _, (why, _) in sorted(self._away.items())))
        text = "; ".join(reasons[:SHOWN])
        if len(reasons) > SHOWN:
            text += f"; and {len(reasons) - SHOWN} more"
        one = len(reasons) == 1
        if held:
            tasks = "1 task that needs" if held == 1 else f"{held} tasks that need"
            is_held = "is" if held == 1 else "are"
            text += f": {tasks} {'it' if one else 'them'} {is_held} held until {'it is' if one else 'they are'} back"
        return text
