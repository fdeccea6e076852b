from collections.abc import Callable, Iterable
from typing import Any, Final, final

NO_ANSWER: Final = 0
"""The connection failed, or what came was no HTTP; trying again may help."""
CANCELLED: Final = -1
NEVER: Final = -2
"""The server's certificate, the function's name: trying again does not help."""
UNREACHED: Final = -3
"""No connection could be made, so nothing was sent; trying again may help."""

@final
class Result(tuple[str, int, str]):
    @property
    def id(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def error_type(self) -> str: ...
    @property
    def retry_after(self) -> float | None: ...
    @property
    def body(self) -> bytes: ...

@final
class Launcher:
    def __new__(
        cls,
        endpoint: str,
        ca_bundle: str | None = None,
        pool_size: int = 64,
        *,
        connect_timeout: float = 5.0,
        timeout: float = 20.0,
        tail_timeout: float = 5.0,
        proxy: str | None = None,
    ) -> Launcher: ...
    def perform(
        self,
        batch: Iterable[tuple[str, str, bytes]],
        region: str,
        access_key: str,
        secret_key: str,
        token: str | None = None,
        *,
        report: Callable[[list[Result]], Any] | None = None,
    ) -> list[Result]: ...
    def cancel(self, at_once: bool = False) -> None: ...

def sign(
    host: str,
    path: str,
    region: str,
    payload: bytes,
    access_key: str,
    secret_key: str,
    token: str | None = None,
    *,
    timestamp: int,
) -> dict[str, str]: ...
