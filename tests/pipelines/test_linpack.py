"""linpack: two runs a worker, the rates in what they print, and their sum; the benchmark itself."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from encoder_workers import Job, failures
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.cli.demo.linpack import SOURCE, make_linpack
from mu_twisted.pipelines._rates import find_rate, summary
from mu_twisted.pipelines.linpack import Options, pipeline

MU = [sys.executable, "-W", "error", "-c", "import sys; from mu_twisted.cli import main; sys.exit(main())"]
TABLE = """
     Factor     Solve      Total     MFLOPS       Unit      Cray-Ratio

   0.658000  0.002000   0.660000    1012.121      0.002     11.785714

LINPACK_BENCH
  Normal end of execution.
"""


def parsed(*words: object) -> Any:
    options = Options()
    options.parseOptions([str(word) for word in words])  # type: ignore[no-untyped-call]
    return options


def ran(work: Path, command: str, *words: object) -> Job:
    job = Job(pipeline, parsed(*words), work, work, {}, command)
    job.run()
    return job


@pytest.mark.parametrize(
    ("output", "rate"),
    [
        ("rate: 512.5 MFLOPS\n", 512.5),
        ("MFLOPS = 12\n", 12.0),
        ("Mflops/s: 3e3", 3000.0),
        ("it makes 1.5 GFLOPS", 1500.0),
        ("2500 Kflops", 2.5),
        ("1 TFLOP/s", 1e6),
        ("rate: 1 MFLOPS\nrate: 2 MFLOPS\n", 2.0),
        (TABLE, 1012.121),
        ("    n   time  GFLOPS\n 1000   0.5  1.25\n 2000   3.5  1.5\n", 1500.0),
        ("MFLOPS\nnothing of that sort\n", None),
        ("no rate at all, 17", None),
        ("", None),
        ("1e999 MFLOPS", None),
        ("abc12 MFLOPS", None),
    ],
)
def test_rates_are_found_as_benchmarks_print_them(output: str, rate: float | None) -> None:
    assert find_rate(output) == rate


@given(st.text(alphabet="0123456789.eE MGFLOPS:=\n-", max_size=200))
def test_looking_for_a_rate_never_fails(output: str) -> None:
    rate = find_rate(output)
    assert rate is None or 0 <= rate < 1e15


@given(st.lists(st.floats(0, 1e9), max_size=60), st.integers(0, 3))
def test_every_rate_stands_in_the_histogram(rates: list[float], silent: int) -> None:
    lines = summary(rates, len(rates) + silent).splitlines()
    counts = [int(line.split()[3]) for line in lines if line.startswith("  from")]
    assert sum(counts) in (0, len(rates))
    assert counts or len(set(rates)) <= 1


def test_a_summary_says_sum_and_distribution() -> None:
    head, spread, *histogram = summary([100.0, 200.0, 300.0, 300.0], 4).splitlines()
    assert head == "4 runs: 900.0 MFLOPS in all"
    assert spread == (
        "lowest 100.0 MFLOPS, a tenth below 130.0 MFLOPS, half below 250.0 MFLOPS, "
        "a tenth above 300.0 MFLOPS, highest 300.0 MFLOPS"
    )
    assert histogram == [
        "  from 100.0 MFLOPS  1  ####################",
        "  from 150.0 MFLOPS  0",
        "  from 200.0 MFLOPS  1  ####################",
        "  from 250.0 MFLOPS  2  ########################################",
    ]
    assert summary([5e6, 6e6], 3).splitlines()[0] == "2 of 3 runs that said their rate: 11.00 TFLOPS in all"
    assert summary([], 2) == "no rate was found in the output of 2 runs"


def test_what_both_runs_of_a_worker_print_is_kept_and_summed_up(tmp_path: Path) -> None:
    job = ran(tmp_path, 'echo $((100 + $(ls "##TMPDIR##" | wc -l))) MFLOPS; echo >&2 done;', "-n", 3, "-o", 5)
    assert failures(job) == {}
    assert sorted(job.store) == [f"linpack/{task:08d}-{run}.txt" for task in (5, 6, 7) for run in (0, 1)]
    assert set(job.store.values()) == {b"101 MFLOPS\ndone\n", b"102 MFLOPS\ndone\n"}
    assert job.report.text.startswith("6 runs: 609.0 MFLOPS in all\n")


def test_both_runs_are_started_before_either_is_waited_for(tmp_path: Path) -> None:
    job = Job(pipeline, parsed("-n", 1), tmp_path, tmp_path, {}, "true")
    assert job.workers[0].log == [
        "seti:nonblock:1",
        "set:cmdvars:{",
        'set:cmdargs:\n} > "##TMPDIR##/0.txt" 2>&1',
        "run:",
        'set:cmdargs:\n} > "##TMPDIR##/1.txt" 2>&1',
        "run:",
    ]


def test_a_benchmark_that_fails_fails_its_task_with_what_it_said(tmp_path: Path) -> None:
    job = ran(tmp_path, "echo no vectors here; exit 3", "-n", 1)
    assert "status 3: 'no vectors here'" in (failures(job)[0] or "")
    assert job.report.text == ""


def test_a_benchmark_without_rates_is_no_failure(tmp_path: Path) -> None:
    job = ran(tmp_path, "echo well", "-n", 1, "--out", "elsewhere")
    assert failures(job) == {}
    assert set(job.store) == {"elsewhere/00000000-0.txt", "elsewhere/00000000-1.txt"}
    assert job.report.text == "no rate was found in the output of 2 runs"


def test_switches_are_the_originals() -> None:
    settings = parsed()
    assert (settings["tasks"], settings["overprovision"], settings["task-timeout"]) == (16, 0, None)
    settings = parsed("-n", 4, "-X", 2, "-m", 30)
    assert (settings["tasks"], settings["overprovision"], settings["task-timeout"]) == (4, 2, 30.0)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_linpack(tmp_path_factory.mktemp("linpack") / "linpack")


def test_the_benchmark_solves_its_systems_and_says_its_rate(benchmark: Path) -> None:
    done = subprocess.run([benchmark, "100", "0"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("order 100, solved 1 times")
    assert find_rate(done.stdout) or 0 > 1


@pytest.mark.parametrize("words", [("0",), ("x",), ("10", "-1"), ("10", "1", "1"), ("",)])
def test_the_benchmark_refuses_what_it_cannot_do(benchmark: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run([benchmark, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""


def test_the_benchmark_needs_no_library(benchmark: Path) -> None:
    headers = subprocess.run(["readelf", "--program-headers", benchmark], capture_output=True, text=True, check=True)
    assert "LOAD" in headers.stdout
    assert "INTERP" not in headers.stdout


def test_it_is_built_without_a_warning(tmp_path: Path) -> None:
    warnings = ["-Wall", "-Wextra", "-Wshadow", "-Werror", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-fsyntax-only"]
    subprocess.run(["cc", *warnings, SOURCE], cwd=tmp_path, check=True)


def test_mu_linpack_says_where_it_put_it(tmp_path: Path) -> None:
    done = subprocess.run([*MU, "linpack"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "./linpack\n"
    assert (tmp_path / "linpack").stat().st_mode & 0o111
