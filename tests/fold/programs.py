"""Random per-sample programs: what the tests of folding compare on.

The one idea: a program is a list of instructions over typed slots (a row, a vector, a sequence whose length is the
sample's, a scalar, a square matrix). Which instructions there are is drawn once; which of them a sample runs, how
often, and with how many children is read from the sample, as trees and sentences do it. `run` computes outputs and all
gradients, folded or not; the tests say that both are the same.

Not here: the tests (test_oracle.py, test_bug_classes.py, test_check.py).
"""
from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glueball import autograd, fold, gluon, init, nd
from glueball.base.errors import MXNetError

HIDDEN = 4
WORDS = 7
base_errors = MXNetError
Letters = str  # types of slots: R (1, H), V (H,), S (L, H), N (1,), M (H, H)


class Gate(gluon.HybridBlock):
    """Two inputs, two outputs, as an LSTM has them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        with self.name_scope():
            self.inner = gluon.nn.Dense(2 * HIDDEN, flatten=False)
            self.scale = self.params.get("scale", shape=(1, HIDDEN))

    def hybrid_forward(self, F: Any, x: Any, state: Any, scale: Any) -> Any:
        """Return (new output, new state)."""
        gates = F.split(self.inner(x), 2, axis=-1)
        new = F.broadcast_mul(F.sigmoid(gates[0]) * state, scale) + F.tanh(gates[1])
        return F.tanh(new), new


class ChildSum(gluon.HybridBlock):
    """A row and any number of children's rows, as a Tree-LSTM has them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        with self.name_scope():
            self.own = gluon.nn.Dense(HIDDEN)
            self.child = gluon.nn.Dense(HIDDEN, use_bias=False)

    def hybrid_forward(self, F: Any, x: Any, children: Any) -> Any:
        """Return the node's row."""
        total = self.own(x)
        for child in children:
            total = total + F.sigmoid(self.child(child)) * child
        return F.tanh(total)


class Model:
    """Layers and arrays that all samples share."""

    def __init__(self, seed: int, dtype: str = "float64", hybridize: bool = True) -> None:
        nn, generator = gluon.nn, np.random.RandomState(seed)
        stack = nn.HybridSequential()
        stack.add(nn.Dense(HIDDEN, activation="tanh", flatten=False), nn.LayerNorm(), nn.Dropout(0.5))
        twin = nn.Dense(HIDDEN, flatten=False)
        self.blocks: dict[str, Any] = {
            "dense": nn.Dense(HIDDEN), "rows": twin, "other": nn.Dense(HIDDEN, flatten=False, use_bias=False),
            "twin": nn.Dense(HIDDEN, flatten=False, params=twin.params), "norm": nn.LayerNorm(),
            "words": nn.Embedding(WORDS, HIDDEN), "stack": stack, "gate": Gate(), "gate2": Gate(),
            "children": ChildSum(), "children2": ChildSum(), "drop": nn.Dropout(0.3)}
        self.parameters: list[Any] = []
        for name, block in self.blocks.items():
            if name != "twin":  # its parameters are another one's
                block.initialize(init.Zero())
                block.cast(dtype)
        sample = nd.zeros((1, HIDDEN), dtype=dtype)
        with autograd.pause():
            for name, block in self.blocks.items():
                if name.startswith("gate"):
                    block(sample, sample)
                elif name.startswith("children"):
                    block(sample, [sample])
                else:
                    block(nd.zeros((2,), dtype=dtype) if name == "words" else sample)
        seen: set[int] = set()
        for block in self.blocks.values():
            for parameter in block.collect_params().values():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    parameter.set_data(nd.array(generator.randn(*parameter.shape) * 0.5, dtype=dtype))
                    self.parameters.append(parameter)
        if hybridize:
            for name in ("stack", "gate", "gate2", "children", "children2", "other"):
                self.blocks[name].hybridize()
        self.leaf = nd.array(generator.randn(1, HIDDEN), dtype=dtype)
        self.leaf.attach_grad()
        self.matrix = nd.array(generator.randn(HIDDEN, HIDDEN) * 0.5, dtype=dtype)
        self.matrix.attach_grad()
        self.constant = nd.array(generator.randn(1, HIDDEN), dtype=dtype)
        self.dtype = dtype

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["blocks"][name]
        except KeyError:
            raise AttributeError(name) from None

    def gradients(self) -> list[np.ndarray]:
        """Return all gradients of shared arrays."""
        return [p.grad().asnumpy() for p in self.parameters] + [self.leaf.grad.asnumpy(), self.matrix.grad.asnumpy()]

    def zero(self) -> None:
        """Set all gradients to zero."""
        for parameter in self.parameters:
            parameter.zero_grad()
        self.leaf.zero_grad()
        self.matrix.zero_grad()


