"""From LLVM text to a callable address: the target, the object code, the memory it lives in.

The one idea: one target machine writes object code, one engine holds it, a dictionary remembers every segment by its
expressions; sizes and strides are run-time arguments, so a segment is compiled once, and kept on disk for other
processes (object_cache.py). A function is called after its text, so equal texts are one function. Those that are wanted
`later` are compiled together, which takes three quarters of the time, by a thread of its own while the plan is made.
llvmlite is optional: `available()` says whether this process can compile, `why_not()` what is missing.

Not here: the text (emit.py), calling (run.py).
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from glob import glob
from typing import Any, Protocol, TypeAlias, final

import torch

from ...base import config
from ...base.errors import UnsupportedError, explain
from .emit import Segment, cost, write_module
from .object_cache import ObjectCache
from .vector_math import FORMATS, Format

__all__ = ["Code", "Compiler", "Kernel", "available", "why_not", "compiler", "parallel", "prepare",
           "on_threads"]  # fmt: skip


class Code(Protocol):
    """What code is made of that is no segment: hashable, with `cost` as of `Kernel`."""

    @property
    def cost(self) -> int:
        """About how many additions one element costs."""
        ...

    def module(self, name: str, kind: Format, vector_bytes: int) -> str:
        """Return a module with one public function of that name."""
        ...


Source: TypeAlias = "Segment | Code"
Function: TypeAlias = Callable[[int], None]
Parallel: TypeAlias = Callable[[int, int, int, int], None]
_PAUSE = 1e-3  # seconds in which whoever waits for the lock gets it
_NAME = "segment"  # of every function, before its text is known
_ELSEWHERE = b"in "  # begins a file that says which other one has the function
_OWN = "define internal "  # functions whose names are their module's own
_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@final
class Kernel:
    """Compiled code of a segment.

    function, address : take the address of the arguments (emit.py says their layout); there when it has been compiled
    cost : about how many additions one element costs
    source, dtype : what it was made of
    """

    __slots__ = ("function", "address", "cost", "source", "dtype")

    function: Function

    def __init__(self, source: Source, dtype: torch.dtype) -> None:
        self.source, self.dtype = source, dtype
        self.cost = cost(source) if isinstance(source, Segment) else source.cost
        self.address = 0


@final
class Compiler:
    """Compiles for one kind of processor.

    Parameters
    ----------
    cpu, features : LLVM's name of the processor and of its features; "" is this machine
    vector_bytes : size of vectors; None: the greatest that the features have
    cache : where object code is kept; None: nowhere

    Raises
    ------
    UnsupportedError : llvmlite is not installed, or does not know this machine
    """

    def __init__(
        self, cpu: str = "", features: str = "", vector_bytes: int | None = None, cache: ObjectCache | None = None
    ) -> None:
        self._lock = threading.Lock()  # held while code is made
        self._waiting: list[Kernel] = []
        self._idle: list[Kernel] = []  # may be wanted some day
        self._worker: threading.Thread | None = None
        self._loaded: set[str] = set()  # keys of modules of several functions that the engine has
        self._addresses: dict[str, int] = {}  # of functions, by the keys of their texts
        self._kernels: dict[tuple[Source, torch.dtype], Kernel] = {}
        try:
            import llvmlite
            import llvmlite.binding as llvm

            if llvm.llvm_version_info[0] < 20:
                raise ImportError(f"llvmlite brings LLVM {llvm.llvm_version_info[0]}, which is too old")
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            if not cpu:
                cpu, features = llvm.get_host_cpu_name(), _host_features(llvm)
            target = llvm.Target.from_triple(llvm.get_process_triple())
            # a machine belongs to one engine, so the writing of object code has its own; a higher level takes a tenth
            # longer for code that is no faster, the lowest keeps no address in a register. Addresses have all their
            # bits (code model "large"): in a process of gigabytes code and its constants may lie far apart
            self._machine, own = (target.create_target_machine(cpu=cpu, features=features, opt=1, reloc="static",
                                                               codemodel="large", jit=True)
                                  for _ in range(2))  # fmt: skip
            self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), own)
        except (ImportError, OSError, RuntimeError) as error:
            raise UnsupportedError(
                explain("native code", f"This process cannot compile: {error}.", expected="llvmlite 0.45 or later",
                        fix="pip install 'llvmlite>=0.45'; without it the same expressions run through torch")
            ) from error  # fmt: skip
        self._llvm: Any = llvm
        if vector_bytes is None:
            flags = set(features.split(","))
            vector_bytes = 64 if "+avx512f" in flags else 32 if "+avx" in flags else 16
        self.vector_bytes, self.cache = vector_bytes, cache
        versions = f"{llvmlite.__version__} {llvm.llvm_version_info} {llvm.get_process_triple()}"
        self._made_for = ("large", versions, cpu, features)

    def text(self, segment: Source, dtype: torch.dtype, name: str = "segment") -> str:
        """Return a segment in LLVM's language."""
        kind = FORMATS[str(dtype)[6:]]
        if isinstance(segment, Segment):
            return write_module(name, segment, kind, self.vector_bytes)
        return segment.module(name, kind, self.vector_bytes)

    def kernel(self, segment: Source, dtype: torch.dtype) -> Kernel:
        """Return the compiled code of a segment: the same object for the same segment.

        Parameters
        ----------
        segment : what the function does; emit.py says how it is called
        dtype : what is computed in, float32 or float64
        """
        found = self._kernels.get((segment, dtype))
        if found is None or not found.address:
            found = self.later(segment, dtype)
            self.wait((found,))
        return found

    def later(self, segment: Source, dtype: torch.dtype) -> Kernel:
        """Return the code of a segment, which need not be compiled yet: see `begin` and `wait`."""
        found = self._kernels.get((segment, dtype))
        if found is None:
            made = Kernel(segment, dtype)
            found = self._kernels.setdefault((segment, dtype), made)
            if found is made:
                self._waiting.append(made)
        return found

    def some_day(self, segment: Source, dtype: torch.dtype) -> None:
        """Have a segment compiled when nothing else is; from `begin` on."""
        if (segment, dtype) not in self._kernels:
            self._idle.append(self._kernels.setdefault((segment, dtype), Kernel(segment, dtype)))

    def begin(self) -> None:
        """Let a thread of its own compile what waits."""
        worker = self._worker
        if (self._waiting or self._idle) and (worker is None or not worker.is_alive()):
            self._worker = threading.Thread(target=self._work, name="glueball compiler")
            self._worker.start()

    def wait(self, kernels: Sequence[Kernel]) -> None:
        """Compile these, and all else that waits, unless they are there.

        Raises
        ------
        RuntimeError : LLVM refused a text
        """
        for kernel in kernels:
            if not kernel.address:
                with self._lock:
                    if not kernel.address:
                        self._compile(kernel)

    def rest(self) -> None:
        """Wait until no thread compiles."""
        worker = self._worker
        if worker is not None and worker is not threading.current_thread():
            worker.join()

    def _work(self) -> None:
        while self._waiting or self._idle:
            with self._lock:
                try:
                    self._compile(None if self._waiting else self._idle.pop(0))
                except RuntimeError:  # whoever waits for it is told
                    return
            time.sleep(_PAUSE)

    def _compile(self, wanted: Kernel | None = None) -> None:
        """Compile what waits, and what is wanted."""
        kernels: list[Kernel] = []
        while self._waiting:
            kernels.append(self._waiting.pop(0))
        if wanted is not None and wanted not in kernels and not wanted.address:
            kernels.append(wanted)
        texts = [self.text(kernel.source, kernel.dtype, _NAME) for kernel in kernels]
        keys = [ObjectCache.key(text, *self._made_for) for text in texts]
        missing = {key: text for key, text in zip(keys, texts) if key not in self._addresses and not self._found(key)}
        together = {key: text for key, text in missing.items() if _OWN not in text}
        for chosen in (together, *({key: text} for key, text in missing.items() if key not in together)):
            if chosen:
                self._make(chosen)
        for kernel, key in zip(kernels, keys):
            kernel.function = _FUNCTION(self._addresses[key])
            kernel.address = self._addresses[key]

    def _found(self, key: str) -> bool:
        """Return whether a function was on disk, and load it: its own file, or the name of one with others."""
        code = self.cache.read(key) if self.cache is not None else None
        if code is None:
            return False
        if code.startswith(_ELSEWHERE):
            name = code[len(_ELSEWHERE) :].decode()
            if name not in self._loaded:
                code = None if self.cache is None else self.cache.read(name)
                if code is None:
                    return False
                self._load(code)
                self._loaded.add(name)
        else:
            self._load(code)
        self._addresses[key] = self._engine.get_function_address(f"{_NAME}_{key}")
        return True

    def _make(self, texts: Mapping[str, str]) -> None:
        """Compile functions as one module, and keep it. texts : by their keys"""
        lines: list[str] = []
        declared: dict[str, None] = {}
        for key, text in texts.items():
            for line in text.replace(f"@{_NAME}(", f"@{_NAME}_{key}(", 1).split("\n"):
                if line.startswith("declare "):
                    declared.setdefault(line)
                else:
                    lines.append(line)
        code = self._machine.emit_object(self._llvm.parse_assembly("\n".join([*lines, *declared, ""])))
        if self.cache is not None:
            name = next(iter(texts)) if len(texts) == 1 else ObjectCache.key(*texts)
            self.cache.write(name, code)
            if len(texts) > 1:
                self._loaded.add(name)
                for key in texts:
                    self.cache.write(key, _ELSEWHERE + name.encode())
        self._load(code)
        for key in texts:
            self._addresses[key] = self._engine.get_function_address(f"{_NAME}_{key}")

    def _load(self, code: bytes) -> None:
        self._engine.add_object_file(self._llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()


def _host_features(llvm: Any) -> str:
    try:
        return llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot tell on every system; the processor's name implies most of them
        return ""


# -- this process ----------------------------------------------------------------------------------------------------

_compiler: Compiler | None = None
_problem: str | None = None
_preparing: threading.Thread | None = None
_lock = threading.Lock()


def compiler() -> Compiler:
    """Return this process's compiler.

    Raises
    ------
    UnsupportedError : there is none; the message says why
    """
    global _compiler, _problem
    if _compiler is None:
        with _lock:
            if _problem is not None:
                raise UnsupportedError(_problem)
            if _compiler is None:
                try:
                    folder = config.cache("native")
                    cache = ObjectCache(folder) if folder else None
                    _compiler = Compiler(config.get("GLUEBALL_PROCESSOR"), cache=cache)
                except UnsupportedError as error:
                    _problem = str(error)
                    raise
    return _compiler


def prepare() -> None:
    """Let a thread of its own find this process's compiler: loading LLVM takes as long as compiling a small network."""
    global _preparing
    if _preparing is None and config.get("GLUEBALL_JIT"):
        _preparing = threading.Thread(target=why_not, name="glueball compiler")
        _preparing.start()


def _rest() -> None:
    """A process that is copied has no thread that compiles or loads LLVM, and nothing locked by one."""
    if _preparing is not None and _preparing is not threading.current_thread():
        _preparing.join()
    if _compiler is not None:
        _compiler.rest()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_rest)


