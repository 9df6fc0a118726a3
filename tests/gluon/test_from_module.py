"""A torch module as a Gluon block: parameters, gradients, modes, structures, files, hybridized networks, folding."""

from __future__ import annotations

import copy
import os
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

import glueball as mx
from glueball import autograd, fold, gluon, nd
from glueball.base.errors import ArgumentError, AutogradError, ContextError, MXNetError, UnsupportedError
from glueball.executor import plan
from glueball.executor.interpret import run_operator
from glueball.gluon import nn
from glueball.gluon.contrib.torch import from_module
from glueball.ops.opdef import lookup

WAYS = {"imperative": False, "taped": True, "planned": "planned"}
BOTH = pytest.mark.parametrize("compiled", list(WAYS.values()), ids=list(WAYS), indirect=True)


@pytest.fixture
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether to hybridize; "planned": also where a graph is so small that it would run on torch's tape."""
    if request.param == "planned":
        monkeypatch.setattr(plan, "SMALL", -1)
    return bool(request.param)


def convolutional(seed: int = 0) -> torch.nn.Sequential:
    """A torch module with running statistics."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
                               torch.nn.Linear(36, 3)).double()  # fmt: skip


def images(rows: int = 2) -> torch.Tensor:
    """Random images."""
    return torch.randn(rows, 2, 5, 5, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)


def around(block: Any) -> nn.HybridSequential:
    """The block between Gluon layers, with the same values at each call."""
    net = nn.HybridSequential()
    net.add(nn.HybridLambda(lambda F, x: F.sin(x)), block, nn.Dense(2, in_units=3), nn.Activation("tanh"))
    net[2].cast("float64")
    net.initialize()
    net[2].weight.set_data(nd.array(np.linspace(-1, 1, 6).reshape(2, 3), dtype="float64"))
    return net


def around_by_hand(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What `around` computes."""
    weight = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    return torch.tanh(module(torch.sin(x)) @ weight.T)


@BOTH
def test_values_and_gradients_are_those_of_torch(compiled: bool) -> None:
    """In the middle of a network: of inputs and of parameters, in both modes; running statistics move once a call."""
    block, stated = from_module(convolutional()), convolutional()
    net = around(block)
    if compiled:
        net.hybridize()
    for _ in range(3):
        x, y = nd.from_torch(images()), images().requires_grad_()
        x.attach_grad()
        with autograd.record():
            out = net(x)
        out.backward()
        stated.zero_grad()
        expected = around_by_hand(stated.train(), y)
        expected.sum().backward()
        torch.testing.assert_close(out.to_torch().detach(), expected.detach())
        torch.testing.assert_close(x.grad.to_torch(), y.grad)
        for (name, ours), theirs in zip(block.module.named_parameters(), stated.parameters()):
            torch.testing.assert_close(ours.grad, theirs.grad)
            np.testing.assert_array_equal(net._collect_params_with_prefix()[f"1.{name}"].grad().asnumpy(), ours.grad)
        for ours, theirs in zip(block.module.buffers(), stated.buffers()):
            torch.testing.assert_close(ours, theirs)
        predicted = net(nd.from_torch(images(3)))
        torch.testing.assert_close(predicted.to_torch(), around_by_hand(stated.eval(), images(3)).detach())
        assert not block.module.training


@BOTH
def test_two_uses_of_one_module_and_backward_twice(compiled: bool) -> None:
    """Gradients of a module that is called twice add up; retain_graph keeps what the module's tape holds."""
    class Twice(gluon.HybridBlock):
        def __init__(self, block: Any) -> None:
            super().__init__()
            self.inner = block

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.inner(F.relu(self.inner(x)) * 2)

    torch.manual_seed(1)
    linear = torch.nn.Linear(3, 3).double()
    net = Twice(from_module(linear))
    if compiled:
        net.hybridize()
    x = torch.randn(4, 3, dtype=torch.float64)
    expected = torch.autograd.grad(linear(torch.relu(linear(x)) * 2).sum(), linear.parameters())
    with autograd.record():
        y = net(nd.from_torch(x))
    for _ in range(2):
        y.backward(retain_graph=True)
        torch.testing.assert_close([p.grad for p in linear.parameters()], list(expected))


