"""The networks of the JIT benchmarks as numbers: shapes, weights, data, loss and optimizer, the same for every side.

The one idea: a side in any framework is made from these arrays, named as Gluon names a network's parameters, so that
losses can be compared before anything is timed. Nothing but numpy is imported, for the peers' Pythons read this file,
too. The networks themselves: gluon_side.py, torch_side.py, jax_side.py. Who is timed against whom: the benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]

CLASSES, HEADS, VOCABULARY = 10, 4, 1000
STAGES = {"features.4": (3, 64, 256), "features.5": (4, 256, 512), "features.6": (6, 512, 1024),
          "features.7": (3, 1024, 2048)}  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """A batch: the first `size` rows of the data."""

    size: int


@dataclass(frozen=True)
class Network:
    """What a network is trained on and how. `shapes` and `data` take whether to be small (for --smoke)."""

    shapes: Callable[[bool], Shapes]
    data: Callable[[np.random.Generator, int, bool], tuple[np.ndarray, np.ndarray]]
    optimizer: str
    rate: float
    momentum: float = 0.0
    loss: str = "cross-entropy"


def _dense(shapes: Shapes, name: str, out: int, *inner: int, bias: bool = True) -> None:
    shapes[f"{name}.weight"] = (out, *inner)
    if bias:
        shapes[f"{name}.bias"] = (out,)


def _norm(shapes: Shapes, name: str, size: int, running: bool = False) -> None:
    for part in ("gamma", "beta", *(("running_mean", "running_var") if running else ())):
        shapes[f"{name}.{part}"] = (size,)


def mlp(small: bool) -> Shapes:
    """Return the shapes of dense 784-64-64-10."""
    shapes: Shapes = {}
    for number, (out, inner) in enumerate([(64, 784), (64, 64), (CLASSES, 64)]):
        _dense(shapes, str(number), out, inner)
    return shapes


def lenet(small: bool) -> Shapes:
    """Return the shapes of LeNet: two convolutions with pooling, two dense layers."""
    shapes: Shapes = {}
    _dense(shapes, "0", 20, 1, 5, 5)
    _dense(shapes, "2", 50, 20, 5, 5)
    _dense(shapes, "5", 500, 800)
    _dense(shapes, "6", CLASSES, 500)
    return shapes


def _steps(small: bool) -> tuple[int, int, int]:
    """Return the steps, inputs and states of the LSTM."""
    return (3, 8, 16) if small else (35, 128, 256)


def lstm(small: bool) -> Shapes:
    """Return the shapes of one LSTM cell; gates in the order input, forget, candidate, output."""
    _, inputs, states = _steps(small)
    rows = 4 * states
    return {"cell.i2h_weight": (rows, inputs), "cell.h2h_weight": (rows, states), "cell.i2h_bias": (rows,),
            "cell.h2h_bias": (rows,)}  # fmt: skip


def _widths(small: bool) -> tuple[int, int, int]:
    """Return the layers, width and length of the transformer."""
    return (2, 16, 6) if small else (4, 256, 128)


def transformer(small: bool) -> Shapes:
    """Return the shapes of a transformer encoder over tokens, norms after the sums, inner layers four times as wide."""
    layers, width, length = _widths(small)
    shapes: Shapes = {"tokens.weight": (VOCABULARY, width), "places": (length, width)}
    for number in range(layers):
        name = f"layers.{number}."
        _dense(shapes, name + "project", 3 * width, width)
        _dense(shapes, name + "merge", width, width)
        _norm(shapes, name + "norm_attended", width)
        _dense(shapes, name + "widen", 4 * width, width)
        _dense(shapes, name + "narrow", width, 4 * width)
        _norm(shapes, name + "norm_inner", width)
    _dense(shapes, "score", CLASSES, width)
    return shapes


def resnet50(small: bool) -> Shapes:
    """Return the shapes of ResNet-50 v1 as Gluon's zoo names them: 1×1 convolutions of a body have biases."""
    shapes: Shapes = {}
    _dense(shapes, "features.0", 64, 3, 7, 7, bias=False)
    _norm(shapes, "features.1", 64, running=True)
    for stage, (count, before, after) in STAGES.items():
        inner = after // 4
        for number in range(count):
            entering = before if number == 0 else after
            block = f"{stage}.{number}."
            for place, (out, size, entry) in {
                0: (inner, 1, entering),
                3: (inner, 3, inner),
                6: (after, 1, inner),
            }.items():
                _dense(shapes, f"{block}body.{place}", out, entry, size, size, bias=size == 1)
                _norm(shapes, f"{block}body.{place + 1}", out, running=True)
            if number == 0:
                _dense(shapes, f"{block}downsample.0", after, entering, 1, 1, bias=False)
                _norm(shapes, f"{block}downsample.1", after, running=True)
    _dense(shapes, "output", 1000, 2048)
    return shapes


