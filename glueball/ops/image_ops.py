"""Images as arrays (`nd.image.*`): to_tensor, normalize, resize, crop, flips and random colour changes.

The one idea: pictures are (height, width, channels) or a batch of them until `to_tensor` makes (channels, height,
width); bytes stay bytes, rounded down and kept within 0..255. The random operators draw one factor per call and apply
the plain function. Resizing applies the taps of base/resample.py on any device. Reading files: glueball.image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base import resample
from ..base.errors import ArgumentError, ShapeError, explain
from .attributes import Axis, Floats
from .opdef import REQUIRED, Grad, Tensor, Value, from_kernel, operator, unsupported
from .rules.check import A, S, Sample, check
from .rules.grad import passes
from .rules.infer import same_shape

_NO_GRADIENT = unsupported("an augmentation of input data, before anything is learned")
_RANDOM = "random numbers: the law checks the cases in which none are drawn, or their range"
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)
# principal components of the colours of ImageNet (Krizhevsky et al. 2012): eigenvectors times eigenvalues
_LIGHTING = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]) * np.array(
    [55.46, 4.794, 1.148]
)


def _verify(where: str, data: Tensor, batch: bool = True, colour: bool = False) -> None:
    """Refuse what is no image (height, width, channels), or batch of images where that is possible."""
    ranks = (3, 4) if batch else (3,)
    if data.dim() not in ranks:
        expected = "(height, width, channels)" + (" or (batch, height, width, channels)" if batch else "")
        raise ShapeError(explain(where, "This is not an image.", expected=expected, received=tuple(data.shape)))
    if colour and data.shape[-1] not in (1, 3):
        raise ShapeError(
            explain(
                where,
                "The channels stand last, and are 1 or 3.",
                expected="(height, width, 3)",
                received=tuple(data.shape),
            )
        )


def _as_stored(work: Tensor, like: Tensor) -> Tensor:
    """Bring computed values back to the image's dtype; integers are kept in range and rounded down."""
    if like.dtype.is_floating_point:
        return work.to(like.dtype)
    limits = torch.iinfo(like.dtype)
    return work.clamp_(limits.min, limits.max).to(like.dtype)


def _np_stored(work: np.ndarray, like: np.ndarray) -> np.ndarray:
    if like.dtype.kind == "f":
        return work.astype(like.dtype)
    return np.clip(work, np.iinfo(like.dtype).min, np.iinfo(like.dtype).max).astype(like.dtype)


_BYTES = A(4, 5, 3, ints=256, dtype="uint8")
_FLOATS = A(4, 5, 3, low=0, high=255)


# ---- numbers and layout
def _np_to_tensor(data: np.ndarray) -> np.ndarray:
    return np.moveaxis(data.astype(np.float32) / 255, -1, -3)


@operator(
    gradient=unsupported("it is the first step of a pipeline of input data"),
    check=check(
        S(_BYTES, grad=False),
        S(A(2, 4, 5, 3, ints=256, dtype="uint8"), grad=False),
        S(_FLOATS, grad=False),
        ref=_np_to_tensor,
        errors=[((A(3, 4),), {}, "not an image")],
    ),
)
def _image_to_tensor(data: Tensor) -> Tensor:
    """Turn images (…, H, W, C) with values 0..255 into float32 arrays (…, C, H, W) with values 0..1."""
    _verify("image.to_tensor", data)
    data = data if data.dtype is torch.uint8 else data.float()
    return torch.div(data.movedim(-1, -3).contiguous(), 255.0)  # bytes divide to float32


def _per_channel(where: str, name: str, values: Sequence[float], data: Tensor) -> Tensor:
    """Return one number per channel, shaped to broadcast over (…, C, H, W)."""
    channels = data.shape[-3]
    if len(values) not in (1, channels):
        raise ArgumentError(
            explain(
                where, f"{name} does not fit the channels.", expected=f"1 or {channels} numbers", received=tuple(values)
            )
        )
    return torch.tensor(values, dtype=data.dtype, device=data.device).reshape(-1, 1, 1)


def _np_normalize(data: np.ndarray, mean: Any = 0.0, std: Any = 1.0) -> np.ndarray:
    return (data - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))


