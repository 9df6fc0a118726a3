"""Deformable convolutions: convolutions whose kernel's points move with the data."""

from . import conv_layers
from .conv_layers import *

__all__ = conv_layers.__all__
