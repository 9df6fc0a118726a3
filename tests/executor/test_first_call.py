"""What the first call of a hybridized network must not do: import the half of torch that compiles Python."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
from glueball import autograd, gluon, nd

net = gluon.nn.HybridSequential()
net.add(gluon.nn.Embedding(1000, 256), gluon.nn.Dense(4))
net.initialize()
net.hybridize()
with autograd.record():
    loss = net(nd.ones((16, 8))).sum()
loss.backward()
print("torch._dynamo" in sys.modules)
"""


def test_large_tables_need_no_shape_functions_of_torch() -> None:
    """A table of more elements than a trial run on zeros may have is inferred by a rule."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
