"""The graph by hand: compose a Symbol, infer its shapes in both directions, bind it to arrays, and train it with plain
updates.

What `hybridize()` does for a block happens here step by step. Run: python examples/symbol_bind.py [--smoke]
"""

from __future__ import annotations

import sys

import numpy as np

import glueball as mx
from glueball import nd


def perceptron() -> mx.sym.Symbol:
    """Return a graph of two dense layers and a softmax output."""
    data = mx.sym.Variable("data")
    hidden = mx.sym.FullyConnected(data, num_hidden=32, name="hidden")
    active = mx.sym.Activation(hidden, act_type="tanh", name="active")
    output = mx.sym.FullyConnected(active, num_hidden=2, name="output")
    return mx.sym.SoftmaxOutput(output, name="softmax")


def main() -> None:
    """Learn the exclusive or of two signs."""
    steps = 50 if "--smoke" in sys.argv else 400
    net = perceptron()
    print("arguments:", net.list_arguments())
    print("outputs:  ", net.list_outputs())

    shapes, outputs, _ = net.infer_shape(data=(100, 2))
    print("inferred: ", dict(zip(net.list_arguments(), shapes, strict=True)), "->", outputs[0])
    backwards, _, _ = mx.sym.FullyConnected(mx.sym.Variable("x"), num_hidden=4, name="fc").infer_shape_partial(
        fc_weight=(4, 7)
    )
    print("a known weight says nothing about the batch, but this much about x:", backwards[0])

    mx.viz.print_summary(net, shape={"data": (100, 2)}, line_length=100)

    random = np.random.RandomState(0)
    executor = net.simple_bind(
        mx.cpu(),
        data=(100, 2),
        grad_req={name: "null" if name in ("data", "softmax_label") else "write" for name in net.list_arguments()},
    )
    for name, array in executor.arg_dict.items():
        if name.endswith("weight"):
            array[:] = random.uniform(-0.7, 0.7, array.shape)
    for step in range(steps):
        points = random.uniform(-1, 1, (100, 2))
        labels = (points[:, 0] * points[:, 1] > 0).astype("float32")
        executor.forward(is_train=True, data=nd.array(points), softmax_label=nd.array(labels))
        executor.backward()
        for name, gradient in executor.grad_dict.items():
            if gradient is not None:
                executor.arg_dict[name][:] -= 0.5 * gradient / 100
        if step % (steps // 5) == 0 or step == steps - 1:
            right = (executor.outputs[0].asnumpy().argmax(axis=1) == labels).mean()
            print(f"step {step:3}: accuracy {right:.0%}")

    hidden = net.get_internals()["active_output"]
    features = hidden.eval(ctx=mx.cpu(), **{name: executor.arg_dict[name] for name in hidden.list_arguments()})
    print("inside the graph, after tanh:", features[0].shape)


if __name__ == "__main__":
    main()
