"""The machinery of the operator matrix: samples become arrays, an operator is run, its numbers are compared.

The one idea: every question the matrix asks ("is the rule the derivative?") is a function of (operator, sample) here,
so that test_matrix.py reads as a list of laws; `Ways` calls an operator as users do (eager, bound, hybridized).
Nothing here knows a particular operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from glueball import autograd, gluon, nd, random, sym
from glueball.base.context import cpu
from glueball.dispatch import invoke, run_kernel
from glueball.ndarray import NDArray
from glueball.ops.opdef import TABLE, Grad, OpDef, TensorType, Unsupported, from_kernel
from glueball.ops.rules.check import ArraySpec, Sample
from glueball.symbol.compose import compose

STEP = 1e-5  # of the central differences, in float64: truncation and rounding are then both near 1e-10


def cases() -> Iterator[tuple[OpDef, int]]:
    """All (operator, index of sample)."""
    for op in TABLE.values():
        for index in range(len(op.check.samples)):
            yield op, index


def name_of(case: Any) -> str:
    """The name of a case in pytest's output."""
    return case.name if isinstance(case, OpDef) else str(case)


def make_array(spec: Any, rng: np.random.Generator, float_type: Any) -> np.ndarray | None:
    """Return the array of one input of a sample; float64 arrays written out in samples take `float_type`."""
    if spec is None:
        return None
    if isinstance(spec, ArraySpec):
        return spec.make(rng, float_type)
    array = np.asarray(spec)
    return array.astype(float_type) if array.dtype == np.float64 else array


def make_inputs(sample: Sample, float_type: Any = np.float64, seed: int = 7) -> list[np.ndarray | None]:
    """Return the input arrays of a sample."""
    rng = np.random.default_rng(seed)
    return [make_array(spec, rng, float_type) for spec in sample.inputs]


def tensors_of(arrays: Sequence[np.ndarray | None]) -> list[torch.Tensor | None]:
    """Return fresh torch tensors, so that kernels that update inputs in place do not disturb the samples."""
    return [None if a is None else torch.from_numpy(np.array(a, order="C")) for a in arrays]


