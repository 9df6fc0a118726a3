"""Pictures of a symbol: `print_summary` prints a table of its layers, `plot_network` draws its graph.

The one idea: both read the public JSON form of the graph, so they also work for graphs loaded from a file.
`plot_network` returns a `Digraph` that knows its text in the DOT language; only turning that into SVG or PDF needs the
program `dot` of Graphviz. For a table of a block with the shapes of one call see `Block.summary`; for what a compiled
block does see `net.explain()`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from .base.errors import ArgumentError, MXNetError, explain
from .base.files import write_atomically

__all__ = ["Digraph", "plot_network", "print_summary"]

Shape = tuple[int, ...]
_WEIGHT_ENDINGS: Final = (
    "weight",
    "bias",
    "gamma",
    "beta",
    "running_mean",
    "running_var",
    "moving_mean",
    "moving_var",
    "parameters",
    "state",
    "state_cell",
    "alpha",
)


@dataclass(frozen=True, slots=True)
class _Node:
    """One node of the graph as both functions need it."""

    index: int
    name: str
    operator: str  # "null" for a variable
    attributes: dict[str, str]
    inputs: tuple[int, ...]


def _nodes(symbol: Any) -> list[_Node]:
    """Return the nodes of a symbol in topological order."""
    if not hasattr(symbol, "tojson"):
        raise ArgumentError(
            explain(
                "visualization",
                "Not a symbol.",
                expected="a Symbol",
                received=type(symbol).__name__,
                fix="Trace a block first: net(mx.sym.var('data')).",
            )
        )
    graph = json.loads(symbol.tojson())
    return [
        _Node(
            index,
            node["name"],
            node["op"],
            node.get("attrs", node.get("param", {})) or {},
            tuple(edge[0] for edge in node["inputs"]),
        )
        for index, node in enumerate(graph["nodes"])
    ]


def _shapes(symbol: Any, shape: dict[str, Shape] | None) -> dict[str, Shape]:
    """Return the shape of each variable and each node's first output; nothing when `shape` is not given."""
    if shape is None:
        return {}
    internals = symbol.get_internals()
    arguments, outputs, auxiliary = internals.infer_shape(**shape)
    if outputs is None:
        raise ArgumentError(
            explain(
                "visualization",
                "The shapes cannot be inferred.",
                expected="the shape of every data input",
                received=shape,
                fix="Complete the dictionary `shape`.",
            )
        )
    known: dict[str, Shape] = {}
    for names, sizes in ((internals.list_arguments(), arguments), (internals.list_auxiliary_states(), auxiliary)):
        known.update(zip(names, map(tuple, sizes), strict=True))
    for name, size in zip(internals.list_outputs(), outputs, strict=True):
        node = name.removesuffix("_output") if name not in known else name
        known.setdefault(node, tuple(size))
        known.setdefault(node.rpartition("_output")[0] or node, tuple(size))
    return known


def _is_weight(node: _Node) -> bool:
    return node.operator == "null" and node.name.endswith(_WEIGHT_ENDINGS)


# --------------------------------------------------------------------------------------------------------- table
def print_summary(
    symbol: Any,
    shape: dict[str, Shape] | None = None,
    line_length: int = 120,
    positions: Sequence[float] = (0.44, 0.64, 0.74, 1.0),
) -> None:
    """Print one row per layer: its name and operator, output shape, number of parameters, and the layers before it.

    Parameters
    ----------
    symbol : Symbol
    shape : dict of str to tuple of int, optional
        Shapes of the data inputs, with the batch axis. Without it sizes and counts are left empty.
    line_length : int
        Characters in a line.
    positions : sequence of float
        Where each of the four columns ends: shares of the line when the last is at most 1, else characters.
    """
    ends = [int(line_length * end) if positions[-1] <= 1 else int(end) for end in positions]
    nodes = _nodes(symbol)
    known = _shapes(symbol, shape)
    print("_" * line_length)
    print(_row(ends, "Layer (type)", "Output Shape", "Param #", "Previous Layer"))
    print("=" * line_length)
    total = 0
    data_names = set(shape or ())
    auxiliary = set(symbol.list_auxiliary_states())
    rows = [node for node in nodes if node.operator != "null" or not _is_weight(node) or node.name in data_names]
    for number, node in enumerate(rows):
        weights = [
            nodes[index] for index in node.inputs if nodes[index].operator == "null" and nodes[index] not in rows
        ]
        count = sum(
            _product(known[weight.name]) for weight in weights if weight.name in known and weight.name not in auxiliary
        )
        total += count
        before = [nodes[index].name for index in node.inputs if nodes[index] in rows]
        size = "x".join(str(each) for each in known[node.name][1:]) if node.name in known else ""
        print(_row(ends, f"{node.name}({node.operator})", size, str(count), before[0] if before else ""))
        for name in before[1:]:
            print(_row(ends, "", "", "", name))
        print(("=" if number == len(rows) - 1 else "_") * line_length)
    print(f"Total params: {total}")
    print("_" * line_length)


