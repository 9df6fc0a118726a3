"""Parameters of a block in files: saving by structural name, and loading whatever style of name a file has.

The one idea: a file is read and checked completely before any parameter changes. Byte formats are in
ndarray/serialize.py.
"""
from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..base import dtype as dtypes
from ..base.errors import FileFormatError, MXNetError, explain
from ..base.files import write_atomically
from ..base.naming import bare_name
from ..ndarray import serialize
from .parameter_dict import reduced

if TYPE_CHECKING:
    from .block import Block

__all__ = ["save_parameters", "load_parameters", "save_model", "load_model"]


def save_parameters(block: Block, filename: str, deduplicate: bool = False) -> None:
    """Write all parameters by structural name; with `deduplicate` a shared parameter is written once."""
    named = block._collect_params_with_prefix()
    if deduplicate:
        first = {parameter: name for name, parameter in reversed(list(named.items()))}
        named = {name: parameter for name, parameter in named.items() if first[parameter] == name}
    serialize.save(filename, {name: reduced(parameter) for name, parameter in named.items()})


def load_parameters(block: Block, filename: str, ctx: Any = None, allow_missing: bool = False,
                    ignore_extra: bool = False, cast_dtype: bool = False, dtype_source: str = "current") -> None:
    """Read parameters by structural name, or by full name when the file has those."""
    loaded = serialize.load(filename) or {}  # the file of a network without parameters holds an empty list
    if isinstance(loaded, list):
        raise FileFormatError(explain(filename, "The file holds a list of arrays without names.",
                                      expected="named parameters"))
    named = block._collect_params_with_prefix()
    if not loaded and not named:
        return
    structural = any("." in name for name in loaded) or all(name in named for name in loaded)
    if not structural:
        bare, prefix = _with_prefix(block, loaded)
        block.collect_params().load_dict(bare, ctx, allow_missing, ignore_extra, prefix, filename, cast_dtype,
                                         dtype_source)
        return
    loaded = {bare_name(k): v for k, v in loaded.items()}
    aliases: dict[Any, list[str]] = {}
    for name, parameter in named.items():
        aliases.setdefault(parameter, []).append(name)
    missing = [name for name, parameter in named.items() if not any(alias in loaded for alias in aliases[parameter])]
    if missing and not allow_missing:
        raise MXNetError(explain("load_parameters",
                                 f"{len(missing)} parameter(s) are missing in file {filename!r}: "
                                 f"{', '.join(missing[:5])}.", received=f"names such as {', '.join(list(loaded)[:5])}",
                                 fix="build the network as it was when it was saved, or pass allow_missing=True"))
    extra = [name for name in loaded if name not in named]
    if extra and not ignore_extra:
        raise MXNetError(explain("load_parameters",
                                 f"{len(extra)} name(s) in file {filename!r} belong to no parameter of the network: "
                                 f"{', '.join(extra[:5])}.", expected=f"names such as {', '.join(list(named)[:5])}",
                                 fix="build the network as it was when it was saved, or pass ignore_extra=True"))
    wanted = [(named[name], value) for name, value in loaded.items() if name in named]
    _check_all(wanted, cast_dtype)
    for parameter, value in wanted:
        parameter._load_init(value, ctx, cast_dtype, dtype_source)


def _with_prefix(block: Block, loaded: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return arrays of old files by name, and what is to be put before the names: nothing for full names, the block's
    prefix where it was stripped, or where it was another: `resnetv10_conv0_weight` in a block called `resnetv13_`.
    """
    bare = {bare_name(k): v for k, v in loaded.items()}
    wanted = set(block.collect_params())
    if any(name in wanted for name in bare):
        return bare, ""
    for start in (other_prefix(bare), ""):
        if start is not None and all(block.prefix + name[len(start):] in wanted for name in bare):
            return {name[len(start):]: value for name, value in bare.items()}, block.prefix
    return bare, block.prefix


def other_prefix(names: Iterable[str]) -> str | None:
    """Return the prefix of a network (`resnetv10_`) that all names have, if they have one."""
    found = {name.partition("_")[0] for name in names if "_" in name}
    return f"{found.pop()}_" if len(found) == 1 else None


def _check_all(wanted: list[tuple[Any, Any]], cast_dtype: bool) -> None:
    """Raise for the first array that does not fit, before anything is changed."""
    for parameter, value in wanted:
        known = parameter.shape
        if known is not None and (
            len(known) != len(value.shape) or any(a not in (0, -1, None) and a != b for a, b in zip(known, value.shape))
        ):
            raise MXNetError(explain(f"Parameter '{parameter.name}'", "The file's array has another shape.",
                                     expected=known, received=value.shape,
                                     fix="build the network with the sizes that were saved"))
        if not cast_dtype and dtypes.name_of(parameter.dtype) != value.dtype_name:
            raise MXNetError(explain(f"Parameter '{parameter.name}'", "The file's array has another dtype.",
                                     expected=dtypes.name_of(parameter.dtype), received=value.dtype_name,
                                     fix="pass cast_dtype=True, or cast the network first"))


def _structure(block: Block) -> dict[str, Any]:
    return {"class": type(block).__name__, "name": block.name,
            "params": {k: p.name for k, p in block._reg_params.items()},
            "children": {k: _structure(c) for k, c in block._children.items()}}


def save_model(block: Block, prefix: str) -> None:
    """Write the names of a block's structure and its parameters."""
    write_atomically(f"{prefix}-model.json", json.dumps(_structure(block), indent=1).encode())
    save_parameters(block, f"{prefix}-model.params")


def load_model(block: Block, prefix: str) -> None:
    """Read what save_model wrote, after checking that the structure is the same."""
    with open(f"{prefix}-model.json", encoding="utf-8") as file:
        saved = json.load(file)

    def classes(node: dict[str, Any]) -> Any:
        return node["class"], [(k, classes(c)) for k, c in node["children"].items()]
    if classes(saved) != classes(_structure(block)):
        raise MXNetError(explain("load", f"The structure in {prefix}-model.json is not this network's.",
                                 fix="build the network as it was saved"))
    load_parameters(block, f"{prefix}-model.params")
