"""The rules of the house as tests: who may import whom, how long a file may be, what a file opens with, what it
exports.

The one idea: a rule that is not tested is a wish. Exceptions are data at the top of this file, each with its reason.
Import layers are contracts of import-linter in pyproject.toml; here they are run, and their upward edges counted.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "glueball"
FILES = sorted(PACKAGE.rglob("*.py"))

FILE_LINES, FUNCTION_LINES = 600, 60
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {
    "fold/units.py:record": "runs once per recorded call: every function call in it would cost a tenth of it",
}

TORCH_ALLOWED = {
    "base": "private torch interfaces live in one file there",
    "ops": "an operator's body is its ATen kernel",
    "dispatch": "the one door looks at torch's modes",
    "ndarray": "arrays are torch storage",
    "operator": "a user's operator goes on torch's tape",
    "profiler": "it listens to torch's profiler",
    "random": "generators of torch",
    "autograd": "gradients ride on torch's tape",
    "executor": "plans call ATen",
    "kvstore": "reduction between devices",
    "optimizer": "fused updates",
    "fold/arena": "the executing half of folding",
    "fold/backward": "the executing half of folding",
    "fold/body": "the executing half of folding",
    "fold/commands": "the executing half of folding",
    "fold/check": "the executing half of folding",
    "fold/direct": "the executing half of folding",
    "fold/execute": "the executing half of folding",
    "fold/explicit_steps": "the executing half of folding",
    "fold/functions": "the executing half of folding",
    "fold/fuse": "the executing half of folding",
    "fold/layout": "the executing half of folding",
    "fold/outside": "the executing half of folding",
    "fold/operators": "the executing half of folding",
    "fold/packs": "the executing half of folding",
    "fold/stream": "the executing half of folding",
    "fold/verify": "it compares a program with a graph in numbers",
    "gluon/data": "worker processes of torch's loader",
    "gluon/torch_link": "parameters that torch modules share",
    "gluon/torch_module": "a network as a torch module",
    "gluon/pt2_file": "a network as a file of torch.export",
    "gluon/contrib/torch": "a torch module as a block",
}


def relative(file: Path) -> str:
    """Return a file's path inside the package with forward slashes."""
    return file.relative_to(PACKAGE).as_posix()


@cache
def parsed(file: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(file.read_text(encoding="utf-8"))


def functions(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the number of lines of each function's body, docstring left out."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            yield f"{relative(file)}:{node.name}", (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_import_layers() -> None:
    """A file imports only from the layers below its own."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_at_most_four_upward_imports() -> None:
    """Upward edges are listed, with a reason on the line, and there are at most four."""
    text = (ROOT / "pyproject.toml").read_text()
    contract = tomllib.loads(text)["tool"]["importlinter"]["contracts"][0]
    edges = contract["ignore_imports"]
    assert len(edges) <= 4, edges
    for edge in edges:
        line = next(line for line in text.splitlines() if f'"{edge}"' in line)
        assert "#" in line, f"the upward edge {edge!r} has no reason beside it"


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_torch_only_where_allowed(file: Path) -> None:
    """Everything but the bottom of the house is written against `nd`, as user code is."""
    where = relative(file)
    if any(where == f"{place}.py" or where.startswith(f"{place}/") for place in TORCH_ALLOWED):
        return
    for node in ast.walk(parsed(file)):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
        assert not any(name.split(".")[0] == "torch" for name in names), f"{where}:{node.lineno} imports torch"


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_size_budgets(file: Path) -> None:
    """A file and a function are short enough to be read in one go."""
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES or relative(file) in LONG_FILES, (
        f"{relative(file)} has {lines} lines, budget {FILE_LINES}"
    )
    too_long = {name: size for name, size in functions(file) if size > FUNCTION_LINES and name not in LONG_FUNCTIONS}
    assert not too_long, f"functions over {FUNCTION_LINES} lines: {too_long}"


def test_listed_exceptions_are_still_exceptions() -> None:
    """An exception that is no longer needed leaves the list."""
    sizes = {relative(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert [name for name in LONG_FILES if sizes.get(name, 0) <= FILE_LINES] == []
    long = {name for file in FILES for name, size in functions(file) if size > FUNCTION_LINES}
    assert [name for name in LONG_FUNCTIONS if name not in long] == []


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_opens_with_a_docstring(file: Path) -> None:
    """A file says in its first lines what lives there."""
    docstring = ast.get_docstring(parsed(file))
    assert docstring, f"{relative(file)} has no docstring"
    length = len(docstring.splitlines())
    long_file = len(file.read_text(encoding="utf-8").splitlines()) > 150
    assert (2 if long_file else 1) <= length <= 30, f"{relative(file)} opens with {length} lines"


def test_files_that_docstrings_point_to_exist() -> None:
    """Opening docstrings say where things are instead, by the end of a path; `script.py` is the user's."""
    paths = [f"/{path.relative_to(ROOT).as_posix()}" for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    missing = [
        f"{relative(file)}: {named}"
        for file in FILES
        for named in re.findall(r"(?<![\w.*])[a-z]\w*(?:/\w+)*\.py\b", ast.get_docstring(parsed(file)) or "")
        if named not in ("script.py", "train.py") and not any(path.endswith(f"/{named}") for path in paths)
    ]
    assert missing == []


@pytest.mark.parametrize("file", [file for file in FILES if file.name != "__main__.py"], ids=relative)
def test_all_is_what_is_public(file: Path) -> None:
    """`__all__` names things that exist, without repetition, and every public function and class defined in the
    file.
    """
    parts = ("glueball", *file.relative_to(PACKAGE).with_suffix("").parts)
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    if not hasattr(module, "__all__"):
        return
    exported = list(module.__all__)
    assert len(exported) == len(set(exported)), "repeated names in __all__"
    assert [name for name in exported if not hasattr(module, name)] == []
    defined = {
        node.name
        for node in parsed(file).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    }
    internal = defined - set(exported)
    documented = {name for name in internal if getattr(module, name).__doc__}
    assert internal == documented, f"neither in __all__ nor documented: {sorted(internal - documented)}"


def test_no_trace_of_a_machine() -> None:
    """No path of one person's machine in the repository."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\0")
    pattern = re.compile(rb"/(?:home|Users|root|work)/[a-z]|/tmp/(?:envs|brief)")
    found = [
        name
        for name in tracked
        if name
        and (ROOT / name).is_file()
        and name != "tests/test_structure.py"
        and pattern.search((ROOT / name).read_bytes())
    ]
    assert found == []
