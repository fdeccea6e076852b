"""Credentials by botocore's chain, and nothing secret in what can be printed."""

import pytest

from mu_twisted.aws import AccessKeys, AWSError, aws_session, current_keys


@pytest.fixture(autouse=True)
def no_keys_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_the_seeds_two_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "shhh")
    assert current_keys(aws_session()) == AccessKeys("AKIDEXAMPLE", "shhh", None)


def test_keys_that_are_given_are_used_as_they_are() -> None:
    keys = AccessKeys("A", "B", "C")
    assert current_keys(aws_session(keys)) == keys


def test_none_at_all_is_one_line_that_names_both_ways_out() -> None:
    with pytest.raises(AWSError) as caught:
        current_keys(aws_session())
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)
    assert "--local" in str(caught.value)


def test_a_profile_that_does_not_exist_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nosuch")
    with pytest.raises(AWSError, match="nosuch"):
        current_keys(aws_session())


def test_the_text_of_keys_shows_no_secret() -> None:
    assert "shhh" not in repr(AccessKeys("A", "shhh", "shhh-token"))