@dataclass
class Sample:
    """One sample: arrays by type, word indices, and the choices that its program reads."""

    arrays: dict[str, Any]
    words: Any
    positions: Any
    choices: list[int]
    number: float

    def attach(self) -> None:
        """Ask for gradients of the floating point inputs."""
        for array in self.arrays.values():
            array.attach_grad()

    def gradients(self) -> list[np.ndarray]:
        """Return the inputs' gradients."""
        return [a.grad.asnumpy() for a in self.arrays.values() if a.grad is not None]


def make_samples(seed: int, count: int, dtype: str = "float64", lengths: Sequence[int] = (1, 2, 3, 5),
                 attach: bool = True) -> list[Sample]:
    """Return samples with sequences of different lengths."""
    generator = np.random.RandomState(seed)
    found = []
    for _ in range(count):
        length = int(generator.choice(lengths))
        arrays = {"R": generator.randn(1, HIDDEN), "V": generator.randn(HIDDEN), "N": generator.randn(1),
                  "M": generator.randn(HIDDEN, HIDDEN), "S": generator.randn(length, HIDDEN)}
        sample = Sample({k: nd.array(v, dtype=dtype) for k, v in arrays.items()},
                        nd.array(generator.randint(0, WORDS, length), dtype="int32"),
                        nd.array(generator.randint(0, HIDDEN, length), dtype=dtype),
                        [int(c) for c in generator.randint(0, 6, 40)], float(generator.choice([1, 2.5, -0.5])))
        if attach:
            sample.attach()
        found.append(sample)
    return found


Function = Callable[..., Any]
TABLE: list[tuple[str, Letters, Letters, Function]] = []  # (name, types of the arguments, of the results, function)


def _enter(name: str, arguments: Letters, results: Letters, function: Function) -> None:
    TABLE.append((name, arguments, results, function))


