"""Replacements are what stands for a task's input in a command or a key: ``{}``, ``{/.}``, ``{in}`` and their kin.

A command's values come into the shell as variables, ``_mu1='...'; wc -w "${_mu1}"``: whatever a value holds, the shell
never reads it as a program. What is known of the command's quotes decides only how the variable is written, so that
it stays one word. Knows neither pipelines nor workers, apart from the worker's ``##NAME##``, which it keeps values
from containing. Names are GNU parallel's ("Replacement strings", man parallel), and exec's.
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

RESERVED = frozenset({"in", "out", "n", "#"})
"""Names that are mu's own: no column can be called so."""

Quoting = Literal["bare", "double", "single", "arithmetic"]
Values = Mapping[str, str]

_FIELD = re.compile(r"\{([^{}:\s]*)(?::(raw|0?[0-9]{1,9}d?))?\}")
_ON_PATHS: dict[str, Callable[[str], str]] = {
    "/.": lambda path: _without_suffix(posixpath.basename(path)),
    "//": posixpath.dirname,
    "/": posixpath.basename,
    ".": lambda path: _without_suffix(path),
}
_POSITION = re.compile(r"([0-9]*)(/\.|//|/|\.)?")
_INTEGER = re.compile(r"-?[0-9]{1,18}")


class ReplacementError(ValueError):
    """A replacement cannot stand where it does, or has no value there: one line."""


@dataclass(frozen=True)
class Field:
    """A replacement in a text.

    :param name: what stands between the braces.
    :param form: ``raw``, or how a number is written, as ``08d``; empty for neither.
    :param context: of a shell's quotes, where it stands.
    """

    name: str
    form: str = ""
    context: Quoting = "bare"

    def __str__(self) -> str:
        return f"{{{self.name}:{self.form}}}" if self.form else f"{{{self.name}}}"


TemplatePart = str | Field


def is_known(name: str, form: str, names: frozenset[str]) -> bool:
    """Whether braces with this between them are a replacement.

    :param names: those that have values: ``line``, ``1``, columns, ``in``, ...
    """
    if form not in ("", "raw") and name != "n":
        return False
    if name in names:
        return True
    position = _POSITION.fullmatch(name)
    return position is not None and position[1] in names


def value_of(field: Field, values: Values) -> str:
    """What stands for a replacement.

    :param values: of the input; ``""`` is the whole of it.
    """
    if field.name in values:
        text = values[field.name]
        return format(int(text), field.form) if field.form and field.form != "raw" else text
    position = _POSITION.fullmatch(field.name)
    assert position is not None
    return _ON_PATHS[position[2]](values[position[1]])


def parse_text(text: str, names: frozenset[str]) -> tuple[TemplatePart, ...]:
    """A text that no shell reads, such as a key, as its literal pieces and its fields."""
    return _joined(_plain(text, names))


def unknown_in_text(text: str, names: frozenset[str]) -> tuple[str, ...]:
    """What looks like a replacement in a text that no shell reads, and is none: it stays as it is."""
    found = (found for found in _FIELD.finditer(text) if _is_unknown(found, names))
    return tuple(dict.fromkeys(each[0] for each in found))


def unknown_in_command(command: str, names: frozenset[str]) -> tuple[str, ...]:
    """The same for a command as a shell reads it, but for what stands in single quotes: ``awk '{print}'``.

    :raises ReplacementError: as :func:`parse_command`.
    """
    lexer = _Lexer(command, names)
    for _ in lexer.pieces():
        pass
    return tuple(dict.fromkeys(lexer.unknown))


def fill_text(pieces: tuple[TemplatePart, ...], values: Values) -> str:
    """The text with its values."""
    return "".join(piece if isinstance(piece, str) else value_of(piece, values) for piece in pieces)


def parse_words(words: tuple[str, ...], names: frozenset[str]) -> tuple[TemplatePart, ...]:
    """A command that is given as a program and its arguments: each stays one word."""
    return _joined(_quoted_words(words, names))


def parse_command(command: str, names: frozenset[str]) -> tuple[TemplatePart, ...]:
    """A command as a shell reads it, as its literal pieces and its fields.

    :raises ReplacementError: a field stands where no value can, or none can be kept from being read as a program.
    """
    return _joined(_Lexer(command, names).pieces())


def fill_command(pieces: tuple[TemplatePart, ...], values: Values, files: Values | None = None) -> str:
    """The command as the shell gets it.

    :param files: names of files on the worker, which may hold its ``##TMPDIR##``, and are known to hold no quote.
    :raises ReplacementError: a value cannot stand there.
    """
    variables: dict[str, str] = {}
    filled = [piece if isinstance(piece, str) else _filled(piece, values, files or {}, variables) for piece in pieces]
    return _with_variables("".join(filled), variables)


