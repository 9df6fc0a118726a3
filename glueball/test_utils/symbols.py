"""Checks of whole symbols and blocks: forward and backward values, numeric gradients, agreement between devices, speed.

The one idea: a symbol is bound to given arrays with `bind`, run once, and compared with `assert_almost_equal`.
Locations are given as a dictionary by name or as a list in the order of `list_arguments`. Tolerances are in compare.py,
random material in samples.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import autograd
from .. import ndarray as nd
from ..base.context import Context, current_context
from ..base.errors import ArgumentError, explain
from ..ndarray import NDArray
from .compare import Tolerance, assert_almost_equal, default_numeric_eps
from .samples import rand_ndarray

__all__ = [
    "check_consistency",
    "check_gluon_hybridize_consistency",
    "check_numeric_gradient",
    "check_speed",
    "check_symbolic_backward",
    "check_symbolic_forward",
    "compare_optimizer",
    "numeric_grad",
    "same_symbol_structure",
    "simple_forward",
]

Arrays = dict[str, Any] | Sequence[Any]


def _to_ndarray(value: Any, ctx: Context, dtype: Any) -> NDArray:
    if isinstance(value, NDArray):
        return value.as_in_context(ctx)
    array = np.asarray(value)
    return nd.array(array, ctx=ctx, dtype=dtype if array.dtype.kind == "f" else array.dtype)


def _by_name(
    values: Arrays, names: Sequence[str], what: str, ctx: Context, dtype: Any, complete: bool = True
) -> dict[str, NDArray]:
    """Return `values` as a dictionary of NDArrays on `ctx`; raise when its names are not `names`."""
    found = values if isinstance(values, dict) else dict(zip(names, values, strict=False))
    wrong = set(found) ^ set(names) if complete else set(found) - set(names)
    if wrong or (not isinstance(values, dict) and len(values) > len(names)):
        raise ArgumentError(
            explain(
                f"check of a symbol: {what}",
                "Names of arrays and names in the symbol differ.",
                expected=sorted(names),
                received=sorted(found),
                fix="Give one array for each name.",
            )
        )
    return {name: _to_ndarray(value, ctx, dtype) for name, value in found.items()}


def _aux_states(sym: Any, aux_states: Arrays | None, ctx: Context, dtype: Any) -> dict[str, NDArray] | None:
    names = sym.list_auxiliary_states()
    if aux_states is None:
        return None
    return _by_name(aux_states, names, "aux_states", ctx, dtype)


def _grad_reqs(grad_req: str | dict[str, str] | Sequence[str], names: Sequence[str]) -> dict[str, str]:
    if isinstance(grad_req, str):
        return dict.fromkeys(names, grad_req)
    return dict(grad_req) if isinstance(grad_req, dict) else dict(zip(names, grad_req, strict=True))


def simple_forward(sym: Any, ctx: Context | None = None, is_train: bool = False, **inputs: Any) -> Any:
    """Bind `sym` to arrays given by name, run it forward, and return its outputs as NumPy arrays (one is not wrapped in
    a list).
    """
    ctx = ctx or current_context()
    executor = sym.bind(ctx, args={name: _to_ndarray(value, ctx, np.float32) for name, value in inputs.items()})
    executor.forward(is_train=is_train)
    outputs = [output.asnumpy() for output in executor.outputs]
    return outputs[0] if len(outputs) == 1 else outputs


def check_symbolic_forward(
    sym: Any,
    location: Arrays,
    expected: Arrays,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    aux_states: Arrays | None = None,
    ctx: Context | None = None,
    equal_nan: bool = False,
    dtype: Any = np.float32,
) -> list[NDArray]:
    """Run `sym` forward at `location` and compare its outputs with `expected`; return the outputs."""
    ctx = ctx or current_context()
    arguments = _by_name(location, sym.list_arguments(), "location", ctx, dtype)
    executor = sym.bind(ctx, args=arguments, aux_states=_aux_states(sym, aux_states, ctx, dtype))
    executor.forward(is_train=False)
    names = sym.list_outputs()
    wanted = expected if isinstance(expected, dict) else dict(zip(names, expected, strict=True))
    for name, output in zip(names, executor.outputs, strict=True):
        if name in wanted:
            assert_almost_equal(
                wanted[name], output, rtol, atol, (f"EXPECTED_{name}", f"FORWARD_{name}"), equal_nan=equal_nan
            )
    return list(executor.outputs)


def check_symbolic_backward(
    sym: Any,
    location: Arrays,
    out_grads: Any,
    expected: Arrays,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    aux_states: Arrays | None = None,
    grad_req: Any = "write",
    ctx: Context | None = None,
    grad_stypes: dict[str, str] | None = None,
    equal_nan: bool = False,
    dtype: Any = np.float32,
) -> dict[str, NDArray]:
    """Run `sym` forward and backward and compare its gradients with `expected`; return the gradients.

    With ``grad_req="add"`` the gradient arrays start at random values, and `expected` is compared with what was added.
    """
    ctx = ctx or current_context()
    names = sym.list_arguments()
    arguments = _by_name(location, names, "location", ctx, dtype)
    wanted = expected if isinstance(expected, dict) else dict(zip(names, expected, strict=True))
    requests = {name: request if name in wanted else "null" for name, request in _grad_reqs(grad_req, names).items()}
    before = {name: np.random.normal(size=arguments[name].shape) for name in wanted}
    gradients = {name: nd.array(before[name], ctx=ctx, dtype=arguments[name].dtype) for name in wanted}
    executor = sym.bind(
        ctx, args=arguments, args_grad=gradients, grad_req=requests, aux_states=_aux_states(sym, aux_states, ctx, dtype)
    )
    executor.forward(is_train=True)
    heads = _head_gradients(out_grads, sym.list_outputs(), ctx, dtype)
    executor.backward(heads)
    for name in wanted:
        got = gradients[name].asnumpy()
        request = requests[name]
        start = before[name].astype(got.dtype)
        found = {"write": got, "add": got - start, "null": start}[request]
        compared = start if request == "null" else wanted[name]
        assert_almost_equal(compared, found, rtol, atol, (f"EXPECTED_{name}", f"BACKWARD_{name}"), equal_nan=equal_nan)
    return dict(executor.grad_dict)


def _head_gradients(out_grads: Any, names: Sequence[str], ctx: Context, dtype: Any) -> list[NDArray] | None:
    if out_grads is None:
        return None
    if isinstance(out_grads, dict):
        out_grads = [out_grads[name] for name in names]
    elif isinstance(out_grads, (NDArray, np.ndarray)):
        out_grads = [out_grads]
    return [_to_ndarray(value, ctx, dtype) for value in out_grads]


def numeric_grad(
    executor: Any,
    location: dict[str, Any],
    aux_states: dict[str, Any] | None = None,
    eps: float = 1e-4,
    use_forward_train: bool = True,
    dtype: Any = np.float32,
    heads: Sequence[np.ndarray[Any, Any]] | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the gradient of the sum of a bound symbol's outputs by central differences.

    Parameters
    ----------
    executor : Executor
        A bound symbol; its argument arrays are changed and put back.
    location : dict of str to array
        Where to differentiate, and with respect to which arguments.
    eps : float
        The distance between the two points of a difference.
    heads : list of numpy.ndarray, optional
        Weights of the outputs' elements in the sum; ones by default.
    """

    def total() -> float:
        for name, value in (aux_states or {}).items():
            executor.aux_dict[name][:] = value
        executor.forward(is_train=use_forward_train)
        outputs = [output.asnumpy().astype(np.float64) for output in executor.outputs]
        weights = heads if heads is not None else [np.ones_like(output) for output in outputs]
        return float(sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True)))

    gradients = {}
    for name, start in location.items():
        start = np.asarray(start.asnumpy() if isinstance(start, NDArray) else start, dtype=dtype)
        slope = np.zeros(start.shape, dtype=dtype)
        if start.dtype.kind == "f":
            for index in np.ndindex(start.shape):
                ends = []
                for sign in (0.5, -0.5):
                    moved = start.copy()
                    moved[index] += sign * eps
                    executor.arg_dict[name][:] = moved
                    ends.append(total())
                slope[index] = (ends[0] - ends[1]) / eps
            executor.arg_dict[name][:] = start
        gradients[name] = slope
    return gradients


