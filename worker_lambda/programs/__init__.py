"""Programs are what commands start: they are watched and ended here, beside the control connection.

What every worker has is imported here. The modules that are named without an underscore cost, and are imported where
they are wanted.
"""

from worker_lambda.programs._command_runs import CommandRuns

__all__ = ["CommandRuns"]
