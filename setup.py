"""The compiled parts, which are optional: where there is no C compiler, their Python twins do the same work.

Everything else about the package is in pyproject.toml.
"""
from __future__ import annotations

import runpy
import sys
from glob import glob

from setuptools import Extension, setup

FLAGS = ["/O2"] if sys.platform == "win32" else [
    "-O3", "-std=c11", "-fno-math-errno", "-ffp-contract=fast"]

SOURCE = runpy.run_path("glueball/fold/sources.py")["digest"]()

setup(ext_modules=[
    Extension(f"glueball.fold._{name}", [f"glueball/fold/native/{name}.c"], depends=glob("glueball/fold/native/*.[ch]"),
              define_macros=[("GLUEBALL_SOURCE", f'"{SOURCE}"')], extra_compile_args=FLAGS, optional=True)
    for name in ("recorder", "runner", "planner", "placer")
])
