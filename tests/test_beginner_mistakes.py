"""A newcomer's mistakes of the first hour: each is made here, and the words that answer it are asserted.

The one idea: a message is part of the interface. It names the layer or operator, says what was expected and received,
and the fix.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.gluon import nn


def message_of(error: pytest.ExceptionInfo[BaseException]) -> str:
    """Return the text of an error, checked for what a beginner must not see."""
    text = str(error.value)
    assert "Traceback" not in text
    assert "aten::" not in text
    return text


@pytest.mark.parametrize("hybridize", [False, True])
def test_wrong_in_units_after_a_convolution(hybridize: bool) -> None:
    """The layer is named, both sizes are given, and leaving in_units out is the advice."""
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Conv2D(8, 3), nn.Flatten(), nn.Dense(10, in_units=100))
    net.initialize()
    if hybridize:
        net.hybridize()
    with pytest.raises(mx.MXNetError) as error:
        net(nd.ones((4, 1, 28, 28)))
    text = message_of(error)
    assert "net_dense0" in text
    assert "100" in text
    assert "5408" in text
    assert "in_units" in text


def test_without_in_units_it_cannot_happen() -> None:
    """The size that must be computed by hand elsewhere is found at the first call."""
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3), nn.Flatten(), nn.Dense(10))
    net.initialize()
    assert net(nd.ones((4, 1, 28, 28))).shape == (4, 10)
    assert net[2].weight.shape == (10, 5408)


def test_images_with_channels_last() -> None:
    """A convolution that knows its channels says that the images look like NHWC."""
    layer = nn.Conv2D(8, 3, in_channels=1)
    layer.initialize()
    with pytest.raises(mx.MXNetError) as error:
        layer(nd.ones((4, 28, 28, 1)))
    text = message_of(error)
    assert "look like NHWC" in text
    assert "layout" in text
    assert "transpose" in text


def test_numpy_array_as_input() -> None:
    """It just works."""
    layer = nn.Dense(3)
    layer.initialize()
    assert layer(np.ones((2, 5), dtype="float32")).shape == (2, 3)
    layer.hybridize()
    assert layer(np.ones((2, 5), dtype="float32")).shape == (2, 3)


@pytest.mark.parametrize("make", [lambda: nn.Dense(10), lambda: nn.Conv2D(8, 3)], ids=["Dense", "Conv2D"])
def test_images_of_bytes(make) -> None:
    """The layer, both dtypes and both ways out are named."""
    layer = make()
    layer.initialize()
    images = nd.array(np.zeros((4, 1, 28, 28), dtype="uint8"), dtype="uint8")
    with pytest.raises(mx.MXNetError) as error:
        layer(images)
    text = message_of(error)
    assert "uint8" in text
    assert "float32" in text
    assert "ToTensor" in text
    assert "astype" in text


@pytest.mark.parametrize("label", [10, -1])
@pytest.mark.parametrize("hybridize", [False, True])
def test_label_out_of_range(label: int, hybridize: bool) -> None:
    """The value and the number of classes are given."""
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss()
    if hybridize:
        loss_of.hybridize()
    with pytest.raises(mx.MXNetError) as error:
        loss_of(nd.ones((3, 10)), nd.array([1, label, 2])).asnumpy()
    text = message_of(error)
    assert str(label) in text
    assert "10" in text
    assert "class" in text


def test_forgotten_initialize() -> None:
    """The parameters are initialised with the default, and a warning names the missing line."""
    layer = nn.Dense(3, prefix="first_")
    with pytest.warns(UserWarning, match=r"first.*initialize\(\)"):
        assert layer(nd.ones((2, 5))).shape == (2, 3)


def test_parameter_without_initialize() -> None:
    """Asked for directly, the parameter and the missing line are named."""
    layer = nn.Dense(3, in_units=5, prefix="first_")
    with pytest.raises(mx.MXNetError) as error:
        layer.weight.data()
    text = message_of(error)
    assert "first_weight" in text
    assert "initialize()" in text


def test_parameters_before_the_first_call() -> None:
    """Deferred initialisation is explained: the shape is found by the first call."""
    layer = nn.Dense(3, prefix="first_")
    layer.initialize()
    with pytest.raises(gluon.parameter.DeferredInitializationError) as error:
        layer.weight.data()
    text = message_of(error)
    assert "first_weight" in text
    assert "first" in text
    assert "shape" in text


def test_backward_without_record() -> None:
    """One sentence, with the fix."""
    x = nd.ones((2,))
    x.attach_grad()
    y = x * 2
    with pytest.raises(mx.MXNetError) as error:
        y.backward()
    assert "autograd.record()" in message_of(error)


def test_backward_twice() -> None:
    """The tape is gone after the first; retain_graph keeps it."""
    x = nd.ones((2,))
    x.attach_grad()
    with autograd.record():
        y = (x * x).sum()
    y.backward()
    with pytest.raises(mx.MXNetError) as error:
        y.backward()
    assert "retain_graph" in message_of(error)


class Undecided(gluon.HybridBlock):
    """Asks for a value while it is being traced."""

    def hybrid_forward(self, F, x):
        if x.sum() > 0:
            return x
        return -x


def test_if_on_a_value_under_hybridize() -> None:
    """The file and line are given, and the two ways out."""
    block = Undecided()
    assert block(nd.ones((2,))).shape == (2,)
    block.hybridize()
    with pytest.raises(mx.MXNetError) as error:
        block(nd.ones((2,)))
    text = message_of(error)
    line = inspect.getsourcelines(Undecided.hybrid_forward)[1] + 1
    assert f"test_beginner_mistakes.py:{line}" in text
    assert "cond" in text


def test_samples_of_different_lengths() -> None:
    """The shapes are named, and padding is the advice."""
    data = gluon.data.SimpleDataset([np.ones(2, dtype="float32"), np.ones(3, dtype="float32")])
    with pytest.raises(mx.MXNetError) as error:
        next(iter(gluon.data.DataLoader(data, batch_size=2)))
    text = message_of(error)
    assert "(2,)" in text
    assert "(3,)" in text
    assert "Pad" in text


def test_padding_as_advised_works() -> None:
    """The advice of the message is right."""
    data = gluon.data.SimpleDataset([np.ones(2, dtype="float32"), np.ones(3, dtype="float32")])
    batch = next(iter(gluon.data.DataLoader(data, batch_size=2, batchify_fn=gluon.data.batchify.Pad())))
    batch = batch[0] if isinstance(batch, (list, tuple)) else batch
    assert batch.shape == (2, 3)


def test_unknown_keyword_of_an_operator() -> None:
    """The closest name is offered."""
    with pytest.raises((mx.MXNetError, TypeError)) as error:
        nd.FullyConnected(nd.ones((2, 3)), nd.ones((4, 3)), num_hiden=4, no_bias=True)
    assert "num_hidden" in message_of(error)


def test_shapes_that_do_not_broadcast() -> None:
    """The operator and both shapes are named."""
    with pytest.raises(mx.MXNetError) as error:
        nd.ones((2, 3)) + nd.ones((4,))
    text = message_of(error)
    assert "(2, 3)" in text
    assert "(4,)" in text


def test_dtypes_that_do_not_meet() -> None:
    """No silent promotion: both dtypes and astype are named."""
    with pytest.raises(mx.MXNetError) as error:
        nd.ones((2,)) + nd.ones((2,), dtype="int32")
    text = message_of(error)
    assert "float32" in text
    assert "int32" in text
    assert "astype" in text


def test_a_device_that_is_absent() -> None:
    """The number of devices there are is said, and how to choose."""
    missing = mx.context.num_gpus() + 1
    with pytest.raises(mx.MXNetError) as error:
        nd.ones((2,), ctx=mx.gpu(missing))
    text = message_of(error)
    assert f"gpu({missing})" in text
    assert "mx.cpu()" in text


def test_arrays_of_two_devices() -> None:
    """Both devices are named, and how to bring them together."""
    with pytest.raises(mx.MXNetError) as error:
        nd.ones((2,), ctx=mx.cpu(0)) + nd.ones((2,), ctx=mx.cpu(1))
    text = message_of(error)
    assert "cpu(0)" in text
    assert "cpu(1)" in text
    assert "as_in_context" in text


def test_truth_of_many_values() -> None:
    """The fix is named."""
    with pytest.raises(ValueError, match="ambiguous") as error:
        bool(nd.ones((3,)))
    assert "asscalar()" in message_of(error)


def test_unknown_optimizer() -> None:
    """The closest name is offered."""
    layer = nn.Dense(1)
    layer.initialize()
    with pytest.raises(mx.MXNetError) as error:
        gluon.Trainer(layer.collect_params(), "adamm")
    assert "'adam'" in message_of(error)


def test_step_without_backward() -> None:
    """When no parameter has a gradient, the loop is wrong, and the right one is shown."""
    layer = nn.Dense(1, in_units=2, prefix="idle_")
    layer.initialize()
    trainer = gluon.Trainer(layer.collect_params(), "sgd")
    with pytest.raises(UserWarning) as error:
        trainer.step(1)
    text = message_of(error)
    assert "idle_" in text
    assert "autograd.record()" in text


def test_a_layer_that_the_loss_does_not_see() -> None:
    """A parameter that got no gradient is named, as is the way to allow it."""
    used, idle = nn.Dense(1, in_units=2, prefix="used_"), nn.Dense(1, in_units=2, prefix="idle_")
    both = {**used.collect_params(), **idle.collect_params()}
    for layer in (used, idle):
        layer.initialize()
    trainer = gluon.Trainer(both, "sgd")
    with autograd.record():
        loss = used(nd.ones((1, 2))).sum()
    loss.backward()
    with pytest.raises(UserWarning) as error:
        trainer.step(1)
    text = message_of(error)
    assert "idle_" in text
    assert "ignore_stale_grad" in text


def test_a_truncated_file(tmp_path) -> None:
    """The file is named and the network is left as it was."""
    net = nn.Dense(2, in_units=3)
    net.initialize()
    path = tmp_path / "net.params"
    net.save_parameters(str(path))
    path.write_bytes(path.read_bytes()[:-5])
    before = net.weight.data().asnumpy()
    with pytest.raises(mx.MXNetError) as error:
        net.load_parameters(str(path))
    assert "net.params" in message_of(error)
    assert (net.weight.data().asnumpy() == before).all()


def test_an_operator_that_does_not_exist() -> None:
    """The closest names are offered."""
    with pytest.raises(AttributeError) as error:
        nd.FulyConnected
    assert "FullyConnected" in message_of(error)


class Scaled(gluon.HybridBlock):
    """A layer whose parameter is not made by self.params.get."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = gluon.Parameter("scale", shape=(1,), init="ones")

    def hybrid_forward(self, F: object, x: nd.NDArray, scale: nd.NDArray) -> nd.NDArray:
        """Return x times scale."""
        return x * scale


