"""Names: automatic ones, prefixes of name scopes, and attributes that a scope gives to the symbols made in it.

The one idea: the current NameManager (a ContextVar) turns a hint such as "fullyconnected" into "fullyconnected0";
`Prefix` puts a block's prefix before every name; `AttrScope` adds textual attributes. `bare_name` undoes what files of
parameters put before names.
"""
from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

__all__ = ["Hint", "NameManager", "Prefix", "AttrScope", "current_names", "current_attrs", "bare_name"]


def bare_name(name: str) -> str:
    """Return the name in the graph of an array in a file: without the `arg:` or `aux:` of exported ones.

    >>> bare_name("arg:weight"), bare_name("aux:mean"), bare_name("bias")
    ('weight', 'mean', 'bias')
    """
    return name[4:] if name.startswith(("arg:", "aux:")) else name


class Hint(str):
    """Given in place of a name, it asks for a name made of it and a counter: the public name that an operator was
    called by.
    """

    __slots__ = ()


class NameManager:
    """Gives names: the given one, or the hint with a counter; a context manager that makes itself the current one.

    >>> with NameManager() as names:
    ...     names.get(None, "dense"), names.get(None, "dense"), names.get("mine", "dense")
    ('dense0', 'dense1', 'mine')
    """

    def __init__(self) -> None:
        self._counter: dict[str, int] = {}
        self._tokens: list[Token[NameManager]] = []

    def get(self, name: str | None, hint: str) -> str:
        """Return `name`, or a new name made of the hint (or of `name` when that is a Hint)."""
        if name and not isinstance(name, Hint):
            return name
        hint = name or hint
        number = self._counter.get(hint, 0)
        self._counter[hint] = number + 1
        return f"{hint}{number}"

    def __enter__(self) -> NameManager:
        self._tokens.append(_names.set(self))
        return self

    def __exit__(self, *exc: object) -> None:
        _names.reset(self._tokens.pop())


class Prefix(NameManager):
    """A NameManager that puts a prefix before every name, given or made."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def get(self, name: str | None, hint: str) -> str:
        """Return the prefixed name."""
        return self._prefix + super().get(name, hint)


class AttrScope:
    """Gives textual attributes (``ctx_group='dev1'``) to every symbol made inside; names are stored as ``__name__``."""

    def __init__(self, **kwargs: str) -> None:
        self._attr = {key if key.startswith("__") else f"__{key}__": value for key, value in kwargs.items()}
        self._tokens: list[Token[AttrScope]] = []

    def get(self, attr: dict[str, Any] | None) -> dict[str, Any]:
        """Return the scope's attributes, overridden by `attr`."""
        return {**self._attr, **(attr or {})}

    def __enter__(self) -> AttrScope:
        inner = AttrScope()
        inner._attr = {**_attrs.get()._attr, **self._attr}
        self._tokens.append(_attrs.set(inner))
        return self

    def __exit__(self, *exc: object) -> None:
        _attrs.reset(self._tokens.pop())


_names: ContextVar[NameManager] = ContextVar("glueball_names", default=NameManager())
_attrs: ContextVar[AttrScope] = ContextVar("glueball_attrs", default=AttrScope())
current_names = _names.get
current_attrs = _attrs.get
