"""Batching rules: how one call of an operator computes many samples at once (folding).

The one idea: there are two ways. **Rows**: samples that carry rows along axis 0 are concatenated along it, and the
operator never notices; the samples may have different numbers of rows. **Stack**: the samples get a common new axis
in front; what a call means then is said by a rule of stacking.py (mostly: the same operator with shifted axes), by
way of rows, or by torch.func.vmap of the kernel. Which operator has which rule is one table: batch_table.py.

Not here: how operators are run in either way (fold/operators.py).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from ..opdef import OpDef, Tensor, Unsupported

__all__ = ["Batching", "Attrs", "Shapes", "Flags", "Call", "Rows", "Stack", "never", "rows_of", "joint_rows", "off",
           "axes_of", "keeps_rows", "has_stack_rule", "refused"]

Attrs: TypeAlias = Mapping[str, Any]
Shapes: TypeAlias = Sequence["tuple[int, ...] | None"]
Flags: TypeAlias = Sequence[bool]
Rows: TypeAlias = Callable[[Attrs, Shapes, Flags], bool]
# the operator itself, with its own gradient where it has one: (tensors, attributes) -> result(s)
Call: TypeAlias = "Callable[[Sequence[Tensor | None], Attrs], Any]"
Stack: TypeAlias = "Callable[[Call, Sequence[Tensor | None], Flags, Attrs], Any]"


@final
@dataclass(frozen=True, slots=True)
class Batching:
    """What folding may do with an operator.

    name
        The rule in a word or two (coverage page).
    rows : (attrs, shapes, batched) -> bool
        Whether samples may be concatenated along axis 0 of the batched inputs, the shared ones (batched[i] False)
        passed as they are. Shapes are those of one sample; None stands for an absent input. True is a promise for
        any numbers of rows, of samples that differ in nothing else: every visible result has the rows of the batched
        inputs in the same order, values and gradients are those of the single calls (shared inputs: their sum).
    stack : (call, tensors, batched, attrs) -> result(s)
        Computes results with a leading axis N from batched tensors that have it and shared ones that do not; may
        answer NotImplemented. None, or where an input of `shared` is batched: by rows if they are allowed, else by
        torch.func.vmap of the kernel.
    shared
        Positions of inputs that the stack rule wants to be shared (weights).
    unmapped
        Why torch.func.vmap does not serve this kernel: what is left is computed sample by sample.
    predict_only
        Why the operator cannot be batched in train mode, if it cannot.
    """

    name: str
    rows: Rows
    stack: Stack | None = None
    shared: tuple[int, ...] = ()
    unmapped: str = ""
    predict_only: str = ""


def refused(op: OpDef, training: bool = False) -> str | None:
    """Say why calls of an operator are never batched, or None when they are."""
    rule = op.batch
    if isinstance(rule, Unsupported):
        return rule.why
    return rule.predict_only or None if training else None


def has_stack_rule(op: OpDef, batched: Flags) -> bool:
    """Return whether a stack with these batched inputs has a rule of its own."""
    rule = op.batch
    return rule.stack is not None and not any(batched[i] for i in rule.shared if i < len(batched))


def keeps_rows(op: OpDef, attrs: Attrs, shapes: Shapes, batched: Flags, training: bool = False) -> bool:
    """Return whether samples may be concatenated along axis 0 (see `Batching.rows`).

    >>> from glueball.ops import lookup
    >>> keeps_rows(lookup("softmax"), {"axis": -1}, [(2, 3)], [True])
    True
    >>> keeps_rows(lookup("softmax"), {"axis": 0}, [(2, 3)], [True])
    False
    """
    if refused(op, training) is not None or not any(batched):
        return False
    found: bool = op.batch.rows(attrs, shapes, batched)
    return found


# -- which inputs carry rows -------------------------------------------------------------------------------------------


def never(attrs: Attrs, shapes: Shapes, batched: Flags) -> bool:
    """Axis 0 is no axis of independent rows."""
    return False


def _equal_rows(shapes: Shapes, batched: Flags) -> bool:
    """Whether all batched inputs have the same size of axis 0."""
    sizes = {shape[0] if shape else None for shape, flag in zip(shapes, batched) if flag and shape is not None}
    return len(sizes) == 1 and None not in sizes


def rows_of(*carriers: int, least: int = 1, when: Callable[[Attrs, Shapes], bool] | None = None) -> Rows:
    """Rows along axis 0 of the inputs at `carriers` (as many as are present); every other input is shared.

    Without carriers all inputs carry rows. `least`: the fewest axes of the first input; `when`: a further condition.
    """
    def rule(attrs: Attrs, shapes: Shapes, batched: Flags) -> bool:
        wanted = carriers or range(len(shapes))
        if any(flag is not (i in wanted) for i, (s, flag) in enumerate(zip(shapes, batched)) if s is not None):
            return False
        first = shapes[wanted[0]]
        if first is None or len(first) < least or not _equal_rows(shapes, batched):
            return False
        return when is None or when(attrs, shapes)
    return rule


def joint_rows(attrs: Attrs, shapes: Shapes, batched: Flags) -> bool:
    """Broadcasting: batched inputs have one rank and equal axes 0; shared ones do not reach axis 0."""
    ranks = {len(s) for s, flag in zip(shapes, batched) if flag and s is not None}
    if len(ranks) != 1 or not _equal_rows(shapes, batched):
        return False
    rank = ranks.pop()
    return all(len(s) < rank or (len(s) == rank and s[0] == 1)
               for s, flag in zip(shapes, batched) if not flag and s is not None)


def axes_of(axis: Any, rank: int) -> tuple[int, ...] | None:
    """Return an attribute that names one or several axes, counted from the front; None: none is named (so: all).

    >>> axes_of((0, -1), 3), axes_of(1, 3), axes_of((), 3)
    ((0, 2), (1,), None)
    """
    if axis is None or axis == () or axis == []:
        return None
    named = (axis,) if isinstance(axis, int) else tuple(axis)
    return tuple(a + rank if a < 0 else a for a in named)


def off(key: str = "axis", least: int = 2, more: int = 0, none: bool = False) -> Callable[[Attrs, Shapes], bool]:
    """The condition that the axes in the attribute `key` leave axis 0 of the first input alone.

    more : axes that the result has beside those of the input (expand_dims)
    none : the answer where the attribute names no axis
    """
    def condition(attrs: Attrs, shapes: Shapes) -> bool:
        rank = len(shapes[0] or ())
        axes = axes_of(attrs[key], rank + more)
        if rank < least:
            return False
        return none if axes is None else (0 in axes) == bool(attrs.get("exclude"))
    return condition
