"""The one door through which every operator call goes, and the interpreters that stand behind it.

The one idea: `invoke(op, inputs, attrs)` looks once at who is listening. An interpreter in the ContextVar `CURRENT`
(the tracer, the folder) gets the call; symbols are composed; anything else runs eagerly on torch, where recording is
torch's own tape. The functions of `nd.*` are generated (ndarray/generate.py) so that the common eager call skips even
this.

Not here: what an operator is (ops/opdef.py), the array class (ndarray/), what record() does (autograd/).
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch

from .base.context import as_context
from .base.errors import AutogradError, ContextError, DTypeError, MXNetError, ShapeError, UnsupportedError, explain
from .base.modes import RECORDING, TRAINING
from .ops.opdef import Grad, OpDef, TensorType, open_door

__all__ = ["Interpreter", "CURRENT", "announce_writes", "Symbolic", "invoke", "run_kernel", "finish",
           "explain_failure", "set_array", "set_composer", "set_precision", "precise", "watched", "exact",
           "run_eagerly"]


class Interpreter(Protocol):
    """Whoever wants operator calls instead of the eager path."""

    def invoke(self, op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any], name: str | None) -> Any:
        """Handle one call; inputs are arrays, symbols or None. Return NotImplemented to let it run eagerly."""
        ...

    def call(self, block: Any, args: tuple[Any, ...]) -> Any:
        """Handle the call of a hybrid block as a whole. Return NotImplemented to have its forward run."""
        ...

    def before_write(self, array: Any) -> None:
        """Be told that an array is about to be changed in place."""
        ...

    def zeros(self, shape: Any, dtype: Any, ctx: Any) -> Any:
        """Return an array of zeros, or None where an ordinary one will do."""
        ...


def announce_writes(arrays: Iterable[Any]) -> None:
    """Say that arrays are about to be changed in place, by whatever is not an operator."""
    interpreter = CURRENT.get()
    if interpreter is not None:
        for array in arrays:
            interpreter.before_write(array)


class Symbolic:
    """Base of every value that stands for a result to come (Symbol): an operator that sees one is composed, not run."""

    __slots__ = ()


CURRENT: ContextVar[Interpreter | None] = ContextVar("glueball_interpreter", default=None)
_current = CURRENT.get

_array: Any = None  # the NDArray class, set by ndarray/ which stands above
_to_array: Callable[[Any, Any], Any]
_compose: Callable[[OpDef, Sequence[Any], Mapping[str, Any], str | None], Any]

Precision = Callable[[OpDef, Sequence[Any], Mapping[str, Any]], Sequence[Any]]
_precision: Precision | None = None  # mixed precision (contrib/amp): casts the inputs of calls; one for the process
_watched: Collection[OpDef] = ()  # the operators that it may cast for: their calls never take the fast path
_EXACT: ContextVar[bool] = ContextVar("glueball_exact", default=False)  # set where gradients are computed: no casts


def set_array(cls: Any, convert: Callable[[Any, Any], Any]) -> None:
    """Tell the door which class arrays have and how other things become arrays."""
    global _array, _to_array
    _array, _to_array = cls, convert


def set_composer(compose: Callable[[OpDef, Sequence[Any], Mapping[str, Any], str | None], Any]) -> None:
    """Tell the door how calls on symbols are composed."""
    global _compose
    _compose = compose


def invoke(op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any], out: Any = None, name: str | None = None) -> Any:
    """Run, trace or compose one operator call; the complete and slower way, which every special case takes.

    Parameters
    ----------
    inputs : arrays, symbols, numbers, numpy arrays or None, in the order of the operator's signature
    attrs : attributes as the user gave them
    out : array(s) that receive the result
    """
    if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)) and op.variadic:
        inputs = inputs[0]
    interpreter = _current()
    if interpreter is not None:
        result = interpreter.invoke(op, inputs, attrs, name)
        if result is not NotImplemented:
            return result if out is None or isinstance(result, Symbolic) else _handed_over(result, out)
    for value in inputs:
        if isinstance(value, Symbolic):
            return _compose(op, inputs, attrs, name)
    return run_eagerly(op, inputs, attrs, out)


def _handed_over(result: Any, out: Any) -> Any:
    """Copy what an interpreter answered into the arrays that were given for it."""
    targets = out if isinstance(out, (list, tuple)) else [out]
    for target, value in zip(targets, result if isinstance(result, (list, tuple)) else [result]):
        target._assign(value._t)
    return out


open_door(invoke)


def set_precision(rule: Precision | None, operators: Collection[OpDef] = ()) -> None:
    """Install the rule that casts the inputs of calls of these operators, or none (contrib/amp).

    Functions generated before keep their fast path: see ndarray/namespace.py, rebuild.
    """
    global _precision, _watched
    _precision, _watched = rule, operators


def watched(op: OpDef) -> bool:
    """Whether calls of an operator may need casts."""
    return op in _watched


@contextmanager
def exact() -> Iterator[None]:
    """Compute without casts: gradients follow the types of the forward pass."""
    token = _EXACT.set(True)
    try:
        yield
    finally:
        _EXACT.reset(token)


def precise(op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> Sequence[Any]:
    """Return the inputs of a call as the rule of mixed precision wants them; as they are when there is no rule."""
    return inputs if _precision is None or _EXACT.get() else _precision(op, inputs, attrs)


def run_eagerly(op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any], out: Any = None) -> Any:
    """Run one operator call at once, whoever listens."""
    inputs = precise(op, inputs, attrs)
    typed = op.typed({k: v for k, v in attrs.items() if k not in ("ctx", "attr")
                      and (k != op.variadic_count or k in op.attr_by_name)})
    context = next((v._ctx for v in inputs if isinstance(v, _array)), None)
    # numbers out of nothing (random, zeros): made on the device asked for, or the current one
    if context is None and not op.inputs:
        with as_context(attrs.get("ctx") or None) as context:
            return finish(op, typed, run_kernel(op, (), typed), context, out)
    arrays = [v if v is None or type(v) is _array else _to_array(v, context) for v in inputs]
    for index, value in enumerate(arrays):
        if value is None and not op.variadic and not op.inputs[index].optional:
            raise MXNetError(explain(op.name, f"The input {op.inputs[index].name!r} is missing.",
                                     expected=f"an NDArray for each of {', '.join(op.input_names)}", received="None"))
        if value is not None and value._ctx is not context and context is not None:
            raise mixed_contexts(op, arrays)
    if not op.variadic:
        required = sum(1 for spec in op.inputs if not spec.optional)
        if len(arrays) < required or len(arrays) > len(op.inputs):
            raise MXNetError(explain(op.name, "The number of array inputs does not fit.",
                                     expected=", ".join(op.input_names), received=len(arrays)))
    tensors = [None if v is None else v._t for v in arrays]
    result = run_kernel(op, tensors, typed)
    return finish(op, typed, result, context, out)


def finish(op: OpDef, typed: Mapping[str, Any], result: Any, context: Any, out: Any) -> Any:
    """Wrap what a kernel returned: one array, or a list of the visible ones; copy into `out` when it is given."""
    wrap = _array._wrap
    if not isinstance(result, (tuple, list)):
        made = wrap(result, context)
    else:
        visible = op.num_visible(typed)
        made = [wrap(t, context) for t in result[:visible]]
        if visible == 1:
            made = made[0]
    if out is None:
        return made
    targets = out if isinstance(out, (list, tuple)) else [out]  # a single result may be given a list of one, too
    for target, value in zip(targets, made if isinstance(made, list) else [made]):
        target._assign(value._t)
    return out


def run_kernel(op: OpDef, tensors: Sequence[torch.Tensor | None], typed: Mapping[str, Any],
               training: bool | None = None) -> Any:
    """Run the kernel on torch tensors with typed attributes; errors come back in the operator's words."""
    if op.takes_training:
        typed = {**typed, "training": TRAINING.get() if training is None else training}
    try:
        if RECORDING.get() and needs_own_rule(op, tensors):
            return apply_own_rule(op, typed, tensors)
        result = op.kernel(*tensors, **typed)
        if op.view is None:
            return result
        return copy_views(result) if op.view == "copy" else copy_unless_recorded(result)
    except MXNetError:
        raise
    except Exception as error:
        raise explain_failure(op, tensors, typed, error) from error


