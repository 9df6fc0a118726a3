"""Attention over interleaved projections: (length, batch, heads · parts · size), as contrib's operators take them.

The one idea: a head is a Reshape, a Split off and a Transpose, so that the two products are plain MatMul.
"""

from __future__ import annotations

import math

from ..call import Call, rule
from ..sizes import Affine, Size


def _head(c: Call, index: int, heads: int, parts: int, which: int) -> str:
    """One projection of an input, as (batch · heads, length, size)."""
    width = c.size(2, index)
    size = width // (heads * parts)
    split = c.op("Reshape", c.ins[index], c.ints(0, 0, heads, parts * size))
    one = split if parts == 1 else c.slice(split, 3, which * size, (which + 1) * size)
    length = c.shape(index)[0]
    return c.reshape(c.transpose(one, (1, 2, 0, 3)), (_times(c.shape(index)[1], heads), length, size))


def _times(size: Size, factor: int) -> Size:
    return Affine(size.slope * factor, size.rest * factor) if isinstance(size, Affine) else size * factor


def _scores(c: Call, queries: str, keys: str, size: int) -> str:
    products = c.op("MatMul", queries, c.op("Transpose", keys, perm=[0, 2, 1]))
    return c.op("Div", products, c.const(math.sqrt(size)))


def _unheaded(c: Call, found: str, heads: int, size: int) -> str:
    """(batch · heads, length, size) as (length, batch, heads · size)."""
    length, batch, _ = c.out_shape()
    split = c.op("Reshape", found, c.sizes((batch, heads, length, size)))
    return c.op("Reshape", c.transpose(split, (2, 0, 1, 3)), c.sizes((length, batch, heads * size)))


@rule("_contrib_interleaved_matmul_selfatt_qk")
def _self_scores(c: Call) -> str:
    heads = c["heads"]
    return _scores(c, _head(c, 0, heads, 3, 0), _head(c, 0, heads, 3, 1), c.size(2) // (heads * 3))


@rule("_contrib_interleaved_matmul_selfatt_valatt")
def _self_values(c: Call) -> str:
    heads = c["heads"]
    return _unheaded(c, c.op("MatMul", c.ins[1], _head(c, 0, heads, 3, 2)), heads, c.size(2) // (heads * 3))


@rule("_contrib_interleaved_matmul_encdec_qk")
def _cross_scores(c: Call) -> str:
    heads = c["heads"]
    return _scores(c, _head(c, 0, heads, 1, 0), _head(c, 1, heads, 2, 0), c.size(2) // heads)


@rule("_contrib_interleaved_matmul_encdec_valatt")
def _cross_values(c: Call) -> str:
    heads = c["heads"]
    return _unheaded(c, c.op("MatMul", c.ins[1], _head(c, 0, heads, 2, 1)), heads, c.size(2) // (heads * 2))
