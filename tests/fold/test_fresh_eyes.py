"""What somebody who only knows the guide tries: user-written operators, parameters that change in the middle, and other
uses of a scope that its authors did not have in mind.

The one idea: each test is the program that went wrong once, compared with the same one unfolded.

Not here: classes of mistakes that were thought of beforehand (test_bug_classes.py, test_changes.py).
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, fold, gluon, nd
from glueball.base.errors import UnsupportedError

from .agreement import H, agree, arrays, layer

nn = gluon.nn


# -- operators of the user ---------------------------------------------------------------------------------------------
class _Square(mx.operator.CustomOp):
    def forward(self, is_train: bool, req: Any, in_data: Any, out_data: Any, aux: Any) -> None:
        self.assign(out_data[0], req[0], in_data[0] * in_data[0])  # operators, which a scope would collect

    def backward(self, req: Any, out_grad: Any, in_data: Any, out_data: Any, in_grad: Any, aux: Any) -> None:
        self.assign(in_grad[0], req[0], 2 * in_data[0] * out_grad[0])


@mx.operator.register("fresh_eyes_square")
class _SquareProp(mx.operator.CustomOpProp):
    def create_operator(self, ctx: Any, in_shapes: Any, in_dtypes: Any) -> mx.operator.CustomOp:
        return _Square()


class _Cube(autograd.Function):
    def forward(self, *inputs: Any) -> Any:
        self.save_for_backward(*inputs)
        return inputs[0] * inputs[0] * inputs[0]

    def backward(self, *output_grads: Any) -> Any:
        return 3 * self.saved_tensors[0] * self.saved_tensors[0] * output_grads[0]


@pytest.mark.parametrize("written", [lambda x: nd.Custom(x, op_type="fresh_eyes_square"), lambda x: _Cube()(x)])
def test_operators_of_the_user_have_their_gradients(written: Callable[[Any], Any]) -> None:
    dense = layer()
    agree(lambda x: nd.tanh(written(dense(x))), arrays(5), dense)


def test_operators_of_the_user_in_a_backward_pass_inside_the_scope() -> None:
    dense, found = layer(), []
    for mode in ("off", "on"):
        with fold.batching(mode):
            with autograd.record():
                total = nd.add_n(*[(nd.Custom(dense(x), op_type="fresh_eyes_square") + _Cube()(x)).sum()
                                   for x in arrays(4)])
            total.backward()
        found.append(dense.weight.grad().asnumpy())
    np.testing.assert_allclose(*found)
    assert np.abs(found[0]).max() > 0


# -- gradients of what lies in between ---------------------------------------------------------------------------------
def test_grad_of_a_value_in_between_says_that_it_is_not_kept() -> None:
    dense = layer()
    with autograd.record(), fold.batching():
        between = dense(arrays(1)[0])
        total = nd.tanh(between).sum()
    with pytest.raises(UnsupportedError, match="attach_grad"):
        autograd.grad(total, [between], retain_graph=True)
    with autograd.record(), fold.batching():
        between = dense(arrays(1)[0])
        between.attach_grad()
        total = nd.tanh(between).sum()
    np.testing.assert_allclose(autograd.grad(total, [between])[0].asnumpy(), 1 - np.tanh(between.asnumpy()) ** 2)


# -- parameters --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("change", [lambda dense: dense.initialize(mx.init.One(), force_reinit=True),
                                    lambda dense: dense.cast("float32"),
                                    lambda dense: dense.collect_params().reset_ctx(mx.cpu())])
def test_calls_recorded_before_parameters_are_made_anew_see_the_old_ones(change: Callable[[Any], Any]) -> None:
    dense, x = layer(), arrays(1)[0]
    expected = dense(x).asnumpy()
    with fold.batching():
        before = dense(x)
        change(dense)
    np.testing.assert_allclose(before.asnumpy(), expected)


def test_first_values_are_not_in_the_report() -> None:
    dense = nn.Dense(H)
    dense.initialize(mx.init.Xavier())
    with fold.batching():
        for x in arrays(3, dtype="float32"):
            dense(x)
    assert "random" not in str(fold.explain())


# -- mode="check" ------------------------------------------------------------------------------------------------------
def test_check_of_vectors_and_rows_put_together() -> None:
    """Children of a call whose result has as many rows as there are children have no axis of rows themselves."""
    dense, found = layer(), []
    for mode in ("off", "check"):
        dense.weight.zero_grad()
        with autograd.record(), fold.batching(mode):
            made = [dense(x) for x in arrays(4, (2, H))]
            total = nd.add_n(*[nd.stack(*[nd.tanh(m)[0] for m in made[:n]], axis=0).sum() + nd.concat(
                *made[:n], dim=0).sum() for n in (1, 2, 4)])
        total.backward()
        found.append([total.asnumpy(), dense.weight.grad().asnumpy()])
    for off, check in zip(*found):
        np.testing.assert_allclose(off, check)


# -- what the guide says that cannot be done ---------------------------------------------------------------------------
class _Reading(gluon.HybridBlock):
    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return x * 2 if float(x.sum()) > 0 else x


def test_a_hybridized_block_that_reads_says_so_and_the_next_scope_is_clean() -> None:
    block, x = _Reading(), nd.ones((1, H))
    block.hybridize()
    with pytest.raises(mx.MXNetError, match="imperative"), fold.batching():
        block(x)
    block.hybridize(False)
    assert fold.map(lambda y: float(block(y).sum()), [x, -x]) == [2.0 * H, -1.0 * H]
