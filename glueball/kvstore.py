"""KVStore: values under keys that several devices add up and share; how Trainer keeps copies of a network equal.

The one idea: `push` adds up what the devices hold (whole lists of keys with one kernel per device) and either stores
the sum or hands it to an updater with the stored value; `pull` copies the stored value out. One process only: the
`dist_*` names say what to do instead. Which keys and when is decided in `gluon/trainer.py`; the updater is
`optimizer/updater.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch

from .base.aten import foreach
from .base.errors import ArgumentError, FileFormatError, ShapeError, UnsupportedError, explain
from .base.files import write_atomically
from .base.registry import closest
from .ndarray import NDArray
from .optimizer import Optimizer, Updater, get_updater

__all__ = ["KVStore", "KVStoreBase", "create"]

Key = int | str
KVStoreClass = type["KVStoreBase"]

_LOCAL = ("local", "device", "nccl", "local_update_cpu", "local_allreduce_cpu", "local_allreduce_device")
_DISTRIBUTED = ("dist", "p3", "horovod", "byteps")


class KVStoreBase:
    """The protocol of a store; a class registered with `KVStoreBase.register` can be created by its name.

    Examples
    --------
    >>> import glueball as mx
    >>> @mx.kv.KVStoreBase.register
    ... class Echo(mx.kv.KVStoreBase):
    ...     type = "echo"
    >>> mx.kv.create("echo").type
    'echo'
    """

    OPTIMIZER: ClassVar[str] = "optimizer"
    kv_registry: ClassVar[dict[str, KVStoreClass]] = {}

    @staticmethod
    def register(klass: KVStoreClass) -> KVStoreClass:
        """Register a class under its lower-case name."""
        KVStoreBase.kv_registry[klass.__name__.lower()] = klass
        return klass

    def broadcast(self, key: Any, value: Any, out: Any, priority: int = 0) -> None:
        """Store a value and copy it to `out`."""
        raise NotImplementedError(f"{type(self).__name__} must define broadcast(self, key, value, out, priority=0).")

    def pushpull(self, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:
        """Add up values and copy the sum to `out`, or back to where they came from."""
        raise NotImplementedError(
            f"{type(self).__name__} must define pushpull(self, key, value, out=None, priority=0)."
        )

    @staticmethod
    def is_capable(capability: str) -> bool:
        """Whether the store can do something: `KVStoreBase.OPTIMIZER`, update weights itself."""
        return False


class KVStore(KVStoreBase):
    """A store inside one process; made by `create`.

    Keys are numbers or texts. Values are NDArrays; a list of NDArrays, one per device, is added up.

    Examples
    --------
    >>> import glueball as mx
    >>> store = mx.kv.create("local")
    >>> store.init("w", mx.nd.zeros((2,)))
    >>> store.push("w", [mx.nd.ones((2,), ctx=mx.cpu(0)), mx.nd.ones((2,), ctx=mx.cpu(1))])
    >>> out = mx.nd.empty((2,))
    >>> store.pull("w", out=out)
    >>> out.asnumpy().tolist()
    [2.0, 2.0]
    """

    def __init__(self, kind: str = "local") -> None:
        self._type = kind
        self._values: dict[Key, NDArray] = {}
        self._updater: Callable[[Any, Any, Any], Any] | None = None

    # ---------------------------------------------------------------------------------------------------------- facts
    @property
    def type(self) -> str:
        """The name that the store was created with."""
        return self._type

    @property
    def rank(self) -> int:
        """The number of this worker: 0, for there is one."""
        return 0

    @property
    def num_workers(self) -> int:
        """The number of workers: 1."""
        return 1

    @staticmethod
    def is_capable(capability: str) -> bool:
        return capability.lower() == KVStoreBase.OPTIMIZER

    # --------------------------------------------------------------------------------------------------------- values
    def init(self, key: Any, value: Any) -> None:
        """Store the first value of a key (or of every key of a list)."""
        for one, values in zip(*_paired(key, value, "init")):
            if one in self._values:
                raise ArgumentError(
                    explain("kvstore.init", f"Key {one!r} has a value already.", fix="use push to change it")
                )
            self._check_kind(one)
            self._values[one] = NDArray(values[0]._t.detach().clone(), values[0].context)

    def _check_kind(self, key: Key) -> None:
        if self._values and isinstance(next(iter(self._values)), str) != isinstance(key, str):
            raise ArgumentError(
                explain(
                    "kvstore.init",
                    "Keys must be all numbers or all texts.",
                    received=f"{key!r} beside {next(iter(self._values))!r}",
                )
            )

    def _stored(self, keys: Sequence[Key], what: str) -> list[NDArray]:
        missing = [key for key in keys if key not in self._values]
        if missing:
            raise ArgumentError(
                explain(
                    f"kvstore.{what}",
                    f"Key {missing[0]!r} has not been inited.",
                    received=f"keys {', '.join(map(repr, self._values)) or 'none'}",
                    fix="call init(key, value) first",
                )
            )
        return [self._values[key] for key in keys]

    def push(self, key: Any, value: Any, priority: int = 0) -> None:
        """Add up the devices' values; give the sum to the updater with the stored value, or store it."""
        keys, values = _paired(key, value, "push")
        stored = self._stored(keys, "push")
        sums = [NDArray(total, own.context) for total, own in zip(_reduced(values, stored), stored)]
        if self._updater is None:
            for own, total in zip(stored, sums):
                own._t = total._t
        elif isinstance(self._updater, Updater):
            self._updater(keys, sums, stored)
        else:
            for one, total, own in zip(keys, sums, stored):
                self._updater(one, total, own)

    def pull(self, key: Any, out: Any = None, priority: int = 0, ignore_sparse: bool = True) -> None:
        """Copy the stored values into `out` (an NDArray, or a list of them, one per device)."""
        if out is None:
            raise ArgumentError(
                explain(
                    "kvstore.pull",
                    "There is nothing to copy to.",
                    expected="out=, an NDArray or a list of NDArrays",
                    received=None,
                )
            )
        keys, outs = _paired(key, out, "pull")
        for one, own, targets in zip(keys, self._stored(keys, "pull"), outs):
            for target in targets:
                _check_shape("pull", one, own, target)
                target._t.detach().copy_(own._t.detach())

    def pushpull(self, key: Any, value: Any, out: Any = None, priority: int = 0) -> None:
        """`push`, then `pull` into `out`, or back into `value`."""
        self.push(key, value, priority)
        self.pull(key, value if out is None else out, priority)

    def broadcast(self, key: Any, value: Any, out: Any, priority: int = 0) -> None:
        """`init`, then `pull` into `out`."""
        self.init(key, value)
        self.pull(key, out, priority)

    def row_sparse_pull(self, key: Any, out: Any = None, priority: int = 0, row_ids: Any = None) -> None:
        """Copy the rows `row_ids` of the stored values into `out`, whose other rows become 0 (arrays are dense here).
        """
        if out is None or row_ids is None:
            raise ArgumentError(
                explain(
                    "kvstore.row_sparse_pull",
                    "It needs a target and the numbers of rows.",
                    expected="out= and row_ids=",
                    received=f"out={out}, row_ids={row_ids}",
                )
            )
        keys, outs = _paired(key, out, "row_sparse_pull")
        rows = row_ids if isinstance(row_ids, (list, tuple)) else [row_ids]
        for one, own, targets in zip(keys, self._stored(keys, "row_sparse_pull"), outs):
            for number, target in enumerate(targets):
                _check_shape("row_sparse_pull", one, own, target)
                chosen = rows[number if len(rows) > 1 else 0]._t.long().reshape(-1).to(own._t.device)
                picked = torch.zeros_like(own._t.detach()).index_copy_(0, chosen, own._t.detach()[chosen])
                target._t.detach().copy_(picked)

    # -------------------------------------------------------------------------------------------------------- updates
    def set_updater(self, updater: Callable[[Any, Any, Any], Any]) -> None:
        """Let ``updater(key, sum, stored)`` change the stored value at every push."""
        self._updater = updater

    _set_updater = set_updater

    def set_optimizer(self, optimizer: Optimizer) -> None:
        """Let an optimiser update the stored values with what is pushed, as gradients."""
        self.set_updater(get_updater(optimizer))

    def set_gradient_compression(self, compression_params: dict[str, Any]) -> None:
        """Refused: inside one process gradients travel uncompressed."""
        raise UnsupportedError(
            explain(
                "kvstore.set_gradient_compression",
                "Gradient compression is not supported: inside one process it would cost more than it saves.",
                received=compression_params,
                fix="leave compression_params out",
            )
        )

    def save_optimizer_states(self, fname: str | os.PathLike[str], dump_optimizer: bool = False) -> None:
        """Write the optimiser's states to a file (and its settings and counts, with `dump_optimizer`)."""
        write_atomically(fname, self._own_updater().get_states(dump_optimizer))

    def load_optimizer_states(self, fname: str | os.PathLike[str]) -> None:
        """Read what `save_optimizer_states` wrote."""
        with open(fname, "rb") as file:
            data = file.read()
        try:
            self._own_updater().set_states(data)
        except FileFormatError as error:
            raise FileFormatError(f"{os.fspath(fname)}: {error}") from None

    def _own_updater(self) -> Updater:
        if not isinstance(self._updater, Updater):
            raise ArgumentError(
                explain(
                    "kvstore",
                    "There are no optimizer states: this store has no optimizer.",
                    fix="call set_optimizer first",
                )
            )
        return self._updater


