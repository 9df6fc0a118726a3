"""The single-shot detector's operators: MultiBoxPrior (anchors), MultiBoxTarget (what to learn), MultiBoxDetection
(what was found).

The one idea: anchors are corner boxes in units of the image, on (1, N, 4); everything is computed for the whole batch
at once. Matching, overlap and suppression are in boxes.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
import torch

from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Floats
from .boxes import _np_iou, decode, overlaps, suppress, to_centre
from .opdef import Tensor, operator, unsupported
from .rules.check import A, S, check
from .rules.layers import formula

_CONSTANT = unsupported("it makes anchors, training targets or decisions, which are constants to the loss")
_VARIANCES = (0.1, 0.1, 0.2, 0.2)


# -- MultiBoxPrior -----------------------------------------------------------------------------------------------------
def _shapes(sizes: Sequence[float], ratios: Sequence[float]) -> list[tuple[float, float]]:
    """(width, height) of the anchors at one place, for an image as wide as high: every size with the first ratio,
    then the other ratios.
    """
    pairs = [(size, ratios[0]) for size in sizes] + [(sizes[0], ratio) for ratio in ratios[1:]]
    return [(size * sqrt(ratio), size / sqrt(ratio)) for size, ratio in pairs]


def _np_prior(
    x: np.ndarray,
    sizes: Any = (1.0,),
    ratios: Any = (1.0,),
    clip: bool = False,
    steps: Any = (-1.0, -1.0),
    offsets: Any = (0.5, 0.5),
) -> np.ndarray:
    rows, columns = x.shape[2:]
    down, across = (s if s > 0 else 1 / n for s, n in zip(steps, (rows, columns)))
    out = []
    for i, j in np.ndindex(rows, columns):
        y, cx = (i + offsets[0]) * down, (j + offsets[1]) * across
        for width, height in _shapes(sizes, ratios):
            out.append(
                [cx - width * rows / columns / 2, y - height / 2, cx + width * rows / columns / 2, y + height / 2]
            )
    return np.clip(out, 0, 1)[None] if clip else np.array(out)[None]


def _prior_types(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> list[Any]:
    return [((1, shapes[0][2] * shapes[0][3] * (len(attrs["sizes"]) + len(attrs["ratios"]) - 1), 4), dtypes[0])]


@operator(
    name="_contrib_MultiBoxPrior",
    gradient=_CONSTANT,
    infer=formula(_prior_types),
    check=check(
        S(A(1, 2, 3, 4)),
        S(A(1, 2, 3, 4), sizes=(0.5, 0.25), ratios=(4.0, 2.0, 0.5)),
        S(A(1, 2, 3, 4), sizes=(0.9,), ratios=(1.0, 3.0), clip=True, steps=(0.3, 0.2), offsets=(0.4, 0.6)),
        ref=_np_prior,
        errors=[((A(2, 3),), {}, r"\(N, C, H, W\)"), ((A(1, 2, 3, 4),), {"sizes": ()}, "at least one")],
    ),
)
def MultiBoxPrior(
    data: Tensor,
    sizes: Floats = (1.0,),
    ratios: Floats = (1.0,),
    clip: bool = False,
    steps: Floats = (-1.0, -1.0),
    offsets: Floats = (0.5, 0.5),
) -> Tensor:
    """Make anchors around each pixel of data (N, C, H, W): (1, H·W·(len(sizes) + len(ratios) − 1), 4), corners in
    units of the image.

    Per place: each size with the first ratio (width/height), then the first size with each other ratio. `steps` (y,
    x) is the distance of places (negative: one pixel), `offsets` (y, x) their shift in steps; `clip` cuts at the
    image's border.

    >>> nd.contrib.MultiBoxPrior(nd.ones((1, 3, 4, 4)), sizes=(0.5, 0.25), ratios=(1, 2)).shape
    (1, 48, 4)
    """
    if data.dim() != 4:
        raise ShapeError(
            explain(
                "MultiBoxPrior",
                "The data have a wrong number of axes.",
                expected="data (N, C, H, W)",
                received=tuple(data.shape),
            )
        )
    if not sizes or not ratios:
        raise ArgumentError(
            explain(
                "MultiBoxPrior",
                "sizes and ratios need at least one number each.",
                received=f"sizes={sizes}, ratios={ratios}",
            )
        )
    rows, columns = data.shape[2:]
    down, across = (step if step > 0 else 1 / n for step, n in zip(steps, (rows, columns)))
    options: dict[str, Any] = {"dtype": data.dtype, "device": data.device}
    y, x = (torch.arange(rows, **options) + offsets[0]) * down, (torch.arange(columns, **options) + offsets[1]) * across
    half = torch.tensor(
        [(width * rows / columns / 2, height / 2) for width, height in _shapes(sizes, ratios)], **options
    )
    centre = torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], -1)[:, :, None]
    anchors = torch.cat([centre - half, centre + half], -1).view(1, -1, 4)
    return anchors.clamp(0, 1) if clip else anchors


# -- MultiBoxTarget ----------------------------------------------------------------------------------------------------
def _np_target(
    anchor: np.ndarray,
    label: np.ndarray,
    cls_pred: np.ndarray,
    overlap_threshold: float = 0.5,
    ignore_label: float = -1.0,
    negative_mining_ratio: float = -1.0,
    negative_mining_thresh: float = 0.5,
    minimum_negative_samples: int = 0,
    variances: Any = _VARIANCES,
) -> tuple[np.ndarray, ...]:
    count, batch = anchor.shape[1], len(label)
    loc, mask, cls = np.zeros((batch, count, 4)), np.zeros((batch, count, 4)), np.full((batch, count), ignore_label)
    for n in range(batch):
        truth = label[n][: int(np.argmax(np.append(label[n, :, 0], -1) == -1))]
        if not len(truth):
            continue
        iou, match = _np_iou(anchor[0], truth[:, 1:5]), np.full(count, -1)
        left = iou.copy()
        while left.max() > 1e-6:
            i, j = np.unravel_index(left.argmax(), left.shape)
            match[i] = j
            left[i], left[:, j] = -1, -1
        if overlap_threshold > 0:
            match = np.where((match < 0) & (iou.max(1) > overlap_threshold), iou.argmax(1), match)
        negative = match < 0
        if negative_mining_ratio > 0:
            wanted = min(
                max(int((match >= 0).sum() * negative_mining_ratio), minimum_negative_samples), int(negative.sum())
            )
            prob = np.exp(cls_pred[n, 0]) / np.exp(cls_pred[n]).sum(0)
            hard = np.argsort(np.where(negative & (iou.max(1) < negative_mining_thresh), prob, np.inf), kind="stable")[
                :wanted
            ]
            negative = np.isin(np.arange(count), hard) & negative & (iou.max(1) < negative_mining_thresh)
        cls[n, negative] = 0
        for i in np.flatnonzero(match >= 0):
            a, g = anchor[0, i], truth[match[i], 1:5]
            size = a[2:] - a[:2]
            shift = ((g[2:] + g[:2]) - (a[2:] + a[:2])) / 2 / size
            loc[n, i] = np.concatenate([shift, np.log((g[2:] - g[:2]) / size)]) / np.array(variances)
            mask[n, i], cls[n, i] = 1, truth[match[i], 0] + 1
    return loc.reshape(batch, -1), mask.reshape(batch, -1), cls


def _target_types(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> list[Any]:
    batch, count = shapes[1][0], shapes[0][1]
    return [((batch, 4 * count), dtypes[0]), ((batch, 4 * count), dtypes[0]), ((batch, count), dtypes[0])]


_ANCHORS = np.array(
    [
        [
            [0.0, 0.0, 0.5, 0.5],
            [0.5, 0.5, 1.0, 1.0],
            [0.1, 0.1, 0.6, 0.6],
            [0.0, 0.5, 0.5, 1.0],
            [0.2, 0.2, 0.4, 0.4],
            [0.6, 0.0, 0.9, 0.3],
        ]
    ]
)
_LABELS = np.array(
    [
        [[2, 0, 0, 0.45, 0.5], [0, 0.5, 0.4, 1, 0.9]],
        [[1, 0.1, 0.1, 0.55, 0.6], [-1, -1, -1, -1, -1]],
        [[-1, -1, -1, -1, -1], [-1, -1, -1, -1, -1]],
    ]
)


@operator(
    name="_contrib_MultiBoxTarget",
    outputs=3,
    output_names=("loc_target", "loc_mask", "cls_target"),
    gradient=_CONSTANT,
    infer=formula(_target_types),
    check=check(
        S(_ANCHORS, _LABELS, A(3, 4, 6)),
        S(_ANCHORS, _LABELS, A(3, 4, 6), overlap_threshold=0.3, variances=(0.2, 0.2, 0.1, 0.1)),
        S(_ANCHORS, _LABELS, A(3, 4, 6), negative_mining_ratio=1.0),
        S(_ANCHORS, _LABELS, A(3, 4, 6), negative_mining_ratio=3.0, negative_mining_thresh=0.2),
        S(_ANCHORS, _LABELS, A(3, 4, 6), negative_mining_ratio=1.0, minimum_negative_samples=3, ignore_label=-5.0),
        ref=_np_target,
        errors=[
            ((A(1, 6, 5), _LABELS, A(3, 4, 6)), {}, r"anchor \(1, N, 4\)"),
            ((_ANCHORS, A(3, 2, 4), A(3, 4, 6)), {}, r"label \(B, M, ≥ 5\)"),
            ((_ANCHORS, _LABELS, A(3, 4, 5)), {}, r"cls_pred \(B, classes \+ 1, N\)"),
        ],
    ),
)
def MultiBoxTarget(
    anchor: Tensor,
    label: Tensor,
    cls_pred: Tensor,
    overlap_threshold: float = 0.5,
    ignore_label: float = -1.0,
    negative_mining_ratio: float = -1.0,
    negative_mining_thresh: float = 0.5,
    minimum_negative_samples: int = 0,
    variances: Floats = _VARIANCES,
) -> tuple[Tensor, Tensor, Tensor]:
    """Say for each anchor which box and class it should learn: loc_target and loc_mask (B, 4·N), cls_target (B, N).

    anchor (1, N, 4); label (B, M, 5…): rows class, x0, y0, x1, y1, ended by a class −1; cls_pred (B, classes + 1, N),
    scores with class 0 the background. Each box gets its best anchor; every other anchor the box it overlaps best, if
    by more than overlap_threshold. cls_target is class + 1, 0 for background. With negative_mining_ratio > 0 only
    that many times the matched anchors (at least minimum_negative_samples) are background: those that overlap less
    than negative_mining_thresh and look least like background; the others, and all anchors of an image without boxes,
    get ignore_label. loc_target is (shift/size, log size ratio)/variances.
    """
    batch = label.shape[0]
    if (
        anchor.dim() != 3
        or anchor.shape[0] != 1
        or anchor.shape[2] != 4
        or label.dim() != 3
        or label.shape[2] < 5
        or cls_pred.dim() != 3
        or cls_pred.shape[0] != batch
        or cls_pred.shape[2] != anchor.shape[1]
    ):
        raise ShapeError(
            explain(
                "MultiBoxTarget",
                "The inputs do not fit.",
                expected="anchor (1, N, 4), label (B, M, ≥ 5), cls_pred (B, classes + 1, N)",
                received=f"anchor {tuple(anchor.shape)}, label {tuple(label.shape)}, cls_pred {tuple(cls_pred.shape)}",
            )
        )
    real = (label[..., 0] != -1).long().cumprod(1).bool()
    overlap = torch.where(real[:, None, :], overlaps(anchor, label[..., 1:5]), -1)
    match = _match(overlap, overlap_threshold)
    matched = match >= 0
    negative = ~matched
    if negative_mining_ratio > 0:
        negative = negative & _hardest(
            overlap, cls_pred, matched, negative_mining_ratio, negative_mining_thresh, minimum_negative_samples
        )
    chosen = label.gather(1, match.clamp(min=0)[..., None].expand(-1, -1, label.shape[2]))
    own, wanted = to_centre(anchor), to_centre(chosen[..., 1:5])
    codes = torch.cat([(wanted[..., :2] - own[..., :2]) / own[..., 2:], torch.log(wanted[..., 2:] / own[..., 2:])], -1)
    codes = torch.where(
        matched[..., None], codes / torch.tensor(variances, dtype=anchor.dtype, device=anchor.device), 0
    )
    mask = matched[..., None].expand(codes.shape).to(anchor.dtype)
    background = torch.where(negative & real.any(1, keepdim=True), 0.0, ignore_label).to(anchor.dtype)
    classes = torch.where(matched, (chosen[..., 0] + 1).to(anchor.dtype), background)
    return codes.reshape(batch, -1).to(anchor.dtype), mask.reshape(batch, -1), classes


def _match(overlap: Tensor, threshold: float) -> Tensor:
    """The box of each anchor (B, N), or −1: first the best anchor for each box, greedily, then the best box for each
    other anchor.
    """
    batch, count, boxes = overlap.shape
    best, own = (
        overlap.max(2)
        if boxes
        else (overlap.new_full((batch, count), -1), overlap.new_zeros((batch, count), dtype=torch.long))
    )
    match = torch.where(best > threshold, own, -1) if threshold > 0 else torch.full_like(own, -1)
    left, each = overlap.clone(), torch.arange(batch, device=overlap.device)
    for _ in range(min(count, boxes) if batch else 0):
        value, place = left.view(batch, -1).max(1)
        i, j = place // boxes, place % boxes
        good = value > 1e-6
        match[each, i] = torch.where(good, j, match[each, i])
        left[each, i] = torch.where(good[:, None], -1, left[each, i])
        left[each, :, j] = torch.where(good[:, None], -1, left[each, :, j])
    return match


def _hardest(overlap: Tensor, cls_pred: Tensor, matched: Tensor, ratio: float, limit: float, minimum: int) -> Tensor:
    """True for the anchors (B, N) that overlap little and look least like background, as many per image as wanted."""
    candidate = ~matched & (overlap.amax(2) < limit) if overlap.shape[2] else ~matched
    background = torch.softmax(cls_pred, 1)[:, 0]
    rank = torch.where(candidate, background, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
    wanted = (matched.sum(1) * ratio).long().clamp(min=minimum)
    return candidate & (rank < wanted[:, None])


# -- MultiBoxDetection -------------------------------------------------------------------------------------------------
def _np_detection(
    cls_prob: np.ndarray,
    loc_pred: np.ndarray,
    anchor: np.ndarray,
    clip: bool = True,
    threshold: float = 0.01,
    background_id: int = 0,
    nms_threshold: float = 0.5,
    force_suppress: bool = False,
    variances: Any = _VARIANCES,
    nms_topk: int = -1,
) -> np.ndarray:
    out = np.full((len(cls_prob), anchor.shape[1], 6), -1.0)
    for n, (prob, codes) in enumerate(zip(cls_prob, loc_pred.reshape(len(cls_prob), -1, 4))):
        rows = []
        for a, p, c in zip(anchor[0], prob.T, codes * np.array(variances)):
            best = int(p[1:].argmax())
            size, centre = a[2:] - a[:2], (a[2:] + a[:2]) / 2
            middle, half = c[:2] * size + centre, np.exp(c[2:]) * size / 2
            box = np.concatenate([middle - half, middle + half])
            if p[best + 1] >= threshold:
                rows.append([best, p[best + 1], *(np.clip(box, 0, 1) if clip else box)])
        if 0 < nms_threshold <= 1:
            rows.sort(key=lambda r: -r[1])
            for i, r in enumerate(rows):
                if 0 < nms_topk <= i:
                    r[0] = -1
                for k in rows[:i]:
                    if (
                        r[0] >= 0
                        and k[0] >= 0
                        and (force_suppress or k[0] == r[0])
                        and _np_iou(np.array(k[2:]), np.array(r[2:])) >= nms_threshold
                    ):
                        r[0] = -1
        if rows:
            out[n, : len(rows)] = rows
    return out


def _detection_types(attrs: Mapping[str, Any], shapes: Sequence[Any], dtypes: Sequence[Any]) -> list[Any]:
    return [((shapes[0][0], shapes[2][1], 6), dtypes[0])]


_PROB = A(2, 3, 6, low=0, high=1)


@operator(
    name="_contrib_MultiBoxDetection",
    gradient=_CONSTANT,
    infer=formula(_detection_types),
    check=check(
        S(_PROB, A(2, 24), _ANCHORS),
        S(_PROB, A(2, 24), _ANCHORS, threshold=0.5, clip=False, force_suppress=True, nms_threshold=0.2),
        S(_PROB, A(2, 24), _ANCHORS, nms_topk=3, variances=(0.2, 0.2, 0.1, 0.1)),
        S(_PROB, A(2, 24), _ANCHORS, nms_threshold=0.0, threshold=0.6),
        ref=_np_detection,
        errors=[((_PROB, A(2, 20), _ANCHORS), {}, r"loc_pred \(B, 4·N\)")],
    ),
)
def MultiBoxDetection(
    cls_prob: Tensor,
    loc_pred: Tensor,
    anchor: Tensor,
    clip: bool = True,
    threshold: float = 0.01,
    background_id: int = 0,
    nms_threshold: float = 0.5,
    force_suppress: bool = False,
    variances: Floats = _VARIANCES,
    nms_topk: int = -1,
) -> Tensor:
    """Decode predictions and suppress doubles: rows (class, score, x0, y0, x1, y1) in order of score, (B, N, 6).

    cls_prob (B, classes + 1, N) with class 0 the background (whatever background_id says, as in Gluon 1.x); loc_pred
    (B, 4·N) in the code of MultiBoxTarget; anchor (1, N, 4). Rows that a better one of their class (of any, with
    force_suppress) overlaps by nms_threshold or more, and those after the first nms_topk, get class −1; rows with a
    score below `threshold` are −1 throughout, at the end. nms_threshold outside (0, 1] suppresses nothing and keeps
    the anchors' order.
    """
    batch, count = cls_prob.shape[0], anchor.shape[1]
    if (
        cls_prob.dim() != 3
        or cls_prob.shape[2] != count
        or loc_pred.shape != (batch, 4 * count)
        or anchor.shape != (1, count, 4)
    ):
        raise ShapeError(
            explain(
                "MultiBoxDetection",
                "The inputs do not fit.",
                expected="cls_prob (B, classes + 1, N), loc_pred (B, 4·N), anchor (1, N, 4)",
                received=f"cls_prob {tuple(cls_prob.shape)}, loc_pred {tuple(loc_pred.shape)}, "
                f"anchor {tuple(anchor.shape)}",
            )
        )
    score, number = cls_prob[:, 1:].max(1)
    boxes = decode(loc_pred.view(batch, count, 4), to_centre(anchor), variances, -1.0)
    if clip:
        boxes = boxes.clamp(0, 1)
    valid = score >= threshold
    suppressing = 0 < nms_threshold <= 1
    key = torch.where(valid, score, -torch.inf) if suppressing else valid.to(score.dtype)
    order = key.argsort(dim=1, descending=True, stable=True)
    rows = torch.cat([number.to(score.dtype)[..., None], score[..., None], boxes], 2).gather(
        1, order[..., None].expand(-1, -1, 6)
    )
    valid = valid.gather(1, order)
    if suppressing and rows.numel():
        most = int(valid.sum(1).max())
        most = min(most, nms_topk) if nms_topk > 0 else most
        best = rows[:, :most]
        rivals = overlaps(best[..., 2:], best[..., 2:]) >= nms_threshold
        if not force_suppress:
            rivals = rivals & (best[..., None, 0] == best[..., None, :, 0])
        kept = torch.nn.functional.pad(suppress(rivals, valid[:, :most]), [0, count - most])
        rows[..., 0] = torch.where(kept, rows[..., 0], -1)
    return torch.where(valid[..., None], rows, -1)
