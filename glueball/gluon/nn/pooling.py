"""Pooling in one, two and three dimensions, whole-map pooling, and reflection padding.

The one idea: all twelve layers are `_Pooling` with the keywords of one operator. Their constructors are spelt out
because users read and pass the arguments by position; the order differs between dimensions, as it always has.
"""

from __future__ import annotations

from numbers import Number
from typing import Any, TypeVar

from ...base.errors import ArgumentError, explain
from ..hybrid import HybridBlock

__all__ = [
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "ReflectionPad2D",
    "sizes",
]

LAYOUTS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}  # by the number of space dimensions


def sizes(owner: str, what: str, value: Any, n: int) -> tuple[int, ...]:
    """Return one number per space dimension: `value` repeated, or `value` itself when it has `n` entries."""
    if isinstance(value, Number):
        return (value,) * n  # type: ignore[return-value]
    try:
        result = tuple(value)
    except TypeError:
        result = ()
    if len(result) != n or isinstance(value, str):
        raise ArgumentError(
            explain(owner, f"{what} does not fit.", expected=f"a number, or {n} of them", received=f"{what}={value!r}")
        )
    return result


class _Pooling(HybridBlock):
    """What all pooling layers share. `_dimensions` is set by each class."""

    _dimensions = 2

    def __init__(
        self,
        pool_size: Any,
        strides: Any,
        padding: Any,
        ceil_mode: bool,
        global_pool: bool,
        pool_type: str,
        layout: str,
        count_include_pad: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner, n = type(self).__name__, self._dimensions
        if layout not in LAYOUTS[n]:
            raise ArgumentError(
                explain(
                    owner, "The layout does not fit.", expected=" or ".join(LAYOUTS[n]), received=f"layout={layout!r}"
                )
            )
        self._kwargs: dict[str, Any] = {
            "kernel": sizes(owner, "pool_size", pool_size, n),
            "stride": sizes(owner, "strides", pool_size if strides is None else strides, n),
            "pad": sizes(owner, "padding", padding, n),
            "global_pool": global_pool,
            "pool_type": pool_type,
            "layout": layout,
            "pooling_convention": "full" if ceil_mode else "valid",
        }
        if count_include_pad is not None:
            self._kwargs["count_include_pad"] = count_include_pad

    def _alias(self) -> str:
        return "pool"

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the pooled data."""
        return F.Pooling(x, name="fwd", **self._kwargs)

    def __repr__(self) -> str:
        options = self._kwargs
        return (
            f"{type(self).__name__}(size={options['kernel']}, stride={options['stride']}, padding={options['pad']}, "
            f"ceil_mode={options['pooling_convention'] == 'full'}, global_pool={options['global_pool']}, "
            f"pool_type={options['pool_type']}, layout={options['layout']})"
        )


_WINDOWS = """{what}

    Parameters
    ----------
    pool_size : int or tuple of {n} int
        Size of a window.
    strides : int or tuple of {n} int, optional
        Step between two windows; the window's size by default.
    padding : int or tuple of {n} int
        Rows added on each side: {padded}.
    layout : {layouts}
        Order of the axes of the data: batch N, channel C, then space.
    ceil_mode : bool
        Whether windows that reach beyond the end count, too: sizes are rounded up instead of down.
{more}
    Inputs and outputs: **data** ({data}) to **out** of the same layout, whose space sizes are
    floor((size + 2·padding - pool_size) / stride) + 1.

    Raises
    ------
    ArgumentError
        A size has the wrong number of dimensions or the layout is unknown.

    Examples
    --------
    >>> from glueball import nd
    >>> {name}()(nd.ones((2, 3{space}))).shape
    (2, 3{half})
    """

_GLOBAL = """{what}

    Parameters
    ----------
    layout : {layouts}
        Order of the axes of the data: batch N, channel C, then space.

    Inputs and outputs: **data** ({data}) to **out** of the same layout, whose space sizes are 1.

    Raises
    ------
    ArgumentError
        The layout is unknown.

    Examples
    --------
    >>> from glueball import nd
    >>> {name}()(nd.ones((2, 3{space}))).shape
    (2, 3{one})
    """

_COUNT = """    count_include_pad : bool
        Whether the zeros around the data count in the mean.

"""


Layer = TypeVar("Layer", bound=_Pooling)


def _documented(cls: type[Layer]) -> type[Layer]:
    """Write a class's docstring from the text that all dimensions share, so that each fact stands in one place."""
    n, name = cls._dimensions, cls.__name__
    average = "Avg" in name
    cls.__doc__ = (_GLOBAL if name.startswith("Global") else _WINDOWS).format(
        what=cls.__doc__,
        n=n,
        name=name,
        data=", ".join(LAYOUTS[n][0]),
        space=", 4" * n,
        half=", 2" * n,
        one=", 1" * n,
        more=_COUNT if average else "",
        padded="zeros" if average else "smallest values, which never win",
        layouts="{" + ", ".join(map(repr, LAYOUTS[n])) + "}",
    )
    return cls


@_documented
class MaxPool1D(_Pooling):
    """Keep the largest value of each window of a sequence."""

    _dimensions = 1

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = 0,
        layout: str = "NCW",
        ceil_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, False, "max", layout, **kwargs)


