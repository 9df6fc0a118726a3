"""Which operators run in low precision, which in float32, and which in the widest type of their inputs.

The one idea: matrix products and convolutions gain from low precision and lose little; exponentials, logarithms, norms
and losses lose much; everything else (activations, pooling, batch normalisation, shapes) follows its input. Every
operator of the table is in exactly one of LOW, FLOAT32, WIDEST or none of them; names are the table's.
"""

from __future__ import annotations

from typing import Any

from ...base.errors import ArgumentError, explain
from ...ops.opdef import TABLE

__all__ = ["CONDITIONAL", "FLOAT32", "LOSSES", "LOW", "TARGETS", "WIDEST", "following", "target_name"]

TARGETS = ("float16", "bfloat16")

LOW = ("Convolution", "Deconvolution", "FullyConnected", "RNN")

FLOAT32 = (
    "exp", "expm1", "log", "log10", "log2", "log1p", "square", "rsqrt", "rcbrt", "reciprocal", "erfinv", "gamma",
    "gammaln", "digamma", "_power_scalar", "_rpower_scalar", "_rdiv_scalar", "broadcast_power", "_power",
    "tan", "arcsin", "arccos", "_class_likelihood",
    "sinh", "cosh", "arccosh", "arctanh", "sum", "mean", "prod", "nansum", "nanprod", "norm", "_square_sum", "moments",
    "softmax", "softmin", "log_softmax", "SoftmaxActivation", "softmax_cross_entropy", "LayerNorm", "InstanceNorm",
    "GroupNorm", "LRN", "L2Normalization", "smooth_l1", "_linalg_gemm", "_linalg_gemm2", "_linalg_syrk", "_linalg_trmm",
    "_linalg_trsm", "_linalg_potrf", "_linalg_potri", "_linalg_gelqf", "_linalg_syevd", "_linalg_sumlogdiag",
    "_linalg_det", "_linalg_slogdet", "_linalg_inverse", "SoftmaxOutput", "LinearRegressionOutput",
    "MAERegressionOutput", "LogisticRegressionOutput", "SVMOutput", "CTCLoss", "MakeLoss", "make_loss",
    "GridGenerator", "BilinearSampler", "SpatialTransformer", "Correlation", "ROIPooling", "_contrib_ROIAlign",
    "_contrib_BilinearResize2D", "_contrib_MultiBoxTarget", "_contrib_MultiBoxDetection", "_contrib_box_iou",
    "_contrib_box_nms",
)  # fmt: skip

WIDEST = (
    "elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div", "broadcast_add", "broadcast_sub", "broadcast_mul",
    "broadcast_div", "broadcast_mod", "broadcast_maximum", "broadcast_minimum", "broadcast_hypot", "_mod", "_maximum",
    "_minimum", "_hypot", "add_n", "Concat", "stack", "where", "dot", "batch_dot", "broadcast_equal",
    "broadcast_not_equal", "broadcast_greater", "broadcast_greater_equal", "broadcast_lesser",
    "broadcast_lesser_equal", "broadcast_logical_and", "broadcast_logical_or", "broadcast_logical_xor", "_equal",
    "_not_equal", "_greater", "_greater_equal", "_lesser", "_lesser_equal",
)  # fmt: skip

# operators that need float32 for some values of an attribute: name, attribute, values
CONDITIONAL = (("Activation", "act_type", ("softrelu",)), ("LeakyReLU", "act_type", ("elu", "selu")))

LOSSES = ("SoftmaxOutput", "LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput")


def following() -> list[str]:
    """Return the names of operators that compute in whatever type they are given."""
    named = {*LOW, *FLOAT32, *WIDEST, *(name for name, _, _ in CONDITIONAL)}
    return sorted(name for name in TABLE if name not in named)


def target_name(target_dtype: Any) -> str:
    """Return 'float16' or 'bfloat16' for whatever names one of them.

    Raises
    ------
    ArgumentError
        For any other type.
    """
    name = getattr(target_dtype, "__name__", None) or getattr(target_dtype, "name", None) or str(target_dtype)
    if name not in TARGETS:
        raise ArgumentError(explain("amp", "Mixed precision mixes float32 with one of two types.",
                                    expected="target_dtype='float16' (GPU) or 'bfloat16' (CPU and GPU)",
                                    received=repr(target_dtype)))  # fmt: skip
    return name
