"""Folding without the native compiler: the same values and gradients, step by step instead of by machine code.

The one idea: the scope is run as it is where llvmlite is missing (element-wise steps stay operators), as it is where
segments exist but cannot be compiled (torch evaluates them, as for other devices), and unfolded; all three agree.

Not here: segments by themselves (tests/executor/native).
"""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glueball import autograd, fold, gluon, init, nd, random
from glueball.executor.native import compile, run
from glueball.fold import fuse

nn = gluon.nn
HIDDEN = 4
TREES = ([[], [[], [[]]]], [], [[[], [], []]], [[], [[], []], []])  # a tree is the list of its children


class Cell(gluon.HybridBlock):
    """The child-sum Tree-LSTM's cell: word x (1, HIDDEN) and the children's states to h and c, both (1, HIDDEN)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        with self.name_scope():
            self.gates = nn.Dense(3 * HIDDEN)
            self.inner = nn.Dense(3 * HIDDEN, use_bias=False)
            self.forget = nn.Dense(HIDDEN)

    def hybrid_forward(self, F: Any, x: Any, hs: Any, cs: Any) -> Any:
        """Return (h, c)."""
        gates = self.gates(x) + self.inner(F.add_n(*hs)) if hs else self.gates(x)
        i, o, u = F.split(gates, 3, axis=1)
        c = F.sigmoid(i) * F.tanh(u)
        if hs:
            c = c + F.add_n(*[F.sigmoid(self.forget(h)) * old for h, old in zip(hs, cs)])
        return F.sigmoid(o) * F.tanh(c), c


def step(mode: str) -> list[np.ndarray]:
    """Run one training step of a new cell on `TREES`; return losses, the words' gradient, and the parameters'."""
    random.seed(3)
    cell = Cell()
    cell.initialize(init.Normal(0.4))
    cell.hybridize()
    words = nd.array(np.random.RandomState(0).randn(6, HIDDEN))
    words.attach_grad()

    def read(tree: list[Any], depth: int = 0) -> Any:
        below = [read(child, depth + 1) for child in tree]
        at = (2 * depth + len(tree)) % 6
        return cell(words[at : at + 1], [h for h, _ in below], [c for _, c in below])

    with autograd.record(), fold.batching(mode):
        losses = [(h * h + c).sum() for h, c in map(read, TREES)]
        total = nd.add_n(*losses)
    total.backward()
    found = [loss.asnumpy() for loss in losses]
    return [*found, words.grad.asnumpy(), *[p.grad().asnumpy() for p in cell.collect_params().values()]]


@pytest.mark.parametrize("missing", [(fuse, run), (run,)], ids=["no segments", "segments evaluated"])
def test_the_tree_lstm_without_the_compiler(missing: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = step("on")
    groups = fold.last_report().groups
    alone = step("off")
    for module in missing:
        monkeypatch.setattr(module, "available", lambda: False)

    def refuse() -> Any:
        raise AssertionError("the compiler was asked for")

    monkeypatch.setattr(run, "compiler", refuse)
    without = step("on")
    assert fold.last_report().groups == groups  # folded as before
    assert any(np.abs(array).max() > 1e-3 for array in without[len(TREES):])
    for ours, compiled, single in zip(without, whole, alone, strict=True):
        np.testing.assert_allclose(ours, compiled, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(ours, single, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not compile.available(), reason=compile.why_not() or "")
def test_the_same_scope_uses_the_compiler_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above takes away is what folding uses."""
    made: list[Any] = []
    original = fuse.compile_rows

    def count(*arguments: Any) -> Any:
        made.append(original(*arguments))
        return made[-1]

    monkeypatch.setattr(fuse, "compile_rows", count)
    step("on")
    assert made
