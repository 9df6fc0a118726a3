"""Fused recurrent layers: states, layouts, files, deferred sizes, training, compilation. Numbers of MXNet are in
tests/parity, the agreement with unrolled cells in test_cells.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd, sym
from glueball.base.errors import ArgumentError, ShapeError
from glueball.gluon import nn, rnn

LAYERS: dict[str, Any] = {
    "RNN": lambda **k: rnn.RNN(4, **k),
    "RNN tanh": lambda **k: rnn.RNN(4, 2, activation="tanh", **k),
    "LSTM": lambda **k: rnn.LSTM(4, **k),
    "LSTM of two layers": lambda **k: rnn.LSTM(4, 2, bidirectional=True, **k),
    "LSTM with projection": lambda **k: rnn.LSTM(4, projection_size=3, **k),
    "GRU": lambda **k: rnn.GRU(4, **k),
    "GRU both ways": lambda **k: rnn.GRU(4, bidirectional=True, **k),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def ready(name: str, **kwargs: Any) -> Any:
    layer = LAYERS[name](**kwargs)
    layer.initialize(mx.init.Uniform(0.5))
    return layer


@every_layer
def test_states_and_layouts(name: str) -> None:
    layer, x = ready(name), nd.random.uniform(shape=(5, 2, 3))
    out = layer(x)
    again, states = layer(x, layer.begin_state(batch_size=2))
    assert np.array_equal(out.asnumpy(), again.asnumpy())
    assert [s.shape for s in states] == [info["shape"] for info in layer.state_info(2)]
    half, middle = layer(x[:2], layer.begin_state(batch_size=2))
    if layer._dir == 1:  # a sequence may be cut where the states are handed on
        rest, ends = layer(x[2:], middle)
        assert np.allclose(np.concatenate([half.asnumpy(), rest.asnumpy()]), out.asnumpy(), atol=1e-6)
        assert all(np.allclose(a.asnumpy(), b.asnumpy(), atol=1e-6) for a, b in zip(states, ends))
    other = LAYERS[name](layout="NTC", params=layer.collect_params())
    assert np.allclose(other(x.swapaxes(0, 1)).asnumpy(), out.asnumpy().swapaxes(0, 1), atol=1e-6)


@every_layer
@pytest.mark.parametrize("states", [False, True])
def test_compiled_is_imperative_with_gradients(name: str, states: bool) -> None:
    layer = ready(name)
    for batch in (2, 3):
        x = nd.random.uniform(shape=(5, batch, 3))
        results = []
        for active in (False, True, True):
            layer.hybridize(active, clear=False)
            x.attach_grad()
            with autograd.record():
                out, ends = layer(x, layer.begin_state(batch_size=batch)) if states else (layer(x), [])
                loss = (out * out).sum() + sum((e * e).sum() for e in ends)
            loss.backward()
            results.append([out, x.grad.copy(), *[p.grad().copy() for p in layer.collect_params().values()]])
        for other in results[1:]:
            for a, b in zip(results[0], other):
                assert np.allclose(a.asnumpy(), b.asnumpy(), rtol=1e-4, atol=1e-5)


@every_layer
def test_files(name: str, tmp_path: Path) -> None:
    layer, x = ready(name), nd.random.uniform(shape=(5, 2, 3))
    layer.hybridize()
    out = layer(x).asnumpy()
    layer.save_parameters(str(tmp_path / "layer.params"))
    other = LAYERS[name]()
    other.load_parameters(str(tmp_path / "layer.params"))
    assert np.array_equal(other(x).asnumpy(), out)
    layer.export(str(tmp_path / "layer"))
    loaded = gluon.SymbolBlock.imports(
        str(tmp_path / "layer-symbol.json"), ["data"], str(tmp_path / "layer-0000.params")
    )
    for active in (False, True):
        loaded.hybridize(active)
        assert np.allclose(loaded(x).asnumpy(), out, atol=1e-6)
        assert loaded(x[:, :1]).shape == (5, 1, out.shape[2])  # any batch size


def test_structural_names_are_those_of_the_unfused_cells() -> None:
    assert list(rnn.GRU(4)._collect_params_with_prefix()) == [
        f"_unfused.0.{n}" for n in ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
    ]
    names = list(rnn.LSTM(4, 2, bidirectional=True)._collect_params_with_prefix("net"))
    assert names[0] == "net._unfused.0.l_cell.i2h_weight" and names[-1] == "net._unfused.1.r_cell.h2h_bias"
    full = list(rnn.LSTM(4, bidirectional=True, prefix="lstm_").collect_params())
    assert full[0] == "lstm_l0_i2h_weight" and full[4] == "lstm_r0_i2h_weight"


def test_sizes_come_from_the_data() -> None:
    layer = rnn.LSTM(4, 2)
    assert repr(layer) == "LSTM(None -> 4, TNC, num_layers=2)"
    layer.initialize()
    layer(nd.ones((5, 2, 3)))
    assert layer.l0_i2h_weight.shape == (16, 3) and repr(layer) == "LSTM(3 -> 4, TNC, num_layers=2)"
    symbol = rnn.GRU(4, prefix="gru_")(sym.Variable("data"))
    shapes = dict(zip(symbol.list_arguments(), symbol.infer_shape(data=(5, 2, 3))[0]))
    assert shapes["gru_l0_i2h_weight"] == (12, 3)


class Tagger(gluon.HybridBlock):
    """A network of several layers whose sizes only the data know."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.embedding = nn.Embedding(10, 6)
            self.lstm = rnn.LSTM(8, layout="NTC", bidirectional=True, dropout=0.2, num_layers=2)
            self.out = nn.Dense(10, flatten=False)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.out(self.lstm(self.embedding(x)))


