"""A multilayer perceptron, twice: imperative (`gluon.Block`) and hybridizable (`gluon.HybridBlock`). No input size
anywhere.

The two classes are plain Gluon code of 2017, letter for letter. Below them: one imperative training run, then the
hybridized one. Run: python examples/mlp.py [--smoke]
"""

from __future__ import annotations

import sys
import time

import numpy as np

import glueball as mx
from glueball import autograd, gluon, nd


class MLP(gluon.Block):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.dense0 = gluon.nn.Dense(64)
            self.dense1 = gluon.nn.Dense(64)
            self.dense2 = gluon.nn.Dense(10)
    def forward(self, x):
        x = nd.relu(self.dense0(x))
        x = nd.relu(self.dense1(x))
        return self.dense2(x)


class Net(gluon.HybridBlock):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.fc1 = gluon.nn.Dense(256); self.fc2 = gluon.nn.Dense(128); self.fc3 = gluon.nn.Dense(2)
    def hybrid_forward(self, F, x):
        x = F.relu(self.fc1(x)); x = F.relu(self.fc2(x))
        return self.fc3(x)


def spirals(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two interleaved spirals: points, shape (samples, 2), and which spiral each is on, shape (samples,)."""
    random = np.random.RandomState(0)
    label = random.randint(0, 2, samples)
    turn = random.rand(samples) * 3 * np.pi
    points = np.stack([turn * np.cos(turn + label * np.pi), turn * np.sin(turn + label * np.pi)], axis=1) / 10
    return points + random.randn(samples, 2) * 0.02, label


def train(net: gluon.Block, data: gluon.data.DataLoader, epochs: int) -> float:
    """Train `net` and return its accuracy on the same data."""
    net.initialize(mx.init.Xavier())
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    for _ in range(epochs):
        for points, labels in data:
            with autograd.record():
                loss = loss_of(net(points), labels)
            loss.backward()
            trainer.step(points.shape[0])
    accuracy = mx.metric.Accuracy()
    for points, labels in data:
        accuracy.update(labels, net(points))
    return accuracy.get()[1]


def main() -> None:
    """Train both networks on two spirals."""
    epochs = 2 if "--smoke" in sys.argv else 30
    points, labels = spirals(2000)
    dataset = gluon.data.ArrayDataset(points.astype("float32"), labels.astype("float32"))
    data = gluon.data.DataLoader(dataset, 50, shuffle=True)
    for net, hybridize in ((MLP(), False), (Net(), False), (Net(), True)):
        if hybridize:
            net.hybridize()
        start = time.perf_counter()
        accuracy = train(net, data, epochs)
        kind = "hybridized" if hybridize else "imperative"
        print(f"{type(net).__name__}, {kind}: accuracy {accuracy:.1%} in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