def _paired(key: Any, value: Any, what: str) -> tuple[list[Key], list[list[NDArray]]]:
    """Return a list of keys, and for each the list of its arrays."""
    if isinstance(key, (list, tuple)):
        if not isinstance(value, (list, tuple)) or len(key) != len(value):
            raise ArgumentError(
                explain(
                    f"kvstore.{what}",
                    "Every key needs a value.",
                    expected=f"a list of {len(key)}",
                    received=len(value) if isinstance(value, (list, tuple)) else type(value).__name__,
                )
            )
        keys, values = list(key), list(value)
    else:
        keys, values = [key], [value]
    listed = [list(each) if isinstance(each, (list, tuple)) else [each] for each in values]
    for one, arrays in zip(keys, listed):
        if isinstance(one, bool) or not isinstance(one, (int, str)):
            raise ArgumentError(explain(f"kvstore.{what}", "A key is a number or a text.", received=repr(one)))
        if not arrays or not all(isinstance(array, NDArray) for array in arrays):
            raise ArgumentError(
                explain(
                    f"kvstore.{what}",
                    f"The values of key {one!r} are no arrays.",
                    expected="an NDArray, or a list of NDArrays, one per device",
                    received=repr(arrays)[:80],
                )
            )
    return keys, listed


def _reduced(values: list[list[NDArray]], stored: list[NDArray]) -> list[torch.Tensor]:
    """Return for each key the sum over devices, as a new tensor on the stored value's device."""
    for arrays, own in zip(values, stored):
        for array in arrays:
            _check_shape("push", None, own, array)
    sums = [arrays[0]._t.detach().to(own._t.device, copy=True) for arrays, own in zip(values, stored)]
    for device in range(1, max(map(len, values))):
        chosen = [i for i, arrays in enumerate(values) if device < len(arrays)]
        foreach("add_", [sums[i] for i in chosen], [values[i][device]._t.detach().to(sums[i].device) for i in chosen])
    return sums


