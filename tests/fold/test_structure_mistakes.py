"""`fold.tree`, `fold.dag` and `fold.scan` given what cannot be: each mistake is named, with its place.

The one idea: a mistake in data (numbers, sizes), in a cell or in where it is called raises the error that says what was
expected and what came, before anything runs.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from glueball import fold, gluon, nd
from glueball.base.errors import ArgumentError, ShapeError, UnsupportedError

from .structures import RECURRENT, SIZE, Attention, ChildSum, made

X = nd.ones((3, SIZE), dtype="float64")


@pytest.mark.parametrize(("run", "error", "text"), [
    (lambda c: fold.tree(c, X, [1, 0, -1]), ArgumentError, "0 -> 1 -> 0"),
    (lambda c: fold.tree(c, X, [-1, 1, 0]), ArgumentError, "1 -> 1"),
    (lambda c: fold.tree(c, [X, X], [[-1, 0, 0], [-1, 2, 1]]), ArgumentError, r"4 -> 5 -> 4 \(x\[1\] begins with"),
    (lambda c: fold.tree(c, X, [-1, 3, 0]), ArgumentError, r"3 at parents\[1\]"),
    (lambda c: fold.tree(c, X, [-1, 0, -2]), ArgumentError, r"-2 at parents\[2\]"),
    (lambda c: fold.tree(c, [X], [[-1, 0, 7]]), ArgumentError, r"7 at parents\[0\]\[2\]"),
    (lambda c: fold.tree(c, X, [-1, 0.5, 0]), ArgumentError, r"0.5 at parents\[1\]"),
    (lambda c: fold.tree(c, X, [True, False, True]), ArgumentError, "array of bool"),
    (lambda c: fold.tree(c, X, [-1, 0]), ShapeError, "expected: 3 numbers"),
    (lambda c: fold.tree(c, X, [[-1, 0, 0]]), ShapeError, "one axis"),
    (lambda c: fold.tree(c, [X, X], [[-1, 0, 0]]), ShapeError, "2 arrays"),
    (lambda c: fold.tree(c, [X, X], np.array([-1, 0, 0])), ShapeError, "ndarray"),
    (lambda c: fold.tree(c, [X, nd.ones((2, 5), dtype="float64")], [[-1, 0, 0], [-1, 0]]), ShapeError, r"x\[1\]"),
    (lambda c: fold.tree(c, nd.ones(()), [-1]), ShapeError, "a row of its own"),
    (lambda c: fold.scan(c, [X, X], [3, 2]), ShapeError, "lengths are those of its arrays"),
    (lambda c: fold.scan(c, [X, X], 3), ShapeError, "one axis"),
    (lambda c: fold.tree(c, [], []), ArgumentError, "no array in the list"),
    (lambda c: fold.tree(c, nd.ones((3, 5), dtype="float64"), [-1, 0, 0]), Exception, "in_units|raised by the cell"),
    (lambda c: fold.dag(c, X, [(0, 1), (1, 2), (2, 0)]), ArgumentError, "-> .* -> "),
    (lambda c: fold.dag(c, X, [(0, 1), (5, 2)]), ArgumentError, r"5 at edges\[1, 0\]"),
    (lambda c: fold.dag(c, X, [0, 1, 2]), ShapeError, r"\(edges, 2\)"),
    (lambda c: fold.scan(c, X, [1, 2]), ArgumentError, "begins"),
    (lambda c: fold.tree(gluon.nn.Sequential(), X, [-1, 0, 0]), ArgumentError, "hybrid_forward"),
    (lambda c: fold.tree(lambda x, hs: x, X, [-1, 0, 0]), ArgumentError, "HybridBlock"),
])
def test_mistakes_are_named(run: Callable[[Any], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"(?i){text}"):
        run(made(ChildSum))


def test_mistakes_in_sequences_are_named() -> None:
    cell = made(RECURRENT[0])
    for lengths, text in (([2, 2], "add up"), ([4, -1], r"-1 at lengths\[1\]"), ([1.5, 1.5], r"1.5 at lengths\[0\]")):
        with pytest.raises(ValueError, match=text):
            fold.scan(cell, X, lengths)
    with pytest.raises(ShapeError, match=r"state\[0\] of shape \(2, \.\.\.\)"):
        fold.scan(cell, X, [1, 2], [nd.ones((3, SIZE), dtype="float64")])
    for kind in (gluon.rnn.BidirectionalCell(cell, made(RECURRENT[0])), gluon.rnn.ZoneoutCell(made(RECURRENT[0]), 0.5)):
        with pytest.raises(UnsupportedError, match="fold.scan"):
            fold.scan(kind, X)

    class Grows(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, states: Any) -> Any:
            return x, [F.concat(states[0], x, dim=1)]

    class Forgets(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, states: Any) -> Any:
            return x + states[0]

    with pytest.raises(ShapeError, match="its output and a list of new states"):
        fold.scan(Forgets(), X, state=[nd.ones((1, SIZE), dtype="float64")])
    with pytest.raises(ShapeError, match="shapes of those that it is given"):
        fold.scan(Grows(), X, state=[nd.ones((1, SIZE), dtype="float64")])


def test_mistakes_of_cells_are_named() -> None:
    class TooFew(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, hs: Any) -> Any:
            return x, x

    class Widens(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, hs: Any) -> Any:
            return F.concat(x, *hs, dim=1) if hs else x

    class Looks(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any, hs: Any) -> Any:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(ShapeError, match="1 states, because toofew"):
        fold.tree(TooFew(), X, [-1, 0, 0])
    with pytest.raises(ShapeError, match="nodes that read 2, such as node 0"):
        fold.tree(Widens(), X, [-1, 0, 0])
    with pytest.raises(UnsupportedError, match=r"fold\.map"):
        fold.tree(Looks(), X, [-1, 0, 0])
    hooked = made(ChildSum)
    hooked.register_forward_hook(lambda *args: None)
    with pytest.raises(UnsupportedError, match="Hooks"):
        fold.tree(hooked, X, [-1, 0, 0])


def test_a_cell_that_was_not_initialized_is_and_says_so() -> None:
    with pytest.warns(UserWarning, match="before initialize"):
        assert fold.tree(Attention(), nd.ones((2, SIZE)), [-1, 0]).shape == (2, SIZE)


def test_not_inside_a_traced_network() -> None:
    class Around(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.cell = made(Attention)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return fold.tree(self.cell, x, [-1, 0, 0])

    net = Around()
    assert net(X).shape == (3, SIZE)
    net.hybridize()
    with pytest.raises(UnsupportedError, match="traced network"):
        net(X)
