"""The networks as a newcomer writes them in Gluon, and a side that trains or asks them: ours, and MXNet 1.9.1's.

The one idea: ordinary code, `net.hybridize()`, `loss.hybridize()`, `autograd.record()`, `backward()`,
`trainer.step()`, and nothing that only one of the two libraries understands, but for the one-call step of
`gluon.contrib.CompiledStep`. Sizes are those of the given arrays (workloads.py). Driver: drive.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from remote import Side
from workloads import CLASSES, HEADS, NETWORKS, Arrays, Batch, split


def mlp(mx: Any, given: Arrays) -> Any:
    """Return dense 784-64-64-10 with relu."""
    nn = mx.gluon.nn
    net = nn.HybridSequential()
    net.add(nn.Dense(64, activation="relu"), nn.Dense(64, activation="relu"), nn.Dense(CLASSES))
    return net


def lenet(mx: Any, given: Arrays) -> Any:
    """Return LeNet with tanh."""
    nn = mx.gluon.nn
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(20, 5, activation="tanh"),
        nn.MaxPool2D(2, 2),
        nn.Conv2D(50, 5, activation="tanh"),
        nn.MaxPool2D(2, 2),
        nn.Flatten(),
        nn.Dense(500, activation="tanh"),
        nn.Dense(CLASSES),
    )
    return net


def lstm(mx: Any, given: Arrays) -> Any:
    """Return an LSTM cell unrolled over (batch, steps, inputs); all its outputs."""
    gluon, length = mx.gluon, given["x"].shape[1]
    states = given["cell.h2h_weight"].shape[1]

    class Unrolled(gluon.HybridBlock):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.cell = gluon.rnn.LSTMCell(states)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.cell.unroll(length, x, layout="NTC", merge_outputs=True)[0]

    return Unrolled()


def transformer(mx: Any, given: Arrays) -> Any:
    """Return a transformer encoder: words (batch, length) to scores (batch, classes)."""
    gluon = mx.gluon
    nn, (length, width), vocabulary = gluon.nn, given["places"].shape, given["tokens.weight"].shape[0]

    class Layer(gluon.HybridBlock):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.project = nn.Dense(3 * width, flatten=False, in_units=width)
                self.merge = nn.Dense(width, flatten=False, in_units=width)
                self.norm_attended = nn.LayerNorm(in_channels=width)
                self.widen = nn.Dense(4 * width, flatten=False, in_units=width)
                self.active = nn.GELU()
                self.narrow = nn.Dense(width, flatten=False, in_units=4 * width)
                self.norm_inner = nn.LayerNorm(in_channels=width)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            def by_head(part: Any) -> Any:  # (batch, length, width) to (batch * heads, length, width / heads)
                return F.reshape(F.transpose(F.reshape(part, (0, 0, -4, HEADS, -1)), (0, 2, 1, 3)), (-3, 0, 0))

            q, k, v = (by_head(part) for part in F.split(self.project(x), num_outputs=3, axis=2))
            weights = F.softmax(F.batch_dot(q * (width // HEADS) ** -0.5, k, transpose_b=True))
            attended = F.reshape(F.batch_dot(weights, v), (-4, -1, HEADS, 0, 0))
            attended = F.reshape(F.transpose(attended, (0, 2, 1, 3)), (0, 0, -3))
            x = self.norm_attended(x + self.merge(attended))
            return self.norm_inner(x + self.narrow(self.active(self.widen(x))))

    class Encoder(gluon.HybridBlock):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            with self.name_scope():
                self.tokens = nn.Embedding(vocabulary, width)
                self.places = self.params.get("places", shape=(length, width))
                self.layers = nn.HybridSequential()
                for _ in range(sum(name.endswith("project.weight") for name in given)):
                    self.layers.add(Layer())
                self.score = nn.Dense(CLASSES, in_units=width)

        def hybrid_forward(self, F: Any, x: Any, places: Any) -> Any:
            return self.score(F.mean(self.layers(F.broadcast_add(self.tokens(x), F.expand_dims(places, 0))), axis=1))

    return Encoder()


def resnet50(mx: Any, given: Arrays) -> Any:
    """Return the zoo's ResNet-50 v1."""
    return mx.gluon.model_zoo.vision.resnet50_v1()


