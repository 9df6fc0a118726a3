"""What runs on a group's own tape and is not an operator: linear layers whose weight gradients wait, and sums of
children.

The one idea: `Linear` does not compute the weight's gradient in its backward; it hands (input rows, output gradient
rows) to a Sink, which at the end of the whole backward pass makes one product per weight out of all of them.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np
import torch

from .packs import add_outer

__all__ = ["Sink", "Linear", "linear_parts", "assembled", "sum_edges", "Parts", "Segments", "reduce_edges", "spread"]


@final
class Sink:
    """Collects what the gradients of shared weights will be computed from."""

    def __init__(self) -> None:
        self.uses: dict[int, list[_Use]] = {}
        self.biases: dict[int, list[_Use]] = {}
        self.whole: dict[int, torch.Tensor] = {}

    def linear(self, weight: torch.Tensor, bias: torch.Tensor | None, rows: torch.Tensor, grads: torch.Tensor,
               low: int) -> None:
        """Note one use of a linear layer, of whose outputs those from `low` on were computed."""
        use = _Use(rows, grads, low, bias is not None and bias.requires_grad)
        if weight.requires_grad:
            self.uses.setdefault(id(weight), []).append(use)
        if bias is not None and bias.requires_grad:
            self.biases.setdefault(id(bias), []).append(use)

    def add(self, tensor: torch.Tensor, gradient: torch.Tensor) -> None:
        """Note a gradient that is complete for one group."""
        held = self.whole.get(id(tensor))
        self.whole[id(tensor)] = gradient if held is None else held + gradient

    def part(self, tensor: torch.Tensor, begin: int, end: int, gradient: torch.Tensor) -> None:
        """Note the gradient of a part of a shared vector."""
        if not tensor.requires_grad:
            return
        if end - begin == tensor.numel():
            self.add(tensor, gradient.reshape(tensor.shape))
            return
        whole = torch.zeros_like(tensor)
        whole.reshape(-1)[begin:end] = gradient.reshape(-1)
        self.add(tensor, whole)

    def collect(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the gradient of a shared tensor, or None when it took part nowhere; what was noted is used up."""
        found = self.whole.pop(id(tensor), None)
        uses, biases = self.uses.pop(id(tensor), None), self.biases.pop(id(tensor), None)
        if uses is None and biases is None:
            return found
        one = uses is not None and biases is None and found is None and len(uses) == 1 and (
            uses[0].grads.shape[1] == len(tensor))
        total = torch.empty_like(tensor) if one else torch.zeros_like(tensor) if found is None else found.clone()
        for use in _joined(uses or [], tensor.numel()):
            _product(use, total[use.low:use.low + use.grads.shape[1]], not one)
        for use in biases or []:
            total[use.low:use.low + use.grads.shape[1]] += use.grads.sum(0) if use.sums is None else use.sums
        return total


@final
class _Use:
    """One use of a linear layer. watched: whether its bias wants a gradient. sums: that, when it has been computed."""

    __slots__ = ("rows", "grads", "low", "watched", "sums")

    def __init__(self, rows: torch.Tensor, grads: torch.Tensor, low: int, watched: bool) -> None:
        self.rows, self.grads, self.low, self.watched = rows, grads, low, watched
        self.sums: torch.Tensor | None = None


def _product(use: _Use, target: torch.Tensor, add: bool) -> None:
    """Compute the gradient of a weight, and with it that of the bias, which goes through the same rows."""
    sums = use.grads.new_zeros(use.grads.shape[1]) if use.watched else None
    if add_outer(use.grads, use.rows, target, add, sums):
        use.sums = sums
    elif add:
        target.addmm_(use.grads.t(), use.rows)
    else:
        torch.mm(use.grads.t(), use.rows, out=target)


