"""The rows of mxnet_files.py: networks as functions of the package (`mxnet` or `glueball`), and how they are written,
loaded and compared.

The one idea: everything here runs in either Python and knows only names that both packages have, so that what one
side writes the other loads by the same lines. Nothing newer than Python 3.8 is used.
"""

import os

import numpy as np


def _unrolled(make_cell, hybrid=True):
    """Return a row's maker: a cell over three steps, and a dense layer."""

    def make(mx):
        class Unrolled(mx.gluon.HybridBlock if hybrid else mx.gluon.Block):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                with self.name_scope():
                    self.cell = make_cell(mx)
                    self.out = mx.gluon.nn.Dense(3)

            def hybrid_forward(self, F, x):
                outputs, _ = self.cell.unroll(3, x, layout="NTC", merge_outputs=True)
                return self.out(outputs)

            if not hybrid:

                def forward(self, x):
                    return self.hybrid_forward(mx.nd, x)

        return Unrolled(prefix="unrolled_")

    return make


def _in_sequence(*layers):
    """Return a row's maker: the layers one after another."""

    def make(mx):
        net = mx.gluon.nn.HybridSequential(prefix="net_")
        with net.name_scope():
            for layer in layers:
                net.add(layer(mx))
        return net

    return make


def _listed(options):
    return ", ".join(f"{key}={value}" for key, value in options.items())


def _zoo():
    sizes = {"vgg": 32, "alexnet": 96, "inception": 299, "densenet": 224, "squeezenet": 224}
    names = [f"resnet{d}_v{v}" for v in (1, 2) for d in (18, 34, 50, 101, 152)]
    names += [f"vgg{d}{norm}" for d in (11, 13, 16, 19) for norm in ("", "_bn")] + ["alexnet", "inceptionv3"]
    names += [f"densenet{d}" for d in (121, 161, 169, 201)] + ["squeezenet1.0", "squeezenet1.1"]
    names += [f"mobilenet{w}" for w in ("1.0", "0.75", "0.5", "0.25")]
    names += [f"mobilenetv2_{w}" for w in ("1.0", "0.75", "0.5", "0.25")]
    rows = {}
    for name in names:
        side = next((size for start, size in sizes.items() if name.startswith(start)), 64)
        rows[name] = (lambda mx, name=name: mx.gluon.model_zoo.vision.get_model(name), (1, 3, side, side))
    return rows


