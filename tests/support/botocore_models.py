"""botocore reads its descriptions of AWS's services, megabytes of JSON, once in a process of the tests.

Each session reads them for itself otherwise, and nearly every test that asks AWS makes one.
"""

import functools

import boto3
import botocore.loaders
import botocore.session


class _Models(botocore.loaders.Loader):
    """Sessions add boto3's directory to the paths that they search: here it is among them, once."""

    @property
    def search_paths(self) -> list[str]:
        return list(super().search_paths)


@functools.cache
def _loader(paths: str | None = None) -> botocore.loaders.Loader:
    extra = [] if paths is None else paths.split(":")
    return _Models(extra_search_paths=[*extra, f"{boto3.__path__[0]}/data"])


def share() -> None:
    """From now on each session of this process has the same descriptions."""
    botocore.session.create_loader = _loader
