"""The compatibility door: the same objects under both names, opt-in, closable, and words for what is absent.

Every test opens and closes the door itself, so that no other test sees `mxnet`. Whole scripts run in processes of their
own.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import glueball
from glueball import cli, compat

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def door() -> Iterator[ModuleType]:
    """Open the door for one test."""
    compat.install()
    try:
        yield importlib.import_module("mxnet")
    finally:
        compat.uninstall()


def run_script(text: str, directory: Path, *arguments: str, door: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, through the door or not."""
    script = directory / "script.py"
    script.write_text(textwrap.dedent(text))
    command = [sys.executable, *(["-m", "glueball", "run"] if door else []), str(script), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "name",
    [
        "gluon",
        "gluon.nn",
        "gluon.rnn",
        "gluon.loss",
        "gluon.data",
        "gluon.data.vision",
        "gluon.data.vision.transforms",
        "gluon.parameter",
        "gluon.block",
        "gluon.utils",
        "gluon.trainer",
        "gluon.model_zoo",
        "gluon.model_zoo.vision",
        "gluon.contrib",
        "ndarray",
        "ndarray.random",
        "symbol",
        "autograd",
        "test_utils",
        "initializer",
        "io",
        "image",
        "metric",
        "optimizer",
        "lr_scheduler",
        "context",
        "random",
        "recordio",
        "callback",
        "kvstore",
        "profiler",
        "visualization",
        "executor",
    ],
)
def test_submodules_are_the_same_modules(door: ModuleType, name: str) -> None:
    """`mxnet.x` is `glueball.x`, and importing it under the other name leaves its own name as it was."""
    theirs = importlib.import_module(f"mxnet.{name}")
    if name == "context":
        assert theirs.cpu is glueball.cpu
        return
    ours = importlib.import_module(f"glueball.{name}")
    assert theirs is ours
    assert ours.__name__ == ours.__spec__.name == f"glueball.{name}"


def test_classes_are_the_same(door: ModuleType) -> None:
    """isinstance works whatever name a class was reached by."""
    from mxnet.base import MXNetError, integer_types, numeric_types, string_types
    from mxnet.gluon.nn.basic_layers import Dense
    from mxnet.ndarray.ndarray import NDArray
    assert Dense is glueball.gluon.nn.Dense
    assert NDArray is glueball.nd.NDArray
    assert MXNetError is glueball.MXNetError
    assert isinstance(1, integer_types)
    assert isinstance(1.5, numeric_types)
    assert isinstance("a", string_types)
    assert isinstance(door.nd.ones(2), glueball.nd.NDArray)


def test_top_module(door: ModuleType) -> None:
    """The top module forwards, says the compatible version, and answers short names."""
    assert door.__version__ == compat.COMPATIBLE_VERSION == "1.9.1"
    assert glueball.__version__ != door.__version__
    assert door.nd is glueball.nd
    assert door.sym is glueball.sym
    assert door.viz is glueball.visualization
    assert door.base.MXNetError is glueball.MXNetError
    assert door.test_utils is importlib.import_module("glueball.test_utils")
    assert "gluon" in dir(door)


