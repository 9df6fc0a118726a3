"""Trainer: steps on one device and on several, stale gradients, learning rates, state files, and what wrong use is
told.

Numbers and refusals as MXNet 1.9.1 gave them; `cpu(0)` and `cpu(1)` behave as two devices.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glueball import autograd, cpu, gluon, kvstore, lr_scheduler, nd, optimizer
from glueball.base.errors import ArgumentError, AutogradError, DeferredInitializationError, UnsupportedError
from glueball.gluon import Parameter, Trainer

TWO = [cpu(0), cpu(1)]


def parameter(name: str = "w", ctx: Any = None, shape: tuple[int, ...] = (2,), **more: Any) -> Parameter:
    made = Parameter(name, shape=shape, **more)
    made.initialize(init="ones", ctx=ctx)
    return made


def backward(*parameters: Parameter) -> None:
    """Give the copy on device d the gradient d + 1."""
    for made in parameters:
        for d, array in enumerate(made.list_data()):
            with autograd.record():
                loss = (array * (d + 1)).sum()
            loss.backward()


def values(made: Parameter) -> list[list[float]]:
    return [[round(float(v), 5) for v in array.asnumpy()] for array in made.list_data()]


# ------------------------------------------------------------------------------------------------------------- one
# device
def test_a_step_divides_by_the_batch_size_and_decays_everything() -> None:
    weight, bias = parameter("fc_weight"), parameter("fc_bias")
    trainer = Trainer([weight, bias], "sgd", {"learning_rate": 0.1, "wd": 0.5})
    backward(weight, bias)
    trainer.step(4)
    assert values(weight) == values(bias) == [[round(1 - 0.1 * (0.25 + 0.5), 5)] * 2]


def test_rescale_grad_of_the_optimizer_is_kept() -> None:
    weight = parameter()
    trainer = Trainer([weight], "sgd", {"learning_rate": 0.1, "rescale_grad": 2.0})
    backward(weight)
    trainer.step(4)
    assert values(weight) == [[0.95, 0.95]]
    assert trainer.optimizer.rescale_grad == 0.5


def test_multipliers_and_parameters_without_gradient() -> None:
    slow, fixed = parameter("slow", lr_mult=0.1, wd_mult=0.0), parameter("fixed", grad_req="null")
    trainer = Trainer({"slow": slow, "fixed": fixed}, "sgd", {"learning_rate": 1.0, "wd": 5.0})
    backward(slow)
    trainer.step(1)
    assert values(slow) == [[0.9, 0.9]]
    assert values(fixed) == [[1, 1]]


def test_accumulated_gradients() -> None:
    weight = parameter(grad_req="add")
    trainer = Trainer([weight], "sgd", {"learning_rate": 0.1})
    for _ in range(3):
        backward(weight)
    trainer.step(1)
    assert values(weight) == [[0.7, 0.7]]
    weight.zero_grad()
    backward(weight)
    trainer.step(1)
    assert values(weight) == [[0.6, 0.6]]


def test_a_parameter_given_twice_is_updated_once() -> None:
    weight = parameter()
    trainer = Trainer([weight, weight], "sgd", {"learning_rate": 0.1})
    backward(weight)
    trainer.step(1)
    assert values(weight) == [[0.9, 0.9]]


def test_the_gradient_may_be_changed_before_the_step() -> None:
    weight = parameter()
    trainer = Trainer([weight], "sgd", {"learning_rate": 0.1})
    backward(weight)
    trainer.allreduce_grads()
    weight.grad()[:] = 5
    trainer.update(1)
    assert values(weight) == [[0.5, 0.5]]


@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad"])
def test_a_step_between_two_backward_passes_of_a_graph_is_refused(name: str) -> None:
    weight, x = parameter(), nd.ones((2,))
    x.attach_grad()
    trainer = Trainer([weight], name)
    with autograd.record():
        y = weight.data() * x
        first, second = y.sum(), (y * y).sum()
    first.backward(retain_graph=True)
    trainer.step(1)
    with pytest.raises(AutogradError, match="changed in place"):
        second.backward()


def test_settings_that_are_no_dict_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"by name(.|\n)*0\.1(.|\n)*\{'learning_rate': 0\.1\}"):
        Trainer([parameter()], "sgd", 0.1)  # type: ignore[arg-type]


def test_a_parameter_that_changes_while_recording_is_used_as_a_copy() -> None:
    """Spectral normalisation keeps a vector that each forward pass renews: the error's own advice is a way out."""
    weight, state = parameter(), parameter()
    before = state.data().asnumpy()

    def loss(read: Any) -> Any:
        with autograd.record():
            out = (weight.data() * read(state.data())).sum()
            with autograd.pause():
                state.set_data(nd.full((2,), 7.0))
        return out

    with pytest.raises(AutogradError, match=r"record with a copy \(x\.copy\(\)\)"):
        loss(lambda x: x).backward()
    state.set_data(nd.array(before))
    loss(lambda x: x.copy()).backward()
    np.testing.assert_array_equal(weight.grad().asnumpy(), before)


