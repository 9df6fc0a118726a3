"""What runs on a group's own tape and is not an operator: linear layers whose weight gradients wait, and sums of
children.

The one idea: `Linear` does not compute the weight's gradient in its backward; it hands (input rows, output gradient
rows) to a Sink, which at the end of the whole backward pass makes one product per weight out of all of them.
"""
from __future__ import annotations

from typing import Any, final

import numpy as np
import torch

__all__ = ["Sink", "Linear", "Segments", "reduce_edges", "spread"]


@final
class Sink:
    """Collects what the gradients of shared weights will be computed from."""

    def __init__(self) -> None:
        self.pairs: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self.biases: dict[int, list[torch.Tensor]] = {}
        self.whole: dict[int, torch.Tensor] = {}

    def linear(self, weight: torch.Tensor, bias: torch.Tensor | None, rows: torch.Tensor, grads: torch.Tensor) -> None:
        """Note one use of a linear layer."""
        if weight.requires_grad:
            self.pairs.setdefault(id(weight), []).append((rows, grads))
        if bias is not None and bias.requires_grad:
            self.biases.setdefault(id(bias), []).append(grads)

    def add(self, tensor: torch.Tensor, gradient: torch.Tensor) -> None:
        """Note a gradient that is complete for one group."""
        held = self.whole.get(id(tensor))
        self.whole[id(tensor)] = gradient if held is None else held + gradient

    def collect(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the gradient of a shared tensor, or None when it took part nowhere; what was noted is used up."""
        total = self.whole.pop(id(tensor), None)
        pairs = self.pairs.pop(id(tensor), None)
        if pairs:
            rows = pairs[0][0] if len(pairs) == 1 else torch.cat([r for r, _ in pairs])
            grads = pairs[0][1] if len(pairs) == 1 else torch.cat([g for _, g in pairs])
            product = grads.t().mm(rows)
            total = product if total is None else total + product
        biases = self.biases.pop(id(tensor), None)
        if biases:
            summed = (biases[0] if len(biases) == 1 else torch.cat(biases)).sum(0)
            total = summed if total is None else total + summed
        return total


@final
class Linear(torch.autograd.Function):
    """rows · weightᵀ + bias, whose weight and bias gradients go to a Sink."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, trigger: torch.Tensor,
                tape: Any) -> Any:
        """Return (R, O) of rows (R, I) and weight (O, I); `tape.sink` is asked for at the time of backward.

        The trigger needs a gradient, so that backward comes by even when the rows need none.
        """
        ctx.kept = rows, weight, bias, tape
        return torch.nn.functional.linear(rows, weight.detach(), None if bias is None else bias.detach())

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Return the gradient of the rows; note the rest."""
        rows, weight, bias, tape = ctx.kept
        gradient = grads[0]
        tape.sink.linear(weight, bias, rows.detach(), gradient)
        return gradient.mm(weight.detach()) if ctx.needs_input_grad[0] else None, None, None, None, None


@final
class Segments:
    """Which edges belong to which node: node i has `counts[i]` consecutive edges."""

    __slots__ = ("counts", "nodes", "edges", "uniform", "_index", "device")

    def __init__(self, counts: np.ndarray[Any, Any], device: Any) -> None:
        self.counts, self.nodes, self.edges, self.device = counts, len(counts), int(counts.sum()), device
        first = int(counts[0]) if len(counts) else 0
        self.uniform = first if not len(counts) or bool((counts == first).all()) else None
        self._index: torch.Tensor | None = None

    @property
    def index(self) -> torch.Tensor:
        """The node of each edge."""
        if self._index is None:
            self._index = torch.from_numpy(np.repeat(np.arange(self.nodes), self.counts)).to(self.device)
        return self._index


def _sum(edges: torch.Tensor, segments: Segments) -> torch.Tensor:
    if segments.uniform is not None:
        return edges.view(segments.nodes, segments.uniform, *edges.shape[1:]).sum(1)
    return edges.new_zeros((segments.nodes, *edges.shape[1:])).index_add_(0, segments.index, edges)


def _spread(nodes: torch.Tensor, segments: Segments) -> torch.Tensor:
    if segments.uniform == 1:
        return nodes
    return nodes.index_select(0, segments.index)


@final
class _SumEdges(torch.autograd.Function):
    """Sum over the edges of each node."""

    @staticmethod
    def forward(ctx: Any, edges: torch.Tensor, segments: Segments) -> Any:
        ctx.segments = segments
        return _sum(edges.contiguous(), segments)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return _spread(grads[0], ctx.segments), None


@final
class _Spread(torch.autograd.Function):
    """Give each edge its node's value."""

    @staticmethod
    def forward(ctx: Any, nodes: torch.Tensor, segments: Segments) -> Any:
        ctx.segments = segments
        return nodes.index_select(0, segments.index)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return _sum(grads[0].contiguous(), ctx.segments), None


def _max(edges: torch.Tensor, segments: Segments) -> torch.Tensor:
    if segments.uniform:
        return edges.reshape(segments.nodes, segments.uniform, *edges.shape[1:]).amax(1)
    index = segments.index.view(-1, *(1,) * (edges.dim() - 1)).expand_as(edges)
    target = edges.new_zeros((segments.nodes, *edges.shape[1:]))
    return target.scatter_reduce(0, index, edges, "amax", include_self=False)


@final
class _MaxEdges(torch.autograd.Function):
    """Maximum over the edges of each node. Equal edges all get the gradient, as in `max` of a stack, or only the first
    of them, as in a chain of `maximum`.
    """

    @staticmethod
    def forward(ctx: Any, edges: torch.Tensor, segments: Segments, first: bool) -> Any:
        result = _max(edges, segments)
        ctx.kept = edges, result, segments, first
        return result

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        edges, result, segments, first = ctx.kept
        chosen = edges == _spread(result, segments)
        if first:
            places = torch.arange(len(edges), 0, -1, device=edges.device).view(-1, *(1,) * (edges.dim() - 1))
            ranks = chosen * places
            chosen = chosen & (ranks == _spread(_max(ranks, segments), segments))
        return _spread(grads[0], segments) * chosen, None, None


def spread(nodes: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Return, per edge, the value of its node: (N, …) -> (E, …)."""
    return nodes if segments.uniform == 1 else _Spread.apply(nodes, segments)  # type: ignore[no-any-return]


def reduce_edges(word: str, edges: torch.Tensor, segments: Segments, first: bool = False) -> torch.Tensor:
    """Return the sum, mean or maximum over the edges of each node: (E, …) -> (N, …); `first`: see _MaxEdges."""
    if segments.uniform == 1:
        return edges
    if word == "max":
        return _MaxEdges.apply(edges, segments, first)  # type: ignore[no-any-return]
    total: torch.Tensor = _SumEdges.apply(edges, segments)  # type: ignore[assignment]  # apply is untyped
    if word == "mean":
        counts = torch.from_numpy(segments.counts).to(edges.device, edges.dtype)
        return total / counts.view(-1, *(1,) * (edges.dim() - 1))
    return total
