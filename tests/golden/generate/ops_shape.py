"""Golden cases: shape manipulation, slicing, joining, indexing, ordering, creation, sequences."""

from __future__ import annotations

from operator_cases import case, d, distinct, f, i, run


def reshaping() -> list:
    codes = [
        ((0, -1), {}),
        ((-2,), {}),
        ((0, -3), {}),
        ((-3, -2), {}),
        ((-4, 1, 2, -2), {}),
        ((0, -4, 3, 1, 0), {}),
        ((-1, 0), {}),
        ((-1, 0), {"reverse": True}),
        ((4, 3, 2), {}),
        ((-1,), {}),
        ((0, 0, -1), {}),
        ((-4, -1, 1, 0, 0), {}),
        ((2, -4, -1, 3, 4), {}),
        ((-3, 0), {"reverse": True}),
        ((-4, 2, -1, -2), {"reverse": True}),
        ((0, 1, -1, 1), {}),
        ((-1, -1), {}),
    ]
    out = [case("reshape", [f(2, 3, 4)], shape=shape, **more) for shape, more in codes]
    out += [
        case("Reshape", [f(8, 3, 3, 3)], shape=(-4, 2, -1, -3, -2)),
        case("Reshape", [f(2, 3, 4)], shape=(0, -1)),
        case("reshape", [f(8, 3, 3)], shape=(0, -4, -1, 1, -2)),
    ]
    out += [
        case("reshape_like", [f(6), f(2, 3)]),
        case("reshape_like", [f(2, 12), f(4, 3, 2)]),
        case("reshape_like", [f(30, 7), f(15, 2, 4)], lhs_begin=0, lhs_end=1, rhs_begin=0, rhs_end=2),
        case("reshape_like", [f(2, 12), f(9, 3, 4)], lhs_begin=1, rhs_begin=1),
    ]
    out += [case("Flatten", [f(2, 3, 4)]), case("flatten", [f(3, 4)]), case("flatten", [f(4)])]
    out += [case("expand_dims", [f(2, 3)], axis=a) for a in (0, 1, 2, -1, -2, 5)]
    out += [
        case("squeeze", [f(1, 3, 1, 2)]),
        case("squeeze", [f(1, 3, 1)], axis=0),
        case("squeeze", [f(1, 3, 1)], axis=(0, 2)),
        case("squeeze", [f(1, 3)], axis=1),
        case("squeeze", [f(1, 1)]),
        case("squeeze", [f(3, 1)], axis=-1),
    ]
    out += [
        case("transpose", [f(2, 3, 4)]),
        case("transpose", [f(2, 3, 4)], axes=(1, 0, 2)),
        case("transpose", [f(2, 3, 4)], axes=(2, 0, 1)),
        case("transpose", [f(2, 3)], axes=(0, -1)),
    ]
    out += [
        case("swapaxes", [f(2, 3, 4)], dim1=0, dim2=2),
        case("SwapAxis", [f(2, 3, 4)], dim1=1, dim2=2),
        case("SwapAxis", [f(2, 3)]),
        case("moveaxis", [f(2, 3, 4)], source=0, destination=2),
        case("moveaxis", [f(2, 3, 4)], source=-1, destination=0),
        case("moveaxis", [f(2, 3, 4)], source=(0, 1), destination=(1, 2)),
    ]
    out += [
        case("depth_to_space", [f(1, 8, 2, 3)], block_size=2),
        case("space_to_depth", [f(1, 2, 4, 6)], block_size=2),
        case("space_to_depth", [f(1, 2, 3, 6)], block_size=2),
    ]
    return out


