"""A network as a file of torch.export (`.pt2`): plain ATen, which torch alone loads and runs.

The one idea: the traced graph is a torch module whose forward is the interpreter's loop, for our operators are
functions of torch tensors; torch.export writes down what they call. Names of parameters are structural, the batch is
left open where the network allows it, and the network itself is the oracle: the file is loaded again and must answer
what the block answers before it gets its name.

Not here: modules that share parameters and train (torch_module.py), ONNX (onnx_file.py).
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any, final

import torch

from ..autograd import pause
from ..base.errors import MXNetError, UnsupportedError, explain, short_place
from ..base.files import write_atomically
from ..base.tree import flatten, unflatten
from ..dispatch import CURRENT
from ..executor.interpret import run_node, run_operator
from ..ndarray import NDArray
from ..ops.opdef import TensorType
from ..passes.sizes import has_open_size
from ..symbol.graph import Node, execution_order
from ..symbol.infer import infer
from .block import Block
from .example_inputs import example_arguments, wider
from .parameter import Constant
from .trace import Traced, trace_for_export

__all__ = ["Lowered", "export_pt2"]

_ROUNDING = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float64: 1e-9}  # of the largest number; others below
_DEFAULT_ROUNDING = 1e-4


def export_pt2(block: Any, path: str | os.PathLike[str], inputs: Any = None, dynamic_batch: bool = True,
               check: bool = True) -> str:  # fmt: skip
    """Write a network as one `.pt2` file that predicts what the network predicts: `torch.export.load(path).module()`.

    Parameters
    ----------
    block : HybridBlock
        An initialised network. Torch modules inside it are written with the rest.
    path : str
        Where to write; ".pt2" is added where it is missing.
    inputs, dynamic_batch
        As for ONNX: `onnx_file.export_onnx`.
    check : bool
        Load the file again and compare what it answers, with the examples and with another batch size.

    Returns
    -------
    str
        `path`, with its ending.

    Raises
    ------
    UnsupportedError
        An operator looks at values, or does what torch.export cannot follow; it is named, with your line.
    MXNetError
        The file would compute something else.
    """
    path = os.fspath(path)
    path = path if path.endswith(".pt2") else f"{path}.pt2"
    args = example_arguments(block, inputs)
    samples, structure = flatten(list(args), NDArray)
    traced, _ = trace_for_export(block, args)
    larger = wider(samples) if dynamic_batch else []
    lowered = Lowered(block, traced, samples, larger).eval()

    def answers(arrays: Sequence[NDArray]) -> list[torch.Tensor]:
        with pause():
            return [a._t.detach() for a in flatten([block(*unflatten(structure, list(arrays)))], NDArray)[0]]

    program = _open(lowered, samples, larger, answers) if larger else None
    if program is None:
        program = _exported(lowered, samples, False)
    data = io.BytesIO()
    torch.export.save(program, data)
    if check:
        data.seek(0)
        module = torch.export.load(data).module()
        _compare(module, samples, answers(samples), "with the example inputs")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    write_atomically(path, data.getvalue())
    return path


def _open(lowered: Lowered, samples: Sequence[NDArray], larger: Sequence[NDArray], answers: Any) -> Any:
    """Return the program with an open batch; None where another batch size does not go through, or differs."""
    try:
        program = _exported(lowered, larger, True)
        module = program.module()
        for given in (larger, samples):
            _compare(module, given, answers(given), "with another batch size")
    except (MXNetError, RuntimeError, AssertionError, ValueError, IndexError):  # torch's checks of sizes raise each
        return None
    return program


def _exported(lowered: Lowered, samples: Sequence[NDArray], open_batch: bool) -> Any:
    """Have torch write down what the graph calls."""
    auto = torch.export.Dim.AUTO
    sizes = tuple({0: auto} if a.shape else None for a in samples) if open_batch else None
    with torch.no_grad(), _undisturbed():
        try:
            return torch.export.export(lowered, tuple(a._t.detach() for a in samples),
                                       dynamic_shapes=None if sizes is None else (sizes,))  # fmt: skip
        except MXNetError:
            raise
        except Exception as error:  # whatever torch raises on the way
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UnsupportedError(explain("export to pt2", f"torch.export refuses the network: {first}",
                                           fix="net.export(path, format='onnx') may serve")) from error


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Nobody listens to operators, and nothing of torch's is shown: its notes concern itself, its errors are raised."""
    token, log = CURRENT.set(None), logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):  # there it prints the graph of a failure
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before
        CURRENT.reset(token)


