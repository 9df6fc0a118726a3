"""LeNet on handwritten digits: data augmentation, a learning rate schedule, saving the best, and a confusion table.

Run: python examples/lenet.py [--smoke]
"""

from __future__ import annotations

import argparse
import os
import tempfile

import numpy as np

import glueball as mx
from glueball import autograd, gluon
from glueball.gluon import nn
from glueball.gluon.data.vision import digits, transforms


def lenet() -> nn.HybridSequential:
    """Return LeNet with batch normalisation; works for images of 8x8 as well as 28x28."""
    net = nn.HybridSequential(prefix="lenet_")
    with net.name_scope():
        for channels in (20, 50):
            net.add(
                nn.Conv2D(channels, kernel_size=5, padding=2), nn.BatchNorm(), nn.Activation("relu"), nn.MaxPool2D(2, 2)
            )
        net.add(nn.Flatten(), nn.Dense(128, activation="relu"), nn.Dropout(0.5), nn.Dense(10))
    return net


def evaluate(net: gluon.Block, data: gluon.data.DataLoader) -> tuple[float, np.ndarray]:
    """Return the accuracy and the table of (true class, predicted class) counts, shape (10, 10)."""
    table = np.zeros((10, 10), dtype=int)
    for images, labels in data:
        predicted = net(images).argmax(axis=1).asnumpy().astype(int)
        np.add.at(table, (labels.asnumpy().astype(int), predicted), 1)
    return np.trace(table) / table.sum(), table


def main() -> None:
    """Train, keep the best parameters, and show which digits are confused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--smoke", action="store_true", help="one epoch")
    options = parser.parse_args()
    epochs = 1 if options.smoke else options.epochs

    mx.random.seed(1)
    augmented = transforms.Compose([transforms.RandomBrightness(0.2), transforms.ToTensor()])
    train = gluon.data.DataLoader(digits(train=True).transform_first(augmented), 32, shuffle=True, last_batch="discard")
    test = gluon.data.DataLoader(digits(train=False).transform_first(transforms.ToTensor()), 200)

    net = lenet()
    net.initialize(mx.init.Xavier())
    net.hybridize()
    schedule = mx.lr_scheduler.CosineScheduler(max_update=epochs * len(train), base_lr=2e-3, final_lr=1e-5)
    trainer = gluon.Trainer(net.collect_params(), "adam", {"lr_scheduler": schedule})
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()

    with tempfile.TemporaryDirectory() as directory:
        best, best_file = 0.0, os.path.join(directory, "best.params")
        for epoch in range(epochs):
            total = 0.0
            for images, labels in train:
                with autograd.record():
                    loss = loss_of(net(images), labels)
                loss.backward()
                trainer.step(images.shape[0])
                total += loss.mean().asscalar()
            accuracy, _ = evaluate(net, test)
            print(
                f"epoch {epoch + 1:2}  loss {total / len(train):.4f}  test accuracy {accuracy:.2%}  "
                f"learning rate {trainer.learning_rate:.5f}"
            )
            if accuracy >= best:
                best = accuracy
                net.save_parameters(best_file)
        net.load_parameters(best_file)

    accuracy, table = evaluate(net, test)
    print(f"best: {accuracy:.2%}. Confused digits (true -> predicted):")
    for true, predicted in zip(*np.nonzero(table - np.diag(np.diag(table))), strict=True):
        print(f"  {true} -> {predicted}: {table[true, predicted]} times")


if __name__ == "__main__":
    main()
