"""Workload F6 in torch, three times: one sentence at a time, a padded batch by hand, and packed rows by hand.

The one idea of the second, the usual one: sentences are padded to the longest, attention is masked, and after each
layer those that are done leave the batch, with the padding that only they needed. The third is what an expert of ragged
data writes: all rows of all sentences stand one below the other without padding, only attention goes sentence by
sentence.
Data and parameters: early_exit_data.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from early_exit_data import CLASSES, HEADS, LAYERS, THRESHOLD, WIDTH, Sentence
from remote import Arrays, Side
from torch import Tensor
from torch.nn import functional

Weights = dict[str, Tensor]


def _dense(w: Weights, layer: str, x: Tensor) -> Tensor:
    return functional.linear(x, w[layer + ".weight"], w[layer + ".bias"])


def _norm(w: Weights, layer: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, (WIDTH,), w[layer + ".gamma"], w[layer + ".beta"])


def _attend(projected: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return what each place attends to (batch, length, width), of queries, keys and values side by side."""
    q, k, v = projected.view(*projected.shape[:2], 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
    attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return attended.transpose(1, 2).reshape(*projected.shape[:2], WIDTH)


def _rest(w: Weights, layer: str, x: Tensor, attended: Tensor) -> Tensor:
    """Return the layer's result for rows (..., width) and what they attend to."""
    x = _norm(w, layer + "norm_attended", x + _dense(w, layer + "attended", attended))
    inner = torch.relu(_dense(w, layer + "widen", x))
    return _norm(w, layer + "norm_inner", x + _dense(w, layer + "narrow", inner))


def _embed(w: Weights, tokens: np.ndarray, places: np.ndarray) -> Tensor:
    rows = functional.embedding(torch.from_numpy(tokens), w["tokens.weight"])
    return rows + functional.embedding(torch.from_numpy(places), w["places.weight"])


def one_by_one(w: Weights, batch: list[Sentence]) -> np.ndarray:
    """Return where each sentence leaves and its scores (sentences, 1 + classes), one after the other."""
    result = np.empty((len(batch), 1 + CLASSES), dtype=np.float32)
    for number, sentence in enumerate(batch):
        x = _embed(w, sentence.tokens, np.arange(len(sentence.tokens)))[None]
        for depth in range(LAYERS):
            layer = f"layers.{depth}."
            x = _rest(w, layer + "rest.", x, _attend(_dense(w, layer + "project", x)))
            scores = _dense(w, layer + "exit", x[:, 0])
            if float(torch.softmax(scores, 1).max()) > THRESHOLD:
                break
        result[number] = [depth + 1, *scores[0].tolist()]
    return result


def padded(w: Weights, batch: list[Sentence]) -> np.ndarray:
    """Return the same of a padded batch that gets smaller."""
    result = np.empty((len(batch), 1 + CLASSES), dtype=np.float32)
    lengths = np.array([len(sentence.tokens) for sentence in batch])
    tokens = np.zeros((len(batch), lengths.max()), dtype=np.int64)
    for row, sentence in enumerate(batch):
        tokens[row, : lengths[row]] = sentence.tokens
    alive = np.arange(len(batch))
    x = _embed(w, tokens, np.arange(tokens.shape[1]))
    mask = torch.from_numpy(np.arange(tokens.shape[1]) < lengths[:, None])[:, None, None, :]
    for depth in range(LAYERS):
        layer = f"layers.{depth}."
        x = _rest(w, layer + "rest.", x, _attend(_dense(w, layer + "project", x), mask))
        scores = _dense(w, layer + "exit", x[:, 0])
        done = (torch.softmax(scores, 1).amax(1) > THRESHOLD).numpy() | (depth == LAYERS - 1)
        result[alive[done], 0] = depth + 1
        result[alive[done], 1:] = scores[torch.from_numpy(done)].numpy()
        if done.all():
            break
        if done.any():
            alive = alive[~done]
            stay, longest = torch.from_numpy(np.flatnonzero(~done)), int(lengths[alive].max())
            x, mask = x[:, :longest].index_select(0, stay), mask[..., :longest].index_select(0, stay)
    return result


def packed(w: Weights, batch: list[Sentence]) -> np.ndarray:
    """Return the same of rows without padding."""
    result = np.empty((len(batch), 1 + CLASSES), dtype=np.float32)
    lengths = [len(sentence.tokens) for sentence in batch]
    tokens = np.concatenate([sentence.tokens for sentence in batch])
    x = _embed(w, tokens, np.concatenate([np.arange(length) for length in lengths]))
    alive = np.arange(len(batch))
    for depth in range(LAYERS):
        layer = f"layers.{depth}."
        attended = [_attend(part[None])[0] for part in _dense(w, layer + "project", x).split(lengths)]
        x = _rest(w, layer + "rest.", x, torch.cat(attended))
        first = torch.from_numpy(np.cumsum([0, *lengths[:-1]]))
        scores = _dense(w, layer + "exit", x.index_select(0, first))
        done = (torch.softmax(scores, 1).amax(1) > THRESHOLD).numpy() | (depth == LAYERS - 1)
        result[alive[done], 0] = depth + 1
        result[alive[done], 1:] = scores[torch.from_numpy(done)].numpy()
        if done.all():
            break
        if done.any():
            x = torch.cat([part for part, gone in zip(x.split(lengths), done) if not gone])
            lengths = [length for length, gone in zip(lengths, done) if not gone]
            alive = alive[~done]
    return result


class Torch(Side):
    """The side, of any of the programs."""

    def __init__(self, parameters: Arrays, program: Any, sizes: tuple[int, ...] = Side.sizes) -> None:
        self._weights = {name: torch.from_numpy(value) for name, value in parameters.items()}
        self._program, self.sizes = program, sizes

    def infer(self, batch: list[Sentence]) -> np.ndarray:
        with torch.inference_mode():
            return self._program(self._weights, batch)
