"""What the first call of a hybridized network must not do: import the half of torch that compiles Python."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
from glueball import autograd, gluon, nd

class Masked(gluon.HybridBlock):
    def hybrid_forward(self, F, x):
        return F.norm(F.where(x > 0, x, x * 2), axis=-1)


net = gluon.nn.HybridSequential()
net.add(gluon.nn.Embedding(1000, 256), gluon.nn.PReLU(), gluon.nn.Dense(1024, flatten=False), Masked())
net.initialize()
net.hybridize()
with autograd.record():
    loss = net(nd.ones((16, 8))).sum()
loss.backward()
print("torch._dynamo" in sys.modules)
"""


def test_large_arrays_need_no_shape_functions_of_torch() -> None:
    """Shapes are inferred by a rule, or by a run of the kernel on zeros, before torch's own functions are loaded."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
