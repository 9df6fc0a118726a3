"""Golden facts: every network of `model_zoo.vision.get_model`: parameter names and shapes, output shapes, values."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import mxnet as mx
import numpy
from store import Store, random_for

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from blocks import formula, picture  # noqa: E402

PREFIXED = [
    "resnet18_v1",
    "resnet18_v2",
    "mobilenet0.25",
    "mobilenetv2_0.25",
    "squeezenet1.1",
    "densenet121",
    "vgg11_bn",
    "alexnet",
    "inceptionv3",
]
VALUED = {
    "resnet18_v1": 64,
    "resnet18_v2": 64,
    "resnet50_v1": 64,
    "mobilenet0.25": 64,
    "mobilenetv2_0.25": 64,
    "squeezenet1.1": 224,
    "squeezenet1.0": 224,
    "densenet121": 224,
    "inceptionv3": 299,
}
TRAINED = 64  # networks with larger inputs are compared in predict mode only


def all_names() -> list[str]:
    """The names that `get_model` knows, as it tells when asked for an unknown one."""
    try:
        mx.gluon.model_zoo.vision.get_model("no such network")
    except ValueError as error:
        return sorted(set(re.findall(r"[a-z]+[a-z0-9_.]*\d[a-z0-9_.]*|alexnet", str(error))))
    raise RuntimeError("get_model accepted an unknown name")


def size_of(name: str) -> int:
    return 299 if name.startswith("inception") else 224


def structure(store: Store, name: str) -> None:
    with mx.name.NameManager():
        net = mx.gluon.model_zoo.vision.get_model(name, classes=10, prefix="m_")
    shape = (1, 3, size_of(name), size_of(name))
    net.initialize()
    net.infer_shape(mx.nd.zeros(shape))
    parameters = net._collect_params_with_prefix()
    symbol = net(mx.sym.var("data"))
    _, outputs, _ = symbol.infer_shape(data=shape)
    record: dict[str, Any] = {
        "id": name,
        "input_shape": list(shape),
        "output_shape": [list(s) for s in outputs],
        "shapes": {key: list(p.shape) for key, p in parameters.items()},
        "grad_req": sorted({p.grad_req for p in parameters.values()}),
    }
    if name in PREFIXED:
        record["names"] = list(net.collect_params().keys())
        record["arguments"] = symbol.list_arguments()
        record["auxiliary"] = symbol.list_auxiliary_states()
    store.add(**record)


def values(store: Store, name: str, size: int) -> None:
    net = mx.gluon.model_zoo.vision.get_model(name, classes=10)
    net.initialize()
    x = mx.nd.array(picture(name, size))
    net.infer_shape(x)
    parameters = net._collect_params_with_prefix()
    for key, p in parameters.items():
        p.set_data(mx.nd.array(formula(key, p.shape)))
    record: dict[str, Any] = {"id": name + "-values", "model": name, "size": size, "predict": store.array(net(x))}
    if size <= TRAINED:
        x.attach_grad()
        with mx.autograd.record():
            y = net(x)
        head = random_for(name + "head").standard_normal(y.shape).astype("float32")
        y.backward(mx.nd.array(head))
        norms = {
            key: float(numpy.linalg.norm(p.grad().asnumpy().astype("float64")))
            for key, p in parameters.items()
            if p.grad_req != "null"
        }
        record.update(
            train=store.array(y),
            head=store.array(head),
            input_grad_norm=float(numpy.linalg.norm(x.grad.asnumpy())),
            grad_norms=norms,
        )
    store.add(**record)


def make() -> None:
    store = Store("model_zoo")
    names = all_names()
    store.add(id="names", names=names)
    for name in names:
        structure(store, name)
    for name, size in VALUED.items():
        values(store, name, size)
    store.write()


if __name__ == "__main__":
    make()