@operator(
    infer=same_shape,
    check=check(
        S(A(3, 4, 5), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)),
        S(A(2, 3, 4, 5), mean=0.5, std=2.0),
        S(A(1, 4, 5)),
        ref=_np_normalize,
        errors=[
            ((A(3, 2, 2),), {"mean": (0.1, 0.2)}, "does not fit the channels"),
            ((A(2, 2),), {}, "channels, height"),
        ],
    ),
)
def _image_normalize(data: Tensor, mean: Floats = (0.0,), std: Floats = (1.0,)) -> Tensor:
    """Return (data − mean) / std for arrays (…, C, H, W); mean and std are one number, or one per channel."""
    if data.dim() not in (3, 4):
        raise ShapeError(
            explain(
                "image.normalize",
                "This is not an image after ToTensor.",
                expected="(channels, height, width) or (batch, channels, height, width)",
                received=tuple(data.shape),
            )
        )
    where = "image.normalize"
    return data.sub(_per_channel(where, "mean", mean, data)).div_(_per_channel(where, "std", std, data))


@_image_normalize.grad
def _(c: Grad) -> Value:
    return _image_normalize(c.g, std=c.attrs["std"])


# ---- geometry
def _target_size(data: Tensor, size: Any, keep_ratio: bool) -> tuple[int, int]:
    """Return (height, width) of the resized image; `size` is (width, height), or one number."""
    height, width = data.shape[-3], data.shape[-2]
    if size is None or (not isinstance(size, int) and len(size) not in (1, 2)):
        raise ArgumentError(explain("image.resize", "size is a number or (width, height).", received=repr(size)))
    if isinstance(size, tuple) and len(size) == 2:
        return size[1], size[0]
    one: int = size[0] if isinstance(size, tuple) else size
    if not keep_ratio:
        return one, one
    return (one, int(width * one / height)) if height < width else (int(height * one / width), one)


def _tapped(work: Tensor, taps: resample.Taps, axis: int) -> Tensor:
    """Apply the taps along one axis: the weighted sum of the positions each output takes its value from."""
    shape = [1] * work.dim()
    shape[axis] = -1

    def part(column: int) -> Tensor:
        weight = torch.from_numpy(taps.weight[:, column].astype(np.float64)).to(work.device, work.dtype).reshape(shape)
        return work.index_select(axis, torch.from_numpy(taps.index[:, column]).to(work.device)) * weight

    total = part(0)
    for column in range(1, taps.index.shape[1]):
        total = total + part(column)
    return total


def _np_resize(data: np.ndarray, size: Any, keep_ratio: bool = False, interp: int = 1) -> np.ndarray:
    if data.ndim == 4:
        return np.stack([_np_resize(image, size, keep_ratio, interp) for image in data])
    height, width = _target_size(torch.from_numpy(data), size, keep_ratio)
    return resample.resize(data, width, height, interp)


@operator(
    gradient=from_kernel,
    check=check(
        S(_BYTES, size=(3, 2), grad=False),
        S(_FLOATS, size=8),
        S(A(4, 6, 3, low=0, high=255), size=3, keep_ratio=True),
        S(_BYTES, size=(10, 8), interp=0, grad=False),
        S(A(2, 4, 5, 3), size=(7, 3), interp=2),
        S(A(4, 5, 1), size=(2, 2), interp=3),
        ref=_np_resize,
        rtol=1e-4,
        atol=1e-4,
        errors=[((A(4, 5),), {"size": 3}, "not an image"), ((A(4, 5, 3),), {}, "width, height")],
    ),
)
def _image_resize(data: Tensor, size: Axis = None, keep_ratio: bool = False, interp: int = 1) -> Tensor:
    """Resize images (…, H, W, C) to ``size``: (width, height), or one number for both.

    With `keep_ratio` one number is the length of the shorter edge. `interp`: 0 nearest, 1 linear, 2 cubic, 3 area, 4
    Lanczos.
    """
    _verify("image.resize", data)
    height, width = _target_size(data, size, keep_ratio)
    old_height, old_width = data.shape[-3], data.shape[-2]
    if (old_height, old_width) == (height, width):
        return data.clone()
    method = resample.choose_method(interp, (old_height, old_width), (height, width))
    shrinking = height <= old_height and width <= old_width
    rows = resample.taps(old_height, height, method, shrinking)
    columns = resample.taps(old_width, width, method, shrinking)
    rows_axis, columns_axis = data.dim() - 3, data.dim() - 2
    if method == resample.NEAREST:
        down = data.index_select(rows_axis, torch.from_numpy(rows.index[:, 0]).to(data.device))
        return down.index_select(columns_axis, torch.from_numpy(columns.index[:, 0]).to(data.device))
    work = data if data.dtype is torch.float64 else data.float()
    work = _tapped(_tapped(work, rows, rows_axis), columns, columns_axis)
    return _as_stored(work if data.dtype.is_floating_point else work.round_(), data)


