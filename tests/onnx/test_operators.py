"""Every operator that has an ONNX rule, on every sample beneath its definition, under onnxruntime.

The law: the exported graph's numbers, shapes and element types are the kernel's. What a rule refuses is listed here, so
that a new refusal is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import operator_matrix as matrix
import pytest
import torch

from glueball import sym
from glueball.base.errors import UnsupportedError
from glueball.onnx.call import RULES
from glueball.onnx.lowering import Plan, lower
from glueball.onnx.sizes import fixed_sizes, open_sizes
from glueball.onnx.verify import run as run_onnx
from glueball.onnx.verify import structure
from glueball.ops.opdef import TABLE, OpDef, TensorType

# the shape of their result is an attribute, which inference believes
TRUSTING = {"_expand_to", "scatter_nd", "_scatter_nd_add"}
REFUSED = {("RNN", 6), ("Dropout", 1), ("_linalg_gemm2", 2), ("_linalg_gemm", 2)}


def _cases() -> Iterator[tuple[OpDef, int]]:
    for name in sorted(RULES):
        for index, sample in enumerate(TABLE[name].check.samples):
            if not sample.training:
                yield TABLE[name], index


def _compose(op: OpDef, sample: Any, arrays: list[np.ndarray | None]) -> tuple[list[Any], list[Any], list[np.ndarray]]:
    """Return (outputs, input nodes, their arrays) of one call on symbols."""
    given = [(i, a) for i, a in enumerate(arrays) if a is not None]
    symbols = [sym.Variable(f"x{i}") for i, _ in given]
    function = getattr(sym._internal, op.name, None) or getattr(sym, op.name)
    if op.variadic:
        out = function(*symbols, **sample.attrs)
    else:
        out = function(**{op.input_names[i]: s for (i, _), s in zip(given, symbols)}, **sample.attrs)
    nodes = [s._outputs[0].node for s in symbols]
    return list(out._outputs), nodes, [np.ascontiguousarray(a).reshape(np.shape(a)) for _, a in given]


@pytest.mark.parametrize(("op", "index"), list(_cases()), ids=matrix.name_of)
def test_numbers_are_the_kernels(op: OpDef, index: int) -> None:
    sample = op.check.samples[index]
    arrays = matrix.make_inputs(sample, np.float32)
    outputs, nodes, given = _compose(op, sample, arrays)
    known = {n: TensorType(a.shape, torch.from_numpy(a).dtype) for n, a in zip(nodes, given)}
    if (op.name, index) in REFUSED:
        with pytest.raises(UnsupportedError, match=op.name):
            lower(Plan(outputs, nodes, fixed_sizes(outputs, known), {}))
        return
    expected = matrix.visible(op, sample, matrix.run(op, sample, matrix.tensors_of(arrays)))
    model = lower(Plan(outputs, nodes, fixed_sizes(outputs, known), {})).SerializeToString()
    structure(model)
    found = run_onnx(model, {n.name: a for n, a in zip(nodes, given)})
    assert len(found) == len(expected)
    for ours, wanted in zip(found, (t.numpy() for t in expected)):
        assert (ours.shape, ours.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_allclose(ours.astype(np.float64), wanted.astype(np.float64), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("op", "index"), list(_cases()), ids=matrix.name_of)
def test_an_open_batch_serves_other_batches(op: OpDef, index: int) -> None:
    """Where inference lets the first axis of the first input move, one file serves both sizes."""
    sample = op.check.samples[index]
    arrays = matrix.make_inputs(sample, np.float32)
    first = arrays[0] if arrays else None
    closed = (op.name, index) in REFUSED or op.dynamic or op.name in TRUSTING
    if closed or first is None or not first.ndim or not first.shape[0]:
        pytest.skip("no batch to open")
    outputs, nodes, given = _compose(op, sample, arrays)
    known = {n: TensorType(a.shape, torch.from_numpy(a).dtype) for n, a in zip(nodes, given)}
    axes = {n: 0 for n, a in zip(nodes, given) if a.ndim and a.shape[0] == first.shape[0]}
    sizes = open_sizes(outputs, known, axes)
    if sizes is None:
        pytest.skip("this call fixes the batch")
    try:
        model = lower(Plan(outputs, nodes, sizes, {}, axes)).SerializeToString()
    except UnsupportedError as error:
        assert "batch" in str(error) or "fixed size" in str(error)
        return
    structure(model)
    for times in (1, 2):
        wider = [np.concatenate([a] * times) if n in axes else a for n, a in zip(nodes, given)]
        placed = iter(wider)
        tensors = matrix.tensors_of([None if a is None else next(placed) for a in arrays])
        expected = matrix.visible(op, sample, matrix.run(op, sample, tensors))
        found = run_onnx(model, {n.name: a for n, a in zip(nodes, wider)})
        for ours, wanted in zip(found, (t.numpy() for t in expected)):
            assert ours.shape == wanted.shape
            np.testing.assert_allclose(ours.astype(np.float64), wanted.astype(np.float64), rtol=1e-4, atol=1e-5)


def test_every_rule_belongs_to_an_operator() -> None:
    assert set(RULES) <= set(TABLE)
