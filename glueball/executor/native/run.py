"""Running segments on tensors: forward, backward, and as one node of torch's tape.

The one idea: `Rows` is a segment of expressions over (N, H) arrays whose rows may lie anywhere (slices of a wider array
are read and written in place); its gradient is another segment that recomputes what it needs from the inputs. Where
there is no compiler, or the tensors are not on the CPU, the same expressions are evaluated with torch.

Not here: the compiler (compile.py), the text it reads (emit.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from ...base.errors import ArgumentError, DTypeError, ShapeError, explain
from . import expression as e
from .compile import Kernel, available, compiler, parallel
from .derivative import gradients
from .emit import Segment
from .evaluate import evaluate
from .expression import Expr

__all__ = ["Rows", "Split", "compile_rows", "Kind"]

Kind: TypeAlias = Literal["full", "row", "column"]
Place: TypeAlias = "tuple[Tensor, int]"  # a tensor and its row stride in elements

_BLOCK = 8192  # elements that a thread takes at a time
_PARALLEL = 1_500_000  # elements · weight from which threads pay: about 25 µs of one thread
_COMPILED = (torch.float32, torch.float64)


@final
@dataclass(frozen=True, slots=True)
class Split:
    """An (N, sum of sizes) tensor that stands for several inputs of a segment: its slices along axis 1."""

    tensor: Tensor
    sizes: tuple[int, ...]


def _place(tensor: Tensor) -> Place:
    """Return a tensor whose rows are contiguous (itself if they are), and its row stride."""
    across, step = tensor.stride()
    if step != 1 and tensor.shape[1] != 1:
        tensor = tensor.contiguous()
        across = tensor.stride(0)
    return tensor, across


def _run(
    kernel: Kernel, rows: int, columns: int, places: Sequence[Place], *, block_rows: int = 0, across: bool = True
) -> None:
    """Call compiled code.

    places : of the operands, in the order of emit.py
    block_rows : rows per block of sums over rows; 0 if there are none
    across : whether blocks may cut rows into pieces
    """
    if not rows or not columns:
        return
    if across and not block_rows and all(stride == columns for _, stride in places):
        rows, columns = 1, rows * columns
    threads = 1
    if rows * columns * (kernel.cost + 4 * len(places)) >= _PARALLEL:
        threads = torch.get_num_threads() if parallel() else 1
    height, width = block_rows or rows, columns
    if threads > 1:
        height = block_rows or max(1, min(rows, _BLOCK // columns))
        width = columns if not across or columns <= _BLOCK else _BLOCK
    down, side = -(-rows // height), -(-columns // width)
    values = [0, rows, columns, height, width, down * side, side]
    for tensor, stride in places:
        values.append(tensor.data_ptr())
        values.append(stride)
    arguments = array("q", values)
    team = parallel() if threads > 1 and down * side > 1 else None
    if team is None:
        kernel.function(arguments.buffer_info()[0])
    else:
        team(kernel.address, arguments.buffer_info()[0], min(threads, down * side), 0)


@final
class Rows:
    """A segment: element-wise expressions over arrays of N rows and H columns. Made by `compile_rows`.

    outputs : the expressions; input(i) is an element of the i-th tensor
    kinds : per input "full" (N, H), "row" (H,) for all rows, or "column" (N, 1)
    dtype : of all inputs and outputs

    >>> x, bias = e.input(0), e.input(1)
    >>> rows = compile_rows([e.relu(x + bias)], ["full", "row"], torch.float32)
    >>> rows.forward([torch.tensor([[1.0, -2.0], [3.0, 4.0]]), torch.tensor([0.5, 1.0])])
    [tensor([[1.5000, 0.0000],
            [3.5000, 5.0000]])]
    """

    __slots__ = ("outputs", "kinds", "dtype", "_used", "_like", "_columns", "_kernel", "_backward")

    def __init__(self, outputs: tuple[Expr, ...], kinds: tuple[Kind, ...], dtype: torch.dtype) -> None:
        self.outputs, self.kinds, self.dtype = outputs, kinds, dtype
        self._used = tuple(e.inputs_of(outputs))
        self._like = next((i for i, kind in enumerate(kinds) if kind == "full"), None)
        self._columns = frozenset(i for i in self._used if kinds[i] == "column")
        self._kernel: Kernel | None = None
        self._backward: dict[tuple[tuple[bool, ...], tuple[bool, ...]], _Backward] = {}

    # -- forward ---------------------------------------------------------------------------------------------------

    def forward(self, tensors: Sequence[Tensor], outs: Sequence[Tensor] | None = None) -> list[Tensor]:
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
        ShapeError, DTypeError, ArgumentError : tensors do not fit the segment
        """
        rows, columns = self._size(tensors)
        if outs is not None:
            self._check_targets(outs, rows, columns)
        if not self._native(tensors):
            return _handed(self._evaluated(self.outputs, tensors, (rows, columns)), outs)
        kernel = self._kernel
        if kernel is None:
            segment = Segment(self._used, self._columns, self.outputs)
            kernel = self._kernel = compiler().kernel(segment, self.dtype)
        like = tensors[0]
        if outs is None:
            results = [like.new_empty((rows, columns)) for _ in self.outputs]
        else:
            results = list(outs)
        places = self._places(tensors)
        writes = [_place(result) for result in results]
        _run(kernel, rows, columns, places + writes, across=not self._columns)
        if outs is not None:
            _finish(results, writes)
        return results

    def backward(
        self,
        tensors: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        needs: Sequence[bool],
        grads_out: Sequence[Tensor | None] | None = None,
    ) -> list[Tensor | None]:
        """Compute gradients of inputs from those of outputs; what they need is computed again from the inputs.

        Parameters
        ----------
        tensors : the inputs, as for `forward`
        grads : per output its gradient (N, H), or None
        needs : per input whether its gradient is asked for
        grads_out : per input where to write it, for example a slice of one (N, 4H) array; None: a new array

        Returns
        -------
        per input its gradient in the input's shape: summed over N for "row", over H for "column"; None where it was not
        asked for or is nothing (a target is then filled with 0)
        """
        rows, columns = self._size(tensors)
        for index, grad in enumerate(grads):
            if grad is not None and (grad.shape != (rows, columns) or grad.dtype is not self.dtype):
                raise ShapeError(explain("Rows", f"Gradient {index} does not fit its output.",
                                         expected=f"{(rows, columns)} {self.dtype}",
                                         received=f"{tuple(grad.shape)} {grad.dtype}"))  # fmt: skip
        key = (tuple(grad is not None for grad in grads), tuple(map(bool, needs)))
        plan = self._backward.get(key)
        if plan is None:
            plan = self._backward[key] = _Backward(self, *key)
        targets: Sequence[Tensor | None] = grads_out if grads_out is not None else [None] * len(tensors)
        everything = [*tensors, *grads]
        if self._native(tensors) and plan.segment.results:
            results = plan.run(everything, rows, columns, targets)
        else:
            results = plan.evaluate(everything, rows, columns)
        for index, target in enumerate(targets):
            if target is not None and needs[index]:
                result = results[index]
                if result is None:
                    target.zero_()
                elif result is not target:
                    target.copy_(result)
                results[index] = target
        return results

    def apply(self, *tensors: Tensor | Split) -> list[Tensor]:
        """Compute the outputs as one node of torch's tape; gradients of gradients go through torch's operators.

        A `Split` stands for several inputs and gets one gradient, which is written in place slice by slice.
        """
        whole = [item.tensor if isinstance(item, Split) else item for item in tensors]
        sizes = tuple(item.sizes if isinstance(item, Split) else None for item in tensors)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in whole):
            return list(_Node.apply(self, sizes, *whole))  # type: ignore[no-untyped-call]
        return self.forward(_parts(sizes, whole))

    # -- parts -----------------------------------------------------------------------------------------------------

    def _native(self, tensors: Sequence[Tensor]) -> bool:
        return self.dtype in _COMPILED and tensors[0].is_cpu and available()

    def _size(self, tensors: Sequence[Tensor]) -> tuple[int, int]:
        """Check the tensors and return N and H."""
        if len(tensors) != len(self.kinds):
            raise ArgumentError(
                explain("Rows", "The number of tensors is wrong.", expected=len(self.kinds), received=len(tensors))
            )
        if self._like is not None:
            shape = tensors[self._like].shape
        else:
            sized = dict(zip(self.kinds, tensors))
            shape = torch.Size((sized["column"].shape[0] if "column" in sized else 1,
                                sized["row"].shape[-1] if "row" in sized else 1))  # fmt: skip
        if len(shape) != 2:
            raise ShapeError(explain("Rows", "A full input has two axes.", expected="(N, H)", received=tuple(shape)))
        rows, columns = shape
        dtype = self.dtype
        for index, (kind, tensor) in enumerate(zip(self.kinds, tensors)):
            if tensor.dtype is not dtype:
                raise DTypeError(explain("Rows", f"Input {index} has another element type.", expected=dtype,
                                         received=tensor.dtype))  # fmt: skip
            actual = tensor.shape
            if not (actual == shape if kind == "full" else actual in ((columns,), (1, columns)) if kind == "row"
                    else actual == (rows, 1)):  # fmt: skip
                wanted = {"full": (rows, columns), "row": (columns,), "column": (rows, 1)}[kind]
                raise ShapeError(explain("Rows", f"Input {index} ({kind}) has another shape.", expected=wanted,
                                         received=tuple(actual)))  # fmt: skip
        return rows, columns

    def _places(self, tensors: Sequence[Tensor]) -> list[Place]:
        places: list[Place] = []
        for index in self._used:
            places.append(_place(tensors[index]) if self.kinds[index] == "full"
                          else _shared(tensors[index], self.kinds[index]))  # fmt: skip
        return places

    def _check_targets(self, outs: Sequence[Tensor], rows: int, columns: int) -> None:
        for out in outs:
            if out.shape != (rows, columns) or out.dtype is not self.dtype:
                raise ShapeError(explain("Rows", "A target does not fit.", expected=f"{(rows, columns)} {self.dtype}",
                                         received=f"{tuple(out.shape)} {out.dtype}"))  # fmt: skip
        if len(outs) != len(self.outputs):
            raise ArgumentError(explain("Rows", "The number of targets is wrong.", expected=len(self.outputs),
                                        received=len(outs)))  # fmt: skip

    def _evaluated(
        self, outputs: Sequence[Expr], tensors: Sequence[Tensor | None], shape: tuple[int, int]
    ) -> list[Tensor]:
        values = [value.expand(shape) for value in evaluate(outputs, tensors)]
        # an output that is an input is an array of its own, as everywhere
        return [value.clone() if output.op == "input" else value for output, value in zip(outputs, values)]


