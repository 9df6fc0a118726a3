"""ONNX: what is trained here runs anywhere.

    net.export("model", format="onnx")     one self-contained file, checked under onnxruntime before it is written
    glueball.onnx.export_model(symbol, params, in_shapes)      the same for a symbol and its parameters, or their files
    glueball.onnx.import_model("model.onnx")                   a block that runs, trains and is exported again

`export.py` goes from a graph to a file: `sizes.py` (open batch), `lowering.py` (the walk), `rules/` (operator by
operator), `writer.py` (nodes and weights), `verify.py` (is it right?). `read/` goes the other way, to a graph; the
block around it is gluon/onnx_block.py, and `backend.py` shows that block to ONNX's own tools. Nothing here is imported
unless it is used, for the package `onnx` is an extra: pip install glueball[onnx].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..base.errors import UnsupportedError, explain

if TYPE_CHECKING:
    from .export import Trial, export_model, plan_of, write
    from .verify import ExportError

__all__ = ["ExportError", "Trial", "export_model", "import_model", "plan_of", "write"]

_LAZY = ("ExportError", "Trial", "export_model", "plan_of", "write")


def import_model(source: Any, shapes: Mapping[str, Sequence[int | str]] | None = None, ctx: Any = None) -> Any:
    """Return an ONNX model as a block that runs, trains, hybridizes and is exported again.

    Weights become parameters under their own names. Running means and variances are auxiliary states; in train mode
    BatchNorm uses the statistics of the batch. Sizes that the model leaves open stay open.

    Parameters
    ----------
    source : str, os.PathLike, bytes or onnx.ModelProto
        The model, of an operator set from 1 to 28. Weights in files beside it are found from its path.
    shapes : dict of str to tuple, optional
        Other shapes of inputs than the model declares; a text stands for an open size:
        ``{"data": ("batch", 3, 224, 224)}``.
    ctx : Context, optional
        Where the parameters are made.

    Returns
    -------
    gluon.SymbolBlock
        Called with the model's inputs, in its order.

    Raises
    ------
    FileFormatError
        A file that is no ONNX model, is damaged, or names files outside of its directory.
    UnsupportedError
        Operators that are not read: one error names them all. Or onnx is not installed.

    >>> import onnx
    >>> from onnx import helper
    >>> x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2]) for name in "xy")
    >>> graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "small", [x], [y])
    >>> net = import_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    >>> from glueball import nd
    >>> net(nd.array([[1, -2]])).asnumpy().tolist()
    [[1.0, 0.0]]
    """
    _require("onnx")
    made = import_module("..gluon.onnx_block", __name__)  # by name: blocks stand above, and are loaded when used
    return made.block_of(source, shapes, ctx)


def _require(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UnsupportedError(explain("glueball.onnx", f"The package {' and '.join(missing)} is not installed.",
                                       fix="pip install 'glueball[onnx]'"))


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _require("onnx", "onnxruntime")
    return getattr(import_module(".verify" if name == "ExportError" else ".export", __name__), name)
