"""Symbol: composition and names, inference forwards and backwards, binding, JSON round trips on generated graphs,
hostile files.
"""
from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import nd, sym
from glueball.base.errors import FileFormatError, MXNetError, ShapeError

from ..executor.programs import BINARY, UNARY


def mlp():
    x = sym.Variable("data")
    h = sym.Activation(sym.FullyConnected(x, num_hidden=8, name="fc1"), act_type="relu", name="relu1")
    return sym.SoftmaxOutput(sym.FullyConnected(h, num_hidden=3, name="fc2"), name="softmax")


def test_missing_inputs_become_variables():
    net = mlp()
    assert net.list_arguments() == ["data", "fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias", "softmax_label"]
    assert net.list_outputs() == ["softmax_output"]
    bn = sym.BatchNorm(sym.Variable("x"), name="bn")
    assert bn.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"] and bn.list_arguments() == [
        "x",
        "bn_gamma",
        "bn_beta",
    ]
    assert sym.FullyConnected(sym.Variable("x"), num_hidden=1, no_bias=True, name="f").list_arguments() == [
        "x",
        "f_weight",
    ]


def test_shapes_flow_forward_and_backward():
    args, outs, aux = mlp().infer_shape(data=(5, 4))
    assert args == [(5, 4), (8, 4), (8,), (3, 8), (3,), (5,)] and outs == [(5, 3)] and aux == []
    x, y = sym.Variable("x"), sym.Variable("y")
    assert (x + y).infer_shape(y=(2, 3))[0] == [(2, 3), (2, 3)]
    z = sym.tanh(x) * y
    assert z.infer_shape(x=(2, 3))[0] == [(2, 3), (2, 3)]
    with pytest.warns(UserWarning, match="Cannot decide shape"):
        assert mlp().infer_shape() == (None, None, None)
    partial = mlp().infer_shape_partial(data=(0, 4))
    assert partial[0][1] == (8, 4) and partial[1][0] == (0, 3)
    with pytest.raises(ShapeError, match="x"):
        (x + y).infer_shape(x=(2,), y=(3,))


def test_types():
    args, outs, _ = mlp().infer_type(data="float16")
    assert set(args) == {np.float16} and outs == [np.float16]


def test_internals_children_groups_and_attributes():
    net = mlp()
    internals = net.get_internals()
    assert "fc1_output" in internals.list_outputs()
    feature = internals["fc1_output"]
    assert feature.infer_shape(data=(2, 4))[1] == [(2, 8)]
    assert net.get_children().list_outputs() == ["fc2_output", "softmax_label"]
    group = sym.Group([feature, net])
    assert group.list_outputs() == ["fc1_output", "softmax_output"] and len(group) == 2 and group[1].name == "softmax"
    with mx.AttrScope(ctx_group="dev1"):
        v = sym.Variable("v", lr_mult=2.0, shape=(3, 0))
    assert v.attr("__ctx_group__") == "dev1" and v.attr("__lr_mult__") == "2.0" and v.attr("__shape__") == "(3, 0)"
    assert net.attr_dict()["fc1"]["num_hidden"] == "8"


def test_composition_by_call():
    a = sym.FullyConnected(sym.Variable("inner"), num_hidden=2, name="a")
    b = a(inner=sym.tanh(sym.Variable("x"), name="t"))
    assert b.list_arguments() == ["x", "a_weight", "a_bias"]
    with pytest.raises(ValueError, match="no variable 'wrong'"):
        a(wrong=a)


def test_several_outputs():
    parts = sym.split(sym.Variable("x"), num_outputs=3, axis=1, name="s")
    assert len(parts) == 3 and parts.list_outputs() == ["s_output0", "s_output1", "s_output2"]
    a, b, c = parts
    assert (a + b + c).eval(x=nd.ones((2, 3)))[0].asnumpy().tolist() == [[3], [3]]
    with pytest.raises(MXNetError, match="must be one value"):
        sym.tanh(parts)


def test_bind_forward_backward():
    x, w = sym.Variable("x"), sym.Variable("w")
    y = sym.broadcast_mul(x, w)
    args = {"x": nd.array([1.0, 2.0]), "w": nd.array([3.0, 4.0])}
    grads = {"x": nd.zeros((2,)), "w": nd.ones((2,))}
    run = y.bind(mx.cpu(), args, grads, {"x": "write", "w": "add"})
    assert run.forward(is_train=True)[0].asnumpy().tolist() == [3, 8]
    run.backward(nd.array([1.0, 10.0]))
    assert grads["x"].asnumpy().tolist() == [3, 40] and grads["w"].asnumpy().tolist() == [2, 21]
    assert run.forward(x=nd.array([5.0, 5.0]))[0].asnumpy().tolist() == [15, 20]
    with pytest.raises(MXNetError, match="forward\\(is_train=True\\)"):
        run.backward()
    with pytest.raises(MXNetError, match="nothing for w"):
        y.bind(mx.cpu(), {"x": args["x"]})


