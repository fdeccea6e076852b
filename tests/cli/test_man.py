"""Each command has a manual page with all of its options, made from what parses them."""

import json
from pathlib import Path

import pytest
from command_line import Mu

from mu_twisted.cli._completion import described
from mu_twisted.cli._main import COMMANDS
from mu_twisted.cli._man import pages


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages()


def test_every_command_has_a_page_that_names_all_its_options(made: dict[str, str]) -> None:
    assert set(made) == {"", *COMMANDS}
    for name, parser in described()[1].choices.items():
        page = made[name].replace("\\", "")
        assert page.startswith(f'.TH MU-{name.upper()} "1"'), name
        assert f"mu-{name} - " in page, name
        missing = [string for action in parser._actions for string in action.option_strings if string not in page]
        assert set(missing) <= {"-h", "--help"}, name


def test_the_page_of_mu_itself_lists_the_commands(made: dict[str, str]) -> None:
    page = made[""].replace("\\", "")
    assert [name for name in COMMANDS if f"mu {name}" not in page] == []


def test_all_are_written_where_man_looks_for_them(run: Mu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # the day that stands on pages
    said = run("man", "--to", str(tmp_path / "man1"), "--json")
    files = json.loads(said.out)["files"]
    assert {Path(file).name for file in files} == {"mu.1", *(f"mu-{name}.1" for name in COMMANDS)}
    assert (tmp_path / "man1" / "mu-map.1").read_text() == run("man", "map").out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("nosuch",), 2, "mu has no command 'nosuch': `mu --help` lists them"),
        (("mapp",), 2, "mu has no command 'mapp': did you mean `mu map`? `mu --help` lists them"),
        (("map", "--to", "x"), 2, "--to writes the pages of all commands"),
        (("--json",), 2, "--json goes with --to DIR"),
        (("--to", "/dev/null/x"), 1, "cannot write manual pages to /dev/null/x: Not a directory"),
    ],
)
def test_what_cannot_be_written_is_one_line(run: Mu, words: tuple[str, ...], status: int, said: str) -> None:
    done = run("man", *words)
    assert done.status == status
    assert done.error().startswith(f"error: {said}")
