"""What an operator is: one typed Python function, and the rules that hang beneath it.

The one idea: the function's signature is the schema (tensor inputs first, then attributes), its docstring the
documentation, its body the ATen kernel on torch tensors. `@operator(...)` turns it into an `OpDef` in the TABLE;
`nd.*`, `sym.*`, methods, graphs, gradients, files, docs and tests are derived from that entry. Rules are given, or
refused in words: see `rules/`. Nothing here calls a kernel for a user: that is dispatch.py.

    @operator(aliases=("sigmoid_",), infer=same_shape, method=True, check=unary(lambda x: 1 / (1 + np.exp(-x))))
    def sigmoid(data: Tensor) -> Tensor:
        '''Compute 1 / (1 + exp(-data)) element by element.'''
        return torch.sigmoid(data)

    @sigmoid.grad
    def _(c: Grad) -> Value:
        return _sigmoid_backward(c.g, c.out)

Annotations of inputs: `Tensor`, `Tensor | None` (optional), `*data: Tensor` (any number).
Annotations of attributes: int, float, bool, str, Shape, Axis, Floats, DType, Number, Any, each also with `| None`.
A required attribute has the default REQUIRED. A kernel that takes the keyword `training: Training` is told the mode.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, final

import torch

from ..base.errors import ArgumentError, MXNetError, explain
from ..base.registry import closest
from .attributes import PARSERS, REQUIRED

__all__ = ["OpDef", "operator", "TABLE", "lookup", "TensorType", "Grad", "Tensor", "Training", "Value", "Unsupported",
           "unsupported",
           "from_kernel", "REQUIRED", "AttrSpec", "InputSpec", "freeze"]

Tensor: TypeAlias = torch.Tensor
Training: TypeAlias = bool
# what a gradient rule computes on: NDArray when run eagerly, Symbol when a graph is differentiated
Value: TypeAlias = Any


class TensorType(NamedTuple):
    """Shape (None: rank unknown; None inside: that size unknown) and dtype (None: unknown) of a value in a graph."""

    shape: tuple[int | None, ...] | None = None
    dtype: Any = None

    @property
    def known(self) -> bool:
        """Whether every size and the dtype are known."""
        return self.dtype is not None and self.shape is not None and None not in self.shape


@final
@dataclass(frozen=True, slots=True)
class Unsupported:
    """A rule that is refused, with the reason; shown on the coverage page."""

    why: str


def unsupported(why: str) -> Unsupported:
    """Refuse a rule in words."""
    return Unsupported(why)


@final
@dataclass(frozen=True, slots=True)
class _FromKernel:
    """Marks a gradient that is derived by torch's autograd from the kernel itself (it runs the kernel once more)."""


from_kernel = _FromKernel()


@final
@dataclass(frozen=True, slots=True)
class InputSpec:
    """One tensor input. `when` says from the attributes whether an optional input takes part (a bias unless
    no_bias).
    """

    name: str
    optional: bool = False
    variadic: bool = False
    when: Callable[[Mapping[str, Any]], bool] | None = None


@final
@dataclass(frozen=True, slots=True)
class AttrSpec:
    """One attribute: its name, the text of its annotation, how a value (or its text in a file) becomes typed, its
    default.
    """

    name: str
    annotation: str
    default: Any

    @property
    def required(self) -> bool:
        """Whether a call must give this attribute."""
        return self.default is REQUIRED

    def parse(self, value: Any) -> Any:
        """Return the typed value of what a user or a file gave."""
        try:
            return PARSERS[self.annotation](value)
        except (ValueError, TypeError, KeyError, SyntaxError):
            raise ArgumentError(explain(f"attribute {self.name!r}", "The value has a wrong type.",
                                        expected=self.annotation, received=repr(value))) from None


