"""One harness for every layer: `check_layer(lambda **kw: nn.Dense(3, **kw), (2, 5), parameters={"weight": (3, 5),
"bias": (3,)})`.

The one idea: a layer is described by how it is made, the shapes of its inputs and the parameters it should have; two
dozen laws that every layer obeys follow from that. All laws are tried, and all that fail are reported together, by
name. Numbers are compared with a second road to them (hybridized, reloaded, copied, another device, finite
differences); golden results of MXNet are in tests/parity.
"""

from __future__ import annotations

import copy
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base.errors import DeferredInitializationError, MXNetError

__all__ = ["check_layer", "CHECKS", "Case"]


@dataclass(frozen=True, slots=True)
class Case:
    """What a check is told about a layer."""

    make: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    parameters: dict[str, tuple[int, ...]]
    out: tuple[int, ...] | None = None
    integers: int | None = None  # inputs are class numbers below this
    random: bool = False  # two calls in train mode differ
    skip: frozenset[str] = frozenset()
    wrong: tuple[int, ...] | None = None  # an input shape that must be refused

    def inputs(self, dtype: str = "float32", ctx: Any = None, batch: int | None = None) -> list[Any]:
        """Fresh inputs, the same at each call."""
        random = np.random.RandomState(3)
        made = []
        for shape in self.shapes:
            shape = shape if batch is None else (batch, *shape[1:])
            if self.integers is not None:
                data = random.randint(0, self.integers, shape).astype("float32")
            else:
                size = int(np.prod(shape))  # a shuffled grid: no ties for maxima, nothing near zero
                data = ((random.permutation(size) - size / 2 + 0.5) / max(size, 1) * 4).reshape(shape)
            made.append(nd.array(data, dtype=dtype if self.integers is None else "float32", ctx=ctx))
        return made

    def ready(self, dtype: str = "float32", ctx: Any = None, **kwargs: Any) -> Any:
        """An initialised layer with reproducible parameters of known shape."""
        layer = self.make(**kwargs)
        if dtype != "float32":
            layer.cast(dtype)
        layer.initialize(ctx=ctx)
        first = ctx[0] if isinstance(ctx, list) else ctx
        layer(*self.inputs(dtype, first))
        random = np.random.RandomState(5)
        for name, parameter in sorted(layer._collect_params_with_prefix().items()):
            value = random.uniform(-0.5, 0.5, parameter.shape)
            value = np.abs(value) + 0.6 if name.endswith(("var", "gamma")) else value
            parameter.set_data(nd.array(value, dtype=parameter.dtype))
        return layer


def numbers(value: Any) -> list[np.ndarray]:
    """All arrays of a result as NumPy."""
    return [np.asarray(v.asnumpy()) for v in (value if isinstance(value, (list, tuple)) else [value])]


def equal(ours: Any, theirs: Any, what: str, tolerance: float = 1e-5) -> None:
    """Two results agree in number, shape, dtype and values."""
    ours, theirs = numbers(ours), numbers(theirs)
    assert len(ours) == len(theirs), what
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape, f"{what}: shape {a.shape} is not {b.shape}"
        assert a.dtype == b.dtype, f"{what}: dtype {a.dtype} is not {b.dtype}"
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=what)


def learned(layer: Any) -> dict[str, Any]:
    """Structural name -> parameter, for those that take gradients."""
    return {k: p for k, p in layer._collect_params_with_prefix().items() if p.grad_req != "null"}


