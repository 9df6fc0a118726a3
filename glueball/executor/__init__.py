"""Running graphs: interpret.py is the oracle (one loop), codegen.py writes a plan as Python source, plan.py joins
forward and backward, cached_op.py keeps plans per signature for hybridized blocks, executor.py is the compatible
bind/forward/backward interface."""
from __future__ import annotations

from ..symbol.subgraph import Subgraph
from .executor import Executor
from .interpret import interpret

Subgraph.runner = staticmethod(interpret)

__all__ = ["Executor"]
