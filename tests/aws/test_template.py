"""The CloudFormation template: a stack is made of it by moto, and what comes out fits the rest of the project."""

import ast
import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml  # cfn-lint stands on it
from moto_here import moto_account

from mu_twisted.aws.policies import Policy, Scope, coordinator_policy, function_policy, trust_policy

ETC = Path(__file__).resolve().parents[2] / "etc"
ACCOUNT, REGION = "123456789012", "us-east-1"
RELEASE = {"ReleaseBucket": "releases", "ReleaseKey": "mu-1.tar", "ReleaseSha256": "1" * 64}
LASTING = ("Volume", "Address", "Bucket", "FunctionRole", "CoordinatorRole", "SecurityGroup", "Host")

# moto has no policies of buckets, and no endpoints to log in through.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..:UserWarning")


class Stack:
    """A stack of the template, in the account that moto keeps."""

    def __init__(self) -> None:
        self.ec2, self.iam, self.formation = (
            boto3.client(name, region_name=REGION) for name in ("ec2", "iam", "cloudformation")
        )
        subnet = self.ec2.describe_subnets()["Subnets"][0]
        self.images = [image["ImageId"] for image in self.ec2.describe_images()["Images"]]
        self.given = {
            **RELEASE,
            "Image": self.images[0],
            "Vpc": subnet["VpcId"],
            "Subnet": subnet["SubnetId"],
            "Zone": subnet["AvailabilityZone"],
        }
        self.formation.create_stack(**self._request())

    def update(self, **changed: str) -> None:
        self.given |= changed
        self.formation.update_stack(**self._request())

    def _request(self) -> dict[str, Any]:
        return {
            "StackName": "mu",
            "TemplateBody": (ETC / "cloudformation.yaml").read_text(encoding="utf-8"),
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in self.given.items()],
            "Capabilities": ["CAPABILITY_IAM"],
        }

    @property
    def outputs(self) -> dict[str, str]:
        [stack] = self.formation.describe_stacks(StackName="mu")["Stacks"]
        assert stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def resources(self) -> dict[str, str]:
        """Physical ids by logical ones."""
        listed = self.formation.describe_stack_resources(StackName="mu")["StackResources"]
        # moto lists those of a condition that does not hold too, without a name.
        return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in listed if "LogicalResourceId" in each}

    def launch_data(self) -> Any:
        """What new hosts are launched with."""
        [version] = self.ec2.describe_launch_template_versions(
            LaunchTemplateId=self.resources()["LaunchTemplate"], Versions=["$Latest"]
        )["LaunchTemplateVersions"]
        return version["LaunchTemplateData"]

    def user_data(self) -> str:
        return base64.b64decode(self.launch_data()["UserData"]).decode()

    def role(self, arn: str) -> tuple[Any, Any]:
        """Who may take it on, and the policy that lies in it."""
        name = arn.rpartition("/")[2]
        trusted = self.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        policy = self.iam.get_role_policy(RoleName=name, PolicyName="mu")["PolicyDocument"]
        return trusted, ast.literal_eval(policy) if isinstance(policy, str) else policy  # moto 5 keeps Python's text


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """One stack, as making it takes two seconds."""
    with pytest.MonkeyPatch.context() as patch, moto_account(patch):
        yield Stack()


def in_any_region(policy: Policy) -> Any:
    return json.loads(json.dumps(policy).replace(f":{REGION}:", ":*:"))


def test_its_roles_may_do_what_mu_iam_prints_and_nothing_else(stack: Stack) -> None:
    scope = Scope(ACCOUNT, [REGION], ["mu-*"], [stack.outputs["BucketName"]])
    trusted, policy = stack.role(stack.outputs["FunctionRoleArn"])
    assert (trusted, policy) == (trust_policy("lambda.amazonaws.com"), in_any_region(function_policy(scope)))
    [profile] = stack.iam.list_instance_profiles()["InstanceProfiles"]
    assert stack.launch_data()["IamInstanceProfile"]["Arn"] == profile["Arn"]
    trusted, policy = stack.role(profile["Roles"][0]["Arn"])
    assert (trusted, policy) == (trust_policy("ec2.amazonaws.com"), in_any_region(coordinator_policy(scope)))


