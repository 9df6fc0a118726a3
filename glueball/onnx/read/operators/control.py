"""Control flow: If, Loop and Scan, decided and written out while the model is read.

The one idea: exported networks branch on sizes and repeat a number of times that follows from sizes, so conditions and
counts are known while reading. The branch that is taken becomes part of the graph, and a loop's body is read once per
turn. A branch that data decide becomes our `cond`, where both sides give arrays of the same types; loops that data
decide are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..held import Held, Refused, common
from ..node import Step, reads

TURNS = 1000  # of one loop


@reads("If")
def _if(s: Step) -> Sequence[Held]:
    condition = s.input(0)
    if condition.known is None and not condition.varies:
        found = s.builder.branched(condition, lambda: s.inner("then_branch", []), lambda: s.inner("else_branch", []))
        if found is not None:
            return found
    chosen = bool(s.number(0))
    return s.inner("then_branch" if chosen else "else_branch", [])


@reads("Loop")
def _loop(s: Step) -> Sequence[Held]:
    limit = int(s.number(0)) if s.maybe(0) is not None else TURNS + 1
    going = bool(s.number(1)) if s.maybe(1) is not None else True
    state, columns, turn = [s.input(i) for i in range(2, len(s.ins))], list[list[Held]](), 0
    while going and turn < limit:
        if turn >= TURNS:
            raise Refused(f"it does not end within {TURNS} turns")
        again, *found = s.inner("body", [s.const(turn, "int64"), s.const(True, "bool"), *state])
        if again.known is None:
            raise Refused("whether it goes on is computed from the data")
        going = bool(common([bool(np.ravel(row)[0]) for row in again.known]))
        state, row = found[: len(state)], found[len(state) :]
        columns.append(row)
        turn += 1
    if not columns and len(s.outputs) > len(state):
        raise Refused("it collects results and makes no turn")
    return [*state, *(_stacked(s, [row[i] for row in columns], 0) for i in range(len(columns[0]) if columns else 0))]


def _stacked(s: Step, values: Sequence[Held], axis: int) -> Held:
    rank = values[0].rank + 1
    return s.call("stack", *values, axis=s.axis(axis, rank))


@reads("Scan")
def _scan(s: Step) -> Sequence[Held]:
    if s.version < 9:
        raise Refused("scans over a batch (operator set 8) are not read")
    count, given = s.get("num_scan_inputs", 0), s.all
    if not 0 < count <= len(given):
        raise Refused(f"it scans {count} of its {len(given)} inputs")
    state, data = given[: len(given) - count], given[len(given) - count :]
    axes = [s.axis(axis, held.rank) for axis, held in zip(s.ints("scan_input_axes", [0] * count), data)]
    turned = s.ints("scan_input_directions", [0] * count)
    length = common([held.size(axis) for held, axis in zip(data, axes)])
    if length > TURNS or len(axes) != count or len(turned) != count:
        raise Refused(f"it makes {length} turns")
    columns: list[list[Held]] = []
    for turn in range(length):
        rows: list[Held] = []
        for held, axis, back in zip(data, axes, turned):
            at = length - 1 - turn if back else turn
            cut = s.call("slice_axis", held, axis=axis, begin=at, end=at + 1)
            rows.append(s.reshape(cut, [shape[:axis] + shape[axis + 1 :] for shape in cut.shapes]))
        found = s.inner("body", [*state, *rows])
        state = found[: len(state)]
        columns.append(found[len(state) :])
    if not columns:
        raise Refused("it makes no turn")
    made = len(columns[0])
    places, backwards = s.ints("scan_output_axes", [0] * made), s.ints("scan_output_directions", [0] * made)
    return [*state, *(_stacked(s, [row[i] for row in (columns[::-1] if backwards[i] else columns)], places[i])
                      for i in range(made))]
