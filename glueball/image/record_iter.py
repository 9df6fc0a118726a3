"""ImageRecordIter: batches from a RecordIO file of images, decoded and augmented by threads, with the argument names
of MXNet 1.x.

The one idea: a batch is a list of keys; each image is a pure function of its key and a seed, so threads may make them
in any order and a run repeats under its seed whatever their number. Decoding (Pillow) and NumPy release Python's lock
for most of the work. The older ImageIter in iterators.py is single-threaded and takes a list of augmenters in place of
these arguments. Re-exported as `io.ImageRecordIter`.
"""

from __future__ import annotations

import collections
import math
import os
import random
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .. import ndarray as nd
from .. import recordio
from ..base import resample
from ..base.errors import ArgumentError, ShapeError, explain
from ..io.batch import DataBatch, DataDesc, DataIter, positive
from . import codec
from .augment import EIGENVALUES, EIGENVECTORS, LUMINANCE, check_data_shape
from .iterators import read_lst

__all__ = ["ImageRecordIter", "ImageRecordUInt8Iter"]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What is done to each image; the names are the public arguments, and 0 or False leaves a step out."""

    resize: int = 0  # shorter side
    min_random_scale: float = 1.0  # then both sides times a random factor from here
    max_random_scale: float = 1.0  # to here
    rand_crop: bool = False  # where to crop, else the middle
    random_resized_crop: bool = False  # a part of random area and aspect, see the next four
    min_random_area: float = 1.0
    max_random_area: float = 1.0
    min_aspect_ratio: float | None = None
    max_aspect_ratio: float = 0.0
    rand_mirror: bool = False
    mirror: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    pca_noise: float = 0.0
    inter_method: int = 1
    mean_r: float = 0.0
    mean_g: float = 0.0
    mean_b: float = 0.0
    std_r: float = 1.0
    std_g: float = 1.0
    std_b: float = 1.0
    scale: float = 1.0

    def apply(
        self, pixels: np.ndarray, shape: tuple[int, int, int], chance: random.Random, normalise: bool
    ) -> np.ndarray:
        """Return an image (height, width, channels) of bytes as (channels, height, width), float32 (or bytes)."""
        channels, height, width = shape
        if self.resize:
            old_height, old_width = pixels.shape[:2]
            size = (
                (self.resize, self.resize * old_height // old_width)
                if old_height > old_width
                else (self.resize * old_width // old_height, self.resize)
            )
            pixels = resample.resize(pixels, *size, interp=self.inter_method)
        if (self.min_random_scale, self.max_random_scale) != (1.0, 1.0):
            factor = chance.uniform(self.min_random_scale, self.max_random_scale)
            sides = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
            pixels = resample.resize(pixels, *sides, interp=self.inter_method)
        pixels = self._crop(pixels, height, width, chance)
        if self.mirror or (self.rand_mirror and chance.random() < 0.5):
            pixels = pixels[:, ::-1]
        if not normalise:
            return np.ascontiguousarray(pixels.transpose(2, 0, 1))
        image = self._colours(pixels.astype(np.float32), chance)
        mean = np.array((self.mean_r, self.mean_g, self.mean_b)[:channels], np.float32)
        std = np.array((self.std_r, self.std_g, self.std_b)[:channels], np.float32)
        return np.ascontiguousarray(((image - mean) * (np.float32(self.scale) / std)).transpose(2, 0, 1))

    def _crop(self, pixels: np.ndarray, height: int, width: int, chance: random.Random) -> np.ndarray:
        old_height, old_width = pixels.shape[:2]
        if self.random_resized_crop:
            low, high = self._ratios()
            for _ in range(10):
                area = chance.uniform(self.min_random_area, self.max_random_area) * old_height * old_width
                ratio = math.exp(chance.uniform(math.log(low), math.log(high)))
                w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
                if 0 < w <= old_width and 0 < h <= old_height:
                    x, y = chance.randint(0, old_width - w), chance.randint(0, old_height - h)
                    return resample.resize(pixels[y : y + h, x : x + w], width, height, self.inter_method)
        if old_height < height or old_width < width:  # enlarge until the shape fits
            factor = max(height / old_height, width / old_width)
            pixels = resample.resize(
                pixels,
                max(width, round(old_width * factor)),
                max(height, round(old_height * factor)),
                self.inter_method,
            )
            old_height, old_width = pixels.shape[:2]
        if self.rand_crop:
            x, y = chance.randint(0, old_width - width), chance.randint(0, old_height - height)
        else:
            x, y = (old_width - width) // 2, (old_height - height) // 2
        return pixels[y : y + height, x : x + width]

    def _ratios(self) -> tuple[float, float]:
        if self.min_aspect_ratio is None:  # one number r means 1 - r to 1 + r
            return max(1 - self.max_aspect_ratio, 1e-3), 1 + self.max_aspect_ratio
        return self.min_aspect_ratio, max(self.max_aspect_ratio, self.min_aspect_ratio)

    def _colours(self, image: np.ndarray, chance: random.Random) -> np.ndarray:
        if image.shape[2] != 3:
            return image
        luminance = np.array(LUMINANCE, np.float32)
        if self.brightness:
            image = image * np.float32(1 + chance.uniform(-self.brightness, self.brightness))
        if self.contrast:
            share = np.float32(1 + chance.uniform(-self.contrast, self.contrast))
            image = image * share + (image @ luminance).mean() * (1 - share)
        if self.saturation:
            share = np.float32(1 + chance.uniform(-self.saturation, self.saturation))
            image = image * share + (image @ luminance)[:, :, None] * (1 - share)
        if self.pca_noise:
            noise = np.array([chance.gauss(0, self.pca_noise) for _ in range(3)])
            image = image + (np.array(EIGENVECTORS) * noise @ np.array(EIGENVALUES)).astype(np.float32)
        return image


_RECIPE_NAMES = tuple(field.name for field in fields(_Recipe))
# Arguments of 1.x about its C++ threads and buffers, or how much it prints, have no meaning here. (min_img_size: an
# image smaller than the crop
# is always enlarged.)
_WITHOUT_MEANING = {
    "verbose",
    "device_id",
    "preprocess_queue",
    "ctx",
    "shuffle_chunk_size",
    "shuffle_chunk_seed",
    "min_img_size",
}
# Arguments whose effect is not offered; only the value that has none is accepted.
_NEUTRAL = {
    "max_rotate_angle": 0,
    "rotate": -1,
    "max_shear_ratio": 0,
    "random_h": 0,
    "random_s": 0,
    "random_l": 0,
    "pad": 0,
    "max_crop_size": -1,
    "min_crop_size": -1,
    "fill_value": 255,
}


class ImageRecordIter(DataIter):
    """Batches of images from a RecordIO file.

    Parameters
    ----------
    path_imgrec : path
        The file.
    data_shape : (channels, height, width)
        Of each image.
    batch_size : int
        Images in a batch.
    path_imgidx : path, optional
        Its index; without one the file is read through once to find the records.
    path_imglist : path, optional
        A `.lst` file whose labels replace those in the file.
    label_width : int
        Labels of each image.
    shuffle : bool
        A new random order at each pass, by `seed`.
    seed : int
        For the order and all random changes.
    round_batch : bool
        The last batch is filled from the start, and the next pass begins behind that; False pads it with the last
        image.
    num_parts, part_index : int
        Read only one of several contiguous parts.
    preprocess_threads, prefetch_buffer : int
        Threads that decode; batches made in advance.
    dtype : str
        ``"float32"`` or ``"uint8"`` (then without normalisation).
    resize, rand_crop, random_resized_crop, min_random_area, max_random_area, min_aspect_ratio, max_aspect_ratio,
    rand_mirror, mirror, brightness, contrast, saturation, pca_noise, inter_method
        What is done to each image, in this order.
    mean_r, mean_g, mean_b, std_r, std_g, std_b, scale : float
        The result is (image - mean) * scale / std.

    Raises
    ------
    FileFormatError
        The file, or an image in it, is damaged.
    TypeError
        An argument is unknown.
    """

    def __init__(
        self,
        path_imgrec: str | os.PathLike[str],
        data_shape: tuple[int, int, int],
        batch_size: int,
        path_imgidx: Any = None,
        path_imglist: Any = None,
        label_width: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        round_batch: bool = True,
        num_parts: int = 1,
        part_index: int = 0,
        preprocess_threads: int = 4,
        prefetch_buffer: int = 4,
        dtype: str = "float32",
        data_name: str = "data",
        label_name: str = "softmax_label",
        **kwargs: Any,
    ) -> None:
        where = type(self).__name__
        super().__init__(positive(batch_size, where))
        self._shape = check_data_shape(data_shape, where)
        if dtype not in ("float32", "uint8"):
            raise ArgumentError(explain(where, "Unknown dtype.", expected="'float32' or 'uint8'", received=repr(dtype)))
        self._recipe = _recipe(kwargs, where)
        self._label_width, self._shuffle, self._round_batch, self._dtype = (
            positive(label_width, where, "label_width"),
            shuffle,
            round_batch,
            dtype,
        )
        self._file = recordio.RecordFile(os.fspath(path_imgrec))
        self._labels_of = read_lst(path_imglist) if path_imglist else None
        self._offsets = self._find_records(path_imgidx, part_index, num_parts)
        self._order_seed, self._seeds, self._start = random.Random(seed), random.Random(seed + 1), 0
        self._threads = ThreadPoolExecutor(
            positive(preprocess_threads, where, "preprocess_threads"), thread_name_prefix=where
        )
        self._ahead = positive(prefetch_buffer, where, "prefetch_buffer")
        self._under_way: collections.deque[tuple[list[Future[Any]], int]] = collections.deque()
        self.provide_data = [DataDesc(data_name, (batch_size, *self._shape), np.dtype(dtype).type)]
        self.provide_label = [DataDesc(label_name, (batch_size,) if label_width == 1 else (batch_size, label_width))]
        self._begin()

    def _find_records(self, path_imgidx: Any, part_index: int, num_parts: int) -> list[int]:
        """Return where the records of this part begin."""
        where = type(self).__name__
        if not 0 <= part_index < num_parts:
            expected = f"0 <= part_index < {num_parts}"
            raise ArgumentError(explain(where, "part_index is out of range.", expected=expected, received=part_index))
        if path_imgidx:
            offsets = list(recordio.read_index(os.fspath(path_imgidx), int, self._file.size).values())
        else:
            offsets = list(self._file.offsets())
        part = offsets[len(offsets) * part_index // num_parts : len(offsets) * (part_index + 1) // num_parts]
        if not part:
            received = f"{len(offsets)} images in {num_parts} parts"
            raise ArgumentError(explain(where, "There are no images in this part.", received=received))
        return part

    def _begin(self) -> None:
        self._order = list(self._offsets)
        if self._shuffle:
            self._order_seed.shuffle(self._order)
        self._position, self._start = self._start, 0

    def reset(self) -> None:
        """Start the next pass."""
        while self._under_way:
            for future in self._under_way.popleft()[0]:
                future.cancel()
        self._begin()

    def _submit(self) -> None:
        """Hand the next batches to the threads."""
        while len(self._under_way) < self._ahead and self._position < len(self._order):
            stop = self._position + self.batch_size
            pad = max(stop - len(self._order), 0)
            offsets = self._order[self._position : stop]
            if self._round_batch:
                self._start = pad % len(self._order) if pad else 0
                offsets += [self._order[number % len(self._order)] for number in range(pad)]
            else:
                offsets += [offsets[-1]] * pad
            self._position = stop
            self._under_way.append(
                ([self._threads.submit(self._make, offset, self._seeds.getrandbits(32)) for offset in offsets], pad)
            )

    def _make(self, offset: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return label and image of the record at an offset; called by threads."""
        header, content = recordio.unpack(self._file.record(offset)[0] or b"")
        label = header.label if self._labels_of is None else self._labels_of[header.id][0]
        pixels = codec.decode(
            content, "colour" if self._shape[0] == 3 else "grey", f"the image of the record at byte {offset}"
        )
        return np.asarray(label, np.float32).reshape(-1), self._recipe.apply(
            pixels, self._shape, random.Random(seed), self._dtype == "float32"
        )

    def next(self) -> DataBatch:
        """Return the next batch."""
        self._submit()
        if not self._under_way:
            raise StopIteration
        futures, pad = self._under_way.popleft()
        made = [future.result() for future in futures]
        self._submit()
        wrong = [label.size for label, _ in made if label.size != self._label_width]
        if wrong:
            raise ShapeError(
                explain(
                    type(self).__name__,
                    "An image has another number of labels.",
                    expected=f"label_width {self._label_width}",
                    received=f"{wrong[0]} labels",
                    fix="Give label_width=...",
                )
            )
        labels = np.stack([label for label, _ in made])
        data = nd.array(np.stack([image for _, image in made]), dtype=self._dtype)
        return DataBatch([data], [nd.array(labels[:, 0] if self._label_width == 1 else labels)], pad)

    def __del__(self) -> None:
        if hasattr(self, "_threads"):
            self._threads.shutdown(wait=False, cancel_futures=True)