def repeating() -> list:
    out = [case("tile", [f(2, 3)], reps=r) for r in ((2,), (2, 1), (2, 1, 3), (1, 2))]
    out += [
        case("repeat", [f(2, 3)], repeats=2),
        case("repeat", [f(2, 3)], repeats=2, axis=1),
        case("repeat", [f(2, 3)], repeats=3, axis=-2),
    ]
    out += [
        case("reverse", [f(2, 3)], axis=0),
        case("flip", [f(2, 3)], axis=1),
        case("reverse", [f(2, 3, 4)], axis=(0, 2)),
    ]
    out += [
        case("broadcast_to", [f(1, 3)], shape=(2, 3)),
        case("broadcast_to", [f(2, 1, 3)], shape=(0, 4, 0)),
        case("broadcast_to", [f(3)], shape=(2, 3)),
        case("broadcast_to", [f(2, 3)], shape=(2, 4)),
    ]
    out += [
        case("broadcast_axis", [f(2, 1, 3)], axis=1, size=4),
        case("broadcast_axis", [f(1, 1, 3)], axis=(0, 1), size=(2, 4)),
        case("broadcast_axes", [f(1, 2)], axis=0, size=3),
        case("broadcast_axis", [f(2, 2)], axis=0, size=3),
    ]
    out += [
        case("broadcast_like", [f(1, 3), f(2, 3)]),
        case("broadcast_like", [f(2, 1), f(5, 4)], lhs_axes=(1,), rhs_axes=(1,)),
        case("broadcast_like", [f(1, 1, 3), f(4, 5)], lhs_axes=(0, 1), rhs_axes=(-2, -1)),
    ]
    for mode in ("constant", "edge", "reflect"):
        out += [
            case("pad", [f(1, 2, 4, 5)], mode=mode, pad_width=(0, 0, 0, 0, 1, 2, 2, 1)),
            case("Pad", [f(1, 2, 3, 3, 4)], mode=mode, pad_width=(0, 0, 0, 0, 1, 1, 2, 1, 1, 2)),
        ]
    out += [
        case("pad", [f(1, 2, 3, 3)], mode="constant", pad_width=(0, 0, 0, 0, 1, 1, 1, 1), constant_value=2.5),
        case("pad", [f(1, 2, 3, 3)], mode="constant", pad_width=(0, 0, 1, 1, 1, 1, 1, 1)),
        case("pad", [f(2, 3)], mode="constant", pad_width=(1, 1, 1, 1)),
    ]
    return out


def slicing() -> list:
    out = [
        case("slice", [f(4, 5)], begin=(1, 2), end=(3, 4)),
        case("slice", [f(4, 5)], begin=(1, None), end=(None, 3)),
        case("slice", [f(4, 5)], begin=(None, -3), end=(None, -1)),
        case("slice", [f(4, 5)], begin=(3, 0), end=(0, 5), step=(-1, 2)),
        case("slice", [f(4, 5)], begin=(1,), end=(3,)),
        case("slice", [f(4, 5)], begin=(None, None), end=(None, None), step=(-1, -1)),
        case("slice", [f(4, 5)], begin=(0, 2), end=(2, 9)),
        case("crop", [f(4, 5)], begin=(0, 1), end=(2, 3)),
        case("slice", [f(4, 5)], begin=(2,), end=(2,)),
    ]
    out += [
        case("slice_axis", [f(4, 5)], axis=0, begin=1, end=3),
        case("slice_axis", [f(4, 5)], axis=1, begin=-3, end=None),
        case("slice_axis", [f(4, 5)], axis=-1, begin=0, end=-1),
        case("slice_axis", [f(4, 5)], axis=1, begin=2, end=7),
    ]
    out += [
        case("slice_like", [f(4, 5), f(2, 3)]),
        case("slice_like", [f(4, 5), f(2, 3)], axes=(0,)),
        case("slice_like", [f(4, 5, 6), f(2, 3)], axes=(0, -1)),
        case("slice_like", [f(3, 4), f(2, 6)], axes=(0,)),
    ]
    for op in ("SliceChannel", "split"):
        out += [
            case(op, [f(2, 4, 3)], num_outputs=2),
            case(op, [f(2, 4, 3)], num_outputs=4, axis=1, squeeze_axis=True),
            case(op, [f(2, 4, 3)], num_outputs=3, axis=-1),
            case(op, [f(2, 3)], num_outputs=1),
            case(op, [f(2, 3)], num_outputs=2),
        ]
    out += [
        case("split_v2", [f(6, 2)], indices_or_sections=3),
        case("split_v2", [f(6, 2)], indices_or_sections=(2, 3)),
        case("split_v2", [f(2, 3)], indices_or_sections=3, axis=1, squeeze_axis=True),
    ]
    out += [
        case("concat", [f(2, 3), f(2, 4)]),
        case("concat", [f(2, 3), f(1, 3)], dim=0),
        case("Concat", [f(2, 3, 1), f(2, 3, 2)], dim=-1),
        case("concat", [f(2, 3), f(2, 3), f(2, 1)], dim=1),
        case("concat", [f(2, 3)], dim=0),
        case("concat", [f(2, 3), f(3, 4)], dim=1),
        case("concat", [f(2), d([1, 2], "int32")], dim=0),
    ]
    out += [
        case("concatenate", [f(2, 3), f(1, 3)], _listed=True, _grad=None),
        case("concatenate", [f(2, 3), f(2, 1)], _listed=True, _grad=None, axis=1),
    ]
    out += [
        case("stack", [f(2, 3), f(2, 3)]),
        case("stack", [f(2, 3), f(2, 3)], axis=1),
        case("stack", [f(2, 3), f(2, 3), f(2, 3)], axis=-1),
        case("stack", [f(2), f(3)]),
    ]
    out += [
        case("where", [d([[1, 0], [0, 1]]), f(2, 2), f(2, 2)]),
        case("where", [d([1, 0, 1]), f(3, 2), f(3, 2)]),
        case("where", [d([1, 0], "int32"), f(2), f(2)]),
    ]
    out += [
        case("diag", [f(3)]),
        case("diag", [f(3)], k=1),
        case("diag", [f(3, 4)]),
        case("diag", [f(3, 4)], k=-1),
        case("diag", [f(2, 3, 3)], axis1=1, axis2=2),
    ]
    return out


