"""autograd: scopes, what is recorded, gradient requests, heads, higher orders, Function, and every message."""
from __future__ import annotations

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, nd
from glueball.base.errors import AutogradError, DTypeError, MXNetError, ShapeError, UnsupportedError


def leaf(*values, req="write"):
    x = nd.array(values)
    x.attach_grad(req)
    return x


def test_scopes_set_and_restore_both_switches():
    seen = []

    def flags():
        seen.append((autograd.is_recording(), autograd.is_training()))
    flags()
    with autograd.record():
        flags()
        with autograd.pause():
            flags()
            with autograd.record(train_mode=False):
                flags()
            with autograd.train_mode():
                flags()
        with autograd.predict_mode():
            flags()
    flags()
    assert seen == [(False, False), (True, True), (False, False), (True, False), (False, True), (True, False),
                    (False, False)]


def test_scopes_restore_after_errors_and_decorate():
    with pytest.raises(ZeroDivisionError), autograd.record():
        1 / 0
    assert not autograd.is_recording()

    @autograd.predict_mode()
    def mode():
        return autograd.is_training()
    with autograd.record():
        assert mode() is False and autograd.is_training()


def test_nothing_is_recorded_outside_or_in_pause():
    x = leaf(2.0)
    outside = x * x
    with autograd.record():
        with autograd.pause():
            paused = x * x
        y = x * paused + outside
    y.backward()
    assert x.grad.item() == 4
    with pytest.raises(AutogradError, match="not recorded"):
        outside.backward()


def test_torch_code_outside_is_left_alone():
    import torch
    assert torch.is_grad_enabled()
    with autograd.record():
        pass
    w = torch.ones(2, requires_grad=True)
    (w * 2).sum().backward()
    assert w.grad.tolist() == [2, 2]


def test_write_add_null():
    w, a, n = leaf(1.0), leaf(1.0, req="add"), nd.array([1.0])
    n.attach_grad("null")
    held = w.grad
    for _ in range(2):
        with autograd.record():
            y = w * 3 + a * 3 + n * 3
        y.backward()
    assert w.grad is held and held.item() == 3 and a.grad.item() == 6 and n.grad is None
    a.zero_grad()
    assert a.grad.item() == 0


def test_heads_weights_and_lists():
    x = leaf(1.0, 2.0)
    with autograd.record():
        y, z = x * x, x * 3
    autograd.backward([y, z], [nd.array([1, 10]), None])
    assert x.grad.asnumpy().tolist() == [2 + 3, 40 + 3]
    with autograd.record():
        y = x * x
    y.backward(nd.array([5, 0]))
    assert x.grad.asnumpy().tolist() == [10, 0]
    with autograd.record():
        y = x * x
    with pytest.raises(ShapeError, match="head's shape"):
        y.backward(nd.ones((3,)))


def test_second_backward():
    x = leaf(3.0)
    with autograd.record():
        y = x * x
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(AutogradError, match="retain_graph"):
        y.backward()


def test_shared_tape_used_up():
    x = leaf(3.0)
    with autograd.record():
        h = x * x
        a, b = h.exp(), h.sin()
    a.backward()
    with pytest.raises(AutogradError, match="retain_graph"):
        b.backward()


def test_grad_returns_and_nests():
    x = leaf(2.0)
    with autograd.record():
        y = x * x * x
        first = autograd.grad(y, x, create_graph=True)[0]
        second = autograd.grad(first, [x], create_graph=True)[0]
        z = second * second
    z.backward()
    assert first.item() == 12 and second.item() == 12 and x.grad.item() == 2 * 12 * 6


def test_attach_grad_detaches():
    x = leaf(2.0)
    with autograd.record():
        y = x * x
        y.attach_grad()
        z = y * 3
    z.backward()
    assert y.grad.item() == 3 and x.grad.item() == 0


