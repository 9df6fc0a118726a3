"""Networks as files of torch.export: numbers, names, open batches, and loading them where Glueball is not."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from glueball import autograd, gluon, nd
from glueball.base.errors import MXNetError, UnsupportedError
from glueball.gluon import nn, pt2_file
from glueball.gluon.contrib.torch import from_module


def network(inner: Any = None) -> nn.HybridSequential:
    """Convolution, statistics, and layers that look at shapes; `inner` in the middle."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=2), nn.BatchNorm(in_channels=4), nn.PReLU(), nn.Dropout(0.5))
    if inner is not None:
        net.add(inner)
    net.add(nn.Flatten(), nn.LayerNorm(), nn.Dense(3))
    net.initialize()
    with autograd.record():  # statistics that are not those of the beginning
        net(nd.random.uniform(shape=(4, 2, 6, 6)))
    return net


def images(rows: int) -> torch.Tensor:
    """Random images."""
    return torch.randn(rows, 2, 6, 6, generator=torch.Generator().manual_seed(rows))


def written(net: Any, path: pathlib.Path, *inputs: Any, **options: Any) -> Any:
    """The loaded program."""
    found = net.export(str(path / "net"), format="pt2", inputs=list(inputs), **options)
    assert found == str(path / "net.pt2")
    assert os.listdir(path) == ["net.pt2"]
    return torch.export.load(found)


def same(program: Any, net: Any, *tensors: torch.Tensor) -> None:
    """The program answers what the network answers."""
    expected = net(*map(nd.from_torch, tensors))
    found = program.module()(*tensors)
    torch.testing.assert_close(found.detach(), expected.to_torch(), rtol=1e-5, atol=1e-5)


def test_numbers_names_and_an_open_batch(tmp_path: pathlib.Path) -> None:
    """An example of one image serves all batch sizes; parameters have their structural names."""
    net = network()
    program = written(net, tmp_path, nd.ones((1, 2, 6, 6)))
    for rows in (1, 2, 5):
        same(program, net, images(rows))
    assert set(program.state_dict) == set(net._collect_params_with_prefix())
    trained = {name for name, p in net._collect_params_with_prefix().items() if p.grad_req != "null"}
    assert {name for name, p in program.state_dict.items() if p.requires_grad} == trained
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about itself
        core = program.run_decompositions()
    assert not any("batch_norm_impl" in str(node.target) for node in core.graph.nodes)


def test_the_shapes_of_the_last_call_serve_and_the_batch_can_be_fixed(tmp_path: pathlib.Path) -> None:
    """Without examples a hybridized call says the shapes."""
    net = network()
    net.hybridize()
    net(nd.from_torch(images(3)))
    program = torch.export.load(net.export(str(tmp_path / "a.pt2"), format="pt2", dynamic_batch=False))
    same(program, net, images(3))
    with pytest.raises((AssertionError, RuntimeError)):
        program.module()(images(2))


def test_where_glueball_is_not(tmp_path: pathlib.Path) -> None:
    """torch alone loads and runs the file."""
    net = network(from_module(torch.nn.BatchNorm2d(4).eval()))
    net.export(str(tmp_path / "net"), format="pt2", inputs=nd.from_torch(images(2)))
    np.save(tmp_path / "x.npy", images(3).numpy())
    code = ("import sys; sys.modules['glueball'] = None; import torch, numpy as np; "
            "y = torch.export.load('net.pt2').module()(torch.from_numpy(np.load('x.npy'))); "
            "np.save('y.npy', y.detach().numpy())")  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), net(nd.from_torch(images(3))).asnumpy(), rtol=1e-5,
                               atol=1e-5)  # fmt: skip


def test_torch_modules_are_written_with_the_rest(tmp_path: pathlib.Path) -> None:
    """Their parameters are not written twice; the network is as it was afterwards."""
    module = torch.nn.Sequential(torch.nn.Conv2d(4, 3, 2), torch.nn.BatchNorm2d(3)).train()
    net = network(from_module(module))
    weight, before = module[0].weight, module[1].running_mean.clone()
    program = written(net, tmp_path, nd.from_torch(images(2)))
    for rows in (1, 4):
        same(program, net, images(rows))
    assert set(program.state_dict) == set(net._collect_params_with_prefix())
    assert module[0].weight is weight
    assert module[1].running_mean.equal(before)


def test_it_can_be_trained_on(tmp_path: pathlib.Path) -> None:
    """Parameters of the loaded module take gradients: those of the network in predict mode."""
    net = nn.Dense(3, activation="tanh", in_units=4)
    net.initialize()
    module = written(net, tmp_path, nd.ones((2, 4))).module()
    x = torch.randn(5, 4)
    module(x).sum().backward()
    with autograd.record(train_mode=False):
        y = net(nd.from_torch(x))
    y.backward()
    torch.testing.assert_close(module.weight.grad, net.weight.grad().to_torch())


@pytest.mark.parametrize("layer", [gluon.rnn.LSTM, gluon.rnn.GRU])
def test_recurrent_layers_begin_with_states_of_the_open_batch(layer: Any, tmp_path: pathlib.Path) -> None:
    """The first states are zeros whose size is the batch's."""
    net = layer(4, input_size=3, layout="NTC", bidirectional=True)
    net.initialize()
    program = written(net, tmp_path, nd.ones((2, 5, 3)))
    for rows in (1, 3):
        same(program, net, torch.randn(rows, 5, 3))


