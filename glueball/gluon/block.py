"""Block: a layer or network written as ordinary Python; it owns parameters and children, and names them.

The one idea: assigning a Block or Parameter to an attribute registers it; names come from the class, a counter and
the scope (`net0_dense1_weight`), while files use the path of attributes (`features.0.weight`). Compilation is in
hybrid.py, files in files.py, the table that `summary` prints in summary.py.
"""
from __future__ import annotations

import copy
import inspect
import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

import numpy as np

from .. import initializer
from ..base.errors import ArgumentError, DTypeError, MXNetError, ShapeError, explain, user_stacklevel
from ..base.modes import is_recording, no_tape, torch_grad_enabled
from ..base.naming import NameManager, Prefix, current_names
from ..base.registry import closest
from ..ndarray import NDArray, to_array
from . import files
from .parameter import Parameter
from .parameter_dict import ParameterDict
from .utils import HookHandle

__all__ = ["Block"]


class _BlockScope:
    """The name scope of a block: counts children by class and prefixes their names."""

    current: ContextVar[_BlockScope | None] = ContextVar("glueball_block_scope", default=None)

    def __init__(self, block: Block) -> None:
        self._block = block
        self._counter: dict[str, int] = {}
        self._tokens: list[tuple[Token[_BlockScope | None], NameManager]] = []

    @staticmethod
    def create(prefix: str | None, params: ParameterDict | None, hint: str) -> tuple[str, ParameterDict]:
        """Return the prefix and the parameter dictionary of a new block."""
        scope = _BlockScope.current.get()
        if scope is None:
            if prefix is None:
                prefix = current_names().get(None, hint) + "_"
            made = ParameterDict(prefix) if params is None else ParameterDict(params.prefix, params)
            return prefix, made
        if prefix is None:
            count = scope._counter.get(hint, 0)
            prefix = f"{hint}{count}_"
            scope._counter[hint] = count + 1
        if params is None:
            parent = scope._block.params
            made = ParameterDict(parent.prefix + prefix, parent._shared)
        else:
            made = ParameterDict(params.prefix, params)
        return scope._block.prefix + prefix, made

    def __enter__(self) -> _BlockScope:
        names = Prefix(self._block.prefix)
        names.__enter__()
        self._tokens.append((_BlockScope.current.set(self), names))
        return self

    def __exit__(self, *exc: object) -> None:
        token, names = self._tokens.pop()
        names.__exit__()
        _BlockScope.current.reset(token)


