"""The batching rule of every operator: ONE table.

The one idea: most operators have their rule by what they are (element by element, broadcasting, an update of a
parameter); the rest are named here, class by class. An operator that neither this table nor its definition
(`@operator(batch=...)`) speaks of cannot enter the table of operators: silence is refused at import. The classes are
held to their word by tests/ops/test_batch_rules.py, which compares folded with single calls.

Not here: what a rule is (batch.py), how stacks are computed (stacking.py).
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..opdef import OpDef, Unsupported, unsupported
from . import stacking
from .batch import Attrs, Batching, Flags, Shapes, axes_of, joint_rows, never, off, rows_of
from .infer import broadcasting as broadcasting_shapes
from .infer import elementwise as equal_shapes
from .infer import same_shape

__all__ = ["assign", "elementwise", "broadcasting", "by_rows", "constant"]


def _kept_by_reshape(attrs: Attrs, shapes: Shapes) -> bool:
    """Whether Reshape's codes copy axis 0 (0), or infer just it (-1)."""
    data, codes = shapes[0] or (), attrs["shape"]
    if not codes:
        return bool(attrs["keep_highest"])
    rest = 1
    for size in data[1:]:
        rest *= size
    if attrs["reverse"] or not rest:
        return False
    if codes[0] == 0:
        return True
    if codes[0] != -1:
        return False
    found = 1
    for position, code in enumerate(codes[1:], 1):
        if code == 0 and position < len(data):
            code = data[position]
        if code < 1:
            return False
        found *= code
    return found == rest


def _kept_by_reshape_like(attrs: Attrs, shapes: Shapes, batched: Flags) -> bool:
    """Whether the leading axis of lhs is left alone, or replaced by that of a batched rhs."""
    lhs, rhs = shapes[0], shapes[1]
    if not batched[0] or not lhs or not rhs:
        return False
    a, p = attrs["lhs_begin"] or 0, attrs["rhs_begin"] or 0
    a, p = a + len(lhs) if a < 0 else a, p + len(rhs) if p < 0 else p
    if not batched[1]:
        return a > 0
    q = len(rhs) if attrs["rhs_end"] is None else attrs["rhs_end"]
    b = len(lhs) if attrs["lhs_end"] is None else attrs["lhs_end"]
    if a > 0:
        return p > 0 and lhs[0] == rhs[0]
    return p == 0 and b != 0 and q != 0 and lhs[0] == rhs[0]


def _kept_by_slice(attrs: Attrs, shapes: Shapes) -> bool:
    """Whether axis 0 is taken as a whole."""
    first = [value if value is None or isinstance(value, int) else value[0] if value else None
             for value in (attrs["begin"], attrs["end"], attrs["step"])]
    return first[0] in (None, 0) and first[1] is None and first[2] in (None, 1)


def _rows_of_take(attrs: Attrs, shapes: Shapes, batched: Flags) -> bool:
    """Rows of a shared array by batched indices, or the same elements of each row."""
    data, indices = shapes[0] or (), shapes[1] or ()
    axes = axes_of(attrs["axis"], len(data))
    at_front = axes == (0,)
    return (not batched[0] and at_front and len(indices) > 0) or (batched[0] and not batched[1] and not at_front)


def _rows_of_dot(attrs: Attrs, shapes: Shapes, batched: Flags) -> bool:
    return batched[0] and not batched[1] and len(shapes[0] or ()) > 1 and not attrs["transpose_a"]


def _rows_of_condition(attrs: Attrs, shapes: Shapes, batched: Flags) -> bool:
    return all(batched)


def _images(attrs: Attrs, shapes: Shapes) -> bool:
    """Whether the data have an axis of batch beside channels and space (layouts begin with N, or are the word None)."""
    space = len(attrs["kernel"]) or 1  # 0: pooling of everything
    return (attrs.get("layout") or "N")[:1] == "N" and len(shapes[0] or ()) >= space + 2


def _per_row(attrs: Attrs, shapes: Shapes) -> bool:
    """Whether the gradient of an output layer is not divided by what the whole batch has."""
    return attrs["normalization"] == "null"


def _nearest(attrs: Attrs, shapes: Shapes) -> bool:
    """Whether all inputs of UpSampling are images (else the second is a weight)."""
    return attrs["sample_type"] == "nearest"


def _unpadded(attrs: Attrs, shapes: Shapes) -> bool:
    return not any(attrs["pad_width"][:2])


def _untiled(attrs: Attrs, shapes: Shapes) -> bool:
    reps = attrs["reps"] if isinstance(attrs["reps"], (tuple, list)) else (attrs["reps"],)
    rank = len(shapes[0] or ())
    return len(reps) < rank or (len(reps) == rank and reps[0] == 1)


