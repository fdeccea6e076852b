"""``mu lambdaize`` and ``mu functions`` as a user runs them, with moto's server in place of AWS."""

import json
import os
import zipfile
from pathlib import Path

import pytest
from moto_account import Account
from wheel_index import WheelIndex

from mu_twisted.aws import setting_bounds

MEMORY, TIMEOUT = setting_bounds("MemorySize"), setting_bounds("Timeout")
README_FIELDS = {
    *("CodeSize", "LastModified", "MemorySize", "CodeSha256", "Description", "FunctionName"),
    *("Role", "Handler", "Runtime", "Timeout", "Version", "FunctionArn"),
}


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    path = tmp_path / "png2y4m"
    path.write_text('#!/bin/sh\necho "$@"\n')
    return path


def test_the_seeds_line_makes_the_seeds_function(account: Account, tool: Path) -> None:
    settings = {"MEM_SIZE": "1537", "TIMEOUT": "181", "AWS_ROLE": account.role, "REGION": "us-west-2"}
    made = account.made(tool, "", "-i -d -o ##OUTFILE## ##INFILE##", **settings)
    assert set(made) == README_FIELDS
    name = made["FunctionName"]
    assert name.startswith("png2y4m_")
    assert len(name) == len("png2y4m_cP4Mf5pn")
    expected = {"MemorySize": 1537, "Timeout": 181, "Role": account.role, "Description": "png2y4m"}
    assert {key: made[key] for key in expected} == expected
    assert made["FunctionArn"].startswith("arn:aws:lambda:us-west-2:")
    code = account.client("lambda", "us-west-2").get_function(FunctionName=name)
    assert code["Configuration"]["Runtime"] == "python3.13"
    left = account.mu("lambdaize", tool, "", "-i -d -o ##OUTFILE## ##INFILE##", "--name", "again", "--skip-upload")
    assert left.returncode == 0, left.stderr
    with zipfile.ZipFile(account.home / "again.zip") as package:
        assert package.read("mu_command") == b"./png2y4m -i -d -o ##OUTFILE## ##INFILE##"
        assert package.read("png2y4m") == tool.read_bytes()
    assert made["CodeSize"] == (account.home / "again.zip").stat().st_size


def test_options_say_what_the_variables_say_and_stand_before_them(account: Account, tool: Path) -> None:
    options = ["--role", account.role, "--memory", "512", "--timeout", "9", "--tmp-size", "2048", "--arch", "arm64"]
    made = account.made(tool, *options, "--runtime", "python3.12", "--name", "f", MEM_SIZE="128", TIMEOUT="3")
    assert (made["FunctionName"], made["MemorySize"], made["Timeout"], made["Runtime"]) == ("f", 512, 9, "python3.12")
    found = account.client("lambda").get_function_configuration(FunctionName="f")
    assert (found["EphemeralStorage"], found["Architectures"]) == ({"Size": 2048}, ["arm64"])


def test_several_regions_and_copies_are_listed_and_removed_together(account: Account, tool: Path) -> None:
    where = ["--region", "us-east-1,eu-west-1"]
    made = account.made(tool, "--role", account.role, "--name", "fib", "--copies", "2", *where)
    assert [each["FunctionName"] for each in made] == ["fib", "fib-2"] * 2
    account.made(tool, "--role", account.role, "--name", "fibber", *where)
    listed = account.mu("functions", *where)
    assert listed.returncode == 0, listed.stderr
    rows = [line.split()[:6] for line in listed.stdout.splitlines()]
    assert rows[0] == ["FUNCTION", "REGION", "MEMORY", "TIMEOUT", "TMP", "ARCH"]
    assert ["fib-2", "eu-west-1", "1536", "180", "512", "x86_64"] in rows
    assert len(rows) == 7
    told = json.loads(account.mu("functions", "--json").stdout)["functions"]
    assert [(each["FunctionName"], each["Region"]) for each in told] == [
        (name, "us-east-1") for name in ("fib", "fib-2", "fibber")
    ]
    removed = account.mu("functions", "rm", "fib", *where)
    assert removed.stdout.splitlines() == [
        f"{name} in {region}: removed" for region in ("us-east-1", "eu-west-1") for name in ("fib", "fib-2")
    ]
    assert account.names("eu-west-1") == ["fibber"]
    again = account.mu("functions", "rm", "fib", "fibber")
    assert (again.returncode, again.stdout) == (1, "fibber in us-east-1: removed\n")
    assert again.stderr.startswith("error: mu has made no function fib in us-east-1 at http://127.0.0.1:")


