"""The ordered list of passes that a plan goes through, with a reason for each place in the order."""
from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from ..ops.opdef import OpDef
from ..symbol.graph import Node
from .absorb import absorb_normalisation
from .biases import leave_out_biases
from .common import merge_common
from .constants import fold_constants
from .finish import finish_convolutions
from .layout import channels_last
from .likelihood import fuse_likelihood
from .normalise import fuse_normalisation
from .pointwise import pointwise_convolutions
from .pooling import pool_first
from .products import project_together, sum_in_products
from .program import Program
from .seeds import draw_seeds
from .simplify import simplify
from .winograd import winograd_convolutions, winograd_predictions

__all__ = ["prepare", "optimise", "PASSES"]

Run = Callable[[OpDef, Sequence[Any], Any], Any]

PASSES: tuple[tuple[str, Callable[[Program, Run], Program]], ...] = (
    ("simplify", lambda p, run: simplify(p)),  # first: what does nothing would hide that two expressions are equal
    ("constants", fold_constants),  # before merging: equal constants then have equal values already
    ("common", lambda p, run: merge_common(p)),  # forward and backward ask for the same things
    ("products", lambda p, run: sum_in_products(p)),  # gradients of a weight that is used in many steps
    ("common", lambda p, run: merge_common(p)),  # weight and bias have the same rows put together
    ("simplify", lambda p, run: simplify(p)),  # folding may have left new no-ops
    ("biases", lambda p, run: leave_out_biases(p)),  # once nothing folds or merges the zeros any more
)
# dead code needs no pass: a program is what its outputs depend on. In-place writes and lifetimes are decided by
# executor/codegen.py, which alone knows the order of execution.


def prepare(program: Program, native: bool = False, effects: int = 0, predicting: bool = False) -> Program:
    """Return the forward program with the rewrites that backward should profit from; run before differentiation.

    native : whether native code will run on the arrays
    effects : so many outputs, the last ones, are only there because their operators move states
    predicting : whether convolutions will finish what follows them: a ReLU then costs nothing where it stands

    Nothing here may touch operators that say how gradients flow (BlockGrad, make_loss).
    """
    program = project_together(fuse_likelihood(pool_first(program, not predicting)))
    return draw_seeds(fuse_normalisation(program, effects)) if native else program


def optimise(program: Program, run: Run, on_cpu: bool = False, fixed: Collection[Node] = (), native: bool = False,
             arrange: bool = True) -> tuple[Program, list[tuple[str, int]]]:  # fmt: skip
    """Return the optimised program and, per pass, how many nodes were left after it.

    fixed : variables that stay what they are from call to call, of a program that only predicts
    native : whether native code will run; arrange : whether weights may be kept in an order for this shape
    """
    log = [("traced", len(program.order))]
    for name, apply in PASSES:
        program = apply(program, run)
        log.append((name, len(program.order)))
    if on_cpu and fixed and not program.training:
        program = absorb_normalisation(program, fixed, native)
        log.append(("absorb", len(program.order)))
        program = winograd_predictions(program, fixed) if native else program  # weights have absorbed all they will
        program = finish_convolutions(program, fixed, arrange)
        log.append(("finish", len(program.order)))
    if on_cpu and native:
        program = winograd_convolutions(program)
        log.append(("winograd", len(program.order)))
    if on_cpu and program.training:
        program = pointwise_convolutions(program)
        log.append(("pointwise", len(program.order)))
    if on_cpu:
        program = channels_last(program)  # last: it looks at who makes what
        log.append(("layout", len(program.order)))
    return program, log
