"""Compiled parts are used when they are there, fit their sources, and nobody says no."""
from __future__ import annotations

import runpy
import sys
from typing import Any

import pytest

from glueball.fold import core, sources


@pytest.fixture
def fresh() -> Any:
    core.compiled.cache_clear()
    yield
    core.compiled.cache_clear()


def test_a_part_that_is_not_built_has_a_twin(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert core.compiled("nothing_of_this_name") is None
    monkeypatch.setenv("GLUEBALL_CORE", "0")
    assert core.compiled("recorder") is None


def test_a_part_built_from_other_sources_is_not_used(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if core.compiled("planner") is None:
        pytest.skip("the compiled parts are not there")
    core.compiled.cache_clear()
    monkeypatch.setattr(core, "_sources", lambda: "0123456789abcdef")
    with pytest.warns(UserWarning, match="built from other sources.*pip install -e"):
        assert core.compiled("planner") is None
    core.compiled.cache_clear()
    monkeypatch.setattr(core, "_sources", str)  # an installation without sources
    assert core.compiled("planner") is sys.modules["glueball.fold._planner"]


def test_the_digest_is_that_of_setup(fresh: None) -> None:
    alone = runpy.run_path(sources.__file__)["digest"]()
    assert alone == sources.digest() == runpy.run_path(sources.__file__)["digest"]()
    assert len(alone) == 16
