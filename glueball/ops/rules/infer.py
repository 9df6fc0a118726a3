"""Inference rules: shapes and dtypes of results, and of inputs whose sizes are not known yet.

The one idea: by default the kernel itself is the rule, run on zeros or on tensors without data. Classes of
operators whose shapes also flow backwards (from result to inputs, between inputs) have a rule object here:
`same_shape`, `elementwise`, `broadcasting`. Completing parameter sizes from the data (deferred initialisation) is
each operator's `fill` rule, beneath its definition.
"""
from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch

from ...base.errors import DTypeError, MXNetError, ShapeError, explain
from ..opdef import OpDef, TensorType

__all__ = ["run_rule", "complete", "kernel_on_meta", "same_shape", "elementwise", "broadcasting", "broadcast_shapes",
           "unify", "InferRule"]


def unify(left: Any, right: Any, where: str) -> Any:
    """Return the most that two partial shapes say together; a contradiction is an error.

    >>> unify((2, None), (None, 3), "add")
    (2, 3)
    """
    if left is None or right is None:
        return right if left is None else left
    if len(left) != len(right):
        raise ShapeError(explain(where, "The numbers of axes differ.", expected=f"{len(left)} axes, as in {left}",
                                 received=f"{right}"))
    joined = []
    for a, b in zip(left, right):
        if a is not None and b is not None and a != b:
            raise ShapeError(explain(where, "The shapes differ.", expected=left, received=right))
        joined.append(b if a is None else a)
    return tuple(joined)


def broadcast_shapes(left: tuple[int, ...], right: tuple[int, ...], where: str = "broadcast") -> tuple[int, ...]:
    """Return the NumPy broadcast of two known shapes."""
    if left == right:
        return left
    rank = max(len(left), len(right))
    a = (1,) * (rank - len(left)) + tuple(left)
    b = (1,) * (rank - len(right)) + tuple(right)
    if any(x != y and x != 1 and y != 1 for x, y in zip(a, b)):
        raise ShapeError(explain(where,
                                 "These shapes do not broadcast: sizes must be equal or 1, counted from the last axis.",
                                 received=f"{left} and {right}"))
    return tuple(y if x == 1 else x for x, y in zip(a, b))


class InferRule:
    """Forward: result types from complete input types. Backward: what results and other inputs say about an input."""

    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        """Return the types of all results."""
        return kernel_on_meta(op, attrs, ins, training)

    def partial(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                outs: Sequence[TensorType]) -> tuple[list[TensorType], list[TensorType]]:
        """Return inputs and outputs with what can be said before everything is known."""
        return list(ins), list(outs)


# elements up to which the kernel runs on zeros. The first `meta` tensor imports seconds' worth of torch (its tracer):
# before that has happened, one run more of the operator than the network makes anyway is the cheaper question
SMALL, LARGE = 1 << 16, 1 << 21
_TRACER = "torch._dynamo"
_TWICE = ("scale", "size", "max_displacement", "pad_size")  # attributes that count along two axes
_NO_SIZES = ("workspace",)


def kernel_on_meta(op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool) -> list[TensorType]:
    """Run the kernel on stand-ins and read the types of the results off: zeros where that is cheap, `meta` tensors
    otherwise.
    """
    if not op.random and most_elements(op, attrs, ins) <= (SMALL if _TRACER in sys.modules else LARGE):
        try:
            return _run_on(op, attrs, [_zeros(t, op.view is not None) for t in ins], training)
        except MXNetError:
            raise
        except Exception:  # zeros may be no valid value (a matrix to factorise): shapes alone decide
            pass
    with torch.device("meta"):  # also for what a kernel makes itself
        return _run_on(op, attrs, [torch.empty(_complete(t), dtype=t.dtype) for t in ins], training)


def _zeros(kind: TensorType, once: bool) -> torch.Tensor:
    """Return zeros; `once`: all elements may be one number in memory, for the kernel looks at none of them."""
    shape = _complete(kind)
    return torch.zeros((), dtype=kind.dtype).expand(shape) if once else torch.zeros(shape, dtype=kind.dtype)


def most_elements(op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType]) -> float:
    """Return how many elements an operator that is asked by running it may at most make of inputs: shapes and numbers
    in attributes come from files, and a file must not decide how much is allocated.

    All elements of one input with all of another (an outer product), as many times as the numbers among the attributes
    say; a view makes none. Operators that pair the elements of one input (linalg.syrk) have a formula instead.
    """
    sizes = [max(math.prod(_complete(t)), 1) for t in ins]
    if op.view is not None:
        return sum(sizes)
    most = float(math.prod(sizes))
    for name, value in attrs.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, (int, float)) and name not in _NO_SIZES and abs(number) > 1:
                most *= abs(number) ** (2 if name in _TWICE else 1)
    return most


def _complete(type_: TensorType) -> tuple[int, ...]:
    """Return a shape that is known to be complete."""
    return tuple(size for size in type_.shape or () if size is not None)


