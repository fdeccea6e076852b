"""The coordinator and its HTTP API need nothing that a compiler has made."""

import subprocess
import sys

_BLOCKED = """
import sys
sys.modules["mu_twisted.launch"] = sys.modules["mu_twisted.pipelines._watchdog"] = None
import mu_twisted.coordinator, mu_twisted.web
made = [name for name, module in sys.modules.items() if name.startswith("mu_twisted.")
        and (getattr(module, "__file__", None) or "").endswith(".so")]
print(made)
"""


def test_coordinator_and_web_are_imported_without_the_launcher() -> None:
    ran = subprocess.run([sys.executable, "-c", _BLOCKED], capture_output=True, text=True, timeout=180, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr[-500:]
