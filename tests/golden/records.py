"""Payloads that try the container of records: magic numbers at every place, image records with labels of all kinds.

Used on either side: `generate/records.py` has MXNet write them, tests/io/test_recordio.py reads and writes the same.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy

MAGIC = struct.pack("<I", 0xCED7230A)
HEADS = [
    (0, 3.0, 7, 0),
    (0, [1.0, 2.0, 3.5], 8, 1),
    (5, numpy.array([4.0], "float32"), 9, 0),
    (0, -1, 2**40, 2**50),
    (2, [9.0, 11.0], 0, 0),
]


def payloads(recordio: Any) -> list[bytes]:
    """Return the contents of records; `recordio` packs those of images."""
    random = numpy.random.RandomState(0)
    found = [b"", b"a", b"abc", b"abcd", MAGIC, MAGIC * 2, b"x" + MAGIC, b"abcd" + MAGIC, b"abcd" + MAGIC + b"ef"]
    found += [MAGIC + b"abcd" + MAGIC + b"z", b"ab" + MAGIC + b"cd", MAGIC * 5, b"1234" * 3 + MAGIC + b"q" * 7 + MAGIC]
    for _ in range(40):
        pieces = [
            MAGIC if random.rand() < 0.4 else random.bytes(random.randint(0, 9)) for _ in range(random.randint(1, 8))
        ]
        found.append(b"".join(pieces))
    return found + [recordio.pack(recordio.IRHeader(*head), b"image" + MAGIC) for head in HEADS]
