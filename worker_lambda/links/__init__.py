"""Links carry named messages and pipes between the workers of one job, by the rendezvous or by direct paths.

Imported when a task first uses them. Knows connections and files, not the worker's other commands.
"""

from worker_lambda.links._channel import LinkChannel

__all__ = ["LinkChannel"]
