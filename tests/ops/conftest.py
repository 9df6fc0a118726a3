"""Lets the tests of this folder import their shared machinery, operator_matrix.py.

It is no test and no part of the package.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
