"""image: decoding, geometry, augmenters, iterators, and what they say about input that is wrong."""

from __future__ import annotations

import json
import random
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glueball import image, io, nd, recordio
from glueball.base import resample
from glueball.base.errors import ArgumentError, DTypeError, FileFormatError, ShapeError
from glueball.image import codec

PIXELS = (np.arange(6 * 8 * 3).reshape(6, 8, 3) * 1.7).astype(np.uint8)
PNG = codec.encode(PIXELS, ".png", 3)


def array(pixels=PIXELS):
    return nd.array(pixels, dtype=pixels.dtype)


# ------------------------------------------------------------------------------------------------------------- decoding
def test_decode_kinds():
    np.testing.assert_array_equal(image.imdecode(PNG).asnumpy(), PIXELS)
    np.testing.assert_array_equal(image.imdecode(PNG, to_rgb=False).asnumpy(), PIXELS[..., ::-1])
    np.testing.assert_array_equal(
        image.imdecode(nd.array(np.frombuffer(PNG, np.uint8), dtype="uint8")).asnumpy(), PIXELS
    )
    grey = image.imdecode(PNG, flag=0)
    assert grey.shape == (6, 8, 1)
    np.testing.assert_allclose(grey.asnumpy()[..., 0], PIXELS @ [0.299, 0.587, 0.114], atol=1)
    out = nd.zeros((6, 8, 3), dtype="uint8")
    assert image.imdecode(PNG, out=out) is out
    np.testing.assert_array_equal(out.asnumpy(), PIXELS)


def test_decode_what_files_hold(tmp_path):
    image_module = codec.pillow()
    with_alpha = np.concatenate([PIXELS, np.full((6, 8, 1), 9, np.uint8)], 2)
    data = codec.encode(with_alpha, ".png", 3)
    np.testing.assert_array_equal(image.imdecode(data).asnumpy(), PIXELS)
    np.testing.assert_array_equal(image.imdecode(data, -1).asnumpy(), with_alpha)
    sixteen = image_module.fromarray((np.arange(48).reshape(6, 8) * 1000).astype(np.uint16))
    sixteen.save(tmp_path / "16.png")
    np.testing.assert_array_equal(
        image.imread(tmp_path / "16.png", 0).asnumpy()[..., 0], np.arange(48).reshape(6, 8) * 1000 >> 8
    )
    turned = image_module.fromarray(PIXELS)
    exif = turned.getexif()
    exif[0x0112] = 6  # "rotate by 90 degrees to view"
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    assert image.imread(tmp_path / "turned.jpg").shape == (8, 6, 3)
    image_module.fromarray(PIXELS).convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert image.imread(tmp_path / "cmyk.jpg").shape == (6, 8, 3)
    image_module.fromarray(PIXELS).convert("P").save(tmp_path / "palette.png")
    assert image.imread(tmp_path / "palette.png", -1).shape == (6, 8, 3)


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: image.imdecode(b""), FileFormatError, "the buffer is empty"),
        (lambda: image.imdecode(b"abc"), FileFormatError, r"(?s)cannot be decoded.*3 bytes beginning b'abc'"),
        (lambda: image.imdecode(PNG[: len(PNG) // 2]), FileFormatError, "cannot be decoded"),
        (lambda: image.imdecode("a.png"), DTypeError, "binary mode"),
        (lambda: image.imdecode(nd.zeros(4)), DTypeError, "a uint8 array"),
        (lambda: image.imdecode(PNG, 2), ArgumentError, "flag is 1"),
        (lambda: image.imdecode(PNG, out=nd.zeros((1,))), ShapeError, "does not fit into `out`"),
        (lambda: image.imread("/nowhere/a.png"), FileNotFoundError, r"(?s)image\.imread.*/nowhere/a\.png"),
    ],
)
def test_decode_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_without_pillow_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        image.imdecode(PNG)


def test_encode_errors():
    with pytest.raises(DTypeError, match="uint8"):
        codec.encode(PIXELS.astype(np.float32))
    with pytest.raises(ShapeError, match="channels-first"):
        codec.encode(PIXELS.transpose(2, 0, 1))
    with pytest.raises(ArgumentError, match=r"\.xyz"):
        codec.encode(PIXELS, ".xyz")


# ------------------------------------------------------------------------------------------------------------- geometry
@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 15), st.integers(1, 15), st.sampled_from([0, 1, 2, 3, 4, 9])
)
def test_resizing_keeps_a_flat_image_flat(height, width, new_height, new_width, interp):
    flat = np.full((height, width, 2), 77, np.uint8)
    resized = resample.resize(flat, new_width, new_height, interp)
    assert resized.shape == (new_height, new_width, 2)
    assert (resized == 77).all()


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
def test_shrinking_by_area_is_the_mean_of_blocks(height, width, factor):
    pixels = np.random.RandomState(0).rand(height * factor, width * factor, 1).astype(np.float32)
    blocks = pixels.reshape(height, factor, width, factor, 1).mean((1, 3))
    np.testing.assert_allclose(resample.resize(pixels, width, height, 3), blocks, rtol=1e-5)


