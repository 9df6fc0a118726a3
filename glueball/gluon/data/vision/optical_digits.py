"""OpticalDigits: 1,797 real handwritten digits that come with the package, so that a first network trains without any
download; and `digits`, which gives MNIST in their place where its files are on this machine or can be fetched.

Same interface as MNIST in datasets.py. Source, credit and licence (CC BY 4.0): _data/README.md.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from . import sources
from .datasets import MNIST, InMemoryImages

__all__ = ["OpticalDigits", "digits"]

_FILE = os.path.join(os.path.dirname(__file__), "_data", "optical_digits.npz")


class OpticalDigits(InMemoryImages):
    """Handwritten digits, 8 × 8 × 1: 1,437 for training and 360 for testing, split in proportion to the classes.

    E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998 (CC
    BY 4.0). The original values 0..16 are scaled to 0..255, so that `ToTensor` maps them to [0, 1].

    Parameters
    ----------
    train : bool
        The training or the test part.
    transform : callable, optional
        ``transform(data, label)`` makes the sample.

    Examples
    --------
    >>> digits = OpticalDigits(train=True)
    >>> image, label = digits[0]
    >>> len(digits), image.shape, int(label)
    (1437, (8, 8, 1), 0)
    """

    def __init__(self, train: bool = True, transform: Callable[[Any, Any], Any] | None = None) -> None:
        super().__init__(transform)
        with np.load(_FILE, allow_pickle=False) as arrays:
            part = arrays["is_test"] != train
            images, labels = arrays["images"][part], arrays["labels"][part]
        self._store(np.rint(images * (255 / 16)).astype(np.uint8)[..., None], labels)


def digits(
    train: bool = True,
    transform: Callable[[Any, Any], Any] | None = None,
    root: str | None = None,
    download: bool = True,
) -> InMemoryImages:
    """Return handwritten digits: MNIST when its files are on this machine or can be fetched, else `OpticalDigits`.

    Parameters
    ----------
    train : bool
        The training or the test part; the choice of the data set is the same for both.
    transform : callable, optional
        ``transform(data, label)`` makes the sample.
    root : str, optional
        Where to look for MNIST first (see `MNIST`).
    download : bool
        Fetch MNIST if it is not here and a mirror answers within three seconds.

    Examples
    --------
    >>> image, label = digits(train=True)[0]
    >>> image.ndim, image.shape[2]
    (3, 1)
    """
    return MNIST(root, train, transform) if _mnist_is_at_hand(root, download) else OpticalDigits(train, transform)


@functools.cache
def _mnist_is_at_hand(root: str | None, download: bool) -> bool:
    missing = [part for part in (False, True) if not MNIST.is_here(root, part)]
    if missing and not (download and sources.answers(MNIST._source)):
        return False
    try:
        return all(len(MNIST(root, part)) > 0 for part in missing)
    except sources.DatasetNotFoundError:
        return False
