"""`export`, `convert`, `predict` and `summary`: what they write and say, and every mistake with files and options."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glueball import gluon, nd, sym
from glueball.base.dtype import TABLE
from glueball.gluon.model_zoo import vision

from ..ordinary_user import ordinary_user

GOLDEN = Path(__file__).parents[1] / "golden" / "files"


@pytest.fixture
def net(models: Path, tmp_path: Path) -> str:
    """The files of a network, to be written beside; what their names begin with."""
    for file in models.iterdir():
        shutil.copy(file, tmp_path)
    return str(tmp_path / "net")


@pytest.fixture
def answer(net: str) -> Any:
    """What the network answers, computed by Gluon."""
    block = gluon.load(f"{net}-symbol.json")
    return lambda x: block(nd.array(x)).asnumpy()


# -------------------------------------------------------------------------------------------------------------- export
def test_export(net: str, call: Any) -> None:
    """Files in either order, or one of them; an output that is there is kept unless it is forced."""
    pytest.importorskip("onnxruntime")
    seen = call("export", f"{net}-symbol.json", f"{net}-0000.params", "--shape", "1,1,8,8")
    assert seen.status == 1 and "exists already" in seen.err and "--force" in seen.err
    assert "wrote" in call("export", f"{net}-symbol.json", "--shape", "1,1,8,8", "--force").out
    facts = call("export", f"{net}-0000.params", f"{net}-symbol.json", "--shape", "data=2x1x8x8", "-o", f"{net}2",
                 "--fixed", "--json").facts
    assert facts == {"written": f"{net}2.onnx", "bytes": os.path.getsize(f"{net}2.onnx"), "open_batch": False,
                     "inputs": {"data": [2, 1, 8, 8]}}
    assert call("export", f"{net}-0000.params", "--shape", "1,1,8,8", "-o", f"{net}3.onnx").status == 0


def test_export_mistakes(net: str, call: Any, tmp_path: Path) -> None:
    """Shapes and files that do not fit."""
    graph = f"{net}-symbol.json"
    out = ["-o", f"{net}2.onnx"]
    for words, status, text in [
        ([graph, *out], 2, "--shape data=..."),
        ([graph, "--shape", "abc", *out], 2, "abc"),
        ([graph, "--shape", "1,0", *out], 2, "above 0"),
        ([graph, "--shape", "x=1,2", *out], 2, "no input 'x'"),
        ([graph, "--shape", "1,1,8,8", "--shape", "1", *out], 2, "more shapes than inputs"),
        ([graph, "--shape", "1,2,8,8", *out], 1, "net_conv0_fwd"),
        ([graph, f"{net}.onnx", "--shape", "1", *out], 2, "ONNX model is not"),
        ([graph, graph, "--shape", "1", *out], 2, "same kind"),
        ([graph, f"{net}-0001.params", "--shape", "1", *out], 1, "net-0000.params"),
        ([graph, "--shape", "1,1,8,8", "-o", tmp_path], 1, "directory"),
        ([graph, "--shape", "1,1,8,8", "-o", tmp_path / "no" / "a.onnx"], 1, "mkdir -p"),
    ]:
        seen = call("export", *words)
        assert seen.status == status and text in seen.err, seen
    assert not os.path.exists(f"{net}2.onnx")
    os.remove(f"{net}-0000.params")
    assert "no parameters beside" in call("export", graph, "--shape", "1,1,8,8", *out).err


# ------------------------------------------------------------------------------------------------------------- convert
def same(first: Any, second: Any) -> bool:
    """Whether two dictionaries hold the same arrays, bit by bit."""
    return list(first) == list(second) and all(
        a.shape == b.shape and a._t.dtype == b._t.dtype and a.asnumpy().tobytes() == b.asnumpy().tobytes()
        for a, b in zip(first.values(), second.values())
    )


@pytest.mark.parametrize("ending", ["safetensors", "npz", "params"])
def test_convert_there_and_back(ending: str, tmp_path: Path, call: Any) -> None:
    """Every element type and shape keeps its name and its bits."""
    pytest.importorskip("safetensors")
    kinds = [row for row in TABLE if row.name != "bfloat16" or ending != "npz"]
    arrays = {f"aux:{row.name}/ä": nd.array(np.arange(-3, 3).reshape(2, 3), dtype=row.name) for row in kinds}
    arrays |= {"file": nd.array([np.nan, -0.0]), "nothing": nd.zeros((0, 3)), "number": nd.zeros(())}
    nd.save(str(tmp_path / "a.params"), arrays)
    assert call("convert", tmp_path / "a.params", tmp_path / f"b.{ending}").status == 0
    assert same(dict(sorted(arrays.items())), dict(sorted(nd.load(str(tmp_path / f"b.{ending}")).items())))
    facts = call("convert", tmp_path / f"b.{ending}", tmp_path / "c.params", "--json").facts
    assert facts["arrays"] == len(arrays) and facts["written"] == [str(tmp_path / "c.params")]
    assert same(dict(sorted(arrays.items())), dict(sorted(nd.load(str(tmp_path / "c.params")).items())))


def test_convert_options(net: str, tmp_path: Path, call: Any) -> None:
    """Element types, bare names, lists, a single array."""
    assert call("convert", f"{net}-0000.params", f"{net}.npz", "--dtype", "float16", "--bare-names").status == 0
    loaded = np.load(f"{net}.npz")
    assert loaded["net_conv0_weight"].dtype == np.float16 and "arg:" not in "".join(loaded.files)
    listed = call("convert", GOLDEN / "listed.params", tmp_path / "l.params")
    assert listed.status == 0 and isinstance(nd.load(str(tmp_path / "l.params")), list)
    np.save(tmp_path / "one.npy", np.arange(3, dtype=np.int32))
    assert call("convert", tmp_path / "one.npy", tmp_path / "one.params").status == 0
    assert call("convert", tmp_path / "one.params", tmp_path / "again.npy").status == 0
    assert np.load(tmp_path / "again.npy").tolist() == [0, 1, 2]


def test_convert_onnx(net: str, tmp_path: Path, answer: Any, call: Any) -> None:
    """An ONNX model becomes a graph and its parameters that answer the same; or parameters alone; or a summary."""
    facts = call("convert", f"{net}.onnx", tmp_path / "again-symbol.json", "--json").facts
    assert facts["written"] == [str(tmp_path / "again-symbol.json"), str(tmp_path / "again-0000.params")]
    assert facts["compared"] == "the graph's answers with onnxruntime's"
    x = np.random.uniform(-1, 1, (3, 1, 8, 8)).astype(np.float32)
    again = gluon.load(str(tmp_path / "again-symbol.json"))(nd.array(x)).asnumpy()
    np.testing.assert_allclose(again, answer(x), rtol=1e-4, atol=1e-5)
    assert "aux:net_batchnorm0_running_mean" in nd.load(str(tmp_path / "again-0000.params"))
    assert call("convert", f"{net}.onnx", tmp_path / "again-symbol.json").status == 1
    assert call("convert", f"{net}.onnx", f"{net}.safetensors").status == 0
    assert nd.load(f"{net}.safetensors").keys() == gluon.load(f"{net}.onnx").collect_params().keys()
    totals = call("summary", f"{net}.onnx", "--json").facts["totals"]
    assert totals == call("summary", f"{net}-symbol.json", "--shape", "1,1,8,8", "--json").facts["totals"]


@pytest.mark.parametrize("kind", ["constants", "sizes", "numbers"])
def test_convert_onnx_whose_graph_needs_more_than_weights(kind: str, tmp_path: Path, call: Any) -> None:
    """Whole numbers that the graph reads are written, too; a graph that depends on sizes is that of one call."""
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    path, graph = str(tmp_path / "m.onnx"), str(tmp_path / "g-symbol.json")
    make, real, whole = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    inputs = [make.make_tensor_value_info("x", real, ["b", 4, 7, 5])]
    held = []
    if kind == "constants":
        nodes = [make.make_node("Gather", ["x", "rows"], ["y"], axis=1)]
        held = [make.make_tensor("rows", whole, [2, 1], [2, 0])]
    elif kind == "sizes":
        nodes = [make.make_node("Size", ["x"], ["n"]), make.make_node("Cast", ["n"], ["r"], to=real),
                 make.make_node("Mul", ["x", "r"], ["y"])]  # fmt: skip
    else:
        nodes = [make.make_node("Reshape", ["x", "to"], ["y"])]
        inputs.append(make.make_tensor_value_info("to", whole, [2]))
    made = make.make_graph(nodes, "g", inputs, [make.make_tensor_value_info("y", real, None)], held)
    onnx.save(make.make_model(made, opset_imports=[make.make_opsetid("", 18)], ir_version=8), path)
    seen = call("convert", path, graph, "--shape", "x=3,4,7,5", "--json")
    if kind == "numbers":
        assert seen.status == 1 and "decide about the graph" in seen.err and "an input to" in seen.err
        assert not os.path.exists(graph)
        return
    assert seen.status == 0, seen.err
    assert seen.facts["compared"].startswith("the graph's answers with onnxruntime's")
    assert seen.facts["compared"].endswith("only") == (kind == "sizes")
    x = np.random.uniform(-1, 1, (3, 4, 7, 5)).astype(np.float32)
    wanted = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    np.testing.assert_array_equal(gluon.load(graph)(nd.array(x)).asnumpy(), wanted)


def test_convert_to_a_program_of_torch(net: str, answer: Any, call: Any) -> None:
    """A graph becomes a `.pt2`, which torch runs, and which can be looked into."""
    assert call("convert", f"{net}-symbol.json", f"{net}.pt2").status == 2
    seen = call("convert", f"{net}-symbol.json", f"{net}.pt2", "--shape", "1,1,8,8")
    assert seen.status == 0 and "torch's answers" in seen.out
    x = np.random.uniform(-1, 1, (3, 1, 8, 8)).astype(np.float32)
    found = torch.export.load(f"{net}.pt2").module()(torch.from_numpy(x))
    np.testing.assert_allclose(found.detach().numpy(), answer(x), rtol=1e-4, atol=1e-5)
    facts = call("inspect", f"{net}.pt2", "--json").facts
    assert facts["inputs"][0]["shape"][1:] == [1, 8, 8]
    assert facts["totals"]["parameters"] == 4 * 9 + 4 + 16 + 4 * 36 * 5 + 5


def test_convert_mistakes(net: str, tmp_path: Path, call: Any) -> None:
    """Nothing is written, nothing is lost, and the way out is named."""
    params = f"{net}-0000.params"
    before = sorted(os.listdir(tmp_path))
    nd.save(str(tmp_path / "twice.params"), {"arg:x": nd.zeros((1,)), "aux:x": nd.zeros((1,))})
    (tmp_path / "cut.params").write_bytes(Path(params).read_bytes()[:-9])
    (tmp_path / "empty.params").touch()
    for words, status, text in [
        ([params, params], 1, "the same"),
        ([params, f"{net}.onnx", "--shape", "1,1,8,8"], 1, "exists already"),
        ([params, f"{net}.foo"], 2, ".safetensors"),
        ([params, f"{net}"], 2, "without an ending"),
        ([f"{net}-symbol.json", f"{net}.npz"], 2, ".onnx"),
        ([f"{net}-symbol.json", f"{net}2.onnx"], 2, "--shape data"),
        ([params, f"{net}.npz", "--dtype", "bfloat16"], 1, "no bfloat16"),
        ([params, f"{net}.npz", "--dtype", "int3"], 2, "--dtype"),
        ([params, f"{net}.npy"], 1, ".npz"),
        ([tmp_path / "twice.params", f"{net}.npz", "--bare-names"], 1, "same name"),
        ([tmp_path / "cut.params", f"{net}.npz"], 1, "ends inside"),
        ([tmp_path / "empty.params", f"{net}.npz"], 1, "empty"),
        ([tmp_path / "none.params", f"{net}.npz"], 1, "no such file"),
        ([params, tmp_path / "no" / "a.npz"], 1, "mkdir"),
    ]:
        seen = call("convert", *words)
        assert seen.status == status and text in seen.err, seen
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "twice.params", "cut.params", "empty.params"])


def test_no_permission(net: str, call: Any) -> None:
    """A file that may not be read, and a directory that may not be written."""
    with ordinary_user(Path(f"{net}-0000.params")) as folder:
        folder.chmod(0o500)
        assert "may be written" in call("convert", folder / "net-0000.params", folder / "net.npz").err
        (folder / "net-0000.params").chmod(0)
        seen = call("inspect", folder / "net-0000.params")
        assert "Permission denied" in seen.err and "Fix: ask for the right" in seen.err and seen.status == 1


# ------------------------------------------------------------------------------------------------------------- predict
@pytest.mark.parametrize("model", ["net-symbol.json", "net.onnx", "net-0000.params"])
def test_predict_numbers(model: str, net: str, answer: Any, tmp_path: Path, call: Any) -> None:
    """Arrays, files of arrays by name, CSV and JSON give the network's answers, with either way to run it."""
    path, x = tmp_path / model, np.random.uniform(-1, 1, (3, 1, 8, 8)).astype(np.float32)
    wanted = answer(x)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", data=x)
    (tmp_path / "x.json").write_text(json.dumps({"data": x.tolist()}))
    np.savetxt(tmp_path / "x.csv", x.reshape(3, 64), delimiter=",", header=",".join(["pixel"] * 64), comments="")
    np.savetxt(tmp_path / "x.txt", x.reshape(3, 64))
    for name in ("x.npy", "x.npz", "x.json", *([] if "json" in model or "params" in model else ["x.csv", "x.txt"])):
        (out,) = call("predict", path, tmp_path / name, "--json").facts["outputs"]
        np.testing.assert_allclose(out["values"], wanted, rtol=1e-4, atol=1e-5)
        assert [row[0]["class"] for row in out["top"]] == wanted.argmax(1).tolist()
    np.save(tmp_path / "one.npy", x[0])
    seen = call("predict", tmp_path / "net.onnx", tmp_path / "one.npy", "--top", "2", "--output", tmp_path / "y.npy")
    assert seen.out.count(" %  ") == 2 and "sample" not in seen.out
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), wanted[:1], rtol=1e-4, atol=1e-5)


