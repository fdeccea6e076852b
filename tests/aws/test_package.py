"""The function's zip: reproducible, complete by itself, and refused with one line where it cannot be made."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import zipfile

import pytest

from mu_twisted.aws._bytecode import own_runtime
from mu_twisted.aws._package import MAX_UNZIPPED, PackageError, build_package
from mu_twisted.wire import MAX_REPLY, VERSION, Decoder, encode, parse_greeting


def program(path, data=b"\x7fELF"):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def opened(package):
    return zipfile.ZipFile(io.BytesIO(package))


def test_two_builds_of_one_input_are_equal_whatever_times_modes_and_order(tmp_path):
    first = program(tmp_path / "a" / "tool", b"x" * 3_000_000)
    other = program(tmp_path / "a" / "other")
    package = build_package([first, other], b"./tool ##INFILE##")
    again = program(tmp_path / "b" / "tool", b"x" * 3_000_000)
    again.chmod(0o600)
    os.utime(again, (1, 1))
    assert build_package([other, again], b"./tool ##INFILE##") == package


def test_it_holds_the_worker_the_wire_the_command_and_the_executables_at_the_root(tmp_path):
    tool, renamed = program(tmp_path / "tool"), program(tmp_path / "ffmpeg-linux-v7", b"big")
    with opened(build_package([tool, renamed], b"./tool \xff", names={renamed: "ffmpeg"})) as archive:
        assert archive.testzip() is None
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in archive.infolist())
        assert list(modes) == sorted(modes)
        assert archive.read("mu_command") == b"./tool \xff"
        assert archive.read("ffmpeg") == b"big"
        assert len(archive.read("mu_twisted/__init__.py")) > 0
    assert {"worker_lambda/s3/_client.py", "mu_twisted/wire/__init__.py", "mu_twisted/wire/_errors.py"} < set(modes)
    assert {name for name, mode in modes.items() if mode == 0o100755} == {"tool", "ffmpeg"}
    assert all(mode in (0o100755, 0o100644) for mode in modes.values())
    ours = set(modes) - {"tool", "ffmpeg", "mu_command", "mu_twisted/__init__.py", *bytecode(archive)}
    assert all(
        name.startswith(("worker_lambda/", "mu_twisted/base/", "mu_twisted/wire/")) and name.endswith(".py")
        for name in ours
    )


def test_alone_on_the_path_of_a_bare_python_it_holds_all_that_the_worker_imports(tmp_path, pythons):
    with opened(build_package([])) as archive:
        archive.extractall(tmp_path)
        modules = [
            name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            for name in archive.namelist()
            if name.startswith("worker_lambda/") and name.endswith(".py")
        ]
    assert "worker_lambda.s3._transfer" in modules
    check = (
        "import importlib, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "for name in sys.argv[2:]:\n"
        "    assert importlib.import_module(name).__file__.startswith(sys.argv[1]), name\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} & {'twisted', 'boto3', 'botocore', 'asyncio'}))\n"
    )
    for python in pythons:
        said = subprocess.run(
            [python, "-I", "-S", "-B", "-W", "error", "-c", check, str(tmp_path), *modules],
            capture_output=True,
            text=True,
        )
        assert (said.returncode, said.stdout) == (0, "\n"), said.stderr


def test_alone_on_the_path_of_a_bare_python_it_greets_and_runs_its_command(tmp_path, pythons):
    with opened(build_package([program(tmp_path / "a" / "tool", b"#!/bin/sh\npwd")], b"./tool")) as archive:
        archive.extractall(tmp_path / "task")
    (tmp_path / "task" / "tool").chmod(0o755)  # zipfile does not take modes over, Lambda does
    call = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from worker_lambda.lambda_function import lambda_handler\n"
        "print(json.dumps(lambda_handler(json.loads(sys.argv[2]))))"
    )
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "LAMBDA_TASK_ROOT": str(tmp_path / "task")}
    for python in pythons:
        words = [python, "-I", "-S", "-B", "-W", "error", "-c", call, str(tmp_path / "task")]
        heard, out, err = _served(words, environment)
        greeting = parse_greeting(heard[0])
        assert (greeting.version, greeting.launch_id) == (VERSION, "b-1")
        assert heard[1:] == [f"OK:RETVAL(0):OUTPUT({tmp_path / 'task'}\n):COMMAND(./tool)".encode()]
        assert (json.loads(out), err) == ({"ended": "the coordinator said quit"}, _warning(err)), python


def _warning(err):
    """The one line that a worker says where it dials without TLS."""
    return err if err.count("\n") == 1 and "is dialled without TLS" in err else ""


def _served(words, environment):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(180)
        event = {"mode": 1, "addr": "127.0.0.1", "port": listener.getsockname()[1], "job": "j", "launch_id": "b-1"}
        worker = subprocess.Popen(
            [*words, json.dumps(event)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            talk, _ = listener.accept()
            talk.settimeout(180)
            replies = Decoder(MAX_REPLY)
            heard: list[bytes] = []
            with talk:
                talk.sendall(encode(b"run:") + encode(b"quit:"))
                while data := talk.recv(65536):
                    heard += replies.feed(data)
        finally:
            out, err = worker.communicate(timeout=180)
    return heard, out, err


def test_what_cannot_be_packed_is_named_in_one_line(tmp_path):
    tool, twin = program(tmp_path / "a" / "tool"), program(tmp_path / "b" / "tool")
    os.mkfifo(tmp_path / "fifo")
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(MAX_UNZIPPED)
    for executables, names, reason in [
        ([tmp_path / "missing"], None, r"missing: No such file or directory"),
        ([tmp_path], None, "not a regular file"),
        ([tmp_path / "fifo"], None, "not a regular file"),
        ([tool, twin], None, "would both be tool"),
        ([tool, tool], None, "would both be tool"),
        ([tool], {tool: "mu_command"}, "would both be mu_command"),
        ([tool], {tool: "worker_lambda"}, "would both be worker_lambda"),
        ([tool], {tool: "../tool"}, "plain file name"),
        ([tool], {tool: ""}, "plain file name"),
        ([tool, big], None, f"more than the {MAX_UNZIPPED} .*biggest is .*big"),
    ]:
        with pytest.raises(PackageError, match=reason) as caught:
            build_package(executables, names=names)
        assert len(str(caught.value).splitlines()) == 1


def bytecode(archive):
    return [name for name in archive.namelist() if name.endswith(".pyc")]


def test_the_bytecode_is_packed_where_the_function_runs_the_python_that_builds_it():
    with opened(build_package([])) as archive, opened(build_package([], runtime=own_runtime())) as same:
        modules = [name for name in archive.namelist() if name.endswith(".py")]
        assert len(bytecode(archive)) == len(modules)
        assert bytecode(same) == bytecode(archive)
    for other in ("python3.9", "python3.99", "provided.al2023"):
        with opened(build_package([], runtime=other)) as archive:
            assert bytecode(archive) == []


def test_the_bytecode_is_what_an_import_takes_and_no_source_is_compiled(tmp_path):
    with opened(build_package([])) as archive:
        archive.extractall(tmp_path)
    sources = [path for path in tmp_path.rglob("*.py") if path.name not in ("__init__.py", "links.py")]
    for path in sources:
        path.write_text("raise SystemExit('compiled')\n")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import worker_lambda.lambda_function, mu_twisted.wire.punching"
    words = [sys.executable, "-I", "-S", "-B", "-c", code, str(tmp_path)]
    assert subprocess.run(words, capture_output=True, text=True).stderr == ""
    (tmp_path / "mu_twisted" / "wire" / "__pycache__" / f"punching.{sys.implementation.cache_tag}.pyc").unlink()
    assert subprocess.run(words, capture_output=True, text=True).stderr == "compiled\n"


def test_the_bytecode_is_the_same_in_whatever_process_it_is_made():
    first = "import mu_twisted.wire.links, worker_lambda._worker, worker_lambda.s3;"
    make = (
        "import hashlib; from mu_twisted.aws import build_package; print(hashlib.sha256(build_package([])).hexdigest())"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for code, seed in ((make, "1"), (make, "2"), (first + make, "3"))
    }
    assert len(made) == 1
    assert len(made.pop()) == 65
