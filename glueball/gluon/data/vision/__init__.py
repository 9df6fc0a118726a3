"""gluon.data.vision: image data sets and transforms.

datasets.py has MNIST and its like, optical_digits.py a small real set that comes with the package, folders.py your own
images, sources.py where files are found, transforms/ what is done to an image before it enters a batch.
"""

from __future__ import annotations

from . import datasets, transforms
from .datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST
from .folders import ImageFolderDataset, ImageListDataset, ImageRecordDataset
from .optical_digits import OpticalDigits, digits

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "FashionMNIST",
    "ImageFolderDataset",
    "ImageListDataset",
    "ImageRecordDataset",
    "MNIST",
    "OpticalDigits",
    "datasets",
    "digits",
    "transforms",
]
