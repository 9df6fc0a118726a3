"""A Gluon network as a torch module: shared parameters and gradients, torch's tools, and what is refused."""

from __future__ import annotations

import copy
import os
import socket
import warnings

import numpy as np
import pytest
import torch

from glueball import autograd, gluon, nd
from glueball.base.errors import ContextError, MXNetError, UnsupportedError
from glueball.gluon import nn

BOTH = pytest.mark.parametrize("compiled", [False, True], ids=["imperative", "hybridized"])


def small(compiled: bool = False, dtype: str = "float64") -> nn.HybridSequential:
    """A network with convolution, running statistics and a frozen parameter, the same at each call."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=2), nn.BatchNorm(in_channels=4), nn.Activation("relu"),
            nn.Dense(3, in_units=4 * 9))  # fmt: skip
    net.cast(dtype)
    net.initialize()
    random = np.random.RandomState(0)
    for parameter in net.collect_params().values():
        parameter.set_data(nd.array(random.uniform(0.5, 1.0, parameter.shape) - 0.4, dtype=dtype))
    if compiled:
        net.hybridize()
    return net


def by_hand(net: nn.HybridSequential) -> torch.nn.Sequential:
    """The same network in torch, with copies of the values."""
    made = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
                               torch.nn.Linear(36, 3)).double()  # fmt: skip
    values = [p.data().asnumpy() for p in net.collect_params().values()]
    targets = [made[0].weight, made[0].bias, made[1].weight, made[1].bias, made[1].running_mean, made[1].running_var,
               made[4].weight, made[4].bias]  # fmt: skip
    with torch.no_grad():
        for target, value in zip(targets, values):
            target.copy_(torch.from_numpy(value))
    return made


def images(rows: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Random images."""
    return torch.randn(rows, 2, 5, 5, generator=torch.Generator().manual_seed(rows), dtype=dtype)


@BOTH
def test_values_gradients_and_statistics_are_those_of_torch(compiled: bool) -> None:
    """In train mode, then in eval mode; gradients of inputs, too."""
    net = small(compiled)
    module, expected = net.to_torch(), by_hand(net)
    for _ in range(2):
        x, y = images().requires_grad_(), images().requires_grad_()
        module.train()(x).square().sum().backward()
        expected.train()(y).square().sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
        for ours, theirs in zip(module.parameters(), expected.parameters()):
            torch.testing.assert_close(ours.grad, theirs.grad)
        for name, stated in (("1.running_mean", expected[1].running_mean), ("1.running_var", None)):
            if stated is not None:
                torch.testing.assert_close(dict(module.named_buffers())[name], stated)
    for part in module.parameters():
        part.grad = None
    with torch.no_grad():
        expected[1].running_var.copy_(dict(module.named_buffers())["1.running_var"])  # torch's is the unbiased one
        torch.testing.assert_close(module.eval()(images(3)), expected.eval()(images(3)))


@BOTH
def test_twenty_steps_of_adam_are_those_of_the_trainer(compiled: bool) -> None:
    """One network is trained by torch, its twin by gluon.Trainer."""
    ours, theirs = small(compiled), small(compiled)
    module = theirs.to_torch().train()
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
    trainer = gluon.Trainer(ours.collect_params(), "adam", {"learning_rate": 0.01})
    for step in range(20):
        x = images(2 + step % 2)
        optimiser.zero_grad()
        module(x).square().mean().backward()
        optimiser.step()
        with autograd.record():
            loss = nd.square(ours(nd.from_torch(x))).mean()
        loss.backward()
        trainer.step(1)
    for a, b in zip(ours.collect_params().values(), theirs.collect_params().values()):
        np.testing.assert_allclose(b.data().asnumpy(), a.data().asnumpy(), rtol=1e-5, atol=1e-7, err_msg=a.name)


@BOTH
@pytest.mark.parametrize("options", [{}, {"fused": True}, {"foreach": True}], ids=str)
def test_a_step_of_torch_is_seen_by_plans_that_predict(compiled: bool, options: dict[str, bool]) -> None:
    """Values that plans derive from parameters are computed anew, also after writes that torch does not count."""
    net = small(compiled, "float32")
    module = net.to_torch().eval()
    x = images(dtype=torch.float32)
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.05, **options)
    for _ in range(3):
        module.zero_grad()
        module(x).sum().backward()
        optimiser.step()
        net.hybridize(False)
        expected = net(nd.from_torch(x)).asnumpy()
        net.hybridize(compiled, clear=False)
        for _ in range(2):
            np.testing.assert_allclose(net(nd.from_torch(x)).asnumpy(), expected, rtol=1e-4, atol=1e-4)
            with torch.no_grad():
                np.testing.assert_allclose(module(x).numpy(), expected, rtol=1e-4, atol=1e-4)
    for parameter in module.parameters():
        parameter.data.mul_(0.5)  # not counted by torch at all
    net.hybridize(False)
    expected = net(nd.from_torch(x)).asnumpy()
    net.hybridize(compiled, clear=False)
    np.testing.assert_allclose(net(nd.from_torch(x)).asnumpy(), expected, rtol=1e-4, atol=1e-4)