def needs_own_rule(op: OpDef, tensors: Sequence[torch.Tensor | None]) -> bool:
    """Whether a call on torch's tape must go there with the operator's own gradient."""
    return op.own_gradient and torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def apply_own_rule(op: OpDef, typed: Mapping[str, Any], tensors: Sequence[torch.Tensor | None]) -> Any:
    """Run the kernel as one node of torch's tape whose backward is the operator's gradient rule."""
    return _OwnGradient.apply(op, typed, *tensors)


def copy_views(result: Any) -> Any:
    """Copy the results of a viewing kernel, so that later writes to one array never show in another."""
    if isinstance(result, (tuple, list)):
        return [t.clone(memory_format=torch.contiguous_format) for t in result]
    return result.clone(memory_format=torch.contiguous_format)


def copy_unless_recorded(result: torch.Tensor) -> torch.Tensor:
    """Copy a reshaped tensor, except on the tape, where nothing may be written: activations are reshaped for free."""
    return result if result.requires_grad and RECORDING.get() else result.clone()


class _OwnGradient(torch.autograd.Function):
    """Puts an operator on torch's tape with the operator's own gradient rule instead of its kernel's derivative."""

    @staticmethod
    def forward(ctx: Any, op: OpDef, typed: Mapping[str, Any], *tensors: torch.Tensor | None) -> Any:
        result = op.kernel(*tensors, **typed)
        results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        results = tuple(copy_views(t) if any(t is s for s in tensors) else t for t in results)
        ctx.op, ctx.typed, ctx.present = op, typed, [t is not None for t in tensors]
        ctx.count = len(results)
        ctx.save_for_backward(*[t for t in tensors if t is not None], *results)
        ctx.set_materialize_grads(False)
        integral = [t for t in results if not t.is_floating_point()]
        ctx.mark_non_differentiable(*integral)
        return results if isinstance(result, (tuple, list)) else results[0]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        wrap = _array._wrap
        saved = list(ctx.saved_tensors)
        token = RECORDING.set(torch.is_grad_enabled())  # create_graph: the rule itself goes on the tape
        try:
            outs = [wrap(t, None) for t in saved[len(saved) - ctx.count:]]
            rest = iter(saved)
            ins = [wrap(next(rest), None) if present else None for present in ctx.present]
            types = [TensorType() if v is None else TensorType(tuple(v._t.shape), v._t.dtype) for v in ins]
            out_types = [TensorType(tuple(v._t.shape), v._t.dtype) for v in outs]
            attrs = {k: v for k, v in ctx.typed.items() if k != "training"}
            given = [None if g is None else wrap(g, None) for g in grads]
            with exact():
                found = ctx.op.gradient(Grad(ctx.op, ins, outs, given, attrs, types, out_types,
                                             ctx.typed.get("training", True), ctx.needs_input_grad[2:]))
        finally:
            RECORDING.reset(token)
        found = found if isinstance(found, (tuple, list)) else (found,)
        needed = ctx.needs_input_grad[2:]
        return (None, None, *(None if v is None or not need else v._t for v, need in zip(found, needed)))


