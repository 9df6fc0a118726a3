"""What layers need of their operators beyond the matrix: parameter shapes from the data, unknown batch sizes, modes,
precisions, layouts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from glueball import autograd, nd
from glueball.base.errors import ShapeError
from glueball.ops import lookup
from glueball.ops.opdef import TensorType
from glueball.ops.rules.infer import complete

F32 = torch.float32


def inferred(
    name: str, data: tuple[Any, ...], dtype: Any = F32, training: bool = False, **attrs: Any
) -> tuple[list[Any], list[Any]]:
    """Complete an operator of which only the data's type is known."""
    op = lookup(name)
    typed = op.typed(attrs)
    count = len(op.present_inputs(typed)) if not op.variadic else attrs.get("num_args", 1)
    ins = [TensorType(data, dtype)] + [TensorType()] * (count - 1)
    outs = [TensorType()] * op.num_outputs(typed)
    return complete(op, typed, ins, outs, training)


PARAMETERS = [
    ("FullyConnected", (4, 3, 2), {"num_hidden": 5}, [(5, 6), (5,)], (4, 5)),
    ("FullyConnected", (4, 3, 2), {"num_hidden": 5, "flatten": False, "no_bias": True}, [(5, 2)], (4, 3, 5)),
    (
        "Convolution",
        (4, 3, 8, 8),
        {"kernel": (3, 3), "num_filter": 6, "num_group": 3},
        [(6, 1, 3, 3), (6,)],
        (4, 6, 6, 6),
    ),
    (
        "Convolution",
        (4, 8, 8, 3),
        {"kernel": (3, 3), "num_filter": 6, "layout": "NHWC"},
        [(6, 3, 3, 3), (6,)],
        (4, 6, 6, 6),
    ),
    (
        "Convolution",
        (4, 3, 8),
        {"kernel": (3,), "num_filter": 6, "no_bias": True, "stride": (2,)},
        [(6, 3, 3)],
        (4, 6, 3),
    ),
    (
        "Deconvolution",
        (4, 3, 8, 8),
        {"kernel": (4, 4), "num_filter": 6, "stride": (2, 2), "pad": (1, 1)},
        [(3, 6, 4, 4)],
        (4, 6, 16, 16),
    ),
    ("BatchNorm", (4, 3, 8), {}, [(3,)] * 4, (4, 3, 8)),
    ("BatchNorm", (4, 8, 3), {"axis": -1}, [(3,)] * 4, (4, 8, 3)),
    ("LayerNorm", (4, 3, 8), {}, [(8,)] * 2, (4, 3, 8)),
    ("InstanceNorm", (4, 3, 8), {}, [(3,)] * 2, (4, 3, 8)),
    ("GroupNorm", (4, 6, 8), {"num_groups": 2}, [(2,)] * 2, (4, 6, 8)),
    ("LeakyReLU", (4, 3, 8), {"act_type": "prelu"}, [(3,)], (4, 3, 8)),
    ("SoftmaxOutput", (4, 3), {}, [(4,)], (4, 3)),
    ("SoftmaxOutput", (4, 3, 8), {"multi_output": True}, [(4, 8)], (4, 3, 8)),
    ("LinearRegressionOutput", (4, 3), {}, [(4, 3)], (4, 3)),
    ("LogisticRegressionOutput", (4, 1), {}, [(4,)], (4, 1)),
]


@pytest.mark.parametrize(("name", "data", "attrs", "parameters", "result"), PARAMETERS)
def test_parameter_shapes_follow_from_the_data(
    name: str, data: tuple[int, ...], attrs: dict, parameters: list, result: tuple[int, ...]
) -> None:
    ins, outs = inferred(name, data, **attrs)
    assert [t.shape for t in ins[1:]] == parameters
    assert outs[0] == TensorType(result, F32)


UNKNOWN_BATCH = [p for p in PARAMETERS if not p[0].endswith("Output")] + [
    ("Pooling", (4, 3, 8, 8), {"kernel": (2, 2), "stride": (2, 2)}, [], (4, 3, 4, 4)),
    ("Activation", (4, 3), {"act_type": "relu"}, [], (4, 3)),
    ("softmax", (4, 3), {}, [], (4, 3)),
    ("_contrib_AdaptiveAvgPooling2D", (4, 3, 8, 8), {}, [], (4, 3, 1, 1)),
]


