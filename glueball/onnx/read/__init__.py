"""Reading ONNX: from a file to a graph of our operators.

The one idea: a model is lowered operator by operator, and whatever follows from sizes and constants alone is computed
on the way (held.py, builder.py), so our graph has no Shape, Gather and Concat of sizes in it. `file.py` and
`tensors.py` check the file, `walk.py` reads the graph, `operators/` holds the rules. The block around the graph is
gluon/onnx_block.py.
"""

from __future__ import annotations

from .file import Model, Source, open_model
from .held import Needs, Varies
from .walk import Reading, read, variables_of, worlds_of

__all__ = ["Model", "Needs", "Reading", "Source", "Varies", "open_model", "read", "variables_of", "worlds_of"]
