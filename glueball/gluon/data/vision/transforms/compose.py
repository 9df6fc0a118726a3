"""Transforms in a row or by chance, and the three that end nearly every row: ToTensor, Normalize, Cast.

The one idea: a row is a block whose children are the transforms; consecutive hybrid ones are put into one
HybridSequential, which may be hybridized. (Compose does not do that itself: images of many sizes would each be traced
anew.) Other transforms: spatial.py, color.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .....base.errors import ArgumentError, DTypeError, explain
from ....block import Block
from ....hybrid import HybridBlock
from ....nn import HybridSequential, Sequential

__all__ = ["Cast", "Compose", "HybridCompose", "HybridRandomApply", "Normalize", "RandomApply", "ToTensor"]


class _Function(Block):
    """Any function as a transform."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Any) -> Any:
        return self._function(x)

    def __repr__(self) -> str:
        return repr(self._function)


def as_block(transform: Any, where: str) -> Block:
    """Return a transform as a block; a plain function is wrapped."""
    if isinstance(transform, Block):
        return transform
    if callable(transform):
        return _Function(transform)
    raise TypeError(explain(where, "A transform is a block or a function of an image.", received=repr(transform)))


class Compose(Sequential):
    """Apply transforms one after another.

    Parameters
    ----------
    transforms : list
        Blocks or functions of one image.

    Examples
    --------
    >>> from glueball import nd
    >>> Compose([ToTensor(), Normalize(0.5, 0.5)])(nd.zeros((4, 5, 3), dtype="uint8")).shape
    (3, 4, 5)
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        super().__init__()
        row: list[Any] = []
        for transform in [*(as_block(transform, "Compose") for transform in transforms), None]:
            if isinstance(transform, HybridBlock):
                row.append(transform)
                continue
            if len(row) == 1:
                self.add(row[0])
            elif row:
                group = HybridSequential()
                group.add(*row)
                self.add(group)
            row = []
            if transform is not None:
                self.add(transform)

    @property
    def batchable(self) -> bool:
        """Whether a batch may be transformed as a whole."""
        return _batchable(self)


def _batchable(row: Block) -> bool:
    return all(
        _batchable(child) if type(child) is HybridSequential else getattr(child, "batchable", False)
        for child in row._children.values()
    )


class HybridCompose(HybridSequential):
    """Apply hybrid transforms one after another, hybridized: for images of one size.

    Parameters
    ----------
    transforms : list of HybridBlock
    """

    def __init__(self, transforms: Sequence[HybridBlock]) -> None:
        super().__init__()
        for transform in transforms:
            if not isinstance(transform, HybridBlock):
                raise TypeError(
                    explain(
                        "HybridCompose",
                        "All its transforms are hybrid blocks.",
                        received=repr(transform),
                        fix="Use Compose.",
                    )
                )
            self.add(transform)
        self.hybridize()

    @property
    def batchable(self) -> bool:
        """Whether a batch may be transformed as a whole."""
        return _batchable(self)


def _probability(p: float, where: str) -> float:
    if not 0 <= p <= 1:
        raise ArgumentError(explain(where, "p is a probability.", expected="0 <= p <= 1", received=p))
    return p


class RandomApply(Sequential):
    """Apply a transform (or all of a list) with probability `p`, by Python's generator.

    Parameters
    ----------
    transforms : block, function or list of them
    p : float
        Probability.
    """

    def __init__(self, transforms: Any, p: float = 0.5) -> None:
        super().__init__()
        self.transforms = (
            Compose(transforms) if isinstance(transforms, (list, tuple)) else as_block(transforms, "RandomApply")
        )
        self.p = _probability(p, "RandomApply")

    def forward(self, x: Any, *args: Any) -> Any:
        """Return the transformed image, or the image."""
        return self.transforms(x) if random.random() < self.p else x


class HybridRandomApply(HybridSequential):
    """Apply a hybrid transform that keeps shape and dtype with probability `p`; may be part of a hybridized row.

    Parameters
    ----------
    transforms : HybridBlock
    p : float
        Probability.
    """

    def __init__(self, transforms: HybridBlock, p: float = 0.5) -> None:
        super().__init__()
        if not isinstance(transforms, HybridBlock):
            raise TypeError(
                explain(
                    "HybridRandomApply",
                    "The transform is a hybrid block.",
                    received=repr(transforms),
                    fix="Use RandomApply.",
                )
            )
        self.transforms = transforms
        self.p = _probability(p, "HybridRandomApply")

    def hybrid_forward(self, F: Any, x: Any, *args: Any) -> Any:
        """Return the transformed image, or the image."""
        chosen = F.random.uniform(0, 1, shape=(1,)) < self.p
        return F.contrib.cond(chosen, lambda: self.transforms(x), lambda: x)


class Cast(HybridBlock):
    """Change the dtype.

    Parameters
    ----------
    dtype : str
    """

    batchable = True

    def __init__(self, dtype: Any = "float32") -> None:
        super().__init__()
        self._dtype = dtype

    def hybrid_forward(self, F: Any, *args: Any) -> Any:
        """Return the arrays in the new dtype."""
        cast = tuple(F.cast(x, self._dtype) for x in args)
        return cast[0] if len(cast) == 1 else cast


class ToTensor(HybridBlock):
    """From (height, width, channels) in 0..255 to (channels, height, width) in [0, 1], float32; a batch has one axis
    more in front.

    Examples
    --------
    >>> from glueball import nd
    >>> image = ToTensor()(nd.full((4, 5, 3), 255, dtype="uint8"))
    >>> image.shape, float(image.max().asscalar())
    ((3, 4, 5), 1.0)
    """

    batchable = True

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the tensor."""
        return F.image.to_tensor(x)


def _floats(value: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),)


class Normalize(HybridBlock):
    """Subtract `mean` and divide by `std`, each a number or one for each channel; for tensors, channels first.

    Parameters
    ----------
    mean, std : float or tuple of float
    """

    batchable = True

    def __init__(self, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0) -> None:
        super().__init__()
        self._mean, self._std = _floats(mean), _floats(std)
        if any(value == 0 for value in self._std):
            raise ArgumentError(explain("Normalize", "Images are divided by std.", expected="no 0 in it", received=std))

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the normalised tensor."""
        if getattr(x, "dtype", None) in (np.uint8, np.int8, np.int32, np.int64):
            raise DTypeError(
                explain(
                    "Normalize",
                    "Images of integers cannot be normalised.",
                    expected="a float tensor, channels first",
                    received=f"{np.dtype(x.dtype).name} of shape {x.shape}",
                    fix="Put ToTensor() before it.",
                )
            )
        return F.image.normalize(x, mean=self._mean, std=self._std)
