"""ImageIter: batches of images from a RecordIO file or a list of files, decoded and augmented on the way.

The one idea: `next_sample` gives (label, encoded image) in the order of the pass, everything else turns those into
batches: decode, augment, transpose to channels × height × width. Subclasses replace single steps (detection.py does,
for boxes). Threads: record_iter.py.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ndarray as nd
from .. import recordio
from ..base.errors import ArgumentError, FileFormatError, ShapeError, explain
from ..base.files import text_lines
from ..io.batch import DataBatch, DataDesc, DataIter, positive
from . import codec, functional
from .augment import Augmenter, CreateAugmenter, check_data_shape

__all__ = ["ImageIter"]

_LAST = ("pad", "discard", "roll_over")


def read_lst(path: str | os.PathLike[str]) -> dict[int, tuple[np.ndarray, str]]:
    """Return a `.lst` file (lines ``index<TAB>label...<TAB>path``) as a dictionary from index to labels and path."""
    entries: dict[int, tuple[np.ndarray, str]] = {}
    for number, at, line in text_lines(path, f"List {os.fspath(path)!r}"):
        fields = line.strip().split("\t")
        if fields == [""]:
            continue
        try:
            entries[int(fields[0])] = (np.array([float(field) for field in fields[1:-1]], np.float32), fields[-1])
        except ValueError:
            raise FileFormatError(
                explain(
                    "ImageIter",
                    f"Line {number} of the list {os.fspath(path)!r} cannot be read, at byte {at}.",
                    expected="index<TAB>label...<TAB>path",
                    received=repr(line[:80]),
                )
            ) from None
    return entries


class ImageIter(DataIter):
    """Batches of images with labels.

    Parameters
    ----------
    batch_size : int
        Images in a batch.
    data_shape : (channels, height, width)
        Of each image after augmentation.
    label_width : int
        Labels of each image.
    path_imgrec, path_imgidx : path, optional
        A RecordIO file and its index; the index is needed to shuffle, or to read a part.
    path_imglist, imglist : path or list, optional
        A `.lst` file, or a list of ``[label..., path]``; with `path_imgrec` it replaces the labels in the file.
    path_root : path, optional
        What the paths of a list are relative to.
    shuffle : bool
        A new random order (Python's generator) at each pass.
    part_index, num_parts : int
        Read only one of several contiguous parts.
    aug_list : list of Augmenter, optional
        What is done to each image; default `CreateAugmenter(data_shape, **kwargs)`.
    data_name, label_name, dtype : str
        Names in the descriptions; dtype of the images.
    last_batch_handle : str
        ``"pad"``, ``"discard"`` or ``"roll_over"``, as for NDArrayIter.
    **kwargs
        For `CreateAugmenter`.
    """

    def __init__(
        self,
        batch_size: int,
        data_shape: Sequence[int],
        label_width: int = 1,
        path_imgrec: Any = None,
        path_imglist: Any = None,
        path_root: Any = None,
        path_imgidx: Any = None,
        shuffle: bool = False,
        part_index: int = 0,
        num_parts: int = 1,
        aug_list: Sequence[Augmenter] | None = None,
        imglist: Sequence[Any] | None = None,
        data_name: str = "data",
        label_name: str = "softmax_label",
        dtype: str = "float32",
        last_batch_handle: str = "pad",
        **kwargs: Any,
    ) -> None:
        super().__init__(positive(batch_size, type(self).__name__))
        self.check_data_shape(data_shape)
        self.data_shape = tuple(data_shape)
        self.label_width = positive(label_width, type(self).__name__, "label_width")
        self.shuffle, self.dtype, self.path_root = shuffle, dtype, os.fspath(path_root) if path_root is not None else ""
        if last_batch_handle not in _LAST:
            raise ArgumentError(
                explain(
                    type(self).__name__,
                    "last_batch_handle is unknown.",
                    expected=" or ".join(map(repr, _LAST)),
                    received=repr(last_batch_handle),
                )
            )
        self.last_batch_handle = last_batch_handle
        self.imgrec, self.imglist, self.seq = self._open(
            path_imgrec, path_imgidx, path_imglist, imglist, shuffle or num_parts > 1
        )
        self.seq = self._part(self.seq, part_index, num_parts)
        self.auglist: list[Any] = list(aug_list) if aug_list is not None else CreateAugmenter(data_shape, **kwargs)
        self.provide_data = [DataDesc(data_name, (batch_size, *self.data_shape), np.dtype(dtype).type)]
        self.provide_label = [DataDesc(label_name, (batch_size,) if label_width == 1 else (batch_size, label_width))]
        self.cur = 0
        self._left_over: list[tuple[Any, Any]] = []
        self._rolled: list[tuple[Any, Any]] = []
        self._first: list[tuple[Any, Any]] = []
        self.reset()

    def _open(
        self, path_imgrec: Any, path_imgidx: Any, path_imglist: Any, imglist: Any, ordered: bool
    ) -> tuple[Any, Any, list[Any] | None]:
        """Return the record file, the list and the order of the keys (None: as the file comes)."""
        where = type(self).__name__
        listed = None
        if path_imglist is not None:
            listed = read_lst(path_imglist)
        elif imglist is not None:
            listed = {
                number: (np.array(row[0] if len(row) == 2 else row[:-1], np.float32).reshape(-1), row[-1])
                for number, row in enumerate(imglist)
            }
        if path_imgrec is None:
            if listed is None:
                raise ArgumentError(
                    explain(where, "There are no images.", fix="Give path_imgrec, path_imglist or imglist.")
                )
            return None, listed, list(listed)
        if path_imgidx is not None:
            records = recordio.MXIndexedRecordIO(path_imgidx, path_imgrec, "r")
            return (
                records,
                listed,
                list(records.keys) if listed is None else [key for key in listed if key in records.idx],
            )
        if ordered or listed is not None:
            raise ArgumentError(
                explain(
                    where,
                    "Shuffling, parts and a list of labels need the index of the record file.",
                    fix="Give path_imgidx; glueball.recordio.rebuild_index(path_imgrec, path_imgidx) makes one.",
                )
            )
        return recordio.MXRecordIO(path_imgrec, "r"), None, None

    def _part(self, keys: list[Any] | None, part_index: int, num_parts: int) -> list[Any] | None:
        if not 0 <= part_index < num_parts:
            raise ArgumentError(
                explain(
                    type(self).__name__,
                    "part_index is out of range.",
                    expected=f"0 <= part_index < {num_parts}",
                    received=part_index,
                )
            )
        if keys is None:
            return None
        size = len(keys) // num_parts
        part = keys[part_index * size : (part_index + 1) * size] if num_parts > 1 else keys
        if not part:
            raise ArgumentError(
                explain(
                    type(self).__name__,
                    "There are no images in this part.",
                    received=f"{len(keys)} images in {num_parts} parts",
                )
            )
        return part

    # -------------------------------------------------------------------------------------------------- order of the
    # pass
    def reset(self) -> None:
        """Start the next pass; with ``"roll_over"`` what was left of this one comes first."""
        if self.seq is not None and self.shuffle:
            random.shuffle(self.seq)
        if self.imgrec is not None and self.seq is None:
            self.imgrec.reset()
        self.cur = 0
        self._rolled, self._left_over = self._left_over, []
        self._first = []

    def hard_reset(self) -> None:
        """Start over, without what was left."""
        self._left_over = []
        self.reset()

    def next_sample(self) -> tuple[Any, bytes]:
        """Return the next label and encoded image, or raise StopIteration."""
        if self.seq is None:
            record = self.imgrec.read()
            if record is None:
                raise StopIteration
            header, content = recordio.unpack(record)
            return header.label, content
        if self.cur >= len(self.seq):
            raise StopIteration
        key = self.seq[self.cur]
        self.cur += 1
        return self.sample(key)

    def sample(self, key: Any) -> tuple[Any, bytes]:
        """Return label and encoded image of a key; several threads may do so at once."""
        if self.imgrec is None:
            label, name = self.imglist[key]
            return label, self.read_image(name)
        header, content = recordio.unpack(self.imgrec.read_idx(key))
        return (header.label if self.imglist is None else self.imglist[key][0]), content

    # ------------------------------------------------------------------------------------------------------ steps to
    # replace
    def check_data_shape(self, data_shape: Sequence[int]) -> None:
        """Raise unless the shape is (1 or 3, height, width)."""
        check_data_shape(data_shape, type(self).__name__)

    def check_valid_image(self, data: Any) -> None:
        """Raise if the (list that holds the) image is empty."""
        if len(data[0].shape) == 0:
            raise ShapeError(explain(type(self).__name__, "The image is empty."))

    def read_image(self, fname: str) -> bytes:
        """Return the content of an image file."""
        return codec.read_bytes(os.path.join(self.path_root, fname), type(self).__name__)

    def imdecode(self, s: bytes) -> nd.NDArray:
        """Return the decoded image."""
        return functional.imdecode(s, 1 if self.data_shape[0] == 3 else 0)

    def augmentation_transform(self, data: nd.NDArray) -> nd.NDArray:
        """Return the augmented image."""
        for augmenter in self.auglist:
            data = augmenter(data)
        return data

    def postprocess_data(self, datum: nd.NDArray) -> nd.NDArray:
        """Return the image channels first."""
        return nd.transpose(datum, axes=(2, 0, 1))

    # -------------------------------------------------------------------------------------------------------------
    # batches
    def _read(self) -> tuple[Any, Any] | None:
        """Return the next finished (label, image), or None at the end; images that cannot be decoded are left out with
        a warning.
        """
        while True:
            try:
                label, content = self.next_sample()
            except StopIteration:
                return None
            try:
                data = self.imdecode(content)
                self.check_valid_image([data])
            except (FileFormatError, ShapeError) as error:
                warnings.warn(f"{type(self).__name__}: an image was left out. {error}", stacklevel=3)
                continue
            return self._finish(label, data)

    def _finish(self, label: Any, data: nd.NDArray) -> tuple[Any, Any]:
        image = self.postprocess_data(self.augmentation_transform(data)).asnumpy()
        if image.shape != self.data_shape:
            raise ShapeError(
                explain(
                    type(self).__name__,
                    "The augmenters do not give the shape asked for.",
                    expected=self.data_shape,
                    received=image.shape,
                    fix="End the spatial part of aug_list with a crop or ForceResizeAug.",
                )
            )
        return np.asarray(label, np.float32).reshape(-1), image

    def next(self) -> DataBatch:
        """Return the next batch."""
        head = self._rolled[: self.batch_size]
        self._rolled = self._rolled[self.batch_size :]
        samples = list(head)
        while len(samples) < self.batch_size and (sample := self._read()) is not None:
            samples.append(sample)
        if not samples:
            raise StopIteration
        if len(self._first) < self.batch_size:  # what "pad" fills up with
            self._first += samples[: self.batch_size - len(self._first)]
        pad = self.batch_size - len(samples)
        if pad and self.last_batch_handle != "pad":
            self._left_over = samples if self.last_batch_handle == "roll_over" else []
            raise StopIteration
        samples += [self._first[number % len(self._first)] for number in range(pad)]
        data = nd.array(np.stack([image for _, image in samples]), dtype=self.dtype)
        return DataBatch([data], [self._labels([label for label, _ in samples])], pad or len(head))

    def _labels(self, labels: list[np.ndarray]) -> nd.NDArray:
        wrong = [label.size for label in labels if label.size != self.label_width]
        if wrong:
            raise ShapeError(
                explain(
                    type(self).__name__,
                    "An image has another number of labels.",
                    expected=f"label_width {self.label_width}",
                    received=f"{wrong[0]} labels",
                    fix="Give label_width=...",
                )
            )
        stacked = np.stack(labels)
        return nd.array(stacked[:, 0] if self.label_width == 1 else stacked)
