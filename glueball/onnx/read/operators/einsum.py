"""Einsum as transpositions, sums and one batch product per pair of arrays.

The one idea: operands are taken in from the left. Of a pair every letter belongs to both and the result (batch), both
alone (contracted), or one of them; so a pair is one product of matrices, batch by batch. What an operand alone has and
nobody else wants is summed beforehand, a letter that occurs twice is a diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..held import Held, Refused
from ..node import Step, reads
from .products import matmul


@reads("Einsum")
def _einsum(s: Step) -> Held:
    terms, result = _parsed(s)
    value, letters = _reduced(s, s.x, terms[0], set("".join(terms[1:])) | set(result))
    for index, term in enumerate(terms[1:], 1):
        later = set("".join(terms[index + 1 :])) | set(result)
        other, own = _reduced(s, s.input(index), term, set(letters) | later)
        value, letters = _joined(s, value, letters, other, own, later)
    value, letters = _reduced(s, value, letters, set(result))
    return _ordered(s, value, letters, result)


def _parsed(s: Step) -> tuple[list[str], str]:
    """The letters of each operand and of the result; an ellipsis becomes capital letters of its own."""
    text = "".join(str(s.attrs.get("equation", "")).split())
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(s.ins) or not all(c.isalpha() or c in ",.->" for c in text):
        raise Refused(f"{text!r} does not fit {len(s.ins)} arrays")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in text]
    ranks = [held.rank - len(term.replace("...", "")) for held, term in zip(s.all, terms)]
    if any(extra < 0 or (extra and "..." not in term) for extra, term in zip(ranks, terms)) or max(ranks) > len(spare):
        raise Refused(f"{text!r} does not fit the axes of its arrays")
    widest = max([extra for extra, term in zip(ranks, terms) if "..." in term], default=0)
    dots = spare[:widest]
    terms = [term.replace("...", "".join(dots[widest - extra :])) for term, extra in zip(terms, ranks)]
    if not arrow:
        once = sorted(c for c in set("".join(terms)) if "".join(terms).count(c) == 1 and c not in dots)
        right = "..." + "".join(once) if dots else "".join(once)
    result = right.replace("...", "".join(dots))
    if len(set(result)) != len(result) or not set(result) <= set("".join(terms)):
        raise Refused(f"{text!r} has no such result")
    return terms, result


def _reduced(s: Step, x: Held, letters: str, wanted: set[str]) -> tuple[Held, str]:
    """Take diagonals of letters that occur twice, and sum over those that nobody wants."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            x = s.call("diag", x, axis1=first, axis2=second)
            letters = letters[:first] + letters[first + 1 : second] + letters[second + 1 :] + letter
    gone = tuple(axis for axis, letter in enumerate(letters) if letter not in wanted)
    if gone:
        summed = s.call("sum", x, axis=gone, keepdims=True)
        x = s.reshape(summed, [tuple(n for axis, n in enumerate(shape) if axis not in gone)
                               for shape in summed.shapes])
    return x, "".join(letter for letter in letters if letter in wanted)


def _ordered(s: Step, x: Held, letters: str, wanted: str) -> Held:
    order = tuple(letters.index(letter) for letter in wanted)
    return x if order == tuple(range(len(order))) else s.call("transpose", x, axes=order)


def _joined(s: Step, a: Held, left: str, b: Held, right: str, later: set[str]) -> tuple[Held, str]:
    """The product of two operands, summed over what only they have."""
    shared = [c for c in left if c in right]
    batch, summed = [c for c in shared if c in later], [c for c in shared if c not in later]
    rows, columns = [c for c in left if c not in shared], [c for c in right if c not in shared]
    sizes = [dict(zip(left + right, one + two)) for one, two in zip(a.shapes, b.shapes)]
    for one, two, size in zip(a.shapes, b.shapes, sizes):
        for letter in shared:
            size[letter] = max(one[left.index(letter)], two[right.index(letter)])
    a = _stretched(s, a, left, sizes)
    b = _stretched(s, b, right, sizes)
    a = _packed(s, _ordered(s, a, left, "".join(batch + rows + summed)), sizes, batch, rows, summed)
    b = _packed(s, _ordered(s, b, right, "".join(batch + summed + columns)), sizes, batch, summed, columns)
    found = "".join(batch + rows + columns)
    return s.reshape(matmul(s, a, b), [tuple(size[c] for c in found) for size in sizes]), found


def _stretched(s: Step, x: Held, letters: str, sizes: Sequence[dict[str, int]]) -> Held:
    return s.expand(x, [tuple(size[c] for c in letters) for size in sizes])


def _packed(s: Step, x: Held, sizes: Sequence[dict[str, int]], *groups: Sequence[str]) -> Held:
    """One axis per group of letters."""
    return s.reshape(x, [tuple(math.prod(size[c] for c in group) for group in groups) for size in sizes])