def test_interpolation_is_chosen_by_size():
    assert resample.choose_method(9, (4, 4), (8, 8)) == 2
    assert resample.choose_method(9, (8, 8), (4, 4)) == 3
    assert resample.choose_method(9, (8, 8), (4, 16)) == 1
    assert resample.choose_method(10) in range(5)
    with pytest.raises(ArgumentError, match="Unknown interpolation"):
        image.imresize(array(), 2, 2, 7)
    with pytest.raises(ArgumentError, match="new size is positive"):
        image.imresize(array(), 0, 2)
    with pytest.raises(ShapeError, match="height × width × channels"):
        image.imresize(nd.zeros((3, 4)), 2, 2)


def test_crops():
    assert image.resize_short(array(), 3).shape == (3, 4, 3)
    assert image.resize_short(nd.transpose(array(), (1, 0, 2)), 3).shape == (4, 3, 3)
    assert image.scale_down((360, 1000), (480, 500)) == (360, 375)
    part, box = image.center_crop(array(), (4, 2))
    assert box == (2, 2, 4, 2)
    np.testing.assert_array_equal(part.asnumpy(), PIXELS[2:4, 2:6])
    for _ in range(20):
        part, (x, y, w, h) = image.random_crop(array(), (4, 2))
        assert (w, h) == (4, 2)
        np.testing.assert_array_equal(part.asnumpy(), PIXELS[y : y + 2, x : x + 4])
        part, (x, y, w, h) = image.random_size_crop(array(), (5, 5), (0.2, 0.8), (0.5, 2.0))
        assert part.shape == (5, 5, 3) and 0 <= x <= 8 - w and 0 <= y <= 6 - h
    assert image.random_size_crop(array(), (5, 5), 0.99, (9.0, 10.0))[1] == image.center_crop(array(), (5, 5))[1]
    with pytest.raises(ShapeError, match="does not lie in the image"):
        image.fixed_crop(array(), 9, 0, 2, 2)
    with pytest.raises(TypeError, match="Unknown argument"):
        image.random_size_crop(array(), (5, 5), 0.5, (1, 1), sheep=1)


def test_color_normalize():
    floats = array().astype("float32")
    ours = image.color_normalize(floats, nd.array([1, 2, 3]), nd.array([2, 2, 4]))
    np.testing.assert_allclose(ours.asnumpy(), (PIXELS - np.array([1.0, 2, 3])) / [2, 2, 4], rtol=1e-6)
    np.testing.assert_allclose(image.color_normalize(floats, 5).asnumpy(), PIXELS.astype(float) - 5)
    np.testing.assert_allclose(image.color_normalize(floats, None, (2, 2, 2)).asnumpy(), PIXELS / 2)
    with pytest.raises(DTypeError, match=r"astype\('float32'\)"):
        image.color_normalize(array(), 5)


