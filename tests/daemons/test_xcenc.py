"""xcenc from end to end: coordinator, rendezvous, embedded Lambda and S3, workers, the fake encoders."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from encoder_jobs import FUNCTION, FakeEncoders, environment, rendezvous
from gate import Gate

from mu_twisted.tls import generate_keys

pytestmark = pytest.mark.process

VIDEO = "sintel-1k-y4m_06"
LATE = """
import time
_serve = lambda_handler
def lambda_handler(event, context=None):
    if event["launch_id"].endswith("-0"):
        time.sleep(2)
    return _serve(event, context)
"""
"""The first worker to be launched comes when all the others are at work."""
DOUBLED = """
_serve = lambda_handler
def lambda_handler(event, context=None):
    child = os.fork() if event["launch_id"].endswith("-1") else None
    if child == 0:
        _serve(event, context)
        os._exit(0)
    result = _serve(event, context)
    if child is not None:
        os.waitpid(child, 0)
    return result
"""
"""One event is delivered twice."""
HELD = r"""#!/bin/sh
for input; do :; done
{held}
place=$(mktemp -d) && ln -s "$PWD/really-${{0##*/}}" "$place/${{0##*/}}" && exec "$place/${{0##*/}}" "$@"
"""
"""An encoder that waits at a gate; its input is the last of its words."""


def test_a_job_comes_to_the_serial_references_bytes(coordinate: Any, encoders: FakeEncoders, tmp_path: Path) -> None:
    ended = encoders.encode(coordinate, FUNCTION, 8, 4, VIDEO, "-u", "-O", "times")
    assert ended.status == 0, ended.err
    assert "8 of 8 tasks done" in ended.out
    expected = encoders.expected(tmp_path / "serial", 8, 4)
    assert encoders.stored(8, VIDEO) == [chunk.output for chunk in expected]
    assert encoders.stored(8, VIDEO, "first") == [chunk.first for chunk in expected]
    assert encoders.stored(8, VIDEO, "final_state", "state") == [chunk.final for chunk in expected]
    assert encoders.local.control.get_object(encoders.local.BUCKET, f"{VIDEO}/comp_txt/00000003.txt") == (
        expected[3].comparison
    )
    assert "re-encoding on state 2" in (tmp_path / "times").read_text()


@pytest.mark.parametrize(("kind", "more"), [("late", LATE), ("doubled", DOUBLED)])
def test_a_late_and_a_doubled_worker_change_nothing_in_the_bytes(
    coordinate: Any, encoders: FakeEncoders, tmp_path: Path, kind: str, more: str
) -> None:
    ended = encoders.encode(coordinate, encoders.make(kind, more=more), 4, 4, kind)
    assert ended.status == 0, ended.err
    assert encoders.stored(4, kind) == [chunk.output for chunk in encoders.expected(tmp_path / "serial", 4, 4)]


def test_chunks_wait_for_the_one_before_with_their_encoders_started(
    coordinate: Any, encoders: FakeEncoders, tmp_path: Path
) -> None:
    with Gate() as first_chunk, Gate() as re_encoders:

        def release() -> None:
            """Chunk 0 is encoded when the re-encoders of all the others have been started."""
            re_encoders.await_arrivals(3)
            first_chunk.open()
            re_encoders.open()

        held = {"vpxenc": f"grep -q '^0\\.0\\.' \"$input\" && {first_chunk.command}", "xc-enc": re_encoders.command}
        programs = {name: tmp_path / name for name in held}
        for name, path in programs.items():
            path.write_text(HELD.format(held=held[name]))
        function = encoders.make("held", instead=programs)
        releasing = threading.Thread(target=release)
        releasing.start()
        try:
            ended = encoders.encode(coordinate, function, 4, 4, "held", "-O", "times")
        finally:
            releasing.join()
    assert ended.status == 0, ended.err
    assert encoders.stored(4, "held") == [chunk.output for chunk in encoders.expected(tmp_path / "serial", 4, 4)]
    records = map(json.loads, (tmp_path / "times").read_text().splitlines())
    times = {record["task"]: {text: at for at, text in record["states"]} for record in records}
    assert times[1]["1:(re-encoding on state 0)"] < times[0]["0:(taking its state)"] < times[1]["1:(storing)"]


def test_on_one_host_no_state_directory_need_be_given(coordinate: Any, encoders: FakeEncoders, tmp_path: Path) -> None:
    stack = encoders.local.stack
    endpoints = ("--endpoint-url", stack.lambda_endpoint, "--s3-endpoint-url", stack.s3_endpoint)
    words = ("xcenc", "-l", FUNCTION, "-b", encoders.local.BUCKET, "-n", "2", "-v", "usual")
    secrets = {"AWS_ACCESS_KEY_ID": stack.access_key, "AWS_SECRET_ACCESS_KEY": stack.secret_key}
    encoders.put(2, "usual")
    with rendezvous(env=environment(tmp_path, {})) as port:
        ended = coordinate("-t", "0", *endpoints, *words, "-T", str(port), **secrets)
    assert ended.status == 0, ended.err
    assert encoders.stored(2, "usual") == [chunk.output for chunk in encoders.expected(tmp_path / "serial", 2, 2)]
    assert {path.name for path in (tmp_path / ".local" / "state" / "mu").iterdir()} == {
        "rendezvous-port",
        "rendezvous.lock",
        "tls",
    }


def test_on_two_hosts_files_of_one_genkeys_do_and_a_lack_of_them_is_said(
    coordinate: Any, encoders: FakeEncoders, tmp_path: Path
) -> None:
    generate_keys(tmp_path / "ssl")
    there = tmp_path / "there"
    there.mkdir()
    for name in ("ca_cert", "rendezvous_cert", "rendezvous_key"):
        shutil.copy(tmp_path / "ssl" / f"{name}.pem", there)
    files = ("-c", f"{there}/ca_cert.pem", "-s", f"{there}/rendezvous_cert.pem", "-k", f"{there}/rendezvous_key.pem")
    encoders.put(2, "far")
    with rendezvous("--state-dir", f"{there}/state", *files) as port:
        far = FakeEncoders(encoders.local, encoders.tools, port)
        forgotten = far.run(coordinate, "xcenc", FUNCTION, 2, "far")
        ended = far.run(coordinate, "xcenc", FUNCTION, 2, "far", "-c", "ssl/ca_cert.pem")
    assert forgotten.status == 1
    assert "do not know each other's keys" in forgotten.complained()
    assert "with the same --state-dir, or with files of one `mu genkeys` (-c, -s, -k)" in forgotten.complained()
    assert ended.status == 0, ended.err
    assert encoders.stored(2, "far") == [chunk.output for chunk in encoders.expected(tmp_path / "serial", 2, 2)]


def test_a_missing_encoder_is_found_before_the_launch(coordinate: Any, encoders: FakeEncoders) -> None:
    encoders.make("poor", ["vpxenc", "xc-enc", "comp-states"])
    ended = encoders.encode(coordinate, "poor", 1, 1, "any")
    assert ended.status == 1
    assert "lacks xc-dump, xc-terminate-chunk" in ended.complained()


@pytest.mark.long
@pytest.mark.parametrize("turn", range(20))
def test_sixteen_chunks_come_to_the_same_bytes_every_time(
    coordinate: Any, encoders: FakeEncoders, tmp_path: Path, turn: int
) -> None:
    video = f"turn-{turn}"
    ended = encoders.encode(coordinate, FUNCTION, 16, 16, video)
    assert ended.status == 0, ended.err
    assert encoders.stored(16, video) == [chunk.output for chunk in encoders.expected(tmp_path / "serial", 16, 16)]
