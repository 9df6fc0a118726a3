"""Trainer: applies an optimiser to a set of parameters, on one device or on several at once.

The one idea: a step is *reduce, then update*. With one device there is nothing to reduce, and all parameters go to the
updater in one call. With several, gradients are added up through a KVStore, and either the store updates its own
weights and hands them out (`update_on_kvstore`), or every device updates its copy. The rules of updating are in
`optimizer/`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .. import kvstore as kvstores
from .. import optimizer as optimizers
from ..base.context import Context
from ..base.errors import ArgumentError, ContextError, FileFormatError, UnsupportedError, explain
from ..base.files import write_atomically
from ..dispatch import announce_writes
from ..ndarray import NDArray
from ..optimizer import Optimizer, Updater
from .parameter import Parameter

__all__ = ["Trainer"]

Chosen = tuple[int, list[NDArray]]  # a parameter's index, and its array on each device


class Trainer:
    """Update `params` with `optimizer` at every `step`.

    Parameters
    ----------
    params : ParameterDict, dict, list of Parameter, or Block
        What to train, usually ``net.collect_params()``.
    optimizer : str or Optimizer
    optimizer_params : dict, optional
        Arguments of the optimiser, when it is named.
    kvstore : str, KVStore or None
        How devices exchange gradients: 'device' or 'local'. None: every device trains by itself.
    compression_params : None
        Not supported.
    update_on_kvstore : bool, optional
        Whether the store updates the weights. Default: yes, when there are several devices.

    Examples
    --------
    >>> import glueball as mx
    >>> from glueball import autograd, gluon, nd
    >>> weight = gluon.Parameter("w", shape=(1,))
    >>> weight.initialize(init="ones")
    >>> trainer = gluon.Trainer([weight], "sgd", {"learning_rate": 0.5})
    >>> with autograd.record():
    ...     loss = (weight.data() * 2).sum()
    >>> loss.backward()
    >>> trainer.step(batch_size=1)
    >>> weight.data().asscalar().item()
    0.0
    """

    def __init__(
        self,
        params: Any,
        optimizer: Any,
        optimizer_params: dict[str, Any] | None = None,
        kvstore: Any = "device",
        compression_params: Any = None,
        update_on_kvstore: bool | None = None,
    ) -> None:
        self._params = _parameters(params)
        self._param2idx = {parameter.name: index for index, parameter in enumerate(self._params)}
        if compression_params:
            raise UnsupportedError(
                explain(
                    "Trainer",
                    "Gradient compression is not supported: inside one process it would cost more than it saves.",
                    received=f"compression_params={compression_params}",
                    fix="leave compression_params out",
                )
            )
        self._optimizer = self._make_optimizer(optimizer, optimizer_params)
        self._scale = self._optimizer.rescale_grad
        self._updaters: list[Updater] = []
        self._kvstore_params: dict[str, Any] = {"kvstore": kvstore, "update_on_kvstore": update_on_kvstore}
        self._kvstore: Any = None
        self._update_on_kvstore = False
        self._kv_initialized = False
        self._amp_loss_scaler: Any = None  # set by contrib.amp.init_trainer
        self._amp_original_scale = self._scale

    def _make_optimizer(self, optimizer: Any, optimizer_params: dict[str, Any] | None) -> Optimizer:
        param_dict = dict(enumerate(self._params))
        if optimizer_params is not None and not isinstance(optimizer_params, Mapping):
            raise ArgumentError(
                explain(
                    "Trainer",
                    "optimizer_params are the optimizer's settings by name.",
                    expected="a dict",
                    received=repr(optimizer_params),
                    fix="pass {'learning_rate': 0.1}",
                )
            )
        if isinstance(optimizer, Optimizer):
            if optimizer_params:
                raise ArgumentError(
                    explain(
                        "Trainer",
                        "optimizer_params must be None when the optimizer is an object.",
                        received=optimizer_params,
                        fix="set them where the optimizer is created",
                    )
                )
            optimizer.param_dict = param_dict
            return optimizer
        return optimizers.create(optimizer, param_dict=param_dict, **(optimizer_params or {}))

    # -------------------------------------------------------------------------------------------------------- devices
    def _contexts(self) -> list[Context]:
        """Return the devices, which all parameters must share."""
        first: Parameter | None = None
        for parameter in self._params:
            if first is None:
                first = parameter
            elif parameter.list_ctx() != first.list_ctx():
                raise ContextError(
                    explain(
                        "Trainer",
                        "All parameters must be initialized on the same devices.",
                        expected=f"{first.list_ctx()}, as {first.name}",
                        received=f"{parameter.list_ctx()} for {parameter.name}",
                        fix="pass the same ctx to every initialize()",
                    )
                )
        return first.list_ctx() if first is not None else []

    def _init_kvstore(self) -> None:
        """At the first use: find the devices, make the store if there is more than one, and one updater per device."""
        contexts = self._contexts()
        kvstore, on_kvstore = self._kvstore_params["kvstore"], self._kvstore_params["update_on_kvstore"]
        if kvstore is not None and (len(contexts) > 1 or not isinstance(kvstore, str)):
            self._kvstore = kvstores.create(kvstore)
            self._update_on_kvstore = self._kvstore.is_capable("optimizer") if on_kvstore is None else on_kvstore
            for index, parameter in enumerate(self._params):
                arrays = parameter.list_data()
                self._kvstore.broadcast(index, arrays[0], arrays)
            if self._update_on_kvstore:
                self._kvstore.set_optimizer(self._optimizer)
        elif kvstore is not None:
            kvstores.create(kvstore)  # a wrong name is an error with one device too
        self._updaters = [] if self._update_on_kvstore else [optimizers.get_updater(self._optimizer) for _ in contexts]
        self._kv_initialized = True

    # ------------------------------------------------------------------------------------------------- learning rates
    @property
    def optimizer(self) -> Optimizer:
        """The optimiser."""
        return self._optimizer

    @property
    def learning_rate(self) -> float:
        """The learning rate now."""
        return self._optimizer.learning_rate

    def set_learning_rate(self, lr: float) -> None:
        """Set the learning rate; refused with a UserWarning when a scheduler sets it."""
        self._optimizer.set_learning_rate(lr)

    # ---------------------------------------------------------------------------------------------------------- steps
    def step(self, batch_size: float, ignore_stale_grad: bool = False) -> None:
        """Update all parameters once: gradients are divided by `batch_size`, reduced over devices, and applied.

        Parameters
        ----------
        batch_size : int
            Usually ``data.shape[0]``, summed over devices; 1 when the loss is a mean already.
        ignore_stale_grad : bool, default False
            Leave parameters alone whose gradient is not new, instead of raising.

        Raises
        ------
        UserWarning
            When a parameter has no gradient newer than the last step.
        """
        self._prepare(batch_size)
        chosen = self._with_new_gradients(ignore_stale_grad)
        if self._update_on_kvstore and self._overflowed(chosen):
            return
        if self._kvstore is not None:
            self._reduce(chosen)
        self._apply(chosen)

    def allreduce_grads(self) -> None:
        """Add the gradients of all devices up, for changing them (clipping by norm) before `update`."""
        if not self._kv_initialized:
            self._init_kvstore()
        self._refuse_on_kvstore("allreduce_grads")
        if self._kvstore is not None:
            self._reduce([(i, p.list_data()) for i, p in enumerate(self._params) if p.grad_req != "null"])

    def update(self, batch_size: float, ignore_stale_grad: bool = False) -> None:
        """Update all parameters from gradients that `allreduce_grads` has added up; arguments as of `step`."""
        self._prepare(batch_size)
        self._refuse_on_kvstore("update")
        self._apply(self._with_new_gradients(ignore_stale_grad))

    def _prepare(self, batch_size: float) -> None:
        if not batch_size:
            raise ArgumentError(
                explain(
                    "Trainer.step",
                    "Gradients are divided by the batch size.",
                    expected="the number of samples, above 0",
                    received=f"batch_size={batch_size!r}",
                    fix="pass data.shape[0]",
                )
            )
        announce_writes(array for parameter in self._params for array in (parameter._data or {}).values())
        self._optimizer.rescale_grad = self._scale / batch_size
        if not self._kv_initialized:
            self._init_kvstore()

    def _indices(self) -> dict[Parameter, int]:
        """Return the parameters that are trained, and their numbers."""
        return {p: index for index, p in enumerate(self._params) if p.grad_req != "null"}

    def _refuse_on_kvstore(self, what: str) -> None:
        if self._update_on_kvstore:
            raise ArgumentError(
                explain(
                    f"Trainer.{what}",
                    "It is not possible when parameters are updated on the kvstore.",
                    fix="create the Trainer with update_on_kvstore=False",
                )
            )

    def _with_new_gradients(self, ignore_stale_grad: bool) -> list[Chosen]:
        """Return what to update; check that all gradients are new unless stale ones are ignored."""
        chosen, stale = [], None
        for index, parameter in enumerate(self._params):
            if parameter._grad_req == "null":
                continue
            arrays = parameter.list_data()
            for array in arrays:
                if not array._fresh_grad:
                    stale = stale or (parameter, array)
                    break
            else:
                chosen.append((index, arrays))
        if stale is not None and not ignore_stale_grad:
            raise _stale_gradient(*stale, none_is_new=not chosen)
        return chosen

    def _reduce(self, chosen: list[Chosen]) -> None:
        """Push the gradients; the store updates its weights and hands them out, or hands back the sums."""
        if not chosen:
            return
        keys, grads = [index for index, _ in chosen], [[array.grad for array in arrays] for _, arrays in chosen]
        if self._update_on_kvstore:
            self._kvstore.push(keys, grads)
            self._kvstore.pull(keys, [arrays for _, arrays in chosen])
        else:
            self._kvstore.pushpull(keys, grads)

    def _overflowed(self, chosen: list[Chosen]) -> bool:
        """Under mixed precision: adapt the loss scale; if gradients overflowed, use them up and leave the step out."""
        if self._amp_loss_scaler is None:
            return False
        arrays = [array for _, copies in chosen for array in copies]
        overflow: bool = self._amp_loss_scaler.update([array.grad for array in arrays])
        if overflow:
            for array in arrays:
                array._fresh_grad = False
        return overflow

    def _apply(self, chosen: list[Chosen]) -> None:
        """Let each device's updater update its copies of all parameters; gradients are then no longer new."""
        if not self._update_on_kvstore and self._overflowed(chosen):
            return
        indices = [index for index, _ in chosen]
        for device, updater in enumerate(self._updaters if chosen else ()):
            weights = [arrays[device] for _, arrays in chosen]
            if len(self._updaters) > 1:
                self._optimizer._set_current_context(device)
            updater(indices, [weight.grad for weight in weights], weights)
        for _, arrays in chosen:
            for array in arrays:
                array._fresh_grad = False

    # ---------------------------------------------------------------------------------------------------------- files
    def save_states(self, fname: str | os.PathLike[str]) -> None:
        """Write the optimiser's states, settings and update counts to a file (safetensors layout; never a pickle)."""
        if not self._kv_initialized:
            self._init_kvstore()
        if self._update_on_kvstore:
            self._kvstore.save_optimizer_states(fname, dump_optimizer=True)
        else:
            write_atomically(fname, self._updaters[0].get_states(dump_optimizer=True))

    def load_states(self, fname: str | os.PathLike[str]) -> None:
        """Read what `save_states` wrote; nothing changes when the file cannot be read.

        Raises
        ------
        FileFormatError
            For truncated or foreign files, among them the pickles of MXNet.
        """
        if not self._kv_initialized:
            self._init_kvstore()
        if self._update_on_kvstore:
            self._kvstore.load_optimizer_states(fname)
            return
        with open(fname, "rb") as file:
            data = file.read()
        try:
            for updater in self._updaters:
                updater.set_states(data)
        except FileFormatError as error:
            raise FileFormatError(f"{os.fspath(fname)}: {error}") from None