def test_rotate_arguments():
    batch = nd.array(np.random.rand(2, 3, 5, 5))
    both = image.imrotate(batch, nd.array([30, 20]))
    np.testing.assert_allclose(both[1].asnumpy(), image.imrotate(batch[1], 20).asnumpy(), rtol=1e-5)
    assert image.random_rotate(batch, (-10, 10)).shape == (2, 3, 5, 5)
    assert image.random_rotate(batch[0], (-10, 10)).shape == (3, 5, 5)
    for call, kind, message in (
        (lambda: image.imrotate(array(), 3), DTypeError, "ToTensor"),
        (lambda: image.imrotate(batch, 3, True, True), ArgumentError, "exclude each other"),
        (lambda: image.imrotate(batch, nd.array([1, 2, 3])), ShapeError, "2 angles"),
        (lambda: image.imrotate(nd.zeros((2, 2)), 3), ShapeError, "channels × height × width"),
    ):
        with pytest.raises(kind, match=message):
            call()


# ----------------------------------------------------------------------------------------------------------- augmenters
def test_the_usual_list():
    everything = image.CreateAugmenter(
        (3, 4, 5),
        resize=7,
        rand_crop=True,
        rand_mirror=True,
        mean=True,
        std=True,
        brightness=0.1,
        contrast=0.1,
        saturation=0.1,
        hue=0.1,
        pca_noise=0.1,
        rand_gray=0.1,
    )
    assert [type(part).__name__ for part in everything] == [
        "ResizeAug",
        "RandomCropAug",
        "HorizontalFlipAug",
        "CastAug",
        "ColorJitterAug",
        "HueJitterAug",
        "LightingAug",
        "RandomGrayAug",
        "ColorNormalizeAug",
    ]
    result = image.SequentialAug(everything)(array())
    assert result.shape == (4, 5, 3) and np.dtype(result.dtype) == np.float32
    assert [type(part).__name__ for part in image.CreateAugmenter((3, 4, 5), rand_crop=True, rand_resize=True)] == [
        "RandomSizedCropAug",
        "CastAug",
    ]
    assert json.loads(everything[0].dumps()) == ["resizeaug", {"size": 7, "interp": 2}]
    assert json.loads(everything[-1].dumps())[1]["mean"] == [123.68, 116.28, 103.53]
    assert everything[4].dumps()[0] == "colorjitteraug"
    with pytest.raises(ArgumentError, match="rand_crop=True"):
        image.CreateAugmenter((3, 4, 5), rand_resize=True)
    with pytest.raises(ArgumentError, match="1 or 3 channels"):
        image.CreateAugmenter((2, 4, 5))
    with pytest.raises(ArgumentError, match="Unknown interpolation"):
        image.CreateAugmenter((3, 4, 5), inter_method=6)


def test_single_augmenters():
    assert image.ForceResizeAug((4, 2))(array()).shape == (2, 4, 3)
    assert image.RandomSizedCropAug((4, 2), 0.5, (1, 1))(array()).shape == (2, 4, 3)
    np.testing.assert_array_equal(image.HorizontalFlipAug(1)(array()).asnumpy(), PIXELS[:, ::-1])
    assert image.HorizontalFlipAug(0)(array()) is not None
    seen = []

    class Note(image.Augmenter):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def __call__(self, src):
            seen.append(self.name)
            return src

    random.seed(1)
    order = image.RandomOrderAug([Note(0), Note(1), Note(2)])
    for _ in range(30):
        order(array())
    rounds = {tuple(seen[start : start + 3]) for start in range(0, 90, 3)}
    assert len(rounds) > 3 and all(sorted(round_) == [0, 1, 2] for round_ in rounds)
    with pytest.raises(NotImplementedError, match="defines __call__"):
        image.Augmenter()(array())


# ------------------------------------------------------------------------------------------------------------ iterators
@pytest.fixture
def files(tmp_path):
    stem = tmp_path / "a"
    with recordio.MXIndexedRecordIO(f"{stem}.idx", f"{stem}.rec", "w") as out:
        for number in range(5):
            out.write_idx(number, recordio.pack(recordio.IRHeader(0, float(number), number, 0), PNG))
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.lst").write_text("".join(f"{number}\t{number * 10}\ta.png\n" for number in range(5)))
    return {"path_imgrec": f"{stem}.rec", "path_imgidx": f"{stem}.idx"}, tmp_path


