"""Losses against formulas written in NumPy, their weights and axes, what they refuse, and hybridized equal to eager.

Golden results of MXNet 1.9.1 are in tests/parity; here are the laws and the messages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import autograd, gluon, nd
from glueball.base.errors import ArgumentError, MXNetError, ShapeError
from glueball.gluon import loss as losses

RANDOM = np.random.RandomState(0)
PRED, LABEL = RANDOM.uniform(-2, 2, (4, 3)), RANDOM.uniform(-2, 2, (4, 3))
CHANCE, OTHER = RANDOM.uniform(0.1, 0.9, (4, 3)), RANDOM.uniform(0.1, 0.9, (4, 3))
SIGN, BIT = np.where(LABEL > 0, 1.0, -1.0), (LABEL > 0).astype(float)
CLASS = np.array([0, 2, 1, 1.0])
UNIT = CHANCE / CHANCE.sum(1, keepdims=True)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


# name: (loss, inputs, what it should be before the mean over all axes but the first)
CASES: dict[str, tuple[Any, list[np.ndarray], np.ndarray]] = {
    "L1": (losses.L1Loss(), [PRED, LABEL], np.abs(PRED - LABEL)),
    "L2": (losses.L2Loss(), [PRED, LABEL], (PRED - LABEL) ** 2 / 2),
    "L2 weighted": (losses.L2Loss(weight=3), [PRED, LABEL], (PRED - LABEL) ** 2 * 1.5),
    "BCE": (
        losses.SigmoidBCELoss(),
        [PRED, BIT],
        -BIT * np.log(1 / (1 + np.exp(-PRED))) - (1 - BIT) * np.log(1 / (1 + np.exp(PRED))),
    ),
    "BCE of probabilities": (
        losses.SigmoidBinaryCrossEntropyLoss(from_sigmoid=True),
        [CHANCE, BIT],
        -BIT * np.log(CHANCE) - (1 - BIT) * np.log(1 - CHANCE),
    ),
    "CE": (losses.SoftmaxCELoss(), [PRED, CLASS], -np.log(softmax(PRED))[range(4), CLASS.astype(int)][:, None]),
    "CE of probabilities": (
        losses.SoftmaxCrossEntropyLoss(sparse_label=False),
        [PRED, UNIT],
        -(UNIT * np.log(softmax(PRED))).sum(1, keepdims=True),
    ),
    "CE of logarithms": (
        losses.SoftmaxCELoss(from_logits=True),
        [np.log(UNIT), CLASS],
        -np.log(UNIT)[range(4), CLASS.astype(int)][:, None],
    ),
    "KL": (losses.KLDivLoss(), [np.log(UNIT), OTHER], 3 * OTHER * (np.log(OTHER) - np.log(UNIT))),  # a sum, not a mean
    "KL with softmax": (
        losses.KLDivLoss(from_logits=False),
        [PRED, OTHER],
        3 * OTHER * (np.log(OTHER) - np.log(softmax(PRED))),
    ),
    "Huber": (
        losses.HuberLoss(rho=0.5),
        [PRED, LABEL],
        np.where(np.abs(PRED - LABEL) > 0.5, np.abs(PRED - LABEL) - 0.25, (PRED - LABEL) ** 2),
    ),
    "Hinge": (losses.HingeLoss(margin=2), [PRED, SIGN], np.maximum(0, 2 - PRED * SIGN)),
    "SquaredHinge": (losses.SquaredHingeLoss(), [PRED, SIGN], np.maximum(0, 1 - PRED * SIGN) ** 2),
    "Logistic": (losses.LogisticLoss(), [PRED, SIGN], np.log1p(np.exp(-PRED * SIGN))),
    "Logistic of bits": (losses.LogisticLoss(label_format="binary"), [PRED, BIT], np.log1p(np.exp(-PRED * SIGN))),
    "Triplet": (
        losses.TripletLoss(margin=0.5),
        [PRED, LABEL, OTHER],
        np.maximum(0, ((PRED - LABEL) ** 2 - (PRED - OTHER) ** 2).sum(1) + 0.5),
    ),
    "CosineEmbedding": (
        losses.CosineEmbeddingLoss(margin=0.1),
        [PRED, LABEL, SIGN[:, 0]],
        np.where(SIGN[:, 0] == 1, 1 - cosine(PRED, LABEL), np.maximum(0, cosine(PRED, LABEL) - 0.1))[:, None],
    ),
}


def arrays(values: list[np.ndarray], dtype: str = "float32") -> list[Any]:
    return [nd.array(v, dtype=dtype) for v in values]


@pytest.mark.parametrize("name", list(CASES))
def test_loss_is_its_formula(name: str) -> None:
    loss, inputs, expected = CASES[name]
    found = loss(*arrays(inputs)).asnumpy()
    np.testing.assert_allclose(found.reshape(-1), expected.reshape(4, -1).mean(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(CASES))
def test_hybridized_loss_and_gradient_are_the_eager_ones(name: str) -> None:
    loss, inputs, _ = CASES[name]
    results = []
    for hybrid in (False, True):
        loss.hybridize(hybrid)
        for _ in range(2):
            data = arrays(inputs)
            data[0].attach_grad()
            with autograd.record():
                out = loss(*data)
            out.backward()
            results.append((out.asnumpy(), data[0].grad.asnumpy()))
    loss.hybridize(False)
    for out, grad in results[1:]:
        np.testing.assert_allclose(out, results[0][0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(grad, results[0][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("Triplet", "CosineEmbedding")])
def test_sample_weight_weighs_samples_and_weight_everything(name: str) -> None:
    loss, inputs, _ = CASES[name]
    plain = loss(*arrays(inputs)).asnumpy()
    weight = np.array([0, 1, 2, 0.5])
    found = loss(*arrays(inputs), nd.array(weight[:, None])).asnumpy()
    np.testing.assert_allclose(found, plain * weight, rtol=1e-4, atol=1e-6)


def test_poisson_and_stirling() -> None:
    target = np.array([[0, 1, 5], [2, 3, 0]], dtype="float64")
    rate = np.array([[0.5, 1, 4], [3, 2, 1]], dtype="float64")
    data = arrays([rate, target], "float64")
    expected = rate - target * np.log(rate + 1e-8)
    np.testing.assert_allclose(losses.PoissonNLLLoss(from_logits=False)(*data).asnumpy(), [expected.mean()], rtol=1e-6)
    big = np.maximum(target, 1)
    stirling = np.where(target > 1, big * np.log(big) - big + 0.5 * np.log(2 * np.pi * big), 0)
    full = losses.PoissonNLLLoss(from_logits=False, compute_full=True)
    for hybrid in (False, True):
        full.hybridize(hybrid)
        np.testing.assert_allclose(
            full(*data).asnumpy(), [(expected + stirling).mean()], rtol=1e-6
        )  # a target of 0 is no nan


@pytest.mark.parametrize("hybrid", [False, True])
def test_sdml_pairs_rows(hybrid: bool) -> None:
    loss = losses.SDMLLoss(smoothing_parameter=0.3)
    loss.hybridize(hybrid)
    distances = ((PRED[:, None] - LABEL[None]) ** 2).sum(-1)
    labels = np.eye(4) * 0.7 + (1 - np.eye(4)) * 0.1
    expected = (labels * (np.log(labels) - np.log(softmax(-distances)))).sum(1)
    np.testing.assert_allclose(loss(*arrays([PRED, LABEL])).asnumpy(), expected, rtol=1e-4)


def brute_force_ctc(pred: np.ndarray, labels: list[int]) -> float:
    """Sum the probabilities of all paths that collapse to the labels (the last class is the blank)."""
    from itertools import groupby, product

    steps, classes = pred.shape
    chance, total = softmax(pred), 0.0
    for path in product(range(classes), repeat=steps):
        if [c for c, _ in groupby(path) if c != classes - 1] == labels:
            total += np.prod([chance[t, c] for t, c in enumerate(path)])
    return -np.log(total)


@pytest.mark.parametrize("layout", ["NTC", "TNC"])
@pytest.mark.parametrize("hybrid", [False, True])
def test_ctc_counts_all_alignments(layout: str, hybrid: bool) -> None:
    pred = RANDOM.standard_normal((2, 4, 3))
    labels = np.array([[0, 1], [1, -1]])
    loss = losses.CTCLoss(layout=layout, label_layout="NT" if layout == "NTC" else "TN")
    loss.hybridize(hybrid)
    data = arrays([pred, labels] if layout == "NTC" else [pred.swapaxes(0, 1), labels.T])
    expected = [brute_force_ctc(pred[0], [0, 1]), brute_force_ctc(pred[1], [1])]
    np.testing.assert_allclose(loss(*data).asnumpy(), expected, rtol=1e-4)


def test_ctc_takes_lengths() -> None:
    pred = RANDOM.standard_normal((2, 4, 3))
    found = losses.CTCLoss()(*arrays([pred, np.array([[0, 1], [1, 0]]), np.array([4, 3]), np.array([2, 1])])).asnumpy()
    np.testing.assert_allclose(found, [brute_force_ctc(pred[0], [0, 1]), brute_force_ctc(pred[1, :3], [1])], rtol=1e-4)


def test_pos_weight_weighs_the_yes() -> None:
    for from_sigmoid in (False, True):
        chance = CHANCE if from_sigmoid else 1 / (1 + np.exp(-PRED))
        expected = -3 * BIT * np.log(chance) - (1 - BIT) * np.log(1 - chance)
        found = losses.SigmoidBCELoss(from_sigmoid)(
            *arrays([CHANCE if from_sigmoid else PRED, BIT]), None, nd.array([3.0])
        )
        np.testing.assert_allclose(found.asnumpy(), expected.mean(1), rtol=1e-4)


def test_labels_of_another_shape_are_reshaped_and_of_another_size_refused() -> None:
    assert losses.L2Loss()(nd.ones((4, 1)), nd.ones((4,))).shape == (4,)
    with pytest.raises(ShapeError, match=r"differ in size[\s\S]*\(4, 3\)[\s\S]*\(4, 2\)"):
        losses.L2Loss()(nd.ones((4, 3)), nd.ones((4, 2)))


def test_the_batch_axis_is_kept() -> None:
    assert losses.L1Loss(batch_axis=1)(nd.ones((4, 3)), nd.ones((4, 3))).shape == (3,)
    assert losses.SoftmaxCELoss(batch_axis=1)(nd.ones((4, 3, 5)), nd.ones((4, 3))).shape == (3,)
    assert losses.SoftmaxCELoss(axis=1)(nd.ones((4, 3, 5)), nd.ones((4, 5))).shape == (4,)


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize(
    "label, text",
    [
        ([0, 3, 1, 1], r"label 3 .*[\s\S]*labels from 1 to 3 become class numbers with label - 1"),
        ([0, 7, 1, 1], r"label 7 .*[\s\S]*at least 8 units"),
        ([0, -1, 1, 1], r"label -1 .*[\s\S]*sample_weight"),
        ([0, np.nan, 1, 1], "label nan"),
    ],
)
def test_a_label_that_is_no_class_is_named(label: list[float], text: str, hybrid: bool) -> None:
    loss = losses.SoftmaxCELoss()
    loss.hybridize(hybrid)
    with pytest.raises(ArgumentError, match=text) as caught:
        loss(nd.array(PRED), nd.array(label))
    assert "labels from 0 to 2" in str(caught.value)


def test_masked_labels_may_be_anything() -> None:
    masked = losses.SoftmaxCELoss()(nd.array(PRED), nd.array([0, -1, 1, 1]), nd.array([[1], [0], [1], [1]]))
    assert masked.asnumpy()[1] == 0


def test_one_hot_labels_are_recognised() -> None:
    with pytest.raises(ShapeError, match="sparse_label=False"):
        losses.SoftmaxCELoss()(nd.array(PRED), nd.array(UNIT))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="label_format='x'"):
        losses.LogisticLoss(label_format="x")
    with pytest.raises(ArgumentError, match="NTC or TNC"):
        losses.CTCLoss(layout="CTN")
    with pytest.raises(ArgumentError, match="NT or TN"):
        losses.CTCLoss(label_layout="T")
    with pytest.raises(ArgumentError, match="weight must be a number"):
        losses.L2Loss(weight="a")
    with pytest.raises(ArgumentError, match="sample_weight"):
        losses.L1Loss(weight=nd.ones((1,)))(nd.ones((2,)), nd.ones((2,)))
    with pytest.raises(TypeError, match="must define hybrid_forward"):
        losses.Loss(None, 0)(nd.ones((2,)))


def test_repr_and_attributes() -> None:
    loss = losses.HuberLoss(rho=2, weight=0.5, batch_axis=1)
    assert repr(loss) == "HuberLoss(batch_axis=1, w=0.5)"
    assert (loss._weight, loss._batch_axis, loss._rho) == (0.5, 1, 2)
    assert losses.SigmoidBCELoss is losses.SigmoidBinaryCrossEntropyLoss
    assert losses.SoftmaxCELoss is losses.SoftmaxCrossEntropyLoss


def test_a_loss_is_a_block_and_composes_symbols() -> None:
    symbol = losses.SoftmaxCELoss()(mx.sym.var("pred"), mx.sym.var("label"))
    assert symbol.list_arguments() == ["pred", "label"]
    _, shapes, _ = symbol.infer_shape(pred=(4, 3), label=(4,))
    assert tuple(shapes[0]) == (4,)


def test_users_write_losses_of_their_own() -> None:
    class Cubed(gluon.loss.Loss):
        def __init__(self, weight: float | None = None, batch_axis: int = 0, **kwargs: Any) -> None:
            super().__init__(weight, batch_axis, **kwargs)

        def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:
            value = F.abs(pred - gluon.loss._reshape_like(F, label, pred)) ** 3
            return F.mean(
                gluon.loss._apply_weighting(F, value, self._weight, sample_weight), axis=self._batch_axis, exclude=True
            )

    np.testing.assert_allclose(Cubed(weight=2)(nd.array([[1, 2]]), nd.array([[2, 4]])).asnumpy(), [9])


def test_labels_with_gradient_do_not_disturb() -> None:
    pred, label = nd.array(PRED), nd.array(CLASS)
    pred.attach_grad()
    with autograd.record():
        out = losses.SoftmaxCELoss()(pred, label)
    out.backward()
    expected = softmax(PRED) - np.eye(3)[CLASS.astype(int)]
    np.testing.assert_allclose(pred.grad.asnumpy(), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(MXNetError):
        losses.SoftmaxCELoss(axis=5)(pred, label)


@pytest.mark.parametrize("hybrid", [False, True])
def test_weights_of_samples_that_do_not_fit_are_refused(hybrid: bool) -> None:
    """(batch,) beside a loss (batch, 1) would weigh every sample by the mean of all weights."""
    pred, label = nd.random.normal(shape=(4, 3)), nd.array([0, 1, 2, 0])
    loss = losses.SoftmaxCrossEntropyLoss()
    if hybrid:
        loss.hybridize()
    weights = nd.array([0, 1, 0, 1])
    for wrong in (weights, nd.ones((3,)), nd.ones((7,)), nd.ones((7, 1)), nd.ones((4, 3))):
        with pytest.raises(ShapeError, match=r"sample_weight does not fit(.|\n)*broadcasts to \(4, 1\)"):
            loss(pred, label, wrong)
    with pytest.raises(ShapeError, match=r"sample_weight\.reshape\(\(-1, 1\)\)"):
        loss(pred, label, weights)
    right = loss(pred, label, weights.reshape((-1, 1))).asnumpy()
    np.testing.assert_allclose(right, loss(pred, label).asnumpy() * weights.asnumpy(), rtol=1e-6)


def test_weights_in_a_graph_without_sizes_are_not_looked_at() -> None:
    made = losses.L2Loss()(mx.sym.var("pred"), mx.sym.var("label"), mx.sym.var("weight"))
    assert sorted(made.list_arguments()) == ["label", "pred", "weight"]
