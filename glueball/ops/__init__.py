"""The operator table: importing this package fills it, family by family, and freezes it (no operator without rules).

Where things are: opdef.py says what an operator is; rules/ holds the classes of rules; each other file is one family
of operators.
"""
from __future__ import annotations

import gc
import importlib

from .opdef import TABLE, OpDef, freeze, known, lookup
from .rules.batch_table import assign

__all__ = ["TABLE", "OpDef", "known", "lookup", "FAMILIES"]

FAMILIES = ("vjp", "control_flow", "custom", "elementwise", "scalar", "broadcast", "comparison", "trigonometry",
            "passing", "shape_ops",
            "filling", "slicing", "joining", "reduce", "index", "index_nd", "order", "dot", "blocks", "create",
            "random_ops", "rnn", "linear", "convolution", "deconvolution", "pooling", "normalization",
            "fused_normalization", "memory_format", "prediction", "winograd", "pointwise",
            "group_normalization", "activation", "dropout", "softmax", "likelihood", "sequence", "output",
            "optimizer_ops", "spatial", "upsample", "linalg", "roi", "random_pdf", "boxes", "rnn_parameters",
            "random_index_ops", "adaptive_ops", "detection", "contrib_nn", "image_ops", "multi_update_ops",
            "torch_module")

_collects = gc.isenabled()
gc.disable()  # the thousands of small objects made here are kept: looking for garbage costs a quarter of the import
try:
    for _family in FAMILIES:
        importlib.import_module(f"{__name__}.{_family}")
finally:
    if _collects:
        gc.enable()
assign(TABLE.values())
freeze()
