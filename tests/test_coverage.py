"""Whether all names that client code uses are there, under the same path and with the same keyword arguments.

The names stand in client_names.txt, counted over six public code bases; what each name computes is tested elsewhere
(the operator matrix, the layers' harness). A keyword is accepted when the signature or the operator's definition
names it; a `**kwargs` that hands everything on counts only where KEYWORDS_ON says to what.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import gluon, nd
from glueball.ops.opdef import lookup

NAMES = Path(__file__).with_name("client_names.txt")
# classes behind "a Block", "a Trainer", …
CLASSES = {
    "Block": gluon.nn.HybridSequential,
    "Dataset": gluon.data.Dataset,
    "EvalMetric": mx.metric.EvalMetric,
    "KVStore": mx.kvstore.KVStore,
    "Parameter": gluon.Parameter,
    "ParameterDict": gluon.ParameterDict,
    "RecurrentCell": gluon.rnn.RecurrentCell,
    "Trainer": gluon.Trainer,
}
# attributes of particular blocks, which the counting found on "a Block"
OF_OTHERS = {
    "features": lambda: gluon.model_zoo.vision.alexnet().features,
    "output": lambda: gluon.model_zoo.vision.alexnet().output,
    "weight": lambda: gluon.nn.Dense(1).weight,
    "begin_state": lambda: gluon.rnn.LSTM(1).begin_state,
}
KEYWORDS_ON: dict[str, tuple[Any, ...]] = {
    "gluon.model_zoo.vision.resnet18_v2": (gluon.model_zoo.vision.get_resnet, gluon.model_zoo.vision.ResNetV2),
    "gluon.model_zoo.vision.resnet34_v2": (gluon.model_zoo.vision.get_resnet, gluon.model_zoo.vision.ResNetV2),
    "gluon.model_zoo.vision.squeezenet1_1": (
        gluon.model_zoo.vision.squeezenet.get_squeezenet,
        gluon.model_zoo.vision.SqueezeNet,
        gluon.HybridBlock,
    ),
    "gluon.model_zoo.vision.vgg19": (gluon.model_zoo.vision.get_vgg,),
    "image.ImageDetIter": (mx.image.CreateDetAugmenter,),
    "optimizer.create": (mx.optimizer.SGD, mx.optimizer.Optimizer),
}
# every operator takes these; `ctx` those that make numbers out of nothing
ALWAYS = {"name", "out", "attr"}


def rows() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield (place, name, keyword arguments)."""
    for line in NAMES.read_text().splitlines():
        if line.startswith("#"):
            continue
        where, names = line.split(": ", 1)
        for name, keywords in re.findall(r"([^\s(]+)(?:\(([^)]*)\))?", names):
            yield where, name, tuple(keywords.split(",")) if keywords else ()


def of(prefix: str) -> list[Any]:
    """Return pytest parameters: the rows whose place begins with `prefix` and a space, or equals it."""
    chosen = [row for row in rows() if row[0] == prefix or row[0].startswith(f"{prefix} ")]
    return [pytest.param(*row, id=f"{row[0]}.{row[1]}") for row in chosen]


def modules() -> list[Any]:
    """Return pytest parameters: the rows whose place is a module."""
    special = ("a ", "text ", "attributes", "operators", "nd.NDArray", "mx")
    chosen = [row for row in rows() if not row[0].startswith(special) and row[0] != "_internal"]
    return [pytest.param(*row, id=f"{row[0]}.{row[1]}") for row in chosen]


def find(path: str) -> Any:
    """Return what a dotted path below the package names, importing modules on the way."""
    found: Any = mx
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            found = importlib.import_module(f"{found.__name__}.{part}")
    return found


