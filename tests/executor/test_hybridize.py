"""hybridize(): the cases a user meets, one by one. The general law is in test_hybridize_laws.py."""
from __future__ import annotations

import copy

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base.errors import AutogradError, MXNetError, TraceError
from glueball.gluon import nn


class Counted(gluon.HybridBlock):
    """Counts how often its Python runs."""

    runs = 0

    def hybrid_forward(self, F, x):
        type(self).runs += 1
        return x * 2


def both(net, *args):
    """Return the imperative and twice the hybridized result."""
    plain = net(*args)
    net.hybridize()
    return plain, net(*args), net(*args)


def test_python_runs_once_per_signature():
    net = Counted()
    net.hybridize()
    Counted.runs = 0
    for _ in range(3):
        net(nd.ones((2, 2)))
    assert Counted.runs == 1
    net(nd.ones((3, 2)))
    net(nd.ones((2, 2), dtype="float64"))
    with autograd.train_mode():
        net(nd.ones((2, 2)))
    assert Counted.runs == 4


def test_plain_forward_traces_too():
    class Net(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.dense = nn.Dense(3)

        def forward(self, x, scale=2.0):
            y = nd.relu(self.dense(x)) * scale
            return y.reshape((x.shape[0], -1)) + x.shape[1]

    net = Net()
    net.initialize()
    a, b, c = both(net, nd.ones((2, 4)))
    assert a.shape == (2, 3) and np.array_equal(a.asnumpy(), b.asnumpy()) and np.array_equal(b.asnumpy(), c.asnumpy())


def test_lists_of_any_length_none_and_numbers():
    class Sum(gluon.HybridBlock):
        def hybrid_forward(self, F, x, states, extra=None, factor=1):
            for s in states:
                x = x + s
            if extra is not None:
                x = x * extra["scale"]
            return x * factor, [x, (x + 1,)]

    net = Sum()
    net.hybridize()
    one = nd.ones((2,))
    for count in (0, 1, 4):
        y, (same, (more,)) = net(one, [one] * count)
        assert y.asnumpy()[0] == 1 + count and same.asnumpy()[0] == 1 + count and more.asnumpy()[0] == 2 + count
    assert net(one, [one], {"scale": nd.array([3, 3])}, 2)[0].asnumpy().tolist() == [12, 12]
    assert net(one, [one], None, 5)[0].asnumpy().tolist() == [10, 10]


def test_numpy_input_works_both_ways():
    net = nn.Dense(2)
    net.initialize()
    data = np.ones((3, 4), np.float64)
    a, b, _ = both(net, data)
    np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())


