"""Updater: an optimiser together with the states of the weights it updates; what Trainer and KVStore call.

The one idea: states are made at a weight's first update, so whoever calls needs to know indices only. How states become
bytes, and why they are not a pickle, is in `state_file.py`.
"""

from __future__ import annotations

from typing import Any, final

from ..base.context import Context
from ..base.errors import ArgumentError, explain
from ..ndarray import NDArray
from . import state_file
from .optimizer import Optimizer, State

__all__ = ["Updater", "get_updater"]


@final
class Updater:
    """Call it with ``(index, gradient, weight)``, or with lists of them, to update weights in place.

    Examples
    --------
    >>> import glueball as mx
    >>> updater = mx.optimizer.get_updater(mx.optimizer.create("sgd", learning_rate=0.5))
    >>> weight = mx.nd.ones((2,))
    >>> updater(0, mx.nd.ones((2,)), weight)
    >>> weight.asnumpy().tolist()
    [0.5, 0.5]
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.states: dict[Any, State] = {}
        self.states_synced: dict[Any, bool] = {}
        self.aggregate_updates = True
        self._one_by_one = type(optimizer).update_multi_precision is not Optimizer.update_multi_precision

    def __call__(self, index: Any, grad: Any, weight: Any) -> None:
        if not isinstance(index, (list, tuple)):
            index, grad, weight = (index,), (grad,), (weight,)
        states, synced, own = self.states, self.states_synced, []
        for one, array in zip(index, weight):
            if not synced.get(one, False):
                self._prepare(one, array)
            own.append(states[one])
        if self._one_by_one:
            for arguments in zip(index, weight, grad, own):
                self.optimizer.update_multi_precision(*arguments)
        else:
            self.optimizer.update_multi_precision(index, weight, grad, own)

    def _prepare(self, index: Any, weight: NDArray) -> None:
        """Make the state of a weight, or bring one that was loaded to the weight's device."""
        fresh = self.optimizer.create_state_multi_precision(index, weight)
        if index in self.states:
            loaded = self.states[index]
            if _shapes(loaded) != _shapes(fresh):
                name = self.optimizer.idx2name.get(index, index)
                raise ArgumentError(
                    explain(
                        "optimizer states",
                        f"The states that were loaded do not belong to weight {name!r}.",
                        expected=f"shapes {_shapes(fresh)} for a weight of shape {weight.shape}",
                        received=_shapes(loaded),
                        fix="load states that were saved for the same network and optimizer",
                    )
                )
            self.states[index] = self.sync_state_context(loaded, weight.context)
        else:
            self.states[index] = fresh
        self.states_synced[index] = True

    def sync_state_context(self, state: State, context: Context) -> State:
        """Return the state with its arrays in a context."""
        if isinstance(state, NDArray):
            return state.as_in_context(context)
        if isinstance(state, (tuple, list)):
            return type(state)(self.sync_state_context(part, context) for part in state)
        return state

    def get_states(self, dump_optimizer: bool = False) -> bytes:
        """Return the states as bytes; with `dump_optimizer` also the optimiser's settings and update counts."""
        return state_file.encode(self.states, self.optimizer if dump_optimizer else None)

    def set_states(self, states: bytes) -> None:
        """Take over what `get_states` returned; nothing changes when it cannot be read.

        Raises
        ------
        FileFormatError
            For truncated or foreign bytes, among them the pickles of MXNet.
        """
        self.states = state_file.decode(states, self.optimizer)
        self.states_synced = dict.fromkeys(self.states, False)


def _shapes(state: State) -> Any:
    if isinstance(state, (tuple, list)):
        return tuple(_shapes(part) for part in state)
    return state if state is None else tuple(state.shape)


def get_updater(optimizer: Optimizer) -> Updater:
    """Return an `Updater` for an optimiser."""
    return Updater(optimizer)
