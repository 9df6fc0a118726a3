"""`.rec`: how many records, their sizes, and the heads and images of the first thousand.

The container itself is read by recordio.py. With an index beside it the count is the index's, and nothing is walked.
"""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from contextlib import closing
from itertools import islice
from typing import Any

from ...recordio import RecordFile
from . import Facts, damaged

__all__ = ["facts"]

_LOOKED_AT = 1000
_KINDS = [(b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"RIFF", "WebP"), (b"BM", "BMP"), (b"\x93NUMPY", "NumPy")]


def facts(path: str) -> Facts:
    """Count records; look at the first ones."""
    index = re.sub(r"\.rec$", "", path) + ".idx"
    indexed, notes = os.path.exists(index), []
    with closing(RecordFile(path)) as records:
        offsets = list(islice(records.offsets(), _LOOKED_AT))
        labels, kinds, widths, lengths = _look([records.record(offset)[0] or b"" for offset in offsets])
        if indexed:
            with open(index, "rb") as lines:
                total = sum(1 for line in lines if line.strip())
            if total < len(offsets) or (len(offsets) < _LOOKED_AT and total != len(offsets)):
                raise damaged(index, "The index does not fit the records.", f"{total} keys, {len(offsets)} records",
                              "make it again: glueball.recordio.rebuild_index(rec, idx)")
        else:
            total = sum(1 for _ in records.offsets())
            notes.append("There is no index (.idx) beside it: glueball.recordio.rebuild_index(rec, idx) makes one.")
    if total > len(offsets):
        notes.append(f"Labels, kinds and sizes are those of the first {len(offsets):,} records.")
    numbers: dict[str, Any] = {"records": total, "index": index if indexed else None,
                               "content": dict(kinds.most_common()), "labels_per_record": widths}
    if labels:
        numbers["labels"] = {"different": len(labels), "smallest": min(labels), "largest": max(labels)}
    if lengths:
        numbers["bytes_per_record"] = {"smallest": min(lengths), "mean": round(sum(lengths) / len(lengths)),
                                       "largest": max(lengths)}
    return Facts("rec", "RecordIO", numbers=numbers, notes=notes)


def _look(payloads: list[bytes]) -> tuple[Counter[float], Counter[str], list[int], list[int]]:
    """Return the first labels, the kinds of content, how many labels records have, and the records' lengths."""
    labels: Counter[float] = Counter()
    kinds: Counter[str] = Counter()
    widths: set[int] = set()
    for payload in payloads:
        if len(payload) < 24:
            kinds["without an image's head"] += 1
            continue
        flag, label = struct.unpack_from("<If", payload)
        many = flag if flag * 4 + 24 <= len(payload) else 0
        content = payload[24 + 4 * many:]
        kinds[next((kind for magic, kind in _KINDS if content.startswith(magic)), "other")] += 1
        widths.add(many or 1)
        labels[struct.unpack_from("<f", payload, 24)[0] if many else label] += 1
    return labels, kinds, sorted(widths), [len(payload) for payload in payloads]
