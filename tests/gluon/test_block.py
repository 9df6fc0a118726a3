"""Block, Parameter, ParameterDict: names, scopes, sharing, deferred sizes, hooks, devices, files, and every message."""
from __future__ import annotations

import copy
import json

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base.errors import (
    ContextError,
    DeferredInitializationError,
    FileFormatError,
    MXNetError,
    ShapeError,
    UninitializedError,
)
from glueball.gluon import nn


class Net(gluon.Block):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.first = nn.Dense(4, activation="relu")
            self.second = nn.Dense(3)

    def forward(self, x):
        return self.second(self.first(x))


def ready(**kwargs):
    net = Net(**kwargs)
    net.initialize()
    net(nd.ones((2, 5)))
    return net


def test_names_follow_scope_class_and_counter():
    with mx.name.NameManager():
        net = Net()
        other = Net()
    assert list(net.collect_params()) == ["net0_dense0_weight", "net0_dense0_bias", "net0_dense1_weight",
                                          "net0_dense1_bias"]
    assert other.prefix == "net1_" and Net(prefix="mine_").first.weight.name == "mine_dense0_weight"
    assert list(net._collect_params_with_prefix()) == ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert list(net.collect_params(".*weight")) == ["net0_dense0_weight", "net0_dense1_weight"]


def test_sizes_are_filled_in_by_the_first_forward():
    net = Net()
    net.initialize()
    assert net.first.weight.shape == (4, 0)
    with pytest.raises(DeferredInitializationError, match="call net\\(data\\) once"):
        net.first.weight.data()
    net(nd.ones((2, 5)))
    assert net.first.weight.shape == (4, 5) and net.second.weight.shape == (3, 4)
    assert abs(net.first.weight.data().asnumpy()).max() <= 0.07 and not net.first.bias.data().asnumpy().any()


def test_use_before_initialize():
    net = Net()
    with pytest.raises(UninitializedError, match="net.initialize"):
        net.first.weight.data()
    with pytest.raises(UninitializedError):
        net.collect_params().list_ctx()
    net.initialize()
    with pytest.warns(UserWarning, match="already initialized"):
        ready_net = ready()
        ready_net.initialize()
    before = ready_net.first.weight.data().asnumpy()
    ready_net.initialize(mx.init.One(), force_reinit=True)
    assert not np.array_equal(ready_net.first.weight.data().asnumpy(), before)


def test_custom_layers_infer_their_own_parameters():
    class Scale(gluon.HybridBlock):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            with self.name_scope():
                self.gain = self.params.get("gain", shape=(1, 0), init="ones", allow_deferred_init=True)

        def hybrid_forward(self, F, x, gain):
            return F.broadcast_mul(x, gain)

    class Same(gluon.HybridBlock):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            with self.name_scope():
                self.gain = self.params.get("gain", shape=(0, 0), init="ones", allow_deferred_init=True)

        def hybrid_forward(self, F, x, gain):
            return F.elemwise_mul(x, gain)

    net = Same()
    net.initialize()
    assert net(nd.ones((2, 3))).shape == (2, 3) and net.gain.shape == (2, 3)
    with pytest.raises(MXNetError):  # broadcasting does not tell a size: 1 or 3 would both do
        scale = Scale()
        scale.initialize()
        scale(nd.ones((2, 3)))


def test_wrong_sizes_name_the_parameter():
    net = nn.Dense(3, in_units=4)
    net.initialize()
    with pytest.raises(MXNetError, match="FullyConnected"):
        net(nd.ones((2, 5)))
    with pytest.raises(ShapeError, match="contradicts"):
        net.weight.shape = (3, 7)
    with pytest.raises(ShapeError):
        net.weight.set_data(nd.ones((2, 2)))


def test_sharing_by_params():
    with mx.name.NameManager():
        a = nn.Dense(3, in_units=3)
        b = nn.Dense(3, in_units=3, params=a.params)
    assert b.weight is a.weight
    a.initialize()
    a.weight.set_data(nd.zeros((3, 3)))
    assert not b(nd.ones((1, 3))).asnumpy().any()
    with pytest.raises(MXNetError, match="different sizes"):
        nn.Dense(4, in_units=3, params=a.params)


def test_attributes_keep_their_kind():
    net = Net()
    with pytest.raises(TypeError, match="Changing attribute type"):
        net.first = 3
    net.first = nn.Dense(9)
    assert net._children["first"] is net.first

    class Early(gluon.Block):
        def __init__(self):
            self.layer = nn.Dense(2)

    with pytest.raises(MXNetError, match="super\\(\\).__init__"):
        Early()


