"""Recurrent cells: one step of a recurrent network, and `unroll` over a sequence.

The one idea: a cell maps (input, states) to (output, new states); everything else — sequences as one array or as a
list, layouts, padded sequences of different lengths — is `RecurrentCell.unroll`, written once over any cell. Cells
made of other cells (sequential, bidirectional, dropout, zoneout, residual) are in rnn_modifier.py, the fused layers
in rnn_layer.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ... import ndarray, symbol
from ...base.errors import ArgumentError, MXNetError, explain
from ...dispatch import CURRENT, Symbolic, invoke
from ...ops.opdef import lookup
from ...symbol.tracer import Tracer
from ..block import Block
from ..hybrid import HybridBlock

__all__ = ["RecurrentCell", "HybridRecurrentCell", "RNNCell", "LSTMCell", "GRUCell"]


_ZEROS = lookup("_zeros")


def is_symbol(value: Any) -> bool:
    """Whether a value is a symbol rather than an array."""
    return isinstance(value, Symbolic)


def namespace_of(value: Any) -> Any:
    """Return the operators that fit a value: `symbol` for symbols, `ndarray` for arrays."""
    return symbol if is_symbol(value) else ndarray


def batch_size_of(value: Any, axis: int) -> int:
    """Return the size of an axis, 0 (unknown) for a symbol that does not know it yet."""
    if not is_symbol(value):
        return value.shape[axis]
    try:
        return value._sizes[axis] or 0
    except (MXNetError, AttributeError, TypeError, IndexError):
        return 0


def time_axis_of(layout: str, where: str) -> int:
    """Return the axis of time in a layout such as "NTC" or "TNC"."""
    axis = layout.find("T")
    if axis < 0 or "N" not in layout:
        raise ArgumentError(
            explain(
                where, "The layout must have a time and a batch axis.", expected="'NTC' or 'TNC'", received=repr(layout)
            )
        )
    return axis


def steps_of(inputs: Any, length: int | None, layout: str, where: str) -> list[Any]:
    """Return a sequence as a list with one value per step."""
    axis = time_axis_of(layout, where)
    if isinstance(inputs, (list, tuple)):
        if length is not None and len(inputs) != length:
            raise ArgumentError(
                explain(
                    where, "The number of inputs is not the length.", expected=f"{length} inputs", received=len(inputs)
                )
            )
        return list(inputs)
    if is_symbol(inputs):
        if len(inputs) > 1:  # a group of symbols is a list of steps
            return steps_of(list(inputs), length, layout, where)
        size = length or batch_size_of(inputs, axis)
    else:
        size = inputs.shape[axis]
        if length is not None and size != length:
            raise ArgumentError(
                explain(
                    where,
                    f"The sequence does not have the length to unroll ({layout}).",
                    expected=f"{length} steps on axis {axis}",
                    received=f"inputs of shape {inputs.shape}",
                    fix="pass length=inputs.shape[axis], or the right layout",
                )
            )
    if size == 1:
        return [namespace_of(inputs).squeeze(inputs, axis=axis)]
    return list(namespace_of(inputs).split(inputs, num_outputs=size, axis=axis, squeeze_axis=True))


def merged(steps: Any, layout: str) -> Any:
    """Return one value with a time axis, from a list of steps (anything else is taken as merged already)."""
    if not isinstance(steps, (list, tuple)):
        return steps
    return namespace_of(steps[0]).stack(*steps, axis=layout.find("T"))


def activated(F: Any, inputs: Any, activation: Any, **kwargs: Any) -> Any:
    """Apply an activation given by name, or as a function or block."""
    if not isinstance(activation, str):
        return activation(inputs)
    direct = getattr(F, activation, None) if activation in ("tanh", "relu", "sigmoid", "softsign") else None
    return F.Activation(inputs, act_type=activation, **kwargs) if direct is None else direct(inputs, **kwargs)


class RecurrentCell(Block):
    """Base of all cells.

    A cell is called as ``output, states = cell(input, states)`` with `input` (batch, features) and a list of states.
    A cell of your own derives from `HybridRecurrentCell` (or this class) and defines `state_info` and
    `hybrid_forward` (or `forward`).
    """

    def __init__(self, prefix: str | None = None, params: Any = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self._modified = False
        self.reset()

    def reset(self) -> None:
        """Forget what a cell keeps between steps (counters, masks of variational dropout) before another sequence."""
        self._init_counter = -1
        self._counter = -1
        for child in self._children.values():
            if isinstance(child, RecurrentCell):
                child.reset()

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Return shape and layout of each state."""
        raise NotImplementedError(
            explain(
                type(self).__name__,
                "A cell must say which states it has.",
                fix="define state_info(self, batch_size=0): return [{'shape': (batch_size, size), '__layout__': 'NC'}]",
            )
        )

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = ndarray.zeros, **kwargs: Any) -> list[Any]:
        """Return the states to start a sequence with.

        Parameters
        ----------
        batch_size : number of sequences
        func : makes one state from ``shape=``; `nd.zeros` by default
        kwargs : passed on to `func`, for example ``ctx=`` and ``dtype=``

        >>> [state.shape for state in LSTMCell(4).begin_state(batch_size=2)]
        [(2, 4), (2, 4)]
        """
        if self._modified:
            raise MXNetError(
                explain(
                    self.name,
                    "This cell was put into a modifier (Zoneout, Residual, …) and cannot be used by itself.",
                    fix="call begin_state of the modifier",
                )
            )
        return self._make_states(self.state_info(batch_size), func, kwargs)

    def _make_states(
        self, infos: Sequence[dict[str, Any]], func: Callable[..., Any], kwargs: dict[str, Any]
    ) -> list[Any]:
        if func is ndarray.zeros and infos and infos[0]["shape"][0] == 0:
            raise ArgumentError(
                explain(
                    self.name,
                    "Arrays need a known batch size.",
                    expected="begin_state(batch_size=...)",
                    received="batch_size=0",
                )
            )
        interpreter = CURRENT.get()
        if func is ndarray.zeros and interpreter is not None and not isinstance(interpreter, Tracer):
            # whoever listens may share: in a fold the zeros of all samples are one array
            self.__dict__["_init_counter"] += len(infos)  # past __setattr__: for every sample of a fold
            named = [{k: v for k, v in info.items() if k[:2] != "__"} for info in infos]
            return [invoke(_ZEROS, (), {**given, **kwargs} if kwargs else given) for given in named]
        symbolic = getattr(func, "__module__", "").startswith(symbol.__name__)
        states = []
        for info in infos:
            self._init_counter += 1
            given = {**{k: v for k, v in info.items() if not k.startswith("__")}, **kwargs}
            if symbolic:
                given["name"] = f"{self.prefix}begin_state_{self._init_counter}"
            states.append(func(**given))
        return states

    def _first_states(self, begin_state: Any, first: Any, axis: int) -> list[Any]:
        """Return the states to start with: those given, or zeros that fit the input."""
        if begin_state is not None:
            return list(begin_state)
        if is_symbol(first):
            return self.begin_state(batch_size_of(first, axis), func=symbol.zeros)

        def zeros(**info: Any) -> Any:
            return ndarray.zeros(ctx=first.context, dtype=first.dtype, **info)

        return self.begin_state(first.shape[axis], func=zeros)

    def unroll(
        self,
        length: int,
        inputs: Any,
        begin_state: Any = None,
        layout: str = "NTC",
        merge_outputs: bool | None = None,
        valid_length: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Run the cell over a sequence.

        Parameters
        ----------
        length : number of steps
        inputs : one value with time and batch axes as `layout` says, or a list of `length` values (batch, features)
        begin_state : states to start with; zeros when None
        layout : "NTC" or "TNC"
        merge_outputs : True: one output with a time axis; False: a list of steps; None: a list, or merged where
            `valid_length` is given
        valid_length : (batch,), the length of each sequence: later outputs are 0, and the states are those after the
            last valid step

        Returns
        -------
        outputs, states

        >>> from glueball import nd
        >>> cell = LSTMCell(4); cell.initialize()
        >>> outputs, states = cell.unroll(3, nd.ones((2, 3, 5)), merge_outputs=True)
        >>> outputs.shape
        (2, 3, 4)
        """
        self.reset()
        axis = time_axis_of(layout, self.name)
        steps = steps_of(inputs, length, layout, self.name)
        states = self._first_states(begin_state, steps[0], 0)
        outputs: list[Any] = []
        history: list[list[Any]] = []
        for step in steps[:length]:
            output, states = self(step, states)
            outputs.append(output)
            if valid_length is not None:
                history.append(list(states))
        if valid_length is None:
            return (merged(outputs, layout) if merge_outputs else outputs), states
        F = namespace_of(outputs[0])
        states = [
            F.SequenceLast(F.stack(*steps_of_state, axis=0), valid_length, use_sequence_length=True, axis=0)
            for steps_of_state in zip(*history)
        ]
        masked = F.SequenceMask(merged(outputs, layout), valid_length, use_sequence_length=True, axis=axis)
        return (steps_of(masked, length, layout, self.name) if merge_outputs is False else masked), states

    def forward(self, inputs: Any, states: Any) -> Any:
        """Run one step: returns (output, new states)."""
        self._counter += 1
        return super().forward(inputs, states)

    def _get_activation(self, F: Any, inputs: Any, activation: Any, **kwargs: Any) -> Any:
        return activated(F, inputs, activation, **kwargs)


class HybridRecurrentCell(RecurrentCell, HybridBlock):
    """Base of cells that can be hybridized: write `hybrid_forward(self, F, inputs, states, **params)`."""

    def hybrid_forward(self, F: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Run one step with the operators of `F`. Written by the user."""
        raise NotImplementedError(
            explain(
                type(self).__name__,
                "A cell must define one step.",
                fix="write `def hybrid_forward(self, F, inputs, states, ...): ...` returning (output, [states])",
            )
        )


class _GatedCell(HybridRecurrentCell):
    """What RNN, LSTM and GRU cells share: two affine maps, of input and state, to `gates`·hidden_size numbers."""

    _gates = 1
    _states = 1

    def __init__(
        self,
        hidden_size: int,
        i2h_weight_initializer: Any,
        h2h_weight_initializer: Any,
        i2h_bias_initializer: Any,
        h2h_bias_initializer: Any,
        input_size: int,
        prefix: str | None,
        params: Any,
    ) -> None:
        if not isinstance(hidden_size, int) or hidden_size < 1:
            raise ArgumentError(
                explain(
                    type(self).__name__,
                    "The hidden size must be positive.",
                    expected="hidden_size: int >= 1",
                    received=repr(hidden_size),
                )
            )
        super().__init__(prefix=prefix, params=params)
        self._hidden_size = hidden_size
        self._input_size = input_size
        rows = self._gates * hidden_size
        self.i2h_weight = self.params.get(
            "i2h_weight", shape=(rows, input_size), init=i2h_weight_initializer, allow_deferred_init=True
        )
        self.h2h_weight = self.params.get(
            "h2h_weight", shape=(rows, hidden_size), init=h2h_weight_initializer, allow_deferred_init=True
        )
        self.i2h_bias = self.params.get("i2h_bias", shape=(rows,), init=i2h_bias_initializer, allow_deferred_init=True)
        self.h2h_bias = self.params.get("h2h_bias", shape=(rows,), init=h2h_bias_initializer, allow_deferred_init=True)

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Return shape (batch_size, hidden_size) and layout of each state."""
        return [{"shape": (batch_size, self._hidden_size), "__layout__": "NC"} for _ in range(self._states)]

    def _maps(self, F: Any, inputs: Any, state: Any, params: dict[str, Any]) -> tuple[Any, Any, str]:
        """Return both affine maps, and the prefix of this step's names."""
        prefix = f"t{self._counter}_"
        rows = self._gates * self._hidden_size
        i2h = F.FullyConnected(inputs, params["i2h_weight"], params["i2h_bias"], num_hidden=rows, name=prefix + "i2h")
        h2h = F.FullyConnected(state, params["h2h_weight"], params["h2h_bias"], num_hidden=rows, name=prefix + "h2h")
        return i2h, h2h, prefix

    def _sizes(self) -> str:
        rows, columns = self.i2h_weight.shape or (0, 0)
        return f"{columns or None} -> {rows}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._sizes()})"


class RNNCell(_GatedCell):
    """Elman cell: h' = activation(W_i2h x + b_i2h + W_h2h h + b_h2h).

    Parameters
    ----------
    hidden_size : size of state and output
    activation : "tanh", "relu", … or a function
    i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer : how the parameters
        start
    input_size : size of the input; 0: taken from the first call

    Inputs and outputs: (batch, input_size) and [(batch, hidden_size)] to (batch, hidden_size) and [(batch,
    hidden_size)].

    >>> from glueball import nd
    >>> cell = RNNCell(4); cell.initialize()
    >>> output, states = cell(nd.ones((2, 3)), cell.begin_state(batch_size=2))
    >>> output.shape
    (2, 4)
    """

    def __init__(
        self,
        hidden_size: int,
        activation: Any = "tanh",
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(
            hidden_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            input_size,
            prefix,
            params,
        )
        self._activation = activation

    def _alias(self) -> str:
        return "rnn"

    def _sizes(self) -> str:
        return f"{super()._sizes()}, {self._activation}"

    def hybrid_forward(self, F: Any, x: Any, states: Any, **params: Any) -> Any:
        """Run one step."""
        i2h, h2h, prefix = self._maps(F, x, states[0], params)
        total = F.elemwise_add(i2h, h2h, name=prefix + "plus0")
        output = activated(F, total, self._activation, name=prefix + "out")
        return output, [output]


class LSTMCell(_GatedCell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), gates in the order input, forget, cell, output.

    i, f, o = recurrent_activation(...); g = activation(...); c' = f·c + i·g; h' = o·activation(c').

    Parameters
    ----------
    hidden_size : size of both states and of the output
    activation, recurrent_activation : of the cell, of the gates
    i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer : how the parameters
        start
    input_size : size of the input; 0: taken from the first call

    States: hidden (batch, hidden_size), cell (batch, hidden_size).

    >>> from glueball import nd
    >>> cell = LSTMCell(4); cell.initialize()
    >>> output, (hidden, memory) = cell(nd.ones((2, 3)), cell.begin_state(batch_size=2))
    >>> memory.shape
    (2, 4)
    """

    _gates = 4
    _states = 2

    def __init__(
        self,
        hidden_size: int,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        prefix: str | None = None,
        params: Any = None,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
    ) -> None:
        super().__init__(
            hidden_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            input_size,
            prefix,
            params,
        )
        self._activation = activation
        self._recurrent_activation = recurrent_activation

    def _alias(self) -> str:
        return "lstm"

    def hybrid_forward(self, F: Any, x: Any, states: Any, **params: Any) -> Any:
        """Run one step."""
        i2h, h2h, prefix = self._maps(F, x, states[0], params)
        total = F.elemwise_add(i2h, h2h, name=prefix + "plus0")
        gates = F.SliceChannel(total, num_outputs=4, name=prefix + "slice")
        inward = activated(F, gates[0], self._recurrent_activation, name=prefix + "i")
        forget = activated(F, gates[1], self._recurrent_activation, name=prefix + "f")
        new = activated(F, gates[2], self._activation, name=prefix + "c")
        outward = activated(F, gates[3], self._recurrent_activation, name=prefix + "o")
        kept = F.elemwise_mul(forget, states[1], name=prefix + "mul0")
        added = F.elemwise_mul(inward, new, name=prefix + "mul1")
        memory = F.elemwise_add(kept, added, name=prefix + "state")
        shown = activated(F, memory, self._activation, name=prefix + "activation0")
        output = F.elemwise_mul(outward, shown, name=prefix + "out")
        return output, [output, memory]


class GRUCell(_GatedCell):
    """Gated recurrent unit (Cho et al. 2014), gates in the order reset, update, new; the reset acts after the hidden
    product.

    r, z = σ(...); n = tanh(W_in x + b_in + r·(W_hn h + b_hn)); h' = (1 − z)·n + z·h.

    Parameters
    ----------
    hidden_size : size of state and output
    i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer : how the parameters
        start
    input_size : size of the input; 0: taken from the first call

    >>> from glueball import nd
    >>> cell = GRUCell(4); cell.initialize()
    >>> cell(nd.ones((2, 3)), cell.begin_state(batch_size=2))[0].shape
    (2, 4)
    """

    _gates = 3

    def __init__(
        self,
        hidden_size: int,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(
            hidden_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            input_size,
            prefix,
            params,
        )

    def _alias(self) -> str:
        return "gru"

    def hybrid_forward(self, F: Any, x: Any, states: Any, **params: Any) -> Any:
        """Run one step."""
        i2h, h2h, prefix = self._maps(F, x, states[0], params)
        left = F.SliceChannel(i2h, num_outputs=3, name=prefix + "i2h_slice")
        right = F.SliceChannel(h2h, num_outputs=3, name=prefix + "h2h_slice")
        reset = F.sigmoid(F.elemwise_add(left[0], right[0], name=prefix + "plus0"), name=prefix + "r_act")
        update = F.sigmoid(F.elemwise_add(left[1], right[1], name=prefix + "plus1"), name=prefix + "z_act")
        inner = F.elemwise_mul(reset, right[2], name=prefix + "mul0")
        new = F.tanh(F.elemwise_add(left[2], inner, name=prefix + "plus2"), name=prefix + "h_act")
        output = F.elemwise_add((1.0 - update) * new, update * states[0], name=prefix + "out")
        return output, [output]
