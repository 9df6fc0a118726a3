"""Stack rules: one call of an operator for N samples whose tensors were given a common leading axis.

The one idea: nearly always the same operator does it, with its axes shifted by one and the shared inputs stretched
over the samples; `call` is that operator (with its own gradient where it has one), so what it computes is defined in
one place only. Matrix products are the exception: there a shared operand means one large product.

A rule is `(call, tensors, batched, attrs) -> result(s)`: batched tensors are (N, ...), every result is (N, ...). A
rule may answer NotImplemented. Not here: rows, and which operator has which rule (batch.py, batch_table.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from ..opdef import Tensor
from .batch import Attrs, Call, Flags, Stack, axes_of

__all__ = ["each", "aligned", "along", "reducing", "positions"]

Tensors = Sequence["Tensor | None"]


def number(tensors: Tensors, batched: Flags) -> int:
    """Return the number of samples N."""
    return next(t.shape[0] for t, flag in zip(tensors, batched) if flag and t is not None)


def stretched(tensors: Tensors, batched: Flags) -> list[Tensor | None]:
    """Return all tensors with the axis of samples, shared ones without being copied."""
    n = -1 if all(batched) else number(tensors, batched)
    return [t if t is None or flag else t.expand(n, *t.shape) for t, flag in zip(tensors, batched)]


def each(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """The operator does not mind leading axes."""
    return call(tensors if all(batched) else stretched(tensors, batched), attrs)


def aligned(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """Broadcasting: axes of size 1 after N make the samples' axes meet as they do without it."""
    ranks = [0 if t is None else t.dim() - flag for t, flag in zip(tensors, batched)]
    rank = max(ranks)
    if min(ranks) == rank:
        return call(tensors, attrs)
    return call([t.reshape(t.shape[0], *(1,) * (rank - r), *t.shape[1:]) if t is not None and flag and r < rank else t
                 for t, flag, r in zip(tensors, batched, ranks)], attrs)


def _behind(axis: int) -> int:
    """An axis of a sample as an axis of the stack; one counted from the end stays."""
    return axis + 1 if axis >= 0 else axis


