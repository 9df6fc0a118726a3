"""Lets the tests of this folder import the operators' shared machinery, tests/ops/operator_matrix.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "ops"))
