"""Containers as lists, functions as layers, and what layers refuse with which words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base.errors import ArgumentError, MXNetError, UnsupportedError
from glueball.gluon import nn
from glueball.gluon.contrib import nn as contrib


@pytest.mark.parametrize("container", [nn.Sequential, nn.HybridSequential])
def test_a_container_is_a_list(container: type) -> None:
    net = container(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(2), nn.Activation("relu"), nn.Dense(3))
    assert len(net) == 3
    assert net[-1] is net[2]
    assert [type(layer) for layer in net] == [nn.Dense, nn.Activation, nn.Dense]
    part = net[:2]
    assert type(part) is container
    assert len(part) == 2
    assert part[0] is net[0]
    assert list(part.collect_params().keys()) == ["net_dense0_weight", "net_dense0_bias"]
    with pytest.raises(IndexError):
        net[3]
    lines = ["  (0): Dense(None -> 2, linear)", "  (1): Activation(relu)", "  (2): Dense(None -> 3, linear)"]
    assert repr(net) == container.__name__ + "(\n" + "\n".join(lines) + "\n)"


def test_layers_are_added_not_given() -> None:
    for container in (nn.Sequential, nn.HybridSequential):
        with pytest.raises(ArgumentError, match=r"net\.add\(layer0, layer1"):
            container(nn.Dense(2))
    with pytest.raises(ArgumentError, match=r"nn\.Lambda"):
        nn.Sequential().add(np.tanh)
    with pytest.raises(ValueError, match="HybridBlock"):
        nn.HybridSequential().add(nn.Lambda("relu"))


def test_sequential_of_hybrid_blocks_advises() -> None:
    net = nn.Sequential()
    net.add(nn.Dense(2))
    with pytest.warns(UserWarning, match="HybridSequential"):
        net.hybridize()
    net.add(nn.Lambda("relu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.hybridize()


def test_functions_become_layers() -> None:
    x = nd.array([-1.0, 4.0])
    for layer in (
        nn.Lambda("relu"),
        nn.Lambda(nd.relu),
        nn.HybridLambda("relu"),
        nn.HybridLambda(lambda F, x: F.relu(x)),
    ):
        for hybrid in (False, True):
            layer.hybridize(hybrid)
            assert layer(x).asnumpy().tolist() == [0, 4]
    assert repr(nn.Lambda("relu")) == "Lambda(relu)"
    assert repr(nn.HybridLambda("relu")) == "HybridLambda(relu)"
    assert repr(nn.Lambda(lambda x: x)) == "Lambda(<lambda>)"
    assert repr(nn.Lambda(partial(nd.clip, a_min=0, a_max=1))) == "Lambda(partial)"
    assert nn.Lambda(lambda a, b: a + b)(x, x).asnumpy().tolist() == [-2, 8]
    assert nn.HybridLambda(lambda F, a, b: F.broadcast_add(a, b))(x, x).asnumpy().tolist() == [-2, 8]


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown function": (lambda: nn.Lambda("rellu"), "did you mean 'relu'"),
    "no function": (lambda: nn.Lambda(3), "name of an operator, or a callable"),
    "unknown hybrid function": (lambda: nn.HybridLambda("rellu"), "did you mean 'relu'"),
    "no hybrid function": (lambda: nn.HybridLambda(3), "name of an operator, or a callable"),
    "activation": (lambda: nn.Activation("rellu"), "did you mean 'relu'"),
    "activation of a layer": (lambda: nn.Dense(3, activation="gelu"), "layers of their own"),
    "slope": (lambda: nn.LeakyReLU(-1), "alpha >= 0"),
    "units": (lambda: nn.Dense(0), "units=0"),
    "text for units": (lambda: nn.Dense("relu"), "units='relu'"),
    "rate": (lambda: nn.Dropout(1.5), "0 <= rate <= 1"),
    "rows": (lambda: nn.Embedding(0, 3), "input_dim=0"),
    "kernel": (lambda: nn.Conv2D(4, (3, 3, 3)), r"a number, or 2 of them[\s\S]*kernel_size=\(3, 3, 3\)"),
    "strides": (lambda: nn.Conv2D(4, 3, strides=(1, 2, 3)), "strides"),
    "padding": (lambda: nn.Conv1D(4, 3, padding=(1, 2)), "padding"),
    "output padding": (lambda: nn.Conv2DTranspose(4, 3, output_padding=(1, 1, 1)), "output_padding"),
    "layout": (lambda: nn.Conv2D(4, 3, layout="NCW"), r"NCHW or NHWC[\s\S]*layout='NCW'"),
    "layout of sequences": (lambda: nn.Conv1D(4, 3, layout="NWC"), "NCW"),
    "channels and groups": (lambda: nn.Conv2D(5, 3, groups=2), r"channels=5, groups=2"),
    "data channels and groups": (lambda: nn.Conv2D(4, 3, groups=2, in_channels=3), r"in_channels=3, groups=2"),
    "window": (lambda: nn.MaxPool2D((2, 2, 2)), r"pool_size=\(2, 2, 2\)"),
    "text for a window": (lambda: nn.MaxPool2D("22"), "pool_size='22'"),
    "pooling layout": (lambda: nn.AvgPool2D(layout="NCW"), "NCHW or NHWC"),
    "mirror": (lambda: nn.ReflectionPad2D((1, 2)), "padding"),
    "factor": (lambda: contrib.PixelShuffle2D((1, 2, 3)), r"factor=\(1, 2, 3\)"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_wrong_arguments_are_refused_in_words(name: str) -> None:
    make, text = REFUSED[name]
    with pytest.raises(ArgumentError, match=text) as caught:
        make()
    assert "Received:" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_several_devices_are_refused_by_sync_batch_norm() -> None:
    with pytest.raises(UnsupportedError, match="num_devices=1"):
        contrib.SyncBatchNorm(num_devices=2)


def test_a_label_of_another_library_is_not_taken() -> None:
    with pytest.raises(TypeError):
        nn.Conv2D(3, 3, in_chanels=1)


# ----------------------------------------------------------------------------------------------------------------------
# behaviour by mode
def test_dropout_works_in_train_mode_only() -> None:
    layer, x = nn.Dropout(0.5), nd.ones((1000,))
    assert layer(x).asnumpy().min() == 1
    for hybrid in (False, True):
        layer.hybridize(hybrid)
        with autograd.train_mode():
            values = layer(x).asnumpy()
            assert set(values.tolist()) == {0.0, 2.0}
            assert 0.4 < (values == 0).mean() < 0.6
            assert (layer(x).asnumpy() != values).any()
    with autograd.record(train_mode=False):
        assert layer(x).asnumpy().min() == 1


def test_dropout_axes_share_a_decision() -> None:
    with autograd.train_mode():
        values = nn.Dropout(0.5, axes=(1,))(nd.ones((50, 20))).asnumpy()
    assert (values == values[:, :1]).all()
    assert 0 < (values[:, 0] == 0).sum() < 50


def test_batch_norm_statistics_move_in_train_mode_only() -> None:
    for hybrid in (False, True):
        layer = nn.BatchNorm(momentum=0.9)
        layer.initialize()
        layer.hybridize(hybrid)
        x = nd.array(np.random.RandomState(0).standard_normal((8, 3, 5)) * 2 + 1)
        layer(x)
        assert layer.running_mean.data().asnumpy().tolist() == [0, 0, 0]
        with autograd.record():
            out = layer(x)
        out.backward()
        values = x.asnumpy()
        np.testing.assert_allclose(layer.running_mean.data().asnumpy(), 0.1 * values.mean((0, 2)), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(layer.running_var.data().asnumpy(), 0.9 + 0.1 * values.var((0, 2)), rtol=1e-4)
        np.testing.assert_allclose(out.asnumpy().mean((0, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(out.asnumpy().std((0, 2)), 1, rtol=1e-3)


def test_batch_norm_keeps_single_precision() -> None:
    for dtype in ("float16", np.float16, np.dtype("float16")):
        layer = nn.BatchNorm(in_channels=3)
        layer.initialize()
        layer.cast(dtype)
        assert np.dtype(layer.gamma.dtype) == np.float32
        assert layer(nd.ones((2, 3), dtype="float16")).dtype == np.float16
    layer.cast("float64")
    assert np.dtype(layer.gamma.dtype) == np.float64


def test_switched_off_gamma_and_beta_stay() -> None:
    layer = nn.BatchNorm(center=False, scale=False, in_channels=3)
    assert layer.gamma.grad_req == layer.beta.grad_req == "null"
    layer.gamma.grad_req = "write"  # not differentiable: stays off
    assert layer.gamma.grad_req == "null"


def test_embedding_clips_indices_and_adds_gradients_of_repeated_ones() -> None:
    layer = nn.Embedding(3, 2)
    layer.initialize()
    rows = layer.weight.data().asnumpy()
    np.testing.assert_array_equal(layer(nd.array([7, -1])).asnumpy(), rows[[2, 0]])
    with autograd.record():
        out = layer(nd.array([1, 1, 0]))
    out.backward()
    assert layer.weight.grad().asnumpy().tolist() == [[1, 1], [2, 2], [0, 0]]


def test_dense_uses_its_initializers() -> None:
    layer = nn.Dense(2, weight_initializer="ones", bias_initializer=mx.init.Constant(3), in_units=4)
    layer.initialize(mx.init.Zero())
    assert layer.weight.data().asnumpy().tolist() == [[1] * 4] * 2
    assert layer.bias.data().asnumpy().tolist() == [3, 3]


def test_an_exported_network_has_the_node_names_of_gluon(tmp_path: Any) -> None:
    import json

    with mx.name.NameManager():
        net = nn.HybridSequential(prefix="net_")
        with net.name_scope():
            net.add(
                nn.Conv2D(2, 3, activation="relu"),
                nn.BatchNorm(),
                nn.MaxPool2D(),
                nn.Dropout(0.1),
                nn.Flatten(),
                nn.Dense(3, activation="tanh"),
                nn.LeakyReLU(0.1),
                nn.Swish(),
                nn.LayerNorm(),
            )
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 1, 8, 8)))
    net.export(str(tmp_path / "net"))
    nodes = json.loads((tmp_path / "net-symbol.json").read_text())["nodes"]
    assert [(n["op"], n["name"]) for n in nodes if n["op"] != "null"] == [
        ("Convolution", "net_conv0_fwd"),
        ("Activation", "net_conv0_relu_fwd"),
        ("BatchNorm", "net_batchnorm0_fwd"),
        ("Pooling", "net_pool0_fwd"),
        ("Dropout", "net_dropout0_fwd"),
        ("Flatten", "net_flatten0_flatten0"),
        ("FullyConnected", "net_dense0_fwd"),
        ("Activation", "net_dense0_tanh_fwd"),
        ("LeakyReLU", "net_leakyrelu0_fwd"),
        ("_mul_scalar", "net_swish0__mulscalar0"),
        ("sigmoid", "net_swish0_fwd"),
        ("elemwise_mul", "net_swish0__mul0"),
        ("LayerNorm", "net_layernorm0_layernorm0"),
    ]


def test_a_wrong_dtype_or_layout_is_explained() -> None:
    layer = nn.Conv2D(4, 3, in_channels=1)
    layer.initialize()
    with pytest.raises(MXNetError):
        layer(nd.ones((2, 28, 28, 1)))
    dense = nn.Dense(2)
    dense.initialize()
    with pytest.raises(MXNetError):
        dense(nd.ones((2, 3), dtype="uint8"))


def test_gluon_nn_has_every_public_name() -> None:
    assert len(nn.__all__) == len(set(nn.__all__)) == 42
    assert all(hasattr(nn, name) for name in nn.__all__)
    assert gluon.nn is nn