def _layers():
    line, image, volume = (2, 3, 9), (2, 3, 8, 7), (2, 3, 6, 5, 6)
    rows = {
        "Dense": (lambda mx: mx.gluon.nn.Dense(4, activation="tanh"), (2, 5)),
        "Dense, flatten=False": (lambda mx: mx.gluon.nn.Dense(4, flatten=False, use_bias=False), (2, 3, 5)),
        "Dropout": (lambda mx: mx.gluon.nn.Dropout(0.5), (2, 5)),
        "Embedding": (lambda mx: mx.gluon.nn.Embedding(10, 4), [2, 5]),
        "Flatten": (lambda mx: mx.gluon.nn.Flatten(), image),
        "HybridLambda": (lambda mx: mx.gluon.nn.HybridLambda("relu"), (2, 5)),
        "BatchNorm": (lambda mx: mx.gluon.nn.BatchNorm(), image),
        "BatchNorm, scale=False": (lambda mx: mx.gluon.nn.BatchNorm(scale=False, center=False, epsilon=1e-3), image),
        "BatchNorm, axis=-1": (lambda mx: mx.gluon.nn.BatchNorm(axis=-1, use_global_stats=True), image),
        "BatchNormReLU": (lambda mx: mx.gluon.nn.BatchNormReLU(), image),
        "InstanceNorm": (lambda mx: mx.gluon.nn.InstanceNorm(scale=True), image),
        "LayerNorm": (lambda mx: mx.gluon.nn.LayerNorm(), image),
        "GroupNorm": (lambda mx: mx.gluon.nn.GroupNorm(num_groups=2), (2, 4, 5, 5)),
        "ReflectionPad2D": (lambda mx: mx.gluon.nn.ReflectionPad2D(2), image),
    }
    for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign"):
        rows["Activation " + kind] = (lambda mx, kind=kind: mx.gluon.nn.Activation(kind), (2, 5))
    for name, options in [("LeakyReLU", {"alpha": 0.1}), ("PReLU", {}), ("ELU", {}), ("SELU", {}), ("GELU", {}),
                          ("Swish", {"beta": 1.5})]:  # fmt: skip
        rows[name] = (lambda mx, name=name, options=options: getattr(mx.gluon.nn, name)(**options), image)
    for shape, dims in ((line, "1D"), (image, "2D"), (volume, "3D")):
        for name, options in [("Conv", {"strides": 2, "padding": 1}), ("Conv", {"dilation": 2, "activation": "relu"}),
                              ("Conv", {"groups": 3, "channels": 6, "use_bias": False})]:  # fmt: skip
            label = f"{name}{dims} {_listed(options)}"
            full = dict({"channels": 4, "kernel_size": 3}, **options)
            rows[label] = (lambda mx, d=dims, o=full: getattr(mx.gluon.nn, "Conv" + d)(**o), shape)
        rows[f"Conv{dims}Transpose"] = (
            lambda mx, d=dims: getattr(mx.gluon.nn, f"Conv{d}Transpose")(2, 3, strides=2, output_padding=1), shape)
        for pool in ("Max", "Avg"):
            rows[f"{pool}Pool{dims}"] = (
                lambda mx, p=pool, d=dims: getattr(mx.gluon.nn, f"{p}Pool{d}")(2, 2, ceil_mode=True), shape)
            rows[f"Global{pool}Pool{dims}"] = (
                lambda mx, p=pool, d=dims: getattr(mx.gluon.nn, f"Global{p}Pool{d}")(), shape)
        rows["PixelShuffle" + dims] = (
            lambda mx, d=dims: getattr(mx.gluon.contrib.nn, "PixelShuffle" + d)(2), (2, 8) + shape[2:])
    rows["AvgPool2D, count_include_pad=False"] = (
        lambda mx: mx.gluon.nn.AvgPool2D(3, 2, 1, count_include_pad=False), image)

    def concurrent(kind):
        def make(mx):
            net = getattr(mx.gluon.contrib.nn, kind)(axis=1, prefix="both_")
            with net.name_scope():
                net.add(mx.gluon.nn.Dense(2), mx.gluon.contrib.nn.Identity(), mx.gluon.nn.Dense(3))
            return net
        return make

    rows["HybridConcurrent, Identity"] = (concurrent("HybridConcurrent"), (2, 4))
    rows["Concurrent"] = (concurrent("Concurrent"), (2, 4))
    rows["SyncBatchNorm"] = (lambda mx: mx.gluon.contrib.nn.SyncBatchNorm(num_devices=1), image)
    rows["DeformableConvolution"] = (
        lambda mx: mx.gluon.contrib.cnn.DeformableConvolution(4, kernel_size=(3, 3), padding=(1, 1)), image)
    rows["ModulatedDeformableConvolution"] = (
        lambda mx: mx.gluon.contrib.cnn.ModulatedDeformableConvolution(4, kernel_size=(3, 3), padding=(1, 1)), image)
    rows["Dense, BatchNorm, Dense"] = (
        _in_sequence(lambda mx: mx.gluon.nn.Dense(5), lambda mx: mx.gluon.nn.BatchNorm(),
                     lambda mx: mx.gluon.nn.Dense(2)), (2, 4))  # fmt: skip
    return rows