def check_together(pieces: tuple[TemplatePart, ...], common: frozenset[str]) -> None:
    """See that a command can take several inputs at once.

    :param common: names whose value is the same for all of them.
    :raises ReplacementError: a field stands where several values would not be several words.
    """
    for piece in pieces:
        if not isinstance(piece, str) and piece.name not in common and piece.context != "bare":
            where = "double quotes" if piece.context == "double" else "an arithmetic expansion"
            raise ReplacementError(
                f"{piece} stands in {where}, where several inputs would not be several words: leave the quotes out, as "
                "each is quoted by itself"
            )


def fill_together(
    pieces: tuple[TemplatePart, ...], inputs: Sequence[tuple[Values, Values]], common: Mapping[str, str]
) -> str:
    """The command as the shell gets it, for several inputs at once: each field stands for the words of all of them.

    :param inputs: of each its values, and its files as :func:`fill_command` has them.
    :param common: files that they have in common.
    :raises ReplacementError: as :func:`fill_command`.
    """
    variables: dict[str, str] = {}
    filled = []
    for piece in pieces:
        if isinstance(piece, str):
            filled.append(piece)
        elif piece.name in common:
            filled.append(_filled(piece, {}, common, variables))
        elif piece.form != "raw" and all(piece.name in files for _, files in inputs):
            filled.append(" ".join(f"'{files[piece.name]}'" for _, files in inputs))  # no variables: they may be many
        else:
            filled.append(" ".join(_filled(piece, values, files, variables) for values, files in inputs))
    return _with_variables("".join(filled), variables)


def shown_command(
    pieces: tuple[TemplatePart, ...], inputs: Sequence[Values], common: frozenset[str] = frozenset()
) -> str:
    """The command for people to read: values in place, quoted.

    :param inputs: the values of each input that it takes.
    :param common: names whose value is the same for all of them.
    """
    return "".join(
        piece
        if isinstance(piece, str)
        else " ".join(_shown(piece, values) for values in (inputs[:1] if piece.name in common else inputs))
        for piece in pieces
    )


def _shown(field: Field, values: Values) -> str:
    value = value_of(field, values)
    bare = field.context == "bare" and field.form != "raw" and not re.fullmatch(r"[\w@%+:,./-]+", value)
    return quoted(value) if bare else value


def quoted(value: str) -> str:
    """A text as one word of a shell, in which the worker finds no placeholder of its own."""
    return "'" + re.sub(r"#(?=#)", "#''", value.replace("'", "'\"'\"'")) + "'"


# -- inside ------------------------------------------------------------------------------------------------------------


def _filled(field: Field, values: Values, files: Values, variables: dict[str, str]) -> str:
    """What a field becomes in a command.

    :param variables: those of the shell that have values, by these as words; what needs one is added.
    """
    value = value_of(field, {**values, **files})
    if "\0" in value:
        raise ReplacementError(f"{field}: the value holds a NUL, which no command can")
    if field.form == "raw":
        return value
    if field.context == "arithmetic":
        if not _INTEGER.fullmatch(value):
            raise ReplacementError(f"{field} stands in an arithmetic expansion, and is no whole number: {value!r}")
        return value
    word = f"'{value}'" if field.name in files else quoted(value)
    variable = variables.setdefault(word, f"_mu{len(variables) + 1}")
    return f"${{{variable}}}" if field.context == "double" else f'"${{{variable}}}"'


def _with_variables(command: str, variables: Mapping[str, str]) -> str:
    assigned = " ".join(f"{variable}={word}" for word, variable in variables.items())
    return f"{assigned}; {command}" if assigned else command


def _without_suffix(path: str) -> str:
    """As parallel's ``{.}``: a dot in a folder's name, or at the beginning of the file's, begins no suffix."""
    return posixpath.splitext(path)[0]


def _joined(pieces: Iterator[TemplatePart]) -> tuple[TemplatePart, ...]:
    found: list[TemplatePart] = []
    for piece in pieces:
        last = found[-1] if found else None
        if isinstance(piece, str) and isinstance(last, str):
            found[-1] = last + piece
        elif piece != "":
            found.append(piece)
    return tuple(found)


def _plain(text: str, names: frozenset[str]) -> Iterator[TemplatePart]:
    at = 0
    for found in _FIELD.finditer(text):
        name, form = found[1], found[2] or ""
        if is_known(name, form, names):
            yield text[at : found.start()]
            yield Field(name, form)
            at = found.end()
    yield text[at:]


