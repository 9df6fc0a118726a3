"""Workload F5 in torch, twice: one sentence at a time, and a batch by hand as an expert writes it.

The one idea of the second, as of a StackLSTM: all sentences take their steps together. Stacks hold numbers of rows of
one arena of constituents, so a push is a number and a step's work is three gathers and two products, whatever the
sentences do. Training is two passes: the first walks without gradients and finds out what happens (it scores only where
the parser follows its own choice); then the structure is known, and the second computes trees level by level and
scores all decisions at once, with gradients. Data and parameters: parser_data.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from parser_data import DIRECTION, EMBEDDING, HIDDEN, RATE, REDUCE, SHIFT, Sentence
from remote import Arrays, GradientSide, Side
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pack_sequence, unpack_sequence


class Model:
    """The parameters: a bidirectional LSTM of torch and leaves for the rest, under the exported names."""

    def __init__(self, values: Arrays) -> None:
        self.lstm = torch.nn.LSTM(EMBEDDING, DIRECTION, bidirectional=True)
        self.weights: dict[str, Tensor] = {}
        for suffix, cell in (("", "forward_cell"), ("_reverse", "backward_cell")):
            for theirs, ours in (("ih", "i2h"), ("hh", "h2h")):
                for kind in ("weight", "bias"):
                    parameter = getattr(self.lstm, f"{kind}_{theirs}_l0{suffix}")
                    parameter.data.copy_(torch.from_numpy(values[f"{cell}.{ours}_{kind}"]))
                    self.weights[f"{cell}.{ours}_{kind}"] = parameter
        for name, value in values.items():
            if name not in self.weights:
                self.weights[name] = torch.tensor(value, requires_grad=True)

    def dense(self, layer: str, x: Tensor) -> Tensor:
        """Return a linear layer's result."""
        return functional.linear(x, self.weights[layer + ".weight"], self.weights[layer + ".bias"])

    def leaf(self, x: Tensor) -> Tensor:
        """Return constituents (rows, [h, c]) of words (rows, encoded)."""
        i, o, u = self.dense("leaf.gates", x).chunk(3, 1)
        c = torch.sigmoid(i) * torch.tanh(u)
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], 1)

    def compose(self, left: Tensor, right: Tensor) -> Tensor:
        """Return constituents (rows, [h, c]) of two each."""
        gates = self.dense("compose.gates", torch.cat([left[:, :HIDDEN], right[:, :HIDDEN]], 1))
        i, o, u, keep_left, keep_right = gates.chunk(5, 1)
        c = torch.sigmoid(i) * torch.tanh(u)
        c = c + torch.sigmoid(keep_left) * left[:, HIDDEN:] + torch.sigmoid(keep_right) * right[:, HIDDEN:]
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], 1)

    def score(self, top: Tensor, below: Tensor, word: Tensor) -> Tensor:
        """Return the scores (rows, 2) of decisions: the two topmost constituents, and the next word."""
        features = torch.cat([top[:, :HIDDEN], below[:, :HIDDEN], word], 1)
        return self.dense("scorer.scores", torch.tanh(self.dense("scorer.hidden", features)))


Outcome = tuple[Tensor, list[list[int]]]  # the summed loss of decisions, and the actions per sentence


def parse_one(model: Model, sentence: Sentence, learn: bool) -> tuple[Tensor, list[int]]:
    """Return the summed loss of one sentence's decisions and its actions."""
    embedded = functional.embedding(torch.from_numpy(sentence.words), model.weights["embedding.weight"])
    encoded = model.lstm(embedded)[0]
    buffer, leaves = encoded.split(1), model.leaf(encoded).split(1)
    stack: list[tuple[Tensor, int]] = []
    actions: list[int] = []
    scores, advice = [], []
    position = 0
    while position < len(buffer) or len(stack) > 1:
        if len(stack) < 2:
            action = SHIFT
        elif position == len(buffer):
            action = REDUCE
        else:
            here = model.score(stack[-1][0], stack[-2][0], buffer[position])
            if learn:
                action = REDUCE if sentence.reach[position] <= stack[-2][1] else SHIFT
                scores.append(here)
                advice.append(action)
            if not learn or sentence.explore[len(actions)]:
                action = int(here.argmax())
        if action == SHIFT:
            stack.append((leaves[position], position))
            position += 1
        else:
            right, left = stack.pop(), stack.pop()
            stack.append((model.compose(left[0], right[0]), left[1]))
        actions.append(action)
    loss = functional.cross_entropy(torch.cat(scores), torch.tensor(advice), reduction="sum") if learn else None
    return loss, actions