def _fill() -> None:
    same = {"tanh": lambda m, x: nd.tanh(x), "sigmoid": lambda m, x: nd.sigmoid(x), "relu": lambda m, x: nd.relu(x),
            "square": lambda m, x: nd.square(nd.tanh(x)), "abs": lambda m, x: x.abs(), "neg": lambda m, x: -x,
            "plus": lambda m, x: x + 1, "plus float": lambda m, x: x + 1.5, "minus from": lambda m, x: 1 - x,
            "half": lambda m, x: x / 2, "inverse": lambda m, x: 1.0 / (x * x + 1), "clip": lambda m, x: x.clip(-1, 1),
            "power": lambda m, x: (x * x + 1) ** 0.5, "larger": lambda m, x: nd.maximum(x, 0.25),
            "copy": lambda m, x: x.copy(), "block": lambda m, x: nd.BlockGrad(x), "detach": lambda m, x: x.detach() + x,
            "compare": lambda m, x: (x > 0.1) * x, "float32": lambda m, x: x.astype("float32").astype(x.dtype),
            "where": lambda m, x: nd.where(x > 0, x, x * 0.1), "softsign": lambda m, x: nd.softsign(x),
            "smooth": lambda m, x: nd.smooth_l1(x, scalar=1.0), "elu": lambda m, x: nd.LeakyReLU(x, act_type="elu")}
    for letter in "RVSNM":
        for name, function in same.items():
            _enter(name, letter, letter, function)
        for name, function in {"add": lambda m, a, b: a + b, "multiply": lambda m, a, b: a * b,
                               "subtract": lambda m, a, b: a - b, "divide": lambda m, a, b: a / (b * b + 1),
                               "maximum": lambda m, a, b: nd.maximum(a, b), "add_n": lambda m, a, b: nd.add_n(a, b, a),
                               "in place": _in_place}.items():
            _enter(name, letter * 2, letter, function)
    for letter in "RSM":
        for name in ("rows", "other", "twin", "norm", "stack", "drop"):
            _enter(name, letter, letter, lambda m, x, name=name: getattr(m, name)(x))
        _enter("softmax", letter, letter, lambda m, x: nd.softmax(x))
        _enter("log_softmax", letter, letter, lambda m, x: nd.log_softmax(x, axis=-1))
        _enter("softmax 0", letter, letter, lambda m, x: x.softmax(axis=0))
        _enter("leaf", letter, letter, lambda m, x: nd.broadcast_mul(x, m.leaf))
        _enter("leaf first", letter, letter, lambda m, x: m.leaf - x)
        _enter("constant", letter, letter, lambda m, x: x + m.constant)
        _enter("dot", letter, letter, lambda m, x: nd.dot(x, m.matrix))
        _enter("normalize", letter, letter, lambda m, x: nd.L2Normalization(x + 3))
        _enter("flip", letter, letter, lambda m, x: nd.flip(x, axis=1))
        _enter("reverse", letter, letter, lambda m, x: nd.flip(x, axis=0))
        _enter("row", letter + "R", letter, lambda m, x, r: nd.broadcast_add(x, r))
        _enter("vector", letter + "V", letter, lambda m, x, v: nd.broadcast_add(x, v.reshape((1, -1))))
        _enter("scaled", letter + "N", letter, lambda m, x, n: nd.broadcast_mul(x, n.reshape((1, 1))))
        _enter("times matrix", letter + "M", letter, lambda m, x, w: nd.dot(x, nd.tanh(w)))
        _enter("gate", letter * 2, letter * 2, lambda m, x, s: m.gate(x, s))
        _enter("gate2", letter * 2, letter * 2, lambda m, x, s: m.gate2(x, s))
        _enter("sum", letter, "N", lambda m, x: x.sum())
        _enter("mean", letter, "N", lambda m, x: nd.mean(x).reshape((1,)))
        _enter("max", letter, "N", lambda m, x: x.max())
        _enter("norm2", letter, "N", lambda m, x: (x + 3).norm())
        _enter("sum 0", letter, "V", lambda m, x: x.sum(axis=0))
        _enter("sum 0 kept", letter, "R", lambda m, x: x.sum(axis=0, keepdims=True))
        _enter("sum 1", letter, "N", lambda m, x: nd.tanh(x.sum(axis=1)).mean())
        _enter("weighted", letter, "N", lambda m, x: nd.sum(x.max(axis=1) * x.min(axis=1)))
        _enter("attention", letter * 2, letter,
               lambda m, x, y: nd.dot(nd.softmax(nd.dot(x, y, transpose_b=True)), y))
        _enter("first", letter, "R", lambda m, x: x[0:1])
        _enter("last", letter, "V", lambda m, x: x[-1])
        _enter("slice", letter, letter, lambda m, x: nd.concat(x[:, 1:], x[:, :1], dim=1))
        _enter("split", letter, letter, lambda m, x: nd.concat(*nd.split(x, 2, axis=1), dim=1))
        _enter("transpose", letter, letter, lambda m, x: nd.dot(nd.dot(x, x.T), x) * 0.1)
        _enter("reshape", letter, letter, lambda m, x: x.reshape((-1, 2)).tanh().reshape((-1, HIDDEN)))
        _enter("mask", letter, letter, lambda m, x: x * nd.ones_like(x) + nd.zeros_like(x))
        _enter("expand", letter, letter, lambda m, x: nd.squeeze(nd.expand_dims(x, axis=1) * 2, axis=1))
    _enter("dense", "R", "R", lambda m, x: m.dense(x))
    _enter("to row", "V", "R", lambda m, v: v.reshape((1, -1)))
    _enter("to row 2", "V", "R", lambda m, v: v.expand_dims(0))
    _enter("to vector", "R", "V", lambda m, r: r[0])
    _enter("to vector 2", "R", "V", lambda m, r: r.reshape((-1,)))
    _enter("to vector 3", "R", "V", lambda m, r: nd.squeeze(r, axis=0))
    _enter("element", "V", "N", lambda m, v: v[2])
    _enter("inner", "VV", "N", lambda m, a, b: nd.dot(a, b))
    _enter("outer", "VV", "M", lambda m, a, b: nd.dot(a.reshape((-1, 1)), b.reshape((1, -1))))
    _enter("stacked", "VVVV", "M", lambda m, *vs: nd.stack(*vs))
    _enter("joined", "RRRR", "M", lambda m, *rs: nd.concat(*rs, dim=0))
    _enter("matrix row", "M", "R", lambda m, x: x[1:2])
    _enter("matrix vector", "M", "V", lambda m, x: x[3])
    _enter("column", "M", "V", lambda m, x: x[:, 1])
    _enter("transposed", "M", "M", lambda m, x: x.T)
    _enter("matrix product", "MM", "M", lambda m, a, b: nd.dot(nd.tanh(a), b, transpose_a=True))
    _enter("batched", "MM", "M", lambda m, a, b: nd.batch_dot(a.expand_dims(0), b.expand_dims(0))[0])
    _enter("matrix softmax", "M", "M", lambda m, x: nd.softmax(x, axis=0))
    _enter("gradient stops", "R", "R", _paused)
    _enter("zeros", "R", "R", lambda m, r: r + nd.zeros((1, HIDDEN), dtype=m.dtype) + nd.ones((1, 1), dtype=m.dtype))
    _enter("numpy", "R", "R", lambda m, r: r * nd.array(np.arange(HIDDEN), dtype=m.dtype))
    _enter("full", "V", "V", lambda m, v: v * nd.full((HIDDEN,), 0.5, dtype=m.dtype))
    _enter("prepended", "S", "S", lambda m, s: nd.concat(s, s[0:1], dim=0)[1:])


