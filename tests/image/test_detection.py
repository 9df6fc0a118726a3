"""Images with boxes: boxes follow the pixels, whatever is done to the image."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glueball import image, nd, recordio
from glueball.base.errors import ArgumentError, FileFormatError, ShapeError
from glueball.image import codec

BOXES = np.array([[0, 0.1, 0.2, 0.5, 0.6], [1, 0.5, 0.25, 0.9, 0.75]], np.float32)


def marked(height=40, width=60):
    """An image whose red channel is 255 exactly inside the first box."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[int(0.2 * height) : int(0.6 * height), int(0.1 * width) : int(0.5 * width), 0] = 255
    return nd.array(pixels, dtype="uint8")


def check(pixels, boxes):
    """The marked pixels are inside the first box, and fill it."""
    height, width = pixels.shape[:2]
    rows, columns = np.nonzero(pixels.asnumpy()[..., 0] == 255)
    (box,) = boxes[boxes[:, 0] == 0]
    np.testing.assert_allclose(
        [columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height],
        box[1:5],
        atol=1e-6,
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "make",
    [
        lambda: image.DetRandomCropAug(min_object_covered=0.5),
        lambda: image.DetRandomPadAug(),
        lambda: image.DetHorizontalFlipAug(1.0),
    ],
)
def test_boxes_follow_the_pixels(make, seed):
    random.seed(seed)
    original = BOXES.copy()
    pixels, boxes = make()(marked(), BOXES)
    np.testing.assert_array_equal(BOXES, original)  # the label that came in is not changed
    if (boxes[:, 0] == 0).any():
        check(pixels, boxes)


def test_mirrored_boxes():
    _, boxes = image.DetHorizontalFlipAug(1.0)(marked(), BOXES)
    np.testing.assert_allclose(boxes, [[0, 0.5, 0.2, 0.9, 0.6], [1, 0.1, 0.25, 0.5, 0.75]], atol=1e-6)
    same, boxes = image.DetHorizontalFlipAug(0.0)(marked(), BOXES)
    assert boxes is BOXES


@given(st.integers(0, 1000), st.floats(0.1, 0.9))
def test_crops_show_enough_of_what_they_touch(seed, least):
    random.seed(seed)
    source = marked()
    pixels, boxes = image.DetRandomCropAug(min_object_covered=least, min_eject_coverage=0.0, area_range=(0.1, 0.9))(
        source, BOXES
    )
    if pixels is source:
        return
    height, width = pixels.shape[:2]
    area = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2]) * height * width
    whole = (BOXES[:, 3] - BOXES[:, 1]) * (BOXES[:, 4] - BOXES[:, 2]) * 40 * 60
    assert len(boxes) >= 1
    assert (area / whole[boxes[:, 0].astype(int)] > least - 1e-3).all()
    assert (boxes[:, 1:5] >= 0).all() and (boxes[:, 1:5] <= 1).all()


def test_impossible_crops_leave_the_image():
    source = marked()
    pixels, boxes = image.DetRandomCropAug(min_object_covered=1.0, max_attempts=3)(source, BOXES)
    assert pixels is source and boxes is BOXES
    assert image.DetRandomPadAug(area_range=(1.0, 1.0))(source, BOXES)[0] is source


def test_choices_and_borrowing():
    assert image.DetRandomSelectAug([image.DetHorizontalFlipAug(1.0)], 1.0)(marked(), BOXES)[1] is BOXES
    assert image.DetRandomSelectAug([], 0)(marked(), BOXES)[1] is BOXES
    assert np.dtype(image.DetBorrowAug(image.CastAug())(marked(), BOXES)[0].dtype) == np.float32
    many = image.CreateMultiRandCropAugmenter(min_object_covered=[0.1, 0.5], skip_prob=0.5)
    assert [part.min_object_covered for part in many.aug_list] == [0.1, 0.5] and many.skip_prob == 0.5
    assert many.dumps()[0] == "detrandomselectaug"
    for call, kind, message in (
        (
            lambda: image.CreateMultiRandCropAugmenter(min_object_covered=[0.1, 0.5], max_attempts=[1, 2, 3]),
            ArgumentError,
            "of one length",
        ),
        (lambda: image.DetBorrowAug(3), TypeError, "image.Augmenter"),
        (lambda: image.DetRandomSelectAug([3]), TypeError, "DetAugmenter"),
        (lambda: image.DetRandomCropAug(area_range=(2, 1)), ArgumentError, "area_range"),
        (lambda: image.DetAugmenter()(marked(), BOXES), NotImplementedError, "__call__"),
    ):
        with pytest.raises(kind, match=message):
            call()


