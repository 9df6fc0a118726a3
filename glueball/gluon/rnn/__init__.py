"""Recurrent networks: cells for single steps, cells made of cells, and fused layers over whole sequences.

Cells (`LSTMCell`, …) are in rnn_cell.py, their compositions (`SequentialRNNCell`, `BidirectionalCell`, `ZoneoutCell`,
…) in rnn_modifier.py, the layers (`RNN`, `LSTM`, `GRU`) in rnn_layer.py; experimental cells are in gluon.contrib.rnn.
"""

from __future__ import annotations

from . import rnn_cell, rnn_layer, rnn_modifier
from .rnn_cell import GRUCell, HybridRecurrentCell, LSTMCell, RecurrentCell, RNNCell
from .rnn_layer import GRU, LSTM, RNN
from .rnn_modifier import (
    BidirectionalCell,
    DropoutCell,
    HybridSequentialRNNCell,
    ModifierCell,
    ResidualCell,
    SequentialRNNCell,
    ZoneoutCell,
)

__all__ = [
    "RNN",
    "LSTM",
    "GRU",
    "RecurrentCell",
    "HybridRecurrentCell",
    "RNNCell",
    "LSTMCell",
    "GRUCell",
    "SequentialRNNCell",
    "HybridSequentialRNNCell",
    "BidirectionalCell",
    "ModifierCell",
    "DropoutCell",
    "ZoneoutCell",
    "ResidualCell",
]

for _name in rnn_modifier.__all__:  # client code finds every cell in gluon.rnn.rnn_cell
    setattr(rnn_cell, _name, getattr(rnn_modifier, _name))