def _product(shape: Shape) -> int:
    size = 1
    for each in shape:
        size *= each
    return size


def _row(ends: Sequence[int], *cells: str) -> str:
    """Return one line whose cells end at the given columns."""
    line = ""
    for cell, end in zip(cells, ends, strict=False):
        line = (line + cell)[:end].ljust(end)
    return line


# ----------------------------------------------------------------------------------------------------------- drawing
_COLOURS: Final = {
    "null": "#8dd3c7",
    "FullyConnected": "#fb8072",
    "Convolution": "#fb8072",
    "Deconvolution": "#fb8072",
    "RNN": "#fb8072",
    "Embedding": "#fb8072",
    "Activation": "#ffffb3",
    "LeakyReLU": "#ffffb3",
    "BatchNorm": "#bebada",
    "LayerNorm": "#bebada",
    "InstanceNorm": "#bebada",
    "GroupNorm": "#bebada",
    "Pooling": "#80b1d3",
    "Concat": "#fdb462",
    "concat": "#fdb462",
    "Flatten": "#fdb462",
    "Reshape": "#fdb462",
    "softmax": "#b3de69",
    "SoftmaxOutput": "#b3de69",
    "log_softmax": "#b3de69",
}
_OTHER_COLOUR: Final = "#fccde5"


def plot_network(
    symbol: Any,
    title: str = "plot",
    save_format: str = "pdf",
    shape: dict[str, Shape] | None = None,
    dtype: dict[str, Any] | None = None,
    node_attrs: dict[str, str] | None = None,
    hide_weights: bool = True,
) -> Digraph:
    """Return a drawing of a symbol's graph, data at the bottom and outputs at the top.

    Parameters
    ----------
    symbol : Symbol
    title : str
        Name of the drawing, and of the file that `render` writes.
    save_format : str
        The format `render` writes when none is given: "pdf", "svg", "png", ...
    shape : dict of str to tuple of int, optional
        Shapes of the data inputs; with it every edge shows the shape that flows along it.
    dtype : dict, optional
        Accepted for compatibility; the drawing does not show dtypes.
    node_attrs : dict of str to str, optional
        DOT attributes that replace the defaults of every node.
    hide_weights : bool
        Whether variables that are parameters are left out.

    Returns
    -------
    Digraph
        `to_dot()` is its text; `render()` writes a picture and needs the program `dot`.
    """
    known = _shapes(symbol, shape)
    nodes = _nodes(symbol)
    drawing = Digraph(title, save_format)
    base = {
        "shape": "box",
        "fixedsize": "true",
        "width": "1.3",
        "height": "0.8034",
        "style": "filled",
        **(node_attrs or {}),
    }
    hidden = {node.index for node in nodes if hide_weights and _is_weight(node)}
    for node in nodes:
        if node.index in hidden:
            continue
        look = {**base, "fillcolor": _COLOURS.get(node.operator, _OTHER_COLOUR)}
        if node.operator == "null" and "shape" not in (node_attrs or {}):
            look["shape"] = "oval"
        drawing.node(node.name, label=_label(node), **look)
        for source in node.inputs:
            if source in hidden:
                continue
            flowing = known.get(nodes[source].name)
            extra = {"label": "x".join(str(size) for size in flowing[1:])} if flowing else {}
            drawing.edge(node.name, nodes[source].name, dir="back", arrowtail="open", **extra)
    return drawing


