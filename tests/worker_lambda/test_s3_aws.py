"""As at AWS: the bucket in the host's name, regions that redirect, TLS at port 443.

AWS's names lead to this machine in namespaces of the test's own, which need root, or a kernel that lends it.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mu_twisted.tls import Authority

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOSTS = [
    "bucket.s3.us-east-1.amazonaws.com",
    "bucket.s3.eu-west-3.amazonaws.com",
    "bucket.s3-eu-west-3.amazonaws.com",
    "s3.us-east-1.amazonaws.com",
    "amazonaws.com.elsewhere.example",
    "elsewhere.example",
]

PROGRAM = """
import fcntl, json, os, socket, ssl, struct, sys
with socket.socket() as any_socket:  # the loopback of a new network namespace is down
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))
from s3_server import TOKEN, Server, never, serving
from worker_lambda.s3 import S3, S3Error

directory = sys.argv[1]
results = []
with serving(443, f"{directory}/pair.pem") as server:

    def get(region, bucket, key, *answers):
        server.requests.clear()
        server.script = list(answers)
        client = S3(region, back_off=0.001)
        try:
            client.get(bucket, key, f"{directory}/out", never)
            said = "got " + open(f"{directory}/out").read()
        except S3Error as error:
            said = str(error)
        client.close()
        where = [
            (headers["host"] + path, headers["authorization"].split("/")[2]) for _, _, path, headers in server.requests
        ]
        results.append((said, where))

    def moved(status, code, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return lambda h: h.refuse(status, code, "elsewhere", named)

    server.objects = {b"/a//k +": b"hosted", b"/with.dots/k": b"dotted", b"/k": b"moved"}
    get("us-east-1", "bucket", b"a//k +")
    get("us-east-1", "with.dots", b"k")
    server.region = "eu-west-3"
    get("us-east-1", "bucket", b"k", moved(301, "PermanentRedirect", x_amz_bucket_region="eu-west-3"))
    server.region = "us-east-1"
    there = "https://bucket.s3-eu-west-3.amazonaws.com/k"
    get("us-east-1", "bucket", b"k", moved(307, "TemporaryRedirect", location=there))
    foreign = ("https://elsewhere.example/k", "https://amazonaws.com.elsewhere.example/k", "http" + there[5:])
    for elsewhere in foreign:
        get("us-east-1", "bucket", b"k", moved(307, "TemporaryRedirect", location=elsewhere))
    get("eu-south-9", "bucket", b"k")
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    directory = tmp_path_factory.mktemp("aws")
    authority = Authority.generate()
    pair = authority.issue(None, hosts=HOSTS, lifetime=datetime.timedelta(hours=1))
    (directory / "pair.pem").write_bytes(pair.certificate + pair.key)
    (directory / "ca.pem").write_bytes(authority.certificate)
    (directory / "hosts").write_text("".join(f"127.0.0.1 {host}\n" for host in HOSTS))
    unshare = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", "--net"]
    bind = [*unshare, "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(directory / "hosts")]
    tried = subprocess.run([*bind, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no namespaces can be had here: {tried.stderr.strip()}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "se/cr+et",
        "AWS_SESSION_TOKEN": "tok/en+==",
        "AWS_CA_BUNDLE": str(directory / "ca.pem"),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(HERE.parent / "support"))),
    }
    command = [*bind, sys.executable, "-c", PROGRAM, str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_bucket_is_part_of_the_hosts_name(said):
    assert said[0] == ["got hosted", [["bucket.s3.us-east-1.amazonaws.com/a//k%20%2B", "us-east-1"]]]


def test_a_bucket_that_no_certificate_is_for_is_part_of_the_path(said):
    assert said[1] == ["got dotted", [["s3.us-east-1.amazonaws.com/with.dots/k", "us-east-1"]]]


def test_a_bucket_of_another_region_is_asked_for_there_and_signed_so(said):
    assert said[2] == [
        "got moved",
        [["bucket.s3.us-east-1.amazonaws.com/k", "us-east-1"], ["bucket.s3.eu-west-3.amazonaws.com/k", "eu-west-3"]],
    ]


def test_a_bucket_that_is_too_new_to_be_known_everywhere_is_found_where_aws_says(said):
    first, second = said[3][1]
    assert said[3][0] == "got moved"
    assert (first[0], second[0]) == ("bucket.s3.us-east-1.amazonaws.com/k", "bucket.s3-eu-west-3.amazonaws.com/k")


@pytest.mark.parametrize("number", [4, 5, 6])
def test_no_other_server_is_asked(said, number):
    text, where = said[number]
    assert text == "cannot get bucket/k: 307 TemporaryRedirect: elsewhere"
    assert len(where) == 1


def test_an_unknown_host_is_named(said):
    text, where = said[7]
    assert text.startswith("cannot get bucket/k: ")
    assert "bucket.s3.eu-south-9.amazonaws.com: " in text
    assert text.endswith("(tried 5 times)")
    assert not where
