"""What this installation can do: `Features()` asks torch, under the names that programs check.

The one idea: a feature is what a program may rely on, not how something was built: `CUDA` means that a GPU can be
used now. Versions and devices for people: `python -m glueball info`.
"""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

from .base.errors import ArgumentError, explain
from .base.features import torch_features
from .base.registry import closest

__all__ = ["Feature", "Features", "feature_list"]


class Feature(NamedTuple):
    """A feature and whether it is there."""

    name: str
    enabled: bool

    def __repr__(self) -> str:
        return f"{'✔' if self.enabled else '✖'} {self.name}"


def feature_list() -> list[Feature]:
    """Return all features with their state.

    >>> [feature.enabled for feature in feature_list() if feature.name == "PROFILER"]
    [True]
    """
    found = {
        **torch_features(),
        "OPENCV": importlib.util.find_spec("PIL") is not None,  # images can be decoded
        "PROFILER": True,
        "INT64_TENSOR_SIZE": True,
        "DIST_KVSTORE": False,
        "TENSORRT": False,
        "TVM_OP": False,
    }
    return [Feature(name, enabled) for name, enabled in found.items()]


class Features(dict[str, Feature]):
    """The features by name.

    >>> Features().is_enabled("profiler")
    True
    """

    def __init__(self) -> None:
        super().__init__({feature.name: feature for feature in feature_list()})

    def is_enabled(self, feature_name: str) -> bool:
        """Return whether a feature is there; the name may be in lower case."""
        feature = self.get(feature_name.upper())
        if feature is None:
            raise ArgumentError(explain("Features.is_enabled", "There is no feature of this name.",
                                        received=feature_name, fix=closest(feature_name.upper(), list(self))))
        return feature.enabled

    def __repr__(self) -> str:
        return str(list(self.values()))
