"""Writes golden.npz: what MXNet 1.9.1 (PyPI wheel, numpy 1.23.5) computes for images. Run by a Python that has it:

    python tests/image/make_golden.py

The names of the arrays say the case; test_golden.py reads them. The seeds are below. Nothing of MXNet's source is used.
"""

import os
import random

import mxnet as mx
import numpy as np
from mxnet import image, nd

out = {}
rng = np.random.RandomState(0)
pixels = out["pixels"] = (rng.rand(9, 11, 3) * 255).astype("uint8")
grey = out["grey"] = (rng.rand(9, 11, 1) * 255).astype("uint8")
floats = out["floats"] = rng.rand(9, 11, 3).astype("float32")
src = nd.array(pixels, dtype="uint8")

for interp in range(5):
    for width, height in ((6, 5), (20, 16), (22, 18), (4, 20), (1, 1)):
        out[f"resize/{interp}/{width}/{height}"] = image.imresize(src, width, height, interp).asnumpy()
out["resize_grey/1/6/5"] = image.imresize(nd.array(grey, dtype="uint8"), 6, 5, 1).asnumpy()
out["resize_floats/1/6/5"] = image.imresize(nd.array(floats), 6, 5, 1).asnumpy()

channels_first = nd.array(floats).transpose((2, 0, 1))
for zoom_in, zoom_out in ((0, 0), (1, 0), (0, 1)):
    for angle in (0, 30, 90, -45, 200):
        out[f"rotate/{zoom_in}/{zoom_out}/{angle}"] = image.imrotate(
            channels_first, angle, bool(zoom_in), bool(zoom_out)
        ).asnumpy()

for name, width, height in (("center", 7, 5), ("center", 30, 5)):
    out[f"crop/{name}/{width}/{height}"] = image.center_crop(src, (width, height))[0].asnumpy()

augmenters = {
    "BrightnessJitterAug": image.BrightnessJitterAug(0.5),
    "ContrastJitterAug": image.ContrastJitterAug(0.5),
    "SaturationJitterAug": image.SaturationJitterAug(0.5),
    "HueJitterAug": image.HueJitterAug(0.5),
    "RandomGrayAug": image.RandomGrayAug(1.0),
    "LightingAug": image.LightingAug(0.1, np.array([55.46, 4.794, 1.148]), np.eye(3) + 0.1),
    "ColorNormalizeAug": image.ColorNormalizeAug(nd.array([1.0, 2, 3]), nd.array([2.0, 3, 4])),
}
for name, augmenter in augmenters.items():
    random.seed(3)
    np.random.seed(3)
    out[f"augment/{name}"] = augmenter(src.astype("float32")).asnumpy()

folder = os.path.dirname(os.path.abspath(__file__))
record = os.path.join(folder, "golden.rec")
# golden.rec was written by test_golden.py's rule: five PNG images from RandomState(1), labels 0..4
for case, arguments in {
    "crop": {},
    "resize": {"resize": 12},
    "normalise": {"mean_r": 1, "mean_g": 2, "mean_b": 3, "std_r": 2, "std_g": 3, "std_b": 4, "scale": 0.5},
}.items():
    iterator = mx.io.ImageRecordIter(path_imgrec=record, data_shape=(3, 6, 7), batch_size=5, **arguments)
    out[f"record/{case}"] = next(iterator).data[0].asnumpy()

np.savez_compressed(os.path.join(folder, "golden.npz"), **out)
