"""A torch module as an operator: `_torch_module` runs it, `_torch_module_backward` asks torch's tape for gradients.

The one idea: whoever calls the module made an object, `call`, that knows how (gluon/contrib/torch.py). On torch's tape
the module simply runs. In a compiled plan, where no tape is kept, it runs on a tape of its own that hangs on the last
result, a token without elements, and lives as long as backward may ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..base import aten
from ..base.errors import AutogradError, explain
from ..base.modes import RECORDING, RETAINING
from .opdef import REQUIRED, Grad, OpDef, Tensor, TensorType, Training, Value, lookup, operator, unsupported
from .rules.check import check
from .rules.infer import InferRule

_WHY = "runs a torch module, which samples cannot state; tests/gluon/test_from_module.py checks it"
_BATCH = "it is a torch module: what it does along which axis is not known"


class _AsProbed(InferRule):
    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        return [*attrs["call"].types(ins, training), TensorType((0,), torch.float32)]


class _LikeInputs(InferRule):
    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        return list(attrs["kinds"])


@operator(outputs=lambda a: a["call"].count + 1, visible=lambda a: a["call"].count, infer=_AsProbed(), random=True,
          dynamic=_BATCH, check=check(ref=_WHY))
def _torch_module(*arrays: Tensor, call: Any = REQUIRED, training: Training = False) -> Any:
    """Run a torch module on its inputs; behind them stand the parameters that it is to have gradients for."""
    given = arrays[:call.inputs]
    if torch.is_grad_enabled() or not RECORDING.get():
        return (*call.run(given, training), arrays[0].new_zeros(0, dtype=torch.float32))
    token: Any = arrays[0].new_zeros(0, dtype=torch.float32)
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in given]
        results = call.run(leaves, training)
    token.tape = (results, [*leaves, *call.trained()])
    return (*(t.detach() for t in results), token)


@_torch_module.grad
def _(c: Grad) -> Value:
    wrt = tuple(i for i, (need, kind) in enumerate(zip(c.needs, c.in_types)) if need and kind.dtype.is_floating_point)
    heads = [lookup("zeros_like")(out) if g is None else g for out, g in zip(c.outs[:-1], c.grads)]
    # inputs and results are named, too: the tape reads their memory, which must not be used again before
    count = c.attrs["call"].inputs
    found = list(lookup("_torch_module_backward")(
        c.outs[-1], *heads, *c.ins[:count], *c.outs[:-1], call=c.attrs["call"], wrt=wrt,
        kinds=tuple(c.in_types[i] for i in wrt)))  # fmt: skip
    by_input = dict(zip(wrt, found))
    return tuple(by_input.get(i) for i in range(len(c.ins)))


@operator(outputs=lambda a: len(a["wrt"]), infer=_LikeInputs(), gradient=unsupported("plans replay their forward"),
          dynamic=_BATCH, check=check(ref=_WHY))
def _torch_module_backward(*arrays: Tensor, call: Any = REQUIRED, wrt: Any = REQUIRED, kinds: Any = REQUIRED) -> Any:
    """Compute gradients of `_torch_module` from its token, and from the gradients of its results."""
    tape = getattr(arrays[0], "tape", None)
    if tape is None:
        raise AutogradError(explain(call.name, "This torch module was run without a tape.",
                                    fix="run the network inside autograd.record()"))
    results, leaves = tape
    pairs = [(r, g) for r, g in zip(results, arrays[1:]) if r.requires_grad]
    wanted = [leaves[i] for i in wrt]
    if not pairs:
        return tuple(torch.zeros_like(w) for w in wanted)
    found = aten.run_gradients([r for r, _ in pairs], wanted, [g for _, g in pairs], RETAINING.value, False)
    return tuple(torch.zeros_like(w) if f is None else f for w, f in zip(wanted, found))
