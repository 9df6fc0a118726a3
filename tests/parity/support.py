"""What the parity tests share: tolerances by dtype, comparison of nested results, and the treatment of differences.

A golden case either agrees, or is listed in `differences.py` with its reason; `checked` holds both ways, so an entry
that no longer differs fails too. Cases the oracle refused must be refused by us as well, or be listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy
import pytest
from differences import Difference, find

import glueball as mx

# relative, absolute
TOLERANCE = {"float16": (2e-2, 2e-3), "float32": (2e-4, 2e-5), "float64": (5e-6, 1e-7)}


def untuple(value: Any) -> Any:
    """JSON lists become tuples, as a user would write attributes."""
    return tuple(untuple(item) for item in value) if isinstance(value, list) else value


def attributes(case: dict[str, Any]) -> dict[str, Any]:
    return {key: untuple(value) for key, value in case["attrs"].items()}


def resolve(space: Any, path: str) -> Any:
    for part in path.split("."):
        space = getattr(space, part)
    return space


def array(values: numpy.ndarray) -> Any:
    return mx.nd.array(values, dtype=values.dtype)


def same(ours: Any, theirs: numpy.ndarray, what: str, widen: float = 1.0) -> None:
    """Equal shape and dtype, equal values within the dtype's tolerance."""
    ours = ours.asnumpy() if hasattr(ours, "asnumpy") else numpy.asarray(ours)
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, the oracle has {theirs.shape}"
    assert ours.dtype == theirs.dtype, f"{what}: dtype {ours.dtype}, the oracle has {theirs.dtype}"
    relative, absolute = TOLERANCE.get(str(theirs.dtype), (0.0, 0.0))
    scale = float(numpy.abs(theirs[numpy.isfinite(theirs)]).max(initial=0)) if theirs.dtype.kind == "f" else 1.0
    numpy.testing.assert_allclose(
        ours, theirs, rtol=relative * widen, atol=absolute * widen * max(1.0, scale), equal_nan=True, err_msg=what
    )


def same_all(ours: Iterable[Any], theirs: list[Any], what: str, widen: float = 1.0) -> None:
    ours = list(ours)
    assert len(ours) == len(theirs), f"{what}: {len(ours)} arrays, the oracle has {len(theirs)}"
    for number, (mine, golden) in enumerate(zip(ours, theirs, strict=True)):
        if golden is not None:
            same(mine, golden, f"{what} {number}", widen)


def same_tree(ours: Any, theirs: Any, what: str) -> None:
    """Compare plain data with arrays somewhere inside (results of programs)."""
    if isinstance(theirs, numpy.ndarray):
        same(ours, theirs, what)
    elif isinstance(theirs, list):
        assert isinstance(ours, list) and len(ours) == len(theirs), f"{what}: {ours!r}, the oracle has {theirs!r}"
        for number, (mine, golden) in enumerate(zip(ours, theirs, strict=True)):
            same_tree(mine, golden, f"{what}[{number}]")
    elif isinstance(theirs, dict):
        assert isinstance(ours, dict) and list(ours) == list(theirs), f"{what}: {ours!r}, the oracle has {theirs!r}"
        for key, golden in theirs.items():
            same_tree(ours[key], golden, f"{what}[{key!r}]")
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6, nan_ok=True), what
    else:
        assert ours == theirs, f"{what}: {ours!r}, the oracle has {theirs!r}"


def refused_too(run: Callable[[], Any]) -> None:
    """The oracle refuses this case; so must we."""
    try:
        run()
    except Exception:
        return
    pytest.fail("the oracle refuses this case, Glueball answers")


def checked(topic: str, name: str, run: Callable[[], Any], way: str = "") -> None:
    """Run the comparison; a listed difference must really differ, in the way the entry says."""
    difference: Difference | None = find(topic, name, way)
    if difference is None:
        run()
        return
    try:
        run()
    except (AssertionError, pytest.fail.Exception):
        assert difference.kind == "value", f"listed as {difference.kind}, but the values differ"
        return
    except Exception as error:
        assert difference.kind == "raises", f"listed as {difference.kind}, but raised {error!r}"
        return
    pytest.fail(f"no longer differs: delete its entry from differences.py ({difference.reason})")
