"""Golden records: `files/records.rec` and `.idx`, written by the oracle."""

from __future__ import annotations

import os
import sys

from mxnet import recordio

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, HERE)

from records import payloads


def make() -> None:
    base = os.path.join(HERE, "files", "records")
    writer = recordio.MXIndexedRecordIO(base + ".idx", base + ".rec", "w")
    for number, payload in enumerate(payloads(recordio)):
        writer.write_idx(number * 3, payload)
    writer.close()
    print("records: written")


if __name__ == "__main__":
    make()
