"""What random networks found: whole numbers, arrays of nothing, sizes that follow a batch. Each goes all the way round.

The law: export(net), import of that, and its export again compute what the network does, for the example and for
batches of 1 and 3; a batch that was open stays open. `export` compares each file under onnxruntime itself.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from glueball import gluon, nd
from glueball.base.errors import UnsupportedError
from glueball.gluon import nn, rnn
from glueball.onnx import ExportError, import_model


def _block(forward: Callable[..., Any]) -> Any:
    return nn.HybridLambda(lambda F, *xs: forward(F, *xs))


def _array(shape: Sequence[int], kind: str = "float32") -> Any:
    numbers = np.random.RandomState(1).uniform(-4, 5, tuple(shape))
    return nd.array(np.abs(numbers) if kind.startswith("u") else numbers, dtype=kind)


def _opened(path: str) -> bool:
    return any(size.dim_param for one in onnx.load(path).graph.input for size in one.type.tensor_type.shape.dim)


def _around(net: Any, given: Sequence[Any], folder: pathlib.Path, opened: bool = True) -> None:
    """Export, import, compare, export again; every input has the batch as its first axis."""
    path = net.export(str(folder / "net"), format="onnx", inputs=list(given))
    back = import_model(path)
    for batch in ([1, 3] if opened else []) + [given[0].shape[0]]:
        wider = [nd.concat(*[x] * 3, dim=0)[:batch] if batch > x.shape[0] else x[:batch] for x in given]
        expected, found = (out if isinstance(out, (list, tuple)) else [out] for out in (net(*wider), back(*wider)))
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            np.testing.assert_allclose(ours.asnumpy(), theirs.asnumpy(), rtol=1e-4, atol=1e-5)
    again = back.export(str(folder / "again"), format="onnx", inputs=list(given))
    assert _opened(path) == _opened(again) == opened


@pytest.mark.parametrize("kind", ["int32", "int64", "int8", "uint8"])
@pytest.mark.parametrize("name", ["sqrt", "exp", "sigmoid", "arctan", "log1p", "degrees", "hard_sigmoid", "negative",
                                  "smooth_l1", "L2Normalization", "sum", "mean", "nansum", "cumsum"])
def test_functions_of_whole_numbers(name: str, kind: str, tmp_path: pathlib.Path) -> None:
    """Computed with real numbers and cut back to the data's type, as the kernels do."""
    x = nd.array([[0, 1, 2], [5, 3, 4]], dtype=kind)
    options = {"axis": 1} if name in ("sum", "mean", "nansum", "cumsum") else {}
    _around(_block(lambda F, x: getattr(F, name)(x, **options)), [x], tmp_path)


@pytest.mark.parametrize("forward", [
    lambda F, x: (x == -1.5, x > 2.5, x >= 2.5, x != 3), lambda F, x: (x % 3, x % 1, x % -1),
    lambda F, x: x / 2, lambda F, x: F.add_n(x, x, x),
    lambda F, x: F.contrib.isnan(x),
    lambda F, x: F.contrib.quadratic(x, a=0.5, b=1.0, c=2.0), lambda F, x: F.contrib.div_sqrt_dim(x),
], ids=["compared", "remainder", "quotient", "add_n", "isnan", "quadratic", "div_sqrt_dim"])
@pytest.mark.parametrize("kind", ["int32", "uint8"])
def test_arithmetic_of_whole_numbers(forward: Any, kind: str, tmp_path: pathlib.Path) -> None:
    _around(_block(forward), [_array((2, 3), kind)], tmp_path)


def test_a_remainder_that_ends_processes(tmp_path: pathlib.Path) -> None:
    """The least of the numbers, modulo -1."""
    least = nd.array(np.array([[np.iinfo("int32").min, 3]]), dtype="int32")
    _block(lambda F, x: x % -1).export(str(tmp_path / "net"), format="onnx", inputs=[least])


