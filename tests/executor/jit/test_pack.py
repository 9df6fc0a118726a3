"""Law: an unrolled cell whose weights are packed once computes what ATen computes, forward and backward, for any number
of rows; and what was chosen for own products is what pays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base import config
from glueball.executor.jit.pack import pack
from glueball.executor.jit.partition import usable
from glueball.executor.jit.units import Buffer, Pack, Product, Stored

from ...threads import threads

pytestmark = pytest.mark.skipif(not usable() or not config.get("GLUEBALL_JIT"), reason="no regions here")

CELLS = {"rnn": gluon.rnn.RNNCell, "lstm": gluon.rnn.LSTMCell, "gru": gluon.rnn.GRUCell}


def trained(cell: str, rows: int, wide: int, units: int, length: int, dtype: str, jit: bool, layout: str,
            patch: pytest.MonkeyPatch) -> list[np.ndarray]:  # fmt: skip
    """Return outputs and gradients of an unrolled cell, its weights' gradients last."""
    patch.setenv("GLUEBALL_JIT", str(int(jit)))

    class Unrolled(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.cell = CELLS[cell](units, input_size=wide)

        def hybrid_forward(self, F: Any, x: Any, *begin: Any) -> Any:
            outputs, states = self.cell.unroll(length, x, list(begin), layout=layout, merge_outputs=True)
            return outputs, states[0]

    net = Unrolled()
    net.initialize(mx.init.Constant(0.0))
    net.cast(dtype)
    random = np.random.default_rng(rows * 31 + units)
    parameters = sorted(net.collect_params().items(), key=lambda item: item[0].split("_", 1)[1])
    for _, parameter in parameters:
        parameter.set_data(nd.array(random.normal(size=parameter.shape) * 0.3, dtype=dtype))
    net.hybridize()
    shape = (rows, length, wide) if layout == "NTC" else (length, rows, wide)
    inputs = [nd.array(random.normal(size=shape), dtype=dtype)]
    inputs += [nd.array(random.normal(size=(rows, units)), dtype=dtype) for _ in net.cell.state_info(rows)]
    for array in inputs:
        array.attach_grad()
    outputs = state = None
    for _ in range(2):
        with autograd.record():
            outputs, state = net(*inputs)
            total = (outputs * outputs).sum() + (state * 0.5).sum()
        total.backward()
    if jit and rows * length >= 16 and units >= 8:
        assert "by panels" in net.explain()
    grads = [array.grad for array in inputs] + [parameter.grad() for _, parameter in parameters]
    return [array.asnumpy() for array in (outputs, state, *grads) if array is not None]


@given(st.sampled_from(sorted(CELLS)), st.sampled_from([1, 2, 3, 19, 20, 21, 63, 64, 65]), st.integers(1, 19),
       st.sampled_from([1, 7, 8, 16, 33]), st.integers(1, 5), st.sampled_from(["float32", "float64"]),
       st.sampled_from(["NTC", "TNC"]), st.sampled_from([1, 2]))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_unrolled_cells_equal_aten(cell: str, rows: int, wide: int, units: int, length: int, dtype: str, layout: str,
                                   count: int) -> None:  # fmt: skip
    with threads(count), pytest.MonkeyPatch.context() as patch:
        ours, atens = (trained(cell, rows, wide, units, length, dtype, jit, layout, patch) for jit in (True, False))
    tolerance = 1e-10 if dtype == "float64" else 2e-4
    for a, b in zip(ours, atens, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_rows_of_all_steps_are_put_together_once_for_every_gradient() -> None:
    """Weights and biases of an LSTM's two products share one array of the gates' gradients, which the steps write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUEBALL_JIT", "1")
        cell, length = gluon.rnn.LSTMCell(16, input_size=8), 6

        class Unrolled(gluon.HybridBlock):
            def __init__(self) -> None:
                super().__init__()
                self.cell = cell

            def hybrid_forward(self, F: Any, x: Any) -> Any:
                return self.cell.unroll(length, x, layout="NTC", merge_outputs=True)[0]

        net, loss = Unrolled(), gluon.loss.L2Loss()
        net.initialize(mx.init.Xavier())
        trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
        step = gluon.contrib.CompiledStep(net, loss, trainer)
        x, y = nd.random.normal(shape=(20, length, 8)), nd.random.normal(shape=(20, length, 16))
        step(x, y)
        text = step.explain()
    assert text.count("panels of a weight (16 × 64)") == 1  # forward
    assert text.count("panels of a weight (64 × 16)") == 1  # backward
    assert text.count("1 sums down the rows") == 1  # of 120 rows, for both biases
    assert "kernel over 1 × 1280" not in text  # no copies of a step's gates


def _product(m: int, n: int, k: int, weight: Stored, turned: bool = False, count: int = 1) -> Product:
    left, result = Stored(Buffer(m * k), 0, m, k, k, -1), Stored(Buffer(m * n), 0, m, n, n, 0)
    return Product(0, m, n, k, left, weight, turned, False, result, count)


def test_a_weight_is_packed_once_before_its_first_product_if_its_products_have_rows_enough() -> None:
    def weight() -> Stored:
        return Stored(Buffer(64 * 64), 0, 64, 64, 64, -1)

    shared, rare, narrow = weight(), weight(), Stored(Buffer(64 * 4), 0, 64, 4, 4, -1)
    units = [_product(2, 64, 64, rare), *[_product(5, 64, 64, shared) for _ in range(4)], _product(99, 4, 64, narrow),
             _product(64, 64, 64, weight(), count=3), _product(10, 64, 64, weight(), turned=True)]  # fmt: skip
    found = pack(units, 16, 2)
    assert [unit.number for unit in found] == list(range(len(units) + 1))
    (packing,) = [unit for unit in found if isinstance(unit, Pack)]
    assert packing.source is shared
    assert found.index(packing) == 1
    chosen = [unit.packed is not None for unit in found if isinstance(unit, Product)]
    assert chosen == [False, True, True, True, True, False, False, False]
    assert {id(unit.packed) for unit in found[2:6] if isinstance(unit, Product)} == {id(packing.result)}


def test_a_turned_operand_is_packed_as_well_and_once() -> None:
    first, second = (Stored(Buffer(70 * 32), 0, 70, 32, 32, -1) for _ in range(2))
    units = [_product(64, 32, 70, place, turned=True) for place in (first, second)]
    units[1].left = units[0].left = Stored(units[0].left.buffer, 0, 70, 64, 64, -1)
    found = pack(units, 16, 2)
    assert [type(unit) for unit in found] == [Pack, Pack, Product, Pack, Product]
    assert units[0].packed_left is units[1].packed_left
    assert units[0].packed is not units[1].packed
    deep = Stored(Buffer(700 * 32), 0, 700, 32, 32, -1)
    assert len(pack([_product(64, 32, 700, deep, turned=True)], 16, 2)) == 1  # the library is as good there
