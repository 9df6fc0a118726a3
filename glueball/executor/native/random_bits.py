"""Random numbers that are a function of (seed, stream, element): as LLVM's text and as torch's operators.

The one idea: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) mixes a
counter: its n-th number is mix(key + n · golden), so any element's number is computed alone, in two multiplications.
The mixer is Stafford's variant 13, the stream passes BigCrush (ibid., section 5; Vigna 2015). The key is mixed from
seed and stream, so keys that follow each other start at unrelated places of the 2**64 long cycle.

Of the 64 bits the upper 24 make a float32, the upper 53 a float64, both in [0, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .vector_math import Writer

__all__ = ["key", "uniforms", "evaluated"]

_GOLDEN = 0x9E3779B97F4A7C15
_STREAM = 0xD1342543DE82EF95  # odd, of Steele and Vigna's table of multipliers (2021)
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST = 31


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _mixed(w: Writer, kind: str, z: str) -> str:
    """Write the mixing of i64, or of vectors of them."""
    number = "{}" if kind == "i64" else "splat (i64 {})"
    for shift, factor in _MIX:
        z = w.put(f"xor {kind} {z}, {w.put(f'lshr {kind} {z}, {number.format(shift)}')}")
        z = w.put(f"mul {kind} {z}, {number.format(_signed(factor))}")
    return w.put(f"xor {kind} {z}, {w.put(f'lshr {kind} {z}, {number.format(_LAST)}')}")


def key(w: Writer, seed: str, stream: int) -> str:
    """Write the key of a stream: an i64 from the seed, an i64."""
    return _mixed(w, "i64", w.put(f"add i64 {seed}, {_signed((stream + 1) * _STREAM)}"))


def uniforms(w: Writer, key: str, element: str) -> str:
    """Write a vector of numbers: of the element (an i64) and those after it."""
    kind = f"<{w.width} x i64>"
    first = w.put(f"add i64 {key}, {w.put(f'mul i64 {element}, {_signed(_GOLDEN)}')}")
    one = w.put(f"insertelement {kind} poison, i64 {first}, i32 0")
    all_ = w.put(f"shufflevector {kind} {one}, {kind} poison, <{w.width} x i32> zeroinitializer")
    steps = ", ".join(f"i64 {_signed((lane + 1) * _GOLDEN)}" for lane in range(w.width))
    z = _mixed(w, kind, w.put(f"add {kind} {all_}, <{steps}>"))
    bits = w.kind.mantissa + 1
    whole = w.put(f"lshr {kind} {z}, splat (i64 {64 - bits})")
    if bits == 24:
        whole = w.put(f"trunc {kind} {whole} to {w.whole}")
    return w.binary("fmul", w.put(f"sitofp {w.whole} {whole} to {w.vector}"), w.number(2.0**-bits))


# -- the same through torch ------------------------------------------------------------------------------------------


def _mixed_tensor(z: Tensor) -> Tensor:
    def down(value: Tensor, shift: int) -> Tensor:  # torch shifts the sign in
        return (value >> shift) & ((1 << (64 - shift)) - 1)

    for shift, factor in _MIX:
        z = (z ^ down(z, shift)) * _signed(factor)
    return z ^ down(z, _LAST)


def evaluated(seed: Tensor, stream: int, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return the numbers of all elements.

    Parameters
    ----------
    seed : int64, one number or (N, 1)
    shape : (N, H)
    dtype : float32 or float64

    >>> evaluated(torch.tensor(7), 0, (2, 3), torch.float32).lt(0.5).tolist()
    [[True, True, True], [False, False, False]]
    """
    one = torch.tensor(_signed((stream + 1) * _STREAM), device=seed.device)
    keys = _mixed_tensor(seed.to(torch.int64) + one)
    elements = torch.arange(shape[0] * shape[1], device=seed.device).view(shape)
    z = _mixed_tensor(keys + (elements + 1) * _signed(_GOLDEN))
    bits = 53 if dtype is torch.float64 else 24
    whole = (z >> (64 - bits)) & ((1 << bits) - 1)
    return (whole.to(torch.float64) * 2.0**-bits).to(dtype)
