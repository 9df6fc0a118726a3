"""Workload F4 in torch, twice: one lattice at a time, and a batch by hand as an expert writes it.

The one idea of the second: all lattices walk from left to right in step. They are sorted by length, so those still
walking are the first rows; the inputs of all arcs are multiplied once, before the walk; words that begin at one node
run as one call, ordered by length, so that what arrives later is a slice; the output layer runs once, after the walk.
Data and parameters: lattice.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lattice import HIDDEN, RATE, Lattice
from remote import Arrays, GradientSide, Side
from torch import Tensor
from torch.nn import functional

Weights = dict[str, Tensor]


def weights(values: dict[str, np.ndarray]) -> Weights:
    """Return parameters as torch's leaves."""
    return {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}


def _cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next h and c, (rows, hidden) each, of gates (rows, 4 · hidden) in the order i, f, o, u."""
    i, f, o = torch.sigmoid(gates[:, : 3 * HIDDEN]).chunk(3, 1)
    c = f * c + i * torch.tanh(gates[:, 3 * HIDDEN :])
    return o * torch.tanh(c), c


def scores_of_one(w: Weights, lattice: Lattice) -> Tensor:
    """Return the scores (characters, tags) of one lattice, arc by arc."""
    inputs = {
        "character_cell": functional.embedding(torch.from_numpy(lattice.characters), w["characters.weight"]),
        "word_cell": functional.embedding(torch.from_numpy(lattice.words[:, 2]), w["words.weight"]),
    }

    def arc(cell: str, number: int, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        x = inputs[cell][number : number + 1]
        gates = functional.linear(x, w[cell + ".input.weight"], w[cell + ".input.bias"])
        return _cell(gates + functional.linear(h, w[cell + ".state.weight"]), c)

    arriving: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(lattice.length + 1)]
    h = c = torch.zeros(1, HIDDEN)
    states, number, words = [], 0, lattice.words.tolist()
    for node in range(lattice.length):
        arriving[node + 1].append(arc("character_cell", node, h, c))
        while number < len(words) and words[number][0] == node:
            arriving[words[number][1]].append(arc("word_cell", number, h, c))
            number += 1
        h, c = arriving[node + 1][0]
        for more_h, more_c in arriving[node + 1][1:]:
            h, c = h + more_h, c + more_c
        states.append(h)
    return functional.linear(torch.cat(states), w["output.weight"], w["output.bias"])


def one_by_one(w: Weights, batch: list[Lattice]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores (characters, tags) of a batch, one lattice after the other; the tags; the order (none)."""
    tags = torch.from_numpy(np.concatenate([lattice.tags for lattice in batch]))
    return torch.cat([scores_of_one(w, lattice) for lattice in batch]), tags, torch.arange(len(tags))


class Plan:
    """What the walk needs to know of a batch, from its structure alone.

    characters, tags : token ids and tags, step after step, the lattices still walking in each; alive : how many
    places : the rows of the same by sample as given
    names, rows : the words by (start, length, lattice), and the row of the lattice of each
    starting : (steps, 3) numbers of words that begin at a node, with 2, 3 and 4 characters
    """

    def __init__(self, batch: list[Lattice]) -> None:
        given = np.argsort([-lattice.length for lattice in batch], kind="stable")
        batch = [batch[i] for i in given]
        lengths = np.array([lattice.length for lattice in batch])
        steps = int(lengths[0])
        time = np.concatenate([np.arange(n) for n in lengths])
        order = np.lexsort((np.repeat(np.arange(len(batch)), lengths), time))
        self.alive = np.bincount(time, minlength=steps).tolist()
        self.characters = torch.from_numpy(np.concatenate([lattice.characters for lattice in batch])[order])
        self.tags = torch.from_numpy(np.concatenate([lattice.tags for lattice in batch])[order])
        self.places = torch.from_numpy(np.lexsort((time[order], np.repeat(given, lengths)[order])))
        words = np.concatenate([lattice.words for lattice in batch])
        rows = np.repeat(np.arange(len(batch)), [len(lattice.words) for lattice in batch])
        start, length = words[:, 0], words[:, 1] - words[:, 0]
        order = np.lexsort((rows, length, start))
        self.names, self.rows = torch.from_numpy(words[order, 2]), torch.from_numpy(rows[order])
        self.starting = np.bincount(start * 3 + length - 2, minlength=3 * steps).reshape(steps, 3).tolist()


def by_hand(w: Weights, batch: list[Lattice]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores (characters, tags) of a batch that walks in step; the tags; where each sample's rows are."""
    plan = Plan(batch)
    gates = {}
    for cell, table, ids in (
        ("character_cell", "characters.weight", plan.characters),
        ("word_cell", "words.weight", plan.names),
    ):
        x = functional.embedding(ids, w[table])
        gates[cell] = functional.linear(x, w[cell + ".input.weight"], w[cell + ".input.bias"])
    begun = [sum(counts) for counts in plan.starting]
    character_gates = gates["character_cell"].split(plan.alive)
    word_gates, word_rows = gates["word_cell"].split(begun), plan.rows.split(begun)
    across, jump = w["character_cell.state.weight"].t(), w["word_cell.state.weight"].t()
    arriving: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(len(plan.alive) + 4)]
    state = torch.zeros(len(batch), 2 * HIDDEN)
    states = []
    for node, alive in enumerate(plan.alive):
        state = state[:alive]
        h, c = state.chunk(2, 1)
        after = torch.cat(_cell(torch.addmm(character_gates[node], h, across), c), 1)
        if begun[node]:
            h, c = state.index_select(0, word_rows[node]).chunk(2, 1)
            jumped = torch.cat(_cell(torch.addmm(word_gates[node], h, jump), c), 1)
            counts = plan.starting[node]
            for length, rows, part in zip((2, 3, 4), word_rows[node].split(counts), jumped.split(counts)):
                if len(rows):
                    arriving[node + length].append((rows, part))
        if arriving[node + 1]:
            rows, parts = zip(*arriving[node + 1])
            after = after.index_add(0, torch.cat(rows), torch.cat(parts))
        states.append(after[:, :HIDDEN])
        state = after
    return functional.linear(torch.cat(states), w["output.weight"], w["output.bias"]), plan.tags, plan.places


class Torch(GradientSide):
    """The side, of either program."""

    def __init__(self, parameters: Arrays, scores: Any, sizes: tuple[int, ...] = Side.sizes) -> None:
        self._weights, self._scores, self.sizes = weights(parameters), scores, sizes
        self._update = torch.optim.SGD(self._weights.values(), lr=RATE)

    def _loss(self, batch: list[Lattice]) -> Tensor:
        scores, tags, _ = self._scores(self._weights, batch)
        return functional.cross_entropy(scores, tags, reduction="sum")

    def loss(self, batch: list[Lattice]) -> float:
        return self._loss(batch).item()

    def gradients(self, batch: list[Lattice]) -> Arrays:
        self._update.zero_grad()
        self._loss(batch).backward()
        return {name: weight.grad.numpy() for name, weight in self._weights.items() if weight.grad is not None}

    def train(self, batch: list[Lattice]) -> None:
        self._update.zero_grad()
        (self._loss(batch) / len(batch)).backward()
        self._update.step()

    def infer(self, batch: list[Lattice]) -> np.ndarray:
        with torch.inference_mode():
            scores, _, places = self._scores(self._weights, batch)
            return scores[places].numpy()
