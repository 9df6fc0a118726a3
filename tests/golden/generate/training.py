"""Golden cases: optimisers (three steps on two parameters), learning rate schedules, initialisers, metrics."""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy
from operator_cases import clear_errors
from store import Store, random_for

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("sgd", {}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.1, "rescale_grad": 0.25}),
    ("sgd", {"learning_rate": 1.0, "clip_gradient": 0.1, "wd": 0.1}),
    ("sgd", {"learning_rate": 0.1, "lazy_update": False}),
    ("nag", {"learning_rate": 0.1}),
    ("nag", {"learning_rate": 0.1, "momentum": 0.9}),
    ("nag", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.1, "clip_gradient": 0.3}),
    ("adam", {}),
    ("adam", {"learning_rate": 0.1, "wd": 0.1}),
    ("adam", {"learning_rate": 0.1, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3, "clip_gradient": 0.2}),
    ("adam", {"learning_rate": 0.1, "lazy_update": False}),
    ("adagrad", {"learning_rate": 0.1}),
    ("adagrad", {"learning_rate": 0.1, "eps": 1e-3, "wd": 0.1, "clip_gradient": 0.5}),
    ("rmsprop", {}),
    ("rmsprop", {"learning_rate": 0.1, "gamma1": 0.5, "wd": 0.1}),
    ("rmsprop", {"learning_rate": 0.1, "centered": True}),
    ("rmsprop", {"learning_rate": 0.1, "centered": True, "gamma2": 0.5, "clip_weights": 0.5}),
    ("adadelta", {}),
    ("adadelta", {"rho": 0.5, "epsilon": 1e-3, "wd": 0.1}),
    ("ftrl", {}),
    ("ftrl", {"learning_rate": 0.5, "lamda1": 0.1, "beta": 0.5, "wd": 0.1}),
    ("adamax", {}),
    ("adamax", {"learning_rate": 0.1, "beta1": 0.5, "wd": 0.1}),
    ("nadam", {}),
    ("nadam", {"learning_rate": 0.1, "wd": 0.05, "weights": 1}),
    ("nadam", {"learning_rate": 0.1, "schedule_decay": 0.1, "wd": 0.1}),
    ("signum", {}),
    ("signum", {"learning_rate": 0.1, "momentum": 0.0}),
    ("signum", {"learning_rate": 0.1, "wd": 0.1, "wd_lh": 0.05}),
    ("ftml", {}),
    ("ftml", {"learning_rate": 0.1, "beta1": 0.3, "wd": 0.1}),
    ("lamb", {}),
    ("lamb", {"learning_rate": 0.1, "wd": 0.1, "lower_bound": 0.5, "upper_bound": 2.0}),
    ("lamb", {"learning_rate": 0.1, "bias_correction": False}),
    ("lars", {"learning_rate": 0.1}),
    ("lars", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.1, "eta": 0.01}),
    ("lbsgd", {"learning_rate": 0.1}),
    ("lbsgd", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.1}),
    ("dcasgd", {"learning_rate": 0.1}),
    ("dcasgd", {"learning_rate": 0.1, "momentum": 0.9, "lamda": 0.1}),
    ("ccsgd", {"learning_rate": 0.1}),
    ("test", {"learning_rate": 0.1}),
    ("groupadagrad", {"learning_rate": 0.1}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9, "multi_precision": True}),
    ("adam", {"learning_rate": 0.1, "multi_precision": True}),
    ("nag", {"learning_rate": 0.1, "momentum": 0.9, "multi_precision": True}),
]

SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("FactorScheduler", {"step": 3, "factor": 0.5, "base_lr": 1.0}),
    ("FactorScheduler", {"step": 2, "factor": 0.1, "stop_factor_lr": 1e-3, "base_lr": 1.0}),
    ("FactorScheduler", {"step": 3, "factor": 0.5, "base_lr": 1.0, "warmup_steps": 4, "warmup_begin_lr": 0.1}),
    ("MultiFactorScheduler", {"step": [3, 7], "factor": 0.1, "base_lr": 1.0}),
    (
        "MultiFactorScheduler",
        {
            "step": [5, 9],
            "factor": 0.5,
            "base_lr": 1.0,
            "warmup_steps": 3,
            "warmup_begin_lr": 0.2,
            "warmup_mode": "constant",
        },
    ),
    ("PolyScheduler", {"max_update": 10, "base_lr": 1.0}),
    ("PolyScheduler", {"max_update": 10, "base_lr": 1.0, "pwr": 1, "final_lr": 0.1, "warmup_steps": 3}),
    ("CosineScheduler", {"max_update": 10, "base_lr": 1.0}),
    (
        "CosineScheduler",
        {"max_update": 12, "base_lr": 1.0, "final_lr": 0.1, "warmup_steps": 4, "warmup_begin_lr": 0.05},
    ),
    ("CosineScheduler", {"max_update": 8, "base_lr": 0.3, "warmup_steps": 2, "warmup_mode": "constant"}),
]


def optimizers() -> None:
    store = Store("optimizers")
    for number, (name, options) in enumerate(OPTIMIZERS):
        label = f"{name}-{number}"
        random = random_for(label)
        options = dict(options)
        count = options.pop("weights", 2)
        kind = "float16" if options.get("multi_precision") else "float32"
        shapes = [(3, 2), (4,)][:count]
        start = [random.standard_normal(shape).astype(kind) for shape in shapes]
        grads = [[random.standard_normal(shape).astype(kind) for shape in shapes] for _ in range(3)]
        record: dict[str, Any] = {
            "id": label,
            "name": name,
            "options": options,
            "start": store.tree(start),
            "grads": store.tree(grads),
        }
        try:
            optimizer = mx.optimizer.create(name, param_idx2name={0: "a_weight", 1: "b_weight"}, **options)
            update = mx.optimizer.get_updater(optimizer)
            weights = [mx.nd.array(w, dtype=w.dtype) for w in start]
            steps = []
            for step in grads:
                for k, grad in enumerate(step):
                    update(k, mx.nd.array(grad, dtype=grad.dtype), weights[k])
                steps.append([w.asnumpy() for w in weights])
            record["weights"] = store.tree(steps)
            record["learning_rate"] = optimizer.learning_rate
        except Exception as error:
            record["refused"] = type(error).__name__
            clear_errors()
        store.add(**record)
    scheduled(store)
    store.write()


def scheduled(store: Store) -> None:
    """An optimiser with a schedule, with multipliers, and the decay that names ending in `bias` do or do not get."""
    random = random_for("scheduled")
    start = [random.standard_normal((3, 2)).astype("float32"), random.standard_normal(4).astype("float32")]
    grads = [[random.standard_normal(w.shape).astype("float32") for w in start] for _ in range(3)]
    schedule = {"name": "FactorScheduler", "options": {"step": 1, "factor": 0.5, "base_lr": 0.4}}
    for label, extra in (
        ("scheduled", {"schedule": schedule}),
        ("multipliers", {"lr_mult": {"0": 0.5}, "wd_mult": {"1": 2.0}}),
        ("names", {"names": {"0": "a_weight", "1": "a_bias"}}),
    ):
        options = {"learning_rate": 0.4, "momentum": 0.9, "wd": 0.1}
        given = dict(options)
        if "schedule" in extra:
            given["lr_scheduler"] = mx.lr_scheduler.FactorScheduler(**schedule["options"])
        if "names" in extra:
            given["param_idx2name"] = {int(k): v for k, v in extra["names"].items()}
        optimizer = mx.optimizer.create("sgd", **given)
        if "lr_mult" in extra:
            optimizer.set_lr_mult({int(k): v for k, v in extra["lr_mult"].items()})
            optimizer.set_wd_mult({int(k): v for k, v in extra["wd_mult"].items()})
        update = mx.optimizer.get_updater(optimizer)
        weights = [mx.nd.array(w) for w in start]
        steps = []
        for step in grads:
            for k, grad in enumerate(step):
                update(k, mx.nd.array(grad), weights[k])
            steps.append([w.asnumpy() for w in weights])
        store.add(
            id=f"sgd-{label}",
            name="sgd",
            options=options,
            extra=extra,
            start=store.tree(start),
            grads=store.tree(grads),
            weights=store.tree(steps),
            learning_rate=optimizer.learning_rate,
        )