@pytest.mark.parametrize(("name", "data", "attrs", "parameters", "result"), UNKNOWN_BATCH)
def test_an_unknown_batch_size_stays_the_only_unknown(
    name: str, data: tuple[int, ...], attrs: dict, parameters: list, result: tuple[int, ...]
) -> None:
    _, outs = inferred(name, (None, *data[1:]), **attrs)
    assert outs[0].shape == (None, *result[1:])


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ShapeError, match="num_group must divide"):
        inferred("Convolution", (4, 5, 8, 8), kernel=(3, 3), num_filter=6, num_group=3)


def test_statistics_stay_float32_beside_half_precision_data() -> None:
    ins, outs = inferred("BatchNorm", (4, 3, 8), dtype=torch.float16)
    assert [t.dtype for t in ins[1:]] == [F32] * 4
    assert outs[0].dtype is torch.float16


def test_dropout_zeroes_and_scales_only_while_training() -> None:
    x = nd.ones((100, 100))
    assert (nd.Dropout(x, p=0.3) == x).asnumpy().all()
    with autograd.train_mode():
        y = nd.Dropout(x, p=0.3).asnumpy()
    assert np.isin(y, [0, np.float32(1 / 0.7)]).all()
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.03)
    assert (nd.Dropout(x, p=0.3, mode="always").asnumpy() == 0).any()


def test_dropout_outside_training_is_a_copy() -> None:
    x = nd.ones((2, 2))
    y = nd.Dropout(x, p=0.5)
    y[:] = 7
    assert (x.asnumpy() == 1).all()


@pytest.mark.parametrize("attrs", [{}, {"axes": (1,)}])
def test_the_gradient_of_dropout_is_its_own_mask(attrs: dict[str, Any]) -> None:
    x = nd.random.uniform(1, 2, shape=(6, 5, 4))
    x.attach_grad()
    with autograd.record():
        y = nd.Dropout(x, p=0.5, **attrs)
    y.backward()
    np.testing.assert_allclose(x.grad.asnumpy(), y.asnumpy() / x.asnumpy(), rtol=1e-5)


def test_random_slopes_of_rrelu_lie_between_their_bounds() -> None:
    x = -nd.ones((50, 50))
    x.attach_grad()
    with autograd.record():
        y = nd.LeakyReLU(x, act_type="rrelu", lower_bound=0.2, upper_bound=0.4)
    y.backward()
    slopes = -y.asnumpy()
    assert slopes.min() >= 0.2 and slopes.max() <= 0.4 and slopes.std() > 0.03
    np.testing.assert_allclose(x.grad.asnumpy(), slopes, rtol=1e-5)


