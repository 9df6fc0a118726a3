"""F3 in torch: one sentence after the other with nn.LSTM, and a batch by hand with packed sequences.

The one idea of the second: all rare words of all sentences are one packed batch of characters, all sentences one packed
batch of words; everything else is one call for all words. `Packed` leaves that to nn.LSTM, `Batched` has its own loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gluon_f3 import CHARACTER, CHARACTER_HIDDEN, HIDDEN, LSTMS, WORD
from remote import Arrays
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence
from torch_program import TorchProgram

ENDS = {"W": "weight_ih_l0", "U": "weight_hh_l0", "b": "bias_ih_l0", "d": "bias_hh_l0"}


class PerSample(TorchProgram):
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

    def answer(self, batch: list[Any]) -> Tensor:
        return self.forward(batch)


class Packed(PerSample):
    """All rare words, then all sentences, as packed sequences for nn.LSTM."""

    def forward(self, batch: list[Any]) -> Tensor:
        examples = [self.examples[id(sample)] for sample in batch]
        rare = [word for example in examples for word in example[1] if word is not None]
        lengths = [len(sample) for sample in batch]
        rows = F.embedding(torch.cat([example[0] for example in examples]), self.p["words"])
        if rare:
            rows = torch.cat([rows, self.spell_all(rare)]).index_select(0, places(batch))
        return self.head(self.read(rows, lengths))

    def spell_all(self, rare: list[Tensor]) -> Tensor:
        """Return the vectors (n, 256) of rare words."""
        packed = pack_sequence(rare, enforce_sorted=False)
        packed = packed._replace(data=F.embedding(packed.data, self.p["characters"]))
        _, (h, _) = self.spelling(packed)
        return h.transpose(0, 1).reshape(len(rare), -1)

    def read(self, rows: Tensor, lengths: list[int]) -> Tensor:
        """Return what is known of each word (n, 2H) when its sentence was read from both sides."""
        states, _ = self.reading(pack_sequence(rows.split(lengths), enforce_sorted=False))
        padded, _ = pad_packed_sequence(states, batch_first=True)
        return padded[torch.arange(padded.shape[1]) < torch.tensor(lengths).unsqueeze(1)]


def places(batch: list[Any]) -> Tensor:
    """Say for each word of a batch where its row is when the rare words come after the frequent ones."""
    rare = np.concatenate([sample.words for sample in batch]) < 0
    order = np.where(rare, np.cumsum(rare) - 1 + (~rare).sum(), np.cumsum(~rare) - 1)
    return torch.from_numpy(order)


class Steps:
    """Sequences of different lengths, step by step: the longest first, so that those that go on are a slice."""

    def __init__(self, lengths: list[int]) -> None:
        size = np.array(lengths)
        start = np.cumsum(size) - size
        by_length = np.argsort(-size, kind="stable")
        size, start = size[by_length], start[by_length]
        self.widths = [int((size > t).sum()) for t in range(size[0])]
        step = np.repeat(np.arange(size[0]), self.widths)
        rank = np.concatenate([np.arange(width) for width in self.widths])
        forward, backward = start[rank] + step, start[rank] + size[rank] - 1 - step
        total = len(step)
        self.inputs = torch.from_numpy(np.concatenate([forward, backward]))
        self.outputs = torch.from_numpy(np.concatenate([np.argsort(forward), total + np.argsort(backward)]))
        last = np.empty_like(size)
        last[by_length] = (np.cumsum(self.widths) - self.widths)[size - 1] + np.arange(len(size))
        self.last = torch.from_numpy(np.concatenate([last, total + last]))


class Batched(Packed):
    """The same with a loop of its own: both directions in one product, W·x before the loop, slices by one split.

    nn.LSTM cuts its packed input step by step, and the gradient of every cut is as large as the whole input.
    """

    def lstm(self, rows: Tensor, steps: Steps, kind: str) -> Tensor:
        """Return the outputs of both directions, step by step: (2 * rows, H)."""
        W, U, b, d = (torch.stack([self.p[kind + way + end] for way in "fb"]) for end in "WUbd")
        hidden = U.shape[2]
        x = rows.index_select(0, steps.inputs).view(2, len(rows), -1)
        every = torch.baddbmm((b + d).unsqueeze(1), x, W.transpose(1, 2))
        turned, outputs = U.transpose(1, 2), []
        h = c = None
        for gates in every.split(steps.widths, 1):
            width = gates.shape[1]
            if h is not None and c is not None:
                gates = torch.baddbmm(gates, h[:, :width], turned)
            i, f, g, o = gates.split(hidden, 2)
            new = torch.sigmoid(i) * torch.tanh(g)
            c = new if c is None else torch.addcmul(new, torch.sigmoid(f), c[:, :width])
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.cat(outputs, 1).view(2 * len(rows), hidden)

    def spell_all(self, rare: list[Tensor]) -> Tensor:
        steps = Steps([len(word) for word in rare])
        states = self.lstm(F.embedding(torch.cat(rare), self.p["characters"]), steps, "c")
        return states.index_select(0, steps.last).view(2, len(rare), -1).transpose(0, 1).reshape(len(rare), -1)

    def read(self, rows: Tensor, lengths: list[int]) -> Tensor:
        steps = Steps(lengths)
        states = self.lstm(rows, steps, "w").index_select(0, steps.outputs).view(2, len(rows), -1)
        return torch.cat([states[0], states[1]], 1)
