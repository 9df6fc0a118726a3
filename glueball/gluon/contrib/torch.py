"""A torch module as a Gluon block: `from_module(m)`.

The one idea: the block's parameters are the module's own tensors (gluon/torch_link.py), and a call is the operator
`_torch_module` (ops/torch_module.py), so the module records, is differentiated and stands in hybridized networks like
any operator. What it returns for which inputs is found out by running it once on zeros, where a graph has to know.

Not here: the other direction, a Gluon network as a torch module (gluon/torch_module.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from torch.nn.parameter import is_lazy

from ...base import aten
from ...base.context import Context
from ...base.dtype import as_torch
from ...base.errors import ArgumentError, ContextError, MXNetError, UnsupportedError, explain
from ...base.tree import flatten, unflatten
from ...dispatch import CURRENT, Symbolic, invoke
from ...ndarray import NDArray
from ...ops.opdef import TensorType, lookup
from ...symbol.symbol import Symbol
from ...symbol.tracer import Tracer, current_tracer
from ..block import as_arrays
from ..hybrid import HybridBlock
from ..parameter import Parameter, tracer_symbol
from ..torch_link import Link, declared, share, the_array
from ..torch_module import GluonModule

__all__ = ["from_module", "Outputs", "TorchBlock"]


def from_module(module: torch.nn.Module, call: Callable[..., Any] | None = None,
                prefix: str | None = None) -> Any:  # fmt: skip
    """Return a torch module as a Gluon block that shares its parameters and buffers.

    Parameters
    ----------
    module : torch.nn.Module
        With all its parameters made (lazy modules: call them once).
    call : callable, optional
        How to call it, and what of the result to use: ``lambda m, ids, mask: m(ids, attention_mask=mask).logits``.
        Default: as the block is called, keywords included.
    prefix : str, optional
        As of any block. The names of parameters are the prefix and the module's own names.

    Returns
    -------
    HybridBlock
        Tensors in results become arrays; tuples and lists stay what they are, mappings become `Outputs`, whose entries
        are attributes, too. The block of a module that `to_torch` made is the network itself.

    Raises
    ------
    ArgumentError : what was given is no module, or has parameters that were not made yet

    Examples
    --------
    >>> import torch
    >>> from glueball import autograd, gluon, nd
    >>> layer = torch.nn.Linear(3, 2)
    >>> net = gluon.nn.HybridSequential()
    >>> net.add(gluon.contrib.torch.from_module(layer), gluon.nn.Dense(1))
    >>> net.initialize(); net.hybridize()
    >>> with autograd.record():
    ...     y = net(nd.ones((4, 3)))
    >>> y.backward()
    >>> layer.weight.grad.shape, [p.grad().shape for p in net[0].collect_params().values()]
    (torch.Size([2, 3]), [(2, 3), (2,)])
    """
    if isinstance(module, GluonModule) and call is None and prefix is None:
        return module.gluon_block
    return TorchBlock(module, call, prefix)


class Outputs(dict[str, Any]):
    """Named results: `out["logits"]`, or `out.logits`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no result {name!r}, but {', '.join(self)}") from None


class _Keywords(dict[str, Any]):
    """Keyword arguments on their way through a call of a block."""