def test_a_bare_parameter_is_trained_and_two_of_one_name_are_an_error() -> None:
    """It is initialised, cast and given to the Trainer like every other."""
    net = Scaled()
    net.initialize()
    assert list(net.collect_params()) == list(net.collect_params("sc")) == ["scale"]
    assert not net.collect_params("other")
    assert net(nd.ones((2,))).shape == (2,)
    net.cast("float16")
    assert net.scale.dtype == np.float16
    both = nn.HybridSequential()
    both.add(Scaled(), Scaled())
    with pytest.raises(mx.MXNetError, match=r"self.params.get"):
        both.initialize()


def test_a_list_of_layers_is_not_registered() -> None:
    """A warning names the attribute; using such a layer warns at the user's line."""
    class Stack(gluon.Block):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Dense(2), nn.Dense(2)]

        def forward(self, x: nd.NDArray) -> nd.NDArray:
            return self.layers[0](x)

    net = Stack()
    with pytest.warns(UserWarning, match=r"'layers' are not registered"):
        net.initialize()
    with pytest.warns(UserWarning, match="no child of that network") as caught:
        net(nd.ones((1, 3)))
    assert caught[0].filename == __file__
    for layer in net.layers:
        net.register_child(layer)
    assert len(net.collect_params()) == 4


