"""Replacements: whatever a value holds, the shell that a worker runs gets it as one word, and as no program."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from property_examples import examples

from mu_twisted.pipelines._input_list import InputList
from mu_twisted.pipelines._replacements import (
    ReplacementError,
    fill_command,
    fill_text,
    fill_together,
    parse_command,
    parse_text,
    parse_words,
    quoted,
    shown_command,
    unknown_in_command,
    unknown_in_text,
)
from worker_lambda._template import Substitutions, expand_command

SHELLS = sorted({str(Path(shell).resolve()) for shell in ("/bin/sh", "/bin/bash") if Path(shell).exists()})
NAMES = frozenset({"", "#", "line", "key", "1", "2", "who", "in", "out", "n"})
HOSTILE = [
    "a;rm -rf x",
    "new\nline",
    "-rf",
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "'\"'\"'",
    "\\",
    "\\'",
    "*",
    "~",
    "!!",
    "A=b",
    "2",
    "#",
    "##TMPDIR##",
    "###TMPDIR###",
    "#TMPDIR##",
    "##INFILE##x##OUTFILE##",
    "{}{/}{in}",
    "${IFS}",
    "\udc80\udcff",
    " ",
    "",
    "\t\n ",
    "):COMMAND(",
    "'$(touch pwned)'",
    "\r\n",
    "a\x01in\x01b",
]
VALUES = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.text("'\"\\$`#{}!;&|<>()* \n\t~-=TMPDIR/.a1", max_size=30),
    st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")),
)
PRINT = "printf '%s\\0' "


def ran(shell: str, command: str, directory: Path) -> list[str]:
    """The words that a command's printf has got, run as a worker runs it."""
    raw = command.encode("utf-8", "surrogateescape")
    sent = expand_command(raw, Substitutions(tmpdir=b"/tmp/mu_worker_x", infile=b"INFILE", outfile=b"OUTFILE"))
    done = subprocess.run([shell, "-c", sent], stdout=subprocess.PIPE, cwd=directory, check=True, timeout=180)
    assert not list(directory.iterdir()), "the value was run"
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


def filled(command: str, value: str) -> str:
    return fill_command(parse_command(command, NAMES), {"": value, "1": value, "who": value})


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=examples(25), deadline=None)
@given(value=VALUES)
def test_a_value_is_one_word_wherever_it_stands(shell: str, empty: Path, value: str) -> None:
    for template, expected in (
        (PRINT + "{}", [value]),
        (PRINT + "a{1}b {who}", [f"a{value}b", value]),
        (PRINT + '"{}"', [value]),
        (PRINT + '"<{}> {who}"', [f"<{value}> {value}"]),
        (PRINT + "x{}'y z'\"{}\"", [f"x{value}y z{value}"]),
        ("v={}; " + PRINT + '"$v"', [value]),
        ("for f in {} {1}; do " + PRINT + '"$f"; done', [value, value]),
        ("case {} in {}) " + PRINT + "yes;; esac", ["yes"]),
        ("[ {} = {} ] && " + PRINT + "yes", ["yes"]),
        ("f() { " + PRINT + '"$1"; }; f {}', [value]),
        ("# it's {}\n" + PRINT + "{}", [value]),
        ('sh -c "printf \'%s\\0\' \\"\\$1\\"" sh {}', [value]),
    ):
        assert ran(shell, filled(template, value), empty) == expected, template


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=examples(20), deadline=None)
@given(value=VALUES)
def test_a_value_is_one_word_within_substitutions(shell: str, empty: Path, value: str) -> None:
    inner = "printf '%sx' "
    for template in (
        PRINT + '"$(' + inner + '{})"',
        PRINT + '"$(' + inner + '"{}")"',
        PRINT + '"$( (' + inner + '{}) )"',
        PRINT + '"`' + inner + '{}`"',
    ):
        assert ran(shell, filled(template, value), empty) == [value + "x"], template


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=examples(80), deadline=None)
@given(
    template=st.lists(
        st.sampled_from(
            [
                "{}",
                '"',
                "'",
                "$(",
                ")",
                "`",
                "\\",
                " ",
                "\n",
                "#",
                "((",
                "))",
                "$((",
                "${",
                "}",
                "<<E",
                "E",
                "a",
                "$",
                ";",
            ]
        ),
        max_size=12,
    ).map("".join),
    value=st.sampled_from(HOSTILE),
)
@example(template='"$(case a in a) echo {};; esac)"', value="$(touch pwned)")
@example(template="$'a\\'{}", value="$(touch pwned)")
def test_however_odd_a_command_is_no_value_is_run(shell: str, empty: Path, template: str, value: str) -> None:
    try:
        command = filled(template, value)
    except ReplacementError:
        return
    raw = command.encode("utf-8", "surrogateescape")
    subprocess.run(
        [shell, "-c", raw], stdin=subprocess.DEVNULL, capture_output=True, cwd=empty, check=False, timeout=180
    )
    assert not (empty / "pwned").exists()


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=examples(20), deadline=None)
@given(value=VALUES)
def test_words_of_a_command_that_is_no_shell_text_stay_words(shell: str, empty: Path, value: str) -> None:
    pieces = parse_words(("printf", "%s\\0", "a b", "{}", "x{1}'y", "$HOME", ""), NAMES)
    got = ran(shell, fill_command(pieces, {"": value, "1": value}), empty)
    assert got == ["a b", value, f"x{value}'y", "$HOME", ""]


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=examples(20), deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=4))
def test_values_that_are_taken_together_are_a_word_each(shell: str, empty: Path, values: list[str]) -> None:
    inputs = [({"": value}, {"in": f"##TMPDIR##/in{at}"}) for at, value in enumerate(values)]
    pieces = parse_command(PRINT + '{} {in} "{out}" {/}', NAMES)
    command = fill_together(pieces, inputs, {"out": "##TMPDIR##/out"})
    directory = "/tmp/mu_worker_x"
    files = [f"{directory}/in{at}" for at in range(len(values))]
    names = [value.rstrip("/") and value.rpartition("/")[2] for value in values]
    assert ran(shell, command, empty) == [*values, *files, f"{directory}/out", *names]


