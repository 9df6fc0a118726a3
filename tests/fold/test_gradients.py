"""Gradients of a scope in every way that they can be asked for: several losses, several scopes, requests, heads.

The one idea: each test asks the same of eager code and of a folded batch, and compares every gradient.

Not here: random programs (test_oracle.py), other classes of mistakes (test_bug_classes.py).
"""
from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from glueball import autograd, fold, gluon, nd
from glueball.base.errors import AutogradError, MXNetError

from .agreement import H, agree, arrays, layer

nn = gluon.nn


# -- gradients ---------------------------------------------------------------------------------------------------------
def test_gradients_of_an_input_of_several_samples() -> None:
    x = arrays(1)[0]
    agree(lambda i: nd.tanh(x * i), range(4), leaves=[x])
    agree(lambda i: nd.tanh(x) * x + i, range(4), leaves=[x])


@pytest.mark.parametrize("request_", ["write", "add", "null"])
def test_gradient_requests(request_: str) -> None:
    found = []
    for mode in ("off", "on"):
        xs, dense = arrays(3, attach=False), layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        for x in xs:
            x.attach_grad(request_)
        dense.weight.grad_req = request_
        for _ in range(2):
            with autograd.record(), fold.batching(mode):
                outs = [nd.tanh(dense(x)).sum() for x in xs]
            autograd.backward(outs)
        found.append([o.asnumpy() for o in outs] + [x.grad.asnumpy() for x in xs if x.grad is not None]
                     + ([dense.weight.grad().asnumpy()] if request_ != "null" else []) + [dense.bias.grad().asnumpy()])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_attach_grad_on_a_result() -> None:
    found = []
    for mode in ("off", "on"):
        x, dense = arrays(1)[0], layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        with autograd.record(), fold.batching(mode):
            y = nd.tanh(dense(x))
            y.attach_grad()
            z = nd.zeros((1, H), dtype="float64")
            z.attach_grad()
            outs = [(y * y * (i + 1) + z * y * i).sum() for i in range(3)]
        autograd.backward(outs)
        found.append([y.grad.asnumpy(), z.grad.asnumpy(), x.grad.asnumpy(), dense.weight.grad().asnumpy(),
                      *[o.asnumpy() for o in outs]])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_attach_grad_between_two_uses() -> None:
    found = []
    for mode in ("off", "on"):
        x = arrays(1, attach=False)[0]
        with autograd.record(), fold.batching(mode):
            before = nd.tanh(x)
            x.attach_grad()
            after = nd.tanh(x) * 3
            total = (before + after).sum()
        total.backward()
        found.append([total.asnumpy(), x.grad.asnumpy()])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_autograd_grad() -> None:
    found = []
    for mode in ("off", "on"):
        xs, dense = arrays(), layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        with autograd.record(), fold.batching(mode):
            total = nd.add_n(*[nd.tanh(dense(x)).sum() for x in xs])
        wanted = autograd.grad(total, [xs[0], dense.weight.data(), xs[2]], retain_graph=True)
        again = autograd.grad(total, [xs[1]])
        found.append([w.asnumpy() for w in (*wanted, *again)] + [x.grad.asnumpy() for x in xs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_head_gradients() -> None:
    found = []
    for mode in ("off", "on"):
        xs = arrays()
        with autograd.record(), fold.batching(mode):
            outs = [nd.tanh(x) * 2 for x in xs]
        autograd.backward(outs, [nd.ones((1, H), dtype="float64") * i for i in range(4)])
        found.append([x.grad.asnumpy() for x in xs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_a_second_backward_needs_retain_graph() -> None:
    for mode in ("off", "on"):
        xs = arrays()
        with autograd.record(), fold.batching(mode):
            total = nd.add_n(*[nd.tanh(x).sum() for x in xs])
        total.backward()
        with pytest.raises(AutogradError, match="used up"):
            total.backward()


@pytest.mark.parametrize("hybridize", [False, True])
def test_weights_that_change_between_forward_and_backward(hybridize: bool) -> None:
    """Gradients of old results with new weights are nobody's gradients."""
    found = []
    for mode in ("off", "on"):
        net, xs = nn.HybridSequential(), arrays()
        net.add(layer(), nn.Activation("tanh"), layer())
        for name, parameter in zip("wbwb", net.collect_params().values()):
            parameter.set_data(nd.ones(parameter.shape) * (0.3 if name == "w" else 0.1))
        if hybridize:
            net.hybridize()
        with autograd.record(), fold.batching(mode):
            total = nd.add_n(*[nd.tanh(net(nd.sin(x))).sum() for x in xs])
        net[2].bias.set_data(nd.zeros((H,)))  # no gradient needs its value
        total.backward(retain_graph=True)
        found.append([x.grad.asnumpy() for x in xs] + [p.grad().asnumpy() for p in net.collect_params().values()])
        net[2].weight.set_data(nd.zeros((H, H)))
        with pytest.raises(AutogradError, match="changed in place"):
            total.backward()
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_gradients_of_gradients_say_what_to_do() -> None:
    x = arrays(1)[0]
    with autograd.record():
        with fold.batching():
            y = nd.tanh(x)
        with pytest.raises(MXNetError, match="mode='off'"):
            autograd.grad(y, [x], create_graph=True)[0].backward()


def test_results_are_used_in_ordinary_code() -> None:
    found = []
    for mode in ("off", "on"):
        xs, dense = arrays(), layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        with autograd.record():
            with fold.batching(mode):
                rows = [nd.tanh(dense(x)) for x in xs]
            joined = nd.concat(*rows, dim=0)
            total = (joined * nd.softmax(joined)).sum() + rows[0].sum() * 2 + rows[1][0, 1]
        total.backward()
        plain = rows[2] * 2 + nd.array(rows[3].asnumpy(), dtype="float64")  # not recorded
        found.append([total.asnumpy(), plain.asnumpy(), dense.weight.grad().asnumpy(), *[x.grad.asnumpy() for x in xs]])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_interleaved_scopes_and_backward_passes() -> None:
    found = []
    for mode in ("off", "on"):
        xs, dense = arrays(), layer()
        dense.weight.set_data(nd.ones((H, H)) * 0.3)
        seen = []
        with autograd.record():
            with fold.batching(mode):
                first = [nd.tanh(dense(x)) for x in xs]
            with fold.batching(mode):
                second = [nd.sigmoid(dense(r)) for r in first]
                early = nd.add_n(*second).sum()
                early.backward(retain_graph=True)
                seen.append(dense.weight.grad().asnumpy())
                third = [s * f for s, f in zip(second, first)]
            late = nd.add_n(*third).sum()
            first_total = first[0].sum()
        for loss in (late, first_total):
            for x in xs:
                x.zero_grad()
            loss.backward(retain_graph=True)
            seen += [dense.weight.grad().asnumpy(), *[x.grad.asnumpy() for x in xs]]
        found.append(seen)
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_stopped_gradients() -> None:
    def program(x: Any) -> Any:
        y = nd.tanh(x)
        with autograd.pause():
            z = nd.exp(y)
        return [y * nd.BlockGrad(y), y * y.detach(), y * z, nd.stop_gradient(y) * x, nd.BlockGrad(x) + z]
    agree(program, arrays())


def test_no_memory_is_kept() -> None:
    x = nd.ones((1, H))
    with fold.batching():
        y = nd.tanh(x)
    reference = weakref.ref(x)
    value = y.asnumpy()
    del x, y
    gc.collect()
    with fold.batching():
        nd.tanh(nd.ones((1, H)))
    gc.collect()
    assert reference() is None and value.shape == (1, H)
