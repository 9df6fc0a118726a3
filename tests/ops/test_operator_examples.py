"""The examples in the operators' docstrings, which `help(nd.relu)` shows, print what they say."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import glueball as mx
from glueball.ops.opdef import TABLE, OpDef


@pytest.mark.parametrize("op", [op for op in TABLE.values() if ">>>" in op.doc], ids=lambda op: op.name)
def test_example(op: OpDef) -> None:
    example = doctest.DocTestParser().get_doctest(op.doc, {"mx": mx, "nd": mx.nd, "np": np}, op.name, None, None)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(example).failed == 0
