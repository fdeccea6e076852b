"""Endpoints and launchers of the tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import refusing_port
from tls_endpoint import Endpoint


@pytest.fixture
def absent_port() -> Iterator[int]:
    """A port at which connections are refused."""
    with refusing_port() as port:
        yield port


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Endpoint]]:
    """Start an endpoint; ended after the test, which fails if a signature was wrong."""
    started: list[Endpoint] = []

    def serve(*args: Any, **kwargs: Any) -> Endpoint:
        started.append(Endpoint(tmp_path, *args, **kwargs))
        return started[-1]

    yield serve
    for endpoint in started:
        endpoint.close()
    assert [fault for endpoint in started for fault in endpoint.faults] == []