def schedules() -> None:
    store = Store("schedules")
    for number, (name, options) in enumerate(SCHEDULES):
        schedule = getattr(mx.lr_scheduler, name)(**options)
        store.add(id=f"{name}-{number}", name=name, options=options, values=[float(schedule(n)) for n in range(0, 16)])
    store.write()


INITIALIZERS: list[tuple[str, list, dict[str, Any], str]] = [
    ("Zero", [], {}, "value"),
    ("One", [], {}, "value"),
    ("Constant", [2.5], {}, "value"),
    ("Bilinear", [], {}, "value"),
    ("LSTMBias", [], {}, "value"),
    ("LSTMBias", [], {"forget_bias": 2.0}, "value"),
    ("Uniform", [], {}, "facts"),
    ("Uniform", [0.3], {}, "facts"),
    ("Normal", [], {}, "facts"),
    ("Normal", [0.5], {}, "facts"),
    ("Xavier", [], {}, "facts"),
    ("Xavier", [], {"rnd_type": "gaussian", "factor_type": "in", "magnitude": 2}, "facts"),
    ("Xavier", [], {"factor_type": "out", "magnitude": 1.5}, "facts"),
    ("MSRAPrelu", [], {}, "facts"),
    ("MSRAPrelu", [], {"factor_type": "in", "slope": 0.0}, "facts"),
    ("Orthogonal", [], {}, "facts"),
    ("Orthogonal", [], {"scale": 1.0, "rand_type": "normal"}, "facts"),
]
NAMES = [
    "x_weight",
    "x_bias",
    "x_gamma",
    "x_beta",
    "x_running_mean",
    "x_running_var",
    "x_moving_mean",
    "x_moving_var",
    "x_moving_inv_var",
    "x_moving_avg",
    "x_min",
    "x_max",
    "x_other",
]


def initializers() -> None:
    store = Store("initializers")
    for number, (name, args, kwargs, kind) in enumerate(INITIALIZERS):
        mx.random.seed(number)
        instance = getattr(mx.init, name)(*args, **kwargs)
        for shape in ((80, 60, 3, 3), (300, 200)) if kind == "facts" else ((4, 2, 4, 4), (8,)):
            record: dict[str, Any] = {
                "id": f"{name}-{number}-{'x'.join(map(str, shape))}",
                "name": name,
                "args": args,
                "kwargs": kwargs,
                "shape": list(shape),
                "dumps": instance.dumps(),
            }
            try:
                array = mx.nd.zeros(shape)
                instance(mx.init.InitDesc("x_weight", {"__init__": ""}), array)
                values = array.asnumpy()
                if kind == "value":
                    record["value"] = store.array(values)
                else:
                    flat = values.reshape(shape[0], -1).astype("float64")
                    gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
                    record["facts"] = {
                        "mean": float(values.mean()),
                        "std": float(values.std()),
                        "low": float(values.min()),
                        "high": float(values.max()),
                        "gram_diagonal": float(numpy.diag(gram).mean()),
                        "gram_off_diagonal": float(numpy.abs(gram - numpy.diag(numpy.diag(gram))).mean()),
                    }
            except Exception as error:
                record["refused"] = type(error).__name__
                clear_errors()
            store.add(**record)
    for name in NAMES:
        for described in (True, False):
            label = f"{'described' if described else 'plain'}-{name}"
            record = {"id": label, "described": described, "parameter": name}
            try:
                array = mx.nd.full((4,), 9.0)
                mx.init.Uniform(0.0)(mx.init.InitDesc(name) if described else name, array)
                record["by_name"] = store.array(array)
            except Exception as error:
                record["refused"] = type(error).__name__
            store.add(**record)
    store.write()


