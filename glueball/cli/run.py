"""`glueball run`: a script written for `import mxnet as mx`, run unchanged on Glueball.

The door that this opens is the package compat. Errors and the exit status are the script's own, as under `python`.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys

__all__ = ["run"]

_HELP = """\
usage: glueball run script.py [args]
       glueball run -m module [args]

Run a script, or a module, that says `import mxnet as mx`, unchanged.

example:
  glueball run train.py --epochs 10"""


def run(words: list[str]) -> int:
    """Run a script or a module as `__main__` with the compatibility door open."""
    as_module = words[:1] == ["-m"]
    rest = words[1:] if as_module else words
    if not rest or (not as_module and rest[0] in ("-h", "--help")):
        print(_HELP, file=sys.stdout if rest else sys.stderr)
        return 0 if rest else 2
    target = rest[0]
    if not as_module and (problem := _problem(target)):
        return _refused(problem, target, "give the path of a Python script, or -m and the name of a module")
    from .. import compat

    compat.install()
    sys.argv = rest  # runpy.run_module puts the module's own path into argv[0]
    if as_module:
        sys.path.insert(0, os.getcwd())
        if not _found(target):
            return _refused("There is no such module.", target, "check the name; it is looked for here and in sys.path")
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(target)))
        runpy.run_path(target, run_name="__main__")
    return 0


def _problem(target: str) -> str:
    """Say why a path cannot be run; nothing: it can."""
    if not os.path.exists(target):
        return f"There is no such file here ({os.getcwd()})."
    if os.path.isdir(target) and not os.path.exists(os.path.join(target, "__main__.py")):
        return "This is a directory without a __main__.py."
    return "" if os.access(target, os.R_OK) else "This file may not be read."


def _found(module: str) -> bool:
    """Whether a module of this name can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # its package is not there; or it is no name at all
        return False


def _refused(problem: str, received: str, fix: str) -> int:
    print(f"glueball run: {problem}\n  Received: {received}\n  Fix: {fix}", file=sys.stderr)
    return 2
