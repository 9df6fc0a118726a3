"""Models in the dialects of MXNet 0.8 to 1.9 give the numbers that MXNet 1.9.1 gives for the same documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import reader
from support import array, checked, same_all

import glueball as mx

CASES = {case["id"]: case for case in reader.load("legacy")}


def names(*kinds: str) -> list[str]:
    return [name for name, case in CASES.items() if case["kind"] in kinds]


def run(symbol: Any, arrays: dict[str, Any]) -> list[Any]:
    given = {key: array(value) for key, value in arrays.items()}
    auxiliary = symbol.list_auxiliary_states()
    executor = symbol.bind(
        mx.cpu(),
        {key: value for key, value in given.items() if key not in auxiliary},
        aux_states={key: given[key] for key in auxiliary},
        grad_req="null",
    )
    return list(executor.forward())


@pytest.mark.parametrize("name", names("network"))
def test_an_old_network(name: str, tmp_path: Path) -> None:
    case = CASES[name]

    def compare() -> None:
        (tmp_path / "old-symbol.json").write_text(json.dumps(case["document"]))
        symbol = mx.sym.load(str(tmp_path / "old-symbol.json"))
        assert symbol.list_arguments() == case["arguments"]
        assert symbol.list_auxiliary_states() == case["auxiliary"]
        same_all(run(symbol, case["arrays"]), case["outputs"], "bound")
        same_all(run(mx.sym.load_json(symbol.tojson()), case["arrays"]), case["outputs"], "written again")
        parameters = {
            f"{'aux' if key in case['auxiliary'] else 'arg'}:{key}": array(value)
            for key, value in case["arrays"].items()
            if key != "data" and not key.endswith("label")
        }
        mx.nd.save(str(tmp_path / "old-0007.params"), parameters)
        net = mx.gluon.load(tmp_path / "old-symbol.json")
        for way in ("block", "hybridized"):
            outputs = net(array(case["arrays"]["data"]))
            same_all(outputs if isinstance(outputs, list) else [outputs], case["outputs"], way)
            net.hybridize()

    checked("legacy", name, compare)


@pytest.mark.parametrize("name", names("hints"))
def test_hints_go_where_they_belong(name: str) -> None:
    case = CASES[name]
    symbol = mx.sym.load_json(json.dumps(case["document"]))
    hints = {
        key: {hint: text for hint, text in found.items() if hint.startswith("__")}
        for key, found in symbol.attr_dict().items()
    }
    assert hints == case["hints"]
    assert symbol.attr_dict()["fc1_bias"]["mine"] == "kept"
    net = mx.gluon.SymbolBlock(symbol, mx.sym.Variable("data"))
    weight, bias = net.params["fc1_weight"], net.params["fc1_bias"]
    assert (weight.lr_mult, bias.lr_mult, bias.wd_mult) == (2, 3, 0.5)


def test_variables_that_old_files_leave_out_are_initialised() -> None:
    case = CASES["missing inputs"]
    symbol = mx.sym.load_json(json.dumps(case["document"]))
    assert {k: v["__init__"] for k, v in symbol.attr_dict().items() if "__init__" in v} == case["initial"]
    net = mx.gluon.SymbolBlock(symbol.get_internals()["conv_output"], mx.sym.Variable("data"))
    net.initialize(mx.init.Normal())
    net(array(case["arrays"]["data"]))
    assert (net.params["act_gamma"].data().asnumpy() == 0.25).all()
    assert (net.params["bn_moving_var"].data().asnumpy() == 1).all()


@pytest.mark.parametrize("name", names("texts"))
def test_attributes_as_texts(name: str) -> None:
    case = CASES[name]

    def compare() -> None:
        same_all(run(mx.sym.load_json(json.dumps(case["document"])), case["arrays"]), case["outputs"], name)

    checked("legacy", name, compare)


@pytest.mark.parametrize("name", names("control"))
def test_control_flow(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    symbol = mx.sym.load_json(json.dumps(case["document"]))
    same_all(run(symbol, case["arrays"]), case["outputs"], "read")
    same_all(run(mx.sym.load_json(symbol.tojson()), case["arrays"]), case["outputs"], "written again")
    symbol.save(str(tmp_path / "loop-symbol.json"))
    captured = {f"arg:{k}": array(v) for k, v in case["arrays"].items() if k != "a"}
    mx.nd.save(str(tmp_path / "loop-0000.params"), captured)
    outputs = mx.gluon.load(tmp_path / "loop")(array(case["arrays"]["a"]))
    same_all(outputs if isinstance(outputs, list) else [outputs], case["outputs"], "block")
