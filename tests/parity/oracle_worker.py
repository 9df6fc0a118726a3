"""Runs inside the oracle's Python (never imported by tests): loads what Glueball wrote, or writes what it shall load.

`oracle_worker.py load JOB.json` imports exports and parameters and saves the outputs; `oracle_worker.py write JOB.json`
builds the named networks, exports them and saves their outputs. Needs MXNet 1.9.1; results travel as .npz.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import mxnet as mx
import numpy
from oracle_networks import NETWORKS


def load(job: dict[str, Any]) -> None:
    x = mx.nd.array(numpy.load(job["input"])["x"])
    results: dict[str, numpy.ndarray] = {}
    net = mx.gluon.SymbolBlock.imports(job["base"] + "-symbol.json", ["data"], job["base"] + "-0000.params")
    results["export"] = net(x).asnumpy()
    for style in ("structural", "prefixed"):
        with mx.name.NameManager():
            net = NETWORKS[job["network"]](mx)
        if style == "structural":
            net.load_parameters(f"{job['base']}-{style}.params")
        else:
            net.collect_params().load(f"{job['base']}-{style}.params")
        results[style] = net(x).asnumpy()
    symbol = mx.sym.load(job["base"] + "-symbol.json")
    module = mx.mod.Module(symbol, data_names=["data"], label_names=None)
    module.bind(data_shapes=[("data", x.shape)], for_training=False)
    module.set_params(*mx.model.load_checkpoint(job["base"], 0)[1:])
    module.forward(mx.io.DataBatch([x]))
    results["module"] = module.get_outputs()[0].asnumpy()
    numpy.savez(job["output"], **results)


def write(job: dict[str, Any]) -> None:
    x = mx.nd.array(numpy.load(job["input"])["x"])
    mx.random.seed(5)
    with mx.name.NameManager():
        net = NETWORKS[job["network"]](mx)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    with mx.autograd.record():
        y = net(x)
    y.backward()  # moves the running statistics away from their initial values
    y = net(x)
    net.export(job["base"])
    net.save_parameters(job["base"] + "-structural.params")
    net.collect_params().save(job["base"] + "-prefixed.params")
    numpy.savez(job["output"], output=y.asnumpy())


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as stream:
        {"load": load, "write": write}[sys.argv[1]](json.load(stream))
