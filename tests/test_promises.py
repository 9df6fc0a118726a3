"""One test from end to end for each promise of the README, all of them in about ten seconds.

The one idea: what the front page says is held by a test of its own, written as a user would write it. Details are
tested elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str, directory: Path = ROOT) -> str:
    """Run Python with the checkout on its path and return what it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_digits_to_98_percent_in_twenty_lines() -> None:
    """The twenty lines do what they say (their number is counted in test_examples.py)."""
    found = re.search(r"test accuracy: ([\d.]+)%", run(str(ROOT / "examples" / "mnist_in_20_lines.py")))
    assert found is not None
    assert float(found.group(1)) > 98


class MLP(gluon.Block):  # fmt: skip
    def __init__(self, **kwargs):
        super(MLP, self).__init__(**kwargs)  # noqa: UP008 - the listing of 2017, letter for letter
        with self.name_scope():
            self.dense0 = gluon.nn.Dense(64)
            self.dense1 = gluon.nn.Dense(64)
            self.dense2 = gluon.nn.Dense(10)

    def forward(self, x):
        x = nd.relu(self.dense0(x))
        x = nd.relu(self.dense1(x))
        return self.dense2(x)


class Net(gluon.HybridBlock):  # fmt: skip
    def __init__(self, **kwargs):
        super(Net, self).__init__(**kwargs)  # noqa: UP008 - the listing of 2017, letter for letter
        with self.name_scope():
            self.fc1 = gluon.nn.Dense(256); self.fc2 = gluon.nn.Dense(128); self.fc3 = gluon.nn.Dense(2)

    def hybrid_forward(self, F, x):
        x = F.relu(self.fc1(x)); x = F.relu(self.fc2(x))
        return self.fc3(x)


@pytest.mark.parametrize("make", [MLP, Net])
@pytest.mark.parametrize("hybridize", [False, True])
def test_code_of_2017_runs(make, hybridize: bool) -> None:
    """No input size anywhere; forward, hybridize, record, backward, step; and the loss falls."""
    net = make()
    net.initialize()
    if hybridize:
        net.hybridize()
    x, label = nd.random.normal(shape=(32, 20)), nd.array(np.arange(32) % 2)
    assert net(x).shape[0] == 32
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.01})
    losses = []
    for _ in range(20):
        with autograd.record():
            loss = loss_of(net(x), label)
        loss.backward()
        trainer.step(32)
        losses.append(loss.mean().asscalar())
    assert losses[-1] < 0.5 * losses[0]


def test_hybridize_is_one_word() -> None:
    """The same numbers and gradients, without running the block's Python again."""
    calls = []

    class Counted(gluon.HybridBlock):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            with self.name_scope():
                self.dense = gluon.nn.Dense(4)

        def hybrid_forward(self, F, x):
            calls.append(F)
            return F.tanh(self.dense(x))

    net, x = Counted(), nd.random.normal(shape=(5, 3))
    net.initialize()

    def gradient() -> np.ndarray:
        with autograd.record():
            y = net(x).sum()
        y.backward()
        return net.dense.weight.grad().asnumpy()

    imperative, slope = net(x).asnumpy(), gradient()
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), imperative, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient(), slope, rtol=1e-5, atol=1e-6)
    count = len(calls)
    net(x), gradient()
    assert len(calls) == count


def test_files_both_ways(in_tmp_path: Path) -> None:
    """Export, import without the class, and the same numbers."""
    net, x = Net(), nd.random.normal(shape=(3, 7))
    net.initialize()
    net.hybridize()
    expected = net(x)
    net.export("model", epoch=3)
    assert sorted(file.name for file in in_tmp_path.iterdir()) == ["model-0003.params", "model-symbol.json"]
    again = gluon.SymbolBlock.imports("model-symbol.json", ["data"], "model-0003.params")
    np.testing.assert_allclose(again(x).asnumpy(), expected.asnumpy(), rtol=1e-6)


def test_a_script_for_mxnet_runs_unchanged(tmp_path: Path) -> None:
    """Through the door."""
    script = tmp_path / "script.py"
    script.write_text(
        "import mxnet as mx\nfrom mxnet.gluon import nn\nprint(mx.nd.ones((2, 3)).sum().asscalar(), "
        "nn.Dense.__name__)\n"
    )
    assert run("-m", "glueball", "run", str(script)).split() == ["6.0", "Dense"]


def test_needs_torch_and_numpy_alone() -> None:
    """Importing touches none of the optional packages."""
    optional = ("PIL", "tqdm", "matplotlib", "safetensors", "scipy", "graphviz", "onnx", "sklearn")
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in optional)
    assert (
        run("-c", f"import sys; {blocked}; import glueball as mx; print(mx.nd.ones((2,)).sum().asscalar())").strip()
        == "2.0"
    )


def test_memory_is_shared() -> None:
    """To torch and back without a copy; NumPy through DLPack."""
    x = nd.zeros((2, 3))
    x.to_torch()[0, 0] = 5
    assert x[0, 0].asscalar() == 5
    nd.from_torch(x.to_torch())[:] = 2
    assert (x.asnumpy() == 2).all()
    assert (np.from_dlpack(x) == 2).all()


def test_two_devices_without_a_gpu() -> None:
    """Parameters on cpu(0) and cpu(1) stay equal through training."""
    contexts = [mx.cpu(0), mx.cpu(1)]
    net = gluon.nn.Dense(2, in_units=4)
    net.initialize(ctx=contexts)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1}, kvstore="device")
    before = net.weight.data(contexts[0]).asnumpy()
    with autograd.record():
        losses = [net(part).sum() for part in gluon.utils.split_and_load(nd.random.normal(shape=(8, 4)), contexts)]
    autograd.backward(losses)
    trainer.step(8)
    first, second = (net.weight.data(ctx).asnumpy() for ctx in contexts)
    assert (first == second).all()
    assert not np.allclose(first, before)


def test_folding_runs_many_programs_as_few_groups() -> None:
    """Trees of different shapes run together, with the values and gradients of one after the other."""
    from glueball import fold
    cell, score = gluon.nn.Dense(4, activation="tanh"), gluon.nn.Dense(1)
    cell.initialize()
    score.initialize()
    trees = [(1, [(2, []), (3, [(4, [])])]), (5, []), (6, [(7, []), (8, []), (9, [])])]

    def read(tree: tuple[int, list]) -> nd.NDArray:
        states = [read(child) for child in tree[1]]
        return cell(nd.add_n(nd.one_hot(nd.array([tree[0]]), 10)[:, :4], *states))

    found = {}
    for mode in ("off", "on"):
        with autograd.record(), fold.batching(mode=mode):
            total = nd.add_n(*[score(read(tree)) for tree in trees])
        total.backward()
        found[mode] = [total.asnumpy(), *[p.grad().asnumpy() for p in (cell.weight, cell.bias, score.weight)]]
    for off, on in zip(found["off"], found["on"]):
        np.testing.assert_allclose(on, off, rtol=1e-5, atol=1e-6)
    assert fold.last_report().groups < fold.last_report().calls / 2
    assert fold.map(lambda n: float(nd.array([n])) > 1, [0, 1, 2, 3]) == [False, False, True, True]
