"""The gradient of any kernel, derived by torch's autograd: what `gradient=from_kernel` means inside a graph.

The one idea: the operator `_vjp` holds another operator and its attributes; its kernel runs that kernel once more
under torch's tape and asks for the gradients. Slower than a rule, right for everything deterministic. Rules are
preferred for operators that matter.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base import aten
from .opdef import REQUIRED, OpDef, Tensor, TensorType, from_kernel, lookup, operator
from .rules.check import A, S, check
from .rules.infer import InferRule


class _GradientsLikeInputs(InferRule):
    """Each result has the type of the input it is the gradient of."""

    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        return [ins[i] for i in attrs["wrt"]]


def _np_vjp_exp(x: np.ndarray, g: np.ndarray, **attrs: Any) -> np.ndarray:
    return g * np.exp(x)


@operator(outputs=lambda attrs: len(attrs["wrt"]), infer=_GradientsLikeInputs(), gradient=from_kernel,
          check=check(S(A(2, 3), A(2, 3), op="exp", op_attrs=(), inputs=("data",), wrt=(0,)), ref=_np_vjp_exp))
def _vjp(*arrays: Tensor, op: str = REQUIRED, op_attrs: Any = REQUIRED, inputs: Any = REQUIRED, wrt: Any = REQUIRED,
         op_training: bool = False) -> Any:
    """Compute gradients of operator `op` for its inputs numbered `wrt`, from its inputs followed by one gradient per
    float result.
    """
    definition = lookup(op)
    count = len(inputs)
    given, grads = arrays[:count], arrays[count:]
    extra: dict[str, Any] = dict(op_attrs)
    if definition.takes_training:
        extra["training"] = op_training
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in arrays)
    with torch.enable_grad():
        leaves = [t if recorded and t.requires_grad else t.detach().requires_grad_(True) if i in wrt
                  else t.clone() if not definition.variadic and inputs[i] in definition.mutates else t for i,
                  t in enumerate(given)]
        result = (
            definition.kernel(*leaves, **extra)
            if definition.variadic
            else definition.kernel(**dict(zip(inputs, leaves)), **extra)
        )
        results = [r for r in (result if isinstance(result, (tuple, list)) else (result,)) if r.is_floating_point()]
        pairs = [(r, g) for r, g in zip(results, grads) if r.requires_grad]
        wanted = [leaves[i] for i in wrt]
        found = aten.run_gradients([r for r, _ in pairs], wanted, [g for _, g in pairs], recorded, recorded) if pairs \
            else [None] * len(wanted)
    return tuple(torch.zeros_like(w) if f is None else f for w, f in zip(wanted, found))