def available() -> bool:
    """Return whether segments are compiled here; otherwise they run through torch."""
    return _compiler is not None or why_not() is None


def why_not() -> str | None:
    """Return why segments are not compiled here; None when they are."""
    try:
        compiler()
    except UnsupportedError as error:
        return str(error)
    return None


@cache
def parallel() -> Parallel | None:
    """Return `GOMP_parallel` of the OpenMP library that torch uses: it calls a function on the threads of torch's own
    pool (address of the function, its argument, number of threads, 0). None: there is none.
    """
    if "OpenMP" not in torch.__config__.parallel_info() or not hasattr(os, "RTLD_NOLOAD"):
        return None
    folder = os.path.join(os.path.dirname(torch.__file__), "lib")
    names: list[str | None] = [*sorted(glob(os.path.join(folder, "lib*omp*.so*"))), None]
    for name in names:  # torch's own first; None is whatever the process has loaded
        try:
            library = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW) if name else ctypes.CDLL(None)
            function = library.GOMP_parallel
        except (OSError, AttributeError):
            continue
        function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        function.restype = None
        return function
    return None


def on_threads(kernel: Kernel, arguments: array[int], threads: int) -> None:
    """Call compiled code, whose first argument counts blocks, on so many threads of torch's pool."""
    team = parallel() if threads > 1 else None
    if team is None:
        kernel.function(arguments.buffer_info()[0])
    else:
        team(kernel.address, arguments.buffer_info()[0], threads, 0)
