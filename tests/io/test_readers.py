"""What every reader of files promises, on the fuzzer's own targets (fuzz/targets.py): whatever is cut off, turned over
or claimed, a file is read or refused by name; nothing hangs, nothing is allocated on a stranger's word. At the end the
files that were found to do otherwise, byte for byte.
"""

from __future__ import annotations

import io
import json
import random
import struct
import warnings
import zipfile

import numpy as np
import pytest

from glueball import gluon, nd, sym
from glueball.base.errors import FileFormatError, MXNetError, UnsupportedError
from glueball.ndarray.serialize import dump_bytes, load_frombuffer

KINDS = ("params", "numpy", "safetensors", "symbol", "onnx", "records", "index", "list", "states", "objects", "idx",
         "image")
SELF_CONTAINED = ("params", "safetensors", "states", "numpy")  # no part of such a file is one


def test_every_kind_is_tested(targets):
    assert set(targets.TARGETS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_valid_files_are_read(targets, target_of, kind):
    target = target_of(kind)
    for seed in target.seeds():
        assert targets.guard(target, seed), seed


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_read_or_refused(targets, target_of, kind):
    target = target_of(kind)
    for seed in target.seeds()[:4]:
        for cut in range(0, len(seed), 1 + len(seed) // 150):
            read = targets.guard(target, seed[:cut])
            assert not (read and kind in SELF_CONTAINED), (kind, cut, seed)


@pytest.mark.filterwarnings("ignore:Cannot decide shape")
@pytest.mark.parametrize("kind", KINDS)
def test_changed_bytes_are_read_or_refused(targets, target_of, kind):
    target, dice = target_of(kind), random.Random(1)
    for seed in target.seeds():
        for _ in range(60):
            damaged = bytearray(seed)
            damaged[dice.randrange(len(seed))] ^= dice.randrange(1, 256)
            targets.guard(target, bytes(damaged))
        for _ in range(60 if target.mutate else 0):  # lengths, shapes, attributes, names
            targets.guard(target, target.mutate(seed, dice, lambda content: content[::-1]))


# -- what is known to be dangerous -------------------------------------------------------------------------------------
def npz(*members: tuple[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that occurs twice
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def npy(shape: str, descr: str = "'<f4'", data: bytes = b"") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


ONE = npy("(1,)", data=bytes(4))


@pytest.mark.parametrize("content, message", [
    (npy("(1099511627776,)"), r"needs 4398046511104 bytes but only 0 are left"),
    (npy("(0, 4611686018427387904, 4)"), "not possible"),
    (npy("(-1,)"), "a size of -1"),
    (npy("(1,)", "'|O'", bytes(8)), "pickle"),
    (npy("(1,)", "'|V4'", bytes(4)), "element type"),
    (npy("(((((((" * 200), "header cannot be read"),
    (npz(("a.npy", ONE), ("a.npy", ONE)), "occurs twice"),
    (npz(("a.npy", bytes(70 << 20))), "more than is believed"),
    (npz(("a.npy", ONE))[:-30], "cannot be read"),
])  # fmt: skip
def test_numpy_files_that_lie(targets, content, message):
    with pytest.raises((FileFormatError, UnsupportedError), match=message):
        load_frombuffer(content)
    assert not targets.guard(targets.TARGETS["numpy"], content)


def test_names_in_files_are_only_names(tmp_path):
    names = ["../../x", "/etc/passwd", "", "nan", "a\0b", "é" * 100]
    data = {name: nd.ones((1,)) for name in names}
    path = tmp_path / "in" / "a.params"
    path.parent.mkdir()
    nd.save(str(path), data)
    assert list(nd.load(str(path))) == names and list(load_frombuffer(npz(("../x.npy", ONE)))) == ["../x"]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.params", "in"]


def sparse(indices: list[int], shape: tuple[int, int] = (4, 2)) -> bytes:
    count = len(indices)
    return (struct.pack("<QQQ", 0x112, 0, 1) + struct.pack("<Ii", 0xF993FAC9, 1) + struct.pack("<iqq", 2, count, 2)
            + struct.pack("<iqq", 2, *shape) + struct.pack("<iii", 1, 0, 0) + struct.pack("<iiq", 6, 1, count)
            + np.ones((count, 2), np.float32).tobytes() + np.int64(indices).tobytes() + struct.pack("<Q", 0))


def test_sparse_arrays_stay_sparse_and_their_places_are_checked():
    [found] = load_frombuffer(sparse([1, 3]))
    assert found.stype == "row_sparse" and found.asnumpy().tolist() == [[0, 0], [1, 1], [0, 0], [1, 1]]
    [large] = load_frombuffer(sparse([1, 3], (1 << 40, 2)))  # 8 TiB if it were made dense
    assert large.shape == (1 << 40, 2) and large.data.shape == (2, 2)
    for indices, shape in (([3, 1], (4, 2)), ([1, 1], (4, 2)), ([1, 4], (4, 2)), ([-1, 1], (4, 2)), ([1], (4, 3)),
                           ([1], (1 << 62, 2))):
        with pytest.raises(FileFormatError, match=r"at byte \d+"):
            load_frombuffer(sparse(indices, shape))


@pytest.mark.parametrize("magic, storage", [(0xF993FAC9, struct.pack("<i", 0)), (0xF993FAC8, b"")])
def test_negative_sizes_are_refused(magic, storage):
    array = struct.pack("<I", magic) + storage + struct.pack("<iqq", 2, -1, 2) + struct.pack("<iii", 1, 0, 0)
    with pytest.raises(FileFormatError, match=r"negative size: \(-1, 2\)(.|\n)*at byte 6[04] of"):
        load_frombuffer(struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<Q", 0))


@pytest.mark.parametrize("stored", [(-1, 2), (1, -1)])
def test_a_sparse_array_stores_no_negative_sizes(stored):
    array = (struct.pack("<Ii", 0xF993FAC9, 1) + struct.pack("<iqq", 2, *stored) + struct.pack("<iqq", 2, 4, 2)
             + struct.pack("<iii", 1, 0, 0) + struct.pack("<iiq", 6, 1, 1) + bytes(16))
    with pytest.raises(FileFormatError, match=r"negative size(.|\n)*at byte \d+"):
        load_frombuffer(struct.pack("<QQQ", 0x112, 0, 1) + array + struct.pack("<Q", 0))


def graph(*nodes: dict, heads=((-1, 0, 0),)) -> str:
    full = [{"op": "null", "name": "data", "inputs": []}, *({"inputs": [[0, 0, 0]], **node} for node in nodes)]
    return json.dumps({"nodes": full, "heads": [[len(full) + h[0] if h[0] < 0 else h[0], *h[1:]] for h in heads],
                       "attrs": {"mxnet_version": ["int", 10901]}})


@pytest.mark.parametrize("text", [
    "[" * 100_000, '{"nodes": ' * 50_000, "null", "{}",
    '{"nodes": [], "heads": [[0, 0]]}', '{"nodes": NaN, "heads": 1}',
    graph({"op": "relu", "name": "a", "inputs": [[1, 0, 0]]}),  # its own input
    graph({"op": "relu", "name": "a", "inputs": [[2, 0, 0]]}, {"op": "relu", "name": "b", "inputs": [[1, 0, 0]]}),
    graph({"op": "relu", "name": "a", "inputs": [[-1, 0, 0]]}), graph({"op": "os.system", "name": "a"}),
    graph({"op": "SliceChannel", "name": "a", "attrs": {"num_outputs": "1000000000"}}),
    graph({"op": "SliceChannel", "name": "a", "attrs": {"num_outputs": "-3"}}),
    graph({"op": "Reshape", "name": "a", "attrs": {"shape": "(" * 5000}}),
    graph({"op": "Reshape", "name": "a", "attrs": {"shape": "__import__('os').abort()"}}),
    graph({"op": "Custom", "name": "a", "attrs": {"op_type": "no such"}}),
    graph({"op": "relu", "name": "a"}, heads=((1, 5, 0),)),
    graph({"op": "relu", "name": "a"}, heads=((1 << 70, 0, 0),)),
])  # fmt: skip
def test_graphs_that_lie(targets, text):
    with pytest.raises((FileFormatError, UnsupportedError)):
        sym.load_json(text)
    assert not targets.guard(targets.TARGETS["symbol"], text.encode())


@pytest.mark.parametrize("op, given, attrs, shape", [
    ("_ones", [], {"shape": "(1000000000,)"}, (10**9,)), ("tile", [(2, 3)], {"reps": "1000000000"}, (2, 3 * 10**9)),
    ("_arange", [], {"start": "1", "stop": "5", "repeat": "1000000000"}, (4 * 10**9,)),
    ("_arange", [], {"start": "0", "stop": "1", "step": "1e-9"}, (10**9,)),
    ("_linspace", [], {"start": "0", "stop": "1", "num": "1000000000"}, (10**9,)),
    ("_eye", [], {"N": "1000000"}, (10**6, 10**6)), ("diag", [(2**20,)], {}, (2**20, 2**20)),
    ("_linalg_makediag", [(2**20,)], {}, (2**20, 2**20)), ("_linalg_syrk", [(2**20, 1)], {}, (2**20, 2**20)),
    ("_linalg_gemm2", [(2**20, 1), (1, 2**20)], {}, (2**20, 2**20)),
    ("gather_nd", [(1, 2**20), (1, 2**20)], {}, (2**20, 2**20)), ("_contrib_interleaved_matmul_selfatt_qk",
                                                                   [(2**20, 1, 3)], {"heads": "1"}, (1, 2**20, 2**20)),
    ("_contrib_box_iou", [(2**20, 4), (2**20, 4)], {"format": "corner"}, (2**20, 2**20)),
    ("_contrib_BilinearResize2D", [(1, 1, 2, 2)], {"height": "50000", "width": "50000"}, (1, 1, 50000, 50000)),
    ("UpSampling", [(1, 1, 2, 2)], {"scale": "50000", "sample_type": "nearest"}, (1, 1, 10**5, 10**5)),
    ("Pad", [(2, 3, 4, 4)], {"mode": "edge", "pad_width": "(0, 0, 0, 0, 0, 1000000000, 0, 0)"}, (2, 3, 4 + 10**9, 4)),
])  # fmt: skip
def test_shapes_of_huge_results_are_inferred_without_them(targets, op, given, attrs, shape):
    names = [f"x{i}" for i in range(len(given))]
    text = graph(*({"op": "null", "name": name, "inputs": []} for name in names),
                 {"op": op, "name": "a", "attrs": attrs, "inputs": [[1 + i, 0, 0] for i in range(len(given))]})
    found = []
    infer = lambda data: found.append(sym.load_json(data.decode()).infer_shape(**dict(zip(names, given))))
    assert targets.guard(targets.Target("", infer, list, (), (MXNetError,)), text.encode()) and found[0][1] == [shape]


def states(header: object, body: bytes = bytes(24)) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + body


META = {"format": "glueball.optimizer.states/1", "structure": "[[0, 0]]"}
F32 = {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}


@pytest.mark.parametrize("content", [
    states(b"[" * 100_000), states({"__metadata__": {**META, "structure": "[" * 100_000}, "0": F32}),
    states({"__metadata__": META, "0": {**F32, "shape": [1e999]}}),
    states({"__metadata__": META, "0": {**F32, "data_offsets": [24]}}),
    states({"__metadata__": META, "0": {**F32, "shape": [0, 1 << 62, 1 << 62], "data_offsets": [0, 0]}}),
    states({"__metadata__": META, **{str(i): F32 for i in range(1000)}}),  # a thousand times the same bytes
    states({"__metadata__": {**META, "optimizer": "[" * 9999}, "0": F32}), b"\x80\x04pickle",
])  # fmt: skip
def test_states_that_lie(targets, content):
    assert not targets.guard(targets.TARGETS["states"], content)


def test_states_cannot_change_the_kind_of_a_setting():
    from glueball import optimizer

    settings = {"class": "Adam", "values": {"beta1": "0.5", "beta2": [1], "lr": 1, "nothing": 3}, "counts": [],
                "scheduler": None}
    updater = optimizer.get_updater(optimizer.create("adam"))
    updater.set_states(states({"__metadata__": {**META, "optimizer": json.dumps(settings)}, "0": F32}))
    own = vars(updater.optimizer)
    assert own["beta1"] == 0.9 and own["beta2"] == 0.999 and own["lr"] == 1 and "nothing" not in own


def test_no_image_starts_another_program():
    """Encapsulated PostScript, which Pillow hands to Ghostscript, is not among the formats that are read."""
    pytest.importorskip("PIL")
    from glueball import image

    for content in (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
                    b"P6\n100000 100000\n255\n" + bytes(30)):
        with pytest.raises(FileFormatError):
            image.imdecode(content)


def test_a_model_file_is_no_way_out_of_its_folder(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    import glueball.onnx

    (tmp_path / "secret").write_bytes(bytes(8))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])
    for location in ("../secret", str(tmp_path / "secret"), "link", "x/../../secret", "", "a\0b"):
        weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
        weight.external_data.add(key="location", value=location)
        node = helper.make_node("Add", ["x", "w"], ["y"])
        made = helper.make_graph([node], "g", [value("x")], [value("y")], [weight])
        path = tmp_path / "in" / "a.onnx"
        path.write_bytes(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString())
        with pytest.raises(FileFormatError):
            glueball.onnx.import_model(str(path))
    assert onnx


def test_parameters_of_an_unlike_network_change_nothing(tmp_path):
    net = gluon.nn.Dense(2, in_units=3)
    net.initialize("ones")
    (tmp_path / "a.params").write_bytes(b"".join(dump_bytes({"weight": nd.zeros((2, 3)), "bias": nd.zeros((3,))})))
    with pytest.raises(MXNetError):
        net.load_parameters(str(tmp_path / "a.params"))
    assert net.weight.data().asnumpy().min() == 1


# -- found by the fuzzer -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind, content", [
    ("symbol", graph({"op": "reset_arrays", "name": "a", "inputs": []}, {"op": "relu", "name": "b",
                                                                          "inputs": [[1, 0, 0]]}).encode()),
    ("symbol", graph({"op": "amp_multicast", "name": "a", "inputs": []}).encode()),
    ("symbol", graph({"op": "_ones", "name": "a", "inputs": [], "attrs": {"shape": "1000000000"}},
                     {"op": "_pad_backward", "name": "b", "inputs": [[1, 0, 0]],
                      "attrs": {"mode": "edge", "pad_width": "(2, 2)"}}).encode()),
    ("symbol", graph({"op": "_torch_module", "name": "a", "attrs": {"count": "x"}}).encode()),
    ("list", b"0\t1\t\xff.jpg\n"), ("list", b"1" * 5000 + b"\t1\ta\n"), ("list", "²\t1\ta\n".encode()),
    ("index", b"0\t\xff\n"), ("index", b"0\t" + b"9" * 5000),
    ("idx", b"\0\0\x08\x03" + struct.pack(">III", 0xFFFFFFFF, 0xFFFF0000, 0)),
    ("image", b"P6 9999999 9 255\n" + bytes(60)),
])  # fmt: skip
def test_findings(targets, target_of, kind, content):
    targets.guard(target_of(kind), content)