@final
class Grad:
    """What a gradient rule sees: inputs, outputs and output gradients as values, typed attributes, and the static
    types.

    `needs` says for which inputs a gradient is wanted; a rule may leave the others out. `g` and `out` are the first
    output's. A gradient of an output that nothing uses is None in `grads` (`g` is then zeros). A rule returns one
    value (or None) per input, as a tuple; a single value serves operators of one input.
    """

    __slots__ = ("op", "ins", "outs", "grads", "attrs", "in_types", "out_types", "training", "needs")

    def __init__(self, op: OpDef, ins: Sequence[Value], outs: Sequence[Value], grads: Sequence[Value],
                 attrs: Mapping[str, Any], in_types: Sequence[TensorType], out_types: Sequence[TensorType],
                 training: bool, needs: Sequence[bool] | None = None) -> None:
        self.needs = (True,) * len(ins) if needs is None else tuple(needs)
        self.op, self.ins, self.outs, self.grads, self.attrs = op, ins, outs, grads, attrs
        self.in_types, self.out_types, self.training = in_types, out_types, training

    @property
    def g(self) -> Value:
        """The gradient of the first output (zeros when nothing uses it)."""
        first = self.grads[0]
        return lookup("zeros_like")(self.outs[0]) if first is None else first

    @property
    def out(self) -> Value:
        """The first output."""
        return self.outs[0]

    @property
    def x(self) -> Value:
        """The first input."""
        return self.ins[0]

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The shape of input `index`."""
        return self.in_types[index].shape  # type: ignore[return-value]  # complete by the time a gradient is built


GradRule: TypeAlias = Callable[[Grad], Any]


@final
@dataclass(slots=True, eq=False)
class OpDef:
    """One row of the table. Compared and hashed by identity."""

    name: str
    kernel: Callable[..., Any]
    inputs: tuple[InputSpec, ...]
    attrs: tuple[AttrSpec, ...]
    doc: str
    aliases: tuple[str, ...] = ()
    method: bool = False
    outputs: int | Callable[[Mapping[str, Any]], int] = 1
    visible: int | Callable[[Mapping[str, Any]], int] | None = None
    output_names: tuple[str, ...] = ("output",)
    mutates: tuple[str, ...] = ()
    takes_training: bool = False
    random: bool = False
    dynamic: str | None = None
    infer: Any = None
    gradient: Any = None
    own_gradient: bool = False
    view: str | None = None
    inplace: str | Callable[[Mapping[str, Any]], str | None] | None = None
    emit: Callable[..., str | None] | None = None
    check: Any = None
    nondiff: tuple[str, ...] = ()
    filler: Callable[..., Any] | None = None
    variadic_count: str | None = None
    family: str = ""
    batch: Any = None
    attr_names: tuple[str, ...] = field(init=False)
    attr_by_name: dict[str, AttrSpec] = field(init=False)
    input_names: tuple[str, ...] = field(init=False)
    defaults: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.attr_names = tuple(a.name for a in self.attrs)
        self.attr_by_name = {a.name: a for a in self.attrs}
        self.input_names = tuple(i.name for i in self.inputs)
        self.defaults = {a.name: a.default for a in self.attrs if not a.required}

    # -- rules as decorators -------------------------------------------------------------------------------------------
    def grad(self, rule: GradRule) -> GradRule:
        """Give the gradient rule, written in operators."""
        self.gradient = rule
        return rule

    def fill(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Give the rule `(attrs, shapes) -> shapes` that completes unknown parameter sizes from the data's (deferred
        initialisation).
        """
        self.filler = rule
        return rule

    def overwrites(self, attrs: Mapping[str, Any]) -> str | None:
        """Return the template that writes the result over input 0, if there is one for these attributes."""
        return self.inplace(attrs) if callable(self.inplace) else self.inplace

    # -- schema --------------------------------------------------------------------------------------------------------
    @property
    def variadic(self) -> bool:
        """Whether the (only) tensor input takes any number of arrays."""
        return bool(self.inputs) and self.inputs[0].variadic

    def present_inputs(self, attrs: Mapping[str, Any]) -> tuple[str, ...]:
        """Names of the inputs that take part for these attributes (the rest are optional and absent unless given)."""
        return tuple(i.name for i in self.inputs if not i.optional or (i.when is not None and i.when(attrs)))

    def num_outputs(self, attrs: Mapping[str, Any]) -> int:
        """Number of values the kernel returns."""
        return self.outputs if isinstance(self.outputs, int) else self.outputs(attrs)

    def num_visible(self, attrs: Mapping[str, Any]) -> int:
        """Number of values a user sees; the rest serve the gradient."""
        if self.visible is None:
            return self.num_outputs(attrs)
        return self.visible if isinstance(self.visible, int) else self.visible(attrs)

    def typed(self, attrs: Mapping[str, Any]) -> dict[str, Any]:
        """Return all attributes, typed, defaults filled in; unknown or missing ones are an error that names the
        closest.
        """
        result = dict(self.defaults)
        for name, value in attrs.items():
            spec = self.attr_by_name.get(name)
            if spec is None and name == self.variadic_count:
                continue  # num_args=2: the inputs say it themselves
            if spec is None:
                raise ArgumentError(explain(self.name, f"There is no argument {name!r}.",
                                            expected=", ".join(self.attr_names) or "no attributes",
                                            received=f"{name}={value!r}",
                                            fix=closest(name, list(self.attr_names + self.input_names))))
            result[name] = spec.parse(value)
        missing = [a.name for a in self.attrs if a.required and a.name not in result]
        if missing:
            raise ArgumentError(explain(self.name, f"The argument {missing[0]!r} is missing.",
                                        expected=f"{missing[0]}: {self.attr_by_name[missing[0]].annotation}",
                                        received=repr(dict(attrs))))
        return result

    def __call__(self, *inputs: Value, **attrs: Any) -> Value:
        """Call through the door: eager on arrays, composed on symbols. Used by gradient rules and composite layers."""
        return _door(self, inputs, attrs)

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    def __reduce__(self) -> tuple[Callable[[str], OpDef], tuple[str]]:
        return lookup, (self.name,)