def labels(iterator):
    got = [(batch.label[0].asnumpy().tolist(), batch.pad) for batch in iterator]
    iterator.reset()
    return got


@pytest.mark.parametrize(
    "last, epochs",
    [
        ("pad", [[([0, 1], 0), ([2, 3], 0), ([4, 0], 1)]] * 2),
        ("discard", [[([0, 1], 0), ([2, 3], 0)]] * 2),
        ("roll_over", [[([0, 1], 0), ([2, 3], 0)], [([4, 0], 1), ([1, 2], 0), ([3, 4], 0)]]),
    ],
)
def test_image_iter_passes(files, last, epochs):
    record, _ = files
    for arguments in (record, {"path_imgrec": record["path_imgrec"]}):
        iterator = image.ImageIter(2, (3, 4, 4), last_batch_handle=last, **arguments)
        assert iterator.provide_data == [("data", (2, 3, 4, 4))] and iterator.provide_label == [("softmax_label", (2,))]
        assert [labels(iterator) for _ in range(2)] == epochs
        iterator.hard_reset()
        assert labels(iterator) == epochs[0]


def test_image_iter_sources(files):
    record, folder = files
    batch = next(image.ImageIter(5, (3, 6, 8), **record))
    np.testing.assert_array_equal(batch.data[0].asnumpy()[0], PIXELS.transpose(2, 0, 1))
    assert labels(image.ImageIter(2, (3, 4, 4), num_parts=2, part_index=1, **record)) == [([2, 3], 0)]
    assert labels(image.ImageIter(5, (3, 4, 4), path_imglist=folder / "a.lst", path_root=folder)) == [
        ([0, 10, 20, 30, 40], 0)
    ]
    assert labels(image.ImageIter(5, (3, 4, 4), path_imglist=folder / "a.lst", **record)) == [([0, 10, 20, 30, 40], 0)]
    two = image.ImageIter(2, (1, 4, 4), 2, imglist=[[1, 2, "a.png"], [3, 4, "a.png"]], path_root=folder)
    assert labels(two) == [([[1, 2], [3, 4]], 0)] and next(two).data[0].shape == (2, 1, 4, 4)
    random.seed(1)
    shuffled = image.ImageIter(
        5, (3, 4, 4), shuffle=True, dtype="uint8", aug_list=[image.CenterCropAug((4, 4))], **record
    )
    orders = {tuple(labels(shuffled)[0][0]) for _ in range(5)}
    assert len(orders) > 1 and all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert np.dtype(next(shuffled).data[0].dtype) == np.uint8