def test_plans_from_before_see_what_torch_writes() -> None:
    """The network was compiled and called first, and only then handed to torch."""
    net = small(True, "float32")
    x = images(dtype=torch.float32)
    first = net(nd.from_torch(x)).asnumpy()
    module = net.to_torch().eval()
    assert np.array_equal(net(nd.from_torch(x)).asnumpy(), first)
    for parameter in module.parameters():
        parameter.data.mul_(0.5)
    assert not np.allclose(net(nd.from_torch(x)).asnumpy(), first)


def test_gradients_are_one_memory_and_follow_whose_pass_it_is() -> None:
    """torch's passes add up, ours overwrite (grad_req 'write') or add up ('add')."""
    net = nn.Dense(1, in_units=2, use_bias=False)
    net.initialize(init="ones")
    module = net.to_torch()
    weight, ones = module.weight, torch.ones(1, 2)
    module(ones).sum().backward()
    module(ones).sum().backward()
    assert weight.grad.tolist() == [[2, 2]] == net.weight.grad().asnumpy().tolist()
    for _ in range(2):
        with autograd.record():
            y = net(nd.ones((1, 2)))
        y.backward()
    assert weight.grad.tolist() == [[1, 1]] == net.weight.grad().asnumpy().tolist()
    assert weight.grad.data_ptr() == net.weight.grad().handle
    net.zero_grad()
    assert weight.grad.tolist() == [[0, 0]]
    net.weight.grad_req = "add"
    for _ in range(2):
        with autograd.record():
            y = net(nd.ones((1, 2)))
        y.backward()
    assert net.weight.grad().asnumpy().tolist() == [[2, 2]]
    module(ones)  # both sides meet again
    assert module.weight is weight
    assert weight.requires_grad


def test_a_gluon_pass_serves_a_torch_optimiser_and_the_other_way_round() -> None:
    """Who runs backward and who steps can be mixed."""
    net = nn.Dense(1, in_units=2, use_bias=False)
    net.initialize(init="ones")
    module = net.to_torch()
    with autograd.record():
        y = net(nd.ones((1, 2)))
    y.backward()
    torch.optim.SGD(module.parameters(), lr=0.5).step()
    assert net.weight.data().asnumpy().tolist() == [[0.5, 0.5]]
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.25})
    module.zero_grad()
    module(torch.ones(1, 2)).sum().backward()
    trainer.step(1)
    assert module.weight.tolist() == [[0.25, 0.25]]


def test_names_are_structural_and_files_agree(tmp_path: object) -> None:
    """state_dict has the names of save_parameters; buffers are statistics and constants; strict loading works."""
    net, other = small(), small()
    module = net.to_torch()
    assert list(module.state_dict()) == list(net._collect_params_with_prefix())
    assert [name for name, _ in module.named_buffers()] == ["1.running_mean", "1.running_var"]
    for parameter in other.collect_params().values():
        parameter.set_data(parameter.data() * 2)
    module.load_state_dict(other.to_torch().state_dict())
    for a, b in zip(net.collect_params().values(), other.collect_params().values()):
        np.testing.assert_array_equal(a.data().asnumpy(), b.data().asnumpy())
    path = os.path.join(str(tmp_path), "state.pt")
    torch.save(module.state_dict(), path)
    small().to_torch().load_state_dict(torch.load(path, weights_only=True))


def test_deferred_sizes_want_an_example() -> None:
    """Without one the error says so."""
    net = nn.Dense(2)
    with pytest.raises(MXNetError, match=r"call net.initialize\(\)"):
        net.to_torch()
    net.initialize()
    with pytest.raises(MXNetError, match=r"net.to_torch\(x\)"):
        net.to_torch()
    assert net.to_torch(torch.ones(1, 5)).weight.shape == (2, 5)


