"""`glueball info`: versions, devices and settings, which is what a bug report needs."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .console import print_json, table

__all__ = ["EXAMPLES", "arguments", "run"]

EXAMPLES = "example:\n  glueball info --json"
_PACKAGES = ("torch", "numpy", "llvmlite", "pillow", "safetensors", "onnx", "onnxruntime", "tqdm")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print versions, devices and settings."""
    import glueball

    from .. import compat

    facts: dict[str, Any] = {
        "glueball": glueball.__version__,
        "interface": f"compatible with MXNet {compat.COMPATIBLE_VERSION}",
        "python": f"{platform.python_version()} on {platform.platform()}",
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": ["cpu(0)", *(f"gpu({index})" for index in range(glueball.num_gpus()))],
        "settings": {key: value for key, value in sorted(os.environ.items()) if key.startswith("GLUEBALL_")},
    }
    if options.json:
        print_json(facts)
        return 0
    rows = [[key, str(facts[key])] for key in ("glueball", "interface", "python")]
    rows += [[name, held or "not installed"] for name, held in facts["packages"].items()]
    rows += [["devices", ", ".join(facts["devices"])]]
    rows += [["settings", ", ".join(f"{k}={v}" for k, v in facts["settings"].items()) or "none set (GLUEBALL_*)"]]
    print(table(rows[1:], rows[0], indent=""))
    return 0


def _version(name: str) -> str | None:
    """Return the installed version of a distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
