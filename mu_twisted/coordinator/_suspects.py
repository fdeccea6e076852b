"""Suspects are the jobs whose code has ended the coordinator: counted over its starts, so that none does it for ever.

Knows what the guard has left of the process before, and neither pipelines nor records.
"""

from pathlib import Path

import msgspec
from twisted.logger import Logger

from mu_twisted.pipelines import LastEnd

HELD_AFTER = 2
"""Ends of the process in a row, amid its code, after which a job is held."""


class _Suspect(msgspec.Struct, frozen=True):
    ends: int
    task: int | None
    how: str


class Suspects:
    """The ends of the process that are counted against jobs.

    :param path: of the file that keeps it; None: nothing is kept.
    """

    _log = Logger()

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, _Suspect] = {}
        if path is not None:
            try:
                self._known = msgspec.json.decode(path.read_bytes(), type=dict[str, _Suspect])
            except FileNotFoundError:
                pass
            except (OSError, msgspec.MsgspecError) as error:
                self._log.warn(
                    "{path} cannot be read, no job is held for what it says: {error}", path=path, error=error
                )

    def count(self, end: LastEnd | None) -> None:
        """Hold the end of the process before against its job. Where it ended otherwise, those before were not in a row.

        An end that may have come by chance, as by ``kill -9``, counts again only where the same task was under way: a
        job whose code runs half of the time would be held for the kills of others otherwise.
        """
        if end is None:
            self._keep({job: known for job, known in self._known.items() if known.ends >= HELD_AFTER})
            return
        if not end.job:
            self._log.error("the coordinator has ended amid a pipeline's code: {how}", how=end.how)
            return
        before = self._known.get(end.job)
        again = before is not None and (end.certain or before.task == end.task)
        ends = before.ends + 1 if before is not None and again else 1
        where = end.job if end.task is None else f"{end.job}, task {end.task}"
        text = "the coordinator has ended amid the code of job {where}: {how}"
        self._log.error(text, where=where, how=end.how, job=end.job, task=end.task)
        self._keep({**self._known, end.job: _Suspect(ends, end.task, end.how)})

    def why_held(self, job: str) -> str | None:
        """Why a job is not to run, one line; None: it may."""
        known = self._known.get(job)
        if known is None or known.ends < HELD_AFTER:
            return None
        task = "its pipeline" if known.task is None else f"its task {known.task}"
        return f"its code has ended the coordinator {known.ends} times in a row, the last time in {task}: {known.how}"

    def forget(self, job: str) -> None:
        """It is to have another chance, or is gone."""
        if job in self._known:
            self._keep({name: known for name, known in self._known.items() if name != job})

    def _keep(self, known: dict[str, _Suspect]) -> None:
        if known == self._known:
            return
        self._known = known
        if self._path is None:
            return
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.encode(known))
            fresh.replace(self._path)
        except OSError as error:
            self._log.error("{path} cannot be written: {error}", path=self._path, error=error.strerror)
