"""The networks of the round trip with the oracle, as functions of the package (`mxnet` or `glueball`)."""

from __future__ import annotations

from typing import Any


def mlp(mx: Any) -> Any:
    nn = mx.gluon.nn
    net = nn.HybridSequential(prefix="mlp_")
    with net.name_scope():
        net.add(
            nn.Dense(16, activation="relu"),
            nn.BatchNorm(),
            nn.Dropout(0.4),
            nn.Dense(8, activation="tanh"),
            nn.Dense(3),
        )
    return net


def resnet18_v1(mx: Any) -> Any:
    return mx.gluon.model_zoo.vision.resnet18_v1(classes=10, prefix="resnet_")


def resnet18_v2(mx: Any) -> Any:
    return mx.gluon.model_zoo.vision.resnet18_v2(classes=10, prefix="resnet_")


def lstm(mx: Any) -> Any:
    net = mx.gluon.nn.HybridSequential(prefix="lstm_")
    with net.name_scope():
        net.add(
            mx.gluon.rnn.LSTM(6, num_layers=2, bidirectional=True, layout="NTC"), mx.gluon.nn.Dense(4, flatten=False)
        )
    return net


NETWORKS = {"mlp": mlp, "resnet18_v1": resnet18_v1, "resnet18_v2": resnet18_v2, "lstm": lstm}
SHAPES = {"mlp": (3, 7), "resnet18_v1": (1, 3, 64, 64), "resnet18_v2": (1, 3, 64, 64), "lstm": (2, 5, 3)}