def _is_unknown(found: re.Match[str], names: frozenset[str]) -> bool:
    """Whether what stands between braces may be meant as a replacement: a name that has no value here.

    ``a{2}`` is a regular expression's, ``{a,b}`` and ``{1..3}`` are a shell's.
    """
    before = found.string[: found.start()][-1:]
    if is_known(found[1], found[2] or "", names) or before in ("$", "\\"):
        return False
    if found[1].isdecimal():
        return not (before.isalnum() or (before in "])." and before != ""))
    return re.fullmatch(r"[^\W\d][\w-]*", found[1]) is not None


def _quoted_words(words: tuple[str, ...], names: frozenset[str]) -> Iterator[TemplatePart]:
    for number, word in enumerate(words):
        yield " " if number else ""
        pieces = _joined(_plain(word, names))
        for piece in pieces or ("",):
            if isinstance(piece, Field) or re.fullmatch(r"[\w@%+=:,./-]+", piece, re.ASCII):
                yield piece
            else:  # the user's own text: the worker's placeholders in it are meant
                yield "'" + piece.replace("'", "'\"'\"'") + "'"


class _Lexer:
    """Walks through a command as a shell would, to see in which quotes each field stands.

    Where it is wrong about a shell's finer points a value may fall apart into several words; it is a variable's all
    the same, and no program.
    """

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self._text = text
        self._names = names
        self._nest = ["bare"]
        self._document = False
        self.unknown: list[str] = []
        """What looked like a replacement so far, and is none."""

    def pieces(self) -> Iterator[TemplatePart]:
        at = start = 0
        while at < len(self._text):
            found = _FIELD.match(self._text, at) if self._text[at] == "{" else None
            if found is not None and is_known(found[1], found[2] or "", self._names):
                field = self._field(found[1], found[2] or "")
                if field is not None:
                    yield self._text[start:at]
                    yield field
                    start = found.end()
                at = found.end()
                continue
            if found is not None and self._nest[-1] in ("bare", "double") and _is_unknown(found, self._names):
                self.unknown.append(found[0])
            at += self._step(at)
        yield self._text[start:]

    def _field(self, name: str, form: str) -> Field | None:
        top = self._nest[-1]
        if form == "raw":
            return Field(name, form)
        shown = str(Field(name, form))
        if top == "single":
            if name.isdigit():  # a{2} of a regular expression
                return None
            raise ReplacementError(
                f"{shown} stands in single quotes, where it would be part of a program's text: end the quotes before "
                f"it and begin them again after it, or hand it over as an argument (sh -c '... \"$1\"' sh {shown})"
            )
        if top == "parameter":
            raise ReplacementError(f"{shown} cannot stand within ${{...}}: set a variable to it first")
        if self._document:
            raise ReplacementError(f"{shown} cannot stand behind a here-document (<<): use printf or a variable")
        if top.startswith("arithmetic"):
            return Field(name, form, "arithmetic")
        return Field(name, form, "double" if top == "double" else "bare")

    def _step(self, at: int) -> int:
        """Take one character, or a few that belong together; how many."""
        text, nest = self._text, self._nest
        top, here = nest[-1], text[at]
        if top == "single":
            if here == "'":
                nest.pop()
            return 1
        if here == "\\":
            return 2
        if here == "$" and text.startswith("((", at + 1):
            nest.append("arithmetic")
            return 3
        if here == "$" and text[at + 1 : at + 2] in ("(", "{"):
            nest.append("substitution" if text[at + 1] == "(" else "parameter")
            return 2
        if here == "`":
            nest.pop() if top == "backquote" else nest.append("backquote")
            return 1
        if here == '"':
            nest.pop() if top == "double" else nest.append("double")
            return 1
        if top == "double":
            return 1
        if top == "parameter":
            if here == "}":
                nest.pop()
            elif here == "'":
                nest.append("single")
            return 1
        if top.startswith("arithmetic"):
            return self._arithmetic(at)
        return self._bare(at)

    def _arithmetic(self, at: int) -> int:
        if self._text[at] == "(":
            self._nest.append("arithmetic (")
        elif self._text[at] == ")":
            last = self._nest.pop()
            return 1 if last == "arithmetic (" else 2
        return 1

    def _bare(self, at: int) -> int:
        text, nest, here = self._text, self._nest, self._text[at]
        if here == "'":
            nest.append("single")
        elif here == "(":
            nest.append("substitution")
        elif here == ")" and nest[-1] == "substitution":
            nest.pop()
        elif here == "<" and text.startswith("<<", at):
            if text.startswith("<<<", at):
                return 3
            self._document = True
            return 2
        elif here == "#" and (at == 0 or text[at - 1] in " \t\n;|&("):
            end = text.find("\n", at)
            return (len(text) if end < 0 else end) - at
        return 1
