"""Make ``golden_steps.json``: the weights after each of four updates, as MXNet 1.9.1 computes them.

Run with an interpreter that has ``mxnet==1.9.1`` and ``numpy==1.23.5``: ``python golden_generate.py >
golden_steps.json``. There is no seed: weights and gradients are sines of their index, so that a test makes the same
inputs without a file. Optimisers with random noise (SGLD) are not here; ``test_optimizer.py`` tests their statistics.
"""

import json
import sys

import numpy as np

CASES = [
    ("sgd", {"learning_rate": 0.1}),
    ("sgd", {"learning_rate": 0.1, "wd": 0.1}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.01}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.01, "clip_gradient": 0.3, "rescale_grad": 0.5}),
    ("sgd", {"learning_rate": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5, "wd": 0.1}),
    ("ccsgd", {"learning_rate": 0.1, "momentum": 0.5}),
    ("nag", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.01}),
    ("nag", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.01, "clip_gradient": 0.3, "rescale_grad": 0.5}),
    ("nag", {"learning_rate": 0.1, "wd": 0.01}),
    ("signum", {"learning_rate": 0.1}),
    ("signum", {"learning_rate": 0.1, "momentum": 0.0, "wd": 0.1}),
    ("signum", {"learning_rate": 0.1, "momentum": 0.9, "wd_lh": 0.1, "wd": 0.2, "clip_gradient": 0.3}),
    ("ftml", {"learning_rate": 0.1}),
    ("ftml", {"learning_rate": 0.1, "wd": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5}),
    ("lars", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.01}),
    ("lars", {"learning_rate": 0.1, "wd": 0.01, "eta": 0.1, "eps": 0.01, "clip_gradient": 0.3, "rescale_grad": 0.5}),
    ("lbsgd", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.01}),
    ("lbsgd", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.01, "batch_scale": 2, "updates_per_epoch": 2}),
    ("lbsgd", {"learning_rate": 0.1, "batch_scale": 2, "updates_per_epoch": 2, "warmup_strategy": "power2"}),
    ("lbsgd", {"learning_rate": 0.1, "batch_scale": 4, "updates_per_epoch": 1, "warmup_strategy": "sqrt"}),
    ("lbsgd", {"learning_rate": 0.1, "wd": 0.01, "warmup_strategy": "lars"}),
    ("dcasgd", {"learning_rate": 0.1, "wd": 0.01}),
    ("dcasgd", {"learning_rate": 0.1, "wd": 0.01, "clip_gradient": 0.3, "rescale_grad": 0.5}),
    ("adam", {"learning_rate": 0.1}),
    ("adam", {"learning_rate": 0.1, "wd": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5}),
    ("adam", {"learning_rate": 0.1, "wd": 0.1, "epsilon": 0.01, "beta1": 0.5, "rescale_grad": 0.5}),
    ("adagrad", {"learning_rate": 0.1}),
    ("adagrad", {"learning_rate": 0.1, "wd": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5, "eps": 0.01}),
    ("adadelta", {}),
    ("adadelta", {"learning_rate": 0.1, "wd": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5, "rho": 0.5}),
    ("rmsprop", {"learning_rate": 0.1}),
    ("rmsprop", {"learning_rate": 0.1, "wd": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5, "epsilon": 0.01}),
    ("rmsprop", {"learning_rate": 0.1, "centered": True}),
    ("rmsprop", {"learning_rate": 0.1, "centered": True, "wd": 0.1, "clip_gradient": 0.3, "clip_weights": 0.4}),
    ("ftrl", {}),
    ("ftrl", {"lamda1": 0.1, "wd": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5}),
    ("adamax", {}),
    ("adamax", {"wd": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5}),
    ("nadam", {}),
    ("nadam", {"wd": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5}),
    ("lamb", {}),
    ("lamb", {"wd": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5, "lower_bound": 0.5, "upper_bound": 1.5}),
    ("lamb", {"wd": 0.1, "bias_correction": False}),
    ("groupadagrad", {"learning_rate": 0.1}),
    ("groupadagrad", {"learning_rate": 0.1, "clip_gradient": 0.3, "rescale_grad": 0.5, "eps": 0.01}),
    ("test", {}),
]
STEPS = 4


def weight() -> np.ndarray:
    """The (3, 2) weight before the first step."""
    return np.sin(np.arange(6) + 1).astype("float32").reshape(3, 2)


def gradient(step: int) -> np.ndarray:
    """The (3, 2) gradient of one step."""
    return np.sin(np.arange(6) * 1.7 + 0.5 + step).astype("float32").reshape(3, 2)


def trajectory(mx, name: str, arguments: dict, dtype: str = "float32") -> list:
    optimizer = mx.optimizer.create(name, param_idx2name={0: "fc_weight"}, **arguments)
    updater = mx.optimizer.get_updater(optimizer)
    array = mx.nd.array(weight(), dtype=dtype)
    rows = []
    for step in range(STEPS):
        updater(0, mx.nd.array(gradient(step), dtype=dtype), array)
        rows.append([float(f"{value:.9g}") for value in array.asnumpy().ravel()])
    return rows


def main() -> None:
    import mxnet as mx  # here, so that the tests can use `weight` and `gradient` without it

    records = [{"name": n, "arguments": a, "dtype": "float32", "weights": trajectory(mx, n, a)} for n, a in CASES]
    for name, arguments in [("sgd", {"learning_rate": 0.1, "momentum": 0.9}), ("adam", {}), ("nag", {"momentum": 0.9})]:
        arguments = dict(arguments, multi_precision=True)
        records.append(
            {
                "name": name,
                "arguments": arguments,
                "dtype": "float16",
                "weights": trajectory(mx, name, arguments, "float16"),
            }
        )
    lines = ",\n".join(json.dumps(record) for record in records)
    sys.stdout.write(f'{{"mxnet": "{mx.__version__}", "numpy": "{np.__version__}", "records": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
