"""Executor: a symbol bound to arrays, with the compatible forward/backward interface.

The one idea: the same plans as hybridized blocks run here; `forward(is_train=True)` goes on a tape of its own and
`backward` writes into the bound gradient arrays as `grad_req` says.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch

from ..base import aten
from ..base import dtype as dtypes
from ..base.context import as_context
from ..base.errors import ArgumentError, AutogradError, MXNetError, ShapeError, explain
from ..ndarray.ndarray import NDArray, to_array
from ..ops.opdef import TensorType
from ..symbol.graph import Node, topological, variables
from ..symbol.infer import infer
from .plan import Plan, make_plan
from .recorded import run_plan

__all__ = ["Executor"]


@final
class Executor:
    """Runs a symbol on bound arrays; made by `Symbol.bind` and `Symbol.simple_bind`.

    >>> from glueball import nd, sym
    >>> x = sym.Variable("x")
    >>> run = (x * x).bind(None, {"x": nd.array([3.0])}, {"x": nd.zeros((1,))})
    >>> run.forward(is_train=True)[0].item()
    9.0
    >>> run.backward(); run.grad_dict["x"].item()
    6.0
    """

    def __init__(self, symbol: Any, ctx: Any, args: Any, args_grad: Any = None, grad_req: Any = "write",
                 aux_states: Any = None) -> None:
        self._symbol = symbol
        self._ctx = as_context(ctx)
        self._order = topological(symbol._outputs)
        arguments, auxiliary = variables(self._order)
        self._inputs: list[Node] = [*arguments, *auxiliary]
        self._arg_names, self._aux_names = [n.name for n in arguments], [n.name for n in auxiliary]
        self.arg_dict = self._named(args, self._arg_names, "args", True)
        self.grad_dict = self._named(args_grad, self._arg_names, "args_grad", False)
        self.aux_dict = self._named(aux_states, self._aux_names, "aux_states", True)
        for name, gradient in self.grad_dict.items():
            if gradient.shape != self.arg_dict[name].shape:
                raise ShapeError(explain("bind", f"The gradient array of {name!r} must have its argument's shape.",
                                         expected=self.arg_dict[name].shape, received=gradient.shape))
        self._reqs = self._requests(grad_req)
        self._plans: dict[Any, Plan] = {}
        self._tape: tuple[list[torch.Tensor], list[str], list[torch.Tensor]] | None = None
        self._results: list[NDArray] | None = None

    @classmethod
    def simple(cls, symbol: Any, ctx: Any, grad_req: Any, type_dict: Mapping[str, Any],
               shapes: Mapping[str, Any]) -> Executor:
        """Return an executor with arrays of zeros in the inferred shapes."""
        arg_shapes, _, aux_shapes = symbol.infer_shape(**shapes)
        if arg_shapes is None:
            raise ShapeError(explain("simple_bind", "The shapes given do not determine all others.",
                                     expected=", ".join(symbol.list_arguments()), received=dict(shapes)))
        where = as_context(ctx)

        names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
        arg_types, _, aux_types = symbol.infer_type(**type_dict) if type_dict else ((), (), ())
        inferred = dict(zip(names, [*(arg_types or ()), *(aux_types or ())]))

        def zeros(name: str, shape: Any) -> NDArray:
            made = torch.float32 if inferred.get(name) is None else dtypes.as_torch(inferred[name])
            if name not in type_dict and not made.is_floating_point:
                made = torch.float32  # indices say nothing about the weights they look up
            return to_array(torch.zeros(shape, dtype=made), where)

        args = {n: NDArray(zeros(n, s)._t, where) for n, s in zip(symbol.list_arguments(), arg_shapes)}
        aux = {n: NDArray(zeros(n, s)._t, where) for n, s in zip(symbol.list_auxiliary_states(), aux_shapes)}
        wanted = (
            grad_req
            if isinstance(grad_req, dict)
            else dict.fromkeys(args, grad_req)
            if isinstance(grad_req, str)
            else dict(zip(args, grad_req))
        )
        grads = {n: NDArray(torch.zeros_like(a._t), where) for n, a in args.items() if wanted.get(n, "null") != "null"
                 and a._t.is_floating_point()}
        return cls(symbol, ctx, args, grads, grad_req, aux)

    def _named(self, given: Any, names: Sequence[str], what: str, required: bool) -> dict[str, NDArray]:
        if given is None:
            given = {}
        if not isinstance(given, Mapping):
            given = {n: a for n, a in zip(names, given) if a is not None}
        missing = [n for n in names if n not in given]
        if missing and required:
            raise MXNetError(explain("bind", f"{what} lacks arrays.", expected=", ".join(names),
                                     received=f"nothing for {', '.join(missing)}"))
        found = {n: to_array(given[n], self._ctx) if isinstance(given[n], np.ndarray) else given[n]
                 for n in names if n in given}
        for name, array in found.items():
            if not isinstance(array, NDArray):
                raise MXNetError(explain("bind", f"{what} must be arrays.", expected=f"an NDArray for {name!r}",
                                         received=type(array).__name__))
        return found

    def _requests(self, grad_req: Any) -> dict[str, str]:
        if isinstance(grad_req, str):
            reqs = dict.fromkeys(self._arg_names, grad_req)
        elif isinstance(grad_req, Mapping):
            reqs = {n: grad_req.get(n, "null") for n in self._arg_names}
        else:
            reqs = dict(zip(self._arg_names, grad_req))
        for name, request in reqs.items():
            if request not in ("write", "add", "null"):
                raise ArgumentError(explain("bind", f"There is no gradient request {request!r}, given for {name!r}.",
                                            expected="'write', 'add' or 'null'"))
        return {n: r if n in self.grad_dict else "null" for n, r in reqs.items()}

    @property
    def arg_arrays(self) -> list[NDArray]:
        """Bound arguments in order."""
        return [self.arg_dict[n] for n in self._arg_names]

    @property
    def grad_arrays(self) -> list[NDArray | None]:
        """Gradient arrays in the order of the arguments."""
        return [self.grad_dict.get(n) for n in self._arg_names]

    @property
    def aux_arrays(self) -> list[NDArray]:
        """Auxiliary states in order."""
        return [self.aux_dict[n] for n in self._aux_names]

    @property
    def outputs(self) -> list[NDArray]:
        """The results of the last forward; before the first one, zeros of their shapes and dtypes."""
        if self._results is None:
            bound = [*(self.arg_dict[n]._t for n in self._arg_names), *(self.aux_dict[n]._t for n in self._aux_names)]
            known = {n: TensorType(tuple(t.shape), t.dtype) for n, t in zip(self._inputs, bound)}
            types = infer(self._symbol._outputs, known, False, self._order)
            found = [types[v.node][v.index] for v in self._symbol._outputs]
            self._results = [NDArray(torch.zeros(t.shape or (), dtype=t.dtype, device=self._ctx.torch_device),
                                     self._ctx) for t in found]
        return self._results

    @property
    def output_dict(self) -> dict[str, NDArray]:
        """Outputs by name."""
        return dict(zip(self._symbol.list_outputs(), self.outputs))

    def _plan(self, tensors: Sequence[torch.Tensor], training: bool, mask: tuple[int, ...]) -> Plan:
        key = (training, mask, *[(t.shape, t.dtype) for t in tensors])
        plan = self._plans.get(key)
        if plan is None:
            known = {n: TensorType(tuple(t.shape), t.dtype) for n, t in zip(self._inputs, tensors)}
            types = infer(self._symbol._outputs, known, training, self._order)
            plan = self._plans[key] = make_plan(self._symbol._outputs, self._inputs, types, training,
                                                [self._inputs[i] for i in mask],
                                                native=all(t.is_cpu for t in tensors))
        return plan

    def forward(self, is_train: bool = False, **kwargs: Any) -> list[NDArray]:
        """Compute the outputs; keyword arguments overwrite bound arguments first."""
        for name, value in kwargs.items():
            if name not in self.arg_dict:
                raise MXNetError(explain("Executor.forward", f"There is no argument {name!r}.",
                                         expected=", ".join(self._arg_names)))
            value = to_array(value)
            if value.shape != self.arg_dict[name].shape:
                self.arg_dict[name] = NDArray(value._t.detach().clone(), self._ctx)
            else:
                self.arg_dict[name]._assign(value._t)
        tensors = [self.arg_dict[n]._t.detach() for n in self._arg_names] + [
            self.aux_dict[n]._t.detach() for n in self._aux_names
        ]
        mask = tuple(i for i, n in enumerate(self._arg_names) if self._reqs[n] != "null") if is_train else ()
        for index in mask:
            tensors[index].requires_grad_(True)
        with torch.set_grad_enabled(bool(mask)):
            results = list(run_plan(self._plan(tensors, is_train, mask), tensors, mask))
        self._tape = (results, [self._arg_names[i] for i in mask], [tensors[i] for i in mask]) if mask else None
        self._results = [NDArray(t.detach(), self._ctx) for t in results]
        return self._results

    def backward(self, out_grads: Any = None, is_train: bool = True) -> None:
        """Compute gradients of the outputs (weighed by `out_grads`, ones by default) into the bound gradient arrays."""
        if self._tape is None:
            raise AutogradError(explain("Executor.backward", "There is nothing to differentiate.",
                                        fix="call forward(is_train=True) first, with gradient arrays bound"))
        results, names, leaves = self._tape
        given = [] if out_grads is None else list(out_grads) if isinstance(out_grads, (list, tuple)) else [out_grads]
        if given and [g.shape for g in given] != [tuple(r.shape) for r in results]:
            raise ShapeError(explain("Executor.backward", "There must be one head gradient per output, of its shape.",
                                     expected=[tuple(r.shape) for r in results], received=[g.shape for g in given]))
        grads = [g._t for g in given] or [torch.ones_like(r) for r in results]
        pairs = [(r, g) for r, g in zip(results, grads) if r.requires_grad]
        found = aten.run_gradients([r for r, _ in pairs], leaves, [g for _, g in pairs], False, False)
        self._tape = None
        for name, gradient in zip(names, found):
            target = self.grad_dict[name]._t
            if gradient is None:
                gradient = torch.zeros_like(target)
            if self._reqs[name] == "add":
                target.add_(gradient)
            else:
                target.copy_(gradient)

    def copy_params_from(self, arg_params: Mapping[str, NDArray], aux_params: Mapping[str, NDArray] | None = None,
                         allow_extra_params: bool = False) -> None:
        """Copy values into the bound arguments and auxiliary states."""
        for table, values in ((self.arg_dict, arg_params), (self.aux_dict, aux_params or {})):
            for name, array in values.items():
                if name in table:
                    table[name]._assign(array._t.to(table[name]._t.dtype))
                elif not allow_extra_params:
                    raise ValueError(explain("copy_params_from", f"There is no parameter {name!r}.",
                                             expected=", ".join(table), fix="pass allow_extra_params=True"))

    def reshape(self, partial_shaping: bool = False, allow_up_sizing: bool = False, **kwargs: Any) -> Executor:
        """Return an executor for other input shapes that shares the parameters."""
        arg_shapes, _, _ = self._symbol.infer_shape(**kwargs)
        if arg_shapes is None:
            raise ShapeError(explain("Executor.reshape", "The shapes given do not determine all others.",
                                     received=kwargs))
        args, grads = {}, {}
        for name, shape in zip(self._arg_names, arg_shapes):
            old = self.arg_dict[name]
            args[name] = old if old.shape == tuple(shape) else NDArray(torch.zeros(shape, dtype=old._t.dtype),
                                                                       self._ctx)
            if name in self.grad_dict:
                grads[name] = (
                    self.grad_dict[name]
                    if old.shape == tuple(shape)
                    else NDArray(torch.zeros(shape, dtype=old._t.dtype), self._ctx)
                )
        return Executor(self._symbol, self._ctx, args, grads, self._reqs, dict(zip(self._aux_names, self.aux_arrays)))

    def debug_str(self) -> str:
        """Return the bound graph as text."""
        return self._symbol.debug_str()