def test_predict_image(net: str, answer: Any, tmp_path: Path, call: Any) -> None:
    """Shorter side, middle, scale, mean and deviation; names of classes."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.randint(0, 255, (8, 14), np.uint8)
    image.fromarray(pixels).save(tmp_path / "x.png")
    wanted = answer(((pixels[:, 3:11] / 255 - 0.25) / 0.5)[None, None].astype(np.float32))[0]
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\nfour\nfive\n")
    options = ["--mean", "0.25", "--std", "0.5", "--labels", tmp_path / "names.txt"]
    for model in ([f"{net}.onnx"], [f"{net}-symbol.json", "--size", "8"]):
        (out,) = call("predict", model[0], tmp_path / "x.png", *model[1:], *options, "--json").facts["outputs"]
        np.testing.assert_allclose(out["values"][0], wanted, rtol=1e-4, atol=1e-5)
    best = out["top"][0][0]
    assert best["label"] == ["one", "two", "three", "four", "five"][int(wanted.argmax())]
    assert sum(row["probability"] for row in out["top"][0]) == pytest.approx(1)
    assert best["label"] in call("predict", f"{net}.onnx", tmp_path / "x.png", *options).out.splitlines()[1]


def test_predict_statistics(tmp_path: Path, call: Any) -> None:
    """An output that is not one row of scores per sample is told by its statistics."""
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Conv2D(1, 1))
    net.initialize()
    net.hybridize()
    net(nd.ones((1, 3, 4, 4)))
    net.export(str(tmp_path / "m"))
    np.save(tmp_path / "x.npy", np.ones((1, 3, 4, 4), np.float32))
    seen = call("predict", tmp_path / "m-symbol.json", tmp_path / "x.npy")
    assert "1 × 1 × 4 × 4 float32" in seen.out and "deviation" in seen.out


def test_several_inputs(tmp_path: Path, call: Any) -> None:
    """Shapes by order or by name, arrays by name, several outputs."""
    pytest.importorskip("onnxruntime")
    a, b = sym.Variable("a"), sym.Variable("b")
    sym.Group([a + b, sym.broadcast_mul(a, b)]).save(str(tmp_path / "m-symbol.json"))
    graph, model = str(tmp_path / "m-symbol.json"), str(tmp_path / "m.onnx")
    nd.save(str(tmp_path / "m-0000.params"), {})
    assert call("export", graph, "--shape", "b=2,3", "--shape", "2,3").status == 0
    np.savez(tmp_path / "x.npz", b=np.full((4, 3), 2.0), a=np.ones((4, 3)))
    for path in (model, graph):
        out = call("predict", path, tmp_path / "x.npz", "--json", "--output", tmp_path / "y.npz", "--force").facts
        assert [np.unique(one["values"]).tolist() for one in out["outputs"]] == [[3.0], [2.0]]
        assert [np.load(tmp_path / "y.npz")[one["name"]].max() for one in out["outputs"]] == [3, 2]
    np.save(tmp_path / "x.npy", np.ones((4, 3)))
    seen = call("predict", model, tmp_path / "x.npy")
    assert seen.status == 1 and "a, b" in seen.err
    assert call("predict", model, tmp_path / "x.npz", "--output", tmp_path / "y.npy").status == 1
    assert "--shape a=... --shape b=..." in call("summary", graph).err


def test_predict_mistakes(net: str, tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given and what the model wants are both told."""
    model = f"{net}.onnx"
    np.save(tmp_path / "bad.npy", np.ones((1, 3, 8, 8)))
    np.save(tmp_path / "text.npy", np.array(["a"]))
    np.savez(tmp_path / "two.npz", a=np.ones(1), b=np.ones(1))
    for name, text in {"x.csv": "1,2\n3\n", "none.csv": "", "x.json": "[[1], [2, 3]]", "labels": "a\nb\n",
                       "words.csv": "a,b\n", "x.jpg": "no image", "bad.params": "text",
                       "pixels.csv": "1," * 64}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "cut.onnx").write_bytes(Path(model).read_bytes()[:-50])
    (tmp_path / "odd.onnx").write_bytes(Path(model).read_bytes().replace(b"Conv", b"Conx"))
    rows = [
        ([model, "bad.npy"], 1, "any × 1 × 8 × 8"), ([model, "text.npy"], 1, "no numbers"),
        ([model, "two.npz"], 1, "Received: a, b"), ([model, "x.csv"], 1, "cannot be read"),
        ([model, "none.csv"], 1, "empty"), ([model, "words.csv"], 1, "no numbers"), ([model, "x.json"], 1, "cannot be"),
        ([model, "x.jpg"], 1, "x.jpg cannot be decoded"), ([model, "no.jpg"], 1, "no such file"),
        ([model, "pixels.csv", "--labels", "labels"], 1, "5 labels"), ([model, "x.csv", "--top", "0"], 2, "--top"),
        ([model, "x.jpg", "--mean", "a"], 2, "--mean"), ([model, "x.jpg", "--std", "0"], 2, "--std"),
        ([model, "x.jpg", "--crop", "2"], 2, "--crop"), ([model, "x.jpg", "--size", "1,2,3"], 2, "--size"),
        ([model, "x.csv", "--output", "y.txt"], 2, ".npy"), ([model, "x.csv", "--output", "bad.npy"], 1, "--force"),
        ([model, "x.csv", "--params", f"{net}-0000.params"], 2, "carries its parameters"),
        (["cut.onnx", "pixels.csv"], 1, "cut off"), (["odd.onnx", "pixels.csv"], 1, "onnxruntime cannot open"),
        (["bad.params", "x.csv"], 1, "whatever its name says"), (["none.onnx", "x.csv"], 1, "no such file"),
        (["labels", "x.csv"], 1, "none of the formats"),
    ]
    monkeypatch.chdir(tmp_path)
    for words, status, text in rows:
        seen = call("predict", *words)
        assert seen.status == status and text in seen.err, (words, seen)


