"""`print_summary` counts what MXNet 1.9.1 counts, and `plot_network` draws the graph it is given."""

from __future__ import annotations

import shutil

import pytest

import glueball as mx
from glueball.gluon import nn


@pytest.fixture
def symbol():
    """A network with every kind of row: convolution, normalisation, activation, pooling, dense, dropout."""
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(
            nn.Conv2D(8, 3),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.MaxPool2D(),
            nn.Flatten(),
            nn.Dense(10),
            nn.Dropout(0.5),
        )
    return mx.sym.SoftmaxOutput(net(mx.sym.var("data")), name="softmax")


def test_summary(symbol, capsys: pytest.CaptureFixture[str]) -> None:
    """Shapes, parameters and the total, as observed on MXNet 1.9.1 for the same network."""
    mx.viz.print_summary(symbol, shape={"data": (1, 1, 8, 8)})
    rows = {line.split("(")[0]: line.split() for line in capsys.readouterr().out.splitlines() if "(" in line}
    assert rows["net_conv0_fwd"][1:] == ["8x6x6", "80", "data"]
    assert rows["net_batchnorm0_fwd"][1:] == ["8x6x6", "16", "net_conv0_fwd"]
    assert rows["net_dense0_fwd"][1:3] == ["10", "730"]


def test_summary_total(symbol, capsys: pytest.CaptureFixture[str]) -> None:
    """The total is the number of trained parameters."""
    mx.viz.print_summary(symbol, shape={"data": (1, 1, 8, 8)})
    assert "Total params: 826" in capsys.readouterr().out


def test_summary_without_shapes(symbol, capsys: pytest.CaptureFixture[str]) -> None:
    """The table of layers alone."""
    mx.viz.print_summary(symbol)
    assert "net_conv0_fwd(Convolution)" in capsys.readouterr().out


def test_plot(symbol) -> None:
    """Layers are drawn, weights are hidden unless asked for."""
    drawing = mx.viz.plot_network(symbol, shape={"data": (1, 1, 8, 8)})
    text = drawing.to_dot()
    assert text == drawing.source
    assert "net_conv0_fwd" in text
    assert "8x6x6" in text
    assert "net_conv0_weight" not in text
    assert "net_conv0_weight" in mx.viz.plot_network(symbol, hide_weights=False).to_dot()


def test_rendering(symbol, in_tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Graphviz a picture; without it an error that says what to install."""
    drawing = mx.viz.plot_network(symbol, title="net")
    if shutil.which("dot"):
        assert "<svg" in (in_tmp_path / drawing.render(format="svg")).read_text()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(mx.MXNetError, match="apt install graphviz"):
        drawing.render()


def test_not_a_symbol() -> None:
    """The fix is named."""
    with pytest.raises(mx.MXNetError, match="Trace a block"):
        mx.viz.print_summary(nn.Dense(1))
