"""Text from workers, users and other programs is made fit to be shown here, with nothing that a terminal obeys."""


def one_line(text: str, limit: int | None = None) -> str:
    """The text on one line: runs of white space become a blank, other characters that do not print are escaped.

    :param limit: characters that are kept; what is cut off is replaced by ``...``. None: all.
    """
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else _escaped(c) for c in line)
    return line if limit is None or len(line) <= limit else line[:limit] + "..."


def terminal_safe(text: str) -> str:
    """The text with every character escaped that does not print, but for line ends and tabs."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