class TorchBlock(HybridBlock):
    """A torch module as a block; made by `from_module`. `module` is the module itself."""

    module: torch.nn.Module

    def __init__(self, module: torch.nn.Module, call: Callable[..., Any] | None = None,
                 prefix: str | None = None) -> None:  # fmt: skip
        if not isinstance(module, torch.nn.Module):
            raise ArgumentError(explain("from_module", "A torch module is expected.", expected="a torch.nn.Module",
                                        received=type(module).__name__,
                                        fix="a Gluon block needs no wrapping" if isinstance(module, HybridBlock)
                                        else None))  # fmt: skip
        self.__dict__["module"] = module  # _alias asks for its class
        super().__init__(prefix)
        self._call_module = call
        self._pinned = [m for m in module.modules() if module.training and not m.training]
        self._links: list[Link] = []
        self._connect({})

    def _alias(self) -> str:
        return type(self.module).__name__.lower()

    def __repr__(self) -> str:
        inner = repr(self.module).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {inner}\n)"

    def _connect(self, made: dict[str, _TorchParameter]) -> None:
        """Link every parameter and every buffer that is saved; `made` has parameters that exist already, by name."""
        self._links = []
        by_tensor: dict[torch.Tensor, _TorchParameter] = {}
        for name, home, key, buffer in _places(self.module):
            tensor = home[key]
            parameter = by_tensor.get(tensor) or made.get(name)  # tied ones are one
            if parameter is None:
                parameter = _TorchParameter(self, self.prefix + name, tensor, buffer)
                self._params._params[parameter.name] = parameter
            by_tensor[tensor] = self._reg_params[name] = parameter
            self._links.append(Link(parameter, home, key))
            parameter.attach(self._links[-1])

    def __deepcopy__(self, memo: dict[int, Any]) -> TorchBlock:
        made: Any = super().__deepcopy__(memo)
        for parameter in made._reg_params.values():
            parameter.forget()
        made._connect(dict(made._reg_params))
        return made

    def _copied(self, key: str, value: Any, memo: dict[int, Any], made: Any) -> Any:
        return [] if key == "_links" else super()._copied(key, value, memo, made)

    # -- as any block --------------------------------------------------------------------------------------------------
    def hybridize(self, active: bool = True, backend: str | None = None, clear: bool = True, **kwargs: Any) -> None:
        """Do nothing: the module runs as it is. In a hybridized network it is one operator of the graph."""

    def cast(self, dtype: Any) -> None:
        """Change the element type of the module's floating point parameters and buffers."""
        self._clear_cached_op()
        self._moved(as_torch(dtype))

    def move(self, contexts: Sequence[Any]) -> None:
        """Move the whole module to the only device in `contexts`."""
        if len(contexts) != 1:
            raise ContextError(explain(self.name, "A torch module lives on one device.", received=list(contexts),
                                       fix="give one context; torch's DistributedDataParallel does several"))
        self._moved(contexts[0].check())

    def _moved(self, target: torch.dtype | torch.device) -> None:
        self.module.to(target)
        for link in self._links:
            link.adopt()

    # -- running -------------------------------------------------------------------------------------------------------
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, *([_Keywords(kwargs)] if kwargs else []))

    def forward(self, *args: Any) -> Any:
        """Call the module."""
        args = as_arrays(args)
        found, structure = flatten(list(args), (NDArray, Symbolic))
        if not found:
            raise ArgumentError(explain(self.name, "A torch module is called with arrays here.",
                                        received=", ".join(type(a).__name__ for a in args) or "nothing",
                                        fix="wrap tensors with nd.from_torch(t), or call block.module itself"))
        for link in self._links:
            if link.meet() is not None:
                link.adopt()
        tracer = current_tracer()  # what is frozen now may be thawed when a graph runs
        trained = [link for link in self._links if link.parameter._differentiable and link.tensor.is_floating_point()
                   and (tracer is not None or link.tensor.requires_grad)]  # fmt: skip
        trained = list({link.parameter: link for link in trained}.values())
        call = Call(self, structure, len(found), bool(args) and isinstance(args[-1], _Keywords), trained)
        if tracer is not None:
            call.look(tracer, found)
            held = [tracer_symbol(tracer, link.parameter) for link in trained]
        elif any(isinstance(value, Symbolic) for value in found):
            raise UnsupportedError(explain(self.name, "A torch module cannot be composed with symbols.",
                                           fix="net.hybridize() and a call with arrays make a graph of known sizes"))
        else:
            held = [the_array(link.parameter) for link in trained]
        name = None if tracer is None else f"{self.name}_fwd"
        results = invoke(lookup("_torch_module"), [*found, *held], {"call": call}, name=name)
        single = call.count == 1 or not isinstance(results, (list, tuple, Symbol))
        return _named(unflatten(call.result, [results] if single else list(results)), tracer is not None)

    def run(self, args: Sequence[Any], keywords: Mapping[str, Any], training: bool) -> Any:
        """Call the module with tensors, in the given mode."""
        module = self.module
        if module.training is not training:
            module.train(training)
            for part in self._pinned:
                part.training = False
        token = CURRENT.set(None)  # a Gluon network inside the module is no part of the graph around it
        try:
            if self._call_module is not None:
                return self._call_module(module, *args, **keywords)
            return module(*args, **keywords)
        finally:
            CURRENT.reset(token)


