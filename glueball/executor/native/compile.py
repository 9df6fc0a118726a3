"""From LLVM text to a callable address: the target, the object code, the memory it lives in.

The one idea: one target machine writes object code, one engine holds it, a dictionary remembers every segment by its
expressions; sizes and strides are run-time arguments, so a segment is compiled once, and kept on disk for other
processes (object_cache.py). A function is called after its text, so equal texts are one function. llvmlite is optional:
`available()` says whether this process can compile, `why_not()` what is missing.

Not here: the text (emit.py), calling (run.py).
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from functools import cache
from glob import glob
from typing import Any, TypeAlias, final

import torch

from ...base import config
from ...base.errors import UnsupportedError, explain
from .channels import Channels
from .copies import Copies
from .emit import Segment, cost, write_module
from .object_cache import ObjectCache
from .panels import FewRows, Panels
from .vector_math import FORMATS
from .winograd import Winograd
from .winograd_gradient import WinogradGradient
from .winograd_weights import Weights

__all__ = ["Compiler", "Kernel", "available", "why_not", "compiler", "parallel"]

Source: TypeAlias = (  # what code is made of
    "Segment | Channels | Copies | Panels | FewRows | Winograd | WinogradGradient | Weights"
)
Function: TypeAlias = Callable[[int], None]
Parallel: TypeAlias = Callable[[int, int, int, int], None]
_NAME = "segment"  # of every function, before its text is known
_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@final
class Kernel:
    """Compiled code of a segment.

    function, address : take the address of the arguments (emit.py says their layout)
    cost : about how many additions one element costs
    seconds : what writing and compiling took
    """

    __slots__ = ("function", "address", "cost", "seconds")

    def __init__(self, address: int, weight: int, seconds: float) -> None:
        self.function: Function = _FUNCTION(address)
        self.address, self.cost, self.seconds = address, weight, seconds


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
        self._lock = threading.Lock()
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
        if found is None:
            with self._lock:
                found = self._kernels.get((segment, dtype))
                if found is None:
                    found = self._kernels[segment, dtype] = self._compile(segment, dtype)
        return found

    def function(self, name: str, text: str) -> int:
        """Compile a module in LLVM's language; return the address of one of its functions, whose name is its own."""
        with self._lock:
            return self._function(name, text, ObjectCache.key(text, *self._made_for))

    def _function(self, name: str, text: str, key: str) -> int:
        code = self.cache.read(key) if self.cache is not None else None
        if code is None:
            code = self._machine.emit_object(self._llvm.parse_assembly(text))
            if self.cache is not None:
                self.cache.write(key, code)
        self._engine.add_object_file(self._llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        return self._engine.get_function_address(name)

    def _compile(self, segment: Source, dtype: torch.dtype) -> Kernel:
        began = time.perf_counter()
        text = self.text(segment, dtype, _NAME)
        key = ObjectCache.key(text, *self._made_for)
        address = self._addresses.get(key)
        if address is None:
            name = f"{_NAME}_{key}"
            text = text.replace(f"@{_NAME}(", f"@{name}(", 1)
            address = self._addresses[key] = self._function(name, text, key)
        weight = cost(segment) if isinstance(segment, Segment) else segment.cost
        return Kernel(address, weight, time.perf_counter() - began)


def _host_features(llvm: Any) -> str:
    try:
        return llvm.get_host_cpu_features().flatten()
    except RuntimeError:  # LLVM cannot tell on every system; the processor's name implies most of them
        return ""


# -- this process ----------------------------------------------------------------------------------------------------

_compiler: Compiler | None = None
_problem: str | None = None
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
