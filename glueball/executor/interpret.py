"""The oracle: run a program in one loop, operator by operator, nothing optimised. Every plan is tested against it."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..base.errors import MXNetError
from ..dispatch import apply_own_rule, explain_failure, needs_own_rule
from ..ops.opdef import OpDef
from ..symbol.graph import Node, Value, execution_order, present

__all__ = ["interpret", "run_node", "run_operator"]


def run_operator(op: OpDef, tensors: Sequence[torch.Tensor], attrs: Mapping[str, Any], training: bool = False,
                 names: Sequence[str] | None = None,
                 ) -> tuple[torch.Tensor, ...]:
    """Run one kernel and return its results as a tuple."""
    extra = {"training": training} if op.takes_training else {}
    try:
        if needs_own_rule(op, tensors):
            given = dict(zip(names or op.input_names, tensors))
            ordered = tensors if op.variadic else [given.get(n) for n in op.input_names]
            result = apply_own_rule(op, {**attrs, **extra}, ordered)
        elif op.variadic:
            result = op.kernel(*tensors, **attrs, **extra)
        else:
            result = op.kernel(**dict(zip(names or op.input_names, tensors)), **attrs, **extra)
    except MXNetError:  # in the operator's own words
        raise
    except Exception as error:
        raise explain_failure(op, tensors, attrs, error) from error
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def run_node(node: Node, tensors: Sequence[torch.Tensor], training: bool) -> tuple[torch.Tensor, ...]:
    """Run one node's kernel."""
    assert node.op is not None  # variables are not run
    return run_operator(node.op, tensors, node.attrs, training, present(node))


def interpret(outputs: Sequence[Value], inputs: Mapping[Node, torch.Tensor], training: bool) -> list[torch.Tensor]:
    """Return the outputs for the given values of all variables; on torch's tape when it is on."""
    results: dict[Node, tuple[torch.Tensor, ...]] = {node: (tensor,) for node, tensor in inputs.items()}
    for node in execution_order(outputs):
        if node not in results:
            results[node] = run_node(node, [results[v.node][v.index] for v in node.inputs], training)
    return [results[v.node][v.index] for v in outputs]