def test_detach_and_block_stop_gradients():
    x = leaf(2.0)
    with autograd.record():
        y = x * x.detach() + nd.BlockGrad(x * 100)
    y.backward()
    assert x.grad.item() == 2


def test_whole_numbers_have_no_gradient():
    with pytest.raises(DTypeError, match="astype"):
        nd.ones((2,), dtype="int32").attach_grad()
    with pytest.raises(MXNetError, match="'write', 'add' or 'null'"):
        nd.ones((2,)).attach_grad("sum")


def test_compatible_gradients_at_ties_and_edges():
    x = leaf(1.0, 1.0, 0.0)
    with autograd.record():
        x.max().backward()
    assert x.grad.asnumpy().tolist() == [1, 1, 0]
    c = leaf(-1.0, 0.5, 1.0, 2.0)
    with autograd.record():
        nd.clip(c, -1, 1).backward()
    assert c.grad.asnumpy().tolist() == [1, 1, 1, 0]
    a, b = leaf(1.0), leaf(1.0)
    with autograd.record():
        nd.maximum(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (1, 0)


def test_softmax_output_ignores_the_head():
    x, label = leaf(1.0, 2.0, 3.0), nd.array([2])
    row = nd.array([[1.0, 2.0, 3.0]])
    row.attach_grad()
    with autograd.record():
        y = nd.SoftmaxOutput(row, label) * 100
    y.backward()
    p = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    np.testing.assert_allclose(row.grad.asnumpy()[0], p - [0, 0, 1], rtol=1e-5)
    assert x.grad.asnumpy().sum() == 0


class Twice(autograd.Function):
    def forward(self, x, y):
        self.save_for_backward(x)
        return x * 2, y + 0

    def backward(self, dx, dy):
        assert self.saved_tensors[0].shape == dx.shape
        return dx * 2, dy * 10


def test_function_has_its_own_gradient_and_serves_once():
    x, y = leaf(1.0), leaf(1.0)
    f = Twice()
    with autograd.record():
        a, b = f(x, y)
        (a * b).backward()
    assert x.grad.item() == 2 and y.grad.item() == 20
    with pytest.raises(AutogradError, match="one call"):
        f(x, y)


def test_function_must_return_all_gradients():
    class Short(autograd.Function):
        def forward(self, x, y):
            return x + y

        def backward(self, d):
            return d

    x, y = leaf(1.0), leaf(2.0)
    with autograd.record():
        z = Short()(x, y)
    with pytest.raises(AutogradError, match="one gradient per input"):
        z.backward()


def test_no_symbol_of_a_tape():
    with pytest.raises(UnsupportedError, match="hybridize"):
        autograd.get_symbol(nd.ones((1,)))


def test_mark_variables():
    x, g = nd.array([3.0]), nd.zeros((1,))
    autograd.mark_variables([x], [g])
    with autograd.record():
        (x * x).backward()
    assert g.item() == 6


def test_gradients_cross_devices():
    x = nd.array([2.0], ctx=mx.cpu(0))
    x.attach_grad()
    with autograd.record():
        y = x.as_in_context(mx.cpu(1)) * 3
    y.backward()
    assert x.grad.item() == 3 and x.grad.context == mx.cpu(0)


@pytest.mark.parametrize("function", [lambda x, y: x + y, lambda x, y: x.reshape((4,)) + y.reshape((4,))])
def test_gradients_share_no_memory(function):
    """In-place scaling of one gradient (clip_global_norm) must not reach another, nor the head gradient."""
    x, y = nd.ones((2, 2)), nd.ones((2, 2))
    x.attach_grad()
    y.attach_grad()
    with autograd.record():
        z = function(x, y)
    head = nd.ones(z.shape)
    z.backward(head, retain_graph=True)
    x.grad[:] = 7
    y.grad[:] = 8
    assert x.grad.asnumpy().max() == 7
    left, right = autograd.grad(z, [x, y], head_grads=head)
    left[:] = 9
    assert right.asnumpy().max() == 1
    assert head.asnumpy().max() == 1
