"""Network, vision and detection operators against golden results of MXNet 1.9.1: outputs, gradients, and refusals.

The cases are in tests/golden/data (ops_nn, ops_vision); how they were made is in tests/golden/generate. Where we
differ on purpose the case is listed in DIFFERENT with the reason.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glueball as mx
from glueball import autograd
from glueball.base.errors import MXNetError

sys.path.insert(0, str(Path(__file__).parents[2] / "golden"))
import reader

OURS = frozenset(
    (
        "FullyConnected",
        "Activation",
        "LeakyReLU",
        "Convolution",
        "Deconvolution",
        "Pooling",
        "UpSampling",
        "BatchNorm",
        "LayerNorm",
        "InstanceNorm",
        "GroupNorm",
        "L2Normalization",
        "LRN",
        "Dropout",
        "softmax",
        "log_softmax",
        "softmin",
        "softmax_cross_entropy",
        "SoftmaxActivation",
        "SoftmaxOutput",
        "Softmax",
        "LinearRegressionOutput",
        "LogisticRegressionOutput",
        "MAERegressionOutput",
        "SVMOutput",
        "CTCLoss",
        "ctc_loss",
        "contrib.interleaved_matmul_selfatt_qk",
        "contrib.interleaved_matmul_selfatt_valatt",
        "contrib.interleaved_matmul_encdec_qk",
        "contrib.interleaved_matmul_encdec_valatt",
        "contrib.MultiBoxPrior",
        "contrib.MultiBoxTarget",
        "contrib.MultiBoxDetection",
        "contrib.box_nms",
        "contrib.box_non_maximum_suppression",
        "contrib.box_iou",
        "contrib.bipartite_matching",
        "contrib.box_encode",
        "contrib.box_decode",
        "ROIPooling",
        "contrib.ROIAlign",
        "contrib.BilinearResize2D",
        "contrib.AdaptiveAvgPooling2D",
        "BilinearSampler",
        "GridGenerator",
        "SpatialTransformer",
        "Crop",
        "Correlation",
        "contrib.fft",
        "contrib.ifft",
        "contrib.count_sketch",
        "contrib.DeformableConvolution",
        "contrib.ModulatedDeformableConvolution",
    )
)
_EVAL = "the oracle's gradient of BatchNorm outside training is not the derivative of what it computed; ours is"
_MORE = "the oracle refuses on the CPU what we can do: "
DIFFERENT: dict[str, str] = {
    "BatchNorm-1": _EVAL,
    "BatchNorm-3": _EVAL,
    "BatchNorm-5": _EVAL,
    "BatchNorm-9": _EVAL,
    "LeakyReLU-4": "the oracle's gradient of selu is not the derivative; ours is",
    "LeakyReLU-5": "as LeakyReLU-4",
    "LeakyReLU-10": "the oracle shows the mask of rrelu, too, which holds arbitrary memory outside training",
    "SoftmaxActivation-0": "the oracle's CPU library normalises along the last axis and differentiates along axis 1",
    "SoftmaxOutput-14": "out_grad: the oracle multiplies by the result instead of the gradient from above",
    "SoftmaxOutput-18": _MORE + "one label per row of data with more than two axes",
    "ctc_loss-0": "a label holds the blank; we refuse it",
    "contrib.box_nms-5": "the oracle's gradient leaves out the conversion to another box format",
    "contrib.MultiBoxDetection-2": "after nms_topk the oracle's rows of class −1 are not in order of score",
    "contrib.fft-0": _MORE + "Fourier transforms",
    "contrib.ifft-0": _MORE + "Fourier transforms",
    "contrib.count_sketch-0": _MORE + "count_sketch",
    "Pooling-15": "the oracle divides the gradient of a cut-off window by the size of a whole one",
    "Convolution-8": _MORE + "channels last",
    "Deconvolution-5": _MORE + "the gradient with a target_shape",
    "Pooling-10": _MORE + "pooling_convention='same'",
    "Pooling-22": _MORE + "pooling_convention='same'",
    "Pooling-34": _MORE + "pooling_convention='same'",
}
CASES = [
    (topic, name)
    for topic in ("ops_nn", "ops_vision")
    for name in reader.names(topic)
    if name.rsplit("-", 1)[0] in OURS
]


def call(case: dict[str, Any], record: bool) -> tuple[list[Any], list[Any]]:
    """Call our operator of a case; returns (inputs, outputs), recorded if asked."""
    inputs = [mx.nd.array(x, dtype=x.dtype) for x in case["inputs"]]
    grads = case.get("grads") or [None] * len(inputs)
    if record:
        for array, gradient in zip(inputs, grads):
            if gradient is not None:
                array.attach_grad()
    home: Any = mx.nd
    for part in case["op"].split("."):
        home = getattr(home, part)
    attrs = {k: tuple(v) if isinstance(v, list) else v for k, v in case["attrs"].items()}
    mode = autograd.train_mode if case["train"] else autograd.predict_mode
    with autograd.record(train_mode=case["train"]) if record else mode():
        result = home(*inputs, **attrs)
    return inputs, list(result) if isinstance(result, (list, tuple)) else [result]


def close(found: Any, wanted: np.ndarray, what: str, half: bool) -> None:
    """Compare as precisely as float32 (or `half` precision) arithmetic in another order allows."""
    assert found.shape == wanted.shape, what
    assert np.dtype(found.dtype) == wanted.dtype, what
    np.testing.assert_allclose(
        found.asnumpy().astype(np.float64),
        wanted.astype(np.float64),
        rtol=2e-3 if half else 2e-4,
        atol=2e-3 if half else 2e-5,
        err_msg=what,
    )


@pytest.mark.parametrize(("topic", "name"), CASES, ids=[name for _, name in CASES])
def test_as_in_the_oracle(topic: str, name: str) -> None:
    case = reader.case(topic, name)
    if name in DIFFERENT:
        pytest.skip(DIFFERENT[name])
    if case.get("refused"):
        with pytest.raises(MXNetError):
            call(case, record=False)
        return
    half = any(x.dtype == np.float16 for x in case["inputs"])
    heads, grads = case.get("heads"), case.get("grads")
    inputs, outputs = call(case, record=grads is not None)
    assert len(outputs) == len(case["outputs"])
    for index, (found, wanted) in enumerate(zip(outputs, case["outputs"])):
        close(found, wanted, f"output {index}", half)
    if grads is None:
        return
    pairs = [(y, mx.nd.array(h, dtype=h.dtype)) for y, h in zip(outputs, heads) if h is not None and y._t.requires_grad]
    if pairs:
        autograd.backward([y for y, _ in pairs], [h for _, h in pairs])
    for index, (array, wanted) in enumerate(zip(inputs, grads)):
        if wanted is not None:
            close(array.grad, wanted, f"gradient of input {index}", half)