TABLE: dict[str, OpDef] = {}  # canonical name -> definition
_NAMES: dict[str, OpDef] = {}  # every name and alias


def _closed_door(op: OpDef, inputs: Sequence[Value], attrs: Mapping[str, Any]) -> Value:
    raise MXNetError("operators are called through glueball.dispatch, which has not been imported yet")


_door: Callable[[OpDef, Sequence[Value], Mapping[str, Any]], Value] = _closed_door


def open_door(door: Callable[[OpDef, Sequence[Value], Mapping[str, Any]], Value]) -> None:
    """Set what `OpDef.__call__` does; called once, by dispatch.py, which stands above the table."""
    global _door
    _door = door


def lookup(name: str) -> OpDef:
    """Return the operator of a name or alias."""
    found = _NAMES.get(name)
    if found is None:
        raise ArgumentError(explain(f"operator {name!r}", "There is no operator of this name.",
                                    fix=closest(name, list(_NAMES)) + "; see docs/coverage.md"))
    return found


def known(name: str) -> bool:
    """Whether the table has an operator of this name or alias."""
    return name in _NAMES


def _schema(
    function: Callable[..., Any], when: Mapping[str, Callable[..., bool]]
) -> tuple[list[InputSpec], list[AttrSpec], bool]:
    inputs: list[InputSpec] = []
    attrs: list[AttrSpec] = []
    training = False
    for parameter in inspect.signature(function).parameters.values():
        text = str(parameter.annotation)
        if parameter.name in ("out", "name", "attr", "extra", "ctx"):
            raise TypeError(f"operator {function.__name__}: the parameter name {parameter.name!r} is taken by every "
                            "generated function")
        if text == "Training":
            training = True
        elif text.startswith("Tensor"):
            variadic = parameter.kind is inspect.Parameter.VAR_POSITIONAL
            optional = "None" in text
            inputs.append(InputSpec(parameter.name, optional, variadic, when.get(parameter.name)))
        else:
            if text not in PARSERS:
                raise TypeError(f"operator {function.__name__}: annotation {text!r} of {parameter.name!r} is not one "
                                f"of {sorted(PARSERS)}")
            if parameter.default is inspect.Parameter.empty:
                raise TypeError(f"operator {function.__name__}: attribute {parameter.name!r} needs a default "
                                "(REQUIRED when it must be given)")
            attrs.append(AttrSpec(parameter.name, text, parameter.default))
    return inputs, attrs, training


