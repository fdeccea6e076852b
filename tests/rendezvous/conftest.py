"""Lets these tests use the wires in memory that the transport's tests have."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "transport"))
sys.path.append(str(Path(__file__).parent))
