"""Every error class of Glueball, as one tree.

The one idea: an error is prose. A message names the operator or layer, says what was expected, what was received, and
how to fix it; `explain` builds such a message from its parts so that all of them read alike. Classes also derive from
the built-in exception that a Python programmer would catch (`ValueError`, `TypeError`, `IndexError`).

    MXNetError(RuntimeError)            kept under its compatible name; also exported as GlueballError
    ├── ShapeError (ValueError)         sizes that do not fit
    ├── DTypeError (TypeError)          element types that do not fit
    ├── ArgumentError (ValueError)      an operator attribute out of its range or unknown
    ├── ContextError (ValueError)       a device that is absent, or two devices in one operation
    ├── AutogradError                   backward without record, twice, in-place writes on recorded arrays
    ├── TraceError                      a value was read while hybridize() traced
    ├── UninitializedError              a parameter was used before initialize()
    │   └── DeferredInitializationError … whose shape is not known yet
    ├── FileFormatError (ValueError)    a file that is truncated, corrupted or lies about its sizes
    └── UnsupportedError                something Glueball does not do, with the reason
"""
from __future__ import annotations

import os
import sys
from types import FrameType

__all__ = [
    "MXNetError", "GlueballError", "ShapeError", "DTypeError", "ArgumentError", "ContextError", "AutogradError",
    "TraceError", "UninitializedError", "DeferredInitializationError", "FileFormatError", "UnsupportedError", "explain",
    "short_place", "user_frame",
    "user_stacklevel",
]


class MXNetError(RuntimeError):
    """Base class of all errors that Glueball raises on its own account."""


GlueballError = MXNetError


class ShapeError(MXNetError, ValueError):
    """Sizes do not fit together."""


class DTypeError(MXNetError, TypeError):
    """Element types do not fit together."""


class ArgumentError(MXNetError, ValueError):
    """An argument is unknown, missing or out of its range."""


class ContextError(MXNetError, ValueError):
    """A device is absent, or arrays of two devices meet in one operation."""


class AutogradError(MXNetError):
    """The tape does not hold what a backward pass needs."""


class TraceError(MXNetError, TypeError):
    """A value was needed while only the structure of a network was being traced."""


class UninitializedError(MXNetError):
    """A parameter was used before it was initialised."""


class DeferredInitializationError(UninitializedError):
    """A parameter was used before its shape could be inferred."""


class FileFormatError(MXNetError, ValueError):
    """A file is truncated, corrupted, or not of the expected format."""


class UnsupportedError(MXNetError):
    """Something that Glueball does not do; the message says why and what to use instead."""


def explain(where: str, problem: str, *, expected: object = None, received: object = None,
            fix: str | None = None) -> str:
    """Build an error message from its parts.

    >>> print(explain("dot", "The inner sizes differ.", expected=3, received=4, fix="Transpose one of them."))
    dot: The inner sizes differ.
      Expected: 3
      Received: 4
      Fix: Transpose one of them.
    """
    lines = [f"{where}: {problem}"]
    if expected is not None:
        lines.append(f"  Expected: {expected}")
    if received is not None:
        lines.append(f"  Received: {received}")
    if fix is not None:
        lines.append(f"  Fix: {fix}")
    return "\n".join(lines)


_PACKAGE = __name__.split(".")[0]
_GENERATED = ("<glueball ", "<frozen ", "<string>")


def user_frame(depth: int = 1) -> str:
    """Return `file:line` of the innermost caller that is not part of this package (the user's own line)."""
    frame = sys._getframe(depth)  # the documented way to look at a caller without building a whole traceback
    while True:
        if not _is_inside(frame):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "<unknown>:0"


def short_place(place: str) -> str:
    """Return `file:line` with the file relative to the working directory where it lies inside."""
    path, _, line = place.rpartition(":")
    here = os.getcwd() + os.sep
    return f"{path.removeprefix(here)}:{line}" if path else place


def user_stacklevel() -> int:
    """Return the `stacklevel` with which `warnings.warn`, called right here, names the user's own line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_inside(frame):
        frame, level = frame.f_back, level + 1
    return level


def _is_inside(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    ours = name == _PACKAGE or name.startswith(_PACKAGE + ".")
    return ours or frame.f_code.co_filename.startswith(_GENERATED)
