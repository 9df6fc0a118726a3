"""mx.contrib.amp: automatic mixed precision: most of a network in float16 or bfloat16, the delicate parts in float32.

    amp.init("bfloat16")                                 # before the network is called
    amp.init_trainer(trainer)
    with autograd.record():
        loss = loss_function(net(x), y)
        with amp.scale_loss(loss, trainer) as scaled:
            autograd.backward(scaled)
    trainer.step(batch_size)

The one idea: parameters stay float32; the inputs of single operators are cast as lists.py says, eagerly and in
compiled graphs alike. `convert_model` and `convert_hybrid_block` write the casts into a graph for prediction.
Not here: the casts (casts.py), the adapting factor of the loss (loss_scaler.py), where a step is left out
(gluon/trainer.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ... import gluon
from ...base.errors import ArgumentError, MXNetError, explain
from ...dispatch import set_precision
from ...gluon.hybrid import Changes
from ...ndarray import NDArray, namespace
from ...symbol import Symbol
from . import lists
from .casts import Casts, convert, symbol_of, targets_only
from .loss_scaler import LossScaler

__all__ = [
    "LossScaler", "convert_hybrid_block", "convert_model", "convert_symbol", "init", "init_trainer",
    "list_conditional_fp32_ops", "list_fp32_ops", "list_loss_output_functions", "list_lp16_fp32_ops", "list_lp16_ops",
    "list_lp16_use_fp32_params", "list_widest_type_cast", "reset", "scale_loss", "unscale",
]  # fmt: skip

Arrays = dict[str, NDArray]

_active: Casts | None = None


def init(target_dtype: Any = "float16", target_precision_ops: Sequence[str] | None = None,
         conditional_fp32_ops: Sequence[Any] | None = None, fp32_ops: Sequence[str] | None = None) -> None:  # fmt: skip
    """Switch mixed precision on for the whole process; networks compiled before are compiled anew.

    Parameters
    ----------
    target_dtype : 'float16' (made for GPUs) or 'bfloat16' (CPUs and GPUs)
    target_precision_ops, fp32_ops : further operators, by name, to run in the target type or in float32
    conditional_fp32_ops : further `(operator, attribute, [values])` to run in float32

    Raises
    ------
    ArgumentError
        For another type, for unknown operators, and when it is on with another type.
    """
    global _active
    if _active is not None and _active.target != lists.target_name(target_dtype):
        raise ArgumentError(explain("amp.init", "Mixed precision is on with another type.", expected=_active.target,
                                    received=target_dtype, fix="call amp.reset() first"))  # fmt: skip
    _active = Casts(target_dtype, target_precision_ops, fp32_ops, conditional_fp32_ops)
    _install(_active)


def reset() -> None:
    """Switch mixed precision off."""
    global _active
    _active = None
    _install(None)


def _install(casts: Casts | None) -> None:
    set_precision(casts, frozenset() if casts is None else casts.operators)
    namespace.rebuild("glueball.ndarray")
    Changes.count += 1  # every hybridized block compiles anew


def init_trainer(optimizer_or_trainer: Any) -> None:
    """Give a Trainer a loss scale that adapts itself: steps whose gradients overflow are left out.

    Raises
    ------
    MXNetError
        When `amp.init()` was not called.
    ArgumentError
        For anything but a gluon.Trainer.
    """
    if _active is None:
        raise MXNetError(explain("amp.init_trainer", "Mixed precision is off.", fix="call amp.init() first"))
    trainer = _trainer(optimizer_or_trainer, "amp.init_trainer", ready=False)
    trainer._amp_original_scale = trainer._scale
    trainer._amp_loss_scaler = LossScaler() if _active.target == "float16" else LossScaler(1.0, scale_window=0)


def _trainer(trainer: Any, where: str, ready: bool = True) -> Any:
    if not isinstance(trainer, gluon.Trainer):
        raise ArgumentError(explain(where, "A gluon.Trainer is expected.", received=type(trainer).__name__))
    if ready and trainer._amp_loss_scaler is None:
        raise MXNetError(explain(where, "This Trainer has no loss scale.", fix="call amp.init_trainer(trainer) once"))
    return trainer


@contextmanager
def scale_loss(loss: Any, optimizer_or_trainer: Any) -> Iterator[Any]:
    """Within `with`: the loss (or list of losses) times the loss scale, to call backward on inside `record()`.

    The next `step` divides the gradients by the same factor.
    """
    trainer = _trainer(optimizer_or_trainer, "amp.scale_loss")
    factor = trainer._amp_loss_scaler.loss_scale
    trainer._scale = trainer._amp_original_scale / factor
    yield [each * factor for each in loss] if isinstance(loss, (list, tuple)) else loss * factor


def unscale(optimizer_or_trainer: Any) -> None:
    """Divide the gradients by the loss scale now, to clip or read them; the next `step` then does not."""
    trainer = _trainer(optimizer_or_trainer, "amp.unscale")
    factor = trainer._amp_original_scale / trainer._scale
    for parameter in trainer._params:
        if parameter.grad_req != "null":
            for gradient in parameter.list_grad():
                gradient /= factor
    trainer._scale = trainer._amp_original_scale


# --------------------------------------------------------------------------------------------------- converting graphs
def convert_symbol(sym: Symbol, target_dtype: Any = "float16", target_dtype_ops: Sequence[str] | None = None,
                   fp32_ops: Sequence[str] | None = None, conditional_fp32_ops: Sequence[Any] | None = None,
                   excluded_sym_names: Sequence[str] | None = None, data_names: Sequence[str] | None = None,
                   cast_optional_params: bool = False) -> Symbol:  # fmt: skip
    """Return the graph with casts written in.

    excluded_sym_names : nodes whose inputs are not cast. data_names, cast_optional_params : accepted; which
    parameters are stored in the target type is decided by `convert_model`.

    >>> from glueball import sym
    >>> graph = sym.softmax(sym.FullyConnected(sym.var("x"), num_hidden=2, name="fc"))
    >>> sum("amp_cast" in name for name in convert_symbol(graph).get_internals().list_outputs())
    4
    """
    if not isinstance(sym, Symbol):
        raise ArgumentError(explain("amp.convert_symbol", "A Symbol is expected.", received=type(sym).__name__))
    casts = Casts(target_dtype, target_dtype_ops, fp32_ops, conditional_fp32_ops)
    excluded = list(excluded_sym_names or ())
    unknown = set(excluded) - {each.removesuffix("_output") for each in sym.get_internals().list_outputs()}
    if unknown:
        raise ArgumentError(explain("amp.convert_symbol", "The graph has no nodes of these names.",
                                    received=f"excluded_sym_names={sorted(unknown)}"))  # fmt: skip
    return convert(sym, casts, excluded)


def convert_model(sym: Symbol, arg_params: Arrays, aux_params: Arrays,
                  target_dtype: Any = "float16", target_dtype_ops: Sequence[str] | None = None,
                  fp32_ops: Sequence[str] | None = None, conditional_fp32_ops: Sequence[Any] | None = None,
                  excluded_sym_names: Sequence[str] | None = None,
                  cast_optional_params: bool = False) -> tuple[Symbol, Arrays, Arrays]:  # fmt: skip
    """Return `(graph, arg_params, aux_params)` with casts written in.

    cast_optional_params : store parameters that only low-precision operators read in the target type, which halves
    their memory.
    """
    target = lists.target_name(target_dtype)
    graph = convert_symbol(sym, target, target_dtype_ops, fp32_ops, conditional_fp32_ops, excluded_sym_names)
    low = targets_only(graph, target) if cast_optional_params else set()
    arguments = {name: value.astype(target) if name in low else value for name, value in arg_params.items()}
    return graph, arguments, dict(aux_params)


def convert_hybrid_block(block: Any, target_dtype: Any = "float16", target_dtype_ops: Sequence[str] | None = None,
                         fp32_ops: Sequence[str] | None = None, conditional_fp32_ops: Sequence[Any] | None = None,
                         excluded_sym_names: Sequence[str] | None = None, ctx: Any = None,
                         cast_optional_params: bool = False) -> Any:  # fmt: skip
    """Return a SymbolBlock with casts written in and a copy of the parameters; the block must have been called once
    after `hybridize()`.

    ctx : device of the copy; None: that of the block.
    """
    if not isinstance(block, gluon.HybridBlock):
        raise ArgumentError(explain("amp.convert_hybrid_block", "A HybridBlock is expected.",
                                    received=type(block).__name__))  # fmt: skip
    graph, inputs, arguments, auxiliary = symbol_of(block)
    graph, arguments, auxiliary = convert_model(graph, arguments, auxiliary, target_dtype, target_dtype_ops, fp32_ops,
                                                conditional_fp32_ops, excluded_sym_names,
                                                cast_optional_params)  # fmt: skip
    made = gluon.SymbolBlock(graph, inputs)
    values = {**arguments, **auxiliary}
    if values:
        context = next(iter(values.values())).context if ctx is None else ctx
        made.collect_params().load_dict(values, context, cast_dtype=True, dtype_source="current")
        for name, value in values.items():
            made.collect_params()[name].cast(value.dtype_name)
    return made


# -------------------------------------------------------------------------------------------------------------- lists
def list_lp16_ops(target_dtype: Any = "float16") -> list[str]:
    """Return the operators that run in the target type."""
    lists.target_name(target_dtype)
    return list(lists.LOW)


def list_fp32_ops(target_dtype: Any = "float16") -> list[str]:
    """Return the operators that run in float32."""
    lists.target_name(target_dtype)
    return list(lists.FLOAT32)


def list_widest_type_cast(target_dtype: Any = "float16") -> list[str]:
    """Return the operators that run in the widest type of their inputs."""
    lists.target_name(target_dtype)
    return list(lists.WIDEST)


def list_lp16_fp32_ops(target_dtype: Any = "float16") -> list[str]:
    """Return the operators that run in the type they are given."""
    lists.target_name(target_dtype)
    return lists.following()


def list_conditional_fp32_ops(target_dtype: Any = "float16") -> list[tuple[str, str, list[str]]]:
    """Return `(operator, attribute, values)` for operators that run in float32 for some values of an attribute."""
    lists.target_name(target_dtype)
    return [(name, attribute, list(values)) for name, attribute, values in lists.CONDITIONAL]


def list_loss_output_functions(target_dtype: Any = "float16") -> list[str]:
    """Return the operators that are an output and a loss in one."""
    lists.target_name(target_dtype)
    return list(lists.LOSSES)


def list_lp16_use_fp32_params(target_dtype: Any = "float16") -> None:
    """Return None: low-precision operators read casts of their float32 parameters."""
    lists.target_name(target_dtype)
