"""Laws of `fold.map` on programs made up by hypothesis: each sample gives what it gives alone, however it is run.

The one idea: a program is a list of statements (arithmetic, reads that decide what follows, forks joined late or never,
maps inside, errors caught or not, modes, context variables), run on greenlets and on threads, with and without a
width. What a sample gives, a value and a log of all that it saw, or an error, is compared with the same sample run
unfolded and alone.

Not here: which fibers run when (test_fiber.py), single features of a map (test_map.py).
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, nd
from glueball.fold.scope import current_folder

from .fibers import KINDS, notes

COLOUR: ContextVar[int] = ContextVar("colour", default=0)
CELL = gluon.nn.HybridSequential()
CELL.add(gluon.nn.Dense(3, activation="tanh", in_units=3))
CELL.initialize()
CELL.hybridize()
for _parameter in CELL.collect_params().values():
    _parameter.set_data(nd.array(np.random.RandomState(2).uniform(-1, 1, _parameter.shape)))


class Made(Exception):
    """The error of a made-up program; it knows what its sample had seen."""


class Program:
    """One sample: its state, and a log of all that it saw."""

    def __init__(self, x: Any) -> None:
        self.x = x
        self.log: list[Any] = []
        self.late: list[Any] = []

    def run(self, statements: Any) -> Program:
        for name, *rest in statements:
            getattr(self, name)(*rest)
        return self

    def end(self) -> tuple[Any, list[Any]]:
        """Join what was forked and not joined; return the state and the log."""
        for handle in self.late:
            self.take(handle.result())
        self.late = []
        return self.x, self.log

    def take(self, found: tuple[Any, list[Any]]) -> None:
        x, log = found
        self.x = self.x + x * 0.5
        self.log.append(log)

    # -- statements ----------------------------------------------------------------------------------------------------
    def add(self, a: float) -> None:
        self.x = self.x * 0.9 + a

    def cell(self) -> None:
        self.x = CELL(self.x)

    def read(self) -> None:
        value = float(self.x.sum().asscalar())
        self.log.append(value)
        self.x = self.x - 0.25 if value > 0 else self.x + 0.5

    def look(self) -> None:
        self.log.append(int(self.x.argmax().asscalar()))
        self.log.extend(float(v) for v in self.x.asnumpy().ravel())

    def loop(self, most: int, body: Any) -> None:
        while most and float(nd.max(self.x)) > 0.1:
            self.run(body)
            self.x, most = self.x * 0.5, most - 1

    def forked(self, bodies: Any, late: bool) -> None:
        if late:  # an error is raised by fork itself without a map, else where the result is asked for
            bodies = [[("guarded", body)] for body in bodies]
        handles = [fold.fork(lambda b=b: Program(self.x).run(b).end()) for b in bodies]
        if late:
            self.late += handles
        else:
            for found in [handle.result() for handle in reversed(handles)]:
                self.take(found)

    def dropped(self, body: Any) -> None:
        fold.fork(lambda: Program(self.x).run([("guarded", body)]).end())  # nobody asks for what comes of it

    def inner(self, factors: Any, body: Any, width: int | None) -> None:
        samples = [self.x * f for f in factors]
        for found in fold.map(lambda x: Program(x).run(body).end(), samples, width):
            self.take(found)

    def fails(self, limit: float) -> None:
        if float(self.x.mean().asscalar()) > limit:
            raise Made(tuple(map(str, self.log)))

    def guarded(self, body: Any) -> None:
        try:
            self.run(body)
        except Made:
            self.log.append("caught")
            self.x = self.x * 0.3
        finally:
            self.log.append(round(float(self.x[0, 0]), 4))

    def coloured(self, colour: int, body: Any) -> None:
        before = COLOUR.get()
        COLOUR.set(before + colour)
        try:
            with autograd.predict_mode() if colour % 2 else autograd.train_mode():
                self.run(body)
                self.log.append((COLOUR.get(), autograd.is_training(), autograd.is_recording()))
        finally:
            COLOUR.set(before)
        self.log.append((COLOUR.get(), autograd.is_training()))

    def paused(self, recording: bool, body: Any) -> None:
        with autograd.record() if recording else autograd.pause():
            self.run(body)
            self.log.append(autograd.is_recording())
        self.log.append(autograd.is_recording())


SIMPLE = st.one_of(
    st.tuples(st.just("add"), st.sampled_from([-0.5, -0.1, 0.2, 0.7])),
    st.tuples(st.just("cell")), st.tuples(st.just("read")), st.tuples(st.just("look")),
    st.tuples(st.just("fails"), st.sampled_from([0.2, 0.5, 0.9])),
)


def _longer(inner: Any) -> Any:
    body = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("loop"), st.integers(1, 3), body),
        st.tuples(st.just("forked"), st.lists(body, min_size=1, max_size=3), st.booleans()),
        st.tuples(st.just("dropped"), body),
        st.tuples(st.just("inner"), st.lists(st.sampled_from([1.0, 0.5, -1.0]), max_size=3), body,
                  st.sampled_from([None, 1, 2])),
        st.tuples(st.just("guarded"), body),
        st.tuples(st.just("coloured"), st.integers(1, 3), body),
        st.tuples(st.just("paused"), st.booleans(), body),
    )


PROGRAMS = st.lists(st.recursive(SIMPLE, _longer, max_leaves=8), min_size=1, max_size=5)
SAMPLES = st.lists(st.tuples(PROGRAMS, st.sampled_from([-1.0, 0.1, 0.6, 2.0])), min_size=1, max_size=5)


def start(sample: tuple[Any, float]) -> tuple[Any, list[Any]]:
    """The program of one sample."""
    statements, scale = sample
    return Program(nd.array([[0.4, -0.2, 0.3]]) * scale).run(statements).end()


def alone(sample: tuple[Any, float]) -> Any:
    """What a sample gives when it is run by itself, unfolded: (value, log), or its error."""
    try:
        return start(sample)
    except Made as error:
        return error


def gradient(values: Any) -> np.ndarray:
    """The gradient of the cell's weights, when its loss is the sum of the values."""
    weights = CELL[0].weight
    (nd.add_n(*values).sum() + weights.data().sum()).backward()  # some path there must be
    return weights.grad().asnumpy()


