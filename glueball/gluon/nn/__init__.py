"""Layers: what networks are made of.

    from glueball.gluon import nn
    net = nn.HybridSequential()
    net.add(nn.Conv2D(32, 3, activation='relu'), nn.MaxPool2D(), nn.Flatten(), nn.Dense(10))

Here are the names only. containers.py holds other layers; basic_layers.py Dense, Dropout, Embedding; normalization.py,
activations.py, conv_layers.py and pooling.py what they say. Recurrent layers are in gluon.rnn, rarer ones in
gluon.contrib.nn.
"""

from ..block import Block
from ..hybrid import HybridBlock
from ..symbol_block import SymbolBlock
from . import activations, basic_layers, conv_layers
from .activations import *
from .basic_layers import *
from .conv_layers import *

__all__ = ["Block", "HybridBlock", "SymbolBlock"]
__all__ += basic_layers.__all__ + conv_layers.__all__ + activations.__all__
