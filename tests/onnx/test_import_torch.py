"""Models that torch writes, by both of its exporters, give torch's numbers, and train with torch's gradients."""

from __future__ import annotations

import pathlib
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn as tnn

from glueball import autograd, nd
from glueball.onnx import import_model


class _Residual(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = tnn.Sequential(tnn.Conv2d(3, 8, 3, 2, 1, bias=False), tnn.BatchNorm2d(8), tnn.ReLU(),
                                   tnn.MaxPool2d(3, 2, 1))
        self.block = tnn.Sequential(tnn.Conv2d(8, 8, 3, 1, 1), tnn.BatchNorm2d(8), tnn.GELU(), tnn.Conv2d(8, 8, 1))
        self.head = tnn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = torch.relu(x + self.block(x))
        return self.head(torch.flatten(tnn.functional.adaptive_avg_pool2d(x, 1), 1))


class _Recurrent(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = tnn.Embedding(20, 6), tnn.Linear(14, 3)
        self.lstm = tnn.LSTM(6, 7, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(self.words(x))[0][:, -1])


class _Attending(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = tnn.Embedding(20, 8), tnn.Linear(8, 3)
        self.layer = tnn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, activation="gelu")

    def forward(self, x: Any) -> Any:
        return self.head(self.layer(self.words(x)).mean(1))


_MODELS = {"residual": (_Residual, lambda: torch.randn(2, 3, 16, 16)),
           "lstm": (_Recurrent, lambda: torch.randint(0, 20, (2, 5))),
           "transformer": (_Attending, lambda: torch.randint(0, 20, (2, 5)))}


def _exported(model: Any, x: Any, path: pathlib.Path, dynamo: bool, **options: Any) -> None:
    """Write a model with an open batch."""
    opened: dict[str, Any] = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
    if dynamo:
        opened = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), str(path), dynamo=dynamo, verbose=False, **opened, **options)


# The newer exporter takes seconds per model, so it writes the one with most of its own ways (attention, open sizes)
@pytest.mark.parametrize(("name", "dynamo"), [(name, False) for name in _MODELS] + [("transformer", True)])
def test_numbers_and_gradients(name: str, dynamo: bool, tmp_path: pathlib.Path) -> None:
    torch.manual_seed(1)
    make, data = _MODELS[name]
    model, x = make(), data()
    model(x)  # in train mode, so that running statistics leave their start
    model.eval()
    _exported(model, x, tmp_path / "m.onnx", dynamo)
    block = import_model(tmp_path / "m.onnx")
    wide = torch.cat([x, x.flip(0), x])
    for _ in range(2):
        np.testing.assert_allclose(block(nd.array(wide.numpy())).asnumpy(), model(wide).detach().numpy(), rtol=1e-4,
                                   atol=1e-5)
        block.hybridize()
    head = block.collect_params()["head.weight"]
    with autograd.record(train_mode=False):
        nd.square(block(nd.array(wide.numpy()))).sum().backward()
    model(wide).square().sum().backward()
    np.testing.assert_allclose(head.grad().asnumpy(), model.head.weight.grad.numpy(), rtol=1e-4, atol=1e-5)
    words = block.collect_params()._params.get("words.weight")
    if words is not None:  # the gradient went through all layers
        np.testing.assert_allclose(words.grad().asnumpy(), model.words.weight.grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trained", [True, False])
def test_normalisation_trains_as_in_torch(trained: bool, tmp_path: pathlib.Path) -> None:
    """Exported with its BatchNorm kept, statistics and gradients in train mode are torch's.

    Of a network that is not trained yet the exporter writes zeros once: the shift is the running mean, too.
    """
    torch.manual_seed(2)
    model = tnn.Sequential(tnn.Conv2d(3, 4, 3, bias=False), tnn.BatchNorm2d(4), tnn.ReLU(), tnn.Flatten(),
                           tnn.Linear(4 * 36, 2))
    x = torch.randn(5, 3, 8, 8)
    if trained:
        model(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (x,), str(tmp_path / "m.onnx"), dynamo=False, do_constant_folding=False,
                          training=torch.onnx.TrainingMode.PRESERVE)
    block = import_model(tmp_path / "m.onnx")
    assert len([p for p in block.collect_params().values() if p.grad_req == "null"]) == 2
    model.train()
    with autograd.record():
        found = block(nd.array(x.numpy()))
        nd.square(found).sum().backward()
    expected = model(x)
    expected.square().sum().backward()
    np.testing.assert_allclose(found.asnumpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    named = block.collect_params()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(named[name].grad().asnumpy(), parameter.grad.numpy(), rtol=1e-3, atol=1e-4)
    (mean,) = [parameter for name, parameter in named.items() if name.endswith("running_mean")]
    np.testing.assert_allclose(mean.data().asnumpy(), model[1].running_mean.numpy(), rtol=1e-4, atol=1e-5)
