"""gluon.load: one function for every model file; what is an input, which parameters are found, what is refused."""
import os
import pathlib

import numpy as np
import pytest

import glueball as mx
from glueball import gluon, nd, sym
from glueball.base.errors import ArgumentError, FileFormatError, MXNetError
from glueball.gluon import nn


@pytest.fixture
def exported(tmp_path):
    """Return a prefix with parameters of epochs 1 and 12, an input, and the results of both."""
    net = nn.HybridSequential()
    net.add(nn.Dense(4, activation="relu"), nn.BatchNorm(), nn.Dense(3))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    x = nd.array(np.random.RandomState(0).randn(2, 5))
    results = {}
    for epoch in (1, 12):
        net[2].bias.set_data(nd.full((3,), epoch))
        results[epoch] = net(x).asnumpy()
        net.export(str(tmp_path / "model"), epoch=epoch)
    return str(tmp_path / "model"), x, results


def equal(net, x, expected):
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=1e-6, atol=1e-6)


def test_a_graph_finds_the_newest_parameters_or_those_that_are_named(exported):
    prefix, x, results = exported
    for arguments, epoch in (((prefix + "-symbol.json",), 12), ((prefix,), 12), ((prefix, 1), 1),
                             ((prefix + "-symbol.json", 1), 1), ((prefix + "-0001.params",), 1),
                             ((prefix + "-symbol.json", prefix + "-0001.params"), 1)):
        equal(gluon.load(*arguments), x, results[epoch])
    net = gluon.load(prefix, ctx=mx.cpu())
    net.hybridize()
    equal(net, x, results[12])
    assert next(iter(net.collect_params().values())).list_ctx() == [mx.cpu()]


def test_relative_names_and_other_endings(exported, monkeypatch):
    prefix, x, results = exported
    monkeypatch.chdir(os.path.dirname(prefix))
    equal(gluon.load("model"), x, results[12])
    equal(gluon.load("model-symbol.json", 1), x, results[1])
    os.rename("model-symbol.json", "model.json")
    equal(gluon.load("model.json"), x, results[12])
    nd.save("model-0013.safetensors", nd.load("model-0001.params"))
    equal(gluon.load("model.json"), x, results[1])


def test_what_is_loaded_is_trained_on(exported):
    prefix, x, _ = exported
    net = gluon.load(prefix)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.001})
    losses = []
    for _ in range(4):
        with mx.autograd.record():
            loss = (net(x) ** 2).sum()
        loss.backward()
        trainer.step(2)
        losses.append(loss.asscalar())
    assert losses[-1] < losses[0]


def saved(outputs, arrays, tmp_path):
    graph = sym.Group(outputs) if isinstance(outputs, list) else outputs
    graph.save(str(tmp_path / "net-symbol.json"))
    nd.save(str(tmp_path / "net-0000.params"), arrays)
    return str(tmp_path / "net")


def test_several_inputs_come_by_number_or_as_they_occur(tmp_path):
    a, b, weight = sym.Variable("data1"), sym.Variable("data0"), sym.Variable("weight")
    prefix = saved(a * 2 + b * weight, {"arg:weight": nd.array([3.0])}, tmp_path)
    net = gluon.load(prefix)
    assert net(nd.array([1.0]), nd.array([10.0])).asscalar() == 23.0
    assert gluon.load(prefix, inputs=["data1", "data0"])(nd.array([1.0]), nd.array([10.0])).asscalar() == 32.0
    left, right = sym.Variable("left"), sym.Variable("right")
    prefix = saved(right - left, {"arg:other": nd.ones((1,))}, tmp_path)  # a file may hold more than is read
    assert gluon.load(prefix)(nd.array([5.0]), nd.array([1.0])).asscalar() == 4.0  # right occurs first