@pytest.mark.parametrize(("child", "advice"), [
    ([nn.Dense(2)], "unpack the list"), (nn.Dense, "make one: Dense"), (nd.relu, "HybridLambda"), (3, "derive a class"),
])
@pytest.mark.parametrize("container", [nn.Sequential, nn.HybridSequential])
def test_what_is_no_layer_in_a_sequential(container: type[gluon.Block], child: object, advice: str) -> None:
    """The advice depends on what was added."""
    with pytest.raises(mx.base.errors.ArgumentError) as error:
        container().add(child)
    assert advice in message_of(error)


@pytest.mark.parametrize("hybridize", [False, True])
def test_a_forward_of_other_arguments(hybridize: bool) -> None:
    """F forgotten, a parameter without an attribute, an input too many: the written signature is shown."""
    class NoF(gluon.HybridBlock):
        def hybrid_forward(self, x: nd.NDArray) -> nd.NDArray:
            return x

    class NoParameter(gluon.HybridBlock):
        def hybrid_forward(self, F: object, x: nd.NDArray, weight: nd.NDArray) -> nd.NDArray:
            return x

    dense = nn.Dense(2, in_units=2)
    dense.initialize()
    x = nd.ones((1, 2))
    for net, inputs, parts in [(NoF(), [x], ["NoF", "F first"]), (NoParameter(), [x], ["(it has none)", "weight"]),
                               (dense, [x, x], ["Dense", "2 input(s)", "weight, bias", "Fix: call the layer"])]:
        net.hybridize(hybridize)
        with pytest.raises(TypeError) as error:
            net(*inputs)
        text = message_of(error)
        assert all(part in text for part in ["The call does not fit its hybrid_forward", *parts])