def one_by_one(model: Model, batch: list[Sentence], learn: bool) -> Outcome:
    """Return what a batch gives, one sentence after the other."""
    losses, actions = zip(*[parse_one(model, sentence, learn) for sentence in batch])
    return torch.stack(losses).sum() if learn else torch.zeros(()), list(actions)


class Walk:
    """A batch that takes its steps together, without gradients; afterwards all that happened, as arrays.

    Rows of the arena: the words of all sentences, then constituents in the order in which they arise.

    left, right : rows of the parts of each constituent that is not a word
    decisions : (decisions, 4) topmost row, row below, next word, the oracle's advice
    """

    def __init__(self, model: Model, batch: list[Sentence], encoded: Tensor, learn: bool) -> None:
        self._model, self._encoded = model, encoded
        lengths = np.array([sentence.length for sentence in batch])
        words, longest = int(lengths.sum()), int(lengths.max())
        self._arena = torch.empty(2 * words - len(batch), 2 * HIDDEN)
        self._arena[:words] = model.leaf(encoded)
        self._first = first = np.cumsum(lengths) - lengths
        stack, start = np.zeros((2, len(batch), longest), dtype=np.int64)
        size, position, taken = np.zeros((3, len(batch)), dtype=np.int64)
        reach = np.zeros((len(batch), longest + 1), dtype=np.int64)
        explore = np.zeros((len(batch), 2 * longest - 1), dtype=bool)
        for row, sentence in enumerate(batch):
            reach[row, : sentence.length + 1] = sentence.reach
            explore[row, : 2 * sentence.length - 1] = sentence.explore
        self.actions = np.zeros((len(batch), 2 * longest - 1), dtype=np.int64)
        lefts, rights, decisions = [], [], []
        made = words
        alive = np.arange(len(batch))
        while len(alive):
            action = np.where(size[alive] < 2, SHIFT, REDUCE)
            open_ = alive[(size[alive] >= 2) & (position[alive] < lengths[alive])]
            chosen = np.zeros(len(batch), dtype=np.int64)
            if len(open_):
                top, below = stack[open_, size[open_] - 1], stack[open_, size[open_] - 2]
                word = first[open_] + position[open_]
                asked = np.ones(len(open_), dtype=bool)
                if learn:
                    advice = reach[open_, position[open_]] <= start[open_, size[open_] - 2]
                    chosen[open_] = advice
                    decisions.append(np.stack([top, below, word, advice], 1))
                    asked = explore[open_, taken[open_]]
                if asked.any():
                    chosen[open_[asked]] = self._choose(top[asked], below[asked], word[asked])
                action[np.isin(alive, open_)] = chosen[open_]
            self.actions[alive, taken[alive]] = action
            taken[alive] += 1
            shifting, reducing = alive[action == SHIFT], alive[action == REDUCE]
            if len(reducing):
                left, right = stack[reducing, size[reducing] - 2], stack[reducing, size[reducing] - 1]
                lefts.append(left)
                rights.append(right)
                parts = (self._arena.index_select(0, torch.from_numpy(rows)) for rows in (left, right))
                self._arena[made : made + len(reducing)] = model.compose(*parts)
                stack[reducing, size[reducing] - 2] = np.arange(made, made + len(reducing))
                made += len(reducing)
                size[reducing] -= 1
            stack[shifting, size[shifting]] = first[shifting] + position[shifting]
            start[shifting, size[shifting]] = position[shifting]
            size[shifting] += 1
            position[shifting] += 1
            alive = alive[(position[alive] < lengths[alive]) | (size[alive] > 1)]
        self.words, self.lengths = words, lengths
        self.left, self.right = np.concatenate(lefts), np.concatenate(rights)
        self.decisions = torch.from_numpy(np.concatenate(decisions)) if learn else None

    def _choose(self, top: np.ndarray, below: np.ndarray, word: np.ndarray) -> np.ndarray:
        top_rows, below_rows = (self._arena.index_select(0, torch.from_numpy(rows)) for rows in (top, below))
        scores = self._model.score(top_rows, below_rows, self._encoded.index_select(0, torch.from_numpy(word)))
        return scores.argmax(1).numpy()


