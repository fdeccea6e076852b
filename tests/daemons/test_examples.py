"""The pipelines of examples/, run as their own first lines say, on the embedded stack."""

from pathlib import Path
from typing import Any

import pytest
from encoder_jobs import FakeEncoders

pytestmark = pytest.mark.process

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(coordinate: Any, local: Any, example: str, *words: str) -> str:
    ended = coordinate(*local.words(str(EXAMPLES / f"{example}.py")), *words)
    assert ended.status == 0, ended.err
    return str(ended.out)


def put(local: Any, texts: dict[str, str]) -> None:
    for key, text in texts.items():
        local.control.put_object(local.BUCKET, key, text.encode())


def get(local: Any, key: str) -> str:
    return str(local.control.get_object(local.BUCKET, key), "ascii")


def test_wordcount_stores_each_count_and_reports_the_sum(coordinate: Any, local: Any) -> None:
    put(local, {"words/0.txt": "one two\nthree", "words/1.txt": "", "words/2.txt": "four " * 1000})
    out = run(coordinate, local, "wordcount", "-n", "3", "--prefix", "words")
    assert "1003 words in 3 texts" in out
    assert [get(local, f"words/{task}.count").strip() for task in range(3)] == ["3", "0", "1000"]


def test_search_stores_the_first_line_that_matches_and_looks_no_further(coordinate: Any, local: Any) -> None:
    lines = [f"line {number}" for number in range(5000)]
    put(local, {"hay/0.txt": "\n".join(lines), "hay/1.txt": "it's a 'needle'\n", "hay/2.txt": "\n".join(lines[:10])})
    run(coordinate, local, "search", "-n", "3", "--prefix", "hay", "--pattern", "2[0-9]*7$\\|'needle'", "-O", "times")
    assert [get(local, f"hay/{task}.found") for task in range(3)] == ["line 27\n", "it's a 'needle'\n", ""]


def test_running_sum_hands_its_sums_along_the_chain(coordinate: Any, local: Any, encoders: FakeEncoders) -> None:
    run(coordinate, local, "running_sum", "-n", "4", "-T", str(encoders.port), "--out", "sums")
    assert [get(local, f"sums/{task}").strip() for task in range(4)] == ["1", "3", "6", "10"]