def same(found: Any, expected: Any) -> bool:
    """Whether two logs say the same; numbers may differ by rounding."""
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(same(a, b) for a, b in zip(found, expected))
    return abs(found - expected) < 1e-4 if type(expected) is float else bool(found == expected)


def near_a_limit(expected: Any) -> bool:
    """Whether some number is so near to where a program decides that rounding may decide otherwise."""
    if isinstance(expected, (list, tuple)):
        return any(near_a_limit(e) for e in expected)
    return type(expected) is float and abs(expected) < 1e-5


def check(samples: Any, width: int | None) -> None:
    """Compare one map, and the gradients through it, with its samples run alone."""
    expected = [alone(sample) for sample in samples]
    errors = {i for i, found in enumerate(expected) if isinstance(found, Made)}
    threads, grad = threading.active_count(), torch.is_grad_enabled()
    try:
        results = fold.map(start, samples, width)
    except Made as error:
        numbers = [i for i in errors if f"raised in sample {i}" in notes(error)]
        assert numbers, (notes(error), errors)
        assert any(len(error.args[0]) == len(expected[i].args[0]) for i in numbers)
    else:
        assert not errors
        if not near_a_limit([right for _, right in expected]):
            for (x, log), (value, right) in zip(results, expected):
                assert same(log, right), (log, right)
                np.testing.assert_allclose(x.asnumpy(), value.asnumpy(), rtol=1e-4, atol=1e-5)
            if autograd.is_recording():
                found, right = gradient([x for x, _ in results]), gradient([value for value, _ in expected])
                np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-4)
    assert (threading.active_count(), torch.is_grad_enabled()) == (threads, grad)
    assert current_folder() is None
    assert COLOUR.get() == 0


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(samples=SAMPLES, width=st.sampled_from([None, 1, 2, 3]), recording=st.booleans())
def test_every_sample_gives_what_it_gives_alone(kind: str, samples: Any, width: int | None, recording: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUEBALL_FIBERS", kind)
        if recording:
            with autograd.record():
                check(samples, width)
        else:
            check(samples, width)
