"""Every private torch API that Glueball uses, in one file: whole-list ("foreach") and fused kernels, and the kernels of
gradients.

The one idea: an underscored name of torch may change between releases, so nothing outside this file says
`torch._anything`; each function here has a test in `tests/base/test_aten.py` against plain torch arithmetic, and a
plain Python fallback for a torch that lacks the kernel. `TensorList` gives a list of tensors the in-place vocabulary of
one tensor (`w.mul_(0.9).add_(g)`), one kernel launch per call on a GPU; that is how an optimiser's rule, written once,
updates one weight or all of them. The rules are in `glueball/optimizer/`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, wraps
from itertools import chain
from typing import Any, final

import torch
from torch.autograd.graph import increment_version  # the fused kernels do not mark what they write as changed

__all__ = [
    "shares_memory",
    "leave_uncompiled",
    "tables_of",
    "saved_buffers",
    "has_hooks",
    "backward_pass",
    "keeps_graph",
    "TensorList",
    "foreach",
    "fused_sgd_",
    "fused_adam_",
    "has_fused_sgd",
    "has_fused_adam",
    "threshold_backward",
    "sigmoid_backward",
    "tanh_backward",
    "softplus_backward",
    "gelu_backward",
    "elu_backward",
    "leaky_relu_backward",
    "prelu_kernel",
    "prelu_backward",
    "softmax_backward",
    "log_softmax_backward",
    "nll_loss_forward",
    "nll_loss_backward",
    "bfloat16_speed",
    "convolution_backward",
    "batch_norm",
    "batch_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "group_norm",
    "group_norm_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
    "adaptive_avg_pool2d_backward",
    "upsample_bilinear2d_backward",
    "embedding_dense_backward",
    "standard_gamma",
    "set_grad_mode",
    "arranged_weight",
    "finished_convolution",
    "added_convolution",
]

Tensor = torch.Tensor

# Switches torch's tape of this thread on or off: 0.1 µs where the public scope torch.no_grad() takes 2 µs. Put the old
# mode back.
set_grad_mode: Callable[[bool], Any] = getattr(torch._C, "_set_grad_enabled", torch.set_grad_enabled)


def foreach(name: str, tensors: Sequence[Tensor], *args: Any, **kwargs: Any) -> list[Tensor]:
    """Apply the tensor method `name` to every tensor of a list with one kernel where torch has one.

    Lists among `args` are taken element by element; everything else is the same for all. Names that end in ``_`` work
    in place.

    >>> foreach("add", [torch.ones(2), torch.zeros(1)], [torch.ones(2), torch.ones(1)], alpha=2.0)
    [tensor([3., 3.]), tensor([2.])]
    """
    kernel = getattr(torch, "_foreach_" + name, None)
    if kernel is None:
        return _one_by_one(name, tensors, args, kwargs)
    result = kernel(tensors, *args, **kwargs)
    return list(tensors if result is None else result)  # the in-place kernels of some releases return nothing


def _one_by_one(name: str, tensors: Sequence[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The plain form of `foreach`, for kernels that this torch does not have (and the reference in its test)."""
    results = []
    for position, tensor in enumerate(tensors):
        own = [a[position] if isinstance(a, (list, tuple)) else a for a in args]
        results.append(getattr(tensor, name)(*own, **kwargs))
    return results


