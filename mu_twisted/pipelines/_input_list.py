"""An input list is what the tasks of a job work on, one after the other: keys, lines, rows of a table.

It travels beside the words of a job, packed, so that it may be long: :func:`pack` and :func:`unpack` are its one form
in requests and journals. Everything in it comes from outside, and may hold any character but NUL. Bytes that are no
UTF-8 are kept as Python's ``surrogateescape`` writes them.
"""

import base64
import binascii
import csv
import io
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mu_twisted.base import printable
from mu_twisted.pipelines._replacements import RESERVED
from mu_twisted.pipelines._user_code import PipelineError

MAX_INPUTS = 1_000_000
"""Of one job: with one a task as many as tasks."""
MAX_INPUT = 16 << 10
"""Bytes of one: with a command around it still far below what a shell takes."""
MAX_BYTES = 48 << 20
"""Bytes of a list that is unpacked: it is read in one turn of the coordinator's, 10 ms a megabyte."""
MAX_PACKED = 8 << 20
"""Characters of a packed list."""
MAX_COLUMNS = 256
_FORM = "mu.inputs.1"
_SHOWN = 200


@dataclass(frozen=True)
class InputList:
    """Inputs in their order.

    :param columns: each column's values, all of the same length; one column at least.
    :param names: of the columns, where they have some.
    :param bucket: the inputs are objects in it: the last column has their keys, the first what the user calls them.
        None: they are texts.
    :param following: the lists of further stages of the job; none of them has some of its own.
    """

    columns: tuple[Sequence[str], ...]
    names: tuple[str, ...] = ()
    bucket: str | None = None
    following: tuple["InputList", ...] = ()

    def __len__(self) -> int:
        return len(self.columns[0])

    def row(self, number: int) -> tuple[str, ...]:
        """The values of one input."""
        return tuple(column[number] for column in self.columns)

    def whole(self, number: int) -> str:
        """An input as one text: what ``{}`` stands for, and what the user knows it by."""
        if self.bucket is not None or len(self.columns) == 1:
            return self.columns[0][number]
        if not self.names:
            return " ".join(self.row(number))
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(self.row(number))
        return line.getvalue()

    def source(self, number: int) -> tuple[str, str] | None:
        """Bucket and key of the object that an input is; None where it is none.

        One is where objects were listed, and where the first value is ``s3://BUCKET/KEY``.
        """
        if self.bucket is not None:
            return self.bucket, self.columns[-1][number]
        return split_url(self.columns[0][number])

    def label(self, number: int) -> str:
        """An input as it is shown, on one line."""
        return shown(self.whole(number))

    def values(self, number: int) -> dict[str, str]:
        """What replacements stand for, but for ``in`` and ``out``."""
        found = {"": self.whole(number), "#": str(number + 1)}
        found["line"] = found[""]
        source = self.source(number)
        if source is not None:
            found["key"] = source[1]
        row = self.row(number) if self.bucket is None else (found[""],)
        found.update((str(at), value) for at, value in enumerate(row, 1))
        found.update(zip(self.names, row, strict=False))
        return found

    def value_names(self) -> frozenset[str]:
        """Names of what replacements can stand for, but for ``in`` and ``out``."""
        positions = range(1, 2 if self.bucket is not None else len(self.columns) + 1)
        return frozenset({"", "#", "line", "key", *map(str, positions), *self.names})


def shown(text: str) -> str:
    """A text on one line, without what a terminal would obey, and not longer than can be read."""
    return printable(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), _SHOWN)


def split_url(text: str) -> tuple[str, str] | None:
    """Bucket and key of ``s3://BUCKET/KEY``; None for anything else."""
    if not text.startswith("s3://"):
        return None
    bucket, slash, key = text[5:].partition("/")
    return (bucket, key) if bucket and slash and key else None


