"""map runs one shell command for each input of a list, in the manner of GNU parallel.

Inputs are given beside the options (``inputs`` of a request, as ``mu map`` sends them), as ``--range``, or as values
behind ``:::``. Replacements are those of :mod:`mu_twisted.pipelines._replacements`.
"""

from collections.abc import Sequence
from typing import Any

from twisted.python import usage

from mu_twisted.base import counted
from mu_twisted.fsm import Worker
from mu_twisted.pipelines import MAX_KEY, JobSettings, Pipeline, PipelineError, PipelineOptions, at_least
from mu_twisted.pipelines._command_task import Transfer, fetch_run_store, file_name
from mu_twisted.pipelines._input_list import InputList, combinations, numbers, shown, split_url
from mu_twisted.pipelines._replacements import (
    ReplacementError,
    TemplatePart,
    check_together,
    fill_command,
    fill_text,
    fill_together,
    parse_command,
    parse_text,
    parse_words,
    shown_command,
    unknown_in_command,
    unknown_in_text,
)

SHOWN = 5
"""Inputs that are taken together, in a command for people."""
SEPARATOR = ":::"
"""Stands before values that are inputs, as in GNU parallel."""
FILES = frozenset({"in", "out"})
COMMON = frozenset({"out"})
"""What is the same for all inputs that a command takes together."""
MAX_TOGETHER = 5000
"""Inputs that one command takes: more would be longer than a command may be, whatever they are called."""
MAX_COMMAND = (128 << 10) - 1
"""Bytes of a command, as a shell takes it."""
WORKER_DIRECTORY = 48
"""Bytes that the name of a worker's directory may have."""


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
        "text as it is. With --together COMMAND runs once for all inputs of a task, and each of these but {out} is a "
        "word for each of them."
    )
    optParameters = [
        ["bucket", "b", None, "S3 bucket of --out, where that is a key only"],
        ["out", None, None, "key or s3://BUCKET/KEY of an input's output, with replacements"],
        [
            "batch",
            None,
            None,
            "inputs of one task, which are done one after the other (1; with --together all)",
            at_least(1, "--batch"),
        ],
        [
            "range",
            None,
            None,
            "the inputs: the numbers FIRST:LAST or FIRST:LAST:STEP",
            _range,
        ],
    ]
    optFlags = [["together", None, "give COMMAND all inputs of a task at once"]]
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
        if self["batch"] is None:
            self["batch"] = len(inputs) if self["together"] else 1
        each = min(self["batch"], len(inputs))
        if self["together"] and each > MAX_TOGETHER:
            raise usage.UsageError(
                f"--together: a command would take {each} inputs, at most {MAX_TOGETHER}: say with --batch how many"
                " each task takes"
            )
        self["tasks"] = -(-len(inputs) // self["batch"])
        names = inputs.value_names() | {"n"}
        try:
            inside = names | FILES
            self["pieces"] = parse_command(command[0], inside) if len(command) == 1 else parse_words(command, inside)
            if self["together"]:
                check_together(self["pieces"], COMMON)
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
        outputs = self["tasks"] if self["together"] else len(self["inputs"])
        if outputs > 1 and all(isinstance(piece, str) for piece in pieces):
            what = "tasks" if self["together"] else "inputs"
            raise usage.UsageError(
                f"--out: {outputs} {what} would overwrite one object; put {{}}, {{/.}} or {{#}} in the key"
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


def results(settings: JobSettings) -> int:
    """How many results the tasks have in all: of inputs that are taken together there is one a task, else one each."""
    count: int = settings["tasks"] if settings["together"] else len(settings["inputs"])
    return count


def results_of(settings: JobSettings, task: int) -> range:
    """The numbers of a task's results, from 0."""
    return range(task, task + 1) if settings["together"] else inputs_of(settings, task)


def task_of(settings: JobSettings, result: int) -> int:
    """The task that a result is one of."""
    return result if settings["together"] else result // int(settings["batch"])


def result_label(settings: JobSettings, result: int) -> str:
    """What the user knows a result by."""
    return label(settings, result) if settings["together"] else settings["inputs"].label(result)


def _first(settings: JobSettings, result: int) -> int:
    """The first input of a result."""
    return inputs_of(settings, result)[0] if settings["together"] else result


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


def output_key(settings: JobSettings, result: int) -> str | None:
    """The key under which a result is stored, if it is; where inputs are taken together, by the first of them."""
    if settings["target"] is None:
        return None
    _, pieces = settings["target"]
    return fill_text(pieces, _values(settings, _first(settings, result)))


def outputs(settings: JobSettings, task: int) -> list[str]:
    """The objects that a task stores."""
    keys = (output_key(settings, result) for result in results_of(settings, task))
    return [key for key in keys if key is not None]


def check(settings: Any, task: int) -> None:
    """Whether a task's inputs can be worked on, and have outputs of their own.

    :raises PipelineError: one line that names the input.
    """
    inputs: InputList = settings["inputs"]
    taken: dict[str, int] = settings.setdefault("keys taken", {})
    sources = {number: inputs.source(number) for number in inputs_of(settings, task)}
    for number, source in sources.items():
        if settings["fetches"] and source is None:
            raise PipelineError(
                f"input {inputs.label(number)} is no object, so there is no {{in}}: give s3://BUCKET/KEY, or use {{}}"
            )
    for number in results_of(settings, task):
        if settings["calculates"] or settings["together"]:
            _check_command(settings, number)
        key = output_key(settings, number)
        if key is None:
            continue
        named = result_label(settings, number)
        if not key or "\0" in key or len(key.encode("utf-8", "surrogateescape")) > MAX_KEY:
            raise PipelineError(f"input {named}: its output's key is empty or longer than {MAX_KEY} bytes")
        if not key.isascii():
            try:
                key.encode("utf-8")
            except UnicodeEncodeError:
                raise PipelineError(
                    f"input {named}: its output's key would be no UTF-8, as S3 wants keys to be"
                ) from None
        for one in sources if settings["together"] else (number,):
            if sources[one] == (settings["bucket"], key):
                raise PipelineError(f"input {inputs.label(one)} would be overwritten by its own output: change --out")
        other = taken.setdefault(key, number)
        if other != number:
            raise PipelineError(
                f"inputs {result_label(settings, other)} and {named} have the same output, {shown(key)}: "
                "put more of the input into --out, such as {#}"
            )


def _check_command(settings: JobSettings, result: int) -> None:
    try:
        command = command_of(settings, result)
    except ReplacementError as error:
        raise PipelineError(f"input {result_label(settings, result)}: {error}") from None
    size = len(command.replace("##TMPDIR##", "/" * WORKER_DIRECTORY).encode("utf-8", "surrogateescape"))
    if settings["together"] and size > MAX_COMMAND:
        raise PipelineError(
            f"the command with its {len(inputs_of(settings, result))} inputs has {size} bytes, and a shell takes "
            f"{MAX_COMMAND}: say with --batch how many each task takes"
        )


def command_of(settings: JobSettings, number: int) -> str:
    """The command of one result as the worker gets it."""
    stored = _stored(settings, number)
    out = {"out": stored.file if stored else ""}
    if settings["together"]:
        inputs = [(_values(settings, one), _input_file(settings, one)) for one in inputs_of(settings, number)]
        command = fill_together(settings["pieces"], inputs, out)
    else:
        command = fill_command(settings["pieces"], _values(settings, number), {**_input_file(settings, number), **out})
    if settings["prints"] and stored is not None:
        command = f"{{ {command}\n}} > '{stored.file}'"
    return command


def command_shown(settings: JobSettings, number: int) -> str:
    """The command of one result for people, with names in place of the worker's files."""
    out = {"out": (output_key(settings, number) or "").rsplit("/", 1)[-1] or "out"}
    mine = inputs_of(settings, number)[:SHOWN] if settings["together"] else range(number, number + 1)
    each = [
        {**_values(settings, one), "in": inputs_source(settings, one).rsplit("/", 1)[-1] or "in", **out} for one in mine
    ]
    text = shown_command(settings["pieces"], each, COMMON)
    left = len(inputs_of(settings, number)) - len(mine) if settings["together"] else 0
    return f"{text}  (and {counted(left, 'more input')})" if left else text


def inputs_source(settings: JobSettings, number: int) -> str:
    """The key of an input that is an object, else nothing."""
    source = settings["inputs"].source(number)
    return source[1] if source is not None else ""


async def run_commands(w: Worker) -> None:
    """A task's inputs, one after the other."""
    await run_inputs(w, w.settings, w.task)


async def run_inputs(w: Worker, settings: JobSettings, task: int) -> None:
    """The inputs of a task, by what a map's settings say of it."""
    mine = results_of(settings, task)
    clean = ""
    for number in mine:
        if len(mine) > 1:
            w.info["input"] = settings["inputs"].label(number)
        taken = inputs_of(settings, task) if settings["together"] else range(number, number + 1)
        fetched = [one for one in (_fetched(settings, one) for one in taken) if one is not None]
        stored = _stored(settings, number)
        await fetch_run_store(w, clean + command_of(settings, number), fetched, stored)
        files = [f"'{transfer.file}'" for transfer in (*fetched, stored) if transfer is not None]
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


def _input_file(settings: JobSettings, number: int) -> dict[str, str]:
    fetched = _fetched(settings, number)
    return {"in": fetched.file if fetched else ""}


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
