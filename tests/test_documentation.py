"""What the documentation shows is true: every docstring example and every ```python block of the pages is executed.

The one idea: an example is a test. Blocks of one page run in order and share their names, in an empty directory. A
block marked ```py is shown and not run (a fragment, or something that needs another machine). Example programs are run
by test_examples.py.
"""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import numpy
import pytest

import glueball

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in (ROOT / "glueball").rglob("*.py")
    if file.name != "__main__.py" and ">>>" in file.read_text(encoding="utf-8")
)
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if "```python" in page.read_text(encoding="utf-8")
)
USUAL = {"mx": glueball, "nd": glueball.nd, "sym": glueball.sym, "np": numpy}  # what every reader has imported
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str, in_tmp_path: Path) -> None:
    """Examples in docstrings print what they say."""
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs=USUAL, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0, (
        f"{result.failed} of {result.attempted} examples in {name} differ (see the captured output)"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages(page: Path, in_tmp_path: Path) -> None:
    """Code blocks of a page run in order."""
    text = page.read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "__page__"}
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        indent = found.group(1)
        source = "\n" * line + "\n".join(row.removeprefix(indent) for row in found.group(2).splitlines())
        exec(compile(source, str(page), "exec"), names)
