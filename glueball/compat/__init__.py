"""The compatibility door: code that says `import mxnet as mx` runs on Glueball, unchanged, when somebody opens the
door.

The one idea: nothing is copied or wrapped. While the door is open, `mxnet.gluon.nn` *is* the module
`glueball.gluon.nn`, so a class is the same class whatever name it was reached by. Only the top module `mxnet` is an
object of its own: it forwards everything to `glueball` and says `__version__ == "1.9.1"`, the version whose interface
is offered, because programs compare it.

The door is opt-in: `import glueball` never opens it. `python -m glueball run script.py` opens it for one script.
How names are found is in door.py; which names differ, and which are absent and why, is data in names.py.
"""

from __future__ import annotations

from .door import install, installed, uninstall
from .names import COMPATIBLE_VERSION

__all__ = ["COMPATIBLE_VERSION", "install", "installed", "uninstall"]
