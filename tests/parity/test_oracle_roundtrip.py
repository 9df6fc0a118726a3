"""Files travel both ways between Glueball and a real MXNet 1.9.1, in all styles, and give the same numbers.

Runs only when GLUEBALL_ORACLE_PYTHON names a Python with MXNet 1.9.1 (and NumPy 1.23.5). The other half of each test
runs there, in `oracle_worker.py`; the networks are described once, in `oracle_networks.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy
import pytest
from oracle_networks import NETWORKS, SHAPES

import glueball as mx

ORACLE = os.environ.get("GLUEBALL_ORACLE_PYTHON")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not ORACLE, reason="GLUEBALL_ORACLE_PYTHON does not name a Python with MXNet 1.9.1"),
]


def oracle(task: str, job: dict[str, Any], folder: Path) -> dict[str, numpy.ndarray]:
    """Run one task of the worker; returns what it saved."""
    (folder / "job.json").write_text(json.dumps(job))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    script = str(Path(__file__).with_name("oracle_worker.py"))
    done = subprocess.run(
        [str(ORACLE), script, task, str(folder / "job.json")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with numpy.load(job["output"]) as saved:
        return {key: saved[key] for key in saved.files}


def prepare(network: str, folder: Path) -> tuple[dict[str, Any], Any]:
    x = numpy.random.RandomState(3).standard_normal(SHAPES[network]).astype("float32")
    numpy.savez(folder / "input.npz", x=x)
    job = {
        "network": network,
        "base": str(folder / "net"),
        "input": str(folder / "input.npz"),
        "output": str(folder / "out.npz"),
    }
    return job, mx.nd.array(x)


def built(network: str) -> Any:
    with mx.name.NameManager():
        return NETWORKS[network](mx)


@pytest.mark.parametrize("network", list(NETWORKS))
def test_the_oracle_loads_what_we_write(network: str, tmp_path: Path) -> None:
    job, x = prepare(network, tmp_path)
    net = built(network)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    with mx.autograd.record():
        y = net(x)
    y.backward()
    ours = net(x).asnumpy()
    net.export(job["base"])
    net.save_parameters(job["base"] + "-structural.params")
    net.collect_params().save(job["base"] + "-prefixed.params")
    for way, theirs in oracle("load", job, tmp_path).items():
        numpy.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4 * abs(ours).max(), err_msg=way)


@pytest.mark.parametrize("network", list(NETWORKS))
def test_we_load_what_the_oracle_writes(network: str, tmp_path: Path) -> None:
    job, x = prepare(network, tmp_path)
    theirs = oracle("write", job, tmp_path)["output"]
    tolerance = {"rtol": 1e-3, "atol": 1e-4 * abs(theirs).max()}
    net = mx.gluon.SymbolBlock.imports(job["base"] + "-symbol.json", ["data"], job["base"] + "-0000.params")
    numpy.testing.assert_allclose(net(x).asnumpy(), theirs, err_msg="export", **tolerance)
    net = built(network)
    net.load_parameters(job["base"] + "-structural.params")
    numpy.testing.assert_allclose(net(x).asnumpy(), theirs, err_msg="structural", **tolerance)
    net = built(network)
    net.collect_params().load(job["base"] + "-prefixed.params")
    numpy.testing.assert_allclose(net(x).asnumpy(), theirs, err_msg="prefixed", **tolerance)
    net.hybridize()
    numpy.testing.assert_allclose(net(x).asnumpy(), theirs, err_msg="hybridized", **tolerance)
