"""What a Gluon parameter and a torch module share: one tensor, and one gradient.

The one idea: the array of the Gluon parameter holds the very `torch.nn.Parameter` (or buffer) of the module, so there
is nothing to keep equal. Either side may put another tensor in its place (a cast, another device, `grad_req`,
`requires_grad_`); at the next call the `Link` brings both together again. The memory counts as lent (base/writes.py):
torch writes to parameters in ways that are not counted (fused optimisers, `p.data`), and values that plans derived
from them are compared bit by bit.

Not here: a torch module as a block (contrib/torch.py), a network as a torch module (torch_module.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch

from ..base import context as contexts
from ..base import dtype as dtypes
from ..base.errors import ContextError, MXNetError, explain
from ..base.writes import lend
from ..ndarray import NDArray
from ..ndarray.leaf import Leaf
from .hybrid import Changes
from .parameter import Parameter

__all__ = ["Link", "share", "the_array"]


def share(array: NDArray, tensor: torch.Tensor, grad_req: str) -> None:
    """Make `tensor` the array's own, with a gradient that both sides see.

    >>> from glueball import nd
    >>> p = torch.nn.Parameter(torch.ones(2)); x = nd.zeros(2)
    >>> share(x, p, "write"); (p * 3).sum().backward()
    >>> x.grad.asnumpy().tolist()
    [3.0, 3.0]
    """
    gradient: Any = None
    if isinstance(array._ag, Leaf):
        gradient = array._ag.grad
        array._ag.release()
    array._t, array._ctx, array._ag = tensor, contexts.of_tensor(tensor), None
    lend(tensor)
    if grad_req == "null" or not tensor.requires_grad:
        return
    fits = gradient is not None and gradient._t.shape == tensor.shape and gradient._t.dtype is tensor.dtype and (
        gradient._t.device == tensor.device
    )
    if gradient is None:
        gradient = NDArray._wrap(torch.zeros_like(tensor.detach()), array._ctx)
    elif not fits:
        gradient._t, gradient._ctx = torch.zeros_like(tensor.detach()), array._ctx
    if tensor.grad is not None:
        gradient._t = tensor.grad
    elif grad_req == "add":
        tensor.grad = gradient._t
    array._ag = Leaf(tensor, gradient, grad_req, shared=True)


def the_array(parameter: Parameter) -> NDArray:
    """Return the only array of a parameter.

    Raises
    ------
    ContextError : there are several
    """
    held = parameter._data
    if held is None:
        raise parameter._missing(None)
    if len(held) != 1:
        raise ContextError(explain(f"Parameter '{parameter.name}'", "A torch module lives on one device.",
                                   expected="a parameter on one device", received=list(held),
                                   fix="net.reset_ctx(ctx)"))  # fmt: skip
    return next(iter(held.values()))


@final
class Link:
    """One tensor of a torch module, and the Gluon parameter that shares it.

    parameter : of Gluon; home : the module's table, `_parameters` or `_buffers`; key : the name there; tensor : what
    both held when they last met
    """

    __slots__ = ("parameter", "home", "key", "tensor", "dtype", "device")

    def __init__(self, parameter: Parameter, home: Mapping[str, Any], key: str) -> None:
        self.parameter, self.home, self.key = parameter, home, key
        self.tensor: torch.Tensor = home[key]
        self.dtype, self.device = self.tensor.dtype, self.tensor.device

    def meet(self) -> torch.Tensor | None:
        """Bring both sides together; return what the module holds instead, if it was given another tensor."""
        found, parameter = self.home.get(self.key), self.parameter
        if found is None:
            raise MXNetError(explain(f"Parameter '{parameter.name}'", f"The torch module has no {self.key!r} any more.",
                                     fix="parametrisations and pruning of torch.nn.utils take parameters away: apply "
                                         "them before a module is handed over, and not to a Gluon network"))
        if found is not self.tensor:
            return found
        array = the_array(parameter)
        if array._t is found:
            if found.requires_grad is (parameter._grad_req == "null") and parameter._differentiable:
                self._follow_torch(found)  # frozen or thawed there
            elif found.dtype is not self.dtype or found.device != self.device:
                self._follow_torch(found)
        else:
            self._follow_gluon(array, found)
        return None

    def adopt(self) -> None:
        """Let the parameter have what the module holds now."""
        found = self.home[self.key]
        if found is not self.tensor or found.dtype is not self.dtype or found.device != self.device:
            self._follow_torch(found)

    def _follow_torch(self, found: torch.Tensor) -> None:
        parameter = self.parameter
        array = the_array(parameter)
        if parameter._differentiable:
            wanted = "null" if not found.requires_grad else parameter._grad_req
            parameter._grad_req = "write" if found.requires_grad and wanted == "null" else wanted
        share(array, found, parameter._grad_req)
        parameter._shape = tuple(found.shape)
        parameter._dtype = declared(found)
        parameter._data = {array._ctx: array}
        self._met(found)

    def _follow_gluon(self, array: NDArray, found: torch.Tensor) -> None:
        """Gluon put another tensor there: a view of the same memory (attach_grad), or new memory (a cast)."""
        theirs = array._t.detach()
        same = theirs.data_ptr() == found.data_ptr() and theirs.shape == found.shape and theirs.dtype is found.dtype
        if not same:
            found.data, found.grad = theirs, None
        if isinstance(found, torch.nn.Parameter):
            found.requires_grad_(self.parameter._grad_req != "null")
        share(array, found, self.parameter._grad_req)
        self._met(found)

    def _met(self, found: torch.Tensor) -> None:
        if found.dtype is not self.dtype or found.device != self.device:
            Changes.count += 1  # graphs that were traced before declare another type
        self.tensor, self.dtype, self.device = found, found.dtype, found.device


def declared(tensor: torch.Tensor) -> Any:
    """Return the tensor's element type as parameters declare it."""
    return "bfloat16" if tensor.dtype is torch.bfloat16 else dtypes.as_numpy(tensor.dtype)
