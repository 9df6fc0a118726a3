"""exp, tanh, sigmoid, log, erf … as straight lines of vector arithmetic in LLVM's language.

The one idea: each function is reduced to a short interval and a polynomial there, with comparisons and selections
instead of branches, so a whole vector goes through it at once; integer operations on the bits make and take powers of
two. Only multiplication, addition, division, comparison and shifts occur, so every processor that LLVM knows runs it;
where there is an instruction for scaling by powers of two (AVX-512), it takes the place of eight others.
Errors are 1 to 3 units in the last place; infinities, NaN, subnormal numbers and -0.0 come out as from torch.

The coefficients were fitted by Remez' exchange in 50 digits (maximal errors are beside them). Not here: memory, loops
and the meaning of expressions (emit.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import inf, nan
from typing import final

__all__ = ["Format", "FORMATS", "Writer", "FUNCTIONS"]


@final
@dataclass(frozen=True, slots=True)
class Format:
    """What depends on the element type.

    name, integer : LLVM's names of the type and of the integer of its size; size in bytes
    mantissa, bias : of the type; magic : 1.5 · 2**mantissa, added to round to whole numbers
    exp_low, exp_high : beyond them eˣ is 0 and infinite; ln2_high, ln2_low : log 2 in two parts, the first with
        trailing zeros; tanh_high : beyond it tanh(x/2) is 1; erf_high : beyond it erf is 1
    exp_q : (eʳ - 1 - r) / r² on |r| ≤ log(2)/2
    log_r : (log((1+s)/(1-s)) - 2s) / s³ in s² for √½ ≤ (1+s)/(1-s) ≤ √2
    erf_p : erf(x)/x in x² for |x| ≤ 1;  erf_w : exp(x²)·(1 - erf(x)) in 1/(1 + x/2) for 1 ≤ x ≤ erf_high
    """

    name: str
    integer: str
    size: int
    mantissa: int
    bias: int
    magic: float
    exp_low: float
    exp_high: float
    ln2_high: float
    ln2_low: float
    tanh_high: float
    erf_high: float
    exp_q: tuple[float, ...]
    log_r: tuple[float, ...]
    erf_p: tuple[float, ...]
    erf_w: tuple[float, ...]

    def bits(self, value: float) -> int:
        """Return the number's bits as an integer."""
        return struct.unpack("<q", struct.pack("<d", value))[0] if self.size == 8 else (
            struct.unpack("<i", struct.pack("<f", value))[0]
        )


_FLOAT = Format(
    name="float", integer="i32", size=4, mantissa=23, bias=127, magic=12582912.0,
    exp_low=-105.0, exp_high=89.0, ln2_high=0.693359375, ln2_low=-2.1219444005469057e-04,
    tanh_high=20.0, erf_high=4.0,
    exp_q=(0.50000001, 0.166665178, 0.0416662035, 0.00836902886, 0.00139506956),  # 3e-9
    log_r=(0.666666656, 0.400003371, 0.285371724, 0.235849417),  # 1e-11
    erf_p=(1.12837917, -0.376126271, 0.112836002, -0.0268544456, 0.00518953646, -0.00080208457, 7.88911916e-5),  # 1e-9
    erf_w=(0.00207361768, 0.257079521, 0.408164941, -0.0906532173, 0.670542537, -0.254084014, 0.00665166131),  # 2e-11
)  # fmt: skip
_DOUBLE = Format(
    name="double", integer="i64", size=8, mantissa=52, bias=1023, magic=6755399441055744.0,
    exp_low=-746.0, exp_high=710.0, ln2_high=6.93147180369123816490e-01, ln2_low=1.90821492927058770002e-10,
    tanh_high=44.0, erf_high=6.0,
    exp_q=(0.50000000000000121, 0.16666666666666699, 0.041666666666518438, 0.0083333333333072215,
           0.0013888888946572131, 0.00019841269917588684, 2.4801490136659833e-5, 2.7557215961308727e-6,
           2.7631285239452544e-7, 2.5118006265099148e-8),  # 4e-18
    log_r=(0.66666666666667353, 0.39999999999407717, 0.2857142874409784, 0.22222198382444017, 0.18183574978132435,
           0.15313760187374565, 0.14799024695633343),  # 3e-18
    erf_p=(1.1283791670955126, -0.37612638903183547, 0.11283791670945253, -0.026866170643276218,
           0.0052239776074234678, -0.0008548325989696758, 0.00012055295320494294, -1.492474466333549e-5,
           1.6447517677871874e-6, -1.6209175911748696e-7, 1.3722976265924503e-8, -7.8011888740977516e-10),  # 7e-18
    erf_w=(-2.0322273774752474e-6, 0.28215001695937697, 0.28140869658920891, 0.25196496019106808,
           0.15076831959670947, 0.17141817994674818, -0.20935410570917761, 0.23636005993187537,
           -0.16813576735016661, -0.51606984451191338, 1.332074667435274, -1.4065327432171804,
           0.81947004460877701, -0.26181450520543551, 0.036294276799963864),  # 1e-20
)  # fmt: skip
FORMATS: Mapping[str, Format] = {"float32": _FLOAT, "float64": _DOUBLE}


