"""`nd`: arrays and the operators on them.

Public names are MXNet's. NDArray is in ndarray.py, creation in creation.py; operators come from the table, each
function generated at its first use (generate.py), so that import stays quick. `nd.linalg`, `nd.contrib`, `nd.image`,
`nd.op` are filled from the same table by the prefix of the operator's name (namespace.py).
"""
from __future__ import annotations

from typing import Any

from . import arithmetic, creation, generate, namespace
from .arithmetic import histogram, split_v2
from .creation import *
from .ndarray import NDArray, from_torch, to_array
from .serialize import load, load_frombuffer, save

float32, float64, float16, int32, int64, int8, uint8 = (
    "float32",
    "float64",
    "float16",
    "int32",
    "int64",
    "int8",
    "uint8",
)


arithmetic.install(globals())


def _build(op: Any, public: str, label: str) -> Any:
    return generate.build_function(op, public, NDArray, f"nd.{label}")


def cast_storage(data: NDArray, stype: str) -> Any:
    """Return the array in another storage type: 'default', 'csr' or 'row_sparse' (see nd.sparse)."""
    return data.tostype(stype)


__getattr__, __dir__ = namespace.install(__name__, _build)
namespace.install_methods(NDArray, lambda op, public: generate.build_method(op, public, NDArray))
namespace.complete(__name__, _build)
