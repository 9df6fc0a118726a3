"""`.idx` (key, byte offset) and `.lst` (number, labels, path): lists beside record files."""

from __future__ import annotations

from typing import Any

from . import Facts, damaged

__all__ = ["facts"]


def facts(path: str) -> Facts:
    """Count lines, and look at their labels."""
    rows: list[list[str]] = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            cells = line.rstrip("\r\n").split("\t")
            if cells == [""]:
                continue
            if len(cells) < 2:
                raise damaged(path, f"Line {number} has no columns.", repr(line[:60]), "columns are parted by tabs")
            rows.append(cells)
    if all(len(cells) == 2 and cells[1].isdigit() for cells in rows):
        return Facts("idx", "key and byte offset", numbers={"records": len(rows)})
    labels: set[float] = set()
    for number, cells in enumerate(rows, 1):
        try:
            labels.update(float(cell) for cell in cells[1:-1])
        except ValueError:
            raise damaged(path, f"Entry {number} has a label that is no number.", repr("\t".join(cells)[:60]),
                          "index<TAB>label...<TAB>path") from None
    numbers: dict[str, Any] = {"images": len(rows), "labels_per_image": sorted({len(cells) - 2 for cells in rows})}
    if labels:
        numbers["labels"] = {"different": len(labels), "smallest": min(labels), "largest": max(labels)}
    numbers["first"] = rows[0][-1]
    return Facts("lst", "number, labels, path", numbers=numbers)