class Pairs(gluon.HybridBlock):
    """Several inputs, some of them in a list; several results, one named."""

    def hybrid_forward(self, F: Any, x: Any, states: Any) -> Any:
        a, b = states
        return {"sum": x + a, "parts": (F.dot(x, b), F.SequenceMask(F.transpose(x), a[:, 0], use_sequence_length=True))}


def test_several_inputs_and_results(tmp_path: pathlib.Path) -> None:
    """Inputs come one after the other, results as the network nests them."""
    net = Pairs()
    arrays = nd.random.uniform(shape=(4, 4)), [nd.random.uniform(0, 4, shape=(4, 4)), nd.random.uniform(shape=(4, 2))]
    program = written(net, tmp_path, *arrays)
    expected = net(*arrays)
    found = program.module()(arrays[0].to_torch(), *[a.to_torch() for a in arrays[1]])
    assert list(found) == ["sum", "parts"]
    torch.testing.assert_close(found["sum"], expected["sum"].to_torch())
    torch.testing.assert_close(found["parts"][1], expected["parts"][1].to_torch())


def test_a_batch_that_is_written_down_stays_fixed(tmp_path: pathlib.Path) -> None:
    """A forward that reads its shape as numbers has one batch size."""
    class Rows(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.reshape(x, (x.shape[0], -1)) * x.shape[0]

    program = written(Rows(), tmp_path, nd.ones((2, 3, 4)))
    same(program, Rows(), torch.randn(2, 3, 4))
    with pytest.raises((AssertionError, RuntimeError)):
        program.module()(torch.randn(4, 3, 4))


def test_other_element_types(tmp_path: pathlib.Path) -> None:
    """float64 is compared more closely; indices stay whole numbers."""
    net = nn.HybridSequential()
    net.add(nn.Embedding(5, 3), nn.Dense(2, in_units=6))
    net.cast("float64")
    net.initialize()
    program = written(net, tmp_path, nd.array([[1, 2], [3, 4]], dtype="int64"))
    assert program.module()(torch.tensor([[0, 1]])).dtype is torch.float64


class Searching(gluon.HybridBlock):
    """Repeats something as long as values say so."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return F.contrib.while_loop(lambda v: v.sum() < 9, lambda v: (v, v * 2), [x], max_iterations=5)[0]


def test_what_cannot_be_written_is_named_with_its_line(tmp_path: pathlib.Path, capfd: Any) -> None:
    """Nothing is written, and torch prints nothing."""
    with pytest.raises(UnsupportedError, match=r"(?s)_while_loop cannot be written.*test_pt2\.py:\d+"):
        Searching().export(str(tmp_path / "net"), format="pt2", inputs=nd.ones((2, 3)))
    assert not os.listdir(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_an_older_file_stays_when_the_new_one_differs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison comes before the name; check=False leaves it out."""
    net = nn.Dense(2, in_units=3)
    net.initialize()
    path = tmp_path / "net.pt2"
    path.write_bytes(b"older")
    monkeypatch.setattr(pt2_file, "_DEFAULT_ROUNDING", -1.0)
    with pytest.raises(MXNetError, match="differs with the example inputs"):
        net.export(str(path), format="pt2", inputs=nd.ones((2, 3)))
    assert path.read_bytes() == b"older"
    net.export(str(path), format="pt2", inputs=nd.ones((2, 3)), check=False)
    assert torch.export.load(path).module()(torch.ones(2, 3)).shape == (2, 2)
    assert os.listdir(tmp_path) == ["net.pt2"]


def test_comparison_sees_what_differs() -> None:
    """Shapes, types, numbers and nothing else: infinities and what is not a number may be equal."""
    x = nd.array([1.0, 2.0])
    odd = torch.tensor([float("inf"), float("nan")])
    pt2_file._compare(lambda t: odd.clone(), [x], [odd], "here")
    for other in (torch.ones(3), torch.ones(2, dtype=torch.float64), torch.tensor([1.0, 2.1]), odd):
        with pytest.raises(MXNetError, match="here"):
            pt2_file._compare(lambda t, other=other: other, [x], [torch.tensor([1.0, 2.0])], "here")


@pytest.mark.parametrize("options", [{"format": "pt3"}, {"format": "pt2"}, {"format": "pt2", "inputs": []}], ids=str)
def test_wrong_arguments_are_refused(options: dict[str, Any], tmp_path: pathlib.Path) -> None:
    """No such format, and no examples."""
    net = nn.Dense(2, in_units=3)
    net.initialize()
    with pytest.raises(MXNetError, match="format='pt2'|inputs="):
        net.export(str(tmp_path / "net"), **options)


def test_what_torch_refuses_is_told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal of torch.export as a whole, not of one operator; nothing is written."""

    def refuse(*args: Any, **options: Any) -> Any:
        raise ValueError("\nConstraints violated (batch)!\nmore lines")

    monkeypatch.setattr(torch.export, "export", refuse)
    net = nn.Dense(2, in_units=3)
    net.initialize()
    with pytest.raises(UnsupportedError, match=r"(?s)refuses the network: Constraints violated.*format='onnx'"):
        net.export(str(tmp_path / "m"), format="pt2", inputs=[nd.ones((2, 3))])
    assert not os.listdir(tmp_path)
