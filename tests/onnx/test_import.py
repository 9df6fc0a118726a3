"""Reading ONNX: what we export comes back as it was; open and fixed sizes; training; what is refused, and how.

ONNX's own cases are in test_backend.py, models of torch in test_import_torch.py.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base.errors import FileFormatError, MXNetError, ShapeError, TraceError, UnsupportedError
from glueball.gluon import nn, rnn
from glueball.gluon.model_zoo import vision
from glueball.onnx import import_model
from glueball.onnx.read import walk
from glueball.onnx.read.operators import control


def _model(nodes: Any, inputs: dict[str, Any], outputs: Any, weights: dict[str, np.ndarray] | None = None,
           opset: int = 18) -> onnx.ModelProto:
    """A model of float32 inputs (whole numbers where the name begins with i)."""
    values = [helper.make_tensor_value_info(name, TensorProto.INT64 if name.startswith("i") else TensorProto.FLOAT, s)
              for name, s in inputs.items()]
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    held = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    return helper.make_model(helper.make_graph(nodes, "g", values, results, held),
                             opset_imports=[helper.make_opsetid("", opset)])


def _convolutional() -> Any:
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Conv2D(4, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"), nn.MaxPool2D(), nn.Flatten(),
                nn.Dropout(0.3), nn.Dense(5))
    net.initialize()
    return net


def test_a_network_comes_back_with_its_names_and_numbers(tmp_path: pathlib.Path) -> None:
    net, x = _convolutional(), nd.random.uniform(shape=(2, 3, 8, 8))
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[x])
    block = import_model(path)
    assert isinstance(block, gluon.SymbolBlock)
    assert set(block.collect_params()) == set(net.collect_params())
    wide = nd.random.uniform(shape=(5, 3, 8, 8))
    for _ in range(2):
        np.testing.assert_allclose(block(wide).asnumpy(), net(wide).asnumpy(), rtol=1e-5, atol=1e-6)
        block.hybridize()
    again = import_model(pathlib.Path(block.export(str(tmp_path / "again"), format="onnx", inputs=[x])).read_bytes())
    np.testing.assert_allclose(again(wide).asnumpy(), net(wide).asnumpy(), rtol=1e-5, atol=1e-6)


def test_it_trains_as_the_network_it_came_from(tmp_path: pathlib.Path) -> None:
    net, x = nn.HybridSequential(), nd.random.uniform(shape=(6, 3, 8, 8))
    net.add(nn.Conv2D(4, 3), nn.BatchNorm(), nn.Activation("relu"), nn.Flatten(), nn.Dense(5))
    net.initialize()
    block = import_model(net.export(str(tmp_path / "net"), format="onnx", inputs=[x]))
    losses: list[list[float]] = []
    for one in (net, block):
        trainer = gluon.Trainer(one.collect_params(), "sgd", {"learning_rate": 0.1})
        losses.append([])
        for _ in range(3):
            with autograd.record():
                loss = nd.square(one(x) - 1).mean()
            loss.backward()
            trainer.step(1)
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0][2] < losses[0][0]
    for name, parameter in net.collect_params().items():  # running statistics moved as well
        np.testing.assert_allclose(block.collect_params()[name].data().asnumpy(), parameter.data().asnumpy(), rtol=1e-4,
                                   atol=1e-6)


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_come_back(layer: str, tmp_path: pathlib.Path) -> None:
    net, x = getattr(rnn, layer)(6, num_layers=2, bidirectional=True), nd.random.uniform(shape=(5, 3, 4))
    net.initialize()
    block = import_model(net.export(str(tmp_path / "r"), format="onnx", inputs=[x]))
    np.testing.assert_allclose(block(x).asnumpy(), net(x).asnumpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mobilenetv2_0.25", "squeezenet1.1", "resnet18_v2"])
def test_networks_of_the_zoo_come_back(name: str, tmp_path: pathlib.Path) -> None:
    net, x = vision.get_model(name, classes=10), nd.random.uniform(shape=(1, 3, 224, 224))
    net.initialize()
    path = net.export(str(tmp_path / name), format="onnx", inputs=[x], check=False)
    block, wide = import_model(path), nd.random.uniform(shape=(2, 3, 224, 224))
    np.testing.assert_allclose(block(wide).asnumpy(), net(wide).asnumpy(), rtol=1e-4, atol=1e-5)


# -- sizes -------------------------------------------------------------------------------------------------------------
def test_sizes_that_are_computed_stay_open() -> None:
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "zero"], ["n"]),
             helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
             helper.make_node("Concat", ["n1", "rest"], ["t"], axis=0), helper.make_node("Reshape", ["x", "t"], ["y"])]
    weights = {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])}
    block = import_model(_model(nodes, {"x": ["n", 2, 3]}, ["y"], weights))
    for batch in (1, 4):
        assert block(nd.ones((batch, 2, 3))).shape == (batch, 6)
    assert [node.op.name for node in gluon.symbol_block.topological(block._values) if node.op] == ["Reshape"]


def test_a_graph_that_depends_on_sizes_is_read_for_each(tmp_path: pathlib.Path) -> None:
    nodes = [helper.make_node("Shape", ["x"], ["n"], end=1), helper.make_node("Cast", ["n"], ["real"], to=1),
             helper.make_node("Mul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "real"], ["y"])]
    block = import_model(_model(nodes, {"x": ["n"]}, ["y"], {"w": np.array([2], np.float32)}))
    assert block.general is None
    for hybrid in (False, True):
        block.hybridize(hybrid)
        for size in (3, 5):
            np.testing.assert_array_equal(block(nd.ones((size,))).asnumpy(), np.full(size, 2 + size))
    with autograd.record():
        block(nd.ones((3,))).sum().backward()
    assert block.collect_params()["w"].grad().item() == 3
    path = block.export(str(tmp_path / "fixed"), format="onnx", inputs=[nd.ones((3,))])
    assert import_model(path)(nd.ones((3,))).asnumpy().tolist() == [5, 5, 5]


def test_positions_and_masks_of_an_open_length_stay_open(tmp_path: pathlib.Path) -> None:
    """sin(positions), and a mask that hides what is to come, are computed when the graph runs."""
    nodes = [helper.make_node("Shape", ["x"], ["n"], end=1), helper.make_node("Squeeze", ["n", "axis"], ["stop"]),
             helper.make_node("Range", ["zero", "stop", "one"], ["places"]),
             helper.make_node("Cast", ["places"], ["real"], to=TensorProto.FLOAT),
             helper.make_node("Sin", ["real"], ["waves"]), helper.make_node("Add", ["x", "waves"], ["xw"]),
             helper.make_node("Unsqueeze", ["places", "last"], ["rows"]),
             helper.make_node("LessOrEqual", ["places", "rows"], ["seen"]),
             helper.make_node("Where", ["seen", "xw", "hidden"], ["y"])]
    weights = {"axis": np.array([0]), "last": np.array([1]), "zero": np.array(0), "one": np.array(1),
               "hidden": np.array(-7, np.float32)}
    block = import_model(_model(nodes, {"x": ["n"]}, ["y"], weights))
    assert block.general is not None
    for size in (1, 3, 5):
        waves = 1 + np.sin(np.arange(size, dtype=np.float32))
        expected = np.where(np.tri(size, dtype=bool), waves, -7)
        np.testing.assert_allclose(block(nd.ones((size,))).asnumpy(), expected, rtol=1e-6)
    path = block.export(str(tmp_path / "again"), format="onnx", inputs=[nd.ones((3,))])
    assert import_model(path)(nd.ones((4,))).shape == (4, 4)


@pytest.mark.parametrize(("kind", "options"), [("MaxPool", {}), ("AveragePool", {}), ("LpPool", {}),
                                               ("AveragePool", {"count_include_pad": 1})])
def test_pooling_in_ceil_mode_keeps_an_open_batch(kind: str, options: dict[str, int], tmp_path: pathlib.Path) -> None:
    node = helper.make_node(kind, ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1], ceil_mode=1,
                            **options)
    block = import_model(_model([node], {"x": ["n", 2, 8, 8]}, ["y"], opset=19))
    assert block.general is not None
    path = block.export(str(tmp_path / "again"), format="onnx", inputs=[nd.random.uniform(shape=(2, 2, 8, 8))])
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("end", [4, 300, 100_000, 2**31 - 1, 2**63 - 1])
def test_a_slice_that_cuts_large_sizes_only(end: int) -> None:
    weights = {"b": np.array([0]), "e": np.array([end])}
    block = import_model(_model([helper.make_node("Slice", ["x", "b", "e"], ["y"])], {"x": ["n"]}, ["y"], weights))
    for size in (3, 5, 400):
        assert block(nd.ones((size,))).shape == (min(size, end),)


def test_it_is_saved_as_any_block(tmp_path: pathlib.Path) -> None:
    net, x = _convolutional(), nd.random.uniform(shape=(2, 3, 8, 8))
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[x])
    block, other = import_model(path), import_model(path)
    expected = block(x).asnumpy()
    block.save_parameters(str(tmp_path / "p.params"))
    for parameter in other.collect_params().values():
        parameter.set_data(parameter.data() * 0)
    other.load_parameters(str(tmp_path / "p.params"))
    np.testing.assert_array_equal(other(x).asnumpy(), expected)
    block.hybridize()
    block(x)
    block.export(str(tmp_path / "old"))
    old = gluon.SymbolBlock.imports(str(tmp_path / "old-symbol.json"), ["data"], str(tmp_path / "old-0000.params"))
    np.testing.assert_allclose(old(x).asnumpy(), expected, rtol=1e-5, atol=1e-6)


def test_an_input_whose_numbers_decide() -> None:
    block = import_model(_model([helper.make_node("Reshape", ["x", "i"], ["y"])], {"x": [6], "i": ["r"]}, ["y"]))
    for shape in ((2, 3), (6, 1)):
        assert block(nd.ones((6,)), nd.array(shape)).shape == shape
    block.hybridize()
    with pytest.raises(TraceError, match="'i' decide"):
        block(nd.ones((6,)), nd.array((3, 2)))


def test_fixed_sizes_are_kept_and_can_be_opened() -> None:
    model = _model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 3]}, ["y"])
    with pytest.raises(ShapeError, match="shapes="):
        import_model(model)(nd.ones((2, 3)))
    assert import_model(model, shapes={"x": ("batch", 3)})(nd.ones((2, 3))).shape == (2, 3)
    with pytest.raises(MXNetError, match="no input 'z'"):
        import_model(model, shapes={"z": (1,)})


def test_whole_numbers_come_as_real_ones() -> None:
    weights = {"w": np.arange(8, dtype=np.float32).reshape(4, 2)}
    block = import_model(_model([helper.make_node("Gather", ["w", "i"], ["y"])], {"i": ["n"]}, ["y"], weights))
    block.hybridize()
    assert block(nd.array([3, 0])).asnumpy().tolist() == [[6, 7], [0, 1]]
    with autograd.record():
        block(nd.array([3, 3])).sum().backward()
    assert block.collect_params()["w"].grad().asnumpy()[:, 0].tolist() == [0, 0, 0, 2]


# -- refusals ----------------------------------------------------------------------------------------------------------
def test_all_unknown_operators_are_named_at_once() -> None:
    nodes = [helper.make_node("STFT", ["x", "x"], ["a"], name="one"), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("Bernoulli", ["x"], ["c"], name="two"), helper.make_node("Add", ["b", "c"], ["y"])]
    with pytest.raises(UnsupportedError) as caught:
        import_model(_model(nodes, {"x": [3]}, ["y"]))
    for text in ("STFT ('one')", "Bernoulli ('two')", "operator set 18"):
        assert text in str(caught.value)
    assert "Relu" not in str(caught.value)


@pytest.mark.parametrize("opset", [0, 99])
def test_other_operator_sets_are_refused(opset: int) -> None:
    with pytest.raises(UnsupportedError, match=f"Operator set {opset}"):
        import_model(_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [3]}, ["y"], opset=opset))


def test_results_that_nothing_makes_are_named() -> None:
    split = helper.make_node("Split", ["x"], ["a", "y"], num_outputs=1)
    with pytest.raises(UnsupportedError, match="its results y are not made"):
        import_model(_model([split], {"x": [4]}, ["y"]))


def test_what_is_no_model() -> None:
    good = _model([helper.make_node("Relu", ["x"], ["y"])], {"x": [3]}, ["y"]).SerializeToString()
    for data in (b"", b"\x00" * 40, b"not a model at all", good[: len(good) // 2]):
        with pytest.raises(FileFormatError):
            import_model(data)
    with pytest.raises(FileFormatError, match="nothing made"):
        import_model(_model([helper.make_node("Relu", ["z"], ["y"])], {"x": [3]}, ["y"]))
    with pytest.raises(FileFormatError, match="second time"):
        import_model(_model([helper.make_node("Relu", ["x"], ["y"])] * 2, {"x": [3]}, ["y"]))
    with pytest.raises(TypeError, match="Received: int"):
        import_model(3)


def test_weights_that_lie_about_their_sizes() -> None:
    model = _model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": [3]}, ["y"], {"w": np.ones(3, np.float32)})
    model.graph.initializer[0].dims[0] = 2**40
    with pytest.raises(FileFormatError, match="bytes"):
        import_model(model)
    model.graph.initializer[0].dims[0] = -3
    with pytest.raises(FileFormatError, match="not possible"):
        import_model(model)


def test_weights_beside_the_model_stay_in_its_directory(tmp_path: pathlib.Path) -> None:
    model = _model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": [64]}, ["y"],
                   {"w": np.arange(64, dtype=np.float32)})
    inside, outside = tmp_path / "inside", tmp_path / "secret"
    inside.mkdir()
    onnx.save_model(model, str(inside / "m.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert import_model(inside / "m.onnx")(nd.zeros((64,))).asnumpy().tolist() == list(range(64))
    outside.write_bytes((inside / "w.bin").read_bytes())
    os.symlink(outside, inside / "link")
    model = onnx.load(inside / "m.onnx", load_external_data=False)
    for location in ("../secret", str(outside), "link", "", "absent", "a\0b"):
        model.graph.initializer[0].external_data[0].value = location
        (inside / "bad.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(FileFormatError, match="'w'"):
            import_model(inside / "bad.onnx")
    with pytest.raises(UnsupportedError, match="path"):
        import_model(model)


def test_it_is_found_under_its_name() -> None:
    assert mx.onnx.import_model is import_model


def test_the_interface_of_1x(tmp_path: pathlib.Path) -> None:
    from glueball.contrib import onnx as old

    net, x = _convolutional(), nd.random.uniform(shape=(2, 3, 8, 8))
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[x])
    symbol, arguments, states = old.import_model(path)
    assert set(states) == {"net_batchnorm0_running_mean", "net_batchnorm0_running_var"}
    assert set(symbol.list_arguments()) == {"data", *arguments}
    (found,) = symbol.bind(mx.cpu(), {"data": x, **arguments}, aux_states=states).forward()
    np.testing.assert_allclose(found.asnumpy(), net(x).asnumpy(), rtol=1e-5, atol=1e-6)
    assert old.import_to_gluon(path)(x).shape == (2, 5)
    assert old.get_model_metadata(path)["input_tensor_data"] == [("data", (0, 3, 8, 8))]
    sized = _model([helper.make_node("Shape", ["x"], ["n"]), helper.make_node("Cast", ["n"], ["r"], to=1),
                    helper.make_node("Add", ["x", "r"], ["y"])], {"x": ["n"]}, ["y"])
    onnx.save_model(sized, str(tmp_path / "s.onnx"))
    with pytest.raises(UnsupportedError, match="shapes="):
        old.import_model(tmp_path / "s.onnx")


def test_functions_that_a_model_brings_along() -> None:
    """onnxscript and older torch write them: with inputs left out, attributes of the call, functions in functions."""
    leaky, sets = helper.make_node("LeakyRelu", ["a"], ["b"]), [helper.make_opsetid("", 18)]
    inner = helper.make_function("my", "Scaled", ["a"], ["b"], [leaky], sets, ["alpha"])
    inner.node[0].attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="alpha", type=1))
    outer = helper.make_function("my", "Twice", ["p", "q"], ["r"],
                                 [helper.make_node("Scaled", ["p"], ["s"], domain="my", alpha=0.5),
                                  helper.make_node("Clip", ["s", "q"], ["r"])],
                                 [helper.make_opsetid("", 18), helper.make_opsetid("my", 1)])
    model = _model([helper.make_node("Twice", ["x"], ["y"], domain="my")], {"x": [3]}, ["y"])
    model.functions.extend([inner, outer])
    assert import_model(model)(nd.array([-2, 0, 3])).asnumpy().tolist() == [-1, 0, 3]
    outer.node[0].op_type = "Twice"  # calls itself without end
    del model.functions[:]
    model.functions.extend([inner, outer])
    with pytest.raises(UnsupportedError, match="nested too deeply"):
        import_model(model)


def _branching(bigger: list[int]) -> onnx.ModelProto:
    """x·w where the sum of x is positive, x - 7 elsewhere; `bigger` reshapes one branch."""
    then = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["a"])], "then", [], [_value("a")])
    constant = numpy_helper.from_array(np.array(7, np.float32))
    other = helper.make_graph([helper.make_node("Constant", [], ["c"], value=constant),
                               helper.make_node("Sub", ["x", "c"], ["d"]),
                               helper.make_node("Constant", [], ["t"],
                                                value=numpy_helper.from_array(np.array(bigger, np.int64))),
                               helper.make_node("Reshape", ["d", "t"], ["b"])], "else", [], [_value("b")])
    nodes = [helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0), helper.make_node("Greater", ["s", "zero"], ["p"]),
             helper.make_node("If", ["p"], ["y"], then_branch=then, else_branch=other)]
    weights = {"w": np.array([[1, 2], [3, 4]], np.float32), "zero": np.array(0, np.float32)}
    return _model(nodes, {"x": ["n", 2]}, ["y"], weights)


def _value(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def test_a_branch_that_the_data_decide() -> None:
    block = import_model(_branching([-1, 2]))
    for hybrid in (False, True):
        block.hybridize(hybrid)
        assert block(nd.ones((3, 2))).asnumpy().tolist() == [[4, 6]] * 3
        assert block(-nd.ones((1, 2))).asnumpy().tolist() == [[-8, -8]]
    with autograd.record():
        block(nd.ones((3, 2))).sum().backward()
    assert block.collect_params()["w"].grad().asnumpy().tolist() == [[3, 3], [3, 3]]


def test_a_branch_that_the_data_decide_is_not_exported_and_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UnsupportedError, match=r"_cond \('y', made at If \('y'\)\)"):
        import_model(_branching([-1, 2])).export(str(tmp_path / "f"), format="onnx", inputs=[nd.ones((3, 2))])


def test_sequences_of_known_length() -> None:
    """Split, put in, take out, look at, count and join: no sequence is left in the graph."""
    nodes = [helper.make_node("SplitToSequence", ["x", "two"], ["s"], axis=1),
             helper.make_node("SequenceAt", ["s", "last"], ["rest"]), helper.make_node("SequenceErase", ["s"], ["t"]),
             helper.make_node("SequenceInsert", ["t", "rest", "zero"], ["u"]),
             helper.make_node("SequenceLength", ["u"], ["count"]),
             helper.make_node("Cast", ["count"], ["real"], to=TensorProto.FLOAT),
             helper.make_node("ConcatFromSequence", ["u"], ["y"], axis=1),
             helper.make_node("Mul", ["y", "real"], ["z"]),
             helper.make_node("SplitToSequence", ["x"], ["rows"], axis=1, keepdims=0),
             helper.make_node("ConcatFromSequence", ["rows"], ["w"], axis=0, new_axis=1),
             helper.make_node("SequenceConstruct", ["x", "x"], ["v"]),
             helper.make_node("SequenceAt", ["v", "zero"], ["r"])]
    weights = {"two": np.array(2), "last": np.array(-1), "zero": np.array(0)}
    block = import_model(_model(nodes, {"x": ["n", 5]}, ["z", "w", "r"], weights))
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    z, w, r = (one.asnumpy() for one in block(nd.array(x)))
    np.testing.assert_array_equal(z, 3 * x[:, [4, 0, 1, 2, 3]])
    np.testing.assert_array_equal(w, x.T)
    np.testing.assert_array_equal(r, x)


@pytest.mark.parametrize(("nodes", "reason"), [
    ([("SequenceConstruct", ["x", "x"], "s"), ("Relu", ["s"], "y")], "its input 0 is a sequence"),
    ([("SequenceAt", ["x", "far"], "y")], "its input 0 must be a sequence"),
    ([("SequenceConstruct", ["x"], "s"), ("SequenceAt", ["s", "far"], "y")], "no place 3 among 1"),
    ([("SequenceEmpty", [], "s"), ("ConcatFromSequence", ["s"], "y")], "its sequence is empty"),
    ([("SplitToSequence", ["x", "none"], "s"), ("SequenceAt", ["s", "far"], "y")], "parts of 0"),
    ([("SplitToSequence", ["x", "parts"], "s"), ("SequenceAt", ["s", "far"], "y")], r"parts of \[1, 3\] do not make 2"),
    ([("SequenceConstruct", ["x", "x"], "y")], "Only arrays can be outputs"),
])
def test_sequences_that_are_refused(nodes: list[tuple[str, list[str], str]], reason: str) -> None:
    weights = {"far": np.array(3), "none": np.array(0), "parts": np.array([1, 3])}
    made = [helper.make_node(kind, ins, [out], **({"axis": 0} if kind == "ConcatFromSequence" else {}))
            for kind, ins, out in nodes]
    with pytest.raises(UnsupportedError, match=reason):
        import_model(_model(made, {"x": [2, 3]}, ["y"], weights))


def test_branches_of_other_shapes_are_read_for_each_call() -> None:
    block = import_model(_branching([1, -1]))
    assert block(nd.ones((3, 2))).shape == (3, 2)
    assert block(-nd.ones((3, 2))).shape == (1, 6)


def test_loops_that_do_not_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    true = helper.make_tensor("t", TensorProto.BOOL, [], [True])
    body = helper.make_graph([helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Relu", ["a"], ["b"])],
                             "body", [helper.make_tensor_value_info("i", TensorProto.INT64, []),
                                      helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                                      helper.make_tensor_value_info("a", TensorProto.FLOAT, [2])],
                             [onnx.ValueInfoProto(name="still"), onnx.ValueInfoProto(name="b")])
    model = _model([helper.make_node("Loop", ["", "t", "x"], ["y"], body=body)], {"x": [2]}, ["y"])
    model.graph.initializer.append(true)
    monkeypatch.setattr(control, "TURNS", 20)
    with pytest.raises(UnsupportedError, match="within 20 turns"):
        import_model(model)
    monkeypatch.setattr(control, "TURNS", 10**6)
    monkeypatch.setattr(walk, "MORE", 40)
    with pytest.raises(UnsupportedError, match="loops written out"):
        import_model(model)
