"""Names that are given once: an ONNX graph's (writer.py) and those of the graph that is read (read/builder.py).

The one idea: a value keeps the name that was wanted for it; where that is taken it gets a number behind it. Names of
blocks and parameters are another matter (base/naming.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

__all__ = ["Names"]


@final
class Names:
    """The names that are taken.

    >>> names = Names(["relu"])
    >>> names.fresh("relu"), names.fresh("relu"), names.fresh("tanh")
    ('relu_1', 'relu_2', 'tanh')
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def fresh(self, wanted: str) -> str:
        """Return `wanted`, or `wanted_1`, `wanted_2` ... where the name is taken."""
        name = wanted
        while name in self._taken:
            self._counts[wanted] = self._counts.get(wanted, 0) + 1
            name = f"{wanted}_{self._counts[wanted]}"
        self._taken.add(name)
        return name
