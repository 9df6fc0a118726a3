"""Products: MatMul, Gemm, Einsum.

The one idea: Gemm with weights as a layer has them is FullyConnected; a product with a matrix is `dot`; with more axes
both sides are stretched to the same leading axes and multiplied batch by batch.
"""

from __future__ import annotations

import numpy as np

from ..held import Held, Refused, common
from ..node import Step, reads


@reads("Gemm")
def _gemm(s: Step) -> Held:
    a, b, c = s.x, s.input(1), s.maybe(2)
    alpha, beta = s.get("alpha", 1.0), s.get("beta", 1.0)
    across, turned = bool(s.get("transA", 0)), bool(s.get("transB", 0))
    if a.rank != 2 or b.rank != 2:
        raise Refused("it multiplies matrices, and these are none")
    layer = turned and not across and alpha == beta == 1 and a.is_float
    if layer and (c is None or c.shape == (b.size(0),)):
        return s.call("FullyConnected", a, b, c, num_hidden=b.size(0), no_bias=c is None, flatten=False)
    found = _dot(s, a, b, across, turned)
    if alpha != 1:
        found = s.scaled(found, alpha) if found.is_float else s.cast(s.scaled(s.cast(found, "float64"), alpha), a.dtype)
    if c is None or beta == 0:
        return found
    c = c if beta == 1 else s.scaled(c, beta) if c.is_float else s.cast(s.scaled(s.cast(c, "float64"), beta), c.dtype)
    return s.call("broadcast_add", found, c)


def _dot(s: Step, a: Held, b: Held, across: bool = False, turned: bool = False) -> Held:
    """The product of two matrices; whole numbers through float64, which holds their products exactly to 2⁵³."""
    if a.is_float:
        return s.call("dot", a, b, transpose_a=across, transpose_b=turned)
    found = s.call("dot", s.cast(a, "float64"), s.cast(b, "float64"), transpose_a=across, transpose_b=turned)
    return s.cast(found, a.dtype)


@reads("MatMul")
def _matmul(s: Step) -> Held:
    return matmul(s, s.x, s.input(1))


def matmul(s: Step, a: Held, b: Held) -> Held:
    """The product as NumPy's matmul has it."""
    if not a.is_float:
        return s.cast(matmul(s, s.cast(a, "float64"), s.cast(b, "float64")), a.dtype)
    if not a.rank or not b.rank:
        raise Refused("it multiplies numbers without axes")
    if a.rank == 1:
        wide = matmul(s, s.call("expand_dims", a, axis=0), b)
        lost = 2 if b.rank > 1 else 1  # the axis of one: before the columns, or last where there are none
        return s.reshape(wide, [shape[: len(shape) - lost] + shape[len(shape) - lost + 1 :] for shape in wide.shapes])
    if b.rank == 1:
        tall = matmul(s, a, s.call("expand_dims", b, axis=1))
        return s.reshape(tall, [shape[:-1] for shape in tall.shapes])
    if b.rank == 2:
        return s.call("dot", a, b)
    leading = [tuple(np.broadcast_shapes(one[:-2], two[:-2])) for one, two in zip(a.shapes, b.shapes)]
    sides: list[Held] = []
    for side in (a, b):
        stretched = s.expand(side, [lead + shape[-2:] for lead, shape in zip(leading, side.shapes)])
        sides.append(s.reshape(stretched, [(int(np.prod(lead)), *shape[-2:])
                                           for lead, shape in zip(leading, stretched.shapes)])
                     if common([len(lead) for lead in leading]) > 1 and s.builder.worlds == 1 else stretched)
    if sides[0].rank > 3:
        return s.call("_linalg_gemm2", *sides)
    found = s.call("batch_dot", *sides)
    return s.reshape(found, [(*lead, *shape[-2:]) for lead, shape in zip(leading, found.shapes)])
