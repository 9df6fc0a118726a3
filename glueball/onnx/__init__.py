"""ONNX: what is trained here runs anywhere.

    net.export("model", format="onnx")     one self-contained file, checked under onnxruntime before it is written
    glueball.onnx.export_model(symbol, params, in_shapes)      the same for a symbol and its parameters, or their files

`export.py` goes from a graph to a file: `sizes.py` (open batch), `lowering.py` (the walk), `rules/` (operator by
operator), `writer.py` (nodes and weights), `verify.py` (is it right?). Nothing here is imported unless it is used,
for the package `onnx` is an extra: pip install glueball[onnx].
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..base.errors import UnsupportedError, explain

if TYPE_CHECKING:
    from .export import Trial, export_model, plan_of, write
    from .verify import ExportError

__all__ = ["ExportError", "Trial", "export_model", "plan_of", "write"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    missing = [package for package in ("onnx", "onnxruntime") if find_spec(package) is None]
    if missing:
        raise UnsupportedError(explain("glueball.onnx", f"The package {' and '.join(missing)} is not installed.",
                                       fix="pip install 'glueball[onnx]'"))
    return getattr(import_module(".verify" if name == "ExportError" else ".export", __name__), name)
