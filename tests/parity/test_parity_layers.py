"""Every layer, cell and loss of the golden data: outputs, gradients, changed parameters, repr; eager and hybridized."""

from __future__ import annotations

from typing import Any

import pytest
import reader
from blocks import build, call
from support import array, checked, refused_too, same, same_all

import glueball as mx

TOPICS = ["layers", "recurrent", "losses", "transforms"]
CASES = [(topic, name) for topic in TOPICS for name in reader.names(topic)]
ANSWERED = [(t, c["id"]) for t in TOPICS for c in reader.load(t) if "refused" not in c]


def prepare(case: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The block with the golden parameter values, and its inputs."""
    with mx.name.NameManager():
        block = build(mx.gluon, case["spec"])
    block.initialize()
    inputs = [array(x) for x in case["inputs"]]
    call(block, inputs, case["how"])
    parameters = block._collect_params_with_prefix()
    if "params" in case:
        assert {key: p.shape for key, p in parameters.items()} == {k: v.shape for k, v in case["params"].items()}
        for key, values in case["params"].items():
            parameters[key].set_data(array(values))
    return block, inputs


def compare(case: dict[str, Any], block: Any, inputs: list[Any]) -> None:
    for x, golden in zip(inputs, case.get("grads", []), strict=False):
        if golden is not None:
            x.attach_grad()
    with mx.autograd.record(train_mode=case["train"]):
        outputs = call(block, inputs, case["how"])
    same_all(outputs, case["outputs"], "output")
    if "heads" not in case:
        return
    used = [(y, array(head)) for y, head in zip(outputs, case["heads"], strict=True) if head is not None]
    mx.autograd.backward([y for y, _ in used], [head for _, head in used], train_mode=case["train"])
    same_all([x.grad for x in inputs], case["grads"], "gradient of input")
    parameters = block._collect_params_with_prefix()
    for key, golden in case["param_grads"].items():
        same(parameters[key].grad(), golden, f"gradient of {key}")
    for key, golden in case["params"].items():
        same(parameters[key].data(), case["params_after"].get(key, golden), f"{key} after the call")


@pytest.mark.parametrize(("topic", "name"), CASES)
def test_eager(topic: str, name: str) -> None:
    case = reader.case(topic, name)

    def run() -> None:
        if "refused" in case:
            refused_too(lambda: prepare(case))
        else:
            compare(case, *prepare(case))

    checked(topic, name, run, "eager")


@pytest.mark.filterwarnings("ignore:All children of:UserWarning")
@pytest.mark.parametrize(("topic", "name"), ANSWERED)
def test_hybridized(topic: str, name: str) -> None:
    case = reader.case(topic, name)

    def run() -> None:
        block, inputs = prepare(case)
        block.hybridize()
        for _ in range(2):  # the second call runs the compiled plan
            for key, values in case["params"].items():
                block._collect_params_with_prefix()[key].set_data(array(values))
            compare(case, block, inputs)

    checked(topic, name, run, "hybridized")


@pytest.mark.parametrize(("topic", "name"), ANSWERED)
def test_repr(topic: str, name: str) -> None:
    case = reader.case(topic, name)

    def run() -> None:
        assert repr(prepare(case)[0]) == case["repr"]

    checked(topic + " repr", name, run)
