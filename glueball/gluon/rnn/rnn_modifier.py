"""Cells made of other cells: sequential, bidirectional, and the modifiers dropout, zoneout and residual.

The one idea: each passes states on to the cells it holds and changes only what its name says. The plain cells and
`unroll` are in rnn_cell.py; variational dropout is in gluon.contrib.rnn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import ndarray
from ...base.errors import ArgumentError, MXNetError, explain
from ..block import Block
from .rnn_cell import HybridRecurrentCell, RecurrentCell, merged, namespace_of, steps_of, time_axis_of

__all__ = [
    "SequentialRNNCell",
    "HybridSequentialRNNCell",
    "DropoutCell",
    "ModifierCell",
    "ZoneoutCell",
    "ResidualCell",
    "BidirectionalCell",
]


def _total(cells: Any, batch_size: int) -> list[dict[str, Any]]:
    return [info for cell in cells for info in cell.state_info(batch_size)]


def _begin(cells: Any, kwargs: dict[str, Any]) -> list[Any]:
    return [state for cell in cells for state in cell.begin_state(**kwargs)]


class _Stack(RecurrentCell):
    """Cells one on top of the other: the output of each is the input of the next."""

    def _cells(self) -> list[Any]:
        return list(self._children.values())

    def add(self, cell: RecurrentCell) -> None:
        """Put a cell on top."""
        self.register_child(cell)

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Return the states of all cells, from the bottom to the top."""
        return _total(self._cells(), batch_size)

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = ndarray.zeros, **kwargs: Any) -> list[Any]:
        """Return the first states of all cells."""
        if self._modified:
            return super().begin_state(batch_size, func, **kwargs)  # raises
        return _begin(self._cells(), {"batch_size": batch_size, "func": func, **kwargs})

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Run each cell over the whole sequence that the cell below gives."""
        self.reset()
        steps = steps_of(inputs, length, layout, self.name)
        states = self._first_states(begin_state, steps[0], 0)
        sequence: Any = inputs
        ends: list[Any] = []
        cells = self._cells()
        for position, cell in enumerate(cells):
            count = len(cell.state_info())
            own, states = states[:count], states[count:]
            sequence, final = cell.unroll(
                length,
                sequence,
                begin_state=own,
                layout=layout,
                valid_length=valid_length,
                merge_outputs=merge_outputs if position == len(cells) - 1 else None,
            )
            ends.extend(final)
        return sequence, ends

    def _step(self, inputs: Any, states: Any) -> tuple[Any, list[Any]]:
        self._counter += 1
        ends: list[Any] = []
        start = 0
        for cell in self._cells():
            if isinstance(cell, BidirectionalCell):
                raise MXNetError(
                    explain(
                        self.name,
                        "A stack with a BidirectionalCell cannot be stepped: it needs the whole sequence.",
                        fix="use unroll",
                    )
                )
            count = len(cell.state_info())
            inputs, final = cell(inputs, states[start : start + count])
            start += count
            ends.extend(final)
        return inputs, ends

    def __len__(self) -> int:
        return len(self._children)

    def __getitem__(self, index: int) -> Block:
        return self._cells()[index]

    def __repr__(self) -> str:
        lines = "\n".join(f"({key}): {child!r}" for key, child in self._children.items())
        return f"{type(self).__name__}(\n{lines}\n)"


class SequentialRNNCell(_Stack):
    """A stack of cells.

    >>> from glueball import nd
    >>> from glueball.gluon.rnn import GRUCell, LSTMCell
    >>> stack = SequentialRNNCell()
    >>> stack.add(LSTMCell(4)); stack.add(GRUCell(3)); stack.initialize()
    >>> output, states = stack(nd.ones((2, 5)), stack.begin_state(batch_size=2))
    >>> output.shape, len(states)
    ((2, 3), 3)
    """

    def forward(self, inputs: Any, states: Any) -> Any:
        """Run one step of every cell."""
        return self._step(inputs, states)


class HybridSequentialRNNCell(_Stack, HybridRecurrentCell):
    """A stack of cells that can be hybridized."""

    def forward(self, inputs: Any, states: Any) -> Any:
        """Run one step of every cell."""
        return self._step(inputs, states)


class DropoutCell(HybridRecurrentCell):
    """Drops a share `rate` of the input's elements in train mode; `axes` share their mask. Has no state.

    >>> from glueball import nd
    >>> DropoutCell(0.5)(nd.ones((2, 3)), [])[0].shape
    (2, 3)
    """

    def __init__(self, rate: float, axes: Any = (), prefix: str | None = None, params: Any = None) -> None:
        if isinstance(rate, bool) or not isinstance(rate, (int, float)):
            raise ArgumentError(
                explain("DropoutCell", "The rate must be a number.", expected="0 <= rate < 1", received=repr(rate))
            )
        super().__init__(prefix=prefix, params=params)
        self._rate = rate
        self._axes = axes

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Return no states."""
        return []

    def _alias(self) -> str:
        return "dropout"

    def hybrid_forward(self, F: Any, x: Any, states: Any = ()) -> Any:
        """Drop elements."""
        if self._rate > 0:
            x = F.Dropout(x, p=self._rate, axes=self._axes, name=f"t{self._counter}_fwd")
        return x, list(states)

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Drop elements of the whole sequence; a merged sequence at one go."""
        self.reset()
        if isinstance(inputs, (list, tuple)):
            return super().unroll(length, inputs, begin_state, layout, merge_outputs, valid_length)
        dropped, _ = self(inputs, [])
        return (steps_of(dropped, length, layout, self.name) if merge_outputs is False else dropped), []

    def __repr__(self) -> str:
        return f"DropoutCell(rate={self._rate}, axes={self._axes})"


class ModifierCell(HybridRecurrentCell):
    """Base of cells that change what another cell does; parameters and states are those of `base_cell`."""

    def __init__(self, base_cell: Any) -> None:
        base_cell._modified = True
        super().__init__(prefix=base_cell.prefix + self._alias(), params=None)
        self.base_cell = base_cell

    @property
    def params(self) -> Any:
        """The base cell's own parameters."""
        return self.base_cell.params

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Return the states of the base cell."""
        return self.base_cell.state_info(batch_size)

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = ndarray.zeros, **kwargs: Any) -> list[Any]:
        """Return the first states of the base cell."""
        if self._modified:
            return super().begin_state(batch_size, func, **kwargs)  # raises
        self.base_cell._modified = False
        try:
            return self.base_cell.begin_state(batch_size=batch_size, func=func, **kwargs)
        finally:
            self.base_cell._modified = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_cell!r})"


def _refuse_bidirectional(name: str, base_cell: Any) -> None:
    if isinstance(base_cell, BidirectionalCell):
        raise ArgumentError(
            explain(
                name,
                "A BidirectionalCell cannot be stepped, so its states cannot be changed between steps.",
                fix=f"put a {name} around each of the two cells instead",
            )
        )


class ZoneoutCell(ModifierCell):
    """Zoneout (Krueger et al. 2016): in train mode, elements of output and states keep their previous value with the
    given probabilities."""

    def __init__(self, base_cell: Any, zoneout_outputs: float = 0.0, zoneout_states: float = 0.0) -> None:
        _refuse_bidirectional("ZoneoutCell", base_cell)
        super().__init__(base_cell)
        self.zoneout_outputs = zoneout_outputs
        self.zoneout_states = zoneout_states

    def _alias(self) -> str:
        return "zoneout"

    def reset(self) -> None:
        """Forget the previous output, too."""
        super().reset()
        self._prev_output: Any = None

    def hybrid_forward(self, F: Any, x: Any, states: Any) -> Any:
        """Run one step of the base cell, then put back what stays as it was."""
        output, ends = self.base_cell(x, states)

        def zoned(rate: float, new: Any, old: Any) -> Any:
            changes = F.Dropout(F.ones_like(new), p=rate)  # not 0 where the new value counts
            return F.where(changes, new, old)

        if self.zoneout_outputs:
            previous = F.zeros_like(output) if self._prev_output is None else self._prev_output
            output = zoned(self.zoneout_outputs, output, previous)
        if self.zoneout_states:
            ends = [zoned(self.zoneout_states, new, old) for new, old in zip(ends, states)]
        self._prev_output = output
        return output, ends

    def __repr__(self) -> str:
        return f"ZoneoutCell(p_out={self.zoneout_outputs}, p_state={self.zoneout_states}, {self.base_cell!r})"


class ResidualCell(ModifierCell):
    """Adds the input to the output of the base cell, which must have the input's size."""

    def hybrid_forward(self, F: Any, x: Any, states: Any) -> Any:
        """Run one step of the base cell and add the input."""
        output, states = self.base_cell(x, states)
        return F.elemwise_add(output, x, name=f"t{self._counter}_fwd"), states

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Unroll the base cell, then add the inputs (0 beyond `valid_length`)."""
        self.reset()
        self.base_cell._modified = False
        try:
            outputs, states = self.base_cell.unroll(
                length,
                inputs,
                begin_state=begin_state,
                layout=layout,
                merge_outputs=merge_outputs,
                valid_length=valid_length,
            )
        finally:
            self.base_cell._modified = True
        steps = steps_of(inputs, length, layout, self.name)
        if valid_length is not None:
            F = namespace_of(steps[0])
            masked = F.SequenceMask(
                merged(inputs, layout), valid_length, use_sequence_length=True, axis=time_axis_of(layout, self.name)
            )
            steps = steps_of(masked, length, layout, self.name)
        if isinstance(outputs, (list, tuple)):
            return [output + step for output, step in zip(outputs, steps)], states
        return outputs + merged(steps, layout), states


class BidirectionalCell(HybridRecurrentCell):
    """Runs one cell forward and one backward in time and joins their outputs; only `unroll` makes sense.

    >>> from glueball import nd
    >>> from glueball.gluon.rnn import LSTMCell
    >>> both = BidirectionalCell(LSTMCell(4), LSTMCell(4)); both.initialize()
    >>> both.unroll(3, nd.ones((2, 3, 5)), merge_outputs=True)[0].shape
    (2, 3, 8)
    """

    def __init__(self, l_cell: Any, r_cell: Any, output_prefix: str = "bi_") -> None:
        super().__init__(prefix="", params=None)
        self.register_child(l_cell, "l_cell")
        self.register_child(r_cell, "r_cell")
        self._output_prefix = output_prefix

    def _cells(self) -> list[Any]:
        return [self._children["l_cell"], self._children["r_cell"]]

    def __call__(self, inputs: Any, states: Any) -> Any:
        """Refuse: a step backward in time needs the whole sequence."""
        raise NotImplementedError(
            explain(
                "BidirectionalCell",
                "It cannot be stepped: the backward cell needs the whole sequence.",
                fix="use unroll",
            )
        )

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Return the states of the forward cell, then of the backward cell."""
        return _total(self._cells(), batch_size)

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = ndarray.zeros, **kwargs: Any) -> list[Any]:
        """Return the first states of both cells."""
        if self._modified:
            return super().begin_state(batch_size, func, **kwargs)  # raises
        return _begin(self._cells(), {"batch_size": batch_size, "func": func, **kwargs})

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Run both cells over the sequence; outputs are joined along the feature axis."""
        self.reset()
        steps = steps_of(inputs, length, layout, self.name)
        F = namespace_of(steps[0])
        states = self._first_states(begin_state, steps[0], 0)
        left, right = self._cells()
        count = len(left.state_info())

        def backward(sequence: list[Any]) -> list[Any]:
            """Turn a sequence round; padding stays at the end."""
            if valid_length is None:
                return sequence[::-1]
            turned = F.SequenceReverse(F.stack(*sequence, axis=0), valid_length, use_sequence_length=True)
            return steps_of(turned, length, "TNC", self.name)

        options: dict[str, Any] = {"layout": layout, "merge_outputs": False, "valid_length": valid_length}
        forward_steps, left_states = left.unroll(length, steps, begin_state=states[:count], **options)
        backward_steps, right_states = right.unroll(length, backward(steps), begin_state=states[count:], **options)
        outputs = [
            F.concat(a, b, dim=1, name=f"{self._output_prefix}t{t}")
            for t, (a, b) in enumerate(zip(forward_steps, backward(backward_steps)))
        ]
        keep_list = merge_outputs is False or (merge_outputs is None and valid_length is None)
        return (outputs if keep_list else merged(outputs, layout)), [*left_states, *right_states]

    def __repr__(self) -> str:
        return f"BidirectionalCell(forward={self._children['l_cell']!r}, backward={self._children['r_cell']!r})"
