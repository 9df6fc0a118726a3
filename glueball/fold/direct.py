"""Segments called without asking: operands whose shapes are known by construction.

The one idea: a group of a folded batch runs the same segment hundreds of times on arrays that only differ in where they
lie. What is read and written, in which order, is worked out once per segment (and per choice of wanted gradients);
a call then only asks each array for its address. Where that is not enough (another device, columns that are not
contiguous, no compiler) `forward` and `backward` return None or False, and the caller takes the way that looks at
everything (executor/native/run.py).

Not here: which steps a segment consists of (fuse.py), who calls it (explicit_steps.py).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch

from ..executor.native import launch
from .fuse import Segment

__all__ = ["Direct"]

Tensor = torch.Tensor


@final
class _Source:
    """A slot that a segment reads: its kind, how many columns it has, and where in it (in bytes) each leaf begins."""

    __slots__ = ("slot", "kind", "width", "offsets")

    def __init__(self, slot: int, kind: str, width: int) -> None:
        self.slot, self.kind, self.width = slot, kind, width
        self.offsets: list[int] = []


@final
class _Target:
    """An array of gradients: of the leaf numbered `first` and those beside it, `width` columns together.

    filled : whether the code writes all of it. columns : whether it is only some of the slot's columns
    """

    __slots__ = ("first", "slot", "width", "filled", "columns")

    def __init__(self, first: int, slot: int, width: int, filled: bool, columns: bool) -> None:
        self.first, self.slot, self.width, self.filled, self.columns = first, slot, width, filled, columns


@final
class _Back:
    """The gradient of a segment for one choice of present gradients and of slots that want one."""

    __slots__ = ("plan", "kernel", "targets", "writes", "sums", "block")

    def __init__(self, segment: Segment, present: Sequence[bool], active: Sequence[bool], columns: int,
                 itemsize: int) -> None:
        self.plan = plan = segment.rows.plan([True if here else None for here in present],
                                             [active[leaf.slot] for leaf in segment.leaves])
        self.kernel: Any = plan.kernel() if plan.segment.results else None
        self.block = plan.block(columns)
        self.sums = plan.order[1]
        self.targets: list[_Target] = []
        self.writes: list[tuple[int, int]] = []  # per full gradient: number of its target, offset in bytes
        place: dict[int, tuple[int, int]] = {}
        number = 0
        for leaves, whole in segment.together():
            pieces = [leaves] if whole else [(leaf,) for leaf in leaves]
            for piece in pieces:
                leaf = piece[0]
                inside = range(number, number + len(piece))
                number += len(piece)
                written = [i for i in inside if i in plan.order[0]]
                if not active[leaf.slot] or leaf.kind != "full" or not (written or whole and len(piece) > 1):
                    continue
                for i in written:
                    place[i] = len(self.targets), (i - inside[0]) * columns * itemsize
                self.targets.append(_Target(inside[0], leaf.slot, columns * len(piece), len(written) == len(piece),
                                            not whole))
        self.writes = [place[i] for i in plan.order[0]]


@final
class Direct:
    """How to call one segment."""

    __slots__ = ("segment", "like", "dtype", "columns", "sources", "used", "kernel", "_backs")

    def __init__(self, segment: Segment) -> None:
        self.segment, rows = segment, segment.rows
        self.dtype = rows.dtype
        full = next(leaf for leaf in segment.leaves if leaf.kind == "full")
        self.like, self.columns = full.slot, full.end - full.begin
        self.sources: list[_Source] = []
        for leaf, width in zip(segment.leaves, segment.widths):
            last = self.sources[-1] if self.sources else None
            if last is None or (last.slot, last.kind) != (leaf.slot, leaf.kind):
                last = _Source(leaf.slot, leaf.kind, width)
                self.sources.append(last)
            last.offsets.append(leaf.begin * self.dtype.itemsize)
        every = tuple(range(len(segment.leaves)))
        self.used = None if rows.used == every else rows.used  # None: all of them
        self.kernel: Any = None
        self._backs: dict[tuple[int, tuple[bool, ...]], tuple[Any, _Back]] = {}

    def _places(self, values: Sequence[Any], count: int) -> list[int] | None:
        """Return pointer and row stride of every leaf; None where an array does not lie as expected."""
        found: list[int] = []
        for source in self.sources:
            tensor: Tensor = values[source.slot]
            if tensor.dtype is not self.dtype:
                return None
            pointer = tensor.data_ptr()
            if source.kind == "row":
                if not tensor.is_contiguous():
                    return None
                for offset in source.offsets:
                    found += (pointer + offset, 0)
                continue
            if tensor.shape != (count, source.width):
                return None
            across, step = tensor.stride()
            if source.kind == "column":
                found += (pointer, across)
                continue
            if step != 1:
                return None
            for offset in source.offsets:
                found += (pointer + offset, across)
        return found

    def forward(self, values: Sequence[Any], outs: Mapping[int, Tensor]) -> list[Tensor] | None:
        """Return the segment's outputs from the values of slots; outs: by slot, where to write."""
        like: Tensor = values[self.like]
        if self.kernel is None:
            if not self.segment.rows.native(like):
                return None
            self.kernel = self.segment.rows.kernel()
        count, columns = len(like), self.columns
        places = self._places(values, count) if like.is_cpu else None
        if places is None:
            return None
        if self.used is not None:
            places = [word for i in self.used for word in places[2 * i:2 * i + 2]]
        results: list[Tensor] = []
        for slot in self.segment.outputs:
            out = outs.get(slot)
            if out is None or out.shape != (count, columns) or out.dtype is not self.dtype:
                out = torch.empty((count, columns), dtype=self.dtype)
            results.append(out)
        for result in results:
            places += (result.data_ptr(), columns)
        launch(self.kernel, count, columns, places, 0, self.segment.rows.across)
        return results

    def backward(self, values: Sequence[Any], given: Sequence[Tensor | None], gradients: Any, tape: Any) -> bool:
        """Add the gradients of the leaves to those of their slots; False where nothing has been done."""
        like: Tensor = values[self.like]
        if self.kernel is None or not like.is_cpu:
            return False
        count, columns = len(like), self.columns
        places = self._places(values, count)
        if places is None:
            return False
        for gradient in given:
            if gradient is None:
                places += (0, 0)
                continue
            across, step = gradient.stride()
            if step != 1 or gradient.shape != (count, columns) or gradient.dtype is not self.dtype:
                return False
            places += (gradient.data_ptr(), across)
        back = self._back(tuple([gradient is not None for gradient in given]), gradients.active)
        if back.kernel is None:
            return False  # nothing to run, but zeros to be told of
        self._run(back, places, count, values, gradients, tape)
        return True

    def _back(self, present: tuple[bool, ...], active: Sequence[bool]) -> _Back:
        key = id(active), present
        found = self._backs.get(key)
        if found is None or found[0] is not active:
            found = self._backs[key] = active, _Back(self.segment, present, active, self.columns, self.dtype.itemsize)
        return found[1]

    def _run(self, back: _Back, places: list[int], count: int, values: Sequence[Any], gradients: Any,
             tape: Any) -> None:
        dtype, columns, leaves = self.dtype, self.columns, self.segment.leaves
        operands: list[int] = []
        for index in back.plan.inputs:
            operands += places[2 * index:2 * index + 2]
        targets = [(torch.empty if target.filled else torch.zeros)((count, target.width), dtype=dtype)
                   for target in back.targets]
        pointers = [target.data_ptr() for target in targets]
        for number, offset in back.writes:
            operands += (pointers[number] + offset, back.targets[number].width)
        sums = [torch.zeros((-(-count // back.block), columns), dtype=dtype) for _ in back.sums]
        for part in sums:
            operands += (part.data_ptr(), columns)
        narrow = [torch.zeros((count, 1), dtype=dtype) for _ in back.plan.order[2]]
        for part in narrow:
            operands += (part.data_ptr(), 1)
        launch(back.kernel, count, columns, operands, back.block, back.plan.across)
        for index, part in zip(back.plan.order[2], narrow):
            gradients.add(leaves[index].slot, part)
        for target, tensor in zip(back.targets, targets):
            if target.columns:
                leaf = leaves[target.first]
                gradients.columns(target.slot, values[target.slot], leaf.begin, leaf.end, tensor)
            else:
                gradients.add(target.slot, tensor)
        for index, part in zip(back.sums, sums):
            leaf = leaves[index]
            tape.sink.part(values[leaf.slot], leaf.begin, leaf.end, part[0] if len(part) == 1 else part.sum(0))