def test_a_module_lives_on_one_device() -> None:
    """Parameters with several copies are refused."""
    import glueball as mx

    net = nn.Dense(2, in_units=3)
    net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    with pytest.raises(ContextError, match="one device"):
        net.to_torch()


def test_casts_of_either_side_are_followed() -> None:
    """module.double(), net.cast, and new values by initialize."""
    net = small(True, "float32")
    module = net.to_torch()
    weight = dict(module.named_parameters())["0.weight"]
    module.double()
    assert net[0].weight.dtype is np.float64
    assert net(nd.from_torch(images())).dtype is np.float64
    net.cast("float32")
    assert module(images(dtype=torch.float32)).dtype is torch.float32
    assert dict(module.named_parameters())["0.weight"] is weight
    net.initialize(force_reinit=True)
    torch.testing.assert_close(module.eval()(images(dtype=torch.float32)),
                               net(nd.from_torch(images(dtype=torch.float32))).to_torch())  # fmt: skip
    assert weight.data_ptr() == net[0].weight.data().handle


@BOTH
def test_frozen_on_either_side(compiled: bool) -> None:
    """requires_grad and grad_req say the same."""
    net = small(compiled)
    module = net.to_torch()
    module(images())
    dict(module.named_parameters())["0.weight"].requires_grad_(False)
    module(images()).sum().backward()
    assert net[0].weight.grad_req == "null"
    dict(module.named_parameters())["0.weight"].requires_grad_(True)
    module(images()).sum().backward()
    assert net[0].weight.grad_req == "write"
    assert net[0].weight.grad().asnumpy().any()
    net[3].bias.grad_req = "null"
    module(images())
    assert not dict(module.named_parameters())["3.bias"].requires_grad


def test_modes_follow_the_module() -> None:
    """Dropout acts in train mode, whatever autograd says around; no_grad records nothing."""
    net = nn.HybridSequential()
    net.add(nn.Dense(50, in_units=3), nn.Dropout(0.5))
    net.initialize()
    module, x = net.to_torch(), torch.ones(2, 3)
    assert not module.train()(x).equal(module(x))
    assert module.eval()(x).equal(module(x))
    with torch.no_grad():
        assert not module(x).requires_grad
    with autograd.record():
        assert module(x).equal(module(x))
    with torch.inference_mode():
        module(torch.ones(2, 3))


def test_nested_arguments_and_results() -> None:
    """States of a recurrent layer are lists of tensors."""
    layer = gluon.rnn.LSTM(4, input_size=3)
    layer.initialize()
    module = layer.to_torch()
    x, state = torch.randn(5, 2, 3), [torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)]
    out, (h, c) = module(x, state)
    assert out.shape == (5, 2, 4)
    assert h.shape == c.shape == (1, 2, 4)
    out.sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    with pytest.raises(MXNetError, match="called with tensors"):
        module(nd.ones((5, 2, 3)))


def test_torch_tools() -> None:
    """Clipping, schedules, loaders, flat vectors of parameters, hooks."""
    net = small(True, "float32")
    module = net.to_torch()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 1, gamma=0.5)
    data = torch.utils.data.TensorDataset(images(8, torch.float32), torch.arange(8) % 3)
    seen: list[torch.Size] = []
    module.register_forward_hook(lambda m, args, out: seen.append(out.shape))
    for x, y in torch.utils.data.DataLoader(data, batch_size=4):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 0.1)
        assert norm > 0.1
        total = sum(float(p.grad().norm().asscalar()) ** 2 for p in net.collect_params().values()
                    if p.grad_req != "null")  # fmt: skip
        assert total == pytest.approx(0.01, rel=1e-3)
        optimiser.step()
        schedule.step()
    assert seen == [(4, 3)] * 2
    flat = torch.nn.utils.parameters_to_vector(module.parameters())
    torch.nn.utils.vector_to_parameters(torch.zeros_like(flat), module.parameters())
    assert not net[0].weight.data().asnumpy().any()


def test_other_tensors_for_one_call() -> None:
    """functional_call and torch.export put tensors in the place of parameters; the network gets its own back."""
    net = small(True)
    module = net.to_torch().eval()
    x = images(4)
    values = {name: tensor * 0 for name, tensor in module.state_dict().items()}
    values["1.running_var"] += 1
    assert not torch.func.functional_call(module, values, (x,)).any()
    expected = module(x)
    assert expected.any()
    program = torch.export.export(module, (images(2),), dynamic_shapes=(({0: torch.export.Dim.AUTO},),))
    torch.testing.assert_close(program.module()(x), expected)
    assert {"0.weight", "1.running_mean"} <= set(program.state_dict)


