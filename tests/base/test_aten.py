"""Every private torch API of `base/aten.py` against plain torch arithmetic, with the kernel and without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from glueball.base import aten
from glueball.base.aten import TensorList, foreach

SHAPES = [(3, 4), (5,), (1, 2, 3)]


def tensors(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) + 0.5 for shape in SHAPES]


@pytest.fixture(params=["kernel", "fallback"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test twice: with torch's kernels and with the plain Python that replaces them."""
    if request.param == "fallback":
        monkeypatch.setattr(aten, "has_fused_sgd", False)
        monkeypatch.setattr(aten, "has_fused_adam", False)
        monkeypatch.setattr(
            aten, "foreach", lambda name, lists, *args, **kwargs: aten._one_by_one(name, lists, args, kwargs)
        )
    return request.param


METHODS: dict[str, Callable] = {
    "add": lambda a, b, c: a.add(b, alpha=0.3),
    "add number": lambda a, b, c: a.add(2.0, alpha=0.3),
    "add_": lambda a, b, c: a.add_(b, alpha=0.3),
    "add_ number": lambda a, b, c: a.add_(0.7),
    "sub": lambda a, b, c: a.sub(b),
    "mul": lambda a, b, c: a.mul(b),
    "mul number": lambda a, b, c: a.mul(0.7),
    "mul_": lambda a, b, c: a.mul_(0.7),
    "div": lambda a, b, c: a.div(b),
    "div_": lambda a, b, c: a.div_(b),
    "neg": lambda a, b, c: a.neg(),
    "abs": lambda a, b, c: a.sub(b).abs(),
    "sign": lambda a, b, c: a.sub(b).sign(),
    "sqrt": lambda a, b, c: a.sqrt(),
    "sqrt_": lambda a, b, c: a.sqrt_(),
    "clone": lambda a, b, c: a.clone().mul_(2.0).add(a),
    "copy_": lambda a, b, c: a.copy_(b),
    "clamp": lambda a, b, c: a.clamp(0.7, 0.9),
    "clamp_": lambda a, b, c: a.clamp_(0.7, 0.9),
    "clamp_min_": lambda a, b, c: a.clamp_min_(0.8),
    "maximum": lambda a, b, c: a.maximum(b),
    "addcmul_": lambda a, b, c: a.addcmul_(b, c, value=0.3),
    "addcdiv_": lambda a, b, c: a.addcdiv_(b, c, value=-0.3),
    "norm": lambda a, b, c: a.norm(),
    "sub_": lambda a, b, c: a.sub_(b, alpha=0.3),
    "sub number": lambda a, b, c: a.sub(0.3),
    "exp": lambda a, b, c: a.exp(),
    "lerp_": lambda a, b, c: a.lerp_(b, 0.3),
    "cumsum": lambda a, b, c: a.cumsum(0),
    "mean": lambda a, b, c: a - a.mean(),
    "signs": lambda a, b, c: 2.0 - (a * b + 0.5 * c - 1) / c * -a,
    "more signs": lambda a, b, c: 1.0 / (1 + a) ** 2 - b / 3,
    "scaled by norm": lambda a, b, c: a.mul(a.norm().div(b.norm())),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_list_answers_as_each_of_its_tensors_does(name: str, path: str) -> None:
    body = METHODS[name]
    lists = [TensorList(tensors(seed)) for seed in range(3)]
    one_by_one = [body(*args) for args in zip(*[tensors(seed) for seed in range(3)])]
    result = body(*lists)
    for got, expected in zip(result, one_by_one, strict=True):
        torch.testing.assert_close(got, expected)
    if name.split()[0].endswith("_"):
        assert result is lists[0]


def test_foreach_falls_back_to_the_method_of_each_tensor() -> None:
    results = foreach("cumsum", tensors(0), 0)  # torch has no whole-list kernel of this name
    for got, tensor in zip(results, tensors(0), strict=True):
        torch.testing.assert_close(got, tensor.cumsum(0))


def test_a_list_has_no_attributes_that_are_not_methods() -> None:
    for name in ("shape", "grad", "nonsense", "_version"):
        with pytest.raises(AttributeError, match=f"no '{name}'"):
            getattr(TensorList(tensors(0)), name)


def transposed(lists: list[torch.Tensor]) -> list[torch.Tensor]:
    """The same values in another memory order: what a kernel that walks raw memory would get wrong."""
    return [t.transpose(0, -1).contiguous().transpose(0, -1) for t in lists]


@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_fused_sgd(momentum: float, layout: str, path: str) -> None:
    weights, velocities = tensors(0), tensors(2) if momentum else []
    grads = tensors(1) if layout == "contiguous" else transposed(tensors(1))
    aten.fused_sgd_(weights, grads, velocities, gradient_factor=-0.1, weight_decay=0.01, momentum=momentum)
    for i, (weight, grad) in enumerate(zip(tensors(0), tensors(1))):
        velocity = -0.1 * (grad + 0.01 * weight) + (momentum * tensors(2)[i] if momentum else 0.0)
        torch.testing.assert_close(weights[i], weight + velocity)
        torch.testing.assert_close(grads[i], grad)
        if momentum:
            torch.testing.assert_close(velocities[i], velocity)
        assert weights[i]._version > 0, "backward() must notice that the weight was changed"


@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_fused_adam(layout: str, path: str) -> None:
    weights, means, variances = tensors(0), tensors(2), tensors(3)
    grads = tensors(1) if layout == "contiguous" else transposed(tensors(1))
    aten.fused_adam_(weights, grads, means, variances, step=torch.tensor(3.0), lr=0.1, beta1=0.9, beta2=0.99, eps=1e-3)
    for i, (weight, grad, mean, variance) in enumerate(zip(tensors(0), tensors(1), tensors(2), tensors(3))):
        mean = 0.9 * mean + 0.1 * grad
        variance = 0.99 * variance + 0.01 * grad**2
        step = mean / (1 - 0.9**3) / ((variance / (1 - 0.99**3)).sqrt() + 1e-3)
        torch.testing.assert_close(weights[i], weight - 0.1 * step)
        torch.testing.assert_close(means[i], mean)
        torch.testing.assert_close(variances[i], variance)
        assert weights[i]._version > 0, "backward() must notice that the weight was changed"


def test_standard_gamma() -> None:
    torch.manual_seed(0)
    drawn = aten.standard_gamma(torch.full((20000,), 3.0))
    assert abs(float(drawn.mean()) - 3.0) < 0.1  # mean and variance of the distribution are its shape parameter
    assert abs(float(drawn.var()) - 3.0) < 0.2


def test_set_grad_mode() -> None:
    assert torch.is_grad_enabled()
    aten.set_grad_mode(False)
    try:
        assert not torch.is_grad_enabled()
    finally:
        aten.set_grad_mode(True)
    assert torch.is_grad_enabled()


def test_has_hooks_sees_both_kinds_of_torchs_hooks():
    x = torch.ones(1, requires_grad=True)
    first = x.register_post_accumulate_grad_hook(lambda t: None)
    assert not aten.has_hooks(x)  # one who is told afterwards: the leaf itself
    second = x.register_post_accumulate_grad_hook(lambda t: None)
    assert aten.has_hooks(x)
    second.remove()
    assert not aten.has_hooks(x)
    before = x.register_hook(lambda g: g)
    assert aten.has_hooks(x)
    before.remove()
    first.remove()
    assert not aten.has_hooks(x)


def test_run_backward_accumulates_and_can_keep_the_graph():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    aten.run_backward([y], [torch.ones(2)], True)
    aten.run_backward([y], [torch.ones(2)], False)
    assert x.grad.tolist() == [4.0, 8.0]
    with pytest.raises(RuntimeError):
        aten.run_backward([y], [torch.ones(2)], False)


def test_run_gradients_returns_without_accumulating_and_can_be_differentiated():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    unused = torch.zeros(1, requires_grad=True)
    first, nothing = aten.run_gradients([x * x * x], [x, unused], [torch.ones(2)], True, True)
    (second,) = aten.run_gradients([first], [x], [torch.ones(2)], False, False)
    assert nothing is None and x.grad is None
    assert second.tolist() == [6.0, 12.0]


class _Told(torch.autograd.Function):
    """Notes what the running backward pass says of itself."""

    notes: list[tuple[int, bool]] = []

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, grad):
        _Told.notes.append((aten.backward_pass(), aten.keeps_graph()))
        return grad