def test_a_network_with_unknown_sizes_trains() -> None:
    net = gluon.nn.Dense(1, use_bias=False)
    net.initialize(init="ones")
    trainer = Trainer(net.collect_params(), "sgd", {"learning_rate": 0.5})
    x = nd.ones((2, 3))
    with autograd.record():
        loss = net(x).sum()
    loss.backward()
    trainer.step(2)
    assert net.weight.data().asnumpy().tolist() == [[0.5, 0.5, 0.5]]


def test_all_parameters_go_to_the_updater_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    made = [parameter(f"p{i}", shape=(i + 1,)) for i in range(5)]
    trainer = Trainer(made, "sgd")
    original = optimizer.SGD.rule_list
    monkeypatch.setattr(
        optimizer.SGD, "rule_list", lambda self, w, *rest: (calls.append(len(w)), original(self, w, *rest))
    )
    backward(*made)
    trainer.step(1)
    assert calls == [5]


# -------------------------------------------------------------------------------------------------------- stale
# gradients
def test_a_stale_gradient_is_refused_before_anything_changes() -> None:
    used, unused = parameter("used"), parameter("unused")
    trainer = Trainer([used, unused], "sgd", {"learning_rate": 0.1})
    backward(used)
    with pytest.raises(
        UserWarning,
        match=r"(?s)^Gradient of Parameter `unused` on context cpu\(0\) has not been updated by backward since last "
        r"`step`\. This could mean a bug in your model.*ignore_stale_grad=True",
    ):
        trainer.step(1)
    assert values(used) == [[1, 1]]
    trainer.step(1, ignore_stale_grad=True)
    assert values(used) == [[0.9, 0.9]]
    assert values(unused) == [[1, 1]]


def test_a_forgotten_backward_is_told_so() -> None:
    weight = parameter()
    trainer = Trainer([weight], "sgd")
    with pytest.raises(UserWarning, match=r"(?s)^Gradient of Parameter `w`.*autograd\.record\(\).*loss\.backward\(\)"):
        trainer.step(1)
    backward(weight)
    trainer.step(1)
    with pytest.raises(UserWarning, match=r"loss\.backward\(\)"):
        trainer.step(1)


# --------------------------------------------------------------------------------------------------------- several
# devices
@pytest.mark.parametrize("store", ["device", "local", None])
@pytest.mark.parametrize("on_kvstore", [None, True, False])
def test_devices_stay_equal_unless_told_otherwise(store: str | None, on_kvstore: bool | None) -> None:
    weight = parameter(ctx=TWO)
    trainer = Trainer(
        [weight], "sgd", {"learning_rate": 1.0, "momentum": 0.9}, kvstore=store, update_on_kvstore=on_kvstore
    )
    for _ in range(2):
        backward(weight)
        trainer.step(1)
        with pytest.raises(UserWarning, match="has not been updated"):
            trainer.step(1)
    # gradients 1 and 2; together 3: 1 − 3 − (2.7 + 3); apart 1 − 1 − 1.9 and 1 − 2 − 3.8
    assert values(weight) == ([[-7.7, -7.7]] * 2 if store else [[-1.9, -1.9], [-4.8, -4.8]])