@final
class TensorList:
    """A list of tensors that answers to the methods and signs of one tensor, each a single whole-list kernel.

    In-place methods return the list itself, so that they chain exactly as a tensor's do. Another list as argument is
    taken element by element. A method for which torch has no whole-list kernel is called on one tensor after the other.

    >>> w = TensorList([torch.ones(2), torch.ones(1)])
    >>> (w.mul_(0.5).add_(w, alpha=2.0) * 2).tensors
    [tensor([3., 3.]), tensor([3.])]
    """

    __slots__ = ("tensors",)

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensors)

    def __getattr__(self, name: str) -> Callable[..., TensorList]:
        if name.startswith("_") or not callable(getattr(Tensor, name, None)):
            raise AttributeError(f"a list of tensors has no {name!r}; ask its tensors one by one")
        return lambda *args, **kwargs: self._call(name, *args, **kwargs)

    def _call(self, name: str, *args: Any, **kwargs: Any) -> TensorList:
        results = foreach(name, self.tensors, *[_plain(a) for a in args], **kwargs)
        return self if name.endswith("_") else TensorList(results)

    # What kernels for lists take in another form than methods of a tensor.
    def add(self, other: Any, *, alpha: float = 1.0) -> TensorList:
        return (
            self._call("add", other, alpha=alpha) if isinstance(other, TensorList) else self._call("add", other * alpha)
        )

    def add_(self, other: Any, *, alpha: float = 1.0) -> TensorList:
        return (
            self._call("add_", other, alpha=alpha)
            if isinstance(other, TensorList)
            else self._call("add_", other * alpha)
        )

    def sub(self, other: Any, *, alpha: float = 1.0) -> TensorList:
        return self.add(other, alpha=-alpha)

    def sub_(self, other: Any, *, alpha: float = 1.0) -> TensorList:
        return self.add_(other, alpha=-alpha)

    def mul(self, other: Any) -> TensorList:
        return self._call("mul", _factor(other, self.tensors))

    def mul_(self, other: Any) -> TensorList:
        return self._call("mul_", _factor(other, self.tensors))

    def clamp(self, low: float, high: float) -> TensorList:
        return self._call("clamp_min", low)._call("clamp_max_", high)

    def clamp_(self, low: float, high: float) -> TensorList:
        return self._call("clamp_min_", low)._call("clamp_max_", high)

    __add__ = __radd__ = add
    __sub__ = sub
    __mul__ = __rmul__ = mul

    def __rsub__(self, other: Any) -> TensorList:
        return self._call("neg").add_(other)

    def __truediv__(self, other: Any) -> TensorList:
        return self._call("div", other)

    def __rtruediv__(self, other: Any) -> TensorList:
        return self._call("reciprocal").mul_(other)

    def __pow__(self, other: Any) -> TensorList:
        return self._call("pow", other)

    def __neg__(self) -> TensorList:
        return self._call("neg")


def _plain(argument: Any) -> Any:
    return argument.tensors if isinstance(argument, TensorList) else argument


def _factor(value: Any, tensors: list[Tensor]) -> Any:
    """A factor in the form that kernels take fastest: on a CPU a tensor of no dimension, else made of the number for
    every weight.
    """
    first = tensors[0]
    return (
        torch.full((), value, dtype=first.dtype)
        if first.is_cpu and first.dtype in _WIDE and isinstance(value, float)
        else value
    )


_WIDE = (torch.float32, torch.float64)


has_fused_sgd: bool = hasattr(torch, "_fused_sgd_")
has_fused_adam: bool = hasattr(torch, "_fused_adam_")


def _fusible(*lists: Sequence[Tensor]) -> bool:
    """Whether the fused kernels may walk these tensors side by side.

    They read memory in storage order and check nothing: strides that differ would give wrong numbers, element types
    that differ a crash on a GPU.
    """
    tensors = list(chain(*lists))
    return (
        all(map(Tensor.is_contiguous, tensors))
        and len({tensor.dtype for tensor in tensors}) == 1
        and len(set(map(Tensor.get_device, tensors))) == 1
    )


def fused_sgd_(
    weights: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    *,
    gradient_factor: float,
    weight_decay: float,
    momentum: float,
) -> None:
    """Update all weights in place by one kernel: v ← momentum·v + gradient_factor·(g + weight_decay·w); w ← w + v.

    torch's kernel keeps b ← μ·b + (1 − dampening)·g and w ← w − lr·b; with lr = −1 its buffer is the velocity v itself,
    so the learning rate (inside the negative `gradient_factor`) may change from step to step as compatible SGD wants
    it. With an empty `momenta`: w ← w + gradient_factor·(g + weight_decay·w).
    """
    # torch's kernel for 16-bit numbers on the CPU leaves all but the last few elements as they were
    written = weights[0].element_size() > 2 or not weights[0].is_cpu
    if has_fused_sgd and written and _fusible(weights, grads, momenta):
        if momenta:
            torch._fused_sgd_(
                weights,
                grads,
                momenta,
                weight_decay=weight_decay,
                momentum=momentum,
                lr=-1.0,
                dampening=1.0 - gradient_factor,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )
        else:
            torch._fused_sgd_(
                weights,
                grads,
                [],
                weight_decay=weight_decay,
                momentum=0.0,
                lr=-gradient_factor,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )
        increment_version(weights)
        return
    changes = foreach("mul_", foreach("add", grads, foreach("mul", weights, weight_decay)), gradient_factor)
    if momenta:
        changes = foreach("add_", foreach("mul_", momenta, momentum), changes)
    foreach("add_", weights, changes)