def test_the_usual_list():
    made = image.CreateDetAugmenter(
        (3, 20, 30),
        resize=25,
        rand_crop=0.5,
        rand_pad=0.5,
        rand_gray=0.1,
        rand_mirror=True,
        mean=True,
        std=True,
        brightness=0.1,
        contrast=0.1,
        saturation=0.1,
        pca_noise=0.1,
        hue=0.1,
    )
    assert [part.dumps()[0] if isinstance(part.dumps(), list) else "flip" for part in made] == [
        "detborrowaug",
        "detrandomselectaug",
        "flip",
        "detrandomselectaug",
    ] + ["detborrowaug"] * 7
    pixels, boxes = marked(), BOXES
    for part in made:
        pixels, boxes = part(pixels, boxes)
    assert pixels.shape == (20, 30, 3) and boxes.shape[1] == 5


@pytest.fixture
def files(tmp_path):
    stem = tmp_path / "d"
    with recordio.MXIndexedRecordIO(f"{stem}.idx", f"{stem}.rec", "w") as out:
        for number in range(3):
            label = [2, 5, number, 0.1, 0.2, 0.5, 0.6] + ([1, 0.3, 0.3, 0.9, 0.8] if number == 1 else [])
            out.write_idx(
                number,
                recordio.pack(recordio.IRHeader(0, label, number, 0), codec.encode(marked().asnumpy(), ".png", 3)),
            )
    return {"path_imgrec": f"{stem}.rec", "path_imgidx": f"{stem}.idx"}


def test_iterator(files):
    iterator = image.ImageDetIter(2, (3, 8, 8), **files)
    assert iterator.provide_data == [("data", (2, 3, 8, 8))] and iterator.provide_label == [("label", (2, 2, 5))]
    batches = list(iterator)
    assert [batch.pad for batch in batches] == [0, 1]
    np.testing.assert_allclose(
        batches[0].label[0].asnumpy(),
        [[[0, 0.1, 0.2, 0.5, 0.6], [-1] * 5], [[1, 0.1, 0.2, 0.5, 0.6], [1, 0.3, 0.3, 0.9, 0.8]]],
        rtol=1e-6,
    )
    iterator.reset()
    iterator.reshape(data_shape=(3, 10, 12), label_shape=(4, 5))
    batch = next(iterator)
    assert batch.data[0].shape == (2, 3, 10, 12) and batch.label[0].shape == (2, 4, 5)
    other = image.ImageDetIter(2, (3, 8, 8), **files)
    assert iterator.sync_label_shape(other) is other
    assert other.provide_label == [("label", (2, 4, 5))]
    with pytest.raises(ArgumentError, match="at least 4 objects of width 5"):
        iterator.reshape(label_shape=(2, 5))
    with pytest.raises(TypeError, match="ImageDetIter too"):
        iterator.sync_label_shape(3)


@pytest.mark.parametrize(
    "label, message",
    [
        ([2, 5, 0], "too short"),
        ([2, 4, 0, 0.1, 0.2, 0.5, 0.6], "does not agree with its head"),
        ([2, 5, 0, 0.1, 0.2, 0.5, 0.6, 9], "does not agree"),
        ([2, 5, 0, 0.5, 0.2, 0.1, 0.6], "No box of a label has any area"),
    ],
)
def test_bad_labels(files, label, message):
    iterator = image.ImageDetIter(2, (3, 8, 8), **files)
    with pytest.raises(FileFormatError, match=message):
        iterator._parse_label(np.array(label))
    assert iterator._parse_label(np.array([4, 5, 9, 9, 0, 0.1, 0.2, 0.5, 0.6])).shape == (1, 5)


def test_augmenters_that_do_not_give_the_shape(files):
    with pytest.raises(ShapeError, match="ForceResizeAug"):
        next(image.ImageDetIter(2, (3, 8, 8), aug_list=[], **files))
