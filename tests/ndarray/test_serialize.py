"""Files of arrays: round trips on generated arrays, and damaged bytes, which must raise FileFormatError and nothing
else.
"""
from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from glueball import nd
from glueball.base.errors import DTypeError, FileFormatError
from glueball.ndarray.serialize import dump_bytes, parse_bytes

NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
DTYPES = st.sampled_from(["float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool", "bfloat16"])


@st.composite
def arrays(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3))
    values = draw(hnp.arrays(np.float32, shape, elements=st.floats(-100, 100, width=16)))
    return nd.array(values).astype(draw(DTYPES))


def same(left, right):
    return (
        left.shape == right.shape
        and left.dtype_name == right.dtype_name
        and np.array_equal(left.asnumpy(), right.asnumpy())
    )


@given(st.dictionaries(NAMES, arrays(), max_size=4))
def test_dictionaries_round_trip(data):
    found = parse_bytes(b"".join(dump_bytes(data)))
    assert (found == [] and not data) or (list(found) == list(data) and all(same(found[k], data[k]) for k in data))


@given(st.lists(arrays(), max_size=4))
def test_lists_round_trip(data):
    found = parse_bytes(b"".join(dump_bytes(data)))
    assert len(found) == len(data) and all(map(same, found, data))


WHOLE = b"".join(dump_bytes({"a.weight": nd.array(np.arange(6).reshape(2, 3)), "b": nd.ones((2,), dtype="float16"),
                             "e": nd.zeros((0, 2))}))


@pytest.mark.parametrize("cut", range(0, len(WHOLE)))
def test_every_truncation_is_refused_with_its_place(cut):
    with pytest.raises(FileFormatError, match=rf"at byte \d+ of {cut}"):
        parse_bytes(WHOLE[:cut])


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
@settings(max_examples=600)
def test_a_changed_byte_is_read_or_refused(position, change):
    damaged = bytearray(WHOLE)
    damaged[position] ^= change
    try:
        parse_bytes(bytes(damaged))
    except FileFormatError as error:
        assert "byte" in str(error)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_noise_is_refused(noise):
    with pytest.raises(FileFormatError):
        parse_bytes(struct.pack("<QQ", 0x112, 0) + noise + b"x")


def test_a_huge_claim_allocates_nothing():
    claim = (
        struct.pack("<QQQ", 0x112, 0, 1)
        + struct.pack("<Iii", 0xF993FAC9, 0, 2)
        + struct.pack("<qq", 1 << 40, 1 << 20)
        + struct.pack("<iii", 1, 0, 0)
    )
    with pytest.raises(FileFormatError, match="needs .* bytes but only 0 are left"):
        parse_bytes(claim)


def test_old_layouts():
    v1 = (
        struct.pack("<QQQ", 0x112, 0, 1)
        + struct.pack("<Ii", 0xF993FAC8, 1)
        + struct.pack("<q", 2)
        + struct.pack("<iii", 2, 0, 0)
        + np.float32([1, 2]).tobytes()
        + struct.pack("<Q", 0)
    )
    v0 = (
        struct.pack("<QQQ", 0x112, 0, 1)
        + struct.pack("<II", 1, 2)
        + struct.pack("<iii", 1, 0, 0)
        + np.float32([1, 2]).tobytes()
        + struct.pack("<Q", 0)
    )
    for data in (v1, v0):
        assert parse_bytes(data)[0].asnumpy().tolist() == [1, 2]


def test_sparse_arrays_are_read_dense():
    csr = (
        struct.pack("<QQQ", 0x112, 0, 1)
        + struct.pack("<Ii", 0xF993FAC9, 2)
        + struct.pack("<iq", 1, 2)
        + struct.pack("<iqq", 2, 2, 3)
        + struct.pack("<iii", 1, 0, 0)
        + struct.pack("<iiq", 6, 1, 3)
        + struct.pack("<iiq", 6, 1, 2)
        + np.float32([5, 6]).tobytes()
        + np.int64([0, 1, 2]).tobytes()
        + np.int64([2, 0]).tobytes()
        + struct.pack("<Q", 0)
    )
    assert parse_bytes(csr)[0].asnumpy().tolist() == [[0, 0, 5], [6, 0, 0]]


def test_numpy_and_safetensors_files(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(3, np.float32))
    assert nd.load(str(tmp_path / "a.npz"))["x"].shape == (3,)
    pytest.importorskip("safetensors")
    path = str(tmp_path / "a.safetensors")
    data = {"x": nd.array([1, 2]), "y": nd.ones((2, 0), dtype="bfloat16")}
    nd.save(path, data)
    found = nd.load(path)
    assert all(same(found[k], data[k]) for k in data)
    file = tmp_path / "a.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(FileFormatError):
        nd.load(path)


def test_pickles_are_not_opened(tmp_path):
    import pickle
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(FileFormatError):
        nd.load(str(path))
    path.write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(FileFormatError):
        nd.load(str(path))
    with pytest.raises(DTypeError, match="Only NDArrays"):
        nd.save(str(path), {"x": 3})


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = str(tmp_path / "a.params")
    nd.save(path, [nd.ones((2,))])
    with pytest.raises(DTypeError):
        nd.save(path, [nd.ones((2,)), "no array"])
    assert nd.load(path)[0].shape == (2,) and os.listdir(tmp_path) == ["a.params"]


def test_an_empty_array_of_impossible_sizes_is_refused():
    whole = b"".join(dump_bytes({"a": nd.zeros((2, 3, 4))}))
    sizes = struct.pack("<3q", 2, 3, 4)
    assert whole.count(sizes) == 1
    with pytest.raises(FileFormatError):
        parse_bytes(whole.replace(sizes, struct.pack("<3q", 0, 1 << 62, 1 << 62)))


def test_loaded_arrays_are_their_own(tmp_path):
    """What was loaded stays as it is when the file is written over, and when it goes."""
    path = tmp_path / "a.params"
    values = np.arange(70000, dtype=np.float32)
    nd.save(str(path), {"x": nd.array(values), "y": nd.array([1, 2], dtype="int8")})
    loaded = nd.load(str(path))
    with open(path, "r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    assert np.array_equal(loaded["x"].asnumpy(), values) and loaded["y"].asnumpy().tolist() == [1, 2]
    path.unlink()
    assert np.array_equal(loaded["x"].asnumpy(), values)


@pytest.mark.parametrize("cut", [1, 9, 30, 70, 4000, 40000])
def test_a_truncated_file_is_refused_as_its_bytes_are(cut, tmp_path):
    path = tmp_path / "a.params"
    nd.save(str(path), {"x": nd.ones((100, 100)), "y": nd.array(2.0)})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with pytest.raises(FileFormatError) as from_file:
        nd.load(str(path))
    with pytest.raises(FileFormatError) as from_bytes:
        parse_bytes(whole[:-cut], str(path))
    assert str(from_file.value) == str(from_bytes.value)


def test_a_file_that_is_cut_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.params"
    nd.save(str(path), {"x": nd.ones((100000,))})
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:5000])
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda number: os.stat_result([*real(number)[:6], size, *real(number)[7:]]))
    with pytest.raises(FileFormatError, match="cut while it was read"):
        nd.load(str(path))
