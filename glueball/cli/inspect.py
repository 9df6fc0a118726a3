"""`glueball inspect FILE`: what a file holds, from its headers; the readers are in formats/."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import Any

from .console import amount, count, existing, print_json, shape_of, table
from .formats import READERS, Array, Facts, facts_of

__all__ = ["EXAMPLES", "arguments", "run"]

EXAMPLES = f"""\
formats, told by their content: {', '.join(READERS.values())}

example:
  glueball inspect resnet-0000.params
  glueball inspect model.onnx --json"""
_SHOWN = 40


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", help=".params, -symbol.json, .safetensors, .onnx, .npz, .npy, .rec, .idx, .lst, .pt2")
    parser.add_argument("--params", metavar="FILE", help="the parameters of a -symbol.json; otherwise those beside it")
    parser.add_argument("--all", action="store_true", help=f"list everything, not the first {_SHOWN} of long lists")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with everything")


def run(options: argparse.Namespace) -> int:
    """Print what the file holds."""
    path = existing(options.file)
    if options.params:
        from .formats import symbol

        found = symbol.facts(path, existing(options.params, "file of parameters"))
    else:
        found = facts_of(path)
    if options.json:
        print_json(found.as_dict(path))
    else:
        print("\n".join(_lines(path, found, sys.maxsize if options.all else _SHOWN)))
    return 0


def _lines(path: str, found: Facts, limit: int) -> Iterator[str]:
    """Write the facts."""
    yield f"{path}: {_NAMES[found.format]}, {found.version}, {amount(os.path.getsize(path))}"
    for key, value in found.metadata.items():
        yield f"  {key}: {value if len(value) < 100 else value[:97] + '...'}"
    for key, value in found.numbers.items():
        yield f"  {key.replace('_', ' ')}: {_said(value)}"
    yield from _values("Inputs", found.inputs, limit)
    yield from _values("Outputs", found.outputs, limit)
    yield from _layers(found, limit)
    yield from _values("Parameters", found.parameters, limit)
    if found.parameters:
        known = [one for one in found.parameters if one.bytes is not None]
        numbers = sum(prod(one.shape) for one in known if one.shape is not None)
        total = f"{count(numbers, 'number')}, {amount(sum(one.bytes or 0 for one in known))}"
        yield f"\nTotal: {count(len(found.parameters), 'array')}, {total if known else 'sizes unknown'}"
    for note in found.notes:
        yield f"Note: {note}"


_NAMES = {"params": "parameters", "symbol": "graph", "safetensors": "safetensors", "onnx": "ONNX model",
          "npy": "NumPy array", "npz": "NumPy arrays", "rec": "records", "idx": "index of records",
          "lst": "list of images", "pt2": "program of torch.export"}


def _layers(found: Facts, limit: int) -> Iterator[str]:
    if not found.layers:
        return
    kinds = Counter(one.operator for one in found.layers).most_common()
    yield f"\nLayers: {len(found.layers)} ({', '.join(f'{many} {kind}' for kind, many in kinds)})"
    shown = found.layers[:limit]
    shapes = any(one.shape is not None for one in shown)
    heads = ["name", "operator", *(["output"] if shapes else []), "reads"]
    yield table([[one.name, one.operator, *([shape_of(one.shape)] if shapes else []), _short(one.inputs)]
                 for one in shown], heads)
    yield from _more(found.layers, shown)


def _values(title: str, arrays: list[Array], limit: int) -> Iterator[str]:
    if not arrays:
        return
    shown = arrays[:limit]
    yield f"\n{title}: {len(arrays)}"
    sized = any(one.bytes is not None for one in shown)
    yield table([[one.name, shape_of(one.shape), one.dtype or "?",
                  *([amount(one.bytes) if one.bytes is not None else "?"] if sized else [])] for one in shown],
                ["name", "shape", "dtype", *(["size"] if sized else [])], right=["size"])
    yield from _more(arrays, shown)


def _more(everything: list[Any], shown: list[Any]) -> Iterator[str]:
    if len(everything) > len(shown):
        yield f"  ... and {len(everything) - len(shown):,} more (--all, --json)"


def _short(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])}, ... ({len(names)})"


def _said(value: Any) -> str:
    """Write a number, a list of them, or a small dictionary."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return f"{value:,.10g}" if isinstance(value, (int, float)) else str("none" if value is None else value)