def fused_adam_(
    weights: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    variances: list[Tensor],
    *,
    step: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Update all weights in place by one kernel, with `step` (a float32 tensor of no dimension on the weights' device)
    as the count.

    m ← β1·m + (1 − β1)·g;  v ← β2·v + (1 − β2)·g²;  w ← w − lr/(1 − β1^step) · m / (√v/√(1 − β2^step) + eps).
    """
    if has_fused_adam and _fusible(weights, grads, means, variances):
        torch._fused_adam_(
            weights,
            grads,
            means,
            variances,
            [],
            [step] * len(weights),
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=0.0,
            eps=eps,
            amsgrad=False,
            maximize=False,
        )
        increment_version(weights)
        return
    count = float(step)
    foreach("add_", foreach("mul_", means, beta1), grads, alpha=1 - beta1)
    foreach("addcmul_", foreach("mul_", variances, beta2), grads, grads, value=1 - beta2)
    roots = foreach("add_", foreach("div_", foreach("sqrt", variances), (1 - beta2**count) ** 0.5), eps)
    foreach("addcdiv_", weights, means, roots, value=-lr / (1 - beta1**count))


# -- kernels of the gradient rules: each is the one call that torch's own autograd makes for that forward kernel ------


def _kernel(name: str) -> Any:
    """Return the fastest way to an ATen kernel: its own binding, else its overload without the Python layer."""
    for home in (torch, getattr(torch._C, "_nn", torch)):
        if hasattr(home, name):
            return getattr(home, name)
    found = getattr(torch.ops.aten, name).default
    return getattr(found, "_op", found)


threshold_backward = _kernel("threshold_backward")  # (grad, result, threshold)
sigmoid_backward = _kernel("sigmoid_backward")  # (grad, result)
tanh_backward = _kernel("tanh_backward")  # (grad, result)
softplus_backward = _kernel("softplus_backward")  # (grad, data, beta, threshold)
gelu_backward = _kernel("gelu_backward")  # (grad, data)
elu_backward = _kernel("elu_backward")  # (grad, alpha, scale, input_scale, is_result, data)
leaky_relu_backward = _kernel("leaky_relu_backward")  # (grad, data, slope, is_result)
prelu_kernel = _kernel("_prelu_kernel")  # (data, weight broadcast to the data's rank)
# (grad, data, weight) -> gradients of data, of weight (not yet summed)
prelu_backward = _kernel("_prelu_kernel_backward")
softmax_backward = _kernel("_softmax_backward_data")  # (grad, result, axis, dtype of the data)
log_softmax_backward = _kernel("_log_softmax_backward_data")  # (grad, result, axis, dtype of the data)
nll_loss_forward = _kernel("nll_loss_forward")  # (logarithms, labels, weights, reduction, ignored) -> losses, weight
nll_loss_backward = _kernel("nll_loss_backward")
#   (grad, logarithms, labels, weights, reduction, ignored, total weight)
convolution_backward = _kernel("convolution_backward")
#   (grad, data, weight, bias sizes, stride, padding, dilation, transposed, output_padding, groups, output_mask)
#   -> three gradients
batch_norm = _kernel("_batch_norm_impl_index")
#   (data, weight, bias, running mean, running variance, training, momentum, eps, cuDNN) -> result, mean, inverse
#   deviation, …; checks the sizes
batch_norm_backward = _kernel("native_batch_norm_backward")
#   (grad, data, weight, running mean, running variance, mean, inverse deviation, training, eps, output_mask)
#   -> three gradients
layer_norm = _kernel("native_layer_norm")  # (data, shape, weight, bias, eps) -> result, mean, inverse deviation
layer_norm_backward = _kernel("native_layer_norm_backward")
#   (grad, data, shape, mean, inverse deviation, weight, bias, output_mask) -> three gradients
# (data, weight, bias, N, C, H·W, groups, eps) -> result, mean, inverse deviation
group_norm = _kernel("native_group_norm")
group_norm_backward = _kernel("native_group_norm_backward")
#   (grad, data, mean, inverse deviation, weight, N, C, H·W, groups, output_mask) -> three gradients
# (data, kernel, stride, padding, dilation, ceil_mode) -> result, positions
max_pool2d = _kernel("max_pool2d_with_indices")
max_pool2d_backward = _kernel("max_pool2d_with_indices_backward")
#   (grad, data, kernel, stride, padding, dilation, ceil_mode, positions)
max_pool3d = _kernel("max_pool3d_with_indices")
max_pool3d_backward = _kernel("max_pool3d_with_indices_backward")
avg_pool2d = _kernel("avg_pool2d")  # (data, kernel, stride, padding, ceil_mode, count_include_pad, divisor)
# (grad, data, kernel, stride, padding, ceil_mode, count_include_pad, divisor)
avg_pool2d_backward = _kernel("avg_pool2d_backward")
avg_pool3d = _kernel("avg_pool3d")
avg_pool3d_backward = _kernel("avg_pool3d_backward")
adaptive_avg_pool2d_backward = _kernel("_adaptive_avg_pool2d_backward")  # (grad, data)
upsample_bilinear2d_backward = _kernel("upsample_bilinear2d_backward")  # (…, align_corners, scale_h, scale_w)
embedding_dense_backward = _kernel(
    "embedding_dense_backward"
)  # (grad, rows, number of rows, padding row, scale by count)

# -- convolutions of plans that predict: bias, addition and activation in the same call, on weights that lie as wanted -

_ONEDNN: Any = getattr(torch.ops, "mkldnn", None)


def _overload(name: str, overload: str) -> Any:
    """Return a kernel of oneDNN's without the Python layer; None where this torch lacks it."""
    found = getattr(getattr(_ONEDNN, name, None), overload, None)
    return getattr(found, "_op", found)


_arrange: Any = getattr(_ONEDNN, "_reorder_convolution_weight", None)
_finish: Any = _overload("_convolution_pointwise", "default")
_add: Any = _overload("_convolution_pointwise", "binary")
_add_over: Any = _overload("_convolution_pointwise_", "binary")
has_finished_convolution: bool = None not in (_arrange, _finish, _add, _add_over)


def arranged_weight(
    weight: Tensor, stride: Any, dilate: Any, pad: Any, groups: int, data: Sequence[int]
) -> Tensor:
    """Return a convolution's weights in the order that oneDNN wants for data of a shape: a copy for one reader.

    Where it has no such order the weights come back channels last. Whoever passes on what this returns must hand it to
    `finished_convolution` or `added_convolution`.
    """
    if has_finished_convolution and weight.is_cpu and weight.dtype is torch.float32 and torch.backends.mkldnn.enabled:
        try:
            return _arrange(weight.contiguous(), pad, stride, dilate, groups, list(data))
        except RuntimeError:  # shapes that it does not take
            pass
    return weight.contiguous(memory_format=torch.channels_last)


_ATTRS = {"none": "none", "relu": "relu", "clip": "hardtanh", "leaky": "leaky_relu"}


def finished_convolution(
    data: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, dilate: Any, pad: Any, groups: int, act: str,
    low: float = 0.0, high: float = 0.0,
) -> Tensor:  # fmt: skip
    """Compute act(convolution + bias) in one call where `weight` comes from `arranged_weight`; see `ops/prediction.py`.

    >>> x, w, b = torch.ones(1, 2, 3, 3), torch.ones(4, 2, 1, 1), torch.full((4,), -2.5)
    >>> finished_convolution(x, w, b, (1, 1), (1, 1), (0, 0), 1, "relu").sum().item()
    0.0
    """
    if weight.is_mkldnn:
        numbers = () if act in ("none", "relu") else (low, high) if act == "clip" else (low,)
        return _finish(data, weight, bias, pad, stride, dilate, groups, _ATTRS[act], numbers, "")
    out = torch.conv2d(data, weight, bias, stride, pad, dilate, groups)
    if act == "relu":
        return out.relu_()
    if act == "clip":
        return out.clamp_(low, high)
    return torch.nn.functional.leaky_relu_(out, low) if act == "leaky" else out


def added_convolution(
    residual: Tensor, data: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, dilate: Any, pad: Any,
    groups: int, act: str, overwrite: bool = False,
) -> Tensor:  # fmt: skip
    """Compute act(residual + convolution + bias), act none or relu; `overwrite`: the residual's memory may be used."""
    if weight.is_mkldnn:
        rectify = None if act == "none" else act
        if overwrite:
            return _add_over(residual, data, weight, bias, pad, stride, dilate, groups, "add", None, rectify, (), None)
        return _add(data, residual, weight, bias, pad, stride, dilate, groups, "add", None, rectify, (), None)
    out = torch.conv2d(data, weight, bias, stride, pad, dilate, groups).add_(residual)
    return out.relu_() if act == "relu" else out


# -- draws -------------------------------------------------------------------------------------------------------------


def standard_gamma(alpha: Tensor) -> Tensor:
    """Draw from the gamma distribution of scale 1, one number for each shape parameter."""
    return torch._standard_gamma(alpha)


# torch stands zeros that nobody computed for by a tensor without memory, which cannot be written to
is_symbolic_zero: Callable[[Tensor], bool] = getattr(torch.Tensor, "_is_zerotensor", lambda tensor: False)

_engine: Any = getattr(torch.autograd.Variable, "_execution_engine", None)


def run_backward(tensors: Any, grads: Any, keep: bool) -> None:
    """Accumulate gradients of `tensors` into all leaves: torch's engine itself, without the checks of
    torch.autograd.backward.

    Those cost more than a small layer, and their first use imports seconds' worth of symbolic algebra.
    """
    if _engine is None:
        torch.autograd.backward(tensors, grads, retain_graph=keep)
    else:
        _engine.run_backward(
            tuple(tensors), tuple(grads), keep, False, (), allow_unreachable=True, accumulate_grad=True
        )


_task: Any = getattr(torch._C, "_current_graph_task_id", None)
_keeps: Any = getattr(getattr(torch._C, "_autograd", None), "_get_current_graph_task_keep_graph", None)


def backward_pass() -> int:
    """Return the number of the backward pass that this code is part of; -1 outside (and on a torch without numbers).

    The engine knows it on every thread that works for the pass, so passes of several threads are told apart.
    """
    return -1 if _task is None else _task()


def keeps_graph() -> bool:
    """Whether the backward pass that this code is part of leaves the tape for another one (unknown: yes)."""
    return _keeps is None or _keeps()


_uses: Any = getattr(torch._C, "_storage_Use_Count", None)


def shares_memory(tensor: Any) -> bool:
    """Whether another tensor holds the same memory (not known on a torch without this count: no)."""
    return _uses is not None and _uses(tensor.untyped_storage()._cdata) > 2  # the tensor, and the storage asked for


def has_hooks(leaf: Tensor) -> bool:
    """Whether somebody wants to be told of a leaf's gradient before it is complete, or besides one who is told after.

    >>> x = torch.ones(1, requires_grad=True)
    >>> before = has_hooks(x); handle = x.register_hook(print); before, has_hooks(x)
    (False, True)
    """
    held: Any = leaf
    return bool(held._backward_hooks) or len(held._post_accumulate_grad_hooks or ()) > 1


def run_gradients(tensors: Any, inputs: Any, grads: Any, keep: bool, create: bool) -> Any:
    """Return gradients of `tensors` for `inputs` (None where nothing flows); see run_backward."""
    if _engine is None:
        return torch.autograd.grad(tensors, inputs, grads, retain_graph=keep, create_graph=create, allow_unused=True)
    return _engine.run_backward(
        tuple(tensors), tuple(grads), keep, create, tuple(inputs), allow_unreachable=True, accumulate_grad=False
    )


@cache
def bfloat16_speed() -> float:
    """Return about how many times as fast as of float32 this processor's multiplications of bfloat16 are."""
    try:
        known: Mapping[str, Any] = torch.cpu.get_capabilities()
    except AttributeError:  # a torch that does not tell
        known = {"avx512_bf16": _asked(torch.cpu, "_is_avx512_bf16_supported")}
    return 8.0 if known.get("amx_bf16") else 2.0 if any(known[k] for k in known if k.endswith("bf16")) else 1.0


def _asked(module: Any, name: str) -> Any:
    return getattr(module, name, lambda: False)()


def leave_uncompiled(function: Any) -> Any:
    """Return the function such that torch.compile runs it as it is, with all that it calls.

    torch.compiler.disable does the same, and imports the compiler, which takes seconds; here only who compiles does.
    """
    quiet: list[Any] = []

    @wraps(function)
    def uncompiled(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not quiet:
            quiet.append(torch.compiler.disable(function))
        return quiet[0](*args, **kwargs)

    marked: Any = uncompiled
    marked._torchdynamo_disable = True  # what torch.compiler.disable leaves on a function
    return uncompiled


def tables_of(module: torch.nn.Module) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return where a module itself looks up its parameters, buffers and parts: what is put there is used."""
    return module._parameters, module._buffers, module._modules


def saved_buffers(module: torch.nn.Module) -> list[str]:
    """Return the names of a module's own buffers that are in its state_dict()."""
    return [name for name, held in module._buffers.items()
            if held is not None and name not in module._non_persistent_buffers_set]  # fmt: skip
