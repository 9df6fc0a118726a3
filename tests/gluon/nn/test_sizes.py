"""Law: a result has the size that the layer's docstring states, and infer_shape says the same beforehand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import nd
from glueball.base.errors import MXNetError
from glueball.gluon import nn

DIMENSIONS = st.integers(1, 3)


@st.composite
def windows(draw: Any) -> dict[str, Any]:
    """A number of space dimensions and, for each of them, sizes that may or may not fit together."""
    n = draw(DIMENSIONS)
    each = {"size": (1, 9), "kernel": (1, 4), "stride": (1, 3), "pad": (0, 2), "dilation": (1, 2), "more": (0, 1)}
    return {"n": n, **{key: tuple(draw(st.integers(*bounds)) for _ in range(n)) for key, bounds in each.items()}}


def agree(layer: Any, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Inference and computation give the expected shape."""
    layer.initialize()
    _, inferred, _ = layer(mx.sym.var("data")).infer_shape(data=shape)
    assert tuple(inferred[0]) == expected
    assert layer(nd.ones(shape)).shape == expected


@settings(max_examples=60)
@given(windows(), st.sampled_from([1, 2]))
def test_convolution(w: dict[str, Any], groups: int) -> None:
    layer = getattr(nn, f"Conv{w['n']}D")(4, w["kernel"], w["stride"], w["pad"], w["dilation"], groups)
    space = tuple(
        (s + 2 * p - d * (k - 1) - 1) // t + 1
        for s, k, t, p, d in zip(w["size"], w["kernel"], w["stride"], w["pad"], w["dilation"])
    )
    shape = (2, 2 * groups, *w["size"])
    if min(space) > 0:
        agree(layer, shape, (2, 4, *space))
        return
    layer.initialize()
    with pytest.raises(MXNetError):
        layer(nd.ones(shape))


@settings(max_examples=60)
@given(windows())
def test_transposed_convolution(w: dict[str, Any]) -> None:
    more = tuple(min(a, t - 1) for a, t in zip(w["more"], w["stride"]))
    space = tuple(
        (s - 1) * t - 2 * p + d * (k - 1) + a + 1
        for s, k, t, p, d, a in zip(w["size"], w["kernel"], w["stride"], w["pad"], w["dilation"], more)
    )
    assume(min(space) > 0)
    layer = getattr(nn, f"Conv{w['n']}DTranspose")(4, w["kernel"], w["stride"], w["pad"], more, w["dilation"])
    agree(layer, (2, 3, *w["size"]), (2, 4, *space))


@settings(max_examples=60)
@given(windows(), st.sampled_from(["Max", "Avg"]), st.booleans())
def test_pooling(w: dict[str, Any], kind: str, ceil: bool) -> None:
    pad = tuple(min(p, k // 2) for p, k in zip(w["pad"], w["kernel"]))
    room = [s + 2 * p - k for s, k, p in zip(w["size"], w["kernel"], pad)]
    assume(min(room) >= 0)
    space = tuple((-(-r // t) if ceil else r // t) + 1 for r, t in zip(room, w["stride"]))
    layer = getattr(nn, f"{kind}Pool{w['n']}D")(w["kernel"], w["stride"], pad, ceil_mode=ceil)
    agree(layer, (2, 3, *w["size"]), (2, 3, *space))


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(1, 5), st.booleans())
def test_dense(shape: list[int], units: int, flatten: bool) -> None:
    agree(nn.Dense(units, flatten=flatten), tuple(shape), (shape[0], units) if flatten else (*shape[:-1], units))
