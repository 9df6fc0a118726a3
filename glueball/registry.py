"""mx.registry: named factories for a user's own family of classes.

The one idea: three functions made for a base class (`register`, `alias`, `create`) share one registry of
base/registry.py, which also holds optimisers, metrics and initialisers of Glueball.

>>> class Animal: pass
>>> register, create = get_register_func(Animal, "animal"), get_create_func(Animal, "animal")
>>> class Cat(Animal): pass
>>> type(create(register(Cat).__name__)).__name__
'Cat'
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .base.errors import ArgumentError, explain
from .base.registry import Registry

__all__ = ["get_alias_func", "get_create_func", "get_register_func", "get_registry"]

_REGISTRIES: dict[type[Any], Registry[Any]] = {}


def _registry(base_class: type[Any], nickname: str) -> Registry[Any]:
    return _REGISTRIES.setdefault(base_class, Registry(nickname, base_class))


def get_registry(base_class: type[Any]) -> dict[str, type[Any]]:
    """Return a copy of the mapping from names to classes."""
    return dict(_registry(base_class, base_class.__name__).classes)


def get_register_func(base_class: type[Any], nickname: str) -> Callable[..., Any]:
    """Return ``register(cls, name=None)``, also a decorator: `cls` gets its own lower-case name, or `name`."""
    registry = _registry(base_class, nickname)

    def register(klass: type[Any], name: str | None = None) -> type[Any]:
        if not issubclass(klass, base_class):
            raise ArgumentError(explain(f"register {nickname}", f"A subclass of {base_class.__name__} is expected.",
                                        received=klass.__name__))  # fmt: skip
        if name is None:
            return registry.register(klass)
        registry.classes[name.lower()] = klass
        return klass

    register.__doc__ = f"Register a class as a {nickname}."
    return register


def get_alias_func(base_class: type[Any], nickname: str) -> Callable[..., Any]:
    """Return ``alias(*names)``, a decorator that registers a class under further names."""
    register = get_register_func(base_class, nickname)

    def alias(*aliases: str) -> Callable[[type[Any]], type[Any]]:
        def decorate(klass: type[Any]) -> type[Any]:
            for name in aliases:
                register(klass, name)
            return klass

        return decorate

    return alias


def get_create_func(base_class: type[Any], nickname: str) -> Callable[..., Any]:
    """Return ``create(spec, *args, **kwargs)``: an instance from a name, an instance, a dictionary or JSON text."""
    registry = _registry(base_class, nickname)

    def create(*args: Any, **kwargs: Any) -> Any:
        spec = args[0] if args else kwargs.pop(nickname, None)
        if isinstance(spec, str) and spec.startswith("{"):
            spec = json.loads(spec)
        if isinstance(spec, dict):
            options = {**spec, **kwargs}
            return registry.create(options.pop(nickname), *args[1:], **options)
        return registry.create(spec, *args[1:], **kwargs)

    create.__doc__ = f"Return a {nickname} from its name or settings."
    return create
