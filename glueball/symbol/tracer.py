"""The tracer: the interpreter that writes down what a hybrid block does instead of doing it.

The one idea: while it is current (dispatch.CURRENT), operators on symbols become nodes; random operators become nodes
even without symbolic inputs; everything else that has only arrays runs eagerly and is a constant of the graph.
Symbols know their shape while traced, because the tracer infers types as it goes.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import Token
from typing import Any, final

from ..dispatch import CURRENT, Interpreter, Symbolic
from ..ops.opdef import OpDef, TensorType
from .graph import Node, Value
from .infer import UNKNOWN, infer_node

__all__ = ["Tracer", "current_tracer"]


@final
class Tracer:
    """Records one forward pass. `constants` maps variables that stand for arrays met on the way to those arrays."""

    def __init__(self, training: bool = False) -> None:
        self.training = training
        self.types: dict[Node, tuple[TensorType, ...]] = {}
        self.constants: dict[Node, Any] = {}
        self._by_array: dict[int, Node] = {}
        self.parameters: dict[Any, Any] = {}  # Parameter -> its symbol, filled by gluon
        self.asked = False  # whether the program looked at a shape: for other shapes it may be another one
        self.decides = False  # whether it may have decided something by it: a user's program asked
        self.effects: list[Node] = []  # nodes that update a state: they run even when nobody uses their result
        self._tokens: list[Token[Interpreter | None]] = []

    def __enter__(self) -> Tracer:
        self._tokens.append(CURRENT.set(self))
        return self

    def __exit__(self, *exc: object) -> None:
        CURRENT.reset(self._tokens.pop())

    def invoke(self, op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any], name: str | None) -> Any:
        """Compose calls that involve symbols or chance; let the rest run."""
        if op.random or any(isinstance(value, Symbolic) for value in inputs):
            from .compose import compose
            return compose(op, inputs, attrs, name)
        return NotImplemented

    def call(self, block: Any, args: tuple[Any, ...]) -> Any:
        """Trace through blocks, not around them."""
        return NotImplemented

    def before_write(self, array: Any) -> None:
        """Arrays met while tracing are constants; what is written to them later does not show, as ever."""

    def zeros(self, shape: Any, dtype: Any, ctx: Any) -> None:
        """An ordinary array will do: it becomes a constant."""

    def constant(self, array: Any) -> Node:
        """Return the variable that stands for an array met while tracing (one per array)."""
        node = self._by_array.get(id(array))
        if node is None:
            node = Node(None, f"_constant{len(self.constants)}")
            self.constants[node] = array
            self._by_array[id(array)] = node
            self.types[node] = (TensorType(array.shape, array._t.dtype),)
        return node

    def declare(self, node: Node, kind: TensorType) -> None:
        """State the type of a variable."""
        self.types[node] = (kind,)

    def type_of(self, value: Value) -> TensorType:
        """Return the type of a value, inferring what it depends on."""
        stack = [value.node]
        while stack:
            node = stack[-1]
            if node in self.types:
                stack.pop()
                continue
            if node.is_variable:
                self.types[node] = (UNKNOWN,)
                continue
            missing = [v.node for v in node.inputs if v.node not in self.types]
            if missing:
                stack.extend(missing)
                continue
            ins = [self.types[v.node][v.index] for v in node.inputs]
            new_ins, outs = infer_node(node, ins, (UNKNOWN,) * node.num_outputs, self.training)
            self.types[node] = tuple(outs)
            for v, new in zip(node.inputs, new_ins):
                if v.node.is_variable and new != self.types[v.node][0]:
                    self.types[v.node] = (new,)
            stack.pop()
        return self.types[value.node][value.index]


def current_tracer() -> Tracer | None:
    """Return the tracer that is listening, if one is."""
    interpreter = CURRENT.get()
    return interpreter if isinstance(interpreter, Tracer) else None
