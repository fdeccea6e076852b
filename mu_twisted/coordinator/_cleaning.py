"""Texts of workers and users are made fit to be shown here: nothing stays in them that a terminal would obey."""

from typing import Any


def clean(text: str) -> str:
    """The text with every character spelt out that is not printed, line ends and tabs apart."""
    return "".join(c if c.isprintable() or c in "\n\t" else _spelt(c) for c in text)


def on_one_line(text: str) -> str:
    """The text with every character spelt out that is not printed."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _spelt(c) for c in text)


def joined(text: str) -> str:
    """Lines as one, with a bar between them."""
    return " | ".join(line.strip() for line in text.splitlines())


def unicode_only(content: Any) -> Any:
    """JSON's content with strange bytes in its texts spelt out, which UTF-8 could not hold."""
    if isinstance(content, str):
        return content.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(content, dict):
        return {key: unicode_only(value) for key, value in content.items()}
    if isinstance(content, list):
        return [unicode_only(value) for value in content]
    return content


def _spelt(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
