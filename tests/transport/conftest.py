"""Lets the tests of this directory share the contract and the wires in memory."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
