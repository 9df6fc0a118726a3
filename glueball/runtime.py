"""mx.runtime: what this installation can do, under the names of 1.9.1's build features.

The one idea: a feature is on when the user would notice: CUDA when a GPU is there, OPENCV when images can be decoded.
Libraries that Glueball does not use itself (MKLDNN, TVM, TensorRT) are off.

>>> Features().is_enabled("LAPACK")
True
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import NamedTuple

from .base.context import num_gpus
from .base.errors import ArgumentError, explain
from .base.registry import closest

__all__ = ["Feature", "Features", "feature_list"]

_ALWAYS = ("OPENMP", "LAPACK", "PROFILER", "INT64_TENSOR_SIZE")
_WITH_GPU = ("CUDA", "CUDNN", "CUDA_RTC")
_OF_CPU = {  # feature: flag in Linux's list of what the processor can
    "CPU_SSE": "sse", "CPU_SSE2": "sse2", "CPU_SSE3": "pni", "CPU_SSE4_1": "sse4_1", "CPU_SSE4_2": "sse4_2",
    "CPU_SSE4A": "sse4a", "CPU_AVX": "avx", "CPU_AVX2": "avx2", "SSE": "sse", "F16C": "f16c",
}  # fmt: skip
_NEVER = ("NCCL", "TENSORRT", "JEMALLOC", "BLAS_OPEN", "BLAS_ATLAS", "BLAS_MKL", "BLAS_APPLE", "MKLDNN", "CAFFE",
          "DIST_KVSTORE", "CXX14", "SIGNAL_HANDLER", "DEBUG", "TVM_OP")  # fmt: skip


class Feature(NamedTuple):
    """One feature: its name, and whether it is there."""

    name: str
    enabled: bool

    def __repr__(self) -> str:
        return f"{'✔' if self.enabled else '✖'} {self.name}"


@functools.cache
def _cpu_flags() -> frozenset[str]:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())


def feature_list() -> list[Feature]:
    """Return all features."""
    images = any(importlib.util.find_spec(name) for name in ("PIL", "cv2"))
    found = {**dict.fromkeys(_WITH_GPU, num_gpus() > 0), **{k: flag in _cpu_flags() for k, flag in _OF_CPU.items()}}
    found |= {**dict.fromkeys(_ALWAYS, True), "OPENCV": images, **dict.fromkeys(_NEVER, False)}
    return [Feature(name, enabled) for name, enabled in found.items()]


class Features(dict[str, Feature]):
    """The features by name."""

    def __init__(self) -> None:
        super().__init__((feature.name, feature) for feature in feature_list())

    def __repr__(self) -> str:
        return str(list(self.values()))

    def is_enabled(self, feature_name: str) -> bool:
        """Return whether a feature is there; names in any case.

        Raises
        ------
        ArgumentError
            For a name that 1.9.1 does not know.
        """
        feature = self.get(feature_name.upper())
        if feature is None:
            raise ArgumentError(explain("Features.is_enabled", f"Feature {feature_name!r} is unknown.",
                                        fix=closest(feature_name.upper(), list(self))))  # fmt: skip
        return feature.enabled
