"""The zoo: names, trained parameters from local files. Structure and values against MXNet are in tests/parity."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, nd
from glueball.base.errors import ArgumentError, FileFormatError
from glueball.gluon.model_zoo import model_store, vision

SMALL = ("resnet18_v1", "resnet18_v2", "resnet50_v1", "mobilenet0.25", "mobilenetv2_0.25")


def test_every_name_has_a_function_and_a_hash() -> None:
    assert len(vision.MODELS) == 34
    assert set(vision.MODELS) == set(model_store.SHORT_HASHES)


@pytest.mark.parametrize(
    "name", sorted(set(vision.MODELS) - {"vgg13", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn", "vgg11"})
)
def test_every_network_composes_and_infers(name: str) -> None:
    net = vision.get_model(name, classes=7)
    size = 299 if name == "inceptionv3" else 224
    _, shapes, _ = net(mx.sym.var("data")).infer_shape(data=(2, 3, size, size))
    assert tuple(shapes[0]) == (2, 7)
    assert net.features is not None
    assert net.output is not None


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_step_changes_the_network(name: str) -> None:
    net = vision.get_model(name, classes=3)
    net.initialize(mx.init.Xavier())
    x = nd.array(np.random.RandomState(0).standard_normal((4, 3, 64, 64)))
    net.hybridize()
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.001})
    with autograd.record():
        loss = mx.gluon.loss.SoftmaxCELoss()(net(x), nd.array([0, 2, 1, 1]))
    loss.backward()
    before = net(x).asnumpy()
    trainer.step(4)
    after = net(x).asnumpy()
    assert np.isfinite(after).all()
    assert (before != after).any()


def test_thumbnails_keep_their_size() -> None:
    for version in (1, 2):
        net = vision.get_resnet(version, 18, thumbnail=True, classes=10)
        _, shapes, _ = net.features[:2](mx.sym.var("data")).infer_shape(data=(1, 3, 32, 32))
        assert tuple(shapes[0]) == (1, 64, 32, 32)


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'resnet18_v1'"):
        vision.get_model("resnet18v1")
    assert vision.get_model("ResNet18_v1", classes=2).output.weight.shape == (2, 512)
    for call, text in (
        (lambda: vision.get_resnet(3, 18), "version=3"),
        (lambda: vision.get_resnet(1, 19), "num_layers=19"),
        (lambda: vision.get_vgg(12), "11, 13, 16, 19"),
        (lambda: vision.SqueezeNet("2"), "'1.0' or '1.1'"),
        (lambda: vision.ResNetV1(vision.BasicBlockV1, [1, 1], [4, 8]), "3 channels"),
        (lambda: vision.VGG([1], [2, 3]), "differ in length"),
        (lambda: model_store.short_hash("lenet"), "lenet"),
    ):
        with pytest.raises(ArgumentError, match=text):
            call()


# ----------------------------------------------------------------------------------------------------------------------
# trained parameters
@pytest.fixture
def saved(tmp_path: Path) -> tuple[Any, Path]:
    """A network and a directory with its parameters under the plain name."""
    net = vision.get_model("mobilenet0.25", classes=3)
    net.initialize()
    net(nd.ones((1, 3, 32, 32)))
    net.save_parameters(str(tmp_path / "mobilenet0.25.params"))
    return net, tmp_path


def test_parameters_come_from_a_local_file(saved: tuple[Any, Path]) -> None:
    net, root = saved
    x = nd.array(np.random.RandomState(0).standard_normal((1, 3, 32, 32)))
    loaded = vision.get_model("mobilenet0.25", pretrained=True, root=str(root), classes=3, ctx=mx.cpu(1))
    assert loaded.output.weight.list_ctx() == [mx.cpu(1)]
    np.testing.assert_array_equal(loaded(x.as_in_context(mx.cpu(1))).asnumpy(), net(x).asnumpy())


def test_the_order_of_file_names(saved: tuple[Any, Path]) -> None:
    _, root = saved
    content = (root / "mobilenet0.25.params").read_bytes()
    assert model_store.get_model_file("mobilenet0.25", str(root)).endswith("mobilenet0.25.params")
    public = root / "mobilenet0.25-9f83e440.params"
    public.write_bytes(content)
    with pytest.raises(
        FileFormatError, match=r"SHA-1 that starts with 9f83e440[\s\S]*" + hashlib.sha1(content).hexdigest()
    ):
        model_store.get_model_file("mobilenet0.25", str(root))
    public.unlink()
    (root / "mobilenet0.25.params").unlink()
    own = root / "mobilenet0.25-0123abcd.params"
    own.write_bytes(content)
    assert model_store.get_model_file("mobilenet0.25", str(root)) == str(own)


def test_without_a_file_the_message_says_where_to_put_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLUEBALL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no longer served[\s\S]*resnet18_v1-a0666292.params") as caught:
        vision.resnet18_v1(pretrained=True)
    assert str(tmp_path / "home" / "models") in str(caught.value)
    assert str(tmp_path / ".mxnet" / "models") in str(caught.value)


def test_both_home_directories_are_searched(saved: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, root = saved
    monkeypatch.setenv("GLUEBALL_HOME", str(root / "home"))
    monkeypatch.setenv("HOME", str(root))
    for folder in (root / ".mxnet" / "models", root / "home" / "models"):
        folder.mkdir(parents=True)
        (folder / "mobilenet0.25.params").write_bytes((root / "mobilenet0.25.params").read_bytes())
        assert model_store.get_model_file("mobilenet0.25") == str(folder / "mobilenet0.25.params")
    model_store.purge()
    assert model_store.get_model_file("mobilenet0.25") == str(root / ".mxnet" / "models" / "mobilenet0.25.params")