@final
class Lowered(torch.nn.Module):
    """A traced graph as a torch module that predicts; parameters and constants have structural names.

    samples, larger : example inputs, and such of another batch size, if there are any
    """

    def __init__(self, block: Block, traced: Traced, samples: Sequence[NDArray], larger: Sequence[NDArray]) -> None:
        super().__init__()
        self._outputs = [symbol._outputs[0] for symbol in traced.outputs]
        self._order = [node for node in execution_order(self._outputs) if not node.is_variable]
        self._data, self._structure = traced.data, traced.structure
        self._sizes = self._lines(traced, samples, larger)
        self._held: dict[Node, str] = {}
        self._include_modules(block, "")
        names = {id(p): name for name, p in reversed(block._collect_params_with_prefix().items())}
        for node in {v.node: None for step in self._order for v in step.inputs}:
            if not node.is_variable or node in traced.data:
                continue
            parameter = traced.parameters.get(node)
            if parameter is None:
                self._hold(node, f"constants.{node.name}", traced.tracer.constants[node]._t.detach(), True)
            else:
                fixed = isinstance(parameter, Constant) or not parameter._differentiable
                name = names.get(id(parameter), parameter.name.replace(".", "_"))
                self._hold(node, name, parameter.data()._t.detach(), fixed, parameter.grad_req != "null")

    def _lines(self, traced: Traced, *examples: Sequence[NDArray]) -> dict[Node, list[tuple[int, int]]]:
        """Return, for nodes that leave sizes to their users (first states), each size as (slope, rest) of the batch."""
        nodes = [node for node in self._order if has_open_size(node)]
        found: list[tuple[int, dict[Node, Sequence[int | None]]]] = []
        for arrays in examples if nodes else ():
            if not arrays:
                continue
            known = {node: TensorType(a.shape, a._t.dtype) for node, a in zip(self._data, arrays)}
            rest = {**{n: p.data() for n, p in traced.parameters.items()}, **traced.tracer.constants}
            known.update({node: TensorType(a.shape, a._t.dtype) for node, a in rest.items()})
            try:
                types = infer(self._outputs, known, False)
            except MXNetError:  # another batch size does not go through
                continue
            found.append((arrays[0].shape[0], {node: types[node][0].shape or () for node in nodes}))
        lines: dict[Node, list[tuple[int, int]]] = {}
        for node in nodes:
            (batch, sizes), (other, others) = found[0], found[-1]
            pairs = [(a or 0, b or 0) for a, b in zip(sizes[node], others[node])]
            slopes = [(b - a) // (other - batch) if other != batch else 0 for a, b in pairs]
            lines[node] = [(slope, a - slope * batch) for slope, (a, _) in zip(slopes, pairs)]
        return lines

    def _include_modules(self, block: Block, path: str) -> None:
        """Take in the torch modules of the network: they bring their parameters with them."""
        for name, child in block._children.items():
            module = getattr(child, "module", None)
            if isinstance(module, torch.nn.Module):
                self._holder(path).add_module(name, module)
            self._include_modules(child, f"{path}{name}.")

    def _holder(self, path: str) -> torch.nn.Module:
        """Return the module at a path of names that each end in a dot, made where it is missing."""
        holder: torch.nn.Module = self
        for part in path.split(".")[:-1]:
            inner = dict(holder.named_children()).get(part)
            if inner is None:
                inner = torch.nn.Module()
                holder.add_module(part, inner)
            holder = inner
        return holder

    def _hold(self, node: Node, name: str, tensor: torch.Tensor, fixed: bool, trained: bool = False) -> None:
        start, _, key = name.rpartition(".")
        holder = self._holder(f"{start}." if start else "")
        if not hasattr(holder, key):  # a parameter of a torch module is there
            if fixed:
                holder.register_buffer(key, tensor)
            else:
                holder.register_parameter(key, torch.nn.Parameter(tensor, requires_grad=trained))
        self._held[node] = name

    def forward(self, *data: torch.Tensor) -> Any:
        """Run the graph, operator by operator."""
        known: dict[Node, tuple[torch.Tensor, ...]] = {node: (tensor,) for node, tensor in zip(self._data, data)}
        tensors = {**dict(self.named_parameters(remove_duplicate=False)),
                   **dict(self.named_buffers(remove_duplicate=False))}  # fmt: skip
        known.update({node: (tensors[name],) for node, name in self._held.items()})
        for node in self._order:
            try:
                known[node] = self._run(node, [known[v.node][v.index] for v in node.inputs], data)
            except Exception as error:  # whatever a kernel, or torch.export inside it, raises
                raise _refused(node, error) from error
        return unflatten(self._structure, [known[v.node][v.index] for v in self._outputs])

    def _run(self, node: Node, tensors: list[torch.Tensor], data: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        lines = self._sizes.get(node)
        if lines is None or node.op is None:
            return run_node(node, tensors, False)
        shape = tuple(slope * data[0].shape[0] + rest if slope else rest for slope, rest in lines)
        return run_operator(node.op, (), {**node.attrs, "shape": shape})


def _refused(node: Node, error: Exception) -> UnsupportedError:
    """Return the error that names the operator which could not be written, and where it comes from."""
    name = node.op.name if node.op is not None else node.name
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return UnsupportedError(explain(
        "export to pt2", f"{name} cannot be written: {first.removeprefix(f'{name}: ')}",
        received=f"{node.name}, made at {short_place(node.origin) if node.origin else 'an unknown place'}",
        fix="leave it out of the exported network: what depends on values is computed by the program around it"))


def _compare(module: Any, samples: Sequence[NDArray], expected: Sequence[torch.Tensor], what: str) -> None:
    with torch.no_grad():
        found = flatten([module(*[a._t.detach() for a in samples])], torch.Tensor)[0]
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        if ours.shape != theirs.shape or ours.dtype is not theirs.dtype:
            raise MXNetError(explain("export to pt2", f"Result {number} has another type {what}.",
                                     expected=f"{tuple(theirs.shape)} {theirs.dtype}",
                                     received=f"{tuple(ours.shape)} {ours.dtype}",
                                     fix="export with dynamic_batch=False, or report this with the network"))
        a, b = ours.double(), theirs.double()
        same = (a == b) | (a.isnan() & b.isnan())
        gap = torch.where(same, 0.0, (a - b).abs()).max().item() if a.numel() else 0.0
        scale = max(1.0, torch.where(b.isfinite(), b.abs(), 0.0).max().item() if b.numel() else 1.0)
        allowed = _ROUNDING.get(theirs.dtype, _DEFAULT_ROUNDING)
        if not gap <= allowed * scale:
            raise MXNetError(explain("export to pt2", f"Result {number} differs {what}.",
                                     expected=f"at most {allowed:g} of its largest number {scale:.3g}",
                                     received=f"{gap / scale:.3g}",
                                     fix="please report this with the network; check=False writes the file all the "
                                         "same"))  # fmt: skip
