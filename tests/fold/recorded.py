"""Prints what generated programs record, queue by queue, as JSON: the same for every recorder (test_recording.py).

Usage: python -m tests.fold.recorded SEED COUNT
"""
from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from glueball import autograd, fold, gluon, nd
from glueball.fold import recording
from glueball.fold.execute import Engine

from .programs import Model, RandomCell, make_samples, random_program, run, tree_program


def written(signature: Any, queue: Any) -> list[Any]:
    """Return the numbers of a queue."""
    parts = [np.asarray(part).tolist() for part in (queue.ids, queue.refs, queue.children, queue.rows)]
    return [signature.name, signature.recording, signature.training, *parts]


def noted(found: list[Any]) -> None:
    """Have every flush of this process note what was recorded."""
    flush = Engine.flush

    def noting(self: Engine, *args: Any, **kwargs: Any) -> None:
        folder = self.folder
        found.append([folder.next, folder.waiting, [list(kind.shape) for _, kind, _ in folder.fresh],
                      [written(signature, queue) for signature, queue in folder.queues.items()]])
        flush(self, *args, **kwargs)

    Engine.flush = noting  # type: ignore[method-assign]  # this process does nothing else


def odd_calls() -> None:
    """Calls of unusual forms: literals, lists, arrays from outside, other classes of arrays, slices, sums."""
    dense, cell = gluon.nn.Dense(3), gluon.rnn.LSTMCell(3)
    for block in (dense, cell):
        block.initialize()
    cell.hybridize()
    for _ in range(2):  # the second time the forms are known
        x, outside = nd.ones((4, 3)), [nd.ones((1, 3)), nd.ones((3,)), nd.ones((2, 3), dtype="float64")]
        with autograd.record(), fold.batching():
            y = dense(x)
            rows = [y[0:1], y[-1:], y[1:3], y[2:2], y[:], y[0], y[1, 2], y[::1]]
            states = cell.begin_state(batch_size=1)
            for row in rows[:2]:
                out, states = cell(row, states)
            out, _ = cell(rows[0], [outside[0], outside[0]])
            out, _ = cell(rows[0], (out, out))
            total = nd.add_n(out, rows[0], rows[1])
            same = nd.add_n(total) + total * 2 - 1.5 * total + outside[0] / 3
            nd.concat(same, total, dim=1) * True
            nd.concat(*rows[:3], dim=0)
            nd.stack(rows[0].reshape((3,)), outside[1])
            nd.clip(outside[0], 0, 1) + nd.clip(same, 0, 1.0) + nd.sum(same, axis=1, keepdims=True)
            dense(outside[0])
            dense(outside[0] + 1)
        with fold.batching():
            nd.relu(dense(x)).sum()


def main(seed: int, count: int) -> None:
    """Print what `count` programs record."""
    found: list[Any] = []
    noted(found)
    odd_calls()
    model = Model(0)
    for number in range(seed, seed + count):
        run(random_program(number, model, 12), model, make_samples(number, 4), "on")
        cell = RandomCell(number, model, 5)
        cell.hybridize()
        for _ in range(2):
            run(tree_program(number, cell), model, make_samples(number, 4), "on")
    print(json.dumps({"recorder": recording.Recorder.__name__, "flushes": found}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
