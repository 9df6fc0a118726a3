"""Data sets of your own images: a folder for each class, a list file, or a RecordIO file.

The one idea: only names and labels are held; an image is read and decoded (by `glueball.image`, so with Pillow) when
its sample is asked for, in a worker process if the loader has some. The well-known data sets are in datasets.py.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .... import image, recordio
from ....base.errors import FileFormatError, explain
from ....base.files import text_lines
from ..dataset import Dataset, RecordFileDataset

__all__ = ["ImageFolderDataset", "ImageListDataset", "ImageRecordDataset"]


class ImageFolderDataset(Dataset):
    """Images sorted into one folder for each class: ``root/cat/1.jpg``, ``root/dog/7.png``.

    Parameters
    ----------
    root : str
        The folder that holds the classes' folders.
    flag : int
        1 reads colour images (3 channels), 0 grey ones (1 channel).
    transform : callable, optional
        ``transform(data, label)`` makes the sample.

    Attributes
    ----------
    synsets : list of str
        The classes' names, sorted; a label is an index into it.
    items : list of (path, label)

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    FileFormatError
        There is no image in it.
    """

    _EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

    def __init__(
        self, root: str | os.PathLike[str], flag: int = 1, transform: Callable[[Any, Any], Any] | None = None
    ) -> None:
        self._root = os.path.expanduser(os.fspath(root))
        self._flag = flag
        self._transform = transform
        self._list_images(self._root)

    def _list_images(self, root: str) -> None:
        if not os.path.isdir(root):
            raise FileNotFoundError(explain("ImageFolderDataset", "There is no such folder.", received=repr(root)))
        self.synsets: list[str] = []
        self.items: list[tuple[str, int]] = []
        ignored = []
        for folder in sorted(os.listdir(root)):
            path = os.path.join(root, folder)
            if not os.path.isdir(path):
                ignored.append(path)
                continue
            label = len(self.synsets)
            self.synsets.append(folder)
            for name in sorted(os.listdir(path)):
                if name.lower().endswith(self._EXTENSIONS):
                    self.items.append((os.path.join(path, name), label))
                else:
                    ignored.append(os.path.join(path, name))
        if not self.items:
            raise FileFormatError(
                explain(
                    "ImageFolderDataset",
                    f"No image lies in the folders of {root!r}.",
                    expected=f"root/class/name{'|'.join(self._EXTENSIONS)}",
                    received=f"{len(self.synsets)} folders and {len(ignored)} other entries",
                )
            )
        ignored = [path for path in ignored if not os.path.basename(path).startswith(".")]
        if ignored:
            more = f" and {len(ignored) - 3} more" if len(ignored) > 3 else ""
            warnings.warn(
                f"ImageFolderDataset: ignored what is no image in a class's folder: {', '.join(ignored[:3])}{more}",
                stacklevel=4,
            )

    def __getitem__(self, idx: int) -> Any:
        path, label = self.items[idx]
        data = image.imread(path, self._flag)
        return self._transform(data, label) if self._transform is not None else (data, label)

    def __len__(self) -> int:
        return len(self.items)


class ImageListDataset(Dataset):
    """Images that a list names.

    Parameters
    ----------
    root : str
        What the paths in the list are relative to.
    imglist : str or list
        A `.lst` file (lines ``index<TAB>label...<TAB>path``) or a list of ``[label..., path]``.
    flag : int
        1 reads colour images, 0 grey ones.

    A sample is (image, labels) with float32 labels of shape (labels,).
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = ".",
        imglist: str | os.PathLike[str] | Sequence[Any] | None = None,
        flag: int = 1,
    ) -> None:
        self._root = os.path.expanduser(os.fspath(root))
        self._flag = flag
        if imglist is None:
            raise TypeError(
                explain(
                    "ImageListDataset", "The list is missing.", expected="imglist=a .lst file or [[label, path], ...]"
                )
            )
        self._imglist: dict[int, tuple[np.ndarray, str]] = {}
        self._imgkeys: list[int] = []
        rows = (
            _read_list(os.path.join(self._root, os.fspath(imglist)))
            if isinstance(imglist, (str, os.PathLike))
            else enumerate(imglist)
        )
        for key, row in rows:
            try:
                label = np.asarray(row[0] if len(row) == 2 else row[:-1], dtype=np.float32).reshape(-1)
            except (TypeError, ValueError, IndexError):
                raise FileFormatError(
                    explain(
                        "ImageListDataset",
                        f"Entry {key} cannot be read.",
                        received=repr(row),
                        expected="numbers (the labels) and a path",
                    )
                ) from None
            self._imglist[key] = (label, os.path.join(self._root, row[-1]))
            self._imgkeys.append(key)

    def __getitem__(self, idx: int) -> Any:
        label, path = self._imglist[self._imgkeys[idx]]
        return image.imread(path, self._flag), label

    def __len__(self) -> int:
        return len(self._imgkeys)


def _read_list(path: str) -> list[tuple[int, list[str]]]:
    """Return the rows of a `.lst` file: key, and labels and path."""
    rows: list[tuple[int, list[str]]] = []
    for number, at, line in text_lines(path, f"List {path!r}"):
        fields = line.strip().split("\t")
        if fields == [""]:
            continue
        try:
            if len(fields) < 3:
                raise ValueError
            rows.append((int(fields[0]), fields[1:]))
        except ValueError:
            raise FileFormatError(
                explain(
                    f"List {path!r}",
                    f"Line {number} cannot be read, at byte {at}.",
                    received=repr(line[:80]),
                    expected="index<TAB>label<TAB>path",
                )
            ) from None
    return rows


class ImageRecordDataset(RecordFileDataset):
    """Images with labels from a RecordIO file (with its `.idx` beside it), as im2rec packs them.

    Parameters
    ----------
    filename : str
        The `.rec` file.
    flag : int
        1 reads colour images, 0 grey ones.
    transform : callable, optional
        ``transform(data, label)`` makes the sample.
    """

    def __init__(
        self, filename: str | os.PathLike[str], flag: int = 1, transform: Callable[[Any, Any], Any] | None = None
    ) -> None:
        super().__init__(filename)
        self._flag = flag
        self._transform = transform

    def __getitem__(self, idx: Any) -> Any:
        header, content = recordio.unpack(super().__getitem__(idx))
        data = image.imdecode(content, self._flag)
        return self._transform(data, header.label) if self._transform is not None else (data, header.label)
