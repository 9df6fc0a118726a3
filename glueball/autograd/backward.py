"""Gradients: `backward` fills attached gradient arrays, `grad` returns gradients.

The one idea: the tape is torch's, so a backward pass is one call into it; what is ours is the meaning: ones as
default head gradients, one backward per recording unless `retain_graph`, and errors that say what to do.
"""
from __future__ import annotations

from collections.abc import Sequence
from threading import get_ident
from typing import Any

import torch

from ..base import aten
from ..base.errors import AutogradError, MXNetError, ShapeError, UnsupportedError, explain
from ..base.modes import RECORDING
from ..ndarray.chain import SPENT, Result, walk
from ..ndarray.leaf import PASSES, Leaf
from ..ndarray.ndarray import NDArray, values_of

__all__ = ["backward", "grad", "mark_variables", "get_symbol"]


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _heads(heads: Sequence[Any], head_grads: Sequence[Any] | None, where: str) -> list[torch.Tensor]:
    """Check heads and their gradients; return the gradients."""
    grads: list[torch.Tensor] = []
    given = [None] * len(heads) if head_grads is None else list(head_grads)
    if len(given) != len(heads):
        raise MXNetError(explain(where, "There must be one head gradient per head.", expected=len(heads),
                                 received=len(given)))
    for head, head_grad in zip(heads, given):
        if not isinstance(head, NDArray):
            raise MXNetError(explain(where, "Only NDArrays can be differentiated.", received=type(head).__name__))
        place = head._ag
        chained = type(place) is Result
        if not chained and not head._t.requires_grad:
            raise AutogradError(explain(where, "This array was not recorded, so there is nothing to differentiate.",
                                        fix="compute it inside `with autograd.record():`, from arrays with "
                                            "attach_grad() or from parameters "
                                            "of an initialised network"))
        if place == SPENT or (chained and place.spent):
            raise AutogradError(explain(where, "The tape of this array has been used up by an earlier backward().",
                                        fix="pass retain_graph=True to the first backward(), or record again"))
        if head_grad is None:
            grads.append(torch.ones_like(values_of(head)))
        else:
            if head_grad.shape != head.shape:
                raise ShapeError(explain(where, "A head gradient must have its head's shape.", expected=head.shape,
                                         received=head_grad.shape))
            grads.append(head_grad._t)
    return grads


def _failed(where: str, error: RuntimeError) -> MXNetError:
    text = str(error).splitlines()[0]
    if "second time" in text:
        return AutogradError(explain(where, "Part of this tape has been used up by an earlier backward().",
                                     fix="pass retain_graph=True to the first backward(), or add the losses up and "
                                         "call backward() once"))
    if "modified by an inplace" in text:
        return AutogradError(
            explain(
                where,
                "An array that backward() needs was changed in place after it was recorded.",
                fix="write y = x + 1 instead of x += 1, record with a copy (x.copy()) of what changes, "
                "or update parameters only after backward()",
            )
        )
    return AutogradError(explain(where, text))


def backward(heads: Any, head_grads: Any = None, retain_graph: bool = False, train_mode: bool = True) -> None:
    """Compute the gradients of `heads` for every array with an attached gradient that they were computed from.

    Parameters
    ----------
    heads : NDArray or list of NDArray
    head_grads : weights of the heads' elements, of the heads' shapes (ones when None)
    retain_graph : keep the tape for another backward pass
    train_mode : kept for compatibility; each operator's mode is the one it was recorded in

    Raises
    ------
    AutogradError
        when a head was not recorded, or its tape was used up.
    """
    heads = _list(heads)
    grads = _heads(heads, None if head_grads is None else _list(head_grads), "backward")
    thread = get_ident()
    outermost = thread not in PASSES
    PASSES.add(thread)
    try:
        if retain_graph or not _walked(heads, grads):
            aten.run_backward([head._t for head in heads], grads, retain_graph)
    except MXNetError:
        raise
    except RuntimeError as error:
        raise _failed("backward", error) from error
    finally:
        if outermost:
            PASSES.discard(thread)
    if not retain_graph:
        for head in heads:
            if type(head._ag) is Result:
                head._ag.spent = True
            elif not isinstance(head._ag, Leaf):
                head._ag = SPENT


