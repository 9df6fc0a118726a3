"""From a checked model to our graph: every node by its rule, refusals collected, sizes opened where that is possible.

The one idea: `read` is a pure function of the model, the shapes of its inputs (one row per world, held.py) and the
numbers of those inputs that decide about the graph. A block reads a model once for open sizes; where those cannot be
kept open it reads it for the sizes of each call.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from ...autograd import pause
from ...base import dtype as dtypes
from ...base.errors import FileFormatError, MXNetError, UnsupportedError, explain
from ...dispatch import CURRENT
from ...ndarray import NDArray
from ...ops.opdef import TensorType
from ...symbol.graph import Node, Value
from .builder import Builder
from .file import Declared, Model, attribute_of, checked_nodes
from .held import Held, Needs, Refused, Sequenced, Varies
from .node import Step
from .operators import IMPORTERS
from .tensors import Array, Beside, array_of, refusal

__all__ = ["Reading", "read", "variables_of", "worlds_of"]

_DEEPEST = 32  # graphs in graphs
MORE = 20_000  # nodes than the file has: loops and functions that are written out
# Open sizes in three worlds: numbers that no layer's own size is likely to equal, and far apart, so that what depends
# on a size (the smaller of it and 512) is seen to.
_PROBES = ((67, 211, 65003), (71, 223, 65011), (73, 227, 65027), (79, 229, 65029), (83, 233, 65033), (89, 239, 65053))


@dataclass(frozen=True, slots=True)
class Reading:
    """Our graph: its outputs, its inputs, and the arrays of constants in it."""

    outputs: tuple[Value, ...]
    data: tuple[Node, ...]
    constants: Mapping[Node, NDArray]


def variables_of(model: Model) -> tuple[dict[str, Node], dict[str, Node]]:
    """Return the variables of inputs and of parameters by name; all readings of a model share them."""
    data = {one.name: Node(None, one.name, hints={"__dtype__": str(dtypes.flag_of(one.dtype))}) for one in model.inputs}
    held = {name: Node(None, name, hints={"__shape__": str(array.data.shape),
                                          "__dtype__": str(dtypes.flag_of(array.dtype))})
            for name, array in model.weights.items() if is_parameter(array)}
    return data, held


def is_parameter(array: Any) -> bool:
    """Whether a weight of the file is learned: real numbers with at least one axis."""
    return "float" in array.dtype and array.data.ndim > 0 and array.data.size > 0


def worlds_of(inputs: Sequence[Declared]) -> list[dict[str, tuple[int, ...]]]:
    """Return the shapes of the inputs in each world; none where a number of axes is not declared.

    Sizes of one name are equal in each world. With all sizes fixed there is one world.
    """
    if any(one.shape is None for one in inputs):
        return []
    names = list(dict.fromkeys(size for one in inputs for size in one.shape or () if isinstance(size, str)))
    if len(names) > len(_PROBES):
        return []
    count = len(_PROBES[0]) if names else 1
    number = {name: _PROBES[i] for i, name in enumerate(names)}
    return [{one.name: tuple(number[size][world] if isinstance(size, str) else size for size in one.shape or ())
             for one in inputs} for world in range(count)]


def read(model: Model, data: Mapping[str, Node], parameters: Mapping[str, Node],
         worlds: Sequence[Mapping[str, tuple[int, ...]]], dtypes_given: Mapping[str, str],
         values: Mapping[str, np.ndarray] | None = None) -> Reading:
    """Return the graph of a model.

    Parameters
    ----------
    model : Model
        What `open_model` returned.
    data, parameters : dict of str to Node
        The variables.
    worlds : list of dict of str to tuple
        Shapes of the inputs, per world.
    dtypes_given : dict of str to str
        Their element types.
    values : dict of str to numpy.ndarray, optional
        The numbers of inputs that decide about the graph.

    Raises
    ------
    UnsupportedError
        Operators that cannot be expressed; all of them are named.
    FileFormatError
        The model contradicts itself.
    Varies, Needs
        It must be read for one set of sizes, or with the numbers of some inputs.
    """
    builder = Builder(len(worlds), parameters, frozenset(values or ()))
    walk = _Walk(model, builder, Beside(model.directory), opsets=model.opsets)
    scope: dict[str, Held | None] = {}
    for name, node in data.items():
        kinds = [TensorType(shapes[name], dtypes.as_torch(dtypes_given[name])) for shapes in worlds]
        known = None if values is None or name not in values else [values[name]] * len(worlds)
        scope[name] = Held(kinds, known, Value(node), sources=frozenset([name]))
        walk.builder.inputs.append(Held(kinds, None, Value(node)))
    for name, array in model.weights.items():
        scope[name] = walk.builder.known(array.data, array.dtype, name if name in parameters else None)
    token = CURRENT.set(None)  # kernels run on what is known, whoever listens
    try:
        with pause():
            outputs = walk.graph(model.proto.graph.node, model.outputs, scope)
            if walk.refusals:
                raise UnsupportedError(explain(
                    model.name, "These operators cannot be expressed:\n  " + "\n  ".join(dict.fromkeys(walk.refusals)),
                    received=f"operator set {model.opsets.get('', '?')}",
                    fix="docs/onnx_operators.md lists what is read"))
            if _incomplete(outputs):
                raise refusal(model.name, "Nothing makes one of the outputs.", ", ".join(model.outputs))
            places = tuple(walk.builder.place(held) for held in _arrays(outputs, model))
    finally:
        CURRENT.reset(token)
    return Reading(places, tuple(data.values()), walk.builder.constants)


@final
@dataclass(slots=True)
class _Walk:
    """One walk over a model's nodes."""

    model: Model
    builder: Builder
    beside: Beside
    arrays: dict[int, tuple[Any, Array]] = field(default_factory=dict[int, tuple[Any, Array]])
    refusals: list[str] = field(default_factory=list)
    depth: int = 0
    count: int = 0
    bound: Mapping[str, Any] = field(default_factory=dict[str, Any])  # attributes of the function's call
    opsets: Mapping[str, int] = field(default_factory=dict[str, int])

    def graph(self, nodes: Any, outputs: Sequence[str], scope: Any,
              absent: frozenset[str] = frozenset()) -> list[Held]:
        """Read nodes in order and return the outputs; values that could not be made are None in the scope.

        absent : names of a function's inputs that its call leaves out
        """
        for node in nodes:
            self.count += 1
            if self.count > len(self.model.proto.graph.node) + MORE:
                raise UnsupportedError(explain(self.model.name, "The graph is too large, loops written out.",
                                               expected=f"at most {MORE} nodes in turns of loops"))
            ins = [scope[name] if name else None for name in node.input]
            if any(name and held is None and name not in absent for name, held in zip(node.input, ins)):
                found: Sequence[Held | Sequenced | None] = [None] * len(node.output)  # an input was refused already
            else:
                found = self.node(node, ins, scope)
            for name, held in zip(node.output, found):
                if name:
                    scope[name] = held
            missing = [name for name in node.output[len(found):] if name]
            if missing:
                self.refusals.append(f"{node.op_type} ({node.name!r}): its results {', '.join(missing)} are not made")
            scope.update(dict.fromkeys(missing))
        return [scope[name] for name in outputs]

    def node(self, node: Any, ins: Sequence[Held | None], scope: Any) -> Sequence[Held | Sequenced | None]:
        """Return the results of one node; a refusal is written down."""
        domain = "" if node.domain == "ai.onnx" else node.domain
        title = node.name or ", ".join(filter(None, node.output))
        where = f"{domain + '.' if domain else ''}{node.op_type} ({title!r})"
        self.builder.origin, self.builder.hint = where, node.name or next(iter(node.output), node.op_type)
        function = self.model.functions.get((node.domain, node.op_type))
        rule = IMPORTERS.get((domain, node.op_type))
        try:
            if rule is None and function is None:
                raise Refused("it has no rule")
            attrs = self.attributes(node, where)
            if rule is None:
                return self.function(function, ins, attrs)
            step = Step(self.builder, node.op_type, where, self.opsets.get(domain, 0), ins, attrs, node.output,
                        lambda graph, given: self.inner(graph, given, scope))
            found = rule(step)
            return [found] if isinstance(found, (Held, Sequenced)) else list(found)
        except Refused as error:
            self.refusals.append(f"{where}: {error}")
        except (Varies, Needs, UnsupportedError, FileFormatError):
            raise
        except MXNetError as error:
            raise FileFormatError(explain(where, f"Its inputs do not fit: {error}",
                                          received=_inputs(ins))) from error
        except Exception as error:  # a model may hold anything at all, and must never look like a defect of ours
            raise FileFormatError(explain(where, f"It cannot be read: {type(error).__name__}: {error}",
                                          received=_inputs(ins))) from error
        return [None] * len(node.output)

    def attributes(self, node: Any, where: str) -> dict[str, Any]:
        """Return a node's attributes; within a function some are those of its call."""
        found: dict[str, Any] = {}
        for one in node.attribute:
            if not one.ref_attr_name:
                found[one.name] = attribute_of(one, self.array, where)
            elif one.ref_attr_name in self.bound:
                found[one.name] = self.bound[one.ref_attr_name]
        return found

    def array(self, tensor: Any, where: str) -> Array:
        """Return the numbers of a tensor among the attributes, or of an inner graph; a loop's turns share them."""
        if id(tensor) not in self.arrays:
            self.arrays[id(tensor)] = tensor, array_of(tensor, self.beside, where)  # held, so that no other has its id
        return self.arrays[id(tensor)][1]

    def function(self, function: Any, ins: Sequence[Held | None], attrs: Mapping[str, Any]) -> list[Held]:
        """Read a function that the model brings along, in the place of its call."""
        if self.depth >= _DEEPEST:
            raise Refused("functions are nested too deeply")
        if len(ins) > len(function.input):
            raise Refused(f"its function takes {len(function.input)} values and is given {len(ins)}")
        inside: dict[str, Held | None] = dict(zip(function.input, [*ins, *[None] * len(function.input)]))
        checked_nodes(function.node, function.output, set(inside), self.model.name)
        outside = self.bound, self.opsets
        defaults = {one.name: attribute_of(one, self.array, function.name)
                    for one in function.attribute_proto}
        self.bound = {**defaults, **attrs}
        self.opsets = {("" if one.domain == "ai.onnx" else one.domain): int(one.version)
                       for one in function.opset_import} or self.opsets
        self.depth, before = self.depth + 1, len(self.refusals)
        try:
            found = self.graph(function.node, function.output, inside, frozenset(function.input[len(ins):]))
        finally:
            self.depth, (self.bound, self.opsets) = self.depth - 1, outside
        if len(self.refusals) > before:
            raise Refused("its function holds such operators")
        return found

    def inner(self, graph: Any, given: Sequence[Held], scope: Any) -> list[Held]:
        """Read a graph within the graph: a branch, or one turn of a loop."""
        if self.depth >= _DEEPEST:
            raise Refused("graphs are nested too deeply")
        self.count += 1
        if len(given) != len(graph.input):
            raise Refused(f"its graph takes {len(graph.input)} values and is given {len(given)}")
        inside = ChainMap[str, Any]({}, scope)
        for tensor in graph.initializer:
            inside[tensor.name] = self.builder.stored(self.array(tensor, f"weight {tensor.name!r}"))
        for declared, held in zip(graph.input, given):
            inside[declared.name] = held
        outputs = [value.name for value in graph.output]
        checked_nodes(graph.node, outputs, set(inside), self.model.name)
        self.depth += 1
        before, around = len(self.refusals), (self.builder.origin, self.builder.hint)
        try:
            found = self.graph(graph.node, outputs, inside)
        finally:
            self.depth -= 1
            self.builder.origin, self.builder.hint = around
        if len(self.refusals) > before:
            raise Refused("its graph holds such operators")
        return found


def _arrays(outputs: Sequence[Held | Sequenced], model: Model) -> list[Held]:
    """The outputs, which must be arrays."""
    found = [held for held in outputs if isinstance(held, Held)]
    if len(found) < len(outputs):
        named = [name for name, held in zip(model.outputs, outputs) if not isinstance(held, Held)]
        raise UnsupportedError(explain(model.name, "Only arrays can be outputs.", expected="arrays",
                                       received=f"sequences: {', '.join(named)}",
                                       fix="return the arrays of the sequence one by one"))
    return found


def _incomplete(outputs: Sequence[Any]) -> bool:
    """Whether a node that should make an output gives fewer results than the model says."""
    return any(held is None for held in outputs)


def _inputs(ins: Sequence[Held | Sequenced | None]) -> str:
    return ", ".join(f"{held.shapes[0]} {held.dtype}" if isinstance(held, Held) else
                     "nothing" if held is None else f"a sequence of {len(held.items)}" for held in ins)
