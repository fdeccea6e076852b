"""``mu iam`` as a user runs it."""

import json

import pytest
from moto_account import Account


def test_the_policies_are_printed_for_the_credentials_account(account: Account) -> None:
    words = ["-l", "png2y4m_*", "-b", "mine/sintel", "-r", "us-east-1,eu-west-1"]
    done = account.mu("iam", "function", *words)
    assert done.returncode == 0, done.stderr
    policy = json.loads(done.stdout)
    assert policy["Statement"][0]["Resource"] == ["arn:aws:s3:::mine/sintel*"]
    coordinator = json.loads(account.mu("iam", "coordinator", *words).stdout)
    assert coordinator["Statement"][0]["Resource"] == [
        "arn:aws:lambda:us-east-1:123456789012:function:png2y4m_*",
        "arn:aws:lambda:eu-west-1:123456789012:function:png2y4m_*",
    ]
    operator = json.loads(account.mu("iam", "operator", *words, AWS_ROLE=account.role).stdout)
    assert account.role in json.dumps(operator)
    for party in ("function", "coordinator"):
        trust = account.mu("iam", party, "--trust").stdout
        account.client("iam").create_role(RoleName=f"made-{party}", AssumeRolePolicyDocument=trust)
        account.client("iam").put_role_policy(
            RoleName=f"made-{party}", PolicyName="mu", PolicyDocument=account.mu("iam", party, *words).stdout
        )


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["function"], 2, "give -b BUCKET"),
        (["coordinator"], 2, "give -b BUCKET"),
        (["operator"], 1, "give --role"),
        (["operator", "--trust"], 2, "--trust"),
        (["nobody"], 2, "nobody"),
        (["function", "-b", "b", "-r", "mars"], 2, "no region 'mars'"),
        (["function", "-b", "b", "-r", "us-east-1,cn-north-1"], 1, "several partitions"),
    ],
)
def test_mistakes_are_told(account: Account, words: list[str], status: int, said: str) -> None:
    done = account.mu("iam", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
