"""The compiled recorder writes down what its twin does, number by number; and what is its own: buffers, memory, errors.

Not here: what calls mean (test_oracle.py and others run on whichever recorder there is; `make test-twins` on the twin).
"""
from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from glueball import autograd, fold, gluon, nd
from glueball.base.errors import MXNetError
from glueball.base.tree import flatten
from glueball.fold import recording
from glueball.fold.core import compiled

ROOT = Path(__file__).resolve().parent.parent.parent
needs_core = pytest.mark.skipif(compiled("recorder") is None, reason="the compiled recorder is not there")


def recorded(seed: int, core: str) -> Any:
    """Return what a process records with the compiled recorder ("1") or its twin ("0")."""
    environment = {**os.environ, "GLUEBALL_CORE": core, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "tests.fold.recorded", str(seed), "25"], env=environment, cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_core
def test_both_recorders_write_down_the_same() -> None:
    ours, twin = recorded(7, "1"), recorded(7, "0")
    assert (ours["recorder"], twin["recorder"]) == ("Recorder", "TwinRecorder")
    assert len(ours["flushes"]) == len(twin["flushes"]) > 70
    for one, other in zip(ours["flushes"], twin["flushes"]):
        assert one == other


@needs_core
def test_queues_are_read_as_arrays_and_do_not_move_while_they_are_read() -> None:
    dense = gluon.nn.Dense(2)
    dense.initialize()
    dense(nd.ones((1, 2)))
    with fold.batching():
        for _ in range(40):  # more than the buffers' first room
            y = dense(nd.ones((1, 2)))
        queue = next(iter(y.folder.queues.values()))
        ids = np.asarray(queue.ids)
        assert ids.dtype == np.int64
        assert (np.diff(ids) > 0).all()
        assert not ids.flags.writeable
        with pytest.raises(BufferError, match="cannot grow"):
            for _ in range(1000):
                dense(nd.ones((1, 2)))
        del ids
        dense(nd.ones((1, 2)))
        assert len(np.asarray(recording.Queue().refs)) == len(recording.Queue().refs) == 0
    assert y.shape == (1, 2)


@needs_core
def test_the_collector_does_not_look_at_futures_and_memory_is_freed() -> None:
    cell = gluon.rnn.GRUCell(2)
    cell.initialize()
    cell.hybridize()
    x = nd.ones((3, 2))
    for _ in range(2):
        with fold.batching():
            row = nd.relu(x)[0:1]
            out, states = cell(row, cell.begin_state(batch_size=1))
            held = weakref.ref(out.folder)
            assert not any(map(gc.is_tracked, (row, out, states[0])))
    gc.disable()
    try:
        del row, out, states
        assert held() is None
    finally:
        gc.enable()


@needs_core
def test_mistakes_of_the_package_are_errors_and_no_crashes() -> None:
    core: Any = compiled("recorder")
    recorder = core.Recorder()
    for wrong in ((), (1,), (1, 2), (1, [], 3)):
        with pytest.raises(TypeError):
            recorder.add(*wrong)
    for wrong in ((), (1,), (1, 2), (object(), ())):
        with pytest.raises((TypeError, AttributeError)):
            recorder.call(*wrong)
    for wrong in ((), (1, 2, 3)):
        with pytest.raises(TypeError):
            recorder.invoke(*wrong)
    with pytest.raises(TypeError, match="setup"):
        core.setup(future=1)
    assert recorder.next == recorder.waiting == 0
    assert recorder.queues == {}


def test_a_block_that_changed_is_recorded_anew() -> None:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(2, in_units=2))
    net.initialize()
    net.hybridize()
    x = nd.ones((1, 2))

    def folded() -> Any:
        with fold.batching():
            out = net(nd.identity(x))
        return out.asnumpy()

    for _ in range(2):
        np.testing.assert_allclose(folded(), net(x).asnumpy())
    net.add(gluon.nn.Dense(3, in_units=2))
    net[1].initialize()
    assert folded().shape == (1, 3)
    handle = net.register_forward_hook(lambda block, args, out: None)
    np.testing.assert_allclose(folded(), net(x).asnumpy(), rtol=1e-6)
    handle.detach()
    net.hybridize(False)
    np.testing.assert_allclose(folded(), net(x).asnumpy(), rtol=1e-6)


def test_what_is_no_array_gets_the_usual_error() -> None:
    dense = gluon.nn.Dense(2, in_units=2)
    dense.initialize()
    with autograd.record(), fold.batching():
        for _ in range(2):
            with pytest.raises((MXNetError, TypeError, ValueError)):
                dense(object())
            with pytest.raises((MXNetError, TypeError, ValueError)):
                dense()
        assert dense(nd.ones((1, 2))).shape == (1, 2)


class Pair(NamedTuple):
    """A result with names."""

    first: Any
    rest: Any


def test_results_come_back_in_the_form_that_the_block_gives_them() -> None:
    class Shapes(gluon.HybridBlock):
        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return forms[self.form](x)

    forms: dict[str, Any] = {
        "nested": lambda x: (x + 1, [x + 2, (x + 3, [x + 4])]),
        "list": lambda x: [(x + 1,), [x + 2]],
        "constant": lambda x: (x + 1, [x + 2, None]),
        "dictionary": lambda x: ([x + 1], {"more": x + 2}),
        "named": lambda x: [Pair(x + 1, (x + 2,))],
    }
    for form in forms:
        block = Shapes()
        block.form = form
        block.hybridize()
        x = nd.array([[1.0, 2.0]])
        with fold.batching():
            found = [block(x * i) for i in range(3)]
        for i, result in enumerate(found):
            leaves, structure = flatten(result, nd.NDArray)
            expected, wanted = flatten(forms[form](x * i), nd.NDArray)
            assert structure == wanted, form
            for leaf, right in zip(leaves, expected, strict=True):
                np.testing.assert_allclose(leaf.asnumpy(), right.asnumpy())
