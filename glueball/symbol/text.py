"""A graph as text, a line per node: for people, and for error messages."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ops.opdef import TensorType
from .graph import Node, Value, topological

__all__ = ["to_text"]


def _type(kind: TensorType) -> str:
    shape = "?" if kind.shape is None else "×".join("?" if s is None else str(s) for s in kind.shape) or "scalar"
    return f"{str(kind.dtype).removeprefix('torch.') if kind.dtype else '?'}[{shape}]"


def to_text(outputs: Sequence[Value], types: Mapping[Node, Sequence[TensorType]] | None = None) -> str:
    """Return one line per node: name, operator, inputs, attributes that differ from the defaults, and types when
    given.
    """
    lines = []
    for node in topological(outputs):
        kind = f" : {', '.join(_type(t) for t in types[node][:node.num_visible])}" if types and node in types else ""
        if node.op is None:
            lines.append(f"{node.name} = variable{kind}")
            continue
        inputs = ", ".join(v.node.name + (f"[{v.index}]" if v.node.num_outputs > 1 else "") for v in node.inputs)
        attrs = ", ".join(f"{k}={v!r}" for k, v in node.attrs.items() if node.op.defaults.get(k, None) != v)
        lines.append(f"{node.name} = {node.op.name}({inputs}{', ' if inputs and attrs else ''}{attrs}){kind}")
    return "\n".join([*lines, "return " + ", ".join(v.node.name for v in outputs)])
