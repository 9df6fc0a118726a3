"""Make ``golden_metrics.json``: what the metrics of MXNet 1.9.1 say of a few small inputs.

Run with an interpreter that has ``mxnet==1.9.1`` and ``numpy==1.23.5``: ``python golden_generate.py >
golden_metrics.json``. There is no seed: inputs are made from sines (`probabilities`, `classes`, `values`), so that a
test makes the same without a file.
"""

import json
import sys

import numpy as np


def values(*shape, phase=0.0):
    return np.sin(np.arange(np.prod(shape)) * 1.7 + phase).astype("float32").reshape(shape)


def probabilities(*shape, phase=0.0):
    raw = np.exp(2 * values(*shape, phase=phase))
    return (raw / raw.sum(axis=-1, keepdims=True)).astype("float32")


def classes(count, *shape, phase=0):
    return ((np.arange(np.prod(shape)) * 7 + phase) % 5 % count).astype("float32").reshape(shape)


INPUTS = {  # name: batches, each of them (labels, predictions), each of these a list
    "classes": [([classes(4, 6)], [probabilities(6, 4)]), ([classes(4, 5, phase=2)], [probabilities(5, 4, phase=1)])],
    "two outputs": [([classes(4, 6), classes(3, 6)], [probabilities(6, 4), probabilities(6, 3)])],
    "decided": [([classes(3, 6)], [classes(3, 6, phase=1)])],
    "images": [([classes(3, 2, 4, 4)], [probabilities(2, 3, 4, 4)])],
    "binary": [([classes(2, 6)], [probabilities(6, 2)]), ([classes(2, 6, phase=1)], [probabilities(6, 2, phase=1)])],
    "binary, one kind": [([np.zeros(4, "float32")], [np.tile(np.array([[0.9, 0.1]], "float32"), (4, 1))])],
    "words": [([classes(4, 2, 3)], [probabilities(2, 3, 4)]), ([classes(4, 1, 3)], [probabilities(1, 3, 4, phase=1)])],
    "words in rows": [
        ([classes(4, 2, 3)], [probabilities(6, 4)]),
        ([classes(4, 1, 3)], [probabilities(3, 4, phase=1)]),
    ],
    "regression": [([values(6, 2)], [values(6, 2, phase=1)]), ([values(4, 2, phase=2)], [values(4, 2, phase=3)])],
    "regression, vector": [([values(6)], [values(6, phase=1)]), ([values(6, phase=2)], [values(6, phase=3)])],
    "regression, column": [([values(6)], [values(6, 1, phase=1)])],
    "losses": [([], [values(6)]), ([], [values(2, 2, phase=1), values(3, phase=1)])],
}

CASES = [  # input, metric, arguments
    ("classes", "acc", {}),
    ("classes", "accuracy", {"name": "mine"}),
    ("two outputs", "acc", {}),
    ("decided", "acc", {}),
    ("images", "acc", {}),
    ("words", "acc", {"axis": 2}),
    ("classes", "top_k_accuracy", {"top_k": 2}),
    ("classes", "top_k_acc", {"top_k": 3}),
    ("two outputs", "topkaccuracy", {"top_k": 2}),
    ("binary", "f1", {}),
    ("binary", "f1", {"average": "micro"}),
    ("binary, one kind", "f1", {}),
    ("binary", "mcc", {}),
    ("binary", "mcc", {"average": "micro"}),
    ("binary, one kind", "mcc", {}),
    ("classes", "pcc", {}),
    ("binary", "pcc", {}),
    ("decided", "pcc", {}),
    ("two outputs", "pcc", {}),
    ("words in rows", "perplexity", {"ignore_label": None}),
    ("words in rows", "perplexity", {"ignore_label": 0}),
    ("classes", "perplexity", {"ignore_label": 2}),
    ("regression", "mae", {}),
    ("regression, vector", "mae", {}),
    ("regression, column", "mae", {}),
    ("regression", "mse", {}),
    ("regression, vector", "mse", {}),
    ("regression, column", "mse", {}),
    ("regression", "rmse", {}),
    ("regression, vector", "rmse", {}),
    ("regression, column", "rmse", {}),
    ("classes", "ce", {}),
    ("classes", "crossentropy", {"eps": 0.1}),
    ("classes", "nll_loss", {}),
    ("two outputs", "ce", {}),
    ("regression", "pearsonr", {}),
    ("regression", "pearsoncorrelation", {"average": "micro"}),
    ("regression, vector", "pearsonr", {}),
    ("regression, vector", "pearsonr", {"average": "micro"}),
    ("losses", "loss", {}),
    ("losses", "torch", {}),
    ("losses", "caffe", {}),
]


def scores(metric):
    return [[name, float(f"{value:.9g}")] for name, value in metric.get_name_value() + metric.get_global_name_value()]


def run(mx, batches, metric):
    """Scores after every batch, and after the last batch once more behind a reset_local."""
    results = []
    for labels, predictions in batches:
        metric.update([mx.nd.array(a) for a in labels], [mx.nd.array(a) for a in predictions])
        results.append(scores(metric))
    metric.reset_local()
    labels, predictions = batches[-1]
    metric.update([mx.nd.array(a) for a in labels], [mx.nd.array(a) for a in predictions])
    results.append(scores(metric))
    return results


def main():
    import mxnet as mx  # here, so that the tests can read INPUTS without it

    records = []
    for name, metric, arguments in CASES:
        made = mx.metric.create(metric, **arguments)
        records.append(
            {
                "input": name,
                "metric": metric,
                "arguments": arguments,
                "scores": run(mx, INPUTS[name], made),
                "config": json.loads(json.dumps(made.get_config())),
            }
        )
    lines = ",\n".join(json.dumps(record) for record in records)
    sys.stdout.write(f'{{"mxnet": "{mx.__version__}", "records": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
