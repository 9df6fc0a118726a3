"""What each operator becomes in ONNX: one file per family; importing this package fills `call.RULES`.

The one idea: a rule writes the numbers that the operator computes in predict mode. An operator without a rule, and a
call that a rule refuses, are named to the user. Results are held to the operators' samples by
tests/onnx/test_operators.py.
"""

from ..call import RULES
from . import arithmetic, attention, indexing, layers, normalization, pooling, recurrent, reduction, sequences, shapes

__all__ = ["RULES", "arithmetic", "attention", "indexing", "layers", "normalization", "pooling", "recurrent",
           "reduction", "sequences", "shapes"]
