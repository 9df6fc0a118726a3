"""The model zoo against the golden facts: names and shapes of all parameters for all networks, values for a few."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import reader
from blocks import formula, picture
from support import array, checked, same

import glueball as mx

CASES = {case["id"]: case for case in reader.load("model_zoo")}
STRUCTURES = [name for name, case in CASES.items() if "shapes" in case]
VALUES = [name for name, case in CASES.items() if "predict" in case]


def test_every_name_is_known() -> None:
    for name in CASES["names"]["names"]:
        assert isinstance(mx.gluon.model_zoo.vision.get_model(name, classes=10), mx.gluon.HybridBlock)


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure(name: str) -> None:
    case = CASES[name]

    def compare() -> None:
        with mx.name.NameManager():
            net = mx.gluon.model_zoo.vision.get_model(name, classes=10, prefix="m_")
        symbol = net(mx.sym.Variable("data"))
        arguments, outputs, auxiliary = symbol.infer_shape(data=tuple(case["input_shape"]))
        found = dict(zip(symbol.list_arguments(), arguments, strict=True))
        found.update(zip(symbol.list_auxiliary_states(), auxiliary, strict=True))
        parameters = net._collect_params_with_prefix()
        assert {key: list(found[p.name]) for key, p in parameters.items()} == case["shapes"]
        assert list(parameters) == list(case["shapes"])
        assert [list(shape) for shape in outputs] == case["output_shape"]
        if "names" in case:
            assert list(net.collect_params().keys()) == case["names"]
            assert symbol.list_arguments() == case["arguments"]
            assert symbol.list_auxiliary_states() == case["auxiliary"]

    checked("model_zoo", name, compare)


def loaded(case: dict[str, Any], hybridize: bool) -> tuple[Any, Any]:
    net = mx.gluon.model_zoo.vision.get_model(case["model"], classes=10)
    net.initialize()
    if hybridize:
        net.hybridize()
    x = array(picture(case["model"], case["size"]))
    net(x)
    for key, p in net._collect_params_with_prefix().items():
        p.set_data(array(formula(key, p.shape)))
    return net, x


@pytest.mark.parametrize("hybridize", [False, True], ids=["eager", "hybridized"])
@pytest.mark.parametrize("name", VALUES)
def test_values(name: str, hybridize: bool) -> None:
    case = CASES[name]

    def compare() -> None:
        net, x = loaded(case, hybridize)
        same(net(x), case["predict"], "predict mode", 10)
        if "train" not in case:
            return
        x.attach_grad()
        with mx.autograd.record():
            y = net(x)
        same(y, case["train"], "train mode", 10)
        y.backward(array(case["head"]))
        assert numpy.linalg.norm(x.grad.asnumpy()) == pytest.approx(case["input_grad_norm"], rel=2e-2)
        parameters = net._collect_params_with_prefix()
        largest = max(case["grad_norms"].values())
        for key, golden in case["grad_norms"].items():
            ours = numpy.linalg.norm(parameters[key].grad().asnumpy().astype("float64"))
            assert ours == pytest.approx(golden, rel=2e-2, abs=1e-5 * largest), f"gradient norm of {key}"

    checked("model_zoo", name, compare)
