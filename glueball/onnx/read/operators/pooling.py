"""Pooling: windows reduced to their maximum, average or norm, over parts or all of the spatial axes; Resize.

The one idea: pads of both sides and full windows are ours; what else ONNX has (dilated windows, pads of one side,
averages that count some pads and not others) is written as Pad and slices of the windows' rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ..held import Held, Refused
from ..node import Step, reads
from .convolution import pads_of, window
from .shapes import padded

_LARGEST_WINDOW = 4096  # places, each of which becomes a node
_LARGEST_MATRIX = 2**23  # elements of what resizes an axis: 2048 rows to 4096
_AT_ONCE = 2**16  # of those, numbers that are not 0 and are computed together


@reads("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global(s: Step) -> Held:
    if s.x.rank < 3:
        raise Refused("there are no axes to pool over")
    axes = tuple(range(2, s.x.rank))
    if s.kind == "GlobalLpPool":
        power = float(s.get("p", 2))
        total = s.call("sum", s.call("_power_scalar", s.call("abs", s.x), scalar=power), axis=axes, keepdims=True)
        return s.call("_power_scalar", total, scalar=1 / power)
    if 3 <= s.x.rank <= 5 and s.x.is_float:
        kind = "avg" if s.kind == "GlobalAveragePool" else "max"
        return s.call("Pooling", s.x, global_pool=True, pool_type=kind, kernel=(1,) * len(axes))
    return s.call("mean" if s.kind == "GlobalAveragePool" else "max", s.x, axis=axes, keepdims=True)


def _spatial(x: Held) -> tuple[int, ...]:
    """The sizes behind batch and channels, which must be known; the batch may be open."""
    return tuple(x.size(axis) for axis in range(2, x.rank))


class _Window:
    """A pooling window over the spatial axes of a value, as its attributes say."""

    def __init__(self, s: Step) -> None:
        self.kernel = tuple(s.ints("kernel_shape"))
        if s.x.rank != len(self.kernel) + 2 or not self.kernel:
            raise Refused(f"a window of {list(self.kernel)} does not fit an array of {s.x.rank} axes")
        self.stride, self.dilate = window(s, self.kernel)
        self.pads = pads_of(s, s.x, self.kernel, self.stride, self.dilate)
        self.ceil = bool(s.get("ceil_mode", 0))

    @property
    def plain(self) -> bool:
        """Whether our Pooling has it: no dilation, equal pads no wider than half a window."""
        return len(self.kernel) <= 3 and set(self.dilate) == {1} and all(
            a == b and 0 <= 2 * a <= k for (a, b), k in zip(self.pads, self.kernel))

    def counts(self, sizes: Sequence[int]) -> list[int]:
        """How many windows there are along each axis; one that would begin in the padding behind is left out."""
        found: list[int] = []
        for size, k, t, d, (a, b) in zip(sizes, self.kernel, self.stride, self.dilate, self.pads):
            room = size + a + b - (k - 1) * d - 1
            count = (-(-room // t) if self.ceil else room // t) + 1
            if self.ceil and (count - 1) * t >= size + a:
                count -= 1
            if count < 1:
                raise Refused(f"a window of {k} does not fit a size of {size}")
            found.append(count)
        return found

    def patches(self, s: Step, x: Held, fill: float) -> list[Held]:
        """The data at each place of the window, as arrays of the result's shape; outside of the data is `fill`."""
        sizes = _spatial(x)
        counts = self.counts(sizes)
        width = [(0, 0), (0, 0)]
        for size, n, k, t, d, (a, _) in zip(sizes, counts, self.kernel, self.stride, self.dilate, self.pads):
            width.append((a, max((n - 1) * t + (k - 1) * d + 1 - size - a, 0)))
        wide = padded(s, x, width, fill=fill)
        found: list[Held] = []
        if math.prod(self.kernel) > _LARGEST_WINDOW:
            raise Refused(f"a window of {math.prod(self.kernel)} places is not possible")
        for place in itertools.product(*(range(k) for k in self.kernel)):
            begin = [p * d for p, d in zip(place, self.dilate)]
            end = [b + (n - 1) * t + 1 for b, n, t in zip(begin, counts, self.stride)]
            found.append(s.call("slice", wide, begin=(None, None, *begin), end=(None, None, *end),
                                step=(None, None, *self.stride)))
        return found


def _ours(s: Step, window: _Window, kind: str, **options: object) -> Held:
    return s.call("Pooling", s.x, kernel=window.kernel, stride=window.stride, pool_type=kind,
                  pad=tuple(a for a, _ in window.pads), **options)


