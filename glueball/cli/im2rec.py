"""`glueball im2rec PREFIX ROOT`: list the images of a directory, then pack a list into PREFIX.rec and PREFIX.idx.

The one idea: threads read, decode, resize and encode; one thread writes, in the order of the list, with a bounded
number of images in flight. Files appear under their names when they are whole. The container is recordio.py's, images
are image/codec.py's; the options are those of MXNet's tool of the same name.
"""

from __future__ import annotations

import argparse
import glob
import os
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from ..base.errors import MXNetError
from ..base.files import write_atomically
from .console import amount, count, existing, fresh, print_json, progress, refuse

__all__ = ["EXAMPLES", "arguments", "run"]

EXAMPLES = """\
With --list: writes PREFIX.lst, or PREFIX_train.lst, PREFIX_val.lst and PREFIX_test.lst where ratios are given.
Without: packs PREFIX.lst and every PREFIX_*.lst into .rec and .idx, for ImageRecordDataset and ImageRecordIter.

example:
  glueball im2rec --list --recursive --train-ratio 0.9 data/flowers photos/
  glueball im2rec --resize 256 --num-thread 4 data/flowers photos/"""


class Entry(NamedTuple):
    """One line of a list: a number, labels, a path below the root."""

    number: int
    labels: list[float]
    path: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("prefix", help="path before .lst, .rec and .idx")
    add("root", help="directory of the images")
    add("--list", action="store_true", help="make lists, do not pack")
    add("--recursive", action="store_true", help="list subdirectories too; each is a class")
    add("--exts", nargs="+", default=[".jpeg", ".jpg", ".png"], help="endings to list (default: .jpeg .jpg .png)")
    add("--chunks", type=int, default=1, help="number of parts that a list is cut into (default: 1)")
    add("--train-ratio", type=float, default=1.0, help="share of images to train with (default: 1)")
    add("--test-ratio", type=float, default=0.0, help="share of images to test with (default: 0)")
    add("--shuffle", action=argparse.BooleanOptionalAction, default=True, help="shuffle the list (default)")
    add("--seed", type=int, default=0, help="seed of the shuffle (default: 0)")
    add("--resize", type=int, default=0, metavar="N", help="resize the shorter side to N (default: as it is)")
    add("--center-crop", action="store_true", help="cut the middle out, so that images are square")
    add("--quality", type=int, default=95, help="of JPEG: 1 to 100; of PNG: 0 to 9 (default: 95)")
    add("--encoding", choices=[".jpg", ".png"], default=".jpg", help="how images are stored (default: .jpg)")
    add("--color", type=int, choices=[-1, 0, 1], default=1, help="1 colour (default), 0 grey, -1 as it is")
    add("--pass-through", action="store_true", help="store the files as they are, without decoding them")
    add("--pack-label", action="store_true", help="store all labels of a line, not only the first")
    add("--num-thread", type=int, default=1, metavar="N", help="number of threads (default: 1)")
    add("--force", action="store_true", help="overwrite lists and records")
    add("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Make lists, or pack them."""
    if not os.path.isdir(options.root):
        raise refuse("ROOT is not a directory.", expected="a directory of images", received=options.root)
    for name, low, high in (("chunks", 1, 10**6), ("num_thread", 1, 1024), ("resize", 0, 10**5),
                            ("train_ratio", 0, 1), ("test_ratio", 0, 1),
                            ("quality", *((1, 100) if options.encoding == ".jpg" else (0, 100)))):
        if not low <= getattr(options, name) <= high:
            raise refuse(f"--{name.replace('_', '-')} lies between {low} and {high}.", received=getattr(options, name),
                         usage=True)
    if options.train_ratio + options.test_ratio > 1 + 1e-9:
        raise refuse("The ratios are more than 1 together.", usage=True,
                     received=f"--train-ratio {options.train_ratio} --test-ratio {options.test_ratio}")
    return _make_lists(options) if options.list else _pack_all(options)


# --------------------------------------------------------------------------------------------------------------- lists
def _make_lists(options: argparse.Namespace) -> int:
    """Write the lists of all images below the root."""
    classes: dict[str, int] = {}
    images = list(_images(options, classes))
    if not images:
        raise refuse("There are no images.", received=options.root,
                     expected=f"files ending in {' '.join(options.exts)}",
                     fix="--recursive looks into subdirectories, --exts names other endings")
    if options.shuffle:
        random.Random(options.seed).shuffle(images)
    lists = {name: part for name, part in _parts(options, images).items() if part}
    for name in lists:
        fresh(name, options.force)
    for name, part in lists.items():
        lines = "".join(f"{one.number}\t{one.labels[0]:f}\t{one.path}\n" for one in part)
        write_atomically(name, lines.encode("utf-8"))
    if options.json:
        print_json({"written": [{"file": name, "images": len(part)} for name, part in lists.items()],
                    "classes": classes, "images": len(images)})
        return 0
    for folder, label in classes.items():
        print(f"{folder} {label}")
    for name, part in lists.items():
        print(f"wrote {name}: {count(len(part), 'image')}")
    return 0


def _images(options: argparse.Namespace, classes: dict[str, int]) -> Iterator[Entry]:
    """Yield images by directory; recursively the directories, in order, are the classes."""
    endings = tuple(one.lower() if one.startswith(".") else f".{one.lower()}" for one in options.exts)
    number = 0
    for folder, folders, files in os.walk(options.root, followlinks=True):
        folders.sort()
        place = os.path.relpath(folder, options.root)
        for name in sorted(files):
            path = os.path.normpath(os.path.join(place, name))
            if not name.lower().endswith(endings):
                continue
            if "\t" in path or "\n" in path:
                raise refuse("A path with a tab or a new line cannot stand in a list.", received=repr(path),
                             fix="rename the file")
            label = classes.setdefault(place, len(classes)) if options.recursive else 0
            yield Entry(number, [float(label)], path.replace(os.sep, "/"))
            number += 1
        if not options.recursive:
            return


def _parts(options: argparse.Namespace, images: list[Entry]) -> dict[str, list[Entry]]:
    """Cut images into chunks, and each chunk into what is tested with, trained with, and the rest: validation."""
    found: dict[str, list[Entry]] = {}
    size = -(-len(images) // options.chunks)
    for chunk in range(options.chunks):
        part = images[chunk * size:(chunk + 1) * size]
        stem = f"{options.prefix}_{chunk}" if options.chunks > 1 else options.prefix
        test, train = round(len(part) * options.test_ratio), round(len(part) * options.train_ratio)
        if options.train_ratio == 1:
            found[f"{stem}.lst"] = part
            continue
        rest = len(part) if options.train_ratio + options.test_ratio > 1 - 1e-9 else test + train
        found[f"{stem}_test.lst"], found[f"{stem}_train.lst"] = part[:test], part[test:rest]
        found[f"{stem}_val.lst"] = part[rest:]
    return found


# ------------------------------------------------------------------------------------------------------------- packing
def _pack_all(options: argparse.Namespace) -> int:
    """Pack every list of the prefix."""
    stem = glob.escape(options.prefix)
    lists = sorted({*glob.glob(f"{stem}.lst"), *glob.glob(f"{stem}_*.lst")})
    if not lists:
        raise refuse("There is no list to pack.", expected=f"{options.prefix}.lst", received=options.prefix,
                     fix=f"glueball im2rec --list --recursive {options.prefix} {options.root}")
    for name in lists:
        for ending in (".rec", ".idx"):
            fresh(name[:-4] + ending, options.force)
    facts = [_pack(name, options) for name in lists]
    skipped = [one for fact in facts for one in fact["skipped"]]
    if options.json:
        print_json({"written": facts, "images": sum(fact["images"] for fact in facts), "skipped": skipped})
    else:
        for fact in facts:
            print(f"wrote {fact['file']} and .idx: {count(fact['images'], 'image')}, {amount(fact['bytes'])}"
                  + (f"; {count(len(fact['skipped']), 'image')} skipped" if fact["skipped"] else ""))
    if skipped and not options.json:
        print(f"glueball im2rec: {count(len(skipped), 'image')} could not be packed; the reasons are above.",
              file=sys.stderr)
    return 0


def _entries(path: str) -> list[Entry]:
    """Read a list."""
    found: list[Entry] = []
    number, line = 0, ""
    with open(existing(path, "list"), encoding="utf-8") as lines:
        try:
            for line in lines:
                number += 1
                cells = line.rstrip("\r\n").split("\t")
                if cells == [""]:
                    continue
                if len(cells) < 3:
                    raise ValueError
                found.append(Entry(int(float(cells[0])), [float(cell) for cell in cells[1:-1]], cells[-1]))
        except UnicodeDecodeError:
            raise refuse("The list is not UTF-8 text.", received=path, fix="make the list again") from None
        except ValueError:
            raise refuse(f"Line {number} of the list cannot be read.", received=repr(line[:80]),
                         expected="index<TAB>label...<TAB>path") from None
    numbers = {one.number for one in found}
    if len(numbers) < len(found):
        raise refuse("Two lines of the list have the same number.", received=path, fix="make the list again")
    return found


def _pack(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Write one list's records; return what was written and what was left out."""
    from ..recordio import MXIndexedRecordIO

    entries, record, index = _entries(name), f"{name[:-4]}.rec", f"{name[:-4]}.idx"
    skipped: list[dict[str, str]] = []
    out = MXIndexedRecordIO(index, record, "w")
    with out:
        with progress(len(entries), os.path.basename(record)) as done:
            for entry, payload in _payloads(entries, options):
                if isinstance(payload, bytes):
                    out.write_idx(entry.number, payload)
                    done("")
                    continue
                skipped.append({"path": entry.path, "reason": payload.reason})
                done(f"skipped {entry.path}: {payload.reason}")
        if not out.keys:
            raise refuse("Not one image could be packed.", received=name, expected=f"images below {options.root}",
                         fix="is ROOT the directory that the list was made from?")
        if os.path.exists(index):  # an index of other records must not outlive them, whatever happens next
            os.remove(index)
    return {"file": record, "images": len(entries) - len(skipped), "bytes": os.path.getsize(record),
            "skipped": skipped}


class _Skipped(NamedTuple):
    """Why an image was left out."""

    reason: str


def _payloads(entries: Sequence[Entry], options: argparse.Namespace) -> Iterable[tuple[Entry, bytes | _Skipped]]:
    """Yield each entry with its record, in order; threads work a few images ahead."""
    if options.num_thread == 1:
        yield from ((entry, _payload(entry, options)) for entry in entries)
        return
    pool = ThreadPoolExecutor(options.num_thread)
    ahead: deque[tuple[Entry, Future[bytes | _Skipped]]] = deque()
    try:
        for entry in entries:
            ahead.append((entry, pool.submit(_payload, entry, options)))
            if len(ahead) > 4 * options.num_thread:
                first, future = ahead.popleft()
                yield first, future.result()
        while ahead:
            first, future = ahead.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _payload(entry: Entry, options: argparse.Namespace) -> bytes | _Skipped:
    """Return the record of one image, or why there is none."""
    from ..recordio import IRHeader, pack

    label: Any = entry.labels if options.pack_label and len(entry.labels) > 1 else entry.labels[0]
    header = IRHeader(0, label, entry.number, 0)
    try:
        with open(os.path.join(options.root, entry.path), "rb") as file:
            data = file.read()
        if options.pass_through:
            return pack(header, data) if data else _Skipped("the file is empty")
        return pack(header, _encoded(data, options))
    except OSError as error:
        return _Skipped(error.strerror or str(error))
    except MXNetError as error:  # no image, or a damaged one
        return _Skipped(str(error).splitlines()[0].partition(": ")[2])


def _encoded(data: bytes, options: argparse.Namespace) -> bytes:
    """Decode, crop, resize and encode one image."""
    from ..base.resample import resize
    from ..image.codec import decode, encode

    pixels = decode(data, {-1: "as stored", 0: "grey", 1: "colour"}[options.color], "the file")
    high, wide = pixels.shape[:2]
    if options.center_crop:
        side = min(high, wide)
        top, left = (high - side) // 2, (wide - side) // 2
        pixels = pixels[top:top + side, left:left + side]
        high = wide = side
    if options.resize:
        short = min(high, wide)
        pixels = resize(pixels, wide * options.resize // short, high * options.resize // short)
    return encode(pixels, options.encoding, options.quality)
