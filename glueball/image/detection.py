"""Images with boxes: augmenters that move the boxes along, and ImageDetIter.

The one idea: a label is an array (objects, 5 or more) of class, left, top, right, bottom (and what follows), the
corners as fractions of the image, so resizing leaves it alone and only cropping, padding and mirroring change it.
Changes of colour are borrowed from augment.py.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ndarray as nd
from ..base.errors import ArgumentError, FileFormatError, MXNetError, ShapeError, explain
from ..io.batch import DataBatch, DataDesc
from . import functional
from .augment import Augmenter, ForceResizeAug, ResizeAug, colour_augmenters
from .iterators import ImageIter

__all__ = [
    "CreateDetAugmenter",
    "CreateMultiRandCropAugmenter",
    "DetAugmenter",
    "DetBorrowAug",
    "DetHorizontalFlipAug",
    "DetRandomCropAug",
    "DetRandomPadAug",
    "DetRandomSelectAug",
    "ImageDetIter",
]

Pair = tuple[float, float]


class DetAugmenter:
    """Base class: a call from (image, label) to (image, label). Override `__call__`."""

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs

    def dumps(self) -> Any:
        """Return the class's name in small letters and its arguments, as JSON."""
        return json.dumps([type(self).__name__.lower(), self._kwargs])

    def __call__(self, src: nd.NDArray, label: np.ndarray) -> tuple[nd.NDArray, np.ndarray]:
        """Return the changed image and label."""
        raise NotImplementedError(
            explain(type(self).__name__, "An augmenter defines __call__(src, label), which returns both.")
        )


class DetBorrowAug(DetAugmenter):
    """An augmenter of images that leaves boxes where they are (colours, resizing)."""

    def __init__(self, augmenter: Augmenter) -> None:
        if not isinstance(augmenter, Augmenter):
            raise TypeError(explain("DetBorrowAug", "An image.Augmenter is borrowed.", received=repr(augmenter)))
        super().__init__()
        self.augmenter = augmenter

    def dumps(self) -> Any:
        """Return name and the augmenter's description."""
        return [type(self).__name__.lower(), self.augmenter.dumps()]

    def __call__(self, src: nd.NDArray, label: np.ndarray) -> tuple[nd.NDArray, np.ndarray]:
        """Return the changed image and the label."""
        return self.augmenter(src), label


class DetRandomSelectAug(DetAugmenter):
    """One of several augmenters by chance; none with probability `skip_prob`."""

    def __init__(self, aug_list: Sequence[DetAugmenter], skip_prob: float = 0) -> None:
        super().__init__(skip_prob=skip_prob)
        self.aug_list: list[Any] = list(aug_list) if isinstance(aug_list, (list, tuple)) else [aug_list]
        if any(not isinstance(augmenter, DetAugmenter) for augmenter in self.aug_list):
            raise TypeError(
                explain("DetRandomSelectAug", "All augmenters are image.DetAugmenter.", received=repr(aug_list))
            )
        self.skip_prob = skip_prob if self.aug_list else 1

    def dumps(self) -> Any:
        """Return name and the augmenters' descriptions."""
        return [type(self).__name__.lower(), [augmenter.dumps() for augmenter in self.aug_list]]

    def __call__(self, src: nd.NDArray, label: np.ndarray) -> tuple[nd.NDArray, np.ndarray]:
        """Return the changed image and label."""
        return (src, label) if random.random() < self.skip_prob else random.choice(self.aug_list)(src, label)


