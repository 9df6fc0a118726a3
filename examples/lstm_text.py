"""A language model of letters: an LSTM reads a novel and learns to predict the next letter; then it writes.

By default it reads the first chapters of *Pride and Prejudice*, which are inside the package; --file reads any text of
yours. Run: python examples/lstm_text.py [--epochs 8] [--file book.txt] [--smoke]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.gluon import nn, rnn
from glueball.gluon.data.text import CharacterSequences, PrideAndPrejudice

LENGTH, BATCH = 64, 32


class LetterModel(gluon.HybridBlock):
    """Embedding, LSTM, output: numbers of letters in, scores of the next letter out.

    Input (batch, time), output (batch, time, letters). With `states` it goes on where it stopped, and returns (output,
    states).
    """

    def __init__(self, letters: int, hidden: int = 192, **kwargs) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.embedding = nn.Embedding(letters, 32)
            self.lstm = rnn.LSTM(hidden, layout="NTC")
            self.output = nn.Dense(letters, flatten=False)

    def hybrid_forward(self, F, letters, states=None):
        embedded = self.embedding(letters)
        if states is None:
            return self.output(self.lstm(embedded))
        hidden, states = self.lstm(embedded, states)
        return self.output(hidden), states


def train(net: LetterModel, data: CharacterSequences, epochs: float, tick: Callable[[], object] = lambda: None) -> None:
    """Train with Adam and a falling learning rate; `tick` is called after each step."""
    loader = gluon.data.DataLoader(data, BATCH, shuffle=True, last_batch="discard")
    steps = steps_of(data, epochs)
    schedule = mx.lr_scheduler.CosineScheduler(max_update=steps, base_lr=6e-3, final_lr=3e-4)
    trainer = gluon.Trainer(net.collect_params(), "adam", {"lr_scheduler": schedule})
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    done = 0
    while done < steps:
        for letters, following in islice(loader, steps - done):
            with autograd.record():
                loss = loss_of(net(letters), following)
            loss.backward()
            gluon.utils.clip_global_norm([parameter.grad() for parameter in net.collect_params().values()], 1.0 * BATCH)
            trainer.step(BATCH)
            done += 1
            tick()


def steps_of(data: CharacterSequences, epochs: float) -> int:
    """Return how many steps `train` makes."""
    return max(1, int(epochs * (len(data) // BATCH)))


def choices(net: LetterModel, data: CharacterSequences) -> float:
    """Return the perplexity: among how many letters the model hesitates on average."""
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    losses = [
        loss_of(net(letters), following).mean().asscalar() for letters, following in gluon.data.DataLoader(data, 64)
    ]
    return math.exp(np.mean(losses))


def write(net: LetterModel, data: CharacterSequences, start: str, count: int, temperature: float = 0.5) -> str:
    """Return `start` and the `count` letters that the model writes after it."""
    random = np.random.RandomState(3)
    states, text, fed = net.lstm.begin_state(batch_size=1), start, data.encode(start)
    for _ in range(count):
        scores, states = net(nd.array(fed).reshape((1, -1)), states)
        chances = nd.softmax(scores[0, -1] / temperature).asnumpy().astype("float64")
        fed = np.array([random.choice(len(chances), p=chances / chances.sum())])
        text += data.decode(fed)
    return text


def main() -> None:
    """Train on a text and write a few lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, help="a text to read instead of the novel")
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    options = parser.parse_args()
    if options.file:
        text = options.file.read_text()
        cut, letters = int(0.9 * len(text)), "".join(sorted(set(text)))
        data, unseen = CharacterSequences(text[:cut], LENGTH, letters), CharacterSequences(text[cut:], LENGTH, letters)
    else:
        data, unseen = PrideAndPrejudice(train=True, length=LENGTH), PrideAndPrejudice(train=False, length=LENGTH)
    print(f"{len(data) * LENGTH:,} letters to learn from, {len(data.vocabulary)} different ones")

    mx.random.seed(0)
    net = LetterModel(len(data.vocabulary))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    start = time.perf_counter()
    train(net, data, 0.05 if options.smoke else options.epochs)
    print(
        f"trained for {time.perf_counter() - start:.0f} s; it hesitates among {choices(net, unseen):.2f} letters. "
        "It writes:\n"
    )
    print(write(net, data, "It is a truth ", count=20 if options.smoke else 400))


if __name__ == "__main__":
    main()
