"""Building a region: the graph's nodes become kernels and products, each value computed where it is used.

The one idea: a node joins the kernel that already computes its inputs, unless it needs something that is only complete
later (a product, a sum down the rows); then it begins a new one. Units are numbered, and a unit only reads what units
before it have completed. A value gets memory when somebody asks for it (`stored`), never before; a value that is to
become a part of a wider array is written to its place there (`places`).

Not here: what each operator does (rules.py), the order and choice of nodes (partition.py), addresses (memory.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TypeAlias, final

from ...ops.opdef import TensorType
from ...symbol.graph import Node, Value
from ..native import expression as e
from ..native.expression import Expr
from .rewrite import ROW_WIDE, substitute
from .strides import Matrices, Strided, merged, shared_axes, steps_in_order
from .units import Buffer, Computed, Constant, Copy, Guard, Kernel, Kind, Product, Shape, Stored, Unit, arrange

__all__ = ["Builder", "State"]

_LIGHT = frozenset({"input", "constant", "add", "sub", "mul", "neg"})
_LIGHT_NODES = 8
_LEVELS = 2  # of axes along which the matrices of one product lie

State: TypeAlias = "Stored | Strided | Computed | Constant"


@final
class Builder:
    """A region that grows by a node at a time."""

    def __init__(self, types: Mapping[Node, tuple[TensorType, ...]], nodes: Sequence[Node], training: bool) -> None:
        self.types, self.training = types, training
        self.dtype = types[nodes[0]][0].dtype
        self.units: list[Unit] = []
        self.states: dict[Value, State] = {}
        self.inputs: list[Value] = []
        self.position = {node: index for index, node in enumerate(nodes)}
        self.places: dict[Value, tuple[Value, int, int, int]] = {}  # part -> whole, offset, columns, stride
        self._wholes: dict[Value, Stored] = {}
        self._memory: dict[Value, Stored] = {}
        self._light: set[Value] = set()  # parts that are computed again where they are used, rather than stored

    # -- values --------------------------------------------------------------------------------------------------------
    def shape(self, value: Value) -> Shape:
        """The shape of a value, which is known."""
        return tuple(size or 0 for size in self.types[value.node][value.index].shape or ())

    def state(self, value: Value) -> State:
        """Return what a value is; one from outside becomes an input of the region."""
        found = self.states.get(value)
        if found is None:
            size = prod(self.shape(value))
            kind = self.types[value.node][value.index].dtype
            own = None if kind is self.dtype else str(kind).removeprefix("torch.")
            found = self.states[value] = Stored(Buffer(size, "input", len(self.inputs), own), 0, 1, size, size, -1)
            self.inputs.append(value)
        return found

    def units_of(self, node: Node) -> list[Unit]:
        """Return the unit that completes a node that was just added, if there is one."""
        found = self.states.get(Value(node))
        if isinstance(found, Computed):
            return [found.kernel]
        return [] if found is None or isinstance(found, Constant) or found.ready < 0 else [self.units[found.ready]]

    def stored(self, value: Value) -> Stored:
        """Return where a value is; gives it memory if it has none. Its kernel has it at hand as before."""
        state = self.state(value)
        if isinstance(state, Stored):
            return state
        found = self._memory.get(value)
        if found is not None:
            return found
        if isinstance(state, Strided):
            found = self._in_order(value, state)
        else:
            if isinstance(state, Constant):
                kernel = Kernel(len(self.units), prod(self.shape(value)))
                self.units.append(kernel)
                state = Computed(kernel, e.constant(state.number), "full")
            found = self._write(state, self._target(value, state))
        self._memory[value] = found
        return found

    def _in_order(self, value: Value, state: Strided) -> Stored:
        """Copy an array whose axes lie in another order to where they do not; for a part of a whole, to its place."""
        axes = [axis for axis in state.axes if axis[0] > 1] or [(1, 1)]
        size = prod(count for count, _ in axes)
        spot = self.places.get(value)
        steps = steps_in_order([count for count, _ in axes], spot[2:] if spot is not None else (size, 0))
        if spot is None or steps is None:
            spot, steps = None, steps_in_order([count for count, _ in axes], (size, 0))
        assert steps is not None  # in one piece there is always a way
        buffer, begin = Buffer(size), 0
        if spot is not None:
            whole = self.outer(spot[0])
            buffer, begin = whole.buffer, whole.offset + spot[1]
        found = merged([(count, stride, step) for (count, stride), step in zip(axes, steps)])
        source = Stored(state.buffer, state.offset, 1, size, size, state.ready)
        result = Stored(buffer, begin, 1, size, size, len(self.units))
        self.units.append(Copy(result.ready, source, result, tuple(found)))
        ready = len(self.units) - 1
        if spot is not None and spot[3]:
            return Stored(buffer, begin, size // spot[2], spot[2], spot[3], ready)
        return Stored(buffer, begin, 1, size, size, ready)

    def strided(self, value: Value, shape: Shape) -> Strided:
        """Return a value as an array with the axes of a shape, each of its own length."""
        state = self.state(value)
        if not isinstance(state, Strided):
            place = self.stored(value)
            state = Strided(place.buffer, place.offset, ((place.rows, place.stride), (place.columns, 1)), place.ready)
        cut = state.cut(shape)
        if cut is None:
            place = self.together(value)
            state = Strided(place.buffer, place.offset, ((place.rows * place.columns, 1),), place.ready)
            cut = state.cut(shape)
        assert cut is not None  # in one piece it can be cut in any way
        return Strided(state.buffer, state.offset, tuple(axis for own in cut for axis in own), state.ready)

    def together(self, value: Value) -> Stored:
        """Return where a value is, without gaps between its rows; copies it where there are some."""
        state = self.stored(value)
        return state if state.together else self._write(self.load(state), None)

    def whole(self, value: Value, columns: int) -> Stored:
        """Return a value as rows of so many numbers."""
        found = self.stored(value).as_rows(columns)
        if found is None:
            found = self.together(value).as_rows(columns)
        assert found is not None  # together, and the caller's columns divide the size
        return found

    def fresh(self, rows: int, columns: int, value: Value | None = None) -> Stored:
        """Return new memory for the next unit's result; for a part of a wider array its place there."""
        spot = None if value is None else self.places.get(value)
        if spot is not None:
            whole, offset, width, stride = spot
            if width == columns or (rows * columns == width and stride == 0):
                outer = self.outer(whole)
                return Stored(outer.buffer, outer.offset + offset, rows, columns,
                              stride if width == columns and rows > 1 else columns, len(self.units))  # fmt: skip
        return Stored(Buffer(rows * columns), 0, rows, columns, columns, len(self.units))

    def outer(self, whole: Value) -> Stored:
        """Return the memory of a value that others write their parts of: its own, or a part of a still wider one."""
        found = self._wholes.get(whole)
        if found is None:
            size = prod(self.shape(whole))
            spot = self.places.get(whole)
            if spot is not None and spot[3] == 0:  # a part of a still wider array, in one piece
                above = self.outer(spot[0])
                found = Stored(above.buffer, above.offset + spot[1], 1, size, size, -1)
            else:
                found = Stored(Buffer(size), 0, 1, size, size, -1)
            self._wholes[whole] = found
        return found

    def _target(self, value: Value, state: Computed) -> Stored | None:
        spot = self.places.get(value)
        if spot is None or state.kind != "full":
            return None
        whole, offset, width, stride = spot
        kernel = state.kernel
        if stride and kernel.columns not in (None, width):
            return None  # it cannot be cut so: the wider array copies it
        outer = self.outer(whole)
        if stride:
            kernel.columns = width
            return Stored(outer.buffer, outer.offset + offset, kernel.size // width, width, stride, kernel.number)
        return Stored(outer.buffer, outer.offset + offset, 1, kernel.size, kernel.size, kernel.number)

    def _write(self, state: Computed, target: Stored | None) -> Stored:
        kernel = state.kernel
        column = state.kind == "column"
        known = kernel.row_outputs if column else kernel.outputs
        if target is None:
            for expression, place in known:
                if expression is state.expression and place.together:
                    return place
            size = kernel.rows if column else kernel.size
            width = size if column or kernel.columns is None else kernel.columns
            target = Stored(Buffer(size), 0, size // width, width, width, kernel.number)
        known.append((state.expression, target))
        return target

    def alias(self, value: Value, source: Value) -> None:
        """Let a value be another one's numbers in another shape."""
        self.states[value] = self.state(source)

    # -- kernels -------------------------------------------------------------------------------------------------------
    def kernel(self, size: int, columns: int | None, needs: Sequence[tuple[Value, Kind]]) -> Kernel:
        """Return the kernel that computes with these operands: one that has some of them at hand, or a new one."""
        self._gather(columns, needs)
        candidates: list[Kernel] = []
        for value, _ in needs:
            state = self.state(value)
            if isinstance(state, Computed) and state.kernel not in candidates:
                candidates.append(state.kernel)
        if not candidates:
            last = next((unit for unit in reversed(self.units) if isinstance(unit, Kernel)), None)
            candidates = [] if last is None else [last]
        for kernel in sorted(candidates, key=lambda k: -k.number):
            if self._fits(kernel, size, columns, needs):
                return kernel
        made = Kernel(len(self.units), size, columns)
        self.units.append(made)
        return made

    def _gather(self, columns: int | None, needs: Sequence[tuple[Value, Kind]]) -> None:
        """Put operands in memory together where a kernel cannot read them as they lie: before it, not after it."""
        for value, kind in needs:
            state = self.state(value)
            if isinstance(state, Strided):
                state = self.states[value] = self.stored(value)
            if not isinstance(state, Stored) or state.together:
                continue
            if kind == "full" and columns in (None, state.columns):
                columns = state.columns
            elif kind == "row" or (kind == "column" and state.columns > 1) or kind == "full":
                self.states[value] = self.together(value)

    def _fits(self, kernel: Kernel, size: int, columns: int | None, needs: Sequence[tuple[Value, Kind]]) -> bool:
        if kernel.size != size or (columns is not None and kernel.columns not in (None, columns)):
            return False
        for value, kind in needs:
            state = self.state(value)
            if isinstance(state, Constant):
                continue
            assert not isinstance(state, Strided)  # gathered
            if isinstance(state, Computed):
                if state.kernel is kernel and state.kind != kind:
                    return False
                if state.kernel is not kernel and state.kernel.number >= kernel.number:
                    return False
            elif state.ready >= kernel.number or (kind == "full" and not self._readable(state, kernel, columns)):
                return False
        return True

    @staticmethod
    def _readable(state: Stored, kernel: Kernel, columns: int | None) -> bool:
        if state.together:
            return True
        wanted = columns if columns is not None else kernel.columns
        return wanted in (None, state.columns)

    def operand(self, kernel: Kernel, value: Value, kind: Kind) -> Expr:
        """Return a value as an expression of a kernel."""
        state = self.state(value)
        if isinstance(state, Constant):
            return e.constant(state.number)
        if isinstance(state, Computed) and state.kernel is kernel and state.kind == kind:
            return state.expression
        if value in self._light and isinstance(state, Computed) and kind == "full" and self._wide_as(kernel, state):
            return self._moved(kernel, state, 0, state.kernel.columns or 1)
        place = self.stored(value)
        if isinstance(state, Computed) and not place.together:  # it has its place in a wider array
            if kind != "full" or kernel.columns not in (None, place.columns):
                place = self._write(state, None)
        return self.read(kernel, place, kind)

    def read(self, kernel: Kernel, place: Stored, kind: Kind) -> Expr:
        """Return an array in memory as an expression of a kernel."""
        if kind == "full":
            if not place.together:
                assert kernel.columns in (None, place.columns)  # gathered
                kernel.columns = place.columns
            stride = -1 if place.together else place.stride
        elif kind == "column":
            stride = 1 if place.together else place.stride
        else:
            stride = 0
        key = (place.buffer, place.offset, stride, kind)
        return e.input(kernel.inputs.setdefault(key, len(kernel.inputs)))

    def load(self, place: Stored) -> Computed:
        """Return an array in memory as a value of a kernel of its own, to be written somewhere else."""
        kernel = Kernel(len(self.units), place.rows * place.columns, None if place.together else place.columns)
        self.units.append(kernel)
        return Computed(kernel, self.read(kernel, place, "full"), "full")

    def compute(self, out: Value, inputs: Sequence[Value], function: Callable[..., Expr]) -> None:
        """Let a value be a function of the elements of others, broadcast to its shape."""
        shape = self.shape(out)
        size = prod(shape)
        as_rows = self._row_kernel(inputs, size)
        if as_rows is not None:
            kernel, kinds, kind = as_rows
        else:
            found = arrange(shape, [self.shape(v) for v in inputs])
            assert found is not None  # the partition looked
            columns, kinds = found
            kernel, kind = self.kernel(size, columns, list(zip(inputs, kinds))), "full"
            if columns is not None:
                kernel.columns = columns
        expressions = [self.operand(kernel, value, each) for value, each in zip(inputs, kinds)]
        result = function(*expressions)
        number = e.number_of(result)
        self.states[out] = Computed(kernel, result, kind) if number is None else Constant(number)

    def _row_kernel(self, inputs: Sequence[Value], size: int) -> tuple[Kernel, tuple[Kind, ...], Kind] | None:
        """Return the kernel in which values of one number per row are at hand, when all of these are such."""
        kinds: tuple[Kind, ...] = tuple("one" if prod(self.shape(v)) == 1 != size else "column" for v in inputs)
        for value in inputs:
            state = self.state(value)
            if isinstance(state, Computed) and state.kind == "column" and state.kernel.rows == size:
                self._gather(None, list(zip(inputs, kinds)))
                if all(prod(self.shape(v)) in (1, size) for v in inputs) and self._fits(
                    state.kernel, state.kernel.size, state.kernel.columns, list(zip(inputs, kinds))
                ):
                    return state.kernel, kinds, "column"
        return None

    @staticmethod
    def _wide_as(kernel: Kernel, state: Computed) -> bool:
        """Whether a kernel has the columns of a value that another one has at hand."""
        if kernel.columns is None:
            kernel.columns = state.kernel.columns
        return kernel.columns == state.kernel.columns

    def also(self, value: Value, buffer: Buffer, offset: int, width: int, stride: int) -> Stored | None:
        """Let the kernel that has a value at hand, if one has, write it to a second place (stride 0: in one piece)."""
        state = self.state(value)
        if not isinstance(state, Computed) or state.kind != "full":
            return None
        kernel = state.kernel
        if stride:
            if kernel.columns not in (None, width):
                return None
            kernel.columns = width
        width = width if stride else kernel.size
        place = Stored(buffer, offset, kernel.size // width, width, stride or width, kernel.number)
        kernel.outputs.append((state.expression, place))
        return place

    def narrowed(self, out: Value, state: Computed, begin: int, width: int, wide: int) -> Computed | None:
        """Return some columns of a computed value, as computed in a kernel over those columns alone.

        None when its rows are used as a whole (sums over a row). A value of a few additions and multiplications is
        computed again by everybody who uses it: many parts would otherwise make one kernel with too many arrays.
        """
        old = state.kernel
        if any(node.op in ROW_WIDE for node in e.topological([state.expression])):
            return None
        size = old.size // wide * width
        fitting = (unit for unit in self.units[old.number :] if isinstance(unit, Kernel) and unit is not old
                   and unit.size == size and unit.columns == width)  # fmt: skip
        kernel = next(fitting, None)
        if kernel is None:
            kernel = Kernel(len(self.units), size, width)
            self.units.append(kernel)
        nodes = e.topological([state.expression])
        if len(nodes) <= _LIGHT_NODES and all(node.op in _LIGHT for node in nodes):
            self._light.add(out)
        return Computed(kernel, self._moved(kernel, state, begin, wide), "full")

    def _moved(self, kernel: Kernel, state: Computed, begin: int, wide: int) -> Expr:
        """Return the expression of a computed value in another kernel, from a column of its own rows of `wide` on."""
        used, mapping = set(e.inputs_of([state.expression])), dict[int, Expr]()
        for (buffer, offset, stride, kind), index in state.kernel.inputs.items():
            if index in used:
                moved = begin if kind in ("full", "row") else 0
                key = (buffer, offset + moved, wide if stride == -1 else stride, kind)
                mapping[index] = e.input(kernel.inputs.setdefault(key, len(kernel.inputs)))
        return substitute(state.expression, mapping)

    def over_rows(self, inputs: Sequence[tuple[Value, Kind]], size: int, columns: int) -> tuple[Kernel, list[Expr]]:
        """Return a kernel over rows of so many columns, and its operands."""
        kernel = self.kernel(size, columns, inputs)
        kernel.columns = columns
        return kernel, [self.operand(kernel, value, kind) for value, kind in inputs]

    def sum_down(self, out: Value, value: Value, columns: int) -> None:
        """Let a value be the sums down the rows of another one."""
        kernel, (expression,) = self.over_rows([(value, "full")], prod(self.shape(value)), columns)
        self.states[out] = self.add_sum(kernel, expression, columns)

    def add_sum(self, kernel: Kernel, expression: Expr, columns: int) -> Stored:
        """Return where the sums of an expression down the rows of a kernel go."""
        for known, place in kernel.sums:
            if known is expression:
                return place
        place = Stored(self.fresh(1, columns).buffer, 0, 1, columns, columns, kernel.number)
        kernel.sums.append((expression, place))
        return place

    # -- products ------------------------------------------------------------------------------------------------------
    def product(self, out: Value, left: Stored, right: Stored, sizes: tuple[int, int, int],
                turned: tuple[bool, bool]) -> None:  # fmt: skip
        """Add a product (m, n, k); its result is the value's memory."""
        result = self.fresh(sizes[0], sizes[1], out)
        self.units.append(Product(len(self.units), *sizes, left, right, *turned, result))
        self.states[out] = result

    def products(self, out: Value, left: Value, right: Value, turned: tuple[bool, bool]) -> None:
        """Add products of many matrices as one unit; factors are read where they lie, as far as that can be done."""
        *batch, m, n = self.shape(out)
        count, k = prod(batch), self.shape(left)[-2 if turned[0] else -1]
        first, second = self._matrices(left, False), self._matrices(right, False)
        axes = shared_axes(first.axes, second.axes)
        if axes is None or len(axes) > _LEVELS:
            second = self._matrices(right, True)
            axes = shared_axes(first.axes, second.axes)
        if axes is None or len(axes) > _LEVELS:
            first = self._matrices(left, True)
            axes = shared_axes(first.axes, second.axes)
        assert axes is not None  # what lies in order has one axis
        (outer, *leaps), (inner, *steps) = [*[(1, 0, 0)] * (_LEVELS - len(axes)), *axes]
        assert outer * inner == count
        size = count * m * n
        place = Stored(Buffer(size), 0, count * m, n, n, len(self.units))
        self.units.append(Product(len(self.units), m, n, k, first.first, second.first, *turned, place, count,
                                  (steps[0], steps[1], m * n), inner, (leaps[0], leaps[1], inner * m * n)))  # fmt: skip
        self.states[out] = Stored(place.buffer, 0, 1, size, size, len(self.units) - 1)

    def _matrices(self, value: Value, ordered: bool) -> Matrices:
        """Return a value as matrices; `ordered`: one behind the other."""
        shape = self.shape(value)
        found = None if ordered else Matrices.of(self.strided(value, shape), shape)
        if found is None:
            place = self.together(value)
            found = Matrices.of(Strided(place.buffer, place.offset, ((prod(shape), 1),), place.ready), shape)
        assert found is not None  # in one piece it can be cut in any way
        return found

    def guard(self, node: Node, kernel: Kernel, wrong: Expr) -> None:
        """Stop with the node's own error where an expression of a row is not 0 in some row."""
        flags = self._write(Computed(kernel, wrong, "column"), None)
        last = Kernel(len(self.units), kernel.rows, kernel.rows)
        self.units.append(last)
        flag = self._write(Computed(last, e.total(self.read(last, flags, "full")), "column"), None)
        self.units.append(Guard(len(self.units), flag, self.position[node]))

    # -- results -------------------------------------------------------------------------------------------------------
    def outputs(self, values: Sequence[Value]) -> list[Stored]:
        """Give every value memory of its own that the region hands out."""
        results: list[Stored] = []
        for index, value in enumerate(values):
            place = self.together(value)
            size = prod(self.shape(value))
            if place.buffer.role != "scratch" or place.offset or place.buffer.elements != size:
                place = self._write(self.load(place), Stored(Buffer(size), 0, 1, size, size, len(self.units) - 1))
            place.buffer.role, place.buffer.index = "output", index
            results.append(place)
        return results