def test_predict_reads_a_pipe(net: str, monkeypatch: pytest.MonkeyPatch, call: Any) -> None:
    """`-` reads JSON or rows of numbers from stdin."""
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps([0.5] * 64)))
    (out,) = call("predict", f"{net}.onnx", "-", "--json").facts["outputs"]
    assert out["shape"] == [1, 5]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "no numbers" in call("predict", f"{net}.onnx", "-").err


# ------------------------------------------------------------------------------------------------------------- summary
def test_summary_of_the_zoo(call: Any) -> None:
    """Parameters and shapes are those of the network itself; a name that is not there is corrected."""
    facts = call("summary", "mobilenet0.25", "--shape", "2,3,64,64", "--classes", "7", "--json").facts
    net: Any = vision.get_model("mobilenet0.25", classes=7)
    net.initialize()
    net(nd.zeros((2, 3, 64, 64)))
    assert facts["totals"]["parameters"] == sum(one.data().size for one in net.collect_params().values())
    assert facts["outputs"] == [[2, 7]] and facts["inputs"] == [{"name": "data", "shape": [2, 3, 64, 64]}]
    first = facts["layers"][0]
    assert first["flops"] == 2 * np.prod(first["shape"]) * 27 and first["parameters"] == 8 * 27
    seen = call("summary", "resnet18")
    assert seen.status == 1 and "resnet18_v1" in seen.err
    assert call("summary", "resnet18_v1", "--classes", "0").status == 2
    assert call("summary", "alexnet", "--shape", "1,3,4,4").status == 1


