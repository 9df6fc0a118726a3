"""The networks in torch, and a side that trains or asks them: eager or through torch.compile, in either layout, in
float32 or under autocast to bfloat16.

The one idea: what a careful user of torch writes: fused attention, fused nn.LSTM (or the loop over a cell, where that
is asked for), in-place relu, and for torch.compile the loss in the compiled function and the optimizer's step compiled
as well. Modules are named as in workloads.py. Driver: drive.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from remote import Side
from torch import Tensor, nn
from torch.nn import functional
from workloads import CLASSES, HEADS, NETWORKS, STAGES, Arrays, Batch, split


def mlp(given: Arrays) -> nn.Module:
    """Return dense 784-64-64-10 with relu."""
    layers = {"0": nn.Linear(784, 64), "active0": nn.ReLU(), "1": nn.Linear(64, 64), "active1": nn.ReLU()}
    return _sequence({**layers, "2": nn.Linear(64, CLASSES)})


def lenet(given: Arrays) -> nn.Module:
    """Return LeNet with tanh."""
    return _sequence({
        "0": nn.Conv2d(1, 20, 5), "active0": nn.Tanh(), "1": nn.MaxPool2d(2, 2),
        "2": nn.Conv2d(20, 50, 5), "active2": nn.Tanh(), "3": nn.MaxPool2d(2, 2), "4": nn.Flatten(),
        "5": nn.Linear(800, 500), "active5": nn.Tanh(), "6": nn.Linear(500, CLASSES),
    })  # fmt: skip


def _sequence(layers: dict[str, nn.Module]) -> nn.Module:
    made = nn.Sequential()
    for name, layer in layers.items():
        made.add_module(name, layer)
    return made


class FusedLSTM(nn.Module):
    """torch's own LSTM over (batch, steps, inputs); all its outputs."""

    def __init__(self, given: Arrays) -> None:
        super().__init__()
        self.cell = nn.LSTM(given["x"].shape[2], given["cell.h2h_weight"].shape[1], batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0]


class LoopedLSTM(nn.Module):
    """The same by a loop over the cell."""

    def __init__(self, given: Arrays) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(given["x"].shape[2], given["cell.h2h_weight"].shape[1])

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = None, []
        for step in x.unbind(1):
            state = self.cell(step, state)
            outputs.append(state[0])
        return torch.stack(outputs, 1)


class Layer(nn.Module):
    """A layer of the encoder, (batch, length, width) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm_attended, self.norm_inner = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.project(x).view(batch, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        x = self.norm_attended(x + self.merge(attended))
        return self.norm_inner(x + self.narrow(functional.gelu(self.widen(x))))


class Encoder(nn.Module):
    """The transformer encoder: words (batch, length) to scores (batch, classes)."""

    def __init__(self, given: Arrays) -> None:
        super().__init__()
        (_, width), vocabulary = given["places"].shape, given["tokens.weight"].shape[0]
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.zeros(given["places"].shape))
        self.layers = nn.Sequential(*[Layer(width) for name in given if name.endswith("project.weight")])
        self.score = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.layers(self.tokens(x) + self.places).mean(1))


class Bottleneck(nn.Module):
    """A residual block of ResNet v1: the stride is at the first convolution, as in Gluon's."""

    def __init__(self, entering: int, leaving: int, stride: int, first: bool) -> None:
        super().__init__()
        inner = leaving // 4
        self.body = nn.Sequential(
            nn.Conv2d(entering, inner, 1, stride),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, 1, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, leaving, 1),
            nn.BatchNorm2d(leaving),
        )
        shortcut = nn.Sequential(nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving))
        self.downsample = shortcut if first else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        out += x if self.downsample is None else self.downsample(x)
        return functional.relu(out, inplace=True)


class ResNet50(nn.Module):
    """ResNet-50 v1."""

    def __init__(self, given: Arrays) -> None:
        super().__init__()
        stages = []
        for number, (count, before, after) in enumerate(STAGES.values()):
            stride = 1 if number == 0 else 2
            blocks = [Bottleneck(before, after, stride, True)]
            stages.append(nn.Sequential(*blocks, *[Bottleneck(after, after, 1, False) for _ in range(count - 1)]))
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        self.features = nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output = nn.Linear(2048, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.features(x))