def _exact(window: _Window, s: Step) -> bool:
    """Whether rounding up adds no window, so that our conventions and ONNX's are one."""
    if not window.ceil:
        return True
    up = [window.counts(shape[2:]) for shape in s.x.shapes]
    window.ceil = False
    down = [window.counts(shape[2:]) for shape in s.x.shapes]
    window.ceil = up != down
    return up == down


@reads("MaxPool")
def _max_pool(s: Step) -> Held:
    if s.wants(1):
        raise Refused("it answers with the places of the maxima as well")
    window = _Window(s)
    if s.x.dtype in ("float32", "float64") and window.plain and _exact(window, s):
        return _ours(s, window, "max")
    lowest = -math.inf if s.x.is_float else float(np.iinfo(s.x.dtype).min)
    return _all(s, "broadcast_maximum", window.patches(s, s.x, lowest))


def _all(s: Step, kind: str, values: Sequence[Held]) -> Held:
    found = values[0]
    for other in values[1:]:
        found = s.call(kind, found, other)
    return found


@reads("AveragePool")
def _average_pool(s: Step) -> Held:
    window, counted = _Window(s), bool(s.get("count_include_pad", 0))
    if window.plain and _exact(window, s):
        return _ours(s, window, "avg", count_include_pad=counted)
    total = _all(s, "broadcast_add", window.patches(s, s.x, 0.0))
    shape = (1, 1, *_spatial(s.x))
    s.affordable(math.prod(shape))
    inside = padded(s, s.const(np.ones(shape)), [(0, 0), (0, 0), *window.pads], fill=1.0) if counted else s.const(
        np.ones(shape))
    pads, window.pads = window.pads, [(0, 0)] * len(window.kernel) if counted else window.pads
    weights = _counted(s, window, inside, pads if counted else None)
    return s.call("broadcast_div", total, weights)


def _counted(s: Step, window: _Window, inside: Held, pads: Sequence[tuple[int, int]] | None) -> Held:
    """How many places of each window count."""
    if pads is not None and window.ceil:
        extra = window.counts(inside.shape[2:])
        own = _Window(s).counts(_spatial(s.x))
        if extra != own:
            return _clipped(s, window, inside, own)
    return _all(s, "broadcast_add", window.patches(s, inside, 0.0))


def _clipped(s: Step, window: _Window, inside: Held, counts: Sequence[int]) -> Held:
    """As `_counted`, for as many windows as the data have."""
    found = _all(s, "broadcast_add", window.patches(s, inside, 0.0))
    return s.call("slice", found, begin=(None, None, *[0] * len(counts)), end=(None, None, *counts))


@reads("LpPool")
def _lp_pool(s: Step) -> Held:
    window, power = _Window(s), float(s.get("p", 2))
    raised = s.call("_power_scalar", s.call("abs", s.x), scalar=power)
    total = _all(s, "broadcast_add", window.patches(s, raised, 0.0))
    return s.call("_power_scalar", total, scalar=1 / power)


