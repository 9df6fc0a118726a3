"""What commands share: failures in words, files that are there and files that may be written, plain tables, progress.

The one idea: a command gives facts (dictionaries, as --json prints them) and a table is only a way to show them; there
is no colour and no bar where the output is piped.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..base.errors import FileFormatError, MXNetError, explain

__all__ = ["Failure", "Usage", "amount", "count", "existing", "fresh", "in_words", "print_json", "progress", "refuse",
           "replacing", "shape_of", "sizes", "table"]


class Failure(MXNetError):
    """The command was understood and could not be done (exit status 1)."""


class Usage(Failure):
    """The command was called wrongly (exit status 2)."""


def in_words(name: str, error: BaseException) -> str:
    """Return what is printed for an error: the command, and prose."""
    if isinstance(error, OSError) and error.errno is not None and "\n" not in str(error):
        text = explain("", f"{error.strerror or type(error).__name__}.", received=error.filename,
                       fix=_OS_FIXES.get(type(error))).removeprefix(": ")
    elif isinstance(error, MemoryError):
        text = "There is not enough memory for this."
    else:
        text = str(error)
    if isinstance(error, OSError) and text.startswith("[Errno"):
        text = text.partition("] ")[2]
    return text if text.startswith((f"{name}:", "glueball:")) else f"{name}: {text}"


_OS_FIXES: dict[type, str] = {PermissionError: "ask for the right to it (ls -l says whose it is), or go elsewhere"}


def refuse(problem: str, *, received: object = None, expected: object = None, fix: str | None = None,
           usage: bool = False) -> Failure:
    """Return a failure in the words of `explain`; the command's name is put before it when it is printed."""
    text = explain("", problem, expected=expected, received=received, fix=fix).removeprefix(": ")
    return (Usage if usage else Failure)(text)


# ------------------------------------------------------------------------------------------------------------- files
def existing(path: str, what: str = "file") -> str:
    """Return `path` if a file that is not empty can be read there; say what is there instead otherwise."""
    wanted = f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
    if os.path.isdir(path):
        raise refuse("This is a directory.", expected=wanted, received=path, fix="name a file in it")
    if not os.path.exists(path):
        folder, name = os.path.split(path)
        there = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
        near = difflib.get_close_matches(name, there, 3, 0.8)
        fix = f"did you mean {' or '.join(os.path.join(folder, one) for one in near)}?" if near else (
            "check the path" if os.path.isdir(folder or ".") else f"there is no directory {folder} either")
        raise refuse("There is no such file.", expected=wanted, received=path, fix=fix)
    with open(path, "rb") as file:
        if not file.read(1):
            raise FileFormatError(explain("", "The file is empty.", expected=wanted, received=path,
                                          fix="copy or download it again").removeprefix(": "))
    return path


def fresh(path: str, force: bool, source: Iterable[str] = ()) -> str:
    """Return `path` if it may be written: not a directory, not a source, and not there unless `force`."""
    if any(os.path.exists(path) and os.path.exists(one) and os.path.samefile(one, path) for one in source):
        raise refuse("The file to read and the file to write are the same.", received=path, fix="choose another name")
    if os.path.isdir(path):
        raise refuse("The output is a directory.", received=path, fix="name a file in it")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise refuse("There is no such directory to write to.", received=folder, fix=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise refuse("Nothing may be written into this directory.", received=folder, fix="choose another place")
    if os.path.exists(path) and not force:
        raise refuse("The output exists already.", received=path, fix="--force overwrites it, or choose another name")
    return path


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Give the name of a draft in a directory of its own; at the end it gets the name `path`, on failure it goes."""
    folder, name = os.path.split(os.path.abspath(path))
    place = tempfile.mkdtemp(dir=folder, prefix=f".{name}.")
    try:
        draft = os.path.join(place, name)
        yield draft
        os.replace(draft, path)
    finally:
        shutil.rmtree(place, ignore_errors=True)


# -------------------------------------------------------------------------------------------------------------- words
def sizes(text: str, option: str = "--shape") -> tuple[int, ...]:
    """Read `1,3,224,224` (or `1x3x224x224`) as sizes."""
    try:
        found = tuple(int(part) for part in text.replace("x", ",").strip("()[] ").split(",") if part.strip())
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise refuse(f"{option} takes whole numbers above 0 with commas.", expected=f"{option} 1,3,224,224",
                     received=text, usage=True)
    return found


def shape_of(shape: Sequence[Any] | None) -> str:
    """Write a shape; a size that is open is its name or `?`.

    >>> shape_of([1, "batch", None]), shape_of([]), shape_of(None)
    ('1 × batch × ?', 'scalar', '?')
    """
    if shape is None:
        return "?"
    return " × ".join("?" if size is None else str(size) for size in shape) or "scalar"


def amount(number: float, unit: str = "B") -> str:
    """Write a quantity with three digits.

    >>> amount(96), amount(46_800_000), amount(1.82e9, "FLOP")
    ('96 B', '46.8 MB', '1.82 GFLOP')
    """
    for power, letter in ((4, "T"), (3, "G"), (2, "M"), (1, "k")):
        if number >= 0.9995 * 1000**power:
            return f"{number / 1000**power:.3g} {letter}{unit}"
    return f"{number:.0f} {unit}".rstrip()


def count(number: int, noun: str) -> str:
    """Write a number of things.

    >>> count(1, "layer"), count(1200, "layer")
    ('1 layer', '1,200 layers')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def table(rows: Sequence[Sequence[str]], heads: Sequence[str], right: Sequence[str] = (), indent: str = "  ") -> str:
    """Set rows under heads in columns as wide as needed; the heads named in `right` are set flush right.

    >>> print(table([["a", "10"], ["b", "7"]], ["name", "size"], right=["size"], indent=""))
    name  size
    a       10
    b        7
    """
    widths = [max(len(line[i]) for line in [heads, *rows]) for i in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        parts = (cell.rjust(width) if head in right else cell.ljust(width)
                 for cell, width, head in zip(cells, widths, heads))
        return (indent + "  ".join(parts)).rstrip()

    return "\n".join(line(cells) for cells in [heads, *rows])


def print_json(facts: Any) -> None:
    """Print facts as JSON; what JSON cannot say (nan, inf) becomes null."""
    print(json.dumps(_finite(facts), indent=2, allow_nan=False, ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ----------------------------------------------------------------------------------------------------------- progress
@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[str], None]]:
    """Give a function to call once per image that is done, with what there is to say about it (nothing: "").

    On a terminal there is a bar, or without tqdm a line per thousand; a pipe gets only what there is to say.
    """
    bar: Any = None
    shown = sys.stderr.isatty()
    if shown:
        try:
            from tqdm import tqdm

            bar = tqdm(total=total, desc=what, unit="image", leave=False)
        except ImportError:  # an extra: pip install 'glueball[progress]'
            bar = None
    number = 0

    def done(text: str) -> None:
        nonlocal number
        number += 1
        if bar is not None:
            bar.update(1)
        elif shown and number % 1000 == 0:
            print(f"{what}: {number:,} of {count(total, 'image')}", file=sys.stderr)
        if text and bar is not None:
            bar.write(text, file=sys.stderr)
        elif text:
            print(text, file=sys.stderr, flush=True)

    try:
        yield done
    finally:
        if bar is not None:
            bar.close()
