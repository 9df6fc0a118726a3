"""Builds and calls Gluon blocks from plain data, for the oracle and for Glueball alike.

A specification is ``{"layer": "nn.Dense", "args": [...], "kwargs": {...}, "children": [...]}``; wherever an argument is
itself a specification it is built first. `gluon` is the module to take the classes from, so this file imports none.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy


def _argument(gluon: Any, value: Any) -> Any:
    if isinstance(value, dict) and "layer" in value:
        return build(gluon, value)
    return tuple(value) if isinstance(value, list) else value


def build(gluon: Any, spec: dict[str, Any]) -> Any:
    """The block that a specification describes."""
    found: Any = gluon
    for part in spec["layer"].split("."):
        found = getattr(found, part)
    args = [_argument(gluon, value) for value in spec.get("args", [])]
    kwargs = {key: _argument(gluon, value) for key, value in spec.get("kwargs", {}).items()}
    block = found(*args, **kwargs)
    for child in spec.get("children", []):
        block.add(build(gluon, child))
    return block


def flatten(value: Any) -> list[Any]:
    """The arrays of nested lists and tuples, from left to right."""
    if isinstance(value, (list, tuple)):
        return [item for part in value for item in flatten(part)]
    return [value]


def call(block: Any, inputs: list[Any], how: dict[str, Any]) -> list[Any]:
    """Call a block as the case says: plainly, with states (`how["states"]`), or unrolled (`how["unroll"]`)."""
    if "unroll" in how:
        block.reset()
        options = dict(how["unroll"])
        if options.pop("with_valid_length", False):
            options["valid_length"] = inputs[-1]
        return flatten(block.unroll(inputs=inputs[0], **options))
    if how.get("states"):
        if hasattr(block, "reset"):
            block.reset()
        states = list(inputs[1:])
        return flatten(block(inputs[0], states))
    return flatten(block(*inputs))


def formula(name: str, shape: tuple[int, ...]) -> numpy.ndarray:
    """A parameter's value from its structural name alone, so that large networks need no stored weights."""
    values = numpy.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF).standard_normal(shape)
    if name.endswith(("gamma", "running_var")):
        return (1 + 0.1 * numpy.abs(values)).astype("float32")
    if name.endswith(("beta", "bias", "running_mean")):
        return (0.1 * values).astype("float32")
    fan_in = int(numpy.prod(shape[1:])) if len(shape) > 1 else shape[0]
    return (values * (1.5 / fan_in) ** 0.5).astype("float32")


def picture(name: str, size: int) -> numpy.ndarray:
    """A made-up batch of images, shape (batch, 3, size, size), from the network's name alone."""
    batch = 4 if size <= 64 else 1
    random = numpy.random.RandomState(zlib.crc32(f"picture {name}".encode()) & 0xFFFFFFFF)
    return random.standard_normal((batch, 3, size, size)).astype("float32")
