"""What changes between a call and its run, or between two scopes: arrays, weights, parameters, precision.

The one idea: recorded calls stand for the values that arrays had when they were made. Each test is a few lines of
per-sample code in which an old or a too new value would show.

Not here: other classes of mistakes (test_bug_classes.py).
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, fold, gluon, init, nd
from glueball.contrib import amp
from glueball.fold import operator_calls

from .agreement import H, agree, arrays, gradients, layer, parameters

nn = gluon.nn


# -- arrays that change ------------------------------------------------------------------------------------------------
def test_writing_to_an_argument_after_the_call() -> None:
    for write in (lambda a: a.__setitem__(slice(None), 5.0), lambda a: a.__iadd__(1), lambda a: nd.tanh(a, out=a),
                  lambda a: nd.zeros((1, H), dtype="float64").copyto(a), lambda a: a.__setitem__((0, 1), 7),
                  lambda a: nd.sgd_update(a, a, lr=0.1, out=a)):
        found = []
        for mode in ("off", "on"):
            a, b = arrays(2, attach=False)
            with fold.batching(mode):
                first = nd.tanh(a) + b
                write(a)
                second = nd.tanh(a) + b
                write(b)
                third = a + b
            found.append([v.asnumpy() for v in (first, second, third, a, b)])
        for one, other in zip(*found):
            np.testing.assert_allclose(other, one)


def test_writing_through_a_view() -> None:
    found = []
    for mode in ("off", "on"):
        a = nd.array(np.arange(6.0).reshape(2, 3))
        view, shaped = a[0:1], a.reshape((3, 2))
        with fold.batching(mode):
            first = nd.tanh(a)
            view[:] = 9
            second = nd.tanh(a)
            a[:] = 3
            third = nd.tanh(view)
            shaped[0, 0] = 8
            fourth, fifth = nd.tanh(view), nd.tanh(a)
        found.append([v.asnumpy() for v in (first, second, third, fourth, fifth)])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one)


def test_writing_to_a_weight_after_the_call() -> None:
    found = []
    ones = nd.ones((1, H), dtype="float64")
    for mode in ("off", "on"):
        weights = [nd.ones((H, H), dtype="float64") * i for i in range(4)]
        dense, leaf = layer(), arrays(1)[0]
        dense.weight.set_data(weights[0])
        outs = []
        with fold.batching(mode):
            for weight in weights:
                outs += [dense(ones), nd.tanh(ones) * leaf, nd.FullyConnected(ones, weight, None, num_hidden=H,
                                                                              no_bias=True)]
                dense.weight.set_data(weight)
                leaf[:] = 4
                outs.append(nd.tanh(ones) * leaf)
                leaf += 1
                outs.append(nd.tanh(ones) * leaf)
                weight[0] = 7
                dense.bias.data()[:] = 5
        found.append([v.asnumpy() for v in outs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one)


def test_stepping_inside_the_scope() -> None:
    found = []
    for mode in ("off", "on"):
        dense, xs = layer(), arrays()
        dense.weight.set_data(nd.ones((H, H), dtype="float64") * 0.3)
        trainer = gluon.Trainer(dense.collect_params(), "sgd", {"learning_rate": 0.5})
        outs = []
        with fold.batching(mode):
            for _ in range(3):
                with autograd.record():
                    losses = [(nd.tanh(dense(x)) + dense.weight.data() * x).sum() for x in xs]
                    total = nd.add_n(*losses)
                before = nd.tanh(dense.weight.data()), dense(xs[0])
                total.backward()
                late = nd.tanh(xs[1]) * dense.weight.data()
                trainer.step(4)
                outs += [total, *before, late, nd.tanh(dense.weight.data()), dense(xs[0])]
        found.append([v.asnumpy() for v in outs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one, 1e-9)


def test_writing_to_a_result() -> None:
    found = []
    for mode in ("off", "on"):
        xs = arrays(3, attach=False)
        outs = []
        with fold.batching(mode):
            for x in xs:
                y = nd.tanh(x)
                before = y * 2
                y += 1
                after = y * 2
                y[:] = 3
                later = y * 2
                y[0, 1] = 7
                last = y * 2
                z = nd.sigmoid(x)
                z *= y
                z -= x
                z /= 2
                nd.tanh(x, out=z)
                outs += [before, after, later, last, y, z]
        found.append([v.asnumpy() for v in outs])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one)


def test_two_names_of_one_result_see_a_write() -> None:
    found = []
    for mode in ("off", "on"):
        with fold.batching(mode):
            y = nd.tanh(nd.ones((2, 2)))
            same = y
            y += 1
            first = same * 1
            y[:] = 5
            second = same * 1
        found.append([v.asnumpy() for v in (first, second, same)])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one)


def test_arrays_made_inside_are_apart() -> None:
    found = []
    for mode in ("off", "on"):
        with fold.batching(mode):
            a, b = nd.zeros((2, 2)), nd.zeros((2, 2))
            c = nd.tanh(nd.ones((2, 2)))
            a += 1
            b[0] = 2
            d = nd.zeros((2, 2)) + c
            a[1] = 4
            e = [nd.zeros((1,)) for _ in range(3)]
            for i, one in enumerate(e):
                one[:] = i
            total = nd.concat(*e, dim=0)
        found.append([v.asnumpy() for v in (a, b, c, d, nd.zeros((2, 2)), total)])
    for one, other in zip(*found):
        np.testing.assert_allclose(other, one)


def test_a_list_that_changes_after_the_call() -> None:
    class Sum(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, rows: Any) -> Any:
            return F.add_n(*rows)
    block = Sum()
    block.hybridize()

    def program(x: Any) -> Any:
        rows = [nd.tanh(x), nd.sigmoid(x)]
        first = block(rows)
        rows.append(nd.sin(x))
        second = block(rows)
        rows.clear()
        return [first, second]
    agree(program, arrays())


def test_the_identity_of_a_freed_array_is_not_trusted() -> None:
    """Keys made of id() go wrong when an array dies and another takes its place."""
    with fold.batching():
        outs = [nd.tanh(nd.array([[float(i)] * H])) * nd.array([float(i)]) for i in range(50)]
    for i, out in enumerate(outs):
        np.testing.assert_allclose(out.asnumpy(), np.tanh(np.full((1, H), i)) * i, 1e-6)
    for i in range(20):  # one scope after the other, weights that come and go
        weight = nd.array(np.full((1, H), float(i)))
        weight.attach_grad()
        with autograd.record(), fold.batching():
            rows = [nd.FullyConnected(nd.ones((1, H)), weight, no_bias=True, num_hidden=1) for _ in range(2)]
        assert float(rows[1]) == 3 * i
        del weight, rows


# -- parameters that change between scopes -----------------------------------------------------------------------------
def _train(mode: str, change: Callable[[Any], None], hybridize: bool) -> list[np.ndarray]:
    net = nn.HybridSequential()
    net.add(layer(), nn.Activation("tanh"), layer(2))
    generator = np.random.RandomState(3)
    for parameter in net.collect_params().values():
        parameter.set_data(nd.array(generator.randn(*parameter.shape), dtype="float64"))
    if hybridize:
        net.hybridize()
    seen = []
    for step in range(3):
        xs = arrays(4, seed=step)
        dtype = net[0].weight.dtype
        with autograd.record(), fold.batching(mode):
            outs = [net(x.astype(dtype)) for x in xs]
        autograd.backward(outs)
        seen += [o.asnumpy() for o in outs] + gradients(parameters(net), xs)
        change(net)
    return seen


def _stepped(net: Any) -> None:
    trainer = net.__dict__.setdefault("trainer_of_the_test", gluon.Trainer(net.collect_params(), "adam"))
    trainer.step(4)


def _hybridized_again(net: Any) -> None:
    net.hybridize(not net._active)


def _replaced(net: Any) -> None:
    for parameter in net.collect_params().values():
        parameter.set_data(parameter.data() * 0.5)


def _other_layer(net: Any) -> None:
    net.add(nn.Activation("sigmoid"))


CHANGES = {"nothing": lambda net: None, "step": _stepped, "set_data": _replaced,
           "cast": lambda net: net.cast("float32"), "hybridize": _hybridized_again, "another layer": _other_layer,
           "initialize": lambda net: net.initialize(init.One(), force_reinit=True),
           "reset_ctx": lambda net: net.collect_params().reset_ctx(net[0].weight.list_ctx()),
           "null": lambda net: net[0].weight.__setattr__("grad_req", "null") or net[0].weight.__setattr__("grad_req",
                                                                                                         "write")}


@pytest.mark.parametrize("hybridize", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_parameters_that_change_between_scopes(change: str, hybridize: bool) -> None:
    expected = _train("off", CHANGES[change], hybridize)
    for one, other in zip(expected, _train("on", CHANGES[change], hybridize), strict=True):
        np.testing.assert_allclose(other, one, 1e-5 if change == "cast" else 1e-9, 1e-6 if change == "cast" else 1e-9)


def test_parameters_loaded_between_scopes(tmp_path: Path) -> None:
    def change(net: Any) -> None:
        for parameter in net.collect_params().values():
            parameter.set_data(parameter.data() + 1)
        net.save_parameters(str(tmp_path / "net"))
        for parameter in net.collect_params().values():
            parameter.set_data(parameter.data() * 0)
        net.load_parameters(str(tmp_path / "net"))
    for one, other in zip(_train("off", change, True), _train("on", change, True), strict=True):
        np.testing.assert_allclose(other, one, 1e-9)


def test_deferred_initialisation_inside_a_scope() -> None:
    for hybridize in (False, True):
        net = nn.HybridSequential()
        net.add(nn.Dense(4, activation="tanh"), nn.Dense(2))
        net.initialize(init.One())
        if hybridize:
            net.hybridize()
        with fold.batching():
            outs = [net(nd.ones((1, H)) * i) for i in range(3)]
        for i, out in enumerate(outs):
            np.testing.assert_allclose(out.asnumpy(), np.full((1, 2), 4 * np.tanh(H * i)), 1e-5)


def test_mixed_precision_switched_on_and_off() -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(4, in_units=H), nn.Activation("tanh"), nn.Dense(2, in_units=4))
    net.initialize(init.Normal(0.5))
    net.hybridize()
    xs, weight = arrays(dtype="float32", attach=False), nd.ones((2, H))

    def run(mode: str) -> list[np.ndarray]:
        with autograd.record(), fold.batching(mode):
            outs = [v for x in xs for v in (net(x), nd.softmax(net(x)),
                                            nd.FullyConnected(nd.tanh(x), weight, no_bias=True, num_hidden=2))]
        autograd.backward([o for o in outs if o._t.requires_grad])
        return [np.array([o.dtype_name for o in outs])] + [o.asnumpy() for o in outs] + [net[0].weight.grad().asnumpy()]

    def same() -> str:
        expected, received = run("off"), run("on")
        assert expected[0].tolist() == received[0].tolist()
        for one, other in zip(expected[1:], received[1:]):
            np.testing.assert_allclose(other, one, 1e-2, 1e-2)
        return str(expected[0][0])
    assert same() == "float32"
    amp.init("bfloat16")
    try:
        assert same() == "bfloat16"
    finally:
        amp.reset()
    assert same() == "float32"


def test_a_child_that_is_replaced() -> None:
    class Net(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = layer(), layer()

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.two(F.tanh(self.one(x)))
    net, xs = Net(), arrays()
    net.hybridize()
    agree(net, xs, net)
    net.one = layer()
    agree(net, xs, net)


def test_a_scope_is_gone_when_its_last_value_is() -> None:
    """Nothing that a scope made needs the garbage collector: arenas are large, and the next step wants their memory."""
    import gc

    from glueball.fold.backward import Tape
    net = nn.Dense(3)
    net.initialize()
    net.hybridize()
    gc.collect()
    before = [thing for thing in gc.get_objects() if type(thing) is Tape]  # of tests that failed or keep values
    gc.disable()
    try:
        for _ in range(3):
            with autograd.record(), fold.batching():
                total = nd.add_n(*[net(nd.ones((1, 2)) * i).tanh().sum() for i in range(4)])
            total.backward()
            assert net.weight.grad().shape == (3, 2)
        del total
        left = [thing for thing in gc.get_objects() if type(thing) is Tape]
        assert all(any(tape is old for old in before) for tape in left)
    finally:
        gc.enable()


def test_writing_on_one_device_while_calls_with_weights_of_another_wait() -> None:
    net = nn.Dense(2)
    net.initialize(ctx=mx.cpu(0))
    elsewhere = nd.zeros((3,), ctx=mx.cpu(1))
    with fold.batching():
        answers = [net(nd.ones((1, 4)) * i) for i in range(3)]
        elsewhere += 1
        net.weight.data()[:] = 0
        after = net(nd.ones((1, 4)))
    assert elsewhere.asnumpy().tolist() == [1, 1, 1]
    assert abs(answers[2].asnumpy()).sum() > 0
    np.testing.assert_allclose(after.asnumpy(), net.bias.data().asnumpy()[None])


@pytest.mark.parametrize("call", [lambda x: nd.concat(None, x, dim=0), lambda x: nd.add_n(x, None),
                                  lambda x: nd.concat(x, dim=0, axis=1),
                                  lambda x: nd.broadcast_add(x, None), lambda x: nd.dot(x)])
def test_wrong_arguments_are_refused_as_without_a_scope(call: Callable[[Any], Any]) -> None:
    x = nd.ones((2, 3))
    with pytest.raises(Exception, match=".") as plain:
        call(x)
    with pytest.raises(type(plain.value)) as folded, fold.batching():
        call(x * 1)
    assert str(folded.value).splitlines()[0] == str(plain.value).splitlines()[0]


def test_a_result_of_unknown_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No operator of the table is like that; one that somebody adds without a rule would be."""
    from glueball.base.errors import MXNetError
    from glueball.fold import operator_calls
    from glueball.ops.opdef import TensorType
    monkeypatch.setattr(operator_calls, "infer_node", lambda *_: (None, [TensorType()]))
    with pytest.raises(MXNetError, match=r"(?s)not known before.*Expected.*Received.*Fix"), fold.batching():
        nd.arcsinh(nd.ones((1, 7, 11)))


def test_calls_are_forgotten_between_scopes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many forms of calls a scope has, equal ones run together; the next scope begins with none."""
    monkeypatch.setattr(operator_calls, "_LIMIT", 3)
    for _ in range(2):
        with fold.batching():
            outs = [nd.tanh(nd.ones((1, 3))) * float(factor) for _ in range(3) for factor in range(5)]
        assert [out.asnumpy()[0, 0] for out in outs] == pytest.approx([np.tanh(1.0) * (i % 5) for i in range(15)])
        assert "30 calls of 6 kinds ran as 6 groups" in fold.explain()
        assert len(operator_calls.CALLS) == 6