@pytest.mark.parametrize(("forward", "shape"), [
    (lambda F, x: x[0], (2, 1, 0)),
    (lambda F, x: F.zeros_like(x), (2, 0, 3)),
    (lambda F, x: F.slice_axis(x, axis=1, begin=2, end=2), (2, 3, 2)),
    (lambda F, x: F.mean(x, axis=1), (2, 0, 3)),
], ids=["row", "zeros", "cut", "mean"])
def test_arrays_of_nothing(forward: Any, shape: Sequence[int], tmp_path: pathlib.Path) -> None:
    net = _block(forward)
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[_array(shape)])
    found, expected = import_model(path)(_array(shape)), net(_array(shape))
    np.testing.assert_array_equal(found.asnumpy(), expected.asnumpy())


def test_a_convolution_without_a_result(tmp_path: pathlib.Path) -> None:
    net = nn.Conv2DTranspose(1, (2, 2), padding=(0, 1))
    net.initialize()
    assert net(_array((2, 3, 3, 1))).shape == (2, 1, 4, 0)
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[_array((2, 3, 3, 1))])
    assert import_model(path)(_array((5, 3, 3, 1))).shape == (5, 1, 4, 0)


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "RNN"])
def test_an_empty_batch_of_sequences_is_refused(layer: str, tmp_path: pathlib.Path) -> None:
    """onnxruntime would end the process; where the batch is fixed there is nothing to compute."""
    net = getattr(rnn, layer)(3, layout="NTC", input_size=2)
    net.initialize()
    empty = nd.zeros((0, 4, 2))
    with pytest.raises(ExportError, match=r"is given nothing with the example inputs[\s\S]*give an example"):
        net.export(str(tmp_path / "net"), format="onnx", inputs=[empty])
    net.export(str(tmp_path / "net"), format="onnx", inputs=[empty], dynamic_batch=False)


@pytest.mark.parametrize("forward", [
    lambda F, x: F.zeros_like(x), lambda F, x: F.sum(x, axis=(1, 2), keepdims=True) + F.ones_like(x),
    lambda F, x: F.contrib.arange_like(x, axis=0, start=1.0, step=0.5),
    lambda F, x: F.broadcast_add(F.expand_dims(F.contrib.arange_like(x, axis=0), axis=1), F.sum(x, axis=2)),
    lambda F, x: x[-1], lambda F, x: F.SequenceLast(x), lambda F, x: x[1:],
    lambda F, x: F.broadcast_like(F.ones((1, 1)), x, lhs_axes=(0,), rhs_axes=(0,)),
], ids=["zeros", "ones", "counted", "positions", "last", "sequence", "rest", "like"])
def test_what_is_made_of_an_open_size_stays_open(forward: Any, tmp_path: pathlib.Path) -> None:
    """Known numbers that grow with the batch are made from the size of an input, not written down for one."""
    net = _block(forward)
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[_array((2, 3, 4))])
    back = import_model(path)
    assert back.general is not None
    for batch in (2, 3, 5):
        x = _array((batch, 3, 4))
        np.testing.assert_allclose(back(x).asnumpy(), net(x).asnumpy(), rtol=1e-5)
    assert _opened(back.export(str(tmp_path / "again"), format="onnx", inputs=[_array((2, 3, 4))]))


