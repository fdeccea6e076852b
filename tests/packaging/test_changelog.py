"""The change log has the form of Keep a Changelog, however its lines were merged."""

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
HEADINGS = re.findall(r"^(##+) (.*)$", TEXT, re.MULTILINE)
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_each_version_stands_once_with_its_day_and_the_newest_first() -> None:
    versions = [title for level, title in HEADINGS if level == "##"]
    assert versions[0] == "Unreleased"
    released = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)", title) for title in versions[1:]]
    assert all(released), versions
    numbers = [tuple(int(part) for part in found.groups()[:3]) for found in released if found]
    assert numbers == sorted(set(numbers), reverse=True)


def test_no_kind_of_change_stands_twice_in_a_version() -> None:
    seen: set[str] = set()
    for level, title in HEADINGS:
        if level == "##":
            seen = set()
        else:
            assert title in KINDS
            assert title not in seen, title
            seen.add(title)
