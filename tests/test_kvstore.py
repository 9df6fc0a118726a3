"""KVStore: sums over devices, updaters, optimisers, and what wrong use is told. Numbers as MXNet 1.9.1 gave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glueball import cpu, kvstore, nd, optimizer
from glueball.base.errors import UnsupportedError


def store(**values: float) -> kvstore.KVStore:
    made = kvstore.create("local")
    for key, value in values.items():
        made.init(key, nd.ones((2,)) * value)
    return made


def pulled(made: kvstore.KVStore, key: Any) -> list[float]:
    out = nd.zeros((2,))
    made.pull(key, out=out)
    return out.asnumpy().tolist()


@given(st.lists(st.lists(st.integers(-9, 9), min_size=1, max_size=4), min_size=1, max_size=4))
def test_push_sums_over_devices_for_any_number_of_keys(values: list[list[int]]) -> None:
    made, keys = kvstore.create("device"), list(range(len(values)))
    made.init(keys, [nd.zeros((2,)) for _ in keys])
    made.push(keys, [[nd.ones((2,), ctx=cpu(d)) * v for d, v in enumerate(own)] for own in values])
    assert [pulled(made, key) for key in keys] == [[float(sum(own))] * 2 for own in values]


def test_push_replaces_and_pull_fills_every_device() -> None:
    made = store(w=1)
    made.push("w", nd.ones((2,)) * 8)
    outs = [nd.zeros((2,), ctx=cpu(0)), nd.zeros((2,), ctx=cpu(1))]
    made.pull("w", out=outs)
    assert [out.asnumpy().tolist() for out in outs] == [[8, 8], [8, 8]]
    assert [out.context for out in outs] == [cpu(0), cpu(1)]


def test_the_store_keeps_its_own_copy() -> None:
    value = nd.ones((2,))
    made = kvstore.create()
    made.init(3, value)
    value[:] = 7
    assert pulled(made, 3) == [1, 1]
    value[:] = 5
    made.push(3, value)
    value[:] = 7
    assert pulled(made, 3) == [5, 5]


def test_pushpull_returns_the_sum_to_where_it_came_from() -> None:
    made = store(w=1)
    values = [nd.ones((2,)), nd.ones((2,)) * 2]
    made.pushpull("w", values)
    assert [v.asnumpy().tolist() for v in values] == [[3, 3], [3, 3]]
    out = nd.zeros((2,))
    made.pushpull("w", values, out=out)
    assert out.asnumpy().tolist() == [6, 6]


def test_broadcast() -> None:
    out = [nd.zeros((2,), ctx=cpu(1))]
    kvstore.create().broadcast("w", nd.ones((2,)), out=out)
    assert out[0].asnumpy().tolist() == [1, 1]


def test_an_updater_gets_key_sum_and_stored_value() -> None:
    made, seen = store(w=4), []

    def update(key: str, total: nd.NDArray, stored: nd.NDArray) -> None:
        seen.append((key, total.asnumpy()[0], stored.asnumpy()[0]))
        stored += total * 2

    made.set_updater(update)
    made.push("w", nd.ones((2,)))
    made.push("w", [nd.ones((2,)), nd.ones((2,))])
    assert seen == [("w", 1, 4), ("w", 2, 6)]
    assert pulled(made, "w") == [10, 10]


def test_an_optimizer_updates_what_is_stored(tmp_path: Path) -> None:
    made = store(w=1, v=1)
    made.set_optimizer(optimizer.SGD(learning_rate=0.1, momentum=0.5))
    made.push(["w", "v"], [nd.ones((2,)), [nd.ones((2,)), nd.ones((2,))]])
    np.testing.assert_allclose([pulled(made, "w")[0], pulled(made, "v")[0]], [0.9, 0.8], rtol=1e-6)
    made.save_optimizer_states(tmp_path / "states", dump_optimizer=True)
    again = store(w=0.9)
    again.set_optimizer(optimizer.SGD(momentum=0.5))
    again.load_optimizer_states(tmp_path / "states")
    again.push("w", nd.ones((2,)))
    np.testing.assert_allclose(pulled(again, "w"), [0.75, 0.75], rtol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["states"]


def test_row_sparse_pull() -> None:
    made = kvstore.create()
    made.init("e", nd.array([[1, 2], [3, 4], [5, 6]]))
    out = nd.ones((3, 2))
    made.row_sparse_pull("e", out=out, row_ids=nd.array([2, 0, 2]))
    assert out.asnumpy().tolist() == [[1, 2], [0, 0], [5, 6]]


def test_facts() -> None:
    made = kvstore.create("nccl")
    assert (made.type, made.rank, made.num_workers) == ("nccl", 0, 1)
    assert made.is_capable("optimizer")
    assert not made.is_capable("telepathy")
    assert kvstore.create(made) is made


@pytest.mark.parametrize("name", ["dist_sync", "dist_async", "dist_device_sync", "p3store_dist", "horovod", "byteps"])
def test_distributed_stores_say_what_to_do(name: str) -> None:
    with pytest.raises(UnsupportedError, match=r"(?s)several processes.*torch\.distributed\.all_reduce"):
        kvstore.create(name)


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda: kvstore.create("devise"), "(?s)'devise'.*did you mean 'device'"),
        (lambda: store(w=1).init("w", nd.ones((2,))), "has a value already"),
        (lambda: store(w=1).init(3, nd.ones((2,))), "all numbers or all texts"),
        (lambda: store(w=1).push("x", nd.ones((2,))), "(?s)'x' has not been inited.*keys 'w'"),
        (lambda: store().pull("x", out=nd.ones((2,))), "(?s)'x' has not been inited.*none"),
        (lambda: store(w=1).pull("w"), "nothing to copy to"),
        (lambda: store(w=1).pull("w", out=nd.ones((3,))), "(?s)key 'w' differ.*Received: \\(3,\\)"),
        (lambda: store(w=1).push("w", nd.ones((3,))), "(?s)shapes differ.*Received: \\(3,\\)"),
        (lambda: store(w=1).push(["w"], [nd.ones((2,))] * 2), "Every key needs a value"),
        (lambda: store(w=1).push("w", [1, 2]), "are no arrays"),
        (lambda: store(w=1).push(None, nd.ones((2,))), "a number or a text"),
        (lambda: store(w=1).row_sparse_pull("w", out=nd.ones((2,))), "out= and row_ids="),
        (lambda: store(w=1).save_optimizer_states("f"), "call set_optimizer first"),
    ],
)
def test_wrong_use_is_explained(use: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        use()


def test_more_wrong_use() -> None:
    with pytest.raises(TypeError, match="'local' or 'device'"):
        kvstore.create(3)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="leave compression_params out"):
        store().set_gradient_compression({"type": "2bit"})
    with pytest.raises(NotImplementedError, match="KVStoreBase must define broadcast"):
        kvstore.KVStoreBase().broadcast(0, nd.ones((1,)), out=nd.ones((1,)))
    with pytest.raises(NotImplementedError, match="KVStoreBase must define pushpull"):
        kvstore.KVStoreBase().pushpull(0, nd.ones((1,)))
