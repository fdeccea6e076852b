"""A log event becomes one line of JSON here, for what collects the logs of many processes. Writes nothing itself."""

import json
from datetime import UTC, datetime

from twisted.logger import LogEvent, eventAsText

from mu_twisted.base.json_types import JsonObject

LABELS = ("job", "task", "attempt", "worker")
"""Fields of events that are members of their own; tasks, attempts and workers are numbers."""


def json_line(event: LogEvent) -> str:
    """The event as an object on one line: time (ISO 8601, UTC), level, namespace, what it is about, text.

    Of a failure the text has the traceback.
    """
    when = datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line: JsonObject = {
        "time": when,
        "level": event["log_level"].name,
        "namespace": str(event.get("log_namespace") or "-"),
    }
    line.update({name: event[name] for name in LABELS if isinstance(event.get(name), str | int)})
    return json.dumps({**line, "text": eventAsText(event, includeTimestamp=False, includeSystem=False)})