def test_files_of_the_worker_are_found_in_its_directory(empty: Path) -> None:
    pieces = parse_command(PRINT + '{in} "{out}" {}', NAMES)
    files = {"in": "##TMPDIR##/in-a.txt", "out": "##TMPDIR##/out-a.txt"}
    command = fill_command(pieces, {"": "##TMPDIR##"}, files)
    assert ran("/bin/sh", command, empty) == ["/tmp/mu_worker_x/in-a.txt", "/tmp/mu_worker_x/out-a.txt", "##TMPDIR##"]


@given(value=st.text("'#TMPDIR", max_size=20))
def test_a_quoted_value_has_no_placeholder_of_the_worker(value: str) -> None:
    assert "##" not in quoted(value)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sh -c 'cat {}'", "single quotes"),
        ("awk '{print $1}' '{who}'", "single quotes"),
        ("echo ${x:-{}}", "within ${...}"),
        ("cat <<E\n{}\nE", "here-document"),
    ],
)
def test_where_a_value_cannot_be_kept_from_being_a_program_it_is_refused(command: str, said: str) -> None:
    with pytest.raises(ReplacementError, match="(?s)" + said.replace("$", "\\$").replace("{", "\\{")):
        parse_command(command, NAMES)


@pytest.mark.parametrize(
    "command",
    [
        "awk '{print $1}'",
        "grep -E 'a{1}b'",
        "echo {nosuch} {a,b} {3} {x:raw} {:08d}",
        "echo ${1} ${who}",
        "echo \\{}",
        "{ :; }",
    ],
)
def test_what_is_no_replacement_stays(command: str) -> None:
    assert parse_command(command, NAMES) == (command,)
    assert filled(command, "x") == command


def test_raw_text_stands_as_it_is() -> None:
    assert filled("echo {:raw} '{who:raw}'", "a; b") == "echo a; b 'a; b'"


def test_arithmetic_takes_whole_numbers_only() -> None:
    assert filled("echo $(( {} * 2 ))", "21") == "echo $(( 21 * 2 ))"
    for value in ("a[$(touch pwned)]", "1;2", "", "1 "):
        with pytest.raises(ReplacementError, match="no whole number"):
            filled("echo $(( {} * 2 ))", value)


def test_a_nul_is_refused() -> None:
    with pytest.raises(ReplacementError, match="NUL"):
        filled("echo {}", "a\0b")


PATHS = InputList((["dir.d/sub/photo.tar.gz", ".hidden", "a/b/", "plain", "../up.x"],))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "dir.d/sub/photo.tar.gz"),
        ("{.}", "dir.d/sub/photo.tar"),
        ("{/}", "photo.tar.gz"),
        ("{/.}", "photo.tar"),
        ("{//}", "dir.d/sub"),
        ("{#}", "1"),
        ("{1}", "dir.d/sub/photo.tar.gz"),
        ("{1/.}", "photo.tar"),
        ("{line}", "dir.d/sub/photo.tar.gz"),
        ("out/{/.}-{n:04d}.jpg", "out/photo.tar-0007.jpg"),
        ("{2} {name} {key} {/:08d}", "{2} {name} {key} {/:08d}"),
    ],
)
def test_the_names_of_replacements_are_parallels(text: str, expected: str) -> None:
    names = PATHS.value_names() - {"key"} | {"n"}
    assert fill_text(parse_text(text, names), {**PATHS.values(0), "n": "7"}) == expected


@pytest.mark.parametrize(("number", "expected"), [(1, ".hidden|.hidden|"), (2, "a/b/||a/b"), (3, "plain|plain|")])
def test_paths_without_suffix_or_folder(number: int, expected: str) -> None:
    assert fill_text(parse_text("{.}|{/.}|{//}", PATHS.value_names()), PATHS.values(number)) == expected


def test_a_command_is_shown_with_its_values_in_place() -> None:
    pieces = parse_command('convert {} -o "{/.}.jpg" $(( {#} + 1 ))', NAMES)
    values = {"": "a b;c/x y.png", "#": "3"}
    assert shown_command(pieces, [values]) == "convert 'a b;c/x y.png' -o \"x y.jpg\" $(( 3 + 1 ))"


@pytest.mark.parametrize(
    ("command", "unknown"),
    [
        ("echo {nosuch} {who} {} {in}", ("{nosuch}",)),
        ('echo "{no-such:raw}" {x} {x}', ("{no-such:raw}", "{x}")),
        (
            "echo {3} x{3} \"{3}\" ${HOME} ${x} {a,b} {1..3} { x; } '{print}' '{3}' \\{x} {who:08d}",
            ("{3}", "{who:08d}"),
        ),
        ("awk '{print}' {in} > {out}", ()),
        ("", ()),
    ],
)
def test_what_looks_like_a_replacement_and_is_none_is_found(command: str, unknown: tuple[str, ...]) -> None:
    assert unknown_in_command(command, NAMES) == unknown


def test_in_a_text_that_no_shell_reads_quotes_are_a_text_like_others() -> None:
    assert unknown_in_text("'{x}'/{who}/{3}.png/a{2}", NAMES) == ("{x}", "{3}")
