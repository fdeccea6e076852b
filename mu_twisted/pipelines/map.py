"""map runs one shell command for each input of a list, in the manner of GNU parallel.

Inputs are given beside the options (``inputs`` of a request, as ``mu map`` sends them), as ``--range``, or as values
behind ``:::``. Replacements are those of :mod:`mu_twisted.pipelines._replacements`.
"""

from collections.abc import Sequence
from typing import Any

from twisted.python import usage

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import MAX_KEY, JobSettings, Pipeline, PipelineError, PipelineOptions, at_least
from mu_twisted.pipelines._command_task import Transfer, fetch_run_store, file_name
from mu_twisted.pipelines._input_list import InputList, combinations, numbers, shown, split_url
from mu_twisted.pipelines._replacements import (
    ReplacementError,
    TemplatePart,
    fill_command,
    fill_text,
    parse_command,
    parse_text,
    parse_words,
    shown_command,
    unknown_in_command,
    unknown_in_text,
)

SEPARATOR = ":::"
"""Stands before values that are inputs, as in GNU parallel."""
FILES = frozenset({"in", "out"})


def _range(text: str) -> InputList:
    try:
        return numbers(text)
    except ValueError as error:
        raise ValueError(f"--range: {error}") from None


class Options(PipelineOptions):
    """What map takes besides the options of every job."""

    longdesc = (
        "Runs COMMAND in a shell once for each input. In COMMAND {} is the input, {.} the same without its suffix, {/} "
        "its last name, {/.} that without suffix, {//} its folder, {#} its number from 1, {n} its number from 0, {1} "
        "its first column, {name} the column of that name, {key} its key, {line} its line; {in} the file with the "
        "object that it is, {out} the file that is stored at --out. Each is one word of the shell; {name:raw} is its "
        "text as it is."
    )
    optParameters = [
        ["bucket", "b", None, "S3 bucket of --out, where that is a key only"],
        ["out", None, None, "key or s3://BUCKET/KEY of an input's output, with replacements"],
        ["batch", None, 1, "inputs of one task, which are done one after the other", at_least(1, "--batch")],
        [
            "range",
            None,
            None,
            "the inputs: the numbers FIRST:LAST or FIRST:LAST:STEP",
            _range,
        ],
    ]
    synopsis = "[options] [::: VALUE... [::: VALUE...]...] -- COMMAND"

    def take_inputs(self, inputs: InputList) -> None:
        """Inputs that came beside the words."""
        self["inputs"] = inputs

    def parseArgs(self, *words: str) -> None:
        """Values behind ``:::``, and the command behind ``--``.

        One word is taken as shell text, several as a program and its arguments.
        """
        values, command = split_values(words)
        self["values"] = values
        self["command"] = command

    def _check_place(self, words: Sequence[str]) -> None:
        """As for every pipeline, but that values may look like options."""
        if SEPARATOR not in words or ("--" in words and words.index("--") < words.index(SEPARATOR)):
            super()._check_place(words)

    def postOptions(self) -> None:
        """What can be known before anything is looked at: one kind of input, a command, and where outputs go."""
        command = self["command"]
        self["bucket"] = self["bucket"] or ""
        if not any(word.strip() for word in command):
            raise usage.UsageError("map needs a command: map [options] INPUTS -- COMMAND")
        inputs = self["inputs"] = self._inputs()
        self["tasks"] = -(-len(inputs) // self["batch"])
        names = inputs.value_names() | {"n"}
        try:
            inside = names | FILES
            self["pieces"] = parse_command(command[0], inside) if len(command) == 1 else parse_words(command, inside)
        except ReplacementError as error:
            raise usage.UsageError(f"the command: {error}") from None
        looks_unknown = unknown_in_command if len(command) == 1 else unknown_in_text
        self["unknown"] = looks_unknown(" ".join(command), inside)
        fields = [piece for piece in self["pieces"] if not isinstance(piece, str)]
        used = {field.name for field in fields}
        self["calculates"] = any(field.context == "arithmetic" for field in fields)
        if "out" in used and self["out"] is None:
            raise usage.UsageError("the command uses {out}: say with --out where that is stored")
        self["fetches"] = "in" in used
        self["prints"] = self["out"] is not None and "out" not in used
        self["target"] = None if self["out"] is None else self._target(names)

    def _inputs(self) -> InputList:
        given = [self.get("inputs"), self["range"], self["values"] or None]
        found = [one for one in given if one is not None]
        if len(found) != 1:
            what = "there are no inputs" if not found else "inputs are given in two ways"
            raise usage.UsageError(f"{what}: give a list, --range FIRST:LAST, or ::: VALUE...")
        return combinations(found[0]) if isinstance(found[0], list) else found[0]

    def _target(self, names: frozenset[str]) -> tuple[str, tuple[TemplatePart, ...]]:
        url = split_url(self["out"])
        bucket, key = url or (self["bucket"], self["out"])
        if not bucket or (url is None and key.startswith("s3://")):
            raise usage.UsageError(f"--out: expected s3://BUCKET/KEY, or a key and -b BUCKET, got {self['out']!r}")
        self["bucket"] = bucket
        pieces = parse_text(key, names)
        self["unknown"] = (*self["unknown"], *unknown_in_text(key, names))
        for piece in parse_text(key, FILES):
            if not isinstance(piece, str):
                raise usage.UsageError(f"--out: {piece} is a file on the worker, and cannot stand in a key")
        if len(self["inputs"]) > 1 and all(isinstance(piece, str) for piece in pieces):
            raise usage.UsageError(
                f"--out: {len(self['inputs'])} inputs would overwrite one object; put {{}}, {{/.}} or {{#}} in the key"
            )
        return bucket, pieces


def split_values(words: Sequence[str]) -> tuple[list[list[str]], tuple[str, ...]]:
    """The values behind each ``:::``, and the command: what stands behind the first ``--`` after them.

    :raises twisted.python.usage.UsageError: the ``--`` is missing.
    """
    if not words or words[0] != SEPARATOR:
        return [], tuple(words)
    if "--" not in words:
        raise usage.UsageError("put -- between the inputs and the command: ::: a b c -- COMMAND")
    end = list(words).index("--")
    values: list[list[str]] = []
    for word in words[:end]:
        if word == SEPARATOR:
            values.append([])
        else:
            values[-1].append(word)
    return values, tuple(words[end + 1 :])


def inputs_of(settings: JobSettings, task: int) -> range:
    """The numbers of a task's inputs, from 0."""
    batch, inputs = settings["batch"], settings["inputs"]
    return range(task * batch, min((task + 1) * batch, len(inputs)))


def label(settings: JobSettings, task: int) -> str:
    """What the user knows a task by."""
    mine = inputs_of(settings, task)
    first: str = settings["inputs"].label(mine[0])
    return first if len(mine) == 1 else f"{first} and {len(mine) - 1} more"


def names(settings: JobSettings, task: int) -> list[str]:
    """What the user can name a task by: each of its inputs, and several as they are shown."""
    inputs: InputList = settings["inputs"]
    if settings["batch"] == 1:  # the common case, which may be asked of a million tasks
        return [inputs.whole(task)]
    found = [inputs.whole(number) for number in inputs_of(settings, task)]
    return [*found, label(settings, task)]


def output_key(settings: JobSettings, number: int) -> str | None:
    """The key under which an input's output is stored, if it is."""
    if settings["target"] is None:
        return None
    _, pieces = settings["target"]
    return fill_text(pieces, _values(settings, number))


def outputs(settings: JobSettings, task: int) -> list[str]:
    """The objects that a task stores."""
    keys = (output_key(settings, number) for number in inputs_of(settings, task))
    return [key for key in keys if key is not None]


def check(settings: Any, task: int) -> None:
    """Whether a task's inputs can be worked on, and have outputs of their own.

    :raises PipelineError: one line that names the input.
    """
    inputs: InputList = settings["inputs"]
    taken: dict[str, int] = settings.setdefault("keys taken", {})
    for number in inputs_of(settings, task):
        source, key = inputs.source(number), output_key(settings, number)
        if settings["fetches"] and source is None:
            raise PipelineError(
                f"input {inputs.label(number)} is no object, so there is no {{in}}: give s3://BUCKET/KEY, or use {{}}"
            )
        if settings["calculates"]:
            try:
                command_of(settings, number)
            except ReplacementError as error:
                raise PipelineError(f"input {inputs.label(number)}: {error}") from None
        if key is None:
            continue
        if not key or "\0" in key or len(key.encode("utf-8", "surrogateescape")) > MAX_KEY:
            raise PipelineError(
                f"input {inputs.label(number)}: its output's key is empty or longer than {MAX_KEY} bytes"
            )
        if not key.isascii():
            try:
                key.encode("utf-8")
            except UnicodeEncodeError:
                raise PipelineError(
                    f"input {inputs.label(number)}: its output's key would be no UTF-8, as S3 wants keys to be"
                ) from None
        if source == (settings["bucket"], key):
            raise PipelineError(f"input {inputs.label(number)} would be overwritten by its own output: change --out")
        other = taken.setdefault(key, number)
        if other != number:
            raise PipelineError(
                f"inputs {inputs.label(other)} and {inputs.label(number)} have the same output, {shown(key)}: "
                "put more of the input into --out, such as {#}"
            )


def command_of(settings: JobSettings, number: int) -> str:
    """The command of one input as the worker gets it."""
    values = _values(settings, number)
    fetched, stored = _fetched(settings, number), _stored(settings, number)
    files = {"in": fetched.file if fetched else "", "out": stored.file if stored else ""}
    command = fill_command(settings["pieces"], values, files)
    if settings["prints"] and stored is not None:
        command = f"{{ {command}\n}} > '{stored.file}'"
    return command


def command_shown(settings: JobSettings, number: int) -> str:
    """The command of one input for people, with names in place of the worker's files."""
    values = _values(settings, number)
    source, key = inputs_source(settings, number), output_key(settings, number)
    files = {"in": source.rsplit("/", 1)[-1] or "in", "out": (key or "").rsplit("/", 1)[-1] or "out"}
    return shown_command(settings["pieces"], {**values, **files})


def inputs_source(settings: JobSettings, number: int) -> str:
    """The key of an input that is an object, else nothing."""
    source = settings["inputs"].source(number)
    return source[1] if source is not None else ""


async def run_commands(w: Worker) -> None:
    """A task's inputs, one after the other."""
    await run_inputs(w, w.settings, w.task)


async def run_inputs(w: Worker, settings: JobSettings, task: int) -> None:
    """The inputs of a task, by what a map's settings say of it."""
    mine = inputs_of(settings, task)
    clean = ""
    for number in mine:
        if len(mine) > 1:
            w.info["input"] = settings["inputs"].label(number)
        fetched, stored = _fetched(settings, number), _stored(settings, number)
        await fetch_run_store(w, clean + command_of(settings, number), fetched, stored)
        files = [f"'{transfer.file}'" for transfer in (fetched, stored) if transfer is not None]
        clean = f"rm -f -- {' '.join(files)}; " if files else ""


def _values(settings: JobSettings, number: int) -> dict[str, str]:
    values: dict[str, str] = settings["inputs"].values(number)
    values["n"] = str(settings["offset"] + number)
    return values


def _fetched(settings: JobSettings, number: int) -> Transfer | None:
    if not settings["fetches"]:
        return None
    bucket, key = settings["inputs"].source(number)
    return Transfer(key, file_name(key, f"in{number}" if settings["batch"] > 1 else "in"), bucket)


def _stored(settings: JobSettings, number: int) -> Transfer | None:
    key = output_key(settings, number)
    if key is None:
        return None
    return Transfer(key, file_name(key, f"out{number}" if settings["batch"] > 1 else "out"), settings["target"][0])


pipeline = Pipeline(
    name="map",
    summary="run a shell command for each input of a list",
    first=run_commands,
    options=Options,
    outputs=outputs,
    label=label,
    names=names,
    check=check,
)
