"""Expressions of a unit: one computation per node or per child, kept once however often the trace repeats it.

The one idea: hash-consing. The same operator on the same expressions is the same object, so "the trace does the same
to every child" is the comparison of two pointers. `Algebra.emit` writes the expressions that the results need as a
Program, with one "spread" per value of a node that its edges read.

Not here: what a traced value means (ragged.py).
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from ..ops.opdef import OpDef, TensorType, lookup
from ..ops.rules.infer import complete
from .steps import Level, Program, Step

__all__ = ["Algebra", "Application", "Expression", "ProgramBuilder"]

UNKNOWN = TensorType()


class ProgramBuilder:
    """Hands out slots and collects steps."""

    def __init__(self) -> None:
        self.types: list[TensorType] = []
        self.levels: list[Level] = []
        self.steps: list[Step] = []

    def slot(self, kind: TensorType, level: Level = "node") -> int:
        """Return a new slot."""
        self.types.append(kind)
        self.levels.append(level)
        return len(self.types) - 1

    def step(self, op: OpDef | str, attrs: Mapping[str, Any], inputs: Sequence[int | None],
             kinds: Sequence[TensorType], level: Level = "node", origin: str = "") -> tuple[int, ...]:
        """Append a step; return the slots of its results."""
        outputs = tuple(self.slot(kind, level) for kind in kinds)
        self.steps.append(Step(op, attrs, tuple(inputs), outputs, level, origin))
        return outputs

    def finish(self, arguments: Sequence[int], shared: Sequence[int], results: Sequence[int]) -> Program:
        """Return the program."""
        return Program(tuple(self.types), tuple(self.levels), tuple(arguments), tuple(shared), tuple(self.steps),
                       tuple(results))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Application:
    """An operator applied to expressions, "sum", "mean" or "max" over a node's edges, or a variable (`op` is "").

    inputs : in the order of the operator's signature, None where an optional one is absent
    shared : the same for every sample and child, because everything it is computed from is; edges read it as it is
    """

    op: OpDef | str
    attrs: Mapping[str, Any]
    inputs: tuple[Expression | None, ...]
    types: tuple[TensorType, ...]
    level: Level
    origin: str
    shared: bool = False

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.op if isinstance(self.op, str) else self.op.name


class Expression(NamedTuple):
    """One result of an application. Compared by the application's identity."""

    of: Application
    index: int = 0

    @property
    def type(self) -> TensorType:
        """The type per sample, or per edge."""
        return self.of.types[self.index]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape per sample, or per edge; complete, as traces with arrays are."""
        return tuple(s or 0 for s in self.type.shape or ())

    @property
    def is_edge(self) -> bool:
        """Whether there is one value per child."""
        return self.of.level == "edge"

    @property
    def operand(self) -> Expression:
        """The first input of the application."""
        found = self.of.inputs[0]
        return self if found is None else found


class Algebra:
    """Makes expressions, each once."""

    def __init__(self) -> None:
        self._known: dict[Any, Application] = {}

    def variable(self, kind: TensorType, level: Level = "node", shared: bool = False) -> Expression:
        """Return a new variable: an argument, a list of children (level "edge"), or something shared."""
        return Expression(Application("", {}, (), (kind,), level, "", shared))

    def apply(self, op: OpDef | str, attrs: Mapping[str, Any], inputs: Sequence[Expression | None],
              kinds: Sequence[TensorType], origin: str = "", mark: Any = None) -> tuple[Expression, ...]:
        """Return the results of an operator; `mark` keeps apart what looks equal but draws its own random numbers."""
        names = ("ties",) if isinstance(op, str) else op.attr_names
        values = [attrs.get(name) for name in names]  # 1, 1.0 and True differ, and 0.0 and -0.0
        key = (op, tuple([(type(v), repr(v) if type(v) is float else v) for v in values]), tuple(inputs), mark)
        try:
            made = self._known.get(key)
        except TypeError:  # an attribute that cannot be hashed: equal to nothing else
            made, key = None, object()
        if made is None:
            edge = any(i is not None and i.is_edge for i in inputs) and not isinstance(op, str)
            shared = not isinstance(op, str) and not op.random and all(i is None or i.of.shared for i in inputs)
            made = self._known[key] = Application(op, attrs, tuple(inputs), tuple(kinds), "edge" if edge else "node",
                                                  origin, shared)
        return tuple(Expression(made, i) for i in range(len(kinds)))

    def call(self, name: str, *inputs: Expression, **attrs: Any) -> Expression:
        """Return the first result of an operator by name, its type inferred."""
        op = lookup(name)
        typed = op.typed(attrs)
        _, kinds = complete(op, typed, [i.type for i in inputs], (UNKNOWN,) * op.num_outputs(typed))
        padding = () if op.variadic else (None,) * (len(op.input_names) - len(inputs))
        return self.apply(op, typed, (*inputs, *padding), kinds, inputs[0].of.origin)[0]

    def reduce(self, kind: str, expression: Expression, first: bool = False) -> Expression:
        """Return a reduction over the edges of a node; `first`: see Step.attrs of "max"."""
        attrs = {"ties": "first"} if first else {}
        return self.apply(kind, attrs, (expression,), (expression.type,), expression.of.origin)[0]

    def sum(self, expression: Expression, count: int) -> Expression:
        """Return the sum over the edges; of something divided by their number, the mean."""
        scale = expression.of.attrs.get("scalar", 0) if expression.is_edge else 0
        if (expression.of.name == "_div_scalar" and scale == count) or (
                expression.of.name == "_mul_scalar" and abs(float(scale) * count - 1) < 1e-6):
            return self.reduce("mean", expression.operand)
        return self.reduce("sum", expression)

    def extreme(self, kind: str, expression: Expression, first: bool = False) -> Expression:
        """Return the "max" or "min" over the edges; `first`: see Step.attrs of "max"."""
        if kind == "max":
            return self.reduce("max", expression, first)
        return self.call("negative", self.reduce("max", self.call("negative", expression), first))

    def emit(self, arguments: Sequence[Expression], shared: Sequence[Expression],
             results: Sequence[Expression]) -> Program:
        """Write the program that computes `results`."""
        builder = ProgramBuilder()
        slots: dict[Expression, int] = {}
        for variable in (*arguments, *shared):
            slots[variable] = builder.slot(variable.type, variable.of.level)
        spread: dict[int, int] = {}

        def read(source: Expression | None, edges: bool) -> int | None:
            if source is None:
                return None
            slot = slots[source]
            if not edges or source.is_edge or source.of.shared:
                return slot
            if slot not in spread:
                spread[slot], = builder.step("spread", {}, (slot,), (source.type,), "edge", source.of.origin)
            return spread[slot]

        for made in _order(results):
            if made.op == "":
                continue
            edges = made.level == "edge" or isinstance(made.op, str)
            inputs = [read(i, edges) for i in made.inputs]
            outputs = builder.step(made.op, made.attrs, inputs, made.types, made.level, made.origin)
            slots.update({Expression(made, i): slot for i, slot in enumerate(outputs)})
        return builder.finish([slots[a] for a in arguments], [slots[s] for s in shared], [slots[r] for r in results])


def _order(results: Sequence[Expression]) -> list[Application]:
    """Return the applications that results depend on, inputs before users."""
    order: list[Application] = []
    seen: set[Application] = set()
    for result in results:
        if result.of in seen:
            continue
        seen.add(result.of)
        stack = [(result.of, 0)]
        while stack:
            made, position = stack.pop()
            if position == len(made.inputs):
                order.append(made)
                continue
            stack.append((made, position + 1))
            source = made.inputs[position]
            if source is not None and source.of not in seen:
                seen.add(source.of)
                stack.append((source.of, 0))
    return order
