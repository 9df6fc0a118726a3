"""Steps that know their own gradients: linear layers, native segments, and moves between nodes and edges.

The one idea: most cells consist of nothing else. Then a group needs no tape: forward keeps the slots, and backward
walks the steps in reverse, writes gradients where they belong, and hands weights' gradients to the Sink. That halves
what a group costs beside its arithmetic. Bodies with other steps go on torch's tape (body.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol, final

import torch

from ..executor.native import Split
from .direct import Direct
from .functions import Linear, Parts, assembled, linear_parts, reduce_edges, spread, sum_edges
from .fuse import Segment

__all__ = ["Explicit", "LinearStep", "SegmentStep", "MoveStep", "ConcatStep", "PlaceStep", "Trace"]

Tensor = torch.Tensor


class Explicit(Protocol):
    """A step with its own gradient."""

    def __call__(self, values: list[Any], run: Any) -> None:
        """Compute the step's slots."""
        ...

    def reads(self) -> Sequence[int]:
        """Return the slots that are read."""
        ...

    def writes(self) -> Sequence[int]:
        """Return the slots that are written."""
        ...

    def activate(self, active: list[bool]) -> None:
        """Mark the slots through which gradients flow, given those before."""
        ...

    def back(self, values: list[Any], gradients: Gradients, run: Any, tape: Any) -> None:
        """Turn the gradients of the step's results into those of its inputs."""
        ...


@final
class Gradients:
    """Gradients of slots while a body is walked in reverse. active: slots whose gradients anybody wants."""

    __slots__ = ("active", "_held", "_own")

    def __init__(self, active: Sequence[bool]) -> None:
        self.active = active
        self._held: dict[int, Tensor] = {}
        self._own: set[int] = set()  # slots whose gradient nobody else holds, so that it may be added to in place

    def add(self, slot: int, gradient: Tensor, own: bool = True) -> None:
        """Add to a slot's gradient; `own`: the tensor was made for this."""
        held = self._held.get(slot)
        if held is None:
            self._held[slot] = gradient
            if own:
                self._own.add(slot)
        elif slot in self._own:
            held.add_(gradient)
        else:
            self._held[slot] = held + gradient
            self._own.add(slot)

    def columns(self, slot: int, like: Tensor, begin: int, end: int, gradient: Tensor) -> None:
        """Add to some columns of a slot's gradient."""
        if slot not in self._own:
            held = self._held.get(slot)
            self._held[slot] = torch.zeros_like(like) if held is None else held.clone()
            self._own.add(slot)
        self._held[slot][:, begin:end] += gradient

    def take(self, slot: int) -> Tensor | None:
        """Return a slot's gradient, which is complete; it is forgotten."""
        return self._held.pop(slot, None)


@final
class LinearStep:
    """A linear layer in parts of columns; see functions.Linear."""

    __slots__ = ("data", "weight", "bias", "slots", "parts", "low", "high", "only")

    def __init__(self, data: int, weight: int, bias: int | None, slots: Sequence[int], parts: Parts) -> None:
        self.data, self.weight, self.bias, self.slots, self.parts = data, weight, bias, slots, parts
        self.low, self.high = min(begin for begin, _ in parts), max(end for _, end in parts)
        self.only = parts[0][1] if len(parts) == 1 and not self.low else -1  # where a single part ends

    def __call__(self, values: list[Any], run: Any) -> None:
        weight, bias = values[self.weight], None if self.bias is None else values[self.bias]
        if run.tape is None and self.only == len(weight):
            values[self.slots[0]] = torch.nn.functional.linear(values[self.data], weight, bias)
            return
        if run.tape is None or not (weight.requires_grad or (bias is not None and bias.requires_grad)):
            found: Any = linear_parts(values[self.data], weight, bias, self.parts)
        else:
            found = Linear.apply(values[self.data], weight, bias, run.tape.trigger, run.tape, self.parts)
        for slot, value in zip(self.slots, found):
            values[slot] = value

    def reads(self) -> Sequence[int]:
        """Return the slots that are read."""
        return (self.data, self.weight) if self.bias is None else (self.data, self.weight, self.bias)

    def writes(self) -> Sequence[int]:
        """Return the slots that are written."""
        return self.slots

    def activate(self, active: list[bool]) -> None:
        """Gradients flow to the data, and to the weight and bias."""
        flows = active[self.data] or active[self.weight] or (self.bias is not None and active[self.bias])
        for slot in self.slots:
            active[slot] = flows

    def back(self, values: list[Any], gradients: Gradients, run: Any, tape: Any) -> None:
        """Note the weight's use; pass the rest on."""
        given = [gradients.take(slot) for slot in self.slots]
        if all(g is None for g in given):
            return
        rows, weight, low = values[self.data], values[self.weight], self.low
        gradient = given[0] if len(given) == 1 else None
        if gradient is None:
            gradient, low = assembled(given, self.parts, rows)
        tape.sink.linear(weight, None if self.bias is None else values[self.bias], rows, gradient, low)
        if gradients.active[self.data]:
            columns = gradient.shape[1]
            used = weight if columns == len(weight) else weight[low:low + columns]
            gradients.add(self.data, gradient.mm(used))


