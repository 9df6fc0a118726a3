"""Every private torch API that Glueball uses, in one file: whole-list ("foreach") and fused kernels.

The one idea: an underscored name of torch may change between releases, so nothing outside this file says `torch._anything`; each
function here has a test in `tests/base/test_aten.py` against plain torch arithmetic, and a plain Python fallback for a torch that lacks
the kernel. `TensorList` gives a list of tensors the in-place vocabulary of one tensor (`w.mul_(0.9).add_(g)`), one kernel launch per
call on a GPU; that is how an optimiser's rule, written once, updates one weight or all of them. The rules are in `glueball/optimizer/`.
"""
from __future__ import annotations

from typing import Any, Iterator, Sequence, final

import torch

__all__ = ["TensorList", "foreach", "fused_sgd_", "fused_adam_", "has_fused_sgd", "has_fused_adam"]

Tensor = torch.Tensor


def foreach(name: str, tensors: Sequence[Tensor], *args: Any, **kwargs: Any) -> list[Tensor]:
    """Apply the tensor method `name` to every tensor of a list with one kernel where torch has one.

    Lists among `args` are taken element by element; everything else is the same for all. Names that end in ``_`` work in place.

    >>> foreach("add", [torch.ones(2), torch.zeros(1)], [torch.ones(2), torch.ones(1)], alpha=2.0)
    [tensor([3., 3.]), tensor([2.])]
    """
    kernel = getattr(torch, "_foreach_" + name, None)
    if kernel is None:
        return _one_by_one(name, tensors, args, kwargs)
    result = kernel(tensors, *args, **kwargs)
    return list(tensors) if result is None else result  # the in-place kernels of some releases return nothing