@pytest.mark.parametrize(("layer", "options", "shape", "prediction"), [
    ("SoftmaxOutput", {}, (2, 4), lambda x: x.softmax(axis=-1)),
    ("SoftmaxOutput", {"multi_output": True}, (2, 4, 3), lambda x: x.softmax(axis=1)),
    ("SoftmaxOutput", {"preserve_shape": True}, (2, 4, 3), lambda x: x.softmax(axis=-1)),
    ("SoftmaxOutput", {}, (2, 4, 3), lambda x: x.reshape((2, 12)).softmax(axis=-1).reshape((2, 4, 3))),
    ("LogisticRegressionOutput", {}, (2, 4), lambda x: x.sigmoid()),
    ("LinearRegressionOutput", {}, (2, 4), lambda x: x),
    ("MAERegressionOutput", {}, (2, 4), lambda x: x),
    ("SVMOutput", {}, (2, 4), lambda x: x),
])
def test_labels_of_output_layers_are_dropped(layer, options, shape, prediction, tmp_path):
    """Whatever the label is called, and whatever is done to it on the way."""
    label = sym.Reshape(sym.Variable("truth"), shape=(-1,))
    scaled = sym.broadcast_mul(sym.Variable("data"), sym.Variable("scale"))
    out = getattr(sym, layer)(scaled, label, name="out", **options)
    prefix = saved([out, scaled], {"arg:scale": nd.full((1,) * len(shape), 2.0)}, tmp_path)
    x = nd.array(np.random.RandomState(1).randn(*shape))
    ours, plain = gluon.load(prefix)(x)
    equal(lambda _: ours, x, prediction(2 * x).asnumpy())
    equal(lambda _: plain, x, (2 * x).asnumpy())
    old_way = gluon.SymbolBlock.imports(prefix + "-symbol.json", ["data"], prefix + "-0000.params")
    equal(lambda _: old_way(x)[0], x, prediction(2 * x).asnumpy())


def test_a_label_that_is_named_stays_an_input(tmp_path):
    out = sym.SoftmaxOutput(sym.Variable("data"), sym.Variable("softmax_label"), name="softmax")
    prefix = saved(out, {"arg:unused": nd.ones((1,))}, tmp_path)
    net = gluon.load(prefix, inputs=["data", "softmax_label"])
    x = nd.array([[0.0, 0.0]])
    x.attach_grad()
    with mx.autograd.record():
        y = net(x, nd.array([1.0]))
    y.backward()
    np.testing.assert_allclose(x.grad.asnumpy(), [[0.5, -0.5]])  # the loss's gradient, as in training


def test_a_graph_without_parameters(tmp_path):
    (sym.Variable("data") * 2).save(str(tmp_path / "double-symbol.json"))
    assert gluon.load(tmp_path / "double-symbol.json")(nd.array([2.0])).asscalar() == 4.0
    sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc").save(str(tmp_path / "fc-symbol.json"))
    net = gluon.load(tmp_path / "fc-symbol.json", inputs=["data"])
    net.initialize()
    assert net(nd.ones((1, 3))).shape == (1, 2)
    with pytest.raises(ArgumentError, match="(?s)no parameters beside.*NNNN.params"):
        gluon.load(tmp_path / "fc-symbol.json")


def test_onnx(exported, tmp_path):
    pytest.importorskip("onnxruntime")
    prefix, x, results = exported
    gluon.load(prefix).export(str(tmp_path / "model"), format="onnx", inputs=[x])
    equal(gluon.load(tmp_path / "model.onnx", ctx=mx.cpu()), x, results[12])
    with pytest.raises(FileNotFoundError):
        gluon.load(tmp_path / "nothing.onnx")
    with pytest.raises(ArgumentError, match="says itself"):
        gluon.load(tmp_path / "model.onnx", inputs=["data"])


def test_a_file_of_parameters_needs_a_network(exported, tmp_path):
    for name in ("alone.params", "alone.safetensors", "alone-0003.params"):
        nd.save(str(tmp_path / name), {"w": nd.ones((1,))})
        with pytest.raises(ArgumentError, match=f"(?s)holds no network.*load_parameters.*{name}"):
            gluon.load(tmp_path / name)


def test_what_is_refused(exported, tmp_path):
    prefix, _, _ = exported
    with pytest.raises(FileNotFoundError, match="no such model"):
        gluon.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="(?s)epoch 5.*epochs 1, 12"):
        gluon.load(prefix, 5)
    with pytest.raises(ArgumentError, match="(?s)no input 'image'.*Expected: data"):
        gluon.load(prefix, inputs=["image"])
    (tmp_path / "picture.jpg").write_bytes(b"x")
    with pytest.raises(ArgumentError, match="ending does not say"):
        gluon.load(tmp_path / "picture.jpg")
    nd.save(str(tmp_path / "list.params"), [nd.ones((1,))])
    with pytest.raises(FileFormatError, match="no names"):
        gluon.load(prefix, tmp_path / "list.params")
    with pytest.raises(ArgumentError, match="says itself"):
        gluon.load("model.onnx", "model.params")
    incomplete = nd.load(prefix + "-0001.params")
    del incomplete[next(name for name in incomplete if name.endswith("running_var"))]
    nd.save(prefix + "-0001.params", incomplete)
    with pytest.raises(MXNetError, match="(?s)missing.*running_var"):
        gluon.load(prefix, 1)


