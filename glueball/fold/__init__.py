"""Folding: write the program of one sample, run a whole batch of such programs as a few large kernels.

The one idea: a scope (`batching`), fibers (`map`) and index arrays (`tree`, `scan`, `dag`) are three doors to one
engine. Reading order: scope.py, folder.py (recording), operator_calls.py and units.py (what a call means), schedule.py,
execute.py, body.py, backward.py; structure.py and arrays.py for
index arrays; explicit.py for programs of mxnet-fold. The guide is docs/folding.md.
"""
from __future__ import annotations

from .explain import draw, explain, last_report
from .explicit import Fold, fold_unroll
from .fiber import fork
from .map import map
from .scope import batching
from .structure import dag, scan, tree

__all__ = ["batching", "map", "fork", "tree", "scan", "dag", "Fold", "fold_unroll", "explain", "last_report", "draw"]
