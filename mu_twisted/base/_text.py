"""Text from workers, users and other programs is made fit to be shown here, with nothing that a terminal obeys.

Knows characters only; what is secret in a text is :mod:`~mu_twisted.base.masking`'s to say.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would have to be imported, at every start of a worker
if TYPE_CHECKING:
    from typing import Any


def one_line(text: str, limit: int | None = None) -> str:
    """The text on one line: runs of white space become a blank, other characters that do not print are escaped.

    :param limit: characters that are kept; what is cut off is replaced by ``...``. None: all.
    """
    return printable(" ".join(text.split()), limit)


def printable(text: str, limit: int | None = None) -> str:
    """The text with every character escaped that does not print, line ends and tabs too; blanks stay as they are.

    For what is quoted to the letter: a file's name, a line of a program's output.

    :param limit: characters that are kept; what is cut off is replaced by ``...``. None: all.
    """
    if limit is not None:
        text = text[: limit + 1]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(c) for c in text)
    return text if limit is None or len(text) <= limit else text[:limit] + "..."


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with what it counts, as ``1 task`` and ``2 tasks``.

    :param one: the word for one.
    :param many: that for none or several; None: the same with an ``s``.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


def byte_size(count: int) -> str:
    """Bytes as people read them, as ``1.2 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return counted(count, "byte")


def terminal_safe(text: str) -> str:
    """The text with every character escaped that does not print, but for line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def unicode_only(content: Any) -> Any:
    """JSON's content with those bytes in its texts escaped that UTF-8 cannot hold."""
    if isinstance(content, str):
        return content.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(content, dict):
        return {key: unicode_only(value) for key, value in content.items()}
    if isinstance(content, list):
        return [unicode_only(value) for value in content]
    return content


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