def check_numeric_gradient(
    sym: Any,
    location: Arrays,
    aux_states: Arrays | None = None,
    numeric_eps: float | None = None,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    grad_nodes: Any = None,
    use_forward_train: bool = True,
    ctx: Context | None = None,
    grad_stype_dict: dict[str, str] | None = None,
    dtype: Any = np.float32,
) -> None:
    """Compare the gradients of `sym` with central differences of a random weighted sum of its outputs.

    Parameters
    ----------
    sym : Symbol
    location : dict or list of arrays
        The arguments' values.
    grad_nodes : list of str or dict of str to grad_req, optional
        The arguments whose gradients are compared; all by default.
    numeric_eps : float, optional
        The distance between the two points of a difference; by default a power of two that suits `dtype`.

    Raises
    ------
    AssertionError
        Names the argument and the elements that disagree.
    """
    ctx = ctx or current_context()
    names = sym.list_arguments()
    arguments = _by_name(location, names, "location", ctx, dtype)
    auxiliary = _aux_states(sym, aux_states, ctx, dtype)
    start_aux = {name: value.asnumpy() for name, value in (auxiliary or {}).items()}
    wanted = (
        dict(grad_nodes)
        if isinstance(grad_nodes, dict)
        else dict.fromkeys(names if grad_nodes is None else grad_nodes, "write")
    )
    requests = {name: wanted.get(name, "null") for name in names}
    before = {name: np.random.normal(size=arguments[name].shape).astype(dtype) for name in wanted}
    gradients = {name: nd.array(before[name], ctx=ctx, dtype=dtype) for name in wanted}
    executor = sym.bind(ctx, args=arguments, args_grad=gradients, grad_req=requests, aux_states=auxiliary)
    executor.forward(is_train=True)
    heads = [np.random.rand(*output.shape).astype(np.float64) + 0.1 for output in executor.outputs]
    executor.backward([nd.array(head, ctx=ctx, dtype=dtype) for head in heads])
    found = {name: gradients[name].asnumpy() for name in wanted}
    eps = default_numeric_eps()[np.dtype(dtype)] if numeric_eps is None else numeric_eps
    at = {name: arguments[name].asnumpy() for name in wanted if requests[name] != "null"}
    slopes = numeric_grad(executor, at, start_aux, eps, use_forward_train, dtype, heads)
    for name, request in wanted.items():
        expected = {"write": slopes.get(name), "add": before[name] + slopes.get(name, 0), "null": before[name]}[request]
        assert_almost_equal(expected, found[name], rtol, atol, (f"NUMERICAL_{name}", f"BACKWARD_{name}"))


