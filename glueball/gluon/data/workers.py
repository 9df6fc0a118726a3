"""The worker processes of a DataLoader: what they run, how they get tasks, and how their death is noticed.

The one idea: every worker has one socket of its own, and the loader waits on all of them and on the processes
themselves at once. There is no lock or queue that a killed worker could leave locked, so a dead worker is an error at
once, never a hang, and because it notes in shared memory which sample it is at, the error can name the sample. A
worker whose loader died reads end-of-file and leaves.

Start method: fork where the system is Linux, spawn elsewhere. Fork hands the data set over without pickling it, so
lambdas and open files work, as Gluon scripts expect. Its danger is threads: a forked child of a process that has used
OpenMP must not enter a parallel region with more than one thread (libgomp waits for a pool that was not copied), so a
worker sets one thread before anything else, and it never touches CUDA. macOS and Windows have libraries that do not
survive a fork at all. DataLoader(start_method="spawn") forces the other.

What a batch is, and in which order batches come, is in dataloader.py; how arrays travel, in transport.py.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from multiprocessing import connection as mp_connection
from typing import Any, NoReturn

import numpy as np
import torch

from ... import autograd
from ... import random as nd_random
from ...base.context import cpu
from ...base.errors import ArgumentError, MXNetError, explain
from . import transport

__all__ = ["DataLoaderError", "WorkerPool", "default_start_method", "fetch"]

_IDLE = -1  # position of a worker that is at no sample
_BATCHIFY = -2  # ... that has read its samples and makes the batch
_POLL = 1.0  # seconds after which liveness is checked even if no socket speaks
_LONGEST_TRACEBACK = 8000  # characters; keeps error messages smaller than a pipe's buffer


class DataLoaderError(MXNetError):
    """A sample could not be read; `sample_index` names it (None where it is not known)."""

    def __init__(self, message: str, sample_index: Any = None) -> None:
        super().__init__(message)
        self.sample_index = sample_index

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.sample_index)


def default_start_method() -> str:
    """Return "fork" on Linux and "spawn" elsewhere (the reasons stand at the head of this file)."""
    return "fork" if sys.platform.startswith("linux") else "spawn"


class SampleFailure(Exception):
    """Inside fetch: at which position of the batch (or, None, while making the batch) the cause happened."""

    def __init__(self, position: int | None) -> None:
        super().__init__(position)
        self.position = position


def fetch(
    dataset: Any,
    indices: Sequence[Any],
    batchify: Callable[[list[Any]], Any],
    note: Callable[[int], None] | None = None,
) -> Any:
    """Read the samples and make the batch; `note` is told each position before its sample is read."""
    samples = []
    for position, index in enumerate(indices):
        if note is not None:
            note(position)
        try:
            samples.append(dataset[index])
        except Exception as error:
            raise SampleFailure(position) from error
    if note is not None:
        note(_BATCHIFY)
    try:
        return batchify(samples)
    except Exception as error:
        raise SampleFailure(None) from error


def failure_message(indices: Sequence[Any], position: int | None, error: str, where: str) -> tuple[str, Any]:
    """Return the message for an exception in user code, and the sample index it concerns."""
    if position is None:
        problem = f"batchify_fn failed on the batch of samples {_short(indices)} {where}: {error}"
        return explain("DataLoader", problem), None
    index = indices[position]
    return explain(
        "DataLoader", f"Sample {index!r} (position {position} of its batch) could not be read {where}: {error}"
    ), index


def _short(indices: Sequence[Any]) -> str:
    listed = ", ".join(repr(index) for index in list(indices)[:8])
    return f"[{listed}{', ...' if len(indices) > 8 else ''}]"


# ----------------------------------------------------------------------------------------------------- inside a worker
def _worker_main(
    task_connection: Any, foreign: Sequence[Any], position: Any, number: int, dataset: Any, batchify: Any
) -> None:
    """Serve tasks until the socket closes."""
    torch.set_num_threads(1)  # first of all: see "Start method" above
    for other in foreign:  # sockets of the loader that fork copied: closed, so that end-of-file can be seen
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the loader's to handle; it then closes the sockets

    def note(value: int) -> None:
        position.value = value

    # What the loader's caller was doing when the process was forked (recording, another device) is none of a
    # worker's business.
    with cpu(), autograd.pause():
        while _serve(task_connection, dataset, batchify, note):
            note(_IDLE)


def _serve(connection: Any, dataset: Any, batchify: Any, note: Callable[[int], None]) -> bool:
    """Do one task and return whether there may be more."""
    try:
        number, indices, seed = connection.recv()
    except (EOFError, OSError):
        return False
    _seed(seed)
    head: tuple[Any, ...]
    try:
        head, value = ("batch", number), fetch(dataset, indices, batchify, note)
    except SampleFailure as failure:
        head, value = ("error", number, failure.position, *_describe(failure.__cause__)), None
    try:
        transport.send(connection, head, value)
    except (BrokenPipeError, ConnectionResetError):
        return False
    except Exception as error:  # the batch cannot be pickled, or there is no memory for it
        transport.send(connection, ("error", number, None, *_describe(error)), None)
    return True


def _seed(seed: int) -> None:
    """Make the random numbers of a batch depend on the batch alone, not on which worker makes it."""
    random.seed(seed)
    np.random.seed(seed)
    nd_random.seed(seed)


def _describe(error: BaseException | None) -> tuple[str, str, bytes | None]:
    """Return a one-line description, the traceback and, where it survives the journey, the pickled exception."""
    assert error is not None  # noqa: S101  (every SampleFailure is raised from a cause)
    text = "".join(traceback.format_exception(error))
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # noqa: S301  (some exceptions pickle and cannot be unpickled)
    except Exception:
        pickled = None
    if pickled is not None and len(pickled) > _LONGEST_TRACEBACK:
        pickled = None
    return f"{type(error).__name__}: {error}"[:1000], text[-_LONGEST_TRACEBACK:], pickled


class WorkerTraceback(Exception):
    """The traceback of an exception in a worker; shown as the cause of the loader's error."""

    def __str__(self) -> str:
        return f"\n--- traceback in the worker process ---\n{self.args[0]}"


