"""Mixed precision: which operators run in which type, eagerly and compiled; the loss scale; converted graphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base.errors import ArgumentError, MXNetError
from glueball.contrib import amp
from glueball.contrib.amp import lists
from glueball.ops import TABLE


@pytest.fixture(autouse=True)
def _off_again() -> Iterator[None]:
    yield
    amp.reset()


def network() -> Any:
    mx.random.seed(0)
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Conv2D(4, 3), gluon.nn.BatchNorm(), gluon.nn.Activation("relu"), gluon.nn.Dense(8), gluon.nn.Dense(3)
    )
    net.initialize(mx.init.Xavier())
    return net


def train(net: Any, steps: int = 6) -> tuple[list[float], Any]:
    """Return the losses of some steps and the last output."""
    x, y = nd.array(np.random.RandomState(0).rand(4, 1, 8, 8)), nd.array([0, 1, 2, 0])
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    amp.init_trainer(trainer)
    measure, losses = gluon.loss.SoftmaxCrossEntropyLoss(), []
    for _ in range(steps):
        with autograd.record():
            out = net(x)
            loss = measure(out, y)
            with amp.scale_loss(loss, trainer) as scaled:
                autograd.backward(scaled)
        trainer.step(4)
        losses.append(loss.mean().asscalar())
        assert loss.dtype_name == "float32"
    return losses, out


@pytest.mark.parametrize("target", ["bfloat16", "float16"])
def test_training_in_mixed_precision_eagerly_and_compiled(target: str) -> None:
    amp.init(target)
    losses, out = train(network())
    assert out.dtype_name == target and losses[-1] < 0.5 * losses[0]
    compiled = network()
    compiled.hybridize()
    again, out = train(compiled)
    assert out.dtype_name == target
    np.testing.assert_allclose(again, losses, rtol=0.02, atol=0.01)
    assert {p.data().dtype_name for p in compiled.collect_params().values()} == {"float32"}


def test_types_of_operators() -> None:
    x, w, half = nd.ones((2, 3)), nd.ones((4, 3)), nd.ones((2, 4), dtype="bfloat16")
    assert nd.FullyConnected(x, w, no_bias=True, num_hidden=4).dtype_name == "float32"
    amp.init("bfloat16")
    out = nd.FullyConnected(x, w, no_bias=True, num_hidden=4)
    assert out.dtype_name == "bfloat16"
    assert nd.relu(out).dtype_name == "bfloat16" and nd.Activation(out, act_type="softrelu").dtype_name == "float32"
    assert nd.softmax(out).dtype_name == out.softmax().dtype_name == "float32"
    assert (out + nd.ones((2, 4))).dtype_name == (nd.ones((2, 4)) * out).dtype_name == "float32"
    assert (out + half).dtype_name == "bfloat16" and nd.concat(out, nd.ones((2, 4))).dtype_name == "float32"
    assert nd.FullyConnected(x.astype("int32").astype("float32"), w, no_bias=True, num_hidden=4).shape == (2, 4)
    amp.reset()
    assert nd.FullyConnected(x, w, no_bias=True, num_hidden=4).dtype_name == "float32"
    assert nd.softmax(half).dtype_name == "bfloat16"


def test_extra_lists_and_what_is_compiled_before() -> None:
    net = gluon.nn.Dense(2, in_units=2)
    net.initialize()
    net.hybridize()
    assert net(nd.ones((1, 2))).dtype_name == "float32"
    amp.init("bfloat16", fp32_ops=["relu"], target_precision_ops=["dot"])
    assert net(nd.ones((1, 2))).dtype_name == "bfloat16"
    assert nd.relu(nd.ones((1,), dtype="bfloat16")).dtype_name == "float32"
    assert nd.dot(nd.ones((2, 2)), nd.ones((2, 2))).dtype_name == "bfloat16"


def test_gradients_are_float32_like_the_parameters() -> None:
    amp.init("bfloat16")
    w = nd.ones((4, 3))
    w.attach_grad()
    with autograd.record():
        loss = nd.softmax(nd.FullyConnected(nd.ones((2, 3)), w, no_bias=True, num_hidden=4)).sum()
    loss.backward()
    assert w.grad.dtype_name == "float32" and loss.dtype_name == "float32"


def test_an_overflow_leaves_the_step_out_and_lowers_the_scale() -> None:
    amp.init("float16")
    weight = gluon.Parameter("w", shape=(1,))
    weight.initialize(init="ones")
    trainer = gluon.Trainer([weight], "sgd", {"learning_rate": 1.0})
    amp.init_trainer(trainer)
    first = trainer._amp_loss_scaler.loss_scale
    for factor, left in ((float("inf"), 1.0), (0.25, 0.75)):
        with autograd.record():
            loss = weight.data() * factor
            with amp.scale_loss([loss], trainer) as scaled:
                autograd.backward(scaled)
        trainer.step(1)
        assert weight.data().asscalar() == left
        assert trainer._amp_loss_scaler.loss_scale == first / 2


def test_unscale_gives_the_true_gradients_once() -> None:
    amp.init("float16")
    weight = gluon.Parameter("w", shape=(1,))
    weight.initialize(init="ones")
    trainer = gluon.Trainer([weight], "sgd", {"learning_rate": 1.0})
    amp.init_trainer(trainer)
    with autograd.record():
        with amp.scale_loss(weight.data() * 0.5, trainer) as scaled:
            scaled.backward()
    assert weight.grad().asscalar() == 0.5 * trainer._amp_loss_scaler.loss_scale
    amp.unscale(trainer)
    assert weight.grad().asscalar() == 0.5
    trainer.step(1)
    assert weight.data().asscalar() == 0.5


def test_converted_block_keeps_its_output_within_precision() -> None:
    net, x = network(), nd.random.uniform(shape=(2, 1, 8, 8))
    net.hybridize()
    before = net(x)
    made = amp.convert_hybrid_block(net, "bfloat16", cast_optional_params=True)
    after = made(x)
    assert after.dtype_name == "bfloat16"
    np.testing.assert_allclose(after.asnumpy(), before.asnumpy(), rtol=0.05, atol=0.05)
    kinds = {name: p.data().dtype_name for name, p in made.collect_params().items()}
    assert {kind for name, kind in kinds.items() if "weight" in name} == {"bfloat16"}
    assert {kind for name, kind in kinds.items() if "gamma" in name} == {"float32"}
    assert net(x).dtype_name == "float32"


def test_converted_model_leaves_out_what_is_excluded() -> None:
    data = mx.sym.var("data")
    graph = mx.sym.FullyConnected(mx.sym.FullyConnected(data, num_hidden=3, name="a"), num_hidden=2, name="b")
    args = {
        "a_weight": nd.ones((3, 4)),
        "a_bias": nd.zeros((3,)),
        "b_weight": nd.ones((2, 3)),
        "b_bias": nd.zeros((2,)),
    }
    low, arguments, auxiliary = amp.convert_model(graph, args, {}, "bfloat16", excluded_sym_names=["a"],
                                                  cast_optional_params=True)  # fmt: skip
    assert {name: value.dtype_name for name, value in arguments.items()} == {
        "a_weight": "float32", "a_bias": "float32", "b_weight": "bfloat16", "b_bias": "bfloat16"
    } and auxiliary == {}  # fmt: skip
    out = low.bind(mx.cpu(), {**arguments, "data": nd.ones((1, 4))}).forward()[0]
    assert out.dtype_name == "bfloat16" and out.asnumpy().tolist() == [[12, 12]]


def test_lists() -> None:
    parts = [amp.list_lp16_ops(), amp.list_fp32_ops(), amp.list_widest_type_cast(), amp.list_lp16_fp32_ops()]
    conditional = [name for name, _, _ in amp.list_conditional_fp32_ops()]
    names = [name for part in parts for name in part] + conditional
    assert len(names) == len(set(names)) and set(names) == set(TABLE)
    assert set(amp.list_loss_output_functions()) <= set(TABLE)
    assert amp.list_lp16_use_fp32_params("bfloat16") is None


def test_refusals() -> None:
    with pytest.raises(MXNetError, match="amp.init"):
        amp.init_trainer(gluon.Trainer([gluon.Parameter("w", shape=(1,))], "sgd"))
    with pytest.raises(ArgumentError, match="bfloat16"):
        amp.init("int8")
    with pytest.raises(ArgumentError, match="no operator"):
        amp.init("float16", fp32_ops=["softmaxx"])
    amp.init("bfloat16")
    with pytest.raises(ArgumentError, match="reset"):
        amp.init("float16")
    with pytest.raises(ArgumentError, match="Trainer"):
        amp.init_trainer(mx.optimizer.create("sgd"))
    with pytest.raises(MXNetError, match="init_trainer"), amp.scale_loss(nd.ones((1,)), gluon.Trainer([], "sgd")):
        pass
    with pytest.raises(ArgumentError, match="nodes"):
        amp.convert_symbol(mx.sym.relu(mx.sym.var("x")), excluded_sym_names=["nobody"])
    with pytest.raises(ArgumentError, match="Symbol"):
        amp.convert_symbol("graph")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="HybridBlock"):
        amp.convert_hybrid_block(gluon.nn.Sequential())
    with pytest.raises(MXNetError, match="hybridize"):
        amp.convert_hybrid_block(gluon.nn.Dense(1))
    assert lists.target_name(np.float16) == "float16"


@pytest.mark.parametrize("name", ["onnx2mx", "quantization", "text", "nothing"])
def test_absent_modules_say_why(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(mx.contrib, name)


def test_old_paths() -> None:
    assert mx.contrib.nd.foreach is nd.contrib.foreach and mx.contrib.sym.cond is mx.sym.contrib.cond
