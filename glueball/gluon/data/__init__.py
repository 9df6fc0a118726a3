"""gluon.data: data sets, samplers and the loader that turns them into batches.

Read in this order: dataset.py (what a data set is), sampler.py (in which order), batchify.py (from samples to a
batch), dataloader.py (the loop), workers.py and transport.py (its processes). vision/ has images, text.py and
series.py two small real data sets.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import batchify, dataloader, dataset, sampler, series, text
from .batchify import default_batchify_fn, default_mp_batchify_fn
from .dataloader import DataLoader, DataLoaderError
from .dataset import ArrayDataset, Dataset, RecordFileDataset, SimpleDataset
from .sampler import BatchSampler, FilterSampler, IntervalSampler, RandomSampler, Sampler, SequentialSampler

__all__ = [
    "ArrayDataset",
    "BatchSampler",
    "DataLoader",
    "DataLoaderError",
    "Dataset",
    "FilterSampler",
    "IntervalSampler",
    "RandomSampler",
    "RecordFileDataset",
    "Sampler",
    "SequentialSampler",
    "SimpleDataset",
    "batchify",
    "dataloader",
    "dataset",
    "default_batchify_fn",
    "default_mp_batchify_fn",
    "sampler",
    "series",
    "text",
    "vision",
]


def __getattr__(name: str) -> Any:
    """Load `vision` when it is first asked for: it needs layers, which plain data sets do not."""
    if name == "vision":
        return importlib.import_module(f"{__name__}.vision")
    raise AttributeError(f"glueball.gluon.data has no attribute {name!r}")