def run(op: OpDef, sample: Sample, tensors: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
    """Run an operator on torch tensors with the mode of the sample; all results, as a list."""
    result = run_kernel(op, tensors, op.typed(sample.attrs), training=sample.training)
    return list(result) if isinstance(result, (tuple, list)) else [result]


def visible(op: OpDef, sample: Sample, results: list[torch.Tensor]) -> list[torch.Tensor]:
    """The results a user sees."""
    return results[: op.num_visible(op.typed(sample.attrs))]


def expected_results(op: OpDef, sample: Sample, arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """The results of the NumPy reference."""
    with np.errstate(all="ignore"):
        found = op.check.reference(*[None if a is None else a.copy() for a in arrays], **sample.attrs)
    return [np.asarray(a) for a in found] if isinstance(found, (tuple, list)) else [np.asarray(found)]


def differentiable(op: OpDef, arrays: Sequence[np.ndarray | None]) -> list[int]:
    """Positions of the inputs that take a gradient: float64 ones (whole numbers in samples are stored as float32)."""

    def name(position: int) -> str:
        return op.input_names[0] if op.variadic else op.input_names[position]

    return [i for i, a in enumerate(arrays) if a is not None and a.dtype == np.float64 and name(i) not in op.nondiff]


class Differentiation:
    """One operator at one sample, seen as a number: the sum of its float results with fixed random weights."""

    def __init__(self, op: OpDef, sample: Sample) -> None:
        self.op, self.sample = op, sample
        self.arrays = make_inputs(sample)
        self.positions = differentiable(op, self.arrays)
        rng = np.random.default_rng(11)
        results = run(op, sample, tensors_of(self.arrays))
        shown = op.num_visible(op.typed(sample.attrs))
        self.heads = [
            torch.from_numpy(np.asarray(rng.uniform(0.5, 1.5, tuple(t.shape))))
            if t.is_floating_point() and i < shown
            else None
            for i, t in enumerate(results)
        ]
        self.heads = [h if h is None else h.to(t.dtype) for h, t in zip(self.heads, results)]
        self.directions = {i: rng.uniform(-1, 1, np.shape(self.arrays[i])) for i in self.positions}
        self.seconds = {
            i: torch.from_numpy(np.asarray(rng.uniform(-1, 1, np.shape(self.arrays[i])))).to(torch.float64)
            for i in self.positions
        }

    @property
    def possible(self) -> bool:
        """Whether there is anything to differentiate."""
        if not self.sample.grad or isinstance(self.op.gradient, Unsupported) or self.op.mutates or self.op.random:
            return False
        return (
            bool(self.positions)
            and any(h is not None for h in self.heads)
            and all(np.size(self.arrays[i]) for i in self.positions)
        )

    def leaves(self, shift: float = 0.0) -> list[torch.Tensor | None]:
        """The inputs, moved by `shift` along the random direction, ready to be differentiated."""
        moved = [
            a if i not in self.directions else (a + shift * self.directions[i]).astype(a.dtype)
            for i, a in enumerate(self.arrays)
        ]
        leaves = tensors_of(moved)
        for i in self.positions:
            leaves[i].requires_grad_()
        return leaves

    def value(self, leaves: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """The number that the operator makes of its inputs."""
        results = run(self.op, self.sample, leaves)
        return sum((h * t).sum() for h, t in zip(self.heads, results) if h is not None)

    def tape_gradients(
        self, leaves: Sequence[torch.Tensor | None], create_graph: bool = False
    ) -> dict[int, torch.Tensor]:
        """What an eager backward pass gives."""
        with autograd.record(train_mode=self.sample.training):
            number = self.value(leaves)
            if not number.requires_grad:
                return {i: torch.zeros_like(leaves[i]) for i in self.positions}
            found = torch.autograd.grad(
                number, [leaves[i] for i in self.positions], allow_unused=True, create_graph=create_graph
            )
        return {i: torch.zeros_like(leaves[i]) if g is None else g for i, g in zip(self.positions, found)}

    def rule_gradients(self, leaves: Sequence[torch.Tensor | None]) -> dict[int, torch.Tensor]:
        """What the operator's own rule gives, recorded so that it can be differentiated again."""
        if self.op.gradient is from_kernel:
            return self.tape_gradients(leaves, create_graph=True)
        typed = self.op.typed(self.sample.attrs)
        with autograd.record(train_mode=self.sample.training):
            results = run(self.op, self.sample, leaves)
            ins = [None if t is None else NDArray._wrap(t, cpu()) for t in leaves]
            outs = [NDArray._wrap(t, cpu()) for t in results]
            grads = [None if h is None else NDArray._wrap(h, cpu()) for h in self.heads]
            in_types = [TensorType() if t is None else TensorType(tuple(t.shape), t.dtype) for t in leaves]
            out_types = [TensorType(tuple(t.shape), t.dtype) for t in results]
            found = self.op.gradient(Grad(self.op, ins, outs, grads, typed, in_types, out_types, self.sample.training))
        found = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        assert len(found) == len(leaves), f"the rule gives {len(found)} gradients for {len(leaves)} inputs"
        return {i: torch.zeros_like(leaves[i]) if found[i] is None else found[i]._t for i in self.positions}

    def along(self, gradients: dict[int, torch.Tensor]) -> float:
        """The slope along the random direction."""
        return float(
            sum((gradients[i].detach() * torch.from_numpy(np.asarray(d))).sum() for i, d in self.directions.items())
        )

    def slope(self, function: Callable[[Sequence[torch.Tensor | None]], torch.Tensor]) -> float:
        """The central difference of a number along the random direction."""
        return float((function(self.leaves(STEP)).detach() - function(self.leaves(-STEP)).detach()) / (2 * STEP))

    def first_order_number(self, leaves: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """The rule's gradients as one number, with fixed random weights."""
        gradients = self.rule_gradients(leaves)
        return sum((gradients[i] * self.seconds[i]).sum() for i in self.positions)

    def second_gradients(self) -> dict[int, torch.Tensor]:
        """The gradient of `first_order_number`, by the tape through the rule."""
        leaves = self.leaves()
        with autograd.record(train_mode=self.sample.training):
            number = self.first_order_number(leaves)
            if not number.requires_grad:
                return {i: torch.zeros_like(leaves[i]) for i in self.positions}
            found = torch.autograd.grad(number, [leaves[i] for i in self.positions], allow_unused=True)
        return {i: torch.zeros_like(leaves[i]) if g is None else g for i, g in zip(self.positions, found)}


# -- eager, bound, hybridized ----------------------------------------------------------------------------------------


class Ways:
    """One operator at one sample, called as users call it: on arrays, as a bound symbol, in a hybridized block."""

    def __init__(self, op: OpDef, sample: Sample) -> None:
        self.op, self.sample = op, sample
        self.calls = 2  # the second has other numbers, so a plan that kept any of the first is found out
        self.batches = [make_inputs(sample, np.float64, seed) for seed in (7, 8)]
        self.positions = differentiable(op, self.batches[0])
        typed = op.typed(sample.attrs)
        self.results = op.num_visible(typed)

    @property
    def differentiable(self) -> bool:
        """Whether a gradient can be asked for."""
        return self.sample.grad and bool(self.positions) and not isinstance(self.op.gradient, Unsupported)

    def arrays(self, batch: int) -> list[NDArray | None]:
        """Fresh arrays of a batch."""
        return [None if a is None else nd.array(a, dtype=a.dtype) for a in self.batches[batch]]

    def heads(self, results: Sequence[NDArray]) -> list[NDArray]:
        """Fixed head gradients for all results."""
        rng = np.random.default_rng(5)
        return [nd.array(rng.uniform(0.5, 1.5, r.shape), dtype=r.dtype) for r in results]

    def _recorded(
        self, function: Callable[..., Any], batch: int, training: bool
    ) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
        """Run a function of arrays under record; (results, gradients)."""
        arrays = self.arrays(batch)
        random.seed(3)
        if not self.differentiable:
            with autograd.train_mode() if training else autograd.predict_mode():
                results = as_list(function(*arrays))
            return [r.asnumpy() for r in results], []
        for i in self.positions:
            arrays[i].attach_grad()
        with autograd.record(train_mode=training):
            results = as_list(function(*arrays))
        pairs = [(r, h) for r, h in zip(results, self.heads(results)) if r._t.requires_grad]
        if pairs:
            autograd.backward([r for r, _ in pairs], [h for _, h in pairs])
        return [r.asnumpy() for r in results], [arrays[i].grad.asnumpy() for i in self.positions]

    def eager(self, batch: int, training: bool) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
        """The operator called on arrays."""
        return self._recorded(lambda *xs: invoke(self.op, xs, self.sample.attrs), batch, training)

    def hybridized(self, training: bool) -> Iterator[tuple[list[np.ndarray], list[np.ndarray | None]]]:
        """The operator inside one hybridized block, batch after batch."""
        op, attrs = self.op, self.sample.attrs
        present = [i for i, a in enumerate(self.batches[0]) if a is not None]

        class Block(gluon.HybridBlock):
            def hybrid_forward(self, F: Any, *xs: Any) -> Any:
                given = dict(zip(present, xs))
                return invoke(op, [given.get(i) for i in range(max(present) + 1)], attrs)

        block = Block()
        block.hybridize()
        for batch in range(self.calls):
            yield self._recorded(lambda *xs: block(*[x for x in xs if x is not None]), batch, training)

    def bound(self, training: bool) -> Iterator[tuple[list[np.ndarray], list[np.ndarray | None]]]:
        """The operator as a symbol, bound once, batch after batch."""
        given = [None if a is None else sym.Variable(f"x{i}") for i, a in enumerate(self.batches[0])]
        symbol = compose(self.op, given, self.sample.attrs)
        hidden = set(symbol.list_auxiliary_states())
        first = {f"x{i}": a for i, a in enumerate(self.arrays(0)) if a is not None}
        wanted = [f"x{i}" for i in self.positions] if self.differentiable and training else []
        grads = {n: nd.zeros(first[n].shape, dtype=first[n].dtype) for n in wanted}
        executor = symbol.bind(
            cpu(),
            {n: a for n, a in first.items() if n not in hidden},
            grads or None,
            {n: "write" if n in wanted else "null" for n in first},
            {n: a for n, a in first.items() if n in hidden},
        )
        for batch in range(self.calls):
            for i, a in enumerate(self.arrays(batch)):
                if a is not None:
                    (executor.aux_dict if f"x{i}" in hidden else executor.arg_dict)[f"x{i}"][:] = a
            random.seed(3)
            results = executor.forward(is_train=training)
            numbers = [r.asnumpy() for r in results]
            if wanted:
                executor.backward(self.heads(results))
            yield numbers, [executor.grad_dict[n].asnumpy() for n in wanted]


def as_list(result: Any) -> list[NDArray]:
    """Several results as a list, one as a list of one."""
    return list(result) if isinstance(result, (list, tuple)) else [result]
