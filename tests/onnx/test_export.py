"""From a network to a file: names, open batch, element types, refusals, nothing lost; models that people export.

`export` itself runs every file beside the network (with two batch sizes), so a test that only exports is a comparison.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import onnx
import pytest

from glueball import autograd, gluon, nd, sym
from glueball.base.errors import ArgumentError, MXNetError, UnsupportedError
from glueball.cli import main
from glueball.gluon import nn, rnn
from glueball.gluon.model_zoo import vision
from glueball.onnx import ExportError, export_model
from glueball.onnx import export as export_file
from glueball.onnx.sizes import fixed_sizes
from glueball.onnx.verify import compare, run


def _small() -> Any:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Dense(8, activation="relu"), nn.Dropout(0.5), nn.Dense(3))
    net.initialize()
    return net


def _sizes(value: Any) -> list[Any]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_one_file_with_the_parameters_names_and_an_open_batch(tmp_path: pathlib.Path) -> None:
    net, x = _small(), nd.random.uniform(shape=(4, 5))
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[x], metadata={"labels": "a,b,c"})
    assert path == str(tmp_path / "net.onnx")
    assert os.listdir(tmp_path) == ["net.onnx"]
    model = onnx.load(path)
    assert (model.opset_import[0].version, model.ir_version <= 10) == (18, True)
    assert {w.name for w in model.graph.initializer} == set(net.collect_params())
    assert [(i.name, _sizes(i)) for i in model.graph.input] == [("data", ["batch", 5])]
    assert [(o.name, _sizes(o)) for o in model.graph.output] == [("output", ["batch", 3])]
    assert {p.key: p.value for p in model.metadata_props}["labels"] == "a,b,c"
    wide = nd.random.uniform(shape=(9, 5))
    np.testing.assert_allclose(run(path, {"data": wide.asnumpy()})[0], net(wide).asnumpy(), rtol=1e-5, atol=1e-6)


def test_the_shapes_of_the_last_call_serve_as_examples(tmp_path: pathlib.Path) -> None:
    net = _small()
    with pytest.raises(MXNetError, match=r"inputs=\[x\]"):
        net.export(str(tmp_path / "net"), format="onnx")
    net.hybridize()
    net(nd.ones((2, 5)))
    net.export(str(tmp_path / "net"), format="onnx")
    assert _sizes(onnx.load(tmp_path / "net.onnx").graph.input[0]) == ["batch", 5]


def test_a_batch_that_is_written_down_stays_fixed(tmp_path: pathlib.Path) -> None:
    class Fixed(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.reshape(x, (4, 10))

    path = Fixed().export(str(tmp_path / "f"), format="onnx", inputs=[nd.ones((8, 5))])
    assert _sizes(onnx.load(path).graph.input[0]) == [8, 5]
    path = _small().export(str(tmp_path / "g"), format="onnx", inputs=[nd.ones((8, 5))], dynamic_batch=False)
    assert _sizes(onnx.load(path).graph.input[0]) == [8, 5]


def test_every_refusal_is_named_with_its_line_and_nothing_is_written(tmp_path: pathlib.Path) -> None:
    class Odd(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return F.gamma(x) + F.Dropout(F.gammaln(x), mode="always")

    with pytest.raises(UnsupportedError) as caught:
        Odd().export(str(tmp_path / "odd"), format="onnx", inputs=[nd.ones((2, 3)) * 2])
    text = str(caught.value)
    for name in ("gamma (", "gammaln (", "Dropout (", "test_export.py:", "draws a new mask"):
        assert name in text
    assert os.listdir(tmp_path) == []


def test_an_older_file_stays_when_the_new_one_fails(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = _small()
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[nd.ones((2, 5))])
    before = pathlib.Path(path).read_bytes()
    monkeypatch.setattr(export_file, "load", lambda model, origins: lambda feeds: [np.full((2, 3), 7.0, np.float32)])
    with pytest.raises(ExportError, match="differs under onnxruntime with the example inputs"):
        net.export(str(tmp_path / "net"), format="onnx", inputs=[nd.ones((2, 5))])
    assert pathlib.Path(path).read_bytes() == before
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_comparison_sees_what_differs() -> None:
    one = np.array([1.0, np.nan, np.inf], np.float32)
    assert compare([one], [one.copy()], ["o"], ["float32"], "") == 0
    for other in ([1.001, np.nan, np.inf], [1.0, 0.0, np.inf], [1.0, np.nan, -np.inf]):
        with pytest.raises(ExportError, match="differs"):
            compare([one], [np.array(other, np.float32)], ["o"], ["float32"], "")
    with pytest.raises(ExportError, match="another shape"):
        compare([one], [one[:2]], ["o"], ["float32"], "")


@pytest.mark.parametrize("arguments", [{"format": "tflite"}, {"check": True}, {"format": "onnx", "inputs": [3]}])
def test_wrong_arguments_are_refused(arguments: dict[str, Any], tmp_path: pathlib.Path) -> None:
    with pytest.raises(ArgumentError, match="Received"):
        _small().export(str(tmp_path / "x"), **arguments)


@pytest.mark.parametrize("kind", ["float64", "float16"])
def test_other_element_types(kind: str, tmp_path: pathlib.Path) -> None:
    net = nn.HybridSequential()
    net.add(nn.Dense(4, activation="tanh"), nn.LayerNorm(), nn.Dense(2))
    net.cast(kind)
    net.initialize()
    net.export(str(tmp_path / "net"), format="onnx", inputs=[nd.random.uniform(shape=(3, 5)).astype(kind)])


def test_several_inputs_nested_lists_and_several_outputs(tmp_path: pathlib.Path) -> None:
    class Both(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Dense(4)

        def hybrid_forward(self, F: Any, x: Any, pair: Any) -> Any:
            h = self.dense(x)
            return h, [h + pair[0], x, h]

    net = Both()
    net.initialize()
    inputs = [nd.random.uniform(shape=(2, 3)), [nd.random.uniform(shape=(2, 4))]]
    model = onnx.load(net.export(str(tmp_path / "both"), format="onnx", inputs=inputs))
    assert [i.name for i in model.graph.input] == ["data0", "data1"]
    assert [o.name for o in model.graph.output] == ["output0", "output1", "output2", "output3"]


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"layout": "NTC"}])
def test_recurrent_layers_become_onnx_ones(layer: str, options: dict[str, Any], tmp_path: pathlib.Path) -> None:
    net = getattr(rnn, layer)(6, **options)
    net.initialize()
    model = onnx.load(net.export(str(tmp_path / "r"), format="onnx", inputs=[nd.random.uniform(shape=(5, 3, 4))]))
    assert layer in {node.op_type for node in model.graph.node}
    assert set(net.collect_params()) == {w.name for w in model.graph.initializer if w.name in net.collect_params()}
    batch = 5 if options.get("layout") == "NTC" else 3
    states = net.begin_state(batch)
    net.export(str(tmp_path / "s"), format="onnx", inputs=[nd.random.uniform(shape=(5, 3, 4)), states])


def test_an_unrolled_cell(tmp_path: pathlib.Path) -> None:
    class Unrolled(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.cell = rnn.LSTMCell(4, input_size=3)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.cell.unroll(5, x, layout="NTC", merge_outputs=True)[0]

    net = Unrolled()
    net.initialize()
    net.export(str(tmp_path / "u"), format="onnx", inputs=[nd.random.uniform(shape=(2, 5, 3))])


class _Attention(gluon.HybridBlock):
    """A layer of a transformer as people write it, with reshape codes."""

    def __init__(self, size: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.scale = heads, (size // heads) ** -0.5
        self.qkv = nn.Dense(3 * size, flatten=False)
        self.out, self.norm = nn.Dense(size, flatten=False), nn.LayerNorm()
        self.wide, self.narrow = nn.Dense(4 * size, flatten=False), nn.Dense(size, flatten=False)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        parts = F.split(self.qkv(x), 3, axis=-1)
        split = [F.transpose(F.reshape(p, (0, 0, self.heads, -1)), (0, 2, 1, 3)) for p in parts]
        q, k, v = (F.reshape(p, (-3, 0, 0)) for p in split)
        shares = F.softmax(F.batch_dot(q, k, transpose_b=True) * self.scale)
        found = F.reshape(F.batch_dot(shares, v), (-4, -1, self.heads, 0, 0))
        x = x + self.out(F.reshape(F.transpose(found, (0, 2, 1, 3)), (0, 0, -3)))
        return x + self.narrow(F.LeakyReLU(self.wide(self.norm(x)), act_type="gelu"))


def test_a_transformer(tmp_path: pathlib.Path) -> None:
    net = nn.HybridSequential()
    net.add(nn.Embedding(20, 8), _Attention(), _Attention(), nn.Dense(5))
    net.initialize()
    words = nd.array(np.random.RandomState(0).randint(0, 20, (3, 7)))
    model = onnx.load(net.export(str(tmp_path / "t"), format="onnx", inputs=[words]))
    assert _sizes(model.graph.input[0]) == ["batch", 7]


@pytest.mark.parametrize("name", ["mobilenetv2_0.25", "squeezenet1.1", "resnet18_v2"])
def test_networks_of_the_zoo(name: str, tmp_path: pathlib.Path) -> None:
    """Small ones here; benchmarks/portability/zoo.py prints the table of all."""
    net = vision.get_model(name, classes=10)
    net.initialize()
    with autograd.train_mode():  # moves the running statistics away from their start
        net(nd.random.uniform(shape=(2, 3, 64, 64)) if "squeeze" not in name else nd.ones((1, 3, 224, 224)))
    net.export(str(tmp_path / name), format="onnx", inputs=[nd.random.uniform(shape=(1, 3, 224, 224))])


def test_a_symbol_with_its_parameters_and_loss_layer(tmp_path: pathlib.Path) -> None:
    data = sym.Variable("data")
    hidden = sym.Activation(sym.FullyConnected(data, num_hidden=4, name="fc1"), act_type="relu")
    out = sym.SoftmaxOutput(sym.FullyConnected(hidden, num_hidden=3, name="fc2"), name="softmax")
    shapes = dict(zip(out.list_arguments(), out.infer_shape(data=(2, 5))[0]))
    params = {f"arg:{n}": nd.random.uniform(shape=s) for n, s in shapes.items() if n not in ("data", "softmax_label")}
    path = export_model(out, params, [(2, 5)], onnx_file_path=str(tmp_path / "m.onnx"), dynamic=True)
    x = np.random.RandomState(0).rand(7, 5).astype("float32")
    found = run(path, {"data": x})[0]
    bound = {n.removeprefix("arg:"): a for n, a in params.items()} | {"data": nd.array(x), "softmax_label": nd.zeros(7)}
    np.testing.assert_allclose(found, out.eval(**bound)[0].asnumpy(), rtol=1e-5, atol=1e-6)
    out.save(str(tmp_path / "m-symbol.json"))
    nd.save(str(tmp_path / "m-0000.params"), params)
    again = export_model(str(tmp_path / "m-symbol.json"), str(tmp_path / "m-0000.params"), [(2, 5)],
                         onnx_file_path=str(tmp_path / "again.onnx"))
    assert _sizes(onnx.load(again).graph.input[0]) == [2, 5]
    assert main(["export", str(tmp_path / "m-symbol.json"), str(tmp_path / "m-0000.params"), "--shape", "2,5",
                 "--force"]) == 0
    assert _sizes(onnx.load(tmp_path / "m.onnx").graph.input[0]) == ["batch", 5]
    assert main(["export", str(tmp_path / "m-symbol.json"), str(tmp_path / "none.params"), "--shape", "2,5"]) == 1
    assert main(["export", str(tmp_path / "m-symbol.json"), str(tmp_path / "m-0000.params"), "--shape", "abc"]) == 2
    with pytest.raises(ArgumentError, match="a shape for each of data"):
        export_model(out, params, [])


def test_a_symbol_is_compared_with_two_batch_sizes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, tuple[int, ...]]] = []

    def recorded(found: Any, expected: Any, names: Any, kinds: Any, what: str) -> float:
        seen.append((what, found[0].shape))
        return compare(found, expected, names, kinds, what)

    monkeypatch.setattr(export_file, "compare", recorded)
    out = sym.relu(sym.Variable("data"))
    for dynamic in (False, True):
        export_model(out, {}, [(3, 5)], onnx_file_path=str(tmp_path / "m.onnx"), dynamic=dynamic)
    example = ("with random inputs", (3, 5))
    assert seen == [example, example, ("with another batch size", (6, 5))]


def test_an_empty_batch_can_be_the_example(tmp_path: pathlib.Path) -> None:
    net = _small()
    net(nd.ones((1, 5)))
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[nd.zeros((0, 5))])
    assert run(path, {"data": np.ones((2, 5), np.float32)})[0].shape == (2, 3)


def _block(forward: Any) -> Any:
    """A network without parameters."""
    class Written(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, *xs: Any) -> Any:
            return forward(F, *xs)

    return Written()


@pytest.mark.parametrize("key", ["x[:, 0]", "x[1:]", "x[-1]", "x[-1:]", "x[:-1]", "x[:, None]", "x[:, -2:, 0]",
                                 "x[..., 1:3]"])
def test_a_part_of_a_batch_follows_the_batch(key: str, tmp_path: pathlib.Path) -> None:
    net = _block(lambda F, x: eval(key))
    for batch in (2, 3):
        path = net.export(str(tmp_path / "f"), format="onnx", inputs=[nd.random.normal(shape=(batch, 3, 4))])
        assert _sizes(onnx.load(path).graph.input[0]) == ["batch", 3, 4]
        wide = nd.random.normal(shape=(5, 3, 4))
        np.testing.assert_array_equal(run(path, {"data": wide.asnumpy()})[0], net(wide).asnumpy())


@pytest.mark.parametrize("check", [True, False])
def test_a_forward_that_writes_its_batch_down_keeps_it(check: bool, tmp_path: pathlib.Path) -> None:
    for forward in (lambda F, x: F.reshape(x, (x.shape[0], -1)), lambda F, x: x * x.shape[0],
                    lambda F, x: x + 1 if x.shape[0] > 3 else x):
        path = _block(forward).export(str(tmp_path / "f"), format="onnx", inputs=[nd.ones((2, 3, 4))], check=check)
        assert _sizes(onnx.load(path).graph.input[0])[0] == 2
    path = _block(lambda F, x: F.reshape(x, (-1, x.shape[1] * 4))).export(
        str(tmp_path / "f"), format="onnx", inputs=[nd.ones((2, 3, 4))], check=check)
    assert _sizes(onnx.load(path).graph.input[0])[0] == "batch"


def test_unused_code_that_fits_one_batch_only_keeps_it(tmp_path: pathlib.Path) -> None:
    def forward(F: Any, x: Any) -> Any:
        F.reshape(x, (4, 10)) + 1
        return x * 2

    path = _block(forward).export(str(tmp_path / "f"), format="onnx", inputs=[nd.ones((8, 5))])
    assert _sizes(onnx.load(path).graph.input[0]) == [8, 5]


def test_what_onnxruntime_cannot_run_is_an_error_with_its_reason(
        tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def session(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no kernel for Tan(7)")

    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    with pytest.raises(ExportError, match=r"onnxruntime does not load the model[\s\S]*no kernel for Tan"):
        _small().export(str(tmp_path / "f"), format="onnx", inputs=[nd.ones((2, 3))])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_the_remainder_of_nothing(kind: str, tmp_path: pathlib.Path) -> None:
    x = nd.array([[3, 0, -2]], dtype=kind)
    _block(lambda F, x: (5 % x, F.broadcast_mod(x, x), x % 2)).export(str(tmp_path / "f"), format="onnx", inputs=[x])


@pytest.mark.parametrize("options", [
    {"kernel": (3,), "stride": (2,), "pad": (2,), "pool_type": "avg", "pooling_convention": "full"},
    {"kernel": (2,), "pad": (3,), "pool_type": "avg", "count_include_pad": False},
    {"kernel": (2,), "stride": (3,), "pad": (3,), "pool_type": "max"},
    {"kernel": (2,), "stride": (3,), "pad": (3,), "pool_type": "sum"},
    {"kernel": (2,), "stride": (3,), "pad": (3,), "pool_type": "lp", "p_value": 2},
])
def test_pooling_whose_padding_is_as_wide_as_the_window(options: dict[str, Any], tmp_path: pathlib.Path) -> None:
    net = _block(lambda F, x: F.Pooling(x, **options))
    net.export(str(tmp_path / "f"), format="onnx", inputs=[nd.random.normal(shape=(2, 3, 4))])


@pytest.mark.parametrize(("make", "shape"), [
    (lambda: nn.BatchNorm(axis=0), (3, 4)), (lambda: nn.BatchNorm(axis=-3), (3, 2, 4)), (nn.InstanceNorm, (2, 4)),
    (lambda: gluon.nn.HybridLambda(lambda F, x: F.LRN(x, nsize=3)), (2, 5, 3)),
    (lambda: gluon.nn.HybridLambda(lambda F, x: F.LRN(x, nsize=3)), (2, 5, 3, 2, 2)),
    (lambda: gluon.nn.HybridLambda(lambda F, x: F.contrib.AdaptiveAvgPooling2D(x, output_size=(1,))), (3, 6, 2)),
    (lambda: gluon.nn.HybridLambda(lambda F, x: F.contrib.AdaptiveAvgPooling2D(x, output_size=(2,))), (3, 6, 2)),
])
def test_layers_on_data_of_other_numbers_of_axes(make: Any, shape: tuple[int, ...], tmp_path: pathlib.Path) -> None:
    net = make()
    net.initialize()
    net.export(str(tmp_path / "f"), format="onnx", inputs=[nd.random.normal(shape=shape)])


def test_group_norm_of_an_empty_batch(tmp_path: pathlib.Path) -> None:
    net = nn.GroupNorm(2)
    net.initialize()
    path = net.export(str(tmp_path / "f"), format="onnx", inputs=[nd.random.normal(shape=(2, 4, 3))])
    assert run(path, {"data": np.zeros((0, 4, 3), np.float32)})[0].shape == (0, 4, 3)


def test_a_type_that_does_not_follow_from_the_inputs_is_named() -> None:
    total = sym.Variable("left") + sym.Variable("right")
    with pytest.raises(MXNetError, match=r"'left' does not follow(.|\n)*Expected: a shape(.|\n)*Received(.|\n)*Fix"):
        fixed_sizes(list(total._outputs), {})


@pytest.mark.parametrize("check", [True, False])
def test_a_model_beyond_two_gigabytes_has_its_weights_beside_it(
    check: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = nn.Dense(64)
    net.initialize()
    x = nd.random.uniform(shape=(2, 64))
    expected = net(x).asnumpy()
    monkeypatch.setattr(export_file, "_LARGEST", 1000)  # the limit stands in for a network that no test can hold
    path = net.export(str(tmp_path / "big"), format="onnx", inputs=[x], check=check)
    assert sorted(os.listdir(tmp_path)) == ["big.onnx", "big.onnx.data"]
    assert os.path.getsize(path) < 4000 < os.path.getsize(f"{path}.data")
    np.testing.assert_allclose(run(path, {"data": x.asnumpy()})[0], expected, rtol=1e-5, atol=1e-6)


def test_what_no_output_depends_on_is_left_out(tmp_path: pathlib.Path) -> None:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3), nn.BatchNorm(), nn.LayerNorm())
    net.initialize()
    graph = onnx.load(net.export(str(tmp_path / "net"), format="onnx", inputs=[nd.ones((2, 3, 9, 9))])).graph
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    assert all(read.intersection(node.output) for node in graph.node)
    assert {weight.name for weight in graph.initializer} <= read
