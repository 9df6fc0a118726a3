"""Every optimiser against MXNet 1.9.1 (golden_steps.json), in both forms; the protocol around the rules; the state
files.

Laws: updating many weights in one call is updating each by itself; gradients are left alone; a rule sees a weight only
through its count, learning rate and decay; states that are saved and loaded continue as if nothing had happened.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glueball import autograd, cpu, lr_scheduler, nd, optimizer
from glueball.base.errors import FileFormatError

HERE = Path(__file__).parent
RECORDS = json.loads((HERE / "golden_steps.json").read_text())["records"]
DETERMINISTIC = [
    "sgd",
    "nag",
    "signum",
    "ftml",
    "lars",
    "lbsgd",
    "dcasgd",
    "adam",
    "adamw",
    "adagrad",
    "adadelta",
    "rmsprop",
    "ftrl",
    "adamax",
    "nadam",
    "lamb",
    "groupadagrad",
    "test",
]
ARGUMENTS = {
    "groupadagrad": {},
    "test": {},
    "dcasgd": {"momentum": 0.5, "wd": 0.01},
    "sgd": {"momentum": 0.9, "wd": 0.01},
    "nag": {"momentum": 0.9, "wd": 0.01},
    "lars": {"momentum": 0.9, "wd": 0.01},
    "lbsgd": {"momentum": 0.9, "batch_scale": 2},
}


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("optimizer_golden", HERE / "golden_generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = _generator()


def make(name: str, **more: Any) -> optimizer.Optimizer:
    names = {i: f"fc{i}_weight" for i in range(4)}
    return optimizer.create(
        name,
        param_idx2name=names,
        **{"learning_rate": 0.05, "rescale_grad": 0.5, **ARGUMENTS.get(name, {"wd": 0.01}), **more},
    )


def weights(count: int, dtype: str = "float32") -> list[nd.NDArray]:
    made = [nd.array(golden.weight() * (1 + i), dtype=dtype) for i in range(count)]
    for weight in made:
        weight.attach_grad()
    return made


def gradients(count: int, step: int) -> list[nd.NDArray]:
    return [nd.array(golden.gradient(step) * (1 - 0.3 * i)) for i in range(count)]


@pytest.mark.parametrize("count", [1, 3], ids=["one", "list"])
@pytest.mark.parametrize("record", RECORDS, ids=lambda r: f"{r['name']}-{r['arguments']}")
def test_same_steps_as_mxnet(record: dict[str, Any], count: int) -> None:
    updater = optimizer.get_updater(
        optimizer.create(
            record["name"], param_idx2name={i: f"fc{i}_weight" for i in range(count)}, **record["arguments"]
        )
    )
    arrays = [nd.array(golden.weight(), dtype=record["dtype"]) for _ in range(count)]
    tolerance = 5e-6 if record["dtype"] == "float32" else 1e-3
    for step, expected in enumerate(record["weights"]):
        updater(
            list(range(count)), [nd.array(golden.gradient(step), dtype=record["dtype"]) for _ in range(count)], arrays
        )
        for array in arrays:
            np.testing.assert_allclose(array.asnumpy().ravel(), expected, atol=tolerance)


@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_many_at_once_is_one_after_the_other(name: str, clip: float | None) -> None:
    together, alone = make(name, clip_gradient=clip), make(name, clip_gradient=clip)
    a, b = weights(3), weights(3)
    states_a = [together.create_state(i, w) for i, w in enumerate(a)]
    states_b = [alone.create_state(i, w) for i, w in enumerate(b)]
    for step in range(3):
        grads = gradients(3, step)
        together.update([0, 1, 2], a, grads, states_a)
        for i in range(3):
            alone.update(i, b[i], grads[i], states_b[i])
        for i, grad in enumerate(gradients(3, step)):
            np.testing.assert_array_equal(grads[i].asnumpy(), grad.asnumpy(), err_msg="the gradient was changed")
    for i in range(3):
        np.testing.assert_allclose(a[i].asnumpy(), b[i].asnumpy(), rtol=1e-5, atol=1e-6)
        assert a[i]._t.requires_grad


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_weights_of_other_layouts_and_float64(name: str) -> None:
    plain, other = make(name), make(name)
    a, b = nd.array(golden.weight(), dtype="float64"), nd.array(golden.weight().T, dtype="float64")
    b._t = b._t.t()  # the same values, stored by columns
    state_a, state_b = plain.create_state(0, a), other.create_state(0, b)
    for step in range(2):
        grad = nd.array(golden.gradient(step), dtype="float64")
        plain.update(0, a, grad, state_a)
        other.update(0, b, grad, state_b)
    np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=1e-12)


def test_adamw_decays_beside_the_step() -> None:
    weight, grad = nd.ones((2,)), nd.array([0.5, -3.0])
    adamw = optimizer.create("adamw", learning_rate=0.1, wd=0.2, epsilon=1e-8)
    state = adamw.create_state(0, weight)
    adamw.update(0, weight, grad, state)
    np.testing.assert_allclose(weight.asnumpy(), [1 - 0.1 * 0.2 - 0.1, 1 - 0.1 * 0.2 + 0.1], rtol=1e-5)
    uncorrected = optimizer.create("adamw", learning_rate=0.1, wd=0.2, epsilon=0.0, correct_bias=False)
    weight = nd.ones((2,))
    uncorrected.update(0, weight, grad, uncorrected.create_state(0, weight))
    np.testing.assert_allclose(
        weight.asnumpy(), [0.98 - 0.1 * 0.1 / 0.001**0.5, 0.98 + 0.1 * 0.1 / 0.001**0.5], rtol=1e-5
    )


def test_sgld_adds_noise_of_the_learning_rate() -> None:
    weight = nd.zeros((100, 100))
    optimizer.create("sgld", learning_rate=0.04).update(0, weight, nd.ones((100, 100)), None)
    assert weight.asnumpy().mean() == pytest.approx(-0.02, abs=0.01)
    assert weight.asnumpy().std() == pytest.approx(0.2, rel=0.05)


def test_lars_leaves_biases_alone() -> None:
    lars = optimizer.create("lars", learning_rate=0.1, eta=0.5, param_idx2name={0: "fc_weight", 1: "fc_bias"})
    a, b, grads = nd.ones((4,)), nd.ones((4,)), [nd.ones((4,)) * 3] * 2
    lars.update([0, 1], [a, b], grads, [None, None])
    assert b.asnumpy()[0] == pytest.approx(1 - 0.1 * 3)
    assert a.asnumpy()[0] == pytest.approx(1 - 0.1 * 3 * 0.5 * 2 / 6)


def test_lars_corrects_the_momentum_when_the_rate_changes() -> None:
    lars = optimizer.create("lars", learning_rate=0.1, momentum=0.5, param_idx2name={0: "bias"})
    weight = nd.zeros((1,))
    state = lars.create_state(0, weight)
    lars.update(0, weight, nd.ones((1,)), state)
    lars.set_learning_rate(0.2)
    lars.update(0, weight, nd.ones((1,)), state)
    assert weight.asscalar() == pytest.approx(-0.1 - (0.1 * 0.5 * 2 + 0.2))


def test_nadam_counts_for_each_weight() -> None:
    alone, shared = make("nadam"), make("nadam")
    a, b = weights(1), weights(2)
    state, states = alone.create_state(0, a[0]), [shared.create_state(i, w) for i, w in enumerate(b)]
    for step in range(3):
        alone.update(0, a[0], gradients(1, step)[0], state)
        shared.update([0, 1], b, gradients(2, step), states)
    np.testing.assert_allclose(a[0].asnumpy(), b[0].asnumpy(), rtol=1e-6)


# --------------------------------------------------------------------------------------------------------------
# protocol
def test_multipliers_by_index_name_and_parameter() -> None:
    sgd = optimizer.SGD(
        learning_rate=1.0, wd=1.0, param_idx2name={0: "a_weight", 1: "a_bias", 2: "a_gamma", 3: "a_beta"}
    )
    assert sgd._get_wds([0, 1, 2, 3]) == [1.0, 0.0, 1.0, 0.0]
    sgd.set_lr_mult({0: 2.0, "a_bias": 3.0})
    sgd.set_wd_mult({"a_weight": 0.5})
    assert sgd._get_lrs([0, 1, 2]) == [2.0, 3.0, 1.0]
    assert sgd._get_wds([0, 1]) == [0.5, 0.0]
    parameter = SimpleNamespace(lr_mult=4.0, wd_mult=5.0)
    owned = optimizer.SGD(learning_rate=1.0, wd=1.0, param_dict={0: parameter})
    assert (owned._get_lr(0), owned._get_wd(0), owned._get_lr(1)) == (4.0, 5.0, 1.0)


def test_multipliers_split_the_list_into_groups() -> None:
    sgd = optimizer.SGD(learning_rate=0.1, momentum=0.9)
    sgd.set_lr_mult({1: 10.0})
    arrays = [nd.zeros((1,)) for _ in range(3)]
    sgd.update([0, 1, 2], arrays, [nd.ones((1,))] * 3, [sgd.create_state(i, a) for i, a in enumerate(arrays)])
    assert [round(float(a.asscalar()), 4) for a in arrays] == [-0.1, -1.0, -0.1]


def test_counts_and_the_scheduler() -> None:
    scheduler = lr_scheduler.FactorScheduler(step=1, factor=0.5)
    sgd = optimizer.SGD(learning_rate=1.0, lr_scheduler=scheduler, begin_num_update=1)
    weight = nd.zeros((1,))
    for _ in range(3):
        sgd.update(0, weight, nd.ones((1,)), None)
    assert sgd.num_update == 4
    assert weight.asscalar() == -(0.5 + 0.25 + 0.125)
    assert sgd.learning_rate == 0.125
    with pytest.raises(UserWarning, match="takes its learning rate from its lr_scheduler"):
        sgd.set_learning_rate(0.1)


def test_the_learning_rate_agrees_with_the_scheduler() -> None:
    assert optimizer.SGD(lr_scheduler=lr_scheduler.FactorScheduler(1, base_lr=0.3)).learning_rate == 0.3
    scheduler = lr_scheduler.FactorScheduler(1, base_lr=0.3)
    assert optimizer.SGD(learning_rate=0.7, lr_scheduler=scheduler).learning_rate == 0.7
    assert scheduler.base_lr == 0.7
    assert optimizer.SGD().learning_rate == 0.01


def test_each_device_has_its_own_counts() -> None:
    adam, a, b = optimizer.Adam(learning_rate=0.1), nd.zeros((1,)), nd.zeros((1,))
    for device, weight in enumerate((a, b)):
        adam._set_current_context(device)
        adam.update(0, weight, nd.ones((1,)), adam.create_state(0, weight))
    assert a.asscalar() == b.asscalar()
    assert adam.num_update == 1


def test_an_optimizer_written_as_in_2017() -> None:
    @optimizer.register
    class Halving(optimizer.Optimizer):
        def create_state(self, index: int, weight: nd.NDArray) -> nd.NDArray:
            return nd.zeros(weight.shape)

        def update(self, index: int, weight: nd.NDArray, grad: nd.NDArray, state: nd.NDArray) -> None:
            self._update_count(index)
            state[:] = grad
            weight[:] = weight - self._get_lr(index) * grad * self.rescale_grad

    updater = optimizer.get_updater(optimizer.create("halving", learning_rate=0.5))
    arrays = [nd.ones((2,)), nd.ones((2,))]
    updater([0, 1], [nd.ones((2,)), nd.ones((2,)) * 2], arrays)
    assert [a.asnumpy().tolist() for a in arrays] == [[0.5, 0.5], [0.0, 0.0]]
    assert updater.states[1].asnumpy().tolist() == [2.0, 2.0]


def test_states_follow_a_weight_that_is_cast_or_moved() -> None:
    updater = optimizer.get_updater(optimizer.SGD(learning_rate=1.0, momentum=0.5))
    updater(0, nd.ones((1,)), nd.zeros((1,)))
    for weight in (nd.zeros((1,), dtype="float64"), nd.zeros((1,), ctx=cpu(1))):
        state = float(updater.states[0].asscalar())
        updater(0, nd.ones((1,), dtype=weight.dtype, ctx=weight.context), weight)
        assert weight.asscalar() == 0.5 * state - 1
        assert (updater.states[0].dtype, updater.states[0].context) == (weight.dtype, weight.context)


def test_states_start_anew_where_the_weight_has_another_shape() -> None:
    updater = optimizer.get_updater(optimizer.SGD(learning_rate=1.0, momentum=0.5))
    updater(0, nd.ones((1,)), nd.zeros((1,)))
    weight = nd.zeros((2,))
    updater(0, nd.ones((2,)), weight)
    assert weight.asnumpy().tolist() == [-1, -1]


def test_an_optimizer_in_two_methods() -> None:
    @optimizer.register
    class Lion(optimizer.Optimizer):
        def state(self, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (torch.zeros_like(weight),)

        def rule(self, w: Any, g: Any, state: tuple[Any, ...], step: optimizer.Step) -> None:
            g, (m,) = self.gradient(g), state
            w.sub_((m * 0.9 + g * 0.1).sign() + w * step.wd, alpha=step.lr)
            m.mul_(0.99).add_(g, alpha=0.01)

    together, alone = (optimizer.get_updater(optimizer.create("lion", learning_rate=0.1, wd=0.5)) for _ in range(2))
    a, b = weights(3), weights(3)
    for step in range(3):
        together([0, 1, 2], gradients(3, step), a)
        for i in range(3):
            alone(i, gradients(3, step)[i], b[i])
    for i in range(3):
        np.testing.assert_allclose(a[i].asnumpy(), b[i].asnumpy(), rtol=1e-6)
    np.testing.assert_allclose(together.states[0].asnumpy(), alone.states[0].asnumpy(), rtol=1e-6)


def test_an_optimizer_may_override_the_multi_precision_update() -> None:
    seen = []

    class Watching(optimizer.SGD):
        def update_multi_precision(self, index: Any, weight: Any, grad: Any, state: Any) -> None:
            seen.append(index)
            super().update_multi_precision(index, weight, grad, state)

    arrays = [nd.ones((1,)), nd.ones((1,))]
    optimizer.get_updater(Watching(learning_rate=1.0))([0, 1], [nd.ones((1,))] * 2, arrays)
    assert seen == [0, 1]
    assert arrays[0].asscalar() == 0.0


def test_a_weight_may_be_updated_while_recording() -> None:
    weight = nd.ones((2,))
    weight.attach_grad()
    with autograd.record():
        optimizer.SGD(learning_rate=1.0).update(0, weight, nd.ones((2,)), None)
        assert torch.is_grad_enabled()
    assert weight.asnumpy().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_multi_precision_keeps_small_steps(dtype: str) -> None:
    weight = nd.ones((1,), dtype=dtype)
    updater = optimizer.get_updater(optimizer.SGD(learning_rate=1e-4, multi_precision=True))
    for _ in range(100):
        updater(0, nd.ones((1,), dtype=dtype), weight)
    copy, state = updater.states[0]
    assert copy.asscalar() == pytest.approx(0.99, abs=1e-5)
    assert state is None
    assert float(weight.astype("float32").asscalar()) == pytest.approx(0.99, abs=4e-3)


def test_multi_precision_leaves_single_precision_alone() -> None:
    arrays = [nd.ones((1,), dtype="float16"), nd.ones((1,))]
    updater = optimizer.get_updater(optimizer.Adam(learning_rate=0.1, multi_precision=True))
    updater([0, 1], [nd.ones((1,), dtype="float16"), nd.ones((1,))], arrays)
    assert [round(float(a.asscalar()), 2) for a in arrays] == [0.9, 0.9]
    assert isinstance(updater.states[0][0], nd.NDArray)
    assert len(updater.states[1]) == 2


def test_half_precision_alone_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="multi_precision=True"):
        optimizer.get_updater(optimizer.SGD())(0, nd.ones((1,), dtype="float16"), nd.ones((1,), dtype="float16"))


@pytest.mark.parametrize(
    ("use", "error", "text"),
    [
        (lambda: optimizer.create("sgdd"), ValueError, "(?s)'sgdd'.*did you mean 'sgd'"),
        (lambda: optimizer.create("sgd", lr=0.1), ValueError, "(?s)no argument named 'lr'.*use learning_rate"),
        (lambda: optimizer.create("adam", weight_decay=0.1), ValueError, "use wd"),
        (lambda: optimizer.create("sgd", momentun=0.1), ValueError, "did you mean 'momentum'"),
        (lambda: optimizer.SGD(param_idx2name=["a"]), ValueError, "maps indices to names"),
        (lambda: optimizer.Optimizer().update(0, nd.ones((1,)), nd.ones((1,)), None), RuntimeError, "define rule"),
        (lambda: optimizer.SGD().set_lr_scale({}), DeprecationWarning, "set_lr_mult"),
        (
            lambda: optimizer.create("groupadagrad").create_state(0, nd.ones((2,))),
            ValueError,
            "weights of two dimensions",
        ),
        (
            lambda: optimizer.get_updater(optimizer.create("groupadagrad", wd=0.1))(
                0, nd.ones((2, 2)), nd.ones((2, 2))
            ),
            ValueError,
            "no weight decay",
        ),
    ],
)
def test_wrong_use_is_explained(use: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        use()


def test_every_registered_optimizer_is_tested() -> None:
    known = {
        cls.__name__.lower()
        for cls in optimizer.Optimizer.opt_registry.values()
        if cls.__module__.startswith("glueball.")
    }
    assert known == {*DETERMINISTIC, "sgld", "ccsgd"}


# ----------------------------------------------------------------------------------------------------------- state
# files
def trained(name: str, steps: int, **more: Any) -> tuple[optimizer.Updater, list[nd.NDArray]]:
    updater, arrays = optimizer.get_updater(make(name, **more)), weights(2)
    for step in range(steps):
        updater([0, 1], gradients(2, step), arrays)
    return updater, arrays


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_loaded_states_continue_as_if_nothing_had_happened(name: str) -> None:
    first, arrays = trained(name, 3)
    second = optimizer.get_updater(make(name, learning_rate=0.9))
    second.set_states(first.get_states(dump_optimizer=True))
    copies = [a.copy() for a in arrays]
    for step in range(3, 5):
        first([0, 1], gradients(2, step), arrays)
        second([0, 1], gradients(2, step), copies)
    for a, b in zip(arrays, copies):
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy())
    assert second.optimizer.learning_rate == 0.05


def test_states_without_the_optimizer_leave_its_settings() -> None:
    first, _ = trained("adam", 2)
    second = optimizer.get_updater(make("adam", learning_rate=0.9))
    second.set_states(first.get_states())
    assert second.optimizer.learning_rate == 0.9
    assert second.optimizer.num_update == 0


def test_the_bytes_are_safetensors() -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = safetensors.load(trained("adam", 1)[0].get_states(dump_optimizer=True))
    assert sorted(tensors) == ["0.0", "0.1", "1.0", "1.1"]
    assert tensors["0.0"].shape == (3, 2)


def test_a_pickle_is_refused_unread() -> None:
    for protocol in range(6):
        with pytest.raises(FileFormatError, match="Python pickle") as caught:
            trained("adam", 1)[0].set_states(pickle.dumps({0: 1.0}, protocol=protocol))
        assert "MXNet" in str(caught.value)


def test_states_of_another_optimizer_or_network_are_refused() -> None:
    data = trained("adam", 1)[0].get_states(dump_optimizer=True)
    with pytest.raises(ValueError, match=r"(?s)Expected: SGD.*Received: Adam.*'adam'"):
        trained("sgd", 1)[0].set_states(data)
    other = optimizer.get_updater(make("adam"))
    other.set_states(data)
    with pytest.raises(ValueError, match=r"(?s)do not belong to weight 'fc0_weight'.*same network"):
        other(0, nd.ones((5,)), nd.ones((5,)))


@given(st.data())
def test_broken_bytes_raise_and_change_nothing(data: st.DataObject) -> None:
    updater, _ = trained("adam", 1)
    good = bytearray(updater.get_states(dump_optimizer=True))
    if data.draw(st.booleans()):
        broken = bytes(good[: data.draw(st.integers(0, len(good) - 1))])
    else:
        position = data.draw(st.integers(0, len(good) - 60))
        good[position] ^= data.draw(st.integers(1, 255))
        broken = bytes(good)
    before, settings = updater.get_states(dump_optimizer=True), dict(vars(updater.optimizer))
    try:
        updater.set_states(broken)
    except FileFormatError:
        assert updater.get_states(dump_optimizer=True) == before
        assert dict(vars(updater.optimizer)) == settings