def _recurrent():
    rows = {}
    for kind, options in [("RNN", {"activation": "tanh"}), ("RNN", {}), ("LSTM", {}), ("GRU", {})]:
        for more in ({}, {"num_layers": 2, "bidirectional": True}, {"layout": "NTC", "dropout": 0.2, "num_layers": 2}):
            full = dict(options, **more)
            label = f"{kind} {_listed(full)}"
            maker = _in_sequence(lambda mx, k=kind, o=full: getattr(mx.gluon.rnn, k)(4, **o),
                                 lambda mx: mx.gluon.nn.Dense(3, flatten=False))  # fmt: skip
            rows[label.strip()] = (maker, (2, 3, 5))
    plain = ("RNNCell", "LSTMCell", "GRUCell")
    cells = {name: (lambda mx, name=name: getattr(mx.gluon.rnn, name)(4)) for name in plain}
    cells["LSTMPCell"] = lambda mx: mx.gluon.contrib.rnn.LSTMPCell(4, 3)

    def stacked(kind):
        def make(mx):
            cell = getattr(mx.gluon.rnn, kind)()
            with cell.name_scope():
                cell.add(mx.gluon.rnn.LSTMCell(4))
                cell.add(mx.gluon.rnn.DropoutCell(0.3))
                cell.add(mx.gluon.rnn.GRUCell(3))
            return cell
        return make

    cells["HybridSequentialRNNCell"] = stacked("HybridSequentialRNNCell")
    cells["BidirectionalCell"] = lambda mx: mx.gluon.rnn.BidirectionalCell(
        mx.gluon.rnn.LSTMCell(4, prefix="l_"), mx.gluon.rnn.GRUCell(4, prefix="r_"))
    cells["ResidualCell"] = lambda mx: mx.gluon.rnn.ResidualCell(mx.gluon.rnn.GRUCell(5))
    cells["ZoneoutCell"] = lambda mx: mx.gluon.rnn.ZoneoutCell(mx.gluon.rnn.RNNCell(4), 0.2, 0.2)
    cells["VariationalDropoutCell"] = lambda mx: mx.gluon.contrib.rnn.VariationalDropoutCell(
        mx.gluon.rnn.LSTMCell(4), 0.2, 0.2, 0.2)
    for name, cell in cells.items():
        rows[name] = (_unrolled(cell), (2, 3, 5))
    rows["SequentialRNNCell"] = (_unrolled(stacked("SequentialRNNCell"), hybrid=False), (2, 3, 5))
    for dims, extent in (("1D", (6,)), ("2D", (6, 5)), ("3D", (5, 4, 5))):
        for kind in ("RNN", "LSTM", "GRU"):
            rows[f"Conv{dims}{kind}Cell"] = (
                _unrolled(lambda mx, d=dims, k=kind, e=extent: getattr(mx.gluon.contrib.rnn, f"Conv{d}{k}Cell")(
                    (3,) + e, hidden_channels=2, i2h_kernel=3, h2h_kernel=3, i2h_pad=1)), (2, 3, 3) + extent)
    return rows


GROUPS = {"zoo": _zoo(), "layers": _layers(), "recurrent": _recurrent()}
ROWS = {name: row for rows in GROUPS.values() for name, row in rows.items()}
WAYS = ("export", "structural", "prefixed", "stripped")


def built(mx, name):
    with mx.name.NameManager():
        return ROWS[name][0](mx)


def sample(mx, name):
    shape, random = ROWS[name][1], np.random.RandomState(3)
    values = random.randint(0, 9, shape) if isinstance(shape, list) else random.standard_normal(shape)
    return mx.nd.array(values.astype("float32"))


def fill(mx, net):
    """Give every parameter numbers from a seed: of a size that deep networks bear, variances above zero."""
    for number, (name, parameter) in enumerate(sorted(net._collect_params_with_prefix().items())):
        random, shape = np.random.RandomState(number), parameter.shape
        if name.endswith(("gamma", "running_var")):
            values = random.uniform(0.5, 1.5, shape)
        else:
            fan = np.prod(shape[1:]) if len(shape) > 1 else 25
            values = random.standard_normal(shape) * np.sqrt(1.5 / max(fan, 1))
        parameter.set_data(mx.nd.array(values.astype("float32")))


def write(mx, name, folder):
    """Write a row's network in every way, and its results."""
    net, x = built(mx, name), sample(mx, name)
    net.initialize()
    with mx.autograd.train_mode():  # in predict mode MXNet brings weights into another order at once
        net(x)
    fill(mx, net)
    expected = net(x).asnumpy()
    base = os.path.join(folder, "net")
    net.save_parameters(base + "-structural.params")
    net.collect_params().save(base + "-prefixed.params")
    net.collect_params().save(base + "-stripped.params", strip_prefix=net.prefix)
    np.save(base + ".npy", expected)
    if isinstance(net, mx.gluon.HybridBlock):
        net.hybridize()
        net(x)
        net.export(base)


def load(mx, name, folder):
    """Load what was written, and return by way the largest difference as a share of the largest number."""
    x, base = sample(mx, name), os.path.join(folder, "net")
    expected = np.load(base + ".npy")
    results = {}
    for way in WAYS:
        if way == "export":
            if not os.path.exists(base + "-symbol.json"):
                continue  # not a HybridBlock
            net = mx.gluon.SymbolBlock.imports(base + "-symbol.json", ["data"], base + "-0000.params")
        else:
            net = built(mx, name)
            if way == "prefixed":
                net.collect_params().load(base + "-prefixed.params")
            else:
                net.load_parameters(f"{base}-{way}.params")
        found = net(x).asnumpy()
        same = found.shape == expected.shape and np.isfinite(found).all()
        scale = max(float(np.abs(expected).max()), 1e-6)
        results[way] = float(np.abs(found - expected).max()) / scale if same else float("inf")
    return results
