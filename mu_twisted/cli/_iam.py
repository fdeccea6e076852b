"""``mu iam`` prints the policies that functions, coordinator and operators need, and no more."""

import argparse
import json

from mu_twisted.aws import Clients, aws_session, check_region
from mu_twisted.aws.inspection import Inspection
from mu_twisted.aws.policies import ROLES, Scope, coordinator_policy, function_policy, operator_policy, trust_policy
from mu_twisted.cli._cloud import add_regions
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.client import UsageError

POLICIES = {"function": function_policy, "coordinator": coordinator_policy, "operator": operator_policy}
TRUSTED = {"function": "lambda.amazonaws.com", "coordinator": "ec2.amazonaws.com"}


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "iam",
        help="print the IAM policies that functions, coordinator and operators need",
        description="Print a policy as JSON: of the role that functions run as (function), of the host that the "
        "coordinator runs on (coordinator), or of the user who makes functions (operator). It allows what mu asks for, "
        "on the functions and buckets named here, and nothing else.",
        epilog="Example: aws iam put-role-policy --role-name worker --policy-name mu --policy-document "
        "\"$(mu iam function -l 'png2y4m_*' -b mybucket/sintel-1k)\"",
    )
    parser.add_argument("party", metavar="ROLE", choices=ROLES, help="function, coordinator or operator")
    parser.add_argument(
        "--trust", action="store_true", help="print the role's trust policy in place of its permissions"
    )
    parser.add_argument(
        "-l",
        "--function",
        metavar="NAME",
        action="append",
        help="a function's name, in which * stands for any rest (*)",
    )
    parser.add_argument(
        "-b", "--bucket", metavar="BUCKET[/PREFIX]", action="append", help="what workers read and write"
    )
    add_regions(parser, "-r", "--region")
    parser.add_argument("--account", metavar="DIGITS", help="the account's number (default: that of the credentials)")
    parser.add_argument("--role", help="the functions' role; for the operator's policy")
    parser.add_argument("--code-bucket", metavar="BUCKET", help="as for `mu lambdaize`; for the operator's policy")
    parser.add_argument("--json", action="store_true", help="print the document on one line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the document."""
    party = options.party
    if options.trust:
        if party not in TRUSTED:
            raise UsageError(
                "--trust: operators are users or roles of yours, and who may assume those is yours to decide"
            )
        print(json.dumps(trust_policy(TRUSTED[party]), indent=None if options.json else 4))
        return
    if party != "operator" and not options.bucket:
        raise UsageError(
            f"the {party}'s policy names the buckets: give -b BUCKET or -b BUCKET/PREFIX, as often as need be"
        )
    for region in options.region:
        check_region(region)
    scope = Scope(
        account=options.account or Inspection(Clients(aws_session(), options.region[0])).caller().account,
        regions=options.region,
        functions=options.function or ["*"],
        buckets=options.bucket or [],
        role=options.role,
        code_bucket=options.code_bucket,
    )
    print(json.dumps(POLICIES[party](scope), indent=None if options.json else 4))