MAKERS: dict[str, Callable[[Arrays], nn.Module]] = {
    "mlp": mlp, "lenet": lenet, "lstm": FusedLSTM, "lstm in a loop": LoopedLSTM, "transformer": Encoder,
    "resnet50": ResNet50,
}  # fmt: skip
LSTM_NAMES = {"i2h_weight": "weight_ih", "h2h_weight": "weight_hh", "i2h_bias": "bias_ih", "h2h_bias": "bias_hh"}


def _torch_name(name: str, network: str) -> str:
    before, _, part = name.rpartition(".")
    if part in LSTM_NAMES:
        part = LSTM_NAMES[part] + ("_l0" if network == "lstm" else "")
    part = {"gamma": "weight", "beta": "bias"}.get(part, part)
    return f"{before}.{part}" if before else part


def network_of(given: Arrays, network: str) -> nn.Module:
    """Return the network with the given parameters."""
    net = MAKERS[network](given)
    state = net.state_dict()
    named = {_torch_name(name, network): value for name, value in split(given)[0].items()}
    left = {name for name in state.keys() - named.keys() if not name.endswith("num_batches_tracked")}
    assert not left, left
    with torch.no_grad():
        for name, value in named.items():
            state[name].copy_(torch.from_numpy(value))
    return net


class TorchSide(Side):
    """A network in torch. `looped`: the LSTM as a loop over its cell; `fused`: the optimizer in one kernel;
    `freeze`: torch.compile may take the weights for constants (inference).
    """

    modes = ("train", "infer", "plain")

    def __init__(
        self, given: Arrays, samples: list[Batch], network: str, compile: bool = False, channels_last: bool = False,
        autocast: bool = False, looped: bool = False, fused: bool | None = None, freeze: bool = False,
    ) -> None:  # fmt: skip
        made = NETWORKS[network]
        self.net = network_of(given, network + " in a loop" if looped else network)
        layout = torch.channels_last if channels_last else torch.preserve_format
        self.net.to(memory_format=layout)  # type: ignore[call-overload]
        _, x, y = split(given)
        inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
        self.batches = {b.size: (inputs[: b.size].clone(memory_format=layout), labels[: b.size]) for b in samples}
        options = {"lr": made.rate, "fused": fused, **({"momentum": made.momentum} if made.momentum else {})}
        kind: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[made.optimizer]
        self.optimizer = kind(self.net.parameters(), **options)
        self.precision = lambda: torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext()
        self.squares = made.loss == "squares"
        self.forward: Callable[..., Any] = self._forward
        self.net_of: Callable[..., Any] = self.net
        self.update: Callable[[], Any] = self.optimizer.step
        if compile:
            importlib.import_module("torch._inductor.config").freezing = freeze
            self.forward = torch.compile(self._forward)
            self.net_of = torch.compile(self.net)
            self.update = torch.compile(self.optimizer.step)

    def _forward(self, x: Tensor, y: Tensor) -> Tensor:
        with self.precision():
            out = self.net(x)
            return 0.5 * functional.mse_loss(out, y) if self.squares else functional.cross_entropy(out, y)

    def _steps(self, batches: Sequence[Batch], forward: Any, update: Any) -> Any:
        self.net.train()
        value = None
        for batch in batches:
            self.optimizer.zero_grad()
            value = forward(*self.batches[batch.size])
            value.backward()
            update()
        return value

    def train(self, batches: Sequence[Batch]) -> Any:
        """Do a step for each of the batches; returns the last one's mean loss."""
        return self._steps(batches, self.forward, self.update)

    def plain(self, batches: Sequence[Batch]) -> None:
        """Do the same steps eagerly."""
        self._steps(batches, self._forward, self.optimizer.step)

    def losses(self, batches: Sequence[Batch]) -> Arrays:
        """Do a step for each of the batches; returns the mean loss that each found."""
        return {"losses": np.array([float(self.train([batch]).detach()) for batch in batches])}

    def infer(self, batches: Sequence[Batch]) -> np.ndarray:
        """Ask the network about each of the batches; returns what it says of the last one."""
        self.net.eval()
        found = None
        with torch.no_grad(), self.precision():
            for batch in batches:
                found = self.net_of(self.batches[batch.size][0])
        assert found is not None
        return found.float().numpy()

    def explain(self) -> str:
        """Return the version."""
        return "torch " + torch.__version__


def make(given: Arrays, samples: list[Batch], **options: Any) -> Side:
    """Return the side."""
    return TorchSide(given, samples, **options)