def check_consistency(
    sym: Any,
    ctx_list: Sequence[dict[str, Any]],
    scale: float = 1.0,
    grad_req: Any = "write",
    arg_params: dict[str, Any] | None = None,
    aux_params: dict[str, Any] | None = None,
    rtol: Tolerance = None,
    atol: Tolerance = None,
    raise_on_err: bool = True,
    ground_truth: dict[str, Any] | None = None,
    equal_nan: bool = False,
    use_uniform: bool = False,
    rand_type: Any = np.float64,
) -> dict[str, NDArray]:
    """Run a symbol on several contexts and dtypes with the same numbers and compare outputs and gradients.

    Parameters
    ----------
    sym : Symbol or list of Symbol
    ctx_list : list of dict
        For each run ``{"ctx": cpu(0), "data": (2, 3), "type_dict": {"data": "float32"}}``.

    Returns
    -------
    dict
        Outputs and gradients of the run with the finest dtype, which the others are compared with.
    """
    symbols = list(sym) if isinstance(sym, (list, tuple)) else [sym] * len(ctx_list)
    runs = [_bound(each, dict(options), grad_req) for each, options in zip(symbols, ctx_list, strict=True)]
    material: dict[str, np.ndarray[Any, Any]] = dict(arg_params or {})
    for name, array in runs[0].arg_dict.items():
        if name not in material:
            draw = (
                np.random.uniform(-scale, scale, array.shape)
                if use_uniform
                else np.random.normal(0, scale, array.shape)
            )
            material[name] = draw.astype(rand_type)
    heads = [np.random.normal(size=output.shape) for output in _forward(runs[0], material, aux_params, grad_req)]
    results = [_outputs_and_gradients(run, material, aux_params, grad_req, heads) for run in runs]
    finest = max(range(len(results)), key=lambda index: np.dtype(next(iter(results[index].values())).dtype).itemsize)
    truth: dict[str, NDArray] = ground_truth if ground_truth is not None else results[finest]
    for number, result in enumerate(results):
        for name, value in result.items():
            try:
                if number != finest or ground_truth is not None:
                    assert_almost_equal(
                        value,
                        truth[name].asnumpy().astype(np.dtype(value.dtype)),
                        rtol,
                        atol,
                        (f"{ctx_list[number]['ctx']}_{name}", f"TRUTH_{name}"),
                        equal_nan=equal_nan,
                    )
            except AssertionError as error:
                if raise_on_err:
                    raise
                print(f"check_consistency, run {number}: {error}")  # noqa: T201 - asked for by raise_on_err=False
    return truth


