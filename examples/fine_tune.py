"""Transfer learning: train a network on digits 0 to 4, freeze its features, and teach a new output layer the digits 5
to 9.

Shows sharing layers between networks, `grad_req="null"`, learning rate multipliers, and saving with structural names.
Run: python examples/fine_tune.py [--smoke]
"""

from __future__ import annotations

import os
import sys
import tempfile

import numpy as np

import glueball as mx
from glueball import autograd, gluon
from glueball.gluon import nn
from glueball.gluon.data.vision import digits, transforms


class Classifier(gluon.HybridBlock):
    """Features and an output layer, the division the model zoo uses."""

    def __init__(self, classes: int, features: nn.HybridSequential | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.features = features or self.make_features()
            self.output = nn.Dense(classes)

    @staticmethod
    def make_features() -> nn.HybridSequential:
        """Return the layers before the output."""
        features = nn.HybridSequential(prefix="features_")
        with features.name_scope():
            features.add(
                nn.Conv2D(32, 3, padding=1, activation="relu"),
                nn.BatchNorm(),
                nn.Conv2D(64, 3, padding=1, activation="relu"),
                nn.BatchNorm(),
                nn.MaxPool2D(),
                nn.Flatten(),
            )
        return features

    def hybrid_forward(self, F, x):
        return self.output(self.features(x))


def loader(classes: range, train: bool, limit: int | None = None) -> gluon.data.DataLoader:
    """Return the images of some digits, labelled from zero."""
    source = digits(train=train).transform_first(transforms.ToTensor())
    chosen = [(image, np.float32(int(label) - classes.start)) for image, label in source if int(label) in classes][
        :limit
    ]
    return gluon.data.DataLoader(gluon.data.SimpleDataset(chosen), 25, shuffle=train)


def train(net: Classifier, data: gluon.data.DataLoader, epochs: int, rate: float) -> None:
    """Train whatever is not frozen."""
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": rate})
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    for _ in range(epochs):
        for images, labels in data:
            with autograd.record():
                loss = loss_of(net(images), labels)
            loss.backward()
            trainer.step(images.shape[0])


def accuracy(net: Classifier, data: gluon.data.DataLoader) -> float:
    """Return the share of right answers."""
    metric = mx.metric.Accuracy()
    for images, labels in data:
        metric.update(labels, net(images))
    return metric.get()[1]


def main() -> None:
    """Train on the first five digits, then fine-tune on the others with few samples."""
    epochs = 1 if "--smoke" in sys.argv else 6
    mx.random.seed(0)
    low, high = range(5), range(5, 10)

    base = Classifier(5)
    base.initialize(mx.init.Xavier())
    base.hybridize()
    train(base, loader(low, True), epochs, 1e-3)
    print(f"digits 0-4, from scratch:             {accuracy(base, loader(low, False)):.1%}")

    few = loader(high, True, limit=50)
    tuned = Classifier(5, features=base.features)
    tuned.output.initialize(mx.init.Xavier())
    tuned.features.collect_params().setattr("grad_req", "null")
    train(tuned, few, epochs * 4, 5e-3)
    print(f"digits 5-9, new output, 50 samples:   {accuracy(tuned, loader(high, False)):.1%}")

    tuned.features.collect_params(".*weight|.*bias").setattr("grad_req", "write")
    tuned.features.collect_params().setattr("lr_mult", 0.1)
    train(tuned, few, epochs * 4, 5e-3)
    print(f"digits 5-9, all layers, small steps:  {accuracy(tuned, loader(high, False)):.1%}")

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "tuned.params")
        tuned.save_parameters(path)
        again = Classifier(5)
        again.load_parameters(path)
        print(f"loaded into a new network:            {accuracy(again, loader(high, False)):.1%}")


if __name__ == "__main__":
    main()