def _joined(uses: list[_Use], size: int) -> Iterator[_Use]:
    """Yield large uses by themselves, small ones joined, where copying them costs less than going through the weight
    once more.
    """
    small: dict[tuple[int, int], list[_Use]] = {}
    for use in uses:
        if use.rows.shape[0] * (use.rows.shape[1] + use.grads.shape[1]) > size:
            yield use
        else:
            small.setdefault((use.low, use.grads.shape[1]), []).append(use)
    for (low, _), some in small.items():
        yield some[0] if len(some) == 1 else _Use(torch.cat([use.rows for use in some]),
                                                  torch.cat([use.grads for use in some]), low, False)


Parts = Sequence[tuple[int, int]]


@final
class Linear(torch.autograd.Function):
    """rows · weightᵀ + bias in parts of columns, whose weight and bias gradients go to a Sink."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, trigger: torch.Tensor,
                tape: Any, parts: Parts) -> Any:
        """Return, per part, (R, columns) of rows (R, I) and weight (O, I); `tape.sink` is asked for in backward.

        The trigger needs a gradient, so that backward comes by even when the rows need none.
        """
        ctx.kept = rows, weight, bias, tape, parts
        ctx.set_materialize_grads(False)
        return linear_parts(rows, weight.detach(), None if bias is None else bias.detach(), parts)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        """Return the gradient of the rows; note the rest."""
        rows, weight, bias, tape, parts = ctx.kept
        gradient, low = assembled(grads, parts, rows)
        tape.sink.linear(weight, bias, rows.detach(), gradient, low)
        back = gradient.mm(weight.detach()[low:low + gradient.shape[1]]) if ctx.needs_input_grad[0] else None
        return back, None, None, None, None, None


def linear_parts(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
                 parts: Parts) -> tuple[torch.Tensor, ...]:
    """Return the columns of rows · weightᵀ + bias that `parts` name; those that nobody names are not computed."""
    low, high = min(a for a, _ in parts), max(b for _, b in parts)
    if high - low < len(weight):
        weight, bias = weight[low:high], None if bias is None else bias[low:high]
    product = torch.nn.functional.linear(rows, weight, bias)
    if len(parts) == 1:
        return (product,)
    return tuple(product[:, a - low:b - low] for a, b in parts)


def assembled(grads: Sequence[torch.Tensor | None], parts: Parts, rows: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Put the gradients of parts together; return them and the first column."""
    low = min(a for a, _ in parts)
    if len(parts) == 1 and grads[0] is not None:
        return grads[0], low
    pieces: list[torch.Tensor] = []
    reached = low
    for place in sorted(range(len(parts)), key=lambda i: parts[i]):
        begin, end = parts[place]
        if begin > reached:
            pieces.append(rows.new_zeros((len(rows), begin - reached)))
        gradient = grads[place]
        pieces.append(rows.new_zeros((len(rows), end - begin)) if gradient is None else gradient)
        reached = end
    return torch.cat(pieces, 1), low


@final
class Segments:
    """Which edges belong to which node: node i has `counts[i]` consecutive edges."""

    __slots__ = ("counts", "nodes", "edges", "uniform", "_index", "device")

    def __init__(self, counts: np.ndarray[Any, Any], device: Any, known: tuple[int, int | None]) -> None:
        """Known : the number of edges, and that of every node, if all have the same."""
        self.counts, self.nodes, self.device = counts, len(counts), device
        self.edges, self.uniform = known
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


def sum_edges(edges: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Return the sum over the edges of each node, off the tape."""
    return edges if segments.uniform == 1 else _sum(edges.contiguous(), segments)


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
    return nodes if segments.uniform == 1 else _Spread.apply(nodes, segments)


def reduce_edges(word: str, edges: torch.Tensor, segments: Segments, first: bool = False) -> torch.Tensor:
    """Return the sum, mean or maximum over the edges of each node: (E, …) -> (N, …); `first`: see _MaxEdges."""
    if segments.uniform == 1:
        return edges
    if word == "max":
        return _MaxEdges.apply(edges, segments, first)
    total: torch.Tensor = _SumEdges.apply(edges, segments)
    if word == "mean":
        counts = torch.from_numpy(segments.counts).to(edges.device, edges.dtype)
        return total / counts.view(-1, *(1,) * (edges.dim() - 1))
    return total
