"""Initialisers: what fills a parameter before training. Also reachable as `mx.init`.

The one idea: an initialiser is asked with the parameter's *name*, and the name's ending decides: weights get the
initialiser's own rule (`_init_weight`), biases 0, gamma 1, running variances 1 (ENDINGS below). A parameter's own
initialiser, the ``__init__`` attribute of its `InitDesc`, goes before all of that. When parameters are filled is the
business of `gluon/parameter.py`.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from . import ndarray as nd
from .base.errors import ArgumentError, explain
from .base.registry import Registry
from .ndarray import NDArray

__all__ = [
    "InitDesc",
    "Initializer",
    "register",
    "alias",
    "create",
    "Zero",
    "One",
    "Constant",
    "Uniform",
    "Normal",
    "Orthogonal",
    "Xavier",
    "MSRAPrelu",
    "Bilinear",
    "LSTMBias",
    "FusedRNN",
    "Mixed",
    "Load",
]

InitializerClass = TypeVar("InitializerClass", bound="type[Initializer]")

# Which method fills a parameter whose name ends like this; the first that fits.
ENDINGS: tuple[tuple[str, str], ...] = (
    ("weight", "_init_weight"),
    ("bias", "_init_bias"),
    ("gamma", "_init_gamma"),
    ("beta", "_init_beta"),
    ("running_mean", "_init_zero"),
    ("running_var", "_init_one"),
    ("moving_mean", "_init_zero"),
    ("moving_var", "_init_one"),
    ("moving_inv_var", "_init_zero"),
    ("moving_avg", "_init_zero"),
    ("min", "_init_zero"),
    ("max", "_init_one"),
)


class InitDesc(str):
    """The name of a parameter, with its attributes and the initialiser of the whole network.

    Examples
    --------
    >>> import glueball as mx
    >>> description = mx.init.InitDesc("fc1_weight", attrs={"lr_mult": "2"})
    >>> description, description.attrs["lr_mult"]
    ('fc1_weight', '2')
    """

    attrs: dict[str, str]
    global_init: Initializer | None

    def __new__(
        cls, name: str, attrs: dict[str, str] | None = None, global_init: Initializer | None = None
    ) -> InitDesc:
        made = super().__new__(cls, name)
        made.attrs = attrs or {}
        made.global_init = global_init
        return made


class Initializer:
    """Base class: override ``_init_weight(self, name, arr)``, and any other rule of `ENDINGS`, and write into
    ``arr[:]``.

    Keyword arguments are what the subclass was made with; `dumps` writes them down.

    Examples
    --------
    >>> import glueball as mx
    >>> @mx.init.register
    ... class Counting(mx.init.Initializer):
    ...     def _init_weight(self, name, arr):
    ...         arr[:] = mx.nd.arange(arr.size).reshape(arr.shape)
    >>> weight, bias = mx.nd.empty((2, 2)), mx.nd.empty((2,))
    >>> initializer = mx.init.create("counting")
    >>> initializer(mx.init.InitDesc("fc_weight"), weight)
    >>> initializer(mx.init.InitDesc("fc_bias"), bias)
    >>> weight.asnumpy().tolist(), bias.asnumpy().tolist()
    ([[0.0, 1.0], [2.0, 3.0]], [0.0, 0.0])
    """

    def __init__(self, **kwargs: Any) -> None:
        self._kwargs = kwargs
        self._report: Callable[[NDArray], str] | None = None

    def set_verbosity(self, verbose: bool = False, print_func: Callable[[NDArray], str] | None = None) -> Initializer:
        """Log each parameter that is filled (level INFO), with `print_func` of its values (root mean square)."""
        self._report = (print_func or _root_mean_square) if verbose else None
        return self

    def dumps(self) -> str:
        """Return the JSON text ``["name", {arguments}]``, which `create` reads.

        >>> import glueball as mx
        >>> mx.init.Uniform(0.1).dumps()
        '["uniform", {"scale": 0.1}]'
        """
        return json.dumps([type(self).__name__.lower(), self._kwargs], default=_plain)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Initializer) and type(self) is type(other) and self.dumps() == other.dumps()

    def __hash__(self) -> int:
        return hash(self.dumps())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._kwargs.items())})"

    def __call__(self, desc: str, arr: NDArray) -> None:
        """Fill `arr` for the parameter that `desc` names."""
        if not isinstance(desc, str):
            raise _refusal(
                type(self).__name__,
                "An initializer is called with a name and an array.",
                expected="a str or mx.init.InitDesc",
                received=type(desc).__name__,
            )
        if not isinstance(desc, InitDesc):
            desc = InitDesc(desc)
        if desc.global_init is None:
            desc.global_init = self
        own = desc.attrs.get("__init__")
        if own:
            create(own)._init_weight(desc, arr)
        else:
            method = next((method for ending, method in ENDINGS if desc.endswith(ending)), "_init_default")
            getattr(self, method)(desc, arr)
        if self._report is not None:
            logging.getLogger("glueball").info("Initialized %s by %s: %s", desc, own or self, self._report(arr))

    def _init_weight(self, name: str, arr: NDArray) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _init_weight(self, name, arr) to fill {name!r}.")

    def _init_zero(self, name: str, arr: NDArray) -> None:
        arr[:] = 0.0

    def _init_one(self, name: str, arr: NDArray) -> None:
        arr[:] = 1.0

    _init_bias = _init_beta = _init_zero
    _init_gamma = _init_one

    def _init_default(self, name: str, arr: NDArray) -> None:
        raise _refusal(
            type(self).__name__,
            f"It cannot tell from the name {str(name)!r} what kind of parameter this is.",
            expected=f"a name that ends in {', '.join(ending for ending, _ in ENDINGS)}",
            received=str(name),
            fix="give the parameter its own initializer: self.params.get('scale', shape=…, init=mx.init.One()), "
            "or end its name in '_weight' to use the network's",
        )


def _refusal(where: str, problem: str, **parts: Any) -> ArgumentError:
    return ArgumentError(explain(where, problem, **parts))


def _plain(value: Any) -> Any:
    """What JSON cannot write by itself: arrays and other initialisers."""
    if isinstance(value, Initializer):
        return value.dumps()
    return value.asnumpy().tolist() if isinstance(value, NDArray) else np.asarray(value).tolist()


def _root_mean_square(arr: NDArray) -> str:
    return str(math.sqrt(float(np.mean(arr.asnumpy().astype(np.float64) ** 2))))


_registry: Registry[Initializer] = Registry("initializer", Initializer)


def register(klass: InitializerClass) -> InitializerClass:
    """Register an initialiser class under its lower-case name."""
    _registry.register(klass)
    return klass


def alias(*aliases: str) -> Callable[[InitializerClass], InitializerClass]:
    """Return a decorator that registers an initialiser class under further names."""
    return _registry.alias(*aliases)  # type: ignore[return-value]


def create(*args: Any, **kwargs: Any) -> Initializer:
    """Return an initialiser for an instance, a registered name (any case) or the JSON text of `Initializer.dumps`.

    Raises
    ------
    ArgumentError
        For an unknown name, with the closest known ones.

    Examples
    --------
    >>> import glueball as mx
    >>> mx.init.create("normal", sigma=0.1), mx.init.create('["constant", {"value": 3}]')
    (Normal(sigma=0.1), Constant(value=3))
    """
    return _registry.create(*args, **kwargs)


def _draw(arr: NDArray, kind: str, scale: float) -> NDArray:
    """Return float32 random numbers of the array's shape: uniform in ±scale, or normal of that standard deviation."""
    if kind == "uniform":
        return nd.random.uniform(-scale, scale, shape=arr.shape, ctx=arr.context)
    return nd.random.normal(0.0, scale, shape=arr.shape, ctx=arr.context)


