"""The command line: `python -m glueball` (also installed as `glueball`).

    run script.py [args]     run a script written for `import mxnet as mx`, unchanged, on Glueball
    run -m package [args]    the same for a module
    export model-symbol.json model-0000.params --shape 1,3,224,224
                             write model.onnx, for onnxruntime in any language
    info                     versions, devices and settings: what a bug report needs

The door that `run` opens is the package compat. This file only reads arguments and prints.
"""

from __future__ import annotations

import argparse
import os
import platform
import runpy
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from . import compat

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after the program's name; the process's own by default.
    """
    parser = argparse.ArgumentParser(prog="glueball", description="Gluon 1.x on PyTorch kernels.")
    commands = parser.add_subparsers(dest="command", metavar="command")
    run = commands.add_parser("run", help="run a script that says `import mxnet as mx`, unchanged", add_help=False)
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="script.py [args] | -m module [args]")
    export = commands.add_parser("export", help="write a model (symbol and parameters, MXNet's too) as ONNX")
    export.add_argument("symbol", help="the -symbol.json file")
    export.add_argument("params", help="the .params file")
    export.add_argument("--shape", action="append", required=True, metavar="N,C,H,W",
                        help="shape of an input; once per input, in the model's order")
    export.add_argument("--fixed", action="store_true", help="keep the batch size of --shape; otherwise it is open")
    export.add_argument("-o", "--output", help="the file to write; beside the symbol by default")
    commands.add_parser("info", help="print versions, devices and settings")
    chosen = parser.parse_args(arguments)
    if chosen.command == "run":
        return _run(chosen.words)
    if chosen.command == "export":
        return _export(chosen)
    if chosen.command == "info":
        return _info()
    parser.print_help()
    return 2


def _run(words: list[str]) -> int:
    """Run a script or a module as `__main__` with the compatibility door open."""
    as_module = words[:1] == ["-m"]
    if as_module:
        words = words[1:]
    if not words or words[0] in ("-h", "--help"):
        print("usage: glueball run script.py [args] | glueball run -m module [args]")
        return 0 if words else 2
    target = words[0]
    if not as_module and not os.path.exists(target):
        print(
            f"glueball run: there is no file {target!r} here ({os.getcwd()}).\n"
            "Fix: give the path of a Python script, or -m and the name of a module.",
            file=sys.stderr,
        )
        return 2
    compat.install()
    sys.argv = words  # runpy.run_module puts the module's own path into argv[0]
    if as_module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(target)))
        runpy.run_path(target, run_name="__main__")
    return 0


def _export(chosen: argparse.Namespace) -> int:
    """Write a symbol and its parameters as ONNX; 1 and the reason where that fails."""
    from .base.errors import MXNetError
    from .onnx import export_model

    output = chosen.output or f"{chosen.symbol.removesuffix('.json').removesuffix('-symbol')}.onnx"
    shapes: list[tuple[int, ...]] = []
    for text in chosen.shape:
        try:
            shapes.append(tuple(int(size) for size in text.split(",")))
        except ValueError:
            print(f"glueball export: --shape takes whole numbers with commas, such as 1,3,224,224. Received: {text}",
                  file=sys.stderr)
            return 2
    try:
        path = export_model(chosen.symbol, chosen.params, shapes, onnx_file_path=output, dynamic=not chosen.fixed)
    except (MXNetError, OSError, ValueError) as error:
        print(f"glueball export: {error}", file=sys.stderr)
        return 1
    print(f"wrote {path}: {os.path.getsize(path) / 1e6:.1f} MB")
    return 0


def _info() -> int:
    """Print what a bug report needs."""
    import glueball

    rows = {
        "glueball": glueball.__version__,
        "interface": f"compatible with MXNet {compat.COMPATIBLE_VERSION}",
        "python": f"{platform.python_version()} on {platform.platform()}",
        **{name: _version(name) for name in ("torch", "numpy", "pillow", "safetensors", "tqdm")},
        "devices": ", ".join(["cpu(0)", *(f"gpu({index})" for index in range(glueball.context.num_gpus()))]),
        "settings": ", ".join(
            f"{key}={value}" for key, value in sorted(os.environ.items()) if key.startswith("GLUEBALL_")
        )
        or "none set (GLUEBALL_*)",
    }
    for name, value in rows.items():
        print(f"{name:12} {value}")
    return 0


def _version(name: str) -> str:
    """Return the installed version of a distribution, or say that it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
