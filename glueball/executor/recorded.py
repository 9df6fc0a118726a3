"""Running a plan, recorded or not.

The one idea: a recorded call of a plan keeps what its backward reads and knows where gradients go. It is chained to the
calls that made its inputs (ndarray/chain.py) for as long as nothing else is recorded between it and backward(); else it
is ONE node of torch's tape. Gradients of gradients replay the graph through the interpreter.

Not here: signatures (cached_op.py), how a plan is made (plan.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final
from weakref import ref

import torch

from ..base import aten, config
from ..base.context import Context
from ..base.errors import AutogradError, explain
from ..base.modes import RETAINING
from ..ndarray.chain import Call, Result, Source, State
from ..ndarray.leaf import Leaf
from ..ndarray.ndarray import NDArray
from .interpret import interpret
from .plan import Plan

__all__ = ["config_interpret", "run_chained", "run_plan", "sources_of"]

Tensor = torch.Tensor

_interpret: bool | None = None


def config_interpret() -> bool:
    """Whether plans are to be interpreted (GLUEBALL_PLAN=interpret), looked up once."""
    global _interpret
    if _interpret is None:
        _interpret = config.get("GLUEBALL_PLAN") == "interpret"
    return bool(_interpret)


def run_plan(plan: Plan, tensors: Sequence[Tensor], mask: Sequence[int]) -> Sequence[Tensor]:
    """Run a plan; with gradients wanted (`mask` not empty), as one node on torch's tape."""
    if config_interpret():
        return interpret([*plan.outputs, *plan.effects], dict(zip(plan.inputs, tensors)), plan.training)[: plan.count]
    if mask and plan.backward is None:
        return plan.forward(*tensors)  # on torch's tape: see plan.SMALL
    if mask:
        call = _PlanCall(plan, tensors, mask, ())
        call.put_on_tape(call.outputs, call.inputs)
        outputs, call.outputs, call.state = call.outputs, (), State.TAPED
        return outputs
    if torch.is_grad_enabled():
        with torch.no_grad():
            return plan.forward(*tensors)
    return plan.forward(*tensors)


def sources_of(arrays: Sequence[NDArray]) -> tuple[list[Tensor], tuple[int, ...], list[Source] | None]:
    """Return the arrays' tensors, positions of those that want gradients, and where these go: None where only torch's
    tape can say. Tensors are then on it.
    """
    tensors: list[Tensor] = []
    mask: list[int] = []
    sources: list[Source] = []
    for array in arrays:
        place = array._ag
        if type(place) is Result and place.call.state is State.CHAINED:
            sources.append((place.call, place.index))
            mask.append(len(tensors))
            tensors.append(place.tensor)
            continue
        tensor = array._t
        if tensor.requires_grad:
            mask.append(len(tensors))
            if type(place) is Leaf and not place.shared:
                sources.append(place)
        tensors.append(tensor)
    if len(sources) == len(mask):
        return tensors, tuple(mask), sources
    return [array._t for array in arrays], tuple(mask), None


def run_chained(
    plan: Plan, tensors: Sequence[Tensor], mask: Sequence[int], sources: Sequence[Source], ctx: Context
) -> list[NDArray]:
    """Run a plan that has a backward, off torch's tape, with what `sources_of` returned."""
    call = _PlanCall(plan, tensors, mask, sources)
    arrays: list[NDArray] = []
    for index, (tensor, differentiable) in enumerate(zip(call.outputs, plan.differentiable)):
        array: NDArray = object.__new__(NDArray)
        array._ctx = ctx
        if differentiable:
            array._ag = Result(call, tensor, index)
        else:
            array._t, array._ag = tensor, None
        arrays.append(array)
    call.arrays = list(map(ref, arrays))
    return arrays