def _run_on(op: OpDef, attrs: Mapping[str, Any], tensors: Sequence[torch.Tensor], training: bool) -> list[TensorType]:
    extra = {"training": training} if op.takes_training else {}
    with torch.no_grad():
        if op.variadic:
            result = op.kernel(*tensors, **attrs, **extra)
        else:
            result = op.kernel(**dict(zip(_given(op, len(tensors), attrs), tensors)), **attrs, **extra)
    results = result if isinstance(result, (tuple, list)) else (result,)
    return [TensorType(tuple(r.shape), r.dtype) for r in results]


def _given(op: OpDef, count: int, attrs: Mapping[str, Any]) -> tuple[str, ...]:
    present = op.present_inputs(attrs)
    return present if len(present) == count else op.input_names[:count]


@final
class _SameShape(InferRule):
    """Every result has the first input's shape and dtype, and the other way round."""

    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        return [ins[0]] * op.num_outputs(attrs)

    def partial(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                outs: Sequence[TensorType]) -> tuple[list[TensorType], list[TensorType]]:
        shape = unify(ins[0].shape, outs[0].shape, op.name)
        dtype = ins[0].dtype or outs[0].dtype
        joined = TensorType(shape, dtype)
        return [joined, *ins[1:]], [joined, *outs[1:]]


@final
class _Elementwise(InferRule):
    """All inputs and results have one shape and one dtype (elemwise_add)."""

    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        for other in ins[1:]:
            unify(ins[0].shape, other.shape, op.name)
            if other.dtype != ins[0].dtype:
                raise _mixed(op, ins)
        return [ins[0]] * op.num_outputs(attrs)

    def partial(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                outs: Sequence[TensorType]) -> tuple[list[TensorType], list[TensorType]]:
        shape = outs[0].shape
        dtype = outs[0].dtype
        for value in ins:
            shape = unify(shape, value.shape, op.name)
            dtype = dtype or value.dtype
        return [TensorType(shape, t.dtype or dtype) for t in ins], [TensorType(shape, t.dtype) for t in outs]


def _mixed(op: OpDef, ins: Sequence[TensorType]) -> DTypeError:
    return DTypeError(explain(op.name, "The element types differ.", expected="one dtype",
                              received=" and ".join(str(t.dtype)[6:] for t in ins),
                              fix="convert one of them, for example with x.astype('float32')"))


@final
class _Broadcasting(InferRule):
    """NumPy broadcasting of two inputs; the result has their common dtype."""

    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        left, right = ins
        assert left.shape is not None and right.shape is not None  # complete here: complete() calls no rule before
        if left.dtype != right.dtype:
            raise _mixed(op, ins)
        return [TensorType(broadcast_shapes(left.shape, right.shape, op.name), left.dtype)]  # type: ignore[arg-type]


same_shape = _SameShape()
elementwise = _Elementwise()
broadcasting = _Broadcasting()
_default = InferRule()


def run_rule(op: OpDef) -> InferRule:
    """Return the rule object of an operator."""
    return op.infer or _default


def _let_the_kernel_explain(op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], training: bool) -> None:
    """Run a kernel on what a rule stumbled over: its own checks name the mistake."""
    try:
        kernel_on_meta(op, attrs, ins, training)
    except MXNetError:
        raise
    except Exception:
        return  # the rule's exception says as much


def complete(op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType], outs: Sequence[TensorType],
             training: bool = False,
             ) -> tuple[list[TensorType], list[TensorType]]:
    """Return inputs and outputs with everything filled in that the operator's rules can say.

    Raises ShapeError when what is known contradicts itself.
    """
    rule = run_rule(op)
    ins, outs = rule.partial(op, attrs, ins, outs)
    if op.filler is not None and not all(t.known for t in ins) and ins and ins[0].shape is not None:
        shapes = op.filler(attrs, [t.shape for t in ins])
        ins = [TensorType(unify(t.shape, s, f"{op.name} ({name})"), t.dtype)
               for t, s, name in zip(ins, shapes, op.present_inputs(attrs) if not op.variadic else [""] * len(ins))]
    if ins and any(t.dtype is None for t in ins):
        common = next((t.dtype for t in ins if t.dtype is not None), None)
        ins = [t if t.dtype is not None else TensorType(t.shape, common) for t in ins]
    if all(t.known for t in ins):
        try:
            found = rule.forward(op, attrs, ins, training)
        except MXNetError:
            raise
        except Exception as error:
            _let_the_kernel_explain(op, attrs, ins, training)
            raise ShapeError(explain(op.name, f"The shapes do not fit: {str(error).splitlines()[0]}",
                                     received=", ".join(f"{tuple(t.shape or ())} {t.dtype}" for t in ins))) from None
        outs = [TensorType(unify(o.shape, f.shape, op.name), f.dtype) for o, f in zip(outs, found)]
    return list(ins), list(outs)
