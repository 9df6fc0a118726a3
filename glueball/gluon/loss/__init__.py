"""Losses: blocks that compare predictions with labels and return one number per sample.

The one idea: `loss(pred, label)` is a hybrid block like any other; `loss.mean()` or `trainer.step(batch_size)` does the
rest. Here are the names only: base.py has `Loss`; regression.py, classification.py and pairs.py have the losses.
Metrics, which are for people and have no gradient, are in metric/.
"""

from . import classification, pairs, regression
from .base import Loss, _apply_weighting, _reshape_like
from .classification import *
from .pairs import *
from .regression import *

__all__ = ["Loss"]
__all__ += regression.__all__ + classification.__all__ + pairs.__all__