def test_simple_bind_trains():
    run = mlp().simple_bind(mx.cpu(), data=(16, 4))
    rng = np.random.default_rng(0)
    data = rng.normal(size=(16, 4))
    label = data[:, :3].argmax(1)
    for name, array in run.arg_dict.items():
        array[:] = rng.normal(size=array.shape) * 0.3
    for _ in range(200):
        run.forward(is_train=True, data=data, softmax_label=label)
        run.backward()
        for name, g in run.grad_dict.items():
            if name not in ("data", "softmax_label"):
                run.arg_dict[name][:] = run.arg_dict[name] - 0.1 * g
    assert (run.forward(data=data)[0].asnumpy().argmax(1) == label).mean() > 0.9


def test_values_cannot_be_read():
    with pytest.raises(TypeError):
        bool(sym.Variable("x") > 0)
    with pytest.raises(AttributeError, match="infer_shape"):
        sym.Variable("x").shape


PROGRAMS = st.lists(st.one_of(st.tuples(st.sampled_from(sorted(set(UNARY) - {"dropped", "positive", "signs"})),
                                        st.integers(0, 50)),
                              st.tuples(st.sampled_from(sorted(set(BINARY) - {"max"})), st.integers(0, 50),
                                        st.integers(0, 50))), min_size=1, max_size=10)


@given(PROGRAMS)
@settings(max_examples=60)
def test_json_round_trip_computes_the_same(steps):
    values = [sym.Variable("x"), sym.Variable("y")]
    for name, *places in steps:
        picked = [values[p % len(values)] for p in places]
        values.append(UNARY[name](sym, *picked) if len(places) == 1 else BINARY[name](sym, *picked))
    out = sym.Group([values[-1], values[0] + values[1]])
    again = sym.load_json(out.tojson())
    assert again.tojson() == out.tojson() and again.list_arguments() == out.list_arguments()
    assert pickle.loads(pickle.dumps(out)).tojson() == out.tojson()
    rng = np.random.default_rng(0)
    arrays = {"x": nd.array(rng.normal(size=(2, 3))), "y": nd.array(rng.normal(size=(2, 3)))}
    for a, b in zip(out.eval(**arrays), again.eval(**arrays)):
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())


@given(st.integers(0, 10_000), st.sampled_from(["cut", "number", "drop", "swap"]))
@settings(max_examples=150)
def test_damaged_json_is_refused_in_words(seed, how):
    rng = np.random.default_rng(seed)
    text = mlp().tojson()
    if how == "cut":
        text = text[:int(rng.integers(0, len(text) - 1))]
    elif how == "number":
        data = json.loads(text)
        node = data["nodes"][int(rng.integers(len(data["nodes"])))]
        node["inputs"] = [[int(rng.integers(-5, 50)), int(rng.integers(-2, 5)), 0]
                          for _ in range(int(rng.integers(0, 9)))]
        text = json.dumps(data)
    elif how == "drop":
        data = json.loads(text)
        node = data["nodes"][int(rng.integers(len(data["nodes"])))]
        node.pop(list(node)[int(rng.integers(len(node)))])
        text = json.dumps(data)
    else:
        data = json.loads(text)
        data["nodes"][int(rng.integers(len(data["nodes"])))][["op", "name", "attrs"][int(rng.integers(3))]] = [
            "x",
            5,
            {"a": 1},
        ][int(rng.integers(3))]
        text = json.dumps(data)
    try:
        sym.load_json(text)
    except MXNetError as error:
        assert str(error)


def test_unknown_operators_and_attributes_name_themselves(tmp_path):
    text = mlp().tojson().replace("FullyConnected", "FullyConected")
    with pytest.raises(MXNetError, match="FullyConnected"):
        sym.load_json(text)
    with pytest.raises(FileFormatError, match="not JSON"):
        sym.load_json("{")
    path = tmp_path / "bad.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match="UTF-8"):
        sym.load(str(path))


def test_old_dialects():
    text = json.dumps({"nodes": [
        {"op": "null", "param": {}, "name": "data", "inputs": [], "backward_source_id": -1},
        {"op": "BatchNorm", "param": {"eps": "0.001", "fix_gamma": "True"}, "attr": {"lr_mult": "2"}, "name": "bn",
         "inputs": [[0, 0], [2, 0], [3, 0]] if False else [[0, 0]], "backward_source_id": -1}], "arg_nodes": [0],
         "heads": [[1, 0]]})
    net = sym.load_json(text)
    assert net.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"] and net.attr("__lr_mult__") == "2"


