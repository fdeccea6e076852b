"""``python -m mu_twisted.daemons.own_coordinator`` is the coordinator of one program, which has none to ask.

It is that of ``mu coordinator``, with the same options, and ends when its standard input does, once no job runs.
"""

import sys

from mu_twisted.daemons.coordinator import Options, makeService
from mu_twisted.daemons.foreground import options_for, run_in_foreground


def main() -> None:
    """Run it."""
    kind = type("OwnOptions", (options_for("mu coordinator", Options),), {"stop_on_eof": True})
    run_in_foreground("mu-coordinator", kind, makeService, sys.argv[1:])


if __name__ == "__main__":
    main()
