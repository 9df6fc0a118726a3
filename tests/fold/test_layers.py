"""Every kind of built-in layer in a scope: results and gradients are those of the layer called sample by sample.

Not here: single operators (tests/ops/test_batch_rules.py), blocks and programs made of layers (test_oracle.py).
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from glueball import autograd, fold, gluon, init, nd
from glueball.gluon import nn, rnn
from glueball.gluon.contrib.nn import HybridConcurrent


def _joined() -> Any:
    block = HybridConcurrent(axis=1)
    block.add(nn.Dense(3, in_units=5), nn.Dense(2, in_units=5))
    return block


LAYERS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "Conv1D": (lambda: nn.Conv1D(3, 2, in_channels=2), (1, 2, 6)),
    "Conv2D": (lambda: nn.Conv2D(3, 2, in_channels=2), (1, 2, 6, 5)),
    "Conv2D of two": (lambda: nn.Conv2D(3, 2, in_channels=2), (2, 2, 6, 5)),
    "Conv2D in groups": (lambda: nn.Conv2D(4, 2, in_channels=2, groups=2, strides=2, padding=1), (1, 2, 6, 5)),
    "Conv2DTranspose": (lambda: nn.Conv2DTranspose(3, 2, in_channels=2), (1, 2, 6, 5)),
    "MaxPool2D": (lambda: nn.MaxPool2D(2), (1, 2, 6, 4)),
    "AvgPool1D": (lambda: nn.AvgPool1D(2), (1, 2, 6)),
    "GlobalAvgPool2D": (lambda: nn.GlobalAvgPool2D(), (1, 2, 6, 4)),
    "BatchNorm": (lambda: nn.BatchNorm(in_channels=2), (1, 2, 6, 4)),
    "InstanceNorm": (lambda: nn.InstanceNorm(in_channels=2), (1, 2, 6, 4)),
    "GroupNorm": (lambda: nn.GroupNorm(2), (1, 4, 6)),
    "LayerNorm": (lambda: nn.LayerNorm(in_channels=5), (1, 5)),
    "LayerNorm over rows": (lambda: nn.LayerNorm(in_channels=3, axis=0), (3, 5)),
    "PReLU": (lambda: nn.PReLU(), (1, 5)),
    "GELU": (lambda: nn.GELU(), (2, 5)),
    "Swish": (lambda: nn.Swish(), (2, 5)),
    "SELU": (lambda: nn.SELU(), (5,)),
    "Flatten": (lambda: nn.Flatten(), (2, 5, 2)),
    "Dense": (lambda: nn.Dense(3, in_units=10), (2, 5, 2)),
    "Dense of a vector": (lambda: nn.Dense(3, in_units=1), (5,)),
    "Dense, not flattened": (lambda: nn.Dense(3, in_units=2, flatten=False), (2, 5, 2)),
    "HybridLambda": (lambda: nn.HybridLambda("tanh"), (2, 5)),
    "HybridConcurrent": (_joined, (1, 5)),
    "LSTM": (lambda: rnn.LSTM(3, input_size=5, layout="NTC"), (1, 4, 5)),
    "LSTM, two layers both ways": (lambda: rnn.LSTM(3, input_size=5, num_layers=2, bidirectional=True), (4, 1, 5)),
    "GRU": (lambda: rnn.GRU(3, input_size=5), (4, 1, 5)),
    "RNN": (lambda: rnn.RNN(3, input_size=5), (4, 1, 5)),
    "LSTMCell": (lambda: rnn.LSTMCell(3, input_size=5), (1, 5)),
    "GRUCell": (lambda: rnn.GRUCell(3, input_size=5), (1, 5)),
    "RNNCell": (lambda: rnn.RNNCell(3, input_size=5), (1, 5)),
}


def _call(block: Any, x: Any) -> Any:
    if not isinstance(block, gluon.rnn.RecurrentCell):
        return block(x)
    states = block.begin_state(batch_size=1, func=nd.zeros, dtype="float64")
    for _ in range(3):
        output, states = block(x, states)
    return output


def _run(block: Any, xs: list[Any], mode: str) -> list[np.ndarray]:
    for parameter in block.collect_params().values():
        if parameter.grad_req != "null":
            parameter.zero_grad()
    with autograd.record(train_mode=False), fold.batching(mode):
        outs = [_call(block, x) for x in xs]
        total = nd.add_n(*[(out * out).sum() for out in outs])
    total.backward()
    return [v.asnumpy() for v in (*outs, *[x.grad for x in xs], *[p.grad() for p in block.collect_params().values()
                                                                  if p.grad_req != "null"])]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_in_a_batch_is_the_layer(name: str) -> None:
    make, shape = LAYERS[name]
    block = make()
    block.initialize(init.Normal(0.5))
    block.cast("float64")
    generator = np.random.RandomState(0)
    xs = [nd.array(generator.randn(*shape), dtype="float64") for _ in range(4)]
    for x in xs:
        x.attach_grad()
    expected = _run(block, xs, "off")
    for hybridize in (False, True):
        if hybridize:
            block.hybridize()
        for mode in ("on", "check"):
            for one, other in zip(expected, _run(block, xs, mode), strict=True):
                np.testing.assert_allclose(other, one, 1e-8, 1e-8)