def step(case: Case, layer: Any, inputs: list[Any]) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Outputs in train mode, and gradients of inputs and parameters for fixed head gradients."""
    if case.integers is None:
        for x in inputs:
            x.attach_grad()
    with autograd.record():
        out = layer(*inputs)
        total = (
            out * nd.array(np.random.RandomState(11).uniform(-1, 1, out.shape), dtype=out.dtype, ctx=out.context)
        ).sum()
    total.backward()
    grads = {f"input{i}": x.grad.asnumpy() for i, x in enumerate(inputs) if case.integers is None}
    grads.update({k: p.grad(out.context).asnumpy() for k, p in learned(layer).items()})
    return numbers(out), grads


# -------------------------------------------------------------------------------------------------------------------
# parameters and names
def check_parameters_have_the_stated_shapes(case: Case) -> None:
    layer = case.make()
    layer.initialize()
    layer(*case.inputs())
    assert {k: tuple(p.shape) for k, p in layer._collect_params_with_prefix().items()} == case.parameters


def check_unknown_sizes_are_zero_and_deferred(case: Case) -> None:
    layer = case.make()
    layer.initialize()
    for name, parameter in layer._collect_params_with_prefix().items():
        if 0 in parameter.shape:
            assert all(a in (0, b) for a, b in zip(parameter.shape, case.parameters[name]))
            try:
                parameter.data()
            except DeferredInitializationError:
                continue
            raise AssertionError(f"{name} has data before its shape is known")


def check_names_start_with_the_prefix(case: Case) -> None:
    for kwargs in ({}, {"prefix": "mine_"}):
        layer = case.make(**kwargs)
        assert not kwargs or layer.prefix == "mine_"
        names = list(layer.collect_params().keys())
        assert all(name.startswith(layer.prefix) for name in names), names
        assert len(set(names)) == len(case.parameters)


def check_repr_names_the_class_and_stays_readable(case: Case) -> None:
    layer = case.make()
    before = repr(layer)
    layer.initialize()
    layer(*case.inputs())
    assert before.startswith(type(layer).__name__ + "(") or before == type(layer).__name__
    assert repr(layer).startswith(type(layer).__name__)


def check_shared_parameters_are_the_same_objects(case: Case) -> None:
    if not case.parameters:
        return
    first = case.ready()
    second = case.make(params=first.params)
    assert list(second.collect_params().values()) == list(first.collect_params().values())
    equal(second(*case.inputs()), first(*case.inputs()), "shared")


def check_initialize_again_changes_only_when_forced(case: Case) -> None:
    if not case.parameters:
        return
    layer = case.ready()
    before = {k: p.data().asnumpy() for k, p in layer._collect_params_with_prefix().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer.initialize()
    for k, p in layer._collect_params_with_prefix().items():
        np.testing.assert_array_equal(p.data().asnumpy(), before[k])
    layer.initialize(force_reinit=True)
    assert any((p.data().asnumpy() != before[k]).any() for k, p in layer._collect_params_with_prefix().items())


def check_a_copy_is_equal_and_independent(case: Case) -> None:
    layer = case.ready()
    twin = copy.deepcopy(layer)
    equal(twin(*case.inputs()), layer(*case.inputs()), "copy")
    for k, p in twin._collect_params_with_prefix().items():
        before = layer._collect_params_with_prefix()[k].data().asnumpy()
        p.set_data(p.data() + 1)
        np.testing.assert_array_equal(layer._collect_params_with_prefix()[k].data().asnumpy(), before)


# -------------------------------------------------------------------------------------------------------------------
# results
def check_output_has_the_stated_shape(case: Case) -> None:
    out = case.ready()(*case.inputs())
    assert case.out is None or out.shape == case.out, out.shape
    assert out.dtype == np.float32


def check_hybridized_equals_eager_in_predict_mode(case: Case) -> None:
    eager, hybrid = case.ready(), case.ready()
    if not isinstance(hybrid, gluon.HybridBlock):
        return
    hybrid.hybridize()
    expected = eager(*case.inputs())
    equal(hybrid(*case.inputs()), expected, "first call")
    equal(hybrid(*case.inputs()), expected, "second call")


def check_hybridized_equals_eager_in_train_mode(case: Case) -> None:
    if case.random:
        return
    eager, hybrid = case.ready(), case.ready()
    if not isinstance(hybrid, gluon.HybridBlock):
        return
    hybrid.hybridize()
    for call in ("first", "second"):
        out, grads = step(case, eager, case.inputs())
        out2, grads2 = step(case, hybrid, case.inputs())
        np.testing.assert_allclose(out2[0], out[0], rtol=1e-4, atol=1e-5, err_msg=f"{call} call")
        assert grads2.keys() == grads.keys()
        for key, value in grads.items():
            np.testing.assert_allclose(
                grads2[key], value, rtol=1e-4, atol=2e-5, err_msg=f"{call} call, gradient of {key}"
            )
    for k, p in eager._collect_params_with_prefix().items():
        np.testing.assert_allclose(
            hybrid._collect_params_with_prefix()[k].data().asnumpy(),
            p.data().asnumpy(),
            rtol=1e-4,
            atol=1e-5,
            err_msg=f"{k} after two calls",
        )


def check_hybridized_before_the_first_call(case: Case) -> None:
    for recording in (False, True):
        layer = case.make()
        layer.initialize()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Sequential advises HybridSequential
            layer.hybridize()
        with autograd.record(train_mode=False) if recording else autograd.pause():
            out = layer(*case.inputs())
        assert {k: tuple(p.shape) for k, p in layer._collect_params_with_prefix().items()} == case.parameters
        layer.hybridize(False)
        equal(layer(*case.inputs()), out, "compiled first, then eager")


def check_gradients_of_gradients_agree_with_finite_differences(case: Case) -> None:
    if case.random or case.integers is not None:
        return
    layer, inputs = case.ready("float64"), case.inputs("float64")
    random = np.random.RandomState(17)
    heads = nd.array(random.uniform(-1, 1, layer(*inputs).shape), dtype="float64")
    weights = nd.array(random.uniform(-1, 1, inputs[0].shape), dtype="float64")
    x = inputs[0]
    x.attach_grad()

    def slope() -> Any:
        with autograd.record():
            first = autograd.grad((layer(*inputs) * heads).sum(), [x], create_graph=True, retain_graph=True)[0]
            return (first * weights).sum() + (x * 0).sum()

    total = slope()
    total.backward()
    second, values, epsilon = x.grad.asnumpy(), x.asnumpy(), 1e-5
    direction = random.standard_normal(values.shape)
    found = []
    for sign in (1, -1):
        x[:] = nd.array(values + sign * epsilon * direction, dtype="float64")
        found.append(float(slope().asscalar()))
    expected = (found[0] - found[1]) / (2 * epsilon)
    np.testing.assert_allclose((second * direction).sum(), expected, rtol=1e-3, atol=1e-5)


def check_hybridized_follows_new_shapes(case: Case) -> None:
    eager, hybrid = case.ready(), case.ready()
    if not isinstance(hybrid, gluon.HybridBlock):
        return
    hybrid.hybridize()
    hybrid(*case.inputs())
    batch = case.shapes[0][0] + 1
    equal(hybrid(*case.inputs(batch=batch)), eager(*case.inputs(batch=batch)), "another batch size")


def check_gradients_agree_with_finite_differences(case: Case) -> None:
    if case.random:
        return
    layer, inputs = case.ready("float64"), case.inputs("float64")
    parameters = learned(layer)
    _, grads = step(case, layer, inputs)

    def total() -> float:
        with autograd.record():
            out = layer(*inputs)
        head = np.random.RandomState(11).uniform(-1, 1, out.shape).astype(out.dtype)
        return float((out.asnumpy() * head).sum())

    random, epsilon = np.random.RandomState(13), 1e-6
    holders = {f"input{i}": x for i, x in enumerate(inputs) if case.integers is None}
    for key in grads:
        values = holders[key].asnumpy() if key in holders else parameters[key].data().asnumpy()
        direction = random.standard_normal(values.shape)
        found = []
        for sign in (1, -1):
            moved = values + sign * epsilon * direction
            if key in holders:
                holders[key][:] = nd.array(moved, dtype=moved.dtype)
            else:
                parameters[key].set_data(nd.array(moved, dtype=values.dtype))
            found.append(total())
        if key in holders:
            holders[key][:] = nd.array(values, dtype=values.dtype)
        else:
            parameters[key].set_data(nd.array(values, dtype=values.dtype))
        slope = (found[0] - found[1]) / (2 * epsilon)
        np.testing.assert_allclose(
            (grads[key] * direction).sum(), slope, rtol=2e-4, atol=1e-6, err_msg=f"gradient of {key}"
        )


def check_gradients_add_up_or_are_off_as_asked(case: Case) -> None:
    layer = case.ready()
    if not learned(layer) or case.random:
        return
    inputs = case.inputs()
    if case.integers is None:
        for x in inputs:
            x.attach_grad()
    wanted = list(learned(layer))
    _, once = step(case, layer, case.inputs())
    everything = layer._collect_params_with_prefix()
    for key in wanted:
        everything[key].grad_req = "add"
        everything[key].zero_grad()
    step(case, layer, case.inputs())
    _, twice = step(case, layer, case.inputs())
    for key in wanted:
        np.testing.assert_allclose(twice[key], 2 * once[key], rtol=1e-3, atol=1e-4, err_msg=key)
        everything[key].grad_req = "null"
        try:
            everything[key].grad()
        except (RuntimeError, MXNetError):
            continue
        raise AssertionError(f"{key} has a gradient array although grad_req is null")
    if case.integers is None:
        step(case, layer, case.inputs())


def check_nothing_is_recorded_outside_of_record(case: Case) -> None:
    out = case.ready()(*case.inputs())
    try:
        out.backward()
    except MXNetError:
        return
    raise AssertionError("backward() works on a result that was not recorded")


def check_numpy_arrays_are_taken(case: Case) -> None:
    layer = case.ready()
    equal(layer(*[x.asnumpy() for x in case.inputs()]), layer(*case.inputs()), "NumPy input")


def check_an_empty_batch_gives_an_empty_result(case: Case) -> None:
    layer = case.ready()
    out, expected = layer(*case.inputs(batch=0)), layer(*case.inputs())
    assert out.shape == (0, *expected.shape[1:]), out.shape


def check_half_and_double_precision(case: Case) -> None:
    expected = case.ready()(*case.inputs()).asnumpy()
    for dtype, tolerance in (("float64", 1e-4), ("float16", 2e-2)):
        out = case.ready(dtype)(*case.inputs(dtype))
        assert out.dtype == np.dtype(dtype), f"{dtype} gives {out.dtype}"
        np.testing.assert_allclose(
            out.asnumpy().astype("float64"), expected, rtol=tolerance, atol=tolerance, err_msg=dtype
        )


def check_symbols_tell_the_shape(case: Case) -> None:
    layer = case.ready()
    if not isinstance(layer, gluon.HybridBlock):
        return
    names = [f"data{i}" for i in range(len(case.shapes))]
    symbol = layer(*[mx.sym.var(name) for name in names])
    _, shapes, _ = symbol.infer_shape(**dict(zip(names, case.shapes)))
    assert tuple(shapes[0]) == layer(*case.inputs()).shape


def check_hooks_see_inputs_and_output(case: Case) -> None:
    layer, seen = case.ready(), []
    before = layer.register_forward_pre_hook(lambda block, inputs: seen.append(len(inputs)))
    after = layer.register_forward_hook(lambda block, inputs, output: seen.append(output.shape))
    out = layer(*case.inputs())
    assert seen == [len(case.shapes), out.shape]
    before.detach()
    after.detach()
    layer(*case.inputs())
    assert len(seen) == 2


def check_a_wrong_rank_is_refused_by_name(case: Case) -> None:
    if case.wrong is None:
        return
    layer = case.make()
    layer.initialize()
    data = nd.ones(case.wrong)
    try:
        layer(data).wait_to_read()
    except MXNetError as error:
        text = str(error)
        assert layer.name in text or type(layer).__name__ in text, (
            f"the message does not name the layer {layer.name}:\n{text}"
        )
        assert str(tuple(case.wrong)) in text, f"the message does not show the shape {case.wrong}:\n{text}"
        return
    raise AssertionError(f"an input of shape {case.wrong} is taken")


def check_as_a_torch_module_it_is_the_same(case: Case) -> None:
    layer, twin = case.ready(), case.ready()
    module = twin.to_torch()
    assert list(module.state_dict(keep_vars=True)) == list(twin._collect_params_with_prefix())
    tensors = [x.to_torch() for x in case.inputs()]
    np.testing.assert_allclose(module.eval()(*tensors).detach().numpy(), layer(*case.inputs()).asnumpy(), rtol=1e-5)
    if case.random:
        return
    out, grads = step(case, layer, case.inputs())
    tensors = [t.requires_grad_() if case.integers is None else t for t in tensors]
    found = module.train()(*tensors)
    head = np.random.RandomState(11).uniform(-1, 1, found.shape)
    (found * nd.array(head, dtype=case.inputs()[0].dtype).to_torch()).sum().backward()
    np.testing.assert_allclose(found.detach().numpy(), out[0], rtol=1e-5, atol=1e-6)
    theirs = {f"input{i}": t.grad for i, t in enumerate(tensors) if case.integers is None}
    theirs.update({name: p.grad for name, p in module.named_parameters(remove_duplicate=False) if p.requires_grad})
    assert theirs.keys() == grads.keys()
    for key, value in grads.items():
        gradient = np.zeros_like(value) if theirs[key] is None else theirs[key].numpy()
        np.testing.assert_allclose(gradient, value, rtol=1e-4, atol=1e-5, err_msg=key)


# -------------------------------------------------------------------------------------------------------------------
# files and devices
def check_parameters_survive_a_file(case: Case) -> None:
    layer = case.ready()
    expected = layer(*case.inputs())
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "layer.params")
        layer.save_parameters(path)
        fresh = case.make()
        fresh.load_parameters(path)
        equal(fresh(*case.inputs()), expected, "loaded")
        again = case.ready()
        again.initialize(force_reinit=True)
        again.load_parameters(path)
        equal(again(*case.inputs()), expected, "loaded over other values")


def check_an_exported_graph_gives_the_same_numbers(case: Case) -> None:
    layer = case.ready()
    if not isinstance(layer, gluon.HybridBlock):
        return
    expected = layer(*case.inputs())
    layer.hybridize()
    layer(*case.inputs())
    names = ["data"] if len(case.shapes) == 1 else [f"data{i}" for i in range(len(case.shapes))]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "layer")
        layer.export(path, epoch=3)
        loaded = gluon.SymbolBlock.imports(path + "-symbol.json", names, path + "-0003.params")
    equal(loaded(*case.inputs()), expected, "imported")


def check_another_device_gives_the_same_numbers(case: Case) -> None:
    layer = case.ready()
    expected = layer(*case.inputs())
    layer.reset_ctx(mx.cpu(1))
    out = layer(*case.inputs(ctx=mx.cpu(1)))
    assert out.context == mx.cpu(1)
    equal(out, expected, "cpu(1)")
    if case.parameters:
        try:
            layer(*case.inputs())
        except MXNetError:
            return
        raise AssertionError("parameters on cpu(1) are used with data on cpu(0)")


def check_two_devices_hold_the_same_parameters(case: Case) -> None:
    layer = case.ready(ctx=[mx.cpu(0), mx.cpu(1)])
    equal(layer(*case.inputs(ctx=mx.cpu(1))), layer(*case.inputs(ctx=mx.cpu(0))), "two devices")


def check_exported_to_onnx_computes_the_same(case: Case) -> None:
    layer = case.ready()
    if not isinstance(layer, gluon.HybridBlock):
        return
    with tempfile.TemporaryDirectory() as folder:  # export runs the file beside the layer, with two batch sizes
        layer.export(os.path.join(folder, "layer"), format="onnx", inputs=case.inputs())


CHECKS = {
    name.removeprefix("check_"): function
    for name, function in sorted(globals().items())
    if name.startswith("check_") and callable(function)
}


def check_layer(
    make: Callable[..., Any],
    *shapes: tuple[int, ...],
    parameters: dict[str, tuple[int, ...]] | None = None,
    skip: Sequence[str] = (),
    **facts: Any,
) -> None:
    """Try every law on a layer.

    Parameters
    ----------
    make : ``make(**kwargs)`` returns a fresh layer; kwargs are `prefix` and `params`
    shapes : shape of each input, the batch first
    parameters : structural name -> shape, all of them, after the first call
    skip : names of laws that cannot hold, for a reason that stands beside the call
    facts : further fields of `Case`

    Raises
    ------
    AssertionError
        Some law fails; the message lists each with its reason.
    """
    unknown = set(skip) - CHECKS.keys()
    assert not unknown, f"no such laws: {sorted(unknown)}"
    case = Case(make, tuple(shapes), parameters or {}, skip=frozenset(skip), **facts)
    failed = []
    for name, check in CHECKS.items():
        if name in case.skip:
            continue
        try:
            check(case)
        except Exception as error:
            failed.append(f"- {name.replace('_', ' ')}: {type(error).__name__}: {error}")
    if failed:
        raise AssertionError(f"{make()!r}\n" + "\n".join(failed))
