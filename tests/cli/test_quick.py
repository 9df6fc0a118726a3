"""Importing costs nothing: `import glueball` brings neither torch nor NumPy, and each module can be loaded first.

The one idea: in a process of its own each public module is imported before any other; what only works after another
module was imported would fail there.
"""

from __future__ import annotations

import subprocess
import sys

MODULES = ["nd", "symbol", "gluon", "image", "fold", "executor"]


def python(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)


def test_import_brings_nothing() -> None:
    """The package itself is a table of names."""
    done = python(
        "import sys, glueball; assert glueball.MXNetError; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_each_module_can_be_first() -> None:
    """No module needs another one to have been imported before, and `from glueball import *` brings what it always
    brought; torch is loaded once for all of them.
    """
    done = python(f"""
import os, sys, numpy, torch
for name in [*{MODULES!r}, "*"]:
    child = os.fork()
    if not child:
        if name == "*":
            names = {{}}
            exec("from glueball import *; print(nd.ones((1,)).asscalar(), cpu(0), autograd.is_recording())", names)
        else:
            import glueball
            getattr(glueball, name)
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(name)
""")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "1.0 cpu(0) False\n")
