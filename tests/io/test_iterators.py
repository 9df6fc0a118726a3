"""io: the iterators over arrays and files give the batches that MXNet 1.9.1 gave (the expected numbers were observed
there).
"""

from __future__ import annotations

import gzip
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glueball import io, nd
from glueball.base.errors import ArgumentError, DTypeError, FileFormatError, ShapeError


def epoch(iterator):
    batches = [(batch.data[0].asnumpy().tolist(), batch.pad) for batch in iterator]
    iterator.reset()
    return batches


@pytest.mark.parametrize(
    "last, epochs",
    [
        ("pad", [[([0, 1], 0), ([2, 3], 0), ([4, 0], 1)]] * 3),
        ("discard", [[([0, 1], 0), ([2, 3], 0)]] * 3),
        (
            "roll_over",
            [[([0, 1], 0), ([2, 3], 0)], [([4, 0], 1), ([1, 2], 0), ([3, 4], 0)], [([0, 1], 0), ([2, 3], 0)]],
        ),
    ],
)
def test_ends_of_passes(last, epochs):
    iterator = io.NDArrayIter(np.arange(5.0), np.arange(5), 2, last_batch_handle=last)
    assert [epoch(iterator) for _ in range(3)] == epochs


def test_names_shapes_and_dtypes():
    iterator = io.NDArrayIter(
        {"a": np.zeros((4, 2)), "b": np.zeros((4, 3), "int32")}, {"l": nd.zeros(4, dtype="int32")}, 2
    )
    assert iterator.provide_data == [("a", (2, 2)), ("b", (2, 3))] and iterator.provide_label == [("l", (2,))]
    batch = next(iterator)
    assert [np.dtype(array.dtype).name for array in (*batch.data, *batch.label)] == ["float32", "float32", "int32"]
    unnamed = io.NDArrayIter([np.zeros((4, 2)), np.zeros((4, 3))])
    assert [entry.name for entry in unnamed.provide_data] == ["_0_data", "_1_data"]
    assert unnamed.provide_label == [] and next(unnamed).label == []


@given(st.integers(1, 30), st.integers(1, 9), st.sampled_from(["pad", "discard", "roll_over"]), st.integers(1, 4))
def test_every_sample_is_seen_as_often_as_promised(length, size, last, passes):
    iterator = io.NDArrayIter(np.arange(length), None, size, shuffle=True, last_batch_handle=last)
    seen = []
    for _ in range(passes):
        batches = list(iterator)
        assert all(batch.data[0].shape == (size,) for batch in batches)
        flat = [int(x) for batch in batches for x in batch.data[0].asnumpy()]
        if last == "pad":
            flat = flat[:length]
            assert sorted(flat) == list(range(length))
        elif last == "discard":
            assert len(flat) == length // size * size and len(set(flat)) == len(flat)
        seen += flat
        iterator.reset()
    if last == "roll_over":
        assert len(seen) == length * passes // size * size
        counts = np.bincount(seen, minlength=length)
        assert counts.max() <= passes and counts.min() >= passes - 1 - size // length


def test_hard_reset_forgets_what_was_left():
    iterator = io.NDArrayIter(np.arange(3.0), batch_size=2, last_batch_handle="roll_over")
    assert len(list(iterator)) == 1
    iterator.hard_reset()
    assert epoch(iterator) == [([0, 1], 0)]


