"""Draws docs/images/folding_schedule.svg: what a batch of 64 syntax trees does, from recording to the last gradient.

The one idea: the example of a Tree-LSTM over Python code makes some steps, and the schedule of the fastest is kept: the
first ones also compile, and others are held up by what else the machine does. Usage:

    python tools/folding_picture.py [--steps 50] [FILE.svg | FILE.png]
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

import tree_lstm_code as example  # noqa: E402  # found only now

from glueball import fold  # noqa: E402


def main() -> None:
    """Make some steps and draw one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=ROOT / "docs" / "images" / "folding_schedule.svg")
    parser.add_argument("--steps", type=int, default=50, help="of how many the fastest is drawn")
    options = parser.parse_args()
    pieces, _ = example.read_library(example.BATCH, 1)
    words = example.Vocabulary(Counter(word for piece in pieces for word in piece.words), 5000)
    roles = example.Vocabulary(Counter(role for piece in pieces for role in piece.roles), 100)
    trees = [example.to_tree(piece, words, roles) for piece in pieces]
    learner = example.Learner(words, roles, steps=100)
    best = None
    gc.disable()
    for _ in range(options.steps):
        learner.step(trees)
        report = fold.last_report()
        if best is None or sum(report.seconds.values()) < sum(best.seconds.values()):
            best = report
    if best is not None:
        best.draw(options.file)
        print(f"{best.text()}\n\ndrawn: {options.file}")


if __name__ == "__main__":
    main()
