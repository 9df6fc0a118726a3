"""Many groups in one native call: what a flush binds, runs and remembers.

The one idea: groups that follow each other and can be written as commands (commands.py) are run by one call of the
compiled runner, which needs for each signature an environment: the program, how large its groups are, and the
addresses of everything that it reads and writes. What backward needs lies in one block of memory per signature for all
groups of the run, so that a weight's gradient is one product, without putting anything together.

Where there is no compiler or no matrix product to call, `usable` says no and groups run one by one (execute.py).
"""
from __future__ import annotations

from array import array
from collections.abc import Container, Sequence
from typing import Any, final

import numpy as np
import torch

from ..base.errors import AutogradError, explain
from ..executor.native import machine
from .arena import Store
from .commands import (
    GATHERED,
    KEEP,
    RESULT,
    Forward,
    Operand,
    argument_root,
    packed_root,
    result_root,
    roots,
    shared_root,
    writable,
)
from .core import compiled
from .explicit_steps import LinearStep
from .gradient_commands import Backward
from .kinds import Pool
from .packs import Packs

__all__ = ["Bound", "Part", "Stream", "usable", "bind", "changed"]

Tensor = torch.Tensor
_ROOTS = 16  # where the roots begin in an environment; as in runner.c
(_PROGRAM, _SIZES, _GROUP, _BEGIN, _EDGES, _CHILDREN, _MOST, _MOST_EDGES, _TOTAL, _TOTAL_EDGES, _ROWS, _IDS, _ORIGIN,
 _OUTPUTS, _REACH) = range(15)
_ALIGNED = 16  # rows; so arrays of rows begin at multiples of 64 bytes


def usable() -> bool:
    """Whether groups can run without Python here."""
    return compiled("runner") is not None and machine() is not None


def address(numbers: Any) -> int:
    """Return where a NumPy array lies."""
    return int(numbers.__array_interface__["data"][0])


def changed(signature: Any) -> AutogradError:
    """Return the error for an array that backward needs and somebody wrote to."""
    return AutogradError(explain(
        "backward", "An array that backward() needs was changed in place after it was recorded.",
        received=f"a parameter or weight of {signature.name}, recorded at {signature.origin}",
        fix="update parameters only after backward(), or record again"))


