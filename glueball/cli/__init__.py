"""The command line: `glueball` (also `python -m glueball`), one file per command.

The one idea: COMMANDS is a table of names; the file of a command has `arguments(parser)` and `run(options)`, and is
imported when that command is called, so `glueball --help` costs milliseconds. What a command cannot do is a sentence
on stderr. Exit status: 0 done, 1 not done, 2 called wrongly, 130 interrupted. What commands share is in console.py.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from ..base.errors import MXNetError, explain
from ..base.registry import closest
from .console import Usage, in_words

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = {
    "inspect": "say what a file holds: layers, inputs, parameters, records; any format",
    "summary": "print a model's layers with shapes, parameters and operations",
    "predict": "run a model on an image or on numbers",
    "convert": "turn parameters and models from one format into another",
    "export": "write a model (symbol and parameters, MXNet's too) as ONNX",
    "im2rec": "list images and pack them into record files",
    "run": "run a script that says `import mxnet as mx`, unchanged",
    "info": "print versions, devices and settings: what a bug report needs",
}
"""Command and what it does; its file is `glueball/cli/<command>.py`."""

_EXAMPLE = "example:\n  glueball summary resnet18_v1 --shape 1,3,224,224"


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are sentences with a fix."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message[:1].upper()}{message[1:]}.\n  Fix: {self.prog} --help lists what it takes.",
              file=sys.stderr)
        raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after the program's name; the process's own by default.
    """
    if arguments is None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)  # so that temporary files are removed
        for stream in (sys.stdout, sys.stderr):  # a terminal that cannot write × shows ? instead
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["run"]:  # its errors and its exit status are the script's own
        from . import run

        return run.run(words[1:])
    name = "glueball"
    try:
        if not words or words[0].startswith("-"):
            return _general(words)
        if words[0] not in COMMANDS:
            raise Usage(explain("glueball", "There is no such command.", received=repr(words[0]),
                                fix=f"{closest(words[0], list(COMMANDS))}; `glueball --help` lists them all"))
        name = f"glueball {words[0]}"
        command = importlib.import_module(f".{words[0]}", __name__)
        status = command.run(_options(command, words))
        sys.stdout.flush()
        return status
    except SystemExit as leaving:  # argparse: --help, or a wrong option
        return leaving.code if isinstance(leaving.code, int) else 0
    except BrokenPipeError:  # `glueball inspect file | head`: what reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted; nothing half-written was left.", file=sys.stderr)
        return 130
    except (MXNetError, OSError, ImportError, MemoryError) as error:
        print(in_words(name, error), file=sys.stderr)
        return 2 if isinstance(error, Usage) else 1


def _general(words: list[str]) -> int:
    """Answer `glueball`, `glueball --help` and `glueball --version`."""
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items())
    parser = _Parser(prog="glueball", usage="glueball <command> [options]", description="Gluon 1.x on PyTorch kernels.",
                     epilog=f"commands:\n{table}\n\n`glueball <command> --help` has the options and an example.\n\n"
                            f"{_EXAMPLE}", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="store_true", help="print the version")
    if parser.parse_args(words).version:
        from .. import __version__

        print(f"glueball {__version__}")
        return 0
    parser.print_help(sys.stderr)
    return 2


def _options(command: Any, words: list[str]) -> argparse.Namespace:
    """Read a command's own words."""
    parser = _Parser(prog=f"glueball {words[0]}", description=f"{COMMANDS[words[0]]}.".capitalize(),
                     epilog=command.EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.arguments(parser)
    return parser.parse_args(words[1:])


def _terminated(number: int, frame: object) -> NoReturn:
    """Unwind, as an interrupt does, when the process is asked to end."""
    raise KeyboardInterrupt
