"""What the compatibility door knows about names, as data: no code decides anything here.

ALIASES   modules whose path in 1.9.1 differs from ours. A key also covers what lies below it.
ABSENT    modules of 1.9.1 that Glueball does not have, each with the reason and what to use instead.
HOMES     modules of ours that hold less than 1.9.1's of the same path, and the package that has the rest.
SHORT_NAMES   their short names.
The finder that reads these tables is door.py. Single operators and their state are in docs/coverage.md.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ABSENT", "ALIASES", "COMPATIBLE_VERSION", "HOMES", "SHORT_NAMES"]

COMPATIBLE_VERSION: Final = "1.9.1"
"""The version whose interface the door offers, and what `mxnet.__version__` says."""

ALIASES: Final[dict[str, tuple[str, ...]]] = {
    # 1.9.1's module            candidates of ours, the first that exists is taken
    "mxnet.base": ("glueball.compat.base",),
    "mxnet.context": ("glueball.base.context",),
    "mxnet.libinfo": ("glueball.compat.libinfo",),
    "mxnet.ndarray.ndarray": ("glueball.ndarray.ndarray", "glueball.ndarray"),
    "mxnet.ndarray.op": ("glueball.ndarray",),
    "mxnet.ndarray.utils": ("glueball.ndarray",),
    "mxnet.ndarray._internal": ("glueball.ndarray._internal", "glueball.ndarray"),
    "mxnet.symbol.symbol": ("glueball.symbol.symbol", "glueball.symbol"),
    "mxnet.symbol.op": ("glueball.symbol",),
    "mxnet.symbol._internal": ("glueball.symbol._internal", "glueball.symbol"),
    "mxnet.optimizer.optimizer": ("glueball.optimizer.optimizer", "glueball.optimizer"),
    "mxnet.kvstore.kvstore": ("glueball.kvstore.kvstore", "glueball.kvstore"),
    "mxnet.kvstore.base": ("glueball.kvstore.base", "glueball.kvstore"),
    "mxnet.io.io": ("glueball.io",),
    "mxnet.io.utils": ("glueball.io",),
    "mxnet.image.image": ("glueball.image",),
    "mxnet.image.detection": ("glueball.image",),
    "mxnet.gluon.nn.basic_layers": ("glueball.gluon.nn.basic_layers", "glueball.gluon.nn"),
    "mxnet.gluon.nn.conv_layers": ("glueball.gluon.nn.conv_layers", "glueball.gluon.nn"),
    "mxnet.gluon.nn.activations": ("glueball.gluon.nn.activations", "glueball.gluon.nn"),
    "mxnet.gluon.rnn.rnn_cell": ("glueball.gluon.rnn.rnn_cell", "glueball.gluon.rnn"),
    "mxnet.gluon.rnn.rnn_layer": ("glueball.gluon.rnn.rnn_layer", "glueball.gluon.rnn"),
    "mxnet.gluon.data.dataset": ("glueball.gluon.data.dataset", "glueball.gluon.data"),
    "mxnet.gluon.data.sampler": ("glueball.gluon.data.sampler", "glueball.gluon.data"),
    "mxnet.gluon.data.dataloader": ("glueball.gluon.data.dataloader", "glueball.gluon.data"),
    "mxnet.gluon.data.vision.datasets": ("glueball.gluon.data.vision.datasets", "glueball.gluon.data.vision"),
    "mxnet.error": ("glueball.compat.base",),
    "mxnet.img": ("glueball.image",),
}

HOMES: Final[dict[str, str]] = {
    # `from mxnet.gluon.block import HybridBlock`: our gluon/block.py has Block, and glueball.gluon both
    "glueball.gluon.block": "glueball.gluon",
    "glueball.gluon.parameter": "glueball.gluon",
    "glueball.gluon.data.vision.datasets": "glueball.gluon.data.vision",
    "glueball.ndarray.ndarray": "glueball.ndarray",
    "glueball.optimizer.optimizer": "glueball.optimizer",
    "glueball.symbol.symbol": "glueball.symbol",
}

SHORT_NAMES: Final = {"mod": "module", "np": "numpy", "npx": "numpy_extension", "th": "torch"}
"""Short names of modules that are absent, as attributes of the top module."""

_NUMPY = "the NumPy-like arrays of 1.6 and later are not part of Glueball; use mx.nd, or NumPy itself"
_NATIVE = "it binds to the C++ library of MXNet, which Glueball does not have"

ABSENT: Final[dict[str, str]] = {
    "mxnet.numpy": _NUMPY,
    "mxnet.numpy_extension": _NUMPY,
    "mxnet.numpy_dispatch_protocol": _NUMPY,
    "mxnet.numpy_op_fallback": _NUMPY,
    "mxnet.numpy_op_signature": _NUMPY,
    "mxnet.symbol.numpy": _NUMPY,
    "mxnet.ndarray.numpy": _NUMPY,
    "mxnet._ctypes": _NATIVE,
    "mxnet._ffi": _NATIVE,
    "mxnet._cy3": _NATIVE,
    "mxnet.cython": _NATIVE,
    "mxnet.api": _NATIVE,
    "mxnet._api_internal": _NATIVE,
    "mxnet.library": f"{_NATIVE}; define an operator in Python with autograd.Function",
    "mxnet.rtc": "it compiles CUDA source at run time; use torch's own extension tools on x.to_torch()",
    "mxnet.tvmop": "it needs a TVM build of MXNet",
    "mxnet.torch": "it bound to Lua Torch; nd.from_torch(t) and x.to_torch() share memory with PyTorch",
    "mxnet.th": "it bound to Lua Torch; nd.from_torch(t) and x.to_torch() share memory with PyTorch",
    "mxnet.notebook": "it drew live plots with a removed version of bokeh; use callback functions and matplotlib",
    "mxnet.module": "the Module interface is deprecated since 1.5; use gluon.Trainer, or Symbol.bind for plain graphs",
    "mxnet.model": "the FeedForward interface is deprecated; use gluon.Trainer, and SymbolBlock.imports for files",
    "mxnet.executor_manager": "it served the Module interface; use gluon.utils.split_and_load and gluon.Trainer",
    "mxnet.rnn": "the symbolic cells are deprecated since 1.4; gluon.rnn has the same cells",
    "mxnet.contrib.onnx.onnx2mx": "mxnet.contrib.onnx has import_model, import_to_gluon and get_model_metadata",
    "mxnet.contrib.onnx.mx2onnx": "mxnet.contrib.onnx has export_model",
    "mxnet.contrib.quantization": "8-bit quantisation is not part of this version",
    "mxnet.contrib.tensorboard": "use torch.utils.tensorboard.SummaryWriter, which takes plain numbers",
    "mxnet.contrib.svrg_optimization": "it is a subclass of the deprecated Module interface",
}
