"""The CloudFormation template: a stack is made of it by moto, and what comes out fits the rest of the project."""

import ast
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml  # cfn-lint stands on it
from moto_here import moto_account

from mu_twisted.aws.policies import Policy, Scope, coordinator_policy, function_policy, trust_policy

ETC = Path(__file__).resolve().parents[2] / "etc"
ACCOUNT, REGION, RELEASE = "123456789012", "us-east-1", "https://example.com/mu_twisted-1.whl"
IMAGE_PARAMETER = "/aws/service/debian/release/12/latest/amd64"

# moto has no policies of buckets.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy:UserWarning")


class Made:
    """The stack."""

    def __init__(self) -> None:
        ec2, ssm, self.iam = (boto3.client(name, region_name=REGION) for name in ("ec2", "ssm", "iam"))
        ssm.put_parameter(Name="/image", Type="String", Value=ec2.describe_images()["Images"][0]["ImageId"])
        template = (ETC / "cloudformation.yaml").read_text(encoding="utf-8")
        assert template.count(IMAGE_PARAMETER) == 1
        given = {
            "Release": RELEASE,
            "Vpc": ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
            "Subnet": ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        }
        formation = boto3.client("cloudformation", region_name=REGION)
        formation.create_stack(
            StackName="mu",
            TemplateBody=template.replace(IMAGE_PARAMETER, "/image"),  # moto has none of Debian's
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        [stack] = formation.describe_stacks(StackName="mu")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        [reservation] = ec2.describe_instances()["Reservations"]
        [self.instance] = reservation["Instances"]
        described = [{"Name": "description", "Values": ["Workers dial the coordinator and the rendezvous"]}]
        [self.group] = ec2.describe_security_groups(Filters=described)["SecurityGroups"]
        data = ec2.describe_instance_attribute(InstanceId=self.instance["InstanceId"], Attribute="userData")
        self.user_data = base64.b64decode(data["UserData"]["Value"]).decode()

    def role(self, arn: str) -> tuple[Any, Any]:
        """Who may take it on, and its one policy."""
        name = arn.rpartition("/")[2]
        trusted = self.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        policy = self.iam.get_role_policy(RoleName=name, PolicyName="mu")["PolicyDocument"]
        return trusted, ast.literal_eval(policy) if isinstance(policy, str) else policy  # moto 5 keeps Python's text


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    """One stack, as making it takes two seconds."""
    with pytest.MonkeyPatch.context() as patch, moto_account(patch):
        yield Made()


def in_any_region(policy: Policy) -> Any:
    return json.loads(json.dumps(policy).replace(f":{REGION}:", ":*:"))


def test_its_roles_may_do_what_mu_iam_prints_and_nothing_else(made: Made) -> None:
    scope = Scope(ACCOUNT, [REGION], ["mu-*"], [made.outputs["BucketName"]])
    trusted, policy = made.role(made.outputs["FunctionRoleArn"])
    assert (trusted, policy) == (trust_policy("lambda.amazonaws.com"), in_any_region(function_policy(scope)))
    [profile] = made.iam.list_instance_profiles()["InstanceProfiles"]
    assert made.instance["IamInstanceProfile"]["Arn"] == profile["Arn"]
    trusted, policy = made.role(profile["Roles"][0]["Arn"])
    assert (trusted, policy) == (trust_policy("ec2.amazonaws.com"), in_any_region(coordinator_policy(scope)))


def test_workers_may_dial_the_ports_of_the_units_and_no_other(made: Made) -> None:
    units = [(ETC / f"mu-{name}.socket").read_text(encoding="utf-8") for name in ("coordinator", "rendezvous")]
    listening = {int(unit.partition("ListenStream=")[2].split()[0]) for unit in units}
    assert {(rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) for rule in made.group["IpPermissions"]} == {
        (port, port, "tcp") for port in listening
    }
    assert made.outputs["InstanceId"] == made.instance["InstanceId"]


def test_the_instance_installs_the_release_and_its_units(made: Made) -> None:
    assert made.user_data.startswith("#cloud-config\n")
    ran = yaml.safe_load(made.user_data)["runcmd"]
    assert ["/opt/mu/bin/pip", "install", RELEASE] in ran
    assert ran[-1] == ["sh", "/opt/mu/share/mu/install-units.sh"]
    assert ["curl", f"https://s3.{REGION}.amazonaws.com/amazon-ssm-{REGION}"] in [
        [words[0], "/".join(words[-1].split("/")[:4])] for words in ran
    ]
    assert all(isinstance(word, str) for words in ran for word in words)