@final
class Call:
    """One call of a module: how arguments and results are nested. count : number of results, once it is known"""

    def __init__(self, block: TorchBlock, structure: Any, inputs: int, keywords: bool, links: Sequence[Link]) -> None:
        self.block, self.structure, self.inputs, self.keywords = block, structure, inputs, keywords
        self._links = links  # of the parameters that are inputs of the operator, behind the arguments
        self.count = 0
        self.result: Any = None
        self._types: dict[Any, list[TensorType]] = {}

    @property
    def name(self) -> str:
        """What errors call the module."""
        return self.block.name

    def run(self, given: Sequence[torch.Tensor], training: bool) -> tuple[torch.Tensor, ...]:
        """Call the module; results that share memory with an input or a parameter are copies."""
        args = unflatten(self.structure, given)
        keywords = args.pop() if self.keywords else {}
        try:
            answer = self.block.run(args, keywords, training)
        except MXNetError:
            raise
        except Exception as error:  # whatever the module raises
            raise self._failed(given, error) from error
        found, self.result = flatten(answer, torch.Tensor)
        self.count = len(found)
        if not found:
            raise MXNetError(explain(self.name, "The module returned no tensors that could be found.",
                                     expected="a tensor, or tuples, lists and mappings of tensors",
                                     received=type(answer).__name__,
                                     fix="say what to use: from_module(module, call=lambda m, x: m(x).logits)"))
        if torch.compiler.is_exporting():
            return tuple(found)  # they have no memory
        inputs = {t.untyped_storage().data_ptr() for t in given} - {0}
        return tuple(t.clone() if (t.is_leaf and t.requires_grad) or t.untyped_storage().data_ptr() in inputs else t
                     for t in found)  # fmt: skip

    def _failed(self, given: Sequence[torch.Tensor], error: Exception) -> MXNetError:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        indices = "Long" in first or "Int" in first
        return MXNetError(explain(
            self.name, f"The torch module raised {type(error).__name__}: {first}",
            received=", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in given),
            fix="arrays are float32 unless you say otherwise; indices: x.astype('int64')" if indices else None))

    def trained(self) -> list[torch.Tensor]:
        """Return the tensors of the parameters that are inputs of the operator, in their order."""
        return [link.tensor for link in self._links]

    def look(self, tracer: Tracer, given: Sequence[Any]) -> None:
        """Find out what the module returns for what stands in a graph."""
        kinds = [TensorType(v.shape, v._t.dtype) if isinstance(v, NDArray) else tracer.type_of(v._outputs[0])
                 for v in given]  # fmt: skip
        if not all(kind.known for kind in kinds):
            raise MXNetError(explain(self.name, "What a torch module returns is known only for arrays of known shape.",
                                     received=[kind.shape for kind in kinds],
                                     fix="call the hybridized network with arrays once"))
        self.types(kinds, tracer.training)

    def types(self, kinds: Sequence[TensorType], training: bool) -> list[TensorType]:
        """Return the types of the results: those of a run on zeros, which leaves no trace."""
        key = (tuple(kinds[:self.inputs]), training)
        if key not in self._types:
            module = self.block.module
            place = next((link.tensor.device for link in self.block._links), torch.device("cpu"))
            with torch.no_grad(), torch.random.fork_rng([place] if place.type == "cuda" else []), _undone(module):
                shapes = [[size or 0 for size in kind.shape or ()] for kind in key[0]]
                zeros = [torch.zeros(shape, dtype=kind.dtype, device=place) for shape, kind in zip(shapes, key[0])]
                found = self.run(zeros, training)
            self._types[key] = [TensorType(tuple(t.shape), t.dtype) for t in found]
        return self._types[key]


