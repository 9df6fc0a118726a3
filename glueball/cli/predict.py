"""`glueball predict MODEL INPUT`: run a model once on an image, on arrays, or on numbers, and say what comes out.

Images are brought to the shape that the model wants: the shorter side resized, the middle cut out, pixels scaled and
normalised. Opening a model is models.py's; decoding is image/codec.py's.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .console import count, existing, fresh, print_json, refuse, replacing, shape_of, sizes
from .formats import Array
from .models import Model, open_model

__all__ = ["EXAMPLES", "arguments", "run"]

EXAMPLES = """\
Images: the shorter side is resized to SIZE / CROP, the middle of SIZE x SIZE is cut out, pixels are divided by
SCALE (255), then (x - MEAN) / STD. Colour uses 0.485,0.456,0.406 and 0.229,0.224,0.225 unless told otherwise,
as the networks of the model zoo do; grey uses 0 and 1. Old networks that want 0 to 255: --scale 1 --mean 0 --std 1.

example:
  glueball predict model.onnx cat.jpg --labels names.txt
  echo '[[5.1, 3.5, 1.4, 0.2]]' | glueball predict iris-symbol.json - --json"""

_COLOUR = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_SHOWN = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="an .onnx, or a -symbol.json with its parameters beside it")
    parser.add_argument("input", help="an image, .npy, .npz (arrays by input's name), .csv or .json; - reads numbers")
    parser.add_argument("--params", metavar="FILE", help="the parameters of a -symbol.json; otherwise those beside it")
    parser.add_argument("--size", metavar="H,W", help="size of the image (default: what the model says, or 224,224)")
    parser.add_argument("--crop", type=float, default=1.0, help="share of the shorter side that is kept (default: 1)")
    parser.add_argument("--scale", type=float, default=255.0, help="what pixels are divided by (default: 255)")
    parser.add_argument("--mean", metavar="M,M,M", help="what is taken away from each channel, after --scale")
    parser.add_argument("--std", metavar="S,S,S", help="what each channel is divided by, after --mean")
    parser.add_argument("--top", type=int, default=5, help="how many classes are shown (default: 5)")
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one per line")
    parser.add_argument("--output", metavar="FILE", help="write the answer: .npy, or .npz for several outputs")
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with all values")


def run(options: argparse.Namespace) -> int:
    """Run the model and print its answer."""
    labels = _labels(options.labels)
    if options.top < 1:
        raise refuse("--top takes a number above 0.", received=options.top, usage=True)
    if options.input != "-":
        existing(options.input, "input")
    if options.output:
        if os.path.splitext(options.output)[1] not in (".npy", ".npz"):
            raise refuse("The answer is written as .npy or .npz.", received=options.output, usage=True)
        fresh(options.output, options.force, [options.model, options.input])
    model = open_model(options.model, options.params)
    answers = model.answer(_feeds(model, options))
    facts: dict[str, Any] = {"model": options.model, "input": options.input,
             "outputs": [_facts(name, values, labels, options.top) for name, values in answers]}
    if options.output:
        _write(options.output, answers)
        facts["written"] = options.output
    if options.json:
        for one, (_, values) in zip(facts["outputs"], answers):
            one["values"] = values.tolist()
        print_json(facts)
        return 0
    for one in facts["outputs"]:
        _print(one)
    if options.output:
        print(f"wrote {options.output}")
    return 0


def _labels(path: str | None) -> list[str]:
    if path is None:
        return []
    with open(existing(path, "file of labels"), encoding="utf-8") as file:
        try:
            return [line.strip() for line in file.read().splitlines()]
        except UnicodeDecodeError:
            raise refuse("The labels are not UTF-8 text.", expected="one name per line", received=path,
                         fix="save the file as UTF-8") from None


# -------------------------------------------------------------------------------------------------------------- inputs
def _feeds(model: Model, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Return the model's inputs by name."""
    ending = os.path.splitext(options.input)[1].lower()
    if options.input == "-" or ending in (".csv", ".tsv", ".txt", ".json"):
        given = _numbers(options.input, ending)
    elif ending in (".npy", ".npz"):
        given = _arrays(options.input)
    else:
        return {_one(model).name: _image(_one(model), options)}
    if not isinstance(given, dict):
        given = {_one(model).name: given}
    names = [one.name for one in model.inputs]
    if sorted(given) != sorted(names) and len(names) == len(given) == 1:
        given = {names[0]: next(iter(given.values()))}
    if sorted(given) != sorted(names):
        raise refuse("The names of the arrays are not those of the model's inputs.", expected=", ".join(names),
                     received=", ".join(given), fix="name the arrays in the file as the inputs")
    return {one.name: _fitted(given[one.name], one) for one in model.inputs}


