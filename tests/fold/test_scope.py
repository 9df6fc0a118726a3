"""`fold.batching()` as a decorator: each call of the function is a scope of its own.

The one idea: the decorated function returns what the plain one returns, and the report of the scope shows that its
calls ran as one group.

Not here: what a scope records and runs (test_ragged.py, test_bug_classes.py).
"""
from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glueball import fold, nd
from glueball.base.errors import ArgumentError, MXNetError
from glueball.fold.scope import current_folder


def rows(count: int) -> list[Any]:
    return [nd.array([[i, i + 1.0]]) for i in range(count)]


def test_a_decorated_function_is_a_scope_at_every_call() -> None:
    scopes: list[Any] = []

    @fold.batching()
    def squares(xs: list[Any], power: int = 2) -> list[Any]:
        """Squares."""
        scopes.append(current_folder())
        return [x ** power for x in xs]

    assert (squares.__name__, squares.__doc__) == ("squares", "Squares.")
    for count in (3, 5):
        found = squares(rows(count))
        assert fold.last_report().widths == [count]
        np.testing.assert_allclose(nd.concat(*found, dim=0).asnumpy(), [[i ** 2, (i + 1) ** 2] for i in range(count)])
    assert squares(rows(2), power=3)[1].asnumpy().tolist() == [[1, 8]]
    assert None not in scopes
    assert len({id(scope) for scope in scopes}) == 3
    assert current_folder() is None


def test_a_decorated_function_keeps_its_scopes_mode_and_calls_itself() -> None:
    seen: list[Any] = []

    @fold.batching(mode="off")
    def plain(x: Any) -> Any:
        seen.append(current_folder())
        return x + 1

    @fold.batching()
    def down(x: Any, depth: int) -> Any:
        return down(x * 2, depth - 1) if depth else x + float(x[0, 0])

    assert plain(nd.ones((1, 1))).asnumpy().tolist() == [[2]]
    assert seen == [None]
    assert down(nd.ones((1, 1)), 3).asnumpy().tolist() == [[16]]


def test_an_error_in_a_decorated_function_closes_its_scope() -> None:
    @fold.batching()
    def fails() -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fails()
    assert current_folder() is None


def test_mistakes_of_decorators_are_named() -> None:
    def samples() -> Any:
        yield 1

    async def later() -> None:
        pass

    for wrong in (samples, later, 3):
        with pytest.raises(ArgumentError, match="plain function"):
            fold.batching()(wrong)  # type: ignore[type-var]
    with pytest.raises(MXNetError, match="with brackets"):
        fold.batching(rows)  # type: ignore[arg-type]
    with pytest.raises(MXNetError, match="leave it out for 'on'"):
        fold.batching("fast")
    with pytest.raises(MXNetError, match="no such treatment of statistics"):
        fold.batching(statistics="mean")