@operator(
    gradient=from_kernel,
    view="copy",
    check=check(
        S(_FLOATS, x=1, y=0, width=3, height=2),
        S(A(2, 4, 5, 3), x=0, y=1, width=5, height=3),
        ref=lambda data, x, y, width, height: data[..., y : y + height, x : x + width, :],
        errors=[((A(4, 5, 3),), {"x": 3, "y": 0, "width": 3, "height": 2}, "outside")],
    ),
)
def _image_crop(
    data: Tensor, x: int = REQUIRED, y: int = REQUIRED, width: int = REQUIRED, height: int = REQUIRED
) -> Tensor:
    """Cut out `width` by `height` pixels whose upper left corner is at column `x` and row `y`."""
    _verify("image.crop", data)
    rows, columns = data.shape[-3], data.shape[-2]
    if min(x, y) < 0 or min(width, height) < 1 or x + width > columns or y + height > rows:
        raise ArgumentError(
            explain(
                "image.crop",
                "The part lies outside the image.",
                expected=f"x + width <= {columns} and y + height <= {rows}",
                received=f"x={x}, y={y}, width={width}, height={height}",
            )
        )
    return data[..., y : y + height, x : x + width, :]


def _flip(where: str, data: Tensor, axis: int) -> Tensor:
    _verify(where, data)
    return data.flip(axis)


@operator(infer=same_shape, check=check(S(_FLOATS), S(A(2, 2, 3, 1)), ref=lambda x: x[..., ::-1, :]))
def _image_flip_left_right(data: Tensor) -> Tensor:
    """Mirror images left to right."""
    return _flip("image.flip_left_right", data, -2)


@_image_flip_left_right.grad
def _(c: Grad) -> Value:
    return _image_flip_left_right(c.g)


@operator(infer=same_shape, check=check(S(_FLOATS), S(A(2, 2, 3, 1)), ref=lambda x: x[..., ::-1, :, :]))
def _image_flip_top_bottom(data: Tensor) -> Tensor:
    """Mirror images top to bottom."""
    return _flip("image.flip_top_bottom", data, -3)


@_image_flip_top_bottom.grad
def _(c: Grad) -> Value:
    return _image_flip_top_bottom(c.g)


def _flip_law(axis: int) -> Any:
    def law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
        return np.array_equal(outputs[0], inputs[0]) or np.array_equal(outputs[0], np.flip(inputs[0], axis))

    return law


@operator(
    random=True,
    infer=same_shape,
    gradient=_NO_GRADIENT,
    check=check(S(_BYTES), S(_FLOATS), ref=_RANDOM, law=_flip_law(-2), errors=[((A(2, 3),), {}, "not an image")]),
)
def _image_random_flip_left_right(data: Tensor) -> Tensor:
    """Mirror an image left to right with probability 1/2."""
    _verify("image.random_flip_left_right", data)
    return data.flip(-2) if float(torch.rand(())) < 0.5 else data.clone()


@operator(
    random=True,
    infer=same_shape,
    gradient=_NO_GRADIENT,
    check=check(S(_BYTES), S(_FLOATS), ref=_RANDOM, law=_flip_law(-3)),
)
def _image_random_flip_top_bottom(data: Tensor) -> Tensor:
    """Mirror an image top to bottom with probability 1/2."""
    _verify("image.random_flip_top_bottom", data)
    return data.flip(-3) if float(torch.rand(())) < 0.5 else data.clone()


# ---- colours: the plain functions
def _grey(work: Tensor) -> Tensor:
    """Brightness of each pixel, with the channel axis kept."""
    weights = torch.tensor(_LUMINANCE, dtype=work.dtype, device=work.device)
    return (work * weights).sum(-1, keepdim=True)


def _brightness(data: Tensor, factor: float) -> Tensor:
    return _as_stored(data.float() * factor, data)


def _contrast(data: Tensor, factor: float) -> Tensor:
    work = data.float()
    mean = (_grey(work) if data.shape[-1] == 3 else work).mean()
    return _as_stored(work * factor + mean * (1 - factor), data)


def _saturation(data: Tensor, factor: float) -> Tensor:
    if data.shape[-1] == 1:
        return data.clone()
    work = data.float()
    return _as_stored(work * factor + _grey(work) * (1 - factor), data)