def zoo_like(**kwargs):
    vision = gluon.model_zoo.vision
    return vision.ResNetV1(vision.BasicBlockV1, [1, 1], [4, 4, 8], classes=3, thumbnail=True, **kwargs)


def test_parameters_by_every_style_of_name(tmp_path):
    """Structural, full, prefixed by arg: and aux:, stripped, and of a network that was counted differently."""
    with mx.name.NameManager():
        net = zoo_like()
    net.initialize(mx.init.Xavier())
    x = nd.array(np.random.RandomState(4).randn(1, 3, 8, 8))
    expected = net(x).asnumpy()
    net.hybridize()
    net(x)
    base = str(tmp_path / "net")
    net.export(base)
    net.save_parameters(base + "-structural.params")
    net.save_parameters(base + "-structural.safetensors")
    net.collect_params().save(base + "-full.params")
    net.collect_params().save(base + "-stripped.params", strip_prefix=net.prefix)
    stored = nd.load(base + "-full.params")
    np.savez(base + "-full.npz", **{name: value.asnumpy() for name, value in stored.items()})
    np.savez(base + "-structural.npz", **{k: v.asnumpy() for k, v in nd.load(base + "-structural.params").items()})
    for style in ("0000.params", "structural.params", "structural.safetensors", "full.params", "stripped.params",
                  "full.npz", "structural.npz"):
        for again in (zoo_like(prefix=net.prefix), zoo_like(), zoo_like(prefix="mine_")):
            again.load_parameters(f"{base}-{style}")
            equal(again, x, expected)
    with pytest.raises(MXNetError, match="missing"):
        gluon.model_zoo.vision.resnet18_v1().load_parameters(base + "-full.params")


def test_shared_parameters_that_were_stored_once(tmp_path):
    def tied():
        net = nn.HybridSequential()
        first = nn.Dense(5, in_units=5)
        net.add(first, nn.Dense(5, in_units=5, params=first.params))
        return net

    net = tied()
    net.initialize()
    x = nd.ones((2, 5))
    for deduplicate, count in ((True, 2), (False, 4)):
        net.save_parameters(str(tmp_path / "tied.params"), deduplicate=deduplicate)
        assert len(nd.load(str(tmp_path / "tied.params"))) == count
        again = tied()
        again.load_parameters(str(tmp_path / "tied.params"))
        equal(again, x, net(x).asnumpy())


def test_a_list_of_arrays_is_no_file_of_parameters(tmp_path):
    nd.save(str(tmp_path / "list.params"), [nd.ones((2, 3)), nd.ones((2,))])
    net = nn.Dense(2, in_units=3)
    for read in (net.load_parameters, net.collect_params().load):
        with pytest.raises(MXNetError, match="without names"):
            read(str(tmp_path / "list.params"))


def test_networks_without_parameters_have_files(tmp_path):
    net = nn.Flatten()
    net.save_parameters(str(tmp_path / "a.params"))
    net.load_parameters(str(tmp_path / "a.params"))
    net.collect_params().save(str(tmp_path / "b.params"))
    net.collect_params().load(str(tmp_path / "b.params"))
    assert net(nd.ones((2, 3, 4))).shape == (2, 12)


def test_constants_of_whole_numbers_come_back(tmp_path):
    """An exported network with indices loads: what has no gradient asks for none."""
    class Chosen(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.rows = self.params.get_constant("rows", nd.array([2, 0], dtype="int64"))

        def hybrid_forward(self, F, x, rows):
            return F.take(x, rows, axis=1)

    net, x = Chosen(), nd.array([[1, 2, 3]])
    net.initialize()
    net.hybridize()
    net(x)
    net.export(str(tmp_path / "chosen"))
    files = str(tmp_path / "chosen-symbol.json"), str(tmp_path / "chosen-0000.params")
    for again in (gluon.load(*files), gluon.SymbolBlock.imports(files[0], ["data"], files[1])):
        assert again(x).asnumpy().tolist() == [[3, 1]]
        assert [p.grad_req for p in again.collect_params().values()] == ["null"]


@pytest.mark.parametrize("name", [None, 3, b"model"])
def test_only_names_are_files(name: object) -> None:
    with pytest.raises(MXNetError, match="name of a file is expected"):
        gluon.load(name)


@pytest.mark.parametrize("form", ["symbol", "onnx", "pt2"])
def test_a_folder_is_no_name_to_export_to(tmp_path: pathlib.Path, form: str) -> None:
    net = gluon.nn.Dense(2, in_units=3)
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 3)))
    with pytest.raises(MXNetError, match="ends in no name"):
        net.export(f"{tmp_path}/", format=form)
    assert not list(tmp_path.iterdir())