def _recipe(arguments: dict[str, Any], where: str) -> _Recipe:
    for name, neutral in _NEUTRAL.items():
        if arguments.pop(name, neutral) != neutral:
            raise ArgumentError(
                explain(
                    where,
                    f"{name} is not offered.",
                    expected=f"{neutral}, which does nothing",
                    fix="Use image.ImageIter with an aug_list, or gluon.data with transforms.",
                )
            )
    unknown = [name for name in arguments if name not in _RECIPE_NAMES and name not in _WITHOUT_MEANING]
    if unknown:
        raise TypeError(
            explain(
                where,
                "Unknown argument.",
                received=", ".join(unknown),
                expected=f"among {', '.join(_RECIPE_NAMES)}",
                fix="For other augmentations use image.ImageIter with an aug_list, or gluon.data with transforms.",
            )
        )
    recipe = _Recipe(**{name: value for name, value in arguments.items() if name in _RECIPE_NAMES})
    resample.choose_method(recipe.inter_method)
    if 0 in (recipe.std_r, recipe.std_g, recipe.std_b):
        raise ArgumentError(explain(where, "Images are divided by std_r, std_g and std_b.", expected="none of them 0"))
    return recipe


class ImageRecordUInt8Iter(ImageRecordIter):
    """`ImageRecordIter` that gives bytes, without normalisation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "dtype": "uint8"})
