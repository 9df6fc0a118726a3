"""Checkpoints of a symbol with its parameters, and `BatchEndParam`, what callbacks are told after a batch.

Files: ``prefix-symbol.json`` and ``prefix-0003.params``, with keys ``arg:…`` and ``aux:…``, as `HybridBlock.export`
writes them. Training itself is Gluon's: a network, `gluon.Trainer` and a loop.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from . import ndarray as nd
from . import symbol as sym
from .base.errors import FileFormatError, explain
from .ndarray import NDArray

__all__ = ["BatchEndParam", "save_checkpoint", "load_checkpoint", "load_params"]

Arrays = dict[str, NDArray]


class BatchEndParam(NamedTuple):
    """What a batch callback is called with."""

    epoch: int
    nbatch: int
    eval_metric: Any
    locals: Any


def save_checkpoint(
    prefix: str, epoch: int, symbol: Any, arg_params: Arrays, aux_params: Arrays, remove_amp_cast: bool = True
) -> None:
    """Write ``prefix-symbol.json`` (unless `symbol` is None) and ``prefix-<epoch, four digits>.params``.

    Parameters
    ----------
    prefix : str
        Path without the endings.
    epoch : int
    symbol : Symbol or None
    arg_params, aux_params : dict of str to NDArray
        Parameters, and auxiliary states such as running means.
    remove_amp_cast : bool
        Accepted for compatibility: graphs here hold no such casts.
    """
    if symbol is not None:
        symbol.save(f"{prefix}-symbol.json")
    arrays = {f"arg:{name}": array for name, array in arg_params.items()}
    arrays.update({f"aux:{name}": array for name, array in aux_params.items()})
    nd.save(_params_path(prefix, epoch), arrays)


def load_params(prefix: str, epoch: int) -> tuple[Arrays, Arrays]:
    """Return (arg_params, aux_params) of a checkpoint.

    Raises
    ------
    FileNotFoundError
        When there is no such file; the message lists the epochs that there are.
    FileFormatError
        When the file holds something else.
    """
    path = _params_path(prefix, epoch)
    if not os.path.exists(path):
        folder, name = os.path.split(prefix)
        there = (
            sorted(f for f in os.listdir(folder or ".") if f.startswith(name + "-") and f.endswith(".params"))
            if _is_dir(folder)
            else []
        )
        raise FileNotFoundError(
            explain(
                "load_params",
                "There is no such checkpoint.",
                expected=path,
                received=", ".join(there) or "no file of this prefix",
            )
        )
    arrays = nd.load(path)
    if not isinstance(arrays, dict) or not all(key.startswith(("arg:", "aux:")) for key in arrays):
        raise FileFormatError(
            explain(
                "load_params",
                f"{path} is not a checkpoint.",
                expected="keys arg:… and aux:…",
                received=", ".join(list(arrays)[:3]) if isinstance(arrays, dict) else "arrays without names",
                fix="files of Block.save_parameters are loaded with net.load_parameters(path)",
            )
        )
    chosen = {
        kind: {key[4:]: array for key, array in arrays.items() if key.startswith(kind)} for kind in ("arg:", "aux:")
    }
    return chosen["arg:"], chosen["aux:"]


def load_checkpoint(prefix: str, epoch: int) -> tuple[Any, Arrays, Arrays]:
    """Return (symbol, arg_params, aux_params) of a checkpoint."""
    symbol = sym.load(f"{prefix}-symbol.json")
    return (symbol, *load_params(prefix, epoch))


def _params_path(prefix: str, epoch: int) -> str:
    return f"{prefix}-{epoch:04d}.params"


def _is_dir(folder: str) -> bool:
    return os.path.isdir(folder or ".")