def _in_place(model: Model, a: Any, b: Any) -> Any:
    total = a * 1
    total = total + b
    return total


def _paused(model: Model, row: Any) -> Any:
    with autograd.pause():
        weight = nd.sigmoid(row) * 2
    return row * weight


_fill()


@dataclass
class Program:
    """Instructions over slots; call it with a sample."""

    model: Model
    steps: list[tuple[str, Function, tuple[int, ...], int]] = field(default_factory=list)
    types: Letters = ""
    inputs: Letters = "RVSNM"
    picked: list[int] = field(default_factory=list)

    def __call__(self, sample: Sample) -> list[Any]:
        """Return the outputs for one sample."""
        model, slots = self.model, [sample.arrays[letter] for letter in self.inputs]
        if any(step[0] == "words" for step in self.steps):
            slots = slots[:]
        for number, (name, function, arguments, guard) in enumerate(self.steps):
            choice = sample.choices[number % len(sample.choices)]
            values = [slots[a] for a in arguments]
            if name == "children":
                slots.append(function(values[0], values[1:1 + choice % 4]))
            elif name == "words":
                slots.append(model.words(sample.words).sum(axis=0, keepdims=True) * 0.3 + values[0])
            elif name == "pick":
                slots.append(nd.pick(nd.log_softmax(values[0]), sample.positions).sum())
            elif name == "number":
                slots.append(values[0] * sample.number)
            elif name == "choice":
                slots.append(function(model, values[0]) if choice % 2 else values[1])
            elif name == "loop":
                value = values[0]
                for _ in range(choice % 4):
                    value = function(model, value)
                slots.append(value)
            elif name == "scan":
                state = values[0]
                for row in range(values[1].shape[0]):
                    state = function(values[1][row:row + 1], state)[guard % 2]
                slots.append(state)
            else:
                found = function(model, *values)
                slots.extend(found if isinstance(found, (tuple, list)) else [found])
        return [slots[i] for i in self.picked]

    def __repr__(self) -> str:
        lines = [f"{self.types[:len(self.inputs)]} -> {self.picked}"]
        return "\n".join([*lines, *[f"{name} {arguments}" for name, _, arguments, _ in self.steps]])