@final
class _PlanCall(Call):
    """A recorded call of a plan.

    tensors : all inputs, and `saved` what backward reads, until it is used up; versions : of those of `saved` that a
    user can change; random : the state of random numbers before, where the plan draws some
    """

    __slots__ = ("plan", "mask", "tensors", "saved", "versions", "random")

    def __init__(self, plan: Plan, tensors: Sequence[Tensor], mask: Sequence[int], sources: Sequence[Source]) -> None:
        super().__init__(sources)
        plan.settling.run()
        self.plan, self.mask = plan, mask
        self.random = torch.get_rng_state() if plan.random else None
        before = torch.is_grad_enabled()
        aten.set_grad_mode(False)
        try:
            found = plan.forward(*tensors)
        finally:
            aten.set_grad_mode(before)
        self.tensors: Sequence[Tensor] | None = tensors
        saved = found[plan.count :]
        self.outputs, self.versions = found[: plan.count], [saved[i]._version for i in plan.watched]
        self.saved: list[Tensor] | None = saved

    @property
    def inputs(self) -> list[Tensor]:
        """The inputs that want gradients."""
        tensors = self.tensors
        assert tensors is not None  # it was not used up
        return [tensors[i] for i in self.mask]

    def put_on_tape(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
        """Make the call the one node of torch's tape that outputs come from."""
        _Node.apply(self, outputs, *inputs)

    def gradients(self, grads: Sequence[Tensor], keep: bool) -> Sequence[Tensor | None]:
        """Run the plan's backward."""
        saved = self.saved
        if saved is None:
            raise _used_up()
        self._check_unchanged(saved)
        if keep:
            saved = list(saved)
        else:
            self.saved = self.tensors = None
        saved.extend(grads)
        return self.plan.backward(saved)

    def recorded_gradients(self, grads: Sequence[Tensor]) -> Sequence[Tensor | None]:
        """Return gradients that are on torch's tape themselves: the graph runs once more, by the interpreter."""
        plan = self.plan
        if self.tensors is None or self.saved is None:
            raise _used_up()
        self._check_unchanged(self.saved)
        tensors = list(self.tensors)
        for i in self.mask:  # places of their own on the tape: one input may have been computed from another one
            tensors[i] = tensors[i].view_as(tensors[i])
        after = None
        if self.random is not None:
            after = torch.get_rng_state()
            torch.set_rng_state(self.random)
        outputs = plan.replay(tensors)
        if after is not None:
            torch.set_rng_state(after)
        pairs = [(o, g) for o, g in zip(outputs, grads) if o.requires_grad]
        return aten.run_gradients([o for o, _ in pairs], [tensors[i] for i in self.mask], [g for _, g in pairs],
                                  True, True)  # fmt: skip

    def _check_unchanged(self, saved: Sequence[Tensor]) -> None:
        """Raise when an input or output of the block that backward reads was written to since it was recorded."""
        plan = self.plan
        for index, version in zip(plan.watched, self.versions):
            if saved[index]._version != version:
                node = plan.saved[index].node
                raise AutogradError(
                    explain(
                        "backward",
                        "An array that backward() needs was changed in place after it was recorded.",
                        received=f"input {node.name!r} of a hybridized block"
                        if node.is_variable
                        else f"the output that {node.name!r} made in a hybridized block",
                        fix="write y = x + 1 instead of x += 1; update parameters only after backward()",
                    )
                )


def _used_up() -> AutogradError:
    return AutogradError(
        explain(
            "backward",
            "Part of this tape has been used up by an earlier backward().",
            fix="pass retain_graph=True to the first backward(), or add the losses up and call backward() once",
        )
    )


class _Node(torch.autograd.Function):
    """A call on torch's tape."""

    @staticmethod
    def forward(ctx: Any, call: _PlanCall, outputs: Sequence[Tensor], *inputs: Tensor) -> Any:
        ctx.call = call
        exact = [t for t in outputs if not t.is_floating_point()]
        if exact:
            ctx.mark_non_differentiable(*exact)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        call: _PlanCall = ctx.call
        found = call.recorded_gradients(grads) if torch.is_grad_enabled() else call.gradients(grads, RETAINING.value)
        return None, None, *found
