"""Boxes: overlap, suppression, matching, encoding (box_iou, box_nms, bipartite_matching, box_encode, box_decode).

The one idea: a box is four numbers, corners (x0, y0, x1, y1) or centre (x, y, width, height), on the last axis;
greedy suppression in order of score is the fixed point of "kept unless a kept better box overlaps", found by
iterating over the whole matrix of overlaps. The operators of one particular detector (MultiBox…) are in detection.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .opdef import REQUIRED, Tensor, from_kernel, operator, unsupported
from .rules.check import A, S, check
from .rules.layers import formula, probing

_TARGETS = unsupported("it makes training targets or decisions, which are constants to the loss")
_BOXES = np.array([[0.1, 0.1, 0.5, 0.6], [0.3, 0.2, 0.9, 0.7], [0.0, 0.5, 0.4, 1.0]])
_OTHERS = np.array([[0.2, 0.1, 0.6, 0.6], [0.5, 0.5, 1.0, 1.0]])


def to_corners(boxes: Tensor) -> Tensor:
    """Centre boxes as corner boxes."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def to_centre(boxes: Tensor) -> Tensor:
    """Corner boxes as centre boxes."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def overlaps(lhs: Tensor, rhs: Tensor) -> Tensor:
    """Intersection over union of corner boxes (…, N, 4) and (…, M, 4): (…, N, M); 0 where nothing is covered."""
    one, two = lhs.unsqueeze(-2), rhs.unsqueeze(-3)
    shared = (
        (torch.minimum(one[..., 2:], two[..., 2:]) - torch.maximum(one[..., :2], two[..., :2])).clamp(min=0).prod(-1)
    )
    areas = (one[..., 2:] - one[..., :2]).clamp(min=0).prod(-1) + (two[..., 2:] - two[..., :2]).clamp(min=0).prod(-1)
    union = areas - shared
    return torch.where(union > 0, shared / torch.where(union > 0, union, 1), 0)


def suppress(overlapping: Tensor, valid: Tensor) -> Tensor:
    """Greedy non-maximum suppression: overlapping (B, N, N), boxes in order of score, valid (B, N) → kept (B, N).

    A round decides every box whose better neighbours are decided, so there are as many rounds as the longest chain of
    them.
    """
    before = overlapping & torch.ones(overlapping.shape[-2:], dtype=torch.bool, device=overlapping.device).triu(1)
    kept = valid
    while True:
        found = valid & ~(before & kept.unsqueeze(-1)).any(-2)
        if torch.equal(found, kept):
            return kept
        kept = found


def check_format(where: str, name: str, value: str) -> None:
    """Refuse a box format that does not exist."""
    if value not in ("corner", "center"):
        raise ArgumentError(explain(where, f"There is no such {name}.", expected="corner, center", received=value))


def _check_boxes(where: str, **boxes: Tensor) -> None:
    for name, value in boxes.items():
        if value.dim() < 1 or value.shape[-1] != 4:
            raise ShapeError(
                explain(
                    where,
                    f"The input {name!r} does not hold boxes.",
                    expected="a last axis of size 4",
                    received=f"{name} {tuple(value.shape)}",
                )
            )


# -- box_iou -----------------------------------------------------------------------------------------------------------
def _np_corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


def _np_iou(a: np.ndarray, b: np.ndarray, format: str = "corner") -> np.ndarray:
    if format == "center":
        a, b = _np_corners(a), _np_corners(b)
    out = np.zeros(a.shape[:-1] + b.shape[:-1])
    for i in np.ndindex(*a.shape[:-1]):
        for j in np.ndindex(*b.shape[:-1]):
            sides = np.maximum(0, np.minimum(a[i][2:], b[j][2:]) - np.maximum(a[i][:2], b[j][:2]))
            shared = sides.prod()
            out[i + j] = shared / (np.prod(a[i][2:] - a[i][:2]) + np.prod(b[j][2:] - b[j][:2]) - shared)
    return out


@operator(
    name="_contrib_box_iou",
    gradient=_TARGETS,
    infer=probing,
    check=check(
        S(_BOXES, _OTHERS),
        S(A(2, 4, low=0.2, high=0.8), A(2, 3, 4, low=0.2, high=0.8), format="center"),
        ref=_np_iou,
        errors=[
            ((A(2, 3), A(3, 4)), {}, "last axis of size 4"),
            ((A(2, 4), A(3, 4)), {"format": "middle"}, "corner, center"),
        ],
    ),
)
def box_iou(lhs: Tensor, rhs: Tensor, format: str = "corner") -> Tensor:
    """Compute intersection over union of every box of lhs (…, 4) with every box of rhs (…, 4): (…lhs, …rhs).

    >>> nd.contrib.box_iou(nd.array([[0, 0, 2, 2]]), nd.array([[1, 0, 3, 2]])).asnumpy().round(3).tolist()
    [[0.33...]]
    """
    _check_boxes("box_iou", lhs=lhs, rhs=rhs)
    check_format("box_iou", "format", format)
    if format == "center":
        lhs, rhs = to_corners(lhs), to_corners(rhs)
    return overlaps(lhs.reshape(-1, 4), rhs.reshape(-1, 4)).view(lhs.shape[:-1] + rhs.shape[:-1])


# -- box_nms -----------------------------------------------------------------------------------------------------------
def _np_nms(
    x: np.ndarray,
    overlap_thresh: float = 0.5,
    valid_thresh: float = 0.0,
    topk: int = -1,
    coord_start: int = 2,
    score_index: int = 1,
    id_index: int = -1,
    background_id: int = -1,
    force_suppress: bool = False,
    in_format: str = "corner",
    out_format: str = "corner",
) -> np.ndarray:
    rows = x.reshape(-1, *x.shape[-2:])
    out = np.full(rows.shape, -1.0)
    place = slice(coord_start, coord_start + 4)
    for n, boxes in enumerate(rows):
        order = [
            b
            for b in boxes[np.argsort(-boxes[:, score_index], kind="stable")]
            if b[score_index] > valid_thresh and (id_index < 0 or b[id_index] != background_id)
        ]
        kept: list[np.ndarray] = []
        for b in order[: topk if topk > 0 else None]:
            rivals = [k for k in kept if force_suppress or id_index < 0 or k[id_index] == b[id_index]]
            if all(_np_iou(k[place], b[place], in_format) <= overlap_thresh for k in rivals):
                kept.append(b)
        for i, b in enumerate(kept):
            out[n, i] = b
            if in_format != out_format:
                out[n, i, place] = (
                    _np_corners(b[place])
                    if out_format == "corner"
                    else [
                        (b[coord_start] + b[coord_start + 2]) / 2,
                        (b[coord_start + 1] + b[coord_start + 3]) / 2,
                        b[coord_start + 2] - b[coord_start],
                        b[coord_start + 3] - b[coord_start + 1],
                    ]
                )
    return out.reshape(x.shape)


_ROWS = np.array(
    [
        [
            [0, 0.9, 0.1, 0.1, 0.5, 0.5],
            [0, 0.8, 0.12, 0.1, 0.52, 0.5],
            [1, 0.7, 0.1, 0.1, 0.5, 0.55],
            [1, 0.3, 0.6, 0.6, 0.9, 0.9],
            [-1, 0.95, 0.0, 0.0, 1.0, 1.0],
        ]
    ]
)


@operator(
    name="_contrib_box_nms",
    aliases=("_contrib_box_non_maximum_suppression",),
    gradient=from_kernel,
    infer=formula(lambda a, shapes, dtypes: [(shapes[0], dtypes[0])]),
    check=check(
        # classes are numbers that finite differences would tear apart: no gradient where they count
        S(_ROWS, id_index=0, grad=False),
        S(_ROWS, id_index=0, force_suppress=True, grad=False),
        S(_ROWS),
        S(_ROWS, id_index=0, valid_thresh=0.5, grad=False),
        S(_ROWS[0], id_index=0, topk=2, grad=False),
        S(_ROWS, id_index=0, background_id=0, out_format="center", grad=False),
        S(_ROWS, in_format="center", out_format="corner"),
        S(_ROWS, overlap_thresh=1.0),
        S(A(2, 7, 6, low=0.1), id_index=-1, overlap_thresh=0.2, in_format="center", out_format="center"),
        S(A(0, 3, 6)),
        ref=_np_nms,
        errors=[
            ((A(2, 3, 4),), {}, "from coord_start=2 to 5"),
            ((A(6),), {}, r"\(…, N, K\)"),
            ((A(2, 3, 6),), {"in_format": "middle"}, "corner, center"),
        ],
    ),
)
def box_nms(
    data: Tensor,
    overlap_thresh: float = 0.5,
    valid_thresh: float = 0.0,
    topk: int = -1,
    coord_start: int = 2,
    score_index: int = 1,
    id_index: int = -1,
    background_id: int = -1,
    force_suppress: bool = False,
    in_format: str = "corner",
    out_format: str = "corner",
) -> Tensor:
    """Keep the boxes that no better kept box overlaps by more than overlap_thresh, in order of score; the rest of the
    rows are −1.

    data (…, N, K): each row holds a score, four coordinates from coord_start on, and a class if id_index ≥ 0. Rows
    with score ≤ valid_thresh, and those of class background_id, are dropped; topk > 0 looks at the best only. Boxes
    of different classes do not suppress each other unless force_suppress.

    >>> rows = nd.array([[0.9, 0, 0, 2, 2], [0.8, 0, 0, 2, 1.9], [0.7, 3, 3, 4, 4]])
    >>> nd.contrib.box_nms(rows, coord_start=1, score_index=0).asnumpy()[:, 3].tolist()
    [2.0, 4.0, -1.0]
    """
    if data.dim() < 2:
        raise ShapeError(
            explain("box_nms", "The data have too few axes.", expected="data (…, N, K)", received=tuple(data.shape))
        )
    if not (
        coord_start >= 0
        and coord_start + 4 <= data.shape[-1]
        and 0 <= score_index < data.shape[-1]
        and id_index < data.shape[-1]
    ):
        raise ArgumentError(
            explain(
                "box_nms",
                "A row is too short for these positions.",
                received=f"rows of {data.shape[-1]}, score_index={score_index}",
                expected=f"coordinates from coord_start={coord_start} to {coord_start + 3}, and score_index, inside",
            )
        )
    for name, value in (("in_format", in_format), ("out_format", out_format)):
        check_format("box_nms", name, value)
    rows = data.reshape(prod(data.shape[:-2]), *data.shape[-2:])
    if not rows.numel():
        return data.clone()
    with torch.no_grad():
        scores = rows[..., score_index]
        valid = scores > valid_thresh
        if id_index >= 0:
            valid = valid & (rows[..., id_index] != background_id)
        order = torch.where(valid, scores, -torch.inf).argsort(dim=-1, descending=True, stable=True)
        count = int(valid.sum(-1).max())
        order = order[:, : min(count, topk) if topk > 0 else count]
        best = rows.gather(1, order[..., None].expand(-1, -1, rows.shape[-1]))
        boxes = best[..., coord_start : coord_start + 4]
        rivals = overlaps(*[to_corners(boxes) if in_format == "center" else boxes] * 2) > overlap_thresh
        if id_index >= 0 and not force_suppress:
            rivals = rivals & (best[..., None, id_index] == best[..., None, :, id_index])
        kept = suppress(rivals, valid.gather(1, order))
        front = (~kept).long().argsort(dim=-1, stable=True)
        places, used = order.gather(1, front), kept.gather(1, front)[..., None]
    result = rows.gather(1, places[..., None].expand(-1, -1, rows.shape[-1]))
    if in_format != out_format:
        moved = (to_corners if out_format == "corner" else to_centre)(result[..., coord_start : coord_start + 4])
        result = torch.cat([result[..., :coord_start], moved, result[..., coord_start + 4 :]], -1)
    result = torch.where(used, result, -1)
    return torch.nn.functional.pad(result, [0, 0, 0, rows.shape[1] - result.shape[1]], value=-1).view(data.shape)


# -- bipartite_matching ------------------------------------------------------------------------------------------------
def _np_matching(
    x: np.ndarray, is_ascend: bool = False, threshold: float = 0.0, topk: int = -1
) -> tuple[np.ndarray, np.ndarray]:
    flat = x.reshape(-1, *x.shape[-2:])
    rows, columns = np.full(flat.shape[:2], -1.0), np.full((len(flat), flat.shape[2]), -1.0)
    for n, scores in enumerate(flat):
        count = 0
        for place in np.argsort(scores.ravel() if is_ascend else -scores.ravel(), kind="stable"):
            i, j = divmod(int(place), scores.shape[1])
            if rows[n, i] != -1 or columns[n, j] != -1:
                continue
            if scores[i, j] > threshold if is_ascend else scores[i, j] < threshold:
                break
            rows[n, i], columns[n, j] = j, i
            count += 1
            if 0 < topk < count:
                break
    return rows.reshape(x.shape[:-1]), columns.reshape(*x.shape[:-2], x.shape[-1])


@operator(
    name="_contrib_bipartite_matching",
    outputs=2,
    output_names=("output0", "output1"),
    gradient=_TARGETS,
    infer=formula(
        lambda a, shapes, dtypes: [(shapes[0][:-1], dtypes[0]), ((*shapes[0][:-2], shapes[0][-1]), dtypes[0])]
    ),
    check=check(
        S(A(3, 4, low=0), threshold=1e-12),
        S(A(2, 3, 2, low=0), threshold=0.5, is_ascend=True),
        S(A(2, 3, 4, low=0), threshold=0.2, topk=1),
        ref=_np_matching,
        errors=[((A(3),), {"threshold": 0.1}, "at least 2 axes")],
    ),
)
def bipartite_matching(
    data: Tensor, is_ascend: bool = False, threshold: float = REQUIRED, topk: int = -1
) -> tuple[Tensor, Tensor]:
    """Match rows and columns of data (…, N, M), the best score first, each at most once: the column of each row, the
    row of each column.

    −1 marks what is not matched. Scores below `threshold` (above it with is_ascend, where small is good) match nothing;
    topk > 0 stops after topk + 1 matches, as Gluon 1.x does.

    >>> [m.asnumpy().tolist() for m in nd.contrib.bipartite_matching(nd.array([[0.5, 0.6], [0.1, 0.2]]), threshold=0.1)]
    [[1.0, 0.0], [1.0, 0.0]]
    """
    if data.dim() < 2:
        raise ShapeError(
            explain(
                "bipartite_matching",
                "The scores need rows and columns.",
                expected="data of at least 2 axes",
                received=tuple(data.shape),
            )
        )
    scores = data.reshape(prod(data.shape[:-2]), *data.shape[-2:])
    batch, rows, columns = scores.shape
    left = (-scores if is_ascend else scores).clone()
    limit = -threshold if is_ascend else threshold
    row_match, column_match = left.new_full((batch, rows), -1), left.new_full((batch, columns), -1)
    each = torch.arange(batch, device=data.device)
    for _ in range(min(rows, columns, topk + 1 if topk > 0 else rows) if batch else 0):
        best, place = left.view(batch, -1).max(1)
        good = (best >= limit) & (best > -torch.inf)
        i, j = place // columns, place % columns
        row_match[each, i] = torch.where(good, j.to(left.dtype), row_match[each, i])
        column_match[each, j] = torch.where(good, i.to(left.dtype), column_match[each, j])
        left[each, i] = -torch.inf
        left[each, :, j] = -torch.inf
    return row_match.view(data.shape[:-1]), column_match.view(*data.shape[:-2], columns)


# -- box_encode, box_decode --------------------------------------------------------------------------------------------
def _np_encode(
    samples: np.ndarray, matches: np.ndarray, anchors: np.ndarray, refs: np.ndarray, means: np.ndarray, stds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    out, mask = np.zeros(anchors.shape), np.zeros(anchors.shape)
    for n, i in np.argwhere(samples > 0.5):
        a, g = anchors[n, i], refs[n, int(matches[n, i])]
        size, wanted = a[2:] - a[:2], g[2:] - g[:2]
        shift = ((g[2:] + g[:2]) - (a[2:] + a[:2])) / 2 / size
        out[n, i] = (np.concatenate([shift, np.log(wanted / size)]) - means) / stds
        mask[n, i] = 1
    return out, mask


@operator(
    name="_contrib_box_encode",
    outputs=2,
    output_names=("output0", "output1"),
    gradient=_TARGETS,
    infer=probing,
    check=check(
        S(
            np.array([[1.0, 0.0, -1.0]]),
            np.array([[0.0, 1.0, 0.0]]),
            _BOXES[None],
            _OTHERS[None],
            np.zeros(4),
            np.array([0.1, 0.1, 0.2, 0.2]),
        ),
        ref=_np_encode,
        errors=[((A(1, 3), A(1, 3), A(1, 3, 5), A(1, 2, 4), A(4), A(4)), {}, "last axis of size 4")],
    ),
)
def box_encode(
    samples: Tensor, matches: Tensor, anchors: Tensor, refs: Tensor, means: Tensor, stds: Tensor
) -> tuple[Tensor, Tensor]:
    """Encode, for each anchor (B, N, 4) with samples > 0.5, its matched reference box as (shift/size, log size ratio
    − means)/stds.

    samples (B, N); matches (B, N), positions in refs (B, M, 4); corner boxes; means and stds (4,). Returns targets
    and a 0/1 mask, both (B, N, 4).
    """
    _check_boxes("box_encode", anchors=anchors, refs=refs)
    chosen = refs.gather(1, matches.long().clamp(min=0)[..., None].expand(-1, -1, 4))
    own, wanted = to_centre(anchors), to_centre(chosen)
    codes = torch.cat([(wanted[..., :2] - own[..., :2]) / own[..., 2:], torch.log(wanted[..., 2:] / own[..., 2:])], -1)
    mask = (samples > 0.5)[..., None].expand(anchors.shape)
    return torch.where(mask, (codes - means) / stds, 0), mask.to(anchors.dtype)


def decode(codes: Tensor, anchors: Tensor, stds: Sequence[float], limit: float) -> Tensor:
    """Corner boxes from codes (…, N, 4) relative to centre anchors; size codes are at most `limit` if it is
    positive.
    """
    codes = codes * torch.tensor(stds, dtype=codes.dtype, device=codes.device)
    centre = codes[..., :2] * anchors[..., 2:] + anchors[..., :2]
    size = codes[..., 2:].clamp(max=limit) if limit > 0 else codes[..., 2:]
    half = torch.exp(size) * anchors[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def _np_decode(
    x: np.ndarray,
    anchors: np.ndarray,
    std0: float = 1.0,
    std1: float = 1.0,
    std2: float = 1.0,
    std3: float = 1.0,
    clip: float = -1.0,
    format: str = "center",
) -> np.ndarray:
    if format == "corner":
        anchors = np.concatenate([(anchors[..., :2] + anchors[..., 2:]) / 2, anchors[..., 2:] - anchors[..., :2]], -1)
    codes = x * np.array([std0, std1, std2, std3])
    size = np.minimum(codes[..., 2:], clip) if clip > 0 else codes[..., 2:]
    return _np_corners(
        np.concatenate([codes[..., :2] * anchors[..., 2:] + anchors[..., :2], np.exp(size) * anchors[..., 2:]], -1)
    )


@operator(
    name="_contrib_box_decode",
    gradient=from_kernel,
    infer=probing,
    check=check(
        S(A(2, 3, 4), A(1, 3, 4, low=0.2, high=0.8)),
        S(A(2, 3, 4), _BOXES[None], std0=0.1, std1=0.1, std2=0.2, std3=0.2, clip=0.1, format="corner"),
        ref=_np_decode,
        errors=[
            ((A(2, 3, 4), A(1, 3, 5)), {}, "last axis of size 4"),
            ((A(2, 3, 4), A(1, 3, 4)), {"format": "middle"}, "corner, center"),
        ],
    ),
)
def box_decode(
    data: Tensor,
    anchors: Tensor,
    std0: float = 1.0,
    std1: float = 1.0,
    std2: float = 1.0,
    std3: float = 1.0,
    clip: float = -1.0,
    format: str = "center",
) -> Tensor:
    """Turn codes data (B, N, 4) relative to anchors (1, N, 4) into corner boxes; the inverse of box_encode.

    The codes are multiplied by std0 … std3; size codes are at most `clip` if it is positive. `format` is that of the
    anchors.
    """
    _check_boxes("box_decode", data=data, anchors=anchors)
    check_format("box_decode", "format", format)
    return decode(data, to_centre(anchors) if format == "corner" else anchors, (std0, std1, std2, std3), clip)
