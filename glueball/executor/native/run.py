"""Segments on tensors: forward, backward, and as one node of torch's tape (tape.py).

The one idea: `Rows` is a segment of expressions over (N, H) arrays whose rows may lie anywhere (slices of a wider array
are read and written in place); its gradient is another segment that recomputes what it needs from the inputs. Where
there is no compiler, or the tensors are not on the CPU, the same expressions are evaluated with torch.

Not here: the compiler (compile.py), the text it reads (emit.py), where operands lie (places.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from ...base.errors import ArgumentError, ShapeError, explain
from . import expression as e
from .compile import Kernel, available, compiler
from .derivative import gradients
from .emit import Segment
from .evaluate import evaluate
from .expression import Expr
from .places import BLOCK, Item, Kind, Place, Split, call, changed, first, mixed, parts, place, places_of
from .tape import Node

__all__ = ["Rows", "Split", "compile_rows", "Kind", "Plan"]

Target: TypeAlias = "Tensor | Split | None"

_COMPILED = (torch.float32, torch.float64)


@final
class Rows:
    """A segment: element-wise expressions over arrays of N rows and H columns. Made by `compile_rows`.

    outputs : the expressions; input(i) is an element of the i-th tensor
    kinds : per input "full" (N, H), "row" (H,) for all rows, or "column" (N, 1)
    dtype : of all inputs and outputs

    In place of several full inputs that lie side by side a `Split` may be given.

    >>> x, bias = e.input(0), e.input(1)
    >>> rows = compile_rows([e.relu(x + bias)], ["full", "row"], torch.float32)
    >>> rows.forward([torch.tensor([[1.0, -2.0], [3.0, 4.0]]), torch.tensor([0.5, 1.0])])
    [tensor([[1.5000, 0.0000],
            [3.5000, 5.0000]])]
    """

    __slots__ = ("outputs", "kinds", "dtype", "used", "_like", "across", "_columns", "_kernel", "_plans")

    def __init__(self, outputs: tuple[Expr, ...], kinds: tuple[Kind, ...], dtype: torch.dtype) -> None:
        self.outputs, self.kinds, self.dtype = outputs, kinds, dtype
        self.used = tuple(e.inputs_of(outputs))
        self._like = next((i for i, kind in enumerate(kinds) if kind == "full"), None)
        self._columns = frozenset(i for i in self.used if kinds[i] == "column")
        self.across = not self._columns
        self._kernel: Kernel | None = None
        self._plans: dict[tuple[tuple[bool, ...], tuple[bool, ...]], Plan] = {}

    def forward(self, tensors: Sequence[Item], outs: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Compute the outputs; nothing goes on torch's tape.

        Parameters
        ----------
        tensors : one per input; full ones may be slices along axis 1 (any row stride)
        outs : where to write: (N, H) arrays or slices, which may be inputs; None: new arrays

        Returns
        -------
        the outputs, (N, H) each

        Raises
        ------
        ShapeError, DTypeError, ArgumentError, ContextError : tensors do not fit the segment
        """
        rows, columns, places, _kept = self.places(tensors)
        like = first(tensors)
        if outs is not None:
            self._check_targets(outs, like, rows, columns)
        if not self.native(like):
            values = self.evaluated(self.outputs, parts(tensors), (rows, columns))
            return [value.contiguous() for value in values] if outs is None else _copied(values, outs)
        kernel = self.kernel()
        operands = [places[index] for index in self.used]
        if outs is None:
            results = [like.new_empty((rows, columns)) for _ in self.outputs]
            operands += [(result.data_ptr(), columns) for result in results]
            call(kernel, rows, columns, operands, 0, self.across)
            return results
        fresh: list[Tensor] = []
        operands += [place(out, fresh) for out in outs]
        call(kernel, rows, columns, operands, 0, self.across)
        return _written(outs, fresh)

    def backward(
        self,
        tensors: Sequence[Item],
        grads: Sequence[Tensor | None],
        needs: Sequence[bool],
        grads_out: Sequence[Target] | None = None,
    ) -> list[Tensor | None]:
        """Compute gradients of inputs from those of outputs; what they need is computed again from the inputs.

        Parameters
        ----------
        tensors : the inputs, as for `forward`
        grads : per output its gradient (N, H), or None
        needs : per input whether its gradient is asked for; a `Split` counts as many times as it has parts
        grads_out : per input where to write it, for example a slice of one (N, 4H) array, or a `Split` of it for
            several inputs; None: a new array

        Returns
        -------
        per input its gradient in the input's shape: summed over N for "row", over H for "column"; None where it was not
        asked for or is nothing (a target is then filled with 0)
        """
        rows, columns, places, kept = self.places(tensors)
        for index, grad in enumerate(grads):
            if grad is not None and (grad.shape != (rows, columns) or grad.dtype is not self.dtype):
                raise ShapeError(explain("Rows", f"Gradient {index} does not fit its output.",
                                         expected=f"{(rows, columns)} {self.dtype}",
                                         received=f"{tuple(grad.shape)} {grad.dtype}"))  # fmt: skip
            if grad is not None and grad.device != first(tensors).device:
                raise mixed(f"Gradient {index}", first(tensors), grad)
        plan = self.plan(grads, needs)
        targets = [None] * len(self.kinds) if grads_out is None else _targets_of(grads_out, len(self.kinds))
        if plan.segment.results and self.native(first(tensors)):
            places += [(0, 0) if grad is None else place(grad, kept) for grad in grads]
            direct = [target is not None and needs[index] and plan.writes(index) and self._fits(target, rows, columns)
                      for index, target in enumerate(targets)]  # fmt: skip
            spots = [(target.data_ptr(), target.stride(0)) if here and target is not None else None
                     for here, target in zip(direct, targets)]  # fmt: skip
            results = plan.run(tensors, places, rows, columns, spots)
            seen = [target for here, target in zip(direct, targets) if here and target is not None]
            if seen:
                changed(seen)
        else:
            direct = [False] * len(targets)
            results = plan.evaluate([*parts(tensors), *grads], rows, columns)
        for index, target in enumerate(targets):
            if target is not None and needs[index]:
                result = results[index]
                if result is not None:
                    target.copy_(result)
                elif not direct[index]:
                    target.zero_()
                results[index] = target
        return results

    def apply(self, *tensors: Item) -> list[Tensor]:
        """Compute the outputs as one node of torch's tape; gradients of gradients go through torch's operators.

        A `Split` stands for several inputs and gets one gradient, which is written in place slice by slice. Without a
        compiler the outputs are evaluated on the tape.
        """
        whole = [item.tensor if isinstance(item, Split) else item for item in tensors]
        if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in whole):
            return self.forward(tensors)
        if not self.native(whole[0]):
            rows, columns, _, _ = self.places(tensors)
            return [value.contiguous() for value in self.evaluated(self.outputs, parts(tensors), (rows, columns))]
        sizes = tuple([item.sizes if isinstance(item, Split) else None for item in tensors])
        return list(Node.apply(self, sizes, *whole))

    # -- parts -----------------------------------------------------------------------------------------------------

    def plan(self, grads: Sequence[Any], needs: Sequence[bool]) -> Plan:
        """Return the gradient for what is there and what is needed."""
        key = (tuple([grad is not None for grad in grads]), tuple(needs))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan(self, *key)
        return plan

    def kernel(self) -> Kernel:
        """Return the compiled code of `forward`: it reads the inputs `used`, then writes the outputs."""
        kernel = self._kernel
        if kernel is None:
            segment = Segment(self.used, self._columns, self.outputs)
            kernel = self._kernel = compiler().kernel(segment, self.dtype)
        return kernel

    def native(self, like: Tensor) -> bool:
        """Whether compiled code runs on such an array."""
        return like.is_cpu and self.dtype in _COMPILED and available()

    def places(self, tensors: Sequence[Item]) -> tuple[int, int, list[Place], list[Tensor]]:
        """Check the inputs; return N, H, where they lie, and copies to be kept until the call is over."""
        return places_of(tensors, self.kinds, self._like, self.dtype)

    def _fits(self, target: Tensor, rows: int, columns: int) -> bool:
        """Whether code can write to a target itself; copy_ converts for others, or says what is wrong."""
        return (target.is_cpu and target.shape == (rows, columns) and target.dtype is self.dtype
                and (target.stride(1) == 1 or columns == 1))  # fmt: skip

    def _check_targets(self, outs: Sequence[Tensor], like: Tensor, rows: int, columns: int) -> None:
        for out in outs:
            if out.device != like.device:
                raise mixed("A target", like, out)
            if out.shape != (rows, columns) or out.dtype is not self.dtype:
                raise ShapeError(explain("Rows", "A target does not fit.", expected=f"{(rows, columns)} {self.dtype}",
                                         received=f"{tuple(out.shape)} {out.dtype}"))  # fmt: skip
        if len(outs) != len(self.outputs):
            raise ArgumentError(explain("Rows", "The number of targets is wrong.", expected=len(self.outputs),
                                        received=len(outs)))  # fmt: skip

    def evaluated(
        self, outputs: Sequence[Expr], tensors: Sequence[Tensor | None], shape: tuple[int, int]
    ) -> list[Tensor]:
        """Evaluate with torch, every result an array of its own."""
        values = [value.expand(shape) for value in evaluate(outputs, tensors)]
        return [value.clone() if output.op == "input" else value for output, value in zip(outputs, values)]