HALF = [
    ("FullyConnected", [(4, 3), (5, 3), (5,)], {"num_hidden": 5}),
    ("Convolution", [(2, 3, 6, 6), (4, 3, 3, 3), (4,)], {"kernel": (3, 3), "num_filter": 4}),
    ("Pooling", [(2, 3, 6, 6)], {"kernel": (2, 2)}),
    ("Pooling", [(2, 3, 6, 6)], {"kernel": (2, 2), "pool_type": "avg"}),
    ("LayerNorm", [(2, 6), (6,), (6,)], {}),
    ("softmax", [(2, 6)], {}),
    ("log_softmax", [(2, 6)], {}),
    ("Activation", [(2, 6)], {"act_type": "softrelu"}),
    ("LeakyReLU", [(2, 6)], {"act_type": "gelu"}),
    ("GroupNorm", [(2, 4, 3), (2,), (2,)], {"num_groups": 2}),
]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(("name", "shapes", "attrs"), HALF, ids=[h[0] for h in HALF])
def test_half_precision_is_near_float32(name: str, shapes: list, attrs: dict, dtype: str) -> None:
    rng = np.random.default_rng(0)
    full = [nd.array(rng.uniform(-1, 1, shape)) for shape in shapes]
    function = getattr(nd, name)
    half = function(*[x.astype(dtype) for x in full], **attrs)
    assert lookup(name) and half._t.dtype is {"float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
    np.testing.assert_allclose(
        half.astype("float32").asnumpy(), function(*full, **attrs).asnumpy(), atol=0.05, rtol=0.05
    )


@pytest.mark.parametrize(
    ("name", "attrs", "weights"),
    [
        ("Convolution", {"kernel": (3, 3), "num_filter": 4, "num_group": 2, "pad": (1, 1), "stride": (2, 1)}, 1),
        (
            "Deconvolution",
            {
                "kernel": (3, 3),
                "num_filter": 4,
                "num_group": 2,
                "stride": (2, 2),
                "adj": (1, 1),
                "pad": (1, 1),
                "no_bias": False,
            },
            1,
        ),
        ("Pooling", {"kernel": (3, 2), "stride": (2, 2), "pool_type": "max"}, 0),
        (
            "Pooling",
            {"kernel": (3, 3), "stride": (2, 2), "pool_type": "avg", "pooling_convention": "full", "pad": (1, 1)},
            0,
        ),
    ],
)
def test_channels_last_is_the_transposed_channels_first(name: str, attrs: dict[str, Any], weights: int) -> None:
    rng = np.random.default_rng(0)
    x = nd.array(rng.normal(size=(2, 4, 6, 5)))
    parameters = [nd.array(rng.normal(size=(4, 2, 3, 3))), nd.array(rng.normal(size=4))] if weights else []
    last = [p.transpose((0, 2, 3, 1)) if p.ndim == 4 else p.copy() for p in (x, *parameters)]
    first = [x, *parameters]
    for v in (*first, *last):
        v.attach_grad()
    with autograd.record():
        y, z = getattr(nd, name)(*first, **attrs), getattr(nd, name)(*last, layout="NHWC", **attrs)
    np.testing.assert_allclose(z.asnumpy(), y.asnumpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
    heads = nd.array(rng.normal(size=y.shape))
    autograd.backward([y, z], [heads, heads.transpose((0, 2, 3, 1))])
    for a, b in zip(first, last):
        wanted = a.grad.asnumpy()
        np.testing.assert_allclose(
            b.grad.asnumpy(), wanted.transpose(0, 2, 3, 1) if wanted.ndim == 4 else wanted, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("name", "shapes", "attrs"),
    [
        ("FullyConnected", [(0, 3), (5, 3), (5,)], {"num_hidden": 5}),
        ("Convolution", [(0, 3, 6, 6), (4, 3, 3, 3), (4,)], {"kernel": (3, 3), "num_filter": 4}),
        ("Pooling", [(0, 3, 6, 6)], {"kernel": (2, 2)}),
        ("Pooling", [(0, 3, 6, 6)], {"global_pool": True, "pool_type": "avg"}),
        ("BatchNorm", [(0, 3, 2), (3,), (3,), (3,), (3,)], {}),
        ("LayerNorm", [(0, 3), (3,), (3,)], {}),
        ("softmax", [(0, 3)], {}),
        ("Activation", [(0, 3)], {"act_type": "relu"}),
        ("Dropout", [(0, 3)], {}),
        ("SoftmaxOutput", [(0, 3), (0,)], {}),
    ],
)
def test_an_empty_batch_passes_forward_and_back(name: str, shapes: list, attrs: dict[str, Any]) -> None:
    inputs = [nd.ones(shape) for shape in shapes]
    inputs[0].attach_grad()
    with autograd.record():
        y = getattr(nd, name)(*inputs, **attrs)
    assert y.shape[0] == 0
    y.backward()
    assert inputs[0].grad.shape == shapes[0]


def test_a_loss_layer_ignores_what_comes_from_above() -> None:
    x, label = nd.array([[1.0, 2.0, 3.0]]), nd.array([2])
    x.attach_grad()
    with autograd.record():
        y = nd.SoftmaxOutput(x, label) * 100
    y.backward()
    probabilities = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    np.testing.assert_allclose(x.grad.asnumpy(), [probabilities - [0, 0, 1]], rtol=1e-5)