MAKERS = {"mlp": mlp, "lenet": lenet, "lstm": lstm, "transformer": transformer, "resnet50": resnet50}


class GluonSide(Side):
    """A network in Gluon. `compiled_step`: the step is one call; `amp`: mixed precision of this type, process-wide."""

    modes = ("train", "infer", "plain")

    def __init__(
        self, given: Arrays, samples: list[Batch], library: str, network: str, hybridize: bool = True,
        compiled_step: bool = False, amp: str = "",
    ) -> None:  # fmt: skip
        self.mx = mx = importlib.import_module(library)
        self.flags = {"static_alloc": True, "static_shape": True} if library == "mxnet" else {}
        self.hybridized = hybridize
        if amp:
            mx.contrib.amp.init(amp)
        parameters, x, y = split(given)
        made = NETWORKS[network]
        self.net = MAKERS[network](mx, given)
        self.net.initialize()
        named = self.net._collect_params_with_prefix()
        assert named.keys() == parameters.keys(), named.keys() ^ parameters.keys()
        for name, value in parameters.items():
            named[name].set_data(mx.nd.array(value))
        losses = {"cross-entropy": mx.gluon.loss.SoftmaxCrossEntropyLoss, "squares": mx.gluon.loss.L2Loss}
        self.loss = losses[made.loss]()
        options = {"learning_rate": made.rate, **({"momentum": made.momentum} if made.momentum else {})}
        self.trainer = mx.gluon.Trainer(self.net.collect_params(), made.optimizer, options)
        self.batches = {b.size: (mx.nd.array(x[: b.size]), mx.nd.array(y[: b.size])) for b in samples}
        self.hybridize(hybridize)
        self.one_call: Callable[[Any, Any], Any] | None = None
        if compiled_step:
            self.one_call = mx.gluon.contrib.CompiledStep(self.net, self.loss, self.trainer)

    def hybridize(self, active: bool) -> None:
        """Switch compiling on or off."""
        self.net.hybridize(active, **self.flags)
        self.loss.hybridize(active, **self.flags)

    def _step(self, x: Any, y: Any) -> Any:
        with self.mx.autograd.record():
            value = self.loss(self.net(x), y)
        value.backward()
        self.trainer.step(x.shape[0])
        return value

    def train(self, batches: Sequence[Batch]) -> Any:
        """Do a step for each of the batches; returns the losses of the last one's rows."""
        step, value = self.one_call or self._step, None
        for batch in batches:
            value = step(*self.batches[batch.size])
        self.mx.nd.waitall()
        return value

    def plain(self, batches: Sequence[Batch]) -> None:
        """Do the same steps imperatively."""
        self.hybridize(False)
        for batch in batches:
            self._step(*self.batches[batch.size])
        self.mx.nd.waitall()
        self.hybridize(self.hybridized)

    def losses(self, batches: Sequence[Batch]) -> Arrays:
        """Do a step for each of the batches; returns the mean loss that each found."""
        return {"losses": np.array([self.train([batch]).asnumpy().mean() for batch in batches])}

    def infer(self, batches: Sequence[Batch]) -> np.ndarray:
        """Ask the network about each of the batches; returns what it says of the last one."""
        found = None
        for batch in batches:
            found = self.net(self.batches[batch.size][0])
        assert found is not None
        return found.asnumpy()

    def explain(self) -> str:
        """Return the version."""
        return self.mx.__name__ + " " + self.mx.__version__


def make(given: Arrays, samples: list[Batch], **options: Any) -> Side:
    """Return the side."""
    return GluonSide(given, samples, **options)
