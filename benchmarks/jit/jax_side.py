"""The networks in JAX as plain functions, and a side that trains or asks them under jit.

The one idea: the whole step (loss, gradients, update) is one jitted function whose state is donated; images are kept
channels-last, which XLA's convolutions on CPUs like better. Parameters are named as in workloads.py. Driver: drive.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn
from remote import Side
from workloads import HEADS, NETWORKS, STAGES, Arrays, Batch, split

Values = dict[str, Any]


def _dense(w: Values, name: str, x: Any) -> Any:
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def _convolve(w: Values, name: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
    sides = [(padding, padding)] * 2
    out = lax.conv_general_dilated(
        x, w[name + ".weight"], (stride, stride), sides, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return out + w[name + ".bias"] if name + ".bias" in w else out


def _pool(x: Any, size: int, padding: int = 0) -> Any:
    sides = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, 2, 2, 1), sides)


def _layer_norm(w: Values, name: str, x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    scale = lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return centred * scale * w[name + ".gamma"] + w[name + ".beta"]


def mlp(w: Values, x: Any, stats: Values, training: bool) -> tuple[Any, Values]:
    """Compute dense 784-64-64-10 with relu."""
    return _dense(w, "2", nn.relu(_dense(w, "1", nn.relu(_dense(w, "0", x))))), stats


def lenet(w: Values, x: Any, stats: Values, training: bool) -> tuple[Any, Values]:
    """Compute LeNet with tanh; images come channels-last, the dense layer sees them as the others do."""
    x = _pool(jnp.tanh(_convolve(w, "0", x)), 2)
    x = _pool(jnp.tanh(_convolve(w, "2", x)), 2)
    x = jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1)
    return _dense(w, "6", jnp.tanh(_dense(w, "5", x))), stats


def lstm(w: Values, x: Any, stats: Values, training: bool) -> tuple[Any, Values]:
    """Compute an LSTM over (batch, steps, inputs): the inputs' products at once, then a scan."""
    inputs = x @ w["cell.i2h_weight"].T + w["cell.i2h_bias"] + w["cell.h2h_bias"]

    def step(state: Any, entering: Any) -> tuple[Any, Any]:
        h, c = state
        i, f, g, o = jnp.split(entering + h @ w["cell.h2h_weight"].T, 4, axis=1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[0], w["cell.h2h_weight"].shape[1]))
    return lax.scan(step, (zeros, zeros), inputs.swapaxes(0, 1))[1].swapaxes(0, 1), stats


