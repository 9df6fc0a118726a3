"""Training on several devices: each batch is split, gradients are added up by the trainer, every device keeps the same
parameters.

`cpu(0)` and `cpu(1)` behave as two devices, so this runs and is tested anywhere; with GPUs it takes those instead.
Run: python examples/multi_device.py [--smoke]
"""

from __future__ import annotations

import sys

import glueball as mx
from glueball import autograd, gluon
from glueball.gluon import nn
from glueball.gluon.data.vision import digits, transforms


def devices() -> list[mx.Context]:
    """Return all GPUs, or two CPU devices."""
    count = mx.context.num_gpus()
    return [mx.gpu(index) for index in range(count)] if count else [mx.cpu(0), mx.cpu(1)]


def main() -> None:
    """Train a small network on all devices."""
    epochs = 1 if "--smoke" in sys.argv else 8
    contexts = devices()
    print("devices:", contexts)
    mx.random.seed(0)
    net = nn.HybridSequential()
    net.add(nn.Dense(128, activation="relu"), nn.Dense(64, activation="relu"), nn.Dense(10))
    net.initialize(mx.init.Xavier(), ctx=contexts)
    net.hybridize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.2, "momentum": 0.9}, kvstore="device")
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    train = gluon.data.DataLoader(
        digits(train=True).transform_first(transforms.ToTensor()), 64, shuffle=True, last_batch="discard"
    )
    test = gluon.data.DataLoader(digits(train=False).transform_first(transforms.ToTensor()), 120)

    for epoch in range(epochs):
        for images, labels in train:
            pieces = zip(
                gluon.utils.split_and_load(images, contexts), gluon.utils.split_and_load(labels, contexts), strict=True
            )
            with autograd.record():
                losses = [loss_of(net(x), y) for x, y in pieces]
            autograd.backward(losses)
            trainer.step(images.shape[0])
        accuracy = mx.metric.Accuracy()
        for images, labels in test:
            shares = gluon.utils.split_and_load(images, contexts, even_split=False)
            accuracy.update(gluon.utils.split_and_load(labels, contexts, even_split=False), [net(x) for x in shares])
        print(f"epoch {epoch + 1}: test accuracy {accuracy.get()[1]:.2%}")

    first, second = (net[0].weight.data(ctx).asnumpy() for ctx in contexts[:2]) if len(contexts) > 1 else (None, None)
    if first is not None:
        print("parameters agree on both devices:", bool((first == second).all()))


if __name__ == "__main__":
    main()
