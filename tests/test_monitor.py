"""Monitor: which arrays it collects, when, and what it makes of them."""

from __future__ import annotations

import logging

import pytest

from glueball import gluon, nd, symbol
from glueball.monitor import Monitor


def network() -> gluon.nn.Sequential:
    net = gluon.nn.Sequential(prefix="net_")
    with net.name_scope():
        net.add(gluon.nn.Dense(2, in_units=2, prefix="a_"), gluon.nn.Dense(1, in_units=2, prefix="b_"))
    net.initialize(init="ones")
    return net


def test_a_network_is_watched_every_few_batches() -> None:
    monitor, net = Monitor(interval=2, stat_func=lambda array: array.sum()), network()
    monitor.install(net)
    rounds = []
    for _ in range(3):
        monitor.tic()
        net(nd.ones((1, 2)))
        rounds.append(monitor.toc())
    first = [(1, "net_a_output0", "4.0\t"), (1, "net_b_output0", "4.0\t")]
    assert rounds == [first, [], [(3, name, value) for _, name, value in first]]


def test_names_are_chosen_and_sorted_and_inputs_included() -> None:
    monitor, net = Monitor(1, pattern=".*(input|output)0", sort=True, monitor_all=True), network()
    monitor.install(net)
    monitor.tic()
    net(nd.ones((1, 2)))
    assert [name for _, name, _ in monitor.toc()] == ["net_a_input0", "net_a_output0", "net_b_input0", "net_b_output0"]
    only = Monitor(1, pattern="net_b")
    only.install(net)
    only.tic()
    net(nd.ones((1, 2)))
    assert [name for _, name, _ in only.toc()] == ["net_b_output0"]


def test_an_executor_is_read_at_toc(caplog: pytest.LogCaptureFixture) -> None:
    x = symbol.Variable("x")
    executor = symbol.FullyConnected(x, num_hidden=2, no_bias=True, name="fc").simple_bind(x=(1, 2))
    executor.arg_dict["x"][:] = 3.0
    monitor = Monitor(1, sort=True)
    monitor.install(executor)
    monitor.tic()
    executor.forward()
    with caplog.at_level(logging.INFO):
        monitor.toc_print()
    assert [text.split()[2:] for text in caplog.messages] == [["fc_output", "0.0"], ["fc_weight", "0.0"], ["x", "3.0"]]


def test_a_statistic_may_be_a_list() -> None:
    monitor, net = Monitor(1, stat_func=lambda array: [array.max(), array.asnumpy()[0]], pattern="net_a"), network()
    monitor.install(net)
    monitor.tic()
    net(nd.array([[1, 2]]))
    assert monitor.toc() == [(1, "net_a_output0", "3.0\t[3. 3.]\t")]


def test_wrong_use_is_explained() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Monitor(0)
    with pytest.raises(ValueError, match=r"(?s)a Block or an executor.*Received: 3"):
        Monitor(1).install(3)