def random_program(seed: int, model: Model, length: int = 12) -> Program:
    """Return a program of about so many instructions."""
    draw = random.Random(seed)
    program = Program(model)
    types = list(program.inputs)

    def slot(letter: str) -> int:
        found = [i for i, t in enumerate(types) if t == letter]
        recent = [i for i in found if i >= len(types) - 5]
        return draw.choice(recent if recent and draw.random() < 0.6 else found)

    unary = [entry for entry in TABLE if len(entry[1]) == 1 and entry[1] == entry[2]]
    for _ in range(length):
        kind = draw.random()
        if kind < 0.08:
            block = draw.choice(["children", "children2"])
            program.steps.append(("children", getattr(model, block), tuple(slot("R") for _ in range(4)), 0))
            types.append("R")
        elif kind < 0.12:
            program.steps.append(("words", _in_place, (slot("R"),), 0))
            types.append("R")
        elif kind < 0.16:
            program.steps.append(("pick", _in_place, (slot("S"),), 0))
            types.append("N")
        elif kind < 0.20:
            letter = draw.choice("RVSNM")
            program.steps.append(("number", _in_place, (slot(letter),), 0))
            types.append(letter)
        elif kind < 0.28:
            entry = draw.choice(unary)
            program.steps.append(("choice", entry[3], (slot(entry[1]), slot(entry[1])), 0))
            types.append(entry[1])
        elif kind < 0.36:
            entry = draw.choice(unary)
            program.steps.append(("loop", entry[3], (slot(entry[1]),), 0))
            types.append(entry[1])
        elif kind < 0.42:
            program.steps.append(("scan", getattr(model, draw.choice(["gate", "gate2"])), (slot("R"), slot("S")),
                                  draw.randrange(2)))
            types.append("R")
        else:
            name, arguments, results, function = draw.choice(TABLE)
            program.steps.append((name, function, tuple(slot(t) for t in arguments), 0))
            types.extend(results)
    program.types = "".join(types)
    made = range(len(program.inputs), len(types))
    program.picked = sorted(set(draw.sample(made, min(3, len(made)))) | {len(types) - 1})
    return program


def _attended(model: Model, x: Any, rows: Sequence[Any]) -> Any:
    joined = nd.concat(*rows, dim=0)
    return nd.dot(nd.softmax(nd.dot(x, joined, transpose_b=True)), joined)


def _gated(model: Model, x: Any, rows: Sequence[Any]) -> Any:
    total = x
    for row in rows:
        total = total + nd.sigmoid(model.rows(row) + x) * row
    return total


def _largest(model: Model, x: Any, rows: Sequence[Any]) -> Any:
    found = rows[0]
    for row in rows[1:]:
        found = nd.maximum(found, row)
    return found


JOINED: list[Function] = [  # what a cell does with its children's rows
    lambda m, x, rows: nd.add_n(*rows), lambda m, x, rows: nd.stack(*rows).mean(axis=0), _attended, _gated, _largest,
    lambda m, x, rows: nd.concat(*rows, dim=0).max(axis=0, keepdims=True), lambda m, x, rows: rows[-1] * 2,
    lambda m, x, rows: sum(nd.tanh(m.other(row)) for row in rows)]


class RandomCell(gluon.HybridBlock):
    """A recurrent unit of random instructions: a row, a vector and the children's states, to a state and a scalar."""

    def __init__(self, seed: int, model: Model, length: int, **options: Any) -> None:
        super().__init__(**options)
        draw = random.Random(seed)
        self.model, self.joined = model, [draw.choice(JOINED) for _ in range(draw.randint(1, 2))]
        self.steps: list[tuple[Function, tuple[int, ...]]] = []
        types = ["R", "V", "R"]
        usable = [e for e in TABLE if "S" not in e[1] and e[0] not in ("stacked", "gradient stops")]
        while len(self.steps) < length:
            _, arguments, results, function = draw.choice(usable)
            if all(a in types for a in arguments):
                chosen = tuple(draw.choice([i for i, t in enumerate(types) if t == a][-3:]) for a in arguments)
                self.steps.append((function, chosen))
                types.extend(results)
        self.rows = [i for i, t in enumerate(types) if t == "R"][-3:]
        self.numbers = [i for i, t in enumerate(types) if t == "N"][-2:]

    def hybrid_forward(self, F: Any, x: Any, vector: Any, children: Any = ()) -> Any:
        """Return (state, [scalars])."""
        state = x
        for joined in self.joined if children else ():
            state = state + joined(self.model, x, children)
        slots = [x, vector, state]
        for function, arguments in self.steps:
            found = function(self.model, *[slots[i] for i in arguments])
            slots.extend(found if isinstance(found, (tuple, list)) else [found])
        return nd.tanh(nd.add_n(*[slots[i] for i in self.rows])), [slots[i] for i in self.numbers]


