"""Freed memory stays with the process, and can be given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

import glueball as mx
from glueball.base import memory

SCRIPT = """
import resource, torch
from glueball.base import memory
kept = memory.keep_freed()
def faults(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(count).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(1 << 24)
print(kept, faults(1 << 23))  # 32 MB, where 64 MB were freed: an array of the same size need not fit into its hole
"""


@pytest.mark.skipif(memory._library() is None, reason="only glibc has these switches")
@pytest.mark.parametrize("keep", ["1", "0"])
def test_freed_memory_comes_back_without_page_faults(keep, monkeypatch):
    monkeypatch.setenv("GLUEBALL_KEEP_MEMORY", keep)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    assert kept == str(keep == "1")
    if keep == "1":
        assert int(faults) < 1000  # of 8192 pages


def test_owners_let_go_before_memory_is_given_back(monkeypatch):
    called = []
    monkeypatch.setattr(memory, "_owners", [lambda: called.append(1)])
    mx.cpu().empty_cache()
    assert called == [1]
