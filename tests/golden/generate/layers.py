"""Golden cases: every layer and cell of `gluon.nn`, `gluon.rnn` and the contrib layers, and all of `gluon.loss`.

A case gives the construction as data (see `blocks.py`), parameter values by structural name, inputs, outputs,
gradients for inputs and parameters, and parameters that the call changed (running statistics).
"""

from __future__ import annotations

import os
import sys
from typing import Any

import mxnet as mx
import numpy
from operator_cases import clear_errors, d, f, i, u
from store import Store, random_for

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from blocks import build, call  # noqa: E402


def L(layer: str, *args: Any, _children: list | None = None, **kwargs: Any) -> dict[str, Any]:
    """A block's specification."""
    spec: dict[str, Any] = {"layer": layer}
    if args:
        spec["args"] = list(args)
    if kwargs:
        spec["kwargs"] = kwargs
    if _children:
        spec["children"] = _children
    return spec


def value_of(name: str, shape: tuple[int, ...], dtype: Any, random: numpy.random.RandomState) -> numpy.ndarray:
    values = random.standard_normal(shape) * 0.4
    if name.endswith("var"):
        values = numpy.abs(values) + 0.6
    elif name.endswith("gamma"):
        values = values + 1
    return values.astype(dtype)


def run_block(store: Store, name: str, spec: dict[str, Any], recipes: list, train: bool, how: dict[str, Any]) -> None:
    random = random_for(name)
    raw = [recipe(random) for recipe in recipes]
    record: dict[str, Any] = {"id": name, "spec": spec, "how": how, "train": train, "inputs": store.tree(raw)}
    try:
        with mx.name.NameManager():
            block = build(mx.gluon, spec)
        block.initialize()
        inputs = [mx.nd.array(x, dtype=x.dtype) for x in raw]
        call(block, inputs, how)
        parameters = block._collect_params_with_prefix()
        values = {key: value_of(key, p.shape, p.dtype, random) for key, p in sorted(parameters.items())}
        for key, p in parameters.items():
            p.set_data(mx.nd.array(values[key], dtype=values[key].dtype))
        record["params"] = {key: store.array(value) for key, value in values.items()}
        record["repr"] = repr(block)
        wanted = [k for k, x in enumerate(raw) if x.dtype.kind == "f" and k not in how.get("no_grad", [])]
        for k in wanted:
            inputs[k].attach_grad()
        with mx.autograd.record(train_mode=train):
            outputs = call(block, inputs, how)
        record["outputs"] = store.tree([y.asnumpy() for y in outputs])
        if how.get("no_backward") or spec["layer"].startswith("data."):
            store.add(**record)
            return
        heads = [random.standard_normal(y.shape).astype(y.dtype) for y in outputs]
        first = [
            all(y is not earlier for earlier in outputs[:k]) for k, y in enumerate(outputs)
        ]  # a cell's output is a state
        heads = [head if new else None for head, new in zip(heads, first)]
        used = [(y, mx.nd.array(head, dtype=head.dtype)) for y, head in zip(outputs, heads) if head is not None]
        mx.autograd.backward([y for y, _ in used], [head for _, head in used], train_mode=train)
        record["heads"] = store.tree(heads)
        record["grads"] = [store.array(x.grad) if k in wanted else None for k, x in enumerate(inputs)]
        record["param_grads"] = {k: store.array(p.grad()) for k, p in parameters.items() if p.grad_req != "null"}
        changed = {k: p.data().asnumpy() for k, p in parameters.items()}
        record["params_after"] = {k: store.array(v) for k, v in changed.items() if not numpy.array_equal(v, values[k])}
    except Exception as error:
        record["refused"] = type(error).__name__
        clear_errors()
    store.add(**record)


IMAGE, SERIES, VOLUME = f(2, 3, 7, 6), f(2, 3, 7), f(1, 2, 4, 5, 4)