class _NoScope:
    """The scope of a block whose prefix is empty: it leaves names alone."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        return None


class Block:
    """Base of all layers and networks.

    Parameters
    ----------
    prefix : start of the names of parameters; made of class and counter when None
    params : ParameterDict to share parameters with

    >>> from glueball import gluon, nd
    >>> class Twice(gluon.Block):
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.dense = gluon.nn.Dense(3)
    ...     def forward(self, x):
    ...         return self.dense(x) * 2
    >>> net = Twice(); net.initialize()
    >>> net(nd.ones((2, 5))).shape
    (2, 3)
    """

    def __init__(self, prefix: str | None = None, params: ParameterDict | None = None, **unknown: Any) -> None:
        if unknown:
            raise _unknown_argument(type(self), next(iter(unknown)))
        self._empty_prefix = prefix == ""
        self._prefix, self._params = _BlockScope.create(prefix, params, self._alias())
        self._name = self._prefix[:-1] if self._prefix.endswith("_") else self._prefix
        self._scope = _BlockScope(self)
        self._children: OrderedDict[str, Block] = OrderedDict()
        self._reg_params: dict[str, Parameter] = {}
        self._forward_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self._forward_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()

    def _alias(self) -> str:
        return self.__class__.__name__.lower()

    def __repr__(self) -> str:
        lines = [f"  ({key}): " + repr(child).replace("\n", "\n  ") for key,
                 child in self.__dict__.items() if isinstance(child, Block)]
        return f"{self.__class__.__name__}(\n" + "\n".join(lines) + "\n)"

    def __setattr__(self, name: str, value: Any) -> None:
        if "_children" not in self.__dict__ and isinstance(value, (Block, Parameter)):
            raise MXNetError(explain(type(self).__name__, f"The attribute {name!r} is set before the block is made.",
                                     fix="call super().__init__(**kwargs) at the start of "
                                         f"{type(self).__name__}.__init__"))
        existing = self.__dict__.get(name)
        if (
            isinstance(existing, (Parameter, Block))
            and not isinstance(value, type(existing))
            and not isinstance(existing, type(value))
        ):
            raise TypeError(
                f"Changing attribute type for {name} from {type(existing)} to {type(value)} is not allowed."
            )
        if isinstance(value, Block):
            self.register_child(value, name)
        elif isinstance(value, Parameter):
            self._reg_params[name] = value
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        self._children.pop(name, None)
        self._reg_params.pop(name, None)
        object.__delattr__(self, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Block:
        made = object.__new__(type(self))
        memo[id(self)] = made
        for key, value in self.__dict__.items():
            object.__setattr__(made, key, self._copied(key, value, memo, made))
        return made

    def _copied(self, key: str, value: Any, memo: dict[int, Any], made: Block) -> Any:
        return _BlockScope(made) if key == "_scope" else copy.deepcopy(value, memo)

    # -- names and parts -----------------------------------------------------------------------------------------------
    @property
    def prefix(self) -> str:
        """Start of the names of this block's parameters."""
        return self._prefix

    @property
    def name(self) -> str:
        """The prefix without its underscore."""
        return self._name

    def name_scope(self) -> Any:
        """Return the scope in which children get names inside this block's."""
        return _NoScope() if self._empty_prefix else self._scope

    @property
    def params(self) -> ParameterDict:
        """This block's own parameters (not its children's)."""
        return self._params

    def collect_params(self, select: str | None = None) -> ParameterDict:
        """Return all parameters of this block and its children, or those whose name matches the regular expression
        `select`.
        """
        found = ParameterDict(self._params.prefix)
        found.update(self._params if select is None else self._params.select(select))
        self._warn_of_unregistered_blocks()
        for child in self._children.values():
            found.update(child.collect_params(select))
        bare = ParameterDict()  # `self.weight = gluon.Parameter(...)`, made without self.params.get
        bare._params.update({p.name: p for p in self._reg_params.values() if p.name not in self._params})
        found.update(bare if select is None else bare.select(select))
        return found

    def _warn_of_unregistered_blocks(self) -> None:
        """Say so when a list, tuple or dictionary holds blocks: their parameters would silently not be trained."""
        known = set(map(id, self._children.values()))
        for key, value in self.__dict__.items():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
            if key[0] != "_" and any(isinstance(part, Block) and id(part) not in known for part in held):
                warnings.warn(explain(
                    type(self).__name__, f"The blocks in its attribute {key!r} are not registered: they are neither "
                    "initialised nor trained nor saved with this one.", received=f"a {type(value).__name__} of blocks",
                    fix="put them into nn.Sequential / nn.HybridSequential, or call self.register_child(block)"),
                    stacklevel=user_stacklevel())

    def _collect_params_with_prefix(self, prefix: str = "") -> dict[str, Parameter]:
        start = prefix + "." if prefix else ""
        found = {start + key: value for key, value in self._reg_params.items()}
        for name, child in self._children.items():
            found.update(child._collect_params_with_prefix(start + name))
        return found

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Make `block` a child: its parameters count as this block's."""
        if not isinstance(block, Block):
            raise not_a_block(self, block, "Block")
        self._children[name if name is not None else str(len(self._children))] = block

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(block, inputs)`` before every forward."""
        handle = HookHandle()
        handle.attach(self._forward_pre_hooks, hook)
        return handle

    def register_forward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(block, inputs, output)`` after every forward."""
        handle = HookHandle()
        handle.attach(self._forward_hooks, hook)
        return handle

    def register_op_hook(self, callback: Callable[..., Any], monitor_all: bool = False) -> None:
        """Call ``callback(node_name, op_name, array)`` for the outputs of every child layer (`monitor_all`: its
        inputs, too).
        """
        for child in self._children.values():
            child.register_op_hook(callback, monitor_all)
        if not self._children:
            def report(block: Block, inputs: Any, output: Any) -> None:
                from ..base.tree import leaves
                for i, array in enumerate(leaves(list(inputs), NDArray) if monitor_all else []):
                    callback(f"{block.name}_input{i}", block._alias(), array)
                for i, array in enumerate(leaves(output, NDArray)):
                    callback(f"{block.name}_output{i}", block._alias(), array)
            self.register_forward_hook(report)

    def apply(self, fn: Callable[[Block], Any]) -> Block:
        """Call ``fn(block)`` on all children, then on this block; returns this block."""
        for child in self._children.values():
            child.apply(fn)
        fn(self)
        return self

    # -- parameters ----------------------------------------------------------------------------------------------------
    def initialize(self, init: Any = None, ctx: Any = None, verbose: bool = False, force_reinit: bool = False) -> None:
        """Initialise all parameters; those of unknown size get their arrays at the first forward.

        init : for parameters without an initialiser of their own; Uniform(0.07) when None. ctx : device or list of
        devices.
        """
        self.collect_params().initialize(initializer.Uniform() if init is None else init, ctx, verbose, force_reinit)

    def hybridize(self, active: bool = True, **kwargs: Any) -> None:
        """Compile every HybridBlock among the children."""
        for child in self._children.values():
            child.hybridize(active, **kwargs)

    def cast(self, dtype: Any) -> None:
        """Change the element type of all parameters."""
        for child in self._children.values():
            child.cast(dtype)
        for parameter in {**self.params._params, **{p.name: p for p in self._reg_params.values()}}.values():
            parameter.cast(dtype)

    def reset_ctx(self, ctx: Any) -> None:
        """Move all parameters to other devices."""
        self.collect_params().reset_ctx(ctx)

    def zero_grad(self) -> None:
        """Set all gradient arrays to zeros."""
        self.collect_params().zero_grad()

    def setattr(self, name: str, value: Any) -> None:
        """Set an attribute of all parameters, for example ``net.setattr('grad_req', 'null')``."""
        self.collect_params().setattr(name, value)

    # -- files ---------------------------------------------------------------------------------------------------------
    def save_parameters(self, filename: str, deduplicate: bool = False) -> None:
        """Write parameters by structural name: `.params` (MXNet-compatible), or safetensors when the name ends in
        `.safetensors`.
        """
        files.save_parameters(self, filename, deduplicate)

    def load_parameters(self, filename: str, ctx: Any = None, allow_missing: bool = False, ignore_extra: bool = False,
                        cast_dtype: bool = False, dtype_source: str = "current") -> None:
        """Read parameters from a file that `save_parameters` (or `export`, or a compatible program) wrote; on any
        error nothing changes.
        """
        files.load_parameters(self, filename, ctx, allow_missing, ignore_extra, cast_dtype, dtype_source)

    def save_params(self, filename: str) -> None:
        """Old name: write parameters by full name less this block's prefix."""
        self.collect_params().save(filename, strip_prefix=self.prefix)

    def load_params(self, filename: str, ctx: Any = None, allow_missing: bool = False,
                    ignore_extra: bool = False) -> None:
        """Old name of load_parameters."""
        self.load_parameters(filename, ctx, allow_missing, ignore_extra)

    def save(self, prefix: str) -> None:
        """Write structure names (`prefix-model.json`) and parameters (`prefix-model.params`)."""
        files.save_model(self, prefix)

    def load(self, prefix: str) -> None:
        """Read what `save` wrote into a network of the same structure."""
        files.load_model(self, prefix)

    # -- running -------------------------------------------------------------------------------------------------------
    def __call__(self, *args: Any) -> Any:
        if not is_recording() and torch_grad_enabled():
            with no_tape():
                return self._call(args)
        return self._call(args)

    def _call(self, args: tuple[Any, ...]) -> Any:
        if self._forward_pre_hooks:
            for hook in self._forward_pre_hooks.values():
                hook(self, args)
        try:
            out = self.forward(*args)
        except (ShapeError, DTypeError) as error:
            name_layer(error, self)
            raise
        except TypeError as error:
            explain_call(error, self, args)
            raise
        if self._forward_hooks:
            for hook in self._forward_hooks.values():
                hook(self, args, out)
        return out

    def to_torch(self, *example: Any) -> Any:
        """Return this network as a `torch.nn.Module` that shares its parameters, for torch's optimisers and tools.

        Parameters
        ----------
        example : NDArray or torch.Tensor
            Inputs to call the network with once, where sizes of parameters are not known yet.

        Returns
        -------
        torch.nn.Module
            Its parameters are the arrays of this network's: a step of either side is seen by both, and so are
            gradients. Names are structural (`features.0.weight`); running statistics and constants are buffers. It
            takes and returns tensors, records when torch does, and follows its own `train()` and `eval()`.

        Raises
        ------
        MXNetError : parameters are not initialised, or their sizes are not known

        Examples
        --------
        >>> import torch
        >>> from glueball import gluon
        >>> net = gluon.nn.Dense(1, in_units=2)
        >>> net.initialize(init="zeros")
        >>> module = net.to_torch()
        >>> optimiser = torch.optim.SGD(module.parameters(), lr=0.5)
        >>> module(torch.ones(1, 2)).sum().backward()
        >>> optimiser.step()
        >>> net.weight.data().asnumpy().tolist()
        [[-0.5, -0.5]]
        """
        from .torch_module import to_torch
        return to_torch(self, *example)

    def forward(self, *args: Any) -> Any:
        """Compute the output. Written by the user."""
        raise NotImplementedError(explain(type(self).__name__, "A Block must define what it computes.",
                                          fix="write `def forward(self, x): ...`"))

    def summary(self, *inputs: Any) -> None:
        """Print a table of layers with output shapes and parameter counts for the given inputs."""
        from .summary import print_summary
        print_summary(self, inputs)


