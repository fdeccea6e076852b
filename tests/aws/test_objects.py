"""Copying to, from and within S3: what is decided beforehand, and what moto, an S3 of others, then has."""

import io
from pathlib import Path

import pytest

from mu_twisted.aws import AwsControl, AWSError, Clients, aws_session
from mu_twisted.aws.objects import (
    Copying,
    Objects,
    ObjectsError,
    S3Place,
    check_apart,
    copies_of_tree,
    files_below,
    joined,
    place_of,
    s3_place,
)


@pytest.fixture
def objects(moto: None) -> Objects:
    made = Objects(Clients(aws_session(), "us-east-1"))
    made.make_bucket("box")
    return made


@pytest.mark.parametrize("text", ["", "s3://", "s3:///key"])
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ObjectsError):
        place_of(text)


def test_a_word_is_a_place_in_s3_or_a_path() -> None:
    assert place_of("s3://box/a/b") == S3Place("box", "a/b")
    assert place_of("s3://box") == s3_place("s3://box/") == S3Place("box")
    assert place_of("s3") == Path("s3")


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "a/", ".", "a\0b", ""])
def test_a_key_that_is_no_files_name_below_a_folder_is_refused(key: str) -> None:
    with pytest.raises(ObjectsError, match="cannot be a file's name"):
        joined(Path("out"), key)


@pytest.mark.parametrize(("key", "made"), [("", "n"), ("p", "p/n"), ("p/", "p/n")])
def test_keys_are_joined_by_one_slash(key: str, made: str) -> None:
    assert joined(S3Place("box", key), "n") == S3Place("box", made)


def test_two_that_would_become_one_are_refused() -> None:
    one, other = Copying(Path("a/x"), S3Place("box", "x")), Copying(Path("c/x"), S3Place("box", "x"))
    with pytest.raises(ObjectsError, match="would both become s3://box/x"):
        check_apart([one, other])


def test_a_key_that_is_a_file_and_a_folder_is_refused_here_and_kept_in_s3() -> None:
    found = [("a", 1), ("a/b", 2)]
    with pytest.raises(ObjectsError, match="would be a file where"):
        copies_of_tree(S3Place("box"), Path("out"), found)
    assert len(copies_of_tree(S3Place("box"), S3Place("c"), found)) == 2


def test_a_folder_goes_there_and_back(objects: Objects, tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_text("one")
    (source / "sub" / "b").write_text("two")
    told: list[Copying] = []
    objects.copy_all(objects.plan([source], S3Place("box", "p/"), recursive=True), told.append)
    assert [(str(copy.target), copy.size) for copy in told] == [("s3://box/p/a", 3), ("s3://box/p/sub/b", 3)]
    objects.copy_all(objects.plan([S3Place("box", "p")], tmp_path / "out", recursive=True), told.append)
    assert list(files_below(tmp_path / "out")) == [("a", 3), ("sub/b", 3)]
    assert (tmp_path / "out" / "sub" / "b").read_text() == "two"


def test_several_go_below_the_target_and_keep_their_names(objects: Objects, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    plan = objects.plan([tmp_path / "a", tmp_path / "b"], S3Place("box", "p"), recursive=False)
    assert [copy.target for copy in plan] == [S3Place("box", "p/a"), S3Place("box", "p/b")]


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("nosuch", "s3://box/", "cannot read nosuch"),
        ("s3://box/nosuch", "x", "there is no object s3://box/nosuch"),
        (".", "s3://box/x", "is a folder: -r"),
        ("x", "y", "are both here"),
        ("s3://box/p/", "x", "names no object"),
    ],
)
def test_what_makes_no_sense_is_one_line(objects: Objects, source: str, target: str, said: str) -> None:
    with pytest.raises(AWSError, match=said) as caught:
        objects.plan([place_of(source)], place_of(target), recursive=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "s3://", "s3:///key"])
def test_what_can_name_nothing_is_wrong_use(text: str) -> None:
    with pytest.raises(AWSError) as caught:
        place_of(text)
    assert caught.value.misuse


@pytest.mark.parametrize(
    ("source", "target", "misuse"),
    [("x", "y", True), (".", "s3://box/x", True), ("s3://box/", "x", True), ("s3://box/nosuch", "x", False)],
)
def test_wrong_use_is_told_from_what_is_not_there(objects: Objects, source: str, target: str, misuse: bool) -> None:
    with pytest.raises(AWSError) as caught:
        objects.plan([place_of(source)], place_of(target), recursive=False)
    assert caught.value.misuse is misuse


