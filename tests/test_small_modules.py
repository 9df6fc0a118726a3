"""util, runtime, engine, log, registry and contrib.io: small modules that old code imports."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import glueball as mx
from glueball import gluon, nd
from glueball.base.errors import ArgumentError, UnsupportedError


def test_environment_variables() -> None:
    mx.util.setenv("GLUEBALL_TEST_VARIABLE", "1")
    assert mx.util.getenv("GLUEBALL_TEST_VARIABLE") == "1"
    mx.util.setenv("GLUEBALL_TEST_VARIABLE", None)
    assert mx.util.getenv("GLUEBALL_TEST_VARIABLE") is None


def test_directories_and_gpus(tmp_path: Path) -> None:
    for _ in range(2):
        mx.util.makedirs(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    assert mx.util.get_gpu_count() == mx.num_gpus()


def test_questions_about_numpy_like_arrays_are_answered_and_switches_refused() -> None:
    assert not mx.is_np_array() and not mx.util.is_np_shape() and not mx.set_np_shape(False)
    mx.util.reset_np()
    with mx.np_shape(False), mx.np_array(False):
        assert nd.ones((1,)).sum().shape == (1,)
    for name in ("use_np", "use_np_array", "use_np_shape", "set_np_shape", "set_np"):
        with pytest.raises(UnsupportedError, match="NumPy-like"):
            getattr(mx.util, name)(len)
    for scope in (mx.np_shape, mx.np_array):
        with pytest.raises(UnsupportedError, match="NumPy-like"), scope(True):
            pass


def test_features() -> None:
    features = mx.runtime.Features()
    assert features.is_enabled("cuda") == (mx.num_gpus() > 0) and features.is_enabled("LAPACK")
    assert not features.is_enabled("DIST_KVSTORE") and "✖ TVM_OP" in repr(features)
    assert [feature.name for feature in mx.runtime.feature_list()] == list(features)
    with pytest.raises(ArgumentError, match="OPENMP"):
        features.is_enabled("OPENPM")


def test_bulk_sizes_are_kept() -> None:
    before = mx.engine.set_bulk_size(5)
    with mx.engine.bulk(7):
        assert mx.engine.set_bulk_size(9) == 7
    assert mx.engine.set_bulk_size(before) == 5


def test_a_logger_gets_one_handler(tmp_path: Path) -> None:
    name, file = "glueball.test_small_modules", tmp_path / "log.txt"
    for _ in range(2):
        logger = mx.log.get_logger(name, str(file), level=mx.log.INFO)
    logger.info("hello")
    assert len(logger.handlers) == 1 and file.read_text().endswith(f"{name}: hello\n")
    assert mx.log.getLogger() is logging.getLogger()
    logger.handlers.pop().close()


def test_a_registry_of_the_users_own() -> None:
    class Bee:
        def __init__(self, size: int = 1) -> None:
            self.size = size

    register, alias, create = (
        make(Bee, "bee")
        for make in (mx.registry.get_register_func, mx.registry.get_alias_func, mx.registry.get_create_func)
    )

    @alias("zz")
    @register
    class Drone(Bee):
        pass

    register(Drone, "worker")
    assert mx.registry.get_registry(Bee) == dict.fromkeys(("drone", "zz", "worker"), Drone)
    made = [create("Drone"), create("zz", size=3), create('["drone", {"size": 4}]'),
            create({"bee": "worker", "size": 7}), create(bee="drone"),
            create('{"bee": "drone", "size": 2}')]  # fmt: skip
    assert [each.size for each in made] == [1, 3, 4, 7, 1, 2] and create(made[0]) is made[0]
    with pytest.raises(ArgumentError, match="drone"):
        create("dronee")
    with pytest.raises(ArgumentError, match="Bee"):
        register(dict)


def test_a_loader_as_an_iterator() -> None:
    samples = gluon.data.ArrayDataset(nd.arange(10).reshape((5, 2)), nd.arange(5))
    loaded = mx.contrib.io.DataLoaderIter(gluon.data.DataLoader(samples, batch_size=4), dtype="float64")
    assert loaded.provide_data[0].shape == (4, 2) and loaded.provide_label[0].name == "softmax_label"
    for _ in range(2):
        loaded.reset()
        batches = list(loaded)
        assert [batch.pad for batch in batches] == [0, 3]
        assert batches[1].label[0].asnumpy().tolist() == [4, 4, 4, 4] and batches[1].data[0].dtype_name == "float64"
