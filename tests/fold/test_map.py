"""`fold.map` against the plain loop: values, gradients, modes, failures, odd uses.

The one idea: a program that reads its own values gives the same results and the same gradients however it is run: as a
loop, folded on greenlets, folded on threads, with any width.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import autograd, fold, gluon, nd
from glueball.base.errors import ArgumentError
from glueball.fold import fiber
from glueball.fold.scope import batching, current_folder

from .fibers import KINDS, greenlet


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both kinds of fiber; afterwards no thread is left and no scope is open."""
    monkeypatch.setenv("GLUEBALL_FIBERS", request.param)
    sys.modules["glueball.fold.map"]._warned.clear()  # type: ignore[attr-defined]  # places that were told already
    before = threading.active_count()
    yield request.param
    assert threading.active_count() == before
    assert current_folder() is None


class Model:
    """A value-dependent program: apply a cell until the state is small, then a head chosen by the state."""

    def __init__(self, hybridize: bool = False) -> None:
        self.cell = gluon.nn.Dense(4, activation="tanh", in_units=4, use_bias=False)
        self.heads = [gluon.nn.Dense(1, in_units=4) for _ in range(2)]
        rng = np.random.RandomState(3)
        self.parameters: list[Any] = []
        for block in (self.cell, *self.heads):
            block.initialize()
            for parameter in block.collect_params().values():
                parameter.set_data(nd.array(rng.uniform(-0.6, 0.6, parameter.shape)))
                self.parameters.append(parameter)
            if hybridize:
                block.hybridize()

    def __call__(self, x: Any) -> tuple[Any, int]:
        steps = 0
        h = x
        while float(nd.sum(h * h)) > 0.1 and steps < 8:
            h = self.cell(h) * 0.95
            steps += 1
        head = int(nd.argmax(h, axis=1)) % 2
        return self.heads[head](h), steps


def inputs(count: int = 9) -> list[Any]:
    """Samples that take different numbers of steps."""
    rng = np.random.RandomState(1)
    made = [nd.array(rng.uniform(-1, 1, (1, 4)) * (0.2 + i % 5)) for i in range(count)]
    for x in made:
        x.attach_grad()
    return made


def train(model: Model, xs: list[Any], how: Callable[[], list[Any]]) -> tuple[list[Any], list[Any], list[int]]:
    """Run under record(), go backward; return values, gradients and numbers of steps."""
    with autograd.record():
        pairs = how()
        total = nd.add_n(*[out * (i + 1) for i, (out, _) in enumerate(pairs)])
    total.backward()
    gradients = [p.grad().asnumpy().copy() for p in model.parameters] + [x.grad.asnumpy().copy() for x in xs]
    return [out.asnumpy() for out, _ in pairs], gradients, [steps for _, steps in pairs]


def close(first: list[Any], second: list[Any]) -> None:
    """Assert that two lists of arrays are equal up to the order of additions."""
    assert len(first) == len(second)
    for a, b in zip(first, second):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


# -- the law -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", [None, 1, 4])
@pytest.mark.parametrize("hybridize", [False, True])
def test_equals_the_loop_in_values_and_gradients(kind: str, width: int | None, hybridize: bool) -> None:
    model, xs = Model(hybridize), inputs()
    values, gradients, steps = train(model, xs, lambda: [model(x) for x in xs])
    assert len(set(steps)) >= 4  # the samples do differ
    folded = train(model, xs, lambda: fold.map(model, xs, width))
    assert folded[2] == steps
    close(folded[0], values)
    close(folded[1], gradients)


@pytest.mark.parametrize("mode", ["on", "off", "check"])
def test_modes(kind: str, mode: str) -> None:
    model, xs = Model(), inputs()

    def folded() -> list[Any]:
        with batching(mode=mode):
            return fold.map(model, xs)

    plain = train(model, xs, lambda: [model(x) for x in xs])
    again = train(model, xs, folded)
    assert again[2] == plain[2]
    close(again[0] + again[1], plain[0] + plain[1])


def test_inference(kind: str) -> None:
    model, xs = Model(), inputs()
    close([out.asnumpy() for out, _ in fold.map(model, xs)], [model(x)[0].asnumpy() for x in xs])


