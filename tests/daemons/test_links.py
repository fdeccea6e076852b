"""Tasks that send one another messages: the pipeline of the page, through daemons, S3 and Lambda of this machine."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]


def test_the_pipeline_of_the_page_counts_words(
    coordinate: Any, local: Any, rendezvous_port: int, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "links.md").read_text(encoding="utf-8")
    [text] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "messages=lambda" in block]
    assert len(text.splitlines()) <= 30
    (tmp_path / "words.py").write_text(text, encoding="utf-8")
    bodies = [f"The cat, the DOG and {other}!\nand so on" for other in ("zebra's cat", "a dog", "")]
    for number, body in enumerate(bodies):
        local.control.put_object(local.BUCKET, f"texts/{number:08d}", body.encode())
    ended = coordinate(*local.words("./words.py"), "-T", str(rendezvous_port), "-n", "3")
    assert ended.status == 0, ended.err
    stored = [local.control.get_object(local.BUCKET, f"counts/{task:08d}").decode().split() for task in range(3)]
    counts = [dict(zip(each[1::2], map(int, each[::2]), strict=True)) for each in stored]
    expected = Counter(word for body in bodies for word in re.findall("[a-z]+", body.lower()))
    assert counts[0] | counts[1] | counts[2] == expected
    assert [{(ord(word[0]) - ord("a") + 1) % 3 for word in each} for each in counts] == [{0}, {1}, {2}]
