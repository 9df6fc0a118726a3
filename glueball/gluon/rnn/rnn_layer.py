"""Fused recurrent layers: `RNN`, `LSTM`, `GRU` over whole sequences, several layers and both directions in one
operator.

The one idea: parameters are kept one by one, named after layer and direction (`l0_i2h_weight`, `r0_…` backward), and
joined to the operator's packed vector on each call. Without states given, sequences start from zeros and only the
output is returned. The operator is in ops/rnn.py, cells for single steps in rnn_cell.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ... import ndarray, symbol
from ...base.errors import ArgumentError, ShapeError, explain
from ...ndarray import NDArray
from ..hybrid import HybridBlock
from .rnn_cell import GRUCell, LSTMCell, RNNCell, batch_size_of
from .rnn_modifier import BidirectionalCell, DropoutCell, HybridSequentialRNNCell

__all__ = ["RNN", "LSTM", "GRU"]

_NAME = re.compile(r"(l|r)(\d+)_(i2h|h2h|h2r)_(weight|bias)\Z")


class _RNNLayer(HybridBlock):
    """What the fused layers share."""

    l0_i2h_weight: Any  # the one parameter that every layer has

    def __init__(
        self,
        hidden_size: int,
        num_layers: int,
        layout: str,
        dropout: float,
        bidirectional: bool,
        input_size: int,
        i2h_weight_initializer: Any,
        h2h_weight_initializer: Any,
        i2h_bias_initializer: Any,
        h2h_bias_initializer: Any,
        mode: str,
        projection_size: int | None,
        h2r_weight_initializer: Any,
        lstm_state_clip_min: float | None,
        lstm_state_clip_max: float | None,
        lstm_state_clip_nan: bool,
        dtype: Any,
        use_sequence_length: bool = False,
        **kwargs: Any,
    ) -> None:
        if layout not in ("TNC", "NTC"):
            raise ArgumentError(
                explain(type(self).__name__, "Unknown layout.", expected="'TNC' or 'NTC'", received=repr(layout))
            )
        for name, value in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(
                    explain(
                        type(self).__name__,
                        f"{name} must be positive.",
                        expected=f"{name}: int >= 1",
                        received=repr(value),
                    )
                )
        super().__init__(**kwargs)
        self._hidden_size, self._num_layers, self._mode, self._layout = hidden_size, num_layers, mode, layout
        self._dropout, self._dir, self._input_size, self._dtype = dropout, 2 if bidirectional else 1, input_size, dtype
        self._projection_size, self._use_sequence_length = projection_size, use_sequence_length
        self._gates = {"rnn_relu": 1, "rnn_tanh": 1, "lstm": 4, "gru": 3}[mode]
        self._initializers = {
            "i2h_weight": i2h_weight_initializer,
            "h2h_weight": h2h_weight_initializer,
            "h2r_weight": h2r_weight_initializer,
            "i2h_bias": i2h_bias_initializer,
            "h2h_bias": h2h_bias_initializer,
        }
        self._operator = {
            "state_size": hidden_size,
            "projection_size": projection_size,
            "num_layers": num_layers,
            "bidirectional": bidirectional,
            "p": dropout,
            "state_outputs": True,
            "mode": mode,
            "use_sequence_length": use_sequence_length,
        }
        self._operator.update(
            {
                key: value
                for key, value in (
                    ("lstm_state_clip_min", lstm_state_clip_min),
                    ("lstm_state_clip_max", lstm_state_clip_max),
                    ("lstm_state_clip_nan", lstm_state_clip_nan),
                )
                if value is not None and value is not False
            }
        )
        for name, shape in self._shapes(input_size):
            made = self.params.get(
                name, shape=shape, init=self._initializers[name.split("_", 1)[1]], dtype=dtype, allow_deferred_init=True
            )
            setattr(self, name, made)

    @property
    def _width(self) -> int:
        return self._projection_size or self._hidden_size

    def _shapes(self, input_size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield name and shape of every parameter, layer by layer."""
        rows = self._gates * self._hidden_size
        for layer in range(self._num_layers):
            size = input_size if layer == 0 else self._width * self._dir
            for direction in ("l", "r")[: self._dir]:
                start = f"{direction}{layer}_"
                yield start + "i2h_weight", (rows, size)
                yield start + "h2h_weight", (rows, self._width)
                yield start + "i2h_bias", (rows,)
                yield start + "h2h_bias", (rows,)
                if self._projection_size:
                    yield start + "h2r_weight", (self._projection_size, self._hidden_size)

    def _packed_order(self) -> list[str]:
        """Return the parameters' names in the order of the operator's vector: all weights, then all biases."""
        kinds = ["i2h", "h2h", "h2r"] if self._projection_size else ["i2h", "h2h"]
        starts = [f"{direction}{layer}_" for layer in range(self._num_layers) for direction in ("l", "r")[: self._dir]]
        return [f"{start}{kind}_weight" for start in starts for kind in kinds] + [
            f"{start}{kind}_bias" for start in starts for kind in kinds[:2]
        ]

    def __repr__(self) -> str:
        rows, columns = self.l0_i2h_weight.shape
        parts = [f"{columns or None} -> {rows // self._gates}", self._layout]
        if self._num_layers != 1:
            parts.append(f"num_layers={self._num_layers}")
        if self._dropout != 0:
            parts.append(f"dropout={self._dropout}")
        if self._dir == 2:
            parts.append("bidirectional")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _collect_params_with_prefix(self, prefix: str = "") -> dict[str, Any]:
        """Name parameters in files as the unfused cells would be: `_unfused.0.l_cell.i2h_weight`."""
        start = prefix + "." if prefix else ""
        found = {}
        for name, parameter in self._reg_params.items():
            match = _NAME.match(name)
            if match is not None:
                direction, layer, part, kind = match.groups()
                name = f"_unfused.{layer}.{direction + '_cell.' if self._dir == 2 else ''}{part}_{kind}"
            found[start + name] = parameter
        return found

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Return shape, layout and dtype of each state."""
        rows = self._num_layers * self._dir
        widths = [self._width, self._hidden_size] if self._mode == "lstm" else [self._width]
        return [{"shape": (rows, batch_size, width), "__layout__": "LNC", "dtype": self._dtype} for width in widths]

    def cast(self, dtype: Any) -> None:
        """Change the element type of parameters and of the states that `begin_state` makes."""
        super().cast(dtype)
        self._dtype = dtype

    def begin_state(self, batch_size: int = 0, func: Callable[..., Any] = ndarray.zeros, **kwargs: Any) -> list[Any]:
        """Return the states to start sequences with, each (layers·directions, batch_size, hidden_size).

        `func` makes one state from ``shape=`` and ``dtype=``; further keywords (``ctx=``) are passed on to it.
        """
        if func is ndarray.zeros and batch_size == 0:
            raise ArgumentError(
                explain(
                    self.name,
                    "Arrays need a known batch size.",
                    expected="begin_state(batch_size=...)",
                    received="batch_size=0",
                )
            )
        states = []
        for position, info in enumerate(self.state_info(batch_size)):
            given = {**{key: value for key, value in info.items() if not key.startswith("__")}, **kwargs}
            if getattr(func, "__module__", "").startswith(symbol.__name__):
                given["name"] = f"{self.prefix}h0_{position}"
            states.append(func(**given))
        return states

    def __call__(self, inputs: Any, states: Any = None, sequence_length: Any = None) -> Any:
        """Run the layer: ``output = layer(inputs)`` or ``output, states = layer(inputs, states)``.

        `sequence_length` (batch,) tells the length of each sequence, for a layer made with
        ``use_sequence_length=True``.
        """
        if states is not None and not isinstance(states, (list, tuple)):
            states = [states]
        if states is not None and not isinstance(states, list):
            states = list(states)
        if sequence_length is not None:
            return super().__call__(inputs, states, sequence_length)
        return super().__call__(inputs) if states is None else super().__call__(inputs, states)

    def forward(self, inputs: Any, states: Any = None, sequence_length: Any = None) -> Any:
        """Fill in the input size, then run."""
        if self.l0_i2h_weight.shape[1] == 0:
            features = (
                batch_size_of(inputs, 2)
                if getattr(inputs, "_outputs", None) is not None or len(inputs.shape) == 3
                else 0
            )
            if features:
                for name, shape in self._shapes(features):
                    getattr(self, name).shape = shape
                self._input_size = features
        if isinstance(inputs, NDArray):
            self._verify(inputs, states, self._layout.find("N"))
        return super().forward(inputs, states, sequence_length)

    def hybrid_forward(self, F: Any, x: Any, states: Any = None, sequence_length: Any = None, **params: Any) -> Any:
        """Join the parameters and run the operator."""
        returns_states = states is not None
        batch_axis = self._layout.find("N")
        if self._use_sequence_length and sequence_length is None:
            raise ArgumentError(
                explain(
                    self.name,
                    "The lengths of the sequences are missing.",
                    expected="layer(inputs, states, sequence_length=lengths)",
                    received="sequence_length=None",
                    fix="or make the layer without use_sequence_length=True",
                )
            )
        if states is None:
            states = self._zero_states(x, batch_axis)
        if self._layout == "NTC":
            x = F.swapaxes(x, dim1=0, dim2=1)
        flat = [F.reshape(params[name], shape=(-1,)) for name in self._packed_order()]
        packed = F._internal._rnn_param_concat(*flat, dim=0)
        lengths = {"sequence_length": sequence_length} if self._use_sequence_length else {}
        outputs = F.RNN(x, packed, *states, **lengths, **self._operator)
        output, ends = outputs[0], [outputs[i] for i in range(1, len(states) + 1)]
        if self._layout == "NTC":
            output = F.swapaxes(output, dim1=0, dim2=1)
        return (output, ends) if returns_states else output

    def _zero_states(self, x: Any, batch_axis: int) -> list[Any]:
        """Return states of zeros that fit the data."""
        if not isinstance(x, NDArray):
            return self.begin_state(batch_size_of(x, batch_axis), func=symbol.zeros)
        return [
            ndarray.zeros(info["shape"], ctx=x.context, dtype=info["dtype"])
            for info in self.state_info(x.shape[batch_axis])
        ]

    def _verify(self, x: NDArray, states: Any, batch_axis: int) -> None:
        """Refuse inputs and states that do not fit, in words."""
        if len(x.shape) != 3:
            raise ShapeError(
                explain(
                    self.name,
                    "The data must have three axes.",
                    expected=f"layout {self._layout}",
                    received=f"shape {x.shape}",
                )
            )
        features = self.l0_i2h_weight.shape[1]
        if x.shape[2] != features:
            raise ShapeError(
                explain(
                    self.name,
                    "The data have another number of features than the layer.",
                    expected=f"(…, …, {features})",
                    received=f"shape {x.shape}",
                    fix="leave input_size out: it is inferred from the first batch",
                )
            )
        for info, state in zip(self.state_info(x.shape[batch_axis]), states or ()):
            if tuple(state.shape) != info["shape"]:
                raise ShapeError(
                    explain(
                        self.name,
                        "A recurrent state has the wrong shape.",
                        expected=info["shape"],
                        received=tuple(state.shape),
                        fix=f"make it with layer.begin_state(batch_size={x.shape[batch_axis]})",
                    )
                )
        if states is not None and len(states) != len(self.state_info()):
            raise ShapeError(
                explain(
                    self.name,
                    "The number of recurrent states is wrong.",
                    expected=f"{len(self.state_info())} states: "
                    + ("hidden and cell" if self._mode == "lstm" else "hidden"),
                    received=len(states),
                )
            )

    def _unfuse(self) -> HybridSequentialRNNCell:
        """Return a stack of cells that shares this layer's parameters: for unrolling step by step."""
        make = {
            "rnn_relu": lambda **k: RNNCell(self._hidden_size, activation="relu", **k),
            "gru": lambda **k: GRUCell(self._hidden_size, **k),
            "rnn_tanh": lambda **k: RNNCell(self._hidden_size, activation="tanh", **k),
            "lstm": lambda **k: LSTMCell(self._hidden_size, **k),
        }[self._mode]
        if self._projection_size:
            raise ArgumentError(
                explain(
                    self.name, "A layer with a projection cannot be unfused.", fix="use gluon.contrib.rnn.LSTMPCell"
                )
            )
        stack = HybridSequentialRNNCell(prefix=self.prefix, params=self.params)
        with stack.name_scope():
            size = self._input_size
            for layer in range(self._num_layers):
                cells = [make(input_size=size, prefix=f"{direction}{layer}_") for direction in ("l", "r")[: self._dir]]
                stack.add(BidirectionalCell(cells[0], cells[1]) if self._dir == 2 else cells[0])
                if self._dropout > 0 and layer != self._num_layers - 1:
                    stack.add(DropoutCell(self._dropout))
                size = self._hidden_size * self._dir
        return stack