def _bound(sym: Any, options: dict[str, Any], grad_req: Any) -> Any:
    ctx, types = options.pop("ctx"), options.pop("type_dict", None)
    return sym.simple_bind(ctx=ctx, grad_req=grad_req, type_dict=types, **options)


def _forward(
    executor: Any, material: dict[str, Any], aux_params: dict[str, Any] | None, grad_req: Any
) -> list[NDArray]:
    for name, array in executor.arg_dict.items():
        array[:] = np.asarray(material[name], dtype=array.dtype)
    for name, array in executor.aux_dict.items():
        array[:] = (aux_params or {}).get(name, 0)
    executor.forward(is_train=grad_req != "null")
    return list(executor.outputs)


def _outputs_and_gradients(
    executor: Any,
    material: dict[str, Any],
    aux_params: dict[str, Any] | None,
    grad_req: Any,
    heads: list[np.ndarray[Any, Any]],
) -> dict[str, NDArray]:
    outputs = _forward(executor, material, aux_params, grad_req)
    names = (
        executor._symbol.list_outputs()
        if hasattr(executor, "_symbol")
        else [f"output{index}" for index in range(len(outputs))]
    )
    result = {name: output.copy() for name, output in zip(names, outputs, strict=True)}
    if grad_req != "null":
        executor.backward(
            [
                nd.array(head, ctx=output.context, dtype=output.dtype)
                for head, output in zip(heads, outputs, strict=True)
            ]
        )
        result.update({name: gradient.copy() for name, gradient in executor.grad_dict.items() if gradient is not None})
    return result


def check_gluon_hybridize_consistency(
    net_builder: Callable[..., Any],
    data_l: Sequence[Any],
    numpy_func: Callable[..., Any] | None = None,
    test_grad: bool = True,
    rtol: Tolerance = 1e-4,
    atol: Tolerance = 1e-4,
) -> None:
    """Build a block twice, hybridize one, and compare outputs and gradients; compare with a NumPy function too when
    given.

    `net_builder` is called with ``prefix=``, so that both blocks have the same names.
    """
    inputs = [value if isinstance(value, NDArray) else nd.array(value) for value in data_l]
    reference: dict[str, np.ndarray[Any, Any]] | None = None
    saved: dict[str, NDArray] = {}
    for hybridize in (False, True):
        net = net_builder(prefix="glueball_test_")
        net.initialize()
        if hybridize:
            net.hybridize()
        net(*inputs)  # fills deferred shapes
        for name, parameter in net.collect_params().items():
            if name in saved:
                parameter.set_data(saved[name])
            else:
                saved[name] = parameter.data().copy()
        result = _run_block(net, [value.copy() for value in inputs], test_grad)
        if numpy_func is not None:
            assert_almost_equal(
                result["output"], numpy_func(*[value.asnumpy() for value in inputs]), rtol=rtol, atol=atol
            )
        for name, value in (reference or {}).items():
            assert_almost_equal(
                result[name], value, rtol=rtol, atol=atol, names=(f"hybridized {name}", f"imperative {name}")
            )
        reference = result


