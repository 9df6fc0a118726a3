"""Named factories: `register` a class under its lower-case name and aliases, `create` it from a name, JSON text, or
an instance.

Used for initialisers, optimisers, metrics and schedulers. An unknown name is answered with the closest known ones.
"""
from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .errors import ArgumentError, explain

__all__ = ["Registry", "closest"]

T = TypeVar("T")


def closest(name: str, known: list[str]) -> str:
    """Return a "did you mean" sentence, or the list of what is known when nothing is near."""
    near = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"known are {', '.join(sorted(known))}"


class Registry(Generic[T]):
    """A mapping from lower-case names to classes of one kind."""

    def __init__(self, kind: str, base: type[T]) -> None:
        self.kind = kind
        self.base = base
        self.classes: dict[str, type[T]] = {}

    def register(self, cls: type[T], *aliases: str) -> type[T]:
        """Register `cls` under its own name and `aliases`; returns `cls`, so it serves as a decorator."""
        for name in (cls.__name__, *aliases):
            self.classes[name.lower()] = cls
        return cls

    def alias(self, *aliases: str) -> Callable[[type[T]], type[T]]:
        """Return a decorator that registers a class under further names."""
        return lambda cls: self.register(cls, *aliases)

    def create(self, spec: Any, *args: Any, **kwargs: Any) -> T:
        """Return an instance for an instance, a class, a name, or the JSON text ``["name", {kwargs}]``."""
        if isinstance(spec, self.base):
            return spec
        if isinstance(spec, type) and issubclass(spec, self.base):
            return spec(*args, **kwargs)
        if isinstance(spec, str):
            if spec.startswith("["):
                name, options = json.loads(spec)
                return self.create(name, *args, **{**options, **kwargs})
            found = self.classes.get(spec.lower())
            if found is not None:
                return found(*args, **kwargs)
            raise ArgumentError(explain(self.kind, "There is none of this name.", received=repr(spec),
                                        fix=closest(spec.lower(), list(self.classes))))
        raise ArgumentError(explain(self.kind, f"A name or a {self.base.__name__} is expected.", received=repr(spec)))