def along(*keys: str) -> Stack:
    """The attributes `keys` are axes: one number each, or several."""
    def rule(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
        moved = dict(attrs)
        for key in keys:
            value = attrs[key]
            if value is None:
                return NotImplemented
            moved[key] = _behind(value) if isinstance(value, int) else tuple(_behind(a) for a in value)
        return each(call, tensors, batched, moved)
    return rule


def _as_rows(result: Tensor) -> Tensor:
    """A number per sample is an array of shape (1,) per sample."""
    return result.unsqueeze(1) if result.dim() == 1 else result


def reducing(key: str = "axis") -> Stack:
    """A reduction over the axes in `key`: all of a sample when none is named, all others with `exclude`."""
    def rule(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
        data = tensors[0]
        assert data is not None
        rank = data.dim() - 1
        axes = axes_of(attrs[key], rank)
        if axes is None:
            axes = tuple(range(rank))
        elif attrs.get("exclude"):
            axes = tuple(a for a in range(rank) if a not in axes)
        if not axes:
            return NotImplemented
        moved = {**attrs, key: tuple(a + 1 for a in axes)}
        if "exclude" in attrs:
            moved["exclude"] = False
        found = call(tensors, moved)
        return tuple(map(_as_rows, found)) if isinstance(found, (tuple, list)) else _as_rows(found)
    return rule


def positions(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """argmax and its like: an index along one axis, or within a whole sample."""
    data = tensors[0]
    assert data is not None
    if attrs["axis"] is not None:
        return _as_rows(call(tensors, {**attrs, "axis": _behind(attrs["axis"])}))
    found = call([data.reshape(data.shape[0], -1)], {**attrs, "axis": 1, "keepdims": False})
    return found.reshape(-1, *(1,) * (data.dim() - 1 if attrs["keepdims"] else 1))


def along_or_flat(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """cumsum, repeat and their like along an axis, or along the flattened sample."""
    data = tensors[0]
    assert data is not None
    if attrs["axis"] is None:
        return call([data.reshape(data.shape[0], -1)], {**attrs, "axis": 1})
    return call(tensors, {**attrs, "axis": _behind(attrs["axis"])})


# -- matrix products ---------------------------------------------------------------------------------------------------


def dense(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Tensor:
    """FullyConnected: one product for all samples with a shared weight, one each with weights of their own."""
    data, weight, bias = tensors[0], tensors[1], tensors[2] if len(tensors) > 2 else None
    assert data is not None and weight is not None
    if attrs["flatten"]:
        kept = 2 if batched[0] else 1
        data = data.reshape(*data.shape[:kept], prod(data.shape[kept:]))
    if not any(batched[1:]):
        return torch.nn.functional.linear(data, weight, bias)
    if not batched[1]:
        found = torch.nn.functional.linear(data, weight)
        found = found if batched[0] else found.unsqueeze(0)
    else:
        shape = data.shape[1:-1] if batched[0] else data.shape[:-1]
        flat = data.reshape(*data.shape[:batched[0]], prod(shape), data.shape[-1])
        found = torch.matmul(flat, weight.transpose(1, 2))
        found = found.reshape(weight.shape[0], *shape, weight.shape[1])
    if bias is None:
        return found
    return found + (bias.reshape(bias.shape[0], *(1,) * (found.dim() - 2), -1) if batched[2] else bias)


def _matrix(tensor: Tensor, flag: bool, inner_first: bool) -> tuple[Tensor, tuple[int, ...]]:
    """Return ([N,] inner, others) or ([N,] others, inner), and the sizes of the other axes."""
    shape = tuple(tensor.shape[flag:])
    lead = tensor.shape[:flag]
    if inner_first:
        return tensor.reshape(*lead, shape[0], prod(shape[1:])), shape[1:]
    return tensor.reshape(*lead, prod(shape[:-1]), shape[-1]), shape[:-1]


def product(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Tensor:
    """Contract as `dot` does; a shared right side makes one product over the rows of all samples."""
    lhs, rhs = tensors
    assert lhs is not None and rhs is not None
    first = attrs["transpose_a"] and lhs.dim() - batched[0] > 1
    last = attrs["transpose_b"] and rhs.dim() - batched[1] > 1
    if not batched[1] and rhs.dim() == 2 and not first:  # a layer's weight
        return torch.matmul(lhs, rhs.t() if last else rhs)
    if not batched[0] and lhs.dim() == rhs.dim() == 2:  # a matrix with a vector of each sample
        return torch.matmul(rhs, lhs if first else lhs.t())
    a, left = _matrix(lhs, batched[0], first)
    b, right = _matrix(rhs, batched[1], not last)
    a = a.transpose(-1, -2) if first else a
    b = b.transpose(-1, -2) if last else b
    n = number(tensors, batched)
    result = (n, *left, *right) if left or right else (n, 1)
    if not batched[1] and not first:
        return torch.mm(a.reshape(n * a.shape[1], a.shape[2]), b).reshape(result)
    if batched[0] and batched[1]:
        return torch.bmm(a, b).reshape(result)
    return torch.matmul(a, b).reshape(result)


def pairwise(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Tensor:
    """Products of batches of matrices, which take any leading axes."""
    lhs, rhs = tensors
    assert lhs is not None and rhs is not None
    return torch.matmul(lhs.transpose(-1, -2) if attrs["transpose_a"] else lhs,
                        rhs.transpose(-1, -2) if attrs["transpose_b"] else rhs)


# -- rows by number ----------------------------------------------------------------------------------------------------


def looked_up(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """Embedding in a shared table."""
    return call(tensors, attrs)


def taken(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """take: the same rows of every sample, rows of one array for every sample, or rows of each its own."""
    data, indices = tensors
    assert data is not None and indices is not None
    axis = axes_of(attrs["axis"], data.dim() - batched[0])
    assert axis is not None
    at = axis[0]
    if not batched[1]:
        return call(tensors, {**attrs, "axis": at + 1})
    if not batched[0]:
        found = call(tensors, attrs)
        return found.movedim(at, 0) if at else found
    if attrs["mode"] == "raise":
        return NotImplemented
    n, size = data.shape[0], data.shape[at + 1]
    rows = indices.to(torch.int64)
    rows = rows.clamp(0, max(size - 1, 0)) if attrs["mode"] == "clip" else torch.remainder(rows, max(size, 1))
    rows = rows.reshape(n, -1) + torch.arange(n, device=rows.device).unsqueeze(1) * size
    table = data.movedim(at + 1, 1)
    others = table.shape[2:]
    found = torch.index_select(table.reshape(n * size, *others), 0, rows.reshape(-1))
    found = found.reshape(n, rows.shape[1], *others).movedim(1, at + 1)
    return found.reshape(n, *others[:at], *indices.shape[1:], *others[at:])


def picked(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """pick, also from samples of one axis."""
    data, index = stretched(tensors, batched)
    assert data is not None and index is not None
    if data.dim() == 2:
        return call([data, index.reshape(-1, 1)], {**attrs, "axis": 1, "keepdims": True})
    return call([data, index], {**attrs, "axis": _behind(attrs["axis"])})


def chosen(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Tensor:
    """where, whose condition of one axis chooses whole rows."""
    condition, x, y = stretched(tensors, batched)
    assert condition is not None and x is not None and y is not None
    return torch.where(condition.reshape(*condition.shape, *(1,) * (x.dim() - condition.dim())) != 0, x, y)


def placed(indices: int, shape: bool) -> Stack:
    """Elements at places (M, ...) of several axes: the number of the sample is one place more.

    indices : position of the input with the places; shape : whether an attribute is the shape of a result
    """
    def rule(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
        given = stretched(tensors, batched)
        places = given[indices]
        assert places is not None
        n = places.shape[0]
        sample = torch.arange(n, device=places.device, dtype=places.dtype)
        sample = sample.reshape(1, n, *(1,) * (places.dim() - 2)).expand(1, n, *places.shape[2:])
        given[indices] = torch.cat((sample, places.movedim(0, 1)))
        return call(given, {**attrs, "shape": (n, *attrs["shape"])} if shape else attrs)
    return rule


def regions(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """ROIs (R, 5) name their image of (B, ...) in the first column, counted on over the samples."""
    data, rois = stretched(tensors, batched)
    assert data is not None and rois is not None
    n, images = data.shape[:2]
    before = torch.arange(n, device=rois.device, dtype=rois.dtype).reshape(n, 1, 1) * images
    image = torch.where(rois[..., :1] < 0, rois[..., :1], rois[..., :1] + before)
    moved = torch.cat((image, rois[..., 1:]), -1)
    found = call([data.reshape(n * images, *data.shape[2:]), moved.reshape(-1, rois.shape[-1])], attrs)
    return found.reshape(n, rois.shape[1], *found.shape[1:])


def entropy(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Tensor:
    """softmax_cross_entropy, summed over the rows of each sample."""
    data, label = stretched(tensors, batched)
    assert data is not None and label is not None
    logs = torch.log_softmax(data, -1)
    return -torch.gather(logs, -1, label.to(torch.int64).unsqueeze(-1)).sum((1, 2)).unsqueeze(1)


def normalised(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """LayerNorm with shared gains."""
    return call(tensors, {**attrs, "axis": _behind(attrs["axis"])})


def dropped(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """Dropout: each sample has decisions of its own, also where they are common along axes."""
    return call(tensors, {**attrs, "axes": tuple(_behind(a) for a in attrs["axes"])})


# -- shapes and order --------------------------------------------------------------------------------------------------


def reshaped(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """Reshape: the codes of a sample, behind the number of samples."""
    data = tensors[0]
    assert data is not None
    codes = attrs["shape"]
    if not codes:
        codes = [-1 if size == 0 else size for size in attrs["target_shape"]]
        if attrs["keep_highest"]:
            codes[0] = data.shape[1]
    if attrs["reverse"] and -2 in codes or not data.shape[0]:
        return NotImplemented
    return call(tensors, {**attrs, "shape": (data.shape[0], *codes)})


def reshaped_to(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """An exact shape per sample."""
    data = tensors[0]
    assert data is not None
    return data.reshape(data.shape[0], *attrs["shape"])


def reshaped_like(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """reshape_like: lhs_begin..lhs_end of a sample become rhs_begin..rhs_end of the other's sample."""
    lhs, rhs = tensors
    assert lhs is not None and rhs is not None
    if not batched[0]:
        lhs = lhs.expand(rhs.shape[0], *lhs.shape)
    mine, other = tuple(lhs.shape[1:]), tuple(rhs.shape[batched[1]:])
    a, b = _range(attrs["lhs_begin"], attrs["lhs_end"], len(mine))
    p, q = _range(attrs["rhs_begin"], attrs["rhs_end"], len(other))
    return lhs.reshape(lhs.shape[0], *mine[:a], *other[p:q], *mine[b:])


def _range(begin: int | None, end: int | None, rank: int) -> tuple[int, int]:
    begin, end = 0 if begin is None else begin, rank if end is None else end
    return begin + rank if begin < 0 else begin, end + rank if end < 0 else end


def flattened(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Tensor:
    """Flatten: a matrix per sample."""
    data = tensors[0]
    assert data is not None
    return data.reshape(*data.shape[:2], prod(data.shape[2:]))


def squeezed(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Tensor:
    """squeeze: at least one axis of a sample stays."""
    data = tensors[0]
    assert data is not None
    rank = data.dim() - 1
    named = axes_of(attrs["axis"], rank)
    kept = [n for a, n in enumerate(data.shape[1:]) if n != 1 or (named is not None and a not in named)]
    return data.reshape(data.shape[0], *(kept or (1,)))


def transposed(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Tensor:
    """transpose: the order of a sample's axes, behind N."""
    data = tensors[0]
    assert data is not None
    rank = data.dim() - 1
    return data.permute(0, *(a + 1 for a in axes_of(attrs["axes"], rank) or range(rank - 1, -1, -1)))


def cut(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """slice: all samples, then begin, end and step of each axis."""
    def behind(value: Any) -> tuple[Any, ...]:
        return (None, value) if isinstance(value, int) else (None, *value)
    steps = attrs["step"]
    moved = {**attrs, "begin": behind(attrs["begin"]), "end": behind(attrs["end"]),
             "step": behind(steps) if steps or isinstance(steps, int) else steps}
    return each(call, tensors, batched, moved)


def cut_like(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """slice_like: the named axes, or all of a sample."""
    like = tensors[1]
    assert like is not None
    axes = attrs["axes"] or range(like.dim() - batched[1])
    return each(call, tensors, batched, {**attrs, "axes": tuple(_behind(a) for a in axes)})


def ordered(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """sort and its like along an axis, or of the flattened sample."""
    data = tensors[0]
    assert data is not None
    found = along_or_flat(call, tensors, batched, attrs)
    if attrs["axis"] is not None or attrs.get("ret_typ") != "mask":
        return found
    return tuple(t.reshape(data.shape) for t in (found if isinstance(found, (tuple, list)) else (found,)))


def tiled(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """tile: repetitions of a sample's axes, counted from the last."""
    data = tensors[0]
    assert data is not None
    reps = (attrs["reps"],) if isinstance(attrs["reps"], int) else tuple(attrs["reps"])
    rank = max(len(reps), data.dim() - 1)
    data = data.reshape(data.shape[0], *(1,) * (rank + 1 - data.dim()), *data.shape[1:])
    return call([data], {**attrs, "reps": (1,) * (rank + 1 - len(reps)) + reps})


def expanded(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """broadcast_to a shape per sample."""
    data, shape = tensors[0], tuple(attrs["shape"])
    assert data is not None
    data = data.reshape(data.shape[0], *(1,) * (len(shape) + 1 - data.dim()), *data.shape[1:])
    return call([data], {**attrs, "shape": (data.shape[0], *shape)})


def likened(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """broadcast_like: all axes of a sample, or those named for both."""
    moved = {key: None if attrs[key] is None else tuple(_behind(a) for a in attrs[key])
             for key in ("lhs_axes", "rhs_axes")}
    return each(call, tensors, batched, {**attrs, **moved})


# -- matrices and images, which take leading axes anyway ---------------------------------------------------------------


def numbers(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """One number per matrix (determinants), an array of shape (1,) for a single one."""
    found = each(call, tensors, batched, attrs)
    return tuple(map(_as_rows, found)) if isinstance(found, tuple) else _as_rows(found)


def images(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """Images (H, W, C) of samples are what the operator calls a batch."""
    data = tensors[0]
    return call(tensors, attrs) if data is not None and data.dim() == 4 else NotImplemented


# -- layers whose batch is axis 1 --------------------------------------------------------------------------------------


def _beside(tensor: Tensor | None, flag: bool, n: int, axis: int) -> Tensor | None:
    """Merge the samples into an axis of each: (N, ..., B, ...) to (..., N * B, ...)."""
    if tensor is None:
        return None
    whole = (tensor if flag else tensor.expand(n, *tensor.shape)).movedim(0, axis)
    return whole.reshape(*whole.shape[:axis], n * whole.shape[axis + 1], *whole.shape[axis + 2:])


def _apart(result: Tensor, n: int, axis: int) -> Tensor:
    """Undo `_beside`."""
    size = result.shape[axis] // n
    return result.reshape(*result.shape[:axis], n, size, *result.shape[axis + 1:]).movedim(axis, 0)


def recurrent(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """RNN with shared parameters: data (T, B, C), states (L, B, H), lengths (B,) are merged along B."""
    n = number(tensors, batched)
    axes = (1, 0, 1, 1, 0)
    found = call([t if i == 1 else _beside(t, batched[i], n, axes[i]) for i, t in enumerate(tensors)], attrs)
    shown = found if isinstance(found, (tuple, list)) else (found,)
    return tuple(_apart(t, n, 1) if t.dim() == 3 else t.expand(n, *t.shape) for t in shown)


def connectionist(call: Call, tensors: Tensors, batched: Flags, attrs: Attrs) -> Any:
    """CTCLoss: data (T, B, C), labels (B, L) and lengths (B,) are merged along B."""
    n = number(tensors, batched)
    found = call([_beside(t, flag, n, 0 if i else 1) for i, (t, flag) in enumerate(zip(tensors, batched))], attrs)
    return _apart(found, n, 0)