# -- resizing ----------------------------------------------------------------------------------------------------------
@reads("Upsample", "Resize")
def _resize(s: Step) -> Held:
    rank = s.x.rank
    old = s.kind == "Upsample" or s.version < 11
    axes = [s.axis(axis, rank) for axis in s.ints("axes", list(range(rank)))]
    scales, sizes = _scales(s, axes, 1 if old else 2)
    mode, where = s.get("mode", "nearest"), s.get("coordinate_transformation_mode", "half_pixel")
    if old:
        where = "asymmetric"
    found = s.x
    for axis in axes:
        scale, size = scales[axis], sizes[axis]
        if scale == 1 and size == s.x.size(axis) and where != "tf_crop_and_resize":
            continue
        s.affordable(size)
        if mode == "nearest":
            rows = _nearest(s, where, s.get("nearest_mode", "floor" if old else "round_prefer_floor"), s.x.size(axis),
                            size, scale)
            repeated = size % s.x.size(axis) == 0 and np.array_equal(rows, np.arange(size) // (size // s.x.size(axis)))
            found = s.call("repeat", found, repeats=size // s.x.size(axis), axis=axis) if repeated else s.call(
                "take", found, s.const(rows, "int64"), axis=axis)
            continue
        if mode not in ("linear", "cubic"):
            raise Refused(f"it resizes by {mode}")
        found = _resampled(s, found, axis, _matrix(s, mode, where, s.x.size(axis), size, scale))
    return found


def _scales(s: Step, axes: Sequence[int], index: int) -> tuple[dict[int, float], dict[int, int]]:
    """Scale and new size of each axis."""
    if s.version < 9 and s.kind == "Upsample":
        given = [float(n) for n in s.attrs.get("scales", [])]
        wanted = None
    else:
        given = [float(n) for n in np.ravel(s.value(index))] if s.maybe(index) is not None else []
        wanted = [int(n) for n in np.ravel(s.value(3))] if s.maybe(3) is not None else None
    policy = s.get("keep_aspect_ratio_policy", "stretch")
    own = [s.x.size(axis) for axis in axes]
    if wanted:
        if len(wanted) != len(axes):
            raise Refused(f"sizes {wanted} do not fit {len(axes)} axes")
        ratios = [new / max(size, 1) for new, size in zip(wanted, own)]
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios, wanted = [ratio] * len(axes), [math.floor(ratio * size + 0.5) for size in own]
        return dict(zip(axes, ratios)), dict(zip(axes, wanted))
    if len(given) != len(axes) or any(not math.isfinite(n) or n <= 0 for n in given):
        raise Refused(f"scales {given} do not fit {len(axes)} axes")
    return dict(zip(axes, given)), {axis: math.floor(size * n) for axis, size, n in zip(axes, own, given)}


def _sources(s: Step, where: str, size: int, count: int, scale: float) -> np.ndarray:
    """Where in the original axis each new row lies, as a real number."""
    new = np.arange(count, dtype=np.float64)
    if where == "asymmetric":
        return new / scale
    if where == "half_pixel":
        return (new + 0.5) / scale - 0.5
    if where == "half_pixel_symmetric":
        exact = size * scale
        return size / 2 * (1 - count / exact) + (new + 0.5) / scale - 0.5
    if where == "pytorch_half_pixel":
        return (new + 0.5) / scale - 0.5 if count > 1 else np.zeros(count)
    if where == "align_corners":
        exact = max(size * scale, 1.0)
        last = exact - 1 if s.maybe(3) is None else count - 1
        return new * (size - 1) / last if last > 0 else np.zeros(count)
    if where == "tf_half_pixel_for_nn":
        return (new + 0.5) / scale
    raise Refused(f"it places rows by {where}")


def _nearest(s: Step, where: str, rounding: str, size: int, count: int, scale: float) -> np.ndarray:
    places = _sources(s, where, size, count, scale)
    rows = {"round_prefer_floor": np.ceil(places - 0.5), "round_prefer_ceil": np.floor(places + 0.5),
            "floor": np.floor(places), "ceil": np.ceil(places)}.get(rounding)
    if rows is None:
        raise Refused(f"it rounds by {rounding}")
    return np.clip(rows, 0, size - 1).astype(np.int64)


def _matrix(s: Step, mode: str, where: str, size: int, count: int, scale: float) -> np.ndarray:
    """(count, size): each new row as a sum of old ones."""
    s.affordable(size * count, _LARGEST_MATRIX)
    places = _sources(s, where, size, count, scale)
    wide = bool(s.get("antialias", 0)) and scale < 1
    stretch, reach = (1 / scale if wide else 1.0), (2 if mode == "cubic" else 1)
    a, outside = s.get("cubic_coeff_a", -0.75), bool(s.get("exclude_outside", 0))
    found, half = np.zeros((count, size)), math.ceil(reach * stretch)
    together = max(_AT_ONCE // (2 * half), 1)
    for first in range(0, count, together):
        place = places[first : first + together, None]
        columns = np.floor(place) - half + 1 + np.arange(2 * half)
        weights = _kernel(np.abs(columns - place) / stretch, mode, a)
        if outside:
            weights = weights * ((columns >= 0) & (columns < size))
        if outside or wide:
            weights = weights / weights.sum(1, keepdims=True)
        rows = np.arange(first, first + len(place))[:, None]
        np.add.at(found, (rows, np.clip(columns, 0, size - 1).astype(np.int64)), weights)
    return found


def _kernel(distance: np.ndarray, mode: str, a: float) -> np.ndarray:
    if mode == "linear":
        return np.maximum(1 - distance, 0)
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def _resampled(s: Step, x: Held, axis: int, matrix: np.ndarray) -> Held:
    """Multiply one axis by a matrix."""
    rank = x.rank
    last = axis == rank - 1
    order = [*range(axis), *range(axis + 1, rank), axis]
    turned = x if last else s.call("transpose", x, axes=tuple(order))
    found = s.call("dot", turned, s.const(matrix.T, x.dtype))
    back = [*range(axis), rank - 1, *range(axis, rank - 1)]
    return found if last else s.call("transpose", found, axes=tuple(back))
