"""What programs import from `mxnet.libinfo`: the version. There is no shared library to find, and `find_lib_path` says
so.
"""

from __future__ import annotations

from ..base.errors import MXNetError, explain
from .names import COMPATIBLE_VERSION

__all__ = ["__version__", "find_lib_path"]

__version__ = COMPATIBLE_VERSION


def find_lib_path(prefix: str = "libmxnet") -> list[str]:
    """Raise MXNetError: Glueball is Python on PyTorch's kernels and brings no library of its own."""
    raise MXNetError(
        explain(
            "libinfo.find_lib_path",
            f"There is no {prefix}: Glueball has no shared library of its own.",
            fix="Ask glueball.runtime.Features() what is available.",
        )
    )