def test_what_the_host_may_do_for_itself_names_the_stacks_own_resources() -> None:
    template = yaml.load((ETC / "cloudformation.yaml").read_text(encoding="utf-8"), _Tags)
    statements = template["Resources"]["HostPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    anywhere = [one["Action"] for one in statements if one["Resource"] == "*"]
    assert anywhere == [["ec2:DescribeVolumes"]]
    unnamed = [one["Sid"] for one in statements if "/*" in str(one["Resource"])]
    assert unnamed == ["ToItself"]
    [condition] = [one["Condition"] for one in statements if "Condition" in one]
    assert condition == {"StringEquals": {"aws:ResourceTag/mu-stack": "AWS::StackId"}}


@pytest.mark.long
def test_workers_may_dial_the_ports_of_the_units_and_no_other(stack: Stack) -> None:
    units = [(ETC / f"mu-{name}.socket").read_text(encoding="utf-8") for name in ("coordinator", "rendezvous")]
    listening = {int(unit.partition("ListenStream=")[2].split()[0]) for unit in units}
    options = (ETC / "rendezvous.env").read_text(encoding="utf-8")
    assert "MU_RENDEZVOUS_OPTIONS=--probe-port 13336\n" in options
    assert '"--probe-port 13336 "' in stack.user_data()
    [group] = stack.ec2.describe_security_groups(GroupIds=[stack.resources()["SecurityGroup"]])["SecurityGroups"]
    assert {(rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) for rule in group["IpPermissions"]} == {
        (port, port, "tcp") for port in {*listening, 13336}
    }


@pytest.mark.long
@pytest.mark.parametrize("release", ["another than was named", "none"])
def test_the_host_installs_the_release_that_was_named_or_none(stack: Stack, tmp_path: Path, release: str) -> None:
    programs = {
        "cloud-init": "echo i-1",
        "apt-get": ":",
        "aws": f'echo "$@" >> {tmp_path}/calls\n[ $1 != s3 ] || printf "%s" "$RELEASE" > "${{@: -1}}"',
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    ran = subprocess.run(
        ["bash", "-c", stack.user_data().replace("/run/", f"{tmp_path}/").replace("/opt/", f"{tmp_path}/opt/")],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "RELEASE": "" if release == "none" else release},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode != 0
    assert "mu-release.tar: FAILED" in ran.stdout
    assert not (tmp_path / "opt").exists()
    [*_, told] = (tmp_path / "calls").read_text().splitlines()
    assert told.startswith("cloudformation signal-resource --stack-name arn:")
    assert told.endswith("--logical-resource-id Host --unique-id i-1 --status FAILURE")


@pytest.mark.long
def test_without_a_key_there_is_no_way_to_log_in(stack: Stack) -> None:
    assert "KeyName" not in stack.launch_data()
    assert not {name for name in stack.resources() if name.startswith("Login")}


@pytest.mark.long
@pytest.mark.parametrize("change", ["a release", "an image", "a type"])
def test_an_update_is_a_new_host_with_what_the_old_one_had(stack: Stack, change: str) -> None:
    before, data = stack.resources(), stack.launch_data()
    match change:
        case "a release":
            # moto sees no change behind Fn::Sub by itself, so another comes with it.
            stack.update(ReleaseKey="mu-2.tar", ReleaseSha256="2" * 64, InstanceType="m7i.xlarge")
            assert f"{'2' * 64}  /run/mu-release.tar" in stack.user_data()
            assert "s3://releases/mu-2.tar" in stack.user_data()
        case "an image":
            stack.update(Image=stack.images[1])
        case "a type":
            stack.update(InstanceType="m7g.large")
    assert stack.launch_data() != data
    after = stack.resources()
    assert {name: after[name] for name in LASTING} == {name: before[name] for name in LASTING}


def test_the_image_stays_until_another_is_given() -> None:
    template = yaml.load((ETC / "cloudformation.yaml").read_text(encoding="utf-8"), _Tags)
    for parameter in template["Parameters"].values():
        assert not parameter["Type"].startswith("AWS::SSM::"), "resolved anew with each update"
    volume = template["Resources"]["Volume"]
    assert volume["DeletionPolicy"] == volume["UpdateReplacePolicy"] == "Snapshot"


class _Tags(yaml.SafeLoader):
    """Reads CloudFormation's short forms (``!Ref``, ``!Sub``) as what they are given."""


def _plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    match node:
        case yaml.ScalarNode():
            return loader.construct_scalar(node)
        case yaml.SequenceNode():
            return loader.construct_sequence(node)
        case _:
            return loader.construct_mapping(node)


yaml.add_multi_constructor("!", _plain, Loader=_Tags)
