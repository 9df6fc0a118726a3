"""Transforms: shapes, dtypes, values, and what they say about images they cannot take."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest

import glueball as mx
from glueball import image, nd
from glueball.base.errors import ArgumentError, DTypeError, ShapeError
from glueball.gluon import data
from glueball.gluon.data.vision import transforms

PIXELS = (np.random.RandomState(0).rand(13, 17, 3) * 255).astype("uint8")


def picture():
    return nd.array(PIXELS, dtype="uint8")


@pytest.mark.parametrize(
    "transform, shape",
    [
        (transforms.Resize(5), (5, 5, 3)),
        (transforms.Resize((5, 7)), (7, 5, 3)),
        (transforms.Resize(5, keep_ratio=True), (5, 6, 3)),
        (transforms.CenterCrop(5), (5, 5, 3)),
        (transforms.CenterCrop((5, 7)), (7, 5, 3)),
        (transforms.CenterCrop(50), (50, 50, 3)),
        (transforms.CropResize(1, 2, 5, 6), (6, 5, 3)),
        (transforms.CropResize(1, 2, 5, 6, (9, 8)), (8, 9, 3)),
        (transforms.CropResize(1, 2, 5, 6, 9, 2), (9, 9, 3)),
        (transforms.RandomCrop((5, 4)), (4, 5, 3)),
        (transforms.RandomCrop(20, pad=4), (20, 20, 3)),
        (transforms.RandomResizedCrop(5), (5, 5, 3)),
        (transforms.RandomResizedCrop((5, 7)), (7, 5, 3)),
        (transforms.RandomFlipLeftRight(), (13, 17, 3)),
        (transforms.RandomFlipTopBottom(), (13, 17, 3)),
        (transforms.RandomBrightness(0.3), (13, 17, 3)),
        (transforms.RandomContrast(0.3), (13, 17, 3)),
        (transforms.RandomSaturation(0.3), (13, 17, 3)),
        (transforms.RandomHue(0.3), (13, 17, 3)),
        (transforms.RandomColorJitter(0.1, 0.1, 0.1, 0.1), (13, 17, 3)),
        (transforms.RandomLighting(0.1), (13, 17, 3)),
        (transforms.RandomGray(0.5), (13, 17, 3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_shapes_of_pictures(transform, shape):
    """The shapes that 1.9.1 gives; bytes stay bytes and floats stay floats."""
    result = transform(picture())
    assert result.shape == shape and np.dtype(result.dtype) == np.uint8
    result = transform(picture().astype("float32"))
    assert result.shape == shape and np.dtype(result.dtype) == np.float32


def test_to_tensor_and_normalize():
    tensor = transforms.ToTensor()(picture())
    np.testing.assert_allclose(tensor.asnumpy(), PIXELS.transpose(2, 0, 1) / 255, rtol=1e-6)
    batch = transforms.ToTensor()(nd.stack(picture(), picture()))
    np.testing.assert_array_equal(batch[1].asnumpy(), tensor.asnumpy())
    ours = transforms.Normalize((0.5, 0.1, 0.2), (0.1, 0.2, 0.3))(tensor)
    mean, std = np.array([0.5, 0.1, 0.2])[:, None, None], np.array([0.1, 0.2, 0.3])[:, None, None]
    np.testing.assert_allclose(ours.asnumpy(), (tensor.asnumpy() - mean) / std, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(transforms.Normalize(0.5, 2)(tensor).asnumpy(), (tensor.asnumpy() - 0.5) / 2, rtol=1e-5)
    assert np.dtype(transforms.Cast("float16")(picture()).dtype) == np.float16


def test_geometry_is_that_of_image():
    np.testing.assert_array_equal(
        transforms.Resize((7, 5))(picture()).asnumpy(), image.imresize(picture(), 7, 5, 1).asnumpy()
    )
    np.testing.assert_array_equal(transforms.CropResize(1, 2, 5, 6)(picture()).asnumpy(), PIXELS[2:8, 1:6])
    tensor = transforms.ToTensor()(picture())
    np.testing.assert_array_equal(transforms.Rotate(30)(tensor).asnumpy(), image.imrotate(tensor, 30).asnumpy())
    assert transforms.RandomRotation((-3, 3))(tensor).shape == (3, 13, 17)
    assert transforms.RandomRotation((-3, 3), rotate_with_proba=0.0)(tensor) is tensor


def test_random_crop_with_a_border():
    random.seed(0)
    seen = transforms.RandomCrop((21, 17), pad=2, pad_value=7)(picture()).asnumpy()
    np.testing.assert_array_equal(seen[2:15, 2:19], PIXELS)
    assert (seen[:2] == 7).all() and (seen[:, 19:] == 7).all()
    parts = {transforms.RandomCrop(5)(picture()).asnumpy().tobytes() for _ in range(20)}
    windows = {PIXELS[y : y + 5, x : x + 5].tobytes() for y in range(9) for x in range(13)}
    assert len(parts) > 5 and parts <= windows


def test_flips_happen_half_of_the_time():
    mx.random.seed(1)
    for transform, flipped in (
        (transforms.RandomFlipLeftRight(), PIXELS[:, ::-1]),
        (transforms.RandomFlipTopBottom(), PIXELS[::-1]),
    ):
        results = [transform(picture()).asnumpy() for _ in range(60)]
        mirrored = sum((result == flipped).all() for result in results)
        assert mirrored + sum((result == PIXELS).all() for result in results) == 60
        assert 15 < mirrored < 45


def test_gray():
    grey = transforms.RandomGray(1.0)(picture().astype("float32")).asnumpy()
    np.testing.assert_allclose(grey, np.repeat(PIXELS @ np.array([[0.299], [0.587], [0.114]]), 3, 2), rtol=1e-5)
    np.testing.assert_array_equal(transforms.RandomGray(0.0)(picture()).asnumpy(), PIXELS)


def test_color_strengths():
    floats = picture().astype("float32") / 2
    for _ in range(10):
        ratio = transforms.RandomBrightness(0.3)(floats).asnumpy()[PIXELS > 20] / floats.asnumpy()[PIXELS > 20]
        assert ratio.min() >= 0.7 and ratio.max() <= 1.3 and np.ptp(ratio) < 1e-4
    np.testing.assert_allclose(transforms.RandomColorJitter()(floats).asnumpy(), floats.asnumpy(), rtol=1e-5)


def test_compose():
    row = transforms.Compose([transforms.Resize(5), transforms.ToTensor(), lambda x: x * 2, transforms.Cast("float16")])
    assert len(row) == 3
    assert row(picture()).shape == (3, 5, 5) and np.dtype(row(picture()).dtype) == np.float16
    assert not row.batchable
    assert transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]).batchable
    assert transforms.Compose([])(picture()).shape == (13, 17, 3)
    with pytest.raises(TypeError, match=r"(?s)block or a function.*3"):
        transforms.Compose([3])


def test_hybrid_compose_agrees():
    steps = [transforms.Resize(6), transforms.ToTensor(), transforms.Normalize(0.5, 0.25)]
    hybrid, plain = transforms.HybridCompose(steps), transforms.Compose(steps)
    for _ in range(2):
        np.testing.assert_allclose(hybrid(picture()).asnumpy(), plain(picture()).asnumpy(), rtol=1e-6)
    assert not hybrid.batchable
    with pytest.raises(TypeError, match="Use Compose"):
        transforms.HybridCompose([transforms.CenterCrop(3)])


def test_random_apply():
    invert = transforms.RandomApply(lambda x: 255 - x, 0.5)
    random.seed(1)
    results = [invert(picture()).asnumpy() for _ in range(60)]
    assert 15 < sum((result == PIXELS).all() for result in results) < 45
    assert transforms.RandomApply([transforms.Resize(4), transforms.ToTensor()], 1)(picture()).shape == (3, 4, 4)
    assert transforms.RandomApply([transforms.ToTensor()], 0)(picture()).shape == (13, 17, 3)
    tensor = transforms.ToTensor()(picture())
    mx.random.seed(1)
    chance = transforms.HybridRandomApply(transforms.Normalize(0.5, 0.5), 0.5)
    lows = [float(chance(tensor).min().asscalar()) for _ in range(60)]
    assert 15 < sum(low < 0 for low in lows) < 45
    with pytest.raises(TypeError, match="hybrid block"):
        transforms.HybridRandomApply(lambda x: x)


def test_chance_inside_a_hybridized_row():
    mx.random.seed(1)
    row = transforms.HybridCompose(
        [transforms.ToTensor(), transforms.HybridRandomApply(transforms.Normalize(0.5, 0.5), 0.5)]
    )
    lows = [float(row(picture()).min().asscalar()) for _ in range(60)]
    assert 15 < sum(low < 0 for low in lows) < 45


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: transforms.Normalize(0.5, 0.1)(picture()), DTypeError, r"Put ToTensor\(\) before it"),
        (lambda: transforms.Rotate(30)(picture()), DTypeError, r"behind ToTensor\(\)"),
        (lambda: transforms.RandomRotation((3, -3)), ArgumentError, "low < high"),
        (lambda: transforms.RandomRotation((-3, 3), rotate_with_proba=2), ArgumentError, "a probability"),
        (lambda: transforms.Normalize(0, 0), ArgumentError, "no 0 in it"),
        (lambda: transforms.Resize(0), ArgumentError, r"a positive number or \(width, height\)"),
        (lambda: transforms.CenterCrop((1, 2, 3)), ArgumentError, "CenterCrop: A size"),
        (lambda: transforms.CropResize(-1, 0, 2, 2), ArgumentError, "corner lies in the image"),
        (lambda: transforms.CropResize(1, 2, 50, 6)(picture()), ArgumentError, "outside the image"),
        (lambda: transforms.RandomBrightness(-1), ArgumentError, "RandomBrightness: The strength is not negative"),
        (lambda: transforms.RandomColorJitter(hue=-1), ArgumentError, "not negative"),
        (lambda: transforms.RandomGray(2), ArgumentError, "0 <= p <= 1"),
        (lambda: transforms.RandomApply([], 2), ArgumentError, "0 <= p <= 1"),
        (lambda: transforms.RandomCrop(3, pad=(1, 2, 3)), ArgumentError, "pad is a number"),
        (lambda: transforms.RandomCrop(3)(nd.zeros((4, 4))), ShapeError, "height × width × channels"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_the_same_with_and_without_workers(workers):
    digits = data.vision.OpticalDigits(train=False)
    row = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.25)])
    loader = data.DataLoader(digits.transform_first(row), 100, num_workers=workers)
    images, labels = zip(*((images.asnumpy(), labels.asnumpy()) for images, labels in loader))
    assert [len(part) for part in images] == [100, 100, 100, 60]
    expected = (digits._data.asnumpy().transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(np.concatenate(images), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate(labels), digits._label)
    loader.clean()


def test_an_eager_transform_of_arrays_keeps_arrays():
    digits = data.vision.OpticalDigits(train=False)
    eager = digits.transform_first(transforms.ToTensor(), lazy=False)
    lazy = digits.transform_first(transforms.ToTensor())
    assert isinstance(eager, data.ArrayDataset) and len(eager) == len(lazy) == 360
    for index in (0, 7, 359):
        np.testing.assert_array_equal(eager[index][0].asnumpy(), lazy[index][0].asnumpy())
        assert eager[index][1] == lazy[index][1] and isinstance(eager[index][1], np.int32)


def test_rows_can_be_sent_to_spawned_workers():
    row = transforms.Compose(
        [transforms.Resize(5), transforms.ToTensor(), transforms.RandomApply([transforms.RandomHue(0.1)], 0.0)]
    )
    again = pickle.loads(pickle.dumps(row))
    np.testing.assert_array_equal(again(picture()).asnumpy(), row(picture()).asnumpy())