@BOTH
def test_gradients_of_gradients(compiled: bool) -> None:
    """The module is differentiated twice by torch."""
    torch.manual_seed(2)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).double()
    net = nn.HybridSequential()
    net.add(from_module(module), nn.Activation("sigmoid"))
    if compiled:
        net.hybridize()
    x = nd.from_torch(torch.randn(2, 3, dtype=torch.float64))
    x.attach_grad()
    with autograd.record():
        slope = autograd.grad(net(x).sum(), [x], create_graph=True, retain_graph=True)[0]
        total = (slope * slope).sum()
    total.backward()
    y = x.to_torch().detach().clone().requires_grad_()
    first = torch.autograd.grad(torch.sigmoid(module(y)).sum(), y, create_graph=True)[0]
    torch.testing.assert_close(x.grad.to_torch(), torch.autograd.grad(first.square().sum(), y)[0])


@BOTH
@pytest.mark.parametrize("name", ["trainer", "torch"])
def test_training_with_either_optimiser(compiled: bool, name: str) -> None:
    """gluon.Trainer and torch.optim make the same steps as torch alone."""
    block, stated = from_module(convolutional()), convolutional()
    net = around(block)
    net[2].weight.grad_req = "null"
    net[2].bias.grad_req = "null"
    if compiled:
        net.hybridize()
    ours: Any = (gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01}) if name == "trainer"
                 else torch.optim.Adam(block.module.parameters(), lr=0.01))  # fmt: skip
    theirs = torch.optim.Adam(stated.parameters(), lr=0.01)
    for step in range(20):
        x = images(2 + step % 3)
        with autograd.record():
            loss = nd.square(net(nd.from_torch(x))).mean()
        loss.backward()
        ours.step(*[1] * (name == "trainer"))
        theirs.zero_grad()
        around_by_hand(stated.train(), x).square().mean().backward()
        theirs.step()
    for mine, stated_one in zip(block.module.parameters(), stated.parameters()):
        torch.testing.assert_close(mine, stated_one, rtol=1e-5, atol=1e-6)


def test_parameters_are_gluon_parameters(tmp_path: Any) -> None:
    """Names, types, files, casts, new values: each side sees the other's."""
    module = convolutional()
    net = around(from_module(module))
    assert list(net[1].collect_params())[:2] == [f"{net[1].prefix}0.weight", f"{net[1].prefix}0.bias"]
    names = list(net._collect_params_with_prefix())
    assert [n for n in names if n.startswith("1.")] == [f"1.{n}" for n in module.state_dict()]
    statistics = net._collect_params_with_prefix()["1.1.running_mean"]
    assert statistics.grad_req == "null"
    assert statistics.data().to_torch() is module[1].running_mean
    before = module[0].weight.detach().clone()
    net[1].initialize()
    torch.testing.assert_close(module[0].weight.detach(), before)
    path = os.path.join(str(tmp_path), "net.params")
    net.save_parameters(path)
    with torch.no_grad():
        module[0].weight.zero_()
        module[1].num_batches_tracked.fill_(7)
    net.load_parameters(path)
    torch.testing.assert_close(module[0].weight.detach(), before)
    assert module[1].num_batches_tracked == 0
    net.initialize(mx.init.One(), force_reinit=True)
    assert (module[0].weight == 1).all()
    assert (module[0].bias == 0).all()
    weight = module[0].weight
    net.cast("float32")
    assert module[0].weight is weight
    assert weight.dtype is torch.float32
    assert module[1].num_batches_tracked.dtype is torch.int64
    assert net(nd.ones((2, 2, 5, 5))).dtype is np.float32
    module.double()  # torch, behind our back: noticed at the next call
    net[2].cast("float64")
    assert net(nd.from_torch(images())).dtype is np.float64
    assert net._collect_params_with_prefix()["1.0.weight"].dtype is np.float64


