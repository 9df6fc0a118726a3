"""The place where 1.x kept `IntervalSampler`; it lives in gluon/data/sampler.py, with the other samplers."""

from __future__ import annotations

from ...data.sampler import IntervalSampler

__all__ = ["IntervalSampler"]
