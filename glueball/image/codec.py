"""Encoded images to NumPy arrays and back; the only file that touches Pillow, which is an optional dependency.

The one idea: an image in memory is always height × width × channels, uint8, channels in the order red, green, blue;
what a file holds (palettes, 16 bits, CMYK, an EXIF orientation) is turned into that here. Arrays of `nd`, and the
public `imread` and `imdecode`, are in functional.py; resizing is in base/resample.py.
"""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np

from ..base.errors import ArgumentError, DTypeError, FileFormatError, ShapeError, explain

__all__ = ["decode", "encode", "pillow"]

_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}


# What is read, by content. Pillow knows more formats, one of which (EPS) starts another program.
_READ = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000")


MOST_PIXELS = 40_000_000  # of any image; a larger file may have 64 for each of its bytes


def pillow() -> Any:
    """Return the module `PIL.Image`, or raise an ImportError that says how to install it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            explain(
                "glueball.image", "Pillow decodes and encodes images, and is not installed.", fix="pip install pillow"
            )
        ) from None
    return Image


def decode(data: bytes | memoryview, colour: str = "colour", name: str = "the buffer") -> np.ndarray:
    """Return the image in `data` as an array (height, width, channels), uint8.

    Parameters
    ----------
    data : bytes
        An encoded image: JPEG, PNG, BMP, GIF, WebP, TIFF, PPM or JPEG 2000.
    colour : str
        ``"colour"`` (3 channels), ``"grey"`` (1 channel) or ``"as stored"`` (1, 3 or 4 channels).
    name : str
        How an error names the source.

    Raises
    ------
    FileFormatError
        The data are no image, or a damaged one.
    """
    image_module = pillow()
    from PIL import ImageOps

    if len(data) == 0:
        raise FileFormatError(explain("image.imdecode", f"There is nothing to decode: {name} is empty."))
    try:
        with image_module.open(io.BytesIO(data), formats=_READ) as image:
            allowed = max(MOST_PIXELS, 64 * len(data))
            if image.width * image.height > allowed:
                raise ValueError(f"it claims {image.width} × {image.height} pixels, at most {allowed} are believed")
            if colour != "as stored":
                image = ImageOps.exif_transpose(image)
            image.load()
            return _pixels(image, colour)
    except MemoryError:
        raise
    except Exception as error:  # a decoder's troubles with damaged bytes have no common base
        problem = str(error).partition(" <_io.")[0]  # Pillow names the buffer that the bytes were put into
        raise FileFormatError(
            explain(
                "image.imdecode",
                f"{name} cannot be decoded: {problem}.",
                received=f"{len(data)} bytes beginning {bytes(data[:8])!r}",
                fix="Is it an image file, and complete?",
            )
        ) from error


def _pixels(image: Any, colour: str) -> np.ndarray:
    if image.mode.startswith("I;16"):  # 16-bit grey: keep the upper byte, as OpenCV does
        pixels = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)[:, :, None]
        return np.repeat(pixels, 3, axis=2) if colour == "colour" else pixels
    if colour == "as stored":
        with_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        mode = "L" if image.mode in ("1", "L") else "RGBA" if with_alpha else "RGB"
    else:
        mode = {"colour": "RGB", "grey": "L"}[colour]
    pixels = np.array(image.convert(mode))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def encode(pixels: np.ndarray, extension: str = ".jpg", quality: int = 95) -> bytes:
    """Return an image (height, width[, 1, 3 or 4]), uint8, red first, encoded by the format that `extension` names.

    `quality` is 1..100 for JPEG and WebP, and the compression level 0..9 for PNG.
    """
    where = "image encoder"
    kind = _FORMATS.get(extension.lower())
    if kind is None:
        raise ArgumentError(
            explain(where, "Unknown image format.", expected=f"one of {', '.join(_FORMATS)}", received=repr(extension))
        )
    if pixels.dtype != np.uint8:
        raise DTypeError(
            explain(
                where,
                "An image to encode is of uint8.",
                received=str(pixels.dtype),
                fix="img.clip(0, 255).astype('uint8')",
            )
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or 0 in pixels.shape:
        raise ShapeError(
            explain(
                where,
                "An image is height × width × channels (1, 3 or 4).",
                received=pixels.shape,
                fix="Transpose channels-first images: x.transpose((1, 2, 0)).",
            )
        )
    image = pillow().fromarray(np.ascontiguousarray(pixels))
    if kind == "JPEG" and image.mode == "RGBA":
        image = image.convert("RGB")
    options: dict[str, Any] = {}
    if kind in ("JPEG", "WEBP"):
        options["quality"] = quality
    elif kind == "PNG":
        options["compress_level"] = min(quality, 9)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def read_bytes(filename: str | os.PathLike[str], where: str) -> bytes:
    """Return a file's content; the error of a missing file names the function that wanted it."""
    try:
        with open(filename, "rb") as file:
            return file.read()
    except OSError as error:
        problem = f"The file cannot be read: {error.strerror or error}."
        raise type(error)(error.errno, explain(where, problem, received=os.fspath(filename))) from None
