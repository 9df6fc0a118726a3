"""A Gluon network as a torch module: `net.to_torch()`.

The one idea: the module's parameters are the arrays of the Gluon parameters themselves (torch_link.py), and its forward
runs the network on the tensors, recorded when torch's grad mode is on and in train mode when the module is. A
hybridized network runs its compiled plans, which stand on torch's tape as one node.

When torch puts other tensors in the place of the parameters for a call (torch.export, functional_call), they take the
arrays' place during that call, and nothing is compiled.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch

from ..autograd import pause
from ..base.aten import leave_uncompiled, tables_of
from ..base.errors import ArgumentError, MXNetError, UnsupportedError, explain
from ..base.modes import RECORDING, TRAINING
from ..base.tree import flatten, unflatten
from ..dispatch import CURRENT
from ..ndarray import NDArray
from ..ndarray.ndarray import from_torch
from ..ops.opdef import OpDef
from .block import Block
from .parameter import Constant, Parameter
from .torch_link import Link, share, the_array

__all__ = ["GluonModule", "to_torch"]

_SUBSTITUTING = threading.RLock()


def to_torch(block: Block, *example: Any) -> torch.nn.Module:
    """Return a network as a torch module that shares its parameters; see `Block.to_torch`."""
    if any(p._data is None and p._deferred is not None for p in block.collect_params().values()) and example:
        with pause():
            block(*[from_torch(x) if isinstance(x, torch.Tensor) else x for x in example])
    missing = [p for p in block.collect_params().values() if p._data is None]
    if missing:
        waiting = missing[0]._deferred is not None
        raise MXNetError(explain(
            "to_torch", f"{len(missing)} parameter(s) have no values yet, among them {missing[0].name}.",
            received=f"shape {missing[0].shape}" if waiting else "a network that was not initialised",
            fix="pass an example: net.to_torch(x); or give the layers their input sizes (in_units, in_channels)"
            if waiting else "call net.initialize() or net.load_parameters(...) first"))  # fmt: skip
    return GluonModule(block, {})


@final
class GluonModule(torch.nn.Module):
    """A Gluon block that torch calls: tensors in, tensors out.

    >>> from glueball import gluon
    >>> net = gluon.nn.Dense(2, in_units=3); net.initialize()
    >>> module = net.to_torch()
    >>> [name for name, _ in module.named_parameters()], module(torch.ones(4, 3)).shape
    (['weight', 'bias'], torch.Size([4, 2]))
    """

    gluon_block: Block
    _own: list[Link]  # of this block's own parameters
    _links: list[Link]  # of all

    def __init__(self, block: Block, made: dict[int, GluonModule]) -> None:
        super().__init__()
        made[id(block)] = self
        own: list[Link] = []
        for name, parameter in block._reg_params.items():
            home, key = self._place(name, parameter)
            own.append(Link(parameter, home, key))
        children: list[GluonModule] = []
        for name, child in block._children.items():
            children.append(made.get(id(child)) or GluonModule(child, made))
            self._add(name, children[-1])
        self.__dict__.update(gluon_block=block, _own=own, _links=_each_once([own, *[c._links for c in children]]))

    def _place(self, name: str, parameter: Parameter) -> tuple[Mapping[str, Any], str]:
        """Register a parameter's tensor; return the table that holds it, and its name there."""
        array = the_array(parameter)
        *path, key = name.split(".")
        holder: torch.nn.Module = self
        for part in path:  # of a torch module inside: its names have dots
            parts = tables_of(holder)[2]
            if part not in parts:
                holder.add_module(part, torch.nn.Module())
            holder = parts[part]
        fixed = isinstance(parameter, Constant) or not parameter._differentiable
        tensor = array._t
        try:
            if fixed:
                share(array, tensor, "null")
                holder.register_buffer(key, tensor)
            else:
                if not isinstance(tensor, torch.nn.Parameter):
                    tensor = torch.nn.Parameter(tensor.detach(), requires_grad=parameter.grad_req != "null")
                    share(array, tensor, parameter.grad_req)
                holder.register_parameter(key, tensor)
        except KeyError:
            raise _taken(key) from None
        return tables_of(holder)[1 if fixed else 0], key

    def _add(self, name: str, child: GluonModule) -> None:
        try:
            self.add_module(name, child)
        except KeyError:
            raise _taken(name) from None

    # -- running -------------------------------------------------------------------------------------------------------
    @leave_uncompiled
    def forward(self, *args: Any) -> Any:
        """Run the network on tensors; nested lists, tuples and dicts of them are passed as they are."""
        others = [(link, found) for link in self._links if (found := link.meet()) is not None]
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):  # element types never mix here: see contrib.amp
                with torch.autocast(device, enabled=False):
                    return self.forward(*args)
        recording, training = RECORDING.set(torch.is_grad_enabled()), TRAINING.set(self.training)
        try:
            if others or torch.compiler.is_exporting():
                with _instead(others):
                    return self._run(args)
            return self._run(args)
        finally:
            TRAINING.reset(training)
            RECORDING.reset(recording)

    def _run(self, args: tuple[Any, ...]) -> Any:
        found, structure = flatten(list(args), torch.Tensor)
        if not found:
            raise ArgumentError(explain(type(self.gluon_block).__name__, "A torch module is called with tensors.",
                                        received=", ".join(type(a).__name__ for a in args) or "nothing",
                                        fix="call the Gluon network itself with NDArrays, or pass x.to_torch()"))
        results, shape = flatten(self.gluon_block(*unflatten(structure, list(map(from_torch, found)))), NDArray)
        return unflatten(shape, [array._t for array in results])

    # -- what torch does with modules ----------------------------------------------------------------------------------
    def _apply(self, fn: Any, recurse: bool = True) -> GluonModule:
        """Let Gluon follow a cast or a move (`module.double()`, `module.to(device)`)."""
        super()._apply(fn, recurse)
        for link in self._own:
            link.adopt()
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, torch.nn.Module) and "gluon_block" in self.__dict__:
            raise UnsupportedError(explain(
                type(self.gluon_block).__name__, f"Its part {name!r} cannot be a torch module: forward is Gluon's.",
                received=type(value).__name__,
                fix="wrap it with gluon.contrib.torch.from_module, put it into the Gluon network, and call "
                    "to_torch() again"))  # fmt: skip
        super().__setattr__(name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.nn.Module:
        made = to_torch(copy.deepcopy(self.gluon_block, memo))
        for copied, module in zip(made.modules(), self.modules()):
            copied.training = module.training
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise UnsupportedError(explain(type(self.gluon_block).__name__, "A network is not pickled as a torch module.",
                                       fix="save module.state_dict(), or net.save_parameters(path); in another process "
                                           "build the network and call to_torch() there"))

    def extra_repr(self) -> str:
        """Return what the block says of itself, for printing."""
        return "" if self.gluon_block._children else " ".join(repr(self.gluon_block).split())


def _taken(name: str) -> ArgumentError:
    return ArgumentError(explain("to_torch", f"A torch module cannot have a part named {name!r}.",
                                 expected="a name that torch.nn.Module does not use itself",
                                 fix="give the attribute of the block another name"))  # fmt: skip


def _each_once(groups: Sequence[Sequence[Link]]) -> list[Link]:
    """Return all links, one for each table entry."""
    return list({(id(link.home), link.key): link for group in groups for link in group}.values())


@final
class _Plainly:
    """The interpreter that wants no call: everything runs operator by operator."""

    def invoke(self, op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any], name: str | None) -> Any:
        """Let it run."""
        return NotImplemented

    def call(self, block: Any, args: tuple[Any, ...]) -> Any:
        """Let its forward run."""
        return NotImplemented

    def before_write(self, array: Any) -> None:
        """Nothing was collected that a write could change."""

    def zeros(self, shape: Any, dtype: Any, ctx: Any) -> Any:
        """Ordinary ones will do."""
        return None


@contextmanager
def _instead(others: Sequence[tuple[Link, torch.Tensor]]) -> Iterator[None]:
    """Put other tensors in the place of parameters, one thread at a time."""
    with _SUBSTITUTING:
        arrays = [the_array(link.parameter) for link, _ in others]
        before = [array._t for array in arrays]
        token = CURRENT.set(_Plainly())
        try:
            for array, (_, tensor) in zip(arrays, others):
                array._t = tensor
            yield
        finally:
            CURRENT.reset(token)
            for array, tensor in zip(arrays, before):
                array._t = tensor