def plain_layers() -> list:
    out: list = []
    add = lambda spec, *inputs, **more: out.append((spec, list(inputs), more))  # noqa: E731
    add(L("nn.Dense", 5), f(2, 3, 4))
    add(L("nn.Dense", 5, activation="relu", use_bias=False), f(2, 4))
    add(L("nn.Dense", 5, flatten=False, activation="tanh", in_units=4), f(2, 3, 4))
    add(L("nn.Dense", 3, dtype="float64"), f(2, 4, dtype="float64"))
    add(L("nn.Dense", 3, activation="sigmoid", weight_initializer="ones", bias_initializer="zeros"), f(2, 4))
    for act in ("relu", "sigmoid", "tanh", "softrelu", "softsign"):
        add(L("nn.Activation", act), f(3, 4))
    add(L("nn.LeakyReLU", 0.2), f(3, 4))
    add(L("nn.PReLU"), f(2, 3, 4))
    add(L("nn.PReLU", in_channels=3), f(2, 3, 4))
    add(L("nn.ELU"), f(3, 4))
    add(L("nn.ELU", 0.3), f(3, 4))
    add(L("nn.SELU"), f(3, 4))
    add(L("nn.GELU"), f(3, 4))
    add(L("nn.Swish"), f(3, 4))
    add(L("nn.Swish", beta=2.0), f(3, 4))
    add(L("nn.Flatten"), f(2, 3, 4))
    add(L("nn.Embedding", 5, 3), i(5, 2, 4), no_grad=[0])
    add(L("nn.Embedding", 5, 3, dtype="float64"), i(5, 4, dtype="int32"), no_grad=[0])
    add(L("nn.Lambda", "tanh"), f(3, 4))
    add(L("nn.HybridLambda", "sigmoid"), f(3, 4))
    add(L("nn.ReflectionPad2D", 2), f(1, 2, 4, 5))
    add(L("nn.ReflectionPad2D", (0, 0, 0, 0, 1, 2, 2, 1)), f(1, 2, 4, 5))
    add(L("nn.Dropout", 0.5), f(3, 4), both=False)
    add(L("nn.Dropout", 0.0), f(3, 4), both=True)
    add(L("contrib.nn.Identity"), f(3, 4))
    add(L("contrib.nn.PixelShuffle1D", 2), f(2, 4, 3))
    add(L("contrib.nn.PixelShuffle2D", (2, 3)), f(1, 12, 2, 3))
    add(L("contrib.nn.PixelShuffle2D", 2), f(1, 8, 2, 3))
    add(L("contrib.nn.PixelShuffle3D", 2), f(1, 8, 2, 1, 3))
    return out


def convolution_layers() -> list:
    out: list = []
    add = lambda spec, *inputs, **more: out.append((spec, list(inputs), more))  # noqa: E731
    add(L("nn.Conv1D", 4, 3), SERIES)
    add(L("nn.Conv1D", 4, 3, strides=2, padding=1, dilation=2, activation="relu"), SERIES)
    add(L("nn.Conv2D", 4, 3), IMAGE)
    add(L("nn.Conv2D", 4, (3, 2), strides=(2, 1), padding=(1, 0), use_bias=False), IMAGE)
    add(L("nn.Conv2D", 6, 3, groups=3, padding=2, dilation=2, in_channels=3, activation="tanh"), IMAGE)
    add(L("nn.Conv2D", 4, kernel_size=3, layout="NHWC"), f(2, 7, 6, 3))
    add(L("nn.Conv3D", 3, 2), VOLUME)
    add(L("nn.Conv3D", 3, (2, 3, 2), strides=(1, 2, 1), padding=(0, 1, 0), activation="sigmoid"), VOLUME)
    add(L("nn.Conv1DTranspose", 4, 3), SERIES)
    add(L("nn.Conv1DTranspose", 4, 3, strides=2, padding=1, output_padding=1), SERIES)
    add(L("nn.Conv2DTranspose", 4, 3), IMAGE)
    add(L("nn.Conv2DTranspose", 6, 4, strides=2, padding=1, groups=3, in_channels=3, use_bias=False), IMAGE)
    add(L("nn.Conv2DTranspose", 4, 3, strides=(2, 2), padding=1, output_padding=1, activation="relu"), IMAGE)
    add(L("nn.Conv3DTranspose", 2, 2), VOLUME)
    add(L("nn.Conv3DTranspose", 2, 2, strides=2), VOLUME)
    for kind in ("Max", "Avg"):
        add(L(f"nn.{kind}Pool1D"), SERIES)
        add(L(f"nn.{kind}Pool1D", 3, strides=2, padding=1, ceil_mode=True), SERIES)
        add(L(f"nn.{kind}Pool2D"), IMAGE)
        add(L(f"nn.{kind}Pool2D", (3, 2), strides=1, padding=1), IMAGE)
        add(L(f"nn.{kind}Pool2D", 3, 2, ceil_mode=True), IMAGE)
        add(L(f"nn.{kind}Pool3D"), VOLUME)
        add(L(f"nn.{kind}Pool3D", 2, 1, 1, ceil_mode=True), VOLUME)
        for rank, x in ((1, SERIES), (2, IMAGE), (3, VOLUME)):
            add(L(f"nn.Global{kind}Pool{rank}D"), x)
    add(L("nn.AvgPool1D", 3, 2, 1, count_include_pad=False), SERIES)
    add(L("nn.AvgPool2D", 3, 2, 1, count_include_pad=False), IMAGE)
    add(L("nn.AvgPool3D", 3, 2, 1, count_include_pad=False), VOLUME)
    return out