def _one_by_one(name: str, tensors: Sequence[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The plain form of `foreach`, for kernels that this torch does not have (and the reference in its test)."""
    results = []
    for position, tensor in enumerate(tensors):
        own = [a[position] if isinstance(a, (list, tuple)) else a for a in args]
        results.append(getattr(tensor, name)(*own, **kwargs))
    return results


@final
class TensorList:
    """A list of tensors that answers to the arithmetic methods of one tensor, each a single whole-list kernel.

    In-place methods return the list itself, so that they chain exactly as a tensor's do.

    >>> w = TensorList([torch.ones(2), torch.ones(1)])
    >>> w.mul_(0.5).add_(w, alpha=2.0).tensors
    [tensor([1.5000, 1.5000]), tensor([1.5000])]
    """

    __slots__ = ("tensors",)

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensors)

    def _new(self, name: str, *args: Any, **kwargs: Any) -> TensorList:
        return TensorList(foreach(name, self.tensors, *[_plain(a) for a in args], **kwargs))

    def _same(self, name: str, *args: Any, **kwargs: Any) -> TensorList:
        foreach(name, self.tensors, *[_plain(a) for a in args], **kwargs)
        return self

    def add(self, other: Any, *, alpha: float = 1.0) -> TensorList:
        return self._new("add", other, alpha=alpha) if isinstance(other, TensorList) else self._new("add", other * alpha)

    def add_(self, other: Any, *, alpha: float = 1.0) -> TensorList:
        return self._same("add_", other, alpha=alpha) if isinstance(other, TensorList) else self._same("add_", other * alpha)

    def sub(self, other: Any) -> TensorList:
        return self._new("sub", other)

    def mul(self, other: Any) -> TensorList:
        return self._new("mul", other)

    def mul_(self, other: Any) -> TensorList:
        return self._same("mul_", other)

    def div(self, other: Any) -> TensorList:
        return self._new("div", other)

    def div_(self, other: Any) -> TensorList:
        return self._same("div_", other)

    def neg(self) -> TensorList:
        return self._new("neg")

    def abs(self) -> TensorList:
        return self._new("abs")

    def sign(self) -> TensorList:
        return self._new("sign")

    def sqrt(self) -> TensorList:
        return self._new("sqrt")

    def sqrt_(self) -> TensorList:
        return self._same("sqrt_")

    def clone(self) -> TensorList:
        return TensorList([tensor.clone() for tensor in self.tensors])

    def copy_(self, other: TensorList) -> TensorList:
        return self._same("copy_", other)

    def clamp(self, low: float, high: float) -> TensorList:
        return self._new("clamp_min", low)._same("clamp_max_", high)

    def clamp_(self, low: float, high: float) -> TensorList:
        return self._same("clamp_min_", low)._same("clamp_max_", high)

    def clamp_min_(self, low: float) -> TensorList:
        return self._same("clamp_min_", low)

    def maximum(self, other: TensorList) -> TensorList:
        return self._new("maximum", other)

    def addcmul_(self, left: TensorList, right: TensorList, *, value: float = 1.0) -> TensorList:
        foreach("addcmul_", self.tensors, left.tensors, right.tensors, value=value)
        return self

    def addcdiv_(self, left: TensorList, right: TensorList, *, value: float = 1.0) -> TensorList:
        foreach("addcdiv_", self.tensors, left.tensors, right.tensors, value=value)
        return self

    def norm(self) -> TensorList:
        """The Euclidean norm of each tensor, as tensors of no dimension."""
        return self._new("norm", 2)


def _plain(argument: Any) -> Any:
    return argument.tensors if isinstance(argument, TensorList) else argument


has_fused_sgd: bool = hasattr(torch, "_fused_sgd_")
has_fused_adam: bool = hasattr(torch, "_fused_adam_")


def _fusible(*lists: Sequence[Tensor]) -> bool:
    """Whether the fused kernels may walk these tensors side by side.

    They read memory in storage order and check nothing: strides that differ would give wrong numbers, element types that differ
    a crash on a GPU.
    """
    first = lists[0][0]
    dtype, device = first.dtype, first.device
    for tensors in lists:
        for tensor in tensors:
            if tensor.dtype is not dtype or tensor.device != device or not tensor.is_contiguous():
                return False
    return True


def fused_sgd_(weights: list[Tensor], grads: list[Tensor], momenta: list[Tensor], *, gradient_factor: float, weight_decay: float,
               momentum: float) -> None:
    """Update all weights in place by one kernel: v ← momentum·v + gradient_factor·(g + weight_decay·w); w ← w + v.

    torch's kernel keeps b ← μ·b + (1 − dampening)·g and w ← w − lr·b; with lr = −1 its buffer is the velocity v itself, so the learning
    rate (inside the negative `gradient_factor`) may change from step to step as compatible SGD wants it. With an empty `momenta`:
    w ← w + gradient_factor·(g + weight_decay·w).
    """
    if has_fused_sgd and _fusible(weights, grads, momenta):
        if momenta:
            torch._fused_sgd_(weights, grads, momenta, weight_decay=weight_decay, momentum=momentum, lr=-1.0,
                              dampening=1.0 - gradient_factor, nesterov=False, maximize=False, is_first_step=False)
        else:
            torch._fused_sgd_(weights, grads, [], weight_decay=weight_decay, momentum=0.0, lr=-gradient_factor, dampening=0.0,
                              nesterov=False, maximize=False, is_first_step=False)
        return
    changes = foreach("mul_", foreach("add", grads, foreach("mul", weights, weight_decay)), gradient_factor)
    if momenta:
        changes = foreach("add_", foreach("mul_", momenta, momentum), changes)
    foreach("add_", weights, changes)


def fused_adam_(weights: list[Tensor], grads: list[Tensor], means: list[Tensor], variances: list[Tensor], *, step: Tensor, lr: float,
                beta1: float, beta2: float, eps: float) -> None:
    """Update all weights in place by one kernel, with `step` (a float32 tensor of no dimension on the weights' device) as the count.

    m ← β1·m + (1 − β1)·g;  v ← β2·v + (1 − β2)·g²;  w ← w − lr/(1 − β1^step) · m / (√v/√(1 − β2^step) + eps).
    """
    if has_fused_adam and _fusible(weights, grads, means, variances):
        torch._fused_adam_(weights, grads, means, variances, [], [step] * len(weights), lr=lr, beta1=beta1, beta2=beta2,
                           weight_decay=0.0, eps=eps, amsgrad=False, maximize=False)
        return
    count = float(step)
    foreach("add_", foreach("mul_", means, beta1), grads, alpha=1 - beta1)
    foreach("addcmul_", foreach("mul_", variances, beta2), grads, grads, value=1 - beta2)
    roots = foreach("add_", foreach("div_", foreach("sqrt", variances), (1 - beta2 ** count) ** 0.5), eps)
    foreach("addcdiv_", weights, means, roots, value=-lr / (1 - beta1 ** count))
