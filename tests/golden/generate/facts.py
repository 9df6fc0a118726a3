"""Golden facts: small programs about arrays, indexing, operators, autograd, naming, errors. The programs are data."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import mxnet as mx
from operator_cases import clear_errors
from store import Store

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from programs import execute, result_of, scope  # noqa: E402


def read_programs() -> dict[str, list[str]]:
    """The programs of facts.txt by group."""
    groups: dict[str, list[str]] = {}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "facts.txt"), encoding="utf-8") as stream:
        _, *parts = stream.read().split("\n== ")
    for part in parts:
        name, *programs = [text.strip("\n") for text in part.split("\n\n")]
        groups[name] = [text for text in programs if text]
    return groups


def make() -> None:
    warnings.simplefilter("ignore")
    store = Store("facts")
    for group, programs in read_programs().items():
        for code in programs:
            record: dict[str, Any] = {"id": group + ": " + code.replace("\n", "; "), "code": code}
            try:
                with mx.name.NameManager():
                    record["result"] = store.tree(result_of(execute(code, scope(mx))))
            except Exception as error:
                record["raises"] = type(error).__name__
                record["bases"] = [base.__name__ for base in type(error).__mro__]
                clear_errors()
            store.add(**record)
    store.write()


if __name__ == "__main__":
    make()
