"""Images against MXNet 1.9.1: golden.npz was made by make_golden.py, golden.rec by `write_record_file` here."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from glueball import image, io, nd, recordio

FOLDER = os.path.dirname(__file__)
GOLDEN = dict(np.load(os.path.join(FOLDER, "golden.npz")))
CASES = [name for name in GOLDEN if "/" in name]


def cases(kind):
    return [name for name in CASES if name.split("/")[0] == kind]


def write_record_file(path):
    rng = np.random.RandomState(1)
    with recordio.MXRecordIO(path, "w") as out:
        for number in range(5):
            pixels = (rng.rand(9, 11, 3) * 255).astype("uint8")
            out.write(recordio.pack_img(recordio.IRHeader(0, float(number), number, 0), pixels[..., ::-1], 9, ".png"))


@pytest.mark.parametrize("name", cases("resize") + cases("resize_grey") + cases("resize_floats"))
def test_resize(name):
    kind, interp, width, height = name.split("/")
    source = GOLDEN[{"resize": "pixels", "resize_grey": "grey", "resize_floats": "floats"}[kind]]
    ours = image.imresize(nd.array(source, dtype=source.dtype), int(width), int(height), int(interp)).asnumpy()
    theirs = GOLDEN[name]
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    # OpenCV computes on bytes with 11-bit fractions: one grey level may differ
    np.testing.assert_allclose(ours.astype(float), theirs.astype(float), atol=1 if ours.dtype == np.uint8 else 1e-6)


@pytest.mark.parametrize("name", cases("rotate"))
def test_rotate(name):
    _, zoom_in, zoom_out, angle = name.split("/")
    source = nd.array(GOLDEN["floats"].transpose(2, 0, 1))
    ours = image.imrotate(source, float(angle), bool(int(zoom_in)), bool(int(zoom_out)))
    np.testing.assert_allclose(ours.asnumpy(), GOLDEN[name], atol=3e-6)


@pytest.mark.parametrize("name", cases("crop"))
def test_center_crop(name):
    _, _, width, height = name.split("/")
    ours, _ = image.center_crop(nd.array(GOLDEN["pixels"], dtype="uint8"), (int(width), int(height)))
    np.testing.assert_allclose(ours.asnumpy().astype(float), GOLDEN[name].astype(float), atol=1)


@pytest.mark.parametrize("name", cases("augment"))
def test_augmenters_with_the_same_seeds(name):
    made = {
        "BrightnessJitterAug": image.BrightnessJitterAug(0.5),
        "ContrastJitterAug": image.ContrastJitterAug(0.5),
        "SaturationJitterAug": image.SaturationJitterAug(0.5),
        "HueJitterAug": image.HueJitterAug(0.5),
        "RandomGrayAug": image.RandomGrayAug(1.0),
        "LightingAug": image.LightingAug(0.1, np.array([55.46, 4.794, 1.148]), np.eye(3) + 0.1),
        "ColorNormalizeAug": image.ColorNormalizeAug(nd.array([1.0, 2, 3]), nd.array([2.0, 3, 4])),
    }[name.split("/")[1]]
    random.seed(3)
    np.random.seed(3)
    ours = made(nd.array(GOLDEN["pixels"]).astype("float32"))
    np.testing.assert_allclose(ours.asnumpy(), GOLDEN[name], rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("name", cases("record"))
def test_image_record_iter(name):
    arguments = {
        "crop": {},
        "resize": {"resize": 12},
        "normalise": {"mean_r": 1, "mean_g": 2, "mean_b": 3, "std_r": 2, "std_g": 3, "std_b": 4, "scale": 0.5},
    }[name.split("/")[1]]
    batch = next(io.ImageRecordIter(os.path.join(FOLDER, "golden.rec"), (3, 6, 7), 5, **arguments))
    np.testing.assert_allclose(batch.data[0].asnumpy(), GOLDEN[name], atol=1.01)
    assert batch.label[0].asnumpy().tolist() == [0, 1, 2, 3, 4]


def test_the_record_file_is_the_one_that_was_compared(tmp_path):
    write_record_file(tmp_path / "again.rec")
    again, golden = (
        [recordio.unpack_img(record) for record in recordio.MXRecordIO(path, "r")]
        for path in (tmp_path / "again.rec", os.path.join(FOLDER, "golden.rec"))
    )
    for (ours, ours_pixels), (theirs, their_pixels) in zip(again, golden):
        assert ours == theirs
        np.testing.assert_array_equal(ours_pixels, their_pixels)