def _singles(items: Sequence[Item]) -> list[Tensor]:
    """Return an array per input; for parts of a split one the whole."""
    found: list[Tensor] = []
    for item in items:
        found.extend([item.tensor] * len(item.sizes) if isinstance(item, Split) else [item])
    return found


def _copied(values: Sequence[Tensor], outs: Sequence[Tensor]) -> list[Tensor]:
    for out, value in zip(outs, values):
        out.copy_(value)
    return list(outs)


def _written(outs: Sequence[Tensor], fresh: Sequence[Tensor]) -> list[Tensor]:
    """Finish targets: copy to those that were written elsewhere, which are those whose columns are not contiguous."""
    elsewhere = iter(fresh)
    direct: list[Tensor] = []
    for out in outs:
        if out.stride(1) != 1 and out.shape[1] != 1:
            out.copy_(next(elsewhere))
        else:
            direct.append(out)
    changed(direct)
    return list(outs)


def _targets_of(grads_out: Sequence[Target], count: int) -> list[Tensor | None]:
    targets: list[Tensor | None] = []
    for target in grads_out:
        targets.extend(parts([target]) if isinstance(target, Split) else [target])
    if len(targets) != count:
        raise ArgumentError(explain("Rows", "The number of targets is wrong.", expected=count, received=len(targets)))
    return targets