def mixed_contexts(op: OpDef, arrays: Sequence[Any]) -> ContextError:
    """The error for arrays of two devices in one call."""
    received = ", ".join(str(v._ctx) for v in arrays if v is not None)
    return ContextError(explain(op.name, "The arrays live on different devices.", expected="one device",
                                received=received, fix="copy one of them with .as_in_context(ctx)"))


def explain_failure(op: OpDef, tensors: Sequence[torch.Tensor | None], attrs: Mapping[str, Any],
                    error: Exception) -> MXNetError:
    """Turn a kernel's exception into an error of ours that names the operator, its inputs and attributes."""
    names = [op.input_names[0]] * len(tensors) if op.variadic else op.input_names
    received = ", ".join(f"{n} {tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for n,
                         t in zip(names, tensors) if t is not None)
    given = ", ".join(f"{k}={v!r}" for k, v in attrs.items() if op.defaults.get(k, None) != v and k != "training")
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    dtypes = {t.dtype for t in tensors if t is not None}
    kind: type[MXNetError] = ShapeError
    fix = None
    if "in-place" in first or "inplace" in first:
        kind = AutogradError
    elif isinstance(error, NotImplementedError) or "not implemented for" in first:
        kind, fix = UnsupportedError, "convert first, for example with x.astype('float32')"
    elif isinstance(error, OverflowError):
        kind, fix = DTypeError, "a whole number has 64 bits at most; write a larger one as a float, for example 2.0**70"
    elif len(dtypes) > 1 and ("dtype" in first or "type" in first):
        kind, fix = DTypeError, "bring the inputs to one type with x.astype('float32')"
    return kind(explain(op.name, first, received=f"{received}; {given}" if given else received, fix=fix))
