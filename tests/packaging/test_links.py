"""The documents' links lead somewhere: to a file of this repository, and to a heading in it."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("tests/**/README.md")])
_FENCE = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^(?: {4}|\t).*$|`[^`\n]*`", re.MULTILINE)
_INLINE = re.compile(r"!?\[(?:[^][]|\[[^][]*\])*\]\(<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_REFERENCE = re.compile(r"^ {0,3}\[[^]]+\]: *<?(\S+?)>?(?: .*)?$", re.MULTILINE)
_HEADING = re.compile(r"^ {0,3}#{1,6} +(.*?)(?: +#+)? *$", re.MULTILINE)
_NAMED = re.compile(r"<[^>]* (?:id|name)=\"([^\"]+)\"")


def links(text: str) -> list[str]:
    """Where a page's links lead, those in code left out."""
    text = _CODE.sub(lambda found: "" if found[0].startswith((" ", "\t")) else "`code`", _FENCE.sub("", text))
    return _INLINE.findall(text) + _REFERENCE.findall(text)


def anchors(text: str) -> set[str]:
    """The fragments that lead to a page's headings, as GitHub makes them."""
    text = _FENCE.sub("", text)
    found: dict[str, int] = {}
    names = set(_NAMED.findall(text))
    for heading in _HEADING.findall(text):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        names.add(slug if slug not in found else f"{slug}-{found[slug]}")
        found[slug] = found.get(slug, 0) + 1
    return names


def dead(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere; those to other hosts are not followed."""
    broken = []
    for link in links(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, fragment = link.partition("#")
        target = page.parent / path
        if (path and not (target.exists() and target.resolve().is_relative_to(PROJECT))) or (
            fragment and fragment not in anchors(target.read_text(encoding="utf-8") if path else text)
        ):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_and_anchor_leads_somewhere(page: Path) -> None:
    assert dead(page, page.read_text(encoding="utf-8")) == []


def test_the_pages_are_found() -> None:
    assert {"README.md", "CHANGELOG.md", "operations.md", "txaws.md"} <= {page.name for page in PAGES}
    assert sum(len(links(page.read_text(encoding="utf-8"))) for page in PAGES) > 40


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[a](#not-there)", ["#not-there"]),
        ("# Not there\n[a](#not-there)", []),
        ("# Twice\n# Twice\n[a](#twice-1) [b](#twice-2)", ["#twice-2"]),
        ("# `mu status`, and `x`\n[a](#mu-status-and-x)", []),
        ("[`code`](nosuch.md) [b](docs/rendezvous.md#shards)", ["nosuch.md"]),
        ("[a](docs/rendezvous.md#nosuch)", ["docs/rendezvous.md#nosuch"]),
        ("[a](../elsewhere.md) [b](https://example.org/x#y)", ["../elsewhere.md"]),
        ("[r]: docs/nosuch.md\n`[a](nosuch)`\n\n    [b](nosuch)\n```\n[c](nosuch)\n```\n", ["docs/nosuch.md"]),
        ("![shot](docs/nosuch.png)", ["docs/nosuch.png"]),
    ],
)
def test_a_dead_link_is_found(text: str, wanted: list[str]) -> None:
    assert dead(PROJECT / "page.md", text) == wanted