@final
class Plan:
    """The gradient of a segment for one choice of present gradients and needed inputs.

    order : indices of inputs that get a gradient, by kind: full, row, column
    inputs : what the gradient reads: inputs, and from len(kinds) on the gradients of outputs
    """

    __slots__ = ("rows", "segment", "expressions", "order", "inputs", "across", "_kernel")

    def __init__(self, rows: Rows, present: tuple[bool, ...], needed: tuple[bool, ...]) -> None:
        count = len(rows.kinds)
        seeds = [e.input(count + k) if here else None for k, here in enumerate(present)]
        wrt = [index for index, need in enumerate(needed) if need]
        self.rows = rows
        self.expressions = found = dict(zip(wrt, gradients(rows.outputs, seeds, wrt)))
        self.order = tuple(tuple(i for i in wrt if found[i] is not None and rows.kinds[i] == kind)
                           for kind in ("full", "row", "column"))  # fmt: skip
        full, row, column = (tuple(g for g in map(found.get, group) if g is not None) for group in self.order)
        self.inputs = tuple(e.inputs_of([*full, *row, *column]))
        columns = frozenset(i for i in self.inputs if i < count and rows.kinds[i] == "column")
        self.segment = Segment(self.inputs, columns, full, row, column)
        self.across = not (columns or column)
        self._kernel: Kernel | None = None

    def kernel(self) -> Kernel:
        """Return the compiled code: it reads `inputs`, then writes gradients in `order`."""
        if self._kernel is None:
            self._kernel = compiler().kernel(self.segment, self.rows.dtype)
        return self._kernel

    def block(self, columns: int) -> int:
        """Return the rows per block of sums over rows; 0: there are none."""
        return max(1, min(BLOCK // max(columns, 1), 256)) if self.order[1] else 0

    def writes(self, index: int) -> bool:
        """Whether code writes the gradient of an input as a whole array."""
        return index in self.order[0]

    def run(
        self, items: Sequence[Item], places: Sequence[Place], rows: int, columns: int, spots: Sequence[Place | None]
    ) -> list[Tensor | None]:
        """Run compiled code.

        Parameters
        ----------
        items : the inputs, for their shapes
        places : of the inputs and of the gradients of outputs
        spots : per input where to write its gradient, if it is a full one; the result is then None
        """
        like = first(items)
        full, row, column = self.order
        results: list[Tensor | None] = [None] * len(self.rows.kinds)
        operands = [places[index] for index in self.inputs]
        for index in full:
            spot = spots[index]
            if spot is None:
                result = results[index] = like.new_empty((rows, columns))
                spot = result.data_ptr(), columns
            operands.append(spot)
        block = self.block(columns)
        sums = [like.new_zeros((-(-rows // block), columns)) for _ in row]
        operands += [(part.data_ptr(), columns) for part in sums]
        for index in column:
            result = results[index] = like.new_zeros((rows, 1))
            operands.append((result.data_ptr(), 1))
        call(self.kernel(), rows, columns, operands, block, self.across)
        if row:
            tensors = _singles(items)
            for index, part in zip(row, sums):
                results[index] = (part[0] if len(part) == 1 else part.sum(0)).view(tensors[index].shape)
        return results

    def evaluate(self, tensors: Sequence[Any], rows: int, columns: int) -> list[Tensor | None]:
        """Evaluate with torch; the results can be derived again. tensors : inputs and gradients of outputs."""
        results: list[Tensor | None] = [None] * len(self.rows.kinds)
        indices = [index for group in self.order for index in group]
        wanted = [x for x in map(self.expressions.get, indices) if x is not None]
        if wanted:
            for index, value in zip(indices, self.rows.evaluated(wanted, tensors, (rows, columns))):
                results[index] = value.sum_to_size(tensors[index].shape)
        return results


_made: dict[tuple[Any, ...], Rows] = {}


def compile_rows(outputs: Sequence[Expr], inputs: Sequence[Kind], dtype: torch.dtype) -> Rows:
    """Return the segment that computes expressions row by row; the same object for the same arguments.

    Machine code is made at the first call, forward and backward each. Without llvmlite torch evaluates the segment.

    Parameters
    ----------
    outputs : expressions over input(0) … input(len(inputs) - 1)
    inputs : per input "full", "row" or "column"
    dtype : float32 and float64 are compiled, others evaluated

    Raises
    ------
    ArgumentError : an unknown kind, an input that is not declared, or nothing to compute

    >>> x, g = e.input(0), e.input(1)
    >>> rows = compile_rows([e.sigmoid(g) * x], ["full", "full"], torch.float64)
    >>> rows.forward([torch.ones(1, 3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)])[0].tolist()
    [[0.5, 0.5, 0.5]]
    """
    key = (tuple(outputs), tuple(inputs), dtype)
    rows = _made.get(key)
    if rows is None:
        for kind in inputs:
            if kind not in ("full", "row", "column"):
                raise ArgumentError(explain("compile_rows", "There is no such kind of input.",
                                            expected="full, row or column", received=kind))  # fmt: skip
        used = e.inputs_of(key[0])
        if not outputs or not inputs or (used and used[-1] >= len(inputs)):
            received = f"{len(outputs)} outputs, inputs {used} of {len(inputs)}"
            raise ArgumentError(explain("compile_rows", "Expressions and inputs do not fit.",
                                        expected="at least one output, over the inputs that are declared",
                                        received=received))  # fmt: skip
        rows = _made.setdefault(key, Rows(*key))
    return rows