def test_what_mu_has_not_made_is_neither_shown_nor_removed(account: Account) -> None:
    code = {"ZipFile": b"PK\x05\x06" + bytes(18)}
    account.client("lambda").create_function(
        FunctionName="precious", Runtime="python3.13", Role=account.role, Handler="m.h", Code=code
    )
    assert account.mu("functions").stdout.splitlines()[1:] == []
    assert account.mu("functions", "rm", "precious").returncode == 1
    assert account.names() == ["precious"]


def test_where_one_place_fails_nothing_stays_in_the_others(account: Account, tool: Path) -> None:
    account.made(tool, "--role", account.role, "--name", "fib-2", "--region", "eu-west-1")
    done = account.mu(
        *("lambdaize", tool, "--role", account.role, "--name", "fib", "--copies", "2"),
        *("--region", "us-east-1,eu-west-1"),
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is a function fib-2 in eu-west-1 at http://127.0.0.1:")
    assert "already: --replace gives it this code" in done.stderr
    assert (account.names("us-east-1"), account.names("eu-west-1")) == ([], ["fib-2"])


def test_a_function_is_replaced_with_what_was_given_or_made_where_there_is_none(account: Account, tool: Path) -> None:
    where = ["--name", "fib", "--region", "us-east-1,eu-west-1"]
    words = ["--role", account.role, "--memory", "512", "--arch", "arm64"]
    first = account.made(tool, "", "a", *words, "--name", "fib", TIMEOUT="99")
    refused = account.mu("lambdaize", tool, "", "b", *where, "--replace")
    assert refused.stderr.startswith("error: a function needs an execution role: give --role ARN"), refused.stderr
    assert "(replaced before: fib in us-east-1)" in refused.stderr
    here, there = account.made(tool, "", "c", *where, "--replace", "--role", account.role, "--timeout", "12")
    assert first["CodeSha256"] != here["CodeSha256"] == there["CodeSha256"]
    assert (here["MemorySize"], here["Timeout"], there["MemorySize"], there["Timeout"]) == (512, 12, 1536, 12)
    assert set(here) == set(first)
    found = account.client("lambda").get_function_configuration(FunctionName="fib")
    assert found["Architectures"] == ["arm64"]


def test_the_same_input_gives_the_same_code_whatever_the_name(account: Account, tool: Path) -> None:
    first, second = (account.made(tool, "x", "y", tool.parent, "--role", account.role) for _ in range(2))
    assert first["FunctionName"] != second["FunctionName"]
    assert first["CodeSha256"] == second["CodeSha256"]
    assert len(first["CodeSha256"]) == len("yv+mJC0/2hsjTcu3BpFwWyhix1YVRimph8O1y8Oy/Lw=")


@pytest.mark.parametrize(
    ("words", "environment", "status", "said"),
    [
        (["/bin/gzip", "--role", "r"], {}, 1, "linked dynamically"),
        (["/bin/gzip", "--role", "r", "--arch", "arm64"], {}, 1, "the function for arm64"),
        (["png2y4m"], {}, 1, "--role"),
        (["png2y4m", "--role", "r"], {"MEM_SIZE": "64"}, 2, f"from {MEMORY[0]} to {MEMORY[1]}"),
        (["png2y4m", "--role", "r"], {"TIMEOUT": str(TIMEOUT[1] + 1)}, 2, f"from 1 to {TIMEOUT[1]}"),
        (["png2y4m", "--role", "r", "--tmp-size", "511"], {}, 2, "from 512 to "),
        (["png2y4m", "--role", "r", "--copies", "0"], {}, 2, "from 1 to 100"),
        (["png2y4m", "--role", "r", "--replace"], {}, 2, "--replace needs the name"),
        (["png2y4m", "--role", "r", "--name", "a b"], {}, 2, "cannot be a function's name"),
        (["png2y4m", "--role", "r", "--region", "eu-wset-1"], {}, 2, "did you mean"),
        (["nosuch", "--role", "r", "--region", "mars-1"], {}, 2, "no region 'mars-1': expected one such as us-east-1"),
        (["nosuch", "--role", "r", "--runtime", "ruby"], {}, 2, "expected a Python, such as python3.13, got 'ruby'"),
        (["nosuch", "--role", "r", "--runtime", "python2.7"], {}, 2, "expected a Python"),
        (["png2y4m", "", "", "nosuch", "--role", "r"], {}, 1, "nosuch: No such file"),
        (["png2y4m", "--role", "r", "--endpoint-url", "http://192.0.2.1"], {}, 2, "loopback only"),
    ],
)
def test_mistakes_are_told_on_one_line(
    account: Account, tool: Path, words: list[str], environment: dict[str, str], status: int, said: str
) -> None:
    done = account.mu("lambdaize", *words, **environment)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert status == 2 or done.stderr.count("\n") == 1
    assert account.names() == []


def test_more_than_lambda_takes_unzipped_is_refused_before_anything_is_sent(account: Account, tool: Path) -> None:
    with (account.home / "huge").open("wb") as file:
        file.truncate(251 << 20)
    done = account.mu("lambdaize", tool, "", "", "huge", "--role", account.role)
    assert done.returncode == 1
    assert "more than the 262144000 that Lambda takes" in done.stderr


def test_allow_ld_packs_what_a_dynamic_program_needs_and_says_so(account: Account) -> None:
    done = account.mu("lambdaize", "/bin/gzip", "--skip-upload", "--name", "gzip", ALLOW_LD="1")
    assert done.returncode == 0
    assert "packed with its loader and" in done.stderr
    with zipfile.ZipFile(account.home / "gzip.zip") as package:
        assert package.read("mu_ld/bin/gzip") == Path("/bin/gzip").read_bytes()
        assert package.read("gzip").startswith(b"#!/bin/sh\n")


@pytest.mark.long
def test_a_zip_above_50_mb_goes_through_s3(account: Account, tool: Path) -> None:
    (account.home / "noise").write_bytes(os.urandom(52 << 20))
    words = ["lambdaize", tool, "", "", "noise", "--role", account.role]
    refused = account.mu(*words)
    assert refused.returncode == 1
    assert "--code-bucket" in refused.stderr
    account.client("s3").create_bucket(Bucket="code-us-east-1")
    made = account.made(*words[1:], "--code-bucket", "code-{region}")
    assert made["CodeSize"] > 52 << 20


@pytest.mark.long
def test_wheels_are_packed_for_the_functions_python_and_processor(account: Account, tool: Path, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    index = WheelIndex(tmp_path / "index")
    for tag in ("cp312-cp312-manylinux_2_28_aarch64", "cp313-cp313-manylinux_2_28_x86_64"):
        index.wheel("native", tag=tag)
    (tmp_path / "requirements.txt").write_text("native\n")
    wheels = ["--requirements", tmp_path / "requirements.txt"]
    packed = account.mu("lambdaize", tool, "--skip-upload", "--name", "f", *wheels, **index.environment)
    assert packed.returncode == 0, packed.stderr
    with zipfile.ZipFile(account.home / "f.zip") as package:
        assert package.read("native.py") == b"TAG = 'cp313-cp313-manylinux_2_28_x86_64'\n"
        assert "native-1.0.dist-info/METADATA" in package.namelist()
    small = account.made(tool, "--role", account.role, "--runtime", "python3.12", "--arch", "arm64", "--name", "f")
    # In place of one that is there, for the Python and processor that it has.
    larger = account.made(tool, "--replace", "--name", "f", *wheels, **index.environment)
    assert larger["CodeSize"] > small["CodeSize"]
    wrong = account.mu(
        "lambdaize", tool, *wheels, "--role", account.role, "--runtime", "python3.11", **index.environment
    )
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (1, "", 1)
    assert "there is no wheel of native for python3.11 on x86_64" in wrong.stderr


def test_a_package_of_a_programs_name_is_refused(account: Account, tool: Path, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    index = WheelIndex(tmp_path / "index")
    index.wheel("sly", files={"png2y4m": b""})
    (tmp_path / "requirements.txt").write_text("sly\n")
    done = account.mu(
        "lambdaize", tool, "--skip-upload", "--requirements", tmp_path / "requirements.txt", **index.environment
    )
    assert (done.returncode, done.stderr) == (
        1,
        f"error: {tool} and a Python package would both be png2y4m; rename it\n",
    )


IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/encoder.x:1"


def test_a_function_is_made_of_an_image_and_given_another(account: Account) -> None:
    made = account.made("--image", IMAGE, "--role", account.role, "--memory", "512")
    assert made["FunctionName"].startswith("encoder_x_")
    assert (made["Description"], made["MemorySize"]) == (IMAGE, 512)
    name = made["FunctionName"]
    found = account.client("lambda").get_function(FunctionName=name)
    assert found["Code"]["ImageUri"] == IMAGE
    listed = account.mu("functions")
    assert " image " in listed.stdout
    wrong = account.mu("lambdaize", "/bin/sh", "--allow-ld", "--replace", "--name", name)
    assert (wrong.returncode, wrong.stderr.splitlines()[-1].partition(" in us-east-1")[0]) == (
        1,
        f"error: function {name}",
    )
    assert "is made of an image, and Lambda cannot change that to a zip" in wrong.stderr


def test_an_image_of_each_region_is_taken_there(account: Account) -> None:
    image = IMAGE.replace("us-east-1", "{region}")
    where = ["--region", "us-east-1,eu-west-1"]
    account.made("--image", image, "--role", account.role, "--name", "f", *where)
    for region in ("us-east-1", "eu-west-1"):
        code = account.client("lambda", region).get_function(FunctionName="f")["Code"]
        assert code["ImageUri"] == image.replace("{region}", region)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        ([], 2, "give EXE, the program of the function, or --image URI"),
        (["x", "--image", IMAGE], 2, "--image has all that its function runs: leave out EXE"),
        (["--image", IMAGE, "--allow-ld"], 2, "leave out --allow-ld"),
        (["--image", IMAGE, "--requirements", "x"], 2, "leave out --requirements"),
        (["--image", IMAGE, "--runtime", "python3.12"], 2, "leave out --runtime"),
        (["--image", IMAGE, "--skip-upload"], 2, "leave out --skip-upload"),
        (["--image", IMAGE, "--local"], 2, "the embedded Lambda runs no container images"),
        (
            ["--image", IMAGE, "--region", "us-east-1,eu-west-1", "--role", "r"],
            1,
            "is in us-east-1 and the function in eu-west-1",
        ),
        (["--image", "encoder", "--role", "r"], 1, "is no address of an image"),
        (["--image", IMAGE], 1, "a function needs an execution role"),
        (["--image", IMAGE, "--replace"], 2, "--replace needs the name"),
    ],
)
def test_an_image_that_cannot_be_is_one_line(account: Account, words: list[str], status: int, text: str) -> None:
    done = account.mu("lambdaize", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1), done.stderr
    assert text in done.stderr
    assert account.names() == []
