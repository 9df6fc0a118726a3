"""Compatible module name: AttrScope is in base/naming.py."""
from .base.naming import AttrScope
from .base.naming import current_attrs as current

__all__ = ["AttrScope", "current"]