def _hue(data: Tensor, factor: float) -> Tensor:
    """Turn the hue by `factor` of a full circle, with lightness and saturation (of the HLS double cone) kept."""
    if data.shape[-1] == 1:
        return data.clone()
    red, green, blue = (data.float() / 255.0).unbind(-1)
    high, low = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    spread, total = high - low, high + low
    safe = torch.where(spread == 0, torch.ones_like(spread), spread)
    sixth = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = (torch.where(spread == 0, torch.zeros_like(sixth), sixth) / 6 + factor) % 1.0
    # along the circle each channel rises, stays, falls and stays between `low` and `high`, shifted by a third of a turn
    turned = []
    for shift in (1 / 3, 0.0, -1 / 3):
        position = ((hue + shift) % 1.0) * 6
        share = torch.clamp(torch.minimum(position, 4 - position), 0, 1)
        turned.append(total / 2 + spread * (share - 0.5))
    return _as_stored(torch.stack(turned, -1) * 255.0, data)


def _lighting(data: Tensor, alpha: Sequence[float]) -> Tensor:
    if data.shape[-1] == 1:
        return data.clone()
    pixels = data if data.dtype is torch.float64 else data.float()
    shift = torch.from_numpy(_LIGHTING @ np.asarray(alpha, np.float64)).to(data.device, pixels.dtype)
    return _as_stored(pixels + shift, data)


def _factor(where: str, low: float, high: float) -> float:
    """Draw a factor, uniform between two bounds."""
    if low > high:
        raise ArgumentError(
            explain(
                where,
                "The range of the factor is empty.",
                expected="min_factor <= max_factor",
                received=f"{low} > {high}",
            )
        )
    return low + (high - low) * float(torch.rand(()))


def _colour_law(reference: Any, tolerance: float = 1e-2) -> Any:
    """Where both bounds are equal nothing is drawn; the result is the reference (bytes may differ by rounding)."""

    def law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
        if attrs["min_factor"] != attrs["max_factor"]:
            return outputs[0].shape == inputs[0].shape and outputs[0].dtype == inputs[0].dtype
        expected = _np_stored(reference(inputs[0].astype(np.float64), attrs["min_factor"]), inputs[0]).astype(
            np.float64
        )
        return bool(
            np.abs(outputs[0].astype(np.float64) - expected).max() <= (1 if inputs[0].dtype == np.uint8 else tolerance)
        )

    return law


def _colour_samples(factor: float) -> list[Sample]:
    return [S(image, min_factor=low, max_factor=factor) for image in (_BYTES, _FLOATS) for low in (factor, 0.2)]


def _np_grey(x: np.ndarray) -> np.ndarray:
    return (x * np.array(_LUMINANCE)).sum(-1, keepdims=True)


def _np_hue(x: np.ndarray, factor: float) -> np.ndarray:
    import colorsys

    flat = [colorsys.rgb_to_hls(*pixel) for pixel in (x / 255).reshape(-1, 3)]
    return np.array([colorsys.hls_to_rgb((h + factor) % 1.0, li, s) for h, li, s in flat]).reshape(x.shape) * 255


_WRONG_RANGE = ((A(2, 2, 3),), {"min_factor": 1.0, "max_factor": 0.5}, "range of the factor")
_COLOUR: dict[str, Any] = {"random": True, "infer": same_shape, "gradient": _NO_GRADIENT}


@operator(
    **_COLOUR,
    check=check(
        *_colour_samples(1.5),
        ref=_RANDOM,
        law=_colour_law(lambda x, f: x * f),
        errors=[_WRONG_RANGE, ((A(2, 2, 4),), {"min_factor": 1.0, "max_factor": 1.0}, "1 or 3")],
    ),
)
def _image_random_brightness(data: Tensor, min_factor: float = REQUIRED, max_factor: float = REQUIRED) -> Tensor:
    """Multiply all values by one random factor."""
    _verify("image.random_brightness", data, batch=False, colour=True)
    return _brightness(data, _factor("image.random_brightness", min_factor, max_factor))


@operator(
    **_COLOUR,
    check=check(
        *_colour_samples(1.5),
        ref=_RANDOM,
        law=_colour_law(lambda x, f: x * f + (1 - f) * _np_grey(x).mean()),
        errors=[_WRONG_RANGE],
    ),
)
def _image_random_contrast(data: Tensor, min_factor: float = REQUIRED, max_factor: float = REQUIRED) -> Tensor:
    """Scale the distance of all values from the mean brightness by one random factor."""
    _verify("image.random_contrast", data, batch=False, colour=True)
    return _contrast(data, _factor("image.random_contrast", min_factor, max_factor))


