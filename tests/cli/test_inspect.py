"""`glueball inspect`: every format, held to the readers that give arrays; every kind of file that it is not."""

from __future__ import annotations

import contextlib
import gzip
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glueball import nd, recordio
from glueball.base import dtype as dtypes
from glueball.base.errors import FileFormatError
from glueball.cli.formats import facts_of
from glueball.cli.formats.params import DTYPES

GOLDEN = Path(__file__).parents[1] / "golden" / "files"


def test_element_types_are_those_of_the_table() -> None:
    """The names and sizes by flag are the one table's, which needs torch."""
    assert [(row.name, row.torch.itemsize) for row in sorted(dtypes.TABLE, key=lambda row: row.flag)] == DTYPES


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.params")), ids=lambda file: file.name)
def test_files_of_mxnet(file: Path, call: Any) -> None:
    """Names, shapes and element types are those of what `nd.load` gives."""
    loaded = nd.load(str(file))
    loaded = loaded if isinstance(loaded, dict) else {f"[{i}]": one for i, one in enumerate(loaded)}
    facts = call("inspect", file, "--json").facts
    assert facts["format"] == "params" and facts["file_bytes"] == file.stat().st_size
    found = {one["name"]: one for one in facts["parameters"]}
    assert {name: tuple(one["shape"]) for name, one in found.items()} == {n: a.shape for n, a in loaded.items()}
    assert {n: one["dtype"] for n, one in found.items()} == {n: dtypes.name_of(a._t.dtype) for n, a in loaded.items()}
    assert facts["totals"]["parameters"] == sum(one.size for one in loaded.values())


@settings(max_examples=30)
@given(st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(st.sampled_from(dtypes.TABLE), st.lists(
    st.integers(0, 4), max_size=4)), max_size=5), st.sampled_from([".params", ".safetensors"]))
