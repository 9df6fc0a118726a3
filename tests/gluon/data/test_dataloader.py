"""DataLoader: order, structures, and above all that nothing that goes wrong in a worker is silent or waits for ever."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch

from glueball import autograd, cpu, current_context, nd
from glueball.base.errors import ArgumentError
from glueball.gluon import data
from glueball.gluon.data import workers

MODES = [
    pytest.param({}, id="here"),
    pytest.param({"num_workers": 2}, id="processes"),
    pytest.param({"num_workers": 2, "thread_pool": True}, id="threads"),
]


class Squares(data.Dataset):
    """Sample i is (a float32 vector of i*i, i); big enough for shared memory."""

    def __init__(self, length, size=4):
        self.length, self.size = length, size

    def __getitem__(self, index):
        return np.full(self.size, index * index, np.float32), index

    def __len__(self):
        return self.length


class Failing(Squares):
    """Raises, sleeps, dies or leaves at sample 5."""

    def __init__(self, how, length=12):
        super().__init__(length)
        self.how = how

    def __getitem__(self, index):
        if index == 5:
            if self.how == "raise":
                raise KeyError("broken file 5.png")
            if self.how == "unpicklable":
                raise type("Local", (Exception,), {})("cannot travel")
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "exit":
                os._exit(3)
            if self.how == "hang":
                time.sleep(1000)
        return super().__getitem__(index)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [4, 40_000])
def test_batches_come_in_order(mode, size):
    loader = data.DataLoader(Squares(11, size), 4, **mode)
    assert len(loader) == 3
    for _ in range(2):
        seen = []
        for values, labels in loader:
            assert isinstance(values, nd.NDArray) and isinstance(labels, nd.NDArray)
            assert np.dtype(values.dtype) == np.float32 and np.dtype(labels.dtype) == np.int64
            np.testing.assert_array_equal(values.asnumpy(), np.repeat(labels.asnumpy()[:, None] ** 2, size, 1))
            seen += labels.asnumpy().tolist()
        assert seen == list(range(11))
    loader.clean()


@pytest.mark.parametrize("mode", MODES)
def test_shuffle_visits_each_sample_once_and_repeats_under_a_seed(mode):
    loader = data.DataLoader(Squares(30), 7, shuffle=True, **mode)

    def epoch():
        return [index for _, labels in loader for index in labels.asnumpy().tolist()]

    np.random.seed(3)
    first, second = epoch(), epoch()
    assert sorted(first) == sorted(second) == list(range(30))
    assert first != second
    np.random.seed(3)
    assert epoch() == first
    loader.clean()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("last, sizes", [("keep", [4, 4, 3]), ("discard", [4, 4]), ("rollover", [4, 4])])
def test_last_batch(mode, last, sizes):
    loader = data.DataLoader(Squares(11), 4, last_batch=last, **mode)
    assert [labels.shape[0] for _, labels in loader] == sizes
    if last == "rollover":
        assert next(iter(loader))[1].asnumpy().tolist() == [8, 9, 10, 0]
    loader.clean()


@pytest.mark.parametrize("mode", MODES)
def test_batch_sampler_and_batchify_fn(mode):
    loader = data.DataLoader(Squares(5), batch_sampler=[[4, 0], [2]], batchify_fn=data.batchify.AsList(), **mode)
    assert [[label for _, label in batch] for batch in loader] == [[4, 0], [2]]
    loader.clean()


def test_all_structures_and_dtypes_survive_the_way_through_shared_memory():
    sent = {
        "half": nd.array(np.arange(20_000), dtype="float16"),
        "brain": nd.array(np.arange(20_000) % 250, dtype="bfloat16"),
        "bool": nd.array(np.arange(3) % 2, dtype="bool"),
        "bytes": nd.array(np.arange(200), dtype="uint8"),
        "empty": np.zeros((0, 3), np.int16),
        "numpy": np.asfortranarray(np.arange(20_000.0).reshape(2, -1)),
        "torch": torch.arange(5),
        "nested": [("text", None, 3.5), {"a": nd.ones((2, 2))}],
    }
    loader = data.DataLoader([0], 1, num_workers=1, batchify_fn=lambda samples: sent)
    (back,) = list(loader)
    loader.clean()
    gc.collect()
    for key in ("half", "brain", "bool", "bytes"):
        assert back[key].dtype == sent[key].dtype
        np.testing.assert_array_equal(back[key].asnumpy(), sent[key].asnumpy())
    np.testing.assert_array_equal(back["numpy"], sent["numpy"])
    assert back["empty"].shape == (0, 3)
    assert back["torch"].tolist() == [0, 1, 2, 3, 4]
    assert back["nested"][0] == ("text", None, 3.5)
    back["nested"][1]["a"][:] = 7  # batches are ours to write to
    assert back["nested"][1]["a"].asnumpy().tolist() == [[7, 7], [7, 7]]


def test_where_descriptors_cannot_be_sent_batches_go_through_the_pipe(monkeypatch):
    from glueball.gluon.data import transport

    monkeypatch.setattr(transport, "_DESCRIPTORS", False)
    loader = data.DataLoader(Squares(40, 100_000), 4, num_workers=2, prefetch=10)
    seen = [index for values, labels in loader for index in labels.asnumpy().tolist() if values[0, -1] >= 0]
    assert seen == list(range(40))
    loader.clean()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["raise", "unpicklable"])
def test_an_exception_names_the_sample_and_carries_the_traceback(mode, how):
    loader = data.DataLoader(Failing(how), 4, **mode)
    batches = iter(loader)
    next(batches)
    with pytest.raises(data.DataLoaderError, match=r"Sample 5 \(position 1 of its batch\)") as caught:
        next(batches)
    assert caught.value.sample_index == 5
    expected = "broken file 5.png" if how == "raise" else "cannot travel"
    assert expected in str(caught.value)
    if "num_workers" in mode and "thread_pool" not in mode:
        assert "in __getitem__" in str(caught.value)  # the worker's traceback
    if how == "raise":
        assert isinstance(caught.value.__cause__, KeyError)
    # the loader is still good
    assert sum(1 for _ in zip(range(1), loader)) == 1
    loader.clean()


@pytest.mark.parametrize("mode", MODES)
def test_an_error_in_batchify_names_the_batch(mode):
    loader = data.DataLoader([np.zeros(2), np.zeros(3)], 2, **mode)
    with pytest.raises(data.DataLoaderError, match=r"(?s)batch of samples \[0, 1\].*batchify\.Pad"):
        list(loader)
    loader.clean()


@pytest.mark.parametrize("how, what", [("kill", "was killed by signal 9 (SIGKILL)"), ("exit", "left with exit code 3")])
def test_a_worker_that_dies_names_the_sample(how, what):
    loader = data.DataLoader(Failing(how), 4, num_workers=2)
    start = time.monotonic()
    with pytest.raises(data.DataLoaderError) as caught:
        list(loader)
    assert time.monotonic() - start < 20
    assert what in str(caught.value)
    assert "while reading sample 5 (position 1 of batch [4, 5, 6, 7])" in str(caught.value)
    assert caught.value.sample_index == 5
    # the next epoch has new workers
    assert len(next(iter(loader))) == 2
    loader.clean()


def test_a_worker_killed_from_outside_is_an_error_not_a_hang():
    loader = data.DataLoader(Failing("hang"), 4, num_workers=1)
    batches = iter(loader)
    next(batches)
    (process,) = loader._pool.processes
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(data.DataLoaderError, match="SIGKILL"):
        list(batches)


def test_an_idle_worker_that_was_killed_is_noticed():
    loader = data.DataLoader(Squares(4), 4, num_workers=1)
    assert len(list(loader)) == 1
    os.kill(loader._pool.processes[0].pid, signal.SIGKILL)
    loader._pool.processes[0].join()
    with pytest.raises(data.DataLoaderError, match="SIGKILL"):
        list(loader)
    assert len(list(loader)) == 1
    loader.clean()


@pytest.mark.parametrize("threads", [False, True])
def test_timeout(threads, monkeypatch):
    if threads:
        monkeypatch.setattr(time, "sleep", lambda seconds: _nap())
    loader = data.DataLoader(Failing("hang"), 4, num_workers=1, timeout=0.5, thread_pool=threads)
    with pytest.raises(data.DataLoaderError, match=r"No batch came for 0\.5 seconds") as caught:
        list(loader)
    if not threads:
        assert caught.value.sample_index == 5
    loader.clean()


def _nap():
    import threading

    threading.Event().wait(2)  # a thread cannot be killed: let it end soon after the test


def test_leaving_an_epoch_early_and_nesting_loops():
    loader = data.DataLoader(Squares(12), 2, num_workers=2)
    for _, labels in loader:
        assert labels.asnumpy().tolist() == [0, 1]
        break
    pairs = [(a.asnumpy()[0], b.asnumpy()[0]) for _, a in loader for _, b in loader]
    assert pairs == [(a, b) for a in range(0, 12, 2) for b in range(0, 12, 2)]
    processes = loader._pool.processes
    del loader
    gc.collect()
    for process in processes:
        process.join(10)
        assert not process.is_alive()


def test_an_iterator_whose_workers_were_stopped_says_so():
    loader = data.DataLoader(Squares(12), 2, num_workers=1)
    batches = iter(loader)
    next(batches)
    loader.clean()
    with pytest.raises(data.DataLoaderError, match="were stopped before this batch"):
        list(batches)
    assert len(list(loader)) == 6
    loader.clean()


def test_a_loader_inside_a_dataset_of_another_loader():
    inner = data.DataLoader(Squares(4), 2)  # a worker must not stop what it inherited
    outer = data.DataLoader(Squares(4), 2, num_workers=1)
    list(outer)

    class Nested(data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            gc.collect()
            return sum(int(labels.asnumpy().sum()) for _, labels in inner)

    nested = data.DataLoader(Nested(), 1, num_workers=1)
    assert [batch.asnumpy().tolist() for batch in nested] == [[6], [6], [6]]
    assert len(list(outer)) == 2
    nested.clean()
    outer.clean()


class RandomNumbers(data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return random.random(), np.random.rand(), float(nd.random.uniform(shape=(1,)).asscalar())


def test_random_numbers_in_workers_differ_between_batches_and_follow_the_seed():
    def epoch(count, seed):
        np.random.seed(seed)
        loader = data.DataLoader(RandomNumbers(), 2, num_workers=count)
        rows = np.concatenate([np.stack([part.asnumpy() for part in batch], 1) for batch in loader])
        loader.clean()
        return rows

    one, two, other = epoch(1, 0), epoch(2, 0), epoch(2, 1)
    np.testing.assert_array_equal(one, two)
    assert np.unique(one).size == one.size
    assert (one != other).all()


def test_loading_does_not_draw_from_the_generators_here():
    np.random.seed(5)
    random.seed(5)
    expected = np.random.rand(), random.random()
    np.random.seed(5)
    random.seed(5)
    loader = data.DataLoader(Squares(4), 2, num_workers=1)
    list(loader)
    loader.clean()
    assert (np.random.rand(), random.random()) == expected


def test_workers_stand_outside_of_every_scope():
    class Scopes(data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return autograd.is_recording(), autograd.is_training(), current_context().device_id

    loader = data.DataLoader(Scopes(), 2, num_workers=1)
    with cpu(1), autograd.record():
        (batch,) = loader
    assert [part.asnumpy().tolist() for part in batch] == [[False, False], [False, False], [0, 0]]
    assert batch[0].context == cpu(0)
    loader.clean()


def test_auto_reload_and_refresh():
    loader = data.DataLoader(Squares(6), 2, num_workers=1, auto_reload=True)
    assert loader._waiting is not None
    for _ in range(3):
        assert [labels.asnumpy().tolist() for _, labels in loader] == [[0, 1], [2, 3], [4, 5]]
        assert loader._waiting is not None
    loader.refresh()
    assert len(list(loader)) == 3
    loader.clean()
    assert len(list(loader)) == 3
    loader.clean()


def test_no_memory_or_descriptor_is_left_behind():
    def descriptors():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc")
    before, shared = descriptors(), set(os.listdir("/dev/shm"))
    for how in ("fine", "raise", "kill"):
        loader = data.DataLoader(Failing(how), 4, num_workers=2)
        try:
            list(loader)
        except data.DataLoaderError:
            pass
        loader.clean()
        del loader
    assert descriptors() <= before + 2  # Python's own resource tracker may have started
    assert set(os.listdir("/dev/shm")) <= shared


@pytest.mark.slow
def test_workers_leave_when_the_loader_is_killed(tmp_path):
    program = textwrap.dedent("""
        import os, signal
        from glueball.gluon import data
        loader = data.DataLoader(list(range(1000)), 2, num_workers=2)
        next(iter(loader))
        print(*(process.pid for process in loader._pool.processes), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    deadline = time.monotonic() + 10
    while any(_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a worker outlived its loader"
        time.sleep(0.05)


def _running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_fork_after_openmp_threads_does_not_deadlock():
    program = textwrap.dedent("""
        import torch, numpy as np
        from glueball import autograd, cpu, current_context, nd
        from glueball.gluon import data
        torch.set_num_threads(4)
        big = torch.randn(600, 600)
        big @ big; (big + big).sum()          # starts the parallel regions of this process

        class Heavy(data.Dataset):
            def __len__(self): return 4
            def __getitem__(self, index):
                x = nd.random.normal(shape=(600, 600))
                assert torch.get_num_threads() == 1
                return nd.dot(x, x).sum().asscalar()

        assert len(list(data.DataLoader(Heavy(), 1, num_workers=2, timeout=60))) == 4
        print("fine")
    """)
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "4", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.slow
def test_spawn(tmp_path, monkeypatch):
    (tmp_path / "spawned_dataset.py").write_text(
        textwrap.dedent("""
        import numpy as np
        from glueball import autograd, cpu, current_context, nd
        from glueball.gluon import data
        def make():
            return data.ArrayDataset(nd.array(np.arange(6.0).reshape(3, 2)), [1, 2, 3]).transform_first(double)
        def double(x):
            return x * 2
    """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import spawned_dataset

    loader = data.DataLoader(spawned_dataset.make(), 2, num_workers=1, start_method="spawn")
    first, second = loader
    loader.clean()
    assert first[0].asnumpy().tolist() == [[0, 2], [4, 6]] and second[1].asnumpy().tolist() == [3]


def test_spawn_says_what_cannot_be_sent():
    loader = data.DataLoader(data.SimpleDataset([1]).transform(lambda x: x), 1, num_workers=1, start_method="spawn")
    with pytest.raises(ArgumentError, match=r"(?s)cannot be sent to a worker process.*functions of a module"):
        list(loader)


def test_plain_arrays_are_indexed_once_for_each_batch():
    class Counting(np.ndarray):
        calls = 0

        def __getitem__(self, index):
            type(self).calls += 1
            return super().__getitem__(index)

    values = np.arange(20, dtype=np.int32).reshape(10, 2).view(Counting)
    batches = list(data.DataLoader(data.ArrayDataset(values, nd.arange(10)), 5))
    assert Counting.calls == 2
    assert [np.dtype(part.dtype).name for part in batches[0]] == ["int32", "float32"]
    assert batches[1][0].asnumpy().tolist() == np.arange(10, 20).reshape(5, 2).tolist()
    (single,) = data.DataLoader(data.ArrayDataset(nd.zeros((3, 2), dtype="uint8")), 3)
    assert single.shape == (3, 2) and np.dtype(single.dtype) == np.uint8


def test_transforms_that_may_be_applied_to_a_batch_are():
    calls = []

    class Double:
        batchable = True

        def __call__(self, x):
            calls.append(x.shape)
            return x * 2

    base = data.ArrayDataset(nd.array(np.arange(12.0).reshape(6, 2)), np.arange(6))
    fast = list(data.DataLoader(base.transform_first(Double()), 3))
    assert calls == [(3, 2), (3, 2)]
    slow = list(data.DataLoader(base.transform_first(lambda x: x * 2), 3))
    for one, other in zip(fast, slow):
        for ours, theirs in zip(one, other):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours.asnumpy(), theirs.asnumpy())
    calls.clear()
    (single,) = data.DataLoader(data.ArrayDataset(nd.ones((4, 2))).transform(Double()), 4)
    assert calls == [(4, 2)] and single.asnumpy().tolist() == [[2, 2]] * 4
    calls.clear()
    (part,) = data.DataLoader(base.shard(2, 1).transform_first(Double()), 3)
    assert calls == [(3, 2)] and part[1].asnumpy().tolist() == [3, 4, 5]
    assert part[0].asnumpy().tolist() == [[12, 14], [16, 18], [20, 22]]
    calls.clear()
    list(data.DataLoader(data.SimpleDataset([nd.ones(2)] * 4).transform(Double()), 4))
    assert calls == [(2,)] * 4


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "batch size is missing"),
        ({"batch_size": 2, "batch_sampler": [[0]]}, "(?s)batch_sampler decides.*Received: batch_size"),
        ({"batch_size": 2, "shuffle": True, "sampler": data.SequentialSampler(2)}, "shuffle has no meaning"),
        ({"batch_size": 0}, "batch_size is an integer of at least 1"),
        ({"batch_size": 1, "num_workers": -1}, "num_workers is not negative"),
        ({"batch_size": 1, "timeout": 0}, "timeout is a positive"),
        ({"batch_size": 1, "prefetch": -1}, "prefetch is not negative"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        data.DataLoader(Squares(2), **arguments)


def test_pin_memory_without_cuda_is_harmless():
    (batch,) = data.DataLoader(Squares(2), 2, pin_memory=True)
    assert batch[0].shape == (2, 4)


def test_default_start_method():
    assert workers.default_start_method() == ("fork" if sys.platform.startswith("linux") else "spawn")
