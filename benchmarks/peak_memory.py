"""Claim: a hybridized ResNet-18 training step needs no more memory than torch eager; peak resident size of a process
of its own each.

Both sides: batch 16, 3×224×224 (32×32 with --smoke), SGD with momentum, three steps. What the process needs before
the first step (libraries, weights, data) is subtracted.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pairs import SMOKE, Claim, report

SIZE = 32 if SMOKE else 224
COMMON = f"""
import resource, torch
torch.set_num_threads(2)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
x = torch.randn(16, 3, {SIZE}, {SIZE}); y = torch.randint(0, 10, (16,))
"""
TORCH = (
    COMMON
    + """
import torch.nn as nn, torch.nn.functional as f
class Basic(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.a, self.b = nn.Conv2d(i, o, 3, s, 1, bias=False), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.p, self.q = nn.BatchNorm2d(o), nn.BatchNorm2d(o)
        short = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o))
        self.d = short if s != 1 or i != o else nn.Identity()
    def forward(self, x):
        return torch.relu(self.q(self.b(torch.relu(self.p(self.a(x))))) + self.d(x))
net = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
    *[Basic(i, o, s) for i, o, s in [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1),
                                     (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]],
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
update = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
before = peak()
for _ in range(3):
    update.zero_grad(); f.cross_entropy(net(x), y).backward(); update.step()
print(peak() - before)
"""
)
OURS = (
    COMMON
    + """
from glueball import autograd, gluon, nd
from glueball.gluon.model_zoo import vision
net = vision.resnet18_v1(classes=10)
net.initialize()
net.hybridize(HYBRID)
loss = gluon.loss.SoftmaxCrossEntropyLoss(); loss.hybridize(HYBRID)
x, y = nd.from_torch(x), nd.from_torch(y.float())
net(x[:1])
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.01, "momentum": 0.9})
before = peak()
for _ in range(3):
    with autograd.record():
        value = loss(net(x), y)
    value.backward(); trainer.step(16)
print(peak() - before)
"""
)


def megabytes(program: str) -> float:
    """Return what a fresh interpreter prints."""
    root = Path(__file__).resolve().parent.parent
    return float(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root).stdout
    )


if __name__ == "__main__":
    found = {
        "torch eager": megabytes(TORCH),
        "ours imperative": megabytes(OURS.replace("HYBRID", "False")),
        "ours hybridized": megabytes(OURS.replace("HYBRID", "True")),
    }
    claim = Claim("peak memory, ResNet-18 step, hybridized / torch", "ours hybridized", "torch eager", 1.0, 0.8)
    report("peak memory of a ResNet-18 training step", found, [claim], unit="MB")