def normalisation_layers() -> list:
    out: list = []
    add = lambda spec, *inputs, **more: out.append((spec, list(inputs), more))  # noqa: E731
    add(L("nn.BatchNorm"), IMAGE, both=True)
    add(L("nn.BatchNorm", momentum=0.6, epsilon=1e-3, center=False), f(4, 3), both=True)
    add(L("nn.BatchNorm", scale=False, in_channels=3), SERIES, both=True)
    add(L("nn.BatchNorm", use_global_stats=True), SERIES, both=True)
    add(L("nn.BatchNorm", axis=-1), f(2, 5, 3), both=True)
    add(L("nn.BatchNormReLU"), IMAGE, both=True)
    add(L("contrib.nn.SyncBatchNorm"), SERIES, both=True)
    add(L("nn.LayerNorm"), f(2, 3, 4))
    add(L("nn.LayerNorm", axis=1, epsilon=1e-3, in_channels=3), f(2, 3, 4))
    add(L("nn.LayerNorm", center=False, scale=False), f(2, 4))
    add(L("nn.InstanceNorm"), SERIES)
    add(L("nn.InstanceNorm", scale=True, epsilon=1e-3), IMAGE)
    add(L("nn.InstanceNorm", axis=2), f(2, 3, 4))
    add(L("nn.GroupNorm"), f(2, 4, 3))
    add(L("nn.GroupNorm", 2, epsilon=1e-3), f(2, 4, 3, 2))
    return out


def containers() -> list:
    out: list = []
    add = lambda spec, *inputs, **more: out.append((spec, list(inputs), more))  # noqa: E731
    dense = [L("nn.Dense", 4, activation="relu"), L("nn.BatchNorm"), L("nn.Dense", 2)]
    add(L("nn.Sequential", _children=dense), f(3, 5), both=True)
    add(L("nn.HybridSequential", _children=dense), f(3, 5), both=True)
    block = [
        L("nn.Conv2D", 4, 3, padding=1),
        L("nn.BatchNorm"),
        L("nn.Activation", "relu"),
        L("nn.MaxPool2D"),
        L("nn.Flatten"),
        L("nn.Dense", 3),
    ]
    add(L("nn.HybridSequential", _children=block), IMAGE, both=True)
    nested = [
        L("nn.HybridSequential", _children=[L("nn.Dense", 3), L("nn.PReLU")]),
        L("nn.LayerNorm"),
        L("nn.Dense", 2),
    ]
    add(L("nn.HybridSequential", _children=nested), f(2, 4))
    branches = [
        L("nn.Dense", 2),
        L("nn.HybridSequential", _children=[L("nn.Dense", 3), L("nn.Dense", 2)]),
        L("contrib.nn.Identity"),
    ]
    add(L("contrib.nn.HybridConcurrent", axis=1, _children=branches), f(2, 4))
    add(L("contrib.nn.Concurrent", axis=-1, _children=branches), f(2, 4))
    return out


