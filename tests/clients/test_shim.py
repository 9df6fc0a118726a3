"""The flat C functions of clients/c: the same numbers as onnxruntime's own interface, and errors that are prose.

The one idea: the shared library is compiled once and called through ctypes, as any other language calls it. Without a C
compiler or without onnxruntime the tests are skipped. That each language's client agrees is `make clients`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import nd
from glueball.gluon import nn

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or sys.platform == "win32", reason="no C compiler (cc), or no dlopen"
)
SOURCES = Path(__file__).resolve().parent.parent.parent / "clients" / "c"
FLOATS, SIZES = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_int64)


def runtime_library() -> str:
    """Return onnxruntime's shared library inside the Python package."""
    folder = Path(importlib.util.find_spec("onnxruntime").submodule_search_locations[0]) / "capi"
    found = sorted(folder.glob("libonnxruntime.*[0-9]*"))
    if not found:
        pytest.skip("this onnxruntime has no shared library of its own")
    return str(found[0])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the shared library."""
    path = tmp_path_factory.mktemp("shim") / "libglueball_predict.so"
    command = ["cc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-shared", "-fPIC", "-o", str(path)]
    done = subprocess.run(
        [*command, str(SOURCES / "glueball_predict.c"), "-ldl", "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return path


def bind(path: Path) -> Any:
    """Load the shared library and declare its functions."""
    shim = ctypes.CDLL(str(path))
    shim.gb_open.restype, shim.gb_open.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
    for name in ("gb_input_shape", "gb_output_shape"):
        getattr(shim, name).argtypes = [ctypes.c_void_p, SIZES, ctypes.c_int]
    shim.gb_run.restype = shim.gb_predict.restype = ctypes.c_int64
    shim.gb_run.argtypes = [ctypes.c_void_p, FLOATS, SIZES, ctypes.c_int, FLOATS, ctypes.c_int64]
    shim.gb_predict.argtypes = [ctypes.c_void_p, FLOATS, ctypes.c_int64, FLOATS, ctypes.c_int64]
    shim.gb_error.restype = ctypes.c_char_p
    shim.gb_close.argtypes, shim.gb_close.restype = [ctypes.c_void_p], None
    return shim


@pytest.fixture
def shim(library: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The functions, with a runtime to find."""
    monkeypatch.setenv("GLUEBALL_ORT", runtime_library())
    return bind(library)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small convolutional network as a file: (batch, 1, 4, 5) to (batch, 3)."""
    mx.random.seed(1)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(2, 3, activation="relu"), nn.Flatten(), nn.Dense(3))
    net.initialize()
    return net.export(str(tmp_path_factory.mktemp("model") / "net"), format="onnx", inputs=[nd.ones((2, 1, 4, 5))])


@pytest.fixture
def model(shim: Any, exported: str) -> Any:
    """The file, opened."""
    handle = shim.gb_open(exported.encode(), 1)
    assert handle, shim.gb_error().decode()
    yield handle
    shim.gb_close(handle)


def floats(array: np.ndarray) -> Any:
    return array.ctypes.data_as(FLOATS)


def sizes(*dims: int) -> Any:
    return (ctypes.c_int64 * len(dims))(*dims)


def predict(shim: Any, model: Any, images: np.ndarray) -> np.ndarray:
    """Run whole samples through gb_predict."""
    out = np.full(3 * len(images), np.nan, np.float32)
    count = shim.gb_predict(model, floats(images), images.size, floats(out), out.size)
    assert count == out.size, shim.gb_error().decode()
    return out.reshape(-1, 3)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_same_numbers_as_the_runtime(shim: Any, model: Any, exported: str, batch: int) -> None:
    """Both ways of calling give what onnxruntime's Python interface gives."""
    images = np.random.uniform(-1, 1, (batch, 1, 4, 5)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(exported).run(None, {"data": images})[0]
    np.testing.assert_allclose(predict(shim, model, images), wanted, rtol=1e-6, atol=1e-6)
    out = np.zeros((batch, 3), np.float32)
    assert shim.gb_run(model, floats(images), sizes(*images.shape), 4, floats(out), out.size) == out.size
    np.testing.assert_allclose(out, wanted, rtol=1e-6, atol=1e-6)


def test_shapes(shim: Any, model: Any) -> None:
    """An open axis is -1; no more sizes are written than there is room for."""
    dims = sizes(7, 7, 7, 7)
    assert shim.gb_input_shape(model, None, 0) == 4
    assert (shim.gb_input_shape(model, dims, 4), list(dims)) == (4, [-1, 1, 4, 5])
    assert (shim.gb_output_shape(model, dims, 1), list(dims)) == (2, [-1, 1, 4, 5])
    assert (shim.gb_output_shape(model, dims, 4), list(dims)) == (2, [-1, 3, 4, 5])


@pytest.mark.parametrize(
    ("dims", "text"),
    [
        ((2, 1, 4), "4 axes, (any, 1, 4, 5)\n  Received: 3 axes, (2, 1, 4)"),
        ((2, 1, 5, 4), "(any, 1, 4, 5)\n  Received: 4 axes, (2, 1, 5, 4)"),
        ((-1, 1, 4, 5), "Received: 4 axes, (any, 1, 4, 5)"),
        ((2**62, 1, 4, 5), "Received: 4 axes, (4611686018427387904, 1, 4, 5)"),
        ((), "Received: 0 axes, ()"),
        ((1,) * 40, "Received: 40 axes, (1, 1,"),
    ],
)
def test_wrong_sizes(shim: Any, model: Any, dims: tuple[int, ...], text: str) -> None:
    """The model's shape and the one that came are both told, and nothing is run."""
    images, out = np.zeros(40, np.float32), np.zeros(6, np.float32)
    assert shim.gb_run(model, floats(images), sizes(*dims), len(dims), floats(out), 6) == -1
    message = shim.gb_error().decode()
    assert message.startswith("gb_run: The input has another shape") and text in message, message


def test_wrong_count_and_room(shim: Any, model: Any) -> None:
    """Half a sample, too little room, and no arrays at all are errors; the output is left alone."""
    images, out = np.zeros(40, np.float32), np.full(6, 5, np.float32)
    assert shim.gb_predict(model, floats(images), 30, floats(out), 6) == -1
    assert "Expected: a multiple of 20 for the shape (any, 1, 4, 5)\n  Received: 30" in shim.gb_error().decode()
    assert shim.gb_predict(model, floats(images), -20, floats(out), 6) == -1
    assert shim.gb_predict(model, floats(images), 40, floats(out), 5) == -1
    assert "Expected: room for 6 numbers\n  Received: room for 5" in shim.gb_error().decode()
    assert shim.gb_predict(model, floats(images), 40, None, 6) == -1
    assert "room for 0" in shim.gb_error().decode()
    assert shim.gb_predict(model, None, 40, floats(out), 6) == -1
    assert "There is no input" in shim.gb_error().decode()
    assert (out == 5).all()


def test_no_model(shim: Any) -> None:
    """NULL in place of a model is an error, not a crash; closing it is allowed."""
    assert shim.gb_predict(None, None, 0, None, 0) == -1
    assert shim.gb_error().decode().startswith("gb_predict: There is no model.")
    assert shim.gb_run(None, None, None, 0, None, 0) == -1
    assert shim.gb_input_shape(None, None, 0) == -1
    shim.gb_close(None)


def test_files_that_cannot_be_opened(shim: Any, tmp_path: Path) -> None:
    """A missing path, and a file that is no model."""
    assert shim.gb_open(b"absent.onnx", 0) is None
    assert "Received: absent.onnx (No such file" in shim.gb_error().decode()
    assert shim.gb_open(None, 0) is None
    assert "no path" in shim.gb_error().decode()
    other = tmp_path / "other.onnx"
    other.write_text("not a model")
    assert shim.gb_open(str(other).encode(), 0) is None
    assert shim.gb_error().decode().startswith("gb_open: onnxruntime says: ")


def written(path: Path, kinds: list[int], shape: list[Any]) -> bytes:
    """Write a model whose output is its first input, with inputs of these element types."""
    values = [onnx.helper.make_tensor_value_info(f"data{i}", kind, shape) for i, kind in enumerate(kinds)]
    output = onnx.helper.make_tensor_value_info("output", kinds[0], shape)
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["data0"], ["output"])], "g", values, [output])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8), path)
    return str(path).encode()


