"""What each ONNX operator becomes: one file per family; importing this package fills `node.IMPORTERS`.

The one idea: a rule composes operators of our table, so gradients, compiling and folding come with them. How an
operator changed over the operator sets is handled where its inputs are read. tools/onnx_operators.py holds every rule
to the cases of ONNX's own test suite.
"""

from ..node import IMPORTERS
from . import (
    arithmetic,
    control,
    convolution,
    einsum,
    indexing,
    losses,
    normalization,
    pooling,
    products,
    quantized,
    recurrent,
    reduction,
    sequences,
    shapes,
    vision,
)

__all__ = ["IMPORTERS", "arithmetic", "control", "convolution", "einsum", "indexing", "losses", "normalization",
           "pooling", "products", "quantized", "recurrent", "reduction", "sequences", "shapes", "vision"]
