"""A language model of letters: an LSTM reads a novel and learns to predict the next letter; then it writes.

By default it reads the first part of *Pride and Prejudice*, which is inside the package; --file reads any text of yours.
Run: python examples/lstm_text.py [--steps 400] [--file book.txt] [--smoke]
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.gluon import nn, rnn


class LetterModel(gluon.HybridBlock):
    """Embedding, LSTM, output: letters in, scores of the next letter out.

    Input  (time, batch) of letter numbers; states as `begin_state` makes them.
    Output (time, batch, letters) scores and the states after the last step.
    """

    def __init__(self, letters: int, hidden: int = 192, **kwargs) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.embedding = nn.Embedding(letters, 32)
            self.lstm = rnn.LSTM(hidden)
            self.output = nn.Dense(letters, flatten=False)

    def hybrid_forward(self, F, letters, states):
        hidden, states = self.lstm(self.embedding(letters), states)
        return self.output(hidden), states

    def begin_state(self, batch: int) -> list[nd.NDArray]:
        """Return states of zeros."""
        return self.lstm.begin_state(batch_size=batch)


def batches(numbers: np.ndarray, batch: int, length: int):
    """Yield (input, target), each of shape (length, batch): the text cut into `batch` long strips, read side by side, forever."""
    width = (len(numbers) - 1) // batch
    inputs, targets = (numbers[start:start + width * batch].reshape(batch, width).T for start in (0, 1))
    while True:
        for start in range(0, width - length, length):
            yield inputs[start:start + length], targets[start:start + length]


def train(net: LetterModel, numbers: np.ndarray, steps: int, batch: int = 32, length: int = 40, report=print) -> float:
    """Train for `steps` steps and return the mean loss of the last 50."""
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 5e-3})
    schedule = mx.lr_scheduler.CosineScheduler(max_update=steps, base_lr=5e-3, final_lr=5e-4)
    states, losses = net.begin_state(batch), []
    source = batches(numbers, batch, length)
    for step in range(steps):
        letters, following = next(source)
        states = [state.detach() for state in states]
        with autograd.record():
            scores, states = net(nd.array(letters), states)
            loss = loss_of(scores.reshape((-1, scores.shape[-1])), nd.array(following.reshape(-1)))
        loss.backward()
        gluon.utils.clip_global_norm([parameter.grad() for parameter in net.collect_params().values()], 5.0 * batch * length)
        trainer.set_learning_rate(schedule(step))
        trainer.step(batch * length)
        losses.append(float(loss.mean().asscalar()))
        if (step + 1) % max(1, steps // 8) == 0:
            report(f"step {step + 1:4}: {math.exp(np.mean(losses[-50:])):.2f} letters to choose from on average")
    return float(np.mean(losses[-50:]))


def write(net: LetterModel, alphabet: str, start: str, count: int, temperature: float = 0.6) -> str:
    """Return `start` and the `count` letters that the model writes after it."""
    random = np.random.RandomState(0)
    states, text = net.begin_state(1), start
    fed = [alphabet.index(letter) for letter in start]
    for _ in range(count):
        scores, states = net(nd.array(np.array(fed).reshape(-1, 1)), states)
        chances = nd.softmax(scores[-1, 0] / temperature).asnumpy().astype("float64")
        fed = [int(random.choice(len(alphabet), p=chances / chances.sum()))]
        text += alphabet[fed[0]]
    return text


def main() -> None:
    """Train on a text and write a few lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, help="a text to read instead of the novel")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    options = parser.parse_args()

    text = options.file.read_text() if options.file else gluon.data.text.pride_and_prejudice()
    alphabet = "".join(sorted(set(text)))
    numbers = np.array([alphabet.index(letter) for letter in text])
    print(f"{len(text):,} letters, {len(alphabet)} different ones")

    mx.random.seed(0)
    net = LetterModel(len(alphabet))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    start = time.perf_counter()
    train(net, numbers, steps=8 if options.smoke else options.steps)
    print(f"trained in {time.perf_counter() - start:.0f} s; it writes:\n")
    print(write(net, alphabet, text[:20], count=40 if options.smoke else 400))


if __name__ == "__main__":
    main()
