"""Reads golden results: `load("ops_nn")` gives the cases with NumPy arrays in place of references.

The data were written by running MXNet 1.9.1 (`generate/make_all.py`); the JSON says with which versions and seed.
Needs NumPy only.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy

DATA = Path(__file__).parent / "data"


def _restore(value: Any, flat: dict[str, numpy.ndarray]) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and "array" in value:
            kind, offset, shape = value["array"]
            size = int(numpy.prod(shape, dtype=numpy.int64)) if shape else 1
            return flat[kind][offset : offset + size].reshape(shape).copy()
        return {key: _restore(item, flat) for key, item in value.items()}
    if isinstance(value, list):
        return [_restore(item, flat) for item in value]
    return value


@cache
def _raw(topic: str) -> tuple[list[dict[str, Any]], dict[str, numpy.ndarray]]:
    document = json.loads((DATA / f"{topic}.json").read_text(encoding="utf-8"))
    with numpy.load(DATA / f"{topic}.npz", allow_pickle=False) as archive:
        flat = {kind: archive[kind] for kind in archive.files}
    return document["cases"], flat


def names(topic: str) -> list[str]:
    """The ids of all cases of a topic, in order (cheap: reads the JSON part only once)."""
    return [case["id"] for case in _raw(topic)[0]]


def load(topic: str) -> list[dict[str, Any]]:
    """All cases of a topic; arrays are fresh copies."""
    cases, flat = _raw(topic)
    return [_restore(case, flat) for case in cases]


def case(topic: str, name: str) -> dict[str, Any]:
    """One case by its id."""
    cases, flat = _raw(topic)
    for candidate in cases:
        if candidate["id"] == name:
            return _restore(candidate, flat)
    raise KeyError(f"no golden case {name!r} in topic {topic!r}")