def test_one_device_only() -> None:
    """Several contexts are refused."""
    block = from_module(torch.nn.Linear(2, 2))
    with pytest.raises(ContextError, match="one device"):
        block.reset_ctx([mx.cpu(0), mx.cpu(1)])
    block.reset_ctx(mx.cpu(0))


@BOTH
def test_tied_and_frozen_parameters(compiled: bool) -> None:
    """Tied parameters are one parameter; requires_grad is grad_req."""
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(7, 4)
            self.middle = torch.nn.Linear(4, 4)
            self.out = torch.nn.Linear(4, 7, bias=False)
            self.out.weight = self.embed.weight
            self.middle.requires_grad_(False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.out(self.middle(self.embed(ids)))

    module = Tied()
    net = nn.HybridSequential()
    net.add(from_module(module))
    if compiled:
        net.hybridize()
    named = net._collect_params_with_prefix()
    assert named["0.embed.weight"] is named["0.out.weight"]
    assert len(net.collect_params()) == 3
    assert named["0.middle.weight"].grad_req == "null"
    ids = nd.array([[1, 2, 3]], dtype="int64")
    with autograd.record():
        y = net(ids)
    y.backward()
    expected = torch.autograd.grad(module(ids.to_torch()).sum(), module.embed.weight)[0]
    torch.testing.assert_close(module.embed.weight.grad, expected)
    assert module.middle.weight.grad is None
    named["0.middle.weight"].grad_req = "write"
    assert module.middle.weight.requires_grad
    with autograd.record():
        y = net(ids)
    y.backward()
    assert module.middle.weight.grad is not None
    with pytest.raises(MXNetError, match=r"int64"):
        net(nd.array([[1, 2, 3]]))


class ModelOutput(OrderedDict):  # type: ignore[type-arg]  # as Hugging Face's: entries are attributes
    """Named results."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Encoder(torch.nn.Module):
    """Takes keywords, answers in a mapping with an entry that is None."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(9, 4)
        self.register_buffer("position_ids", torch.arange(16), persistent=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> ModelOutput:
        hidden = self.embed(input_ids) + self.embed(self.position_ids[:input_ids.shape[1]] % 9)
        if attention_mask is not None:
            hidden = hidden * attention_mask[..., None]
        return ModelOutput(logits=hidden.sum(-1), hidden_states=(hidden, hidden * 2), loss=None)


@BOTH
def test_keywords_and_named_results(compiled: bool) -> None:
    """As Hugging Face's models are called."""
    class Head(gluon.HybridBlock):
        def __init__(self, encoder: Any) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, ids: Any, mask: Any) -> Any:
            out = self.encoder(input_ids=ids, attention_mask=mask)
            assert out.loss is None
            return out.logits * 2, out["hidden_states"][1]

    module = Encoder()
    net = Head(from_module(module))
    assert list(net.collect_params()) == [f"{net.encoder.prefix}embed.weight"]
    if compiled:
        net.hybridize()
    ids, mask = nd.array([[1, 2, 3], [4, 5, 0]], dtype="int64"), nd.array([[1, 1, 1], [1, 1, 0]])
    logits, hidden = net(ids, mask)
    expected = module(ids.to_torch(), mask.to_torch())
    torch.testing.assert_close(logits.to_torch(), expected.logits.detach() * 2)
    torch.testing.assert_close(hidden.to_torch(), expected.hidden_states[1].detach())
    direct = net.encoder(ids)
    assert isinstance(direct, dict)
    assert list(direct) == ["logits", "hidden_states", "loss"]
    with pytest.raises(AttributeError, match="logits"):
        direct.logit
    only = from_module(module, call=lambda m, i: m(i).logits)
    torch.testing.assert_close(only(ids).to_torch(), module(ids.to_torch()).logits.detach())


def test_objects_among_the_results_are_for_imperative_calls() -> None:
    """A trace does not know what they will hold."""
    class Cache:
        def __init__(self, held: torch.Tensor) -> None:
            self.held = held

    class Caching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            return {"out": x * 2, "cache": Cache(x)}

    class Net(gluon.HybridBlock):
        def __init__(self, reads: bool) -> None:
            super().__init__()
            self.inner, self.reads = from_module(Caching()), reads

        def forward(self, x: Any) -> Any:
            found = self.inner(x)
            return found.out + found.cache.held.sum().item() if self.reads else found.out

    for reads in (False, True):
        net = Net(reads)
        assert net(nd.ones(2)).asnumpy()[0] == 2 + 2 * reads
        net.hybridize()
        if reads:
            with pytest.raises(UnsupportedError, match="'held' of an object"):
                net(nd.ones(2))
        else:
            assert net(nd.ones(2)).asnumpy()[0] == 2


def test_results_that_cannot_be_found() -> None:
    """An object of an unknown class, a module that raises, an argument that is no array, parameters not made."""
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return slice(x)

    with pytest.raises(MXNetError, match=r"call=lambda"):
        from_module(Odd())(nd.ones(2))
    with pytest.raises(MXNetError, match="RuntimeError.*\n.*Received: \\(2, 5\\) float32"):
        from_module(torch.nn.Linear(3, 2))(nd.ones((2, 5)))
    with pytest.raises(MXNetError, match="called with arrays"):
        from_module(torch.nn.Linear(3, 2))("text")
    with pytest.raises(ArgumentError, match="not made yet"):
        from_module(torch.nn.LazyLinear(3))
    with pytest.raises(ArgumentError, match="needs no wrapping"):
        from_module(nn.Dense(3))
    with pytest.raises(UnsupportedError, match="symbols"):
        from_module(torch.nn.Linear(3, 2))(mx.sym.var("data"))


def test_parts_in_eval_mode_stay_there() -> None:
    """Frozen statistics, as fine-tuning wants them."""
    module = convolutional().train()
    module[1].eval()
    block = from_module(module)
    before = module[1].running_mean.clone()
    with autograd.record():
        block(nd.from_torch(images()))
    assert module.training
    assert module[1].running_mean.equal(before)


@BOTH
def test_results_never_share_memory_with_arguments(compiled: bool) -> None:
    """Writes to one array do not show in another."""
    net = nn.HybridSequential()
    net.add(from_module(torch.nn.Identity()), nn.HybridLambda(lambda F, x: x + 0))
    if compiled:
        net.hybridize()
    block, x = from_module(torch.nn.Flatten(0)), nd.ones((2, 2))
    y = block(x)
    y[:] = 5
    assert (x.asnumpy() == 1).all()
    assert (net(x).asnumpy() == 1).all()


def test_dropout_in_a_hybridized_network_is_differentiated_as_it_was_drawn() -> None:
    """Gradients belong to the numbers of the forward pass; looking at shapes leaves the generator alone."""
    net = nn.HybridSequential()
    net.add(nn.HybridLambda(lambda F, x: F.sin(x)), from_module(torch.nn.Dropout(0.5)),
            *[nn.HybridLambda(lambda F, x: F.square(x)) for _ in range(20)])  # fmt: skip
    net.hybridize()
    x = nd.full((64,), 1.25)
    x.attach_grad()
    for _ in range(2):
        with autograd.record():
            y = net(x)
        y.backward()
        assert ((y.asnumpy() != 0) == (x.grad.asnumpy() != 0)).all()
    assert 0 < (y.asnumpy() != 0).sum() < 64


def test_round_trips_are_the_identity() -> None:
    """from_module(net.to_torch()) is the network; the module comes back from inside a network by its own names."""
    net = nn.Dense(2, in_units=3)
    net.initialize()
    assert from_module(net.to_torch()) is net
    module = convolutional()
    back = around(from_module(module)).to_torch()
    assert back.get_parameter("1.0.weight") is module[0].weight
    assert {f"1.{name}" for name in module.state_dict()} < set(back.state_dict())
    stated = convolutional()
    torch.testing.assert_close(back.train()(images()), around_by_hand(stated.train(), images()))
    back(images()).sum().backward()
    assert module[0].weight.grad.any()


def test_a_gluon_network_inside_a_torch_module_inside_a_gluon_network() -> None:
    """Each keeps its own mode and its own parameters."""
    inner = nn.HybridSequential()
    inner.add(nn.Dense(3, in_units=3), nn.Dropout(0.5))
    inner.initialize()
    net = nn.HybridSequential()
    net.add(from_module(torch.nn.Sequential(torch.nn.Linear(3, 3), inner.to_torch())), nn.Dense(1, in_units=3))
    net.initialize()
    for compiled in (False, True):
        net.hybridize(compiled)
        with autograd.record():
            y = net(nd.ones((2, 3)))
        y.backward()
        assert np.isfinite(inner[0].weight.grad().asnumpy()).all()
        assert inner[0].weight.grad().asnumpy().any() or not y.asnumpy().any()


def test_a_copy_is_its_own() -> None:
    """deepcopy copies the module; the copy's parameters are the copied module's."""
    net = around(from_module(convolutional()))
    twin = copy.deepcopy(net)
    torch.testing.assert_close(twin(nd.from_torch(images())).to_torch(), net(nd.from_torch(images())).to_torch())
    assert twin[1].module is not net[1].module
    assert twin._collect_params_with_prefix()["1.0.weight"].data().to_torch() is twin[1].module[0].weight
    with torch.no_grad():
        twin[1].module[0].weight.zero_()
    assert net[1].module[0].weight.any()


@BOTH
def test_folding_runs_it_sample_by_sample(compiled: bool) -> None:
    """And says why; values and gradients are those of single calls."""
    net = around(from_module(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh()).double()))
    if compiled:
        net.hybridize()
    data = [torch.randn(1 + k % 2, 3, dtype=torch.float64) for k in range(4)]
    weight = net[1].module[0].weight
    with autograd.record():
        total = nd.add_n(*[net(nd.from_torch(x)).sum() for x in data])
    total.backward()
    expected, gradient = total.asnumpy(), weight.grad.clone()
    with autograd.record():
        with fold.batching():
            found = nd.add_n(*[net(nd.from_torch(x)).sum() for x in data])
    found.backward()
    np.testing.assert_allclose(found.asnumpy(), expected)
    torch.testing.assert_close(weight.grad, gradient)
    assert "torch module" in str(fold.explain())