@pytest.mark.parametrize("active", [False, True])
def test_a_network_learns_to_look_back(active: bool) -> None:
    """The label of each step is the number one step before."""
    mx.random.seed(1)
    net, loss = Tagger(), gluon.loss.SoftmaxCELoss()
    net.initialize(mx.init.Xavier())
    net.hybridize(active)
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.03})
    data = np.random.RandomState(0).randint(0, 10, (64, 7))
    x, y = nd.array(data[:, 1:]), nd.array(data[:, :-1])
    values = []
    for _ in range(60):
        with autograd.record():
            value = loss(net(x)[:, 1:], y[:, 1:])
        value.backward()
        trainer.step(64)
        values.append(value.mean().asscalar())
    assert values[-1] < 0.3 * values[0]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_lengths_of_sequences(kind: str) -> None:
    layer = getattr(rnn, kind)(4, bidirectional=True, use_sequence_length=True)
    layer.initialize(mx.init.Uniform(0.5))
    x, lengths = nd.random.uniform(shape=(5, 2, 3)), nd.array([2, 5])
    out = layer(x, sequence_length=lengths).asnumpy()
    alone = layer(x[:2, :1], sequence_length=nd.array([2])).asnumpy()
    assert np.allclose(out[:2, :1], alone, atol=1e-6) and not out[2:, 0].any()
    layer.hybridize()
    assert np.allclose(layer(x, sequence_length=lengths).asnumpy(), out, atol=1e-6)
    _, states = layer(x, layer.begin_state(batch_size=2), sequence_length=lengths)
    assert states[0].shape == (2, 2, 4)


def test_dropout_acts_in_train_mode() -> None:
    layer = rnn.GRU(16, 2, dropout=0.5)
    layer.initialize(mx.init.Uniform(0.5))
    x = nd.random.uniform(shape=(5, 2, 3))
    assert np.array_equal(layer(x).asnumpy(), layer(x).asnumpy())
    with autograd.train_mode():
        assert not np.array_equal(layer(x).asnumpy(), layer(x).asnumpy())


def test_devices_and_types() -> None:
    layer = rnn.LSTM(4, dtype="float64")
    layer.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    out = layer(nd.ones((5, 2, 3), ctx=mx.cpu(1), dtype="float64"))
    assert out.context == mx.cpu(1) and out.dtype == np.float64
    layer.cast("float32")
    assert layer.begin_state(batch_size=2)[0].dtype == np.float32
    assert layer(nd.ones((5, 2, 3))).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: rnn.LSTM(4, layout="NCT"), ArgumentError, "'TNC' or 'NTC'"),
        (lambda: rnn.LSTM(0), ArgumentError, "hidden_size must be positive"),
        (lambda: rnn.RNN(4, activation="gelu"), ArgumentError, "'relu' or 'tanh'"),
        (lambda: ready("LSTM")(nd.ones((5, 3))), ShapeError, "three axes"),
        (lambda: ready("LSTM", input_size=4)(nd.ones((5, 2, 3))), ShapeError, "leave input_size out"),
        (lambda: ready("LSTM")(nd.ones((5, 2, 3)), nd.zeros((1, 2, 4))), ShapeError, "2 states: hidden and cell"),
        (lambda: ready("GRU")(nd.ones((5, 2, 3)), nd.zeros((1, 3, 4))), ShapeError, r"begin_state\(batch_size=2\)"),
        (lambda: ready("GRU").begin_state(), ArgumentError, "known batch size"),
        (
            lambda: ready("GRU", use_sequence_length=True)(nd.ones((5, 2, 3))),
            ArgumentError,
            "lengths of the sequences are missing",
        ),
        (lambda: ready("LSTM with projection")._unfuse(), ArgumentError, "LSTMPCell"),
    ],
)
def test_what_is_refused(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