def _batches(random: numpy.random.RandomState, kind: str) -> list[tuple[list, list]]:
    out = []
    for _ in range(3):
        if kind == "classes":
            out.append(([random.randint(0, 3, 5)], [random.dirichlet([1, 1, 1], 5)]))
        elif kind == "binary":
            out.append(([random.randint(0, 2, 6)], [random.dirichlet([1, 1], 6)]))
        elif kind == "hard":
            out.append(([random.randint(0, 3, 5)], [random.randint(0, 3, 5)]))
        elif kind == "sequence":
            out.append(([random.randint(0, 3, (2, 4))], [random.dirichlet([1, 1, 1], (2, 4))]))
        elif kind == "values":
            out.append(([random.standard_normal((4, 2))], [random.standard_normal((4, 2))]))
        elif kind == "column":
            out.append(([random.standard_normal(4)], [random.standard_normal((4, 1))]))
        elif kind == "two":
            out.append(
                (
                    [random.randint(0, 3, 5), random.randint(0, 3, 4)],
                    [random.dirichlet([1, 1, 1], 5), random.dirichlet([1, 1, 1], 4)],
                )
            )
        else:
            out.append(([], [random.standard_normal((4, 2))]))
    return [([x.astype("float32") for x in a], [x.astype("float32") for x in b]) for a, b in out]


METRICS: list[tuple[Any, dict[str, Any], str]] = [
    ("acc", {}, "classes"),
    ("accuracy", {}, "hard"),
    ("accuracy", {"axis": 2}, "sequence"),
    ("accuracy", {"name": "mine"}, "two"),
    ("top_k_accuracy", {"top_k": 2}, "classes"),
    ("top_k_accuracy", {"top_k": 3}, "classes"),
    ("f1", {}, "binary"),
    ("f1", {"average": "micro"}, "binary"),
    ("mcc", {}, "binary"),
    ("mcc", {"average": "micro"}, "binary"),
    ("mae", {}, "values"),
    ("mae", {}, "column"),
    ("mse", {}, "values"),
    ("mse", {}, "column"),
    ("rmse", {}, "values"),
    ("rmse", {}, "column"),
    ("ce", {}, "classes"),
    ("cross-entropy", {"eps": 0.01}, "classes"),
    ("nll_loss", {}, "classes"),
    ("perplexity", {"ignore_label": None}, "classes"),
    ("perplexity", {"ignore_label": 0}, "classes"),
    ("perplexity", {"ignore_label": None, "axis": -1}, "sequence"),
    ("pearsonr", {}, "values"),
    ("pearsonr", {"average": "micro"}, "values"),
    ("pearsoncorrelation", {}, "values"),
    ("pcc", {}, "classes"),
    ("loss", {}, "loss"),
    ("torch", {}, "loss"),
    ("caffe", {}, "loss"),
    (["acc", "ce"], {}, "classes"),
    (["mae", "mse"], {}, "values"),
]


def metrics() -> None:
    store = Store("metrics")
    for number, (name, options, kind) in enumerate(METRICS):
        label = f"{name if isinstance(name, str) else '+'.join(name)}-{number}"
        record: dict[str, Any] = {"id": label, "name": name, "options": options}
        try:
            metric = mx.metric.create(name, **options)
            record["empty"] = [list(pair) for pair in metric.get_name_value()]
            batches = _batches(random_for(label), kind)
            record["batches"] = store.tree(batches)
            record["after"] = []
            for labels, preds in batches:
                metric.update(
                    [mx.nd.array(x) for x in labels] if kind != "loss" else 0, [mx.nd.array(x) for x in preds]
                )
                record["after"].append([[key, float(value)] for key, value in metric.get_name_value()])
            metric.reset_local()
            record["after_reset_local"] = [[key, float(value)] for key, value in metric.get_name_value()]
            record["global"] = [[key, float(value)] for key, value in metric.get_global_name_value()]
        except Exception as error:
            record["refused"] = type(error).__name__
            clear_errors()
        store.add(**record)
    store.write()


def make() -> None:
    optimizers()
    schedules()
    initializers()
    metrics()


if __name__ == "__main__":
    make()
