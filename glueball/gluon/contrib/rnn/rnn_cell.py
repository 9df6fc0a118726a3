"""Two recurrent cells beyond gluon.rnn: variational dropout, and the LSTM with a projection.

The one idea of `VariationalDropoutCell`: one mask per sequence, drawn at the first step and kept until `reset()`.
Convolutional cells are in conv_rnn_cell.py.
"""

from __future__ import annotations

from typing import Any

from ....base.errors import ArgumentError, explain
from ...rnn.rnn_cell import HybridRecurrentCell
from ...rnn.rnn_modifier import BidirectionalCell, ModifierCell

__all__ = ["VariationalDropoutCell", "LSTMPCell"]


class VariationalDropoutCell(ModifierCell):
    """Dropout with the same mask at every step of a sequence (Gal and Ghahramani 2016), on inputs, the first state
    and outputs.

    Parameters
    ----------
    base_cell : the cell to change
    drop_inputs, drop_states, drop_outputs : shares that are dropped in train mode

    >>> from glueball import nd
    >>> from glueball.gluon import rnn
    >>> cell = VariationalDropoutCell(rnn.LSTMCell(4), drop_inputs=0.2, drop_states=0.2); cell.initialize()
    >>> cell.unroll(3, nd.ones((2, 3, 5)), merge_outputs=True)[0].shape
    (2, 3, 4)
    """

    def __init__(
        self, base_cell: Any, drop_inputs: float = 0.0, drop_states: float = 0.0, drop_outputs: float = 0.0
    ) -> None:
        if drop_states and isinstance(base_cell, BidirectionalCell):
            raise ArgumentError(
                explain(
                    "VariationalDropoutCell",
                    "The states of a BidirectionalCell cannot be dropped: it is not stepped.",
                    fix="put a VariationalDropoutCell around each of its two cells instead",
                )
            )
        super().__init__(base_cell)
        self.drop_inputs = drop_inputs
        self.drop_states = drop_states
        self.drop_outputs = drop_outputs

    def _alias(self) -> str:
        return "vardrop"

    def reset(self) -> None:
        """Forget the masks: the next step draws new ones."""
        super().reset()
        self._masks: dict[str, Any] = {}

    def _dropped(self, F: Any, name: str, rate: float, value: Any) -> Any:
        if not rate:
            return value
        if name not in self._masks:
            self._masks[name] = F.Dropout(F.ones_like(value), p=rate)
        return value * self._masks[name]

    def hybrid_forward(self, F: Any, x: Any, states: Any) -> Any:
        """Run one step of the base cell between the masks."""
        states = [self._dropped(F, "states", self.drop_states, states[0]), *states[1:]] if states else list(states)
        output, states = self.base_cell(self._dropped(F, "inputs", self.drop_inputs, x), states)
        return self._dropped(F, "outputs", self.drop_outputs, output), states

    def __repr__(self) -> str:
        return f"VariationalDropoutCell(p_out = {self.drop_outputs}, p_state = {self.drop_states})"


class LSTMPCell(HybridRecurrentCell):
    """LSTM whose output and hidden state are projected to `projection_size` numbers (Sak et al. 2014).

    Parameters
    ----------
    hidden_size, projection_size : size of the cell state, of output and hidden state
    i2h_weight_initializer, h2h_weight_initializer, h2r_weight_initializer, i2h_bias_initializer, h2h_bias_initializer
        : how the parameters start
    input_size : size of the input; 0: taken from the first call

    States: hidden (batch, projection_size), cell (batch, hidden_size).

    >>> from glueball import nd
    >>> cell = LSTMPCell(4, 2); cell.initialize()
    >>> output, states = cell(nd.ones((3, 5)), cell.begin_state(batch_size=3))
    >>> output.shape, states[1].shape
    ((3, 2), (3, 4))
    """

    def __init__(
        self,
        hidden_size: int,
        projection_size: int,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        h2r_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        self._hidden_size, self._projection_size, self._input_size = hidden_size, projection_size, input_size
        rows = 4 * hidden_size
        self.i2h_weight = self.params.get(
            "i2h_weight", shape=(rows, input_size), init=i2h_weight_initializer, allow_deferred_init=True
        )
        self.h2h_weight = self.params.get(
            "h2h_weight", shape=(rows, projection_size), init=h2h_weight_initializer, allow_deferred_init=True
        )
        self.h2r_weight = self.params.get(
            "h2r_weight", shape=(projection_size, hidden_size), init=h2r_weight_initializer, allow_deferred_init=True
        )
        self.i2h_bias = self.params.get("i2h_bias", shape=(rows,), init=i2h_bias_initializer, allow_deferred_init=True)
        self.h2h_bias = self.params.get("h2h_bias", shape=(rows,), init=h2h_bias_initializer, allow_deferred_init=True)

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Return shape and layout of the hidden and the cell state."""
        return [
            {"shape": (batch_size, size), "__layout__": "NC"} for size in (self._projection_size, self._hidden_size)
        ]

    def _alias(self) -> str:
        return "lstmp"

    def hybrid_forward(
        self,
        F: Any,
        x: Any,
        states: Any,
        i2h_weight: Any,
        h2h_weight: Any,
        h2r_weight: Any,
        i2h_bias: Any,
        h2h_bias: Any,
    ) -> Any:
        """Run one step."""
        rows = 4 * self._hidden_size
        prefix = f"t{self._counter}_"
        i2h = F.FullyConnected(x, i2h_weight, i2h_bias, num_hidden=rows, name=prefix + "i2h")
        h2h = F.FullyConnected(states[0], h2h_weight, h2h_bias, num_hidden=rows, name=prefix + "h2h")
        gates = F.SliceChannel(i2h + h2h, num_outputs=4, name=prefix + "slice")
        memory = F.sigmoid(gates[1]) * states[1] + F.sigmoid(gates[0]) * F.tanh(gates[2])
        hidden = F.sigmoid(gates[3]) * F.tanh(memory)
        output = F.FullyConnected(
            hidden, h2r_weight, no_bias=True, num_hidden=self._projection_size, name=prefix + "out"
        )
        return output, [output, memory]

    def __repr__(self) -> str:
        rows, columns = self.i2h_weight.shape or (0, 0)
        return f"LSTMPCell({columns or None} -> {rows} -> {self._projection_size})"
