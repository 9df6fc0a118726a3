"""Builds the functions and methods of `nd.*` from the operator table, as Python source that a debugger can step
through.

The one idea: a call per operator is generated with the operator's own signature; its first `if` recognises the common
case (arrays of one device, nobody listening at the door) and goes straight to the kernel; every other case goes
through `dispatch.invoke`. Budget: 4×4 add within 1.3× of torch (benchmarks/small_ops.py). Not here: the same for
symbols (symbol/generate.py).
"""
from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

from ..base import dtype as dtypes
from ..base.errors import MXNetError
from ..base.modes import is_recording, is_training
from ..dispatch import CURRENT, copy_unless_recorded, copy_views, explain_failure, finish, invoke, watched
from ..ops.attributes import PARSERS
from ..ops.opdef import REQUIRED, AttrSpec, OpDef, Tensor

__all__ = ["build_function", "build_method", "place", "NAMESPACES", "compile_source", "signature_source", "given"]

# prefix of an operator's name -> sub-namespace; the longest match counts
NAMESPACES: dict[str, str] = {"_contrib_": "contrib", "_linalg_": "linalg", "_image_": "image", "_random_": "_random",
                              "_sample_": "_random",
                              "_sparse_": "sparse", "_np_": "_np", "_npi_": "_np"}


def place(name: str) -> tuple[str, str]:
    """Return (sub-namespace, public name) of an operator name: ``_linalg_gemm2`` -> ``("linalg", "gemm2")``."""
    for prefix, namespace in NAMESPACES.items():
        if name.startswith(prefix):
            return namespace, name[len(prefix):]
    return ("_internal" if name.startswith("_") else "", name)


def given(**attrs: Any) -> dict[str, Any]:
    """Return the attributes that were given: required ones that were left out are dropped, so that the door can name
    them.
    """
    return {key: value for key, value in attrs.items() if value is not REQUIRED}


def compile_source(source: str, label: str, names: dict[str, Any], function: str) -> Callable[..., Any]:
    """Compile generated source under a name that tracebacks and debuggers can show."""
    filename = f"<glueball {label}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), names)  # our own generated text, never a user's
    return names[function]


def signature_source(op: OpDef, names: dict[str, Any], skip_first: bool = False,
                     all_optional: bool = False) -> tuple[str, str, str]:
    """Return (parameters, inputs tuple, attributes as keywords) as source; defaults are put into `names`."""
    parts: list[str] = []
    inputs: list[str] = []
    for spec in op.inputs:
        if spec.variadic:
            inputs.append(f"*{spec.name}")
            parts.append(f"*{spec.name}")
            continue
        inputs.append(spec.name)
        if not (skip_first and len(inputs) == 1):
            parts.append(spec.name if not spec.optional and not all_optional and not any("=" in p for p in parts)
                         else f"{spec.name}=None")
    for attr in op.attrs:
        names[f"_default_{attr.name}"] = attr.default
        parts.append(f"{attr.name}=_default_{attr.name}")
    attrs = ", ".join(f"{a.name}={a.name}" for a in op.attrs)
    return ", ".join(parts), "(" + "".join(f"{i}, " for i in inputs) + ")", attrs


def _argument(spec: AttrSpec, names: dict[str, Any]) -> str:
    """Return source that brings one attribute to the type a kernel expects; free for values that already have it."""
    annotation, name = spec.annotation, spec.name
    kind = annotation.removesuffix(" | None")
    if kind in ("int", "bool"):  # 1 for True, NumPy's numbers, text from a file
        names[f"_parse_{name}"] = spec.parse
        absent = f" or {name} is None" if annotation.endswith("None") else ""
        return f"({name} if type({name}) is {kind}{absent} else _parse_{name}({name}))"
    if kind == "DType":
        return (
            f"({name} if {name} is None else as_torch({name}))" if annotation.endswith("None") else f"as_torch({name})"
        )
    if kind in ("Shape", "Floats"):
        names[f"_parse_{kind}"] = PARSERS[annotation]
        return f"({name} if type({name}) is tuple or {name} is None else _parse_{kind}({name}))"
    if kind == "Axis":
        names["_parse_Axis"] = PARSERS["Axis"]
        return f"({name} if type({name}) is int or {name} is None or type({name}) is tuple else _parse_Axis({name}))"
    return name


def _result_source(op: OpDef) -> list[str]:
    """Return the lines that wrap the kernel's result `t` and return it."""
    if isinstance(op.outputs, int) and op.outputs == 1:
        copy = {"copy": ["    t = copy_views(t)"], "share": ["    t = copy_unless_recorded(t)"]}.get(op.view or "", [])
        return [*copy, "    if t.requires_grad and not is_recording(): t = t.detach()",
                "    r = new(ND); r._t = t; r._ctx = context; r._ag = None", "    return r"]
    copy = ["    t = copy_views(t)"] if op.view == "copy" else []
    if op.visible == 1:
        first = "    t = t[0]" if isinstance(op.outputs, int) else "    t = t if type(t) is Tensor else t[0]"
        return [*copy, first, "    if t.requires_grad and not is_recording(): t = t.detach()",
                "    r = new(ND); r._t = t; r._ctx = context; r._ag = None", "    return r"]
    wrapped = ["        t = t if type(t) is Tensor else t[0]",
               "        if t.requires_grad and not is_recording(): t = t.detach()",
               "        r = new(ND); r._t = t; r._ctx = context; r._ag = None", "        return r"]
    common = ["    if visible(dict(ATTRS)) == 1:", *wrapped] if callable(op.visible) else []
    return [*copy, *common, "    return finish(op, {**op.defaults, **given(ATTRS)}, t, context, None)"]


