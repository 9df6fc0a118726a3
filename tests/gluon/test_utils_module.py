"""gluon.utils: splitting batches, clipping gradients, and fetching files whole or not at all."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import glueball as mx
from glueball import nd
from glueball.base.errors import ArgumentError, FileFormatError, ShapeError
from glueball.gluon import utils


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 1))
def test_split_loses_nothing(size, parts, axis):
    x = np.arange(size * 2).reshape((size, 2) if axis == 0 else (2, size))
    pieces = utils.split_data(nd.array(x), parts, axis, even_split=False)
    assert len(pieces) == parts
    np.testing.assert_array_equal(np.concatenate([piece.asnumpy() for piece in pieces], axis), x)
    sizes = [piece.shape[axis] for piece in pieces]
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)
    if size % parts:
        with pytest.raises(ShapeError, match=f"(?s)cannot be split evenly into {parts}.*even_split=False"):
            utils.split_data(nd.array(x), parts, axis)


def test_split_and_load():
    devices = [mx.cpu(0), mx.cpu(1)]
    parts = utils.split_and_load(np.zeros((4, 2)), devices)
    assert [(part.shape, part.context) for part in parts] == [((2, 2), mx.cpu(0)), ((2, 2), mx.cpu(1))]
    parts = utils.split_and_load([1, 2, 3, 4], devices)
    assert [part.asnumpy().tolist() for part in parts] == [[1, 2], [3, 4]]
    (whole,) = utils.split_and_load(nd.ones((3, 2), dtype="int32"), [mx.cpu(1)])
    assert whole.context == mx.cpu(1) and np.dtype(whole.dtype) == np.int32
    with pytest.raises(ArgumentError, match="no context"):
        utils.split_and_load(nd.ones(2), [])
    with pytest.raises(ShapeError, match="axis 3"):
        utils.split_data(nd.ones(2), 2, 3)
    with pytest.raises(ArgumentError, match="at least 1"):
        utils.split_data(nd.ones(2), 0)


@pytest.mark.parametrize("limit, expected", [(1.0, (0.6, 0.8)), (10.0, (3.0, 4.0))])
def test_clip(limit, expected):
    arrays = [nd.array([3.0]), nd.array([[4.0]], ctx=mx.cpu(1))]
    norm = utils.clip_global_norm(arrays, limit)
    assert isinstance(norm, float) and norm == pytest.approx(5.0)
    assert [array.asscalar() for array in arrays] == pytest.approx(expected)
    arrays = [nd.array([3.0]), nd.array([4.0])]
    norm = utils.clip_global_norm(arrays, limit, check_isfinite=False)
    assert norm.shape == (1,) and norm.asscalar() == pytest.approx(5.0)
    assert [array.asscalar() for array in arrays] == pytest.approx(expected)


def test_clip_half_precision_and_bad_numbers():
    big = [nd.full((100,), 300, dtype="float16")]  # the sum of squares does not fit into float16
    assert utils.clip_global_norm(big, 3.0) == pytest.approx(3000, rel=1e-3)
    np.testing.assert_allclose(big[0].asnumpy(), 0.3, rtol=1e-2)
    assert np.dtype(big[0].dtype) == np.float16
    with pytest.warns(UserWarning, match="not finite"):
        assert np.isnan(utils.clip_global_norm([nd.array([np.nan])], 1))
    with pytest.raises(ArgumentError, match="no arrays"):
        utils.clip_global_norm([], 1)


@pytest.mark.parametrize("shape, known", [(None, False), ((), True), ((1, 2), True), ((0, 2), False), ((-1, 2), False)])
def test_shape_is_known(shape, known):
    assert utils.shape_is_known(shape) is known


def test_hook_handle():
    class Hooks(dict):
        """A dictionary that can be referred to weakly."""

    hooks = Hooks()
    with utils.HookHandle() as handle:
        handle.attach(hooks, print)
        assert list(hooks.values()) == [print]
        with pytest.raises(ArgumentError, match="already holds"):
            handle.attach(hooks, print)
    assert hooks == {}
    handle.detach()


# ---------------------------------------------------------------------------------------------------------------- files
@pytest.fixture
def source(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.bin").write_bytes(b"content")
    return f"file://{tmp_path}/there/a.bin", hashlib.sha1(b"content").hexdigest(), tmp_path


def test_download(source, monkeypatch):
    address, sha1, folder = source
    monkeypatch.chdir(folder)
    assert utils.download(address) == "a.bin"
    assert utils.download(address, folder / "there") == str(folder / "there" / "a.bin")
    target = utils.download(address, folder / "new" / "b.bin", sha1_hash=sha1)
    with open(target, "rb") as file:
        assert file.read() == b"content"
    assert (
        utils.check_sha1(target, sha1)
        and utils.check_sha1(target, sha1[:8].upper())
        and not utils.check_sha1(target, "0" * 40)
    )
    assert os.listdir(folder / "new") == ["b.bin"]


def test_an_existing_file_is_kept_unless_it_is_wrong(source):
    address, sha1, folder = source
    target = folder / "b.bin"
    target.write_bytes(b"mine")
    utils.download(address, target)
    assert target.read_bytes() == b"mine"
    utils.download(address, target, sha1_hash=sha1)
    assert target.read_bytes() == b"content"
    target.write_bytes(b"mine")
    utils.download(address, target, overwrite=True)
    assert target.read_bytes() == b"content"


def test_failures_leave_nothing_behind(source):
    address, _, folder = source
    (folder / "empty").mkdir()
    with pytest.raises(FileFormatError, match="another checksum"):
        utils.download(address, folder / "empty" / "b.bin", sha1_hash="0" * 40, retries=1)
    with pytest.raises(utils.DownloadError, match=r"(?s)could not be fetched.*put the file at .*b\.bin"):
        utils.download(address + "x", folder / "empty" / "b.bin", retries=0)
    with pytest.raises(OSError):
        utils.download("nonsense", folder / "empty" / "b.bin")
    assert os.listdir(folder / "empty") == []
    with pytest.raises(ArgumentError, match="retries"):
        utils.download(address, folder / "b.bin", retries=-1)
    with pytest.raises(ArgumentError, match="file name"):
        utils.download("")


class _Flaky:
    """A server that fails, then cuts the file short, then works."""

    def __init__(self):
        self.calls = 0

    def __call__(self, url, timeout, context):
        import io

        self.calls += 1
        if self.calls == 1:
            raise urllib.error.URLError("no route")
        body = io.BytesIO(b"con" if self.calls == 2 else b"content")
        body.headers = {"Content-Length": "7"}
        return body


def test_retries_and_cut_connections(tmp_path, monkeypatch):
    server = _Flaky()
    monkeypatch.setattr(urllib.request, "urlopen", server)
    with pytest.raises(utils.DownloadError, match="after 3 of 7 bytes"):
        utils.download("http://x/a.bin", tmp_path / "a.bin", retries=1)
    assert os.listdir(tmp_path) == []
    server.calls = 0
    with pytest.warns(UserWarning, match="certificate is not checked"):
        utils.download("https://x/a.bin?token=1", str(tmp_path) + os.sep, retries=2, verify_ssl=False)
    assert (tmp_path / "a.bin").read_bytes() == b"content" and server.calls == 3


def test_replace_file_and_the_repository(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    utils.replace_file(tmp_path / "a", tmp_path / "b")
    assert os.listdir(tmp_path) == ["b"] and (tmp_path / "b").read_text() == "new"
    monkeypatch.setenv("MXNET_GLUON_REPO", "https://mirror/x")
    assert utils._get_repo_url() == "https://mirror/x/"
    assert utils._get_repo_file_url("gluon/dataset", "a.txt") == "https://mirror/x/gluon/dataset/a.txt"