@final
class MoveStep:
    """A sum, mean or maximum over the edges of each node, or the spreading of a node's value to its edges.

    shape : of one value, where it takes several rows; None: one row each
    """

    __slots__ = ("word", "source", "target", "shape", "first")

    def __init__(self, word: str, source: int, target: int, shape: tuple[int, ...] | None, first: bool) -> None:
        self.word, self.source, self.target, self.shape, self.first = word, source, target, shape, first

    def _apply(self, function: Any, value: Tensor, count: int) -> Tensor:
        if self.shape is None:
            return function(value)
        return function(value.reshape(count, *self.shape)).flatten(0, 1)

    def __call__(self, values: list[Any], run: Any) -> None:
        segments, word = run.segments, self.word
        value = values[self.source]
        if word == "spread":
            values[self.target] = self._apply(lambda x: spread(x, segments), value, segments.nodes)
        else:
            values[self.target] = self._apply(lambda x: reduce_edges(word, x, segments, self.first), value,
                                              segments.edges)

    def reads(self) -> Sequence[int]:
        """Return the slots that are read."""
        return (self.source,)

    def writes(self) -> Sequence[int]:
        """Return the slots that are written."""
        return (self.target,)

    def activate(self, active: list[bool]) -> None:
        """Gradients flow through."""
        active[self.target] = active[self.source]

    def back(self, values: list[Any], gradients: Gradients, run: Any, tape: Any) -> None:
        """The gradient of a sum is spread, that of spreading is summed."""
        gradient = gradients.take(self.target)
        if gradient is None or not gradients.active[self.source]:
            return
        segments = run.segments
        if self.word == "spread":
            gradients.add(self.source, self._apply(lambda x: sum_edges(x, segments), gradient, segments.edges), False)
            return
        if self.word == "mean":
            counts = torch.from_numpy(segments.counts).to(gradient.device, gradient.dtype)
            counts = counts.repeat_interleave(gradient.shape[0] // max(segments.nodes, 1))
            gradient = gradient / counts.view(-1, *(1,) * (gradient.dim() - 1))
        gradients.add(self.source, self._apply(lambda x: spread(x, segments), gradient, segments.nodes), False)


@final
class ConcatStep:
    """Columns side by side.

    begins : where the columns of each source begin; width : of all together
    """

    __slots__ = ("sources", "target", "begins", "width")

    def __init__(self, sources: Sequence[int], widths: Sequence[int], target: int) -> None:
        self.sources, self.target = tuple(sources), target
        ends = tuple(accumulate(widths))
        self.begins, self.width = (0, *ends[:-1]), ends[-1]

    def reads(self) -> Sequence[int]:
        """Return the slots that are read."""
        return self.sources

    def writes(self) -> Sequence[int]:
        """Return the slots that are written."""
        return (self.target,)

    def __call__(self, values: list[Any], run: Any) -> None:
        values[self.target] = torch.cat([values[slot] for slot in self.sources], -1)

    def activate(self, active: list[bool]) -> None:
        """Gradients flow to any source."""
        active[self.target] = any(active[slot] for slot in self.sources)

    def back(self, values: list[Any], gradients: Gradients, run: Any, tape: Any) -> None:
        """The gradients of the sources are columns of the whole's."""
        gradient = gradients.take(self.target)
        if gradient is None:
            return
        for slot, begin in zip(self.sources, self.begins):
            if gradients.active[slot]:
                gradients.add(slot, gradient[:, begin:begin + values[slot].shape[1]], False)


@final
class PlaceStep:
    """Where the greatest element of each row is, or the smallest: the first of several. No gradient flows through.

    Programs that read their own choices take one such step per value read, so it is worth a form of its own.
    """

    __slots__ = ("source", "target", "smallest")

    def __init__(self, source: int, target: int, smallest: bool) -> None:
        self.source, self.target, self.smallest = source, target, smallest

    def reads(self) -> Sequence[int]:
        """Return the slots that are read."""
        return (self.source,)

    def writes(self) -> Sequence[int]:
        """Return the slots that are written."""
        return (self.target,)

    def __call__(self, values: list[Any], run: Any) -> None:
        value = values[self.source]
        found = value.argmin(-1, keepdim=True) if self.smallest else value.argmax(-1, keepdim=True)
        values[self.target] = found.to(value.dtype)

    def activate(self, active: list[bool]) -> None:
        """A pass does not come to the source, as it does not without folding."""
        active[self.target] = False

    def back(self, values: list[Any], gradients: Gradients, run: Any, tape: Any) -> None:
        """There is nothing to do."""


@final
class SegmentStep:
    """A piece of machine code; see fuse.py."""

    __slots__ = ("segment", "direct")

    def __init__(self, segment: Segment) -> None:
        self.segment, self.direct = segment, Direct(segment)

    def __call__(self, values: list[Any], run: Any) -> None:
        segment = self.segment
        found = self.direct.forward(values, run.outs or {}) if run.tape is None else None
        if found is not None:
            for slot, value in zip(segment.outputs, found):
                values[slot] = value
            return
        items = [item for item, _ in segment.items(values)]
        for slot, value in zip(segment.outputs, segment.rows.apply(*items)):
            values[slot] = value

    def reads(self) -> Sequence[int]:
        """Return the slots that are read."""
        return [leaf.slot for leaf in self.segment.leaves]

    def writes(self) -> Sequence[int]:
        """Return the slots that are written."""
        return self.segment.outputs

    def activate(self, active: list[bool]) -> None:
        """Gradients flow from any output to any input."""
        flows = any(active[leaf.slot] for leaf in self.segment.leaves)
        for slot in self.segment.outputs:
            active[slot] = flows

    def back(self, values: list[Any], gradients: Gradients, run: Any, tape: Any) -> None:
        """Run the compiled gradient; arrays that are split get one gradient, written part by part."""
        segment = self.segment
        given = [gradients.take(slot) for slot in segment.outputs]
        if all(g is None for g in given):
            return
        if self.direct.backward(values, given, gradients, tape):
            return
        placed = segment.items(values)
        needs = [gradients.active[leaf.slot] for leaf in segment.leaves]
        targets: list[Any] = [None] * len(placed)
        for index, (item, leaves) in enumerate(placed):
            if isinstance(item, Split) and gradients.active[leaves[0].slot]:
                targets[index] = Split(torch.empty_like(item.tensor), item.sizes)
        found = iter(segment.rows.backward([item for item, _ in placed], given, needs, targets))
        for (_, leaves), target in zip(placed, targets):
            results = [next(found) for _ in leaves]
            leaf = leaves[0]
            if not gradients.active[leaf.slot]:
                continue
            if target is not None:
                gradients.add(leaf.slot, target.tensor)
            elif results[0] is None:
                continue
            elif leaf.kind == "row":
                tape.sink.part(values[leaf.slot], leaf.begin, leaf.end, results[0])
            elif leaf.kind == "column" or leaf.end - leaf.begin == values[leaf.slot].shape[1]:
                gradients.add(leaf.slot, results[0])
            else:
                gradients.columns(leaf.slot, values[leaf.slot], leaf.begin, leaf.end, results[0])


@final
class Trace:
    """What a group that needs no tape keeps for its backward."""

    __slots__ = ("body", "values", "run", "active", "wanted")

    def __init__(self, body: Any, values: list[Any], run: Any, active: Sequence[bool], wanted: Sequence[int]) -> None:
        self.body, self.values, self.run, self.active, self.wanted = body, values, run, active, wanted

    def gradients(self, given: Sequence[Tensor | None], tape: Any) -> list[Tensor | None]:
        """Return the gradients of the arguments that want one (their numbers are `wanted`); note those of weights."""
        program = self.body.program
        held = Gradients(self.active)
        for slot, gradient in zip(program.results, given):
            if gradient is not None:
                held.add(slot, gradient, False)
        for step in reversed(self.body.steps):
            step.back(self.values, held, self.run, tape)
        return [held.take(program.arguments[i]) for i in self.wanted]
