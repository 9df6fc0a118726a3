"""What programs import from `mxnet.base` and `mxnet.error`: the error class and the type tuples. Nothing of the C++
library.

Our own foundation is the package glueball/base; this file only gives its things the names that 1.9.1 used.
"""

from __future__ import annotations

import numpy as np

from ..base.errors import MXNetError

__all__ = ["MXNetError", "integer_types", "mx_real_t", "numeric_types", "py_str", "string_types"]

integer_types = (int, np.int32, np.int64)
numeric_types = (float, int, np.generic)
string_types = (str,)
mx_real_t = np.float32


def py_str(text: bytes | str) -> str:
    """Return text as `str`; bytes are decoded as UTF-8.

    >>> py_str(b"conv0")
    'conv0'
    """
    return text.decode("utf-8") if isinstance(text, bytes) else text


def _as_list(value: object) -> list[object]:  # pyright: ignore[reportUnusedFunction] - programs import it
    """Return a list or tuple as a list, anything else as a list of one. (Underscored in 1.9.1 as well, and imported by
    programs.)
    """
    return list(value) if isinstance(value, (list, tuple)) else [value]
