"""F2 in torch: the program of one sentence, and a batch by hand, level by level.

The one idea of the second: as in F1 (levels.py), states go up in slices; the two children of a phrase are brought side
by side by one index_select per level. W·x of all leaves is one product, and so is the classifier of all phrases.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gluon_f2 import HIDDEN as H
from levels import Plan, heights
from remote import Arrays
from torch import Tensor
from torch_program import TorchProgram


class PerSample(TorchProgram):
    """One sentence after the other, phrase by phrase."""

    def __init__(self, parameters: Arrays, samples: list[Any]) -> None:
        self.p = {name: torch.tensor(value).requires_grad_() for name, value in parameters.items()}
        self.optimizer = torch.optim.Adam(list(self.p.values()), lr=1e-3, fused=True)
        self.examples = {
            id(s): (torch.tensor([word for word in s.words if word >= 0]), torch.tensor(s.labels)) for s in samples
        }

    def read(self, phrase: Any, x: Tensor, states: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the state of a phrase; put its h at the end of the list."""
        p = self.p
        if phrase.left is None:
            i, o, u = F.linear(x[phrase.place : phrase.place + 1], p["W"], p["b"]).chunk(3, 1)
            c = torch.sigmoid(i) * torch.tanh(u)
        else:
            (h1, c1), (h2, c2) = self.read(phrase.left, x, states), self.read(phrase.right, x, states)
            i, o, u = F.linear(torch.cat([h1, h2], 1), p["U"], p["bu"]).chunk(3, 1)
            f1, f2 = torch.sigmoid(F.linear(h1, p["U1"], p["b1"])), torch.sigmoid(F.linear(h2, p["U2"], p["b2"]))
            c = torch.sigmoid(i) * torch.tanh(u) + f1 * c1 + f2 * c2
        h = torch.sigmoid(o) * torch.tanh(c)
        states.append(h)
        return h, c

    def forward(self, batch: list[Any]) -> tuple[Tensor, Tensor]:
        """Return the scores (phrases, 5) and labels (phrases,) of a batch."""
        scores, labels = [], []
        for sample in batch:
            words, truth = self.examples[id(sample)]
            states: list[Tensor] = []
            self.read(sample.root, F.embedding(words, self.p["embed"]), states)
            scores.append(F.linear(torch.cat(states), self.p["Ws"]))
            labels.append(truth)
        return torch.cat(scores), torch.cat(labels)

    def total(self, batch: list[Any]) -> Tensor:
        """Return the sum of the losses."""
        scores, labels = self.forward(batch)
        return F.cross_entropy(scores, labels, reduction="sum")

    def answer(self, batch: list[Any]) -> Tensor:
        return self.forward(batch)[0]


class Batched(PerSample):
    """All sentences of a batch level by level."""

    def __init__(self, parameters: Arrays, samples: list[Any]) -> None:
        super().__init__(parameters, samples)
        self.trees = {}
        for s in samples:
            parents, second = [-1] * len(s), np.zeros(len(s), dtype=np.int64)
            for node, (left, right) in enumerate(zip(s.left, s.right)):
                if left >= 0:
                    parents[left] = parents[right] = node
                    second[right] = 1
            self.trees[id(s)] = (np.array(s.words), np.array(parents), heights(parents)), second, np.array(s.labels)

    def forward(self, batch: list[Any]) -> tuple[Tensor, Tensor]:
        trees = [self.trees[id(s)] for s in batch]
        plan = Plan([tree[0] for tree in trees])
        second = np.concatenate([tree[1] for tree in trees])[plan.order]
        labels = torch.from_numpy(np.concatenate([tree[2] for tree in trees])[plan.order])
        pairs = []  # for each level: where its children are, two by two
        for m in range(1, plan.top):
            key = plan.rows[m].numpy() * 2 + second[plan.children[m].numpy()]
            pairs.append(torch.from_numpy(np.argsort(key)))
        h = self.states(plan, pairs)
        if not torch.is_grad_enabled():  # an answer is wanted in the order of the phrases
            h = h.index_select(0, torch.from_numpy(np.argsort(plan.order)))
        return F.linear(h, self.p["Ws"]), labels

    def states(self, plan: Plan, pairs: list[Tensor]) -> Tensor:
        """Return h of all phrases, level by level."""
        p = self.p
        leaves = int(plan.start[1])
        gates = F.linear(F.embedding(plan.words[:leaves], p["embed"]), p["W"], p["b"])
        waiting: list[list[Tensor]] = [[] for _ in range(plan.top + 1)]
        every = []
        for m in range(plan.top):
            kept = None
            if m:
                below = torch.cat(waiting[m]).index_select(0, pairs[m - 1])
                below = below.view(-1, 2, 2, H)  # phrase, left or right, h or c
                h1, h2 = below[:, 0, 0], below[:, 1, 0]
                gates = F.linear(below[:, :, 0].reshape(-1, 2 * H), p["U"], p["bu"])
                f1, f2 = torch.sigmoid(F.linear(h1, p["U1"], p["b1"])), torch.sigmoid(F.linear(h2, p["U2"], p["b2"]))
                kept = f1 * below[:, 0, 1] + f2 * below[:, 1, 1]
            i, o, u = gates.split(H, 1)
            c = torch.sigmoid(i) * torch.tanh(u)
            c = c if kept is None else c + kept
            h = torch.sigmoid(o) * torch.tanh(c)
            every.append(h)
            for target, part in enumerate(torch.cat([h, c], 1).split(plan.counts[m].tolist())):
                if len(part):
                    waiting[target].append(part)
        return torch.cat(every)
