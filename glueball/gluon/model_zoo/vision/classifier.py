"""What all networks of the zoo share: `features`, then `output`; and how trained parameters get in."""

from __future__ import annotations

from typing import Any, TypeVar

from ...hybrid import HybridBlock
from ..model_store import get_model_file

__all__ = ["Classifier", "finish"]


class Classifier(HybridBlock):
    """Base of the networks: `features` (all but the last layer), then `output` (classes)."""

    features: HybridBlock
    output: HybridBlock

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Return the scores of the classes, before softmax."""
        return self.output(self.features(x))


Network = TypeVar("Network", bound=Classifier)


def finish(net: Network, name: str, pretrained: bool, ctx: Any, root: str | None) -> Network:
    """Load trained parameters if they are wanted; return the network."""
    if pretrained:
        net.load_parameters(get_model_file(name, root=root), ctx=ctx)
    return net
