"""Where golden results are written: one `TOPIC.json` (cases, readable) and one `TOPIC.npz` (all numbers, compressed).

Every array of a topic lies in one flat vector per dtype inside the .npz; the JSON refers to it as
``{"array": [dtype, offset, shape]}``. Equal arrays are stored once. Nothing is pickled.
The reader is `tests/golden/reader.py`. The cases themselves are in the sibling files, one per topic.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from typing import Any

import numpy

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data")
SEED = 20240607


def random_for(name: str) -> numpy.random.RandomState:
    """A generator that depends on the case's name only, so that adding a case changes no other one."""
    return numpy.random.RandomState((zlib.crc32(name.encode()) ^ SEED) & 0xFFFFFFFF)


class Store:
    """Collects the cases of one topic and writes them."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.cases: list[dict[str, Any]] = []
        self._flat: dict[str, list[numpy.ndarray]] = {}
        self._length: dict[str, int] = {}
        self._seen: dict[str, dict[str, Any]] = {}

    def array(self, values: Any) -> dict[str, Any]:
        """Put one array (or anything with ``asnumpy``) into the store; returns its reference."""
        if hasattr(values, "asnumpy"):
            values = values.asnumpy()
        values = numpy.asarray(values)
        shape = list(values.shape)
        flat = numpy.ascontiguousarray(values).reshape(-1)
        kind = str(flat.dtype)
        digest = hashlib.sha1((kind + str(shape)).encode() + flat.tobytes()).hexdigest()
        if digest not in self._seen:
            offset = self._length.get(kind, 0)
            self._flat.setdefault(kind, []).append(flat)
            self._length[kind] = offset + flat.size
            self._seen[digest] = {"array": [kind, offset, shape]}
        return self._seen[digest]

    def tree(self, value: Any) -> Any:
        """`array` over nested lists, tuples and dictionaries; None and plain values stay."""
        if isinstance(value, (list, tuple)):
            return [self.tree(item) for item in value]
        if isinstance(value, dict):
            return {str(key): self.tree(item) for key, item in value.items()}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        return self.array(value)

    def add(self, **case: Any) -> None:
        self.cases.append(case)

    def write(self) -> None:
        import mxnet

        os.makedirs(DATA, exist_ok=True)
        arrays = {kind: numpy.concatenate(parts) for kind, parts in self._flat.items()}
        target = os.path.join(DATA, self.topic + ".npz")
        with open(target + ".part", "wb") as stream:
            numpy.savez_compressed(stream, **arrays)
        os.replace(target + ".part", target)
        header = {"oracle": "mxnet " + mxnet.__version__, "numpy": numpy.__version__, "seed": SEED}
        target = os.path.join(DATA, self.topic + ".json")
        with open(target + ".part", "w", encoding="utf-8") as stream:
            stream.write('{"made_by": ' + json.dumps(header) + ',\n"cases": [\n')
            stream.write(",\n".join(json.dumps(case, separators=(",", ":")) for case in self.cases))
            stream.write("\n]}\n")
        os.replace(target + ".part", target)
        refused = sum("refused" in case for case in self.cases)
        print(f"{self.topic}: {len(self.cases)} cases, {refused} refused by the oracle")