def test_models_that_are_not_taken(shim: Any, tmp_path: Path) -> None:
    """Another element type and several inputs are refused by name; the fix is the runtime's own interface."""
    assert shim.gb_open(written(tmp_path / "i.onnx", [onnx.TensorProto.INT64], [2]), 0) is None
    assert 'input "data0" is of another type' in shim.gb_error().decode()
    assert shim.gb_open(written(tmp_path / "two.onnx", [1, 1], [2]), 0) is None
    assert "Expected: 1 input\n  Received: 2" in shim.gb_error().decode()


def test_several_open_axes_and_none(shim: Any, tmp_path: Path) -> None:
    """gb_predict cannot tell two open axes apart, gb_run is told; a fixed shape takes just its own count."""
    numbers, out = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    model = shim.gb_open(written(tmp_path / "open.onnx", [1], ["rows", "columns"]), 0)
    assert shim.gb_predict(model, floats(numbers), 6, floats(out), 6) == -1
    assert "several axes are open" in shim.gb_error().decode()
    assert shim.gb_run(model, floats(numbers), sizes(2, 3), 2, floats(out), 6) == 6
    assert (out == numbers).all()
    shim.gb_close(model)
    model = shim.gb_open(written(tmp_path / "fixed.onnx", [1], [6]), 0)
    assert shim.gb_predict(model, floats(numbers), 5, floats(out), 6) == -1
    assert "Expected: 6 for the shape (6,)\n  Received: 5" in shim.gb_error().decode()
    assert shim.gb_predict(model, floats(numbers), 6, floats(out), 6) == 6
    shim.gb_close(model)


