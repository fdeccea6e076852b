"""Text that comes from workers and users, made fit to be shown: nothing in it that a terminal would obey."""


def clean(text: str) -> str:
    """The text with every character spelt out that is not printed, line ends and tabs apart."""
    return "".join(c if c.isprintable() or c in "\n\t" else _spelt(c) for c in text)


def on_one_line(text: str) -> str:
    """The text with every character spelt out that is not printed."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _spelt(c) for c in text)


def _spelt(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