@final
class Writer:
    """Writes instructions on vectors of `width` elements; a value is its name in LLVM's text."""

    def __init__(self, kind: Format, width: int) -> None:
        self.kind, self.width = kind, width
        self.vector, self.whole = f"<{width} x {kind.name}>", f"<{width} x {kind.integer}>"
        self.mask = f"<{width} x i1>"
        self.suffix = f"v{width}f{kind.size * 8}"
        self.scales = width * kind.size == 64  # only AVX-512 has vectors of this size
        self.lines: list[str] = []
        self.declared: set[str] = set()
        self._count = 0

    def put(self, text: str) -> str:
        """Write an instruction and return its result's name."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def number(self, value: float) -> str:
        """Return a constant, rounded to the element type."""
        if self.kind.size == 4:
            try:
                value = struct.unpack("<f", struct.pack("<f", value))[0]
            except OverflowError:
                value = inf if value > 0 else -inf
        bits = struct.unpack("<Q", struct.pack("<d", value))[0]  # LLVM writes floats as the equal double
        return f"splat ({self.kind.name} 0x{bits:016X})"

    def integer(self, value: int) -> str:
        """Return a constant of the integer type."""
        return f"splat ({self.kind.integer} {value})"

    def binary(self, op: str, a: str, b: str) -> str:
        """fadd, fsub, fmul, fdiv."""
        return self.put(f"{op} {self.vector} {a}, {b}")

    def bitwise(self, op: str, a: str, b: str) -> str:
        """Integer operations: add, sub, and, shl, ashr."""
        return self.put(f"{op} {self.whole} {a}, {b}")

    def call(self, name: str, *args: str) -> str:
        """Call an intrinsic on vectors."""
        v = self.vector
        self.declared.add(f"declare {v} @llvm.{name}.{self.suffix}({', '.join([v] * len(args))})")
        return self.put(f"call {v} @llvm.{name}.{self.suffix}({', '.join(f'{v} {a}' for a in args)})")

    def fma(self, a: str, b: str, c: str) -> str:
        """a·b + c, rounded once where the processor can; results do not rely on it."""
        return self.call("fmuladd", a, b, c)

    def choose(self, predicate: str, a: str, b: str, yes: str, no: str) -> str:
        """Select by a comparison (olt, ole, oeq, une, ult, ugt, uno …)."""
        condition = self.put(f"fcmp {predicate} {self.vector} {a}, {b}")
        return self.put(f"select {self.mask} {condition}, {self.vector} {yes}, {self.vector} {no}")

    def as_whole(self, a: str) -> str:
        """The bits as integers."""
        return self.put(f"bitcast {self.vector} {a} to {self.whole}")

    def as_float(self, a: str) -> str:
        """Integers as the numbers with these bits."""
        return self.put(f"bitcast {self.whole} {a} to {self.vector}")

    def polynomial(self, x: str, coefficients: tuple[float, ...]) -> str:
        """c₀ + c₁x + c₂x² + …"""
        total = self.number(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self.fma(total, x, self.number(coefficient))
        return total

    def power_of_two(self, n: str) -> str:
        """2ⁿ for whole n in the range of normal numbers."""
        return self.as_float(self.bitwise("shl", self.bitwise("add", n, self.integer(self.kind.bias)),
                                          self.integer(self.kind.mantissa)))  # fmt: skip

    def scaled(self, x: str, n: str) -> str:
        """x · 2ⁿ for whole numbers n, rounded once; where `scales`."""
        v, name = self.vector, f"llvm.x86.avx512.mask.scalef.p{'s' if self.kind.size == 4 else 'd'}.512"
        mask = f"i{self.width}"
        self.declared.add(f"declare {v} @{name}({v}, {v}, {v}, {mask}, i32)")
        return self.put(f"call {v} @{name}({v} {x}, {v} {n}, {v} {x}, {mask} -1, i32 4)")

    def limited(self, x: str, low: float | None, high: float) -> str:
        """Clamp; NaN stays."""
        if low is not None:
            x = self.choose("olt", x, self.number(low), self.number(low), x)
        return self.choose("ogt", x, self.number(high), self.number(high), x)


def _parts(w: Writer, x: str) -> tuple[Callable[[], str], str, str]:
    """Return whole n as what writes an integer and as a number, and q = e**r - 1, with x = n·log(2) + r."""
    k = w.kind
    shifted = w.fma(x, w.number(1 / 0.6931471805599453), w.number(k.magic))
    rounded = w.binary("fsub", shifted, w.number(k.magic))
    r = w.fma(rounded, w.number(-k.ln2_low), w.fma(rounded, w.number(-k.ln2_high), x))
    q = w.fma(w.binary("fmul", r, r), w.polynomial(r, k.exp_q), r)  # |r| ≤ log(2)/2
    return cache(lambda: w.bitwise("sub", w.as_whole(shifted), w.integer(k.bits(k.magic)))), rounded, q


def _reduced(w: Writer, x: str) -> tuple[str, str]:
    """Return whole n as an integer and q = e**r - 1 with x = n·log(2) + r."""
    n, _, q = _parts(w, x)
    return n(), q


def _exp(w: Writer, x: str) -> str:
    n, rounded, q = _parts(w, w.limited(x, w.kind.exp_low, w.kind.exp_high))
    y = w.binary("fadd", q, w.number(1.0))
    if w.scales:
        return w.scaled(y, rounded)
    half = w.bitwise("ashr", n(), w.integer(1))  # two steps, so that subnormal and huge results pass, too
    y = w.binary("fmul", y, w.power_of_two(half))
    return w.binary("fmul", y, w.power_of_two(w.bitwise("sub", n(), half)))


def _expm1(w: Writer, x: str) -> str:
    n, q = _reduced(w, w.limited(x, -44.0, w.kind.exp_high))
    s = w.power_of_two(w.bitwise("sub", n, w.integer(1)))  # half of 2**n, which may be too large
    y = w.fma(s, q, w.binary("fsub", s, w.number(0.5)))
    return w.call("copysign", w.binary("fadd", y, y), x)


def _tanh(w: Writer, x: str) -> str:
    size = w.call("fabs", x)
    n, q = _reduced(w, w.limited(w.binary("fadd", size, size), None, w.kind.tanh_high))
    s = w.power_of_two(n)
    e = w.fma(s, q, w.binary("fsub", s, w.number(1.0)))  # exp(2|x|) - 1
    return w.call("copysign", w.binary("fdiv", e, w.binary("fadd", e, w.number(2.0))), x)


def _sigmoid(w: Writer, x: str) -> str:
    e = _exp(w, w.put(f"fneg {w.vector} {x}"))
    return w.binary("fdiv", w.number(1.0), w.binary("fadd", e, w.number(1.0)))


def _log(w: Writer, x: str) -> str:
    k = w.kind
    smallest = 2.0 ** (1 - k.bias)
    up = k.mantissa + 2
    scaled = w.choose("olt", x, w.number(smallest), w.binary("fmul", x, w.number(2.0**up)), x)
    shift = w.choose("olt", x, w.number(smallest), w.number(-float(up)), w.number(0.0))
    root = k.bits(0.5**0.5)
    bits = w.bitwise("sub", w.as_whole(scaled), w.integer(root))
    n = w.bitwise("add", w.bitwise("ashr", bits, w.integer(k.mantissa)), w.integer(k.bits(k.magic)))
    n = w.binary("fadd", w.binary("fsub", w.as_float(n), w.number(k.magic)), shift)
    rest = w.bitwise("add", w.bitwise("and", bits, w.integer((1 << k.mantissa) - 1)), w.integer(root))
    f = w.binary("fsub", w.as_float(rest), w.number(1.0))
    s = w.binary("fdiv", f, w.binary("fadd", f, w.number(2.0)))
    z = w.binary("fmul", s, s)
    half = w.binary("fmul", w.binary("fmul", f, f), w.number(0.5))
    r = w.fma(z, w.polynomial(z, k.log_r), half)
    inner = w.fma(s, r, w.binary("fmul", n, w.number(k.ln2_low)))
    y = w.fma(n, w.number(k.ln2_high), w.binary("fsub", f, w.binary("fsub", half, inner)))
    y = w.choose("oeq", x, w.number(inf), x, y)
    y = w.choose("oeq", x, w.number(0.0), w.number(-inf), y)
    return w.choose("ult", x, w.number(0.0), w.number(nan), y)


def _log1p(w: Writer, x: str) -> str:
    one = w.number(1.0)
    u = w.binary("fadd", x, one)
    lost = w.binary("fdiv", w.binary("fsub", x, w.binary("fsub", u, one)), u)  # what rounding 1 + x lost
    lost = w.choose("ogt", u, w.number(0.0), lost, w.number(0.0))
    lost = w.choose("olt", u, w.number(inf), lost, w.number(0.0))
    # where 1 + x is 1 or less than its ulp away, x itself carries the sign, also of -0.0
    return w.choose("oeq", u, one, x, w.binary("fadd", _log(w, u), lost))


def _softrelu(w: Writer, x: str) -> str:
    positive = w.choose("ogt", x, w.number(0.0), x, w.number(0.0))
    small = _exp(w, w.put(f"fneg {w.vector} {w.call('fabs', x)}"))
    return w.binary("fadd", positive, _log1p(w, small))


def _erf(w: Writer, x: str) -> str:
    k, one = w.kind, w.number(1.0)
    size = w.call("fabs", x)
    near = w.binary("fmul", x, w.polynomial(w.binary("fmul", x, x), k.erf_p))
    a = w.limited(size, None, k.erf_high)
    t = w.binary("fdiv", one, w.fma(a, w.number(0.5), one))
    decay = _exp(w, w.put(f"fneg {w.vector} {w.binary('fmul', a, a)}"))
    far = w.binary("fsub", one, w.binary("fmul", decay, w.polynomial(t, k.erf_w)))
    return w.choose("olt", size, one, near, w.call("copysign", far, x))


def _softsign(w: Writer, x: str) -> str:
    return w.binary("fdiv", x, w.binary("fadd", w.call("fabs", x), w.number(1.0)))


def _rsqrt(w: Writer, x: str) -> str:
    return w.binary("fdiv", w.number(1.0), w.call("sqrt", x))


def _intrinsic(name: str) -> Callable[[Writer, str], str]:
    return lambda w, x: w.call(name, x)


def _neg(w: Writer, x: str) -> str:
    return w.put(f"fneg {w.vector} {x}")


FUNCTIONS: Mapping[str, Callable[[Writer, str], str]] = {
    "neg": _neg, "exp": _exp, "expm1": _expm1, "log": _log, "log1p": _log1p, "sqrt": _intrinsic("sqrt"),
    "rsqrt": _rsqrt, "abs": _intrinsic("fabs"), "sigmoid": _sigmoid, "tanh": _tanh, "softsign": _softsign,
    "softrelu": _softrelu, "erf": _erf, "floor": _intrinsic("floor"), "ceil": _intrinsic("ceil"),
    "trunc": _intrinsic("trunc"),
}  # fmt: skip
"""Name in `expression.UNARY` -> writes it and returns the result's name."""