def test_a_type_error_of_the_users_own_stays_as_it_is() -> None:
    """Only a call that does not fit is explained."""
    class Wrong(gluon.HybridBlock):
        def hybrid_forward(self, F: object, x: nd.NDArray) -> nd.NDArray:
            return len(3)

    with pytest.raises(TypeError) as error:
        Wrong()(nd.ones((1,)))
    assert str(error.value) == "object of type 'int' has no len()"


def test_a_forward_without_return() -> None:
    """None is no result of a compiled block."""
    class Silent(gluon.HybridBlock):
        def hybrid_forward(self, F: object, x: nd.NDArray) -> None:
            nd.relu(x)

    net = Silent()
    net.hybridize()
    with pytest.raises(mx.MXNetError, match="end it with `return`"):
        net(nd.ones((1,)))


@pytest.mark.parametrize("base", [gluon.Block, gluon.HybridBlock])
def test_a_misspelt_argument_of_a_layer(base: type[gluon.Block]) -> None:
    """The layer is named, and so is what was probably meant."""
    with pytest.raises(TypeError) as error:
        nn.Dense(2, activaton="relu")
    text = message_of(error)
    assert text.startswith("Dense: ")
    assert "did you mean 'activation'?" in text

    class Mine(base):
        def __init__(self, size: int = 3, **kwargs: object) -> None:
            super().__init__(**kwargs)

    with pytest.raises(TypeError) as error:
        Mine(sise=2)
    text = message_of(error)
    assert "did you mean 'size'" in text
    assert "size, prefix, params" in text


def test_one_device_of_two_without_data() -> None:
    """The advice is to split the batch."""
    net = nn.Dense(1, in_units=2)
    net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    trainer = gluon.Trainer(net.collect_params(), "sgd")
    with autograd.record():
        loss = net(nd.ones((2, 2)))
    loss.backward()
    with pytest.raises(UserWarning) as error:
        trainer.step(2)
    text = message_of(error)
    assert "cpu(1)" in text
    assert "split_and_load" in text