def test_summary_of_files(net: str, call: Any) -> None:
    """A graph with parameters; running statistics are counted apart."""
    facts = call("summary", f"{net}-symbol.json", "--shape", "2,1,8,8", "--json").facts
    assert facts["totals"]["statistics"] == 8 and facts["totals"]["trained"] == 4 * 9 + 4 + 8 + 4 * 36 * 5 + 5
    assert facts["outputs"] == [[2, 5]]
    text = call("summary", f"{net}-symbol.json", "--shape", "2,1,8,8").out
    assert "net_dense0_fwd" in text and "2 × 5" in text and "FLOP" in text
    assert call("summary", f"{net}-symbol.json").status == 2
    assert call("summary", f"{net}-symbol.json", "--shape", "2,3,8,8").status == 1
    assert call("summary", f"{net}-none.json").status == 1
    os.remove(f"{net}-0000.params")
    assert call("summary", f"{net}-symbol.json", "--shape", "data=2,1,8,8", "--json").facts["totals"] == facts["totals"]


def test_piped(net: str) -> None:
    """A table in a pipe is plain text."""
    done = subprocess.run([sys.executable, "-m", "glueball", "inspect", f"{net}.onnx"], capture_output=True, check=True)
    assert b"\x1b" not in done.stdout and not done.stderr and done.stdout.decode().count("\n") > 10
