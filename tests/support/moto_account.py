"""An account at moto's server, and the ``mu`` command run in this process against it."""

import contextlib
import functools
import io
import json
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import boto3

from mu_twisted.cli import main

SESSION = boto3.Session(aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="example")


@functools.cache
def _client(url: str, service: str, region: str) -> Any:
    session: Any = SESSION  # whose types know each service by a literal
    return session.client(service, endpoint_url=url, region_name=region)


@dataclass
class Done:
    """What a command said."""

    returncode: int
    stdout: str
    stderr: str


def run_mu(words: list[str], environment: Mapping[str, str], directory: Path) -> Done:
    """One command, as if in a process of its own."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        contextlib.chdir(directory),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            status = main(words)
        except SystemExit as error:
            status = int(error.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


class Account:
    """An empty account with one role.

    :param url: the server's.
    :param home: the user's directory.
    """

    def __init__(self, url: str, home: Path) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
        self.url = url
        self.home = home
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "example",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        trust = '{"Version": "2012-10-17", "Statement": []}'
        made = self.client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument=trust)
        self.role = str(made["Role"]["Arn"])

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """boto3's."""
        return _client(self.url, service, region)

    def mu(self, *words: str | Path, **environment: str) -> Done:
        """Run a command."""
        return run_mu([str(word) for word in words], {**self.environment, **environment}, self.home)

    def made(self, *words: str | Path, **environment: str) -> Any:
        """What `mu lambdaize` prints."""
        done = self.mu("lambdaize", *words, **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def names(self, region: str = "us-east-1") -> list[str]:
        """The functions that there are."""
        return sorted(found["FunctionName"] for found in self.client("lambda", region).list_functions()["Functions"])
