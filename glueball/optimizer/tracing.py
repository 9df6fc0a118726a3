"""What an optimiser does at a step, as expressions and numbers: for steps that are compiled whole.

The one idea: weights with the same step (learning rate, decay, count, group) share a rule; the rule is written down
once (executor/jit/update.py) and asked for its numbers at every further step. Not here: the plan that updates
(executor/step.py), rules themselves (sgd.py, adam.py, …).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

from ..executor.jit.update import Traced, trace_rule
from ..ndarray import NDArray
from .optimizer import Optimizer, Step
from .updater import Updater

__all__ = ["Updates", "counted", "states_of", "why_not"]


def why_not(updater: Updater) -> str | None:
    """Return why an optimiser's updates cannot be part of a compiled step; None where they may."""
    optimizer = updater.optimizer
    kind = type(optimizer)
    own = kind.update is not Optimizer.update or kind.update_multi_precision is not Optimizer.update_multi_precision
    if own or optimizer.multi_precision or type(updater) is not Updater:
        return f"{kind.__name__} updates in its own way"
    return None


@contextmanager
def counted(optimizer: Optimizer, indices: Sequence[Any]) -> Iterator[None]:
    """Count an update of these weights; an exception takes it back."""
    counts, total = dict(optimizer._index_update_count), optimizer.num_update
    optimizer._update_count(indices)
    try:
        yield
    except BaseException:
        optimizer._index_update_count.clear()
        optimizer._index_update_count.update(counts)
        optimizer.num_update = total
        raise


def states_of(updater: Updater, index: Any, weight: NDArray) -> list[NDArray]:
    """Return the states of a weight, which are made at its first update."""
    if updater._tensors.get(index) is not weight._t:
        updater._prepare(index, weight)
    state = updater.states[index]
    return [] if state is None else list(state) if isinstance(state, (tuple, list)) else [state]


@final
class Updates:
    """The rules of a step that has been counted.

    Parameters
    ----------
    optimizer, indices : the weights, by the optimiser's indices
    counts : how many states each weight has

    Attributes
    ----------
    traced : a rule per group of weights; group_of : each weight's group
    numbers : of all rules; first : where those of each group begin

    Raises
    ------
    NotCompiled : a rule is no arithmetic of elements
    """

    def __init__(self, optimizer: Optimizer, indices: Sequence[Any], counts: Sequence[int]) -> None:
        self.optimizer, self.indices, self.counts = optimizer, list(indices), list(counts)
        self.traced: list[Traced] = []
        self.first: list[int] = []
        self.numbers: list[float] = []
        steps = self._steps()
        self.group_of = _groups(steps)
        for step, states in self._representatives(steps):
            self.traced.append(trace_rule(self._rule(step), states))
            self.first.append(len(self.numbers))
            self.numbers += self.traced[-1].numbers

    def _steps(self) -> list[tuple[Any, ...]]:
        o, indices = self.optimizer, self.indices
        counts = o._index_update_count
        return list(zip(o._get_lrs(indices), o._get_wds(indices), [counts[i] for i in indices],
                        map(o.group, indices), self.counts))  # fmt: skip

    def _representatives(self, steps: list[tuple[Any, ...]]) -> list[tuple[Step, int]]:
        """The step of each group, and how many states its weights have."""
        found = (steps[self.group_of.index(group)] for group in range(max(self.group_of) + 1))
        return [(Step(*step[:4]), step[4]) for step in found]

    def _rule(self, step: Step) -> Callable[..., None]:
        return lambda w, g, states: self.optimizer.rule(w, g, states, step)

    def refresh(self) -> bool:
        """Take over the numbers of the step that has been counted now; False where the rules are others than before."""
        steps = self._steps()
        if _groups(steps) != self.group_of:
            return False
        numbers: list[float] = []
        for traced, (step, states) in zip(self.traced, self._representatives(steps)):
            found = traced.numbers_now(self._rule(step), states)
            if found is None:
                return False
            numbers += found
        self.numbers = numbers
        return True


def _groups(steps: list[tuple[Any, ...]]) -> list[int]:
    """Number the weights by equal steps."""
    if steps.count(steps[0]) == len(steps):
        return [0] * len(steps)
    known = {step: number for number, step in enumerate(dict.fromkeys(steps))}
    return [known[step] for step in steps]
