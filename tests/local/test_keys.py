"""Keys that the embedded S3 cannot keep apart are refused, by any tool; the others are kept as they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.process

FOLDED = ["a//b", "/a", "a\\b", "dir/", "./a", "a/../b", "n" * 256]
KEPT = ["a/b", "a", "sp ace+%2F", "\u00e9/\U0001f600", "..x/y.."]


@pytest.fixture(scope="module")
def s3(one: Any, connector: Callable[..., Any]) -> Any:
    client = connector(one.stack, "s3")
    client.create_bucket(Bucket="keys")
    yield client
    client.close()


def listed(s3: Any) -> dict[str, bytes]:
    found = {}
    for entry in s3.list_objects_v2(Bucket="keys").get("Contents", ()):
        with closing(s3.get_object(Bucket="keys", Key=entry["Key"])["Body"]) as body:
            found[entry["Key"]] = body.read()
    return found


def test_boto3_is_told_which_keys_cannot_be_kept_and_keeps_the_others(s3: Any) -> None:
    for key in KEPT:
        s3.put_object(Bucket="keys", Key=key, Body=key.encode())
    before = listed(s3)
    assert before == {key: key.encode() for key in KEPT}
    for key in FOLDED:
        for call in (
            lambda key=key: s3.put_object(Bucket="keys", Key=key, Body=b"other"),
            lambda key=key: s3.create_multipart_upload(Bucket="keys", Key=key),
            lambda key=key: s3.copy_object(Bucket="keys", Key=key, CopySource={"Bucket": "keys", "Key": "a"}),
        ):
            with pytest.raises(ClientError, match="cannot keep the key"):
                call()
    for key in set(FOLDED) - {"dir/"}:
        with pytest.raises(ClientError, match="cannot keep the key"):
            s3.delete_object(Bucket="keys", Key=key)
        with pytest.raises(ClientError, match="cannot keep the key"):
            s3.delete_objects(Bucket="keys", Delete={"Objects": [{"Key": "a"}, {"Key": key}]})
    assert listed(s3) == before


def test_a_large_upload_under_such_a_key_is_told_so(s3: Any, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (20 << 20))
    with pytest.raises(Exception, match="cannot keep the key"):
        s3.upload_file(str(tmp_path / "large"), "keys", "large//x")


def test_a_workers_upload_under_such_a_key_fails_with_that_line(
    s3: Any, one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker_lambda.s3 import S3

    for name, value in one.stack.environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "large").write_bytes(b"x" * (20 << 20))
    before = listed(s3)
    client = S3("us-east-1")
    for name in ("small", "large"):
        for key in ("out//1", "out/1/", "out\\1"):
            with pytest.raises(Exception, match="cannot keep the key"):
                client.put("keys", key.encode(), str(tmp_path / name), lambda: False)
    assert listed(s3) == before