def _images(side: int, small_side: int, channels: int, classes: int) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    def data(generator: np.random.Generator, rows: int, small: bool) -> tuple[np.ndarray, np.ndarray]:
        size = small_side if small else side
        return generator.normal(size=(rows, channels, size, size)), generator.integers(0, classes, rows)

    return data


def _flat(generator: np.random.Generator, rows: int, small: bool) -> tuple[np.ndarray, np.ndarray]:
    return generator.normal(size=(rows, 784)), generator.integers(0, CLASSES, rows)


def _sequences(generator: np.random.Generator, rows: int, small: bool) -> tuple[np.ndarray, np.ndarray]:
    length, inputs, states = _steps(small)
    return generator.normal(size=(rows, length, inputs)), generator.normal(size=(rows, length, states))


def _sentences(generator: np.random.Generator, rows: int, small: bool) -> tuple[np.ndarray, np.ndarray]:
    length = _widths(small)[2]
    return generator.integers(0, VOCABULARY, (rows, length)), generator.integers(0, CLASSES, rows)


NETWORKS = {
    "mlp": Network(mlp, _flat, "sgd", 0.05),
    "lenet": Network(lenet, _images(28, 28, 1, CLASSES), "adam", 1e-3),
    "lstm": Network(lstm, _sequences, "sgd", 1.0, loss="squares"),
    "transformer": Network(transformer, _sentences, "adam", 3e-4),
    "resnet50": Network(resnet50, _images(224, 64, 3, 1000), "sgd", 0.01, momentum=0.9),
}


def _weight(generator: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    part = name.rsplit(".", 1)[-1]
    if part == "gamma":  # the last norm of a residual body is small, or sixteen sums in a row would grow
        return generator.uniform(0.8, 1.2, shape) * (0.3 if name.endswith("body.7.gamma") else 1.0)
    if part == "running_var":
        return generator.uniform(0.8, 1.2, shape)
    if len(shape) == 1:
        return generator.normal(size=shape) * 0.05
    if part in ("places", "weight") and name in ("places", "tokens.weight"):
        return generator.normal(size=shape) * 0.5
    return generator.normal(size=shape) * np.sqrt(1.5 / np.prod(shape[1:]))


def arrays(network: str, rows: int, small: bool = False, seed: int = 0) -> Arrays:
    """Return parameters by name, and the data: `x` and `y` (rows, ...). Numbers are float32, labels and words int64."""
    generator, made = np.random.default_rng(seed), NETWORKS[network]
    found = {name: _weight(generator, name, shape) for name, shape in made.shapes(small).items()}
    found["x"], found["y"] = made.data(generator, rows, small)
    return {name: value.astype(np.float32 if value.dtype.kind == "f" else np.int64) for name, value in found.items()}


def split(given: Arrays) -> tuple[Arrays, np.ndarray, np.ndarray]:
    """Return the parameters, x and y."""
    return {name: value for name, value in given.items() if name not in ("x", "y")}, given["x"], given["y"]