class RNN(_RNNLayer):
    """Elman network over sequences: h_t = activation(W_i2h x_t + b_i2h + W_h2h h_{t-1} + b_h2h).

    Parameters
    ----------
    hidden_size, num_layers : size of the state, number of layers
    activation : "relu" or "tanh"
    layout : "TNC" (time, batch, features) or "NTC" of inputs and outputs
    dropout : share of each layer's output (but the last's) that is dropped in train mode
    bidirectional : whether each layer runs backward, too; outputs are joined
    input_size : number of features; 0: taken from the first call
    i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer : how the parameters
        start
    use_sequence_length : whether calls take `sequence_length`

    Inputs and outputs (TNC): **data** (T, N, C) to **out** (T, N, directions·hidden_size); each state
    (layers·directions, N, hidden_size).

    >>> from glueball import nd
    >>> layer = RNN(4); layer.initialize()
    >>> layer(nd.ones((3, 2, 5))).shape
    (3, 2, 4)
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        activation: str = "relu",
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        input_size: int = 0,
        dtype: Any = "float32",
        **kwargs: Any,
    ) -> None:
        if activation not in ("relu", "tanh"):
            raise ArgumentError(
                explain("RNN", "Unknown activation.", expected="'relu' or 'tanh'", received=repr(activation))
            )
        super().__init__(
            hidden_size,
            num_layers,
            layout,
            dropout,
            bidirectional,
            input_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            "rnn_" + activation,
            None,
            None,
            None,
            None,
            False,
            dtype,
            **kwargs,
        )


class LSTM(_RNNLayer):
    """Long short-term memory over sequences; gates in the order input, forget, cell, output (see LSTMCell).

    Parameters
    ----------
    hidden_size, num_layers : size of the states, number of layers
    layout : "TNC" (time, batch, features) or "NTC" of inputs and outputs
    dropout : share of each layer's output (but the last's) that is dropped in train mode
    bidirectional : whether each layer runs backward, too; outputs are joined
    input_size : number of features; 0: taken from the first call
    i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer : how the parameters
        start
    projection_size, h2r_weight_initializer : size to which the output is projected (LSTMP), and how that matrix starts
    use_sequence_length : whether calls take `sequence_length`

    States: hidden (layers·directions, N, projection_size or hidden_size), cell (layers·directions, N, hidden_size).

    >>> from glueball import nd
    >>> layer = LSTM(4, num_layers=2, bidirectional=True); layer.initialize()
    >>> output, (hidden, cell) = layer(nd.ones((3, 2, 5)), layer.begin_state(batch_size=2))
    >>> output.shape, hidden.shape
    ((3, 2, 8), (4, 2, 4))
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        projection_size: int | None = None,
        h2r_weight_initializer: Any = None,
        state_clip_min: float | None = None,
        state_clip_max: float | None = None,
        state_clip_nan: bool = False,
        dtype: Any = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers,
            layout,
            dropout,
            bidirectional,
            input_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            "lstm",
            projection_size,
            h2r_weight_initializer,
            state_clip_min,
            state_clip_max,
            state_clip_nan,
            dtype,
            **kwargs,
        )


class GRU(_RNNLayer):
    """Gated recurrent units over sequences; gates in the order reset, update, new (see GRUCell).

    Parameters
    ----------
    hidden_size, num_layers : size of the state, number of layers
    layout : "TNC" (time, batch, features) or "NTC" of inputs and outputs
    dropout : share of each layer's output (but the last's) that is dropped in train mode
    bidirectional : whether each layer runs backward, too; outputs are joined
    input_size : number of features; 0: taken from the first call
    i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer : how the parameters
        start
    use_sequence_length : whether calls take `sequence_length`

    >>> from glueball import nd
    >>> layer = GRU(4, layout="NTC"); layer.initialize()
    >>> layer(nd.ones((2, 3, 5))).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int = 1,
        layout: str = "TNC",
        dropout: float = 0,
        bidirectional: bool = False,
        input_size: int = 0,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        dtype: Any = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers,
            layout,
            dropout,
            bidirectional,
            input_size,
            i2h_weight_initializer,
            h2h_weight_initializer,
            i2h_bias_initializer,
            h2h_bias_initializer,
            "gru",
            None,
            None,
            None,
            None,
            False,
            dtype,
            **kwargs,
        )
