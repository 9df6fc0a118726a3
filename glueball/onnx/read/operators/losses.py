"""Losses: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.

The one idea: the score of the right class is picked along axis 1; what is ignored has the weight 0, and a mean divides
by the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..held import Held, Refused
from ..node import Step, reads


@reads("NegativeLogLikelihoodLoss")
def _likelihood(s: Step) -> Held:
    return _loss(s, s.x)


@reads("SoftmaxCrossEntropyLoss")
def _cross_entropy(s: Step) -> Sequence[Held]:
    logarithms = s.call("log_softmax", s.x, axis=1)
    return [_loss(s, logarithms), logarithms]


def _loss(s: Step, scores: Held) -> Held:
    labels, weights, ignored = s.input(1), s.maybe(2), s.attrs.get("ignore_index")
    places = s.cast(labels, "int64")
    kept: Held | None = None
    if ignored is not None:
        keep = s.cast(s.call("broadcast_not_equal", places, s.const(ignored, "int64")), "bool")
        places = s.call("where", keep, places, s.call("zeros_like", places))
        kept = s.cast(keep, scores.dtype)
    picked = s.call("negative", s.call("pick", scores, places, axis=1))
    if weights is not None:
        own = s.call("take", weights, places, axis=0)
        kept = own if kept is None else s.call("broadcast_mul", kept, own)
    if kept is not None:
        picked = s.call("broadcast_mul", picked, kept)
    how = s.get("reduction", "mean")
    if how == "none":
        return picked
    if how not in ("mean", "sum"):
        raise Refused(f"it reduces by {how}")
    if how == "mean" and kept is not None:
        total = s.call("broadcast_div", s.call("sum", picked), s.call("sum", kept))
    else:
        total = s.call(how, picked)
    return s.reshape(total, ())
