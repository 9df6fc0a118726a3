"""Random programs over the operator table, as hybrid blocks: what the laws of hybridize() are tested with.

A program starts from two matrices (N, M) and appends values, each an operator of a list below on earlier values;
every value keeps two axes, so that any can follow any. The description is plain data, so hypothesis can shrink it.
"""
from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from glueball import gluon

UNARY = {
    "tanh": lambda F, x: F.tanh(x), "relu": lambda F, x: F.relu(x), "sigmoid": lambda F, x: F.sigmoid(x),
    "scaled": lambda F, x: x * 0.5 + 1, "reversed": lambda F, x: 1 - x, "square": lambda F, x: F.square(x) * 0.1,
    "softmax": lambda F, x: F.softmax(x), "abs": lambda F, x: F.abs(x), "log": lambda F, x: F.log(F.abs(x) + 1),
    "clip": lambda F, x: F.clip(x, -0.5, 0.5), "copy": lambda F, x: F.identity(x), "back": lambda F,
    x: F.transpose(F.transpose(x)), "flip": lambda F, x: F.flip(x, axis=1), "fold": lambda F,
    x: F.reshape(F.reshape(x, (-1,)), (-4, -1, 3)), "stop": lambda F, x: F.BlockGrad(x), "leaky": lambda F,
    x: F.LeakyReLU(x, slope=0.1), "dropped": lambda F, x: F.Dropout(x, p=0.4), "mean": lambda F,
    x: F.broadcast_sub(x, F.mean(x, axis=1, keepdims=True)), "top": lambda F,
    x: F.broadcast_sub(x, F.max(x, axis=0, keepdims=True)), "signs": lambda F, x: x * (x > 0), "norm": lambda F,
    x: F.L2Normalization(x), "cut": lambda F, x: F.concat(*F.split(x, 3, axis=1), dim=1), "stacked": lambda F,
    x: F.stack(x, x * 2, axis=0).sum(axis=0), "expanded": lambda F, x: F.squeeze(F.expand_dims(x, axis=0), axis=0),
    "sliced": lambda F, x: F.concat(F.slice_axis(x, axis=1, begin=1, end=3), F.slice_axis(x, axis=1, begin=0, end=1),
                                    dim=1), "positive": lambda F, x: F.where(x > 0, x, x * 0.1),
}
BINARY = {
    "add": lambda F, x, y: x + y,
    "sub": lambda F, x, y: x - y,
    "mul": lambda F, x, y: x * y,
    "div": lambda F, x, y: x / (F.abs(y) + 1),
    "max": lambda F, x, y: F.maximum(x, y) if hasattr(x, "asnumpy_") else F.broadcast_maximum(x, y),
    "gram": lambda F, x, y: F.dot(F.dot(x, y, transpose_b=True), x),
    "add_n": lambda F, x, y: F.add_n(x, y, x),
    "power": lambda F, x, y: F.broadcast_power(F.abs(x) + 1, F.tanh(y)),
}

STEPS = st.lists(st.one_of(
    st.tuples(st.sampled_from(sorted(UNARY)), st.integers(0, 50)),
    st.tuples(st.sampled_from(sorted(BINARY)), st.integers(0, 50), st.integers(0, 50))), min_size=1, max_size=12)


class Program(gluon.HybridBlock):
    """A block that runs a list of steps and returns the last value, and one in between."""

    def __init__(self, steps: list[Any], layers: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = steps
        with self.name_scope():
            self.dense = gluon.nn.Dense(3, activation="tanh") if layers else None
            self.norm = gluon.nn.BatchNorm() if layers else None

    def hybrid_forward(self, F: Any, x: Any, y: Any) -> Any:
        """Run the steps."""
        values = [x, y]
        if self.dense is not None:
            values += [self.dense(x), self.norm(y)]
        for name, *places in self.steps:
            picked = [values[p % len(values)] for p in places]
            values.append(UNARY[name](F, *picked) if len(places) == 1 else BINARY[name](F, *picked))
        return values[-1], values[len(values) // 2]