@pytest.mark.parametrize(
    "make, kind, message",
    [
        (
            lambda: io.NDArrayIter(np.zeros((3, 2)), np.zeros(4)),
            ShapeError,
            r"(?s)differ in length.*3 in 'data', 4 in 'softmax_label'",
        ),
        (lambda: io.NDArrayIter(None), ArgumentError, "no data"),
        (lambda: io.NDArrayIter("x"), DTypeError, "an array, or a list or dictionary"),
        (lambda: io.NDArrayIter(["x"]), DTypeError, "an array, or a list or dictionary"),
        (lambda: io.NDArrayIter(np.zeros(0)), ShapeError, "no samples"),
        (lambda: io.NDArrayIter(np.zeros(3), last_batch_handle="x"), ArgumentError, "'pad', 'discard' or 'roll_over'"),
        (lambda: io.NDArrayIter(np.zeros(3), batch_size=0), ArgumentError, "batch_size is a positive integer"),
        (lambda: io.NDArrayIter(np.zeros(3)).getdata(), ArgumentError, "no current batch"),
        (lambda: io.ResizeIter(io.NDArrayIter(np.zeros(3)), 2).getdata(), ArgumentError, "no current batch"),
        (lambda: io.DataBatch(np.zeros(3)), TypeError, "data is a list"),
        (lambda: io.DataIter().next(), NotImplementedError, "iter_next"),
        (lambda: io.PrefetchingIter([]), ArgumentError, "At least one"),
    ],
)
def test_errors(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_descriptions():
    desc = io.DataDesc("x", (2, 3))
    assert repr(desc) == "DataDesc[x,(2, 3),<class 'numpy.float32'>,NCHW]"
    assert tuple(desc) == ("x", (2, 3)) and desc == io.DataDesc("x", (2, 3), "int32")
    assert io.DataDesc.get_batch_axis("TNC") == 1 and io.DataDesc.get_batch_axis(None) == 0
    assert io.DataDesc.get_list([("a", (1, 2))], [("a", np.int32)])[0].dtype is np.int32
    assert io.DataDesc.get_list([("a", (1, 2))], None)[0].dtype is np.float32
    assert str(io.DataBatch([nd.zeros((2, 3))], None)) == "DataBatch: data shapes: [(2, 3)] label shapes: None"


def test_resize_iter():
    iterator = io.ResizeIter(io.NDArrayIter(np.arange(10.0), None, 3), 5)
    expected = [([0, 1, 2], 0), ([3, 4, 5], 0), ([6, 7, 8], 0), ([9, 0, 1], 2), ([0, 1, 2], 0)]
    assert epoch(iterator) == epoch(iterator) == expected
    going_on = io.ResizeIter(io.NDArrayIter(np.arange(6.0), None, 2), 2, reset_internal=False)
    assert [batch[0] for batch in epoch(going_on) + epoch(going_on)] == [[0, 1], [2, 3], [4, 5], [0, 1]]
    assert iterator.provide_data == [("data", (3,))]


def test_prefetching_iter():
    plain = io.PrefetchingIter(io.NDArrayIter(np.arange(10.0), None, 3))
    assert epoch(plain) == epoch(plain) == [([0, 1, 2], 0), ([3, 4, 5], 0), ([6, 7, 8], 0), ([9, 0, 1], 2)]
    both = io.PrefetchingIter(
        [io.NDArrayIter(np.arange(4.0), np.arange(4), 2), io.NDArrayIter(-np.arange(4.0), np.arange(4), 2)],
        rename_data=[{"data": "d1"}, {"data": "d2"}],
        rename_label=[{"softmax_label": "l1"}, {"softmax_label": "l2"}],
    )
    assert [entry.name for entry in both.provide_data + both.provide_label] == ["d1", "d2", "l1", "l2"]
    assert [[array.asnumpy().tolist() for array in batch.data] for batch in both] == [
        [[0, 1], [0, -1]],
        [[2, 3], [-2, -3]],
    ]
    uneven = io.PrefetchingIter([io.NDArrayIter(np.arange(4.0), None, 2), io.NDArrayIter(np.arange(6.0), None, 2)])
    with pytest.raises(ArgumentError, match="do not end together"):
        list(uneven)
    with pytest.raises(ArgumentError, match="one dictionary of names for each"):
        io.PrefetchingIter(io.NDArrayIter(np.arange(4.0)), rename_data=[{}, {}])


def test_an_error_in_a_prefetching_thread_is_raised_here():
    class Broken(io.NDArrayIter):
        def next(self):
            assert threading.current_thread() is not threading.main_thread()
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        next(io.PrefetchingIter(Broken(np.arange(4.0))))


@pytest.fixture
def csv(tmp_path):
    np.savetxt(tmp_path / "d.csv", np.arange(15).reshape(5, 3), delimiter=",")
    np.savetxt(tmp_path / "l.csv", np.arange(5), delimiter=",")
    return tmp_path


def test_csv_goes_round(csv):
    iterator = io.CSVIter(data_csv=csv / "d.csv", data_shape=(3,), label_csv=csv / "l.csv", batch_size=2)
    assert iterator.provide_data == [("data", (2, 3))] and iterator.provide_label == [("softmax_label", (2,))]
    passes = []
    for _ in range(2):
        passes.append([(batch.label[0].asnumpy().tolist(), batch.pad, batch.index.tolist()) for batch in iterator])
        iterator.reset()
    assert passes == [
        [([0, 1], 0, [0, 1]), ([2, 3], 0, [2, 3]), ([4, 0], 1, [4, 0])],
        [([1, 2], 0, [1, 2]), ([3, 4], 0, [3, 4])],
    ]
    padded = io.CSVIter(data_csv=csv / "d.csv", data_shape=(3,), batch_size=2, round_batch=False, dtype="int32")
    assert [batch[1] for batch in epoch(padded)] == [batch[1] for batch in epoch(padded)] == [0, 0, 1]
    batch = next(padded)
    assert np.dtype(batch.data[0].dtype) == np.int32 and batch.label[0].asnumpy().tolist() == [0, 0]


def test_csv_shapes_and_errors(csv):
    assert next(io.CSVIter(csv / "d.csv", (3, 1), batch_size=5)).data[0].shape == (5, 3, 1)
    with pytest.raises(ShapeError, match=r"(?s)4 numbers for shape \(2, 2\).*3 numbers"):
        io.CSVIter(csv / "d.csv", (2, 2))
    with pytest.raises(ShapeError, match="differ in length"):
        (csv / "short.csv").write_text("1\n2\n")
        io.CSVIter(csv / "d.csv", (3,), csv / "short.csv")
    (csv / "bad.csv").write_text("1,2,3\n1,2\n")
    with pytest.raises(FileFormatError, match="no table of numbers"):
        io.CSVIter(csv / "bad.csv", (3,))
    (csv / "bad.csv").write_text("a,b,c\n")
    with pytest.raises(FileFormatError, match="without a heading"):
        io.CSVIter(csv / "bad.csv", (3,))


@pytest.fixture
def mnist(tmp_path):
    images = np.arange(5 * 28 * 28).reshape(5, 28, 28) % 256
    for name, array in (("i", images), ("l", np.arange(5))):
        content = (
            bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()
        )
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path, images


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist(mnist, ending):
    folder, images = mnist
    files = {"image": folder / f"i{ending}", "label": folder / f"l{ending}"}
    iterator = io.MNISTIter(**files, batch_size=2, shuffle=False, silent=True)
    batches = list(iterator)
    assert len(batches) == 2 and batches[0].data[0].shape == (2, 1, 28, 28)
    np.testing.assert_allclose(batches[1].data[0].asnumpy()[:, 0], images[2:4] / 256)
    assert batches[1].label[0].asnumpy().tolist() == [2, 3]
    assert next(io.MNISTIter(**files, batch_size=2, flat=True)).data[0].shape == (2, 784)
    part = io.MNISTIter(**files, batch_size=2, shuffle=False, num_parts=2, part_index=1)
    assert [batch.label[0].asnumpy().tolist() for batch in part] == [[2, 3]]
    shuffled = [int(x) for batch in io.MNISTIter(**files, batch_size=5, seed=1) for x in batch.label[0].asnumpy()]
    assert sorted(shuffled) == [0, 1, 2, 3, 4] and shuffled == [
        int(x) for x in next(io.MNISTIter(**files, batch_size=5, seed=1)).label[0].asnumpy()
    ]


def test_mnist_errors(mnist):
    folder, _ = mnist
    with pytest.raises(FileFormatError, match="no IDX file of bytes with 3 dimensions"):
        io.MNISTIter(folder / "l", folder / "l")
    (folder / "short").write_bytes((folder / "i").read_bytes()[:-1])
    with pytest.raises(FileFormatError, match="does not agree with its head"):
        io.MNISTIter(folder / "short", folder / "l")
    with pytest.raises(ArgumentError, match="part_index"):
        io.MNISTIter(folder / "i", folder / "l", num_parts=2, part_index=2)
    with pytest.raises(TypeError, match="Unknown argument"):
        io.MNISTIter(folder / "i", folder / "l", sheep=2)


def test_the_namespace_has_the_image_iterators():
    from glueball.image.record_iter import ImageRecordIter

    assert io.ImageRecordIter is ImageRecordIter
    with pytest.raises(AttributeError, match="nothing"):
        io.nothing
    with pytest.raises(AttributeError, match=r"LibSVMIter is not offered: .*NDArrayIter"):
        io.LibSVMIter
