"""``mu demo-video`` as a user runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

MU = [sys.executable, "-W", "error", "-c", "import sys; from mu_twisted.cli import main; sys.exit(main())"]


@pytest.mark.long
@pytest.mark.process
def test_it_counts_its_frames_finds_them_gray_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run(
        [*MU, "demo-video", "--seconds", "2"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "48 frames in 2 chunks: clip-film.mp4" in done.stdout
    assert "48 frames: clip-png16/" in done.stdout
    assert "48 frames, all of them gray; clip-merged.mp4 has the same bytes" in done.stdout
    assert re.search(r"from submitted to done +\d+\.\d s +\d+\.\d s", done.stdout)
    assert list((tmp_path / "tmp").iterdir()) == []