def test_a_backward_pass_knows_its_number_and_whether_the_graph_stays() -> None:
    _Told.notes.clear()
    x = torch.ones(2, requires_grad=True)
    y = (_Told.apply(_Told.apply(x))).sum()
    aten.run_backward([y], [torch.ones(())], True)
    aten.run_backward([y], [torch.ones(())], False)
    (first, kept), again, (second, gone), _ = _Told.notes
    assert again == (first, True) and kept and not gone
    assert -1 < first != second > -1
    assert aten.backward_pass() == -1


def test_is_symbolic_zero_tells_zeros_without_memory() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    (first,) = aten.run_gradients([x.abs()], [x], [torch.ones(2)], True, True)
    (second,) = aten.run_gradients([first * first], [x], [torch.ones(2)], False, False)
    assert not aten.is_symbolic_zero(torch.zeros(2))
    assert second is None or aten.is_symbolic_zero(second) or second.tolist() == [0.0, 0.0]


# ---------------------------------------------------------------------------------------- kernels of the gradient rules
NNF = torch.nn.functional
X = torch.linspace(-2.0, 2.0, 2 * 4 * 6 * 6).reshape(2, 4, 6, 6)

# name: (the forward function, the kernel called with gradient, data and result)
ELEMENTWISE: dict[str, tuple[Callable, Callable]] = {
    "threshold_backward": (torch.relu, lambda grad, x, y: aten.threshold_backward(grad, y, 0)),
    "sigmoid_backward": (torch.sigmoid, lambda grad, x, y: aten.sigmoid_backward(grad, y)),
    "tanh_backward": (torch.tanh, lambda grad, x, y: aten.tanh_backward(grad, y)),
    "softplus_backward": (NNF.softplus, lambda grad, x, y: aten.softplus_backward(grad, x, 1, 20)),
    "gelu_backward": (NNF.gelu, lambda grad, x, y: aten.gelu_backward(grad, x)),
    "elu_backward": (NNF.elu, lambda grad, x, y: aten.elu_backward(grad, 1, 1, 1, False, x)),
    "leaky_relu_backward": (
        lambda x: NNF.leaky_relu(x, 0.1),
        lambda grad, x, y: aten.leaky_relu_backward(grad, x, 0.1, False),
    ),
    "softmax_backward": (
        lambda x: torch.softmax(x, 1),
        lambda grad, x, y: aten.softmax_backward(grad, y, 1, torch.float32),
    ),
    "log_softmax_backward": (
        lambda x: torch.log_softmax(x, 1),
        lambda grad, x, y: aten.log_softmax_backward(grad, y, 1, torch.float32),
    ),
    "nll_loss_backward": (
        lambda x: torch.nn.functional.nll_loss(x.flatten(1), LABELS, reduction="none"),
        lambda grad, x, y: aten.nll_loss_backward(
            grad, x.flatten(1), LABELS, None, 0, -100, aten.nll_loss_forward(x.flatten(1), LABELS, None, 0, -100)[1]
        ).reshape(x.shape),
    ),
    "convolution_backward": (
        lambda x: torch.conv2d(x, KERNEL),
        lambda grad, x, y: aten.convolution_backward(
            grad, x, KERNEL, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, False, False]
        )[0],
    ),
    "batch_norm_backward": (
        lambda x: torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False),
        lambda grad, x, y: aten.batch_norm_backward(
            grad,
            x,
            None,
            None,
            None,
            *aten.batch_norm(x, None, None, None, None, True, 0.1, 1e-5, False)[1:3],
            True,
            1e-5,
            [True, False, False],
        )[0],
    ),
    "layer_norm_backward": (
        lambda x: aten.layer_norm(x, [6], None, None, 1e-5)[0],
        lambda grad, x, y: aten.layer_norm_backward(
            grad, x, [6], *aten.layer_norm(x, [6], None, None, 1e-5)[1:], None, None, [True, False, False]
        )[0],
    ),
    "group_norm_backward": (
        lambda x: torch.group_norm(x, 2),
        lambda grad, x, y: aten.group_norm_backward(
            grad, x, *aten.group_norm(x, None, None, 2, 4, 36, 2, 1e-5)[1:], None, 2, 4, 36, 2, [True, False, False]
        )[0],
    ),
    "max_pool2d_backward": (
        lambda x: torch.max_pool2d(x, 2),
        lambda grad, x, y: aten.max_pool2d_backward(
            grad, x, [2, 2], [2, 2], [0, 0], [1, 1], False, aten.max_pool2d(x, [2, 2], [2, 2])[1]
        ),
    ),
    "max_pool3d_backward": (
        lambda x: torch.max_pool3d(x, 2),
        lambda grad, x, y: aten.max_pool3d_backward(
            grad, x, [2] * 3, [2] * 3, [0] * 3, [1] * 3, False, aten.max_pool3d(x, [2] * 3, [2] * 3)[1]
        ),
    ),
    "avg_pool2d_backward": (
        lambda x: aten.avg_pool2d(x, [2, 2]),
        lambda grad, x, y: aten.avg_pool2d_backward(grad, x, [2, 2], [2, 2], [0, 0], False, True, None),
    ),
    "avg_pool3d_backward": (
        lambda x: aten.avg_pool3d(x, [2] * 3),
        lambda grad, x, y: aten.avg_pool3d_backward(grad, x, [2] * 3, [2] * 3, [0] * 3, False, True, None),
    ),
    "adaptive_avg_pool2d_backward": (
        lambda x: NNF.adaptive_avg_pool2d(x, 2),
        lambda grad, x, y: aten.adaptive_avg_pool2d_backward(grad, x),
    ),
    "upsample_bilinear2d_backward": (
        lambda x: NNF.interpolate(x, (12, 12), mode="bilinear", align_corners=True),
        lambda grad, x, y: aten.upsample_bilinear2d_backward(grad, [12, 12], list(x.shape), True, None, None),
    ),
    "embedding_dense_backward": (
        lambda x: NNF.embedding(ROWS, x.reshape(48, 6)),
        lambda grad, x, y: aten.embedding_dense_backward(grad, ROWS, 48, -1, False).reshape(x.shape),
    ),
    "prelu_backward": (
        lambda x: aten.prelu_kernel(x, torch.full((1, 4, 1, 1), 0.2)),
        lambda grad, x, y: aten.prelu_backward(grad, x, torch.full((1, 4, 1, 1), 0.2))[0],
    ),
}
LABELS = torch.tensor([3, 0])
ROWS = torch.tensor([[3, 0, 47], [3, 3, 1]])
KERNEL = torch.linspace(-1.0, 1.0, 3 * 4 * 2 * 2).reshape(3, 4, 2, 2)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradient_kernels_are_those_of_torchs_own_tape(name: str) -> None:
    forward, kernel = ELEMENTWISE[name]
    x = X.clone().requires_grad_()
    y = forward(x)
    grad = torch.linspace(0.5, 1.5, y.numel()).reshape(y.shape)
    (expected,) = torch.autograd.grad(y, x, grad)
    torch.testing.assert_close(kernel(grad, X, y.detach()), expected)


