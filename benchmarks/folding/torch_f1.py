"""F1 in torch: the program of one pair, and the program an expert writes when speed matters, batched by hand.

The one idea of the second: rows are laid out level by level (leaves first), and within a level by the level of the
parent, so that what a level needs from below is a few whole slices. W·x of all nodes is one product; the states need
neither an arena nor a gather, and autograd neither zero-fills nor scatters one. `Arena` is the usual alternative: one
index_select of the children's states per level.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gluon_f1 import HIDDEN as H
from levels import Plan, heights
from remote import Arrays
from torch import Tensor
from torch_program import TorchProgram


class Adagrad:
    """Adagrad as Gluon defines it: eps below the root, weight decay apart from the gradient."""

    def __init__(self, parameters: list[Tensor], lr: float = 0.02, wd: float = 1e-4, eps: float = 1e-7) -> None:
        self.parameters, self.lr, self.wd, self.eps = parameters, lr, wd, eps
        self.history = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def step(self, size: int) -> None:
        """Update after a backward pass of the sum over `size` samples; frees the gradients."""
        for parameter, history in zip(self.parameters, self.history):
            gradient = parameter.grad
            assert gradient is not None
            gradient.mul_(1.0 / size)
            history.addcmul_(gradient, gradient)
            parameter.mul_(1.0 - self.lr * self.wd)
            parameter.addcdiv_(gradient, history.add(self.eps).sqrt_(), value=-self.lr)
            parameter.grad = None


class PerSample(TorchProgram):
    """One pair after the other, node by node."""

    def __init__(self, parameters: Arrays, samples: list[Any]) -> None:
        self.p = {name: torch.tensor(value).requires_grad_() for name, value in parameters.items()}
        self.optimizer = Adagrad(list(self.p.values()))
        self.words = {id(s): (torch.tensor(s.left_words), torch.tensor(s.right_words)) for s in samples}

    def cell(self, x: Tensor, children: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return the state of one node."""
        p = self.p
        words = F.linear(x, p["W"], p["b"])
        gates = words[:, : 3 * H]
        if children:
            total = children[0][0] if len(children) == 1 else torch.stack([h for h, _ in children]).sum(0)
            gates = gates + F.linear(total, p["U"])
        i, o, u = gates.chunk(3, 1)
        c = torch.sigmoid(i) * torch.tanh(u)
        for h, old in children:
            c = c + torch.sigmoid(words[:, 3 * H :] + F.linear(h, p["Uf"])) * old
        return torch.sigmoid(o) * torch.tanh(c), c

    def encode(self, tree: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state of a tree."""
        return self.cell(x[tree.index : tree.index + 1], [self.encode(child, x) for child in tree.children])

    def head(self, left: Tensor, right: Tensor) -> Tensor:
        """Return log-probabilities."""
        p = self.p
        both = torch.cat([left * right, (left - right).abs()], 1)
        return F.log_softmax(F.linear(torch.sigmoid(F.linear(both, p["Wh"], p["bh"])), p["Wp"], p["bp"]), 1)

    def forward(self, batch: list[Any]) -> Tensor:
        """Return the log-probabilities (B, 5)."""
        rows = []
        for sample in batch:
            left, right = self.words[id(sample)]
            _, a = self.encode(sample.left, F.embedding(left, self.p["embed"]))
            _, b = self.encode(sample.right, F.embedding(right, self.p["embed"]))
            rows.append(self.head(a, b))
        return torch.cat(rows)

    def total(self, batch: list[Any]) -> Tensor:
        """Return the sum of the losses."""
        target = torch.tensor([sample.target for sample in batch])
        return (target * (torch.log(target + 1e-12) - self.forward(batch))).sum()

    def answer(self, batch: list[Any]) -> Tensor:
        return self.forward(batch)

    def train(self, batch: list[Any]) -> None:
        self.total(batch).backward()
        self.optimizer.step(len(batch))


class Batched(PerSample):
    """All pairs of a batch level by level, the states passed on in slices."""

    def __init__(self, parameters: Arrays, samples: list[Any]) -> None:
        super().__init__(parameters, samples)
        self.trees = {
            id(s): [
                (np.array(words), np.array(parents), heights(parents))
                for words, parents in ((s.left_words, s.left_parents), (s.right_words, s.right_parents))
            ]
            for s in samples
        }

    def forward(self, batch: list[Any]) -> Tensor:
        trees = [self.trees[id(s)][0] for s in batch] + [self.trees[id(s)][1] for s in batch]
        ends = self.states(Plan(trees))
        return self.head(ends[: len(batch)], ends[len(batch) :])

    def level(self, gates: Tensor, words: Tensor | None, below: Tensor | None, rows: Tensor | None) -> Tensor:
        """Return [h, c] of a level (n, 2H) from W·x of it, and the states [h, c] of its children (edges, 2H)."""
        kept = None
        if below is not None and rows is not None and words is not None:
            h, c = below.split(H, 1)
            total = h.new_zeros(len(gates), H).index_add(0, rows, h)
            gates = torch.addmm(gates, total, self.p["U"].T)
            f = torch.sigmoid(torch.addmm(words.index_select(0, rows), h, self.p["Uf"].T))
            kept = h.new_zeros(len(gates), H).index_add(0, rows, f * c)
        i, o, u = gates.split(H, 1)
        c = torch.sigmoid(i) * torch.tanh(u)
        c = c if kept is None else c + kept
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], 1)

    def states(self, plan: Plan) -> Tensor:
        """Return the cell states of the roots, in the order of the trees."""
        x = F.embedding(plan.words, self.p["embed"])
        sizes = np.diff(plan.start).tolist()
        leaves = int(sizes[0])
        gates = F.linear(x, self.p["W"][: 3 * H], self.p["b"][: 3 * H]).split(sizes)
        words = F.linear(x[leaves:], self.p["W"][3 * H :], self.p["b"][3 * H :]).split(sizes[1:])
        waiting: list[list[Tensor]] = [[] for _ in range(plan.top + 1)]
        for m in range(plan.top):
            below = torch.cat(waiting[m]) if m else None
            state = self.level(gates[m], words[m - 1] if m else None, below, plan.rows[m] if m else None)
            for target, part in enumerate(state.split(plan.counts[m].tolist())):
                if len(part):
                    waiting[target].append(part)
        return torch.cat(waiting[plan.top])[:, H:].index_select(0, plan.roots)


class Arena(Batched):
    """The usual way: every level is appended to what there is, and children are selected from it by one gather."""

    def states(self, plan: Plan) -> Tensor:
        x = F.embedding(plan.words, self.p["embed"])
        sizes = np.diff(plan.start).tolist()
        every = F.linear(x, self.p["W"], self.p["b"])
        arena = torch.empty(len(x), 2 * H)
        for m, rows in enumerate(every.split(sizes)):
            below = arena.index_select(0, plan.children[m]) if m else None
            state = self.level(rows[:, : 3 * H], rows[:, 3 * H :] if m else None, below, plan.rows[m] if m else None)
            arena = torch.cat([arena[: plan.start[m]], state]) if m else state
        return arena.index_select(0, plan.ends)[:, H:].index_select(0, plan.roots)
