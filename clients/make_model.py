"""A small real network as a file, and real digits to show it: digits.onnx and digits.bin, made within seconds.

The one idea: every client of this directory reads these two files and must print the same lines. digits.bin holds
eight digits of the test part, which training has not seen, as raw float32 (little endian, 8 × 1 × 8 × 8). The softmax
is inside the model, so a client needs none. Usage: python clients/make_model.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.gluon import nn
from glueball.gluon.data.vision import OpticalDigits, transforms

SAMPLES = slice(0, 360, 45)  # eight of the 360


def train(epochs: int = 4) -> nn.HybridSequential:
    """Train on the package's digits; four rounds leave some doubt, so that several classes have a probability."""
    mx.random.seed(3)
    np.random.seed(3)
    data = OpticalDigits(train=True).transform_first(transforms.ToTensor(), lazy=False)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3, padding=1, activation="relu"), nn.MaxPool2D(), nn.Flatten(), nn.Dense(10))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 3e-3})
    for _ in range(epochs):
        for images, labels in gluon.data.DataLoader(data, 32, shuffle=True):
            with autograd.record():
                error = loss_of(net(images), labels)
            error.backward()
            trainer.step(len(images))
    whole = nn.HybridSequential()
    whole.add(net, nn.HybridLambda("softmax"))
    return whole


def main() -> None:
    """Train, say how good it is, and write both files."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "build/clients")
    directory.mkdir(parents=True, exist_ok=True)
    test = OpticalDigits(train=False).transform_first(transforms.ToTensor(), lazy=False)
    images, labels = next(iter(gluon.data.DataLoader(test, len(test))))
    net = train()
    right = (net(images).argmax(axis=1).asnumpy() == labels.asnumpy()).mean()
    path = net.export(str(directory / "digits"), format="onnx", inputs=[nd.array(images.asnumpy()[:2])])
    images.asnumpy()[SAMPLES].astype("<f4").tofile(directory / "digits.bin")
    shown = " ".join(str(int(label)) for label in labels.asnumpy()[SAMPLES])
    print(f"{path}: {right:.1%} of the test digits are right; {directory / 'digits.bin'} shows {shown}")


if __name__ == "__main__":
    main()
