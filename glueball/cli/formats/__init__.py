"""What a file holds, read from its headers: one file per format, chosen by the first bytes, not by the name.

The one idea: values are never read, only where they lie, so a file of gigabytes answers at once, and neither torch nor
the package of the format is needed. Each reader has `facts(path)` and gives a `Facts`; every length is checked against
the file before it is believed. Readers that give arrays are elsewhere (ndarray/serialize.py, symbol/json.py, onnx/);
tests hold the two to each other.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any, Final

from ...base.errors import FileFormatError, explain

__all__ = ["Array", "Facts", "Layer", "READERS", "damaged", "facts_of", "kind_of"]

Shape = list[Any] | None  # sizes; a size that is open is a name or None; None: not known


@dataclass(frozen=True, slots=True)
class Array:
    """A parameter, an input or an output: its name, its shape, its element type, the bytes of its values."""

    name: str
    shape: Shape
    dtype: str | None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator of a graph: its name, the operator, the names it reads, the shape of its first result if known."""

    name: str
    operator: str
    inputs: list[str]
    shape: Shape = None


@dataclass(slots=True)
class Facts:
    """What a file holds. `numbers` are counts that only one format has; `notes` are sentences."""

    format: str
    version: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    inputs: list[Array] = field(default_factory=list)
    outputs: list[Array] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    parameters: list[Array] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self, path: str) -> dict[str, Any]:
        """Return all of it, with totals, as --json prints it."""
        totals = {"parameters": sum(prod(a.shape) for a in self.parameters if a.shape is not None),
                  "arrays": len(self.parameters), "bytes": sum(a.bytes or 0 for a in self.parameters),
                  "layers": len(self.layers)}
        return {"file": path, "file_bytes": os.path.getsize(path), **asdict(self), "totals": totals}


READERS: Final = {
    "params": "parameters of MXNet or Glueball",
    "symbol": "graph of MXNet or Glueball",
    "safetensors": "safetensors",
    "onnx": "ONNX model",
    "numpy": "NumPy arrays",
    "records": "records (RecordIO)",
    "listing": "list or index of records",
    "pt2": "program of torch.export",
}
"""Kind and what it is called; its reader is the file of that name."""

_IMAGE: Final = ("This is an image.", "glueball predict MODEL IMAGE runs a model on it")
_STRANGERS: Final = {
    b"\x89HDF": ("This is an HDF5 file (Keras, MATLAB).", "export it as ONNX where it was made"),
    b"\x1f\x8b": ("This is a gzip archive.", "gunzip it first"),
    b"\x89PNG": _IMAGE,
    b"\xff\xd8\xff": _IMAGE,
}
_PICKLE: Final = ("save it as safetensors where it was made: "
                  "safetensors.torch.save_file(model.state_dict(), 'model.safetensors')")
_ENDINGS: Final = {".params": "params", ".json": "symbol", ".safetensors": "safetensors", ".onnx": "onnx",
                   ".npz": "numpy", ".npy": "numpy", ".rec": "records", ".idx": "listing", ".lst": "listing",
                   ".pt2": "pt2"}


def damaged(path: str, problem: str, received: object = None, fix: str = "copy it again, or write it anew") -> Any:
    """Return the error of a file that is cut off or lies about its sizes."""
    return FileFormatError(explain(path, problem, received=received, fix=fix))


def kind_of(path: str) -> str:
    """Return which of READERS a file is, by its first bytes; the name only helps to say what is wrong."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head[:8] == (0x112).to_bytes(8, "little"):
        return "params"
    if head[:6] == b"\x93NUMPY":
        return "numpy"
    if head[:2] == b"PK":
        return _archive(path)
    if head[:4] == b"\x0a\x23\xd7\xce":
        return "records"
    for magic, (problem, fix) in _STRANGERS.items():
        if head.startswith(magic):
            raise _not_ours(path, head, problem, fix)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    if re.match(rb"\x80[\x02-\x05]", head):  # also torch.save before 1.6
        raise _not_ours(path, head, "This is a pickle, which runs code when it is read, and is not opened.", _PICKLE)
    if head.lstrip()[:1] == b"{":
        return "symbol"
    if re.fullmatch(rb"[-+.\deE]+(\t[^\t\n]+)+\r?", head.split(b"\n")[0]):
        return "listing"
    ending = os.path.splitext(path)[1]
    if head[:1] in (b"\x08", b"\x12", b"\x3a", b"\x42") and ending not in _ENDINGS.keys() - {".onnx"}:
        return "onnx"  # fields 1, 2, 7 or 8 of a model come first
    if ending in _ENDINGS:
        raise damaged(path, f"This is no {READERS[_ENDINGS[ending]]}, whatever its name says; it may be cut off.",
                      received=f"first bytes {head[:8].hex(' ')}")
    raise _not_ours(path, head, "This is none of the formats that are known.", "glueball inspect --help lists them")


def _archive(path: str) -> str:
    """Tell zip archives apart by what is in them."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise damaged(path, f"This archive cannot be read: {error}.") from None
    if any(name.endswith("/archive_format") for name in names):
        return "pt2"
    if any(name.endswith("/data.pkl") for name in names):
        raise _not_ours(path, b"PK", "This is a pickle of PyTorch, which runs code when it is read, and is not opened.",
                        _PICKLE)
    if names and all(name.endswith(".npy") for name in names):
        return "numpy"
    raise _not_ours(path, b"PK", f"This is a zip archive of {len(names)} other files.", "unpack it first (unzip)")


def _not_ours(path: str, head: bytes, problem: str, fix: str) -> FileFormatError:
    return FileFormatError(explain(path, problem, expected=", ".join(sorted(_ENDINGS)), fix=fix,
                                   received=f"first bytes {head[:8].hex(' ')}"))


def facts_of(path: str) -> Facts:
    """Return what a file holds, without reading its values."""
    kind = kind_of(path)
    try:
        facts: Facts = importlib.import_module(f".{kind}", __name__).facts(path)
    except FileFormatError:
        raise
    except OSError as error:
        if error.filename is not None:  # a file that cannot be opened is not damaged
            raise
        raise damaged(path, f"This {READERS[kind]} is damaged: {error.strerror}.") from None
    except (ValueError, RecursionError, zlib.error, zipfile.BadZipFile, LookupError, TypeError, AttributeError,
            EOFError, NotImplementedError, OverflowError) as error:  # headers that are not what the format says
        raise damaged(path, f"This {READERS[kind]} is damaged: {type(error).__name__}: {error}.") from None
    ending = os.path.splitext(path)[1]
    if _ENDINGS.get(ending, kind) != kind:
        facts.notes.append(f"The name ends in {ending}, which this is not: tools that go by names will misread it.")
    return facts
