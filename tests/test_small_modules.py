"""The small modules that programs ask about their surroundings: runtime, engine, util."""

from __future__ import annotations

import pytest

import glueball as mx


def test_features_are_those_of_this_machine() -> None:
    """CUDA means that a GPU can be used now."""
    features = mx.runtime.Features()
    assert features.is_enabled("CUDA") == (mx.context.num_gpus() > 0)
    assert features.is_enabled("lapack")
    assert "CUDA" in str(features)
    with pytest.raises(mx.MXNetError, match="did you mean 'CUDA'"):
        features.is_enabled("CUDAA")


def test_bulk_sizes_nest() -> None:
    """The size before is handed back and restored."""
    before = mx.engine.set_bulk_size(3)
    with mx.engine.bulk(20):
        assert mx.engine.set_bulk_size(20) == 20
    assert mx.engine.set_bulk_size(before) == 3


def test_numpy_like_arrays_are_off_and_cannot_be_switched_on() -> None:
    """Programs that ask are led to nd; programs that insist are told."""
    assert not mx.util.is_np_array()
    assert not mx.util.is_np_shape()
    mx.util.set_np(False, False)
    with pytest.raises(mx.MXNetError, match=r"mx\.nd"):
        mx.util.set_np()
    with pytest.raises(mx.MXNetError, match=r"mx\.nd"):
        mx.util.use_np(lambda x: x)


def test_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set, read, removed."""
    monkeypatch.delenv("GLUEBALL_A_TEST", raising=False)
    mx.util.setenv("GLUEBALL_A_TEST", "1")
    assert mx.util.getenv("GLUEBALL_A_TEST") == "1"
    mx.util.setenv("GLUEBALL_A_TEST", None)
    assert mx.util.getenv("GLUEBALL_A_TEST") is None
