"""HybridBlock: a block that can be compiled.

The one idea: the same forward runs on arrays (F = nd) and on symbols (F = sym). Called imperatively it just runs,
filling in unknown parameter sizes from a trace the first time; after `hybridize()` a call goes through a CachedOp,
which traces once per signature, derives the gradient, optimises and runs a generated plan (executor/). Both
`hybrid_forward(self, F, x, **params)` and plain `forward(self, x)` are understood. Tracing itself is in trace.py,
SymbolBlock in symbol_block.py.
"""
from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from .. import ndarray, symbol
from ..base import config
from ..base.context import Context, as_context
from ..base.errors import (
    ArgumentError,
    DeferredInitializationError,
    MXNetError,
    UninitializedError,
    explain,
    user_stacklevel,
)
from ..base.modes import is_recording, no_tape, torch_grad_enabled
from ..base.tree import leaves
from ..dispatch import CURRENT, Symbolic
from ..executor.insight.explanation import Explanation
from ..executor.native.compile import prepare
from ..ndarray import NDArray
from ..symbol.tracer import Tracer
from .block import Block, as_arrays, not_a_block
from .parameter import Parameter, tracer_symbol

__all__ = ["Changes", "HybridBlock", "structural_changes"]


class Changes:
    """Counts structural changes of hybridized blocks (a child added, a cast): graphs traced before may hold what is
    no longer there.
    """

    count = 0


def structural_changes() -> int:
    """Return how many structural changes there have been: what was traced before a change may be out of date."""
    return Changes.count


_TRANSIENT = ("_cached", "_fold_unit", "_fold_whole")  # of one process and one block


