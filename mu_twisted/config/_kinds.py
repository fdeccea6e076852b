"""A kind of setting checks a value from a file or from the environment, and gives it as a command line has it."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
LONGEST = 4096
"""Characters of a value."""


@dataclass(frozen=True)
class Kind:
    """What values a setting takes.

    :param wanted: completes the sentence "expected ...".
    :param check: takes a text, and returns it as an option takes it.
    :param types: what the file may have in place of a text; numbers are written as text, lists joined by commas.
    """

    wanted: str
    check: Callable[[str], str | bool]
    types: tuple[type, ...] = ()

    def from_text(self, text: str) -> str | bool:
        """The value of a variable of the environment.

        :raises ValueError: it is none of this kind.
        """
        if len(text) > LONGEST or any(not letter.isprintable() for letter in text):
            raise ValueError
        return self.check(text)

    def from_toml(self, value: object) -> str | bool:
        """The value of a key of the file.

        :raises ValueError: it is none of this kind.
        """
        if isinstance(value, bool):
            if bool not in self.types:
                raise ValueError
            return value
        if isinstance(value, list) and list in self.types and all(isinstance(each, str) for each in value):
            return self.from_text(",".join(value))
        if not isinstance(value, str) and not (isinstance(value, int | float) and type(value) in self.types):
            raise ValueError
        return self.from_text(str(value))


def _flag(text: str) -> bool:
    lower = text.lower()
    if lower not in (*_YES, *_NO):
        raise ValueError
    return lower in _YES


def _matches(pattern: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise ValueError
        return text

    return check


def _path(text: str) -> str:
    path = Path(text).expanduser() if text.startswith("~/") else Path(text)
    if not path.is_absolute():
        raise ValueError  # relative to which directory? the same line is for commands in any
    return str(path)


def _from(low: int, high: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if re.fullmatch("[0-9]{1,9}", text, re.ASCII) is None or not low <= int(text) <= high:
            raise ValueError
        return text

    return check


def _between(low: float, high: float) -> Callable[[str], str]:
    def check(text: str) -> str:
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII) is None or not low <= float(text) <= high:
            raise ValueError
        return text

    return check


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    _host(host)
    _from(1, 65535)(port)
    return text


def _host(text: str) -> str:
    if not is_host(text):
        raise ValueError
    return text


def is_host(text: str) -> bool:
    """Whether it may be a host's name (RFC 1123; underscores are in use) or an IP address."""
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        labels = text.removesuffix(".").split(".")
        return len(text) < 256 and all(_LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
    return True


FLAG = Kind("true or false", _flag, (bool,))
PATH = Kind("a path that begins with / or ~/", _path)
BUCKET = Kind("a bucket's name", _matches(r"[a-z0-9][a-z0-9._-]{2,254}"))
FUNCTION = Kind("a function's name or ARN", _matches(r"[A-Za-z0-9:_/-]{1,170}"))
NAME = Kind("a name", _matches(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}"))
REGIONS = Kind("a region, or several", _matches(r"[a-z0-9-]{1,40}(,[a-z0-9-]{1,40})*"), (list,))
ROLE = Kind("the ARN of a role", _matches(r"arn:[a-z0-9-]+:iam::[0-9]*:role/[!-~]{1,512}"))
CODE_BUCKET = Kind("a bucket's name, in which {region} may stand", _matches(r"[a-z0-9.{}_-]{3,255}"))
URL = Kind("a URL of http or https, with no password in it", _matches(r"https?://[^\s@]{1,500}"))
ADDRESS = Kind("HOST:PORT", _address)
HOST = Kind("a host's name or address", _host)
PORT = Kind("a port from 1 to 65535", _from(1, 65535), (int,))
ANY_PORT = Kind("a port from 0 to 65535, 0 for any", _from(0, 65535), (int,))
LISTENER = Kind("a port, or a Twisted endpoint string", _matches(r"[0-9]{1,5}|[a-z0-9]+:[!-~]{1,200}"), (int,))
SECONDS = Kind("a number of seconds above 0, below 1000000", _between(0.001, 999_999), (int, float))
FACTOR = Kind("a number of at least 1, below 1000000", _between(1, 999_999), (int, float))
AMOUNT = Kind("an amount above 0, below 1000000000", _between(0.000001, 999_999_999), (int, float))
RATE = Kind("a number above 0, at most 100000", _between(0.001, 100_000), (int, float))
DAYS = Kind("a number of days from 0 to 36500", _between(0, 36_500), (int, float))
COUNT = Kind("a whole number from 1 to 1000000", _from(1, 1_000_000), (int,))
COUNT_OR_NONE = Kind("a whole number from 0 to 1000000", _from(0, 1_000_000), (int,))
SHARDS = Kind("a whole number from 1 to 256", _from(1, 256), (int,))
MEMORY = Kind("MB from 128 to 32768", _from(128, 32_768), (int,))
TMP_SIZE = Kind("MB from 512 to 32768", _from(512, 32_768), (int,))
FUNCTION_TIME = Kind("seconds from 1 to 5400", _from(1, 5400), (int,))
HALT = Kind(
    "never, or now or soon with ,fail=NUMBER or ,fail=PERCENT%",
    _matches(r"never|(now|soon),fail=([1-9][0-9]{0,5}|100%|[1-9][0-9]?(\.[0-9]{1,6})?%)"),
)