def _parameters(params: Any) -> list[Parameter]:
    """Return the parameters of whatever the user passed, each once."""
    if hasattr(params, "collect_params"):
        params = params.collect_params()
    if hasattr(params, "keys"):
        params = [params[key] for key in sorted(params.keys())]
    if not isinstance(params, (list, tuple)):
        raise ArgumentError(
            explain(
                "Trainer",
                f"First argument must be a list or dict of Parameters, got {type(params)}.",
                fix="pass net.collect_params()",
            )
        )
    for parameter in params:
        if not isinstance(parameter, Parameter):
            raise ArgumentError(
                explain(
                    "Trainer",
                    f"First argument must be a list or dict of Parameters, got list of {type(parameter)}.",
                    fix="pass net.collect_params()",
                )
            )
    return list(dict.fromkeys(params))


def _stale_gradient(parameter: Parameter, array: NDArray, none_is_new: bool) -> UserWarning:
    """Build the error for a gradient that is not new: a UserWarning, as Gluon 1.x raises it."""
    text = (
        f"Gradient of Parameter `{parameter.name}` on context {array.context} has not been updated by backward since "
        "last `step`. "
    )
    if any(each._fresh_grad for each in parameter.list_data()):
        text += (
            "On another of its devices it has: give every device its part of the batch, with "
            "gluon.utils.split_and_load(data, ctx_list), and call backward() on all the losses."
        )
    elif none_is_new:
        text += (
            "No other Parameter has a new gradient either: compute the loss inside `with autograd.record():` and call "
            "loss.backward() before every trainer.step()."
        )
    else:
        text += (
            "This could mean a bug in your model that made it use only some of its Parameters for this batch. If that "
            "is intended, call step with ignore_stale_grad=True, which leaves Parameters with stale gradients as they "
            "are."
        )
    return UserWarning(text)
