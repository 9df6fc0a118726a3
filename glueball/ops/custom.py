"""Custom: an operator that the user wrote in Python (glueball/operator.py).

The one idea: the kernel hands over to the registered class, whose own backward is on torch's tape; what the class is
asked for at which moment is operator.py's business, which sets RUNNER when it is imported.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol

from ..base.errors import ArgumentError, explain
from .opdef import REQUIRED, OpDef, Tensor, TensorType, Training, from_kernel, operator
from .rules.check import check
from .rules.infer import InferRule


class Runner(Protocol):
    """What operator.py provides."""

    def run(self, op_type: str, options: Any, tensors: Sequence[Tensor], training: bool) -> tuple[Tensor, ...]:
        """Run the user's forward."""
        ...

    def infer(self, op_type: str, options: Any, ins: Sequence[TensorType]) -> list[TensorType]:
        """Ask the user's class for the types of the results."""
        ...

    def count(self, op_type: str, options: Any) -> int:
        """Ask the user's class for the number of results."""
        ...


class _Holder:
    runner: Runner

    def __getattr__(self, name: str) -> NoReturn:
        # Asked for before operator.py was imported: nobody registered anything.
        raise ArgumentError(explain("Custom", "No operator is registered.",
                                    fix="decorate a CustomOpProp with @mx.operator.register(name)"))


HOLDER = _Holder()


class _AskUser(InferRule):
    def forward(self, op: OpDef, attrs: Mapping[str, Any], ins: Sequence[TensorType],
                training: bool) -> list[TensorType]:
        return HOLDER.runner.infer(attrs["op_type"], attrs["options"], ins)


@operator(outputs=lambda attrs: HOLDER.runner.count(attrs["op_type"], attrs["options"]), infer=_AskUser(),
          gradient=from_kernel, check=check(ref="runs the user's class; tests/test_operator.py checks it"))
def Custom(*data: Tensor, op_type: str = REQUIRED, options: Any = (),
           training: Training = False) -> Any:
    """Run the operator registered under `op_type`; further keyword arguments go to its constructor as text."""
    return HOLDER.runner.run(op_type, options, data, training)