def _aligned(count: int) -> int:
    return -(-count // _ALIGNED) * _ALIGNED


@final
class Bound:
    """All calls of one signature in a flush, ready to run as commands.

    needs : per argument, whether its gradient is wanted. reads : per argument, where its rows are written down; None
    for what comes from a half that ran before. active : per slot, whether gradients flow through it; None: nothing is
    kept. crossed : where the half that ran before ran for some calls, per group the first row read of its results
    """

    __slots__ = ("layout", "body", "known", "forward", "needs", "reads", "active", "sizes", "starts", "firsts",
                 "products", "crossed")

    def __init__(self, layout: Any, body: Any, known: Any, forward: Forward, needs: tuple[bool, ...],
                 reads: Sequence[Any], active: Sequence[bool] | None) -> None:
        self.layout, self.body, self.known, self.forward = layout, body, known, forward
        self.needs, self.reads, self.active = needs, reads, active
        self.sizes = array("q", layout.sizes)
        self.starts = [array("q", read.starts) for read in reads]
        self.firsts = [array("q", firsts) for _, firsts in layout.writes]
        self.crossed = array("q", layout.ahead.read.starts) if forward.some else None
        # per linear step its number, itself, its weight, and the rows of it that are used
        self.products = [(number, step, known.shared[body.program.shared.index(step.weight)], step.low, step.high)
                         for number, step in enumerate(body.steps) if isinstance(step, LinearStep)]


def bind(layout: Any, body: Any, known: Any, store: Store) -> Bound | None:
    """Return what is needed to run the groups of a layout as commands; None where they cannot be."""
    signature, ahead = layout.work.signature, layout.ahead
    positions = range(len(layout.reads)) if ahead is None else ahead.halves.kept
    reads = [layout.reads[position] for position in positions]
    if signature.recording and any(read.need is None for read in reads):
        return None  # whether gradients are wanted is to be seen group by group
    if body.writable is None:
        body.writable = writable(body)
    if not body.writable or any(not arena.data.is_cpu for arena, _ in layout.writes):
        return None
    if any(argument.rows != 1 for argument in signature.arguments):
        return None  # vectors that lie element by element
    for index in body.used:
        tensor = known.shared[index]
        if not tensor.is_contiguous() or tensor.dtype is not body.program.types[body.program.shared[index]].dtype:
            return None
    crossing = [] if ahead is None else [(ahead.results[c.result], c) for c in ahead.halves.frontier]
    needs = tuple([bool(read.need) for read in reads] + [need for (_, _, need), _ in crossing])
    taped = signature.recording and (True in needs or bool(known.used))
    some = ahead is not None and ahead.read is not None
    forward = body.forwards.get((taped, some))
    if forward is None:
        frontier = [(c.result, pool.rest[0] * pool.dtype.itemsize, c.begin * pool.dtype.itemsize)
                    for (pool, _, _), c in crossing]
        forward = body.forwards[taped, some] = Forward(body, taped, frontier, some)
    if not forward.fits:
        return None
    return Bound(layout, body, known, forward, needs, reads, body.active(needs, known.wanted) if taped else None)


@final
class Part:
    """The groups of one signature in a run: from group `group` on, which begins with call `begin`.

    keep : memory of what backward reads
    """

    __slots__ = ("bound", "group", "groups", "begin", "end", "most", "total", "keep", "versions")

    def __init__(self, bound: Bound, group: int, groups: int, begin: int) -> None:
        self.bound, self.group, self.groups, self.begin = bound, group, groups, begin
        layout = bound.layout
        sizes = layout.sizes[group:group + groups]
        self.end = begin + sum(sizes)
        self.most = _aligned(max(sizes)), 0
        self.total = _aligned(self.end - begin), 0
        if layout.counts is not None:
            edges = layout.counts[0][group:group + groups]
            self.most, self.total = (self.most[0], _aligned(max(edges))), (self.total[0], _aligned(sum(edges)))
        self.keep: Tensor | None = None
        self.versions = [(t, t._version) for t in bound.known.watched] if bound.active is not None else []

    def environment(self, store: Store, code: Any, memory: Sequence[Tensor | None]) -> array[int]:
        """Return where everything lies. memory : of the run, what is kept, kept gradients, sums."""
        bound = self.bound
        layout, body = bound.layout, bound.body
        words = array("q", bytes(8 * (_ROOTS + roots(body))))
        words[_PROGRAM], words[_SIZES] = address(code), bound.sizes.buffer_info()[0]
        words[_GROUP], words[_BEGIN], words[_ORIGIN] = self.group, self.begin, self.begin
        if layout.edges is not None:
            words[_EDGES] = address(layout.edges)
        words[_MOST], words[_MOST_EDGES] = self.most
        words[_TOTAL], words[_TOTAL_EDGES] = self.total
        for number, tensor in enumerate(memory):
            if tensor is not None:
                words[_ROOTS + number] = tensor.data_ptr()
        for index in body.used:
            words[_ROOTS + shared_root(index)] = bound.known.shared[index].data_ptr()
        root = _ROOTS + argument_root(body, 0)
        for read, starts in zip(bound.reads, bound.starts):
            words[root] = read.arena.data.data_ptr()
            words[root + 1] = read.lows[0]
            words[root + 2] = starts.buffer_info()[0]
            root += 5
        if bound.reads:
            words[_ROWS] = address(bound.reads[0].table.rows)
        if layout.some:
            words[_REACH] = len(layout.ids)
        for _, data in self.crossing(store):
            words[root] = data.data_ptr()
            if bound.crossed is None:
                words[root] += self.begin * data.stride(0) * data.itemsize
            else:  # its table lies elsewhere
                words[root + 1] = (address(layout.ahead.read.table.rows) - words[_ROWS]) // 8
                words[root + 2] = bound.crossed.buffer_info()[0]
            root += 5
        root = _ROOTS + result_root(body, 0)
        for (arena, _), firsts in zip(layout.writes, bound.firsts):
            words[root] = arena.data.data_ptr()
            words[root + 1] = firsts.buffer_info()[0]
            root += 3
        return words

    def count(self, edge: bool) -> int:
        """Return how many calls there are, or children."""
        edges = self.bound.layout.edges
        return int(edges[self.end] - edges[self.begin]) if edge else self.end - self.begin

    def stretches(self, ran: Sequence[int], edge: bool) -> list[tuple[int, int]]:
        """Return the stretches of calls, or of children, of groups that ran."""
        if all(ran):
            return [(0, self.count(edge))]
        layout, found = self.bound.layout, []
        begin = 0
        sizes = layout.counts[0] if edge else layout.sizes
        for here, size in zip(ran, sizes[self.group:self.group + self.groups]):
            if here and found and found[-1][1] == begin:
                found[-1] = found[-1][0], begin + size
            elif here:
                found.append((begin, begin + size))
            begin += size
        return found

    def view(self, block: Tensor | None, place: Operand, width: int, dtype: torch.dtype, edge: bool) -> Tensor:
        """Return the rows of all groups from memory that is kept."""
        assert block is not None  # there is something in it
        size = dtype.itemsize
        begin = place.offset + place.total * self.total[0] + place.total_edges * self.total[1]
        return block.view(dtype).as_strided((self.count(edge), width), (place.stride // size, 1), begin // size)

    def result_rows(self, data: Tensor, number: int, width: int) -> Tensor:
        """Return the rows of a result of all groups, out of its arena or of the gradients for that."""
        layout, groups = self.bound.layout, slice(self.group, self.group + self.groups)
        firsts, sizes = layout.writes[number][1][groups], layout.sizes[groups]
        if self.groups == 1:
            return data.detach()[firsts[0]:firsts[0] + sizes[0]].reshape(-1, width)
        begins = np.array(firsts) - np.cumsum(sizes) + sizes
        rows = np.repeat(begins, sizes) + np.arange(self.end - self.begin)
        return data.index_select(0, torch.from_numpy(rows)).view(-1, width)

    def rows_of(self, store: Store, slot: int) -> Tensor:
        """Return the values of a slot for all groups."""
        bound = self.bound
        forward, program = bound.forward, bound.body.program
        place, width, edge = forward.place[slot], forward.width(slot), forward.edge(slot)
        if place.mode == GATHERED and not (forward.some and slot in program.arguments[forward.frontier:]):
            place = forward.operands[place.target]
        if place.mode == RESULT:
            number = program.results.index(slot)
            return self.result_rows(bound.layout.writes[number][0].data, number, width)
        if place.root == KEEP:
            return self.view(self.keep, place, width, program.types[slot].dtype, edge)
        number = program.arguments.index(slot)
        data, begin = self.crossing(store)[number - forward.frontier][1], place.offset // forward.size(slot)
        data = data[:, begin:begin + width]
        if not forward.some:
            return data[self.begin:self.end]
        return data.index_select(0, bound.layout.ahead.read.table.index(data.device)[self.begin:self.end])

    def reached(self, reached: Any) -> bool:
        """Whether a pass has come to a result of these calls."""
        layout = self.bound.layout
        ids = layout.ids if layout.some else layout.ids[self.begin:self.end]
        return any(reached[ids + number].any() for number in range(len(self.bound.layout.work.signature.outputs)))

    def present(self, pools: Container[Pool]) -> tuple[bool, ...]:
        """Return, per result, whether gradients flow to it and there are some for its pool."""
        active: Sequence[bool] = self.bound.active or []
        return tuple([active[slot] and arena.pool in pools
                      for slot, (arena, _) in zip(self.bound.body.program.results, self.bound.layout.writes)])

    def pools(self, store: Store) -> list[Pool]:
        """Return the pools of arguments that want gradients."""
        pools = [read.arena.pool for read in self.bound.reads] + [pool for pool, _ in self.crossing(store)]
        return [pool for pool, need in zip(pools, self.bound.needs) if need]

    def check_unchanged(self) -> None:
        """Raise when a shared array whose values gradients are computed from was written to since."""
        signature = self.bound.layout.work.signature
        for tensor, version in self.versions:
            if tensor._version != version:
                raise changed(signature)

    def pack(self, packs: Packs, words: array[int], back: bool) -> None:
        """Fill in the packed weights. back : for the gradient."""
        body, bound = self.bound.body, self.bound
        for index, step, weight, low, high in bound.products:
            if back and not (bound.active and bound.active[step.data]):
                continue
            edge = bound.forward.edge(step.slots[0])
            words[_ROOTS + packed_root(body, index) + back] = packs.address(weight, low, high, back, self.count(edge),
                                                                            self.groups)

    def crossing(self, store: Store) -> list[tuple[Any, Tensor]]:
        """Return, per argument from the half that ran before, its pool and the rows of the result it is part of."""
        ahead = self.bound.layout.ahead
        if ahead is None:
            return []
        pools = [ahead.results[c.result][0] for c in ahead.halves.frontier]
        return [(pool, store.arena(pool).data) for pool in pools]


def memory(region: Any, counts: tuple[int, int]) -> Tensor | None:
    """Return memory for a region."""
    size = region.nodes * counts[0] + region.edges * counts[1]
    return torch.empty(size, dtype=torch.uint8) if size else None


def run_parts(environments: Sequence[array[int]], order: array[int], reached: Any = None) -> tuple[Any, Any]:
    """Run groups: with `reached` (a byte per value) in reverse.

    Returns
    -------
    readings of the clock, when it began and then two per group in the order they ran; per group, whether it ran
    """
    words = machine()
    assert words is not None  # `usable` said so
    count = len(order)
    pointers = array("q", [e.buffer_info()[0] for e in environments])
    clocks, ran = array("d", bytes(8 * (1 + 2 * count))), array("q", bytes(8 * count))
    compiled("runner").run(words.buffer_info()[0], order.buffer_info()[0], count, pointers.buffer_info()[0],
                           reached is not None, 0 if reached is None else address(reached), clocks.buffer_info()[0],
                           ran.buffer_info()[0])
    return clocks, ran


@final
class Stream:
    """Groups that ran in one call; an entry of the tape where gradients flow through some of them.

    order : per group, the number of its part
    """

    __slots__ = ("parts", "order")

    def __init__(self, parts: Sequence[Part], order: array[int]) -> None:
        self.parts, self.order = parts, order

    def run(self, store: Store) -> Any:
        """Run the groups; return the readings of the clock."""
        environments: list[array[int]] = []
        held: list[Any] = []
        for part in self.parts:
            forward = part.bound.forward
            part.keep = memory(forward.kept, part.total)
            own = memory(forward.scratch, part.most)
            held.append(own)
            words = part.environment(store, forward.code, (own, part.keep))
            part.pack(store.packs, words, False)
            environments.append(words)
        return run_parts(environments, self.order)[0]

    def taped(self) -> Stream | None:
        """Return the groups through which gradients flow."""
        if all(part.bound.active is not None for part in self.parts):
            return self
        numbers = [i for i, part in enumerate(self.parts) if part.bound.active is not None]
        if not numbers:
            return None
        new = {number: i for i, number in enumerate(numbers)}
        return Stream([self.parts[i] for i in numbers], array("q", [new[i] for i in self.order if i in new]))

    def _again(self, store: Store) -> None:
        """Compute anew what backward needs and has been used up. Results are written elsewhere: somebody may have
        changed an array that results depend on, though no gradient does.
        """
        environments: list[array[int]] = []
        held: list[Any] = []
        for part in self.parts:
            forward, body = part.bound.forward, part.bound.body
            part.keep = memory(forward.kept, part.total)
            own = memory(forward.scratch, part.most)
            words = part.environment(store, forward.code, (own, part.keep))
            part.pack(store.packs, words, False)
            held.append(own)
            for number, (arena, _) in enumerate(part.bound.layout.writes):
                held.append(torch.empty_like(arena.data))
                words[_ROOTS + result_root(body, number)] = held[-1].data_ptr()
            environments.append(words)
        run_parts(environments, self.order)

    # -- backward ------------------------------------------------------------------------------------------------------
    def reverse(self, tape: Any, keep: bool) -> None:
        """Walk the groups in reverse; keep : there may be another pass."""
        if not any(part.reached(tape.reached) for part in self.parts):
            return
        if any(part.keep is None and part.bound.forward.kept.used for part in self.parts):
            self._again(tape.store)
        going = self._going(tape)
        number = {i: n for n, (i, _) in enumerate(going)}
        order = array("q", [number[i] for i in self.order if i in number])
        environments: list[array[int]] = []
        backs: list[_Back] = []
        for i, _ in going:
            for pool in self.parts[i].pools(tape.store):
                tape.rows(pool)  # some are those of another part's results
        for i, backward in going:
            back = _Back(self.parts[i], backward)
            environments.append(back.environment(tape))
            backs.append(back)
        clocks, ran = run_parts(environments, order, tape.reached)
        for n, back in enumerate(backs):
            own = [ran[k] for k, index in enumerate(order) if index == n]
            if any(own):
                back.weights(tape, own)
            if not keep:
                back.part.keep = None
        works = [back.part.bound.layout.work for back in backs]
        tape.noted += [(works[index], clock) for index, clock in zip(reversed(order), clocks[2::2])]

    def _going(self, tape: Any) -> list[tuple[int, Backward]]:
        """Return the parts that may have gradients of results, and their commands."""
        pools = {*tape.gradients}
        size = -1
        while size != len(pools):  # those that the parts themselves give gradients to count as well
            size = len(pools)
            for part in self.parts:
                if any(part.present(pools)):
                    pools.update(part.pools(tape.store))
        going: list[tuple[int, Backward]] = []
        for i, part in enumerate(self.parts):
            present = part.present(pools)
            if any(present):
                bound = part.bound
                key = bound.needs, bound.known.wanted, present
                backward = bound.forward.backwards.get(key)
                if backward is None:
                    backward = Backward(bound.forward, bound.active or (), bound.needs, present)
                    bound.forward.backwards[key] = backward
                going.append((i, backward))
        return going


@final
class _Back:
    """A part in a backward pass."""

    __slots__ = ("part", "backward", "grads", "sums", "own")

    def __init__(self, part: Part, backward: Backward) -> None:
        self.part, self.backward = part, backward
        self.own = memory(backward.scratch, part.most)
        self.grads = memory(backward.grads, part.total)
        self.sums = torch.zeros(backward.sums, dtype=torch.uint8) if backward.sums else None

    def environment(self, tape: Any) -> array[int]:
        """Return where everything lies."""
        part, bound = self.part, self.part.bound
        memory = self.own, part.keep, self.grads, self.sums
        words = part.environment(tape.store, self.backward.code, memory)
        part.pack(tape.store.packs, words, True)
        words[_GROUP], words[_BEGIN] = part.group + part.groups, part.end
        words[_IDS], words[_OUTPUTS] = address(bound.layout.ids), len(bound.layout.work.signature.outputs)
        root = _ROOTS + argument_root(bound.body, 0)
        for read, need in zip(bound.reads, bound.needs):
            if need:
                words[root + 3] = tape.rows(read.arena.pool).data_ptr()
                words[root + 4] = address(read.values)
            root += 5
        for (pool, _), (_, _, begin), need in zip(part.crossing(tape.store), bound.forward.crossing,
                                                  bound.needs[len(bound.reads):]):
            if need:
                rows = tape.rows(pool)
                words[root + 3] = rows.data_ptr() + (begin if bound.crossed is not None else
                                                     part.begin * rows.stride(0) * rows.itemsize)
            root += 5
        root = _ROOTS + result_root(bound.body, 0)
        for arena, _ in bound.layout.writes:
            if arena.pool in tape.gradients:
                words[root + 2] = tape.gradients[arena.pool].data_ptr()
            root += 3
        return words

    def weights(self, tape: Any, ran: Sequence[int]) -> None:
        """Note what the gradients of shared arrays will be computed from."""
        part, bound = self.part, self.part.bound
        part.check_unchanged()
        shared = dict(zip(bound.body.program.shared, bound.known.shared))
        types = bound.body.program.types
        for use in self.backward.uses:
            step = use.step
            weight, bias = shared[step.weight], None if step.bias is None else shared[step.bias]
            if not (weight.requires_grad or bias is not None and bias.requires_grad):
                continue
            if use.place.mode == RESULT:
                number = bound.body.program.results.index(step.slots[0])
                arena = bound.layout.writes[number][0]
                grads = part.result_rows(tape.gradients[arena.pool], number, use.width)
            else:
                grads = part.view(self.grads, use.place, use.width, weight.dtype, use.edge)
            rows = part.rows_of(tape.store, step.data)
            for low, high in part.stretches(ran, use.edge):
                tape.sink.linear(weight, bias, rows[low:high], grads[low:high], use.low)
        for found in self.backward.row_sums:
            assert self.sums is not None  # there is room for each
            dtype = types[found.slot].dtype
            begin = found.offset // dtype.itemsize
            row = self.sums.view(dtype)[begin:begin + found.end - found.begin]
            tape.sink.part(shared[found.slot], found.begin, found.end, row)