def accepted(function: Any, path: str) -> set[str]:
    """Return the names of the arguments that a callable takes, its own and those that it hands on."""
    signature = inspect.signature(function)
    names = {p.name for p in signature.parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    if inspect.isclass(function) and len(signature.parameters) != len(names):
        # **kwargs of a constructor go to the constructors of its bases
        for base in function.__mro__[1:-1]:
            if "__init__" in vars(base):
                names |= set(inspect.signature(base.__init__).parameters)
    return names.union(*(accepted(each, "") for each in KEYWORDS_ON.get(path, ())))


@pytest.mark.parametrize(("where", "name", "keywords"), modules())
def test_names_of_modules_and_their_keywords(where: str, name: str, keywords: tuple[str, ...]) -> None:
    found = find(f"{where}.{name}")
    assert callable(found)
    if keywords and f"{where}.{name}" not in BY_CALL:
        missing = set(keywords) - accepted(found, f"{where}.{name}")
        assert not missing, f"{where}.{name} does not take {missing}"


# callables whose **kwargs say nothing by themselves: called below, with every keyword
BY_CALL = ("profiler.set_config", "io.ImageRecordIter")


def keywords_of(where: str, name: str) -> tuple[str, ...]:
    return next(keywords for place, each, keywords in rows() if (place, each) == (where, name))


def test_options_of_the_profiler(in_tmp_path: Path) -> None:
    mx.profiler.set_config(
        **{key: "p.json" if key == "filename" else False for key in keywords_of("profiler", "set_config")}
    )


def test_options_of_the_record_iterator(in_tmp_path: Path) -> None:
    """Every option that client code gives, at once."""
    with mx.recordio.MXIndexedRecordIO("a.idx", "a.rec", "w") as file:
        for key in range(4):
            image = np.full((12, 12, 3), 20 * key, np.uint8)
            file.write_idx(key, mx.recordio.pack_img(mx.recordio.IRHeader(0, key % 2, key, 0), image, img_fmt=".png"))
    options: dict[str, Any] = {
        "path_imgrec": "a.rec", "path_imgidx": "a.idx", "data_shape": (3, 8, 8), "batch_size": 2, "shuffle": True,
        "preprocess_threads": 1, "resize": 10, "min_img_size": 0, "num_parts": 1, "part_index": 0,
        **{f"mean_{each}": 1.0 for each in "rgb"}, **{f"std_{each}": 2.0 for each in "rgb"},
    }  # fmt: skip
    flags = dict.fromkeys(("rand_mirror", "rand_crop", "random_resized_crop"), True)
    numbers = {key: 0.9 for key in keywords_of("io", "ImageRecordIter") if key not in options and key not in flags}
    ranges = {"max_aspect_ratio": 1.2, "max_random_area": 1.0, "max_random_scale": 1.0}
    batch = next(iter(mx.io.ImageRecordIter(**options, **flags, **{**numbers, **ranges})))
    assert batch.data[0].shape == (2, 3, 8, 8)


def test_random_scale_of_the_record_iterator(in_tmp_path: Path) -> None:
    """Twice as large, an image of 8 by 8 shows its middle quarter through a window of 8 by 8."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[2:6, 2:6] = 255
    with mx.recordio.MXIndexedRecordIO("a.idx", "a.rec", "w") as file:
        file.write_idx(0, mx.recordio.pack_img(mx.recordio.IRHeader(0, 0, 0, 0), image, img_fmt=".png"))
    options = {"path_imgrec": "a.rec", "data_shape": (3, 8, 8), "batch_size": 1, "preprocess_threads": 1}
    scaled = next(iter(mx.io.ImageRecordIter(**options, min_random_scale=2, max_random_scale=2)))
    plain = next(iter(mx.io.ImageRecordIter(**options)))
    assert plain.data[0].mean().asscalar() < 0.3 * 255 and scaled.data[0].mean().asscalar() > 0.75 * 255


@pytest.mark.parametrize(("where", "name", "keywords"), of("mx"))
def test_names_of_the_package(where: str, name: str, keywords: tuple[str, ...]) -> None:
    assert callable(getattr(mx, name)) and not keywords


@functools.cache
def operator_arguments(name: str) -> set[str]:
    """Return what an operator of the table takes: inputs, attributes, and what every operator takes."""
    prefixes = {"contrib": "_contrib_", "linalg": "_linalg_", "image": "_image_"}
    head, _, tail = name.rpartition(".")
    op = lookup(prefixes.get(head, "") + tail)
    return {*op.input_names, *op.attr_names, *ALWAYS, *(() if op.inputs else ("ctx",)), op.variadic_count or ""}


@pytest.mark.parametrize(("where", "name", "keywords"), of("operators"))
@pytest.mark.parametrize("namespace", ["nd", "sym"])
def test_operators(namespace: str, where: str, name: str, keywords: tuple[str, ...]) -> None:
    if namespace == "sym" and name in ONLY_ARRAYS:
        pytest.skip("1.9.1 has it for arrays only")
    function = find(f"{namespace}.{name}")
    taken = set(inspect.signature(function).parameters)
    if "extra" in taken or "kwargs" in taken:
        taken |= operator_arguments(name) if "extra" in taken else ALWAYS | {"ctx"}
    missing = set(keywords) - taken - ({"out", "ctx", "attr"} if namespace == "sym" else set())
    assert callable(function) and not missing, f"{namespace}.{name} does not take {missing}"


ONLY_ARRAYS = {"array", "empty", "concatenate", "moveaxis", "sparse.csr_matrix", "add", "greater", "random.randn"}


@pytest.mark.parametrize(("where", "name", "keywords"), of("_internal"))
def test_internal_operators(where: str, name: str, keywords: tuple[str, ...]) -> None:
    assert callable(getattr(nd._internal, name)) and callable(getattr(mx.sym._internal, name))


@pytest.mark.parametrize(("where", "name", "keywords"), of("nd.NDArray"))
def test_array_methods(where: str, name: str, keywords: tuple[str, ...]) -> None:
    x = nd.ones((2, 3))
    x.attach_grad()
    assert getattr(x, name) is not None and not keywords


@pytest.mark.parametrize(("where", "name", "keywords"), of("a"))
def test_methods(where: str, name: str, keywords: tuple[str, ...]) -> None:
    cls = CLASSES[where.removeprefix("a ")]
    if cls is gluon.Parameter:
        assert hasattr(gluon.Parameter("w", shape=(1,)), name)
    elif name in OF_OTHERS:
        assert OF_OTHERS[name]() is not None
    else:
        assert hasattr(cls, name)


def test_attributes_that_client_code_reads_though_they_are_internal() -> None:
    net = gluon.nn.HybridSequential(prefix="net_")
    net.add(gluon.nn.Dense(2, in_units=3))
    loss = gluon.loss.L2Loss(weight=0.5, batch_axis=0)
    weight = net[0].weight
    net.initialize()
    samples = gluon.data.ArrayDataset(np.arange(3), np.arange(3))
    assert list(net._children.values()) == [net[0]] and net._prefix == "net_"
    assert set(net._collect_params_with_prefix()) == {"0.weight", "0.bias"}
    assert (loss._weight, loss._batch_axis) == (0.5, 0)
    assert weight._shape == (2, 3) and len(weight._data) == 1
    assert len(samples._data) == 2
    assert gluon.data.DataLoader(samples, batch_size=1)._dataset is samples
    assert net.collect_params()._prefix == "net_"


@pytest.mark.parametrize(("where", "name", "keywords"), of("text"))
def test_texts_that_name_things(where: str, name: str, keywords: tuple[str, ...]) -> None:
    kind = where.removeprefix("text ")
    if kind == "activation":
        assert nd.Activation(nd.ones((1,)), act_type=name).shape == (1,)
    elif kind == "dtype":
        assert nd.zeros((1,), dtype=name).astype(name).shape == (1,)
    elif kind == "grad_req":
        gluon.Parameter("w", grad_req=name, shape=(1,))
    elif kind == "kvstore":
        assert mx.kvstore.create(name).num_workers == 1
    elif kind == "layout":
        layer = gluon.rnn.LSTM(2, layout=name)
        layer.initialize()
        assert layer(nd.ones((4, 3, 5))).shape == (4, 3, 2)
    else:
        assert kind == "optimizer" and mx.optimizer.create(name).learning_rate > 0


def test_keywords_that_decide_where_and_what(in_tmp_path: Path) -> None:
    """Calls in the words of client code, where the signature alone says little."""
    cpu1, out = mx.cpu(1), nd.zeros((2, 2))
    made = [
        nd.random.normal(0, 1, shape=(2,), ctx=cpu1), nd.random_normal(shape=(2,), ctx=cpu1), nd.eye(2, ctx=cpu1),
        nd.random.uniform(shape=(2,), ctx=cpu1, dtype="float32"), nd.random.randn(2, ctx=cpu1),
        nd.full((2,), 1, ctx=cpu1, dtype="int32"), nd.normal(loc=0, scale=1, shape=(2,), ctx=cpu1),
        nd.sparse.csr_matrix(([1.0], [0], [0, 1]), shape=(1, 1), ctx=cpu1, dtype="float32"),
    ]  # fmt: skip
    assert {x.context for x in made} == {cpu1}
    nd.elemwise_add(nd.ones((2, 2)), nd.ones((2, 2)), out=out)
    assert out.asnumpy().tolist() == [[2, 2], [2, 2]]
    nd.stack(nd.ones((2,)), nd.zeros((2,)), out=out)
    nd.random.normal(shape=(2, 2), out=out)
    assert nd.NDArray(nd.ones((2,))._t).shape == (2,)
    named = mx.sym.FullyConnected(data=mx.sym.var(name="x"), num_hidden=2, name="fc", attr={"note": "a"})
    assert named.name == "fc" and named.attr("note") == "a"
    mx.random.seed(3, ctx=cpu1)