def test_outputs_are_the_callers_own_memory():
    class Same(gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return x, F.reshape(x, (-1,)), x + 0

    net = Same()
    net.hybridize()
    x = nd.ones((2, 2))
    for out in net(x):
        out[:] = 5
    assert x.asnumpy().sum() == 4


def test_a_value_read_names_the_line():
    class Bad(gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            if x.sum() > 0:  # the line that is named
                return x
            return -x

    net = Bad()
    assert net(nd.ones((1,))).asscalar() == 1
    net.hybridize()
    with pytest.raises(TraceError, match=r"test_hybridize\.py:\d+") as caught:
        net(nd.ones((1,)))
    assert "F.contrib.cond" in str(caught.value) and "gluon.Block" in str(caught.value)


@pytest.mark.parametrize("read", [lambda x: float(x.sum()), lambda x: int(x.sum()), lambda x: x.asnumpy(),
                                  lambda x: x.sum().asscalar(), lambda x: range(x), lambda x: np.asarray(x)])
def test_every_way_of_reading_a_value_is_refused(read):
    class Bad(gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            read(x)
            return x

    net = Bad()
    net.hybridize()
    with pytest.raises(TraceError, match="value of an array"):
        net(nd.ones((1,)))


def test_chance_is_in_the_graph_not_in_the_trace():
    class Noise(gluon.HybridBlock):
        def forward(self, x):
            return x + nd.random.uniform(shape=(4,))

    net = Noise()
    net.hybridize()
    mx.random.seed(0)
    first, second = net(nd.zeros((4,))).asnumpy(), net(nd.zeros((4,))).asnumpy()
    assert not np.array_equal(first, second)
    mx.random.seed(0)
    np.testing.assert_array_equal(net(nd.zeros((4,))).asnumpy(), first)


def test_arrays_met_on_the_way_are_constants_by_reference():
    table = nd.array([1.0, 2.0])

    class Net(gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return x * table

    net = Net()
    net.hybridize()
    assert net(nd.ones((2,))).asnumpy().tolist() == [1, 2]
    table[:] = 7
    assert net(nd.ones((2,))).asnumpy().tolist() == [7, 7]


def test_second_backward_needs_retain_graph():
    net = nn.Dense(2)
    net.initialize()
    net.hybridize()
    x = nd.ones((1, 3))
    with autograd.record():
        y = net(x)
        z = y * 2
    y.backward(retain_graph=True)
    first = net.weight.grad().asnumpy()
    y.backward()
    np.testing.assert_array_equal(net.weight.grad().asnumpy(), first)
    with pytest.raises(AutogradError, match="retain_graph"):
        z.backward()


def test_a_parameter_changed_before_backward_is_noticed():
    net = nn.HybridSequential()
    net.add(nn.Dense(2), nn.Dense(2))
    net.initialize()
    net.hybridize()
    x = nd.ones((1, 3))
    x.attach_grad()
    with autograd.record():
        y = net(x)
    net[1].weight.data()[:] = 0
    with pytest.raises(AutogradError, match="changed in place"):
        y.backward()


def test_grad_req_cast_and_new_layers_after_hybridize():
    net = nn.HybridSequential()
    net.add(nn.Dense(4), nn.Dense(2))
    net.initialize()
    net.hybridize()
    x = nd.ones((3, 5))
    net(x)
    net[0].weight.grad_req = "null"
    with autograd.record():
        y = net(x)
    y.backward()
    assert net[1].weight.grad().asnumpy().any()
    with pytest.raises(MXNetError, match="grad_req='null'"):
        net[0].weight.grad()
    net.cast("float64")
    assert net(x.astype("float64")).dtype == np.float64
    net.add(nn.Dense(7))
    net[2].initialize()
    net[2].cast("float64")
    assert net(x.astype("float64")).shape == (3, 7)


def test_a_change_deep_inside_is_seen_outside():
    inner = nn.HybridSequential()
    inner.add(nn.Dense(3))
    outer = nn.HybridSequential()
    outer.add(inner)
    outer.initialize()
    outer.hybridize()
    assert outer(nd.ones((1, 2))).shape == (1, 3)
    inner.add(nn.Dense(5))
    inner[1].initialize()
    assert outer(nd.ones((1, 2))).shape == (1, 5)


def test_several_devices():
    net = nn.HybridSequential()
    net.add(nn.Dense(3, activation="relu"), nn.BatchNorm())
    net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    net.hybridize()
    x = nd.ones((2, 4))
    a = net(x)
    b = net(x.as_in_context(mx.cpu(1)))
    assert a.context == mx.cpu(0) and b.context == mx.cpu(1)
    np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())


def test_hybridize_can_be_undone_and_copied():
    net = nn.Dense(3)
    net.initialize()
    net.hybridize()
    x = nd.ones((2, 2))
    y = net(x).asnumpy()
    other = copy.deepcopy(net)
    np.testing.assert_array_equal(other(x).asnumpy(), y)
    other.weight.set_data(nd.zeros((3, 2)))
    assert net(x).asnumpy().tolist() == y.tolist() and other(x).asnumpy().sum() == 0
    net.hybridize(False)
    np.testing.assert_array_equal(net(x).asnumpy(), y)


def test_nested_hybridized_blocks_become_one_graph():
    inner = nn.HybridSequential()
    inner.add(nn.Dense(3, activation="tanh"))
    inner.hybridize()
    outer = nn.HybridSequential()
    outer.add(inner, nn.Dense(2))
    outer.initialize()
    outer.hybridize()
    x = nd.ones((1, 2))
    outer(x)
    assert outer.explain(code=True).count("= FullyConnected(") == 2 and inner._cached is None


def test_a_hybrid_child_of_a_plain_block_runs_alone():
    class Outer(gluon.Block):
        def __init__(self):
            super().__init__()
            self.inner = nn.Dense(2)

        def forward(self, x):
            return self.inner(x) if float(x.sum().asscalar()) > 0 else -self.inner(x)

    net = Outer()
    net.initialize()
    net.hybridize()
    assert net(nd.ones((1, 2))).shape == (1, 2) and net.inner._cached is not None


def test_errors_while_tracing_name_the_users_line():
    class Wrong(gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return F.dot(x, x)

    net = Wrong()
    net.hybridize()
    with pytest.raises(MXNetError, match=r"dot[\s\S]*test_hybridize\.py:\d+"):
        net(nd.ones((2, 3)))


def test_wrong_options_and_children_are_refused():
    net = nn.Dense(2)
    with pytest.raises(MXNetError, match="no option 'static_aloc'"):
        net.hybridize(static_aloc=True)
    with pytest.raises(MXNetError, match="Nothing has been compiled"):
        net.explain()
    with pytest.raises(ValueError, match="HybridSequential instead of"):
        nn.HybridSequential().add(nn.Sequential())
    net.initialize()
    net.hybridize()
    with pytest.raises(MXNetError, match="at least one array"):
        net(3)


def test_forgetting_initialize_is_repaired_with_a_warning():
    for hybridized in (False, True):
        net = nn.HybridSequential()
        net.add(nn.Dense(3), nn.Dense(2))
        if hybridized:
            net.hybridize()
        with pytest.warns(UserWarning, match="before initialize"):
            assert net(nd.ones((1, 4))).shape == (1, 2)


def test_explain_shows_plan_and_counts():
    net = nn.Dense(2, activation="relu")
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 3)))
    net(nd.ones((1, 3)))
    text = net.explain(code=True)
    for part in ("called 2×", "FullyConnected", "float32[1×2]", "def forward", "predict mode"):
        assert part in text


def test_empty_batches():
    net = nn.HybridSequential()
    net.add(nn.Dense(3, activation="relu"), nn.Dense(2))
    net.initialize()
    net(nd.ones((1, 4)))
    a, b, _ = both(net, nd.zeros((0, 4)))
    assert a.shape == b.shape == (0, 2)
    with autograd.record():
        y = net(nd.zeros((0, 4)))
    y.backward()
    assert not net[0].weight.grad().asnumpy().any()


def test_threads_share_a_hybridized_net():
    import threading
    net = nn.Dense(3)
    net.initialize()
    net.hybridize()
    x = nd.ones((2, 4))
    expected = net(x).asnumpy()
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(net(nd.ones((2, 4))).asnumpy())) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 4 and all(np.array_equal(f, expected) for f in found)


def test_the_other_backend_says_what_it_needs(monkeypatch):
    """Without a C++ compiler `backend="inductor"` is an error with a way out; with one it computes the same."""
    net = mx.gluon.nn.Dense(3, in_units=2)
    net.initialize()
    x = nd.ones((4, 2))
    expected = net(x).asnumpy()
    net.hybridize(backend="inductor")
    try:
        found = net(x).asnumpy()
    except mx.MXNetError as error:
        assert "net.hybridize() without backend" in str(error)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(mx.MXNetError, match="There is no such backend"):
        net.hybridize(backend="tensorrt")
