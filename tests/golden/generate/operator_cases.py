"""The language in which operator cases are written, and the loop that runs them through the oracle.

`case("dot", [f(2, 3), f(3, 4)], transpose_a=False)`: an operator's path below `mx.nd`, its inputs as recipes
(functions of a random generator), its attributes. `run(topic, list_of_cases)` calls it under `record()`, sends random
head gradients back and stores inputs, outputs, gradients, and inputs that the call changed (running statistics,
optimiser states). What the oracle refuses is stored as refused, with the class of the exception.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mxnet as mx
import numpy
from store import Store, random_for

Recipe = Callable[[numpy.random.RandomState], numpy.ndarray]


def f(*shape: int, dtype: str = "float32", scale: float = 1.0, shift: float = 0.0) -> Recipe:
    """Normal numbers."""
    return lambda random: (random.standard_normal(shape) * scale + shift).astype(dtype)


def u(low: float, high: float, *shape: int, dtype: str = "float32") -> Recipe:
    """Uniform numbers."""
    return lambda random: random.uniform(low, high, shape).astype(dtype)


def i(high: int, *shape: int, dtype: str = "float32", low: int = 0) -> Recipe:
    """Whole numbers below `high`."""
    return lambda random: random.randint(low, high, shape).astype(dtype)


def distinct(*shape: int, dtype: str = "float32") -> Recipe:
    """Numbers without ties, in random order."""
    size = int(numpy.prod(shape))
    return lambda random: ((random.permutation(size) - size / 3) / 4).reshape(shape).astype(dtype)


def d(values: Any, dtype: str = "float32") -> Recipe:
    """Exactly these values."""
    return lambda random: numpy.asarray(values, dtype=dtype)


def boxes(*shape: int) -> Recipe:
    """Corner boxes (x0, y0, x1, y1) within the unit square, x0 < x1."""

    def make(random: numpy.random.RandomState) -> numpy.ndarray:
        low = random.uniform(0, 0.6, shape + (2,))
        return numpy.concatenate([low, low + random.uniform(0.1, 0.4, shape + (2,))], -1).astype("float32")

    return make


def spd(*shape: int, dtype: str = "float64") -> Recipe:
    """Symmetric positive definite matrices; `shape` ends with (n, n)."""

    def make(random: numpy.random.RandomState) -> numpy.ndarray:
        base = random.standard_normal(shape)
        return (base @ numpy.swapaxes(base, -1, -2) + shape[-1] * numpy.eye(shape[-1])).astype(dtype)

    return make


def case(
    op: str,
    inputs: list[Recipe],
    _train: bool = True,
    _grad: Any = "auto",
    _listed: bool = False,
    _out: list[int] | None = None,
    **attrs: Any,
) -> dict[str, Any]:
    """One call. `_grad`: "auto" = every floating input, or positions, or None (then nothing is recorded).

    `_listed`: the inputs go as one list. `_out`: positions of the inputs given as `out=`.
    """
    return {"op": op, "inputs": inputs, "train": _train, "grad": _grad, "listed": _listed, "out": _out, "attrs": attrs}


def _resolve(path: str, space: Any = None) -> Callable[..., Any]:
    found: Any = space or mx.nd
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _positions(spec: dict[str, Any], inputs: list[mx.nd.NDArray]) -> list[int]:
    if spec["grad"] is None:
        return []
    floating = [k for k, x in enumerate(inputs) if numpy.dtype(x.dtype).kind == "f"]
    return floating if spec["grad"] == "auto" else list(spec["grad"])


def _gradients(
    record: dict[str, Any],
    outputs: list[Any],
    inputs: list[Any],
    wanted: list[int],
    random: numpy.random.RandomState,
    store: Store,
) -> None:
    heads = [
        random.standard_normal(y.shape).astype(y.dtype) if numpy.dtype(y.dtype).kind == "f" else None for y in outputs
    ]
    used = [(y, mx.nd.array(h, dtype=y.dtype)) for y, h in zip(outputs, heads) if h is not None]
    if not used or not wanted:
        return
    try:
        mx.autograd.backward([y for y, _ in used], [h for _, h in used], train_mode=record["train"])
        record["heads"] = store.tree(heads)
        record["grads"] = [store.array(x.grad) if k in wanted else None for k, x in enumerate(inputs)]
    except mx.base.MXNetError as error:  # the oracle may define no gradient: that is a fact too
        record["gradient_refused"] = type(error).__name__
        clear_errors()


def clear_errors() -> None:
    """The oracle reports some errors late; wait so that none is charged to the next case."""
    try:
        mx.nd.waitall()
    except Exception:
        pass


def run_case(name: str, spec: dict[str, Any], store: Store) -> None:
    random = random_for(name)
    raw = [recipe(random) for recipe in spec["inputs"]]
    record: dict[str, Any] = {
        "id": name,
        "op": spec["op"],
        "train": spec["train"],
        "attrs": spec["attrs"],
        "inputs": store.tree(raw),
    }
    try:
        _resolve(spec["op"], mx.sym)
        record["symbolic"] = not (spec["listed"] or spec["out"])
    except AttributeError:
        record["symbolic"] = False
    if spec["listed"]:
        record["listed"] = True
    if spec["out"]:
        record["out"] = spec["out"]
    try:
        inputs = [mx.nd.array(x, dtype=x.dtype) for x in raw]
        wanted = _positions(spec, inputs)
        for k in wanted:
            inputs[k].attach_grad()
        args = (inputs,) if spec["listed"] else tuple(inputs)
        more = {"out": [inputs[k] for k in spec["out"]]} if spec["out"] else {}
        mode = mx.autograd.train_mode if spec["train"] else mx.autograd.predict_mode
        with mx.autograd.record(train_mode=spec["train"]) if wanted else mode():
            result = _resolve(spec["op"])(*args, **spec["attrs"], **more)
        outputs = list(result) if isinstance(result, (list, tuple)) else [result]
        record["many"] = isinstance(result, (list, tuple))
        record["outputs"] = store.tree([y.asnumpy() for y in outputs])
        _gradients(record, outputs, inputs, wanted, random, store)
        after = [x.asnumpy() for x in inputs]
        changed = {
            str(k): store.array(x)
            for k, (x, old) in enumerate(zip(after, raw))
            if not numpy.array_equal(x, old, equal_nan=x.dtype.kind == "f")
        }
        if changed:
            record["inputs_after"] = changed
    except Exception as error:
        record["refused"] = type(error).__name__
        clear_errors()
    store.add(**record)


def run(topic: str, cases: list[dict[str, Any]]) -> None:
    """Run all cases and write the topic; ids are the operator's path and a number."""
    store = Store(topic)
    counts: dict[str, int] = {}
    for spec in cases:
        number = counts.get(spec["op"], 0)
        counts[spec["op"]] = number + 1
        run_case(f"{spec['op']}-{number}", spec, store)
    mx.nd.waitall()
    store.write()