@pytest.mark.parametrize("given, message", [
    ({"args": {"a": None}}, "args must be arrays"),
    ({"args": {"a": "text"}}, "args must be arrays"),
    ({"args_grad": {"a": nd.ones((3,))}}, "its argument's shape"),
    ({"args_grad": {"a": nd.ones((2,))}, "grad_req": "wrong"}, "no gradient request 'wrong'"),
])
def test_bind_refuses_what_cannot_be_bound(given, message):
    with pytest.raises(MXNetError, match=message):
        (sym.Variable("a") * 2).bind(None, **{"args": {"a": nd.ones((2,))}, **given})


def test_head_gradients_must_fit():
    run = (sym.Variable("a") * 2).bind(None, {"a": np.ones(2)}, {"a": nd.zeros((2,))})
    run.forward(is_train=True)
    with pytest.raises(ShapeError, match="of its shape"):
        run.backward(nd.ones((7,)))


@pytest.mark.parametrize("change", [
    {"inputs": None}, {"attrs": {"num_hidden": "-" * 3000 + "1"}}, {"attrs": {"num_hidden": "(" * 3000}},
])
def test_hostile_nodes_are_refused(change):
    data = json.loads(sym.FullyConnected(sym.Variable("data"), num_hidden=3, name="fc").tojson())
    data["nodes"][-1].update(change)
    with pytest.raises(MXNetError, match="fc"):
        sym.load_json(json.dumps(data))


@pytest.mark.parametrize("hint", [{"__dtype__": "abc"}, {"__shape__": "(1,"}, {"__shape__": "-" * 3000 + "1"}])
def test_hostile_hints_are_refused(hint):
    data = json.loads((sym.Variable("data") * 2).tojson())
    data["nodes"][0]["attrs"] = hint
    with pytest.raises(MXNetError, match="hints"):
        sym.load_json(json.dumps(data)).infer_type()
        sym.load_json(json.dumps(data)).infer_shape()


def test_operators_of_files_that_are_others_here():
    """MXNet's fused layer is read as two operators, names of sparse variants as the operators themselves."""
    x = np.random.RandomState(0).randn(2, 3, 4, 4).astype("float32")
    names = ["data", "gamma", "beta", "mean", "var"]
    nodes = [{"op": "null", "name": name, "inputs": []} for name in names]
    nodes.append({"op": "_contrib_BatchNormWithReLU", "name": "bn", "inputs": [[i, 0, 0] for i in range(5)],
                  "attrs": {"fix_gamma": "False", "eps": "0.001"}})
    nodes.append({"op": "_sparse_sqrt", "name": "root", "inputs": [[5, 0, 0]]})
    symbol = sym.load_json(json.dumps({"nodes": nodes, "arg_nodes": list(range(5)), "heads": [[6, 0, 0]],
                                       "attrs": {"mxnet_version": ["int", 10901]}}))
    assert symbol.list_auxiliary_states() == ["mean", "var"]
    arrays = {"gamma": [1, 2, 0.5], "beta": [0.5, -1, 0], "mean": [0, 0.1, 0.2], "var": [1, 2, 0.5]}
    given = {name: nd.array(values) for name, values in arrays.items()}
    executor = symbol.bind(mx.cpu(), {"data": nd.array(x), "gamma": given["gamma"], "beta": given["beta"]},
                           aux_states={"mean": given["mean"], "var": given["var"]})
    g, b, m, v = (np.array(arrays[name], "float32").reshape(3, 1, 1) for name in names[1:])
    expected = np.sqrt(np.maximum((x - m) / np.sqrt(v + 1e-3) * g + b, 0))
    np.testing.assert_allclose(executor.forward()[0].asnumpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", ["(4, 0)", "[4,0]", "(4L, 0L)", "(4,-1)"])
def test_declared_sizes_and_dtypes_count(shape):
    nodes = [{"op": "null", "name": "data", "inputs": []},
             {"op": "null", "name": "w", "inputs": [], "attr": {"__shape__": shape, "__dtype__": "1",
                                                                "__init__": '["Constant", {"value": 3}]'}},
             {"op": "null", "name": "own", "inputs": [], "attr": {"__init__": '["NobodyHasThis", {}]'}},
             {"op": "FullyConnected", "name": "fc", "inputs": [[0, 0], [1, 0], [2, 0]], "param": {"num_hidden": "4"}}]
    symbol = sym.load_json(json.dumps({"nodes": nodes, "arg_nodes": [0, 1, 2], "heads": [[3, 0]]}))
    arguments, outputs, _ = symbol.infer_shape(data=(2, 3))
    assert arguments[1] == (4, 3) and outputs == [(2, 4)]
    assert symbol.infer_type(data="float64")[0][1] == np.float64
    net = mx.gluon.SymbolBlock(symbol, sym.Variable("data"))
    assert net.params["w"].shape == (4, 0) and net.params["w"].dtype == np.float64
    net.initialize()
    net.cast("float64")
    net(nd.ones((2, 3), dtype="float64"))
    assert (net.params["w"].data().asnumpy() == 3).all()
