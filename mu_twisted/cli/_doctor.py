"""``mu doctor`` checks that all is there that a job needs."""

import argparse
import json
import os

from mu_twisted.aws.findings import Finding, Health
from mu_twisted.base import terminal_safe
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.cli._real_check import script
from mu_twisted.client import UsageError
from mu_twisted.daemons.doctor import Options, examine
from mu_twisted.daemons.foreground import options_for


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "doctor",
        help="look at all that a job needs: account, function, bucket, keys, network",
        add_help=False,
        prefix_chars="\0",  # its words are the coordinator's, which has its own parser
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, type=str)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Examine, and print each finding.

    :returns: exit status: 1 where something is broken.
    """
    settings = options_for("mu doctor", Options, options.configured)()
    try:
        settings.parseOptions(options.words)
    except SystemExit as error:
        if error.code == 0:
            return 0
        raise
    if settings["control"] is not None or settings["cpu-profile"] is not None:
        raise UsageError("--control and --cpu-profile are for a coordinator that runs")
    if settings["punch"]:
        _check_punch(settings)
    if settings["real"]:
        return _print_script(settings)
    healths: list[Health] = []
    findings: list[dict[str, str]] = []

    def report(finding: Finding) -> None:
        healths.append(finding.health)
        findings.append({"health": finding.health.value, "what": finding.what, "why": finding.why, "do": finding.fix})
        if not settings["json"]:
            print(_text(finding), flush=True)

    examine(settings, report)
    if settings["json"]:
        print(json.dumps({"findings": findings}))
        return 1 if Health.BROKEN in healths else 0
    if Health.BROKEN in healths:
        print(f"{healths.count(Health.BROKEN)} broken: a job would not run")
        return 1
    doubtful = healths.count(Health.DOUBTFUL)
    print("nothing is broken" + (f", {doubtful} worth a look" if doubtful else ""))
    return 0


def _check_punch(settings: Options) -> None:
    if settings["no-invoke"] or settings["real"]:
        raise UsageError("--punch invokes two workers: leave out --no-invoke and --real")
    if settings.settings is None or "rendezvous-host" not in settings.settings:
        raise UsageError(
            "--punch needs a function and a rendezvous: name a pipeline whose tasks talk to one another, as "
            "`mu doctor --punch shuffle -l FUNCTION -b BUCKET -H HOST`"
        )


def _print_script(settings: Options) -> int:
    """Print the script of ``--real``, which looks at nothing itself."""
    if settings.pipeline is not None:
        raise UsageError("--real prints a script with a job of its own: leave out the pipeline")
    print(script(os.environ.get("REGION", "us-east-1")), end="")
    return 0


def _text(finding: Finding) -> str:
    lines = [f"{finding.health.value:8}  {finding.what}"]
    lines += [f"          {label}: {text}" for label, text in (("why", finding.why), ("do", finding.fix)) if text]
    return terminal_safe(os.linesep.join(lines))
