"""Parameter and Constant: an array that a network owns, one copy per device, made when its shape is known.

The one idea: `initialize()` on a parameter with unknown sizes (0 in its shape) only remembers how; the first forward
fills the sizes in and the arrays are made then. While a block is traced, `data()` is the parameter's symbol.
Collections of parameters: parameter_dict.py.
"""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .. import initializer, ndarray
from ..base import dtype as dtypes
from ..base.context import Context, as_context, cpu, current_context
from ..base.errors import ContextError, DeferredInitializationError, MXNetError, ShapeError, UninitializedError, explain
from ..dispatch import CURRENT, announce_writes
from ..ndarray import NDArray
from ..ndarray.creation import own_zeros
from ..symbol import Variable
from ..symbol.tracer import current_tracer

__all__ = ["Parameter", "Constant", "DeferredInitializationError", "tensor_types", "shape_is_known"]

tensor_types = (NDArray,)


def shape_is_known(shape: Any) -> bool:
    """Whether a shape has no unknown sizes (None, 0 or -1)."""
    return shape is not None and all(s is not None and s > 0 for s in shape)


class Parameter:
    """An array of weights.

    Parameters
    ----------
    name : full name, by which files and optimisers know it
    grad_req : 'write', 'add' or 'null'
    shape : sizes, 0 for those that the first forward will tell
    dtype, lr_mult, wd_mult, init : element type, factors of learning rate and weight decay, own initialiser
    allow_deferred_init : whether sizes may be unknown at initialize()
    differentiable : False: no gradient is ever taken (running means)
    """

    def __init__(self, name: str, grad_req: str = "write", shape: Any = None, dtype: Any = np.float32,
                 lr_mult: float = 1.0, wd_mult: float = 1.0, init: Any = None, allow_deferred_init: bool = False,
                 differentiable: bool = True, stype: str = "default", grad_stype: str = "default") -> None:
        self.name = name
        self._data: dict[Context, NDArray] | None = None
        self._deferred: tuple[Any, list[Context], Any, NDArray | None] | None = None
        self._differentiable = differentiable
        self._shape = (shape,) if isinstance(shape, int) else None if shape is None else tuple(shape)
        self._dtype = dtype
        self._var: Any = None
        self._allow_deferred_init = allow_deferred_init
        self.lr_mult, self.wd_mult, self.init = lr_mult, wd_mult, init
        self._stype, self._grad_stype = stype, grad_stype
        self._grad_req = "null"
        self.grad_req = grad_req

    def __repr__(self) -> str:
        return f"Parameter {self.name} (shape={self.shape}, dtype={self.dtype})"

    # -- facts ---------------------------------------------------------------------------------------------------------
    @property
    def grad_req(self) -> str:
        """What backward does with the gradient: 'write', 'add' or 'null'."""
        return self._grad_req

    @grad_req.setter
    def grad_req(self, req: str) -> None:
        if req not in ("write", "add", "null"):
            raise MXNetError(explain(f"Parameter '{self.name}'", "Unknown grad_req.",
                                     expected="'write', 'add' or 'null'", received=repr(req)))
        req = req if self._differentiable else "null"
        if req == self._grad_req:
            return
        self._grad_req = req
        for array in (self._data or {}).values():
            array.attach_grad(req)

    @property
    def dtype(self) -> Any:
        """Element type."""
        return self._dtype

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        self.cast(dtype)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Sizes; 0 where not known yet."""
        return self._shape

    @shape.setter
    def shape(self, new_shape: Any) -> None:
        new_shape = tuple(new_shape)
        if self._shape is not None and (len(self._shape) != len(new_shape)
                                        or any(a not in (0, -1, None) and a != b for a,
                                               b in zip(self._shape, new_shape))):
            raise ShapeError(explain(f"Parameter '{self.name}'", "The new shape contradicts the known one.",
                                     expected=self._shape, received=new_shape,
                                     fix="leave the input size out of the layer (it is inferred), or make it fit the "
                                         "data"))
        self._shape = new_shape

    # -- making the arrays ---------------------------------------------------------------------------------------------
    def initialize(self, init: Any = None, ctx: Any = None, default_init: Any = None,
                   force_reinit: bool = False) -> None:
        """Make the arrays, or remember how to when sizes are unknown.

        init : initialiser for this parameter (its own `init` goes before); default_init : used when neither is given
        (Uniform(0.07)).
        """
        if self._data is not None and not force_reinit:
            warnings.warn(f"Parameter '{self.name}' is already initialized, ignoring. Set force_reinit=True to "
                          "re-initialize.", stacklevel=2)
            return
        contexts = _contexts(ctx)
        chosen = init if init is not None else self.init if self.init is not None else default_init
        default = default_init if default_init is not None else initializer.Uniform()
        announce_writes((self._data or {}).values())
        self._data, self._deferred = None, None
        if not shape_is_known(self._shape):
            if not self._allow_deferred_init:
                raise ShapeError(explain(f"Parameter '{self.name}'",
                                         "It cannot be initialised because its shape is not known.",
                                         received=self._shape,
                                         fix="give the input size, or make it with allow_deferred_init=True"))
            self._deferred = (chosen, contexts, default, None)
            return
        self._deferred = (chosen, contexts, default, None)
        self._finish_deferred_init()

    def _finish_deferred_init(self) -> None:
        if self._deferred is None:
            return
        init, contexts, default, data = self._deferred
        if not shape_is_known(self._shape):
            raise DeferredInitializationError(self._not_ready())
        self._deferred = None
        if data is None:
            data = own_zeros(self._shape, cpu(), self._dtype)
            chosen = default if init is None else init
            token = CURRENT.set(None)  # first values are no part of the program that asks for them
            try:
                initializer.create(default)(initializer.InitDesc(self.name, {"__init__": chosen}), data)
            finally:
                CURRENT.reset(token)
        self._make(data, contexts)

    def _make(self, data: NDArray, contexts: list[Context]) -> None:
        announce_writes((self._data or {}).values())
        data = data.astype(self._dtype, copy=False).detach()
        self._data = {}
        for ctx in contexts:
            array = data.copyto(ctx)
            if self._grad_req != "null":
                array.attach_grad(self._grad_req)
            self._data[ctx] = array

    def _load_init(self, data: NDArray, ctx: Any = None, cast_dtype: bool = False,
                   dtype_source: str = "current") -> None:
        """Take the values of a file."""
        if self._shape is not None:
            fits = len(self._shape) == len(data.shape) and all(a in (0, -1, None) or a == b for a,
                                                               b in zip(self._shape, data.shape))
            if not fits:
                raise ShapeError(explain(f"Parameter '{self.name}'", "The file's array has another shape.",
                                         expected=self._shape, received=data.shape,
                                         fix="check that the network is built with the sizes that were saved"))
        self._shape = tuple(data.shape)
        if cast_dtype:
            if dtype_source == "saved":
                self._dtype = data.dtype
            elif dtype_source != "current":
                raise MXNetError(explain("dtype_source", "Unknown source.", expected="'current' or 'saved'",
                                         received=repr(dtype_source)))
            data = data.astype(self._dtype, copy=False)
        elif dtypes.name_of(self._dtype) != data.dtype_name:
            raise MXNetError(explain(f"Parameter '{self.name}'", "The file's array has another dtype.",
                                     expected=dtypes.name_of(self._dtype), received=data.dtype_name,
                                     fix="pass cast_dtype=True, or cast the network first"))
        contexts = None if ctx is None else _contexts(ctx)
        if self._data is None:
            wanted = contexts or (self._deferred[1] if self._deferred is not None else [current_context()])
            self._deferred = None
            self._make(data, wanted)
        elif contexts is not None and set(contexts) != set(self._data):
            self._make(data, contexts)
        else:
            self.set_data(data)

    # -- access --------------------------------------------------------------------------------------------------------
    def _not_ready(self) -> str:
        return explain(f"Parameter '{self.name}'",
                       "has not been initialized yet because initialization was deferred: its shape is known only "
                       "after data has passed through the network.", received=f"shape {self._shape}",
                       fix="call net(data) once, or give the layer its input size (in_units, in_channels)")

    def _missing(self, ctx: Context | None) -> Exception:
        if self._deferred is not None:
            return DeferredInitializationError(self._not_ready())
        if self._data is not None:
            return ContextError(explain(f"Parameter '{self.name}'", f"was not initialized on context {ctx}.",
                                        expected=f"one of {list(self._data)}", received=str(ctx),
                                        fix="move the data with x.as_in_context(ctx), or the network with "
                                            "net.reset_ctx(ctx)"))
        return UninitializedError(explain(f"Parameter '{self.name}'", "has not been initialized.",
                                          fix="call net.initialize() before using the network (and before making a "
                                              "Trainer)"))

    def data(self, ctx: Any = None) -> Any:
        """Return the array on a device (the only one, or the current one, by default); its symbol while a block is
        traced.
        """
        tracer = current_tracer()
        if tracer is not None:
            return tracer_symbol(tracer, self)
        held = self._data
        if held is not None:
            if ctx is None:
                if len(held) == 1:
                    return next(iter(held.values()))
                ctx = current_context()
            found = held.get(ctx if isinstance(ctx, Context) else as_context(ctx))
            if found is not None:
                return found
        raise self._missing(as_context(ctx))

    def list_data(self) -> list[NDArray]:
        """Return the arrays of all devices."""
        if self._data is None:
            raise self._missing(None)
        return list(self._data.values())

    def grad(self, ctx: Any = None) -> NDArray:
        """Return the gradient array on a device."""
        if self._data is not None and self._grad_req == "null":
            raise MXNetError(f"Cannot get gradient array for Parameter '{self.name}' because grad_req='null'")
        return self.data(ctx).grad

    def list_grad(self) -> list[NDArray]:
        """Return the gradient arrays of all devices."""
        if self._data is not None and self._grad_req == "null":
            raise MXNetError(f"Cannot get gradient array for Parameter '{self.name}' because grad_req='null'")
        return [array.grad for array in self.list_data()]  # type: ignore[misc]  # grad_req is not null

    def list_ctx(self) -> list[Context]:
        """Return the devices."""
        if self._data is None:
            if self._deferred is not None:
                return self._deferred[1]
            raise self._missing(None)
        return list(self._data)

    def row_sparse_data(self, row_id: NDArray) -> NDArray:
        """Return the array (parameters are dense here)."""
        return self.data(row_id.context)

    def list_row_sparse_data(self, row_id: NDArray) -> list[NDArray]:
        """Return the arrays of all devices (parameters are dense here)."""
        return self.list_data()

    # -- change --------------------------------------------------------------------------------------------------------
    def set_data(self, data: Any) -> None:
        """Overwrite the values on every device."""
        data = data if isinstance(data, NDArray) else ndarray.array(data)
        self.shape = data.shape
        if self._data is None:
            if self._deferred is None:
                raise self._missing(None)
            self._deferred = (*self._deferred[:3], data)
            self._finish_deferred_init()
            return
        announce_writes(self._data.values())
        for array in self._data.values():
            array._t.detach().copy_(data._t.detach())

    def zero_grad(self) -> None:
        """Set the gradient arrays to zeros."""
        for array in (self._data or {}).values():
            array.zero_grad()

    def reset_ctx(self, ctx: Any) -> None:
        """Move to other devices."""
        contexts = _contexts(ctx)
        if self._data is not None:
            self._make(next(iter(self._data.values())), contexts)
        elif self._deferred is not None:
            self._deferred = (self._deferred[0], contexts, *self._deferred[2:])
        else:
            raise self._missing(None)

    def cast(self, dtype: Any) -> None:
        """Change the element type of values and gradients."""
        if self._data is not None:
            announce_writes(self._data.values())  # who still has to read the old values declares their type, too
        self._dtype = dtypes.as_numpy(dtype) if dtypes.name_of(dtype) != "bfloat16" else "bfloat16"
        if self._data is not None:
            for ctx, array in list(self._data.items()):
                self._data[ctx] = cast = array.detach().astype(dtype).detach()
                if self._grad_req != "null":
                    cast.attach_grad(self._grad_req)

    def var(self) -> Any:
        """Return the symbol that stands for the parameter in graphs."""
        if self._var is None:
            self._var = Variable(self.name, shape=self._shape, dtype=self._dtype, lr_mult=self.lr_mult,
                                 wd_mult=self.wd_mult, init=None if self.init is None else self.init, stype=self._stype)
        return self._var

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_var": None}


def tracer_symbol(tracer: Any, parameter: Parameter) -> Any:
    """Return the symbol of a parameter in a trace, with its type declared; made at first use."""
    symbol = tracer.parameters.get(parameter)
    if symbol is None:
        from ..ops.opdef import TensorType
        symbol = Variable(parameter.name, shape=parameter._shape, dtype=parameter._dtype, lr_mult=parameter.lr_mult,
                          wd_mult=parameter.wd_mult, init=parameter.init, stype=parameter._stype)
        shape = None if parameter._shape is None else tuple(None if s in (0, -1, None) else s for s in parameter._shape)
        tracer.declare(symbol._outputs[0].node, TensorType(shape, dtypes.as_torch(parameter._dtype)))
        tracer.parameters[parameter] = symbol
    return symbol


def _contexts(ctx: Any) -> list[Context]:
    if ctx is None:
        return [current_context()]
    found = [as_context(c) for c in (ctx if isinstance(ctx, (list, tuple)) else [ctx])]
    if len(set(found)) != len(found):
        raise ContextError(explain("ctx", "A device is listed twice.", received=found))
    return found


class Constant(Parameter):
    """A parameter that never changes: no gradient, and its value as initialiser.

    >>> from glueball import gluon
    >>> c = gluon.Constant("two", [[2.0]])
    >>> c.initialize(); c.data().item()
    2.0
    """

    def __init__(self, name: str, value: Any) -> None:
        self.value = value if isinstance(value, NDArray) else ndarray.array(value)
        array = self.value

        class Init(initializer.Initializer):
            """Copies the constant."""

            def _init_weight(self, _: Any, arr: NDArray) -> None:
                array.copyto(arr)

            def dumps(self) -> str:
                return f'["constant", {{"value": {array.asnumpy().tolist()}}}]'

        super().__init__(name, grad_req="null", shape=array.shape, dtype=array.dtype, init=Init())

    def __repr__(self) -> str:
        return f"Constant {self.name} (shape={self.shape}, dtype={self.dtype})"

    @property
    def grad_req(self) -> str:
        """Always 'null'."""
        return "null"

    @grad_req.setter
    def grad_req(self, req: str) -> None:
        if req != "null":
            warnings.warn(f"Constant parameter '{self.name}' does not support grad_req other than 'null', and new "
                          f"value '{req}' is ignored.",
                          stacklevel=2)