def test_threads_share_a_model_and_not_their_errors(shim: Any, model: Any) -> None:
    """Runs at the same time give the right numbers; each thread reads its own failure."""
    samples = [np.full((1 + i, 1, 4, 5), i, np.float32) for i in range(8)]
    wanted = [predict(shim, model, one) for one in samples]
    problems: list[str] = []
    start = threading.Barrier(8)

    def work(i: int) -> None:
        out = np.zeros(1, np.float32)
        start.wait()
        for _ in range(50):
            if not np.array_equal(predict(shim, model, samples[i]), wanted[i]):
                problems.append(f"thread {i}: other numbers")
            shim.gb_predict(model, floats(samples[i]), 20 * i + 1, floats(out), 1)
            if f"Received: {20 * i + 1}\n" not in shim.gb_error().decode():
                problems.append(f"thread {i}: {shim.gb_error().decode()}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


PROGRAM = """
import ctypes, os, sys
shim = ctypes.CDLL(sys.argv[1])
shim.gb_open.restype, shim.gb_error.restype = ctypes.c_void_p, ctypes.c_char_p
libc = ctypes.CDLL(None)
for runtime in sys.argv[3:]:
    libc.setenv(b"GLUEBALL_ORT", runtime.encode(), 1)
    model = shim.gb_open(sys.argv[2].encode(), 0)
    print("opened" if model else shim.gb_error().decode(), end="\\n--\\n")
"""


def test_runtime_that_is_missing_wrong_or_comes_later(library: Path, exported: str, tmp_path: Path) -> None:
    """What was tried and how to get it are told; after a failure another place may be named."""
    runtimes = [str(tmp_path / "absent.so"), str(library), runtime_library()]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(library), exported, *runtimes],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    absent, wrong, right = done.stdout.split("\n--\n")[:3]
    assert "cannot be loaded" in absent and runtimes[0] in absent and "pip install onnxruntime" in absent
    assert "no onnxruntime that can be used" in wrong and "without OrtGetApiBase" in wrong
    assert right == "opened"


def test_the_usual_names_are_told(library: Path, exported: str) -> None:
    """Without the variable the system's names are tried, and listed when none is there."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(library), exported, ""], capture_output=True, text=True, check=True
    )
    text = done.stdout.split("\n--\n")[0]
    assert text == "opened" or ("libonnxruntime.so.1:" in text and "libonnxruntime.so:" in text)
