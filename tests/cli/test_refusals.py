"""What commands refuse, each with its words: files that are damaged in one place, models and inputs that do not fit.

What is refused at random places (nothing but damage is ever told) is in test_inspect.py.
"""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glueball import nd, sym
from glueball.cli import convert
from glueball.gluon import nn


def params(array: bytes, count: int = 1, names: int = 0, rest: bytes = b"") -> bytes:
    """Return a file of arrays by its parts."""
    return struct.pack("<QQQ", 0x112, 0, count) + array + struct.pack("<Q", names) + rest


def head(axes: int, *sizes: int, storage: int = 0, flag: int = 0, values: bytes = b"") -> bytes:
    """Return one array of format V2."""
    return struct.pack(f"<Iii{len(sizes)}qiii", 0xF993FAC9, storage, axes, *sizes, 1, 0, flag) + values


WHOLE = head(1, 2, values=bytes(8))
DAMAGED = {
    "a.params": [
        (params(head(33)), "33 axes"), (params(head(1, -5)), "negative"), (params(head(1, 2, flag=99)), "type 99"),
        (params(b"", 1 << 40), "arrays cannot be in"), (params(WHOLE, names=2), "2 names for 1 arrays"),
        (params(WHOLE, rest=b"more"), "4 bytes follow"), (params(head(1, 2, storage=7)), "Storage type 7"),
        (params(WHOLE, names=1, rest=struct.pack("<Q", 1 << 40)), "name of 1099511627776 bytes"),
    ],
    "a.npy": [(b"\x93NUMPY\x01\x00\x10\x00not a dictionary", "head of a.npy cannot be read")],
    "a.onnx": [(b"\x08" + b"\xff" * 20, "a number does not end")],
    "a.lst": [(b"0\t1\ta.jpg\nnothing else\n", "Line 2 has no columns")],
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "text"), [(n, c, t) for n, rows in DAMAGED.items() for c, t in rows])
def test_damaged_files(name: str, content: bytes, text: str, tmp_path: Path, call: Any) -> None:
    """The format, the place and a way out are told."""
    (tmp_path / name).write_bytes(content)
    seen = call("inspect", tmp_path / name)
    assert seen.status == 1 and text in seen.err and "Fix: " in seen.err and not seen.out


def test_the_undamaged_file(tmp_path: Path, call: Any) -> None:
    """What the rows above change is whole without the change."""
    (tmp_path / "a.params").write_bytes(params(WHOLE))
    assert call("inspect", tmp_path / "a.params", "--json").facts["parameters"][0]["shape"] == [2]


def test_predict(models: Path, tmp_path: Path, call: Any) -> None:
    """Models and inputs that do not fit each other."""
    for one in models.iterdir():
        shutil.copy(one, tmp_path)
    model = tmp_path / "net.onnx"
    dense = nn.Dense(2, in_units=3)
    dense.initialize()
    dense.hybridize()
    dense(nd.ones((1, 3)))
    dense.export(str(tmp_path / "dense"), format="onnx")
    a, b = sym.Variable("a"), sym.Variable("b")
    (a + b).save(str(tmp_path / "sum-symbol.json"))
    nd.save(str(tmp_path / "sum-0000.params"), {})
    assert call("export", tmp_path / "sum-symbol.json", "--shape", "2,3", "--shape", "2,3").status == 0
    np.savez(tmp_path / "ab.npz", a=np.ones((2, 3)), b=np.ones((4, 3)))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "ab.npz").read_bytes()[:99])
    (tmp_path / "latin.csv").write_bytes(b"1,\xe9")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "x.csv").write_text("1," * 64)
    (tmp_path / "a.lst").write_text("0\t1\ta.jpg\n")
    pytest.importorskip("PIL.Image").new("L", (8, 8)).save(tmp_path / "x.png")
    os.rename(tmp_path / "net-0000.params", tmp_path / "alone.params")
    rows = [
        ([model, "x.png", "--size", "9"], "not have the shape", "leave --size out"),
        (["dense.onnx", "x.png"], "wants no image", "give numbers"),
        ([model, "cut.npz"], "NumPy file cannot be read", "np.savez"),
        ([model, "latin.csv"], "not UTF-8 text", "save the file as UTF-8"),
        ([model, "x.csv", "--labels", "latin.txt"], "labels are not UTF-8", "one name per line"),
        (["sum.onnx", "ab.npz"], "onnxruntime cannot run the model", "a (2, 3) float32, b (4, 3) float32"),
        (["alone.params", "x.csv"], "parameters holds no network", "name the -symbol.json as well"),
        (["a.lst", "x.csv"], "This is no model", "glueball inspect"),
    ]
    for words, problem, fix in rows:
        seen = call("predict", *(tmp_path / one if "." in str(one) else one for one in words))
        assert seen.status == 1 and problem in seen.err and fix in seen.err, (words, seen)


def test_convert_keeps_nothing_that_reads_back_otherwise(tmp_path: Path, call: Any, monkeypatch: Any) -> None:
    """Another value, another name, one array less: the target does not appear."""
    source, target = str(tmp_path / "a.params"), tmp_path / "b.params"
    arrays = {"a": nd.array([1.0, 2.0]), "b": nd.ones((2,))}
    nd.save(source, arrays)
    write = nd.save
    for wrong in ({**arrays, "a": nd.array([1.0, 3.0])}, {"a": arrays["a"], "c": arrays["b"]}, {"a": arrays["a"]}):
        monkeypatch.setattr(nd, "save", lambda path, held, wrong=wrong: write(path, wrong))
        seen = call("convert", source, target)
        assert seen.status == 1 and "does not read back the same" in seen.err and "nothing was kept" in seen.err
    assert sorted(os.listdir(tmp_path)) == ["a.params"]


def test_convert_keeps_no_graph_that_answers_otherwise(models: Path, tmp_path: Path, call: Any,
                                                       monkeypatch: Any) -> None:  # fmt: skip
    """The graph's answers are held to the model's before its files appear."""
    opened = convert.open_model

    def other(path: str, parameters: str | None = None) -> Any:
        model = opened(path, parameters)
        if parameters is None:
            return model
        return type(model)(model.path, model.inputs, lambda feeds: [(n, v + 1) for n, v in model.answer(feeds)])

    monkeypatch.setattr(convert, "open_model", other)
    seen = call("convert", models / "net.onnx", tmp_path / "g-symbol.json")
    assert seen.status == 1 and "answers something else" in seen.err and not os.listdir(tmp_path)


def test_lists(photos: Path, call: Any) -> None:
    """Names that no list can hold, and a list that is no text."""
    place = photos / "cats"
    os.rename(place / "0.jpg", place / "a\tb.jpg")
    seen = call("im2rec", "--list", "--recursive", photos.parent / "set", photos)
    assert seen.status == 1 and "a tab or a new line" in seen.err and "rename the file" in seen.err
    (photos.parent / "set.lst").write_bytes(b"0\t1\tcaf\xe9.jpg\n")
    seen = call("im2rec", photos.parent / "set", photos)
    assert seen.status == 1 and "not UTF-8" in seen.err and "make the list again" in seen.err
