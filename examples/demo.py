"""What `make demo` runs: three networks trained on real data, line by line, compiled, and folded.

    1. Digits   a small convolutional network, imperative and hybridized, to 98 % and more on images it has not seen
    2. Text     an LSTM that reads the beginning of a novel letter by letter, and then writes
    3. Trees    a Tree-LSTM that reads Python's own library and says which operator was hidden: every sample has another
                shape, and folding runs them together all the same

Nothing is downloaded: two data sets are inside the package, and the third is the library of the Python that runs this.
Full MNIST is used instead of the optical digits when its files are found. The networks are those of lstm_text.py,
tree_lstm_code.py and of the function `convnet` below. Run: python examples/demo.py [--smoke]
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

import glueball as mx
from glueball import autograd, gluon
from glueball.gluon import nn
from glueball.gluon.data.text import PrideAndPrejudice
from glueball.gluon.data.vision import digits, transforms

try:
    from tqdm import tqdm
except ImportError:  # the bars are a convenience: pip install tqdm
    tqdm = None


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}")


def bar(source: Iterable, label: str, total: int) -> Iterator:
    """Iterate with a progress bar that vanishes when it is full; without tqdm or a terminal, silently."""
    if tqdm is None or not sys.stderr.isatty():
        return iter(source)
    return iter(
        tqdm(
            source,
            desc=f"  {label}",
            total=total,
            leave=False,
            ncols=80,
            bar_format="{desc} {bar} {n_fmt}/{total_fmt} {elapsed}",
        )
    )


# -------------------------------------------------------------------------------------------------------------- 1.
# digits
def convnet() -> nn.HybridSequential:
    """Return a small convolutional network. No input size is written: it suits 8x8 and 28x28 images alike."""
    net = nn.HybridSequential()
    for channels in (24, 48):
        net.add(nn.Conv2D(channels, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"), nn.MaxPool2D())
    net.add(nn.Flatten(), nn.Dropout(0.3), nn.Dense(128, activation="relu"), nn.Dense(10))
    return net


def train_digits(net: gluon.Block, train: gluon.data.DataLoader, epochs: int, label: str) -> float:
    """Train with Adam and a falling learning rate; return the seconds."""
    net.initialize(mx.init.Xavier())
    schedule = mx.lr_scheduler.CosineScheduler(max_update=epochs * len(train), base_lr=2e-3, final_lr=1e-5)
    trainer = gluon.Trainer(net.collect_params(), "adam", {"lr_scheduler": schedule})
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    start = time.perf_counter()
    for epoch in range(epochs):
        for images, labels in bar(train, f"{label}, epoch {epoch + 1} of {epochs}", len(train)):
            with autograd.record():
                loss = loss_of(net(images), labels)
            loss.backward()
            trainer.step(images.shape[0])
    loss.wait_to_read()
    return time.perf_counter() - start


def accuracy_of(net: gluon.Block, data: gluon.data.DataLoader) -> float:
    """Return the share of images that are recognised."""
    accuracy = mx.metric.Accuracy()
    for images, labels in data:
        accuracy.update(labels, net(images))
    return accuracy.get()[1]


def digits_demo(smoke: bool) -> None:
    """Train the same network imperatively and hybridized."""
    source, unseen = digits(train=True), digits(train=False)
    size = "x".join(str(side) for side in source[0][0].shape[:2])
    heading("1. Handwritten digits")
    print(
        f"   {type(source).__name__}: {len(source):,} images of {size} to learn from, {len(unseen):,} to be tested on"
    )
    # Images are turned into arrays once and kept, so that the time is the network's and not the loader's.
    to_array = transforms.ToTensor()
    train, test = (
        gluon.data.DataLoader(part.transform_first(to_array, lazy=False), batch_size=batch, shuffle=part is source)
        for part, batch in ((source, 32 if len(source) < 10000 else 100), (unseen, 256))
    )
    epochs = 1 if smoke else 12 if len(source) < 10000 else 1
    seconds = {}
    for kind in ("imperative", "hybridized"):
        mx.random.seed(0)
        np.random.seed(0)
        net = convnet()
        if kind == "hybridized":
            net.hybridize()  # the one line of difference
        seconds[kind] = train_digits(net, train, epochs, kind)
        print(
            f"   {kind:11}  {accuracy_of(net, test):7.2%} of unseen images right   in {seconds[kind]:5.1f} s"
        )


# ---------------------------------------------------------------------------------------------------------------- 2.
# text
def text_demo(smoke: bool) -> None:
    """Train the letter model on a novel and let it write."""
    from lstm_text import LENGTH, LetterModel, choices, steps_of, train, write

    heading("2. A novel, letter by letter")
    data, unseen = PrideAndPrejudice(train=True, length=LENGTH), PrideAndPrejudice(train=False, length=LENGTH)
    mx.random.seed(0)
    np.random.seed(0)
    net = LetterModel(len(data.vocabulary))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    print(
        f"   {len(data) * LENGTH:,} letters of Pride and Prejudice. "
        f"Before training the next letter is one of {choices(net, unseen):.0f}."
    )
    epochs = 0.03 if smoke else 6
    steps = steps_of(data, epochs)
    progress = bar(range(steps), "LSTM, hybridized", steps)
    start = time.perf_counter()
    train(net, data, epochs, tick=lambda: next(progress, None))
    for _ in progress:  # lets the bar finish
        pass
    seconds = time.perf_counter() - start
    print(
        f"   After {seconds:.0f} s the LSTM has narrowed it to {choices(net, unseen):.1f}, on pages it has not seen. "
        "It writes:\n"
    )
    for line in write(net, data, "It is a truth ", count=20 if smoke else 260).split("\n"):
        print(textwrap.fill(line, 85, initial_indent="     ", subsequent_indent="     "))


# ---------------------------------------------------------------------------------------------------------------- 3.
# trees
def trees_demo(smoke: bool) -> None:
    """Train the reader of Python, folded, and measure it unfolded too."""
    from tree_lstm_code import EPOCHS, run

    heading("3. Trees of Python, folded")
    run(1 if smoke else EPOCHS, smoke, Path("out/tree_lstm_code.png"))


def main() -> None:
    """Run all three and say where to go next."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    options = parser.parse_args()
    print(f"Glueball {mx.__version__}: Gluon on PyTorch's kernels, on {mx.current_context()}")
    start = time.perf_counter()
    with contextlib.suppress(KeyboardInterrupt):
        digits_demo(options.smoke)
        text_demo(options.smoke)
        trees_demo(options.smoke)
    heading(f"Done in {time.perf_counter() - start:.0f} s. Where to go next:")
    print(
        "   docs/first_steps.md              arrays, gradients, layers, training: ten minutes\n"
        "   docs/folding.md                  how folding works, and what it can do for your model\n"
        "   examples/mnist_in_20_lines.py    the digits again, as short as it gets\n"
        "   examples/lstm_text.py            let it read longer, or a book of yours: --file book.txt\n"
        "   python -m glueball run X.py      a script that says `import mxnet as mx`, unchanged\n"
        "   make test                        the test suite\n"
    )


if __name__ == "__main__":
    main()
