"""Is the file right? ONNX's own checker, then the numbers under onnxruntime beside the network's.

The one idea: an export that computes something else is worse than none, so it is run before anybody relies on it: with
the sample inputs and, when the batch size is open, with another batch as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx

from ..base.errors import MXNetError, UnsupportedError, explain

__all__ = ["ExportError", "Source", "compare", "inexpressible", "load", "run", "structure"]

Source: TypeAlias = bytes | str  # a model's bytes, or the path of one (whose weights may lie beside it)
Origins: TypeAlias = Mapping[str, str]  # an operator of ours and the user's line, by the name of an ONNX node

_ROUNDING = {"float16": 2e-2, "bfloat16": 1e-1, "float64": 1e-6}  # of the largest number of a result; float32 below
_DEFAULT_ROUNDING = 1e-4


class ExportError(MXNetError):
    """The written network does not compute what the original does."""


def inexpressible(operators: Sequence[str], fix: str) -> UnsupportedError:
    """Return the error about operators that are no ONNX, each with the user's line and the reason."""
    listed = "\n  ".join(dict.fromkeys(operators))
    return UnsupportedError(explain("export to ONNX", f"These operators cannot be expressed:\n  {listed}", fix=fix))


def structure(model: Source, origins: Origins | None = None) -> None:
    """Ask ONNX's checker. What it says about a node is told of the operator of ours that became it (see `lower`)."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        text, made = str(error), _origin(str(error), origins)
        kind = re.search(r"op_type:(\w+).*unsupported type: tensor\((\w+)\)", text)
        if kind is not None and made:
            raise inexpressible([f"{made}: ONNX's {kind[1]} does not take {kind[2]}"],
                                "x.astype('float32') before it") from error
        raise ExportError(explain("export to ONNX", f"ONNX's checker refuses {made or 'the model'}.", received=text,
                                  fix="please report this with the network")) from error


def _origin(text: str, origins: Origins | None) -> str:
    """What became the node that a message names; nothing where it names none."""
    named = re.search(r"node name: ([^)]+)\)|with name '([^']+)'|Name:'([^']+)'", text)
    return "" if named is None else (origins or {}).get(named[named.lastindex or 0], "")


def load(model: Source, origins: Origins | None = None) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """Return a function that runs a model under onnxruntime on the CPU; inputs that it does not read are left out."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings about constants it folds are no news
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this
        raise _refused("load", error, origins) from error
    wanted = {one.name for one in session.get_inputs()}

    def answer(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            found = session.run(None, {name: array for name, array in feeds.items() if name in wanted})
        except Exception as error:
            raise _refused("run", error, origins) from error
        return [np.asarray(one) for one in found]

    return answer


def _refused(what: str, error: Exception, origins: Origins | None) -> ExportError:
    made = _origin(str(error), origins)
    if "NOT_IMPLEMENTED" in str(error):
        return ExportError(explain("export to ONNX", f"onnxruntime has no kernel for {made or 'a part of the model'}.",
                                   received=str(error),
                                   fix="net.cast('float32') before the export; or check=False for runtimes that do"))
    return ExportError(explain("export to ONNX", f"onnxruntime does not {what} {made or 'the model'}.",
                               received=str(error),
                               fix="please report this with the network; check=False writes the file all the same, "
                                   "for runtimes that do"))


def run(model: Source, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Run a model once."""
    return load(model)(feeds)


def compare(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], names: Sequence[str], dtypes: Sequence[str],
            what: str) -> float:
    """Return the largest difference as a share of a result's largest number; ExportError where it is too large."""
    worst = 0.0
    for ours, theirs, name, kind in zip(found, expected, names, dtypes):
        if ours.shape != theirs.shape:
            raise ExportError(explain("export to ONNX", f"{name} has another shape under onnxruntime {what}.",
                                      expected=theirs.shape, received=ours.shape,
                                      fix="export with dynamic_batch=False, or report this with the network"))
        if ours.dtype != theirs.dtype and kind != "bfloat16":  # which comes as float32 numbers
            raise ExportError(explain("export to ONNX", f"{name} has another element type under onnxruntime {what}.",
                                      expected=theirs.dtype, received=ours.dtype,
                                      fix="please report this with the network"))
        if not theirs.size:
            continue
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        if same.all():
            continue
        scale = max(1.0, float(np.max(np.abs(b), where=np.isfinite(b), initial=0.0)))
        with np.errstate(invalid="ignore"):
            gap = float(np.max(np.where(same, 0.0, np.abs(a - b)))) / scale
        allowed = _ROUNDING.get(kind, _DEFAULT_ROUNDING)
        if math.isnan(gap) or gap > allowed:
            raise ExportError(explain("export to ONNX", f"{name} differs under onnxruntime {what}.",
                                      expected=f"at most {allowed:g} of its largest number {scale:.3g}",
                                      received=f"{gap:.3g}",
                                      fix="please report this with the network; check=False writes the file "
                                          "all the same"))
        worst = max(worst, gap)
    return worst
