"""A segment as one node of torch's tape.

The one idea: forward keeps the inputs and nothing else; backward runs the compiled gradient, and gives an array that
was split one gradient that is written slice by slice. Where the gradient itself goes on the tape, torch's operators
compute it. Only segments that are compiled come here.

Not here: what a segment computes (run.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, final

import torch
from torch import Tensor

from .places import Item, Place, Split, parts, place, side_by_side

if TYPE_CHECKING:
    from .run import Rows

__all__ = ["Node"]

Sizes: TypeAlias = "Sequence[tuple[int, ...] | None]"  # per array of the call, how it is split


def _items(sizes: Sizes, tensors: Sequence[Tensor]) -> list[Item]:
    return [tensor if size is None else Split(tensor, size) for size, tensor in zip(sizes, tensors)]


@final
class Node(torch.autograd.Function):
    """See the module's text."""

    @staticmethod
    def forward(ctx: Any, rows: Rows, sizes: Sizes, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs. sizes : per tensor its parts, or None."""
        ctx.rows, ctx.sizes = rows, sizes
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return tuple(rows.forward(_items(sizes, tensors)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        """Compute the gradients of the tensors."""
        tensors: tuple[Tensor, ...] = ctx.saved_tensors
        segment: Rows = ctx.rows
        sizes: Sizes = ctx.sizes
        items, needs = _items(sizes, tensors), ctx.needs_input_grad[2:]
        wanted = [need for size, need in zip(sizes, needs) for _ in size or (0,)]
        rows, columns, places, kept = segment.places(items)
        plan = segment.plan(grads, wanted)
        if torch.is_grad_enabled() or not plan.segment.results:
            pieces = parts(items)
            return (None, None, *_joined(sizes, needs, pieces, plan.evaluate([*pieces, *grads], rows, columns)))
        places += [(0, 0) if grad is None else place(grad, kept) for grad in grads]
        spots: list[Place | None] = []
        wholes: list[Tensor | None] = []  # gradients of arrays that are split
        for size, tensor, need in zip(sizes, tensors, needs):
            count = len(size or (0,))
            if size is None or not need:
                wholes.append(None)
                spots += [None] * count
                continue
            all_written = all(plan.writes(len(spots) + k) for k in range(count))
            whole = tensor.new_empty(tensor.shape) if all_written else tensor.new_zeros(tensor.shape)
            wholes.append(whole)
            spots += side_by_side((whole.data_ptr(), whole.shape[1]), count, columns, whole.itemsize)
        results = plan.run(items, places, rows, columns, spots)
        found: list[Tensor | None] = []
        index = 0
        for size, whole in zip(sizes, wholes):
            found.append(results[index] if whole is None else whole)
            index += len(size or (0,))
        return (None, None, *found)


def _joined(
    sizes: Sizes, needs: Sequence[bool], pieces: Sequence[Tensor], results: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Return a gradient per array from one per input."""
    found: list[Tensor | None] = []
    index = 0
    for size, need in zip(sizes, needs):
        end = index + len(size or (0,))
        if size is not None and need:
            both = zip(results[index:end], pieces[index:end])
            found.append(torch.cat([torch.zeros_like(like) if part is None else part for part, like in both], 1))
        else:
            found.append(results[index])
        index = end
    return found
