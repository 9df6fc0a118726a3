"""Initialisers: which rule a name's ending chooses, the numbers and distributions of each rule, and what wrong use is
told.

The values and the dispatch were observed on MXNet 1.9.1; names for which it raises and we know better are marked.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest

from glueball import initializer as init
from glueball import nd


def filled(initializer: init.Initializer, name: str, shape: tuple[int, ...] = (3,), **desc: Any) -> np.ndarray:
    array = nd.ones(shape) * 7
    initializer(init.InitDesc(name, **desc), array)
    return array.asnumpy()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fc_weight", 2),
        ("fc_bias", 0),
        ("bn_gamma", 1),
        ("bn_beta", 0),
        ("data_min", 0),
        ("data_max", 1),
        ("stn_loc_bias", 0),
        ("bn_running_mean", 0),
        ("bn_running_var", 1),
        ("bn_moving_mean", 0),
        ("bn_moving_var", 1),  # MXNet raises for an InitDesc
        ("bn_moving_inv_var", 0),
        ("bn_moving_avg", 0),
    ],
)
def test_the_ending_of_the_name_chooses_the_rule(name: str, value: float) -> None:
    assert (filled(init.Constant(2), name) == value).all()


def test_a_plain_string_serves_as_a_name() -> None:
    array = nd.ones((2,))
    init.Constant(2)("fc_weight", array)
    assert array.asnumpy().tolist() == [2, 2]


def test_the_parameters_own_initializer_goes_before_its_name() -> None:
    assert (filled(init.Constant(2), "fc_bias", attrs={"__init__": init.One().dumps()}) == 1).all()
    assert (filled(init.Constant(2), "anything", attrs={"__init__": "ones"}) == 1).all()


def test_an_unknown_ending_is_explained() -> None:
    with pytest.raises(ValueError, match=r"(?s)cannot tell from the name 'scale'.*init=mx\.init\.One\(\)"):
        filled(init.Uniform(), "scale")


@pytest.mark.parametrize(
    "initializer",
    [
        init.Zero(),
        init.One(),
        init.Constant(3),
        init.Uniform(0.1),
        init.Normal(0.5),
        init.Orthogonal(),
        init.LSTMBias(2.0),
        init.Bilinear(),
        init.Xavier("gaussian", "in", 2.34),
        init.MSRAPrelu("in", 0.1),
        init.FusedRNN(init.Xavier(), 4, 1, "lstm"),
        init.FusedRNN(None, 4, 2, "gru", True),
    ],
    ids=repr,
)
def test_dumps_makes_the_same_initializer_again(initializer: init.Initializer) -> None:
    again = init.create(initializer.dumps())
    assert type(again) is type(initializer)
    assert again == initializer
    assert hash(again) == hash(initializer)
    assert again.dumps() == initializer.dumps()


def test_dumps_as_mxnet_writes_it() -> None:
    assert (
        init.Xavier("gaussian", "in", 2.34).dumps()
        == '["xavier", {"rnd_type": "gaussian", "factor_type": "in", "magnitude": 2.34}]'
    )
    assert init.Constant(nd.ones((2,))).dumps() == '["constant", {"value": [1.0, 1.0]}]'


def test_create_by_name_alias_and_instance() -> None:
    assert isinstance(init.create("Zeros"), init.Zero)
    assert init.create("normal", sigma=0.3) == init.Normal(0.3)
    made = init.Zero()
    assert init.create(made) is made
    assert init.Zero() != init.One()
    assert init.Constant(1) != init.Constant(2)


def test_an_unknown_initializer_names_the_closest() -> None:
    with pytest.raises(ValueError, match=r"(?s)'xavir'.*did you mean 'xavier'"):
        init.create("xavir")


def test_constant_takes_arrays() -> None:
    for value in (nd.array([1, 2, 3]), np.array([1.0, 2.0, 3.0]), [1, 2, 3]):
        assert filled(init.Constant(value), "fc_weight").tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("initializer", "deviation", "limit"),
    [
        (init.Uniform(), 0.07 / math.sqrt(3), 0.07),
        (init.Normal(0.2), 0.2, None),
        (
            init.Xavier(),
            0.0859,
            0.149072,
        ),  # √(3/((40 + 50)·3/2)) and its third root: MXNet measures 0.0859 over 6000 draws
        (init.Xavier("gaussian", "in", 2), 0.117, None),
        (init.Xavier(factor_type="out"), 0.0913, 0.158114),
        (init.MSRAPrelu(), 0.1181, None),
        (init.MSRAPrelu("in", 0.0), 0.1155, None),
    ],
    ids=repr,
)
def test_distributions(initializer: init.Initializer, deviation: float, limit: float | None) -> None:
    values = filled(initializer, "conv_weight", (40, 50, 3))
    assert values.std() == pytest.approx(deviation, rel=0.05)
    assert abs(values.mean()) < 4 * deviation / math.sqrt(values.size)
    if limit is not None:
        assert 0.98 * limit < np.abs(values).max() <= limit * 1.00001


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (4, 2, 3)])
@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_orthogonal(shape: tuple[int, ...], kind: str) -> None:
    matrix = filled(init.Orthogonal(scale=2.0, rand_type=kind), "fc_weight", shape).reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 4.0 * np.eye(len(product)), atol=1e-5)


def test_bilinear() -> None:
    assert filled(init.Bilinear(), "up_weight", (1, 1, 4, 4)).ravel().tolist() == [
        0.0625,
        0.1875,
        0.1875,
        0.0625,
        0.1875,
        0.5625,
        0.5625,
        0.1875,
        0.1875,
        0.5625,
        0.5625,
        0.1875,
        0.0625,
        0.1875,
        0.1875,
        0.0625,
    ]
    assert filled(init.Bilinear(), "up_weight", (2, 1, 3, 3))[1].ravel().tolist() == [
        0.0625,
        0.1875,
        0.1875,
        0.1875,
        0.5625,
        0.5625,
        0.1875,
        0.5625,
        0.5625,
    ]


def test_lstm_bias() -> None:
    own = {"__init__": init.LSTMBias(2.0).dumps()}
    assert filled(init.Zero(), "lstm_i2h_bias", (8,), attrs=own).tolist() == [0, 0, 2, 2, 0, 0, 0, 0]


def test_fused_rnn_fills_weights_and_the_biases_of_forget_gates() -> None:
    packed = nd.ones((4 * 2 * (3 + 2 + 2),))
    init.FusedRNN(init.Constant(5), 2, 1, "lstm")._init_weight(init.InitDesc("lstm_parameters"), packed)
    biases = [0, 0, 1, 1, 0, 0, 0, 0]
    assert packed.asnumpy().tolist() == [5.0] * 40 + biases + biases


def test_fused_rnn_takes_the_networks_initializer_gate_by_gate() -> None:
    names = []

    class Recorder(init.Initializer):
        def _init_weight(self, name: str, arr: nd.NDArray) -> None:
            names.append((str(name), arr.shape))
            arr[:] = 6.0

    packed = nd.ones((3 * 2 * 2 * (3 + 2 + 2) + 3 * 2 * 2 * (4 + 2 + 2),))
    desc = init.InitDesc("gru_parameters", global_init=Recorder())
    init.FusedRNN(None, 2, 2, "gru", bidirectional=True)._init_weight(desc, packed)
    assert names[:3] == [("l0_i2h_r_weight", (2, 3)), ("l0_i2h_z_weight", (2, 3)), ("l0_i2h_o_weight", (2, 3))]
    assert names[-1] == ("r1_h2h_o_weight", (2, 2))
    assert (packed.asnumpy() == 6).sum() == 3 * 2 * 2 * (3 + 2 + 4 + 2)


def test_mixed_takes_the_first_pattern_that_fits() -> None:
    mixed = init.Mixed(["a_", ".*"], [init.One(), init.Zero()])
    assert filled(mixed, "a_weight").tolist() == [1, 1, 1]
    assert filled(mixed, "b_weight").tolist() == [0, 0, 0]


def test_load_takes_saved_values_and_falls_back() -> None:
    load = init.Load({"arg:w_weight": nd.array([4.0, 5.0])}, default_init=init.One())
    assert filled(load, "w_weight", (2,)).tolist() == [4, 5]
    assert filled(load, "other_weight", (2,)).tolist() == [1, 1]


def test_mixed_and_load_serve_a_whole_network() -> None:
    mixed = init.Mixed(["a_", ".*"], [init.One(), init.Constant(2)])
    for name, value in [("a_weight", 1), ("b_weight", 2)]:  # Parameter.initialize describes its initializer like this
        assert (filled(init.Zero(), name, attrs={"__init__": mixed}) == value).all()
    load = init.Load({"w_weight": nd.array([4.0, 5.0])})
    assert filled(load, "w_weight", (2,), attrs={"__init__": load}).tolist() == [4, 5]


def test_verbose_initializers_report(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="glueball"):
        filled(init.Constant(2).set_verbosity(True), "fc_weight")
    assert caplog.messages == ["Initialized fc_weight by Constant(value=2): 2.0"]


def test_half_precision_parameters_are_filled_too() -> None:
    array = nd.zeros((20, 10), dtype="float16")
    init.Xavier()(init.InitDesc("fc_weight"), array)
    assert array.dtype == np.float16
    assert array.asnumpy().std() > 0.1


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: filled(init.Xavier(), "x_weight", (3,)), "(?s)'x_weight' is a vector.*init=mx.init.Uniform"),
        (lambda: init.Xavier(factor_type="mean"), "'avg', 'in' or 'out'"),
        (lambda: init.Xavier(rnd_type="exponential"), "'uniform' or 'gaussian'"),
        (lambda: init.Orthogonal(rand_type="exponential"), "'uniform' or 'normal'"),
        (lambda: filled(init.Bilinear(), "up_weight", (3,)), "no convolution weight"),
        (lambda: init.FusedRNN(None, 2, 1, "cnn"), "Received: 'cnn'"),
        (
            lambda: init.FusedRNN(init.One(), 2, 1, "gru")._init_weight(init.InitDesc("x"), nd.ones((5,))),
            "does not fit the network",
        ),
        (
            lambda: init.FusedRNN(None, 2, 1, "gru")._init_weight(init.InitDesc("x"), nd.ones((42,))),
            "pass one: FusedRNN",
        ),
        (lambda: init.Mixed(["bias"], []), "Expected: 1 initializers"),
        (lambda: filled(init.Mixed(["bias"], [init.Zero()]), "fc_weight"), "(?s)No pattern fits.*add a last pattern"),
        (lambda: filled(init.Load({}), "fc_weight"), "default_init="),
        (
            lambda: filled(init.Load({"fc_weight": nd.ones((2,))}), "fc_weight", (3,)),
            "(?s)another shape.*Received: \\(2,\\)",
        ),
        (lambda: init.Load([nd.ones((2,))]), "must have names"),
        (lambda: init.Zero()(3, nd.ones((2,))), "a str or mx.init.InitDesc"),  # type: ignore[arg-type]
    ],
)
def test_wrong_use_is_explained(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_a_class_without_a_rule_says_what_to_define() -> None:
    class Empty(init.Initializer):
        pass

    with pytest.raises(
        NotImplementedError, match=r"Empty must define _init_weight\(self, name, arr\) to fill 'fc_weight'"
    ):
        filled(Empty(), "fc_weight")