def test_one_optimizer_counts_alike_on_all_devices() -> None:
    one, two = parameter("one"), parameter("two", ctx=TWO)
    trainers = [
        Trainer([one], "adam", {"learning_rate": 0.1}),
        Trainer([two], "adam", {"learning_rate": 0.1}, update_on_kvstore=False),
    ]
    for _ in range(3):
        for made, trainer in zip((one, two), trainers):
            backward(made)
            trainer.step(1)
    assert values(one) * 2 == values(two)
    assert trainers[1].optimizer.num_update == 3


def test_copies_are_made_equal_at_the_first_step() -> None:
    weight = parameter(ctx=TWO)
    weight.list_data()[1][:] = 9
    backward(weight)
    Trainer([weight], "sgd", {"learning_rate": 0.1}).step(1)
    assert values(weight) == [[0.7, 0.7]] * 2


def test_allreduce_then_update() -> None:
    weight = parameter(ctx=TWO)
    trainer = Trainer([weight], "sgd", {"learning_rate": 1.0}, update_on_kvstore=False)
    backward(weight)
    trainer.allreduce_grads()
    assert [g.asnumpy().tolist() for g in weight.list_grad()] == [[3, 3], [3, 3]]
    trainer.update(1)
    assert values(weight) == [[-2, -2]] * 2


def test_allreduce_and_update_need_updates_outside_the_store() -> None:
    weight = parameter(ctx=TWO)
    trainer = Trainer([weight], "sgd")
    backward(weight)
    for use in (trainer.allreduce_grads, lambda: trainer.update(1)):
        with pytest.raises(ValueError, match="update_on_kvstore=False"):
            use()


def test_a_store_object_is_used_even_for_one_device() -> None:
    weight, store = parameter(), kvstore.create("local")
    trainer = Trainer([weight], "sgd", {"learning_rate": 0.1}, kvstore=store)
    backward(weight)
    trainer.step(1)
    assert values(weight) == [[0.9, 0.9]]
    out = nd.zeros((2,))
    store.pull(0, out=out)
    assert out.asnumpy() == pytest.approx([0.9, 0.9])


# ------------------------------------------------------------------------------------------------------------ learning
# rate
def test_learning_rates() -> None:
    trainer = Trainer([parameter()], "sgd", {"learning_rate": 0.3})
    assert trainer.learning_rate == 0.3
    trainer.set_learning_rate(0.1)
    assert trainer.learning_rate == trainer.optimizer.lr == 0.1
    scheduled = Trainer([parameter()], optimizer.SGD(lr_scheduler=lr_scheduler.FactorScheduler(1, base_lr=0.5)))
    assert scheduled.learning_rate == 0.5
    with pytest.raises(UserWarning, match="lr_scheduler"):
        scheduled.set_learning_rate(0.1)


def test_the_scheduler_counts_steps() -> None:
    a, b = parameter("a"), parameter("b")
    trainer = Trainer([a, b], "sgd", {"lr_scheduler": lr_scheduler.FactorScheduler(step=2, factor=0.5, base_lr=1.0)})
    rates = []
    for _ in range(4):
        backward(a, b)
        trainer.step(1)
        rates.append(trainer.learning_rate)
    assert rates == [1.0, 1.0, 0.5, 0.5]