def test_what_was_saved_is_seen(tmp_path_factory: Any, arrays: dict[str, Any], ending: str) -> None:
    """Whatever is saved, its head says the same; cut off anywhere, it is called damaged."""
    path = str(tmp_path_factory.mktemp("saved") / f"a{ending}")
    held = {name: nd.zeros(tuple(shape), dtype=row.name) for name, (row, shape) in arrays.items()}
    nd.save(path, held)
    found = {one.name: one for one in facts_of(path).parameters}
    assert {name: (tuple(one.shape or ()), one.dtype) for name, one in found.items()} == {
        name: (one.shape, dtypes.name_of(one._t.dtype)) for name, one in held.items()
    }
    whole = Path(path).read_bytes()
    for at in {len(whole) - 1, len(whole) * 2 // 3, len(whole) // 2, 20}:
        if at < len(whole):
            Path(path).write_bytes(whole[:at])
            with pytest.raises(FileFormatError):
                facts_of(path)


def test_graph_with_its_parameters(models: Path, call: Any, tmp_path: Path) -> None:
    """Inputs are what the parameters beside it do not give; without them the names decide."""
    facts = call("inspect", models / "net-symbol.json", "--json").facts
    assert [one["name"] for one in facts["inputs"]] == ["data"]
    assert [one["operator"] for one in facts["layers"]][:2] == ["Convolution", "Activation"]
    assert facts["totals"]["parameters"] == 4 * 9 + 4 + 16 + 4 * 36 * 5 + 5
    alone = tmp_path / "net-symbol.json"
    alone.write_text((models / "net-symbol.json").read_text())
    seen = call("inspect", alone)
    assert seen.status == 0 and "No file of parameters" in seen.out and "Inputs: 1" in seen.out
    named = call("inspect", alone, "--params", models / "net-0000.params", "--json").facts
    assert named["totals"] == facts["totals"]
    nd.save(str(tmp_path / "net-0000.params"), {"arg:net_conv0_weight": nd.zeros((4, 1, 3, 3)), "x": nd.zeros((1,))})
    seen = call("inspect", alone)
    assert "has no net_conv0_bias" in seen.out and "1 arrays that this graph does not read" in seen.out


def test_onnx_model(models: Path, call: Any) -> None:
    """What is read from the bytes is what the package onnx reads."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(models / "net.onnx")
    facts = call("inspect", models / "net.onnx", "--json").facts
    assert facts["version"] == f"opset {model.opset_import[0].version}, IR {model.ir_version}"
    weights = {w.name: (list(w.dims), len(w.raw_data)) for w in model.graph.initializer}
    assert {one["name"]: (one["shape"], one["bytes"]) for one in facts["parameters"]} == weights
    assert [(n["name"], n["operator"], n["inputs"]) for n in facts["layers"]] == [
        (n.name, n.op_type, list(n.input)) for n in model.graph.node
    ]
    assert facts["inputs"] == [{"name": "data", "shape": ["batch", 1, 8, 8], "dtype": "float32", "bytes": None}]
    text = call("inspect", models / "net.onnx").out
    assert "batch × 1 × 8 × 8" in text and f"{len(weights)} arrays" in text


def test_onnx_with_weights_outside(tmp_path: Path, call: Any) -> None:
    """Weights in another file are named, and that it is missing."""
    onnx = pytest.importorskip("onnx")
    weight = onnx.numpy_helper.from_array(np.zeros((64, 64), np.float32), "w")
    values = [onnx.helper.make_tensor_value_info(name, 1, [64, None]) for name in ("x", "y")]
    node = onnx.helper.make_node("MatMul", ["w", "x"], ["y"], domain="")
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [weight])
    path = tmp_path / "m.onnx"
    model = onnx.helper.make_model(graph)
    onnx.save_model(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    seen = call("inspect", path)
    assert "64 × 64" in seen.out and "64 × ?" in seen.out and "m.data beside it." in seen.out
    (tmp_path / "m.data").unlink()
    assert "which is not there" in call("inspect", path).out


def test_numpy_files(tmp_path: Path, call: Any) -> None:
    """`.npy`, `.npz`, and objects that would be pickles."""
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.int16))
    facts = call("inspect", tmp_path / "a.npy", "--json").facts
    assert facts["parameters"] == [{"name": "a.npy", "shape": [2, 3], "dtype": "int16", "bytes": 12}]
    np.savez_compressed(tmp_path / "b.npz", x=np.ones(4), y=np.array([{}], dtype=object))
    seen = call("inspect", tmp_path / "b.npz")
    assert "y: Python objects" in seen.out and "float64" in seen.out
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-3])
    assert "ends inside" in call("inspect", tmp_path / "a.npy").err


def test_records_and_lists(tmp_path: Path, call: Any) -> None:
    """Records are counted by the index, else by walking; an index of other records is found out."""
    stem = str(tmp_path / "a")
    with recordio.MXIndexedRecordIO(f"{stem}.idx", f"{stem}.rec", "w") as out:
        for i in range(5):
            label = float(i) if i else [0.0, 7.0]
            out.write_idx(i, recordio.pack(recordio.IRHeader(0, label, i, 0), b"\xff\xd8\xff..."))
    numbers = call("inspect", f"{stem}.rec", "--json").facts["numbers"]
    assert (numbers["records"], numbers["content"], numbers["labels_per_record"]) == (5, {"JPEG": 5}, [1, 2])
    assert numbers["labels"] == {"different": 5, "smallest": 0.0, "largest": 4.0}
    assert call("inspect", f"{stem}.idx", "--json").facts["numbers"] == {"records": 5}
    Path(f"{stem}.idx").write_text("0\t0\n")
    assert "does not fit" in call("inspect", f"{stem}.rec").err
    Path(f"{stem}.idx").unlink()
    seen = call("inspect", f"{stem}.rec")
    assert "records: 5" in seen.out and "rebuild_index" in seen.out
    Path(f"{stem}.lst").write_text("0\t1.0\t2.0\ta.jpg\n1\t3\t4\tb.jpg\n")
    assert call("inspect", f"{stem}.lst", "--json").facts["numbers"]["labels_per_image"] == [2]
    Path(f"{stem}.lst").write_text("0\t1.0\ta.jpg\n1\tx\tb.jpg\n")
    assert "no number" in call("inspect", f"{stem}.lst").err


def program_of_torch() -> dict[str, Any]:
    """What torch.export writes for Linear(4, 8) and ReLU, less what is not read."""
    sizes = {"p_weight": [8, 4], "p_bias": [8], "input": [2, 4], "linear": [2, 8], "relu": [2, 8]}

    def named(name: str) -> dict[str, Any]:
        return {"as_tensor": {"name": name}}

    def node(target: str, inputs: list[str], output: str) -> dict[str, Any]:
        reads = [{"name": "x", "arg": named(name), "kind": 1} for name in inputs]
        return {"target": f"torch.ops.aten.{target}.default", "inputs": reads, "outputs": [named(output)]}

    values = {n: {"dtype": 7, "sizes": [{"as_int": one} for one in shape]} for n, shape in sizes.items()}
    values["input"]["sizes"][0] = {"as_expr": {"expr_str": "s0"}}
    nodes = [node("linear", ["input", "p_weight", "p_bias"], "linear"), node("relu", ["linear"], "relu")]
    specs = [{"parameter": {"arg": {"name": f"p_{n}"}, "parameter_name": f"0.{n}"}} for n in ("weight", "bias")]
    graph = {"inputs": [], "outputs": [named("relu")], "nodes": nodes, "tensor_values": values}
    signature = {"input_specs": [*specs, {"user_input": {"arg": named("input")}}]}
    return {"graph_module": {"graph": graph, "signature": signature}, "schema_version": {"major": 8, "minor": 20}}


def test_program_of_torch(tmp_path: Path, call: Any) -> None:
    """Graph, shapes and parameters of a `.pt2`; a pickle is named, and not opened."""
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/models/model.json", json.dumps(program_of_torch()))
        archive.writestr("m/archive_format", "pt2")
    facts = call("inspect", path, "--json").facts
    assert [(one["name"], one["bytes"]) for one in facts["parameters"]] == [("0.weight", 128), ("0.bias", 32)]
    assert [(one["operator"], one["shape"]) for one in facts["layers"]][1] == ("aten.relu.default", [2, 8])
    assert facts["inputs"][0]["shape"] == ["s0", 4] and facts["version"] == "schema 8.20"
    torch.save({"x": torch.ones(2)}, tmp_path / "m.pt")
    seen = call("inspect", tmp_path / "m.pt")
    assert seen.status == 1 and "pickle" in seen.err and "safetensors" in seen.err


def test_damaged_programs_of_torch(tmp_path: Path, call: Any) -> None:
    """Cut off, changed or packed too well: told as damage. What is pickled in it is never opened."""
    canary = b"cos\nmkdir\n(S'" + str(tmp_path / "opened").encode() + b"'\ntR."
    whole = tmp_path / "whole.pt2"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("m/models/model.json", json.dumps(program_of_torch()))
        archive.writestr("m/data/sample_inputs/model.pt", canary)
        archive.writestr("m/archive_format", "pt2")
    content, path = whole.read_bytes(), tmp_path / "m.pt2"
    assert call("inspect", whole).status == 0
    for cut in range(4, len(content), 61):
        path.write_bytes(content[:cut])
        seen = call("inspect", path)
        assert seen.status == 1 and "Fix: " in seen.err and not seen.out
    for at in range(30, len(content), 37):
        path.write_bytes(content[:at] + bytes([content[at] ^ 32]) + content[at + 1 :])
        assert call("inspect", path).status in (0, 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/models/model.json", b" " * (70 << 20))
        archive.writestr("m/archive_format", "pt2")
    seen = call("inspect", path)
    assert seen.status == 1 and "unpack to more than is believed" in seen.err
    seen = call("predict", whole, whole)
    assert seen.status != 0 and "pt2" in seen.err and "Fix: " in seen.err
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("source", [1, 2, -1])
def test_a_graph_that_reads_itself(tmp_path: Path, call: Any, source: int) -> None:
    """As a graph that runs is refused (`sym.load`), so is what is only looked into."""
    nodes = [{"op": "null", "name": "data", "inputs": []}, {"op": "relu", "name": "again", "inputs": [[source, 0, 0]]},
             {"op": "relu", "name": "last", "inputs": [[1, 0, 0]]}]
    path = tmp_path / "a-symbol.json"
    path.write_text(json.dumps({"nodes": nodes, "heads": [[2, 0, 0]]}))
    seen = call("inspect", path)
    assert seen.status == 1 and "'again' reads itself, or a node that does not come before it" in seen.err
    assert f"node {source} as an input of node 1" in seen.err and "Fix: " in seen.err and not seen.out


def strangers(folder: Path) -> dict[str, bytes]:
    """Files that are something else, or damaged, and a word of what is said about each."""
    zipped = folder / "z.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("readme.txt", "hello")
    head = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).encode()
    return {
        "gzip.params": gzip.compress(b"x"), "zip archive.npz": zipped.read_bytes(), "pickle.params": b"\x80\x04\x95.",
        "HDF5.h5": b"\x89HDF\r\n\x1a\n", "image.png": b"\x89PNG\r\n", "none of.xyz": b"\x00\x01\x02\x03hello world",
        "no parameters.params": b"just some text", "no safetensors.safetensors": b"\xff" * 40,
        "no graph.json": b'{"a": 1}', "damaged.json": b'{"nodes": [1], "heads": []}', "damaged-.json": b'{"nodes": ',
        "does not fit.safetensors": struct.pack("<Q", len(head)) + head + b"0000", "cut off.onnx": b"\x08\x08\x3a\x7f",
        "cannot be read.npz": b"PK\x03\x04" + b"\0" * 40, "no records.rec": b"\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    }


def test_what_it_is_not(tmp_path: Path, call: Any) -> None:
    """Each says what it is instead, with a fix."""
    for name, content in strangers(tmp_path).items():
        path = tmp_path / name
        path.write_bytes(content)
        seen = call("inspect", path)
        assert seen.status == 1 and name.partition(".")[0].strip("-") in seen.err, (name, seen)
        assert "Fix: " in seen.err and not seen.out


@given(st.sampled_from(["net.onnx", "net-0000.params", "net-symbol.json", "net.safetensors", "net.npz"]), st.data())
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_damaged_anywhere(models: Path, tmp_path_factory: Any, name: str, data: st.DataObject) -> None:
    """Bytes that are changed, lost or added are told as damage or do not matter; nothing else is ever raised."""
    source = models / name if (models / name).exists() else tmp_path_factory.getbasetemp() / name
    if not source.exists():
        held = nd.load(str(models / "net-0000.params"))
        if name.endswith(".npz"):
            np.savez_compressed(source, **{key.replace(":", "_"): one.asnumpy() for key, one in held.items()})
        else:
            nd.save(str(source), held)
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(content)
    with contextlib.suppress(FileFormatError):
        json.dumps(facts_of(str(path)).as_dict(str(path)))


def test_mistakes_with_paths(tmp_path: Path, models: Path, call: Any) -> None:
    """Missing (with near names), a directory, empty, and a name that misleads."""
    seen = call("inspect", models / "net-000.params")
    assert seen.status == 1 and "net-0000.params" in seen.err.partition("did you mean")[2]
    assert "no directory" in call("inspect", tmp_path / "no" / "where").err
    assert "directory" in call("inspect", tmp_path).err
    (tmp_path / "a.params").touch()
    assert "empty" in call("inspect", tmp_path / "a.params").err
    (tmp_path / "b.params").write_bytes((models / "net.onnx").read_bytes())
    assert call("inspect", tmp_path / "b.params").status == 1
    nd.save(str(tmp_path / "c.params"), {"x": nd.zeros((1,))})
    (tmp_path / "c.params").rename(tmp_path / "c.onnx")
    assert "tools that go by names" in call("inspect", tmp_path / "c.onnx").out
