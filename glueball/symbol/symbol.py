"""Symbol: a value (or several) of a graph that has not been computed yet.

The one idea: a Symbol is a tuple of graph Values; every operator is also a method; `+` and friends compose. While a
hybrid block is being traced a symbol knows its shape and dtype; reading its *value* then is an error that names the
line and two ways out.

Not here: composition (compose.py), inference (infer.py), files (json.py), execution (executor/).
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..base import dtype as dtypes
from ..base.errors import ArgumentError, MXNetError, TraceError, explain, user_frame
from ..base.naming import Hint, current_attrs
from ..base.registry import closest
from ..dispatch import Symbolic, invoke
from ..ops.attributes import PARSERS
from ..ops.opdef import TensorType, lookup
from .graph import Node, Value, topological, variables
from .infer import infer
from .tracer import current_tracer

__all__ = ["Symbol", "Variable", "var", "Group"]


class Symbol(Symbolic):
    """One or several values of a graph.

    >>> from glueball import sym
    >>> x = sym.Variable("x")
    >>> y = sym.FullyConnected(x, num_hidden=4, name="fc")
    >>> y.list_arguments()
    ['x', 'fc_weight', 'fc_bias']
    >>> y.infer_shape(x=(2, 3))[1]
    [(2, 4)]
    """

    __slots__ = ("_outputs",)
    _outputs: tuple[Value, ...]

    def __init__(self, outputs: Sequence[Value]) -> None:
        self._outputs = tuple(outputs)

    @classmethod
    def _of(cls, node: Node) -> Symbol:
        return cls([Value(node, index) for index in range(node.num_visible)])

    # -- structure -----------------------------------------------------------------------------------------------------
    @property
    def name(self) -> str | None:
        """Name of the node, None for a group of several."""
        nodes = {v.node for v in self._outputs}
        return self._outputs[0].node.name if len(nodes) == 1 else None

    def __len__(self) -> int:
        return len(self._outputs)

    @property
    def num_outputs(self) -> int:
        """Number of outputs."""
        return len(self._outputs)

    def __iter__(self) -> Iterator[Symbol]:
        return (Symbol([value]) for value in self._outputs)

    def __getitem__(self, index: Any) -> Symbol:
        if isinstance(index, str):
            names = self.list_outputs()
            matches = [i for i, n in enumerate(names) if n == index]
            if len(matches) != 1:
                raise ValueError(explain("Symbol[...]", f"There is no single output named {index!r}.",
                                         expected=", ".join(names)))
            return Symbol([self._outputs[matches[0]]])
        if current_tracer() is not None and len(self._outputs) == 1:
            from .indexing import read
            return read(self, index)
        if isinstance(index, slice):
            return Symbol(self._outputs[index])
        if not isinstance(index, (int, np.integer)):
            raise TypeError(explain("Symbol[...]", "A symbol is indexed by output.",
                                    expected="an int or an output's name", received=repr(index),
                                    fix="use slice_axis, slice or take for parts of a value"))
        if not -len(self._outputs) <= index < len(self._outputs):
            raise IndexError(f"output {index} of a symbol with {len(self._outputs)} outputs")
        return Symbol([self._outputs[index]])

    def list_arguments(self) -> list[str]:
        """Names of the variables that are not auxiliary states."""
        return [n.name for n in variables(topological(self._outputs))[0]]

    def list_auxiliary_states(self) -> list[str]:
        """Names of the variables that operators update (running means)."""
        return [n.name for n in variables(topological(self._outputs))[1]]

    def list_inputs(self) -> list[str]:
        """Names of all variables."""
        return [n.name for n in topological(self._outputs) if n.is_variable]

    def list_outputs(self) -> list[str]:
        """Names of the outputs: the node's name with `_output`, or `_output0` … when there are several."""
        return [output_name(value) for value in self._outputs]

    def get_internals(self) -> Symbol:
        """Return all values of the graph, inputs included."""
        return Symbol([Value(node, i) for node in topological(self._outputs) for i in range(node.num_visible)])

    def get_children(self) -> Symbol | None:
        """Return the inputs of the node, None for a variable."""
        values = [v for out in self._outputs for v in out.node.inputs]
        return Symbol(values) if values else None

    def attr(self, key: str) -> str | None:
        """Return a textual attribute of the node; `ctx_group` and the like are found under their hidden names,
        `__ctx_group__`.
        """
        attrs = self.list_attr()
        return attrs.get(key, attrs.get(f"__{key}__"))

    def list_attr(self, recursive: bool = False) -> dict[str, str]:
        """Return the textual attributes of the node."""
        from .json import node_attrs, with_plain_names
        return {} if len({v.node for v in self._outputs}) != 1 else with_plain_names(node_attrs(self._outputs[0].node))

    def attr_dict(self) -> dict[str, dict[str, str]]:
        """Return {node name: textual attributes} of the whole graph."""
        from .json import node_attrs, with_plain_names
        found = {node.name: with_plain_names(node_attrs(node)) for node in topological(self._outputs)}
        return {name: attrs for name, attrs in found.items() if attrs}

    def __call__(self, *args: Symbol, **kwargs: Symbol) -> Symbol:
        """Compose: put symbols in the place of variables, by position or name."""
        from .rewrite import substitute
        name = kwargs.pop("name", None)
        arguments = variables(topological(self._outputs))[0]
        mapping = {node: value._outputs[0] for node, value in zip(arguments, args)}
        by_name = {node.name: node for node in topological(self._outputs) if node.is_variable}
        for key, value in kwargs.items():
            if key not in by_name:
                raise ValueError(explain("Symbol(...)", f"There is no variable {key!r}.", expected=", ".join(by_name)))
            mapping[by_name[key]] = value._outputs[0]
        return Symbol(substitute(self._outputs, mapping, rename=name))  # type: ignore[arg-type]

    # -- types ---------------------------------------------------------------------------------------------------------
    def _types(self, args: tuple[Any, ...], kwargs: dict[str, Any], partial: bool, field: str) -> Any:
        order = topological(self._outputs)
        arguments, auxiliary = variables(order)
        known: dict[Node, TensorType] = {n: declared_type(n) for n in order if n.is_variable}
        given = dict(kwargs)
        given.update({n.name: a for n, a in zip(arguments, args) if a is not None})
        by_name = {n.name: n for n in order if n.is_variable}
        for name, value in given.items():
            if name not in by_name:
                raise MXNetError(explain(f"Symbol.infer_{field}", f"The graph has no input {name!r}.",
                                         expected=", ".join(by_name) or "no inputs", fix=closest(name, list(by_name))))
            node = by_name[name]
            if field == "shape":
                if value is not None:
                    known[node] = TensorType(_partial(value), known[node].dtype)
            else:
                known[node] = TensorType(known[node].shape, dtypes.as_torch(value))
        if field == "shape":  # shapes do not depend on dtypes: what is not declared is taken to be of one type
            common = next((t.dtype for t in known.values() if t.dtype is not None), dtypes.DEFAULT)
            known = {n: TensorType(t.shape, t.dtype or common) for n, t in known.items()}
        types = infer(self._outputs, known, order=order) if field == "shape" else _infer_dtypes(order, known)
        groups = [[types[n][0] for n in arguments], [types[v.node][v.index] for v in self._outputs],
                  [types[n][0] for n in auxiliary]]
        if field == "shape":
            complete = all(t.shape is not None and None not in t.shape for group in groups for t in group)
            if not complete and not partial:
                unknown = [n.name for n in arguments if (t := types[n][0]).shape is None or None in t.shape]
                import warnings
                warnings.warn("Cannot decide shape for the following arguments (0s in shape means unknown "
                              "dimensions). Consider providing them "
                              f"as input: {unknown}", stacklevel=3)
                return None, None, None
            return tuple([tuple(s or 0 for s in t.shape or ()) for t in group] for group in groups)
        return tuple([None if t.dtype is None else dtypes.as_numpy(t.dtype) for t in group] for group in groups)

    def infer_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Return (argument, output, auxiliary) shapes from those given by position or name; (None, None, None) when
        they do not suffice.
        """
        return self._types(args, kwargs, False, "shape")

    def infer_shape_partial(self, *args: Any, **kwargs: Any) -> Any:
        """Like infer_shape; a size that is unknown is 0, a shape of unknown rank is ()."""
        return self._types(args, kwargs, True, "shape")

    def infer_type(self, *args: Any, **kwargs: Any) -> Any:
        """Return (argument, output, auxiliary) dtypes."""
        return self._types(args, kwargs, False, "dtype")

    infer_type_partial = infer_type

    def _type(self, what: str) -> TensorType:
        tracer = current_tracer()
        if tracer is None:
            raise AttributeError(explain(f"Symbol.{what}", "A symbol has no values yet, so this is not known.",
                                         fix="use infer_shape(...)/infer_type(...), or operators that need no sizes: "
                                             "reshape((0, -1)), slice_like, …"))
        kind = tracer.type_of(self._outputs[0])
        if not kind.known:
            raise TraceError(explain(f"Symbol.{what}", "This is not known while the block is traced.",
                                     received=f"{self.name}, at {user_frame(3)}"))
        return kind

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, while a hybrid block is traced."""
        tracer = current_tracer()
        if tracer is not None:
            tracer.decides = True
        return self._sizes

    @property
    def _sizes(self) -> tuple[int, ...]:
        """The shape, for layers of ours that only write sizes into attributes of operators, and so make one program of
        all sizes.
        """
        kind = self._type("shape")
        tracer = current_tracer()
        if tracer is not None:
            tracer.asked = True
        return kind.shape  # type: ignore[return-value]  # known

    @property
    def dtype(self) -> Any:
        """The dtype, while a hybrid block is traced."""
        return dtypes.as_numpy(self._type("dtype").dtype)

    @property
    def ndim(self) -> int:
        """Number of axes, while a hybrid block is traced."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements, while a hybrid block is traced."""
        return int(np.prod(self.shape))

    @property
    def stype(self) -> str:
        """Storage type."""
        return "default"

    @property
    def T(self) -> Symbol:
        """The transpose."""
        return self.transpose()  # type: ignore[attr-defined]  # a generated method

    # -- values are not there ------------------------------------------------------------------------------------------
    def _no_value(self, *args: Any, **kwargs: Any) -> Any:
        raise TraceError(explain("hybridize",
                                 "The value of an array was needed while the network was being traced: a Python `if`, "
                                 "`while`, "
                                 "float(), int() or asnumpy() cannot see it.",
                                 received=f"symbol {self.name!r}, at {user_frame(2)}",
                                 fix="use F.contrib.cond / F.contrib.while_loop / F.contrib.foreach or F.where, or "
                                     "leave this block imperative "
                                     "(derive it from gluon.Block, or do not hybridize it)"))

    __bool__ = __float__ = __int__ = __index__ = asnumpy = asscalar = item = tolist = __array__ = wait_to_read = (
        backward
    ) = _no_value

    # -- signs ---------------------------------------------------------------------------------------------------------
    __hash__ = object.__hash__

    def _binary(self, other: Any, array_op: str, scalar_op: str, hint: str, broadcast: str,
                swap: bool = False) -> Symbol:
        if isinstance(other, (bool, int, float, np.number, np.bool_)):
            return invoke(lookup(scalar_op), (self,), {"scalar": other}, name=_SIGN_HINTS.get(scalar_op))
        if other is None or isinstance(other, str):
            raise TypeError(explain(hint, "A symbol or a number is expected.", received=f"type {type(other).__name__}"))
        tracer = current_tracer()
        left, right = (other, self) if swap else (self, other)
        if tracer is not None:
            shapes = [_shape_of(x, tracer) for x in (left, right)]
            if None in shapes or None in shapes[0] or None in shapes[1] or shapes[0] != shapes[1]:
                if None not in shapes and None not in shapes[0] and None not in shapes[1]:
                    return lookup(broadcast)(left, right)
        return invoke(lookup(array_op), (left, right), {}, name=_SIGN_HINTS.get(array_op))

    def __neg__(self) -> Symbol:
        return self * -1.0  # type: ignore[operator]  # the signs are added below the class

    def __abs__(self) -> Symbol:
        return lookup("abs")(self)

    def reshape(self, *shape: Any, **options: Any) -> Symbol:
        """Return the same elements in another shape; codes as in NDArray.reshape."""
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        elif not shape:
            shape = tuple(options.pop("shape"))
        return lookup("Reshape")(self, shape=shape, **options)

    def astype(self, dtype: Any, copy: bool = True) -> Symbol:
        """Return the value with another element type."""
        return lookup("Cast")(self, dtype=dtypes.as_torch(dtype))

    def as_in_context(self, context: Any) -> Symbol:
        """Return the symbol itself: a graph runs on one device."""
        return self

    as_in_ctx = as_nd_ndarray = as_in_context

    def copy(self) -> Symbol:
        """Return the symbol itself: values of a graph never change."""
        return self

    def detach(self) -> Symbol:
        """Return the value with no gradient."""
        return lookup("BlockGrad")(self)

    def __repr__(self) -> str:
        return (
            f"<Symbol {self.name}>"
            if self.name
            else f"<Symbol group [{', '.join(str(v.node.name) for v in self._outputs)}]>"
        )

    def __copy__(self) -> Symbol:
        return self

    def __deepcopy__(self, memo: Any) -> Symbol:
        return self

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        from .json import load_json
        return load_json, (self.tojson(),)

    # -- files and execution: defined where they belong ----------------------------------------------------------------
    def tojson(self, remove_amp_cast: bool = True) -> str:
        """Return the graph as compatible JSON text."""
        from .json import to_json
        return to_json(self._outputs)

    def save(self, fname: str, remove_amp_cast: bool = True) -> None:
        """Write the graph as JSON."""
        from ..base.files import write_atomically
        write_atomically(fname, self.tojson().encode())

    def debug_str(self) -> str:
        """Return the graph as text, a line per node."""
        from .text import to_text
        return to_text(self._outputs)

    def eval(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Compute the outputs for the given arrays; returns a list."""
        return self.bind(ctx, kwargs).forward()

    def bind(self, ctx: Any, args: Any, args_grad: Any = None, grad_req: Any = "write", aux_states: Any = None,
             group2ctx: Any = None, shared_exec: Any = None) -> Any:
        """Return an Executor for the given arrays."""
        from ..executor.executor import Executor  # upward edge: execution stands above the graph
        return Executor(self, ctx, args, args_grad, grad_req, aux_states)

    def simple_bind(self, ctx: Any = None, grad_req: Any = "write", type_dict: Any = None, stype_dict: Any = None,
                    group2ctx: Any = None, shared_arg_names: Any = None, shared_exec: Any = None,
                    shared_buffer: Any = None, **kwargs: Any) -> Any:
        """Return an Executor with arrays made for the given input shapes."""
        from ..executor.executor import Executor  # upward edge: as bind
        return Executor.simple(self, ctx, grad_req, type_dict or {}, kwargs)


def _shape_of(value: Any, tracer: Any) -> Any:
    if isinstance(value, Symbol):
        return tracer.type_of(value._outputs[0]).shape
    return tuple(np.shape(value)) if not hasattr(value, "shape") else tuple(value.shape)


def _partial(shape: Any) -> tuple[int | None, ...]:
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return tuple(None if s in (0, -1) else int(s) for s in shape)


def declared_type(node: Node) -> TensorType:
    """Return what a variable's hints say about its type (`__shape__`, `__dtype__`; 0 and -1 are unknown sizes)."""
    shape, dtype = node.hints.get("__shape__"), node.hints.get("__dtype__")
    try:
        sizes = None if shape is None else PARSERS["Shape | None"](shape)
        return TensorType(None if sizes is None else _partial(sizes),
                          None if dtype is None or int(dtype) < 0 else dtypes.from_flag(int(dtype)))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ArgumentError(explain(f"variable {node.name!r}", "Its hints about shape and dtype cannot be read.",
                                    expected="a tuple of sizes, and the number of a dtype",
                                    received=f"__shape__={shape!r}, __dtype__={dtype!r}")) from None


def _infer_dtypes(order: Sequence[Node], known: dict[Node, TensorType]) -> dict[Node, tuple[TensorType, ...]]:
    """Dtypes without shapes: the first known input's dtype, unless the operator has a dtype attribute."""
    types: dict[Node, tuple[TensorType, ...]] = {}
    default = next((t.dtype for t in known.values() if t.dtype is not None), dtypes.DEFAULT)
    for node in order:
        if node.is_variable:
            types[node] = (known[node],)
            continue
        ins = [types[v.node][v.index].dtype for v in node.inputs]
        common = next((d for d in ins if d is not None), default)
        for value in node.inputs:
            if value.node.is_variable and types[value.node][0].dtype is None:
                types[value.node] = (TensorType(types[value.node][0].shape, common),)
        out = node.attrs.get("dtype") or common
        types[node] = (TensorType(None, out),) * node.num_outputs
    return types


def output_name(value: Value) -> str:
    """Return the name of an output: a variable's own, else the node's with a suffix."""
    node = value.node
    if node.op is None:
        return node.name
    if node.num_visible == 1 and node.num_outputs == 1:
        return f"{node.name}_{node.op.output_names[0]}"
    names = node.op.output_names
    if len(names) > value.index and len(names) > 1:
        return f"{node.name}_{names[value.index]}"
    return f"{node.name}_output{value.index if node.num_visible > 1 else ''}"


def Variable(name: str, attr: dict[str, str] | None = None, shape: Any = None,
             lr_mult: float | None = None,
             wd_mult: float | None = None, dtype: Any = None, init: Any = None, stype: str | None = None,
             **kwargs: str) -> Symbol:
    """Return a symbol for an input of the graph.

    shape, dtype, lr_mult, wd_mult and init are kept as hints for inference and training.
    """
    if not isinstance(name, str):
        raise TypeError(explain("sym.Variable", "A variable needs a name.", expected="str", received=repr(name)))
    hints = current_attrs().get({**(attr or {}), **kwargs})
    if shape is not None:
        hints["__shape__"] = str(tuple(shape) if not isinstance(shape, int) else (shape,))
    if lr_mult is not None:
        hints["__lr_mult__"] = str(lr_mult)
    if wd_mult is not None:
        hints["__wd_mult__"] = str(wd_mult)
    if dtype is not None:
        hints["__dtype__"] = str(dtypes.flag_of(dtype))
    if init is not None:
        hints["__init__"] = init if isinstance(init, str) else init.dumps()
    if stype is not None:
        hints["__storage_type__"] = {"default": "0", "row_sparse": "1", "csr": "2"}[stype]
    return Symbol._of(Node(None, name, hints={k: str(v) for k, v in hints.items()}, origin=user_frame(2)))


var = Variable


def Group(symbols: Sequence[Symbol]) -> Symbol:
    """Return a symbol with the outputs of all given ones."""
    if not symbols or not all(isinstance(s, Symbol) for s in symbols):
        raise MXNetError(explain("sym.Group", "A list of symbols is expected.", received=repr(symbols)))
    return Symbol([value for symbol in symbols for value in symbol._outputs])


# What the nodes of Python's signs are called after; other operators are called after themselves.
_SIGN_HINTS = {key: Hint(value) for key, value in {
    "elemwise_add": "_plus", "elemwise_sub": "_minus", "elemwise_mul": "_mul", "elemwise_div": "_div",
    **{f"_{kind}_scalar": f"_{kind}scalar" for kind in ("plus", "minus", "rminus", "mul", "div", "rdiv", "mod", "rmod",
                                                        "power")}}.items()}


def _sign(array_op: str, scalar_op: str, hint: str, broadcast: str, swap: bool = False) -> Any:
    def method(self: Symbol, other: Any) -> Symbol:
        return self._binary(other, array_op, scalar_op, hint, broadcast, swap)
    return method


for _name, *_row in (
    ("__add__", "elemwise_add", "_plus_scalar", "+", "broadcast_add"),
    ("__radd__", "elemwise_add", "_plus_scalar", "+", "broadcast_add", True),
    ("__sub__", "elemwise_sub", "_minus_scalar", "-", "broadcast_sub"),
    ("__rsub__", "elemwise_sub", "_rminus_scalar", "-", "broadcast_sub", True),
    ("__mul__", "elemwise_mul", "_mul_scalar", "*", "broadcast_mul"),
    ("__rmul__", "elemwise_mul", "_mul_scalar", "*", "broadcast_mul", True),
    ("__truediv__", "elemwise_div", "_div_scalar", "/", "broadcast_div"),
    ("__rtruediv__", "elemwise_div", "_rdiv_scalar", "/", "broadcast_div", True),
    ("__mod__", "_mod", "_mod_scalar", "%", "broadcast_mod"),
    ("__rmod__", "_mod", "_rmod_scalar", "%", "broadcast_mod", True),
    ("__pow__", "_power", "_power_scalar", "**", "broadcast_power"),
    ("__rpow__", "_power", "_rpower_scalar", "**", "broadcast_power", True),
    ("__eq__", "_equal", "_equal_scalar", "==", "broadcast_equal"),
    ("__ne__", "_not_equal", "_not_equal_scalar", "!=", "broadcast_not_equal"),
    ("__gt__", "_greater", "_greater_scalar", ">", "broadcast_greater"),
    ("__ge__", "_greater_equal", "_greater_equal_scalar", ">=", "broadcast_greater_equal"),
    ("__lt__", "_lesser", "_lesser_scalar", "<", "broadcast_lesser"),
    ("__le__", "_lesser_equal", "_lesser_equal_scalar", "<=", "broadcast_lesser_equal"),
):
    setattr(Symbol, _name, _sign(*_row))  # type: ignore[arg-type]  # rows of texts with a flag at the end