def recurrent_layers() -> list:
    out: list = []
    for kind, states in (("RNN", 1), ("LSTM", 2), ("GRU", 1)):
        for kwargs in (
            {},
            {"num_layers": 2},
            {"bidirectional": True},
            {"num_layers": 2, "bidirectional": True, "layout": "NTC"},
        ):
            sides = kwargs.get("num_layers", 1) * (2 if kwargs.get("bidirectional") else 1)
            x = f(2, 3, 4) if kwargs.get("layout") == "NTC" else f(3, 2, 4)
            spec = L(f"rnn.{kind}", 5, **kwargs)
            out.append((spec, [x], {}))
            out.append((spec, [x] + [f(sides, 2, 5) for _ in range(states)], {"states": True}))
    out += [
        (L("rnn.RNN", 4, activation="tanh", input_size=3), [f(3, 2, 3)], {}),
        (L("rnn.LSTM", 4, dropout=0.5, num_layers=2), [f(3, 2, 3)], {"both": False}),
    ]
    return out


def cells() -> list:
    out: list = []
    one = {"RNNCell": 1, "LSTMCell": 2, "GRUCell": 1}
    for kind, states in one.items():
        spec = L(f"rnn.{kind}", 4)
        out.append((spec, [f(2, 3)] + [f(2, 4) for _ in range(states)], {"states": True}))
        for unroll in (
            {"length": 3},
            {"length": 3, "layout": "TNC", "merge_outputs": True},
            {"length": 3, "merge_outputs": True},
            {"length": 3, "merge_outputs": False},
        ):
            out.append((spec, [f(3, 2, 3) if unroll.get("layout") == "TNC" else f(2, 3, 3)], {"unroll": unroll}))
        out.append(
            (
                spec,
                [f(2, 3, 3), d([1, 3])],
                {"unroll": {"length": 3, "merge_outputs": True, "with_valid_length": True}, "no_grad": [1]},
            )
        )
    out.append((L("rnn.RNNCell", 4, activation="relu", input_size=3), [f(2, 3), f(2, 4)], {"states": True}))
    out.append(
        (
            L("rnn.LSTMCell", 4, activation="relu", recurrent_activation="tanh"),
            [f(2, 3), f(2, 4), f(2, 4)],
            {"states": True},
        )
    )
    merged = {"unroll": {"length": 3, "merge_outputs": True}}
    stacked = [L("rnn.LSTMCell", 4), L("rnn.DropoutCell", 0.3), L("rnn.GRUCell", 3)]
    for kind in ("SequentialRNNCell", "HybridSequentialRNNCell"):
        out += [
            (L(f"rnn.{kind}", _children=stacked), [f(2, 3, 3)], {**merged, "both": False}),
            (
                L(f"rnn.{kind}", _children=stacked),
                [f(2, 3), f(2, 4), f(2, 4), f(2, 3)],
                {"states": True, "both": False},
            ),
        ]
    for left, right in (("LSTMCell", "LSTMCell"), ("GRUCell", "RNNCell")):
        both = L("rnn.BidirectionalCell", L(f"rnn.{left}", 4, prefix="l_"), L(f"rnn.{right}", 4, prefix="r_"))
        out += [
            (both, [f(2, 3, 3)], merged),
            (both, [f(3, 2, 3)], {"unroll": {"length": 3, "layout": "TNC", "merge_outputs": False}}),
            (
                both,
                [f(2, 3, 3), d([2, 3])],
                {"unroll": {"length": 3, "merge_outputs": True, "with_valid_length": True}, "no_grad": [1]},
            ),
        ]
    out += [
        (L("rnn.ResidualCell", L("rnn.GRUCell", 3)), [f(2, 3, 3)], merged),
        (L("rnn.ResidualCell", L("rnn.GRUCell", 3)), [f(2, 3), f(2, 3)], {"states": True}),
        (L("rnn.ZoneoutCell", L("rnn.LSTMCell", 3), 0.3, 0.4), [f(2, 3, 3)], {**merged, "both": False}),
        (L("rnn.ZoneoutCell", L("rnn.RNNCell", 3), 0.0, 0.0), [f(2, 3, 3)], merged),
        (L("rnn.DropoutCell", 0.4), [f(2, 3, 3)], {**merged, "both": False}),
        (
            L("contrib.rnn.VariationalDropoutCell", L("rnn.LSTMCell", 3), 0.3, 0.2, 0.1),
            [f(2, 3, 3)],
            {**merged, "both": False},
        ),
        (L("contrib.rnn.LSTMPCell", 4, 2), [f(2, 3, 3)], merged),
        (L("contrib.rnn.LSTMPCell", 4, 2), [f(2, 3), f(2, 2), f(2, 4)], {"states": True}),
    ]
    for kind in ("RNN", "LSTM", "GRU"):
        for rank, size in ((1, (6,)), (2, (5, 4))):
            spec = L(f"contrib.rnn.Conv{rank}D{kind}Cell", (2, *size), 3, 3, 3, i2h_pad=(1,) * rank)
            out.append((spec, [f(1, 2, 2, *size)], {"unroll": {"length": 2, "merge_outputs": True}}))
    return out