def _shared(tensor: Tensor, kind: str) -> Place:
    """Return the place of a row (the same for all rows: stride 0) or of a column."""
    if kind == "column":
        return tensor, tensor.stride(0)
    return (tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()), 0


def _finish(results: Sequence[Tensor], writes: Sequence[Place]) -> None:
    """Copy to targets whose columns are not contiguous; tell the tape which others have changed."""
    changed: list[Tensor] = []
    for result, (written, _) in zip(results, writes):
        if written is not result:
            result.copy_(written)
        elif not result.is_inference():
            changed.append(result)
    if changed:
        increment_version(changed)


def _handed(values: Sequence[Tensor], outs: Sequence[Tensor] | None) -> list[Tensor]:
    """Copy values to targets; without targets make them arrays of their own."""
    if outs is None:
        return [value.contiguous() for value in values]
    for out, value in zip(outs, values):
        out.copy_(value)
    return list(outs)


@final
class _Backward:
    """The gradient of a segment for one choice of present gradients and needed inputs."""

    __slots__ = ("rows", "segment", "expressions", "order", "inputs", "kernel")

    def __init__(self, rows: Rows, present: tuple[bool, ...], needed: tuple[bool, ...]) -> None:
        count = len(rows.kinds)
        seeds = [e.input(count + k) if here else None for k, here in enumerate(present)]
        wrt = [index for index, need in enumerate(needed) if need]
        found = dict(zip(wrt, gradients(rows.outputs, seeds, wrt)))
        self.rows = rows
        self.expressions = found
        # indices of inputs by what becomes of their gradients, and the expressions in that order
        self.order = tuple(tuple(i for i in wrt if found[i] is not None and rows.kinds[i] == kind)
                           for kind in ("full", "row", "column"))  # fmt: skip
        full, row, column = (tuple(g for g in map(found.get, group) if g is not None) for group in self.order)
        self.inputs = tuple(e.inputs_of([*full, *row, *column]))
        columns = frozenset(i for i in self.inputs if i < count and rows.kinds[i] == "column")
        self.segment = Segment(self.inputs, columns, full, row, column)
        self.kernel: Kernel | None = None

    def run(self, tensors: Sequence[Any], rows: int, columns: int, targets: Sequence[Tensor | None]
            ) -> list[Tensor | None]:  # fmt: skip
        """Run compiled code. tensors : inputs and gradients of outputs."""
        kinds, count = self.rows.kinds, len(self.rows.kinds)
        like = tensors[0]
        places: list[Place] = []
        for index in self.inputs:
            kind = kinds[index] if index < count else "full"
            tensor = tensors[index]
            places.append(_place(tensor) if kind == "full" else _shared(tensor, kind))
        results: list[Tensor | None] = [None] * count
        full, row, column = self.order
        block = max(1, min(_BLOCK // max(columns, 1), 256)) if row else 0
        writes: list[tuple[Tensor, Place]] = []
        for index in full:
            target = targets[index]
            if target is None or target.shape != (rows, columns) or target.dtype is not like.dtype:  # copy_ decides
                target = like.new_empty((rows, columns))
            results[index] = target
            writes.append((target, _place(target)))
        partial = [like.new_zeros((-(-rows // block), columns)) for _ in row]
        for index in column:
            results[index] = like.new_zeros((rows, 1))
        places += [place for _, place in writes]
        places += [(part, columns) for part in partial]
        places += [(results[index], 1) for index in column]  # type: ignore[misc]
        across = not (self.segment.columns or column)
        if self.kernel is None:
            self.kernel = compiler().kernel(self.segment, self.rows.dtype)
        _run(self.kernel, rows, columns, places, block_rows=block, across=across)
        given = [write for index, write in zip(full, writes) if targets[index] is not None]
        _finish([target for target, _ in given], [place for _, place in given])
        for index, part in zip(row, partial):
            results[index] = (part[0] if len(part) == 1 else part.sum(0)).view(tensors[index].shape)
        return results

    def evaluate(self, tensors: Sequence[Any], rows: int, columns: int) -> list[Tensor | None]:
        """Evaluate with torch; the results can be derived again."""
        results: list[Tensor | None] = [None] * len(self.rows.kinds)
        indices = [index for group in self.order for index in group]
        values = self.rows._evaluated([x for x in map(self.expressions.get, indices) if x is not None], tensors,
                                      (rows, columns))  # fmt: skip
        for index, value in zip(indices, values):
            results[index] = value.sum_to_size(tensors[index].shape)
        return results


def _parts(sizes: Sequence[tuple[int, ...] | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the inputs of a segment: tensors and the slices of those that are split."""
    parts: list[Tensor] = []
    for size, tensor in zip(sizes, tensors):
        parts.extend([tensor] if size is None else tensor.split(size, 1))
    return parts


class _Node(torch.autograd.Function):
    """A segment on torch's tape."""

    @staticmethod
    def forward(ctx: Any, rows: Rows, sizes: Sequence[tuple[int, ...] | None], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.rows, ctx.sizes = rows, sizes
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return tuple(rows.forward(_parts(sizes, tensors)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        tensors: tuple[Tensor, ...] = ctx.saved_tensors
        rows: Rows = ctx.rows
        needs = ctx.needs_input_grad[2:]
        if torch.is_grad_enabled():  # gradients of gradients
            return (None, None, *_on_tape(rows, ctx.sizes, tensors, grads, needs))
        targets: list[Tensor | None] = []
        wanted: list[bool] = []
        wholes: list[Tensor | None] = []
        for size, tensor, need in zip(ctx.sizes, tensors, needs):
            whole = torch.empty_like(tensor) if size is not None and need else None
            wholes.append(whole)
            pieces = [None] * len(size or (0,)) if whole is None else whole.split(size, 1)
            targets.extend(pieces)
            wanted.extend([need] * len(pieces))
        results = iter(rows.backward(_parts(ctx.sizes, tensors), grads, wanted, targets))
        gathered: list[Tensor | None] = []
        for size, whole in zip(ctx.sizes, wholes):
            pieces = [next(results) for _ in size or (0,)]
            gathered.append(whole if size is not None else pieces[0])
        return (None, None, *gathered)


def _on_tape(rows: Rows, sizes: Sequence[tuple[int, ...] | None], tensors: Sequence[Tensor],
             grads: Sequence[Tensor | None], needs: Sequence[bool]) -> list[Tensor | None]:  # fmt: skip
    """Return gradients that are themselves on torch's tape."""
    parts = _parts(sizes, tensors)
    counts = [len(size or (0,)) for size in sizes]
    wanted = [need for need, count in zip(needs, counts) for _ in range(count)]
    plan = _Backward(rows, tuple(grad is not None for grad in grads), tuple(wanted))
    shape = rows._size(parts)
    results = iter(plan.evaluate([*parts, *grads], *shape) if plan.segment.results else [None] * len(parts))
    gathered: list[Tensor | None] = []
    start = iter(parts)
    for size, need, count in zip(sizes, needs, counts):
        pieces = [(next(results), next(start)) for _ in range(count)]
        if size is None or not need:
            gathered.append(pieces[0][0])
        else:
            gathered.append(torch.cat([part.new_zeros(part.shape) if g is None else g for g, part in pieces], 1))
    return gathered


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
