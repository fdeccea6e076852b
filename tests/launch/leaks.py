"""Many calls of everything in the extension, for a leak checker to watch; ends with status 0 if all went well."""

import contextlib
import sys
import tempfile
from pathlib import Path

from tls_endpoint import ACCEPTED, ACCESS, SECRET, Cut, Endpoint, refusal

from mu_twisted.launch import _launch

BATCH = [(f"a-{at}", "f", b'{"id": "##ID##"}') for at in range(20)]


def answer(request):
    """Each kind in turn, by the launch's number."""
    match int(request.identifier.partition("-")[2]):
        case 1:
            return refusal(500, "ServiceException", "x" * 3000)
        case 2:
            return 429, {"Retry-After": "1"}, b""
        case 3:
            raise Cut(b"garbage")
        case 4:
            raise Cut(reset=True)
        case _:
            return ACCEPTED


def stop(results):
    """A report that fails."""
    raise KeyError(len(results))


def main(directory: str, calls: int) -> None:
    """All calls."""
    assert Path(str(_launch.__file__)).is_relative_to(directory), "the checked extension is not the one that is used"
    with tempfile.TemporaryDirectory() as work:
        endpoint = Endpoint(Path(work), answer, checks=False)
        kept = _launch.Launcher(endpoint.url, str(endpoint.ca), 4)
        for number in range(calls):
            assert len(kept.perform(BATCH, f"us-east-{number % 3}", ACCESS, SECRET, f"token{number}")) == len(BATCH)
            fresh = _launch.Launcher(endpoint.url, str(endpoint.ca), 2)
            fresh.perform(BATCH[:5], "us-east-1", ACCESS, SECRET, report=lambda results: None)
            fresh.cancel()
            fresh.perform(BATCH, "us-east-1", ACCESS, SECRET)
            for wrong in ([1], [("a", "f")], [("", "f", b"")], 7):
                with contextlib.suppress(TypeError, ValueError):
                    kept.perform(wrong, "us-east-1", ACCESS, SECRET)
            with contextlib.suppress(ValueError):
                kept.perform(BATCH, "us-east-1", ACCESS, "\udc80")
            with contextlib.suppress(ValueError):
                _launch.Launcher("http://elsewhere.example")
            _launch.sign("h", "/p", "r", b"x", ACCESS, SECRET, "t", timestamp=1)
        endpoint.close()


main(sys.argv[1], int(sys.argv[2]))