@pytest.mark.parametrize("cell", [rnn.RNNCell, rnn.LSTMCell, rnn.GRUCell])
def test_an_unrolled_cell_keeps_its_open_batch(cell: Any, tmp_path: pathlib.Path) -> None:
    class Unrolled(gluon.HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            with self.name_scope():
                self.cell = cell(4, input_size=5)

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.cell.unroll(3, x, layout="NTC", merge_outputs=True)[0]

    net = Unrolled()
    net.initialize()
    _around(net, [_array((2, 3, 5))], tmp_path)


def test_first_states_too_large_to_be_computed_while_reading() -> None:
    """Expand to (batch, 4096), as torch writes first states: nothing is computed for the sizes that are tried."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [helper.make_node("Shape", ["x"], ["n"], start=0, end=1),
             helper.make_node("Concat", ["n", "width"], ["shape"], axis=0),
             helper.make_node("Expand", ["zero", "shape"], ["state"]), helper.make_node("Add", ["x", "state"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, kinds.FLOAT, ["n", 4096]) for name in "xy")
    constants = [helper.make_tensor("width", kinds.INT64, [1], [4096]),
                 helper.make_tensor("zero", kinds.FLOAT, [], [2])]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], constants),
                              opset_imports=[helper.make_opsetid("", 18)])
    net = import_model(model)
    assert net.general is not None
    assert net(nd.ones((3, 4096))).asnumpy().tolist() == np.full((3, 4096), 3.0).tolist()


def test_what_is_put_at_places_is_written_again(tmp_path: pathlib.Path) -> None:
    net = _block(lambda F, x: F.topk(x, axis=1, k=2, ret_typ="mask"))
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[_array((2, 4))], dynamic_batch=False)
    import_model(path).export(str(tmp_path / "again"), format="onnx", inputs=[_array((2, 4))])


def test_plus_of_unequal_shapes(tmp_path: pathlib.Path) -> None:
    """Traced without shapes it would be written down as the sum of equal ones."""
    _around(_block(lambda F, x: F.ones((1,)) + x), [_array((2, 3))], tmp_path)


def test_other_numbers_of_axes(tmp_path: pathlib.Path) -> None:
    middle = _block(lambda F, x: F.Crop(x, h_w=(1, 2), num_args=1, center_crop=True))
    _around(middle, [_array((2, 3, 3, 4, 2))], tmp_path)
    with pytest.raises(UnsupportedError, match="must be matrices"):
        _block(lambda F, x: F.khatri_rao(x, x)).export(str(tmp_path / "net"), format="onnx", inputs=[_array((2, 3, 2))])


def test_a_mask_leaves_the_number_of_rows_open(tmp_path: pathlib.Path) -> None:
    net = _block(lambda F, x: F.contrib.boolean_mask(x, x[:, 0] > 0))
    path = net.export(str(tmp_path / "net"), format="onnx", inputs=[_array((4, 2))])
    assert not onnx.load(path).graph.output[0].type.tensor_type.shape.dim[0].dim_value
    normed = nn.HybridSequential()
    normed.add(nn.Dense(2), _block(lambda F, x: F.contrib.boolean_mask(x, x[:, 0] > 0)))
    normed.initialize()
    path = normed.export(str(tmp_path / "net"), format="onnx", inputs=[_array((4, 2))])
    with pytest.raises(UnsupportedError, match="computed from the data, and decides about shapes"):
        import_model(path)(_array((4, 2)))


def test_an_element_type_that_onnx_does_not_take_is_refused_with_the_line(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UnsupportedError, match=r"softmax[\s\S]*whole numbers; x.astype"):
        _block(lambda F, x: F.softmax(x, temperature=2.0)).export(
            str(tmp_path / "net"), format="onnx", inputs=[nd.ones((2, 3), dtype="int32")])
    net = _block(lambda F, x: F.broadcast_power(x, x))
    with pytest.raises(UnsupportedError) as caught:
        net.export(str(tmp_path / "net"), format="onnx", inputs=[nd.ones((2, 3), dtype="int8")])
    for part in ("broadcast_power (", "test_odd_networks.py:", "ONNX's Pow does not take int8", "astype"):
        assert part in str(caught.value)


def test_a_missing_kernel_is_told_with_the_line(tmp_path: pathlib.Path) -> None:
    net = _block(lambda F, x: F.tan(x))
    with pytest.raises(ExportError) as caught:
        net.export(str(tmp_path / "net"), format="onnx", inputs=[nd.ones((2, 3), dtype="float64")])
    for part in ("no kernel for tan (", "test_odd_networks.py:", "check=False"):
        assert part in str(caught.value)