def transforms() -> list:
    """Vision transforms without chance, and the random ones where chance can be excluded."""
    out: list = []
    t = "data.vision.transforms."
    add = lambda spec, *inputs, **more: out.append((spec, list(inputs), more))  # noqa: E731
    picture, floats, planes = i(255, 6, 5, 3, dtype="uint8"), u(0, 255, 6, 5, 3), u(0, 1, 3, 4, 5)
    add(L(t + "ToTensor"), picture, both=False)
    add(L(t + "ToTensor"), i(255, 2, 6, 5, 3, dtype="uint8"), both=False)
    add(L(t + "Normalize", [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]), planes, both=False)
    add(L(t + "Normalize", 0.4, 0.2), u(0, 1, 2, 3, 4, 5), both=False)
    add(L(t + "Cast", "float16"), floats, both=False)
    add(L(t + "Cast"), picture, both=False)
    add(L(t + "CenterCrop", 4), picture, both=False)
    add(L(t + "CenterCrop", [3, 4]), floats, both=False)
    add(L(t + "Resize", 8), floats, both=False)
    add(L(t + "Resize", [3, 8]), floats, both=False)
    add(L(t + "Resize", 3, True), floats, both=False)
    add(L(t + "CropResize", 1, 0, 3, 4), picture, both=False)
    add(L(t + "CropResize", 1, 0, 3, 4, [6, 8], 1), floats, both=False)
    add(L(t + "RandomBrightness", 0.0), floats, both=False)
    add(L(t + "RandomContrast", 0.0), floats, both=False)
    add(L(t + "RandomSaturation", 0.0), floats, both=False)
    return out


