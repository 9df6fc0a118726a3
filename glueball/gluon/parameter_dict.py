"""ParameterDict: the parameters of a block by name, with the prefix that makes the names and the dictionary they are
shared with.
"""
from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from .. import initializer
from ..base.context import Context
from ..base.errors import MXNetError, explain
from ..base.naming import bare_name
from ..base.registry import closest
from ..ndarray import serialize
from .parameter import Constant, Parameter

__all__ = ["ParameterDict"]


class ParameterDict:
    """An ordered mapping from full names to parameters; `get` makes what is not there."""

    def __init__(self, prefix: str = "", shared: ParameterDict | None = None) -> None:
        self._prefix = prefix
        self._shared = shared
        self._params: OrderedDict[str, Parameter] = OrderedDict()

    def __repr__(self) -> str:
        name = f"{self._prefix} " if self._prefix else ""
        return f"{name}(\n" + "\n".join(f"  {p}" for p in self.values()) + "\n)"

    def __getitem__(self, key: str) -> Parameter:
        if key not in self._params:
            raise KeyError(explain("ParameterDict", f"There is no parameter {key!r}.",
                                   fix=closest(key, list(self._params)) if self._params else None))
        return self._params[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __contains__(self, key: object) -> bool:
        return key in self._params

    def items(self) -> Any:
        """Return (name, parameter) pairs."""
        return self._params.items()

    def keys(self) -> Any:
        """Return the names."""
        return self._params.keys()

    def values(self) -> Any:
        """Return the parameters."""
        return self._params.values()

    @property
    def prefix(self) -> str:
        """The prefix of names made by `get`."""
        return self._prefix

    def _lookup(self, name: str) -> Parameter | None:
        if name in self._params:
            return self._params[name]
        if self._shared is not None and name in self._shared._params:
            self._params[name] = self._shared._params[name]
            return self._params[name]
        return None

    def get(self, name: str, **kwargs: Any) -> Parameter:
        """Return the parameter `prefix + name`, made with the given arguments when it is not there; otherwise they
        must agree.
        """
        full = self._prefix + name
        parameter = self._lookup(full)
        if parameter is None:
            parameter = Parameter(full, **kwargs)
            self._params[full] = parameter
            return parameter
        for key, value in kwargs.items():
            if key == "shape" and value is not None:
                self._merge_shape(parameter, (value,) if isinstance(value, int) else tuple(value))
            elif key in ("init", "dtype", "allow_deferred_init", "differentiable", "stype", "grad_stype", "grad_req",
                         "lr_mult", "wd_mult"):
                continue  # the first definition stands, as in shared layers of different initialisers
        return parameter

    @staticmethod
    def _merge_shape(parameter: Parameter, shape: tuple[int, ...]) -> None:
        known = parameter.shape
        if known is None:
            parameter._shape = shape
            return
        if len(known) != len(shape) or any(a > 0 and b > 0 and a != b for a, b in zip(known, shape)):
            raise MXNetError(explain(f"Parameter '{parameter.name}'", "It is shared between layers of different sizes.",
                                     expected=known, received=shape))
        parameter._shape = tuple(a if a > 0 else b for a, b in zip(known, shape))

    def get_constant(self, name: str, value: Any = None) -> Constant:
        """Return the constant `prefix + name`, made with `value` when it is not there."""
        full = self._prefix + name
        found = self._lookup(full)
        if found is None:
            if value is None:
                raise KeyError(explain("get_constant", f"There is no constant {full!r}.",
                                       fix="pass a value to make one"))
            found = Constant(full, value)
            self._params[full] = found
        if not isinstance(found, Constant):
            raise MXNetError(explain("get_constant", f"{full!r} is a Parameter, not a Constant."))
        if value is not None:
            given = value.asnumpy() if hasattr(value, "asnumpy") else value
            import numpy as np
            if not np.array_equal(np.asarray(given, dtype=found.value.dtype), found.value.asnumpy()):
                raise MXNetError(explain("get_constant", f"Constant {full!r} already has another value."))
        return found

    def update(self, other: ParameterDict) -> None:
        """Add the parameters of another dictionary; equal names must be the same parameter."""
        for name, parameter in other.items():
            if name in self._params and self._params[name] is not parameter:
                raise MXNetError(explain("ParameterDict.update", f"Two different parameters are named {name!r}.",
                                         fix="make parameters with self.params.get(...) and layers inside `with "
                                             "self.name_scope():`, or give them a prefix"))
        self._params.update(other._params)

    def initialize(self, init: Any = None, ctx: Any = None, verbose: bool = False, force_reinit: bool = False) -> None:
        """Initialise all parameters; `init` serves those without an initialiser of their own (Uniform(0.07) when
        None).
        """
        default = initializer.Uniform() if init is None else initializer.create(init)
        if verbose and hasattr(default, "set_verbosity"):
            default.set_verbosity(verbose=verbose)
        for parameter in self.values():
            parameter.initialize(None, ctx, default, force_reinit=force_reinit)

    def zero_grad(self) -> None:
        """Set all gradient arrays to zeros."""
        for parameter in self.values():
            parameter.zero_grad()

    def reset_ctx(self, ctx: Any) -> None:
        """Move all parameters to other devices."""
        for parameter in self.values():
            parameter.reset_ctx(ctx)

    def list_ctx(self) -> list[Context]:
        """Return all devices that any parameter lives on."""
        return list(dict.fromkeys(ctx for parameter in self.values() for ctx in parameter.list_ctx()))

    def setattr(self, name: str, value: Any) -> None:
        """Set an attribute of all parameters, for example ``setattr('grad_req', 'null')``."""
        for parameter in self.values():
            setattr(parameter, name, value)

    def select(self, pattern: str) -> ParameterDict:
        """Return those whose name matches a regular expression."""
        compiled = re.compile(pattern)
        chosen = ParameterDict(self._prefix)
        chosen._params.update({name: p for name, p in self.items() if compiled.match(name)})
        return chosen

    def save(self, filename: str, strip_prefix: str = "") -> None:
        """Write all parameters under their full names, less `strip_prefix`."""
        arrays: dict[str, Any] = {}
        for parameter in self.values():
            if not parameter.name.startswith(strip_prefix):
                raise MXNetError(explain("ParameterDict.save",
                                         f"strip_prefix {strip_prefix!r} is not the start of every name.",
                                         received=parameter.name))
            arrays[parameter.name[len(strip_prefix):]] = reduced(parameter)
        serialize.save(filename, arrays)

    def load(self, filename: str, ctx: Any = None, allow_missing: bool = False, ignore_extra: bool = False,
             restore_prefix: str = "", cast_dtype: bool = False, dtype_source: str = "current") -> None:
        """Read parameters from a file of full names, with `restore_prefix` put before them."""
        if restore_prefix:
            for name in self.keys():
                if not name.startswith(restore_prefix):
                    raise MXNetError(explain("ParameterDict.load",
                                             f"restore_prefix is {restore_prefix!r} but a parameter's name does not "
                                             "start with it.", received=name))
        loaded = serialize.load(filename) or {}  # the file of a network without parameters holds an empty list
        if isinstance(loaded, list):
            raise MXNetError(explain("ParameterDict.load", "The file holds a list of arrays without names.",
                                     expected="named parameters", received=filename))
        self.load_dict(loaded, ctx, allow_missing, ignore_extra, restore_prefix, filename, cast_dtype,
                       dtype_source)

    def load_dict(self, param_dict: Any, ctx: Any = None, allow_missing: bool = False, ignore_extra: bool = False,
                  restore_prefix: str = "", filename: str | None = None, cast_dtype: bool = False,
                  dtype_source: str = "current") -> None:
        """Take values from a dictionary of arrays; nothing is changed when a name is missing or unknown."""
        where = f"file {filename!r}" if filename else "the dictionary"
        given = {restore_prefix + bare_name(k): v for k, v in param_dict.items()}
        missing = [name for name in self.keys() if name not in given]
        if missing and not allow_missing:
            raise MXNetError(explain("load",
                                     f"{len(missing)} parameter(s) are missing in {where}: {', '.join(missing[:5])}.",
                                     received=f"names such as {', '.join(list(given)[:5])}",
                                     fix="allow_missing=True leaves them as they are"))
        extra = [name for name in given if name not in self._params]
        if extra and not ignore_extra:
            raise MXNetError(explain("load",
                                     f"{len(extra)} name(s) in {where} belong to no parameter: {', '.join(extra[:5])}.",
                                     expected=f"names such as {', '.join(list(self.keys())[:5])}",
                                     fix="ignore_extra=True skips them"))
        for name, value in given.items():
            if name in self._params:
                self._params[name]._load_init(value, ctx, cast_dtype, dtype_source)


def reduced(parameter: Parameter) -> Any:
    """Return a parameter's value: the mean over devices, as copies drift apart only by rounding."""
    arrays = parameter.list_data()
    if len(arrays) == 1:
        return arrays[0].detach()
    total = arrays[0].detach().as_in_context(arrays[0].context)
    for array in arrays[1:]:
        total = total + array.detach().as_in_context(arrays[0].context)
    return total / len(arrays)
