"""What is fuzzed: one `Target` per kind of file that Glueball reads, with small valid files to begin from.

The one idea: a target is a plain function from bytes to nothing. It may raise what a reader promises to raise
(`allowed`) and nothing else; `guard` turns everything else, hanging and hoarding included, into a `Finding`. So the
same targets serve the fuzzer (run.py) and the property tests of `make test` (tests/io/test_readers.py). How files are
changed with their structure in mind is in mutate.py.
"""

from __future__ import annotations

import atexit
import importlib
import io
import json
import os
import resource
import shutil
import signal
import struct
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import mutate
import numpy as np

from glueball import nd, recordio, sym
from glueball.base.errors import FileFormatError, MXNetError, UnsupportedError
from glueball.ndarray.serialize import dump_bytes, load_frombuffer

importlib.import_module("torch._dynamo")  # large; some shape functions of torch load it, and no file is to blame
SECONDS = 2.0  # of processor time, for one input
SPARE, FACTOR = 64 << 20, 8  # memory that one input may take: SPARE + FACTOR × its size
READERS = (FileFormatError, UnsupportedError)


class Finding(Exception):
    """An input did what no input may do."""


class Hang(BaseException):
    """Raised by the clock; no `except Exception` of a reader can swallow it."""


@dataclass(frozen=True)
class Target:
    """One kind of file.

    run : reads bytes as such a file. seeds : small valid ones. modules : prefixes of what the fuzzer watches.
    allowed : what reading may raise. mutate : structure-aware change, or None for libFuzzer's own.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    modules: tuple[str, ...]
    allowed: tuple[type[BaseException], ...] = READERS
    mutate: Callable[[bytes, Any, Callable[[bytes], bytes]], bytes] | None = None
    longest: int = 4096
    spare: int = SPARE
    needs: tuple[str, ...] = field(default=())


def _peak(afresh: bool = False) -> int:
    """The most memory that this process has held; afresh: from now on, where the system can begin anew."""
    if afresh and os.access("/proc/self/clear_refs", os.W_OK):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def guard(target: Target, data: bytes) -> bool:
    """Run one input; return whether it was read (True) or refused (False). Raises Finding for anything else."""
    before = _peak(afresh=True)

    def late(*_: object) -> None:
        raise Hang

    old = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        target.run(data)
        read = True
    except target.allowed as error:
        read = False
        if not str(error).strip():
            raise Finding("an error without a message") from error
    except Hang:
        raise Finding(f"more than {SECONDS:g} s of processor time") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Finding(f"{type(error).__name__}: {str(error)[:200]}\n{place(error)}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
    grown = _peak() - before
    if grown > target.spare + FACTOR * len(data):
        raise Finding(f"{grown >> 20} MiB more memory for {len(data)} bytes")
    return read


def place(error: BaseException) -> str:
    """Return where in the package an error came from: the innermost three lines."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "glueball" in f.filename]
    return "\n".join(f"  {os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in frames[-3:])


# ------------------------------------------------------------------------------------------------------------ .params
def _list(*arrays: bytes, names: tuple[bytes, ...] = ()) -> bytes:
    head = struct.pack("<QQQ", 0x112, 0, len(arrays))
    return head + b"".join(arrays) + struct.pack("<Q", len(names)) + b"".join(
        struct.pack("<Q", len(name)) + name for name in names)


_FLOATS = np.float32([1, 2]).tobytes()
V0 = struct.pack("<II", 1, 2) + struct.pack("<iii", 1, 0, 0) + _FLOATS
V1 = struct.pack("<Ii", 0xF993FAC8, 1) + struct.pack("<q", 2) + struct.pack("<iii", 2, 0, 0) + _FLOATS
CSR = (struct.pack("<Ii", 0xF993FAC9, 2) + struct.pack("<iq", 1, 2) + struct.pack("<iqq", 2, 2, 3)
       + struct.pack("<iii", 1, 0, 0) + struct.pack("<iiq", 6, 1, 3) + struct.pack("<iiq", 6, 1, 2)
       + np.float32([5, 6]).tobytes() + np.int64([0, 1, 2]).tobytes() + np.int64([2, 0]).tobytes())
ROWS = (struct.pack("<Ii", 0xF993FAC9, 1) + struct.pack("<iqq", 2, 1, 2) + struct.pack("<iqq", 2, 4, 2)
        + struct.pack("<iii", 1, 0, 0) + struct.pack("<iiq", 6, 1, 1)
        + np.float32([5, 6]).tobytes() + np.int64([2]).tobytes())
NONE = struct.pack("<Ii", 0xF993FAC9, 0) + struct.pack("<i", 0)


def params_seeds() -> list[bytes]:
    """All versions of arrays, with and without names."""
    mixed = {"a.weight": nd.array(np.arange(6).reshape(2, 3)), "b": nd.ones((2,), dtype="float16"),
             "e": nd.zeros((0, 2)), "h": nd.ones((1,), dtype="bfloat16"), "i": nd.ones((2,), dtype="int64")}
    return [b"".join(dump_bytes(mixed)), _list(V0), _list(V1), _list(CSR), _list(ROWS, NONE),
            _list(V0, V1, CSR, ROWS, names=(b"arg:a", b"aux:b", "é".encode(), b"d")), b"".join(dump_bytes([]))]


def numpy_seeds() -> list[bytes]:
    """`.npy` of three versions, and `.npz`, packed and not."""
    found = []
    for version in ((1, 0), (2, 0), (3, 0)):
        out = io.BytesIO()
        np.lib.format.write_array(out, np.arange(6, dtype=np.float32).reshape(2, 3), version)
        found.append(out.getvalue())
    for save in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        save(out, a=np.ones((2, 3), np.float32), b=np.asfortranarray(np.ones((2, 2), np.int64)), c=np.float64(1))
        found.append(out.getvalue())
    return found


def safetensors_seeds() -> list[bytes]:
    """Some dtypes, and metadata."""
    import torch
    from safetensors.torch import save

    return [save({"a.weight": torch.ones(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}, {"format": "x"}),
            save({"e": torch.zeros(0, 2), "i": torch.ones((), dtype=torch.int64)})]


# ------------------------------------------------------------------------------------------------------------- graphs
def _networks() -> list[str]:
    x = sym.Variable("data")
    mlp = sym.FullyConnected(sym.Activation(sym.FullyConnected(x, num_hidden=4, name="a"), act_type="relu"),
                             num_hidden=2, name="b")
    cnn = sym.Pooling(sym.BatchNorm(sym.Convolution(x, kernel=(3, 3), num_filter=2, name="c"), name="n"),
                      kernel=(2, 2), stride=(2, 2), pool_type="max")
    odd = sym.Group([sym.SoftmaxOutput(mlp, name="softmax"),
                     sym.Reshape(sym.SliceChannel(x, num_outputs=2, axis=1)[0], shape=(0, -1))])
    more = sym.Concat(sym.transpose(x), sym.tile(sym.slice_axis(x, axis=0, begin=0, end=1), reps=(2, 1)), dim=0)
    return [mlp.tojson(), cnn.tojson(), odd.tojson(), more.tojson()]


OLD = json.dumps({"nodes": [
    {"op": "null", "param": {}, "name": "data", "inputs": [], "backward_source_id": -1},
    {"op": "null", "param": {}, "name": "w", "inputs": [], "attr": {"lr_mult": "2"}},
    {"op": "FullyConnected", "param": {"num_hidden": "3", "no_bias": "True"}, "name": "f", "inputs": [[0, 0], [1, 0]]},
    {"op": "BatchNorm", "param": {"eps": "0.001"}, "name": "n", "inputs": [[2, 0]]}],
    "arg_nodes": [0, 1], "heads": [[3, 0]]})


def graph_seeds() -> list[bytes]:
    """Graphs of today and of 0.8."""
    return [json.dumps(json.loads(text)).encode() for text in [*_networks(), OLD]]


def run_graph(data: bytes) -> None:
    """Read a graph, infer its shapes, write it again."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    try:
        found = sym.load_json(text)
    except READERS:
        raise
    except MXNetError as error:
        raise RuntimeError(f"reading raises {type(error).__name__}") from error
    names = found.list_arguments() + found.list_auxiliary_states()
    first = found.list_inputs()[:1]
    for shape in ((2, 3), (1, 2, 6, 6)):
        try:
            found.infer_shape(**dict.fromkeys(first, shape))
        except MXNetError:
            pass
    again = sym.load_json(found.tojson())
    if again.list_arguments() + again.list_auxiliary_states() != names or len(again) != len(found):
        raise RuntimeError("a graph that was written and read again is another one")


# ------------------------------------------------------------------------------------------------------------- records
@contextmanager
def _files(*contents: bytes) -> Iterator[list[str]]:
    paths = [os.path.join(_folder(), f"{number}") for number in range(len(contents))]
    for path, content in zip(paths, contents):
        with open(path, "wb") as file:
            file.write(content)
    yield paths


@cache
def _folder() -> str:
    made = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


_MAGIC = struct.pack("<I", 0xCED7230A)


def record_seeds() -> list[bytes]:
    """Whole and split records, image records with one label and with several."""
    from glueball.base.record_file import encode_record as encode
    from glueball.recordio import IRHeader, pack
    return [encode(b"abcde") + encode(b"abcd" + _MAGIC + b"xy" + _MAGIC), encode(b""),
            encode(pack(IRHeader(0, 3.0, 7, 0), b"image")), encode(pack(IRHeader(0, [1.0, 2.0], 7, 0), b"img"))]


def run_records(data: bytes) -> None:
    """Read all records, take heads of images off, make an index, and read by it."""
    with _files(data) as [path], recordio.MXRecordIO(path, "r") as reader:
        records = list(reader)
    index = recordio.rebuild_index(path)
    if len(index) != len(records):
        raise RuntimeError("an index has another number of records than the file")
    for record in records:
        try:  # not every record is one of an image
            recordio.unpack(record)
        except READERS:
            pass


def index_seeds() -> list[bytes]:
    """Indices of the first records above."""
    return [b"0\t0\n1\t16\n", b"7\t16\n\n3\t0"]


def run_index(data: bytes) -> None:
    """Read an index beside a good file, and all that it names."""
    with _files(record_seeds()[0], data) as [path, index], recordio.MXIndexedRecordIO(index, path, "r") as reader:
        for key in reader.keys:
            reader.read_idx(key)


def list_seeds() -> list[bytes]:
    """A list of images as im2rec writes it."""
    return [b"0\t1.0\ta.jpg\n1\t2\t3\tb/c.png\n", b"5\t0\tx"]


def run_list(data: bytes) -> None:
    """Read a `.lst` file by both of its readers."""
    from glueball.gluon.data.vision.folders import _read_list
    from glueball.image.iterators import read_lst

    with _files(data) as [path]:
        for reader in (read_lst, _read_list):
            try:
                reader(path)
            except READERS as error:
                last = error
            else:
                last = None
        if last is not None:
            raise last


# -------------------------------------------------------------------------------------------------------------- others
def _trained() -> Any:
    from glueball import autograd, gluon

    weight = gluon.Parameter("w", shape=(2, 3))
    weight.initialize()
    trainer = gluon.Trainer([weight], "adam", {"lr_scheduler": None})
    with autograd.record():
        loss = (weight.data() ** 2).sum()
    loss.backward()
    trainer.step(1)
    return trainer


def state_seeds() -> list[bytes]:
    """The states of a trainer, with settings and without."""
    updater = _trained()._updaters[0]
    return [updater.get_states(dump_optimizer=True), updater.get_states()]


def run_states(data: bytes) -> None:
    """Read states into a fresh trainer's updater."""
    from glueball import optimizer

    updater = optimizer.get_updater(optimizer.create("adam"))
    before = dict(vars(updater.optimizer))
    updater.set_states(data)
    for name, old in before.items():
        new = getattr(updater.optimizer, name)
        if type(old) in (bool, int, float, str) and new is not None:
            if type(new) is not type(old) and {type(new), type(old)} != {int, float}:
                raise RuntimeError(f"setting {name} has become a {type(new).__name__}")


def object_seeds() -> list[bytes]:
    """Object code of the compiler, as it lies in the folder of caches."""
    import hashlib

    from glueball.executor.native import object_cache

    code = b"\x7fELF code"
    return [object_cache._MAGIC + hashlib.sha256(code).digest() + code]


def run_object(data: bytes) -> None:
    """Read a file of the compiler's cache: whole and as written, or nothing."""
    from glueball.executor.native.object_cache import ObjectCache

    folder = os.path.join(_folder(), "cache")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, "k.object"), "wb") as file:
        file.write(data)
    found = ObjectCache(folder).read("k")
    if found is not None and data not in object_seeds():
        import hashlib
        if hashlib.sha256(found).digest() not in data:
            raise RuntimeError("code that was not written is believed")