def _run_block(net: Any, inputs: list[Any], test_grad: bool) -> dict[str, np.ndarray[Any, Any]]:
    """Return the output of a block and, when asked, the gradients of its inputs and parameters."""
    for value in inputs:
        value.attach_grad()
    with autograd.record(train_mode=True):
        output = net(*inputs)
    result = {"output": output.asnumpy()}
    if test_grad:
        output.backward()
        result.update({f"gradient of input {index}": value.grad.asnumpy() for index, value in enumerate(inputs)})
        result.update(
            {
                f"gradient of {name}": parameter.grad().asnumpy()
                for name, parameter in net.collect_params().items()
                if parameter.grad_req != "null"
            }
        )
    return result


def compare_optimizer(
    opt1: Any,
    opt2: Any,
    shape: Any,
    dtype: Any,
    w_stype: str = "default",
    g_stype: str = "default",
    rtol: Tolerance = 1e-4,
    atol: Tolerance = 1e-5,
    compare_states: bool = True,
    ntensors: int = 1,
) -> None:
    """Run one step of two optimisers on the same random weights and gradients; compare weights and states."""
    shapes = (
        [shape] * ntensors
        if ntensors > 1 and not isinstance(shape, list)
        else shape
        if isinstance(shape, list)
        else [shape]
    )
    for number, size in enumerate(shapes):
        weight, gradient = rand_ndarray(size, w_stype, dtype=dtype), rand_ndarray(size, g_stype, dtype=dtype)
        outcomes = []
        for optimizer in (opt1, opt2):
            copy = weight.copy()
            state = optimizer.create_state_multi_precision(number, copy)
            optimizer.update_multi_precision(number, copy, gradient.copy(), state)
            outcomes.append((copy, state))
        if compare_states:
            _compare_states(outcomes[0][1], outcomes[1][1], rtol, atol)
        assert_almost_equal(outcomes[0][0], outcomes[1][0], rtol=rtol, atol=atol)


def _compare_states(first: Any, second: Any, rtol: Tolerance, atol: Tolerance) -> None:
    if isinstance(first, (list, tuple)):
        for one, other in zip(first, second, strict=True):
            _compare_states(one, other, rtol, atol)
    elif first is not None and second is not None:
        assert_almost_equal(first, second, rtol=rtol, atol=atol, names=("state of opt1", "state of opt2"))


def same_symbol_structure(sym1: Any, sym2: Any) -> bool:
    """Return whether two symbols apply the same operators in the same arrangement, whatever their nodes are called."""
    import json

    def structure(symbol: Any) -> Any:
        graph = json.loads(symbol.tojson())
        return [(node["op"], [edge[:2] for edge in node["inputs"]]) for node in graph["nodes"]], [
            head[:2] for head in graph["heads"]
        ]

    return structure(sym1) == structure(sym2)


def check_speed(
    sym: Any,
    location: Arrays | None = None,
    ctx: Context | None = None,
    N: int = 20,
    grad_req: Any = None,
    typ: str = "whole",
    **kwargs: Any,
) -> float:
    """Return the seconds of one run of a symbol: forward and backward (``typ="whole"``) or forward alone
    (``"forward"``).
    """
    ctx = ctx or current_context()
    if typ not in ("whole", "forward"):
        raise ArgumentError(
            explain(
                "check_speed",
                "Unknown kind of run.",
                expected="typ='whole' or 'forward'",
                received=typ,
                fix="Leave `typ` out for forward and backward.",
            )
        )
    request = grad_req or ("write" if typ == "whole" else "null")
    if location is None:
        executor = sym.simple_bind(grad_req=request, ctx=ctx, **kwargs)
        for array in executor.arg_dict.values():
            array[:] = np.random.normal(size=array.shape)
    else:
        named = _by_name(location, sym.list_arguments(), "location", ctx, np.float32)
        executor = sym.simple_bind(grad_req=request, ctx=ctx, **{name: array.shape for name, array in named.items()})
        for name, array in named.items():
            executor.arg_dict[name][:] = array

    def run() -> None:
        executor.forward(is_train=typ == "whole")
        if typ == "whole":
            executor.backward([nd.ones(output.shape, ctx=ctx, dtype=output.dtype) for output in executor.outputs])
        for output in executor.outputs:
            output.wait_to_read()

    run()  # the first call traces and plans
    start = time.perf_counter()
    for _ in range(N):
        run()
    return (time.perf_counter() - start) / N
