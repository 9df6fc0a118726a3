"""Compatible module name: NameManager and Prefix are in base/naming.py."""
from .base.naming import NameManager, Prefix
from .base.naming import current_names as current

__all__ = ["NameManager", "Prefix", "current"]
