"""Fixtures of the folding tests: `kind` runs a test of fibers once on greenlets and once on threads.

Test files that need more of it (an environment variable, a fold.map) define a `kind` of their own, which goes before.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from .fibers import KINDS


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    """Both kinds of fiber; afterwards no thread is left."""
    before = threading.active_count()
    yield request.param
    assert threading.active_count() == before
