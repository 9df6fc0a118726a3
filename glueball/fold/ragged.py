"""From a traced graph to a Program; with lists of children, to one that serves any number of them.

The one idea: a graph traced for k children contains k copies of the same computation. One copy, written over the
list's symbol, becomes steps on level "edge"; where the copies meet, the meeting must be a sum, mean or maximum over all
of them, and becomes a reduction. So every traced value is one of four: a node's (`Plain`), one child's (`Child`), a
sum or maximum that is still being added up (`Terms`), or all children's joined along an axis (`Joined`). What fits
none of these is refused with a reason in words.

Two readings are possible where the trace cannot tell: a division by k of a sum over k children is taken as a mean,
and something added k times beside the children as added for each child. Tracing for another k and `verify.agrees` tell.

Not here: the program (steps.py), expressions (expression.py), running them for comparison (verify.py).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from ..base.errors import MXNetError, explain
from ..ops.opdef import OpDef, TensorType, lookup
from ..symbol.graph import Node, Value, execution_order, present
from .expression import UNKNOWN, Algebra, Expression, ProgramBuilder
from .steps import Program
from .terms import COMBINING, Term, imbalance, settle, signs_of
from .verify import Lifted, Operand, agrees, lift

__all__ = ["find_ragged", "to_program"]

Types = Mapping[Node, tuple[TensorType, ...]]
SOFTMAXES = ("softmax", "log_softmax", "softmin")
# their gradients are not those of their values, and know the size of the whole batch
LOSSES = frozenset({"make_loss", "MakeLoss", "IdentityAttachKLSparseReg", "SoftmaxOutput", "SVMOutput",
                    "LinearRegressionOutput", "MAERegressionOutput", "LogisticRegressionOutput"})


@final
@dataclass(frozen=True, slots=True)
class Plain:
    """A value of the node: the same expression whichever child is looked at."""

    expression: Expression


@final
@dataclass(frozen=True, slots=True)
class Child:
    """What `expression` is for one child."""

    expression: Expression
    index: int


@final
@dataclass(frozen=True, slots=True)
class Terms:
    """A sum or maximum whose children have not all been met (kind: "sum", "max" or "min")."""

    kind: str
    terms: tuple[Term, ...]
    type: TensorType


@final
@dataclass(frozen=True, slots=True)
class Joined:
    """All children's values in order, stacked along a new axis or concatenated along one they have.

    before, after : values of the node in front of the children and behind them, of the same type
    """

    expression: Expression
    axis: int
    stacked: bool
    before: tuple[Expression, ...] = ()
    after: tuple[Expression, ...] = ()

    @property
    def parts(self) -> tuple[Expression, ...]:
        """What is joined, the children as one."""
        return (*self.before, self.expression, *self.after)

    def like(self, parts: Sequence[Expression], axis: int | None = None, stacked: bool | None = None) -> Joined:
        """Return other parts in the same places."""
        first = len(self.before)
        return Joined(parts[first], self.axis if axis is None else axis, self.stacked if stacked is None else stacked,
                      tuple(parts[:first]), tuple(parts[first + 1:]))


Meaning: TypeAlias = "Plain | Child | Terms | Joined"


@final
class NotRagged(Exception):
    """Why a graph does not serve any number of children."""


def to_program(outputs: Sequence[Value], arguments: Sequence[Node], shared: Sequence[Node], types: Types) -> Program:
    """Turn a graph without lists of children into a Program: every step on level "node".

    Parameters
    ----------
    outputs
        Results of the graph, in order.
    arguments, shared
        Variables of the call's arguments, in order; parameters and constants.
    types
        Type of every value of every node that the outputs depend on.

    Raises
    ------
    MXNetError
        When the graph reads a variable that is neither an argument nor shared.
    """
    builder = ProgramBuilder()
    slots: dict[Value, int] = {}
    for variable in (*arguments, *shared):
        slots[Value(variable)] = builder.slot(types.get(variable, (UNKNOWN,))[0])
    for node in execution_order(outputs):
        if node.op is None:
            if Value(node) not in slots:
                raise MXNetError(explain("fold", "A graph reads a variable that it is given no value for.",
                                         expected=", ".join(v.node.name for v in slots), received=node.name))
            continue
        inputs = in_signature_order(node.op, node, [slots[v] for v in node.inputs])
        made = builder.step(node.op, node.attrs, inputs, types[node], origin=node.origin)
        slots.update({Value(node, i): slot for i, slot in enumerate(made)})
    return builder.finish([slots[Value(n)] for n in arguments], [slots[Value(n)] for n in shared],
                          [slots[v] for v in outputs])


def find_ragged(outputs: Sequence[Value], arguments: Sequence[Node | Sequence[Node]], shared: Sequence[Node],
                types: Types, training: bool = False) -> Program | str:
    """Turn a graph traced for two or more children into a Program for any number of them, or say why not.

    Parameters
    ----------
    outputs
        Results of the graph, in order.
    arguments
        The call's arguments, in order: a variable for an array, the list of its variables for a list of children.
    shared
        Parameters and constants.
    types
        Type of every value of every node that the outputs depend on.
    training
        Whether the graph was traced in train mode: operators that update a state are then refused.

    Returns
    -------
    The program, one slot per argument (level "edge" for a list of children), or the reason as text. The program has
    been compared with this graph; compare it with graphs for other numbers of children by `verify.agrees`.
    """
    lists = [a for a in arguments if isinstance(a, Sequence)]
    if not lists:
        return to_program(outputs, [a for a in arguments if not isinstance(a, Sequence)], shared, types)
    sizes = {len(a) for a in lists}
    if len(sizes) > 1:
        return f"the lists of this call have different lengths: {', '.join(str(len(a)) for a in lists)}"
    count, = sizes
    if count < 2:
        return f"a call with {count} child{'' if count else 'ren'} does not show how children are put together"
    try:
        program = _Reader(count, types, training).read(outputs, arguments, shared)
    except NotRagged as reason:
        return str(reason)
    if not agrees(program, outputs, arguments, shared, types):
        return "the program found for any number of children does not compute what the block does"
    return program


def in_signature_order(op: OpDef, node: Node, values: Sequence[Any]) -> tuple[Any, ...]:
    """Place what belongs to a node's inputs in the order of the operator's signature, None where one is absent."""
    if op.variadic:
        return tuple(values)
    given = dict(zip(present(node), values))
    return tuple(given.get(name) for name in op.input_names)


@final
class _Reader:
    """Reads a graph, node by node, as expressions."""

    def __init__(self, count: int, types: Types, training: bool) -> None:
        self.count, self.types, self.training = count, types, training
        self.algebra = Algebra()
        self.meanings: dict[Value, Meaning] = {}
        self.drawn: dict[Any, int] = {}

    def read(self, outputs: Sequence[Value], arguments: Sequence[Node | Sequence[Node]],
             shared: Sequence[Node]) -> Program:
        """Return the program; raises NotRagged."""
        variables: list[Expression] = []
        for argument in arguments:
            nodes = argument if isinstance(argument, Sequence) else [argument]
            kinds = {self.types[n][0] for n in nodes if n in self.types}
            if len(kinds) > 1:
                raise NotRagged(f"the children of a list differ in shape or dtype: {', '.join(map(_text, kinds))}")
            level = "edge" if isinstance(argument, Sequence) else "node"
            variable = self.algebra.variable(next(iter(kinds), UNKNOWN), level)
            variables.append(variable)
            for i, node in enumerate(nodes):
                self.meanings[Value(node)] = Child(variable, i) if level == "edge" else Plain(variable)
        common = [self.algebra.variable(self.types.get(n, (UNKNOWN,))[0], shared=True) for n in shared]
        self.meanings.update({Value(n): Plain(e) for n, e in zip(shared, common)})
        for node in execution_order(outputs):
            if node.op is not None:
                found = self._visit(node, node.op)
                self.meanings.update({Value(node, i): meaning for i, meaning in enumerate(found)})
            elif Value(node) not in self.meanings:
                raise NotRagged(f"the graph reads {node.name!r}, which it is given no value for")
        return self.algebra.emit(variables, common, [self._result(i, v) for i, v in enumerate(outputs)])

    def _result(self, position: int, value: Value) -> Expression:
        meaning = self._resolved(self.meanings[value])
        if isinstance(meaning, Plain):
            return meaning.expression
        made = f"; it is made {_at(value.node)}" if value.node.origin else ""
        if isinstance(meaning, Child):
            raise NotRagged(f"result {position} depends on child {meaning.index} alone{made}")
        if isinstance(meaning, Joined):
            raise NotRagged(f"result {position} holds a value for each child{made}")
        raise NotRagged(f"result {position} treats the children differently: {self._why(meaning)}{made}")

    # -- one node ------------------------------------------------------------------------------------------------------
    def _visit(self, node: Node, op: OpDef) -> Sequence[Meaning]:
        if op.mutates and self.training:
            raise NotRagged(f"{op.name} updates a state in train mode, {_at(node)}")
        ins = [self.meanings[v] for v in node.inputs]
        if _changes_nothing(node, op) and self.types[node] == (self._type(node.inputs[0]),):
            return ins
        if any(isinstance(m, Terms) for m in ins) and op.name not in COMBINING:
            ins = [self._resolved(m) for m in ins]
        children = {m.index for m in ins if isinstance(m, Child)}
        bundled = any(isinstance(m, Terms | Joined) for m in ins)
        if not bundled and len(children) <= 1:
            return self._direct(node, op, ins, next(iter(children), None))
        if op.name in COMBINING and not any(isinstance(m, Joined) for m in ins):
            return [self._combined(node, op, ins)]
        ins = [self._resolved(m) for m in ins]
        for m in ins:
            if isinstance(m, Terms):
                raise NotRagged(f"{op.name} uses a {m.kind} that treats the children differently: {self._why(m)}, "
                                f"{_at(node)}")
        if any(isinstance(m, Joined) for m in ins):
            if not any(isinstance(m, Child) for m in ins):
                return self._on_joined(node, op, ins)
        elif op.name in ("stack", "Concat"):
            return [self._join(node, op, ins)]
        elif len({m.index for m in ins if isinstance(m, Child)}) <= 1:
            return self._direct(node, op, ins, next(iter(children), None))
        raise NotRagged(f"{op.name} mixes single children in another way than a sum, mean or maximum over all, "
                        f"{_at(node)}")

    def _why(self, meaning: Terms) -> str:
        return imbalance(meaning.kind, meaning.terms, self.count) or "their shapes do not fit together"

    def _type(self, value: Value) -> TensorType:
        return self.types[value.node][value.index]

    def _direct(self, node: Node, op: OpDef, ins: Sequence[Meaning], child: int | None) -> Sequence[Meaning]:
        """Apply an operator to values of the node and of at most one child."""
        inputs = [m.expression for m in ins if not isinstance(m, Terms)]
        attrs: Mapping[str, Any] = node.attrs
        if child is None:
            mean = self._as_mean(op, attrs, inputs)
            if mean is not None:
                return [Plain(mean)]
        elif op.name in ("zeros_like", "ones_like"):  # of a child: nothing of that child is in it
            kind = self.types[node][0]
            filled = lookup("_zeros" if op.name == "zeros_like" else "_ones")
            made = self.algebra.apply(filled, filled.typed({"shape": kind.shape, "dtype": kind.dtype}), (), (kind,))
            return [Plain(made[0])]
        mark = None
        if _draws(op, attrs):
            key = (op, node.attr_key, tuple(inputs), child)
            mark = self.drawn[key] = self.drawn.get(key, 0) + 1
        made = self.algebra.apply(op, attrs, in_signature_order(op, node, inputs), self.types[node], node.origin, mark)
        return [Plain(e) if child is None else Child(e, child) for e in made]

    def _as_mean(self, op: OpDef, attrs: Mapping[str, Any], inputs: Sequence[Expression]) -> Expression | None:
        """Recognise a sum over the children divided by their number."""
        if not _divides(op, attrs, self.count):
            return None
        return self._mean(inputs[0])

    def _mean(self, sum_of: Expression) -> Expression | None:
        made = sum_of.of
        if made.op == "sum":
            return self.algebra.reduce("mean", sum_of.operand)
        if made.name in ("elemwise_add", "broadcast_add", "add_n", "elemwise_sub", "broadcast_sub"):
            parts = [None if i is None else self._mean(i) for i in made.inputs]
        elif made.name in ("expand_dims", "squeeze", "Reshape", "transpose", "SliceChannel", "slice_axis", "negative"):
            parts = [self._mean(sum_of.operand)]
        else:
            return None
        if any(p is None for p in parts):
            return None
        return self.algebra.apply(made.op, made.attrs, parts, made.types, made.origin)[sum_of.index]

    # -- children meet -------------------------------------------------------------------------------------------------
    def _combined(self, node: Node, op: OpDef, ins: Sequence[Meaning]) -> Meaning:
        """Add up, or take the maximum of, terms that belong to different children."""
        kind, kinds = COMBINING[op.name], {self._type(v).dtype for v in node.inputs}
        terms: list[Term] = []
        for sign, given in zip(signs_of(op, len(ins)), ins):
            meaning = given if isinstance(given, Terms) and given.kind == kind else self._resolved(given)
            if isinstance(meaning, Joined) or (isinstance(meaning, Terms) and meaning.kind != kind):
                raise NotRagged(f"{op.name} mixes single children with something else, {_at(node)}")
            if isinstance(meaning, Terms):
                terms += [Term(sign * t.sign, t.expression, t.child) for t in meaning.terms]
            else:
                child = meaning.index if isinstance(meaning, Child) else None
                terms.append(Term(sign, meaning.expression, child))
        if len(kinds) > 1:
            raise NotRagged(f"{op.name} mixes dtypes while it puts children together, {_at(node)}")
        result = self.types[node][0]
        found = settle(self.algebra, kind, terms, self.count, result, final=False)
        return Plain(found) if found is not None else Terms(kind, tuple(terms), result)

    def _resolved(self, meaning: Meaning) -> Meaning:
        """Close a sum or maximum when all children are in it."""
        if not isinstance(meaning, Terms):
            return meaning
        found = settle(self.algebra, meaning.kind, meaning.terms, self.count, meaning.type, final=True)
        return meaning if found is None else Plain(found)

    def _join(self, node: Node, op: OpDef, ins: Sequence[Meaning]) -> Meaning:
        """Recognise a stack or concatenation of all children in order, perhaps with values of the node around them."""
        found = [m for m in ins if isinstance(m, Child)]
        first = next(i for i, m in enumerate(ins) if isinstance(m, Child))
        before = tuple(m.expression for m in ins[:first] if isinstance(m, Plain))
        after = tuple(m.expression for m in ins[first + self.count:] if isinstance(m, Plain))
        if [m.index for m in found] == list(range(self.count)) and len({m.expression for m in found}) == 1 and (
                len(before) + self.count + len(after) == len(ins)):
            own = found[0].expression
            if all(e.type == own.type for e in (*before, *after)):
                stacked, rank = op.name == "stack", len(self.types[node][0].shape or ())
                axis = int(node.attrs["axis" if stacked else "dim"]) % rank
                return Joined(own, axis, stacked, before, after)
        raise NotRagged(f"{op.name} joins something else than the same value of every child in order, {_at(node)}")

    # -- operators on joined children ----------------------------------------------------------------------------------
    def _on_joined(self, node: Node, op: OpDef, ins: Sequence[Meaning]) -> Sequence[Meaning]:
        values: list[Plain | Joined] = [m for m in ins if isinstance(m, Plain | Joined)]
        pattern = next(m for m in values if isinstance(m, Joined))
        layout = (len(pattern.before), len(pattern.after))
        if any((len(m.before), len(m.after)) != layout for m in values if isinstance(m, Joined)):
            raise NotRagged(f"{op.name} mixes joined children with more of them, {_at(node)}")
        if op.name in SOFTMAXES and len(values) == 1:
            found = self._softmax(node, op, pattern)
            if found is not None:
                return [found]
        picked = self._picked(node, op, values[0])
        if picked is not None:
            return picked
        if op.name in LOSSES:
            raise NotRagged(f"{op.name} on joined children: its gradient depends on their number, {_at(node)}")
        if _draws(op, node.attrs) and node.attrs.get("axes"):
            raise NotRagged(f"{op.name} shares its draws along an axis of joined children, {_at(node)}")
        values = [_repeated(m, self.count, pattern) for m in values]
        operands = [Operand(m.expression.type, m.axis, m.stacked) if isinstance(m, Joined) else
                    Operand(m.expression.type) for m in values]
        lifted = lift(op, node.attrs, in_signature_order(op, node, operands), self.count + sum(layout))
        if lifted is None:
            raise NotRagged(f"{op.name} on joined children is neither the same for each child nor a sum, mean or "
                            f"maximum over them, {_at(node)}")
        made = [self._on_part(node, op, lifted, [self._part(m, i, lifted.expand) for m in values])
                for i in range(len(pattern.parts))]
        if lifted.kind in ("stack", "concat"):
            return [pattern.like(parts, axis, lifted.kind == "stack") for parts, axis in zip(zip(*made), lifted.axes)]
        reduced = self._reduce(lifted.kind, pattern.like([m[0] for m in made]))
        if lifted.keepdims is not None:
            reduced = self.algebra.call("expand_dims", reduced, axis=lifted.keepdims)
        elif lifted.squeeze is not None:
            reduced = self.algebra.call("squeeze", reduced, axis=lifted.squeeze)
        return [Plain(reduced)]

    def _on_part(self, node: Node, op: OpDef, lifted: Lifted, inputs: Sequence[Expression]) -> Sequence[Expression]:
        """Apply an operator on joined values to one part of each."""
        if not lifted.apply:
            return inputs
        mark = None
        if _draws(op, node.attrs):
            key = (op, node.attr_key, tuple(inputs))
            mark = self.drawn[key] = self.drawn.get(key, 0) + 1
        return self.algebra.apply(op, lifted.attrs, in_signature_order(op, node, inputs), lifted.types, node.origin,
                                  mark)

    def _part(self, value: Plain | Joined, place: int, expand: bool) -> Expression:
        """Return one part, if `expand` with the axis along which the parts are joined."""
        if isinstance(value, Plain):
            return value.expression
        part = value.parts[place]
        return self.algebra.call("expand_dims", part, axis=value.axis) if expand and value.stacked else part

    def _reduce(self, kind: str, joined: Joined) -> Expression:
        """Reduce the children, and take in what is joined to them."""
        call, own, others = self.algebra.call, joined.expression, (*joined.before, *joined.after)
        if kind == "sum" or (kind == "mean" and others):
            total = self.algebra.sum(own, self.count) if kind == "sum" else self.algebra.reduce("sum", own)
            for other in others:
                total = call("elemwise_add", total, other)
            if kind == "sum":
                return total
            number = self.algebra.reduce("sum", call("ones_like", own))
            return call("elemwise_div", total, call("_plus_scalar", number, scalar=len(others)))
        if kind == "mean":
            return self.algebra.reduce("mean", own)
        total = self.algebra.extreme(kind, own)
        if not others:
            return total
        for other in others:
            total = call("_maximum" if kind == "max" else "_minimum", total, other)
        total = call("BlockGrad", total)

        def pull(part: Expression) -> Expression:  # 0, with the gradient of what equals the result: all of them get it
            rest = call("elemwise_sub", part, call("BlockGrad", part))
            return call("elemwise_mul", call("_equal", part, total), rest)
        result = call("elemwise_add", total, self.algebra.reduce("sum", pull(own)))
        for other in others:
            result = call("elemwise_add", result, pull(other))
        return result

    def _softmax(self, node: Node, op: OpDef, joined: Joined) -> Joined | None:
        """Write a softmax over the children as a maximum, a sum, and steps of each child."""
        attrs, call = node.attrs, self.algebra.call
        rank = len(self.types[node][0].shape or ())
        if int(attrs["axis"]) % rank != joined.axis or attrs.get("use_length") or attrs.get("dtype") is not None:
            return None
        dtype = joined.expression.type.dtype
        short = str(dtype) in ("torch.float16", "torch.bfloat16")  # the kernel counts in float32, too
        scores = [call("Cast", e, dtype="float32") if short else e for e in joined.parts]
        if op.name == "softmin":
            scores = [call("negative", e) for e in scores]
        if attrs.get("temperature"):
            scores = [call("_div_scalar", e, scalar=float(attrs["temperature"])) for e in scores]
        several = not joined.stacked and joined.expression.shape[joined.axis] != 1
        within: dict[str, Any] = {"axis": (joined.axis,), "keepdims": True}
        subtract, divide = ("broadcast_sub", "broadcast_div") if several else ("elemwise_sub", "elemwise_div")
        highest = self._reduce("max", joined.like([call("max", e, **within) if several else e for e in scores]))
        highest = call("BlockGrad", highest)  # the shift cancels: it needs no gradient
        shifted = [call(subtract, e, highest) for e in scores]
        powers = [call("exp", e) for e in shifted]
        total = self._reduce("sum", joined.like([call("sum", e, **within) if several else e for e in powers]))
        if op.name == "log_softmax":
            logarithm = call("log", total)
            found = [call(subtract, e, logarithm) for e in shifted]
        else:
            found = [call(divide, e, total) for e in powers]
        return joined.like([call("Cast", e, dtype=dtype) for e in found] if short else found)

    def _picked(self, node: Node, op: OpDef, joined: Plain | Joined) -> Sequence[Meaning] | None:
        """Recognise single parts taken out of joined ones again."""
        if not isinstance(joined, Joined):
            return None
        attrs, axis, number = node.attrs, joined.axis, len(joined.before) + self.count + len(joined.after)
        whole = self._type(node.inputs[0]).shape or ()
        size = (whole[axis] or 0) // number
        if op.name == "SliceChannel" and int(attrs["axis"]) % len(whole) == axis and attrs["num_outputs"] == number:
            squeeze = attrs["squeeze_axis"] and size == 1
            parts = [self._part(joined, i, not squeeze) for i in range(len(joined.parts))]
            if squeeze and not joined.stacked:
                parts = [self.algebra.call("squeeze", e, axis=axis) for e in parts]
            return [self._placed(joined.like(parts), i) for i in range(number)]
        bounds: tuple[Any, Any] | None = None
        if op.name == "slice_axis" and int(attrs["axis"]) % len(whole) == axis:
            bounds = attrs["begin"], attrs["end"]
        elif op.name == "slice" and not any(s not in (None, 1) for s in attrs["step"]) and len(attrs["begin"]) > axis:
            bounds = attrs["begin"][axis], attrs["end"][axis]
        if bounds is None:
            return None
        begin, end = slice(*bounds).indices(whole[axis] or 0)[:2]
        if end - begin != size or begin % size:
            return None
        parts = [self._part(joined, i, True) for i in range(len(joined.parts))]
        if op.name == "slice":
            inner = {name: (*attrs[name][:axis], value, *attrs[name][axis + 1:])
                     for name, value in (("begin", 0), ("end", size))}
            parts = [self.algebra.call("slice", e, **inner, step=attrs["step"]) for e in parts]
        return [self._placed(joined.like(parts), begin // size)]

    def _placed(self, joined: Joined, position: int) -> Meaning:
        """Return what stands at a position of the joined values."""
        child = position - len(joined.before)
        if 0 <= child < self.count:
            return Child(joined.expression, child)
        return Plain(joined.before[position] if child < 0 else joined.after[child - self.count])


def _repeated(value: Plain | Joined, count: int, pattern: Joined) -> Plain | Joined:
    """Recognise a node's value that was repeated for each child, so that it fits joined ones."""
    if isinstance(value, Joined) or isinstance(value.expression.of.op, str) or not value.expression.of.inputs:
        return value
    made, source = value.expression.of, value.expression.operand
    attrs, own, whole = made.attrs, source.shape, value.expression.shape
    number, parts = count + len(pattern.parts) - 1, [source] * len(pattern.parts)
    if made.name in ("Concat", "stack") and len(made.inputs) == number and set(made.inputs) == {source}:
        stacked = made.name == "stack"
        return pattern.like(parts, int(attrs["axis" if stacked else "dim"]) % len(whole), stacked)
    if made.name in ("broadcast_to", "broadcast_axis", "tile", "repeat") and len(own) == len(whole):
        axes = [i for i, (a, b) in enumerate(zip(own, whole)) if a != b]
        if len(axes) == 1 and whole[axes[0]] == number * own[axes[0]] and (own[axes[0]] == 1 or made.name == "tile"):
            return pattern.like(parts, axes[0], False)
    return value


def _changes_nothing(node: Node, op: OpDef) -> bool:
    """Whether the operator returns its input: `0 + x`, as in Python's sum(), and the like."""
    if op.name == "_copy":
        return True
    neutral = {"_plus_scalar": 0, "_minus_scalar": 0, "_mul_scalar": 1, "_div_scalar": 1}.get(op.name)
    return neutral is not None and node.attrs["scalar"] == neutral


def _divides(op: OpDef, attrs: Mapping[str, Any], count: int) -> bool:
    """Whether the operator divides by `count`."""
    if op.name == "_div_scalar":
        return bool(attrs["scalar"] == count)
    return op.name == "_mul_scalar" and abs(float(attrs["scalar"]) * count - 1.0) < 1e-6


def _draws(op: OpDef, attrs: Mapping[str, Any]) -> bool:
    """Whether the operator draws random numbers with these attributes."""
    if op.name == "LeakyReLU":
        return bool(attrs["act_type"] == "rrelu")
    return op.random


def _at(node: Node) -> str:
    return f"at {node.origin}" if node.origin else f"in {node.name!r}"


def _text(kind: TensorType) -> str:
    return f"{kind.shape} {str(kind.dtype).removeprefix('torch.')}"