def _fill(arr: NDArray, values: NDArray) -> None:
    arr[:] = values if values.dtype == arr.dtype else values.astype(arr.dtype)


@alias("zeros")
class Zero(Initializer):
    """Fill with 0."""

    _init_weight = Initializer._init_zero


@alias("ones")
class One(Initializer):
    """Fill with 1."""

    _init_weight = Initializer._init_one


@register
class Constant(Initializer):
    """Fill with a number, or with the values of an array of the parameter's shape."""

    def __init__(self, value: Any) -> None:
        super().__init__(value=value)
        self.value = value

    def _init_weight(self, name: str, arr: NDArray) -> None:
        arr[:] = np.asarray(self.value) if isinstance(self.value, (list, tuple)) else self.value


@register
class Uniform(Initializer):
    """Fill uniformly from [−scale, scale]: the default of Gluon, with 0.07."""

    def __init__(self, scale: float = 0.07) -> None:
        super().__init__(scale=scale)
        self.scale = scale

    def _init_weight(self, name: str, arr: NDArray) -> None:
        _fill(arr, _draw(arr, "uniform", self.scale))


@register
class Normal(Initializer):
    """Fill from the normal distribution of mean 0 and standard deviation sigma."""

    def __init__(self, sigma: float = 0.01) -> None:
        super().__init__(sigma=sigma)
        self.sigma = sigma

    def _init_weight(self, name: str, arr: NDArray) -> None:
        _fill(arr, _draw(arr, "gaussian", self.sigma))