def _walked(heads: Sequence[NDArray], grads: Sequence[torch.Tensor]) -> bool:
    """Go back from heads by the calls that computed them, where they are chained to nothing else; return whether."""
    chained = [head._ag for head in heads if type(head._ag) is Result]
    if len(chained) != len(heads):
        return False
    plain = all(not g.requires_grad and g.is_cpu and g.dtype is place.tensor.dtype for g, place in zip(grads, chained))
    return plain and walk(chained, grads)


def grad(heads: Any, variables: Any, head_grads: Any = None, retain_graph: bool | None = None,
         create_graph: bool = False, train_mode: bool = True) -> Any:
    """Return the list of gradients of `heads` with respect to `variables`, without touching attached gradient arrays.

    A single variable gives a list of one, as in Gluon 1.x.

    With `create_graph=True`, inside record(), the gradients are recorded themselves: call again for higher orders.
    """
    wanted = _list(variables)
    if not wanted:
        raise MXNetError(explain("autograd.grad", "There must be at least one variable."))
    heads = _list(heads)
    grads = _heads(heads, None if head_grads is None else _list(head_grads), "autograd.grad")
    for variable in wanted:
        if not variable._t.requires_grad:
            raise AutogradError(explain("autograd.grad", "A variable takes no part in the tape.",
                                        received=f"shape {variable.shape}",
                                        fix="call variable.attach_grad() before autograd.record()"))
        if getattr(variable, "ref", -1) >= 0:  # a future of a folding scope: who uses it does so behind torch's back
            raise UnsupportedError(explain("autograd.grad", "Gradients of what a folded batch computed half-way are "
                                           "not kept.", received=f"a folded array of shape {variable.shape}",
                                           fix="call variable.attach_grad() as soon as it is computed, or use "
                                               "fold.batching(mode='off')"))
    keep = create_graph if retain_graph is None else retain_graph
    try:
        found = aten.run_gradients([h._t for h in heads], [v._t for v in wanted], grads, bool(keep), create_graph)
    except MXNetError:
        raise
    except RuntimeError as error:
        raise _failed("autograd.grad", error) from error
    if not create_graph:
        found = _apart(found, grads)
    token = RECORDING.set(create_graph or RECORDING.get())
    try:
        return [NDArray._wrap(torch.zeros_like(v._t) if g is None else g, v._ctx) for v, g in zip(wanted, found)]
    finally:
        RECORDING.reset(token)


def _apart(found: Sequence[torch.Tensor | None], grads: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    """Copy gradients that are one another or a head gradient, so that writing to one never shows in another."""
    seen = {id(g) for g in grads}
    apart: list[torch.Tensor | None] = []
    for gradient in found:
        again = gradient is not None and (id(gradient) in seen or aten.shares_memory(gradient))
        seen.add(id(gradient))
        apart.append(gradient.clone() if gradient is not None and again else gradient)
    return apart


def mark_variables(variables: Any, gradients: Any, grad_reqs: Any = "write") -> None:
    """Attach the given arrays as gradients of the variables."""
    variables, gradients = _list(variables), _list(gradients)
    reqs = [grad_reqs] * len(variables) if isinstance(grad_reqs, str) else list(grad_reqs)
    for variable, gradient, req in zip(variables, gradients, reqs):
        variable.attach_grad(req)
        if isinstance(variable._ag, Leaf):
            variable._ag.grad = gradient


def get_symbol(x: NDArray) -> Any:
    """Refuse: the tape keeps no symbols."""
    raise UnsupportedError(explain("autograd.get_symbol",
                                   "A recorded computation has no symbol here: the tape is not a graph of operators.",
                                   fix="hybridize() the block and use net(sym.Variable('data')), or net.export(path)"))


