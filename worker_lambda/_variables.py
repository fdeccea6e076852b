"""A worker's variables are names and values that the coordinator sets and reads. Holds nothing else: no key, socket or
credential can be read out of it (the original keeps them in the same table)."""

from collections.abc import Iterable, Mapping

from mu_twisted.wire import CommandError, parse_integer
from worker_lambda._errors import CommandFailure

MAX_TOTAL = 16 << 20
"""Bytes of all names and values together."""
MAX_DUMP = 2 << 20
"""Bytes of a dump; beyond, its values are cut. Below the limit of a reply."""
_CUT = 200
_PIECE = 4000
_SECRET = (b"srvkey", b"secret", b"password", b"token", b"private_key", b"access_key")


class Variables:
    """Names and values as bytes; a number is kept as its decimal digits, as it would be sent.

    :param first: the values that the event gives; :meth:`restore` returns to them.
    """

    def __init__(self, first: Mapping[bytes, bytes]) -> None:
        self._first = dict(first)
        self._values: dict[bytes, bytes] = {}
        self._size = 0
        self.restore()

    def restore(self) -> None:
        """Forget all that was set since the start."""
        self._values = dict(self._first)
        self._size = sum(len(key) + len(value) for key, value in self._values.items())

    def get(self, key: bytes) -> bytes | None:
        """The value, None if there is none."""
        return self._values.get(key)

    def set(self, key: bytes, value: bytes) -> None:
        """Set a string.

        :raises CommandFailure: all variables together would be too large.
        """
        old = self._values.get(key)
        size = self._size + len(value) + (len(key) if old is None else -len(old))
        if size > MAX_TOTAL:
            raise CommandFailure(f"the variables would take more than {MAX_TOTAL} bytes", "BadCommand")
        self._values[key] = value
        self._size = size

    def set_integer(self, key: bytes, text: bytes) -> None:
        """Set a number of any size: blanks around, a sign and leading zeros are taken off.

        :raises CommandError: the text is no integer; the old value stays.
        :raises CommandFailure: see :meth:`set`.
        """
        self.set(key, canonical_integer(text))

    def integer(self, key: bytes) -> int:
        """The value as a number, 0 if there is none.

        :raises CommandFailure: it is none, or has more than 4000 digits.
        """
        text = self._values.get(key, b"0")
        if len(text) <= _PIECE:
            try:
                return parse_integer(text)
            except CommandError:
                pass
        raise CommandFailure(
            f"the variable {key.decode('utf-8', 'backslashreplace')} is not an integer that can be used", "BadCommand"
        )

    def flag(self, key: bytes) -> bool:
        """Whether a switch is on: a number that is not 0, or text other than that."""
        text = self._values.get(key, b"")
        try:
            return canonical_integer(text) != b"0"
        except CommandError:
            return bool(text)

    def dump(self, hidden: Iterable[str] = ()) -> bytes:
        """All variables on one line, in the manner of a Python dictionary.

        :param hidden: names of secrets that the worker has beside them; shown without their value, as are variables
            whose names say that they are secret.
        """
        shown = {key: b"<secret>" if _is_secret(key) else value for key, value in sorted(self._values.items())}
        shown.update((name.encode(), b"<secret>") for name in hidden)
        text = _listed(shown)
        if len(text) > MAX_DUMP:
            text = _listed({key[:_CUT]: value[:_CUT] for key, value in shown.items()})
        return text if len(text) <= MAX_DUMP else text[:MAX_DUMP] + b"..."


def canonical_integer(text: bytes) -> bytes:
    """Decimal digits without blanks, plus sign and leading zeros. Takes time linear in the length.

    :raises CommandError: it is no integer, by :func:`mu_twisted.wire.parse_integer`.
    """
    stripped = text.strip()
    head, rest = stripped[:_PIECE], stripped[_PIECE:]
    parse_integer(head)
    if rest and not rest.isdigit():
        raise CommandError("could not interpret the value as an integer")
    digits = stripped.lstrip(b"+-").lstrip(b"0") or b"0"
    return b"-" + digits if stripped.startswith(b"-") and digits != b"0" else digits


def _is_secret(key: bytes) -> bool:
    name = key.lower()
    return any(word in name for word in _SECRET)


def _listed(values: Mapping[bytes, bytes]) -> bytes:
    pairs = (f"{_quoted(key)}: {_quoted(value)}" for key, value in values.items())
    return ("{" + ", ".join(pairs) + "}").encode("ascii")


def _quoted(value: bytes) -> str:
    return ascii(value.decode("utf-8", "surrogateescape"))
