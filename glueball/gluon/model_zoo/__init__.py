"""Ready-made networks: `model_zoo.vision` and where their trained parameters are looked for (`model_store`)."""

from . import model_store, vision

__all__ = ["model_store", "vision"]
