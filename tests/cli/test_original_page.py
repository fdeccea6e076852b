"""docs/original.md: what it says is there is there."""

import re
from pathlib import Path

import pytest

from mu_twisted.cli._main import parsed
from mu_twisted.daemons._options import DaemonOptions
from mu_twisted.daemons.rendezvous import Options as RendezvousOptions
from mu_twisted.fsm._hooks import ABSENT
from mu_twisted.pipelines import load_pipeline, pipeline_names
from worker_lambda._event import FALLBACKS, INTEGER_DEFAULTS, TEXT_DEFAULTS, TLS_KEYS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "original.md").read_text(encoding="utf-8")


def switches_of(script: str) -> set[str]:
    """Those of the table that follows the script's name."""
    table = PAGE.partition(f"\nOf `{script}`")[2].partition("\n\n|")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in ("|" + table).splitlines()[2:]]
    return {letter for cell in cells for letter in re.findall(r"`-(\w)`", cell)}


def known(*kinds: type) -> set[str]:
    return {row[1] for kind in kinds for row in (*kind.optParameters, *getattr(kind, "optFlags", ())) if row[1]}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("script", "name"), [("png2y4m_server.py", "png2y4m"), ("xcenc_server.py", "xcenc")])
def test_every_switch_of_the_originals_servers_is_taken(script: str, name: str) -> None:
    pipeline = load_pipeline(name)
    options = known(DaemonOptions, *(kind for kind in pipeline.options.__mro__ if "optParameters" in vars(kind)))
    assert switches_of(script)
    assert switches_of(script) - {"h"} <= options


def test_every_switch_of_the_later_xcenc_server_has_a_row_that_holds() -> None:
    table = PAGE.partition("\nThe later `xcenc_server.py`")[2].partition("\n\n|")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in ("|" + table).splitlines()[2:]]
    found = {row[0][2]: row[2] for row in rows}
    assert set(found) == set("KuXRmhUpMNqx")
    pipeline = load_pipeline("xcenc")
    options = known(DaemonOptions, *(kind for kind in pipeline.options.__mro__ if "optParameters" in vars(kind)))
    assert {switch for switch, here in found.items() if here.startswith("the same")} <= options
    assert not {switch for switch, here in found.items() if here.startswith("none")} & options


def test_every_switch_of_the_originals_state_server_is_taken() -> None:
    assert switches_of("lambda_state_server.py") <= known(RendezvousOptions)
    assert "n" in switches_of("lambda_state_server.py")


def test_every_variable_of_lambdaize_stands_for_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| \d* ?\| `(--[a-z-]+)` \|", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for variable, option in rows:
        text = {"AWS_ROLE": "arn:aws:iam::1:role/x", "REGION": "eu-west-1"}.get(variable, "177")
        monkeypatch.setenv(variable, text)
        found = vars(parsed(["lambdaize", "x"]))[option.removeprefix("--").replace("-", "_")]
        assert found in (text, 177, True, [text]), variable
        monkeypatch.delenv(variable)


def test_what_states_of_the_original_have_and_ours_not_is_named() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `") and "| none" in line]
    named = {name for row in rows for name in re.findall(r"`(\w+)(?:\(\))?`", row.split("|")[1])}
    assert named >= set(ABSENT)


def test_every_variable_that_main_put_into_the_event_has_its_place() -> None:
    table = PAGE.partition("put variables into the event")[2].partition("\n\n|")[2].partition("\n\n")[0]
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == {*INTEGER_DEFAULTS, *TEXT_DEFAULTS, *FALLBACKS, *TLS_KEYS, "mode", "port", "addr"}


def test_the_warning_of_servers_that_delete_what_is_not_theirs_names_all_seven() -> None:
    named = PAGE.partition("**Seven of the original's servers send `run:rm -rf /tmp/*`** (")[2].partition(")")[0]
    assert len(set(re.findall(r"\w+", named))) == 7
    left_out = next(line for line in PAGE.splitlines() if line.startswith("| `run:rm -rf /tmp/*`"))
    assert "**left out**" in left_out


def test_pipelines_and_pages_that_are_named_exist() -> None:
    for page in re.findall(r"\]\((\w+\.md)", PAGE):
        assert (DOCS / page).is_file(), page
    assert {"vpxenc", "xcenc7", "linpack", "y4m2png", "grayscale", "split", "merge"} <= set(pipeline_names())