def test_every_gradient_kernel_is_tested() -> None:
    kernels = {name for name in vars(aten) if name.endswith("_backward") and not name.startswith("_")}
    assert kernels - {"run_backward"} == set(ELEMENTWISE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_updates_every_element(dtype: torch.dtype, momentum: float) -> None:
    weights = [torch.ones(size, dtype=dtype) for size in (80, 16, 3)]
    velocities = [torch.zeros_like(w) for w in weights] if momentum else []
    gradients = [torch.ones_like(w) for w in weights]
    aten.fused_sgd_(weights, gradients, velocities, gradient_factor=-0.5, weight_decay=0.0, momentum=momentum)
    assert all((weight == 0.5).all() for weight in weights)


ACTS = [("none", lambda x: x), ("relu", torch.relu), ("clip", lambda x: x.clamp(0, 2)),
        ("leaky", lambda x: torch.nn.functional.leaky_relu(x, 0.0))]  # fmt: skip


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize(("act", "function"), ACTS)
@pytest.mark.parametrize("form", [((1, 1), (1, 1), (0, 0), 1, (1, 1), 5), ((2, 1), (1, 2), (2, 1), 2, (3, 2), 6),
                                  ((1, 1), (1, 1), (1, 1), 4, (3, 3), 1)])  # fmt: skip
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_finished_convolutions(kernel, act, function, form, biased, order, monkeypatch) -> None:
    if not kernel:
        monkeypatch.setattr(aten, "has_finished_convolution", False)
    *numbers, groups, window, size = form
    generator = torch.Generator().manual_seed(0)
    data = torch.randn((2, 4, size, size), generator=generator).contiguous(memory_format=order)
    weight = torch.randn((8, 4 // groups, *window), generator=generator)
    bias = torch.randn(8, generator=generator) if biased else None
    stride, dilate, pad = numbers
    plain = torch.conv2d(data, weight, bias, stride, pad, dilate, groups)
    arranged = aten.arranged_weight(weight, stride, dilate, pad, groups, data.shape)
    assert arranged.is_mkldnn is (kernel and aten.has_finished_convolution)
    given = (data, arranged, bias, stride, dilate, pad, groups)
    limits = (0.0, 2.0) if act == "clip" else ()
    torch.testing.assert_close(aten.finished_convolution(*given, act, *limits), function(plain), rtol=1e-4, atol=1e-4)
    if act in ("none", "relu"):
        residual = torch.randn(plain.shape, generator=generator).contiguous(memory_format=order)
        before, wanted = residual.clone(), function(plain + residual)
        torch.testing.assert_close(aten.added_convolution(residual, *given, act), wanted, rtol=1e-4, atol=1e-4)
        assert residual.equal(before)
        over = aten.added_convolution(residual, *given, act, overwrite=True)
        torch.testing.assert_close(over, wanted, rtol=1e-4, atol=1e-4)


def test_weights_that_onednn_does_not_take_stay() -> None:
    weight = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    found = aten.arranged_weight(weight, (1, 1), (1, 1), (0, 0), 1, (1, 3, 4, 4))
    assert not found.is_mkldnn and found.equal(weight)


def test_what_modules_look_up() -> None:
    """What is put into the tables is what the module uses; buffers that are not saved are told apart."""
    module = torch.nn.BatchNorm1d(3)
    module.register_buffer("scratch", torch.zeros(1), persistent=False)
    parameters, buffers, parts = aten.tables_of(module)
    assert (list(parameters), parts) == (["weight", "bias"], {})
    buffers["running_mean"] = torch.ones(3)
    assert module.running_mean.sum() == 3
    assert aten.saved_buffers(module) == [name for name in module.state_dict() if name not in parameters]


def test_what_is_left_uncompiled_runs_as_it_is() -> None:
    """torch.compile traces none of it: the function sees real numbers."""
    seen: list[bool] = []

    @aten.leave_uncompiled
    def double(x: torch.Tensor) -> torch.Tensor:
        seen.append(torch.compiler.is_compiling() or type(x) is not torch.Tensor)
        return x * 2

    compiled = torch.compile(lambda x: double(x + 1), backend="eager")
    assert compiled(torch.ones(2)).tolist() == [4, 4] == double(torch.full((2,), 2.0)).tolist()
    assert seen == [False, False]


def test_the_speed_of_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the processor says, and what an older torch can say of it."""
    assert aten.bfloat16_speed() in (1, 2, 8)
    ask = aten.bfloat16_speed.__wrapped__
    for known, speed in (({"avx2": True, "avx512_bf16": False}, 1), ({"avx512_bf16": True}, 2),
                         ({"avx512_bf16": True, "amx_bf16": True}, 8)):  # fmt: skip
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        assert ask() == speed
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert ask() == 2