class DetHorizontalFlipAug(DetAugmenter):
    """Mirror image and boxes with probability `p`."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p

    def __call__(self, src: nd.NDArray, label: np.ndarray) -> tuple[nd.NDArray, np.ndarray]:
        """Return the image or its mirror image, with the label."""
        if random.random() >= self.p:
            return src, label
        mirrored = label.copy()
        mirrored[:, 1], mirrored[:, 3] = 1 - label[:, 3], 1 - label[:, 1]
        return nd.flip(src, axis=1), mirrored


def _pair(value: Any, other: float) -> Pair:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, other)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(0, boxes[:, 2] - boxes[:, 0]) * np.maximum(0, boxes[:, 3] - boxes[:, 1])


def _moved(label: np.ndarray, box: tuple[int, int, int, int], height: int, width: int) -> np.ndarray:
    """Return the label seen from a box (left, top, width, height in pixels) of an image; corners may lie outside
    0..1.
    """
    left, top, new_width, new_height = box
    out = label.copy()
    out[:, (1, 3)] = (label[:, (1, 3)] * width - left) / new_width
    out[:, (2, 4)] = (label[:, (2, 4)] * height - top) / new_height
    return out


def _draw_box(height: int, width: int, areas: Pair, ratios: Pair) -> tuple[int, int]:
    """Return a random width and height in pixels for ranges of area (relative to the image) and of width over
    height.
    """
    area = random.uniform(*areas) * height * width
    ratio = random.uniform(*ratios)
    return round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)


class DetRandomCropAug(DetAugmenter):
    """Crop a random part that shows enough of the objects it touches.

    Parameters
    ----------
    min_object_covered : float
        Every object that the part touches must be seen to more than this fraction.
    aspect_ratio_range : (low, high)
        The part's width over its height.
    area_range : (low, high)
        The part's share of the image.
    min_eject_coverage : float
        Objects of which less than this fraction is left are dropped.
    max_attempts : int
        After so many parts that do not do, the image stays as it is.
    """

    def __init__(
        self,
        min_object_covered: float = 0.1,
        aspect_ratio_range: Any = (0.75, 1.33),
        area_range: Any = (0.05, 1.0),
        min_eject_coverage: float = 0.3,
        max_attempts: int = 50,
    ) -> None:
        ratios, areas = _pair(aspect_ratio_range, aspect_ratio_range), _pair(area_range, 1.0)
        super().__init__(
            min_object_covered=min_object_covered,
            aspect_ratio_range=ratios,
            area_range=areas,
            min_eject_coverage=min_eject_coverage,
            max_attempts=max_attempts,
        )
        _check_ranges("DetRandomCropAug", ratios, areas)
        self.min_object_covered, self.min_eject_coverage, self.max_attempts = (
            min_object_covered,
            min_eject_coverage,
            max_attempts,
        )
        self.aspect_ratio_range, self.area_range = ratios, areas

    def __call__(self, src: nd.NDArray, label: np.ndarray) -> tuple[nd.NDArray, np.ndarray]:
        """Return the part and the boxes in it."""
        height, width = src.shape[:2]
        for _ in range(self.max_attempts):
            new_width, new_height = _draw_box(height, width, self.area_range, self.aspect_ratio_range)
            if not (0 < new_width <= width and 0 < new_height <= height):
                continue
            left, top = random.randint(0, width - new_width), random.randint(0, height - new_height)
            kept = self._kept(label, (left, top, new_width, new_height), height, width)
            if kept is not None:
                return functional.fixed_crop(src, left, top, new_width, new_height), kept
        return src, label

    def _kept(self, label: np.ndarray, box: tuple[int, int, int, int], height: int, width: int) -> np.ndarray | None:
        """Return the objects in a part of the image, or None if the part will not do."""
        moved = _moved(label, box, height, width)
        whole = _areas(moved[:, 1:5])
        moved[:, 1:5] = np.clip(moved[:, 1:5], 0, 1)
        covered = _areas(moved[:, 1:5]) / np.maximum(whole, 1e-12)
        seen = covered[covered > 0]
        if seen.size == 0 or seen.min() <= self.min_object_covered:
            return None
        kept = moved[covered > self.min_eject_coverage]
        return kept if len(kept) else None


class DetRandomPadAug(DetAugmenter):
    """Put the image at a random place of a larger canvas.

    Parameters
    ----------
    aspect_ratio_range : (low, high)
        The canvas's width over its height.
    area_range : (low, high)
        The canvas's area relative to the image's, at least 1.
    max_attempts : int
        After so many canvases that are too small the image stays as it is.
    pad_val : number or one for each channel
        Colour of the canvas.
    """

    def __init__(
        self,
        aspect_ratio_range: Any = (0.75, 1.33),
        area_range: Any = (1.0, 3.0),
        max_attempts: int = 50,
        pad_val: Any = (128, 128, 128),
    ) -> None:
        pad = tuple(pad_val) if isinstance(pad_val, (tuple, list)) else (pad_val,)
        ratios, areas = _pair(aspect_ratio_range, aspect_ratio_range), _pair(area_range, area_range)
        super().__init__(aspect_ratio_range=ratios, area_range=areas, max_attempts=max_attempts, pad_val=pad)
        _check_ranges("DetRandomPadAug", ratios, areas)
        self.aspect_ratio_range, self.area_range, self.max_attempts, self.pad_val = ratios, areas, max_attempts, pad

    def __call__(self, src: nd.NDArray, label: np.ndarray) -> tuple[nd.NDArray, np.ndarray]:
        """Return the canvas and the boxes on it."""
        height, width = src.shape[:2]
        if self.area_range[1] <= 1:
            return src, label
        for _ in range(self.max_attempts):
            new_width, new_height = _draw_box(height, width, self.area_range, self.aspect_ratio_range)
            if new_width < width or new_height < height:
                continue
            left, top = random.randint(0, new_width - width), random.randint(0, new_height - height)
            pixels = src.asnumpy()
            canvas = np.empty((new_height, new_width, pixels.shape[2]), pixels.dtype)
            canvas[:] = self.pad_val
            canvas[top : top + height, left : left + width] = pixels
            return functional.from_numpy(canvas), _moved(label, (-left, -top, new_width, new_height), height, width)
        return src, label


def _check_ranges(where: str, ratios: Pair, areas: Pair) -> None:
    for name, (low, high) in (("aspect_ratio_range", ratios), ("area_range", areas)):
        if not 0 < low <= high:
            raise ArgumentError(explain(where, f"{name} is (low, high), both positive.", received=(low, high)))


def CreateMultiRandCropAugmenter(
    min_object_covered: Any = 0.1,
    aspect_ratio_range: Any = (0.75, 1.33),
    area_range: Any = (0.05, 1.0),
    min_eject_coverage: Any = 0.3,
    max_attempts: Any = 50,
    skip_prob: float = 0,
) -> DetRandomSelectAug:
    """Return a choice among several `DetRandomCropAug`: each argument is one value, or a list with one for each of
    them.
    """
    given = {
        "min_object_covered": min_object_covered,
        "aspect_ratio_range": aspect_ratio_range,
        "area_range": area_range,
        "min_eject_coverage": min_eject_coverage,
        "max_attempts": max_attempts,
    }
    lists = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    count = max(map(len, lists.values()))
    wrong = [name for name, value in lists.items() if len(value) not in (1, count)]
    if wrong:
        raise ArgumentError(
            explain(
                "CreateMultiRandCropAugmenter",
                "Lists of arguments are of one length.",
                expected=f"{count} or 1",
                received=f"{len(lists[wrong[0]])} in {wrong[0]}",
            )
        )
    crops = [
        DetRandomCropAug(**{name: value[number if len(value) > 1 else 0] for name, value in lists.items()})
        for number in range(count)
    ]
    return DetRandomSelectAug(crops, skip_prob)


def CreateDetAugmenter(
    data_shape: Sequence[int],
    resize: int = 0,
    rand_crop: float = 0,
    rand_pad: float = 0,
    rand_gray: float = 0,
    rand_mirror: bool = False,
    mean: Any = None,
    std: Any = None,
    brightness: float = 0,
    contrast: float = 0,
    saturation: float = 0,
    pca_noise: float = 0,
    hue: float = 0,
    inter_method: int = 2,
    min_object_covered: Any = 0.1,
    aspect_ratio_range: Any = (0.75, 1.33),
    area_range: Any = (0.05, 3.0),
    min_eject_coverage: Any = 0.3,
    max_attempts: int = 50,
    pad_val: Any = (127, 127, 127),
) -> list[DetAugmenter]:
    """Return the usual list of augmenters for images with boxes.

    `rand_crop` and `rand_pad` are probabilities; the other arguments are those of `CreateAugmenter`,
    `DetRandomCropAug` and `DetRandomPadAug` (crops take the part of `area_range` up to 1, pads the part from 1).
    """
    made: list[DetAugmenter] = [DetBorrowAug(ResizeAug(resize, inter_method))] if resize > 0 else []
    if rand_crop > 0:
        crop_areas = [
            (low, min(high, 1.0)) for low, high in (area_range if isinstance(area_range, list) else [area_range])
        ]
        made.append(
            CreateMultiRandCropAugmenter(
                min_object_covered, aspect_ratio_range, crop_areas, min_eject_coverage, max_attempts, 1 - rand_crop
            )
        )
    if rand_mirror:
        made.append(DetHorizontalFlipAug(0.5))
    if rand_pad > 0:
        most = max(high for _, high in (area_range if isinstance(area_range, list) else [area_range]))
        ratios = aspect_ratio_range[0] if isinstance(aspect_ratio_range, list) else aspect_ratio_range
        made.append(
            DetRandomSelectAug([DetRandomPadAug(ratios, (1.0, max(most, 1.0)), max_attempts, pad_val)], 1 - rand_pad)
        )
    made.append(DetBorrowAug(ForceResizeAug((data_shape[2], data_shape[1]), inter_method)))
    colours = colour_augmenters(mean, std, brightness, contrast, saturation, hue, pca_noise, rand_gray)
    return made + [DetBorrowAug(augmenter) for augmenter in colours]


class ImageDetIter(ImageIter):
    """Batches of images with boxes: labels have shape (batch, objects, 5 or more), rows of -1 where an image has fewer.

    A stored label is ``head width, object width, (rest of the head), class, left, top, right, bottom, ...`` for each
    object.

    Parameters
    ----------
    batch_size, data_shape, path_imgrec, path_imglist, path_root, path_imgidx, shuffle, part_index, num_parts, imglist,
    data_name, label_name, last_batch_handle
        As for `ImageIter`.
    aug_list : list of DetAugmenter, optional
        Default `CreateDetAugmenter(data_shape, **kwargs)`.

    Raises
    ------
    FileFormatError
        A label is not of this form.
    """

    def __init__(
        self,
        batch_size: int,
        data_shape: Sequence[int],
        path_imgrec: Any = None,
        path_imglist: Any = None,
        path_root: Any = None,
        path_imgidx: Any = None,
        shuffle: bool = False,
        part_index: int = 0,
        num_parts: int = 1,
        aug_list: Sequence[DetAugmenter] | None = None,
        imglist: Sequence[Any] | None = None,
        data_name: str = "data",
        label_name: str = "label",
        last_batch_handle: str = "pad",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            batch_size,
            data_shape,
            1,
            path_imgrec,
            path_imglist,
            path_root,
            path_imgidx,
            shuffle,
            part_index,
            num_parts,
            aug_list=[],
            imglist=imglist,
            data_name=data_name,
            label_name=label_name,
            last_batch_handle=last_batch_handle,
        )
        self.auglist = CreateDetAugmenter(data_shape, **kwargs) if aug_list is None else list(aug_list)
        self.label_shape = self._estimate_label_shape()
        self._describe()

    def _describe(self) -> None:
        self.provide_data = [DataDesc(self.provide_data[0].name, (self.batch_size, *self.data_shape))]
        self.provide_label = [DataDesc(self.provide_label[0].name, (self.batch_size, *self.label_shape))]

    def _estimate_label_shape(self) -> tuple[int, int]:
        """Read all labels once, and return the largest number of objects and the width of an object."""
        shapes = []
        self.reset()
        while True:
            try:
                shapes.append(self._parse_label(self.next_sample()[0]).shape)
            except StopIteration:
                break
        self.reset()
        if not shapes:
            raise FileFormatError(explain("ImageDetIter", "There are no images."))
        if len({width for _, width in shapes}) > 1:
            raise FileFormatError(
                explain(
                    "ImageDetIter",
                    "The images have objects of different widths.",
                    received=sorted({width for _, width in shapes}),
                )
            )
        return max(count for count, _ in shapes), shapes[0][1]

    def _parse_label(self, label: Any) -> np.ndarray:
        """Return the objects (objects, width) of a stored label, those without area left out."""
        raw = np.asarray(label.asnumpy() if isinstance(label, nd.NDArray) else label, np.float32).ravel()
        where = "ImageDetIter"
        form = "head width (at least 2), object width (at least 5), rest of the head, objects"
        if raw.size < 7:
            raise FileFormatError(
                explain(where, "A label is too short.", expected=form, received=f"{raw.size} numbers")
            )
        head, width = int(raw[0]), int(raw[1])
        if head < 2 or width < 5 or (raw.size - head) % width:
            raise FileFormatError(
                explain(
                    where,
                    "A label does not agree with its head.",
                    expected=form,
                    received=f"head width {head}, object width {width}, {raw.size} numbers",
                )
            )
        objects = raw[head:].reshape(-1, width)
        valid = (objects[:, 3] > objects[:, 1]) & (objects[:, 4] > objects[:, 2])
        if not valid.any():
            raise FileFormatError(explain(where, "No box of a label has any area.", received=objects[0].tolist()))
        return objects[valid]

    def reshape(self, data_shape: Sequence[int] | None = None, label_shape: Sequence[int] | None = None) -> None:
        """Change the shape of images or labels from now on."""
        if data_shape is not None:
            self.check_data_shape(data_shape)
            for augmenter in self.auglist:
                if isinstance(augmenter, DetBorrowAug) and isinstance(augmenter.augmenter, ForceResizeAug):
                    augmenter.augmenter.size = (data_shape[2], data_shape[1])
            self.data_shape = tuple(data_shape)
        if label_shape is not None:
            self.check_label_shape(label_shape)
            self.label_shape = tuple(label_shape)
        self._describe()

    def check_label_shape(self, label_shape: Sequence[int]) -> None:
        """Raise unless labels of the images fit into the shape."""
        if len(label_shape) != 2 or label_shape[0] < self.label_shape[0] or label_shape[1] != self.label_shape[1]:
            raise ArgumentError(
                explain(
                    "ImageDetIter",
                    "The labels do not fit into this shape.",
                    received=tuple(label_shape),
                    expected=f"at least {self.label_shape[0]} objects of width {self.label_shape[1]}",
                )
            )

    def sync_label_shape(self, it: ImageDetIter, verbose: bool = False) -> ImageDetIter:
        """Give two iterators (for training and validation) the larger of their label shapes."""
        del verbose
        if not isinstance(it, ImageDetIter):
            raise TypeError(
                explain(
                    "ImageDetIter.sync_label_shape",
                    "The other iterator is an ImageDetIter too.",
                    received=type(it).__name__,
                )
            )
        if it.label_shape[1] != self.label_shape[1]:
            raise ShapeError(
                explain(
                    "ImageDetIter.sync_label_shape",
                    "The objects differ in width.",
                    expected=self.label_shape[1],
                    received=it.label_shape[1],
                )
            )
        shape = (max(self.label_shape[0], it.label_shape[0]), self.label_shape[1])
        self.reshape(None, shape)
        it.reshape(None, shape)
        return it

    def _finish(self, label: Any, data: nd.NDArray) -> tuple[Any, Any]:
        boxes = self._parse_label(label)
        for augmenter in self.auglist:
            data, boxes = augmenter(data, boxes)
        image = self.postprocess_data(data).asnumpy()
        if image.shape != self.data_shape:
            raise ShapeError(
                explain(
                    "ImageDetIter",
                    "The augmenters do not give the shape asked for.",
                    expected=self.data_shape,
                    received=image.shape,
                    fix="End the spatial part of aug_list with DetBorrowAug(ForceResizeAug(...)).",
                )
            )
        return boxes, image

    def _labels(self, labels: list[np.ndarray]) -> nd.NDArray:
        batch = np.full((len(labels), *self.label_shape), -1, np.float32)
        for row, boxes in zip(batch, labels):
            row[: len(boxes)] = boxes
        return nd.array(batch)

    def next(self) -> DataBatch:
        """Return the next batch."""
        try:
            return super().next()
        except ValueError as error:
            if isinstance(error, MXNetError):
                raise
            raise ShapeError(
                explain(
                    "ImageDetIter",
                    f"The boxes do not fit into labels of shape {self.label_shape}.",
                    fix="Call reshape(label_shape=...).",
                )
            ) from error
