from collections.abc import Callable, Sequence

NO_ANSWER: int
CANCELLED: int
NEVER: int
LIBCURL: str

class Result(tuple[str, int, str, tuple[float, float, float, float, float]]):
    @property
    def id(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def times(self) -> tuple[float, float, float, float, float]: ...
    @property
    def error_type(self) -> str: ...
    @property
    def retry_after(self) -> float | None: ...
    @property
    def body(self) -> bytes: ...

class Launcher:
    def __new__(
        cls,
        endpoint: str,
        ca_bundle: str | None = None,
        pool_size: int = 64,
        *,
        connect_timeout: float = 5.0,
        timeout: float = 20.0,
        proxy: str | None = None,
    ) -> Launcher: ...
    def perform(
        self,
        batch: Sequence[tuple[str, str, bytes]],
        region: str,
        access_key: str,
        secret_key: str,
        token: str | None = None,
        *,
        report: Callable[[list[Result]], object] | None = None,
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
