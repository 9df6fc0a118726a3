"""A side that asks a network through onnxruntime: torch's network, exported. No training.

The one idea: the peer that compiles for inference only; constants are folded and layouts chosen when the session is
made, on as many threads as everybody has.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from remote import Side
from torch_side import network_of
from workloads import Arrays, Batch, split


class OnnxSide(Side):
    """A network in onnxruntime."""

    def __init__(self, given: Arrays, samples: list[Batch], network: str) -> None:
        _, x, _ = split(given)
        self.batches = {batch.size: x[: batch.size] for batch in samples}
        file = io.BytesIO()
        with warnings.catch_warnings():  # the other exporter needs one more package
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                network_of(given, network).eval(), (torch.from_numpy(x[:1]),), file, dynamo=False, input_names=["x"],
                dynamic_axes={"x": {0: "rows"}},
            )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])

    def infer(self, batches: Sequence[Batch]) -> np.ndarray:
        """Ask the network about each of the batches; returns what it says of the last one."""
        found = None
        for batch in batches:
            (found,) = self.session.run(None, {"x": self.batches[batch.size]})
        assert found is not None
        return found

    def explain(self) -> str:
        """Return the version."""
        return "onnxruntime " + onnxruntime.__version__


def make(given: Arrays, samples: list[Batch], **options: Any) -> Side:
    """Return the side."""
    return OnnxSide(given, samples, **options)