def test_hooks_and_apply():
    net, seen = ready(), []
    handles = [net.first.register_forward_pre_hook(lambda b, x: seen.append("before")),
               net.first.register_forward_hook(lambda b, x, y: seen.append(y.shape))]
    net(nd.ones((2, 5)))
    assert seen == ["before", (2, 4)]
    for handle in handles:
        handle.detach()
    net(nd.ones((2, 5)))
    assert len(seen) == 2
    names = []
    net.apply(lambda b: names.append(type(b).__name__))
    assert names[-1] == "Net" and names.count("Dense") == 2
    stats = []
    net.register_op_hook(lambda name, op, array: stats.append((name, array.shape)), monitor_all=True)
    net(nd.ones((2, 5)))
    assert any(name.endswith("_output0") for name, _ in stats)


def test_a_summary_that_fails_leaves_no_hooks():
    inner = nn.HybridSequential()
    inner.add(nn.Dense(2))
    net = nn.Sequential()
    net.add(nn.Dense(5), inner)
    net.initialize()
    inner.hybridize()
    with pytest.raises(MXNetError, match=r"hybridize\(False\)"):
        net.summary(nd.ones((2, 3)))
    assert not net[0]._forward_hooks


def test_summary(capsys):
    net = ready()
    net.summary(nd.ones((2, 5)))
    text = capsys.readouterr().out
    assert "Dense-" in text and "(2, 4)" in text and f"Total params: {4 * 5 + 4 + 3 * 4 + 3}" in text
    hybrid = nn.HybridSequential()
    hybrid.add(nn.Dense(2))
    hybrid.initialize()
    hybrid.hybridize()
    with pytest.raises(MXNetError, match="before hybridize"):
        hybrid.summary(nd.ones((1, 2)))


def test_devices_and_casts():
    net = Net()
    net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    for ctx in (mx.cpu(0), mx.cpu(1)):
        assert net(nd.ones((1, 2), ctx=ctx)).context == ctx
    with pytest.raises(ContextError, match="reset_ctx"):
        net(nd.ones((1, 2), ctx=mx.cpu(2)))
    assert [a.context for a in net.first.weight.list_data()] == [mx.cpu(0), mx.cpu(1)]
    net.reset_ctx(mx.cpu(2))
    assert net(nd.ones((1, 2), ctx=mx.cpu(2))).context == mx.cpu(2)
    net.cast("float64")
    assert net(nd.ones((1, 2), ctx=mx.cpu(2),
                       dtype="float64")).dtype == np.float64 and net.first.weight.dtype == np.float64


def test_grad_req_and_zero_grad():
    net = ready()
    net.setattr("grad_req", "add")
    for _ in range(2):
        with autograd.record():
            y = net(nd.ones((2, 5))).sum()
        y.backward()
    assert net.second.bias.grad().asnumpy().tolist() == [4, 4, 4]
    net.zero_grad()
    assert not net.second.bias.grad().asnumpy().any()
    net.collect_params().setattr("grad_req", "null")
    with pytest.raises(RuntimeError, match="grad_req='null'"):
        net.second.bias.grad()


