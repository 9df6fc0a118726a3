"""Save, load, export, import: parameters alone, and a whole network as a graph that runs without its Python class.

The files are those of MXNet 1.x: what is written here, it loads, and the other way round. Run: python
examples/export_import.py [--smoke]
"""

from __future__ import annotations

import os
import tempfile

import glueball as mx
from glueball import gluon, nd
from glueball.gluon import nn


def network() -> nn.HybridSequential:
    """Return a small network with batch normalisation, so that there are auxiliary states too."""
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Conv2D(8, 3), nn.BatchNorm(), nn.Activation("relu"), nn.GlobalAvgPool2D(), nn.Dense(4))
    return net


def main() -> None:
    """Write each kind of file and read it back."""
    x = nd.random.normal(shape=(2, 3, 16, 16))
    net = network()
    net.initialize(mx.init.Xavier())
    net.hybridize()
    expected = net(x)

    with tempfile.TemporaryDirectory() as directory:
        parameters = os.path.join(directory, "net.params")
        net.save_parameters(parameters)
        again = network()
        again.load_parameters(parameters)
        mx.test_utils.assert_almost_equal(again(x), expected)
        print("save_parameters / load_parameters:", sorted(nd.load(parameters))[:3], "...")

        net.export(os.path.join(directory, "model"), epoch=7)
        print("export:", sorted(name for name in os.listdir(directory) if name.startswith("model")))
        graph = gluon.SymbolBlock.imports(
            os.path.join(directory, "model-symbol.json"), ["data"], os.path.join(directory, "model-0007.params")
        )
        mx.test_utils.assert_almost_equal(graph(x), expected)
        print("SymbolBlock.imports: same numbers, no Python class needed")

        features = mx.sym.load(os.path.join(directory, "model-symbol.json")).get_internals()["net_relu0_fwd_output"]
        print("inside the exported graph:", features.list_arguments())


if __name__ == "__main__":
    main()