def losses() -> list:
    out: list = []
    p, q, sign, zero_one, w = (
        f(4, 3),
        f(4, 3),
        lambda r: numpy.sign(r.standard_normal((4, 3))).astype("float32"),
        i(2, 4, 3),
        u(0, 2, 4, 1),
    )
    add = lambda spec, *inputs, **more: out.append((spec, list(inputs), more))  # noqa: E731
    for kind, label in (
        ("L1Loss", q),
        ("L2Loss", q),
        ("HuberLoss", q),
        ("HingeLoss", sign),
        ("SquaredHingeLoss", sign),
        ("LogisticLoss", sign),
        ("SigmoidBCELoss", zero_one),
    ):
        more = {"no_grad": [1, 2]}
        add(L(f"loss.{kind}"), p, label, **more)
        add(L(f"loss.{kind}", weight=0.3), p, label, w, **more)
        add(L(f"loss.{kind}", batch_axis=1), p, label, **more)
    more = {"no_grad": [1, 2]}
    add(L("loss.HuberLoss", rho=0.3), p, q, **more)
    add(L("loss.HingeLoss", margin=0.4), p, sign, **more)
    add(L("loss.SquaredHingeLoss", margin=2), p, sign, **more)
    add(L("loss.LogisticLoss", label_format="binary"), p, zero_one, **more)
    add(L("loss.SigmoidBinaryCrossEntropyLoss", from_sigmoid=True), u(0.1, 0.9, 4, 3), zero_one, **more)
    add(L("loss.SigmoidBinaryCrossEntropyLoss"), p, zero_one, u(0, 2, 4, 3), u(0.5, 2, 1, 3), no_grad=[1, 2, 3])
    add(
        L("loss.SigmoidBinaryCrossEntropyLoss", from_sigmoid=True),
        u(0.1, 0.9, 4, 3),
        zero_one,
        u(0, 2, 4, 3),
        u(0.5, 2, 1, 3),
        no_grad=[1, 2, 3],
    )
    hard, soft = i(3, 4), lambda r: r.dirichlet([1, 1, 1], 4).astype("float32")
    add(L("loss.SoftmaxCELoss"), p, hard, **more)
    add(L("loss.SoftmaxCrossEntropyLoss"), p, hard, w, **more)
    add(L("loss.SoftmaxCELoss", weight=2.0), p, hard, **more)
    add(L("loss.SoftmaxCELoss", sparse_label=False), p, soft, **more)
    add(L("loss.SoftmaxCELoss", from_logits=True), p, hard, **more)
    add(L("loss.SoftmaxCELoss", from_logits=True, sparse_label=False), p, soft, **more)
    add(L("loss.SoftmaxCELoss", axis=1), f(2, 3, 4), i(3, 2, 4), **more)
    add(L("loss.SoftmaxCELoss", axis=-1), f(2, 3, 4), i(4, 2, 3), u(0, 2, 2, 3, 1), **more)
    add(L("loss.SoftmaxCELoss", batch_axis=1), f(2, 3, 4), i(4, 2, 3), **more)
    add(L("loss.SoftmaxCELoss"), p, i(3, 4, dtype="int32"), **more)
    logits = lambda r: numpy.log(r.dirichlet([1, 1, 1], 4)).astype("float32")  # noqa: E731
    add(L("loss.KLDivLoss"), logits, soft, **more)
    add(L("loss.KLDivLoss", from_logits=False), p, soft, **more)
    add(L("loss.KLDivLoss", from_logits=False, axis=0, weight=0.5), p, soft, w, **more)
    add(L("loss.CTCLoss"), f(2, 5, 4), d([[1, 2, -1], [2, -1, -1]]), **more)
    add(L("loss.CTCLoss", layout="TNC", label_layout="TN"), f(5, 2, 4), d([[1, 2], [2, 0]]), **more)
    add(L("loss.CTCLoss", weight=0.5), f(2, 5, 4), d([[1, 2, 0], [2, 0, 0]]), d([4, 5]), d([2, 1]), no_grad=[1, 2, 3])
    add(L("loss.TripletLoss"), p, f(4, 3), f(4, 3))
    add(L("loss.TripletLoss", margin=3, weight=0.5), p, f(4, 3), f(4, 3))
    add(L("loss.TripletLoss", margin=3), p, f(4, 3), f(4, 3), u(0, 2, 4), no_grad=[3])
    count = i(5, 4, 3, low=1)
    add(L("loss.PoissonNLLLoss"), p, count, **more)
    add(L("loss.PoissonNLLLoss", from_logits=False), u(0.3, 3, 4, 3), count, **more)
    add(L("loss.PoissonNLLLoss", from_logits=False, compute_full=True, weight=2.0), u(0.3, 3, 4, 3), count, **more)
    add(L("loss.CosineEmbeddingLoss"), p, f(4, 3), d([1, -1, 1, -1]), no_grad=[2])
    add(L("loss.CosineEmbeddingLoss", margin=0.3, weight=0.5), p, f(4, 3), d([1, -1, 1, -1]), no_grad=[2])
    add(L("loss.SDMLLoss"), p, f(4, 3))
    add(L("loss.SDMLLoss", smoothing_parameter=0.1, weight=0.7), p, f(4, 3))
    return out


def write(topic: str, cases: list) -> None:
    """`both`: None = training mode only (the mode changes nothing), True = both modes, False = predict mode only."""
    store, counts = Store(topic), {}
    for spec, recipes, how in cases:
        kind = spec["layer"]
        counts[kind] = counts.get(kind, -1) + 1
        how = dict(how)
        modes = {None: [True], True: [True, False], False: [False]}[how.pop("both", None)]
        for train in modes:
            name = f"{kind}-{counts[kind]}" + ("" if train else "-predict")
            # the oracle's gradient of BatchNorm in predict mode reads memory that nobody has written
            run_block(
                store, name, spec, recipes, train, how if train or len(modes) == 1 else {**how, "no_backward": True}
            )
    store.write()


def make() -> None:
    write("layers", plain_layers() + convolution_layers() + normalisation_layers() + containers())
    write("recurrent", recurrent_layers() + cells())
    write("losses", losses())
    write("transforms", transforms())


if __name__ == "__main__":
    make()
