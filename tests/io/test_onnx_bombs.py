"""Small ONNX models that ask for much: numbers are computed while a model is read, so what they may take is bounded,
at once and in all. Each is read or refused within the memory that docs/formats.md promises.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import glueball.onnx
from glueball import nd
from glueball.base.errors import FileFormatError, UnsupportedError

MANY = 2**21  # the most numbers that one result may have
node = helper.make_node


def model(nodes, tensors=()):
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    result = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", given, result, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def numbers(name, *values):
    return node("Constant", [], [name], value_ints=values)


def filled(kind, *shape):
    """Nodes that make `a` of a shape."""
    value = helper.make_tensor("v", kind, [1], [1])
    return [numbers("s", *shape), node("ConstantOfShape", ["s"], ["a"], value=value)]


def column_and_row(kind):
    """Nodes that make `a` and `b`, which pair to 2**42 numbers."""
    return [*filled(kind, MANY, 1), numbers("r", 1, MANY), node("Reshape", ["a", "r"], ["b"])]


def shaped(*shape):
    """Nodes that give the input another shape."""
    return [numbers("r", *shape), node("Reshape", ["x", "r"], ["a"])]


I, F = TensorProto.INT64, TensorProto.FLOAT
BOMBS = {
    "tile": [*filled(F, 12290), node("Tile", ["a", "s"], ["y"])],
    "gather": [*column_and_row(I), node("Sub", ["a", "a"], ["z"]), node("Gather", ["b", "z"], ["y"])],
    "non-zero": [*filled(I, *[1] * 31, MANY), node("NonZero", ["a"], ["y"])],
    "divide": [*column_and_row(I), node("Div", ["a", "b"], ["y"])],
    "remainder": [*column_and_row(I), node("Mod", ["a", "b"], ["y"])],
    "add": [*column_and_row(F), node("Add", ["a", "b"], ["y"])],
    "product": [*column_and_row(F), node("MatMul", ["a", "b"], ["y"])],
    "einsum": [*column_and_row(F), node("Einsum", ["a", "b"], ["y"], equation="ik,kj->ij")],
    "hot": [*filled(I, MANY), node("Constant", [], ["d"], value_int=MANY),
            node("Constant", [], ["v"], value_floats=[0.0, 1.0]), node("OneHot", ["a", "d", "v"], ["y"])],
    "expand": [*filled(F, 1), numbers("e", 1 << 20, 1 << 20),
               node("Expand", ["a", "e"], ["y"])],
    "pad": [*filled(F, 1), numbers("e", 0, 1 << 30), node("Pad", ["a", "e"], ["y"])],
    "wrapped": [*filled(F, 1), numbers("e", 0, 1 << 30),
                node("Pad", ["a", "e"], ["y"], mode="wrap")],
    "range": [*[node("Constant", [], [n], value_float=v) for n, v in zip("abc", (0.0, 1e9, 1.0))],
              node("Range", ["a", "b", "c"], ["y"])],
    "elements": [*column_and_row(I), node("Sub", ["a", "a"], ["z"]), numbers("e", MANY, MANY),
                 node("Expand", ["z", "e"], ["w"]), node("Expand", ["b", "e"], ["d"]),
                 node("GatherElements", ["d", "w"], ["y"])],
    "resize": [numbers("e", 1, 1, 1 << 20, 1 << 20), *shaped(1, 1, 1, 1),
               node("Resize", ["a", "", "", "e"], ["y"], mode="linear")],
    "grid": [numbers("e", 1, 1, 1 << 13, 1 << 13), *filled(F, 1, 2, 3),
             node("AffineGrid", ["a", "e"], ["y"])],
    "window": [node("Constant", [], ["n"], value_int=1 << 40), node("HannWindow", ["n"], ["y"])],
    "eye": [*filled(F, 1 << 20, 1), numbers("e", 1, 1 << 20),
            node("Expand", ["a", "e"], ["b"]), node("EyeLike", ["b"], ["y"])],
    "triangle": [*filled(F, 1, 1), numbers("e", 1 << 16, 1 << 16),
                 node("Expand", ["a", "e"], ["b"]), node("Trilu", ["b"], ["y"])],
    "many small ones": [*filled(F, 1024, 1024), *[node("Trilu", ["a"], [f"t{i}"]) for i in range(300)],
                        node("Sum", [f"t{i}" for i in range(300)], ["y"])],
    "many windows": [node("Constant", [], ["n"], value_int=1 << 20),
                     *[node("HannWindow", ["n"], [f"t{i}"]) for i in range(100)],
                     node("Sum", [f"t{i}" for i in range(100)], ["y"])],
}


REFUSED = ("gather", "non-zero", "divide", "remainder", "wrapped", "elements", "grid", "window", "triangle",
           "many small ones", "many windows")


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(targets, target_of, name):
    read = targets.guard(target_of("onnx"), model(BOMBS[name]).SerializeToString())
    assert not (read and name in REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_the_refusal_names_the_node_and_the_bound(name):
    with pytest.raises(UnsupportedError, match=r"\('.+'\): \d+ numbers would have to be made .*at most \d+ at once"):
        glueball.onnx.import_model(model(BOMBS[name]))


def test_a_constant_in_a_loop_is_one_constant(targets, target_of):
    """A megabyte in a body of a thousand turns is not a gigabyte."""
    constant = numpy_helper.from_array(np.ones(1 << 18, np.float32), "w")
    inner = numpy_helper.from_array(np.ones(1 << 18, np.float32), "v")
    body = helper.make_graph(
        [node("Constant", [], ["c"], value=constant), node("Add", ["old", "c"], ["d"]),
         node("Add", ["d", "v"], ["new"]), node("Identity", ["go"], ["on"])], "body",
        [helper.make_tensor_value_info("turn", I, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("old", F, None)],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("new", F, None)],
        [inner])
    made = model([numbers("n", 200), node("Constant", [], ["g"], value=numpy_helper.from_array(np.array(True), "g")),
                  node("Loop", ["n", "g", "x"], ["y"], body=body)])
    assert targets.guard(target_of("onnx"), made.SerializeToString())
    assert glueball.onnx.import_model(made)(nd.zeros((1,))).asnumpy().tolist() == [400.0] * (1 << 18)


def beside(tmp_path, count, length=1 << 20):
    """A model whose weights all lie in the same place of one file."""
    (tmp_path / "w.bin").write_bytes(bytes(length))
    tensors = []
    for i in range(count):
        one = TensorProto(name=f"w{i}", data_type=F, dims=[length // 4], data_location=TensorProto.EXTERNAL)
        one.external_data.add(key="location", value="w.bin")
        tensors.append(one)
    made = model([node("Sum", ["x", *(one.name for one in tensors)], ["y"])], tensors)
    (tmp_path / "a.onnx").write_bytes(made.SerializeToString())
    return str(tmp_path / "a.onnx")


def test_the_same_bytes_serve_two_weights_but_not_a_hundred(tmp_path):
    assert len(glueball.onnx.import_model(beside(tmp_path, 2)).collect_params()) == 2
    with pytest.raises(FileFormatError, match=r"weight 'w2'.*over and over(.|\n)*3145728 bytes in all from w.bin, "
                                              r"which hold 1048576"):
        glueball.onnx.import_model(beside(tmp_path, 100))
