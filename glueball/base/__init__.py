"""The bottom of the house: errors, devices, dtypes, settings, names. Nothing here knows of arrays or operators; each
file says what it holds.
"""
from .errors import MXNetError

__all__ = ["MXNetError"]
