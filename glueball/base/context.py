"""Devices: `cpu()`, `gpu(i)`, `cpu_pinned()` and the current one.

The one idea: a Context is interned, so that comparing devices is `is`. `cpu(0)` and `cpu(1)` share the same memory
but count as two devices everywhere (arrays refuse to mix, Trainer and KVStore reduce between them), so multi-device
code is tested without a GPU. `gpu(i)` is CUDA device i; asking for one that is absent is an error that says so at the
moment an array is made there.
"""
from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, ClassVar, final

import torch

from .errors import ContextError, explain
from .memory import release

__all__ = ["Context", "cpu", "gpu", "cpu_pinned", "cpu_shared", "current_context", "CURRENT_CONTEXT", "num_gpus",
           "gpu_memory_info", "of_tensor", "as_context"]


@final
class Context:
    """A device. Interned: ``Context("cpu", 1) is cpu(1)``; also a context manager that makes it the current one.

    >>> cpu(1)
    cpu(1)
    >>> with cpu(1):
    ...     current_context()
    cpu(1)
    """

    __slots__ = ("device_type", "device_id", "torch_device", "_tokens")
    devtype2str: ClassVar[dict[int, str]] = {1: "cpu", 2: "gpu", 3: "cpu_pinned", 5: "cpu_shared"}
    devstr2type: ClassVar[dict[str, int]] = {"cpu": 1, "gpu": 2, "cpu_pinned": 3, "cpu_shared": 5}
    _interned: ClassVar[dict[tuple[str, int], Context]] = {}

    device_type: str
    device_id: int
    torch_device: torch.device
    _tokens: list[Token[Context]]

    def __new__(cls, device_type: Any = "cpu", device_id: int = 0) -> Context:
        if isinstance(device_type, Context):
            return device_type
        if isinstance(device_type, int):
            device_type = cls.devtype2str.get(device_type, device_type)
        if device_type not in cls.devstr2type:
            raise ContextError(explain("Context", "Unknown device type.", expected=" or ".join(cls.devstr2type),
                                       received=device_type))
        key = (device_type, int(device_id))
        found = cls._interned.get(key)
        if found is None:
            found = object.__new__(cls)
            found.device_type, found.device_id = key
            found.torch_device = torch.device("cuda", key[1]) if device_type == "gpu" else torch.device("cpu")
            found._tokens = []
            cls._interned[key] = found
        return found

    @property
    def device_typeid(self) -> int:
        """The number of the device type in model files (1 cpu, 2 gpu, 3 pinned)."""
        return self.devstr2type[self.device_type]

    def check(self) -> torch.device:
        """Return the torch device, or raise when this machine has no such device."""
        if self.device_type == "gpu" and self.device_id >= num_gpus():
            count = num_gpus()
            raise ContextError(explain(
                f"gpu({self.device_id})", "This GPU is not available.", expected=f"a device number below {count}"
                if count else "a CUDA GPU",
                received=f"{count} CUDA device(s) on this machine, torch {torch.__version__}",
                fix="use mx.cpu(), or choose with `ctx = mx.gpu() if mx.num_gpus() else mx.cpu()`; a CUDA build of "
                    "torch is needed for GPUs"))
        return self.torch_device

    def empty_cache(self) -> None:
        """Give memory that is kept for later use back: on a GPU to the driver, on a CPU to the system."""
        if self.device_type == "gpu":
            torch.cuda.empty_cache()
        else:
            release()

    def __enter__(self) -> Context:
        self._tokens.append(CURRENT_CONTEXT.set(self))
        return self

    def __exit__(self, *exc: object) -> None:
        CURRENT_CONTEXT.reset(self._tokens.pop())

    def __repr__(self) -> str:
        return f"{self.device_type}({self.device_id})"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Context], tuple[str, int]]:
        return Context, (self.device_type, self.device_id)

    def __deepcopy__(self, memo: object) -> Context:
        return self

    def __copy__(self) -> Context:
        return self


CURRENT_CONTEXT: ContextVar[Context] = ContextVar("glueball_context", default=Context("cpu", 0))


def cpu(device_id: int = 0) -> Context:
    """Return a CPU context."""
    return Context("cpu", device_id)


def gpu(device_id: int = 0) -> Context:
    """Return the context of CUDA device `device_id`."""
    return Context("gpu", device_id)


def cpu_pinned(device_id: int = 0) -> Context:
    """Return a context of page-locked CPU memory (plain CPU memory where there is no GPU)."""
    return Context("cpu_pinned", device_id)


def cpu_shared(device_id: int = 0) -> Context:
    """Return a context of CPU memory that worker processes can share."""
    return Context("cpu_shared", device_id)


def current_context() -> Context:
    """Return the context in which arrays are made when none is given: `cpu(0)` unless inside ``with ctx:``."""
    return CURRENT_CONTEXT.get()


def num_gpus() -> int:
    """Return the number of CUDA devices that torch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_memory_info(device_id: int = 0) -> tuple[int, int]:
    """Return (free, total) bytes of a GPU."""
    gpu(device_id).check()
    return torch.cuda.mem_get_info(device_id)


def of_tensor(tensor: torch.Tensor) -> Context:
    """Return the context in which a torch tensor lives."""
    device = tensor.device
    return gpu(device.index or 0) if device.type == "cuda" else cpu(0)


def as_context(ctx: Any) -> Context:
    """Return a Context for whatever a user passes: None (the current one), a Context, "gpu", "cpu(1)" or a torch
    device.
    """
    if ctx is None:
        return CURRENT_CONTEXT.get()
    if isinstance(ctx, Context):
        return ctx
    if isinstance(ctx, torch.device):
        return gpu(ctx.index or 0) if ctx.type == "cuda" else cpu(0)
    if isinstance(ctx, str):
        kind, _, number = ctx.rstrip(")").partition("(")
        return Context(kind, int(number or 0))
    raise ContextError(explain("context", "A device is expected.",
                               expected="mx.cpu(), mx.gpu(0), or a name such as 'gpu(0)'", received=repr(ctx)))
