"""mx.contrib: mixed precision (`amp`), a loader as an iterator (`io`), ONNX by its old names (`onnx`), and the old
paths of nd.contrib and sym.contrib.

The one idea: each module is imported when it is first used; a name that 1.9.1 had and Glueball has not says why.
"""

from __future__ import annotations

import importlib
from typing import Any

from ..base.registry import closest

__all__ = ["amp", "io", "nd", "ndarray", "onnx", "sym", "symbol"]

_ELSEWHERE = {
    "nd": "ndarray.contrib",
    "ndarray": "ndarray.contrib",
    "sym": "symbol.contrib",
    "symbol": "symbol.contrib",
}
_ABSENT = {
    "onnx2mx": "use glueball.contrib.onnx: import_model, import_to_gluon and get_model_metadata",
    "quantization": "8-bit quantisation is outside of this version; net.cast('bfloat16') halves the memory",
    "tensorboard": "write scalars with torch.utils.tensorboard.SummaryWriter",
    "tensorrt": "TensorRT is outside of this version; hybridize() compiles on the device",
    "text": "use gluon.data.text, or collections.Counter and nd.Embedding",
    "autograd": "use glueball.autograd",
}


def __getattr__(name: str) -> Any:
    if name in ("amp", "io", "onnx"):
        return importlib.import_module(f"{__name__}.{name}")
    if name in _ELSEWHERE:
        package = importlib.import_module(__name__.rpartition(".")[0])
        parent, _, child = _ELSEWHERE[name].partition(".")
        return getattr(getattr(package, parent), child)
    if name in _ABSENT:
        raise AttributeError(f"glueball.contrib.{name} does not exist: {_ABSENT[name]}")
    raise AttributeError(f"glueball.contrib has no attribute {name!r}; {closest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
