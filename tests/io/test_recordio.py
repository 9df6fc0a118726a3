"""RecordIO: bytes exactly as the format says, every damaged file refused with a byte offset, and round trips for any
content.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball import recordio
from glueball.base import record_file
from glueball.base.errors import ArgumentError, FileFormatError
from glueball.base.record_file import encode_record

MAGIC = struct.pack("<I", 0xCED7230A)

# Payloads in which the magic number is likely, at aligned and unaligned places.
payloads = st.lists(
    st.one_of(st.binary(max_size=9), st.just(MAGIC), st.just(MAGIC[:2]), st.just(MAGIC[2:])), max_size=8
).map(b"".join)


def write(path, records):
    with recordio.MXRecordIO(path, "w") as out:
        for record in records:
            out.write(record)


@settings(max_examples=200, deadline=None)
@given(st.lists(payloads, max_size=5))
def test_round_trip(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("rec") / "a.rec"
    write(path, records)
    with recordio.MXRecordIO(path, "r") as reader:
        assert list(reader) == records
        reader.reset()
        assert [reader.read() for _ in records] == records
        assert reader.read() is None


@settings(max_examples=100, deadline=None)
@given(st.lists(payloads, min_size=1, max_size=4), st.data())
def test_a_truncated_file_is_an_error_with_an_offset_or_ends_between_records(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("rec") / "a.rec"
    write(path, records)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:cut])
    boundaries = set(recordio.rebuild_index(_written(path, whole)).values())
    path.write_bytes(whole[:cut])
    with recordio.MXRecordIO(path, "r") as reader:
        if cut in boundaries or cut == 0:
            assert list(reader) == records[: sorted(boundaries).index(cut)] if cut else list(reader) == []
        else:
            with pytest.raises(FileFormatError, match=r"at byte \d+"):
                list(reader)


def _written(path, content):
    path.write_bytes(content)
    return path


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = _written(tmp_path_factory.mktemp("rec") / "a.rec", content)
    with recordio.MXRecordIO(path, "r") as reader:
        try:
            records = list(reader)
        except FileFormatError as error:
            assert "at byte" in str(error)
        else:
            assert b"".join(map(encode_record, records)) == content or records == [] == list(content)


def test_exact_bytes(tmp_path):
    path = tmp_path / "a.rec"
    write(path, [b"abcde", b"abcd" + MAGIC + b"xy", b"a" + MAGIC])
    part = lambda flag, body: MAGIC + struct.pack("<I", flag << 29 | len(body)) + body + b"\0" * (-len(body) % 4)
    assert path.read_bytes() == part(0, b"abcde") + part(1, b"abcd") + part(3, b"xy") + part(0, b"a" + MAGIC)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\1\2\3\4" + bytes(4), "No record begins here, at byte 0"),
        (MAGIC + struct.pack("<I", (1 << 29) - 1), "claims more bytes than the file has, at byte 0"),
        (MAGIC + struct.pack("<I", 5 << 29), "unknown flag, at byte 4"),
        (MAGIC + struct.pack("<I", 2 << 29), "out of order, at byte 0"),
        (MAGIC + struct.pack("<I", 1 << 29), "between the parts of the record at byte 0, at byte 8"),
        (MAGIC, "ends inside the head of a part, at byte 0"),
        (MAGIC + struct.pack("<I", 1 << 29) + MAGIC + struct.pack("<I", 0), "out of order, at byte 8"),
    ],
)
def test_damage_is_named_by_offset(tmp_path, content, message):
    path = _written(tmp_path / "a.rec", content)
    with recordio.MXRecordIO(path, "r") as reader, pytest.raises(FileFormatError, match=message):
        reader.read()


def test_a_record_may_not_reach_two_to_the_29(monkeypatch, tmp_path):
    monkeypatch.setattr(record_file, "_LENGTH_LIMIT", 16)
    with recordio.MXRecordIO(tmp_path / "a.rec", "w") as out:
        out.write(bytes(15))
        with pytest.raises(ArgumentError, match="limited to"):
            out.write(bytes(16))


def test_a_half_written_file_never_has_the_final_name(tmp_path):
    path = tmp_path / "a.rec"
    write(path, [b"old"])
    with pytest.raises(KeyboardInterrupt), recordio.MXRecordIO(path, "w") as out:
        out.write(b"new")
        raise KeyboardInterrupt
    assert list(recordio.MXRecordIO(path, "r")) == [b"old"]
    assert os.listdir(tmp_path) == ["a.rec"]


@pytest.mark.parametrize("flag", ["rw", "", "a"])
def test_flags(tmp_path, flag):
    with pytest.raises(ArgumentError, match='flag "r" or "w"'):
        recordio.MXRecordIO(tmp_path / "a.rec", flag)


def test_wrong_direction_and_closed(tmp_path):
    out = recordio.MXRecordIO(tmp_path / "a.rec", "w")
    with pytest.raises(ArgumentError, match="cannot be read"):
        out.read()
    out.close()
    with pytest.raises(ArgumentError, match="closed"):
        out.write(b"")
    with pytest.raises(ArgumentError, match="cannot be written"):
        recordio.MXRecordIO(tmp_path / "a.rec", "r").write(b"")
    with pytest.raises(ArgumentError, match="Only local files"):
        recordio.MXRecordIO("s3://bucket/a.rec", "r")


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.integers(0, 2**40), payloads, max_size=6))
def test_indexed_round_trip(tmp_path_factory, records):
    stem = str(tmp_path_factory.mktemp("rec") / "a")
    with recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "w") as out:
        for key, payload in records.items():
            out.write_idx(key, payload)
    reader = recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r")
    assert reader.keys == list(records)
    assert {key: reader.read_idx(key) for key in reversed(reader.keys)} == records
    assert list(recordio.rebuild_index(stem + ".rec").values()) == list(reader.idx.values())


def _indexed(tmp_path, count=5):
    stem = str(tmp_path / "a")
    with recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "w") as out:
        for key in range(count):
            out.write_idx(key, b"%d" % key)
    return stem


def test_an_index_of_another_moment(tmp_path):
    """Where no record begins the error names both files and how the index is made anew."""
    stem = _indexed(tmp_path)
    with recordio.MXRecordIO(stem + ".rec", "w") as out:
        for _ in range(3):
            out.write(b"longer than before" * 3)
    with recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r") as reader:
        assert reader.read_idx(0) == b"longer than before" * 3
        with pytest.raises(FileFormatError, match=r"a.idx(.|\n)*that 1 is, at byte \d+ of .*a.rec(.|\n)*rebuild_index"):
            reader.read_idx(1)
    recordio.rebuild_index(stem + ".rec", stem + ".idx")
    with recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r") as reader:
        assert reader.read_idx(2) == b"longer than before" * 3


def test_index_errors(tmp_path):
    stem = _indexed(tmp_path)
    reader = recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r")
    with pytest.raises(KeyError, match=r"one of its 5 keys \(0, 1, 2, \.\.\.\)"):
        reader.read_idx(9)
    reader.seek(3)
    assert reader.read() == b"3"
    with open(stem + ".idx", "a") as file:
        file.write("7\t99999\n")
    with pytest.raises(FileFormatError, match="Line 6 points outside"):
        recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r")
    with open(stem + ".idx", "w") as file:
        file.write("seven\n")
    with pytest.raises(FileFormatError, match="Line 1 cannot be read"):
        recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r")
    os.remove(stem + ".idx")
    with pytest.raises(FileNotFoundError, match="rebuild_index"):
        recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r")
    recordio.rebuild_index(stem + ".rec", stem + ".idx")
    assert recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r").read_idx(4) == b"4"


def test_a_reader_travels_by_pickle_and_keeps_its_place(tmp_path):
    stem = _indexed(tmp_path)
    reader = recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r")
    reader.seek(2)
    copy = pickle.loads(pickle.dumps(reader))
    assert (copy.read(), reader.read(), copy.read()) == (b"2", b"2", b"3")
    writer = recordio.MXRecordIO(stem + "2.rec", "w")
    with pytest.raises(ArgumentError, match="cannot be sent"):
        pickle.dumps(writer)
    writer.close()


def test_threads_share_a_reader(tmp_path):
    stem = _indexed(tmp_path, 200)
    reader = recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "r")
    wrong = []

    def check():
        wrong.extend(key for key in range(200) if reader.read_idx(key) != b"%d" % key)

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.floats(width=32, allow_nan=False), st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5)
    ),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=20),
)
def test_pack_round_trip(label, number, number2, content):
    header, back = recordio.unpack(recordio.pack(recordio.IRHeader(0, label, number, number2), content))
    assert back == content
    assert header.flag == (0 if isinstance(label, float) else len(label))
    assert (header.id, header.id2) == (number, number2)
    np.testing.assert_array_equal(header.label, label)


def test_unpack_refuses_lies():
    with pytest.raises(FileFormatError, match="24 bytes"):
        recordio.unpack(b"short")
    with pytest.raises(FileFormatError, match="claims more labels"):
        recordio.unpack(struct.pack("<IfQQ", 1000, 0, 0, 0) + bytes(8))


def test_images_are_blue_green_red():
    pixels = np.zeros((4, 5, 3), np.uint8)
    pixels[..., 0] = 200  # blue
    payload = recordio.pack_img(recordio.IRHeader(0, 1, 2, 0), pixels, quality=3, img_fmt=".png")
    header, back = recordio.unpack_img(payload)
    np.testing.assert_array_equal(back, pixels)
    assert header.label == 1
    import io

    from PIL import Image

    assert Image.open(io.BytesIO(recordio.unpack(payload)[1])).convert("RGB").getpixel((0, 0)) == (0, 0, 200)
    assert recordio.unpack_img(payload, 0)[1].shape == (4, 5)
    grey = recordio.pack_img(recordio.IRHeader(0, 1, 2, 0), pixels[..., 0], 3, ".png")
    assert recordio.unpack_img(grey)[1].shape == (4, 5)
    assert recordio.unpack_img(grey, 1)[1].shape == (4, 5, 3)
    with pytest.raises(ArgumentError, match="iscolor"):
        recordio.unpack_img(payload, 7)
    with pytest.raises(ArgumentError, match="Unknown image format"):
        recordio.pack_img(recordio.IRHeader(0, 1, 2, 0), pixels, img_fmt=".xyz")


def test_files_of_mxnet_are_read_and_written_byte_for_byte(tmp_path):
    """tests/golden/files/records.rec and .idx were written by MXNet 1.9.1 (tests/golden/generate/records.py)."""
    golden = Path(__file__).resolve().parents[1] / "golden"
    spec = importlib.util.spec_from_file_location("golden_records", golden / "records.py")
    contents = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(contents)
    wanted = contents.payloads(recordio)
    stem = golden / "files" / "records"
    with recordio.MXRecordIO(f"{stem}.rec", "r") as records:
        assert list(records) == wanted
    with recordio.MXIndexedRecordIO(f"{stem}.idx", f"{stem}.rec", "r") as records:
        assert [records.read_idx(3 * i) for i in range(len(wanted))] == wanted
    with recordio.MXIndexedRecordIO(tmp_path / "a.idx", tmp_path / "a.rec", "w") as out:
        for number, payload in enumerate(wanted):
            out.write_idx(3 * number, payload)
    for ending in (".rec", ".idx"):
        assert (tmp_path / f"a{ending}").read_bytes() == Path(f"{stem}{ending}").read_bytes()
    labels = [recordio.unpack(payload)[0].label for payload in wanted[-len(contents.HEADS):]]
    assert labels[0] == 3 and labels[1].tolist() == [1, 2, 3.5] and labels[2].tolist() == [4] and labels[3] == -1