def transformer(w: Values, x: Any, stats: Values, training: bool) -> tuple[Any, Values]:
    """Compute the transformer encoder: words (batch, length) to scores (batch, classes)."""
    x = w["tokens.weight"][x] + w["places"]
    batch, length, width = x.shape
    for number in range(sum(name.endswith("project.weight") for name in w)):
        layer = f"layers.{number}."
        q, k, v = jnp.moveaxis(_dense(w, layer + "project", x).reshape(batch, length, 3, HEADS, width // HEADS), 2, 0)
        attended = nn.dot_product_attention(q, k, v).reshape(batch, length, width)
        x = _layer_norm(w, layer + "norm_attended", x + _dense(w, layer + "merge", attended))
        inner = nn.gelu(_dense(w, layer + "widen", x), approximate=False)
        x = _layer_norm(w, layer + "norm_inner", x + _dense(w, layer + "narrow", inner))
    return _dense(w, "score", x.mean(1)), stats


def resnet50(w: Values, x: Any, stats: Values, training: bool) -> tuple[Any, Values]:
    """Compute ResNet-50 v1 on images channels-last; returns scores and the new running statistics."""
    kept = dict(stats)

    def norm(name: str, x: Any) -> Any:
        mean, variance = stats[name + ".running_mean"], stats[name + ".running_var"]
        if training:
            old_mean, old_variance = mean, variance
            mean = x.mean((0, 1, 2))
            variance = ((x - mean) ** 2).mean((0, 1, 2))
            kept[name + ".running_mean"] = 0.9 * old_mean + 0.1 * lax.stop_gradient(mean)
            kept[name + ".running_var"] = 0.9 * old_variance + 0.1 * lax.stop_gradient(variance)
        return (x - mean) * (lax.rsqrt(variance + 1e-5) * w[name + ".gamma"]) + w[name + ".beta"]

    x = _pool(nn.relu(norm("features.1", _convolve(w, "features.0", x, 2, 3))), 3, 1)
    for place, (stage, (count, _, _)) in enumerate(STAGES.items()):
        for number in range(count):
            block, stride = f"{stage}.{number}.", 2 if place and not number else 1
            out = nn.relu(norm(block + "body.1", _convolve(w, block + "body.0", x, stride)))
            out = nn.relu(norm(block + "body.4", _convolve(w, block + "body.3", out, 1, 1)))
            out = norm(block + "body.7", _convolve(w, block + "body.6", out))
            if not number:
                x = norm(block + "downsample.1", _convolve(w, block + "downsample.0", x, stride))
            x = nn.relu(x + out)
    return _dense(w, "output", x.mean((1, 2))), kept


FORWARD: dict[str, Callable[..., tuple[Any, Values]]] = {
    "mlp": mlp, "lenet": lenet, "lstm": lstm, "transformer": transformer, "resnet50": resnet50,
}  # fmt: skip


def _sgd(w: Values, gradients: Values, state: Any, rate: float, momentum: float) -> tuple[Values, Any]:
    if momentum:
        state = {name: momentum * state[name] + gradients[name] for name in w}
        gradients = state
    return {name: w[name] - rate * gradients[name] for name in w}, state


def _adam(w: Values, gradients: Values, state: Any, rate: float, momentum: float) -> tuple[Values, Any]:
    means, squares, count = state
    count = count + 1
    means = {name: 0.9 * means[name] + 0.1 * gradients[name] for name in w}
    squares = {name: 0.999 * squares[name] + 0.001 * gradients[name] ** 2 for name in w}
    rate = rate * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    return {name: w[name] - rate * means[name] / (jnp.sqrt(squares[name]) + 1e-8) for name in w}, (
        means, squares, count,
    )  # fmt: skip


class JaxSide(Side):
    """A network in JAX."""

    modes = ("train", "infer")

    def __init__(self, given: Arrays, samples: list[Batch], network: str) -> None:
        made, forward = NETWORKS[network], FORWARD[network]
        parameters, x, y = split(given)
        if x.ndim == 4:
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        values = {k: jnp.asarray(v.transpose(2, 3, 1, 0) if v.ndim == 4 else v) for k, v in parameters.items()}
        self.stats = {name: value for name, value in values.items() if ".running_" in name}
        self.weights = {name: value for name, value in values.items() if name not in self.stats}
        zeros = {name: jnp.zeros_like(value) for name, value in self.weights.items()}
        self.state: Any = zeros if made.optimizer == "sgd" else (zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros(()))
        self.batches = {b.size: (jnp.asarray(x[: b.size]), jnp.asarray(y[: b.size])) for b in samples}
        update = {"sgd": _sgd, "adam": _adam}[made.optimizer]

        def loss(w: Values, stats: Values, x: Any, y: Any) -> tuple[Any, Values]:
            out, stats = forward(w, x, stats, True)
            if made.loss == "squares":
                return 0.5 * ((out - y) ** 2).mean(), stats
            return -jnp.take_along_axis(nn.log_softmax(out), y[:, None], 1).mean(), stats

        def step(w: Values, stats: Values, state: Any, x: Any, y: Any) -> tuple[Values, Values, Any, Any]:
            (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(w, stats, x, y)
            w, state = update(w, gradients, state, made.rate, made.momentum)
            return w, stats, state, value

        self.step = jax.jit(step, donate_argnums=(0, 1, 2))
        self.ask = jax.jit(lambda w, stats, x: forward(w, x, stats, False)[0])

    def train(self, batches: Sequence[Batch]) -> Any:
        """Do a step for each of the batches; returns the last one's mean loss."""
        value = None
        for batch in batches:
            self.weights, self.stats, self.state, value = self.step(
                self.weights, self.stats, self.state, *self.batches[batch.size]
            )
        jax.block_until_ready((self.weights, value))
        return value

    def losses(self, batches: Sequence[Batch]) -> Arrays:
        """Do a step for each of the batches; returns the mean loss that each found."""
        return {"losses": np.array([float(self.train([batch])) for batch in batches])}

    def infer(self, batches: Sequence[Batch]) -> np.ndarray:
        """Ask the network about each of the batches; returns what it says of the last one."""
        found = None
        for batch in batches:
            found = self.ask(self.weights, self.stats, self.batches[batch.size][0])
        return np.asarray(found)

    def explain(self) -> str:
        """Return the version."""
        return "jax " + jax.__version__


def _fix_threads(count: int) -> None:
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen=true intra_op_parallelism_threads={count}"
    if hasattr(os, "sched_setaffinity"):  # newer versions of XLA count the cores they may use instead
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def make(given: Arrays, samples: list[Batch], **options: Any) -> Side:
    """Return the side."""
    _fix_threads(int(os.environ["OMP_NUM_THREADS"]))  # before the first array: that is when JAX starts its threads
    return JaxSide(given, samples, **options)
