"""What the tests of the command line share: a call that looks at all a user sees, and small models on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glueball import nd
from glueball.cli import main
from glueball.gluon import nn


@dataclass(frozen=True)
class Seen:
    """What a user saw: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        """What --json printed."""
        return json.loads(self.out)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Seen]:
    """Run a command; whatever happens there is no traceback, no colour, and a mistake has words on stderr."""

    def run(*words: object) -> Seen:
        capsys.readouterr()
        status = main([str(word) for word in words])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert "\x1b" not in printed.out + printed.err
        if status:
            assert any(line.startswith(("glueball", "usage: glueball")) for line in printed.err.splitlines())
        return Seen(status, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for grey images of 8 × 8, exported as graph and parameters, and as ONNX (copy before writing)."""
    folder = tmp_path_factory.mktemp("models")
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Conv2D(4, 3, activation="relu"), nn.BatchNorm(), nn.Flatten(), nn.Dense(5))
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 1, 8, 8)))
    net.export(str(folder / "net"))
    net.export(str(folder / "net"), format="onnx")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of four small photos, with one that is cut off and one that is empty."""
    image = pytest.importorskip("PIL.Image")
    root, random = tmp_path / "photos", np.random.RandomState(0)
    for label, name in enumerate(["cats", "dogs"]):
        (root / name).mkdir(parents=True)
        for i in range(4):
            pixels = (random.uniform(0, 40, (12 + i, 16, 3)) + 120 * label).astype(np.uint8)
            image.fromarray(pixels).save(root / name / f"{i}.jpg")
    whole = (root / "dogs" / "0.jpg").read_bytes()
    (root / "dogs" / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    (root / "dogs" / "empty.jpg").write_bytes(b"")
    return root
