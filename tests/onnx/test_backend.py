"""ONNX's own test suite, a part that takes seconds; all of it: tools/onnx_operators.py.

The law: a case passes or is refused with a reason, and none that passed before is refused. The table in the docs lists
every operator that has a rule.
"""

from __future__ import annotations

import importlib.util
import pathlib
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from glueball.base.errors import MXNetError
from glueball.onnx.backend import GlueballBackend, NotRead
from glueball.onnx.read.operators import IMPORTERS

_PLACE = pathlib.Path(__file__).parents[2] / "tools" / "onnx_operators.py"
_spec = importlib.util.spec_from_file_location("onnx_operators", _PLACE)
assert _spec is not None and _spec.loader is not None
table: Any = importlib.util.module_from_spec(_spec)
sys.modules["onnx_operators"] = table
_spec.loader.exec_module(table)

# operator -> how many cases of the wheel's suite at least pass
PASSING = {"Conv": 6, "ConvTranspose": 11, "AveragePool": 20, "MaxPool": 17, "BatchNormalization": 4, "Gemm": 11,
           "LSTM": 6, "GRU": 6, "RNN": 6, "Loop": 1, "If": 1, "Scan": 3, "Resize": 35, "Reshape": 10, "Slice": 8,
           "Pad": 6, "Einsum": 9, "Softmax": 7, "LayerNormalization": 19, "TopK": 7, "ScatterND": 2, "GatherND": 3,
           "Clip": 12, "Where": 2, "QuantizeLinear": 6, "Div": 9, "Pow": 12}


@pytest.fixture(scope="module")
def outcomes() -> list[Any]:
    return table.outcomes(PASSING, ("node",))


def test_no_case_fails(outcomes: list[Any]) -> None:
    assert [(one.name, one.reason) for one in outcomes if one.state == "failed"] == []
    assert all(one.reason for one in outcomes if one.state == "refused")


@pytest.mark.parametrize("operator", list(PASSING))
def test_what_passed_still_passes(operator: str, outcomes: list[Any]) -> None:
    passed = [one.name for one in outcomes if one.operator == operator and one.state == "passed"]
    assert len(passed) >= PASSING[operator]


def test_the_page_lists_every_rule() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")}
    assert {name for _, name in IMPORTERS} <= rows


def test_the_page_has_these_numbers(outcomes: list[Any]) -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    for operator in PASSING:
        cases = [one for one in outcomes if one.operator == operator]
        assert table.row(operator, cases) in page, f"run tools/onnx_operators.py --write ({operator})"


def test_one_node() -> None:
    node = helper.make_node("Add", ["a", "b"], ["c"])
    a, b = np.ones((2, 3), np.float32), np.arange(3, dtype=np.float32)
    (found,) = GlueballBackend.run_node(node, [a, b], opset_version=13)
    np.testing.assert_array_equal(found, a + b)


def test_a_model_by_names_and_what_is_not_supported() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])

    def model(kind: str) -> onnx.ModelProto:
        graph = helper.make_graph([helper.make_node(kind, ["x"], ["y"])], "g", [x], [y])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])

    assert GlueballBackend.is_compatible(model("Relu"))
    assert not GlueballBackend.is_compatible(model("Bernoulli"))
    (found,) = GlueballBackend.prepare(model("Relu")).run({"x": np.array([-1, 2], np.float32)})
    assert found.tolist() == [0, 2]
    with pytest.raises(NotRead, match="Bernoulli"):
        GlueballBackend.prepare(model("Bernoulli"))
    with pytest.raises(MXNetError, match="Received: CUDA"):
        GlueballBackend.prepare(model("Relu"), "CUDA")
    assert not GlueballBackend.supports_device("CUDA:0")
