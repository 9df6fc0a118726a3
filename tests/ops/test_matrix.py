"""ONE matrix over every operator of the table and each of its samples.

The laws: the kernel is the NumPy reference · what is inferred is what comes out · the gradient rule and the eager
tape are the derivative, at orders 1 and 2 · calls that must fail do so in the stated words · every name of the table
is a function of `nd`. The machinery is in operator_matrix.py, the samples stand beneath each operator's definition.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from operator_matrix import (
    Differentiation,
    Ways,
    cases,
    expected_results,
    make_array,
    make_inputs,
    name_of,
    run,
    tensors_of,
    visible,
)
from torch.utils._python_dispatch import TorchDispatchMode

from glueball import nd, sym
from glueball.base.context import cpu
from glueball.base.errors import MXNetError
from glueball.dispatch import invoke
from glueball.ops.opdef import TABLE, OpDef, TensorType
from glueball.ops.rules.infer import complete, most_elements
from glueball.symbol.compose import compose

every_sample = pytest.mark.parametrize(("op", "index"), list(cases()), ids=name_of)


@every_sample
@pytest.mark.parametrize("float_type", ["float64", "float32"])
def test_kernel_is_the_reference(op: OpDef, index: int, float_type: str) -> None:
    sample = op.check.samples[index]
    arrays = make_inputs(sample, np.dtype(float_type))
    results = visible(op, sample, run(op, sample, tensors_of(arrays)))
    outputs = [t.numpy() if t.dtype is not torch.bfloat16 else t.float().numpy() for t in results]
    if op.check.law is not None:
        assert op.check.law(arrays, outputs, op.typed(sample.attrs))
    if isinstance(op.check.reference, str):
        return
    single = float_type == "float32"
    expected = expected_results(op, sample, arrays)
    assert len(outputs) == len(expected)
    for found, wanted in zip(outputs, expected):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(
            found.astype(np.float64),
            wanted.astype(np.float64),
            rtol=max(op.check.rtol, 2e-5 if single else 0),
            atol=max(op.check.atol, 1e-5 if single else 0),
        )


@every_sample
def test_inferred_is_real(op: OpDef, index: int) -> None:
    if op.dynamic:
        pytest.skip(op.dynamic)
    sample = op.check.samples[index]
    tensors = tensors_of(make_inputs(sample, np.float32))
    real = run(op, sample, tensors)
    types = [TensorType(tuple(t.shape), t.dtype) for t in tensors if t is not None]
    unknown = [TensorType()] * len(real)
    _, found = complete(op, op.typed(sample.attrs), types, unknown, sample.training)
    assert [(t.shape, t.dtype) for t in found] == [(tuple(t.shape), t.dtype) for t in real]


class Largest(TorchDispatchMode):
    """Notes how many elements the largest array has that a kernel makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(one, torch.Tensor):
                self.elements = max(self.elements, one.untyped_storage().nbytes() // one.element_size())
        return found


@every_sample
def test_memory_of_a_kernel_is_known_before_it_runs(op: OpDef, index: int) -> None:
    if op.dynamic or type(op.infer).__name__ == "Formula":
        pytest.skip("its shape is not asked by running it")
    sample = op.check.samples[index]
    tensors = tensors_of(make_inputs(sample, np.float32))
    types = [TensorType(tuple(t.shape), t.dtype) for t in tensors if t is not None]
    attrs = op.typed(sample.attrs)
    with Largest() as made:
        op.kernel(*tensors, **attrs, **({"training": sample.training} if op.takes_training else {}))
    assert made.elements <= 8 + 2 * most_elements(op, attrs, types)


@every_sample
def test_half_precision_is_near_or_refused(op: OpDef, index: int) -> None:
    sample = op.check.samples[index]
    halves = [t.half() if t is not None and t.dtype is torch.float64 else t for t in tensors_of(make_inputs(sample))]
    halved = [i for i, t in enumerate(halves) if t is not None and t.dtype is torch.float16]
    if op.random or not halved:
        return
    doubles = [t.double() if i in halved else t if t is None else t.clone() for i, t in enumerate(halves)]
    try:
        found = run(op, sample, halves)
    except MXNetError as error:
        assert re.search(r"type|support|implemented", str(error)), error
        return
    for ours, truth in zip(found, run(op, sample, doubles)):
        if ours.is_floating_point():
            torch.testing.assert_close(ours.double(), truth.double(), rtol=0.05, atol=0.05, equal_nan=True)


@every_sample
def test_memory_is_shared_only_when_declared(op: OpDef, index: int) -> None:
    if op.view or op.mutates:
        pytest.skip("this operator may hand out its input's memory")
    sample = op.check.samples[index]
    tensors = tensors_of(make_inputs(sample))
    typed = op.typed(sample.attrs) | ({"training": sample.training} if op.takes_training else {})
    results = op.kernel(*tensors, **typed)
    held = {t.untyped_storage().data_ptr() for t in tensors if t is not None and t.numel()}
    for result in results if isinstance(results, (tuple, list)) else [results]:
        assert not result.numel() or result.untyped_storage().data_ptr() not in held


@every_sample
def test_first_derivative(op: OpDef, index: int) -> None:
    problem = Differentiation(op, op.check.samples[index])
    if not problem.possible:
        return
    truth = problem.slope(problem.value)
    tolerance = {"rel": op.check.grad_rtol, "abs": 1e-6}
    leaves = problem.leaves()
    assert problem.along(problem.rule_gradients(leaves)) == pytest.approx(truth, **tolerance), (
        "the rule is not the derivative"
    )
    assert problem.along(problem.tape_gradients(problem.leaves())) == pytest.approx(truth, **tolerance), (
        "the eager tape is not the derivative"
    )
    for position, gradient in problem.rule_gradients(leaves).items():
        assert gradient.shape == leaves[position].shape and gradient.dtype == leaves[position].dtype


@every_sample
def test_second_derivative(op: OpDef, index: int) -> None:
    problem = Differentiation(op, op.check.samples[index])
    if not problem.possible or not op.check.second_order:
        return
    truth = problem.slope(problem.first_order_number)
    found = problem.along(problem.second_gradients())
    assert found == pytest.approx(truth, rel=max(op.check.grad_rtol, 1e-4), abs=1e-5)


def same_numbers(found: tuple, wanted: tuple, gradients: bool) -> None:
    assert len(found[0]) == len(wanted[0])
    for ours, truth in zip(found[0], wanted[0]):
        assert ours.shape == truth.shape and ours.dtype == truth.dtype
        np.testing.assert_allclose(ours, truth, rtol=1e-6, atol=1e-9)
    if gradients:
        for position, (ours, truth) in enumerate(zip(found[1], wanted[1])):
            assert ours.shape == truth.shape and ours.dtype == truth.dtype
            np.testing.assert_allclose(ours, truth, rtol=1e-6, atol=1e-9, err_msg=f"gradient of input {position}")


@every_sample
def test_bound_is_eager(op: OpDef, index: int) -> None:
    if op.dynamic:
        pytest.skip(op.dynamic)
    ways = Ways(op, op.check.samples[index])
    for training in (True, False) if op.takes_training else (True,):
        for batch, found in enumerate(ways.bound(training)):
            same_numbers(found, ways.eager(batch, training), gradients=training)


@every_sample
def test_hybridized_is_eager(op: OpDef, index: int) -> None:
    if op.dynamic:
        pytest.skip(op.dynamic)
    ways = Ways(op, op.check.samples[index])
    if not ways.batches[0]:
        return  # a block needs an array; without one, test_bound_is_eager says it all
    for batch, found in enumerate(ways.hybridized(training=True)):
        same_numbers(found, ways.eager(batch, True), gradients=True)


@every_sample
def test_files_hold_every_attribute(op: OpDef, index: int) -> None:
    sample = op.check.samples[index]
    if op.name == "_vjp":
        pytest.skip("it stands in derived gradient graphs only, which are not saved")
    given = [None if spec is None else sym.Variable(f"x{i}") for i, spec in enumerate(sample.inputs)]
    symbol = compose(op, given, sample.attrs)
    again = sym.load_json(symbol.tojson())
    node, copy = symbol._outputs[0].node, again._outputs[0].node
    assert copy.op is node.op
    assert copy.attrs == node.attrs
    assert again.list_arguments() == symbol.list_arguments()
    assert again.tojson() == symbol.tojson()


failing = [(op, i) for op in TABLE.values() for i in range(len(op.check.errors))]


@pytest.mark.parametrize(("op", "index"), failing, ids=name_of)
def test_mistakes_are_explained(op: OpDef, index: int) -> None:
    specs, attrs, pattern = op.check.errors[index]
    rng = np.random.default_rng(3)
    arrays = [make_array(spec, rng, np.float32) for spec in specs]
    inputs = [None if a is None else nd.array(a, dtype=a.dtype) for a in arrays]
    with pytest.raises(MXNetError) as caught:
        invoke(op, inputs, attrs)
    assert re.search(pattern, str(caught.value)), f"{pattern!r} is not in: {caught.value}"


@pytest.mark.parametrize(("op", "index"), failing, ids=name_of)
def test_mistakes_are_explained_in_graphs(op: OpDef, index: int) -> None:
    """Inference refuses what the kernel refuses: plans may call torch without the kernel's checks."""
    if op.dynamic or op.random:
        pytest.skip("not part of graphs, or refused for its drawn values")
    specs, attrs, pattern = op.check.errors[index]
    rng = np.random.default_rng(3)
    arrays = {f"x{i}": make_array(spec, rng, np.float32) for i, spec in enumerate(specs) if spec is not None}
    given = [None if spec is None else sym.Variable(f"x{i}") for i, spec in enumerate(specs)]
    with pytest.raises(MXNetError) as caught:
        symbol = compose(op, given, attrs)
        if set(symbol.list_arguments()) - set(arrays):
            pytest.skip("a symbol makes variables of missing inputs")
        every = {n: nd.array(a, dtype=a.dtype) for n, a in arrays.items()}
        hidden = set(symbol.list_auxiliary_states())
        args, states = ({n: a for n, a in every.items() if (n in hidden) == which} for which in (False, True))
        symbol.bind(cpu(), args, None, "null", states).forward(is_train=False)
    assert re.search(pattern, str(caught.value)), f"{pattern!r} is not in: {caught.value}"


@pytest.mark.parametrize("op", list(TABLE.values()), ids=name_of)
def test_every_name_is_in_nd(op: OpDef) -> None:
    from glueball.ndarray.generate import place

    for name in (op.name, *op.aliases):
        namespace, public = place(name)
        home = nd
        for part in filter(None, namespace.split(".")):
            home = getattr(home, part)
        assert callable(getattr(home, public))