def tree_program(seed: int, cell: RandomCell) -> Callable[[Sample], list[Any]]:
    """Return a program that runs a cell over a tree, whose form the sample chooses, from the leaves."""
    def program(sample: Sample) -> list[Any]:
        choices = iter(sample.choices * 3)
        found: list[Any] = []
        count: list[int] = []

        def node(depth: int) -> Any:
            children = [node(depth - 1) for _ in range(next(choices) % 4)] if depth else []
            index = next(choices) % sample.arrays["S"].shape[0]
            row = sample.arrays["S"][index:index + 1] if depth % 2 else sample.arrays["R"]
            count.append(1)  # no two nodes are equal: a maximum would have two gradients
            state, numbers = cell(row * (1 + 0.1 * len(count)), sample.arrays["V"], children)
            found.extend(numbers)
            return state
        return [node(seed % 3 + 1), *found[:1], *found[-1:]]
    return program


def loss_of(outputs: Sequence[Any]) -> Any:
    """Return one number for the outputs of one sample, in which every element counts differently enough."""
    return nd.add_n(*[(nd.tanh(out) * out).sum() + out.sum() for out in outputs])


@dataclass
class Result:
    """Outputs per sample, and gradients of shared arrays and of inputs."""

    values: list[list[np.ndarray]]
    shared: list[np.ndarray]
    inputs: list[list[np.ndarray]]


def run(program: Callable[[Any], Sequence[Any]], model: Model, samples: Sequence[Sample],
        mode: str | None = "on", loop: Callable[..., list[Any]] | None = None) -> Result:
    """Run a program on all samples, folded (or with mode None without any scope), and backward.

    loop : in place of Python's own, fold.map for example
    """
    model.zero()
    for sample in samples:
        for array in sample.arrays.values():
            array.zero_grad()
    with autograd.record(train_mode=False):
        if mode is None:
            outputs = [program(sample) for sample in samples]
            total = [loss_of(found) for found in outputs] + [(model.leaf * 0.5).sum()]
        else:
            with fold.batching(mode):
                outputs = [program(sample) for sample in samples] if loop is None else loop(program, samples)
                total = [loss_of(found) for found in outputs] + [(model.leaf * 0.5).sum()]
        joined = nd.add_n(*total)
    joined.backward()
    return Result([[v.asnumpy() for v in found] for found in outputs], model.gradients(),
                  [sample.gradients() for sample in samples])


def assert_same(expected: Result, received: Result, tolerance: float = 1e-9) -> None:
    """Fail with the first difference in values or gradients."""
    for number, (one, other) in enumerate(zip(expected.values, received.values, strict=True)):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert a.shape == b.shape and a.dtype == b.dtype, (number, index, a.shape, b.shape, a.dtype, b.dtype)
            np.testing.assert_allclose(b, a, tolerance, tolerance, err_msg=f"output {index} of sample {number}")
    for index, (a, b) in enumerate(zip(expected.shared, received.shared, strict=True)):
        np.testing.assert_allclose(b, a, tolerance, tolerance, err_msg=f"gradient of shared array {index}")
    for number, (one, other) in enumerate(zip(expected.inputs, received.inputs, strict=True)):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            np.testing.assert_allclose(b, a, tolerance, tolerance,
                                       err_msg=f"gradient of input {index} of sample {number}")