class HybridBlock(Block):
    """Base of layers and networks that can be compiled: write `hybrid_forward(self, F, x, **params)` or
    `forward(self, x)`.

    >>> from glueball import gluon, nd
    >>> class Net(gluon.HybridBlock):
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         with self.name_scope():
    ...             self.fc = gluon.nn.Dense(2)
    ...     def hybrid_forward(self, F, x):
    ...         return F.relu(self.fc(x))
    >>> net = Net(); net.initialize(); net.hybridize()
    >>> net(nd.ones((4, 3))).shape
    (4, 2)
    """

    def __init__(self, prefix: str | None = None, params: Any = None, **unknown: Any) -> None:
        super().__init__(prefix, params, **unknown)
        self._active = False
        self._flags: dict[str, Any] = {}
        self._cached: Any = None
        self._fold_unit: Any = None  # what folding knows of this block (fold/units.py)
        self._fold_whole: Any = None  # and of this block as a whole although it is not hybridized (fold/arrays.py)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, (Block, Parameter)):
            self._clear_cached_op()

    def _clear_cached_op(self) -> None:
        self.__dict__["_cached"] = None
        if self.__dict__.get("_active"):
            Changes.count += 1

    def _copied(self, key: str, value: Any, memo: dict[int, Any], made: Block) -> Any:
        return None if key in _TRANSIENT else super()._copied(key, value, memo, made)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(_TRANSIENT)}

    def register_child(self, block: Block, name: str | None = None) -> None:
        """Make `block` a child; it must be a HybridBlock, too."""
        if not isinstance(block, Block):
            raise not_a_block(self, block, "HybridBlock")
        if not isinstance(block, HybridBlock):
            raise ValueError(explain(type(self).__name__, "Children of a HybridBlock must be HybridBlocks.",
                                     received=type(block).__name__ + (f" as {name!r}" if name else ""),
                                     fix=f"derive {type(block).__name__} from HybridBlock, or {type(self).__name__} "
                                         "from Block; "
                                     "nn.HybridSequential instead of nn.Sequential"))
        super().register_child(block, name)
        self._clear_cached_op()

    def hybridize(self, active: bool = True, backend: str | None = None, clear: bool = True, **kwargs: Any) -> None:
        """Compile this block and its children (or stop doing so with ``active=False``).

        backend : None for Glueball's own compiler, which answers within milliseconds; "inductor" hands the graph to
        torch.compile, which needs a C++ compiler on this machine and a minute or two.

        static_alloc, static_shape, inline_limit, forward_bulk_size, backward_bulk_size are accepted; the plan decides
        by itself.
        """
        if backend not in (None, "inductor"):
            raise MXNetError(explain("hybridize", "There is no such backend.",
                                     expected="backend=None (Glueball's own), or 'inductor' (torch.compile)",
                                     received=repr(backend)))
        known = {"static_alloc", "static_shape", "inline_limit", "forward_bulk_size", "backward_bulk_size",
                 "backend_opts", "partition_if_dynamic"}
        for key in kwargs:
            if key not in known:
                raise MXNetError(explain("hybridize", f"There is no option {key!r}.",
                                         expected=", ".join(sorted(known))))
        self._active = active and config.get("GLUEBALL_HYBRIDIZE")
        self._flags = kwargs if backend is None else {**kwargs, "backend": backend}
        if self._active and backend is None:
            prepare()
        if clear:
            self._clear_cached_op()
        for child in self._children.values():
            child.hybridize(active, backend=backend, **kwargs)

    def cast(self, dtype: Any) -> None:
        """Change the element type of all parameters; the next call is traced anew."""
        self._clear_cached_op()
        super().cast(dtype)

    def _clear_all(self) -> None:
        self._clear_cached_op()
        for child in self._children.values():
            if isinstance(child, HybridBlock):
                child._clear_all()

    def reset_ctx(self, ctx: Any) -> None:
        """Move all parameters to other devices."""
        super().reset_ctx(ctx)
        self._clear_all()

    # -- running -------------------------------------------------------------------------------------------------------
    def __call__(self, *args: Any) -> Any:
        interpreter = CURRENT.get()
        if interpreter is not None:
            answer = interpreter.call(self, args)
            if answer is not NotImplemented:
                return answer
        if not is_recording() and torch_grad_enabled():
            with no_tape():
                return self._call(args)
        return self._call(args)

    def _call(self, args: tuple[Any, ...]) -> Any:
        if not self._active or CURRENT.get() is not None or (args and isinstance(args[0], Symbolic)):
            return super()._call(args)
        for hook in self._forward_pre_hooks.values():
            hook(self, args)
        out = self._run_cached(args)
        for hook in self._forward_hooks.values():
            hook(self, args, out)
        return out

    def _run_cached(self, args: tuple[Any, ...]) -> Any:
        cached = self._cached
        if cached is None or cached.changes != Changes.count:
            from .trace import make_cached_op
            cached = self.__dict__["_cached"] = make_cached_op(self)
            cached.changes = Changes.count
        return cached(args)

    def forward(self, x: Any, *args: Any) -> Any:
        """Run `hybrid_forward` on arrays or symbols, with this block's parameters by attribute name."""
        tracer = CURRENT.get()
        if isinstance(x, NDArray) and not isinstance(tracer, Tracer):
            try:
                ctx = x._ctx
                held: Any = self._reg_params  # a parameter without data takes the slow way below
                params = {name: p._data[ctx] for name, p in held.items()}
            except (TypeError, KeyError):
                params = self._ready_params(x, args)
            return self.hybrid_forward(ndarray, x, *args, **params)
        if isinstance(tracer, Tracer):
            params = {name: tracer_symbol(tracer, p) for name, p in self._reg_params.items()}
            with self.name_scope():
                return self.hybrid_forward(symbol, x, *args, **params)
        if isinstance(x, Symbolic) or any(isinstance(v, Symbolic) for v in leaves([x, *args], (NDArray, Symbolic))):
            params = {name: p.var() for name, p in self._reg_params.items()}
            with self.name_scope():
                return self.hybrid_forward(symbol, x, *args, **params)
        x, *rest = as_arrays((x, *args))
        found = leaves([x, *rest], NDArray)
        if not found:
            raise MXNetError(explain(type(self).__name__, "A block is called with arrays or symbols.",
                                     expected="at least one NDArray, NumPy array or Symbol",
                                     received=", ".join(type(a).__name__ for a in (x, *rest)),
                                     fix="convert the data with nd.array(data)"))
        if isinstance(x, NDArray):
            return self.forward(x, *rest)
        params = self._ready_params(x, tuple(rest), found[0]._ctx)
        return self.hybrid_forward(ndarray, x, *rest, **params)

    def _ready_params(self, x: Any, args: tuple[Any, ...], ctx: Context | None = None) -> dict[str, NDArray]:
        """Return the parameters, after making those whose size or value was not known before this call."""
        ctx = ctx if ctx is not None else as_context(x._ctx)
        try:
            return {name: p.data(ctx) for name, p in self._reg_params.items()}
        except DeferredInitializationError:
            self._infer_attrs(x, *args)
        except UninitializedError:
            self.initialize_late(list(self._reg_params.values()), ctx)
            return self._ready_params(x, args, ctx)
        for parameter in self._reg_params.values():
            parameter._finish_deferred_init()
        return {name: p.data(ctx) for name, p in self._reg_params.items()}

    def initialize_late(self, parameters: list[Parameter], ctx: Context) -> None:
        """The network was used without initialize(): do it now for these parameters, and say so."""
        warnings.warn(f"{self.name or type(self).__name__}: the network was used before initialize(), so its "
                      f"parameters are initialised now with Uniform(0.07) on {ctx}. "
                      "Call net.initialize() (or net.load_parameters(...)) first to choose. If you did: this layer is "
                      "no child of that network, and will not be trained with it.", UserWarning,
                      stacklevel=user_stacklevel())
        for parameter in parameters:
            if parameter._data is None and parameter._deferred is None:
                parameter.initialize(ctx=ctx)

    def _infer_attrs(self, *args: Any) -> None:
        from .trace import infer_parameters
        infer_parameters(self, args)

    def infer_shape(self, *args: Any) -> None:
        """Fill in unknown sizes of parameters from the inputs, without computing."""
        self._infer_attrs(*args)

    def infer_type(self, *args: Any) -> None:
        """Cast parameters to the dtype of the inputs where they were left at the default."""
        dtype = leaves(list(args), NDArray)[0].dtype
        for parameter in self.collect_params().values():
            if np.dtype(parameter.dtype) != np.dtype(dtype):
                parameter.cast(dtype)

    def hybrid_forward(self, F: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the output with the operators of `F`. Written by the user."""
        raise NotImplementedError(explain(type(self).__name__, "A HybridBlock must define what it computes.",
                                          fix="write `def hybrid_forward(self, F, x): ...` or `def forward(self, x): "
                                              "...`"))

    # -- files and insight ---------------------------------------------------------------------------------------------
    def export(self, path: str, epoch: int = 0, remove_amp_cast: bool = True, format: str = "symbol",
               **options: Any) -> Any:
        """Write the network for use elsewhere.

        Parameters
        ----------
        path : str
            The beginning of the files' names.
        epoch : int
            The number in the name of the parameter file ("symbol" only).
        format : str
            "symbol": `path-symbol.json` and `path-0000.params`, which any MXNet 1.x and `SymbolBlock.imports` read;
            returns both paths. The block must have been hybridized and called once. "onnx": `path.onnx`, one file for
            onnxruntime in any language, held to this network's numbers before it is written; returns its path. "pt2":
            `path.pt2`, for `torch.export.load` and what reads such files, held to the numbers as well.
            `options`: inputs=[x] (an example; the last hybridized call's shapes otherwise), dynamic_batch=True,
            check=True, and for "onnx" metadata={...}; see `onnx_file.export_onnx`, `pt2_file.export_pt2`.
        """
        if not os.path.basename(path):
            raise ArgumentError(explain("export", "The path ends in no name.", expected="the beginning of file names",
                                        received=repr(path), fix=f"for example {os.path.join(path, 'model')!r}"))
        if format == "pt2":
            from .pt2_file import export_pt2
            return export_pt2(self, path, **options)
        if format == "onnx":
            from .onnx_file import export_onnx
            return export_onnx(self, path, **options)
        if format != "symbol" or options:
            raise ArgumentError(explain("export", "There is no such format or option.",
                                        expected="format='symbol', format='onnx' or format='pt2'",
                                        received=", ".join([f"format={format!r}", *options])))
        from .trace import export_block
        return export_block(self, path, epoch)

    def explain(self, *args: Any, profile: bool = False, code: bool = False, rounds: int = 10) -> Explanation:
        """Return what the compiled plans do: a text that is also data (`plans`, `steps`) and a picture (`save`).

        Parameters
        ----------
        args : NDArray
            As the block is called; only what was compiled for arrays like these is shown. Default: everything.
        profile : bool, default False
            Run the plans step by step with a clock: those of these arguments, else those compiled last, with random
            numbers as inputs (zeros where those are no valid indices). Arrays, random numbers and statistics stay as
            they were.
        code : bool, default False
            Add the graph and the generated functions.
        rounds : int, default 10
            How often plans run, at most; times are medians.

        Raises
        ------
        MXNetError : nothing was compiled, or not for arrays like these

        Examples
        --------
        >>> from glueball import gluon, nd
        >>> net = gluon.nn.Dense(64, activation="relu", in_units=20)
        >>> net.initialize()
        >>> net.hybridize()
        >>> y = net(nd.ones((32, 20)))
        >>> plan = net.explain(profile=True).plans[0]
        >>> plan.operators, plan.flops > 80_000, plan.seconds > 0
        (2, True, True)
        """
        if self._cached is None:
            raise MXNetError(explain("explain", "Nothing has been compiled yet.",
                                     fix="call net.hybridize() and then net(data) once"))
        return self._cached.explain(args, profile, code, rounds)

    def optimize_for(self, x: Any, *args: Any, backend: str | None = None, clear: bool = False, **kwargs: Any) -> None:
        """Compile for inputs like these."""
        self.hybridize(True, backend=backend, clear=clear, **kwargs)
        self(x, *args)