def indexing() -> list:
    out = [
        case("take", [f(5, 3), d([0, 4, 2])], _grad=[0]),
        case("take", [f(5, 3), d([[0, 7], [-1, 2]])], _grad=[0]),
        case("take", [f(5, 3), d([0, 7, -1, -6])], _grad=[0], mode="wrap"),
        case("take", [f(3, 4), d([1, 1, 3])], _grad=[0], axis=1),
        case("take", [f(2, 3, 4), d([[0, 1]], "int32")], _grad=[0], axis=-1),
        case("take", [f(3), d([2])], _grad=[0]),
        case("take", [f(3, 4), d([0, 3])], _grad=[0], axis=0, mode="raise"),
    ]
    out += [
        case("pick", [f(3, 4), d([0, 3, 1])], _grad=[0]),
        case("pick", [f(3, 4), d([0, 3, 1])], _grad=[0], keepdims=True),
        case("pick", [f(3, 4), d([0, 2, 1, 0])], _grad=[0], axis=0),
        case("pick", [f(3, 4), d([5, -1, 1])], _grad=[0]),
        case("pick", [f(3, 4), d([5, -1, 1])], _grad=[0], mode="wrap"),
        case("pick", [f(2, 3, 4), i(3, 2, 4)], _grad=[0], axis=1),
        case("batch_take", [f(3, 4), d([0, 3, 1], "int32")], _grad=[0]),
        case("choose_element_0index", [f(3, 4), d([0, 3, 1])], _grad=[0]),
    ]
    out += [
        case("one_hot", [d([0, 2, 1])], _grad=None, depth=3),
        case("one_hot", [d([[0, 5], [-1, 1]])], _grad=None, depth=3),
        case("one_hot", [d([0, 2], "int32")], _grad=None, depth=3, on_value=2.0, off_value=-1.0, dtype="float64"),
        case("one_hot", [d([1, 0])], _grad=None, depth=2, dtype="int32"),
    ]
    out += [
        case("gather_nd", [f(3, 4), d([[0, 2, 1], [3, 0, 1]])], _grad=[0]),
        case("gather_nd", [f(3, 4), d([[0, 2]])], _grad=[0]),
        case("gather_nd", [f(2, 3, 4), i(2, 2, 2, 3)], _grad=[0]),
        case("gather_nd", [f(3, 2), d([[-1, 1], [0, -2]])], _grad=None),
        case("gather_nd", [f(4, 2), d([[1, 1, 3]], "int64")], _grad=[0]),
    ]
    out += [
        case("scatter_nd", [f(3), d([[0, 2, 1], [3, 0, 1]])], _grad=[0], shape=(3, 4)),
        case("scatter_nd", [f(2, 4), d([[2, 0]])], _grad=[0], shape=(3, 4)),
    ]
    out += [
        case("Embedding", [d([0, 2, 1]), f(4, 3)], _grad=[1], input_dim=4, output_dim=3),
        case("Embedding", [d([[0, 9], [-3, 1]]), f(4, 3)], _grad=[1], input_dim=4, output_dim=3),
        case("Embedding", [d([1, 1, 1], "int32"), f(4, 2)], _grad=[1], input_dim=4, output_dim=2),
    ]
    out += [
        case("ravel_multi_index", [d([[0, 1, 2], [3, 0, 1]])], _grad=None, shape=(3, 4)),
        case("unravel_index", [d([3, 4, 9])], _grad=None, shape=(3, 4)),
        case("contrib.index_array", [f(2, 3)], _grad=None),
        case("contrib.index_array", [f(2, 3, 2)], _grad=None, axes=(1, 0)),
        case("contrib.index_copy", [f(5, 3), d([0, 3], "int64"), f(2, 3)], _grad=[0, 2]),
        case("contrib.boolean_mask", [f(4, 3), d([1, 0, 1, 0])], _grad=[0]),
        case("contrib.boolean_mask", [f(3, 4), d([1, 0, 0, 1])], _grad=[0], axis=1),
        case("fill_element_0index", [f(3, 4), f(3), d([0, 3, 1])], _grad=None),
    ]
    out += [
        case("contrib.arange_like", [f(2, 3)], _grad=None),
        case("contrib.arange_like", [f(2, 3)], _grad=None, axis=1),
        case("contrib.arange_like", [f(2, 3)], _grad=None, axis=-1, start=2, step=0.5),
        case("contrib.arange_like", [f(2, 4)], _grad=None, axis=1, repeat=2),
    ]
    out += [
        case("contrib.allclose", [f(3), f(3)], _grad=None),
        case("contrib.allclose", [d([1, 2]), d([1, 2.001])], _grad=None, rtol=0.01),
    ]
    return out