def _levels(walk: Walk) -> list[np.ndarray]:
    """Return the constituents by height, as numbers counted from the first that is not a word."""
    height = np.zeros(walk.words + len(walk.left), dtype=np.int64)
    for row, (left, right) in enumerate(zip(walk.left.tolist(), walk.right.tolist()), walk.words):
        height[row] = max(height[left], height[right]) + 1
    heights = height[walk.words :]
    order = np.argsort(heights, kind="stable")
    return np.split(order, np.cumsum(np.bincount(heights)[1:])[:-1])


def by_hand(model: Model, batch: list[Sentence], learn: bool) -> Outcome:
    """Return what a batch gives whose sentences take their steps together."""
    table = model.weights["embedding.weight"]
    embedded = functional.embedding(torch.from_numpy(np.concatenate([s.words for s in batch])), table)
    packed = pack_sequence(embedded.split([s.length for s in batch]), enforce_sorted=False)
    encoded = torch.cat(unpack_sequence(model.lstm(packed)[0]))
    with torch.no_grad():
        walk = Walk(model, batch, encoded.detach(), learn)
    actions = [row[: 2 * length - 1].tolist() for row, length in zip(walk.actions, walk.lengths)]
    if not learn:
        return torch.zeros(()), actions
    arena = model.leaf(encoded)
    place = np.arange(walk.words + len(walk.left))  # of a row of the walk, in the arena by levels
    for level in _levels(walk):
        place[walk.words + level] = np.arange(len(arena), len(arena) + len(level))
        left, right = (torch.from_numpy(place[rows[level]]) for rows in (walk.left, walk.right))
        arena = torch.cat([arena, model.compose(arena.index_select(0, left), arena.index_select(0, right))])
    top, below, word, advice = walk.decisions.unbind(1)
    where = torch.from_numpy(place)
    scores = model.score(
        arena.index_select(0, where[top]), arena.index_select(0, where[below]), encoded.index_select(0, word)
    )
    return functional.cross_entropy(scores, advice, reduction="sum"), actions


class Torch(GradientSide):
    """The side, of either program."""

    def __init__(self, parameters: Arrays, parse: Any, sizes: tuple[int, ...] = Side.sizes) -> None:
        self._model, self._parse, self.sizes = Model(parameters), parse, sizes
        self._update = torch.optim.SGD(self._model.weights.values(), lr=RATE)

    def loss(self, batch: list[Sentence]) -> float:
        return self._parse(self._model, batch, True)[0].item()

    def gradients(self, batch: list[Sentence]) -> Arrays:
        self._update.zero_grad()
        self._parse(self._model, batch, True)[0].backward()
        return {name: weight.grad.numpy() for name, weight in self._model.weights.items() if weight.grad is not None}

    def train(self, batch: list[Sentence]) -> None:
        self._update.zero_grad()
        (self._parse(self._model, batch, True)[0] / len(batch)).backward()
        self._update.step()

    def infer(self, batch: list[Sentence]) -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate(self._parse(self._model, batch, False)[1])
