"""Future: an array whose value will be computed with those of other samples.

The one idea: it is an NDArray, so user code need not know; it holds a reference to the rows where its value will be
(`ref`), knows its shape and dtype, and asks its folder for the value when somebody looks. Everything that is an
operator goes to the folder through the door, as for every array; what is written here is what must not look at the
value: shapes, signs, rows of a matrix.

`ref` is `value << OFFSET | row`: the number of a value in its scope and a row inside it. It is negative when the array
has been written to: then it is an ordinary array with a tensor of its own.
"""
from __future__ import annotations

import operator
from typing import Any, final

import numpy as np

from ..base import dtype as dtypes
from ..base.errors import MXNetError, explain
from ..dispatch import CURRENT
from ..ndarray.ndarray import NDArray, _arithmetic
from ..ops.opdef import Tensor, lookup
from .kinds import Kind, kind_of

__all__ = ["Future", "OFFSET", "OFFSET_MASK", "PART", "SCALARS"]

PART = "part"  # the state of an array that is a part of another one

OFFSET = 24
OFFSET_MASK = (1 << OFFSET) - 1
_new = object.__new__
_current = CURRENT.get
_NUMBERS = frozenset({bool, int, float})
SCALARS = {row.torch: row.numpy for row in dtypes.TABLE}


@final
class Future(NDArray):
    """A value to come; see the module's text."""

    __slots__ = ("folder", "ref", "kind", "_value")  # each costs 25 ns per recorded call

    folder: Any
    ref: int
    kind: Kind

    @staticmethod
    def make(folder: Any, ref: int, kind: Kind, state: str | None = None) -> Future:
        """Return a future; `state` is PART when it is a part of another one."""
        made = _new(Future)
        made.folder = folder
        made.ref = ref
        made.kind = kind
        made._value = None  # a tensor once it was read; a number when only that was asked for
        made._ag = state
        return made

    # -- the value -----------------------------------------------------------------------------------------------------
    @property
    def _t(self) -> Any:  # a slot of arrays; here it is computed when it is asked for
        value = self._value
        if not isinstance(value, Tensor):
            value = self._value = self.folder.read(self)
        return value

    @_t.setter
    def _t(self, tensor: Any) -> None:  # type: ignore[override]  # an array of its own from now on
        self._become(tensor)

    def _become(self, tensor: Any) -> None:
        self._value, self.ref = tensor, -1
        self.kind = kind_of(self.kind.ctx, tensor.dtype, tuple(tensor.shape))

    @property
    def _ctx(self) -> Any:  # type: ignore[override]  # the kind knows it
        return self.kind.ctx

    def _writable(self, what: str) -> Any:
        if self._ag == PART:
            raise MXNetError(explain(what, "A part of a folded array cannot be written to: the whole would not change.",
                                     fix="build the array with nd.concat, nd.stack or nd.where, or copy the part "
                                         "first"))
        tensor = super()._writable(what)
        self._become(tensor)
        return tensor

    def asscalar(self) -> Any:
        """Return the only element as a NumPy scalar."""
        value = self._value
        if value is None and self.ref >= 0:  # as _as_number, whose call every read of a loop would pay
            value = self._value = self.folder.number(self)
        return SCALARS[self.kind.dtype](value) if type(value) in _NUMBERS else super().asscalar()

    def item(self) -> Any:
        """Return the only element as a Python number."""
        number = self._as_number()
        return super().asscalar().item() if number is None else number

    def _as_number(self) -> Any:
        """Return the only element without making a tensor of it; None when there is one already, or more elements."""
        value = self._value
        if value is None and self.ref >= 0:
            value = self._value = self.folder.number(self)
        return value if type(value) in _NUMBERS else None

    def __bool__(self) -> bool:
        return bool(self.item()) if self.size == 1 else super().__bool__()

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    # -- what is known before ------------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self.kind.shape

    @property
    def dtype(self) -> Any:
        """Element type, as a NumPy scalar type."""
        return dtypes.as_numpy(self.kind.dtype)

    @property
    def dtype_name(self) -> str:
        """Element type as text."""
        return dtypes.name_of(self.kind.dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.kind.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.kind.size

    def __len__(self) -> int:
        if not self.kind.shape:
            raise TypeError("len() of an array without axes")
        return self.kind.shape[0]

    # -- parts ---------------------------------------------------------------------------------------------------------
    def __getitem__(self, key: Any) -> Any:
        kind = self.kind
        if self.ref >= 0 and _current() is self.folder:
            shape = kind.shape
            if type(key) is slice and len(shape) >= 2 and (key.step is None or key.step == 1):
                start, stop, _ = key.indices(shape[0])
                made = _new(Future)
                made.folder = self.folder
                made.ref = self.ref + start
                made.kind = kind.part(stop - start if stop > start else 0)
                made._value = None
                made._ag = PART
                return made
            if type(key) is int and len(shape) == 2:
                size = shape[0]
                if -size <= key < size:
                    return Future.make(self.folder, self.ref + (key if key >= 0 else key + size), kind.part(-1), PART)
            recorded = self.folder.part(self, key)
            if recorded is not None:
                return recorded
        return super().__getitem__(key)

    def reshape(self, *shape: Any, **options: Any) -> Any:
        """Return the same elements in another shape; see NDArray.reshape."""
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        elif not shape:
            shape = tuple(options.pop("shape"))
        return lookup("Reshape")(self, shape=shape, **options)

    def detach(self) -> Any:
        """Return the same value, through which no gradient flows."""
        if self.ref >= 0 and _current() is self.folder:
            return lookup("BlockGrad")(self)
        return super().detach()

    def copy(self) -> Any:
        """Return a copy."""
        return lookup("_copy")(self)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Return the array with another element type."""
        if not copy and dtypes.as_torch(dtype) is self.kind.dtype:
            return self
        return lookup("Cast")(self, dtype=dtypes.as_torch(dtype))

    # -- signs ---------------------------------------------------------------------------------------------------------
    def __add__(self, other: Any) -> Any:
        return _arithmetic("broadcast_add", "_plus_scalar", self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return _arithmetic("broadcast_sub", "_minus_scalar", self, other)

    def __mul__(self, other: Any) -> Any:
        return _arithmetic("broadcast_mul", "_mul_scalar", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return _arithmetic("broadcast_div", "_div_scalar", self, other)

    def __neg__(self) -> Any:
        return _arithmetic("", "_mul_scalar", self, -1.0 if self.kind.dtype.is_floating_point else -1)

    def __iadd__(self, other: Any) -> Any:
        return self._rebound(operator.add, other, "__iadd__")

    def __isub__(self, other: Any) -> Any:
        return self._rebound(operator.sub, other, "__isub__")

    def __imul__(self, other: Any) -> Any:
        return self._rebound(operator.mul, other, "__imul__")

    def __itruediv__(self, other: Any) -> Any:
        return self._rebound(operator.truediv, other, "__itruediv__")

    def _rebound(self, sign: Any, other: Any, name: str) -> Any:
        """Change what this array stands for: all who hold it see the new value, calls recorded before keep the old."""
        in_place = getattr(super(), name)
        if self.ref < 0 or _current() is not self.folder or self._ag is not None:
            return in_place(other)
        if isinstance(other, NDArray) and np.broadcast_shapes(self.shape, other.shape) != self.shape:
            return in_place(other)
        made = sign(self, other)
        if type(made) is not Future or made.kind is not self.kind:
            return in_place(other)
        self.ref, self._value = made.ref, None
        return self