def _one_device(array: Any) -> Callable[[Any], bool]:
    """Return a function that says whether some values are all arrays of one device."""
    def check(values: Any) -> bool:
        if not values or type(values[0]) is not array:
            return False
        context = values[0]._ctx
        return all(type(value) is array and value._ctx is context for value in values)
    return check


def _variadic_fast_path(op: OpDef, names: dict[str, Any]) -> list[str]:
    """Return the guarded fast path of an operator that takes any number of arrays, or one list of them."""
    data = op.inputs[0].name
    guard = ["out is None", "not extra", "current() is None"]
    guard += [f"{a.name} is not REQUIRED" for a in op.attrs if a.required]
    if op.own_gradient:
        guard.append("not is_recording()")
    arguments = ", ".join([f"*[x._t for x in {data}]", *(f"{a.name}={_argument(a, names)}" for a in op.attrs)])
    attrs = ", ".join(f"{a.name}={a.name}" for a in op.attrs)
    lines = [f"if len({data}) == 1 and type({data}[0]) in (list, tuple): {data} = {data}[0]",
             f"if {' and '.join(guard)} and one_device({data}):", f"    context = {data}[0]._ctx", "    try:",
             f"        t = run_kernel({arguments})",
             "    except Exception as error:",
             "        if isinstance(error, MXNetError): raise",
             f"        raise failure(op, [x._t for x in {data}], given({attrs}), error) from error"]
    return lines + [line.replace("ATTRS", attrs) for line in _result_source(op)]


def _fast_path(op: OpDef, names: dict[str, Any]) -> list[str]:
    """Return the guarded fast path of an operator, or nothing where every call must go through the door."""
    if not op.inputs or watched(op):
        return []
    if op.variadic:
        return [] if op.mutates or op.takes_training else _variadic_fast_path(op, names)
    first = op.inputs[0].name
    guard = [f"type({first}) is ND"]
    for spec in op.inputs[1:]:
        same = f"type({spec.name}) is ND and {spec.name}._ctx is {first}._ctx"
        guard.append(f"({spec.name} is None or {same})" if spec.optional else same)
    guard += [f"{a.name} is not REQUIRED" for a in op.attrs if a.required]
    guard += ["out is None", "not extra", "current() is None"]
    if op.own_gradient:
        guard.append("not is_recording()")
    tensors = [f"{s.name}._t" if not s.optional else f"(None if {s.name} is None else {s.name}._t)" for s in op.inputs]
    arguments = [*tensors, *(_argument(a, names) for a in op.attrs)]
    if op.takes_training:
        arguments.append("training=is_training()")
    attrs = ", ".join(f"{a.name}={a.name}" for a in op.attrs)
    lines = [f"if {' and '.join(guard)}:", f"    context = {first}._ctx", "    try:",
             f"        t = run_kernel({', '.join(arguments)})",
             "    except Exception as error:",
             "        if isinstance(error, MXNetError): raise",
             f"        raise failure(op, ({', '.join(tensors)},), given({attrs}), error) from error"]
    return lines + [line.replace("ATTRS", attrs) for line in _result_source(op)]


def build_function(op: OpDef, public: str, array: Any, label: str, self_name: str | None = None) -> Callable[..., Any]:
    """Return the generated function of an operator; with `self_name`, as a method whose first input is the array
    itself.
    """
    names: dict[str, Any] = {
        "op": op, "run_kernel": op.kernel, "ND": array, "new": object.__new__, "REQUIRED": REQUIRED,
        "current": CURRENT.get, "is_recording": is_recording, "is_training": is_training, "invoke": invoke,
        "failure": explain_failure, "given": given, "one_device": _one_device(array),
        "as_torch": dtypes.as_torch, "copy_views": copy_views, "copy_unless_recorded": copy_unless_recorded,
        "Tensor": Tensor, "finish": finish, "visible": op.visible, "MXNetError": MXNetError}
    parameters, inputs, attrs = signature_source(op, names, skip_first=self_name is not None)
    if self_name is not None:
        first = op.inputs[0].name
        if not op.variadic:
            parameters = f"{first}, {parameters}" if parameters else first
    body = _fast_path(op, names)
    parameters = f"{parameters}, " if parameters else ""
    whole = f"**given({attrs}), " if any(a.required for a in op.attrs) else "".join(
        [f"{a.name!r}: {a.name}, " for a in op.attrs])  # nothing can have been left out
    source = "\n    ".join([f"def {public}({parameters}out=None, name=None, **extra):", *body,
                            f"return invoke(op, {inputs}, {{{whole}**extra}}, out, name)"]) + "\n"
    function = compile_source(source, label, names, public)
    function.__doc__ = op.doc
    function.__module__ = "glueball.ndarray"
    function.__qualname__ = public
    return function


def build_method(op: OpDef, public: str, array: Any) -> Callable[..., Any]:
    """Return the generated method of an operator."""
    return build_function(op, public, array, f"NDArray.{public}", self_name="self")