@register
class Orthogonal(Initializer):
    """Fill with orthogonal rows (or columns, whichever are fewer), each of length `scale`.

    Parameters
    ----------
    scale : float, default 1.414
    rand_type : {'uniform', 'normal'}
        From what the orthogonal matrix is made.

    Notes
    -----
    *Source*: Saxe, McClelland and Ganguli 2014. All axes but the first are taken as one.
    """

    def __init__(self, scale: float = 1.414, rand_type: str = "uniform") -> None:
        super().__init__(scale=scale, rand_type=rand_type)
        if rand_type not in ("uniform", "normal"):
            raise _refusal(
                "Orthogonal", "Unknown rand_type.", expected="'uniform' or 'normal'", received=repr(rand_type)
            )
        self.scale = scale
        self.rand_type = rand_type

    def _init_weight(self, name: str, arr: NDArray) -> None:
        draw = _draw(arr, self.rand_type, 1.0).asnumpy().reshape(arr.shape[0], -1)
        left, _, right = np.linalg.svd(draw, full_matrices=False)
        rows = left if left.shape == draw.shape else right
        arr[:] = (self.scale * rows).reshape(arr.shape).astype(np.float32)


@register
class Xavier(Initializer):
    r"""Fill so that signals keep their size from layer to layer: by default uniform in ±√(3/((fan_in + fan_out)/2)).

    Parameters
    ----------
    rnd_type : {'uniform', 'gaussian'}
        Uniform in ±s, or normal of standard deviation s, with s = √(magnitude/factor).
    factor_type : {'avg', 'in', 'out'}
        The factor: the mean of fan_in and fan_out, or one of them.
    magnitude : float, default 3

    Notes
    -----
    fan_in = shape[1]·k and fan_out = shape[0]·k, k the product of the other axes. *Source*: Glorot and Bengio 2010.
    """

    def __init__(self, rnd_type: str = "uniform", factor_type: str = "avg", magnitude: float = 3) -> None:
        super().__init__(rnd_type=rnd_type, factor_type=factor_type, magnitude=magnitude)
        if rnd_type not in ("uniform", "gaussian"):
            raise _refusal(
                type(self).__name__, "Unknown random type.", expected="'uniform' or 'gaussian'", received=repr(rnd_type)
            )
        if factor_type not in ("avg", "in", "out"):
            raise _refusal(
                type(self).__name__,
                "Incorrect factor type.",
                expected="'avg', 'in' or 'out'",
                received=repr(factor_type),
            )
        self.rnd_type = rnd_type
        self.factor_type = factor_type
        self.magnitude = float(magnitude)

    def _init_weight(self, name: str, arr: NDArray) -> None:
        if len(arr.shape) < 2:
            raise _refusal(
                type(self).__name__,
                f"Parameter {str(name)!r} is a vector: it has no fan-in and fan-out.",
                expected="two axes or more",
                received=f"shape {arr.shape}",
                fix="give this parameter its own initializer, for example init=mx.init.Uniform()",
            )
        kernel = math.prod(arr.shape[2:])
        fan_in, fan_out = arr.shape[1] * kernel, arr.shape[0] * kernel
        factor = {"avg": (fan_in + fan_out) / 2.0, "in": fan_in, "out": fan_out}[self.factor_type]
        _fill(arr, _draw(arr, self.rnd_type, math.sqrt(self.magnitude / factor)))


@register
class MSRAPrelu(Xavier):
    """`Xavier` for layers followed by ReLU or PReLU: normal, of magnitude 2/(1 + slope²).

    *Source*: He et al. 2015.
    """

    def __init__(self, factor_type: str = "avg", slope: float = 0.25) -> None:
        super().__init__("gaussian", factor_type, 2.0 / (1.0 + slope**2))
        self._kwargs = {"factor_type": factor_type, "slope": slope}


