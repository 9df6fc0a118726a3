"""Golden models in the dialects of MXNet 0.8 to 1.9: what MXNet 1.9.1 reads in them and computes.

A case is one `-symbol.json` document, the arrays of all its variables, and results. Documents are built here or made
old by `aged`, which turns a graph of 1.9.1 into what an earlier version wrote; 1.9.1 itself must load each of them.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import mxnet as mx
import numpy
from store import Store, random_for

# the names that earlier versions wrote
OLD_NAMES = {
    "elemwise_add": "_Plus", "elemwise_sub": "_Minus", "elemwise_mul": "_Mul", "elemwise_div": "_Div",
    "add_n": "ElementWiseSum", "_plus_scalar": "_PlusScalar", "_minus_scalar": "_MinusScalar",
    "_mul_scalar": "_MulScalar", "_div_scalar": "_DivScalar", "_copy": "identity", "_maximum": "_Maximum",
    "_power_scalar": "_PowerScalar", "_rminus_scalar": "_RMinusScalar", "_rdiv_scalar": "_RDivScalar",
    "clip": "clip", "Reshape": "reshape", "Flatten": "flatten",
}  # fmt: skip
HIDDEN = ("ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage")
SHARED = {"BatchNorm": 3}  # inputs that a file before 0.9 has


def bare(key: str) -> str:
    return key[2:-2] if key.startswith("__") and key[2:-2] in HIDDEN else key


def aged(document: dict[str, Any], version: int) -> dict[str, Any]:
    """Return a document of 1.9.1 as a version wrote it: 800, 904, 1000, 1100 or 10000."""
    old = copy.deepcopy(document)
    dropped: set[int] = set()
    for node in old["nodes"]:
        texts = node.pop("attrs", {})
        if version < 10000:
            texts = {bare(k): v for k, v in texts.items()}
        if version < 900 and node["op"] in SHARED:
            dropped.update(entry[0] for entry in node["inputs"][SHARED[node["op"]] :])
            del node["inputs"][SHARED[node["op"]] :]
        if version < 1000:
            node["op"] = OLD_NAMES.get(node["op"], node["op"])
            texts = {k: v.replace(", ", ",") for k, v in texts.items()}
        if version == 904:  # as Python 2 wrote
            texts = {k: "(" + ",".join(p + "L" for p in v[1:-1].split(",") if p) + ")" if v[:1] == "(" else v
                     for k, v in texts.items()}  # fmt: skip
        if version < 900:
            node["param"] = {k: v for k, v in texts.items() if bare(k) not in HIDDEN and k.strip("_") == k}
            node["attr"] = {k: v for k, v in texts.items() if k not in node["param"]}
            node["backward_source_id"] = -1
            node["inputs"] = [entry[:2] for entry in node["inputs"]]
        elif texts:
            node["attr" if version < 1100 else "attrs"] = texts
    old.pop("node_row_ptr", None) if version < 900 else None
    if version < 900:
        del old["attrs"]
        old["heads"] = [entry[:2] for entry in old["heads"]]
        old = without(old, dropped)
    else:
        old["attrs"] = {"mxnet_version": ["int", version]}
    return old


def without(document: dict[str, Any], dropped: set[int]) -> dict[str, Any]:
    """Return a document less some of its variables."""
    kept = [i for i in range(len(document["nodes"])) if i not in dropped]
    number = {old: new for new, old in enumerate(kept)}
    nodes = [document["nodes"][i] for i in kept]
    for node in nodes:
        node["inputs"] = [[number[entry[0]], *entry[1:]] for entry in node["inputs"]]
    document["nodes"] = nodes
    document["heads"] = [[number[entry[0]], *entry[1:]] for entry in document["heads"]]
    document["arg_nodes"] = [number[i] for i in document["arg_nodes"] if i in number]
    return document


# -- networks ----------------------------------------------------------------------------------------------------------
def lenet() -> Any:
    x = mx.sym.Variable("data")
    x = mx.sym.Convolution(x, kernel=(3, 3), num_filter=4, pad=(1, 1), name="conv1", attr={"ctx_group": "stage1"})
    x = mx.sym.Activation(x, act_type="tanh", name="tanh1")
    x = mx.sym.Pooling(x, pool_type="max", kernel=(3, 3), stride=(2, 2), pooling_convention="full", name="pool1")
    weight = mx.sym.Variable("fc1_weight", lr_mult=2.0, wd_mult=0.5)
    x = mx.sym.FullyConnected(mx.sym.Flatten(x), weight, num_hidden=5, name="fc1")
    return mx.sym.SoftmaxOutput(mx.sym.clip(x, -3, 3), name="softmax")


def residual() -> Any:
    x = mx.sym.BatchNorm(mx.sym.Variable("data"), name="bn0")
    trunk = mx.sym.Convolution(x, kernel=(3, 3), num_filter=4, pad=(1, 1), no_bias=True, name="conv0")
    branch = mx.sym.LeakyReLU(mx.sym.BatchNorm(trunk, fix_gamma=False, eps=2e-5, name="bn1"), act_type="prelu", name="p")
    branch = mx.sym.Convolution(branch, kernel=(1, 1), num_filter=4, name="conv1")
    x = mx.sym.Activation(branch + trunk, act_type="relu", name="relu1")
    x = mx.sym.add_n(x, trunk, branch, name="sum")
    x = mx.sym.Dropout(x, p=0.5, name="drop")
    x = mx.sym.Pooling(x, kernel=(7, 7), global_pool=True, pool_type="avg", name="pool")
    return mx.sym.LogisticRegressionOutput(mx.sym.FullyConnected(x, num_hidden=3, name="fc"), name="out")


def face() -> Any:
    x = (mx.sym.Variable("data") - 127.5) * 0.0078125
    x = mx.sym.Convolution(x, kernel=(3, 3), stride=(2, 2), num_filter=4, no_bias=True, name="conv_1")
    x = mx.sym.BatchNorm(x, fix_gamma=True, eps=0.001, momentum=0.9, name="conv_1_batchnorm")
    x = mx.sym.LeakyReLU(x, act_type="prelu", name="conv_1_relu")
    x = mx.sym.Convolution(x, kernel=(3, 3), num_filter=4, num_group=4, no_bias=True, name="conv_2")
    x = mx.sym.Dropout(mx.sym.BatchNorm(x, fix_gamma=False, eps=2e-5, name="bn1"), p=0.4, name="dropout0")
    x = mx.sym.FullyConnected(x, num_hidden=6, name="pre_fc1")
    return mx.sym.L2Normalization(mx.sym.BatchNorm(x, eps=2e-5, name="fc1"), mode="instance", name="embedding")


def mixture() -> Any:
    x = mx.sym.Variable("data")
    left, right = mx.sym.SliceChannel(x, num_outputs=2, axis=1, name="slice")
    up = mx.sym.UpSampling(left, scale=2, sample_type="nearest", num_args=1, name="up")
    cropped = mx.sym.Crop(up, right, num_args=2, center_crop=True, name="crop")
    swapped = mx.sym.SwapAxis(cropped * right, dim1=1, dim2=2, name="swap")
    joined = mx.sym.Concat(swapped, mx.sym.BlockGrad(swapped) / 2, dim=2, name="concat")
    shaped = mx.sym.Reshape(joined, shape=(0, -3, -1), name="shape")
    half = mx.sym.Cast(mx.sym.Cast(shaped, dtype="int32"), dtype="float32", name="cast")
    best = mx.sym.argmax(shaped, axis=1, name="best")
    return mx.sym.Group([half - (1 - shaped), best, mx.sym.LRN(x, nsize=3, name="lrn"), mx.sym.sum(x, axis=(2, 3))])


NETWORKS = {
    "lenet": (lenet, (2, 3, 8, 7)),
    "residual": (residual, (2, 3, 6, 6)),
    "face": (face, (2, 3, 9, 9)),
    "mixture": (mixture, (2, 4, 3, 5)),
}
VERSIONS = {"0.8": 800, "0.9.4": 904, "0.10": 1000, "0.11": 1100, "1.0": 10000}


def values_for(symbol: Any, name: str, **shapes: tuple[int, ...]) -> dict[str, numpy.ndarray]:
    """Return an array for every variable; moving variances are positive."""
    random = random_for(name)
    given, _, auxiliary = symbol.infer_shape(**shapes)
    table = dict(zip(symbol.list_arguments() + symbol.list_auxiliary_states(), given + auxiliary))
    return {
        key: (random.uniform(0.5, 2, shape) if key.endswith("var") else random.standard_normal(shape)).astype("float32")
        for key, shape in table.items()
    }


def run(symbol: Any, arrays: dict[str, numpy.ndarray]) -> list[numpy.ndarray]:
    given = {key: mx.nd.array(value, dtype=value.dtype) for key, value in arrays.items()}
    auxiliary = symbol.list_auxiliary_states()
    executor = symbol.bind(
        mx.cpu(), {k: v for k, v in given.items() if k not in auxiliary}, aux_states={k: given[k] for k in auxiliary},
        grad_req="null",
    )  # fmt: skip
    return [output.asnumpy() for output in executor.forward()]


def network(store: Store, name: str) -> None:
    make_symbol, shape = NETWORKS[name]
    with mx.name.NameManager():
        symbol = make_symbol()
    document = json.loads(symbol.tojson())
    arrays = values_for(symbol, name, data=shape)
    expected = run(symbol, arrays)
    for label, version in VERSIONS.items():
        old = aged(document, version)
        loaded = mx.sym.load_json(json.dumps(old))
        outputs = run(loaded, arrays)
        for mine, golden in zip(outputs, expected):
            numpy.testing.assert_array_equal(mine, golden)  # what was made old is still the same network
        store.add(id=f"{name} {label}", kind="network", document=old, arrays=store.tree(arrays),
                  outputs=store.tree(outputs), arguments=loaded.list_arguments(),
                  auxiliary=loaded.list_auxiliary_states())  # fmt: skip


# -- rules, one document each ------------------------------------------------------------------------------------------
def variable(name: str, **more: Any) -> dict[str, Any]:
    return {"op": "null", "name": name, "inputs": [], **more}


def document(nodes: list[dict[str, Any]], version: int | None = None) -> dict[str, Any]:
    made = {"nodes": nodes, "arg_nodes": [i for i, n in enumerate(nodes) if n["op"] == "null"],
            "heads": [[len(nodes) - 1, 0]]}  # fmt: skip
    return made if version is None else {**made, "attrs": {"mxnet_version": ["int", version]}}


def hints(store: Store) -> None:
    """Where the hints of variables end up, by version."""
    nodes = [
        variable("data", param={}, backward_source_id=-1),
        variable("fc1_weight", param={}),
        variable("fc1_bias", attr={"lr_mult": "3", "ctx_group": "g", "mine": "kept"}),
        {"op": "FullyConnected", "name": "fc1", "inputs": [[0, 0], [1, 0], [2, 0]],
         "param": {"num_hidden": "4", "no_bias": "True"}, "backward_source_id": -1,
         "attr": {"no_bias": "False", "weight_lr_mult": "2", "ctx_group": "dev1", "bias_wd_mult": "0.5",
                  "force_mirroring": "True", "mirror_stage": "1", "weight_ctx_group": "dev2"}},
    ]  # fmt: skip
    for version in (None, 800, 900, 904, 1000, 10000):
        made = document(nodes, version)
        found = mx.sym.load_json(json.dumps(made)).attr_dict()
        store.add(id=f"hints {version}", kind="hints", document=made,
                  hints={k: {h: t for h, t in v.items() if h.startswith("__")} for k, v in found.items()})  # fmt: skip


def missing(store: Store) -> None:
    """Trailing inputs that files before 0.9 leave out, and their initialisers."""
    nodes = [
        variable("data"),
        {"op": "BatchNorm", "name": "bn", "inputs": [[0, 0]], "param": {"fix_gamma": "False"}},
        {"op": "LeakyReLU", "name": "act", "inputs": [[1, 0]], "param": {"act_type": "prelu"}},
        {"op": "Convolution", "name": "conv", "inputs": [[2, 0]], "param": {"kernel": "(1,1)", "num_filter": "2"}},
        {"op": "SoftmaxOutput", "name": "softmax", "inputs": [[3, 0]], "param": {"multi_output": "1"}},
    ]
    made = document(nodes)
    symbol = mx.sym.load_json(json.dumps(made))
    arrays = values_for(symbol, "missing", data=(2, 3, 2, 2))
    store.add(id="missing inputs", kind="network", document=made, arrays=store.tree(arrays),
              outputs=store.tree(run(symbol, arrays)), arguments=symbol.list_arguments(),
              auxiliary=symbol.list_auxiliary_states(),
              initial={k: v["__init__"] for k, v in symbol.attr_dict().items() if "__init__" in v})  # fmt: skip


def single(store: Store, op: str, texts: dict[str, str], *shapes: tuple[int, ...], version: int | None = None) -> None:
    """One operator with attributes as texts; what the oracle refuses is left out."""
    name = f"{op} {texts} {version or ''}".strip()
    nodes = [variable(f"in{i}") for i in range(len(shapes))]
    nodes.append({"op": op, "name": "op", "inputs": [[i, 0, 0] for i in range(len(shapes))], "attr": texts})
    made = document(nodes, version)
    random = random_for(name)
    arrays = {f"in{i}": random.uniform(0.2, 2, shape).astype("float32") for i, shape in enumerate(shapes)}
    try:
        symbol = mx.sym.load_json(json.dumps(made))
        made["heads"] = [[len(nodes) - 1, i] for i in range(len(symbol.list_outputs()))]
        outputs = run(mx.sym.load_json(json.dumps(made)), arrays)
    except mx.base.MXNetError as error:
        print("refused:", name, str(error).splitlines()[-1][:100])
        return
    store.add(id=name, kind="texts", document=made, arrays=store.tree(arrays), outputs=store.tree(outputs))


IMAGE = (2, 3, 6, 5)
TEXTS: list[tuple[str, list[dict[str, str]], tuple[tuple[int, ...], ...]]] = [
    ("Pooling", [{"kernel": "(2,2)", "pool_type": "max"}, {"kernel": "[2,2]", "stride": "[2,2]", "pool_type": "avg"},
                 {"kernel": "(3L, 3L)", "stride": "(2L, 2L)", "pad": "(1L, 1L)", "pool_type": "avg"},
                 {"kernel": "(2, 2)", "stride": "(2, 2)", "pooling_convention": "full", "count_include_pad": "False",
                  "pad": "(1, 1)", "pool_type": "avg"},
                 {"kernel": "(2, 2)", "stride": "(2, 2)", "pooling_convention": "valid", "pool_type": "sum"},
                 {"kernel": "(1, 1)", "global_pool": "1", "pool_type": "max"}, {"global_pool": "True"},
                 {"kernel": "(9, 9)", "global_pool": "True", "pool_type": "avg", "pooling_convention": "full"},
                 {"kernel": "()", "global_pool": "true", "pool_type": "avg", "cudnn_off": "0", "layout": "None"},
                 {"kernel": "(2, 3)", "stride": "()", "pad": "[]", "pool_type": "lp", "p_value": "2"}], (IMAGE,)),
    ("Convolution", [{"kernel": "(3,3)", "num_filter": "2", "no_bias": "1", "layout": "None", "cudnn_tune": "None"},
                     {"kernel": "[3, 3]", "num_filter": "2", "no_bias": "True", "workspace": "1024", "stride": "(2,1)",
                      "dilate": "()", "cudnn_off": "False", "layout": "NCHW", "cudnn_tune": "limited_workspace"}],
     (IMAGE, (2, 3, 3, 3))),
    ("Deconvolution", [{"kernel": "(3, 3)", "num_filter": "2", "stride": "(2, 2)", "adj": "(1, 1)"},
                       {"kernel": "(3,3)", "num_filter": "2", "stride": "(2,2)", "target_shape": "(12,10)",
                        "no_bias": "1"}], (IMAGE, (3, 2, 3, 3))),
    ("FullyConnected", [{"num_hidden": "4", "no_bias": "1"},
                        {"num_hidden": "4", "no_bias": "True", "flatten": "1"}], (IMAGE, (4, 90))),
    ("FullyConnected", [{"num_hidden": "4", "no_bias": "True", "flatten": "False"},
                        {"num_hidden": "4", "no_bias": "true", "flatten": "0"}], (IMAGE, (4, 5))),
    ("Reshape", [{"shape": "(0, -1)"}, {"shape": "[0,-1]"}, {"shape": "(0,-2)"}, {"shape": "(-3,0,0)"},
                 {"shape": "(-3,-3)"}, {"shape": "(0,0,-4,2,-1,0)"}, {"shape": "(0,-4,-1,3,-2)"},
                 {"shape": "(-1,0,5)", "reverse": "1"}, {"shape": "(-1, 0)", "reverse": "True"},
                 {"shape": "(0, 0, -1)", "reverse": "False"}, {"shape": "(-4, 1, 2, -2)"},
                 {"target_shape": "(2,0)"}, {"target_shape": "(0,90)", "keep_highest": "True"},
                 {"shape": "180"}], (IMAGE,)),
    ("LeakyReLU", [{"act_type": "leaky", "slope": "0.1"}, {}, {"act_type": "elu", "slope": "0.25"},
                   {"act_type": "selu"}, {"act_type": "gelu"}, {"act_type": "rrelu", "lower_bound": "0.125",
                                                                "upper_bound": "0.334"}], (IMAGE,)),
    ("LeakyReLU", [{"act_type": "prelu", "slope": "0.25"}], (IMAGE, (3,))),
    ("BatchNorm", [{}, {"fix_gamma": "False"}, {"fix_gamma": "0", "eps": "1e-05", "momentum": "0.9f"},
                   {"fix_gamma": "True", "use_global_stats": "True", "eps": "0.00002", "cudnn_off": "0"},
                   {"eps": "2e-05", "fix_gamma": "False", "output_mean_var": "False", "axis": "1"}],
     (IMAGE, (3,), (3,), (3,), (3,))),
    ("sum", [{}, {"axis": "1"}, {"axis": "(0,2)"}, {"axis": "[]"}, {"axis": "()"}, {"axis": "None"},
             {"axis": "-1", "keepdims": "1"}, {"axis": "(1,)", "exclude": "True"}], (IMAGE,)),
    ("argmax", [{"axis": "1"}, {"axis": "-1"}, {"axis": "None"}, {"axis": "2", "keepdims": "1"}, {}], (IMAGE,)),
    ("argmin", [{"axis": "-1"}, {"axis": "-1", "keepdims": "True"}], (IMAGE,)),
    ("Cast", [{"dtype": "float16"}, {"dtype": "int32"}, {"dtype": "uint8"}, {"dtype": "float64"}, {"dtype": "2"},
              {"dtype": "bool"}], (IMAGE,)),
    ("amp_cast", [{"dtype": "float16"}, {"dtype": "float32"}], (IMAGE,)),
    ("amp_multicast", [{"num_outputs": "2"}, {"num_outputs": "2", "cast_narrow": "True"}], (IMAGE, IMAGE)),
    ("slice", [{"begin": "(None, 1)", "end": "(None, 3)"}, {"begin": "(0,1)", "end": "(1,2)"},
               {"begin": "[0, 1]", "end": "[2, 3]", "step": "[1, 2]"}, {"begin": "(None,-1)", "end": "(None,None)",
                                                                       "step": "(None,-1)"}], (IMAGE,)),
    ("slice_axis", [{"axis": "1", "begin": "1", "end": "None"}, {"axis": "-1", "begin": "-3", "end": "-1"}], (IMAGE,)),
    ("SliceChannel", [{"num_outputs": "3", "squeeze_axis": "1"}, {"num_outputs": "3", "axis": "1"}], (IMAGE,)),
    ("Concat", [{"num_args": "2", "dim": "1"}, {"dim": "2", "num_args": "2"}, {"num_args": "2"}], (IMAGE, IMAGE)),
    ("transpose", [{"axes": "(1,0,2,3)"}, {"axes": "[3,2,1,0]"}, {"axes": "()"}, {}], (IMAGE,)),
    ("clip", [{"a_min": "0.5", "a_max": "1.0"}, {"a_min": "-1e-05", "a_max": "1e+00"}, {"a_min": "-inf", "a_max": "1"}],
     (IMAGE,)),
    ("softmax", [{"axis": "1"}, {"axis": "-1", "temperature": "None"}, {"temperature": "2.0", "dtype": "None"},
                 {"axis": "1", "use_length": "False", "dtype": "float32"}], (IMAGE,)),
    ("SoftmaxActivation", [{}, {"mode": "channel"}, {"mode": "instance"}], (IMAGE,)),
    ("Pad", [{"mode": "edge", "pad_width": "(0,0,0,0,1,1,2,2)"}, {"mode": "constant", "constant_value": "1.5",
              "pad_width": "(0,0,0,0,1,0,0,2)"}, {"mode": "reflect", "pad_width": "(0, 0, 0, 0, 1, 1, 1, 1)"}], (IMAGE,)),
    ("UpSampling", [{"scale": "2", "sample_type": "nearest", "num_args": "1"},
                    {"scale": "2", "sample_type": "nearest", "num_args": "1", "workspace": "512"}], (IMAGE,)),
    ("Crop", [{"num_args": "1", "h_w": "(3,2)", "offset": "(1,2)"}, {"num_args": "1", "h_w": "(3, 2)",
                                                                    "center_crop": "1"}], (IMAGE,)),
    ("Crop", [{"num_args": "2", "center_crop": "True"}, {"num_args": "2", "offset": "(1, 1)"}], (IMAGE, (2, 3, 4, 3))),
    ("L2Normalization", [{}, {"mode": "channel"}, {"mode": "spatial", "eps": "1e-10"}], (IMAGE,)),
    ("LRN", [{"nsize": "3"}, {"nsize": "5", "alpha": "0.001", "beta": "0.5", "knorm": "1"}], (IMAGE,)),
    ("InstanceNorm", [{}, {"eps": "0.01"}], (IMAGE, (3,), (3,))),
    ("Dropout", [{"p": "0.5"}, {"p": "0.3", "mode": "training"}, {"p": "0.3", "axes": "()", "cudnn_off": "None"}],
     (IMAGE,)),
    ("SwapAxis", [{"dim1": "1", "dim2": "2"}, {"dim2": "3"}], (IMAGE,)),
    ("expand_dims", [{"axis": "1"}, {"axis": "-1"}], (IMAGE,)),
    ("one_hot", [{"depth": "3"}, {"depth": "4", "on_value": "2.0", "off_value": "-1.0", "dtype": "int32"}], ((2, 3),)),
    ("topk", [{"k": "2"}, {"k": "2", "axis": "1", "ret_typ": "value", "is_ascend": "1"}, {"axis": "None", "k": "3"}],
     (IMAGE,)),
    ("Embedding", [{"input_dim": "3", "output_dim": "4", "dtype": "float32"}], ((2, 3), (3, 4))),
    ("_minus_scalar", [{"scalar": "127.5"}, {"scalar": "1"}, {"scalar": "1e-3"}], (IMAGE,)),
    ("_zeros", [{"shape": "(2, 3)"}, {"shape": "[2,3]", "dtype": "int32", "ctx": "cpu(0)"},
                {"shape": "(2,)", "dtype": "float16", "ctx": ""}], ()),
    ("_arange", [{"start": "0", "stop": "6", "step": "2.0", "repeat": "2", "dtype": "float32"},
                 {"start": "0", "stop": "None", "infer_range": "False"} , {"start": "3", "stop": "None"}], ()),
    ("SequenceMask", [{}, {"use_sequence_length": "False", "value": "1"}], ((4, 2, 3),)),
    ("SequenceLast", [{"use_sequence_length": "0", "axis": "1"}], ((4, 2, 3),)),
    ("SoftmaxOutput", [{}, {"preserve_shape": "True"}, {"grad_scale": "2", "ignore_label": "-1", "use_ignore": "True"}],
     ((2, 3), (2,))),
    ("Activation", [{"act_type": t} for t in ("relu", "sigmoid", "tanh", "softrelu", "softsign")], (IMAGE,)),
    ("dot", [{"transpose_a": "1"}, {"transpose_b": "True", "transpose_a": "0", "forward_stype": "None"}],
     ((3, 3), (3, 3))),
]  # fmt: skip


# -- control flow ------------------------------------------------------------------------------------------------------
def control_programs() -> dict[str, tuple[Any, dict[str, tuple[int, ...]]]]:
    loops, v = mx.sym.contrib, mx.sym.Variable
    a, b, w = v("a"), v("b"), v("w")

    def nested(x: Any, states: Any) -> Any:
        rows, last = loops.foreach(lambda y, u: (y * u[0], [u[0] + w]), x, [states[0]])
        return rows, [last[0]]

    def layers(x: Any, states: Any) -> Any:
        h = mx.sym.FullyConnected(x, v("fc_weight"), v("fc_bias"), num_hidden=3)
        return mx.sym.Activation(h + states[0], act_type="tanh"), [h]

    return {
        "foreach": (loops.foreach(lambda x, s: (x * w + s[0], [s[0] + x]), a, [b]), {"a": (4, 3), "b": (3,), "w": (3,)}),
        "foreach, two": (loops.foreach(lambda x, s: ([x[1], x[0] * s[0]], [x[0] + s[0]]), [a, b], [w]),
                         {"a": (4, 3), "b": (4, 3), "w": (3,)}),
        "foreach, nested": (loops.foreach(nested, a, [b]), {"a": (4, 2, 3), "b": (3,), "w": (3,)}),
        "foreach, layers": (loops.foreach(layers, a, [b]),
                            {"a": (4, 2, 3), "b": (2, 3), "fc_weight": (3, 3), "fc_bias": (3,)}),
        "while": (loops.while_loop(lambda i, s: i <= 5, lambda i, s: ([i + s * w], [i + 1, s + i]), [a, b],
                                   max_iterations=10), {"a": (1,), "b": (1,), "w": (1,)}),
        "while, no outputs": (loops.while_loop(lambda i, s: s < w * 5, lambda i, s: ([], [i + 1, s + i * i]), [a, b],
                                               max_iterations=6), {"a": (1,), "b": (1,), "w": (1,)}),
        "cond": (loops.cond(a * b < 0.5, lambda: (a + 5) * (b + w), lambda: (a - 5) * (b - 5)),
                 {"a": (1,), "b": (1,), "w": (1,)}),
        "cond, two": (loops.cond(w, lambda: [a, a * 2], lambda: [b + 1, a]), {"a": (2,), "b": (2,), "w": (1,)}),
    }  # fmt: skip


def flat(results: Any) -> list[Any]:
    return [item for part in results for item in flat(part)] if isinstance(results, (list, tuple)) else [results]


def control(store: Store) -> None:
    with mx.name.NameManager():
        programs = control_programs()
    for name, (results, shapes) in programs.items():
        symbol = mx.sym.Group(flat(results))
        random = random_for(name)
        arrays = {key: random.standard_normal(shape).astype("float32") for key, shape in shapes.items()}
        outputs = run(symbol, arrays)
        store.add(id=name, kind="control", document=json.loads(symbol.tojson()), arrays=store.tree(arrays),
                  outputs=store.tree(outputs))  # fmt: skip


def make() -> None:
    store = Store("legacy")
    for name in NETWORKS:
        network(store, name)
    hints(store)
    missing(store)
    for op, variants, shapes in TEXTS:
        for texts in variants:
            single(store, op, texts, *shapes)
    for version in (903, 905, 10000):
        single(store, "argmax", {"axis": "-1"}, IMAGE, version=version)
    control(store)
    store.write()


if __name__ == "__main__":
    make()
