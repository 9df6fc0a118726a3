"""Conv and ConvTranspose.

The one idea: weights have our layout already. Pads that differ before and after an axis are an own Pad beforehand
(Conv), or rows cut off and zeros added afterwards (ConvTranspose).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..held import Held, Refused, common
from ..node import Step, reads
from .shapes import padded


def window(s: Step, kernel: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and dilations, one per spatial axis."""
    count = len(kernel)
    stride, dilate = s.ints("strides", [1] * count), s.ints("dilations", [1] * count)
    if len(stride) != count or len(dilate) != count or any(n < 1 for n in (*stride, *dilate, *kernel)):
        raise Refused(f"strides {stride} and dilations {dilate} do not fit a window of {list(kernel)}")
    return tuple(stride), tuple(dilate)


def pads_of(s: Step, x: Held, kernel: Sequence[int], stride: Sequence[int],
            dilate: Sequence[int]) -> list[tuple[int, int]]:
    """Pads (before, after) per spatial axis, from `pads` or `auto_pad`."""
    mode = s.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        pads = s.ints("pads", [0] * (2 * len(kernel)))
        if len(pads) != 2 * len(kernel):
            raise Refused(f"pads {pads} do not fit a window of {list(kernel)}")
        return list(zip(pads[: len(kernel)], pads[len(kernel) :]))
    if mode == "VALID":
        return [(0, 0)] * len(kernel)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise Refused(f"it pads by {mode}")
    rows: list[list[tuple[int, int]]] = []
    for shape in x.shapes:
        found: list[tuple[int, int]] = []
        for size, width, step, gap in zip(shape[2:], kernel, stride, dilate):
            total = max((-(-size // step) - 1) * step + (width - 1) * gap + 1 - size, 0)
            small, large = total // 2, total - total // 2
            found.append((small, large) if mode == "SAME_UPPER" else (large, small))
        rows.append(found)
    return common(rows)


def even(s: Step, x: Held, pads: Sequence[tuple[int, int]], fill: float = 0.0) -> tuple[Held, tuple[int, ...]]:
    """Return the data and pads equal on both sides; where they are not, the data are padded here."""
    if all(before == after and before >= 0 for before, after in pads):
        return x, tuple(before for before, _ in pads)
    return padded(s, x, [(0, 0), (0, 0), *pads], fill=fill), (0,) * len(pads)


@reads("Conv")
def _conv(s: Step) -> Held:
    weight, bias = s.input(1), s.maybe(2)
    kernel = tuple(weight.shape[2:])
    if not 1 <= len(kernel) <= 3 or s.x.rank != len(kernel) + 2:
        raise Refused(f"convolutions over {len(kernel)} axes of an array of {s.x.rank} are not possible")
    stride, dilate = window(s, kernel)
    x, pad = even(s, s.x, pads_of(s, s.x, kernel, stride, dilate))
    return s.call("Convolution", x, weight, bias, kernel=kernel, stride=stride, dilate=dilate, pad=pad,
                  num_filter=weight.size(0), num_group=s.get("group", 1), no_bias=bias is None)


@reads("ConvTranspose")
def _conv_transpose(s: Step) -> Held:
    weight, bias, groups = s.input(1), s.maybe(2), s.get("group", 1)
    kernel = tuple(weight.shape[2:])
    if not 1 <= len(kernel) <= 3 or s.x.rank != len(kernel) + 2:
        raise Refused(f"convolutions over {len(kernel)} axes of an array of {s.x.rank} are not possible")
    stride, dilate = window(s, kernel)
    extra = s.ints("output_padding", [0] * len(kernel))
    full = [step * (size - 1) + (width - 1) * gap + 1
            for size, step, width, gap in zip(s.x.shape[2:] if "output_shape" in s.attrs or "SAME" in s.get(
                "auto_pad", "NOTSET") else [1] * len(kernel), stride, kernel, dilate)]
    pads = _cut_off(s, kernel, stride, extra, full)
    options = {"kernel": kernel, "stride": stride, "dilate": dilate, "num_filter": weight.size(1) * groups,
               "num_group": groups, "no_bias": bias is None}
    if all(a == b and 0 <= a <= (k - 1) * d and e < max(t, d) for (a, b), k, d, e, t in
           zip(pads, kernel, dilate, extra, stride)):
        return s.call("Deconvolution", s.x, weight, bias, pad=tuple(a for a, _ in pads), adj=tuple(extra), **options)
    options["no_bias"] = True
    found = s.call("Deconvolution", s.x, weight, None, **options)
    width = [(0, 0), (0, 0), *((-a, -b + e) for (a, b), e in zip(pads, extra))]
    found = padded(s, found, width)
    if bias is None:
        return found
    return s.call("broadcast_add", found, s.reshape(bias, (1, weight.size(1) * groups, *[1] * len(kernel))))


def _cut_off(s: Step, kernel: Sequence[int], stride: Sequence[int], extra: Sequence[int],
             full: Sequence[int]) -> list[tuple[int, int]]:
    """Rows to be cut before and after each axis."""
    mode, wanted = s.get("auto_pad", "NOTSET"), s.attrs.get("output_shape")
    if wanted is None and mode in ("NOTSET", "", "VALID"):
        pads = s.ints("pads", [0] * (2 * len(kernel))) if mode != "VALID" else [0] * (2 * len(kernel))
        if len(pads) != 2 * len(kernel):
            raise Refused(f"pads {pads} do not fit a window of {list(kernel)}")
        return list(zip(pads[: len(kernel)], pads[len(kernel) :]))
    sizes = s.ints("output_shape")[-len(kernel):] if wanted is not None else [
        size * step for size, step in zip(s.x.shape[2:], stride)]
    found: list[tuple[int, int]] = []
    for size, whole, more in zip(sizes, full, extra):
        total = whole + more - size
        half = total // 2
        found.append((half, total - half) if mode == "SAME_UPPER" else (total - half, half))
    return found
