"""Calls of compiled segments as emit.py says they are called: with nothing but addresses."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import torch

from glueball.executor.native.compile import Compiler, parallel
from glueball.executor.native.segment import Segment


def run(
    compiler: Compiler,
    segment: Segment,
    tensors: Sequence[torch.Tensor],
    results: Sequence[torch.Tensor],
    shape: tuple[int, int],
    dtype: torch.dtype = torch.float32,
    block_rows: int = 0,
    block_columns: int = 0,
    threads: int = 1,
) -> None:
    """Run a segment over (N, H) = shape on the tensors of its inputs (in the order of `segment.inputs`) and results.

    block_rows, block_columns : 0 is everything in one block
    """
    rows, columns = shape
    height, width = block_rows or max(rows, 1), block_columns or max(columns, 1)
    across = max(1, -(-columns // width))
    blocks = -(-rows // height) * across
    arguments = array("q", [0, rows, columns, height, width, blocks, across])
    for tensor in (*tensors, *results):
        flat = tensor.dim() < 2
        assert flat or tensor.shape[1] <= 1 or tensor.stride(1) == 1
        arguments.extend((tensor.data_ptr(), 0 if flat else tensor.stride(0)))
    kernel = compiler.kernel(segment, dtype)
    team = parallel() if threads > 1 else None
    if team is None:
        kernel.function(arguments.buffer_info()[0])
    else:
        team(kernel.address, arguments.buffer_info()[0], threads, 0)
