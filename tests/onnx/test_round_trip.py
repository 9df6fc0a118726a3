"""What is exported comes back: every operator with an ONNX rule, written and read again, gives the kernel's numbers.

The law: import(export(graph)) = graph, in numbers, shapes and element types. The first sample of each operator; the
samples' own numbers under onnxruntime are test_operators.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import operator_matrix as matrix
import pytest
import torch

from glueball import sym
from glueball.onnx.backend import GlueballBackend
from glueball.onnx.call import RULES
from glueball.onnx.lowering import Plan, lower
from glueball.onnx.sizes import fixed_sizes
from glueball.ops.opdef import TABLE, TensorType


def _first(op: Any) -> int | None:
    """The first sample of what an operator does when it predicts."""
    samples = enumerate(op.check.samples)
    return next((i for i, s in samples if not s.training and s.attrs.get("mode") != "always"), None)


_FIRST = [(TABLE[name], index) for name in sorted(RULES) if (index := _first(TABLE[name])) is not None]


@pytest.mark.parametrize(("op", "index"), _FIRST, ids=matrix.name_of)
def test_it_comes_back(op: Any, index: int) -> None:
    sample = op.check.samples[index]
    arrays = matrix.make_inputs(sample, np.float32)
    given = [(i, np.ascontiguousarray(a).reshape(np.shape(a))) for i, a in enumerate(arrays) if a is not None]
    symbols = [sym.Variable(f"x{i}") for i, _ in given]
    function = getattr(sym._internal, op.name, None) or getattr(sym, op.name)
    named = {op.input_names[i]: s for (i, _), s in zip(given, symbols)} if not op.variadic else {}
    out = function(*(symbols if op.variadic else ()), **named, **sample.attrs)
    nodes = [s._outputs[0].node for s in symbols]
    known = {n: TensorType(a.shape, torch.from_numpy(a).dtype) for n, (_, a) in zip(nodes, given)}
    model = lower(Plan(list(out._outputs), nodes, fixed_sizes(list(out._outputs), known), {}))
    expected = matrix.visible(op, sample, matrix.run(op, sample, matrix.tensors_of(arrays)))
    found = GlueballBackend.prepare(model).run({node.name: array for node, (_, array) in zip(nodes, given)})
    assert len(found) == len(expected)
    for ours, wanted in zip(found, (t.numpy() for t in expected)):
        assert (ours.shape, ours.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_allclose(ours.astype(np.float64), wanted.astype(np.float64), rtol=1e-4, atol=1e-5)