@operator(
    **_COLOUR,
    check=check(
        *_colour_samples(0.3),
        ref=_RANDOM,
        law=_colour_law(lambda x, f: x * f + (1 - f) * _np_grey(x)),
        errors=[_WRONG_RANGE],
    ),
)
def _image_random_saturation(data: Tensor, min_factor: float = REQUIRED, max_factor: float = REQUIRED) -> Tensor:
    """Scale the distance of each pixel from its grey by one random factor."""
    _verify("image.random_saturation", data, batch=False, colour=True)
    return _saturation(data, _factor("image.random_saturation", min_factor, max_factor))


@operator(**_COLOUR, check=check(*_colour_samples(0.35), ref=_RANDOM, law=_colour_law(_np_hue), errors=[_WRONG_RANGE]))
def _image_random_hue(data: Tensor, min_factor: float = REQUIRED, max_factor: float = REQUIRED) -> Tensor:
    """Turn the hue of all pixels by one random share of a full circle."""
    _verify("image.random_hue", data, batch=False, colour=True)
    return _hue(data, _factor("image.random_hue", min_factor, max_factor))


def _jitter_law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
    still = all(attrs[name] == 0 for name in ("brightness", "contrast", "saturation", "hue"))
    return outputs[0].dtype == inputs[0].dtype and (
        not still or np.abs(outputs[0].astype(float) - inputs[0].astype(float)).max() < 1.01
    )


@operator(
    **_COLOUR,
    check=check(
        S(_BYTES, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0),
        S(_FLOATS, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
        ref=_RANDOM,
        law=_jitter_law,
    ),
)
def _image_random_color_jitter(
    data: Tensor,
    brightness: float = REQUIRED,
    contrast: float = REQUIRED,
    saturation: float = REQUIRED,
    hue: float = REQUIRED,
) -> Tensor:
    """Change brightness, contrast, saturation and hue in random order, by factors within 1 ± the given amounts (hue:
    0 ± hue)."""
    where = "image.random_color_jitter"
    _verify(where, data, batch=False, colour=True)
    steps = [
        (_brightness, brightness, 1.0),
        (_contrast, contrast, 1.0),
        (_saturation, saturation, 1.0),
        (_hue, hue, 0.0),
    ]
    for position in torch.randperm(4).tolist():
        change, amount, centre = steps[position]
        if amount > 0:
            data = change(data, _factor(where, max(0.0, centre - amount) if centre else -amount, centre + amount))
    return data.clone()


@operator(
    infer=same_shape,
    gradient=passes,
    check=check(
        S(_FLOATS, alpha=(0.1, 0.2, 0.3)),
        ref=lambda x, alpha: x + _LIGHTING @ np.array(alpha),
        rtol=1e-4,
        atol=1e-2,
        errors=[((A(2, 2, 3),), {"alpha": (0.1,)}, "three numbers")],
    ),
)
def _image_adjust_lighting(data: Tensor, alpha: Floats = REQUIRED) -> Tensor:
    """Add `alpha` times the principal components of natural images' colours to every pixel (Krizhevsky et al. 2012)."""
    _verify("image.adjust_lighting", data, batch=False, colour=True)
    if len(alpha) != 3:
        raise ArgumentError(
            explain("image.adjust_lighting", "alpha is three numbers, one per component.", received=tuple(alpha))
        )
    return _lighting(data, alpha)


def _lighting_law(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], attrs: Mapping[str, Any]) -> bool:
    shift = outputs[0].astype(float) - inputs[0].astype(float)
    if inputs[0].dtype == np.uint8:
        return outputs[0].dtype == np.uint8
    return bool(np.ptp(shift, axis=(0, 1)).max() < 1e-2) and (attrs["alpha_std"] > 0 or np.abs(shift).max() < 1e-3)


@operator(**_COLOUR, check=check(S(_FLOATS), S(_BYTES), S(_FLOATS, alpha_std=0.0), ref=_RANDOM, law=_lighting_law))
def _image_random_lighting(data: Tensor, alpha_std: float = 0.05) -> Tensor:
    """Do `adjust_lighting` with three normal random numbers of standard deviation `alpha_std`."""
    _verify("image.random_lighting", data, batch=False, colour=True)
    return _lighting(data, (torch.randn(3) * alpha_std).tolist())