def test_a_file_of_symbols_cannot_hold_it(tmp_path: Any) -> None:
    """export says what can be done instead; nothing is written."""
    net = around(from_module(convolutional()))
    net.hybridize()
    net(nd.from_torch(images()))
    with pytest.raises(UnsupportedError, match="format='pt2'"):
        net.export(os.path.join(str(tmp_path), "net"))
    assert not os.listdir(str(tmp_path))


def test_a_compiled_step_runs_the_ordinary_lines() -> None:
    """And says why; the module is trained."""
    net = nn.HybridSequential()
    linear = torch.nn.Linear(3, 3)
    net.add(from_module(linear), nn.Dense(2, in_units=3))
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    step = gluon.contrib.CompiledStep(net, gluon.loss.L2Loss(), trainer)
    before = linear.weight.detach().clone()
    for _ in range(2):
        step(nd.ones((4, 3)), nd.ones((4, 2)))
        assert "torch module" in str(step.reason)
    assert not linear.weight.equal(before)


def test_a_parameter_that_is_taken_away() -> None:
    """Pruning replaces a parameter by another one and a mask: the block says so, and what to do."""
    module = torch.nn.Linear(3, 2)
    block = from_module(module)
    prune.l1_unstructured(module, "weight", 0.5)
    with pytest.raises(MXNetError, match=r"(?s)has no 'weight' any more.*before a module is handed over"):
        block(nd.ones((1, 3)))


def test_a_gradient_needs_a_tape() -> None:
    """The token of a call outside of record() holds no tape."""
    block = from_module(torch.nn.Linear(3, 2))
    backward = lookup("_torch_module_backward")
    with pytest.raises(AutogradError, match=r"(?s)was run without a tape.*autograd\.record\(\)"):
        run_operator(backward, [torch.zeros(1)], {"call": block, "wrt": (), "kinds": ()})