def test_a_bucket_that_is_not_there_is_called_so(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    objects.send_stream(io.BytesIO(b"1"), S3Place("box", "k"))
    gone = S3Place("gone-box", "k")
    for ask in (
        lambda: objects.copy(Copying(tmp_path / "a", gone)),
        lambda: objects.copy(Copying(S3Place("box", "k"), gone)),
        lambda: objects.send_stream(io.BytesIO(b"1"), gone),
        lambda: objects.read_stream(gone, bytes),
        lambda: list(objects.list(gone, recursive=True)),
        lambda: objects.remove_bucket("gone-box", objects=False),
        lambda: objects.remove_bucket("gone-box", objects=True),
    ):
        with pytest.raises(ObjectsError, match="^there is no bucket gone-box.*: `mu mb` makes one$"):
            ask()


def test_nothing_below_a_prefix_is_an_error(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(ObjectsError, match="there is no object below s3://box/none/"):
        objects.plan([S3Place("box", "none")], tmp_path, recursive=True)


def test_streams_go_both_ways(objects: Objects) -> None:
    objects.send_stream(io.BytesIO(b"hello"), S3Place("box", "k"))
    out = io.BytesIO()
    assert objects.read_stream(S3Place("box", "k"), out.write) == 5
    with pytest.raises(ObjectsError, match="^there is no object s3://box/none"):
        objects.read_stream(S3Place("box", "none"), out.write)
    assert out.getvalue() == b"hello"


def test_a_listing_has_folders_or_all(objects: Objects) -> None:
    for key in ("x", "d/y", "d/z"):
        objects.send_stream(io.BytesIO(b"1"), S3Place("box", key))
    assert [each.get("Key") or each["Prefix"] for each in objects.list(S3Place("box"), recursive=False)] == ["d/", "x"]
    assert [each["Key"] for each in objects.list(S3Place("box", "d"), recursive=True)] == ["d/y", "d/z"]


def test_a_bucket_is_made_once_and_removed_with_what_is_in_it_only_if_asked_to(objects: Objects) -> None:
    assert objects.make_bucket("box") is False
    objects.send_stream(io.BytesIO(b"1"), S3Place("box", "k"))
    with pytest.raises(AWSError, match="not empty: --force"):
        objects.remove_bucket("box", objects=False)
    assert objects.remove_bucket("box", objects=True) == 1
    assert objects.buckets() == []


def test_a_download_that_fails_leaves_no_file(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(AWSError):
        objects.copy(Copying(S3Place("box", "gone"), tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_left_empty_is_not_listed_where_the_s3_is_the_embedded_one() -> None:
    class Seaweed:
        """Answers as SeaweedFS does, whose folders outlive what was in them."""

        def get_paginator(self, _: str) -> "Seaweed":
            return self

        def paginate(self, **_: str) -> list[dict[str, object]]:
            return [{"CommonPrefixes": [{"Prefix": "mu-results/"}, {"Prefix": "x/"}], "Contents": [{"Key": "y"}]}]

        def list_objects_v2(self, *, Bucket: str, Prefix: str, MaxKeys: int) -> dict[str, object]:
            return {"Contents": [{"Key": "x/1"}]} if Prefix == "x/" else {"KeyCount": 0}

    clients = Clients(aws_session(), "us-east-1", stack=Path("/stack"))
    vars(clients)["s3"] = Seaweed()
    found = list(Objects(clients).list(S3Place("box"), recursive=False))
    assert found == [{"Prefix": "x/"}, {"Key": "y"}]


def test_what_is_copied_is_counted_as_it_goes(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(20 << 20))
    counts: list[int] = []
    there, back = S3Place("box", "large"), tmp_path / "back"
    for source, target in ((tmp_path / "large", there), (there, S3Place("box", "again")), (there, back)):
        counts.clear()
        objects.copy_all([Copying(source, target, 20 << 20)], lambda _: None, counts.append)
        assert sum(counts) == 20 << 20
        assert len(counts) > 1  # not all at its end
    assert back.read_bytes() == bytes(20 << 20)


def test_a_part_of_an_object_comes_with_the_size_of_the_whole(objects: Objects) -> None:
    control = AwsControl(Clients(aws_session(), "us-east-1"))
    control.put_object("box", "a", b"0123456789")
    control.put_object("box", "empty", b"")
    assert control.get_part("box", "a", 2, 3) == (b"234", 10)
    assert control.get_part("box", "a", 8, 100) == (b"89", 10)
    assert control.get_part("box", "a", 10, 5) == (b"", 10)
    assert control.get_part("box", "empty", 0, 5) == (b"", 0)
    with pytest.raises(AWSError, match="there is no object s3://box/none"):
        control.get_part("box", "none", 0, 5)