@settings(max_examples=15)
@given(scales=st.lists(st.floats(0.0, 4.0), max_size=6), width=st.sampled_from([None, 1, 2, 3]))
def test_any_samples(scales: list[float], width: int | None) -> None:
    model = Model()
    xs = [nd.ones((1, 4)) * scale for scale in scales]
    folded, plain = fold.map(model, xs, width), [model(x) for x in xs]
    assert [steps for _, steps in folded] == [steps for _, steps in plain]
    close([out.asnumpy() for out, _ in folded], [out.asnumpy() for out, _ in plain])


def test_one_flush_serves_all(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples do wait for each other: the number of flushes is that of the longest, not of all together."""
    model, xs = Model(), inputs()
    hubs: list[fiber.Hub] = []
    make = fiber.Hub.__init__

    def spy(hub: fiber.Hub, *args: Any) -> None:
        make(hub, *args)
        hubs.append(hub)

    monkeypatch.setattr(fiber.Hub, "__init__", spy)
    steps = [count for _, count in fold.map(model, xs)]
    assert hubs[0].flushes == max(steps) + 2  # the last comparison, and the choice of the head
    assert hubs[0].parked == sum(steps) + 2 * len(xs)


programs = st.recursive(
    st.lists(st.sampled_from(["cell", "other", "square", "input", "read", "branch"]), min_size=1, max_size=4),
    lambda body: st.lists(st.one_of(st.sampled_from(["cell", "branch", "input"]),
                                    st.tuples(st.sampled_from(["fork", "map", "pause", "predict"]), body, body)),
                          min_size=1, max_size=4),
    max_leaves=6)


def perform(program: list[Any], x: Any, blocks: list[Any]) -> Any:
    """Run a random program on a sample."""
    h = x
    for op in program:
        if op in ("cell", "other"):
            h = blocks[op == "other"](h)
        elif op == "square":
            h = nd.tanh(h * h - 0.2)
        elif op == "input":
            h = h + x
        elif op == "read":
            h = h * (1 + float(nd.mean(h)) / 4)
        elif op == "branch":
            h = blocks[int(nd.argmax(h, axis=1)) % 2](h) if nd.sum(h) > 0 else h - 0.5
        elif op[0] == "fork":
            handles = [fold.fork(perform, body, h * (i + 0.5), blocks) for i, body in enumerate(op[1:])]
            h = nd.add_n(*[handle.result() for handle in handles]) / 2
        elif op[0] == "map":
            h = nd.add_n(*fold.map(lambda body, h=h: perform(body, h, blocks), op[1:])) / 2
        else:
            with autograd.pause() if op[0] == "pause" else autograd.predict_mode():
                value = perform(op[1], h, blocks)
                h = h + float(nd.mean(value)) if op[0] == "pause" else h + value
    return h


@settings(max_examples=30)
@given(st.lists(programs, min_size=1, max_size=4), st.sampled_from([None, 1, 2]),
       st.sampled_from(["greenlet", "threads"] if greenlet else ["threads"]), st.booleans())
def test_random_programs_fold_like_they_run(bodies: list[Any], width: int | None, kind: str, hybrid: bool) -> None:
    """Values and gradients are those of the same programs with folding off."""
    blocks = [Model(hybrid).cell, Model(hybrid).cell]
    blocks[1].weight.set_data(-blocks[0].weight.data())
    leaves = [p for block in blocks for p in block.collect_params().values()]

    def run(mode: str) -> list[Any]:
        xs = inputs(len(bodies))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GLUEBALL_FIBERS", kind)
            with autograd.record():
                with fold.batching(mode=mode):
                    outs = fold.map(lambda pair: perform(pair[0], pair[1], blocks), list(zip(bodies, xs)), width)
                total = nd.add_n(*[nd.sum(out + x) for out, x in zip(outs, xs)])
            total.backward()
        return [a.asnumpy().copy() for a in [*outs, *[x.grad for x in xs], *[p.grad() for p in leaves]]]

    for p in leaves:
        p.zero_grad()
    plain = run("off")
    for p in leaves:
        p.zero_grad()
    close(run("on"), plain)


# -- what may be given -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("samples", [[], (), iter([]), {}], ids=["list", "tuple", "iterator", "dict"])
def test_no_samples(kind: str, samples: Any) -> None:
    assert fold.map(float, samples) == []


def test_one_sample(kind: str) -> None:
    assert fold.map(float, [nd.array([2.0])]) == [2.0]


def test_a_generator(kind: str) -> None:
    taken: list[int] = []

    def samples() -> Any:
        for i in range(6):
            taken.append(i)
            yield nd.array([float(i)])

    def program(x: Any) -> tuple[float, int]:
        return float(x * 2), len(taken)

    assert [value for value, _ in fold.map(program, samples(), width=2)] == [0, 2, 4, 6, 8, 10]
    assert taken == list(range(6))


def test_with_a_width_samples_are_taken_when_needed(kind: str) -> None:
    taken: list[int] = []

    def samples() -> Any:
        for i in range(6):
            taken.append(i)
            yield nd.array([float(i)])

    def program(x: Any) -> int:
        float(x * 2)
        return len(taken)

    assert fold.map(program, samples(), width=2) == [2, 2, 4, 4, 6, 6]


def test_a_generator_that_computes(kind: str) -> None:
    """Samples that are themselves results, even values, of the scope."""
    def samples() -> Any:
        x = nd.ones((1,))
        while float(x) < 100:
            yield x
            x = x * 3

    assert fold.map(lambda x: float(x + 1), samples()) == [2, 4, 10, 28, 82]


def test_rows_of_an_array(kind: str) -> None:
    assert fold.map(lambda row: float(nd.sum(row)), nd.array([[1, 2], [3, 4]])) == [3, 7]


def test_results_need_not_be_arrays(kind: str) -> None:
    assert fold.map(lambda x: {"x": [x, None]}, "ab") == [{"x": ["a", None]}, {"x": ["b", None]}]


def test_results_have_values_when_the_map_is_over(kind: str) -> None:
    outs = fold.map(lambda x: x * 2, [nd.ones((2,)) * i for i in range(3)])
    assert [out.asnumpy().tolist() for out in outs] == [[0, 0], [2, 2], [4, 4]]


def test_a_block_is_a_program(kind: str) -> None:
    net = gluon.nn.Dense(2, in_units=3)
    net.initialize()
    xs = [nd.ones((1, 3)) * i for i in range(4)]
    close([out.asnumpy() for out in fold.map(net, xs)], [net(x).asnumpy() for x in xs])


@pytest.mark.parametrize("width", [0, -1, 1.5, True, "2"])
def test_width_is_a_positive_integer(width: Any) -> None:
    with pytest.raises(ArgumentError, match="integer of at least 1"):
        fold.map(float, [], width)


def test_the_program_is_a_plain_function() -> None:
    def generator(x: Any) -> Any:
        yield x

    async def coroutine(x: Any) -> Any:
        return x

    class Callable_:
        def __call__(self, x: Any) -> Any:
            yield x

    for wrong in (generator, coroutine, partial(generator), Callable_(), Callable_().__call__):
        with pytest.raises(ArgumentError, match="plain function"):
            fold.map(wrong, [1])
    with pytest.raises(ArgumentError, match="function of one argument"):
        fold.map([1, 2], float)  # type: ignore[arg-type]  # the arguments the wrong way round


@pytest.mark.parametrize("mode", ["on", "off"])
def test_samples_are_one_iterable(mode: str) -> None:
    with batching(mode=mode):
        for wrong in (5, None, 2.5):
            with pytest.raises(ArgumentError, match="taken one by one(?s:.*)a list, an array, a generator"):
                fold.map(float, wrong)  # type: ignore[arg-type]
        for second in ([3, 4], (3, 4), range(2), nd.ones((2,))):
            with pytest.raises(ArgumentError, match=r"one list of samples(?s:.*)zip\(a, b\)"):
                fold.map(max, [1, 2], second)  # type: ignore[arg-type]
        assert fold.map(lambda both: max(*both), zip([1, 5], [3, 4])) == [3, 5]


def test_samples_are_iterated_over_once(kind: str) -> None:
    """A data loader starts its workers when it is asked for an iterator."""
    asked: list[str] = []

    class Loader:
        def __iter__(self) -> Iterator[int]:
            asked.append("iterator")
            return iter([1, 2])

    class Items:
        def __getitem__(self, place: int) -> int:
            return [3, 4][place]

    assert fold.map(float, Loader()) == [1, 2]
    assert asked == ["iterator"]
    assert fold.map(float, Items()) == [3, 4]  # type: ignore[arg-type]  # the older protocol will do


# -- failures ----------------------------------------------------------------------------------------------------------
def noted(error: BaseException) -> str:
    """All that an error says."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


@pytest.mark.parametrize("mode", ["on", "off"])
def test_an_error_names_its_sample(kind: str, mode: str) -> None:
    def program(x: Any) -> float:
        if float(x) == 2:
            raise KeyError("two")
        return float(x + 1) + float(x + 2)

    with batching(mode=mode):
        with pytest.raises(KeyError) as caught:
            fold.map(program, [nd.array([i]) for i in range(4)])
        assert "fold.map: raised in sample 2" in noted(caught.value)
        assert 'raise KeyError("two")' in noted(caught.value)
        assert float(nd.ones((1,)) + 1) == 2  # the scope goes on


def test_the_next_map_is_clean(kind: str) -> None:
    model, xs = Model(), inputs()
    with pytest.raises(ZeroDivisionError):
        fold.map(lambda x: (model(x), 1 / 0), xs)
    close([out.asnumpy() for out, _ in fold.map(model, xs)], [model(x)[0].asnumpy() for x in xs])


def test_wrong_shapes_are_reported_in_the_sample(kind: str) -> None:
    model = Model()
    with pytest.raises(Exception, match="dense") as caught:
        fold.map(model, [nd.ones((1, 4)), nd.ones((1, 5)) * 3])
    assert "raised in sample 1" in noted(caught.value)


def test_an_error_while_computing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []

    def program(i: int) -> float:
        try:
            return float(nd.ones((1,)) * i)
        finally:
            ended.append(i)

    with batching():
        folder: Any = current_folder()

        def fails(*args: Any, **kwargs: Any) -> None:
            raise MemoryError("no room")

        with monkeypatch.context() as patch:
            patch.setattr(folder.engine, "flush", fails)
            with pytest.raises(MemoryError, match="no room") as caught:
                fold.map(program, range(3))
    assert "samples 0, 1, 2 waited for" in noted(caught.value)
    assert ended == [0, 1, 2]


def test_errors_can_be_caught_inside(kind: str) -> None:
    def program(i: int) -> str:
        with contextlib.suppress(ZeroDivisionError):
            return str(1 / int(nd.ones((1,)) * i))
        return "infinite"

    assert fold.map(program, range(3)) == ["infinite", "1.0", "0.5"]


# -- inside each other -------------------------------------------------------------------------------------------------
def test_a_map_inside_a_map(kind: str) -> None:
    model, xs = Model(), inputs(12)
    batches = [xs[:5], xs[5:6], [], xs[6:]]
    folded = train(model, xs, lambda: list(chain(*fold.map(lambda batch: fold.map(model, batch, 3), batches))))
    plain = train(model, xs, lambda: [model(x) for x in xs])
    assert folded[2] == plain[2]
    close(folded[0] + folded[1], plain[0] + plain[1])


def test_forked_children_of_a_tree(kind: str) -> None:
    """Recursion over trees whose nodes read values: all nodes of a level wait together."""
    cell = gluon.nn.Dense(3, in_units=3)
    cell.initialize()

    def state(tree: Any, run: Callable[..., Any]) -> Any:
        handles = [run(state, child, run) for child in tree]
        h = nd.ones((1, 3)) * (len(tree) + 1)
        for handle in handles:
            h = h + (handle.result() if hasattr(handle, "result") else handle)
        return nd.tanh(cell(h)) if float(nd.sum(h)) > 2 else h

    trees = [[], [[], [[]]], [[[[]]], [], []], [[[], []], [[]]]]
    plain = [state(tree, lambda function, *args: function(*args)).asnumpy() for tree in trees]
    close([h.asnumpy() for h in fold.map(lambda tree: state(tree, fold.fork), trees)], plain)


def test_a_scope_inside_a_sample(kind: str) -> None:
    def program(x: Any) -> float:
        with batching():
            y = x * 3
        return float(y) + float(x)

    assert fold.map(program, [nd.array([i]) for i in range(3)]) == [0, 4, 8]


def test_a_scope_inside_a_sample_that_is_off(kind: str) -> None:
    def program(x: Any) -> float:
        with batching(mode="off"):
            y = fold.map(lambda k: float(x * k), [2, 3])
        return y[0] + y[1] + float(x)

    assert fold.map(program, [nd.array([i]) for i in range(3)]) == [0, 6, 12]


def test_recording_inside_samples(kind: str) -> None:
    """Each sample takes its own gradient."""
    def program(i: int) -> float:
        x = nd.array([float(i)])
        x.attach_grad()
        with autograd.record():
            y = x * x
            if float(y) > 3:
                y = y * x
        y.backward()
        return float(x.grad)

    assert fold.map(program, range(4)) == [0, 2, 12, 27] == [program(i) for i in range(4)]


def test_a_backward_pass_writes_only_what_it_comes_to(kind: str) -> None:
    """Several passes over one batch: the gradients of other samples' arrays and of other blocks stay."""
    blocks = [Model().cell, Model().cell]

    def program(i: int) -> tuple[Any, Any]:
        x = nd.ones((1, 4)) * i
        x.attach_grad()
        with autograd.record():
            y = blocks[i % 2](x)
            if float(nd.sum(y)) > -100:
                y = y * y
        return x, y

    def gradients(mode: str) -> list[Any]:
        for block in blocks:
            block.weight.zero_grad()
        with fold.batching(mode=mode):
            pairs = fold.map(program, range(4))
        for _, y in pairs:
            y.backward()
        return [x.grad.asnumpy() for x, _ in pairs] + [block.weight.grad().asnumpy() for block in blocks]

    close(gradients("on"), gradients("off"))


def test_two_losses_of_two_blocks(kind: str) -> None:
    """As in adversarial training: each pass leaves the gradients of the other block alone, though no array is a leaf,
    and calls of both share groups of a third.
    """
    first, second, third = Model().cell, Model().cell, Model().cell
    xs = inputs(4)

    def gradients(mode: str) -> list[Any]:
        found: list[Any] = []
        for block in (first, second, third):
            block.weight.zero_grad()
        with autograd.record(), fold.batching(mode=mode):
            losses = [nd.add_n(*fold.map(lambda x, block=block: nd.sum(third(block(x.detach()))), xs))
                      for block in (first, second)]
        for loss in losses:
            loss.backward()
            found += [block.weight.grad().asnumpy().copy() for block in (first, second, third)]
        return found

    close(gradients("on"), gradients("off"))


def test_modes_of_samples_do_not_mix(kind: str) -> None:
    drop = gluon.nn.Dropout(0.999)

    def program(i: int) -> float:
        x = nd.ones((1, 50))
        with autograd.pause() if i % 2 else autograd.train_mode():
            float(nd.sum(x))
            return float(nd.sum(drop(x)))

    with autograd.record():
        sums = fold.map(program, range(4))
    assert sums[1] == sums[3] == 50
    assert 50 not in (sums[0], sums[2])


@pytest.mark.parametrize("make", [autograd.record, autograd.pause, autograd.train_mode])
def test_one_scope_object_in_many_samples(kind: str, make: Callable[[], Any]) -> None:
    scope = make()

    def program(i: int) -> tuple[bool, bool, bool, bool]:
        with scope:
            inside = float(nd.ones((1,)) * i) == i and autograd.is_recording(), autograd.is_training()
            with scope:
                float(nd.ones((1,)) * 2)
        return *inside, autograd.is_recording(), autograd.is_training()

    assert fold.map(program, range(3)) == [program(i) for i in range(3)]


def test_a_shared_array_changes_between_two_reads(kind: str) -> None:
    """What samples share is not theirs alone while they wait: results are returned and added outside."""
    total = nd.zeros((1,))

    def program(i: int) -> Any:
        x = nd.ones((1,)) * i
        float(x)
        total[:] = total.asnumpy() + x.asnumpy()  # both are known: no wait between reading and writing
        return x

    assert float(nd.add_n(*fold.map(program, range(5)))) == 10
    assert float(total) == 10


# -- advice ------------------------------------------------------------------------------------------------------------
def lonely(i: int) -> int:
    """One sample reads fifty values, the others one."""
    x = nd.ones((1,)) * i
    for _ in range(50 if i == 0 else 1):
        x = x + float(x) * 0
    return int(x)


def test_narrow_flushes_are_worth_a_warning_once(kind: str) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            assert fold.map(lonely, range(6)) == list(range(6))  # one place
    assert len(seen) == 1
    assert seen[0].category is UserWarning
    assert "Give long samples first" in str(seen[0].message)
    assert seen[0].filename == __file__


def test_a_width_of_one_is_taken_at_its_word(kind: str) -> None:
    fold.map(lambda i: [float(nd.ones((1,)) * i) for _ in range(9)], range(5), width=1)  # warnings are errors here


def test_no_warning_where_samples_wait_together(kind: str) -> None:
    def program(i: int) -> None:
        for _ in range(40):
            float(nd.ones((1,)) * i)

    fold.map(program, range(5))  # warnings are errors here
    fold.map(program, range(1))
