"""The other backend: a traced graph handed to torch.compile, for honest comparison and for who wants it.

The one idea: the graph is written as a straight line of ATen calls, as for a plan, and torch.compile does the rest,
gradients included. It needs a C++ compiler where the program runs; without one the error says so and names the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..base.errors import UnsupportedError, explain
from ..symbol.graph import Value, execution_order
from .codegen import write_function

__all__ = ["run_inductor"]


def run_inductor(graph: Any, tensors: Sequence[torch.Tensor], training: bool, kept: dict[str, Any]) -> list[Any]:
    """Run a graph through torch.compile; kept : where the compiled function stays from call to call.

    Raises
    ------
    UnsupportedError : there is no compiler, or it failed
    """
    function = kept.get("function")
    if function is None:
        inputs = [*graph.data, *[n for n, _ in graph.parameters], *[n for n, _ in graph.constants]]
        made = [*graph.outputs, *graph.effects]
        nodes = [node for node in execution_order(made) if not node.is_variable]
        source = write_function("inductor", nodes, [Value(n) for n in inputs], graph.outputs, graph.types, training, {},
                                copies=len(graph.outputs), overwrite=False)
        function = kept["function"] = torch.compile(source.function, dynamic=False)
    try:
        return list(function(*tensors))
    except Exception as error:
        if type(error).__module__.startswith("torch._"):
            kept.clear()
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UnsupportedError(
                explain("hybridize", "torch.compile cannot compile this graph here.", expected="a C++ compiler (g++)",
                        received=reason[0][:200], fix="net.hybridize() without backend compiles without one")
            ) from error  # fmt: skip
        raise