def ordering() -> list:
    out = []
    for kind in ("indices", "value", "both", "mask"):
        out += [
            case("topk", [distinct(3, 5)], _grad=[0], k=2, ret_typ=kind),
            case("topk", [distinct(3, 5)], _grad=[0], k=2, ret_typ=kind, axis=0, is_ascend=True),
        ]
    out += [
        case("topk", [distinct(3, 5)], _grad=None),
        case("topk", [distinct(3, 5)], _grad=None, k=3, dtype="int32"),
        case("topk", [distinct(2, 3)], _grad=None, axis=None, k=2),
        case("topk", [distinct(2, 3, 4)], _grad=[0], axis=1, k=2, ret_typ="value"),
        case("topk", [distinct(3, 4)], _grad=None, k=0),
        case("topk", [distinct(2, 3)], _grad=None, k=5),
    ]
    out += [
        case("sort", [distinct(3, 4)], _grad=None),
        case("sort", [distinct(3, 4)], axis=-1),
        case("sort", [distinct(3, 4)], axis=0, is_ascend=False),
        case("sort", [distinct(2, 3)], axis=None),
    ]
    out += [
        case("argsort", [distinct(3, 4)], _grad=None),
        case("argsort", [distinct(3, 4)], _grad=None, axis=0, is_ascend=False),
        case("argsort", [distinct(2, 3)], _grad=None, axis=None, dtype="int32"),
    ]
    return out


def creation() -> list:
    out = [
        case("zeros", [], shape=(2, 3)),
        case("zeros", [], shape=4, dtype="int32"),
        case("ones", [], shape=(2, 3)),
        case("ones", [], shape=(2,), dtype="float16"),
        case("full", [], shape=(2, 3), val=2.5),
        case("full", [], shape=3, val=7, dtype="int32"),
        case("arange", [], start=5),
        case("arange", [], start=1, stop=7, step=2),
        case("arange", [], start=0, stop=3, repeat=2),
        case("arange", [], start=5, stop=0, step=-1.5),
        case("arange", [], start=0, stop=4, dtype="int32"),
        case("eye", [], N=3),
        case("eye", [], N=2, M=4, k=1),
        case("eye", [], N=3, M=2, k=-1, dtype="int32"),
        case("linspace", [], start=0, stop=1, num=5),
        case("linspace", [], start=2, stop=4, num=4, endpoint=False),
    ]
    out += [
        case("histogram", [d([0.1, 0.4, 0.45, 0.9])], _grad=None, bins=4, range=(0, 1)),
        case("histogram", [d([1, 2, 2, 5]), d([0, 2, 4, 6])], _grad=None),
    ]
    return out


def sequences() -> list:
    out = []
    lengths = d([1, 3])
    for op in ("SequenceMask", "SequenceLast", "SequenceReverse"):
        # the oracle's gradient of SequenceLast without lengths writes outside its memory
        out += [
            case(op, [f(4, 2, 3)], _grad=None if op == "SequenceLast" else [0]),
            case(op, [f(4, 2, 3), lengths], _grad=[0], use_sequence_length=True),
        ]
    out += [
        case("SequenceMask", [f(2, 4, 3), lengths], _grad=[0], use_sequence_length=True, axis=1, value=-7.0),
        case("SequenceLast", [f(2, 4, 3), lengths], _grad=[0], use_sequence_length=True, axis=1),
        case("SequenceMask", [f(4, 2), lengths], _grad=[0], use_sequence_length=True, value=1.5),
        case("SequenceReverse", [f(4, 2), d([4, 2])], _grad=[0], use_sequence_length=True),
        case("SequenceMask", [f(4, 2, 3), d([0, 4], "int32")], _grad=[0], use_sequence_length=True),
    ]
    return out


def make() -> None:
    run("ops_shape", reshaping() + repeating() + slicing())
    run("ops_index", indexing() + ordering() + creation() + sequences())


if __name__ == "__main__":
    make()
