"""Writes that torch does not count, and memory that was handed out, are noticed by whoever keeps something."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glueball import autograd, nd
from glueball.base.writes import UNSEEN, is_lent, lend, note_write, unseen_writes


def test_counts_belong_to_memory_not_to_arrays():
    a = torch.zeros(4)
    before, total = unseen_writes(a), UNSEEN.total
    note_write(a.detach()[1:], a.data)
    assert unseen_writes(a.view(2, 2)) == before + 2 and UNSEEN.total != total
    assert unseen_writes(a.clone()) == 0


def test_what_has_no_memory_is_counted_as_lost():
    lost = UNSEEN.lost
    note_write(torch.zeros(2, 2).to_mkldnn())
    assert UNSEEN.lost == lost + 1


@pytest.mark.parametrize("hand_out", [lambda a: a.to_torch(), lambda a: a.to_dlpack_for_write(), np.from_dlpack,
                                      lambda a: torch.from_dlpack(a), lambda a: a[1:].to_dlpack_for_read()])
def test_handing_out_marks_memory(hand_out):
    a = nd.zeros((3,))
    held = hand_out(a)
    assert is_lent(a._t) and held is not None


def test_reading_does_not():
    a = nd.zeros((3,))
    a.asnumpy()
    assert not is_lent(a._t)
    shared = torch.zeros(3).share_memory_()
    assert is_lent(shared)
    total = UNSEEN.total
    lend(shared)
    lend(shared)
    assert UNSEEN.total != total


@pytest.mark.parametrize("rows", [1, 4])
def test_moving_statistics_are_counted(rows):
    mean, var = nd.zeros((2,)), nd.ones((2,))
    before = unseen_writes(mean._t), unseen_writes(var._t)
    with autograd.record():
        nd.BatchNorm(nd.random.normal(shape=(rows, 2)), nd.ones((2,)), nd.zeros((2,)), mean, var)
    assert (unseen_writes(mean._t), unseen_writes(var._t)) > before and float(mean.norm().asscalar()) > 0
