"""Layers that hold or wrap other things: `Sequential`, `HybridSequential`, `Lambda`, `HybridLambda`, `Flatten`.

The one idea: a container is a list of children under the names "0", "1", ..., so that structural parameter names
(`0.weight`) are the positions. Not here: layers with parameters (basic_layers.py, conv_layers.py), branches side by
side (contrib/nn).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ... import ndarray as nd
from ... import symbol as sym
from ...base.errors import ArgumentError, explain
from ...base.registry import closest
from ..block import Block
from ..hybrid import HybridBlock

__all__ = ["Sequential", "HybridSequential", "Lambda", "HybridLambda", "Flatten"]


def _check_prefix(owner: Any, prefix: Any) -> None:
    """Refuse `Sequential(layer, layer)`, the spelling of other libraries, in words."""
    if prefix is not None and not isinstance(prefix, str):
        raise ArgumentError(
            explain(
                type(owner).__name__,
                "Layers are not given to the constructor.",
                expected="prefix: str",
                received=repr(prefix),
                fix="net = nn.Sequential(); net.add(layer0, layer1, ...)",
            )
        )


def _pick(container: Any, key: int | slice) -> Any:
    """Return one child, or a new container of the same class and prefix that shares the children of a slice."""
    layers = list(container._children.values())[key]
    if not isinstance(layers, list):
        return layers
    part = type(container)(prefix=container._prefix)
    with part.name_scope():
        part.add(*layers)
    return part


def _show(container: Any) -> str:
    """Return the children as text, one per line under its position."""
    lines = [f"  ({key}): " + repr(child).replace("\n", "\n  ") for key, child in container._children.items()]
    return f"{type(container).__name__}(\n" + "\n".join(lines) + "\n)"


class Sequential(Block):
    """Run blocks one after another, each on the result of the one before.

    Parameters
    ----------
    prefix, params
        As for every Block.

    Examples
    --------
    >>> from glueball import nd
    >>> from glueball.gluon import nn
    >>> net = nn.Sequential()
    >>> net.add(nn.Dense(10, activation='relu'), nn.Dense(20))
    >>> net.initialize()
    >>> net(nd.ones((2, 5))).shape
    (2, 20)
    >>> net[0]
    Dense(5 -> 10, Activation(relu))
    """

    def __init__(self, prefix: str | None = None, params: Any = None) -> None:
        _check_prefix(self, prefix)
        super().__init__(prefix=prefix, params=params)

    def add(self, *blocks: Block) -> None:
        """Append blocks."""
        for block in blocks:
            self.register_child(block)

    def forward(self, x: Any) -> Any:
        """Return the last block's result."""
        for block in self._children.values():
            x = block(x)
        return x

    def __getitem__(self, key: int | slice) -> Any:
        return _pick(self, key)

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Block]:
        return iter(list(self._children.values()))

    def __repr__(self) -> str:
        return _show(self)

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """Hybridize every child that can be; warns when all can, for HybridSequential would run them as one graph."""
        if active and self._children and all(isinstance(child, HybridBlock) for child in self._children.values()):
            warnings.warn(
                f"All children of {self.name} are HybridBlocks. Use nn.HybridSequential() in place of "
                "nn.Sequential() for the best speed.",
                stacklevel=2,
            )
        super().hybridize(active, **kwargs)


class HybridSequential(HybridBlock):
    """Run hybrid blocks one after another; `hybridize()` makes one graph of them.

    Parameters
    ----------
    prefix, params
        As for every Block.

    Examples
    --------
    >>> from glueball import nd
    >>> from glueball.gluon import nn
    >>> net = nn.HybridSequential()
    >>> net.add(nn.Dense(10, activation='relu'), nn.Dense(20))
    >>> net.initialize()
    >>> net.hybridize()
    >>> net(nd.ones((2, 5))).shape
    (2, 20)
    """

    def __init__(self, prefix: str | None = None, params: Any = None) -> None:
        _check_prefix(self, prefix)
        super().__init__(prefix=prefix, params=params)

    def add(self, *blocks: HybridBlock) -> None:
        """Append hybrid blocks."""
        for block in blocks:
            self.register_child(block)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the last block's result."""
        for block in self._children.values():
            x = block(x)
        return x

    def __getitem__(self, key: int | slice) -> Any:
        return _pick(self, key)

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Block]:
        return iter(list(self._children.values()))

    def __repr__(self) -> str:
        return _show(self)


def _unknown_function(owner: str, function: Any, where: str) -> ArgumentError:
    if isinstance(function, str):
        return ArgumentError(
            explain(
                owner,
                f"There is no function of this name in {where}.",
                received=repr(function),
                fix=closest(function, [name for name in dir(nd) if not name.startswith("_")]),
            )
        )
    return ArgumentError(
        explain(
            owner,
            "A function is needed.",
            expected="the name of an operator, or a callable",
            received=f"{function!r} of type {type(function).__name__}",
        )
    )


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)  # functools.partial and callable objects have no name


class Lambda(Block):
    """Make a block of a function.

    Parameters
    ----------
    function : str or callable
        The name of a function of `nd`, or ``function(*arrays)``.

    Raises
    ------
    ArgumentError
        No function has this name.

    Examples
    --------
    >>> from glueball import nd
    >>> Lambda('tanh')(nd.zeros((2,))).asnumpy()
    array([0., 0.], dtype=float32)
    >>> Lambda(lambda x: x + 1)(nd.zeros((2,))).asnumpy()
    array([1., 1.], dtype=float32)
    """

    def __init__(self, function: str | Callable[..., Any], prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        if isinstance(function, str) and hasattr(nd, function):
            self._func_impl = getattr(nd, function)
        elif callable(function):
            self._func_impl = function
        else:
            raise _unknown_function("Lambda", function, "nd")

    def forward(self, *args: Any) -> Any:
        """Return ``function(*args)``."""
        return self._func_impl(*args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_name_of(self._func_impl)})"


class HybridLambda(HybridBlock):
    """Make a hybrid block of a function.

    Parameters
    ----------
    function : str or callable
        The name of an operator, or ``function(F, *values)`` with F the namespace `nd` or `sym`.

    Raises
    ------
    ArgumentError
        No operator has this name.

    Examples
    --------
    >>> from glueball import nd
    >>> HybridLambda('relu')(nd.array([-1, 1])).asnumpy()
    array([0., 1.], dtype=float32)
    >>> HybridLambda(lambda F, x: F.relu(x) + 1)(nd.array([-1, 1])).asnumpy()
    array([1., 2.], dtype=float32)
    """

    def __init__(self, function: str | Callable[..., Any], prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        if isinstance(function, str) and hasattr(nd, function) and hasattr(sym, function):
            self._func_name = function
            self._func = lambda F, *args: getattr(F, function)(*args)
        elif callable(function):
            self._func_name = _name_of(function)
            self._func = function
        else:
            raise _unknown_function("HybridLambda", function, "nd and sym")

    def hybrid_forward(self, F: Any, x: Any, *args: Any) -> Any:
        """Return ``function(F, x, *args)``."""
        return self._func(F, x, *args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._func_name})"


class Flatten(HybridBlock):
    """Merge all axes but the first: (batch, a, b, ...) to (batch, a · b · ...).

    Examples
    --------
    >>> from glueball import nd
    >>> Flatten()(nd.ones((2, 3, 4))).shape
    (2, 12)
    """

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return ``x.reshape((batch, -1))``."""
        return F.Flatten(x)

    def __repr__(self) -> str:
        return type(self).__name__