@register
class Bilinear(Initializer):
    """Fill a Deconvolution's weight so that it upsamples bilinearly; every pair of channels gets the same kernel."""

    def _init_weight(self, name: str, arr: NDArray) -> None:
        if len(arr.shape) < 2:
            raise _refusal(
                "Bilinear",
                f"Parameter {str(name)!r} is no convolution weight.",
                expected="at least two axes",
                received=f"shape {arr.shape}",
            )
        width = arr.shape[-1]
        factor = math.ceil(width / 2.0)
        centre = (2 * factor - 1 - factor % 2) / (2.0 * factor)
        rows, columns = (1.0 - np.abs(np.arange(size) / factor - centre) for size in arr.shape[-2:])
        arr[:] = np.broadcast_to(np.outer(rows, columns), arr.shape).astype(np.float32)


@register
class LSTMBias(Initializer):
    """Fill an LSTM's bias with 0, and the quarter of the forget gate (gates i, f, c, o) with `forget_bias`.

    *Source*: Jozefowicz, Zaremba and Sutskever 2015.
    """

    def __init__(self, forget_bias: float = 1.0) -> None:
        super().__init__(forget_bias=forget_bias)
        self.forget_bias = forget_bias

    def _init_weight(self, name: str, arr: NDArray) -> None:
        hidden = arr.shape[0] // 4
        arr[:] = 0.0
        arr[hidden : 2 * hidden] = self.forget_bias


@register
class FusedRNN(Initializer):
    """Fill the packed parameter vector of a fused RNN operator piece by piece, gate by gate.

    Parameters
    ----------
    init : Initializer, str or None
        For the weights of each gate; None takes the network's initialiser. Biases get 0.
    num_hidden, num_layers : int
    mode : {'lstm', 'gru', 'rnn_relu', 'rnn_tanh'}
    bidirectional : bool, default False
    forget_bias : float, default 1
        For both biases of an LSTM's forget gate.
    """

    GATES = {"lstm": ("_i", "_f", "_c", "_o"), "gru": ("_r", "_z", "_o"), "rnn_relu": ("",), "rnn_tanh": ("",)}

    def __init__(
        self,
        init: Any,
        num_hidden: int,
        num_layers: int,
        mode: str,
        bidirectional: bool = False,
        forget_bias: float = 1.0,
    ) -> None:
        if mode not in self.GATES:
            raise _refusal("FusedRNN", "Unknown mode.", expected=" or ".join(self.GATES), received=repr(mode))
        self._init = None if init is None else create(init)
        super().__init__(
            init=None if self._init is None else self._init.dumps(),
            num_hidden=num_hidden,
            num_layers=num_layers,
            mode=mode,
            bidirectional=bidirectional,
            forget_bias=forget_bias,
        )
        self._num_hidden = num_hidden
        self._num_layers = num_layers
        self._mode = mode
        self._directions = ("l", "r") if bidirectional else ("l",)
        self._forget_bias = forget_bias

    def _pieces(self, size: int) -> list[tuple[str, tuple[int, ...]]]:
        """Name and shape of every piece of a vector of `size` elements, in the order in which they are packed."""
        hidden, gates, sides = self._num_hidden, self.GATES[self._mode], len(self._directions)
        # size = gates·hidden·sides·(input + hidden + 2 + (layers − 1)·(sides·hidden + hidden + 2)), solved for input:
        deeper = (self._num_layers - 1) * (sides * hidden + hidden + 2)
        inputs, rest = divmod(size, len(gates) * hidden * sides)
        inputs -= hidden + 2 + deeper
        if rest or inputs < 1:
            raise _refusal(
                "FusedRNN",
                "The parameter vector does not fit the network.",
                expected=f"a multiple of {len(gates) * hidden * sides} elements",
                received=size,
                fix="check num_hidden, num_layers, mode and bidirectional",
            )
        weights, biases = [], []
        for layer in range(self._num_layers):
            width = inputs if layer == 0 else sides * hidden
            for side in self._directions:
                for part, columns in (("i2h", width), ("h2h", hidden)):
                    weights += [(f"{side}{layer}_{part}{gate}_weight", (hidden, columns)) for gate in gates]
                    biases += [(f"{side}{layer}_{part}{gate}_bias", (hidden,)) for gate in gates]
        return weights + biases

    def _init_weight(self, name: str, arr: NDArray) -> None:
        inner = self._init if self._init is not None else getattr(name, "global_init", None)
        if inner is None or isinstance(inner, FusedRNN):
            raise _refusal(
                "FusedRNN",
                f"There is no initializer for the weights inside {str(name)!r}.",
                fix="pass one: FusedRNN(mx.init.Xavier(), …)",
            )
        position = 0
        for piece, shape in self._pieces(arr.size):
            part = nd.zeros(shape, ctx=arr.context)
            if piece.endswith("_weight"):
                inner(InitDesc(piece, global_init=inner), part)
            elif self._mode == "lstm" and piece.endswith("_f_bias"):
                part[:] = self._forget_bias
            arr[position : position + part.size] = part.reshape((-1,))
            position += part.size


