"""Convolutional recurrent cells: RNN, LSTM and GRU whose two maps are convolutions, in one, two and three dimensions.

The one idea: one base class computes the maps for any number of dimensions and any layout with a batch axis in front;
the three step formulas are those of gluon.rnn, and the nine classes only fix dimensions and names. The state keeps
the spatial size of the input map's result, so the hidden convolution is padded to keep its size, which needs odd
kernels.
"""

from __future__ import annotations

from typing import Any

from ....base.errors import ArgumentError, explain
from ...rnn.rnn_cell import HybridRecurrentCell, activated

__all__ = [
    "Conv1DRNNCell",
    "Conv2DRNNCell",
    "Conv3DRNNCell",
    "Conv1DLSTMCell",
    "Conv2DLSTMCell",
    "Conv3DLSTMCell",
    "Conv1DGRUCell",
    "Conv2DGRUCell",
    "Conv3DGRUCell",
]


class _ConvCell(HybridRecurrentCell):
    """Parameters, shapes and the two convolutions.

    Parameters
    ----------
    input_shape : shape of one step without the batch axis, as in `conv_layout`
    hidden_channels : channels of state and output
    i2h_kernel, h2h_kernel : kernel sizes, an int or one number per spatial axis; those of the hidden map are odd
    i2h_pad, i2h_dilate, h2h_dilate : padding and dilation, an int or one number per spatial axis
    i2h_weight_initializer, h2h_weight_initializer, i2h_bias_initializer, h2h_bias_initializer : how the parameters
        start
    conv_layout : layout of data and states; NCW, NCHW or NCDHW by default
    activation : activation of the new value, a name or a function
    """

    _gates = 1
    _states = 1
    _dims = 0

    def __init__(
        self,
        input_shape: Any,
        hidden_channels: int,
        i2h_kernel: Any,
        h2h_kernel: Any,
        i2h_pad: Any = 0,
        i2h_dilate: Any = 1,
        h2h_dilate: Any = 1,
        i2h_weight_initializer: Any = None,
        h2h_weight_initializer: Any = None,
        i2h_bias_initializer: Any = "zeros",
        h2h_bias_initializer: Any = "zeros",
        conv_layout: str | None = None,
        activation: Any = "tanh",
        prefix: str | None = None,
        params: Any = None,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        self._input_shape, self._hidden_channels, self._activation = tuple(input_shape), hidden_channels, activation
        self._conv_layout = conv_layout or {1: "NCW", 2: "NCHW", 3: "NCDHW"}[self._dims]
        self._channel_axis = self._conv_layout.find("C")
        self._verify_input_shape()
        self._i2h_kernel, self._h2h_kernel = (
            self._sizes(i2h_kernel, "i2h_kernel"),
            self._sizes(h2h_kernel, "h2h_kernel"),
        )
        self._i2h_pad, self._i2h_dilate = self._sizes(i2h_pad, "i2h_pad"), self._sizes(i2h_dilate, "i2h_dilate")
        self._h2h_dilate = self._sizes(h2h_dilate, "h2h_dilate")
        self._h2h_pad = tuple(d * (k - 1) // 2 for d, k in zip(self._h2h_dilate, self._h2h_kernel))
        self._verify_hidden_kernel()
        rows = self._gates * hidden_channels
        channel = self._channel_axis - 1
        self._in_channels = self._input_shape[channel]
        spatial = [size for axis, size in enumerate(self._input_shape) if axis != channel]
        reach = [2 * p - d * (k - 1) for p, d, k in zip(self._i2h_pad, self._i2h_dilate, self._i2h_kernel)]
        self._state_shape = self._with_channels(hidden_channels, [size + r for size, r in zip(spatial, reach)])
        i2h_shape = (rows, *self._with_channels(self._in_channels, self._i2h_kernel))
        h2h_shape = (rows, *self._with_channels(hidden_channels, self._h2h_kernel))
        get, later = self.params.get, {"allow_deferred_init": True}
        self.i2h_weight = get("i2h_weight", shape=i2h_shape, init=i2h_weight_initializer, **later)
        self.h2h_weight = get("h2h_weight", shape=h2h_shape, init=h2h_weight_initializer, **later)
        self.i2h_bias = get("i2h_bias", shape=(rows,), init=i2h_bias_initializer, **later)
        self.h2h_bias = get("h2h_bias", shape=(rows,), init=h2h_bias_initializer, **later)

    def _with_channels(self, count: int, sizes: Any) -> tuple[int, ...]:
        """Put the number of channels between the spatial sizes, where the layout has them."""
        channel = self._channel_axis - 1
        return (*sizes[:channel], count, *sizes[channel:])

    def _sizes(self, value: Any, name: str) -> tuple[int, ...]:
        """Return one number per spatial axis."""
        if isinstance(value, int):
            return (value,) * self._dims
        if len(value) != self._dims:
            problem = f"{name} does not fit the number of spatial axes."
            expected = f"an int or {self._dims} numbers"
            raise ArgumentError(explain(type(self).__name__, problem, expected=expected, received=value))
        return tuple(value)

    def _verify_input_shape(self) -> None:
        shape, layout = self._input_shape, self._conv_layout
        if len(shape) != self._dims + 1 or len(layout) != self._dims + 2 or layout[0] != "N":
            problem = "input_shape is the shape of one step without its batch axis."
            expected = f"{self._dims + 1} sizes as {layout[1:]}"
            raise ArgumentError(explain(type(self).__name__, problem, expected=expected, received=shape))

    def _verify_hidden_kernel(self) -> None:
        if any(size % 2 == 0 for size in self._h2h_kernel):
            problem = "The hidden kernel must keep the size of the state."
            received = f"h2h_kernel={self._h2h_kernel}"
            raise ArgumentError(explain(type(self).__name__, problem, expected="odd numbers", received=received))

    def state_info(self, batch_size: int = 0) -> list[dict[str, Any]]:
        """Return shape and layout of each state."""
        return [
            {"shape": (batch_size, *self._state_shape), "__layout__": self._conv_layout} for _ in range(self._states)
        ]

    def _maps(self, F: Any, x: Any, state: Any, params: dict[str, Any]) -> tuple[Any, Any]:
        """Return the convolutions of input and state."""
        prefix = f"t{self._counter}_"
        shared = {"num_filter": self._gates * self._hidden_channels, "layout": self._conv_layout}
        i2h = F.Convolution(
            x,
            params["i2h_weight"],
            params["i2h_bias"],
            kernel=self._i2h_kernel,
            pad=self._i2h_pad,
            dilate=self._i2h_dilate,
            name=prefix + "i2h",
            **shared,
        )
        h2h = F.Convolution(
            state,
            params["h2h_weight"],
            params["h2h_bias"],
            kernel=self._h2h_kernel,
            pad=self._h2h_pad,
            dilate=self._h2h_dilate,
            name=prefix + "h2h",
            **shared,
        )
        return i2h, h2h

    def __repr__(self) -> str:
        name = self._activation if isinstance(self._activation, str) else repr(self._activation)
        rows = self._gates * self._hidden_channels
        return f"{type(self).__name__}({self._in_channels} -> {rows}, {name}, {self._conv_layout})"


class _ConvRNN(_ConvCell):
    def _alias(self) -> str:
        return "conv_rnn"

    def hybrid_forward(self, F: Any, x: Any, states: Any, **params: Any) -> Any:
        """Run one step."""
        i2h, h2h = self._maps(F, x, states[0], params)
        output = activated(F, i2h + h2h, self._activation)
        return output, [output]


class _ConvLSTM(_ConvCell):
    _gates = 4
    _states = 2

    def _alias(self) -> str:
        return "conv_lstm"

    def hybrid_forward(self, F: Any, x: Any, states: Any, **params: Any) -> Any:
        """Run one step."""
        i2h, h2h = self._maps(F, x, states[0], params)
        gates = F.SliceChannel(i2h + h2h, num_outputs=4, axis=self._channel_axis)
        memory = F.sigmoid(gates[1]) * states[1] + F.sigmoid(gates[0]) * activated(F, gates[2], self._activation)
        output = F.sigmoid(gates[3]) * activated(F, memory, self._activation)
        return output, [output, memory]


class _ConvGRU(_ConvCell):
    _gates = 3

    def _alias(self) -> str:
        return "conv_gru"

    def hybrid_forward(self, F: Any, x: Any, states: Any, **params: Any) -> Any:
        """Run one step."""
        i2h, h2h = self._maps(F, x, states[0], params)
        left = F.SliceChannel(i2h, num_outputs=3, axis=self._channel_axis)
        right = F.SliceChannel(h2h, num_outputs=3, axis=self._channel_axis)
        update = F.sigmoid(left[1] + right[1])
        new = activated(F, left[2] + F.sigmoid(left[0] + right[0]) * right[2], self._activation)
        output = (1.0 - update) * new + update * states[0]
        return output, [output]


class Conv1DRNNCell(_ConvRNN):
    """Elman network whose maps are one-dimensional convolutions; arguments as in `_ConvCell`.

    >>> from glueball import nd
    >>> cell = Conv1DRNNCell((2, 6), 3, 3, 3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(nd.ones((2, 2, 6)), cell.begin_state(batch_size=2))[0].shape
    (2, 3, 6)
    """

    _dims = 1


class Conv2DRNNCell(_ConvRNN):
    """Elman network whose maps are two-dimensional convolutions; arguments as in `_ConvCell`.

    >>> from glueball import nd
    >>> cell = Conv2DRNNCell((2, 6, 6), 3, 3, 3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(nd.ones((2, 2, 6, 6)), cell.begin_state(batch_size=2))[0].shape
    (2, 3, 6, 6)
    """

    _dims = 2


class Conv3DRNNCell(_ConvRNN):
    """Elman network whose maps are three-dimensional convolutions; arguments as in `_ConvCell`.

    >>> from glueball import nd
    >>> cell = Conv3DRNNCell((2, 6, 6, 6), 3, 3, 3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(nd.ones((2, 2, 6, 6, 6)), cell.begin_state(batch_size=2))[0].shape
    (2, 3, 6, 6, 6)
    """

    _dims = 3


class Conv1DLSTMCell(_ConvLSTM):
    """LSTM (Shi et al. 2015) whose maps are one-dimensional convolutions; arguments as in `_ConvCell`.

    >>> from glueball import nd
    >>> cell = Conv1DLSTMCell((2, 6), 3, 3, 3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(nd.ones((2, 2, 6)), cell.begin_state(batch_size=2))[0].shape
    (2, 3, 6)
    """

    _dims = 1


class Conv2DLSTMCell(_ConvLSTM):
    """LSTM (Shi et al. 2015) whose maps are two-dimensional convolutions; arguments as in `_ConvCell`.

    >>> from glueball import nd
    >>> cell = Conv2DLSTMCell((2, 6, 6), 3, 3, 3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(nd.ones((2, 2, 6, 6)), cell.begin_state(batch_size=2))[0].shape
    (2, 3, 6, 6)
    """

    _dims = 2


class Conv3DLSTMCell(_ConvLSTM):
    """LSTM (Shi et al. 2015) whose maps are three-dimensional convolutions; arguments as in `_ConvCell`.

    >>> from glueball import nd
    >>> cell = Conv3DLSTMCell((2, 6, 6, 6), 3, 3, 3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(nd.ones((2, 2, 6, 6, 6)), cell.begin_state(batch_size=2))[0].shape
    (2, 3, 6, 6, 6)
    """

    _dims = 3


class Conv1DGRUCell(_ConvGRU):
    """GRU whose maps are one-dimensional convolutions; arguments as in `_ConvCell`.

    >>> from glueball import nd
    >>> cell = Conv1DGRUCell((2, 6), 3, 3, 3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(nd.ones((2, 2, 6)), cell.begin_state(batch_size=2))[0].shape
    (2, 3, 6)
    """

    _dims = 1


class Conv2DGRUCell(_ConvGRU):
    """GRU whose maps are two-dimensional convolutions; arguments as in `_ConvCell`.

    >>> from glueball import nd
    >>> cell = Conv2DGRUCell((2, 6, 6), 3, 3, 3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(nd.ones((2, 2, 6, 6)), cell.begin_state(batch_size=2))[0].shape
    (2, 3, 6, 6)
    """

    _dims = 2


class Conv3DGRUCell(_ConvGRU):
    """GRU whose maps are three-dimensional convolutions; arguments as in `_ConvCell`.

    >>> from glueball import nd
    >>> cell = Conv3DGRUCell((2, 6, 6, 6), 3, 3, 3, i2h_pad=1)
    >>> cell.initialize()
    >>> cell(nd.ones((2, 2, 6, 6, 6)), cell.begin_state(batch_size=2))[0].shape
    (2, 3, 6, 6, 6)
    """

    _dims = 3
