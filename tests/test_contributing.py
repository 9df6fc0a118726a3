"""The three recipes of CONTRIBUTING.md work as they are printed: an operator, a layer and an optimiser in ten lines
each.

They are run in a process of their own, because they add to the tables of the library.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

BEFORE = """
import numpy as np, torch, glueball as mx
from glueball import nd
from glueball.ops.opdef import Grad, Tensor, Value, lookup, operator
from glueball.ops.rules.check import unary
from glueball.ops.rules.infer import same_shape
from glueball.gluon import HybridBlock
from glueball.optimizer.optimizer import Optimizer, register
tanh, log1p, exp, sigmoid = map(lookup, ("tanh", "log1p", "exp", "sigmoid"))
"""

AFTER = """
nd.mish = mx.sym.mish = mish  # a file of glueball/ops is read before the namespaces are made
x = nd.array([1.0, -2.0, 0.3])
for hybridize in (False, True):
    layer = Mish()
    layer.hybridize(hybridize)
    x.attach_grad()
    with mx.autograd.record():
        y = layer(x)
    y.backward()
    slope = (layer(x + 1e-2) - layer(x - 1e-2)) / 2e-2
    mx.test_utils.assert_almost_equal(x.grad, slope, rtol=1e-2, atol=1e-3)
net = mx.gluon.nn.Dense(1, in_units=3)
net.initialize()
before = net.weight.data().asnumpy()
trainer = mx.gluon.Trainer(net.collect_params(), "lion", {"learning_rate": 0.1})
with mx.autograd.record():
    loss = net(nd.ones((2, 3))).sum()
loss.backward()
trainer.step(1)
np.testing.assert_allclose(net.weight.data().asnumpy(), before - 0.1, rtol=1e-4, atol=1e-6)
"""


def test_the_recipes_work(tmp_path: Path) -> None:
    """As printed, in the order of the page."""
    recipes = re.findall(r"```py\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert len(recipes) == 3
    script = tmp_path / "recipes.py"
    script.write_text("\n".join(["from __future__ import annotations", BEFORE, *recipes, AFTER]))
    done = subprocess.run([sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, timeout=120,
                          check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr[-3000:]
