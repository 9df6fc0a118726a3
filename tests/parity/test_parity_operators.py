"""Every operator case of the golden data: eager call with gradient, and the same through Symbol and executor."""

from __future__ import annotations

from typing import Any

import pytest
import reader
from support import array, attributes, checked, refused_too, resolve, same, same_all

import glueball as mx

TOPICS = [
    "ops_math",
    "ops_reduce",
    "ops_scalar",
    "ops_shape",
    "ops_index",
    "ops_nn",
    "ops_rnn",
    "ops_vision",
    "ops_linalg",
]
CASES = [(topic, name) for topic in TOPICS for name in reader.names(topic)]
SYMBOLIC = [(t, c["id"]) for t in TOPICS for c in reader.load(t) if c["symbolic"] and "refused" not in c]
IDS = {"ids": lambda value: str(value)}


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def call(case: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Run eagerly, gradients included; returns inputs and outputs."""
    inputs = [array(x) for x in case["inputs"]]
    for x, wanted in zip(inputs, case.get("grads", []), strict=False):
        if wanted is not None:
            x.attach_grad()
    args = (inputs,) if case.get("listed") else tuple(inputs)
    more = {"out": [inputs[k] for k in case["out"]]} if "out" in case else {}
    mode = mx.autograd.train_mode if case["train"] else mx.autograd.predict_mode
    with mx.autograd.record(train_mode=case["train"]) if "grads" in case else mode():
        result = resolve(mx.nd, case["op"])(*args, **attributes(case), **more)
    outputs = listed(result)
    [y.asnumpy() for y in outputs]
    if "grads" in case:
        used = [(y, array(h)) for y, h in zip(outputs, case["heads"], strict=True) if h is not None]
        mx.autograd.backward([y for y, _ in used], [h for _, h in used], train_mode=case["train"])
    return inputs, outputs


@pytest.mark.parametrize(("topic", "name"), CASES, **IDS)
def test_eager(topic: str, name: str) -> None:
    case = reader.case(topic, name)

    def compare() -> None:
        if "refused" in case:
            resolve(mx.nd, case["op"])  # an operator that is not there has not refused
            refused_too(lambda: call(case))
            return
        inputs, outputs = call(case)
        same_all(outputs, case["outputs"], "output")
        for number, golden in enumerate(case.get("grads", [])):
            if golden is not None:
                same(inputs[number].grad, golden, f"gradient of input {number}")
        for number, golden in case.get("inputs_after", {}).items():
            same(inputs[int(number)], golden, f"input {number} after the call")

    checked(topic, name, compare, "eager")


@pytest.mark.parametrize(("topic", "name"), SYMBOLIC, **IDS)
def test_symbolic(topic: str, name: str) -> None:
    case = reader.case(topic, name)

    def compare() -> None:
        variables = [mx.sym.Variable(f"in{k}") for k in range(len(case["inputs"]))]
        symbol = resolve(mx.sym, case["op"])(*variables, **attributes(case))
        values = {f"in{k}": array(x) for k, x in enumerate(case["inputs"])}
        auxiliary = {key: values.pop(key) for key in symbol.list_auxiliary_states()}
        grads = {
            f"in{k}": mx.nd.zeros(g.shape, dtype=g.dtype) for k, g in enumerate(case.get("grads", [])) if g is not None
        }
        executor = symbol.bind(mx.cpu(), args=values, args_grad=grads, aux_states=auxiliary)
        executor.forward(is_train=case["train"])
        same_all(executor.outputs[: len(case["outputs"])], case["outputs"], "output")
        if "grads" in case and case["train"]:
            zeros = [mx.nd.zeros(y.shape, dtype=y.dtype) for y in executor.outputs]
            heads = [z if h is None else array(h) for z, h in zip(zeros, case["heads"], strict=False)]
            executor.backward(heads + zeros[len(heads) :])
            for number, golden in enumerate(case["grads"]):
                if golden is not None:
                    same(grads[f"in{number}"], golden, f"gradient of input {number}")

    checked(topic, name, compare, "symbolic")
