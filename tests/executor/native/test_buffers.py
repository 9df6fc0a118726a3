"""Memory of large arrays: nobody writes to what another holds, and holes that meet become one."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glueball.executor.native import buffers
from glueball.executor.native.buffers import LEAST, Heap

PAGE = 1 << 14  # a multiple of every system's
SIZE = 64 * PAGE

ACTIONS = st.lists(st.one_of(st.tuples(st.just("take"), st.integers(1, 20 * PAGE)),
                             st.tuples(st.just("drop"), st.integers(0, 9)), st.just(("release", 0))),
                   max_size=40)  # fmt: skip


@given(ACTIONS)
@settings(max_examples=100)
def test_blocks_never_overlap(actions):
    """Whatever is taken, dropped and given back in between, each tensor keeps its numbers; in the end all is one
    hole.
    """
    heap, held = Heap(SIZE), []
    for count, (action, number) in enumerate(actions):
        if action == "take":
            found = heap.take(number)
            if found is None:
                assert heap.used  # all of it is free together when nobody holds any
            else:
                held.append((found.fill_(count)[number // 2 :], count))  # a part holds all of it
                del found
        elif action == "drop" and held:
            del held[number % len(held)]
        elif action == "release":
            heap.release()
        assert all((part == value).all() for part, value in held)
        assert heap.used == sum(part.untyped_storage().nbytes() for part, _ in held) <= heap.reach <= SIZE
    del held
    whole = heap.take(SIZE)
    assert whole is not None and heap.take(1) is None


def test_the_smallest_hole_that_takes_it():
    heap = Heap(SIZE)
    blocks = [heap.take(count * PAGE) for count in (3, 1, 2, 1, 9, 1)]
    places = [block.data_ptr() for block in blocks]
    blocks[0] = blocks[2] = blocks[4] = None
    assert heap.take(2 * PAGE).data_ptr() == places[2]
    assert heap.take(3 * PAGE).data_ptr() == places[0]
    assert heap.take(4 * PAGE).data_ptr() == places[4]
    reach = heap.reach
    blocks[1] = None  # between two holes
    assert heap.take(6 * PAGE).data_ptr() == places[0]
    assert heap.reach == reach


def test_threads_share_it():
    heap, wrong = Heap(SIZE), []

    def work(number):
        for size in range(1, 200):
            found = heap.take(size * 40)
            if found is not None:
                found.fill_(number)
                wrong.append(not bool((found == number).all()))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong and not any(wrong)
    assert heap.used == 0


def test_memory_goes_back_while_a_tensor_holds_its_own(monkeypatch):
    heap = Heap(SIZE)
    monkeypatch.setattr(buffers, "_passing", heap)
    first, second = heap.take(4 * PAGE).fill_(3), heap.take(4 * PAGE).fill_(5)
    del first
    heap.release()
    assert (second == 5).all()
    if sys.platform == "linux":  # holes are pages of zeros again
        assert not heap.take(4 * PAGE).any()


def test_without_room_arrays_come_from_torch(monkeypatch):
    """A system that gives no range of addresses, and a range that is full."""
    like = torch.empty(2, 3, 200, 300, memory_format=torch.channels_last)
    assert like.numel() * 4 >= LEAST
    for heap in (Heap(0), Heap(PAGE)):
        assert heap.take(LEAST) is None
        monkeypatch.setattr(buffers, "_passing", heap)
        monkeypatch.setattr(buffers, "_kept", heap)
        for found in (buffers.empty_like(like), buffers.empty_images(tuple(like.shape), like.dtype)):
            assert found.shape == like.shape and found.stride() == like.stride()
        assert buffers.scratch(LEAST).shape == (LEAST,)
        assert torch.equal(buffers.in_order(like.fill_(2)), like)
        assert heap.used == 0


@pytest.mark.parametrize("make", [buffers.empty_like, lambda t: buffers.empty_images(tuple(t.shape), t.dtype)])
def test_small_arrays_are_left_to_torch(make):
    before = buffers._passing.used
    small = make(torch.empty(1, 3, 5, 4, memory_format=torch.channels_last))
    assert buffers._passing.used == before and small.stride() == (60, 1, 12, 3)


FORKS = """
import os, threading
from glueball.executor.native import buffers
ended = threading.Event()
def take():
    while not ended.is_set():
        buffers._passing.take(buffers.LEAST)
threading.Thread(target=take).start()
for _ in range(60):
    child = os.fork()
    if not child:
        os._exit(0 if buffers._passing.take(buffers.LEAST) is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
ended.set()
"""

LIMITED = """
import os, resource
memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (memory + 10**9,) * 2)
from glueball import autograd, nd
from glueball.executor.native import buffers
from glueball.gluon import nn
net = nn.HybridSequential()
net.add(nn.Conv2D(32, 3, padding=1), nn.BatchNorm(), nn.Conv2D(64, 1), nn.GlobalAvgPool2D(), nn.Dense(4))
net.initialize(); net.hybridize()
for rows in (8, 16, 32):
    with autograd.record():
        loss = net(nd.ones((rows, 3, 64, 64))).square().mean()
    loss.backward()
assert not buffers._passing.used and buffers._passing.take(1) is None
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks and limits of Linux")
@pytest.mark.parametrize("program", [FORKS, LIMITED], ids=["forks", "limited"])
def test_in_other_processes(program):
    """A fork never copies a lock that is held; where addresses are limited (ulimit -v), none are reserved."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)