@register
class Mixed(Initializer):
    """Choose an initialiser by the first regular expression that fits the parameter's name.

    Examples
    --------
    >>> import glueball as mx
    >>> mixed = mx.init.Mixed(["special", ".*"], [mx.init.One(), mx.init.Zero()])
    >>> weight = mx.nd.empty((2,))
    >>> mixed("special_weight", weight)
    >>> weight.asnumpy().tolist()
    [1.0, 1.0]
    """

    def __init__(self, patterns: Sequence[str], initializers: Sequence[Any]) -> None:
        if len(patterns) != len(initializers):
            raise _refusal(
                "Mixed",
                "Patterns and initializers differ in number.",
                expected=f"{len(patterns)} initializers",
                received=len(initializers),
            )
        made = [create(each) for each in initializers]
        super().__init__(patterns=list(patterns), initializers=[each.dumps() for each in made])
        self.map = list(zip([re.compile(pattern) for pattern in patterns], made))

    def _init_weight(self, name: str, arr: NDArray) -> None:
        self(InitDesc(name), arr)  # of a whole network: the description names this object as its __init__

    def __call__(self, desc: str, arr: NDArray) -> None:
        for pattern, initializer in self.map:
            if pattern.match(desc):
                initializer(desc, arr)
                return
        raise _refusal(
            "Mixed",
            f"No pattern fits the parameter {str(desc)!r}.",
            expected=" or ".join(pattern.pattern for pattern, _ in self.map),
            received=str(desc),
            fix="add a last pattern '.*' with a default initializer",
        )


@register
class Load(Initializer):
    """Fill from saved arrays by name; whatever is not among them gets `default_init`.

    Parameters
    ----------
    param : str or dict of str to NDArray
        A ``.params`` file, or what `nd.load` returns; prefixes ``arg:`` and ``aux:`` are dropped.
    default_init : Initializer, optional
    verbose : bool, default False
        Log (level INFO) where each parameter came from.
    """

    def __init__(self, param: Any, default_init: Any = None, verbose: bool = False) -> None:
        loaded = nd.load(param) if isinstance(param, str) else param
        if not isinstance(loaded, dict):
            raise _refusal(
                "Load",
                "The arrays must have names.",
                expected="a dict of name to NDArray, or a file of one",
                received=type(loaded).__name__,
            )
        super().__init__(default_init=default_init, verbose=verbose)
        self.param = {name.removeprefix("arg:").removeprefix("aux:"): array for name, array in loaded.items()}
        self.default_init = None if default_init is None else create(default_init)
        self.verbose = verbose

    def _init_weight(self, name: str, arr: NDArray) -> None:
        self(InitDesc(name), arr)  # of a whole network: the description names this object as its __init__

    def __call__(self, desc: str, arr: NDArray) -> None:
        found = self.param.get(str(desc))
        if found is not None and tuple(found.shape) != tuple(arr.shape):
            raise _refusal(
                "Load",
                f"The saved {str(desc)!r} has another shape.",
                expected=tuple(arr.shape),
                received=tuple(found.shape),
                fix="load the file that belongs to this network",
            )
        if found is not None:
            arr[:] = found.asnumpy()
        elif self.default_init is not None:
            self.default_init(desc, arr)
        else:
            raise _refusal(
                "Load",
                f"{str(desc)!r} is not among the saved parameters.",
                received=", ".join(sorted(self.param)),
                fix="pass default_init=mx.init.Uniform() for parameters that are not in the file",
            )
        if self.verbose:
            logging.getLogger("glueball").info(
                "%s: %s", desc, "loaded" if found is not None else f"initialized by {self.default_init}"
            )
