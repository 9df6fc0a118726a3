"""Signatures: which calls run together, and the calls that lead there.

The one idea: a `Signature` is everything that calls of one batch share: the computation, the shared arrays (compared
by identity), modes and the pools of its arguments. A `Call` is the exact form of a call (kinds of all arguments); it
is found with one dictionary look-up and leads to its signature and the kinds of its results. Several calls lead to one
signature where only the number of rows or children differs.

Not here: how calls of operators and blocks are described (operator_calls.py, units.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from .kinds import Kind, Pool
from .steps import Program

__all__ = ["Argument", "Output", "Signature", "Call", "NOT_RAGGED"]

NOT_RAGGED = "lists of children are not one argument of any length: "  # begins a remark


@final
@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of all calls of a signature. rows: rows per sample, 0 where it differs (ragged). children: a list
    of values, one per child.
    """

    pool: Pool
    rows: int
    children: bool = False


@final
@dataclass(frozen=True, slots=True)
class Output:
    """One result. rows: per sample, 0 where they are as many as the ragged argument's."""

    pool: Pool
    rows: int


@final
@dataclass(eq=False, slots=True)
class Signature:
    """What calls that run together share. Compared by identity.

    shared : Parameters or arrays, in the order of program.shared
    origin : the user's line of the first such call
    remarks : operators that run sample by sample, with the reason
    """

    name: str
    program: Program
    arguments: tuple[Argument, ...]
    outputs: tuple[Output, ...]
    shared: tuple[Any, ...]
    training: bool
    recording: bool
    ragged: bool
    origin: str
    remarks: list[str] = field(default_factory=list)
    compiled: dict[Any, Any] = field(default_factory=dict)  # bodies, made by execute.py
    numbers: tuple[int, ...] = field(init=False)  # per argument, its number among those of its sort (lists or not)
    counts: tuple[int, int] = field(init=False)  # of single arguments, and of lists
    reference: Any = None  # for mode="check": (unit, structure of its arguments), see check.py

    def __post_init__(self) -> None:
        counts = [0, 0]
        numbers: list[int] = []
        for argument in self.arguments:
            numbers.append(counts[argument.children])
            counts[argument.children] += 1
        self.numbers = tuple(numbers)
        self.counts = counts[False], counts[True]


@final
@dataclass(eq=False, slots=True)
class Call:
    """An exact form of a call.

    kinds : of the results. rows : rows per sample where the signature is ragged. structure : how results are returned
    (None: one bare value); together : the function that does it, where it is no flat list or tuple. sizes : numbers of
    children known to belong here (None: no lists). others : calls for other
    numbers. vectors : arguments from outside of one axis are taken element by element. held : objects whose identity
    is part of the key, kept alive so that it stays theirs.
    """

    signature: Any  # a Signature; None in a call that leads to `others` only
    kinds: Sequence[Kind]
    rows: int
    structure: Any
    held: Any = None
    sizes: set[int] | None = None
    vectors: bool = False
    together: Any = None
    others: dict[int, Call] = field(default_factory=dict)