def test_constants():
    class Shift(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.by = self.params.get_constant("by", nd.array([1, 2]))

        def hybrid_forward(self, F, x, by):
            return x + by

    net = Shift()
    net.initialize()
    x = nd.zeros((2,))
    assert net(x).asnumpy().tolist() == [1, 2]
    net.hybridize()
    with autograd.record():
        y = net(x)
    assert y.asnumpy().tolist() == [1, 2]
    with pytest.warns(UserWarning, match="grad_req"):
        net.by.grad_req = "write"
    assert net.by.grad_req == "null"


@pytest.mark.parametrize("ending", ["params", "safetensors"])
def test_files_round_trip(tmp_path, ending):
    path = str(tmp_path / f"net.{ending}")
    net, other = ready(), Net()
    net.save_parameters(path)
    other.load_parameters(path)
    x = nd.ones((2, 5))
    np.testing.assert_array_equal(net(x).asnumpy(), other(x).asnumpy())
    assert set(nd.load(path)) == {"first.weight", "first.bias", "second.weight", "second.bias"}


def test_files_by_full_name(tmp_path):
    path = str(tmp_path / "net.params")
    net = ready(prefix="a_")
    net.collect_params().save(path, strip_prefix="a_")
    other = Net(prefix="b_")
    other.collect_params().load(path, restore_prefix="b_")
    np.testing.assert_array_equal(net(nd.ones((1, 5))).asnumpy(), other(nd.ones((1, 5))).asnumpy())
    third = Net(prefix="c_")
    third.load_parameters(path)
    np.testing.assert_array_equal(net(nd.ones((1, 5))).asnumpy(), third(nd.ones((1, 5))).asnumpy())
    with pytest.raises(MXNetError, match="restore_prefix"):
        other.collect_params().load(path, restore_prefix="z_")


def test_files_that_do_not_fit_change_nothing(tmp_path):
    path = str(tmp_path / "net.params")
    net = ready()
    before = [p.data().asnumpy() for p in net.collect_params().values()]
    values = {k: p.data() for k, p in net._collect_params_with_prefix().items()}
    for damage, text in (({"first.weight": nd.ones((4, 9))}, "another shape"),
                         ({"extra.weight": nd.ones((1,))}, "belong to no parameter"),
                         ({"second.bias": None}, "are missing"), ({"second.bias": nd.ones((3,), dtype="float64")},
                                                                  "another dtype")):
        nd.save(path, {k: v for k, v in {**{k: v + 1 for k, v in values.items()}, **damage}.items() if v is not None})
        with pytest.raises(MXNetError, match=text):
            net.load_parameters(path)
        for p, old in zip(net.collect_params().values(), before):
            np.testing.assert_array_equal(p.data().asnumpy(), old)
    (tmp_path / "net.params").write_bytes(b"no parameters")
    with pytest.raises(FileFormatError):
        net.load_parameters(path)
    nd.save(path, {"first.weight": values["first.weight"] * 0, "other": nd.ones((1,))})
    net.load_parameters(path, allow_missing=True, ignore_extra=True)
    assert not net.first.weight.data().asnumpy().any()


def test_save_and_load_with_structure(tmp_path):
    prefix = str(tmp_path / "net")
    net = ready()
    net.save(prefix)
    other = Net()
    other.load(prefix)
    np.testing.assert_array_equal(net(nd.ones((1, 5))).asnumpy(), other(nd.ones((1, 5))).asnumpy())
    assert json.loads((tmp_path / "net-model.json").read_text())["class"] == "Net"
    with pytest.raises(MXNetError, match="structure"):
        nn.Dense(3).load(prefix)


def test_deepcopy_is_independent():
    net = ready()
    other = copy.deepcopy(net)
    other.first.weight.set_data(nd.zeros((4, 5)))
    assert net.first.weight.data().asnumpy().any()
    with autograd.record():
        y = other(nd.ones((1, 5)))
    y.backward()
    assert other.second.bias.grad().asnumpy().tolist() == [1, 1, 1] and not net.second.bias.grad().asnumpy().any()


def test_export_and_imports(tmp_path):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(3, 3), nn.BatchNorm(), nn.Activation("relu"), nn.Flatten(), nn.Dense(2))
    net.initialize()
    with pytest.raises(RuntimeError, match="hybridize"):
        net.export(str(tmp_path / "m"))
    net.hybridize()
    x = nd.random.uniform(shape=(2, 1, 6, 6))
    expected = net(x).asnumpy()
    symbol_file, param_file = net.export(str(tmp_path / "m"), epoch=3)
    assert symbol_file.endswith("m-symbol.json") and param_file.endswith("m-0003.params")
    again = gluon.SymbolBlock.imports(symbol_file, ["data"], param_file)
    np.testing.assert_allclose(again(x).asnumpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again(nd.concat(x, x, dim=0)).asnumpy()[2:], expected, rtol=1e-5, atol=1e-6)
    with autograd.record():
        loss = again(x).sum()
    loss.backward()
    again.hybridize()
    np.testing.assert_allclose(again(x).asnumpy(), again(x).asnumpy(), rtol=1e-6)
    with pytest.raises(MXNetError, match="no input 'image'"):
        gluon.SymbolBlock.imports(symbol_file, ["image"], param_file)
    with pytest.raises(MXNetError, match="are missing"):
        nd.save(param_file, {"arg:x": nd.ones((1,))})
        gluon.SymbolBlock.imports(symbol_file, ["data"], param_file)


def test_features_from_internals():
    net = nn.HybridSequential(prefix="n_")
    with net.name_scope():
        net.add(nn.Dense(4, activation="relu"), nn.Dense(2))
    net.initialize()
    x = nd.ones((1, 3))
    net(x)
    out = net(mx.sym.Variable("data"))
    inner = out.get_internals()["n_dense0_relu_fwd_output"]
    features = gluon.SymbolBlock(inner, mx.sym.Variable("data"), params=net.collect_params())
    np.testing.assert_array_equal(features(x).asnumpy(), net[0](x).asnumpy())
