"""Text as sequences of characters for language models, and a real text that comes with the package.

The one idea: a sample is `length` characters and the same shifted by one, as int32 indices into a sorted vocabulary,
so that every position has a target. Numbers in time are in series.py; word vocabularies belong to other packages.
Licences: _data/README.md.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable

import numpy as np

from ... import ndarray as nd
from ...base.errors import ArgumentError, explain
from .dataset import Dataset

__all__ = ["CharacterSequences", "PrideAndPrejudice"]

_AUSTEN_FILE = os.path.join(os.path.dirname(__file__), "_data", "pride_and_prejudice_part_1.txt.gz")


class CharacterSequences(Dataset):
    """Consecutive pieces of a text as (input, target) samples of characters; the target is the input one character
    later.

    Parameters
    ----------
    text : str
        The text.
    length : int
        Characters in a sample.
    vocabulary : str, optional
        All known characters, in the order of their indices; default: those of the text, sorted. Give the training
        part's to the test part.

    Examples
    --------
    >>> data = CharacterSequences("abcabcab", length=3)
    >>> [array.asnumpy().tolist() for array in data[1]], data.decode([2, 1, 0])
    ([[0, 1, 2], [1, 2, 0]], 'cba')
    """

    def __init__(self, text: str, length: int = 64, vocabulary: str | None = None) -> None:
        if length < 1 or length >= len(text):
            raise ArgumentError(
                explain(
                    "CharacterSequences",
                    "A sample and its target must fit into the text.",
                    expected=f"1 <= length < {len(text)}",
                    received=length,
                )
            )
        self.text = text
        self.vocabulary = "".join(sorted(set(text))) if vocabulary is None else vocabulary
        self._index = {character: index for index, character in enumerate(self.vocabulary)}
        self._length = length
        self._codes = self.encode(text)

    def encode(self, text: Iterable[str]) -> np.ndarray:
        """Return the indices of characters, int32, shape (length,)."""
        try:
            return np.array([self._index[character] for character in text], dtype=np.int32)
        except KeyError as error:
            raise ArgumentError(
                explain(
                    "CharacterSequences",
                    "A character is not in the vocabulary.",
                    expected=f"one of {self.vocabulary!r}",
                    received=repr(error.args[0]),
                )
            ) from None

    def decode(self, indices: Iterable[int]) -> str:
        """Return the text of indices."""
        return "".join(self.vocabulary[int(index)] for index in indices)

    def __getitem__(self, idx: int) -> tuple[nd.NDArray, nd.NDArray]:
        if not -len(self) <= idx < len(self):
            raise IndexError(
                explain("CharacterSequences", "The index is out of range.", expected=f"below {len(self)}", received=idx)
            )
        start = idx % len(self) * self._length
        piece = self._codes[start : start + self._length + 1]
        return nd.array(piece[:-1], dtype="int32"), nd.array(piece[1:], dtype="int32")

    def __len__(self) -> int:
        return (len(self._codes) - 1) // self._length


class PrideAndPrejudice(CharacterSequences):
    """The first 23 chapters of Jane Austen's novel of 1813 (231,267 characters, 76 different ones; public domain).

    Parameters
    ----------
    train : bool
        The first 90 % of the text or the rest.
    length : int
        Characters in a sample.

    Examples
    --------
    >>> data = PrideAndPrejudice(train=True)
    >>> data.text[data.text.index("It is"):].split(",")[0]
    'It is a truth universally acknowledged'
    """

    def __init__(self, train: bool = True, length: int = 64) -> None:
        with gzip.open(_AUSTEN_FILE, "rt", encoding="ascii", newline="\n") as file:
            text = file.read()
        cut = int(0.9 * len(text))
        super().__init__(text[:cut] if train else text[cut:], length, "".join(sorted(set(text))))