def test_torch_compile_leaves_it_as_it_is() -> None:
    """The network has its own compiler."""
    module = small(True).to_torch().eval()
    compiled = torch.compile(module)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(compiled(images()), module(images()))


def test_a_copy_is_its_own() -> None:
    """deepcopy copies the network; pickling is refused with what to do instead."""
    net = small()
    module = net.to_torch().eval()
    twin = copy.deepcopy(module)
    assert not twin.training
    torch.testing.assert_close(twin(images()), module(images()))
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert next(module.parameters()).any()
    with pytest.raises(UnsupportedError, match="state_dict"):
        torch.save(module, os.devnull)


def test_parts_cannot_be_replaced_in_torch() -> None:
    """It would have no effect, so it is refused."""
    module = small().to_torch()
    with pytest.raises(UnsupportedError, match="from_module"):
        module.head = torch.nn.Linear(3, 2)
    net = nn.HybridSequential()
    net.type = nn.Dense(2, in_units=2)
    net.initialize()
    with pytest.raises(MXNetError, match="a part named 'type'"):
        net.to_torch()


def test_shared_layers_stay_shared() -> None:
    """A layer that is used twice is one module with one set of parameters."""
    layer = nn.Dense(3, in_units=3)
    net = nn.HybridSequential()
    net.add(layer, layer)
    net.initialize()
    module = net.to_torch()
    assert len(list(module.parameters())) == 2
    assert len(module.state_dict()) == 4
    module(torch.ones(1, 3)).sum().backward()
    assert layer.weight.grad().asnumpy().any()


def test_distributed_data_parallel() -> None:
    """One process of gloo: gradients arrive where Gluon sees them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    try:
        net = small(True)
        alone = small(True).to_torch()
        module = torch.nn.parallel.DistributedDataParallel(net.to_torch())
        for _ in range(2):
            module.zero_grad()
            alone.zero_grad()
            module(images()).square().sum().backward()
            alone(images()).square().sum().backward()
            for ours, theirs in zip(module.parameters(), alone.parameters()):
                torch.testing.assert_close(ours.grad, theirs.grad)
        np.testing.assert_allclose(net[0].weight.grad().asnumpy(), next(alone.parameters()).grad.numpy())
    finally:
        torch.distributed.destroy_process_group()


def test_freezing_and_thawing_compiles_nothing_again() -> None:
    """Adversarial training does so at every step: each way has its plan."""
    net = small(True)
    module = net.to_torch()
    for _ in range(3):
        for wanted in (False, True):
            module.requires_grad_(wanted)
            x = images().requires_grad_()
            module(x).sum().backward()
    assert net[0].weight.grad_req == "write"
    entry = next(iter(net._cached.entries.values()))
    assert entry.calls == 6
    assert len(entry.plans) == 2


@BOTH
def test_autocast_and_strides_change_nothing(compiled: bool) -> None:
    """Types are those of the arrays; tensors may lie in memory as they like."""
    module = small(compiled, "float32").to_torch()
    x = images(dtype=torch.float32)
    expected = module.eval()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module(x).equal(expected)
        module(x).sum().backward()
    last = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not last.is_contiguous()
    torch.testing.assert_close(module(last), expected)
    torch.testing.assert_close(module(x[:1].expand(2, 2, 5, 5)), module(x[:1]).expand(2, 3))
    with torch.no_grad():
        torch.testing.assert_close(module(last), expected, rtol=1e-4, atol=1e-4)


def test_half_precision_follows_the_module() -> None:
    """module.bfloat16() casts the network."""
    net = nn.Dense(2, in_units=3)
    net.initialize()
    module = net.to_torch().bfloat16()
    assert module(torch.ones(1, 3, dtype=torch.bfloat16)).dtype is torch.bfloat16
    assert net.weight.dtype == "bfloat16"
    assert net.weight.data().dtype_name == "bfloat16"


def test_arrays_made_in_a_forward_are_ordinary_when_parameters_are_substituted() -> None:
    """nd.zeros in a forward, under functional_call."""
    class Padded(gluon.Block):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(2, in_units=4)

        def forward(self, x: nd.NDArray) -> nd.NDArray:
            return self.dense(nd.concat(x, nd.zeros((x.shape[0], 1)), dim=1))

    net = Padded()
    net.initialize()
    module = net.to_torch()
    values = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    x = torch.ones(2, 3)
    torch.testing.assert_close(torch.func.functional_call(module, values, (x,)), module(x))
