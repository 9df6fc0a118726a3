"""What torch was built with, under the names of 1.9.1's features; `glueball.runtime` shows it to users."""

from __future__ import annotations

import torch

from .context import num_gpus

__all__ = ["torch_features"]


def torch_features() -> dict[str, bool]:
    """Return feature names and whether torch has them on this machine."""
    capability = torch.backends.cpu.get_cpu_capability()
    gpu = num_gpus() > 0
    return {
        "CUDA": gpu,
        "CUDNN": gpu and torch.backends.cudnn.is_available(),
        "NCCL": torch.distributed.is_available() and torch.distributed.is_nccl_available(),
        "CPU_AVX": "AVX" in capability,
        "CPU_AVX2": "AVX" in capability,
        "OPENMP": torch.backends.openmp.is_available(),
        "BLAS_MKL": torch.backends.mkl.is_available(),
        "MKLDNN": torch.backends.mkldnn.is_available(),
        "LAPACK": True,
    }
