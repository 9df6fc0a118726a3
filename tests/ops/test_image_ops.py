"""Images as arrays beyond the operator matrix: inputs stay untouched, batches are images one by one, resizing agrees
with glueball.image, and seeds fix what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glueball as mx
from glueball import image, nd

RANDOM = {
    "random_brightness": (0.5, 1.5),
    "random_contrast": (0.5, 1.5),
    "random_saturation": (0.5, 1.5),
    "random_hue": (-0.3, 0.3),
    "random_color_jitter": (0.3, 0.3, 0.3, 0.1),
    "random_lighting": (0.1,),
    "random_flip_left_right": (),
    "random_flip_top_bottom": (),
}
FIXED = {
    "to_tensor": {},
    "flip_left_right": {},
    "flip_top_bottom": {},
    "crop": {"x": 1, "y": 0, "width": 3, "height": 2},
    "resize": {"size": (7, 3)},
}


def picture(dtype: str = "uint8", *shape: int) -> nd.NDArray:
    pixels = np.random.default_rng(0).integers(0, 256, shape or (4, 5, 3))
    return nd.array(pixels, dtype=dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", [*RANDOM, *FIXED])
def test_inputs_stay_as_they_are(name: str, dtype: str) -> None:
    data = picture(dtype)
    before = data.asnumpy().copy()
    result = getattr(nd.image, name)(data, *RANDOM.get(name, ()), **FIXED.get(name, {}))
    result[:] = 0
    assert np.array_equal(data.asnumpy(), before)


@pytest.mark.parametrize("name", FIXED)
def test_a_batch_is_its_images(name: str) -> None:
    batch = picture("uint8", 2, 4, 5, 3)
    operator = getattr(nd.image, name)
    found = operator(batch, **FIXED[name]).asnumpy()
    for i in range(2):
        assert np.array_equal(found[i], operator(batch[i], **FIXED[name]).asnumpy())


@settings(max_examples=25)
@given(
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    interp=st.integers(0, 4),
    dtype=st.sampled_from(["uint8", "float32"]),
)
def test_resizing_agrees_with_image(width: int, height: int, interp: int, dtype: str) -> None:
    data = picture(dtype)
    ours = nd.image.resize(data, size=(width, height), interp=interp).asnumpy().astype(float)
    theirs = image.imresize(data, width, height, interp).asnumpy().astype(float)
    assert ours.shape == (height, width, 3)
    assert np.abs(ours - theirs).max() <= (1 if dtype == "uint8" else 1e-3)


@pytest.mark.parametrize(
    ("size", "keep", "shape"),
    [(6, False, (6, 6, 3)), (6, True, (6, 7, 3)), ((6,), True, (6, 7, 3)), ((2, 9), True, (9, 2, 3))],
)
def test_sizes(size: object, keep: bool, shape: tuple[int, ...]) -> None:
    assert nd.image.resize(picture(), size=size, keep_ratio=keep).shape == shape


@pytest.mark.parametrize("name", RANDOM)
def test_seeds_fix_what_is_drawn(name: str) -> None:
    data = picture("float32")
    results = []
    for seed in (5, 5, *range(6, 12)):
        mx.random.seed(seed)
        results.append(getattr(nd.image, name)(data, *RANDOM[name]).asnumpy())
    assert np.array_equal(results[0], results[1])
    assert any(not np.array_equal(results[0], other) for other in results[2:])


@settings(max_examples=20)
@given(turn=st.floats(-1, 1), colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_turning_the_hue_there_and_back(turn: float, colour: tuple[int, int, int]) -> None:
    data = nd.array(np.array(colour, np.float32).reshape(1, 1, 3))
    there = nd.image.random_hue(data, turn, turn)
    back = nd.image.random_hue(there, -turn, -turn)
    assert np.allclose(back.asnumpy(), data.asnumpy(), atol=0.05)
    found, given_pixel = there.asnumpy(), data.asnumpy()
    assert found.max() + found.min() == pytest.approx(given_pixel.max() + given_pixel.min(), abs=0.01)  # lightness


def test_bytes_stay_in_range() -> None:
    bright = nd.image.random_brightness(picture(), 3.0, 3.0).asnumpy()
    assert bright.dtype == np.uint8 and np.array_equal(bright, np.minimum(picture().asnumpy().astype(int) * 3, 255))


def test_to_tensor_then_normalize() -> None:
    tensor = nd.image.to_tensor(picture())
    assert tensor.shape == (3, 4, 5) and tensor.dtype == np.float32 and tensor.asnumpy().max() <= 1
    found = nd.image.normalize(tensor, mean=(0.1, 0.2, 0.3), std=(1, 2, 4)).asnumpy()
    assert np.allclose(found[2], (tensor.asnumpy()[2] - 0.3) / 4, atol=1e-6)