# -------------------------------------------------------------------------------------------------- inside the loader
class _Worker:
    """One process, its socket, and the tasks it has been given."""

    def __init__(self, context: Any, number: int, siblings: Sequence[_Worker], dataset: Any, batchify: Any) -> None:
        self.connection, child_connection = context.Pipe(duplex=True)
        self.position = context.Value("q", _IDLE, lock=False)
        self.tasks: dict[int, Sequence[Any]] = {}
        fork = context.get_start_method() == "fork"
        foreign = [self.connection, *(worker.connection for worker in siblings)] if fork else []
        self.process = context.Process(
            target=_worker_main,
            name=f"DataLoader worker {number}",
            daemon=True,
            args=(child_connection, foreign, self.position, number, dataset, batchify),
        )
        try:
            self.process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self.connection.close()
            raise ArgumentError(
                explain(
                    "DataLoader",
                    f"The data set cannot be sent to a worker process: {error}.",
                    fix="With start method 'spawn' the data set, its transforms and batchify_fn must be picklable: "
                    "use functions of a module in place of lambdas, or num_workers=0, or "
                    "thread_pool=True.",
                )
            ) from error
        finally:
            child_connection.close()


class WorkerPool:
    """Processes that make batches. `submit` gives a task, `collect` waits for the result of one."""

    def __init__(self, count: int, start_method: str, dataset: Any, batchify: Any) -> None:
        context = multiprocessing.get_context(start_method)
        self._owner = os.getpid()
        self._workers: list[_Worker] = []
        self._done: dict[int, tuple[tuple[Any, ...], list[Any]]] = {}
        self._abandoned: set[int] = set()
        self._where: dict[int, _Worker] = {}
        self._next_task = 0
        # atexit-safe and, through the pid, fork-safe: a child that inherits this object must not stop its siblings.
        self._finalizer = weakref.finalize(self, _stop, self._workers, self._owner)
        for number in range(count):
            self._workers.append(_Worker(context, number, self._workers, dataset, batchify))

    @property
    def alive(self) -> bool:
        """Whether tasks can be given."""
        return self._finalizer.alive and self._owner == os.getpid()

    @property
    def processes(self) -> list[Any]:
        """The processes, for those who want to look at them."""
        return [worker.process for worker in self._workers]

    def submit(self, indices: Sequence[Any], seed: int) -> int:
        """Give a batch to the worker with least to do and return the task's number."""
        worker = min(self._workers, key=lambda candidate: len(candidate.tasks))
        number = self._next_task
        self._next_task += 1
        worker.tasks[number] = indices
        self._where[number] = worker
        try:
            worker.connection.send((number, indices, seed))
        except (BrokenPipeError, ConnectionResetError, OSError):
            self._died(worker)
        return number

    def abandon(self, number: int) -> None:
        """Throw the task's result away when it comes."""
        if self._done.pop(number, None) is None and number in self._where:
            self._abandoned.add(number)

    def collect(self, number: int, timeout: float | None) -> Any:
        """Return a task's batch; raise DataLoaderError if it failed, if a worker died, or after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while number not in self._done:
            if not self.alive:
                problem = "The worker processes were stopped before this batch was made."
                raise DataLoaderError(explain("DataLoader", problem, fix="Iterate over the loader anew."))
            patience = _POLL if deadline is None else min(_POLL, deadline - time.monotonic())
            if patience <= 0:
                self._late(number, timeout)
            self._receive(patience)
        head, chunks = self._done.pop(number)
        if head[0] == "batch":
            return transport.unpack(chunks)
        _, _, indices, position, description, text, pickled = head
        message, index = failure_message(indices, position, description, "in a worker process")
        cause: BaseException = WorkerTraceback(text)
        error = DataLoaderError(message + "\n" + str(cause).strip("\n"), index)
        if pickled is not None:
            original = pickle.loads(pickled)  # noqa: S301  (our own worker wrote it)
            original.__cause__ = cause
            cause = original
        raise error from cause

    def _receive(self, patience: float) -> None:
        """Wait for messages and store them."""
        by_socket = {worker.connection: worker for worker in self._workers}
        by_process = {worker.process.sentinel: worker for worker in self._workers}
        ready = mp_connection.wait([*by_socket, *by_process], patience)
        for key in ready:
            if key in by_socket:  # what a worker sent before it died is still read
                self._read(by_socket[key])
        for key in ready:
            if key in by_process and not by_process[key].connection.poll():
                self._died(by_process[key])

    def _read(self, worker: _Worker) -> None:
        try:
            head, chunks = transport.receive(worker.connection)
        except (EOFError, OSError, pickle.UnpicklingError):
            self._died(worker)
        number = head[1]
        indices = worker.tasks.pop(number)
        del self._where[number]
        if number in self._abandoned:
            self._abandoned.discard(number)
        elif head[0] == "error":
            self._done[number] = (("error", number, indices, *head[2:]), chunks)
        else:
            self._done[number] = (head, chunks)

    def _died(self, worker: _Worker) -> NoReturn:
        worker.process.join(5)
        code = worker.process.exitcode
        if code is not None and code < 0:
            try:
                how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
            except ValueError:
                how = f"was killed by signal {-code}"
        else:
            how = f"left with exit code {code}"
        doing, index = self._doing(worker)
        process_id = worker.process.pid
        self.stop()
        raise DataLoaderError(
            explain(
                "DataLoader",
                f"Worker process {process_id} {how} {doing}.",
                fix="SIGKILL mostly means that memory ran out (fewer workers, a smaller prefetch), SIGSEGV a "
                "library that crashed; num_workers=0 runs the data set in this process.",
            ),
            index,
        )

    def _late(self, number: int, timeout: float | None) -> None:
        worker = self._where[number]
        doing, index = self._doing(worker)
        process_id = worker.process.pid
        self.stop()
        raise DataLoaderError(
            explain(
                "DataLoader",
                f"No batch came for {timeout} seconds; worker process {process_id} was {doing}.",
                fix="Raise DataLoader(timeout=...), or look why this sample takes so long.",
            ),
            index,
        )

    @staticmethod
    def _doing(worker: _Worker) -> tuple[str, Any]:
        """Say what a worker is at, and which sample that concerns."""
        if not worker.tasks:
            return "while it waited for work", None
        indices = next(iter(worker.tasks.values()))  # tasks are done in the order given
        position = worker.position.value
        if 0 <= position < len(indices):
            return (
                f"while reading sample {indices[position]!r} (position {position} of batch {_short(indices)})",
                indices[position],
            )
        if position == _BATCHIFY:
            return f"while making the batch of samples {_short(indices)}", None
        return f"before it began with the batch of samples {_short(indices)}", None

    def stop(self) -> None:
        """Stop all processes; a second call does nothing."""
        self._finalizer()


def _stop(workers: list[_Worker], owner: int) -> None:
    if os.getpid() != owner:
        return
    for worker in workers:
        worker.connection.close()  # an idle worker reads end-of-file and leaves
    for worker in workers:
        process = worker.process
        process.join(0.1)
        if process.is_alive():
            process.terminate()
            process.join(2)
        if process.is_alive():
            process.kill()
            process.join()
    workers.clear()