@contextmanager
def _undone(module: torch.nn.Module) -> Iterator[None]:
    """Give all buffers the values back that they had, and the module its mode."""
    modes = [(part, part.training) for part in module.modules()]
    tables = [aten.tables_of(part)[1] for part in module.modules()]
    held = [(table, name, b, b.clone()) for table in tables for name, b in table.items() if b is not None]
    try:
        yield
    finally:
        for table, name, buffer, values in held:
            table[name] = buffer.copy_(values)
        for part, mode in modes:
            part.training = mode


def _named(value: Any, traced: bool) -> Any:
    """Return results with `Outputs` in the place of mappings; in a trace nothing else but numbers and text is true of
    the calls to come.
    """
    if isinstance(value, dict):
        return Outputs({str(k): _named(v, traced) for k, v in value.items()})
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)([_named(v, traced) for v in value])
    if traced and not isinstance(value, (Symbol, NDArray, tuple, str, int, float, type(None))):
        return _Untold(type(value).__name__)
    return value


@final
class _Untold:
    """Stands in a trace for an object that a module returned: what it holds differs from call to call."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise UnsupportedError(explain(
            self._name, f"A hybridized network cannot read {attribute!r} of an object that a torch module returned.",
            expected="tensors, and tuples, lists and mappings of tensors",
            fix="from_module(m, call=...) can take the tensors out; or leave this network imperative"))


def _places(module: torch.nn.Module) -> Iterator[tuple[str, dict[str, Any], str, bool]]:
    """Yield (name, table, key there, is it a buffer) of all parameters and saved buffers; tied ones under each name."""
    for path, part in module.named_modules(remove_duplicate=False):
        start = f"{path}." if path else ""
        parameters, buffers, _ = aten.tables_of(part)
        for key, tensor in parameters.items():
            if tensor is None:
                continue
            if is_lazy(tensor) or tensor.is_meta:
                raise ArgumentError(explain("from_module", f"The parameter {start + key!r} was not made yet.",
                                            received="a meta tensor" if tensor.is_meta else type(tensor).__name__,
                                            fix="call the module with data once, or load its weights, before"))
            yield start + key, parameters, key, False
        for key in aten.saved_buffers(part):
            yield start + key, buffers, key, True


@final
class _TorchParameter(Parameter):
    """A parameter whose values belong to a torch module: it changes them in place."""

    def __init__(self, block: TorchBlock, name: str, tensor: torch.Tensor, buffer: bool) -> None:
        self._block = block
        self._own: list[Link] = []
        init = "zeros" if name.endswith("bias") else "ones" if tensor.dim() < 2 else None
        super().__init__(name, "null" if buffer or not tensor.requires_grad else "write", tuple(tensor.shape),
                         declared(tensor), init=init, differentiable=not buffer)  # fmt: skip
        self._array = NDArray(tensor)

    def attach(self, link: Link) -> None:
        """Share the tensor of a link (of several, where the module has it under several names)."""
        if not self._own:
            share(self._array, link.tensor, self._grad_req)
            self._data = {self._array._ctx: self._array}
        self._own.append(link)

    def forget(self) -> None:
        """Share no tensor: this is a copy."""
        self._own = []

    @property
    def grad_req(self) -> str:
        """What backward does with the gradient; torch's `requires_grad` follows."""
        return self._grad_req

    @grad_req.setter
    def grad_req(self, req: str) -> None:
        Parameter.grad_req.__set__(self, req)
        for link in self._own:
            link.meet()

    def initialize(self, init: Any = None, ctx: Any = None, default_init: Any = None,
                   force_reinit: bool = False) -> None:
        """Keep the values that the module has; with `force_reinit` overwrite those of parameters (not of buffers)."""
        if force_reinit and self._differentiable:
            super().initialize(init, ctx, default_init, force_reinit)
        elif ctx is not None:
            self.reset_ctx(ctx)

    def _make(self, data: NDArray, contexts: list[Context]) -> None:
        self._data = {self._array._ctx: self._array}
        self._block.move(contexts)
        self.set_data(data)

    def cast(self, dtype: Any) -> None:
        """Change the element type of a floating point tensor, in place."""
        for link in self._own:
            if link.tensor.is_floating_point():
                link.tensor.grad = None
                link.tensor.data = link.tensor.data.to(as_torch(dtype))
                link.adopt()
