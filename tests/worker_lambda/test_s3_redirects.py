"""Where redirects send a request, and where they may not."""

from __future__ import annotations

import pytest
from s3_server import failure, never, serving


@pytest.mark.parametrize(
    "answer",
    [
        lambda h: h.refuse(301, "PermanentRedirect", "elsewhere", {"x-amz-bucket-region": "eu-west-3"}),
        lambda h: h.refuse(307, "TemporaryRedirect", "elsewhere", {"x-amz-bucket-region": "eu-west-3"}),
        lambda h: h.answer(
            400, b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>", {}
        ),
    ],
    ids=["301", "307", "400"],
)
def test_a_bucket_in_another_region_is_found_once_and_remembered(server, s3, tmp_path, answer):
    server.region = "eu-west-3"
    server.objects[b"/b/k"] = b"there"
    server.script = [answer]
    s3.get("b", b"k", str(tmp_path / "out"), never)
    s3.get("b", b"k", str(tmp_path / "out"), never)
    assert len(server.requests) == 3


def test_a_temporary_redirect_is_followed_and_signed_for_its_host(server, s3, tmp_path):
    with serving() as other:
        server.script = [
            lambda h: h.refuse(307, "TemporaryRedirect", "there", {"location": f"{other.url}{h.path}?a=b"})
        ]
        (tmp_path / "in").write_bytes(b"moved")
        s3.put("b", b"k +", str(tmp_path / "in"), never)
        assert other.objects == {b"/b/k +": b"moved"}
        assert not server.objects


@pytest.mark.parametrize("location", ["http://localhost:1/b/k", "https://127.0.0.1:1/b/k", "http://x.amazonaws.com/"])
def test_a_redirect_to_a_foreign_host_is_not_followed(server, s3, tmp_path, location):
    server.script = [lambda h: h.refuse(307, "TemporaryRedirect", "there", {"location": location})]
    assert "307 TemporaryRedirect" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)


def test_redirects_in_a_circle_end(server, s3, tmp_path):
    server.script = [lambda h: h.refuse(307, "TemporaryRedirect", "here", {"location": f"{server.url}/b/k"})] * 9
    assert "307" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)
    assert len(server.requests) == 4
