"""Workload F5 in DyNet 2.1, twice: sentence by sentence, and in step as DyNet's best effort.

The one idea: the program of a sentence is a generator that yields an expression where it must know its value. Read one
by one (`.npvalue()`), every value runs the graph at once and nothing is batched across sentences. In step, a driver
collects what all sentences wait for and runs it together, so that autobatching sees it: what `fold.map` does without
being told. Data and parameters: parser_data.py.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import dynet_config
import numpy as np
from parser_data import DIRECTION, EMBEDDING, HIDDEN, RATE, REDUCE, SHIFT, VOCABULARY, Sentence
from remote import Arrays, Side, TrainingSide

Program = Generator[Any, np.ndarray, tuple[list[int], list[Any]]]


class Dynet(TrainingSide):
    """The side. The gradients of DyNet are compared by what a step of training does."""

    def __init__(self, parameters: Arrays, in_step: bool, sizes: tuple[int, ...]) -> None:
        dynet_config.set(mem=3000, autobatch=1, random_seed=1)
        import dynet

        self.dy, self.sizes, self._in_step = dynet, sizes, in_step
        self._model = model = dynet.ParameterCollection()  # kept: parameters do not keep it alive
        table = parameters.pop("embedding.weight")
        self._table = model.add_lookup_parameters((VOCABULARY, EMBEDDING), init=table)
        for cell in ("forward_cell", "backward_cell"):
            # Gates are i, f, o, g in DyNet, with 1 added to f; i, f, g, o with two biases in the exported parameters.
            parameters[cell + ".i2h_bias"] += parameters.pop(cell + ".h2h_bias")
            for kind in ("i2h_weight", "h2h_weight", "i2h_bias"):
                i, f, g, o = np.split(parameters[f"{cell}.{kind}"], 4)
                parameters[f"{cell}.{kind}"] = np.concatenate([i, f - 1 if kind == "i2h_bias" else f, o, g])
        self._weights = {
            name: model.add_parameters(value.shape, init=dynet.NumpyInitializer(value))
            for name, value in parameters.items()
        }
        self._trainer = dynet.SimpleSGDTrainer(model, learning_rate=RATE)
        self._trainer.set_sparse_updates(True)
        self._trainer.set_clip_threshold(0)

    def _dense(self, layer: str, *terms: Any) -> Any:
        dy = self.dy
        x = terms[0] if len(terms) == 1 else dy.concatenate(list(terms))
        return dy.affine_transform([self._weights[layer + ".bias"], self._weights[layer + ".weight"], x])

    def _gates(self, layer: str, count: int, *terms: Any) -> list[Any]:
        gates = self._dense(layer, *terms)
        return [self.dy.pick_range(gates, k * HIDDEN, (k + 1) * HIDDEN) for k in range(count)]

    def _direction(self, cell: str, vectors: list[Any]) -> list[Any]:
        dy = self.dy
        weights = [self._weights[f"{cell}.{kind}"] for kind in ("i2h_weight", "h2h_weight", "i2h_bias")]
        h = c = dy.zeros(DIRECTION)
        outputs = []
        for x in vectors:
            gates = dy.vanilla_lstm_gates(x, h, *weights)
            c = dy.vanilla_lstm_c(c, gates)
            h = dy.vanilla_lstm_h(c, gates)
            outputs.append(h)
        return outputs

    def _leaf(self, x: Any) -> tuple[Any, Any]:
        dy = self.dy
        i, o, u = self._gates("leaf.gates", 3, x)
        c = dy.cmult(dy.logistic(i), dy.tanh(u))
        return dy.cmult(dy.logistic(o), dy.tanh(c)), c

    def _compose(self, left: Any, right: Any) -> tuple[Any, Any]:
        dy = self.dy
        i, o, u, keep_left, keep_right = self._gates("compose.gates", 5, left[0], right[0])
        kept = [dy.cmult(dy.logistic(keep_left), left[1]), dy.cmult(dy.logistic(keep_right), right[1])]
        c = dy.esum([dy.cmult(dy.logistic(i), dy.tanh(u)), *kept])
        return dy.cmult(dy.logistic(o), dy.tanh(c)), c

    def _parse(self, sentence: Sentence, learn: bool) -> Program:
        dy = self.dy
        vectors = [self._table[word] for word in sentence.words.tolist()]
        backward = self._direction("backward_cell", vectors[::-1])[::-1]
        buffer = [dy.concatenate([f, b]) for f, b in zip(self._direction("forward_cell", vectors), backward)]
        leaves = [self._leaf(x) for x in buffer]
        stack: list[Any] = []
        actions: list[int] = []
        losses, position = [], 0
        while position < len(buffer) or len(stack) > 1:
            if len(stack) < 2:
                action = SHIFT
            elif position == len(buffer):
                action = REDUCE
            else:
                hidden = self._dense("scorer.hidden", stack[-1][0][0], stack[-2][0][0], buffer[position])
                scores = self._dense("scorer.scores", dy.tanh(hidden))
                if learn:
                    action = REDUCE if sentence.reach[position] <= stack[-2][1] else SHIFT
                    losses.append(dy.pickneglogsoftmax(scores, action))
                if not learn or sentence.explore[len(actions)]:
                    action = int((yield scores).argmax())
            if action == SHIFT:
                stack.append((leaves[position], position))
                position += 1
            else:
                right, left = stack.pop(), stack.pop()
                stack.append((self._compose(left[0], right[0]), left[1]))
            actions.append(action)
        return actions, losses

    def _run(self, batch: list[Sentence], learn: bool) -> list[Any]:
        """Return actions and losses per sentence."""
        self.dy.renew_cg()
        programs = [self._parse(sentence, learn) for sentence in batch]
        results: list[Any] = [None] * len(batch)
        groups = [list(range(len(batch)))] if self._in_step else [[number] for number in range(len(batch))]
        for group in groups:
            answers: dict[int, Any] = dict.fromkeys(group)
            while answers:
                asked = {}
                for number, answer in answers.items():
                    try:
                        asked[number] = programs[number].send(answer)
                    except StopIteration as end:
                        results[number] = end.value
                if asked:
                    self.dy.forward(list(asked.values()))
                answers = {number: scores.npvalue() for number, scores in asked.items()}
        return results

    def _total(self, batch: list[Sentence]) -> Any:
        return self.dy.esum([loss for _, losses in self._run(batch, True) for loss in losses])

    def loss(self, batch: list[Sentence]) -> float:
        return self._total(batch).value()

    def train(self, batch: list[Sentence]) -> None:
        loss = self._total(batch) * (1.0 / len(batch))
        loss.forward()
        loss.backward()
        self._trainer.update()

    def infer(self, batch: list[Sentence]) -> np.ndarray:
        return np.concatenate([actions for actions, _ in self._run(batch, False)])


def make(parameters: Arrays, samples: list[Sentence], in_step: bool = False, sizes: Any = Side.sizes) -> Dynet:
    """Return the side."""
    return Dynet(parameters, in_step, tuple(sizes))
