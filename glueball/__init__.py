"""Glueball: Gluon, made new, on PyTorch's kernels.

    import glueball as mx
    from glueball import autograd, gluon, nd

The one idea: every module is imported when it is first used, so that `import glueball` and `glueball --help` take
milliseconds; torch comes with the first array.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import autograd, base, ndarray
    from . import ndarray as nd
    from .base import context, errors
    from .base.context import Context, cpu, cpu_pinned, cpu_shared, current_context, gpu, gpu_memory_info, num_gpus
    from .base.errors import GlueballError, MXNetError
    from .base.naming import AttrScope

__all__ = ["AttrScope", "Context", "GlueballError", "MXNetError", "autograd", "base", "context", "cpu", "cpu_pinned",
           "cpu_shared", "current_context", "errors", "gpu", "gpu_memory_info", "nd", "ndarray", "num_gpus"]
__version__ = "0.1.0"

# public name -> module below this package that holds it
_LAZY = {
    "symbol": "symbol", "sym": "symbol", "gluon": "gluon", "initializer": "initializer", "init": "initializer",
    "optimizer": "optimizer", "opt": "optimizer", "lr_scheduler": "lr_scheduler", "metric": "metric",
    "kvstore": "kvstore", "kv": "kvstore", "callback": "callback", "random": "random", "rnd": "random",
    "image": "image", "img": "image", "io": "io", "recordio": "recordio", "profiler": "profiler",
    "visualization": "visualization", "viz": "visualization", "test_utils": "test_utils", "model": "model",
    "executor": "executor", "operator": "operator", "contrib": "contrib", "name": "name", "attribute": "attribute",
    "runtime": "runtime", "util": "util", "engine": "engine", "monitor": "monitor", "mon": "monitor", "rnn": "rnn",
    "log": "log", "registry": "registry", "compat": "compat", "ops": "ops", "fold": "fold",
    "onnx": "onnx", "nd": "ndarray", "ndarray": "ndarray", "autograd": "autograd", "base": "base",
    "context": "base.context", "errors": "base.errors",
}

# public name -> module that defines it
_FROM = {
    **dict.fromkeys(("Context", "cpu", "cpu_pinned", "cpu_shared", "current_context", "gpu", "gpu_memory_info",
                     "num_gpus"), "base.context"),
    "GlueballError": "base.errors", "MXNetError": "base.errors", "AttrScope": "base.naming",
}

_UTIL = ("is_np_array", "is_np_shape", "np_array", "np_shape", "set_np_shape", "use_np", "use_np_array", "use_np_shape")


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if name in _FROM:
        found = getattr(importlib.import_module(f"{__name__}.{_FROM[name]}"), name)
        globals()[name] = found
        return found
    if name in _UTIL:
        from . import util
        return getattr(util, name)
    if module is None:
        from .base.registry import closest
        raise AttributeError(f"glueball has no attribute {name!r}; "
                             f"{closest(name, [*_LAZY, *_FROM])}")
    try:
        found = importlib.import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{module}":
            raise
        raise AttributeError(f"glueball has no module {name!r}; docs/coverage.md lists what there is") from None
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_FROM, *_UTIL})
