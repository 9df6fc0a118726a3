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
        self.states_synced: dict[Any, bool] = {}  # False: loaded, and not used yet
        self.aggregate_updates = True
        self._tensors: dict[Any, Any] = {}  # the tensor of each weight that its state was made for
        self._one_by_one = type(optimizer).update_multi_precision is not Optimizer.update_multi_precision

    def __call__(self, index: Any, grad: Any, weight: Any) -> None:
        if not isinstance(index, (list, tuple)):
            index, grad, weight = (index,), (grad,), (weight,)
        states, tensors, own = self.states, self._tensors, []
        for one, array in zip(index, weight):
            if tensors.get(one) is not array._t:
                self._prepare(one, array)
            own.append(states[one])
        if self._one_by_one:
            for arguments in zip(index, weight, grad, own):
                self.optimizer.update_multi_precision(*arguments)
        else:
            self.optimizer.update_multi_precision(index, weight, grad, own)

    def _prepare(self, index: Any, weight: NDArray) -> None:
        """Make the state of a weight, or fit one that was loaded, or made before the weight was moved or cast."""
        fresh, known = self.optimizer.create_state_multi_precision(index, weight), self.states.get(index)
        if index not in self.states or (_shapes(known) != _shapes(fresh) and self.states_synced[index]):
            self.states[index] = fresh
        elif _shapes(known) != _shapes(fresh):
            name = self.optimizer.idx2name.get(index, index)
            raise ArgumentError(
                explain(
                    "optimizer states",
                    f"The states that were loaded do not belong to weight {name!r}.",
                    expected=f"shapes {_shapes(fresh)} for a weight of shape {weight.shape}",
                    received=_shapes(known),
                    fix="load states that were saved for the same network and optimizer",
                )
            )
        else:
            self.states[index] = _fitted(known, fresh)
        self.states_synced[index] = True
        self._tensors[index] = weight._t

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
        self._tensors = {}


def _shapes(state: State) -> Any:
    if isinstance(state, (tuple, list)):
        return tuple(_shapes(part) for part in state)
    return tuple(state.shape) if isinstance(state, NDArray) else None


def _fitted(state: State, like: State) -> State:
    """Return a state with the element types and contexts of another; the same arrays where they fit."""
    if isinstance(state, (tuple, list)):
        return type(state)(_fitted(part, other) for part, other in zip(state, like))
    if not isinstance(state, NDArray) or (state._t.dtype is like._t.dtype and state.context is like.context):
        return state
    return NDArray(state._t.detach().to(like._t), like.context)


def get_updater(optimizer: Optimizer) -> Updater:
    """Return an `Updater` for an optimiser."""
    return Updater(optimizer)
