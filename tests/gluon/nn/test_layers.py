"""Every layer of gluon.nn and gluon.contrib.nn goes through the harness; one row per layer and variant."""

from __future__ import annotations

from typing import Any

import pytest
from check_layer import CHECKS, check_layer

from glueball import nd
from glueball.gluon import nn
from glueball.gluon.contrib import cnn
from glueball.gluon.contrib import nn as contrib

VECTOR, SERIES, IMAGE, VOLUME = (4, 5), (2, 3, 8), (2, 3, 7, 6), (2, 3, 4, 5, 4)
GAMMA_BETA = {"gamma": (3,), "beta": (3,)}
NORM = {**GAMMA_BETA, "running_mean": (3,), "running_var": (3,)}
NO_KEYWORDS = ("names_start_with_the_prefix",)  # the constructor takes neither prefix nor params

LAYERS: dict[str, dict[str, Any]] = {
    # ---- everyday
    "Dense": {
        "make": lambda **k: nn.Dense(3, **k),
        "shapes": [VECTOR],
        "parameters": {"weight": (3, 5), "bias": (3,)},
        "out": (4, 3),
    },
    "Dense merges axes": {
        "make": lambda **k: nn.Dense(3, **k),
        "shapes": [SERIES],
        "parameters": {"weight": (3, 24), "bias": (3,)},
        "out": (2, 3),
    },
    "Dense last axis": {
        "make": lambda **k: nn.Dense(3, flatten=False, use_bias=False, **k),
        "shapes": [SERIES],
        "parameters": {"weight": (3, 8)},
        "out": (2, 3, 3),
    },
    "Dense tanh": {
        "make": lambda **k: nn.Dense(3, activation="tanh", in_units=5, **k),
        "shapes": [VECTOR],
        "parameters": {"weight": (3, 5), "bias": (3,)},
        "wrong": (4, 6),
    },
    "Dropout": {"make": lambda **k: nn.Dropout(0.5, **k), "shapes": [VECTOR], "random": True, "out": VECTOR},
    "Dropout by row": {
        "make": lambda **k: nn.Dropout(0.5, axes=(1,), **k),
        "shapes": [VECTOR],
        "random": True,
        "out": VECTOR,
    },
    "Dropout of nothing": {"make": lambda **k: nn.Dropout(0, **k), "shapes": [VECTOR], "out": VECTOR},
    "Embedding": {
        "make": lambda **k: nn.Embedding(6, 3, **k),
        "shapes": [(2, 4)],
        "parameters": {"weight": (6, 3)},
        "integers": 6,
        "out": (2, 4, 3),
    },
    "Flatten": {"make": lambda **k: nn.Flatten(**k), "shapes": [IMAGE], "out": (2, 126)},
    "Lambda": {
        "make": lambda prefix=None, params=None: nn.Lambda("tanh", prefix=prefix),
        "shapes": [VECTOR],
        "out": VECTOR,
    },
    "HybridLambda": {
        "make": lambda prefix=None, params=None: nn.HybridLambda(lambda F, x: F.tanh(x) * 2, prefix=prefix),
        "shapes": [VECTOR],
        "out": VECTOR,
    },
    # ---- normalisation
    "BatchNorm": {"make": lambda **k: nn.BatchNorm(**k), "shapes": [IMAGE], "parameters": NORM, "out": IMAGE},
    "BatchNorm last axis": {
        "make": lambda **k: nn.BatchNorm(axis=-1, momentum=0.5, epsilon=1e-3, **k),
        "shapes": [(4, 3)],
        "parameters": NORM,
    },
    "BatchNorm frozen": {
        "make": lambda **k: nn.BatchNorm(center=False, scale=False, use_global_stats=True, in_channels=3, **k),
        "shapes": [SERIES],
        "parameters": NORM,
    },
    "BatchNormReLU": {"make": lambda **k: nn.BatchNormReLU(**k), "shapes": [IMAGE], "parameters": NORM, "out": IMAGE},
    "InstanceNorm": {
        "make": lambda **k: nn.InstanceNorm(scale=True, **k),
        "shapes": [SERIES],
        "parameters": GAMMA_BETA,
        "out": SERIES,
    },
    "InstanceNorm last axis": {
        "make": lambda **k: nn.InstanceNorm(axis=2, **k),
        "shapes": [(2, 8, 3)],
        "parameters": GAMMA_BETA,
    },
    "LayerNorm": {"make": lambda **k: nn.LayerNorm(**k), "shapes": [(2, 8, 3)], "parameters": GAMMA_BETA},
    "LayerNorm middle axis": {
        "make": lambda **k: nn.LayerNorm(axis=1, scale=False, **k),
        "shapes": [SERIES],
        "parameters": GAMMA_BETA,
    },
    "GroupNorm": {
        "make": lambda **k: nn.GroupNorm(num_groups=2, **k),
        "shapes": [(2, 4, 5)],
        "parameters": {"gamma": (2,), "beta": (2,)},
    },
    "SyncBatchNorm": {"make": lambda **k: contrib.SyncBatchNorm(**k), "shapes": [IMAGE], "parameters": NORM},
    # ---- activations
    **{
        f"Activation {name}": {
            "make": lambda name=name, **k: nn.Activation(name, **k),
            "shapes": [VECTOR],
            "out": VECTOR,
        }
        for name in ("relu", "sigmoid", "tanh", "softrelu", "softsign")
    },
    "LeakyReLU": {"make": lambda **k: nn.LeakyReLU(0.1, **k), "shapes": [VECTOR], "out": VECTOR},
    "PReLU": {"make": lambda **k: nn.PReLU(**k), "shapes": [VECTOR], "parameters": {"alpha": (1,)}, "out": VECTOR},
    "PReLU by channel": {
        "make": lambda **k: nn.PReLU(in_channels=3, **k),
        "shapes": [SERIES],
        "parameters": {"alpha": (3,)},
    },
    "ELU": {"make": lambda **k: nn.ELU(0.7, **k), "shapes": [VECTOR], "out": VECTOR},
    "SELU": {"make": lambda **k: nn.SELU(**k), "shapes": [VECTOR], "out": VECTOR},
    "GELU": {"make": lambda **k: nn.GELU(**k), "shapes": [VECTOR], "out": VECTOR},
    "Swish": {"make": lambda **k: nn.Swish(1.5, **k), "shapes": [VECTOR], "out": VECTOR},
    # ---- convolution
    "Conv1D": {
        "make": lambda **k: nn.Conv1D(4, 3, **k),
        "shapes": [SERIES],
        "parameters": {"weight": (4, 3, 3), "bias": (4,)},
        "out": (2, 4, 6),
        "wrong": IMAGE,
    },
    "Conv2D": {
        "make": lambda **k: nn.Conv2D(4, (3, 2), strides=2, padding=1, activation="relu", **k),
        "shapes": [IMAGE],
        "parameters": {"weight": (4, 3, 3, 2), "bias": (4,)},
        "out": (2, 4, 4, 4),
        "wrong": VECTOR,
    },
    "Conv2D groups": {
        "make": lambda **k: nn.Conv2D(6, 3, groups=3, dilation=2, use_bias=False, **k),
        "shapes": [IMAGE],
        "parameters": {"weight": (6, 1, 3, 3)},
        "out": (2, 6, 3, 2),
    },
    "Conv2D channels last": {
        "make": lambda **k: nn.Conv2D(4, 3, layout="NHWC", **k),
        "shapes": [(2, 7, 6, 3)],
        "parameters": {"weight": (4, 3, 3, 3), "bias": (4,)},
        "out": (2, 5, 4, 4),
    },
    "Conv3D": {
        "make": lambda **k: nn.Conv3D(2, 2, **k),
        "shapes": [VOLUME],
        "parameters": {"weight": (2, 3, 2, 2, 2), "bias": (2,)},
        "out": (2, 2, 3, 4, 3),
    },
    "Conv1DTranspose": {
        "make": lambda **k: nn.Conv1DTranspose(4, 3, strides=2, output_padding=1, **k),
        "shapes": [SERIES],
        "parameters": {"weight": (3, 4, 3), "bias": (4,)},
        "out": (2, 4, 18),
    },
    "Conv2DTranspose": {
        "make": lambda **k: nn.Conv2DTranspose(4, 3, strides=2, padding=1, **k),
        "shapes": [IMAGE],
        "parameters": {"weight": (3, 4, 3, 3), "bias": (4,)},
        "out": (2, 4, 13, 11),
    },
    "Conv2DTranspose groups": {
        "make": lambda **k: nn.Conv2DTranspose(6, 2, groups=3, use_bias=False, activation="sigmoid", **k),
        "shapes": [IMAGE],
        "parameters": {"weight": (3, 2, 2, 2)},
        "out": (2, 6, 8, 7),
    },
    "Conv3DTranspose": {
        "make": lambda **k: nn.Conv3DTranspose(2, 2, **k),
        "shapes": [VOLUME],
        "parameters": {"weight": (3, 2, 2, 2, 2), "bias": (2,)},
        "out": (2, 2, 5, 6, 5),
    },
    # ---- pooling and padding
    "MaxPool1D": {"make": lambda **k: nn.MaxPool1D(**k), "shapes": [SERIES], "out": (2, 3, 4)},
    "MaxPool2D": {"make": lambda **k: nn.MaxPool2D(**k), "shapes": [IMAGE], "out": (2, 3, 3, 3), "wrong": VECTOR},
    "MaxPool2D ceil": {
        "make": lambda **k: nn.MaxPool2D(3, 2, 1, ceil_mode=True, **k),
        "shapes": [IMAGE],
        "out": (2, 3, 4, 4),
    },
    "MaxPool2D channels last": {
        "make": lambda **k: nn.MaxPool2D(layout="NHWC", **k),
        "shapes": [(2, 7, 6, 3)],
        "out": (2, 3, 3, 3),
    },
    "MaxPool3D": {"make": lambda **k: nn.MaxPool3D(**k), "shapes": [VOLUME], "out": (2, 3, 2, 2, 2)},
    "AvgPool1D": {"make": lambda **k: nn.AvgPool1D(3, 2, 1, **k), "shapes": [SERIES], "out": (2, 3, 4)},
    "AvgPool2D": {"make": lambda **k: nn.AvgPool2D(**k), "shapes": [IMAGE], "out": (2, 3, 3, 3)},
    "AvgPool2D without zeros": {
        "make": lambda **k: nn.AvgPool2D((3, 2), 2, 1, ceil_mode=True, count_include_pad=False, **k),
        "shapes": [IMAGE],
        "out": (2, 3, 4, 4),
    },
    "AvgPool3D": {"make": lambda **k: nn.AvgPool3D(**k), "shapes": [VOLUME], "out": (2, 3, 2, 2, 2)},
    "GlobalMaxPool1D": {"make": lambda **k: nn.GlobalMaxPool1D(**k), "shapes": [SERIES], "out": (2, 3, 1)},
    "GlobalMaxPool2D": {"make": lambda **k: nn.GlobalMaxPool2D(**k), "shapes": [IMAGE], "out": (2, 3, 1, 1)},
    "GlobalMaxPool3D": {"make": lambda **k: nn.GlobalMaxPool3D(**k), "shapes": [VOLUME], "out": (2, 3, 1, 1, 1)},
    "GlobalAvgPool1D": {"make": lambda **k: nn.GlobalAvgPool1D(**k), "shapes": [SERIES], "out": (2, 3, 1)},
    "GlobalAvgPool2D": {"make": lambda **k: nn.GlobalAvgPool2D(**k), "shapes": [IMAGE], "out": (2, 3, 1, 1)},
    "GlobalAvgPool3D": {"make": lambda **k: nn.GlobalAvgPool3D(**k), "shapes": [VOLUME], "out": (2, 3, 1, 1, 1)},
    "ReflectionPad2D": {"make": lambda **k: nn.ReflectionPad2D(2, **k), "shapes": [IMAGE], "out": (2, 3, 11, 10)},
    # ---- rarer ones
    "Identity": {"make": lambda **k: contrib.Identity(**k), "shapes": [VECTOR], "out": VECTOR},
    "SparseEmbedding": {
        "make": lambda **k: contrib.SparseEmbedding(6, 3, **k),
        "shapes": [(2, 4)],
        "parameters": {"weight": (6, 3)},
        "integers": 6,
    },
    "PixelShuffle1D": {
        "make": lambda **k: contrib.PixelShuffle1D(2),
        "shapes": [(2, 4, 3)],
        "out": (2, 2, 6),
        "skip": NO_KEYWORDS,
    },
    "PixelShuffle2D": {
        "make": lambda **k: contrib.PixelShuffle2D((2, 3)),
        "shapes": [(2, 12, 2, 3)],
        "out": (2, 2, 4, 9),
        "skip": NO_KEYWORDS,
    },
    "PixelShuffle3D": {
        "make": lambda **k: contrib.PixelShuffle3D((1, 2, 3)),
        "shapes": [(1, 12, 2, 1, 2)],
        "out": (1, 2, 2, 2, 6),
        "skip": NO_KEYWORDS,
    },
}