def _one(model: Model) -> Array:
    if len(model.inputs) != 1:
        raise refuse("The model has several inputs.", expected=", ".join(one.name for one in model.inputs),
                     received="one array", fix="give an .npz, or a JSON object, with an array for each name")
    return model.inputs[0]


def _arrays(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise refuse(f"This NumPy file cannot be read: {error}.", expected="a file of np.save or np.savez",
                     received=path, fix="write it anew") from None


def _numbers(path: str, ending: str) -> Any:
    """Read JSON, or rows of numbers parted by commas, semicolons, tabs or blanks."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise refuse("This is not UTF-8 text.", expected="numbers", received=path,
                     fix="save the file as UTF-8") from None
    try:
        if ending == ".json" or text.lstrip()[:1] in ("[", "{"):
            found = json.loads(text)
            return ({name: np.array(one, float) for name, one in found.items()} if isinstance(found, dict)
                    else np.array(found, float))
        mark = next((mark for mark in (",", ";", "\t") if mark in text), " ")
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=mark, skipinitialspace=True) if any(row)]
        if rows and not _all_numbers(rows[0]):
            rows = rows[1:]  # a line of names
        found = np.array([[float(cell) for cell in row if cell] for row in rows])
    except (ValueError, TypeError) as error:
        raise refuse(f"The numbers cannot be read: {error}.", received=path, expected="rows of the same length of "
                     "numbers, or JSON") from None
    if not found.size:
        raise refuse("There are no numbers.", received=path)
    return found


def _all_numbers(cells: list[str]) -> bool:
    try:
        return bool([float(cell) for cell in cells if cell])
    except ValueError:
        return False


def _fitted(array: np.ndarray, wanted: Array) -> np.ndarray:
    """Bring an array to the shape of an input: a missing batch axis, or rows of flat samples."""
    dtype = wanted.dtype or "float32"
    if array.dtype.kind not in "fiub":
        raise refuse("The input holds no numbers.", received=f"{wanted.name}: {array.dtype}")
    array = array.astype(dtype)
    if wanted.shape is None or _fits(array.shape, wanted.shape):
        return array
    if _fits((1, *array.shape), wanted.shape):
        return array[None]
    inner = wanted.shape[1:]
    if inner and all(isinstance(size, int) for size in inner) and array.size % int(np.prod(inner)) == 0:
        rows = array.reshape(-1, *inner)
        flat = array.shape[-1] == np.prod(inner) or array.ndim == 1
        if flat and _fits(rows.shape, wanted.shape):
            return rows
    raise refuse("The input has another shape than the model wants.", received=f"{wanted.name} {shape_of(array.shape)}",
                 expected=shape_of([size if isinstance(size, int) else "any" for size in wanted.shape]))


def _fits(shape: tuple[int, ...], wanted: list[Any]) -> bool:
    return len(shape) == len(wanted) and all(not isinstance(b, int) or a == b for a, b in zip(shape, wanted))


# -------------------------------------------------------------------------------------------------------------- images
def _image(wanted: Array, options: argparse.Namespace) -> np.ndarray:
    """Decode, resize, crop, normalise and lay out an image."""
    from ..base.resample import resize
    from ..image.codec import decode

    shape = wanted.shape or [None, 3, None, None]
    if len(shape) != 4:
        raise refuse("The model wants no image.", received=options.input, expected=f"{wanted.name} {shape_of(shape)}",
                     fix="give numbers: .npy, .csv or .json")
    last = shape[3] in (1, 3) and shape[1] not in (1, 3)
    channels, (high, wide) = (shape[3], shape[1:3]) if last else (shape[1], shape[2:])
    channels = channels if channels in (1, 3) else 3
    given = sizes(options.size, "--size") if options.size else ()
    if len(given) > 2:
        raise refuse("--size takes one or two numbers.", received=options.size, usage=True)
    high = given[0] if given else high if isinstance(high, int) else 224
    wide = given[-1] if given else wide if isinstance(wide, int) else 224
    if not 0 < options.crop <= 1 or options.scale == 0:
        raise refuse("--crop lies between 0 and 1, and --scale is not 0.", usage=True,
                     received=f"--crop {options.crop} --scale {options.scale}")
    mean, std = _per_channel(options, channels)
    with open(options.input, "rb") as file:
        pixels = decode(file.read(), "grey" if channels == 1 else "colour", options.input)
    factor = max(high / pixels.shape[0], wide / pixels.shape[1]) / options.crop
    size = [max(round(side * factor), least) for side, least in zip(pixels.shape[:2], (high, wide))]
    pixels = resize(pixels, size[1], size[0], 9)
    top, left = (size[0] - high) // 2, (size[1] - wide) // 2
    pixels = pixels[top:top + high, left:left + wide].reshape(high, wide, channels)
    dtype = wanted.dtype or "float32"
    if dtype.startswith("float"):
        pixels = (pixels / options.scale - mean) / std
    image = pixels if last else pixels.transpose(2, 0, 1)
    if not _fits((1, *image.shape), shape):
        raise refuse("The image does not have the shape that the model wants.", expected=shape_of(shape),
                     received=shape_of((1, *image.shape)), fix="leave --size out")
    return np.ascontiguousarray(image[None]).astype(dtype)


def _per_channel(options: argparse.Namespace, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation per channel."""
    found: list[tuple[float, ...]] = list(_COLOUR) if channels == 3 else [(0.0,), (1.0,)]
    for place, (option, text) in enumerate((("--mean", options.mean), ("--std", options.std))):
        if text is None:
            continue
        try:
            found[place] = tuple(float(part) for part in text.split(","))
        except ValueError:
            found[place] = ()
        if len(found[place]) not in (1, channels) or (option == "--std" and 0 in found[place]):
            raise refuse(f"{option} takes one number, or one for each of {count(channels, 'channel')}.", received=text,
                         expected=f"{option} 0.5,0.5,0.5" if channels == 3 else f"{option} 0.5", usage=True)
    return np.array(found[0]), np.array(found[1])


# ------------------------------------------------------------------------------------------------------------- answers
def _facts(name: str, values: np.ndarray, labels: list[str], top: int) -> dict[str, Any]:
    """Say what an output holds: the likeliest classes of each row, or statistics."""
    found: dict[str, Any] = {"name": name, "shape": list(values.shape), "dtype": str(values.dtype)}
    if values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind == "f":
        if labels and len(labels) != values.shape[1]:
            raise refuse("There is not one label for each class.", expected=count(values.shape[1], "label"),
                         received=count(len(labels), "label"), fix="one line per class, in the network's order")
        found["top"] = [_best(row, labels, top) for row in values]
    elif values.size:
        plain = values.astype(float)
        found["statistics"] = {"smallest": float(plain.min()), "largest": float(plain.max()),
                               "mean": float(plain.mean()), "deviation": float(plain.std())}
    return found


def _best(row: np.ndarray, labels: list[str], top: int) -> list[dict[str, Any]]:
    """Return the largest scores of one row, with probabilities (softmax, unless they are probabilities already)."""
    scores = row.astype(float)
    already = scores.min() >= 0 and abs(scores.sum() - 1) < 1e-3
    raised = np.exp(scores - scores.max())
    chances = scores if already else raised / raised.sum()
    order = np.argsort(-scores, kind="stable")[:top]
    return [{"class": int(i), **({"label": labels[i]} if labels else {}), "probability": float(chances[i]),
             "score": float(scores[i])} for i in order]


def _print(one: dict[str, Any]) -> None:
    print(f"{one['name']}: {shape_of(one['shape'])} {one['dtype']}")
    rows = one.get("top", [])
    for number, row in enumerate(rows[:_SHOWN]):
        if len(rows) > 1:
            print(f"  sample {number}")
        for best in row:
            print(f"  {100 * best['probability']:6.2f} %  {best.get('label', best['class'])}")
    if len(rows) > _SHOWN:
        print(f"  ... and {len(rows) - _SHOWN:,} more samples (--json)")
    if "statistics" in one:
        print("  " + ", ".join(f"{key} {value:.6g}" for key, value in one["statistics"].items()))


def _write(path: str, answers: list[tuple[str, np.ndarray]]) -> None:
    """Write the outputs under another name, then rename."""
    if path.endswith(".npy") and len(answers) > 1:
        raise refuse(f"The model has {len(answers)} outputs.", received=path, fix="name the output .npz")
    with replacing(path) as draft, open(draft, "wb") as file:
        if path.endswith(".npy"):
            np.save(file, answers[0][1])
        else:
            named: dict[str, Any] = dict(answers)
            np.savez(file, **named)