def numbers(text: str) -> InputList:
    """The list of ``FIRST:LAST`` or ``FIRST:LAST:STEP``; the last is among them.

    :raises ValueError: it is none.
    """
    try:
        parts = [int(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 2 <= len(parts) <= 3 or (len(parts) == 3 and parts[2] == 0) or any(abs(part) >= 1 << 62 for part in parts):
        raise ValueError(f"expected FIRST:LAST or FIRST:LAST:STEP, got {text!r}")
    step = parts[2] if len(parts) == 3 else 1
    found = range(parts[0], parts[1] + (1 if step > 0 else -1), step)
    if not found:
        where = "below" if step > 0 else "above"
        raise ValueError(f"expected FIRST:LAST[:STEP], got {text!r}: LAST is {where} FIRST, and STEP counts {step:+d}")
    if len(found) > MAX_INPUTS:
        raise ValueError(f"expected FIRST:LAST[:STEP] of at most {MAX_INPUTS} numbers, got {text!r}")
    return InputList((_Texts(found),))


def combinations(lists: Sequence[Sequence[str]]) -> InputList:
    """All combinations of one value of each list, the last list's changing fastest, as GNU parallel has them.

    :param lists: each with one value at least.
    :raises PipelineError: there are more than :data:`MAX_INPUTS`, or a list is empty.
    """
    if not lists or not all(lists):
        raise PipelineError("::: is followed by no value: give some, as in ::: a b c")
    count = 1
    for values in lists:
        count *= len(values)
        if count > MAX_INPUTS:
            raise PipelineError(f"these values have more than {MAX_INPUTS} combinations: submit several jobs")
    columns = zip(*itertools.product(*lists), strict=True)
    return checked(InputList(tuple(columns)))


def checked(inputs: InputList) -> InputList:
    """The list, if a job can have it.

    :raises PipelineError: there are too many inputs, or one is too long, or holds a NUL; or a column's name is taken.
    """
    if not inputs.columns or not len(inputs):
        raise PipelineError("there are no inputs")
    if len(inputs) > MAX_INPUTS:
        raise PipelineError(f"{len(inputs)} inputs are more than a job takes, {MAX_INPUTS}: submit several")
    if len(inputs.columns) > MAX_COLUMNS:
        raise PipelineError(f"{len(inputs.columns)} columns are more than a table may have, {MAX_COLUMNS}")
    for name in inputs.names:
        if name in RESERVED:
            raise PipelineError(f"a column is called {name!r}, a name of mu's own: rename it")
    if len(set(inputs.names)) != len(inputs.names):
        twice = next(name for name in inputs.names if inputs.names.count(name) > 1)
        raise PipelineError(f"two columns are called {twice!r}: rename one")
    for number, values in enumerate(zip(*inputs.columns, strict=True)):
        size = sum(map(len, values))
        if size > MAX_INPUT or (size > MAX_INPUT // 4 and sum(map(_bytes, values)) > MAX_INPUT):
            raise PipelineError(f"input {number + 1} is longer than {MAX_INPUT} bytes: {inputs.label(number)}")
        if any("\0" in value for value in values):
            raise PipelineError(f"input {number + 1} holds a NUL, which no command can: {inputs.label(number)}")
    return inputs


def pack(inputs: InputList) -> str:
    """The list as it travels.

    :raises PipelineError: it is too large for that.
    """
    plain: dict[str, object] = {"form": _FORM, **_plain(inputs)}
    if inputs.following:
        plain["following"] = [_plain(one) for one in inputs.following]
    raw = json.dumps(plain, separators=(",", ":")).encode("ascii")
    count = sum(map(len, (inputs, *inputs.following)))
    if len(raw) > MAX_BYTES:
        raise PipelineError(f"{count} inputs of {len(raw)} bytes are more than {MAX_BYTES}: submit several jobs")
    packed = base64.b64encode(zlib.compress(raw)).decode("ascii")
    if len(packed) > MAX_PACKED:
        raise PipelineError(
            f"{count} inputs are {len(packed)} bytes even if compressed, at most {MAX_PACKED} are taken: "
            "submit several jobs"
        )
    return packed


def unpack(packed: str) -> InputList:
    """The list that :func:`pack` was given.

    :raises PipelineError: there is none in it, or it is too large.
    """
    if len(packed) > MAX_PACKED:
        raise PipelineError(f"a packed list of inputs has at most {MAX_PACKED} characters, not {len(packed)}")
    try:
        reading = zlib.decompressobj()
        raw = reading.decompress(base64.b64decode(packed, validate=True), MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise PipelineError(f"the list of inputs has more than {MAX_BYTES} bytes")
        if not reading.eof:
            raise PipelineError("the list of inputs is cut off")
        plain = json.loads(raw)
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise PipelineError(f"the list of inputs cannot be read: {error}") from None
    if not isinstance(plain, Mapping) or plain.get("form") != _FORM:
        raise PipelineError(f"the list of inputs is in a form that is not known here: expected {_FORM}")
    further = plain.get("following", [])
    if not isinstance(further, list):
        raise PipelineError("the list of inputs is damaged: what follows it is no list")
    following = tuple(_from_plain(one) for one in further)
    return replace(_from_plain(plain), following=following)


def _plain(inputs: InputList) -> dict[str, object]:
    plain: dict[str, object] = {"columns": [list(column) for column in inputs.columns]}
    if inputs.names:
        plain["names"] = inputs.names
    if inputs.bucket is not None:
        plain["bucket"] = inputs.bucket
    return plain


def _from_plain(plain: object) -> InputList:
    found = plain if isinstance(plain, Mapping) else {}
    columns, names, bucket = found.get("columns"), found.get("names", []), found.get("bucket")
    if (
        not isinstance(columns, list)
        or not isinstance(names, list)
        or not _are_lists_of_texts([*columns, names])
        or not isinstance(bucket, str | None)
        or len({len(column) for column in columns}) != 1
        or len(names) > len(columns)
    ):
        raise PipelineError("the list of inputs is damaged: its columns are not lists of texts of one length")
    return checked(InputList(tuple(columns), tuple(names), bucket))


class _Texts(Sequence[str]):
    """The numbers of a range as texts, made when they are asked for."""

    def __init__(self, of: range) -> None:
        self._of = of

    def __len__(self) -> int:
        return len(self._of)

    def __getitem__(self, at: int) -> str:  # type: ignore[override]
        return str(self._of[at])

    def __iter__(self) -> Iterator[str]:
        return map(str, self._of)


def _are_lists_of_texts(lists: Sequence[object]) -> bool:
    return all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