OFFSETS = {"offset_weight": (18, 3, 3, 3), "offset_bias": (18,)}
DEFORMED = {"deformable_conv_weight": (4, 3, 3, 3), "deformable_conv_bias": (4,)}
# At the border a sample of this operator jumps to zero, so the slope of its gradient is not that of a smooth function.
KINKS = ("gradients_of_gradients_agree_with_finite_differences",)
NOT_IN_ONNX = ("exported_to_onnx_computes_the_same",)  # deformable convolution came with opset 19
LAYERS |= {
    "DeformableConvolution": {
        "make": lambda **k: cnn.DeformableConvolution(4, 3, padding=1, **k),
        "shapes": [IMAGE],
        "parameters": OFFSETS | DEFORMED,
        "out": (2, 4, 7, 6),
        "skip": KINKS + NOT_IN_ONNX,
    },
    "ModulatedDeformableConvolution": {
        "make": lambda **k: cnn.ModulatedDeformableConvolution(4, 3, activation="tanh", **k),
        "shapes": [IMAGE],
        "parameters": {"offset_weight": (27, 3, 3, 3), "offset_bias": (27,)} | DEFORMED,
        "out": (2, 4, 5, 4),
        "skip": NOT_IN_ONNX,
    },
}


def _stack(container: type, *layers: Any) -> Any:
    def make(prefix: str | None = None, params: Any = None) -> Any:
        made = container(prefix=prefix, params=params)
        with made.name_scope():
            made.add(*[layer() for layer in layers])
        return made

    return make