@_documented
class MaxPool2D(_Pooling):
    """Keep the largest value of each window of an image."""

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: Any = 0,
        layout: str = "NCHW",
        ceil_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, False, "max", layout, **kwargs)


@_documented
class MaxPool3D(_Pooling):
    """Keep the largest value of each window of a volume."""

    _dimensions = 3

    def __init__(
        self,
        pool_size: Any = (2, 2, 2),
        strides: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        layout: str = "NCDHW",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, False, "max", layout, **kwargs)


@_documented
class AvgPool1D(_Pooling):
    """Take the mean of each window of a sequence."""

    _dimensions = 1

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = 0,
        layout: str = "NCW",
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, False, "avg", layout, count_include_pad, **kwargs)


@_documented
class AvgPool2D(_Pooling):
    """Take the mean of each window of an image."""

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        layout: str = "NCHW",
        count_include_pad: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, False, "avg", layout, count_include_pad, **kwargs)


@_documented
class AvgPool3D(_Pooling):
    """Take the mean of each window of a volume."""

    _dimensions = 3

    def __init__(
        self,
        pool_size: Any = (2, 2, 2),
        strides: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        layout: str = "NCDHW",
        count_include_pad: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, ceil_mode, False, "avg", layout, count_include_pad, **kwargs)


@_documented
class GlobalMaxPool1D(_Pooling):
    """Keep the largest value of each channel of a sequence."""

    _dimensions = 1

    def __init__(self, layout: str = "NCW", **kwargs: Any) -> None:
        super().__init__(1, None, 0, True, True, "max", layout, **kwargs)


@_documented
class GlobalMaxPool2D(_Pooling):
    """Keep the largest value of each channel of an image."""

    def __init__(self, layout: str = "NCHW", **kwargs: Any) -> None:
        super().__init__(1, None, 0, True, True, "max", layout, **kwargs)


@_documented
class GlobalMaxPool3D(_Pooling):
    """Keep the largest value of each channel of a volume."""

    _dimensions = 3

    def __init__(self, layout: str = "NCDHW", **kwargs: Any) -> None:
        super().__init__(1, None, 0, True, True, "max", layout, **kwargs)


@_documented
class GlobalAvgPool1D(_Pooling):
    """Take the mean of each channel of a sequence."""

    _dimensions = 1

    def __init__(self, layout: str = "NCW", **kwargs: Any) -> None:
        super().__init__(1, None, 0, True, True, "avg", layout, **kwargs)


@_documented
class GlobalAvgPool2D(_Pooling):
    """Take the mean of each channel of an image."""

    def __init__(self, layout: str = "NCHW", **kwargs: Any) -> None:
        super().__init__(1, None, 0, True, True, "avg", layout, **kwargs)


@_documented
class GlobalAvgPool3D(_Pooling):
    """Take the mean of each channel of a volume."""

    _dimensions = 3

    def __init__(self, layout: str = "NCDHW", **kwargs: Any) -> None:
        super().__init__(1, None, 0, True, True, "avg", layout, **kwargs)


class ReflectionPad2D(HybridBlock):
    """Enlarge images by their own mirror image.

    Parameters
    ----------
    padding : int or tuple of 8 int
        Rows and columns added on each side; or numbers before and after each of the four axes (batch, channel, height,
        width).

    Inputs and outputs: **data** (N, C, H, W) to **out** (N, C, H + 2·padding, W + 2·padding).

    Raises
    ------
    ArgumentError
        `padding` is neither a number nor eight.

    Examples
    --------
    >>> from glueball import nd
    >>> ReflectionPad2D(1)(nd.array([[[[1, 2], [3, 4]]]])).asnumpy()[0, 0, 0]
    array([4., 3., 4., 3.], dtype=float32)
    """

    def __init__(self, padding: int | tuple[int, ...] = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(padding, Number):
            padding = (0, 0, 0, 0, padding, padding, padding, padding)  # type: ignore[assignment]
        self._padding = sizes("ReflectionPad2D", "padding", padding, 8)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the enlarged images."""
        return F.pad(x, mode="reflect", pad_width=self._padding)
