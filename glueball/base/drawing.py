"""Pictures as lists of rectangles, lines and words: what the pictures of folding and of compiled plans share.

The one idea: whoever draws makes a list of shapes once; two short writers turn it into a file: SVG by hand, PNG through
matplotlib where it is installed.

Not here: what is drawn (fold/picture.py, executor/insight/picture.py).
"""

from __future__ import annotations

import importlib
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final
from xml.sax.saxutils import escape, quoteattr

from . import errors
from .files import write_atomically

__all__ = ["Area", "Box", "Line", "Words", "Shape", "Picture", "COLOURS", "INK", "QUIET", "FAINT", "STRIPE",
           "milliseconds", "nice"]  # fmt: skip

COLOURS = ("#4C78A8", "#F58518", "#54A24B", "#E45756", "#72B7B2", "#B279A2", "#9D755D", "#D6A100", "#FF9DA6", "#79706E")
INK, QUIET, FAINT, STRIPE = "#222222", "#666666", "#DEE2E8", "#F5F6F8"


@final
@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle. name : its class in the SVG; tip : what is shown when the mouse rests on it."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    name: str = ""
    tip: str = ""
    opacity: float = 1.0


@final
@dataclass(frozen=True, slots=True)
class Line:
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    stroke: str
    dashed: bool = False


@final
@dataclass(frozen=True, slots=True)
class Words:
    """A line of text; y is that of its base line. anchor : "start", "middle" or "end"."""

    x: float
    y: float
    text: str
    size: float = 12.0
    fill: str = INK
    anchor: str = "start"
    bold: bool = False


@final
@dataclass(frozen=True, slots=True)
class Area:
    """A filled polygon. points : its corners, (x, y) each."""

    points: tuple[tuple[float, float], ...]
    fill: str
    opacity: float = 1.0


Shape: TypeAlias = "Area | Box | Line | Words"


@final
@dataclass(frozen=True, slots=True)
class Picture:
    """Shapes, the later ones above the earlier ones.

    title, description : read out by those who cannot see it

    >>> picture = Picture([Box(0, 0, 10, 5, "#FF0000")], 20, 10, "A box", "It is red.")
    >>> picture.svg().splitlines()[4]
    '<rect x="0.00" y="0.00" width="10.00" height="5.00" rx="1.5" fill="#FF0000"/>'
    """

    shapes: Sequence[Shape]
    width: float
    height: float
    title: str
    description: str

    def svg(self) -> str:
        """Return the picture as the text of an SVG file."""
        width, height = self.width, self.height
        lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
                 f'height="{height:g}" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" '
                 'role="img" aria-labelledby="title description">', f'<title id="title">{escape(self.title)}</title>',
                 f'<desc id="description">{escape(self.description)}</desc>',
                 f'<rect width="{width:g}" height="{height:g}" rx="10" fill="#FFFFFF"/>']  # fmt: skip
        lines += [_tag(shape) for shape in self.shapes]
        return "\n".join([*lines, "</svg>", ""])

    def save(self, path: str | os.PathLike[str], where: str) -> None:
        """Write the picture to a file; the ending says how.

        Parameters
        ----------
        path : ends in ``.svg``, or in ``.png`` where matplotlib is installed
        where : what a user called, for messages

        Raises
        ------
        MXNetError : another ending, or no matplotlib
        """
        target = Path(path)
        ending = target.suffix.lower()
        if ending not in (".svg", ".png"):
            raise errors.MXNetError(errors.explain(where, "The ending of the file's name says what is drawn.",
                                                   expected="a name that ends in .svg or .png", received=str(path),
                                                   fix=f"name it {target.stem or 'picture'}.svg, which every browser "
                                                       "shows"))  # fmt: skip
        if ending == ".svg":
            write_atomically(target, self.svg().encode())
        else:
            _as_png(self, target, where)


def milliseconds(seconds: float) -> str:
    """Return seconds as the number of milliseconds in a few digits."""
    if seconds >= 1:
        return f"{1000 * seconds:.0f}"
    return f"{1000 * seconds:.1f}" if seconds >= 5e-4 else f"{1000 * seconds:.2f}"


def nice(step: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not less than `step`."""
    if step <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * 0.999)


# -- writers -----------------------------------------------------------------------------------------------------------
def _tag(shape: Shape) -> str:
    if isinstance(shape, Area):
        corners = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
        return f'<polygon points="{corners}" fill="{shape.fill}" opacity="{shape.opacity:g}"/>'
    if isinstance(shape, Box):
        more = f' class="{shape.name}"' if shape.name else ""
        more += f' opacity="{shape.opacity:g}"' if shape.opacity < 1 else ""
        tip = f"><title>{escape(shape.tip)}</title></rect>" if shape.tip else "/>"
        return (
            f'<rect x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" height="{shape.height:.2f}" '
            f'rx="1.5" fill="{shape.fill}"{more}{tip}'
        )
    if isinstance(shape, Line):
        dashes = ' stroke-dasharray="3 3"' if shape.dashed else ""
        return (
            f'<line x1="{shape.x1:.2f}" y1="{shape.y1:.2f}" x2="{shape.x2:.2f}" y2="{shape.y2:.2f}" '
            f'stroke="{shape.stroke}"{dashes}/>'
        )
    weight = ' font-weight="600"' if shape.bold else ""
    return (
        f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" font-size="{shape.size:g}" fill={quoteattr(shape.fill)} '
        f'text-anchor="{shape.anchor}"{weight}>{escape(shape.text)}</text>'
    )


def _as_png(picture: Picture, target: Path, where: str) -> None:
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
        patches: Any = importlib.import_module("matplotlib.patches")
    except ImportError as error:
        raise errors.MXNetError(
            errors.explain(
                where,
                "A PNG is drawn by matplotlib, which is not installed.",
                fix='pip install "glueball[plot]", or write a file that ends in .svg',
            )
        ) from error
    figure = figures.Figure(figsize=(picture.width / 96, picture.height / 96), dpi=192, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, picture.width)
    axes.set_ylim(picture.height, 0)
    axes.axis("off")
    for order, shape in enumerate(picture.shapes):
        if isinstance(shape, Area):
            axes.add_patch(
                patches.Polygon(shape.points, facecolor=shape.fill, linewidth=0, alpha=shape.opacity, zorder=order)
            )
        elif isinstance(shape, Box):
            axes.add_patch(
                patches.Rectangle(
                    (shape.x, shape.y),
                    shape.width,
                    shape.height,
                    facecolor=shape.fill,
                    linewidth=0,
                    alpha=shape.opacity,
                    zorder=order,
                )
            )
        elif isinstance(shape, Line):
            axes.plot(
                [shape.x1, shape.x2],
                [shape.y1, shape.y2],
                color=shape.stroke,
                linewidth=0.7,
                linestyle=":" if shape.dashed else "-",
                zorder=order,
            )
        else:
            axes.text(
                shape.x,
                shape.y,
                shape.text,
                fontsize=shape.size * 0.75,
                color=shape.fill,
                va="baseline",
                ha={"start": "left", "middle": "center", "end": "right"}[shape.anchor],
                parse_math=False,
                fontweight="bold" if shape.bold else "normal",
                zorder=order,
            )
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(target, content.getvalue())