TWO_DENSE = {"0.weight": (3, 5), "0.bias": (3,), "1.weight": (2, 3), "1.bias": (2,)}
BESIDE = {"0.weight": (3, 5), "0.bias": (3,), "1.weight": (2, 5), "1.bias": (2,)}
LAYERS |= {
    "Sequential": {
        "make": _stack(nn.Sequential, lambda: nn.Dense(3), lambda: nn.Dense(2)),
        "shapes": [VECTOR],
        "parameters": TWO_DENSE,
        "out": (4, 2),
    },
    "HybridSequential": {
        "make": _stack(nn.HybridSequential, lambda: nn.Dense(3, activation="tanh"), lambda: nn.Dense(2)),
        "shapes": [VECTOR],
        "parameters": TWO_DENSE,
        "out": (4, 2),
    },
    "Concurrent": {
        "make": _stack(contrib.Concurrent, lambda: nn.Dense(3), lambda: nn.Dense(2)),
        "shapes": [VECTOR],
        "parameters": BESIDE,
        "out": (4, 5),
    },
    "HybridConcurrent": {
        "make": _stack(contrib.HybridConcurrent, lambda: nn.Dense(3), lambda: nn.Dense(2)),
        "shapes": [VECTOR],
        "parameters": BESIDE,
        "out": (4, 5),
    },
}
for row in ("Sequential", "HybridSequential", "Concurrent", "HybridConcurrent"):
    LAYERS[row]["skip"] = (
        "shared_parameters_are_the_same_objects",
    )  # a container's own dictionary is empty: its children's are shared


