"""The table that `net.summary(x)` prints: layer by layer, output shapes and parameter counts."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.errors import MXNetError, explain
from ..base.tree import leaves
from ..ndarray import NDArray

if TYPE_CHECKING:
    from .block import Block

__all__ = ["print_summary"]

_ROW = "{:>20}  {:>42} {:>15}"


def print_summary(block: Block, inputs: tuple[Any, ...]) -> None:
    """Run the network once on `inputs` with a hook on every block and print what passed."""
    rows: list[tuple[str, str, int]] = []
    seen: set[Any] = set()
    hooks: list[Any] = []
    totals = {"all": 0, "trainable": 0, "shared": 0}

    def shapes(value: Any) -> str:
        found = [str(tuple(a.shape)) for a in leaves(value, NDArray)]
        return found[0] if len(found) == 1 else f"[{', '.join(found)}]"

    def report(layer: Block, args: Any, output: Any) -> None:
        count = 0
        for parameter in layer.params.values():
            if parameter.shape is None or 0 in parameter.shape:
                continue
            size = int(np.prod(parameter.shape))
            count += size
            if parameter in seen:
                totals["shared"] += size
            else:
                totals["all"] += size
                totals["trainable"] += size if parameter.grad_req != "null" else 0
                seen.add(parameter)
        rows.append((f"{type(layer).__name__}-{len(rows) + 1}", shapes(output), count))

    def watch(layer: Block) -> None:
        if getattr(layer, "_active", False):
            raise MXNetError(explain("summary", f"{layer.name} is hybridized, so its layers cannot be watched.",
                                     fix=f"call {layer.name}.hybridize(False) first, or summary before hybridize()"))
        hooks.append(layer.register_forward_hook(report))

    try:
        block.apply(watch)
        block(*inputs)
    finally:
        for hook in hooks:
            hook.detach()
    line, double = "-" * 80, "=" * 80
    print(line, _ROW.format("Layer (type)", "Output Shape", "Param #"), double, sep="\n")
    print(_ROW.format("Input", shapes(list(inputs)), 0))
    for name, shape, count in rows:
        print(_ROW.format(name, shape, count))
    print(
        double,
        "Parameters in forward computation graph, duplicate included\n   Total params: "
        f"{totals['all'] + totals['shared']}",
        f"   Trainable params: {totals['trainable']}\n   Non-trainable params: {totals['all'] - totals['trainable']}",
        f"Shared params in forward computation graph: {totals['shared']}\nUnique parameters in model: {totals['all']}",
        line,
        sep="\n",
    )