# -------------------------------------------------------------------------------------------------------------------
# files
@pytest.mark.parametrize("ctx", [None, TWO], ids=["one device", "two devices"])
@pytest.mark.parametrize("on_kvstore", [True, False])
def test_saved_states_continue(tmp_path: Path, ctx: Any, on_kvstore: bool) -> None:
    def trainer_of(made: Parameter, rate: float) -> Trainer:
        return Trainer([made], "adam", {"learning_rate": rate}, update_on_kvstore=on_kvstore)

    first, path = parameter(ctx=ctx), tmp_path / "trainer.states"
    trainer = trainer_of(first, 0.1)
    for _ in range(2):
        backward(first)
        trainer.step(1)
    trainer.save_states(path)
    second = parameter(ctx=ctx)
    second.set_data(first.list_data()[0])
    resumed = trainer_of(second, 0.9)
    resumed.load_states(path)
    for made, each in ((first, trainer), (second, resumed)):
        backward(made)
        each.step(1)
    assert values(first) == values(second)
    assert resumed.learning_rate == 0.1
    assert resumed.optimizer.param_dict[0] is second
    assert [p.name for p in tmp_path.iterdir()] == ["trainer.states"]


def test_files_that_are_no_states_are_refused(tmp_path: Path) -> None:
    trainer, path = Trainer([parameter()], "adam"), tmp_path / "states"
    path.write_bytes(pickle.dumps({0: 1}))
    with pytest.raises(ValueError, match=r"(?s)states: optimizer states: This is a Python pickle, as MXNet writes it"):
        trainer.load_states(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="truncated or of another kind"):
        trainer.load_states(path)
    with pytest.raises(FileNotFoundError):
        trainer.load_states(tmp_path / "absent")


# --------------------------------------------------------------------------------------------------------------- wrong
# use
@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda: Trainer(3, "sgd"), "(?s)must be a list or dict of Parameters, got <class 'int'>.*collect_params"),
        (lambda: Trainer([3], "sgd"), "got list of <class 'int'>"),
        (lambda: Trainer([parameter()], "sdg"), "did you mean 'sgd'"),
        (lambda: Trainer([parameter()], 3), "(?s)optimizer.*Received: 3"),
        (lambda: Trainer([parameter()], "sgd", {"lr": 0.1}), "use learning_rate"),
        (lambda: Trainer([parameter()], optimizer.SGD(), {"wd": 1}), "optimizer_params must be None"),
        (
            lambda: Trainer([parameter("a"), parameter("b", ctx=TWO)], "sgd").step(1),
            r"(?s)same devices.*cpu\(0\), cpu\(1\)\] for b",
        ),
        (lambda: Trainer([parameter()], "sgd").step(0), "(?s)batch_size=0.*data.shape"),
        (lambda: Trainer([parameter()], "sgd", kvstore="devise").step(1), "did you mean 'device'"),
    ],
)
def test_wrong_use_is_explained(use: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        use()


def test_uninitialized_parameters_are_told_apart() -> None:
    with pytest.raises(RuntimeError, match=r"'u'.* has not been initialized"):
        Trainer([Parameter("u", shape=(2,))], "sgd").step(1)
    deferred = Parameter("d", shape=(0,), allow_deferred_init=True)
    deferred.initialize()
    with pytest.raises(
        DeferredInitializationError, match=r"'d'.* has not been initialized yet because initialization was deferred"
    ):
        Trainer([deferred], "sgd").step(1)


def test_what_is_not_supported() -> None:
    with pytest.raises(UnsupportedError, match="leave compression_params out"):
        Trainer([parameter()], "sgd", compression_params={"type": "2bit"})
    with pytest.raises(UnsupportedError, match="several processes"):
        Trainer([parameter()], "sgd", kvstore="dist_sync").step(1)


def test_a_block_is_taken_for_its_parameters() -> None:
    net = gluon.nn.Dense(2, in_units=2)
    net.initialize()
    trainer = Trainer(net, "sgd", {"learning_rate": 0.1})
    with autograd.record():
        loss = net(nd.ones((1, 2))).sum()
    loss.backward()
    trainer.step(1)
    np.testing.assert_allclose(net.bias.data().asnumpy(), [-0.1, -0.1], rtol=1e-6)