@pytest.mark.parametrize("name", list(LAYERS))
def test_layer(name: str) -> None:
    facts = dict(LAYERS[name])
    check_layer(facts.pop("make"), *facts.pop("shapes"), **facts)


def test_every_layer_is_in_the_table() -> None:
    tested = {name.split()[0] for name in LAYERS}
    blocks = {"Block", "HybridBlock", "SymbolBlock"}
    assert set(nn.__all__) - blocks <= tested
    assert set(contrib.__all__) | set(cnn.__all__) <= tested


def test_the_harness_finds_a_layer_that_breaks_the_laws() -> None:
    class Wrong(nn.Dense):
        def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
            return super().hybrid_forward(F, x, weight, bias) * (1 if F is nd else 2)

    with pytest.raises(AssertionError, match="hybridized equals eager in predict mode"):
        check_layer(lambda **k: Wrong(3, **k), VECTOR, parameters={"weight": (3, 5), "bias": (3,)})
    with pytest.raises(AssertionError, match="parameters have the stated shapes"):
        check_layer(lambda **k: nn.Dense(3, **k), VECTOR, parameters={"weight": (3, 4), "bias": (3,)})
    assert len(CHECKS) >= 20


@pytest.mark.parametrize("make", [nn.PReLU, lambda: nn.LeakyReLU(0.25), lambda: nn.ELU(0.25), nn.SELU, nn.GELU])
def test_compiling_a_leaky_activation_asks_no_meta_kernel(make, monkeypatch):
    """The first `meta` call would import torch's compiler, which takes seconds."""
    monkeypatch.setattr("glueball.ops.rules.layers.kernel_on_meta", None)
    net = make()
    net.initialize()
    x = nd.array([[-1.0, 2.0]])
    expected = net(x).asnumpy().tolist()
    net.hybridize()
    assert net(x).asnumpy().tolist() == expected