def test_image_iter_errors(files):
    record, folder = files
    only_records = {"path_imgrec": record["path_imgrec"]}
    for arguments, kind, message in (
        ({}, ArgumentError, "There are no images"),
        ({**only_records, "shuffle": True}, ArgumentError, "rebuild_index"),
        ({**record, "num_parts": 2, "part_index": 2}, ArgumentError, "part_index"),
        ({**record, "last_batch_handle": "x"}, ArgumentError, "'roll_over'"),
        ({**record, "label_width": 0}, ArgumentError, "label_width"),
    ):
        with pytest.raises(kind, match=message):
            image.ImageIter(2, (3, 4, 4), **arguments)
    with pytest.raises(ShapeError, match=r"label_width=\.\.\."):
        next(image.ImageIter(2, (3, 4, 4), 2, **record))
    with pytest.raises(ShapeError, match="crop or ForceResizeAug"):
        next(image.ImageIter(2, (3, 4, 4), aug_list=[], **record))
    (folder / "bad.lst").write_text("x\t1\ta.png\n")
    with pytest.raises(FileFormatError, match="Line 1 of the list"):
        image.ImageIter(2, (3, 4, 4), path_imglist=folder / "bad.lst")
    (folder / "bad.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="an image was left out"):
        assert labels(image.ImageIter(1, (3, 4, 4), imglist=[[1, "bad.png"], [2, "a.png"]], path_root=folder)) == [
            ([2], 0)
        ]


def test_record_iter_goes_round_and_repeats(files):
    record, folder = files
    iterator = io.ImageRecordIter(data_shape=(3, 4, 4), batch_size=2, **record)
    assert [labels(iterator) for _ in range(3)] == [
        [([0, 1], 0), ([2, 3], 0), ([4, 0], 1)],
        [([1, 2], 0), ([3, 4], 0)],
        [([0, 1], 0), ([2, 3], 0), ([4, 0], 1)],
    ]
    padded = io.ImageRecordIter(
        data_shape=(3, 4, 4), batch_size=2, round_batch=False, path_imgrec=record["path_imgrec"]
    )
    assert [labels(padded) for _ in range(2)] == [[([0, 1], 0), ([2, 3], 0), ([4, 4], 1)]] * 2
    listed = io.ImageRecordIter(data_shape=(3, 4, 4), batch_size=5, path_imglist=folder / "a.lst", **record)
    assert labels(listed) == [([0, 10, 20, 30, 40], 0)]
    parts = [
        labels(io.ImageRecordIter(data_shape=(3, 4, 4), batch_size=1, num_parts=2, part_index=part, **record))
        for part in (0, 1)
    ]
    assert [label for part in parts for (label,), _ in part] == [0, 1, 2, 3, 4]

    def run(threads, seed):
        random_iterator = io.ImageRecordIter(
            data_shape=(3, 4, 4),
            batch_size=5,
            shuffle=True,
            seed=seed,
            preprocess_threads=threads,
            rand_crop=True,
            rand_mirror=True,
            brightness=0.3,
            contrast=0.3,
            saturation=0.3,
            pca_noise=0.1,
            random_resized_crop=True,
            min_random_area=0.3,
            max_aspect_ratio=0.2,
            **record,
        )
        batch = next(random_iterator)
        return batch.data[0].asnumpy(), batch.label[0].asnumpy()

    for one, four in zip(run(1, 5), run(4, 5)):
        np.testing.assert_array_equal(one, four)
    assert (run(1, 5)[0] != run(1, 6)[0]).any()
    uint8 = next(io.ImageRecordUInt8Iter(data_shape=(3, 6, 8), batch_size=1, mirror=True, **record)).data[0]
    assert np.dtype(uint8.dtype) == np.uint8
    np.testing.assert_array_equal(uint8.asnumpy()[0], PIXELS[:, ::-1].transpose(2, 0, 1))
    assert next(io.ImageRecordIter(data_shape=(1, 20, 20), batch_size=1, **record)).data[0].shape == (1, 1, 20, 20)


def test_record_iter_errors(files):
    record, folder = files
    for arguments, kind, message in (
        ({"sheep": 1}, TypeError, "Unknown argument"),
        ({"max_rotate_angle": 10}, ArgumentError, "max_rotate_angle is not offered"),
        ({"dtype": "int8"}, ArgumentError, "'float32' or 'uint8'"),
        ({"std_r": 0}, ArgumentError, "none of them 0"),
        ({"num_parts": 9, "part_index": 0}, ArgumentError, "no images in this part"),
        ({"inter_method": 8}, ArgumentError, "Unknown interpolation"),
    ):
        with pytest.raises(kind, match=message):
            io.ImageRecordIter(data_shape=(3, 4, 4), batch_size=2, **record, **arguments)
    assert (
        io.ImageRecordIter(data_shape=(3, 4, 4), batch_size=2, max_rotate_angle=0, verbose=False, **record).batch_size
        == 2
    )
    with pytest.raises(ShapeError, match="label_width"):
        next(io.ImageRecordIter(data_shape=(3, 4, 4), batch_size=2, label_width=2, **record))
    with recordio.MXRecordIO(folder / "bad.rec", "w") as out:
        out.write(recordio.pack(recordio.IRHeader(0, 1.0, 0, 0), b"no image"))
    with pytest.raises(FileFormatError, match="image of the record at byte 0 cannot be decoded"):
        next(io.ImageRecordIter(folder / "bad.rec", (3, 4, 4), 1))
