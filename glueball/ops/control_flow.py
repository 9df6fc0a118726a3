"""Control flow inside a graph: `_foreach`, `_while_loop`, `_cond`, operators whose attributes are sub-graphs.

The one idea: a sub-graph is an opaque object with `run(tensors, training)` and `infer(types)` (symbol/subgraph.py);
these kernels are the loops and branches around it. Captured values follow the loop's own among the inputs. Gradients
come from the kernels by torch's tape. User functions: nd.contrib.foreach and friends, eager in ndarray/contrib.py,
composing in symbol/contrib.py.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..base.errors import ArgumentError, explain
from .opdef import REQUIRED, OpDef, Tensor, TensorType, Training, from_kernel, operator
from .rules.check import check
from .rules.infer import InferRule

_WHY = (
    "takes sub-graphs, which samples cannot state; tests/symbol/test_control_flow.py checks it against the eager loop"
)


class _Foreach(InferRule):
    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        n = attrs["data_count"]
        steps = ins[0].shape[0]  # type: ignore[index]  # complete here
        step = [TensorType(t.shape[1:] or (1,), t.dtype) for t in ins[:n]]  # type: ignore[index]
        outs = attrs["body"].infer([*step, *ins[n:]], training)
        k = attrs["out_count"]
        return [TensorType((steps, *t.shape), t.dtype) for t in outs[:k]] + list(outs[k:])


class _WhileLoop(InferRule):
    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        outs = attrs["body"].infer(ins[attrs["cond_captured"]:], training)
        k = attrs["out_count"]
        return [TensorType((attrs["max_iterations"], *t.shape), t.dtype) for t in outs[:k]] + list(outs[k:])


class _Cond(InferRule):
    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        n = attrs["then_count"]
        outs = attrs["then"].infer(ins[1:1 + n], training)
        other = attrs["other"].infer(ins[1 + n:], training)
        if list(outs) != list(other):
            raise ArgumentError(explain("cond", "Both branches must return arrays of the same shapes and dtypes.",
                                        expected=outs, received=other))
        return outs


def _row(data: Tensor, step: int) -> Tensor:
    part = data[step]
    return part if part.dim() else part.reshape(1)


@operator(outputs=lambda a: a["total"], infer=_Foreach(), gradient=from_kernel, check=check(ref=_WHY))
def _foreach(*arrays: Tensor, body: Any = REQUIRED, data_count: int = REQUIRED, state_count: int = REQUIRED,
             out_count: int = REQUIRED, total: int = REQUIRED, training: Training = False) -> Any:
    """Run `body` on each step of the leading axis, handing states on; outputs are stacked."""
    n, m = data_count, state_count
    data, states, captured = arrays[:n], list(arrays[n:n + m]), list(arrays[n + m:])
    stacked: list[list[Tensor]] = [[] for _ in range(out_count)]
    for step in range(data[0].shape[0]):
        results = body.run([*[_row(d, step) for d in data], *states, *captured], training)
        for column, value in zip(stacked, results[:out_count]):
            column.append(value)
        states = list(results[out_count:])
    return tuple([torch.stack(column) for column in stacked] + states)


@operator(outputs=lambda a: a["total"], infer=_WhileLoop(), gradient=from_kernel, check=check(ref=_WHY))
def _while_loop(*arrays: Tensor, condition: Any = REQUIRED, body: Any = REQUIRED, cond_captured: int = REQUIRED,
                state_count: int = REQUIRED, out_count: int = REQUIRED, max_iterations: int = REQUIRED,
                total: int = REQUIRED, training: Training = False) -> Any:
    """Run `body` while `condition` holds, at most `max_iterations` times; outputs are stacked and padded with zeros.

    Inputs: what the condition captures, the loop variables, what the body captures.
    """
    extra, states, captured = list(arrays[:cond_captured]), list(arrays[cond_captured:cond_captured + state_count]), \
        list(arrays[cond_captured + state_count:])
    stacked: list[list[Tensor]] = [[] for _ in range(out_count)]
    for _ in range(max_iterations):
        if not bool(condition.run([*states, *extra], training)[0]):
            break
        results = body.run([*states, *captured], training)
        for column, value in zip(stacked, results[:out_count]):
            column.append(value)
        states = list(results[out_count:])
    kinds = body.infer([TensorType(tuple(t.shape), t.dtype) for t in [*states, *captured]], training)[:out_count]
    padded = []
    for column, kind in zip(stacked, kinds):
        missing = max_iterations - len(column)
        zeros = torch.zeros((missing, *kind.shape), dtype=kind.dtype, device=arrays[-1].device)
        padded.append(torch.cat([torch.stack(column), zeros]) if column else zeros)
    return tuple(padded + states)


@operator(outputs=lambda a: a["total"], infer=_Cond(), gradient=from_kernel, nondiff=("arg0",), check=check(ref=_WHY))
def _cond(*arrays: Tensor, then: Any = REQUIRED, other: Any = REQUIRED, then_count: int = REQUIRED,
          total: int = REQUIRED, training: Training = False) -> Any:
    """Run one of two sub-graphs, as the first input (one element) is true or not."""
    taken = then if bool(arrays[0]) else other
    inputs = arrays[1:1 + then_count] if taken is then else arrays[1 + then_count:]
    return tuple(taken.run(list(inputs), training))