def operator(*, name: str | None = None, aliases: Sequence[str] = (),
             when: Mapping[str, Callable[..., bool]] | None = None,
             **rules: Any) -> Callable[[Callable[..., Any]], OpDef]:
    """Make an `OpDef` of a kernel function and put it in the TABLE.

    Parameters
    ----------
    name, aliases
        The canonical name in model files, and further public names. A prefix `_linalg_`, `_contrib_`, `_image_`,
        `_random_`, `_sample_` or `_sparse_` places it in that namespace; any other leading underscore in `_internal`.
    when
        {optional input: attrs -> bool}: which optional inputs take part.
    outputs, visible
        Number of results (int or attrs -> int), and how many of them a user sees.
    mutates
        Names of inputs that the kernel updates in place in train mode (auxiliary states).
    infer
        A rule of rules/infer.py; left out: the kernel is run on stand-ins.
    gradient
        A rule, `from_kernel`, or `unsupported(why)`; usually given with `@op.grad`.
    own_gradient
        The eager tape must use the rule, too, because it differs from the kernel's derivative (SoftmaxOutput, ties).
    view
        The kernel may return a view of input 0. "copy": an eager call copies it, so that writes to one never show in
        the other; "share": the same, except on the tape (reshapes). Compiled plans use the view in both cases.
    nondiff
        Names of float inputs that take no gradient (labels, indices, masks).
    inplace
        An expression template such as ``"{0}.relu_()"`` that overwrites input 0 when its buffer is dead, or
        attrs -> such a template.
    emit
        `(args: list[str], attrs, training) -> str | None`: source of a call faster than the kernel; None: call it.
    random, dynamic
        The kernel draws random numbers; why the output shape depends on values (such an operator cannot be traced).
    check
        Samples and a NumPy reference for the operator matrix (rules/check.py).
    batch
        A rule of rules/batch.py that says how one call does many samples, or `unsupported(why)`; left out: the
        operator's row in rules/batch_table.py, or the rule of its kind.
    variadic_count
        The attribute that carries the number of variadic inputs in model files (num_args).
    """
    def make(function: Callable[..., Any]) -> OpDef:
        inputs, attrs, training = _schema(function, when or {})
        made = OpDef(name=name or function.__name__, kernel=function, inputs=tuple(inputs), attrs=tuple(attrs),
                     doc=inspect.getdoc(function) or "", aliases=tuple(aliases), takes_training=training,
                     family=function.__module__.rsplit(".", 1)[-1], **rules)
        for key in (made.name, *made.aliases):
            if key in _NAMES:
                raise TypeError(f"operator name {key!r} is defined twice: {_NAMES[key].family} and {made.family}")
            _NAMES[key] = made
        TABLE[made.name] = made
        return made
    return make


def alias(op: OpDef, *names: str) -> None:
    """Add further names to an operator (used where an alias only exists for old model files)."""
    for key in names:
        if key in _NAMES:
            raise TypeError(f"operator name {key!r} is defined twice")
        _NAMES[key] = op
    op.aliases = (*op.aliases, *names)


def freeze() -> None:
    """Refuse silence: every operator must have a gradient rule (or a reason), a batching rule (or a reason), a check
    and a docstring. Called once at import.
    """
    silent = [f"{op.name} ({op.family}): no {what}" for op in TABLE.values()
              for what, given in (("gradient rule", op.gradient), ("batching rule", op.batch), ("check", op.check),
                                  ("docstring", op.doc))
              if not given]
    if silent:
        raise TypeError("operators without a rule or a reason:\n  " + "\n  ".join(silent))
