"""F3 in torch: one sentence after the other with nn.LSTM, and a batch by hand with packed sequences.

The one idea of the second: all rare words of all sentences are one packed batch of characters, all sentences one packed
batch of words, each of nn.LSTM's bidirectional kind; everything else is one call for all words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gluon_f3 import CHARACTER, CHARACTER_HIDDEN, HIDDEN, LSTMS, WORD
from remote import Arrays, Side
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

ENDS = {"W": "weight_ih_l0", "U": "weight_hh_l0", "b": "bias_ih_l0", "d": "bias_hh_l0"}


class PerSample(Side):
    """One sentence after the other, a rare word at a time."""

    def __init__(self, parameters: Arrays, samples: list[Any]) -> None:
        spelling = torch.nn.LSTM(CHARACTER, CHARACTER_HIDDEN, bidirectional=True, batch_first=True)
        reading = torch.nn.LSTM(WORD, HIDDEN, bidirectional=True, batch_first=True)
        self.spelling, self.reading = spelling, reading
        self.p: dict[str, Tensor] = {}
        for name in LSTMS:
            for end, long in ENDS.items():
                module = spelling if name[0] == "c" else reading
                self.p[name + end] = getattr(module, long + ("_reverse" if name[1] == "b" else ""))
        with torch.no_grad():
            for name, value in parameters.items():
                if name in self.p:
                    self.p[name].copy_(torch.tensor(value))
                else:
                    self.p[name] = torch.tensor(value).requires_grad_()
        self.optimizer = torch.optim.Adam(list(self.p.values()), lr=1e-3, fused=True)
        self.examples = {
            id(s): (
                torch.tensor([word for word in s.words if word >= 0], dtype=torch.int64),
                [torch.tensor(letters) if letters else None for letters in s.characters],
                torch.tensor(s.tags),
            )
            for s in samples
        }

    def head(self, states: Tensor) -> Tensor:
        """Return the scores of words (n, T)."""
        p = self.p
        return F.linear(torch.tanh(F.linear(states, p["Wm"], p["bm"])), p["Wt"], p["bt"])

    def forward(self, batch: list[Any]) -> Tensor:
        """Return the scores of all words of a batch."""
        scores = []
        for sample in batch:
            known, letters, _ = self.examples[id(sample)]
            rows = iter(F.embedding(known, self.p["words"]).split(1))
            x = [self.spell(word) if word is not None else next(rows) for word in letters]
            states, _ = self.reading(torch.cat(x).unsqueeze(0))
            scores.append(self.head(states[0]))
        return torch.cat(scores)

    def spell(self, word: Tensor) -> Tensor:
        """Return the vector (1, 256) of a rare word."""
        _, (h, _) = self.spelling(F.embedding(word, self.p["characters"]).unsqueeze(0))
        return h.view(1, -1)

    def total(self, batch: list[Any]) -> Tensor:
        """Return the sum of the losses."""
        tags = torch.cat([self.examples[id(sample)][2] for sample in batch])
        return F.cross_entropy(self.forward(batch), tags, reduction="sum")

    def loss(self, batch: list[Any]) -> float:
        return self.total(batch).item()

    def gradients(self, batch: list[Any]) -> Arrays:
        self.total(batch).backward()
        found = {name: value.grad.numpy() for name, value in self.p.items() if value.grad is not None}
        self.optimizer.zero_grad()
        return found

    def train(self, batch: list[Any]) -> None:
        (self.total(batch) / len(batch)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def infer(self, batch: list[Any]) -> np.ndarray:
        with torch.no_grad():
            return self.forward(batch).numpy()


class Batched(PerSample):
    """All rare words, then all sentences, as packed sequences."""

    def forward(self, batch: list[Any]) -> Tensor:
        examples = [self.examples[id(sample)] for sample in batch]
        known = torch.cat([example[0] for example in examples])
        rare = [word for example in examples for word in example[1] if word is not None]
        lengths = [len(sample) for sample in batch]
        spelled = torch.from_numpy(np.concatenate([sample.words for sample in batch]) < 0)
        rows = F.embedding(known, self.p["words"])
        if rare:
            packed = pack_sequence(rare, enforce_sorted=False)
            packed = packed._replace(data=F.embedding(packed.data, self.p["characters"]))
            _, (h, _) = self.spelling(packed)
            order = torch.empty(len(spelled), dtype=torch.int64)
            order[~spelled], order[spelled] = torch.arange(len(known)), torch.arange(len(known), len(spelled))
            rows = torch.cat([rows, h.transpose(0, 1).reshape(len(rare), -1)]).index_select(0, order)
        states, _ = self.reading(pack_sequence(rows.split(lengths), enforce_sorted=False))
        padded, _ = pad_packed_sequence(states, batch_first=True)
        inside = torch.arange(padded.shape[1]) < torch.tensor(lengths).unsqueeze(1)
        return self.head(padded[inside])