def idx_seeds() -> list[bytes]:
    """Images and labels in MNIST's layout, plain and packed."""
    import gzip

    labels = b"\0\0\x08\x01" + struct.pack(">I", 3) + b"abc"
    images = b"\0\0\x08\x03" + struct.pack(">III", 1, 2, 2) + b"abcd"
    return [labels, images, gzip.compress(labels, mtime=0)]


def run_idx(data: bytes) -> None:
    """Read IDX files by both of their readers."""
    from glueball.gluon.data.vision.datasets import read_idx
    from glueball.io.files import _read_idx

    with _files(data) as [path]:
        for reader in (lambda: _read_idx(path, 1), lambda: read_idx(path)):
            try:
                reader()
            except READERS:
                pass


def image_seeds() -> list[bytes]:
    """Small images of the kinds that records hold."""
    from PIL import Image

    found = []
    for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF"):
        out = io.BytesIO()
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(out, kind)
        found.append(out.getvalue())
    return found


def run_image(data: bytes) -> None:
    """Decode an image."""
    from glueball.image import codec

    codec.decode(data)


def onnx_seeds() -> list[bytes]:
    """A network, one with computed sizes, one with branches, and one with the fields of older files."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def packed(nodes: list[Any], shape: list[Any], weights: dict[str, Any], opset: int = 18) -> bytes:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        tensors = [value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(value, name)
                   for name, value in weights.items()]
        graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return made.SerializeToString()

    node, floats, ints = helper.make_node, np.float32, np.int64
    branch = [helper.make_graph([node("Relu" if yes else "Neg", ["x"], ["b"])], "b", [],
                                [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)]) for yes in (0, 1)]
    cnn = [node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
           node("BatchNormalization", ["c", "s", "s", "s", "v"], ["n"]), node("Relu", ["n"], ["r"]),
           node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]), node("Flatten", ["p"], ["f"]),
           node("Gemm", ["f", "g"], ["y"], transB=1)]
    sized = [node("Shape", ["x"], ["a"]), node("Gather", ["a", "zero"], ["b"]),
             node("Unsqueeze", ["b", "zeros"], ["d"]),
             node("Concat", ["d", "rest"], ["e"], axis=0), node("Reshape", ["x", "e"], ["h"]),
             node("Expand", ["h", "e2"], ["i"]), node("Slice", ["i", "zeros", "e2", "zeros"], ["y"])]
    made = [node("ConstantOfShape", ["n"], ["a"]), node("Tile", ["a", "n"], ["b"]), node("Add", ["x", "b"], ["c"]),
            node("Range", ["o", "t", "o"], ["d"]), node("Add", ["c", "d"], ["y"])]
    weights = {"w": np.ones((2, 1, 3, 3), floats), "s": np.ones(2, floats), "v": np.ones(2, floats),
               "g": np.ones((3, 8), floats)}
    return [packed(cnn, ["n", 1, 4, 4], weights),
            packed(sized, ["n", 4], {"zero": np.array(0, ints), "zeros": np.zeros(1, ints), "rest": np.int64([-1]),
                                     "e2": np.int64([1, 1])}),
            packed([node("If", ["t"], ["y"], then_branch=branch[0], else_branch=branch[1])], [2, 2],
                   {"t": np.array(True)}),
            packed(made, [1, 4], {"n": np.int64([2]), "o": np.array(1, floats), "t": np.array(5, floats)}),
            packed([node("Mul", ["x", "w"], ["y"])], [2],
                   {"w": helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])}, 7)]


def run_onnx(data: bytes) -> None:
    """Read a model as a block."""
    import glueball.onnx

    glueball.onnx.import_model(data)


TARGETS = {target.name: target for target in [
    Target("params", load_frombuffer, params_seeds, ("glueball.ndarray.serialize", "glueball.base.dtype"),
           mutate=mutate.integers),
    Target("numpy", load_frombuffer, numpy_seeds, ("glueball.ndarray.serialize", "glueball.ndarray.numpy_files"),
           mutate=mutate.archive, longest=2048),
    Target("safetensors", load_frombuffer, safetensors_seeds, ("glueball.ndarray.serialize",), mutate=mutate.headed,
           needs=("safetensors",)),
    Target("symbol", run_graph, graph_seeds, ("glueball.symbol", "glueball.ops.attributes", "glueball.ops.rules.infer",
                                              "glueball.ops.opdef"), mutate=mutate.graph, longest=8192),
    Target("onnx", run_onnx, onnx_seeds, ("glueball.onnx.read", "glueball.gluon.onnx_block"), mutate=mutate.model,
           needs=("onnx",), spare=256 << 20),  # what follows from sizes alone is computed while a model is read
    Target("records", run_records, record_seeds, ("glueball.recordio", "glueball.base.record_file"),
           mutate=mutate.integers),
    Target("index", run_index, index_seeds, ("glueball.recordio",), longest=256),
    Target("list", run_list, list_seeds, ("glueball.image.iterators", "glueball.gluon.data.vision.folders"),
           longest=256),
    Target("states", run_states, state_seeds, ("glueball.optimizer.state_file",), mutate=mutate.headed),
    Target("objects", run_object, object_seeds, ("glueball.executor.native.object_cache",), longest=128),
    Target("idx", run_idx, idx_seeds, ("glueball.gluon.data.vision.datasets", "glueball.io.files"),
           mutate=mutate.integers, longest=256),
    Target("image", run_image, image_seeds, ("glueball.image.codec",), needs=("PIL",), longest=2048,
           spare=400 << 20),  # 40 million pixels, a few times
]}