def _check_shape(what: str, key: Key | None, own: NDArray, array: NDArray) -> None:
    if own._t.shape != array._t.shape:
        named = "" if key is None else f" of key {key!r}"
        raise ShapeError(
            explain(
                f"kvstore.{what}",
                f"The shapes{named} differ.",
                expected=tuple(own._t.shape),
                received=tuple(array._t.shape),
            )
        )


def create(name: str | KVStoreBase = "local") -> Any:
    """Return a store: 'local' or 'device' (the same here: sums are made on the first device), or a registered class.

    Raises
    ------
    UnsupportedError
        For 'dist_sync', 'dist_async', 'horovod' and the like, which need several processes.

    Examples
    --------
    >>> import glueball as mx
    >>> mx.kv.create("device").num_workers
    1
    """
    if isinstance(name, KVStoreBase):
        return name
    if not isinstance(name, str):
        raise TypeError(
            explain(
                "kvstore.create",
                "The name of a store is expected.",
                expected="'local' or 'device'",
                received=repr(name),
            )
        )
    if name.lower() in KVStoreBase.kv_registry:
        return KVStoreBase.kv_registry[name.lower()]()
    if name in _LOCAL:
        return KVStore(name)
    if name.startswith(_DISTRIBUTED):
        raise UnsupportedError(
            explain(
                "kvstore.create",
                f"{name!r} trains in several processes, which stores here do not.",
                expected="'local' or 'device'",
                received=name,
                fix="use several devices in one process (ctx=[mx.gpu(0), mx.gpu(1)]); or, in processes started by "
                "torchrun, add the gradients up between backward() and trainer.step(): "
                "torch.distributed.all_reduce(p.grad().to_torch()) for each parameter p",
            )
        )
    raise ArgumentError(
        explain(
            "kvstore.create",
            "There is no store of this name.",
            received=repr(name),
            fix=closest(name, [*_LOCAL, *KVStoreBase.kv_registry]),
        )
    )
