"""The optimiser's protocol: learning rates, multipliers, counts, and how a rule reaches one weight or all of them.

The one idea: an optimiser is two short methods on plain tensors, `state` (what is remembered per weight) and `rule`
(one update in place). `update` gives the rule a tensor; `update_multi` gives it a `TensorList`, which has the same
arithmetic methods but one kernel per call for all weights, or the optimiser's own `rule_list` where torch has the whole
rule as one fused kernel. The rules themselves are in `sgd.py`, `adam.py`, `adaptive.py`, `large_batch.py` and
`contrib.py`; who keeps the states is in `updater.py`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch

from ..base.aten import TensorList, set_grad_mode
from ..base.errors import ArgumentError, UnsupportedError, explain
from ..base.registry import Registry
from ..lr_scheduler import LRScheduler
from ..ndarray import NDArray

__all__ = ["Optimizer", "Step", "Arithmetic", "State", "register", "create", "wrap", "is_half"]

Tensor = torch.Tensor
Arithmetic = Any  # a Tensor, or a TensorList: what a rule is written for
State = Any  # None, an NDArray, or a tuple of NDArrays: what `create_state` returns
OptimizerClass = TypeVar("OptimizerClass", bound="type[Optimizer]")

_HALF = (torch.float16, torch.bfloat16)


class Step(NamedTuple):
    """What a rule is told besides its tensors; weights with equal steps are updated together."""

    lr: float
    wd: float
    t: int  # how many times these weights have been updated, this time included
    group: Any = None  # what `Optimizer.group` says of the weight


class Optimizer:
    r"""Base class of all optimisers.

    Parameters
    ----------
    rescale_grad : float, default 1
        Every gradient is multiplied by this first; `Trainer.step(batch_size)` sets it to 1 / batch_size.
    param_idx2name : dict of int to str, optional
        Names of the weights by index; multipliers may then be given by name.
    wd : float, default 0
        Weight decay: ``wd · weight`` is added to the rescaled and clipped gradient.
    clip_gradient : float, optional
        Each element of the rescaled gradient is limited to ±clip_gradient.
    learning_rate : float, optional
        Default: the scheduler's `base_lr`, or 0.01.
    lr_scheduler : LRScheduler, optional
        Asked for the learning rate with the number of updates made so far.
    begin_num_update : int, default 0
        The count to start from, for resumed training.
    multi_precision : bool, default False
        Keep a float32 copy of float16 and bfloat16 weights, and update that.
    param_dict : dict of int to Parameter, optional
        Where `lr_mult` and `wd_mult` are read from; `Trainer` passes it.

    Notes
    -----
    To write one, give `state` and `rule` and register it; ``update(index, weight, grad, state)`` may be overridden
    instead, as in Gluon 1.x code. A rule must not change `g` in place.

    Examples
    --------
    >>> import glueball as mx
    >>> @mx.optimizer.register
    ... class Plain(mx.optimizer.Optimizer):
    ...     def rule(self, w, g, state, step):
    ...         w.add_(self.gradient(g), alpha=-step.lr)
    >>> weight, grad = mx.nd.ones((2,)), mx.nd.ones((2,))
    >>> mx.optimizer.create("plain", learning_rate=0.5).update(0, weight, grad, None)
    >>> weight.asnumpy().tolist()
    [0.5, 0.5]
    """

    opt_registry: ClassVar[dict[str, type[Optimizer]]] = {}

    def __init__(
        self,
        rescale_grad: float = 1.0,
        param_idx2name: dict[int, str] | None = None,
        wd: float = 0.0,
        clip_gradient: float | None = None,
        learning_rate: float | None = None,
        lr_scheduler: LRScheduler | None = None,
        sym: Any = None,
        begin_num_update: int = 0,
        multi_precision: bool = False,
        param_dict: dict[int, Any] | None = None,
    ) -> None:
        if param_idx2name is not None and not isinstance(param_idx2name, dict):
            raise ArgumentError(
                explain(
                    type(self).__name__,
                    "param_idx2name maps indices to names.",
                    expected="a dict of int to str",
                    received=repr(param_idx2name),
                )
            )
        self.rescale_grad = rescale_grad
        self.lr_scheduler = lr_scheduler
        if lr_scheduler is not None:
            learning_rate = _agree(lr_scheduler, learning_rate)
        self.lr = 0.01 if learning_rate is None else learning_rate
        self.wd = wd
        self.lr_mult: dict[Any, float] = {}
        self.wd_mult: dict[Any, float] = {}
        self.begin_num_update = begin_num_update
        self.num_update = begin_num_update
        self._all_index_update_counts: dict[Any, dict[Any, int]] = {0: {}}
        self._index_update_count = self._all_index_update_counts[0]
        self.clip_gradient = clip_gradient if clip_gradient is not None and clip_gradient > 0 else None
        self.multi_precision = multi_precision
        self.aggregate_num = 0
        self.idx2name: dict[int, str] = dict(param_idx2name or {})
        self.param_dict: dict[int, Any] = param_dict if param_dict else {}
        self.sym_info: tuple[Any, ...] = (sym.attr_dict(), sym.list_arguments()) if sym is not None else ()
        self.set_lr_mult({})
        self.set_wd_mult({})

    # ------------------------------------------------------------------------------------- what an optimiser defines
    def state(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Return what is remembered for one weight, as tensors; nothing by default."""
        return ()

    def rule(self, w: Arithmetic, g: Arithmetic, state: tuple[Arithmetic, ...], step: Step) -> None:
        """Update `w` and `state` in place from the raw gradient `g`, which stays as it is."""
        raise UnsupportedError(
            explain(
                type(self).__name__,
                "This optimiser does not say how a weight is updated.",
                fix="define rule(self, w, g, state, step), or override update(self, index, weight, grad, state)",
            )
        )

    def rule_list(
        self, weights: list[Tensor], grads: list[Tensor], states: tuple[list[Tensor], ...], step: Step
    ) -> None:
        """Update many weights; override where one fused kernel is the whole rule."""
        if len(weights) == 1:
            self.rule(weights[0], grads[0], tuple(s[0] for s in states), step)
        else:
            self.rule(TensorList(weights), TensorList(grads), tuple(TensorList(s) for s in states), step)

    def one_by_one(
        self, weights: list[Tensor], grads: list[Tensor], states: tuple[list[Tensor], ...], step: Step
    ) -> None:
        """A `rule_list` for rules that need more of a tensor than a `TensorList` has (noise, sums over some axes)."""
        for position, weight in enumerate(weights):
            self.rule(weight, grads[position], tuple(s[position] for s in states), step)

    def group(self, index: Any) -> Any:
        """Return what distinguishes this weight for the rule; arrives as `step.group`."""
        return None

    def gradient(self, g: Arithmetic) -> Arithmetic:
        """Return the gradient rescaled and then clipped; `g` itself when there is nothing to do."""
        if self.rescale_grad != 1.0:
            g = g.mul(self.rescale_grad)
            return g if self.clip_gradient is None else g.clamp_(-self.clip_gradient, self.clip_gradient)
        return g if self.clip_gradient is None else g.clamp(-self.clip_gradient, self.clip_gradient)

    def decayed_gradient(self, w: Arithmetic, g: Arithmetic, step: Step) -> Arithmetic:
        """Return the gradient rescaled, with wd · w added, and only then clipped: the order of some optimisers."""
        g = (g if self.rescale_grad == 1.0 else g.mul(self.rescale_grad)).add(w, alpha=step.wd)
        return g if self.clip_gradient is None else g.clamp_(-self.clip_gradient, self.clip_gradient)

    # ------------------------------------------------------------------------------------------- the public protocol
    def create_state(self, index: Any, weight: NDArray) -> State:
        """Return the state of one weight: None, an NDArray, or a tuple of NDArrays."""
        with torch.no_grad():
            tensors = self.state(weight._t.detach())
        arrays = tuple(wrap(tensor, weight) for tensor in tensors)
        return None if not arrays else arrays[0] if len(arrays) == 1 else arrays

    def create_state_multi_precision(self, index: Any, weight: NDArray) -> State:
        """Return ``(float32 copy of the weight, its state)`` for half-precision weights under `multi_precision`, else
        the state.
        """
        if is_half(weight):
            if self.multi_precision:
                copy = wrap(weight._t.detach().float(), weight)
                return (copy, self.create_state(index, copy))
            warnings.warn(
                f"{type(self).__name__} accumulates in half precision, which loses small updates. "
                "Pass multi_precision=True in optimizer_params to keep float32 copies of the weights.",
                stacklevel=2,
            )
        return self.create_state(index, weight)

    def update(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """Update one weight in place (or lists of indices, weights, gradients and states)."""
        if isinstance(index, (list, tuple)):
            self._update(index, weight, grad, state)
        else:
            self._update((index,), (weight,), (grad,), (state,))

    def update_multi(
        self, indices: Sequence[Any], weights: Sequence[NDArray], grads: Sequence[NDArray], states: Sequence[State]
    ) -> None:
        """Update many weights with few kernels; one after the other where an optimiser overrides `update`."""
        if type(self).update is Optimizer.update:
            self._update(indices, weights, grads, states)
        else:
            for arguments in zip(indices, weights, grads, states):
                self.update(*arguments)

    def update_multi_precision(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
        """`update`, on the float32 copies where `create_state_multi_precision` made them."""
        many = isinstance(index, (list, tuple))
        indices, weights, grads, states = (
            (index, weight, grad, state) if many else ((index,), (weight,), (grad,), (state,))
        )
        if not self.multi_precision:
            return self.update_multi(indices, weights, grads, states)
        half = [is_half(w) for w in weights]
        copies = [s[0] if h else w for w, s, h in zip(weights, states, half)]
        grads = [wrap(g._t.float(), g) if h else g for g, h in zip(grads, half)]
        self.update_multi(indices, copies, grads, [s[1] if h else s for s, h in zip(states, half)])
        with torch.no_grad():
            for w, copy, h in zip(weights, copies, half):
                if h:
                    w._t.copy_(copy._t)

    def _update(
        self, indices: Sequence[Any], weights: Sequence[NDArray], grads: Sequence[NDArray], states: Sequence[State]
    ) -> None:
        """Count the update, sort the weights by equal steps, and hand each group to the rule."""
        if not indices:
            return
        self._update_count(indices)
        counts = self._index_update_count
        steps = list(
            zip(self._get_lrs(indices), self._get_wds(indices), [counts[i] for i in indices], map(self.group, indices))
        )
        w, g = [a._t for a in weights], [a._t for a in grads]
        recording = torch.is_grad_enabled()
        set_grad_mode(False)
        try:
            if steps.count(steps[0]) == len(steps):
                self.rule_list(w, g, _columns(states), Step(*steps[0]))
                return
            for step in dict.fromkeys(steps):
                chosen = [i for i, own in enumerate(steps) if own == step]
                self.rule_list(
                    [w[i] for i in chosen], [g[i] for i in chosen], _columns([states[i] for i in chosen]), Step(*step)
                )
        finally:
            set_grad_mode(recording)

    # ------------------------------------------------------------------------------------ learning rates and counts
    @property
    def learning_rate(self) -> float:
        """The learning rate now: the scheduler's, if there is one."""
        return self.lr if self.lr_scheduler is None else self.lr_scheduler(self.num_update)

    def set_learning_rate(self, lr: float) -> None:
        """Set the learning rate; with a scheduler that is the scheduler's business, and refused."""
        if self.lr_scheduler is not None:
            raise UserWarning(
                "set_learning_rate: this optimizer takes its learning rate from its lr_scheduler. "
                "Set lr_scheduler.base_lr, or create the optimizer without a scheduler."
            )
        self.lr = lr

    def set_lr_mult(self, args_lr_mult: dict[Any, float]) -> None:
        """Set factors on the learning rate by index or name; names of the symbol's ``__lr_mult__`` attributes come
        first.
        """
        self.lr_mult = {**self._attribute_multipliers("__lr_mult__"), **args_lr_mult}

    def set_wd_mult(self, args_wd_mult: dict[Any, float]) -> None:
        """Set factors on the weight decay by index or name.

        Named weights (`param_idx2name`) that do not end in ``_weight`` or ``_gamma`` (biases, beta) are not decayed
        unless said here.
        """
        spared = {name: 0.0 for name in self.idx2name.values() if not name.endswith(("_weight", "_gamma"))}
        self.wd_mult = {**spared, **self._attribute_multipliers("__wd_mult__"), **args_wd_mult}

    def set_lr_scale(self, args_lrscale: dict[Any, float]) -> None:
        """Refused, as in Gluon 1.x: the name was replaced by `set_lr_mult`."""
        raise DeprecationWarning("set_lr_scale: use set_lr_mult instead.")

    def _attribute_multipliers(self, attribute: str) -> dict[Any, float]:
        if not self.sym_info:
            return {}
        attributes, names = self.sym_info
        return {name: float(attributes[name][attribute]) for name in names if attribute in attributes.get(name, {})}

    def _set_current_context(self, device_id: Any) -> None:
        """Choose whose update counts are used, where each device updates its own copy of the weights."""
        self._index_update_count = self._all_index_update_counts.setdefault(device_id, {})

    def _update_count(self, index: Any) -> None:
        counts, start = self._index_update_count, self.begin_num_update
        for one in index if isinstance(index, (list, tuple)) else (index,):
            count = counts.get(one, start) + 1
            counts[one] = count
            if count > self.num_update:
                self.num_update = count

    def _multiplied(self, value: float, indices: Sequence[Any], which: str) -> list[float]:
        values, table, parameters, names = [], getattr(self, which), self.param_dict, self.idx2name
        for index in indices:
            if index in parameters:
                values.append(value * getattr(parameters[index], which))
            elif index in table:
                values.append(value * table[index])
            else:
                values.append(value * table.get(names.get(index), 1.0))
        return values

    def _get_lrs(self, indices: Sequence[Any]) -> list[float]:
        return self._multiplied(self.learning_rate, indices, "lr_mult")

    def _get_wds(self, indices: Sequence[Any]) -> list[float]:
        return self._multiplied(self.wd, indices, "wd_mult")

    def _get_lr(self, index: Any) -> float:
        return self._get_lrs((index,))[0]

    def _get_wd(self, index: Any) -> float:
        return self._get_wds((index,))[0]

    # ------------------------------------------------------------------------------------------------- the registry
    @staticmethod
    def register(klass: OptimizerClass) -> OptimizerClass:
        """Register a class under its lower-case name; the decorator `mx.optimizer.register`."""
        return register(klass)

    @staticmethod
    def create_optimizer(name: Any, **kwargs: Any) -> Optimizer:
        """Return an optimiser by its registered name; `mx.optimizer.create`."""
        return create(name, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and files leave out the graph's and the parameters' multipliers, which belong to a process."""
        return {**self.__dict__, "param_dict": {}, "sym_info": ()}


def _agree(scheduler: LRScheduler, learning_rate: float | None) -> float:
    """Return the learning rate to begin with, and tell the scheduler where an explicit one goes before its own."""
    if learning_rate is None:
        return scheduler.base_lr
    if scheduler.base_lr != learning_rate:
        logging.getLogger("glueball").info(
            "The optimizer's learning_rate %g replaces the scheduler's base_lr %g.", learning_rate, scheduler.base_lr
        )
        scheduler.base_lr = learning_rate
    return learning_rate


def _columns(states: Sequence[State]) -> tuple[list[Tensor], ...]:
    """Turn one state per weight into one list of tensors per kind of state."""
    first = states[0]
    if first is None:
        return ()
    if isinstance(first, NDArray):
        return ([s._t for s in states],)
    return tuple([s[kind]._t for s in states] for kind in range(len(first)))


def wrap(tensor: Tensor, like: NDArray) -> NDArray:
    """Return a tensor as an NDArray in the context of another array (cpu(1) stays cpu(1))."""
    return NDArray(tensor, like.context)


def is_half(array: NDArray) -> bool:
    """Whether an array has 16-bit floating point elements."""
    return array._t.dtype in _HALF


_registry: Registry[Optimizer] = Registry("optimizer", Optimizer)
Optimizer.opt_registry = _registry.classes


def register(klass: OptimizerClass) -> OptimizerClass:
    """Register an optimiser class under its lower-case name, for `create` and `Trainer`."""
    _registry.register(klass)
    return klass


def alias(*names: str) -> Callable[[OptimizerClass], OptimizerClass]:
    """Register a class under further names."""
    return _registry.alias(*names)  # type: ignore[return-value]


def create(name: Any, **kwargs: Any) -> Optimizer:
    """Return an optimiser from its name (any case), or the instance itself.

    Raises
    ------
    ArgumentError
        For an unknown name, with the closest known ones, and for a keyword that the optimiser does not take.

    Examples
    --------
    >>> import glueball as mx
    >>> mx.optimizer.create("sgd", learning_rate=0.1, momentum=0.9).momentum
    0.9
    """
    try:
        return _registry.create(name, **kwargs)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        unknown = str(error).rsplit("'", 2)[-2]
        raise ArgumentError(
            explain(
                f"optimizer {name!r}",
                f"It takes no argument named {unknown!r}.",
                received=", ".join(sorted(kwargs)),
                fix=_closest_argument(_registry.classes[str(name).lower()], unknown),
            )
        ) from None


def _closest_argument(cls: type[Optimizer], unknown: str) -> str:
    """Name the argument that was probably meant."""
    import inspect

    from ..base.registry import closest

    usual = {
        "lr": "learning_rate",
        "weight_decay": "wd",
        "eps": "epsilon",
        "epsilon": "eps",
        "betas": "beta1 and beta2",
        "nesterov": "the optimizer 'nag'",
    }
    known = [
        n for c in cls.__mro__ for n in inspect.signature(c).parameters if issubclass(c, Optimizer) and n != "kwargs"
    ]
    if unknown in usual and (usual[unknown] in known or " " in usual[unknown]):
        return f"use {usual[unknown]}"
    return closest(unknown, known)
