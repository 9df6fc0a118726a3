"""Golden files: `.params` in all key styles, `-symbol.json` exports, with inputs and the outputs of the oracle."""

from __future__ import annotations

import os
from typing import Any

import mxnet as mx
import numpy
from mxnet.gluon import nn, rnn
from mxnet.gluon.model_zoo import vision
from store import Store, random_for

FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "files")


class CellNet(mx.gluon.HybridBlock):
    """Two stacked cells unrolled over three steps, then a dense layer on the last output."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.cell = rnn.LSTMCell(4)
            self.second = rnn.GRUCell(3)
            self.out = nn.Dense(2)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        outputs, _ = self.cell.unroll(3, x, layout="NTC", merge_outputs=True)
        outputs, _ = self.second.unroll(3, outputs, layout="NTC", merge_outputs=False)
        return self.out(outputs[-1])


def mlp() -> Any:
    net = nn.HybridSequential(prefix="mlp_")
    with net.name_scope():
        net.add(nn.Dense(5, activation="relu"), nn.BatchNorm(), nn.Dropout(0.3), nn.Dense(3))
    return net


def lstm_layer() -> Any:
    net = nn.HybridSequential(prefix="lstmnet_")
    with net.name_scope():
        net.add(rnn.LSTM(4, num_layers=2, bidirectional=True, layout="NTC"), nn.Dense(2, flatten=False))
    return net


def misc_net() -> Any:
    net = nn.HybridSequential(prefix="misc_")
    with net.name_scope():
        net.add(
            nn.Conv2D(4, 3, padding=1, use_bias=False),
            nn.PReLU(),
            nn.LayerNorm(axis=1),
            nn.AvgPool2D(2, ceil_mode=True, count_include_pad=False),
            nn.Conv2DTranspose(2, 3, strides=2),
            nn.LeakyReLU(0.1),
            nn.GlobalMaxPool2D(),
            nn.Flatten(),
            nn.Dense(3, activation="softrelu"),
        )
    return net


NETS = {
    "mlp": (mlp, (2, 4)),
    "resnetv1": (
        lambda: vision.ResNetV1(vision.BasicBlockV1, [1, 1], [4, 4, 8], classes=3, thumbnail=True, prefix="rv1_"),
        (2, 3, 8, 8),
    ),
    "resnetv2": (
        lambda: vision.ResNetV2(vision.BasicBlockV2, [1, 1], [4, 4, 8], classes=3, thumbnail=True, prefix="rv2_"),
        (2, 3, 8, 8),
    ),
    "cells": (lambda: CellNet(prefix="cells_"), (2, 3, 4)),
    "lstm": (lstm_layer, (2, 3, 4)),
    "misc": (misc_net, (2, 3, 7, 6)),
}


DIFFERENTIATED = ["cells", "lstm", "misc"]  # those that compute the same in both modes


def network(store: Store, name: str) -> None:
    make_net, shape = NETS[name]
    random = random_for(name)
    with mx.name.NameManager():
        net = make_net()
    mx.random.seed(11)
    net.initialize(mx.init.Normal(0.5))
    net.hybridize()
    x = mx.nd.array(random.standard_normal(shape).astype("float32"))
    net(x)
    for key, p in net._collect_params_with_prefix().items():
        if key.endswith("running_mean") or key.endswith("bias"):
            p.set_data(mx.nd.array(random.standard_normal(p.shape) * 0.2))
        if key.endswith("running_var"):
            p.set_data(mx.nd.array(random.uniform(0.5, 2, p.shape)))
    y = net(x)
    base = os.path.join(FILES, name)
    net.export(base, epoch=3)
    net.save_parameters(base + "-structural.params")
    net.collect_params().save(base + "-prefixed.params")
    gradient: dict[str, Any] = {}
    if name in DIFFERENTIATED:
        x.attach_grad()
        with mx.autograd.record():
            out = net(x)
        head = random.standard_normal(out.shape).astype("float32")
        out.backward(mx.nd.array(head))
        gradient = {"head": store.array(head), "input_grad": store.array(x.grad)}
    symbol = mx.sym.load(base + "-symbol.json")
    store.add(
        id=name,
        kind="network",
        input=store.array(x),
        output=store.array(y),
        **gradient,
        arguments=symbol.list_arguments(),
        auxiliary=symbol.list_auxiliary_states(),
        outputs=symbol.list_outputs(),
        structural=list(net._collect_params_with_prefix()),
        names=list(net.collect_params().keys()),
    )


def arrays(store: Store) -> None:
    random = random_for("arrays")
    kinds = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64"]
    table = {kind: mx.nd.array(random.uniform(0, 100, (2, 3)).astype(kind), dtype=kind) for kind in kinds}
    mx.nd.save(os.path.join(FILES, "dtypes.params"), table)
    store.add(id="dtypes", kind="dict", values={key: store.array(value) for key, value in table.items()})
    listed = [mx.nd.array(random.standard_normal(shape)) for shape in ((3,), (1, 2, 3), (2, 2))]
    mx.nd.save(os.path.join(FILES, "listed.params"), listed)
    store.add(id="listed", kind="list", values=[store.array(value) for value in listed])
    mx.nd.save(os.path.join(FILES, "single.params"), listed[0])
    store.add(id="single", kind="list", values=[store.array(listed[0])])
    dense = numpy.array([[0, 1, 0], [0, 0, 0], [2, 0, 3]], "float32")
    sparse = {"csr": mx.nd.array(dense).tostype("csr"), "rows": mx.nd.array(dense).tostype("row_sparse")}
    mx.nd.save(os.path.join(FILES, "sparse.params"), sparse)
    store.add(id="sparse", kind="sparse", values={key: store.array(dense) for key in sparse})
    with mx.util.np_shape(True):
        table = {
            "scalar": mx.nd.array(numpy.float32(2.5)).reshape(()),
            "empty": mx.nd.zeros((0, 3)),
            "plain": mx.nd.ones((2,)),
        }
        mx.nd.save(os.path.join(FILES, "npshape.params"), table)
        store.add(id="npshape", kind="dict", values={key: store.array(value) for key, value in table.items()})


def make() -> None:
    os.makedirs(FILES, exist_ok=True)
    store = Store("files")
    for name in NETS:
        network(store, name)
    arrays(store)
    store.write()


if __name__ == "__main__":
    make()
