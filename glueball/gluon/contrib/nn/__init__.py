"""Rarer layers: branches side by side, the identity, sub-pixel enlargement, and two that older code asks for."""

from . import basic_layers
from .basic_layers import *

__all__ = basic_layers.__all__