def _axes_apart(attrs: Attrs, shapes: Shapes) -> bool:
    """Whether broadcast_like takes all axes, or for neither input the axis of rows."""
    left, right = (axes_of(attrs[key], len(s or ())) for key, s in zip(("lhs_axes", "rhs_axes"), shapes))
    return left is None or right is None or (0 not in left and 0 not in right)


def _kept_by_target(attrs: Attrs, shapes: Shapes) -> bool:
    """Whether broadcast_to's code 0 keeps axis 0."""
    return len(attrs["shape"]) == len(shapes[0] or ()) and attrs["shape"][0] == 0


def _rows_in_time(attrs: Attrs, shapes: Shapes) -> bool:
    return attrs["axis"] == 1


def _channels_apart(attrs: Attrs, shapes: Shapes) -> bool:
    """Whether a normalisation by given statistics has its channels off axis 0, and shows only its first result."""
    rank = len(shapes[0] or ())
    return rank > 1 and attrs.get("axis", 1) % rank != 0 and not attrs["output_mean_var"]


def _gains_apart(attrs: Attrs, shapes: Shapes) -> bool:
    return len(shapes) < 2 or shapes[1] is None or len(shapes[0] or ()) > 1


def _dense_rows(attrs: Attrs, shapes: Shapes) -> bool:
    return bool(attrs["flatten"]) or len(shapes[0] or ()) > 1


def _swap(attrs: Attrs, shapes: Shapes) -> bool:
    rank = len(shapes[0] or ())
    return 0 not in (attrs["dim1"] % rank, attrs["dim2"] % rank)


def _order(attrs: Attrs, shapes: Shapes) -> bool:
    axes = axes_of(attrs["axes"], len(shapes[0] or ()))
    return axes is not None and axes[0] == 0


# -- classes of rules --------------------------------------------------------------------------------------------------

elementwise = Batching("element by element", rows_of(), stacking.each)
broadcasting = Batching("broadcasting", joint_rows, stacking.aligned)
by_vmap = Batching("vmap", never)
constant = Batching("the same for all samples", never)


def by_rows(*carriers: int, why: str = "", **conditions: Any) -> Batching:
    """Return the rule of an operator whose inputs at `carriers` have independent rows along axis 0."""
    return Batching("rows", rows_of(*carriers, **conditions), unmapped=why)


def _shifting(name: str, *keys: str, least: int = 2, more: int = 0, carriers: tuple[int, ...] = ()) -> Batching:
    """Return the rule of an operator along axes that its attributes name."""
    return Batching(name, rows_of(*carriers, when=off(keys[0], least=least, more=more)), stacking.along(*keys))