def test_patches_reach_the_library(door: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting a name on the top module sets it where it is used."""
    monkeypatch.setattr(door, "a_name_of_a_test", 1, raising=False)
    assert glueball.a_name_of_a_test == 1


@pytest.mark.parametrize(("name", "words"), [
    ("mxnet.numpy", "mx.nd"), ("mxnet.module.base_module", "gluon.Trainer"), ("mxnet.nonsense", "coverage"),
])
def test_absent_modules_are_explained(door: ModuleType, name: str, words: str) -> None:
    """An ImportError says why and what to use instead."""
    with pytest.raises(ModuleNotFoundError, match=words):
        importlib.import_module(name)


@pytest.mark.parametrize(("name", "words"), [("mod", "gluon.Trainer"), ("np", "mx.nd"), ("gluonn", "gluon")])
def test_absent_names_are_explained(door: ModuleType, name: str, words: str) -> None:
    """An AttributeError says why, or offers the closest name."""
    with pytest.raises(AttributeError, match=words):
        getattr(door, name)
    assert not hasattr(door, name)


def test_closing() -> None:
    """After uninstall nothing of the other name is left."""
    compat.install()
    compat.install()
    assert compat.installed()
    importlib.import_module("mxnet.gluon.nn")
    compat.uninstall()
    assert not compat.installed()
    assert [name for name in sys.modules if name.split(".")[0] == "mxnet"] == []
    compat.uninstall()


def test_refuses_beside_another_mxnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another package of that name in the process the door stays shut."""
    monkeypatch.setitem(sys.modules, "mxnet", ModuleType("mxnet"))
    with pytest.raises(glueball.MXNetError, match="before anything imports mxnet"):
        compat.install()
    assert not compat.installed()


def test_opt_in(tmp_path: Path) -> None:
    """Importing glueball does not answer for mxnet."""
    done = run_script("""
        import sys
        import glueball
        assert not any(name.split(".")[0] == "mxnet" for name in sys.modules)
        assert not glueball.compat.installed()
    """, tmp_path, door=False)
    assert done.returncode == 0, done.stderr


def test_runs_a_script_unchanged(tmp_path: Path) -> None:
    """Arguments, __name__, __file__ and neighbours of the script are as without the door."""
    (tmp_path / "neighbour.py").write_text("from mxnet import nd\nvalue = nd.ones((2,)).sum().asscalar()\n")
    done = run_script("""
        import sys
        import mxnet as mx
        from mxnet import autograd, gluon, nd
        from mxnet.gluon import nn
        import neighbour
        if __name__ == "__main__":
            net = nn.HybridSequential()
            net.add(nn.Dense(4, activation="relu"), nn.Dense(1))
            net.initialize(mx.init.Xavier())
            net.hybridize()
            trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
            with autograd.record():
                loss = gluon.loss.L2Loss()(net(nd.ones((2, 3))), nd.ones((2, 1)))
            loss.backward()
            trainer.step(2)
            print(mx.__version__, neighbour.value, sys.argv[1:], __file__.endswith("script.py"))
    """, tmp_path, "--epochs", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1.9.1 2.0 ['--epochs', '3'] True"


def test_exit_status_of_a_script(tmp_path: Path) -> None:
    """What a script exits with is what the command exits with."""
    assert run_script("import sys; sys.exit(3)", tmp_path).returncode == 3


def test_missing_script(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is said so, with the fix."""
    assert cli.main(["run", "no_such_script.py"]) == 2
    assert "no_such_script.py" in capsys.readouterr().err


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    """The command for bug reports prints the versions."""
    assert cli.main(["info"]) == 0
    assert glueball.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "name", "home"),
    [
        ("gluon.block", "HybridBlock", "gluon"),
        ("gluon.block", "SymbolBlock", "gluon"),
        ("gluon.parameter", "ParameterDict", "gluon"),
        ("gluon.data.vision.datasets", "ImageFolderDataset", "gluon.data.vision"),
        ("ndarray.ndarray", "zeros", "ndarray"),
        ("optimizer.optimizer", "SGD", "optimizer"),
        ("symbol.symbol", "load", "symbol"),
        ("ndarray.contrib", "MultiBoxPrior", "ndarray.contrib"),
        ("symbol.contrib", "box_nms", "symbol.contrib"),
    ],
)
def test_names_at_the_paths_where_programs_import_them(door: ModuleType, module: str, name: str, home: str) -> None:
    """`from mxnet.gluon.block import HybridBlock` and mx.gluon.block.HybridBlock are gluon.HybridBlock."""
    found = getattr(importlib.import_module(f"mxnet.{module}"), name)
    assert found is getattr(importlib.import_module(f"glueball.{home}"), name)
    with pytest.raises(AttributeError):
        importlib.import_module(f"mxnet.{module}").no_such_name