def name_layer(error: ShapeError | DTypeError, block: Block) -> None:
    """Add the name of the innermost layer to the message of an error, once."""
    if "\n  Layer: " not in str(error):
        error.args = (f"{error}\n  Layer: {block.name} ({type(block).__name__})",)


def _unknown_argument(cls: type[Block], unknown: str) -> TypeError:
    """Return the error for a keyword that no constructor on the way from `cls` to Block takes."""
    takes = {name: None for base in cls.__mro__ if "__init__" in base.__dict__ and issubclass(base, Block)
             for name, p in inspect.signature(base.__init__).parameters.items()
             if name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    return TypeError(explain(cls.__name__, f"There is no argument {unknown!r}.", expected=", ".join(takes),
                             fix=closest(unknown, list(takes))))


def explain_call(error: TypeError, block: Block, args: tuple[Any, ...]) -> None:
    """When Python says that a call does not fit the user's (hybrid_)forward, say what was passed, and how to write
    it.
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    ours = frame is not None and frame.tb_frame.f_globals.get("__name__", "").startswith(f"{__package__}.")
    name = next((n for n in ("hybrid_forward", "forward") if f".{n}() " in str(error)), None)
    if not ours or name is None or "\n" in str(error):
        return
    written = inspect.signature(getattr(block, name))
    hybrid = name == "hybrid_forward"
    received = f"{len(args)} input(s)"
    fix = "call the layer with the inputs that it names"
    if hybrid:
        received += ", and by name the block's parameters " + (", ".join(block._reg_params) or "(it has none)")
    if hybrid and not type(block).__module__.startswith(f"{__package__}."):  # the user's own
        fix = ("write `def hybrid_forward(self, F, x, ...)`: F first (nd or sym), then the inputs, then each parameter "
               "under the name of its attribute (self.weight = self.params.get('weight', ...))")
    error.args = (explain(type(block).__name__, f"The call does not fit its {name}.",
                          expected=f"{name}{written}", received=received, fix=fix) + f"\n  Python: {error}",)


def not_a_block(parent: Block, given: Any, wanted: str) -> ArgumentError:
    """Return the error for a child that is no block at all."""
    if isinstance(given, (list, tuple)):
        fix = "pass the layers one by one, or unpack the list: net.add(*layers)"
    elif isinstance(given, type) and issubclass(given, Block):
        fix = f"make one: {given.__name__}(...)"
    elif callable(given):
        fix = "wrap a function in nn.Lambda or nn.HybridLambda"
    else:
        fix = f"derive a class from {wanted}, or wrap a function in nn.Lambda or nn.HybridLambda"
    return ArgumentError(explain(type(parent).__name__, "A child must be a layer or network.", expected=f"a {wanted}",
                                 received=f"{given.__name__}, a class" if isinstance(given, type)
                                 else f"{given!r:.60} of type {type(given).__name__}", fix=fix))


def as_arrays(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments with NumPy arrays turned into NDArrays, so that they just work."""
    return tuple(to_array(a) if isinstance(a, np.ndarray) else a for a in args)