_ITS_OWN_NUMBERS = unsupported("each sample draws its own random numbers")
_UPDATE = unsupported("an update of a parameter, which does not belong to a sample")
_FUNCTIONS = unsupported("runs functions of the user, which may treat every call differently")
_VALUES = "its kernel looks at values, or has no vectorised form"
_DIVIDED = "its gradient is divided by a number of the whole batch"
_STATISTICS = "in train mode its statistics are those of the whole batch, and it updates the moving ones"
_LAWS = "uniform normal exponential gamma poisson negative_binomial generalized_negative_binomial"
_CLASSES: tuple[tuple[Batching | Unsupported, str], ...] = (
    (broadcasting, "_where_equal _power_backward_base _power_backward_exponent _ratio"),
    (Batching("reduction", rows_of(0, when=off()), stacking.reducing()),
     "sum mean prod nansum nanprod _square_sum max min norm"),
    (Batching("reduction", rows_of(0, when=off("axes")), stacking.reducing("axes")), "moments"),
    (Batching("reduction", rows_of(0, when=off()), stacking.positions), "argmax argmin"),
    (Batching("along an axis", rows_of(0, when=off()), stacking.along_or_flat), "_np_cumsum"),
    (_shifting("along an axis", "axis"), "softmax softmin log_softmax _softmax_backward _log_softmax_backward reverse "
                                         "SliceChannel _split_v2 slice_axis _gather_rows"),
    (_shifting("along an axis", "axis", least=1, more=1), "stack"),
    (Batching("along an axis", rows_of(0, when=off()), stacking.ordered), "sort argsort topk"),
    (_shifting("along an axis", "dim"), "Concat"),
    (Batching("along an axis", rows_of(0, 1, when=off()), stacking.picked), "pick"),
    (Batching("along an axis", rows_of(0, when=off()), stacking.normalised, shared=(1, 2)), "LayerNorm"),
    (Batching("mask", rows_of(0, when=off("axes", least=1, none=True)), stacking.dropped), "Dropout"),
    (Batching("shape", rows_of(when=_kept_by_reshape), stacking.reshaped), "Reshape"),
    (Batching("shape", never, stacking.reshaped_to), "_reshape_to"),
    (Batching("shape", _kept_by_reshape_like, stacking.reshaped_like), "reshape_like"),
    (Batching("shape", rows_of(), stacking.flattened), "Flatten"),
    (Batching("shape", rows_of(when=off(more=1, least=1)), stacking.along("axis")), "expand_dims"),
    (Batching("shape", rows_of(when=off()), stacking.squeezed), "squeeze"),
    (Batching("order", rows_of(when=_order), stacking.transposed), "transpose"),
    (Batching("order", rows_of(when=_swap), stacking.along("dim1", "dim2")), "SwapAxis"),
    (Batching("slice", rows_of(0, when=_kept_by_slice), stacking.cut), "slice _slice_assign_scalar"),
    (Batching("slice", rows_of(when=_kept_by_slice), stacking.cut), "_slice_assign"),
    (Batching("slice", rows_of(0, when=off("axes")), stacking.cut_like), "slice_like"),
    (Batching("repetition", rows_of(0, when=off()), stacking.along_or_flat), "repeat"),
    (Batching("product", rows_of(0, when=_dense_rows), stacking.dense), "FullyConnected"),
    (Batching("product", _rows_of_dot, stacking.product), "dot"),
    (Batching("product", rows_of(0, 1, least=3), stacking.pairwise), "batch_dot"),
    (Batching("look-up", rows_of(0), stacking.looked_up, shared=(1,)), "Embedding"),
    (Batching("look-up", _rows_of_take, stacking.taken), "take"),
    (Batching("look-up", rows_of(), stacking.each), "one_hot"),
    (Batching("choice", _rows_of_condition, stacking.chosen), "where"),
    (by_rows(0, 1), "batch_take LinearRegressionOutput MAERegressionOutput LogisticRegressionOutput SVMOutput "
                    "_class_likelihood Correlation BilinearSampler SpatialTransformer"),
    (by_rows(0, 1, why=_VALUES), "_contrib_MultiBoxDetection"),
    (by_rows(when=_nearest), "UpSampling"),
    (by_rows(0, 1, 2), "fill_element_0index _class_likelihood_backward"),
    (by_rows(0, when=_images), "Convolution Deconvolution Pooling"),
    (by_rows(0, least=2), "InstanceNorm GroupNorm L2Normalization SoftmaxActivation argmax_channel GridGenerator"),
    (by_rows(0, least=3), "col2im"),
    (by_rows(0, least=4), "_contrib_AdaptiveAvgPooling2D LRN depth_to_space space_to_depth im2col "
                          "_contrib_BilinearResize2D Crop"),
    (by_rows(0, least=2), "_contrib_fft _contrib_ifft _contrib_count_sketch"),
    (Batching("leading axes", rows_of(least=3), stacking.each), "_contrib_box_nms _contrib_bipartite_matching"),
    (by_rows(0, when=_unpadded), "Pad"),
    (by_rows(0, 1, when=_images), "_contrib_DeformableConvolution"),
    (by_rows(0, 1, 2, when=_images), "_contrib_ModulatedDeformableConvolution"),
    (Batching("regions", rows_of(1), stacking.regions), "ROIPooling _contrib_ROIAlign"),
    (Batching("places", never, stacking.placed(1, shape=False)), "gather_nd"),
    (Batching("places", never, stacking.placed(1, shape=True)), "scatter_nd _scatter_nd_add"),
    (Batching("places", never, stacking.placed(2, shape=True)), "_scatter_set_nd"),
    (by_rows(1, 2), "_contrib_MultiBoxTarget"),
    (by_rows(0), "_contrib_box_iou _contrib_box_decode"),
    (by_rows(0, when=_per_row, why=_DIVIDED), "MakeLoss"),
    (by_rows(0, 1, when=_per_row, why=_DIVIDED), "SoftmaxOutput _softmax_output_backward"),
    (by_rows(0, 1), "_regression_backward _svm_backward"),
    (by_rows(when=_rows_in_time), "SequenceMask SequenceLast"),
    (Batching("rows", rows_of(0, when=_channels_apart), predict_only=_STATISTICS), "BatchNorm _contrib_SyncBatchNorm"),
    (Batching("element by element", rows_of(0, when=_gains_apart), unmapped=_VALUES), "LeakyReLU"),
    (Batching("element by element", rows_of(least=2), stacking.each), "_contrib_div_sqrt_dim"),
    (elementwise, "Cast amp_cast amp_multicast " + " ".join(
        f"_random_{law}_like" for law in _LAWS.split())),
    (by_rows(), " ".join(f"_sample_{law}" for law in _LAWS.split())),
    (Batching("along an axis", rows_of(0, when=off()), stacking.along("axis")), "broadcast_axis"),
    (Batching("shape", rows_of(when=_kept_by_target), stacking.expanded), "broadcast_to"),
    (Batching("shape", never, stacking.expanded), "_expand_to"),
    (Batching("shape", rows_of(when=_axes_apart), stacking.likened), "broadcast_like"),
    (Batching("repetition", rows_of(when=_untiled), stacking.tiled), "tile"),
    (Batching("matrices", rows_of(least=3), stacking.along("axis")), "_linalg_gemm2 _linalg_gemm"),
    (Batching("matrices", rows_of(least=3), stacking.each),
     "_linalg_syrk _linalg_trmm _linalg_trsm _linalg_potrf _linalg_potri _linalg_gelqf _linalg_syevd _linalg_inverse "
     "_linalg_extractdiag _linalg_extracttrian"),
    (Batching("matrices", rows_of(least=2), stacking.each), "_linalg_makediag _linalg_maketrian"),
    (Batching("matrices", rows_of(least=3), stacking.numbers), "_linalg_sumlogdiag _linalg_det _linalg_slogdet"),
    (Batching("images", rows_of(least=4), stacking.images),
     "_image_to_tensor _image_normalize _image_resize _image_crop _image_flip_left_right _image_flip_top_bottom"),
    (Batching("beside each other", never, stacking.recurrent, shared=(1,), unmapped=_VALUES), "RNN"),
    (Batching("beside each other", never, stacking.connectionist), "CTCLoss"),
    (by_vmap,
     "_sum_to shape_array size_array all_finite multi_all_finite multi_sum_sq "
     "_pad_backward diag _diag_backward "
     "_contrib_index_copy _contrib_index_array _ravel_multi_index _unravel_index "
     "khatri_rao _contrib_interleaved_matmul_selfatt_qk _contrib_interleaved_matmul_selfatt_valatt "
     "_contrib_interleaved_matmul_encdec_qk _contrib_interleaved_matmul_encdec_valatt _contrib_arange_like "
     "_rnn_param_concat _rnn_param_split _linear_backward_data _linear_backward_weight _linear_backward_bias "
     "_convolution_backward _adaptive_avg_pooling_backward "
     "_prelu_backward _softmax_cross_entropy_backward "
     "SequenceReverse _bilinear_resize_backward _random_pdf_uniform _random_pdf_normal _random_pdf_exponential "
     "_random_pdf_gamma _random_pdf_poisson _random_pdf_negative_binomial "
     "_random_pdf_generalized_negative_binomial _random_pdf_dirichlet _contrib_box_encode _multinomial_backward "
     "_unshuffle _contrib_MultiBoxPrior _image_adjust_lighting"),
    (Batching("reduction", never, stacking.entropy), "softmax_cross_entropy"),
    (unsupported("it looks at the values of a whole array at once"), "_histogram _contrib_allclose"),
    (unsupported("a gradient in a compiled plan; folding differentiates whole groups of calls"),
     "_slice_into _take_backward _pick_backward _scatter_rows _pooling_backward _batch_norm_backward "
     "_layer_norm_backward _group_norm_backward"),
    (unsupported("its gradient depends on the mean over the whole batch"), "IdentityAttachKLSparseReg"),
    (unsupported("a part of the gradient of RNN, which folding takes from RNN itself"), "_rnn_backward"),
)


def _by_structure(op: OpDef) -> Batching | Unsupported | None:
    """Return the rule of an operator that is told by what its definition says anyway."""
    if op.dynamic:
        return unsupported(op.dynamic)
    if op.family in ("optimizer_ops", "adaptive_ops", "multi_update_ops"):
        return _UPDATE
    if op.family in ("vjp", "control_flow", "custom"):
        return _FUNCTIONS
    if op.random:
        return _ITS_OWN_NUMBERS
    if not op.inputs:
        return constant
    if op.infer is same_shape or op.infer is equal_shapes:
        return elementwise
    return broadcasting if op.infer is broadcasting_shapes else None


def assign(operators: Iterable[OpDef]) -> None:
    """Give each operator its rule: its definition's, this table's, or that of its kind."""
    named = {name: rule for rule, names in _CLASSES for name in names.split()}
    for op in operators:
        if op.batch is None:
            op.batch = named.get(op.name) or _by_structure(op)
