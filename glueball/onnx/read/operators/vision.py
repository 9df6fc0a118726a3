"""Images: sampling at computed places, affine grids, regions, deformable convolution, patches; windows of signals.

The one idea: our sampler takes grids whose corners are the outermost pixels' centres; other grids are moved to that
first. What it lacks (nearest and cubic sampling, reflection) is refused.
"""

from __future__ import annotations

import math

import numpy as np

from ....base.dtype import as_numpy
from ..held import Held, Refused
from ..node import Step, reads
from ..tensors import element_name
from .convolution import even, window


@reads("GridSample")
def _grid_sample(s: Step) -> Held:
    mode, outside = s.get("mode", "linear" if s.version >= 20 else "bilinear"), s.get("padding_mode", "zeros")
    if mode not in ("linear", "bilinear") or s.x.rank != 4 or outside not in ("zeros", "border"):
        raise Refused(f"it samples {s.x.rank - 2} axes by {mode}, outside by {outside}")
    height, width = s.x.shape[2:]
    grid = s.call("transpose", s.input(1), axes=(0, 3, 1, 2))
    if not s.get("align_corners", 0):
        if min(height, width) < 2:
            raise Refused("an axis of one has no corners")
        sizes = np.array([width, height], np.float64).reshape(1, 2, 1, 1)
        grid = s.call("broadcast_mul", grid, s.const(sizes / (sizes - 1), grid.dtype))
    if outside == "border":
        grid = s.call("clip", grid, a_min=-1.0, a_max=1.0)
    return s.call("BilinearSampler", s.x, grid)


@reads("AffineGrid")
def _affine_grid(s: Step) -> Held:
    size = [int(n) for n in s.value(1)]
    if any(n < 1 for n in size) or len(size) not in (4, 5) or math.prod(size) > 2**26:
        raise Refused(f"there is no grid of {size}")
    s.affordable(math.prod(size[2:]) * (len(size) - 1))
    spatial, corners = size[2:], bool(s.get("align_corners", 0))
    lines = [np.linspace(-1, 1, n) if corners and n > 1 else np.zeros(n) if corners else (np.arange(n) * 2 + 1) / n - 1
             for n in spatial]
    axes = [*reversed(np.meshgrid(*lines, indexing="ij")), np.ones(spatial)]
    places = np.stack(axes, -1).reshape(-1, len(spatial) + 1)
    turned = s.call("transpose", s.x, axes=(0, 2, 1))
    found = s.call("batch_dot", s.expand(s.const(places[None]), [(size[0], *places.shape)]), turned)
    return s.reshape(found, (size[0], *spatial, len(spatial)))


@reads("RoiAlign")
def _roi_align(s: Step) -> Held:
    if s.get("mode", "avg") != "avg":
        raise Refused(f"it reduces by {s.get('mode', 'avg')}")
    rows = s.cast(s.call("expand_dims", s.input(2), axis=1), s.x.dtype)
    regions = s.call("Concat", rows, s.input(1), dim=1)
    half = s.get("coordinate_transformation_mode", "half_pixel" if s.version >= 16 else "output_half_pixel")
    return s.call("_contrib_ROIAlign", s.x, regions, spatial_scale=s.get("spatial_scale", 1.0),
                  pooled_size=(s.get("output_height", 1), s.get("output_width", 1)),
                  sample_ratio=s.get("sampling_ratio", 0) or -1, aligned=half == "half_pixel")


@reads("DeformConv")
def _deform_conv(s: Step) -> Held:
    weight, offset, bias, mask = s.input(1), s.input(2), s.maybe(3), s.maybe(4)
    kernel = tuple(weight.shape[2:])
    if len(kernel) != 2:
        raise Refused(f"it moves over {len(kernel)} axes")
    stride, dilate = window(s, kernel)
    pads = s.ints("pads", [0] * 4)
    x, pad = even(s, s.x, [(pads[0], pads[2]), (pads[1], pads[3])])
    options = {"kernel": kernel, "stride": stride, "dilate": dilate, "pad": pad, "num_filter": weight.size(0),
               "num_group": s.get("group", 1), "num_deformable_group": s.get("offset_group", 1),
               "no_bias": bias is None}
    if mask is None:
        return s.call("_contrib_DeformableConvolution", x, offset, weight, bias, **options)
    return s.call("_contrib_ModulatedDeformableConvolution", x, offset, mask, weight, bias, **options)


@reads("Col2Im")
def _col2im(s: Step) -> Held:
    size, block = ([int(n) for n in s.value(index)] for index in (1, 2))
    if len(size) != 2:
        raise Refused(f"it joins patches over {len(size)} axes")
    stride, dilate = window(s, block)
    pads = s.ints("pads", [0] * 4)
    wide = [size[0] + pads[0] + pads[2], size[1] + pads[1] + pads[3]]
    found = s.call("col2im", s.x, output_size=tuple(wide), kernel=tuple(block), stride=stride, dilate=dilate)
    if not any(pads):
        return found
    return s.call("slice", found, begin=(None, None, pads[0], pads[1]),
                  end=(None, None, wide[0] - pads[2], wide[1] - pads[3]))


@reads("MaxRoiPool")
def _max_roi(s: Step) -> Held:
    return s.call("ROIPooling", s.x, s.input(1), pooled_size=tuple(s.ints("pooled_shape")),
                  spatial_scale=s.get("spatial_scale", 1.0))


@reads("Det")
def _det(s: Step) -> Held:
    found = s.call("_linalg_det", s.x)
    return s.reshape(found, [shape[:-2] for shape in s.x.shapes])


_WINDOWS = {"HannWindow": (0.5, 0.5, 0.0), "HammingWindow": (25 / 46, 21 / 46, 0.0),
            "BlackmanWindow": (0.42, 0.5, 0.08)}


@reads(*_WINDOWS)
def _signal_window(s: Step) -> Held:
    size = int(s.number(0))
    if size < 0:
        raise Refused(f"a window of {size} is not possible")
    s.affordable(size)
    a, b, c = _WINDOWS[s.kind]
    turn = 2 * math.pi * np.arange(size) / max(size if s.get("periodic", 1) else size - 1, 1)
    kind = element_name(s.get("output_datatype", 1), s.name)
    return s.builder.known((a - b * np.cos(turn) + c * np.cos(2 * turn)).astype(as_numpy(kind)), kind)