def _label(node: _Node) -> str:
    """Return what a node says: its operator and the attributes that matter most."""
    if node.operator == "null":
        return node.name
    details = [
        value
        for key in ("kernel", "num_filter", "num_hidden", "act_type", "pool_type", "mode", "p", "axis", "dim", "stride")
        if (value := node.attributes.get(key))
    ]
    return "\n".join([node.operator, ", ".join(details)]) if details else node.operator


@final
class Digraph:
    """A directed graph in the DOT language.

    >>> drawing = Digraph("tiny")
    >>> drawing.node("a", label="input")
    >>> drawing.edge("b", "a")
    >>> print(drawing.to_dot())
    digraph "tiny" {
      "a" [label="input"]
      "b" -> "a"
    }
    """

    def __init__(self, name: str, format: str = "pdf") -> None:
        self.name = name
        self.format = format
        self._lines: list[str] = []

    def node(self, name: str, **attributes: str) -> None:
        """Add a node."""
        self._lines.append(f"  {_quoted(name)}{_brackets(attributes)}")

    def edge(self, tail: str, head: str, **attributes: str) -> None:
        """Add an edge."""
        self._lines.append(f"  {_quoted(tail)} -> {_quoted(head)}{_brackets(attributes)}")

    def to_dot(self) -> str:
        """Return the graph as text in the DOT language."""
        return "\n".join([f"digraph {_quoted(self.name)} {{", *self._lines, "}"])

    source = property(to_dot, doc="The graph as text in the DOT language.")

    def __str__(self) -> str:
        return self.to_dot()

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dot().splitlines())

    def save(self, filename: str | None = None) -> str:
        """Write the text to a file and return its path; by default the drawing's name with the ending `.dot`."""
        path = filename or f"{self.name}.dot"
        write_atomically(path, self.to_dot().encode())
        return path

    def pipe(self, format: str | None = None) -> bytes:
        """Return the picture as bytes of the given format.

        Raises
        ------
        MXNetError
            When the program `dot` of Graphviz is not installed, or refuses the format.
        """
        program = shutil.which("dot")
        if program is None:
            raise MXNetError(
                explain(
                    "plot_network",
                    "Drawing needs the program `dot`, which was not found.",
                    expected="Graphviz on the PATH",
                    received="no `dot`",
                    fix="Install Graphviz (apt install graphviz), or use .to_dot() and any viewer of DOT files.",
                )
            )
        done = subprocess.run(
            [program, f"-T{format or self.format}"], input=self.to_dot().encode(), capture_output=True, check=False
        )
        if done.returncode:
            raise MXNetError(
                explain(
                    "plot_network",
                    f"`dot` could not draw: {done.stderr.decode(errors='replace').strip()}",
                    received=f"format {format or self.format!r}",
                    fix="Try format='svg'.",
                )
            )
        return done.stdout

    def render(self, filename: str | None = None, view: bool = False, format: str | None = None) -> str:
        """Write the picture to `filename` plus its format's ending and return the path."""
        kind = format or self.format
        path = f"{filename or self.name}.{kind}"
        write_atomically(path, self.pipe(kind))
        if view:
            print(f"The drawing is in {os.path.abspath(path)}")
        return path

    def view(self, filename: str | None = None) -> str:
        """Write the picture and print where it is."""
        return self.render(filename, view=True)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show the drawing in a notebook: as SVG where `dot` is installed, else as text."""
        if shutil.which("dot") is None:
            return {"text/plain": self.to_dot()}
        return {"image/svg+xml": self.pipe("svg").decode()}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _brackets(attributes: dict[str, str]) -> str:
    if not attributes:
        return ""
    return " [" + ", ".join(f"{key}={_quoted(str(value))}" for key, value in attributes.items()) + "]"
