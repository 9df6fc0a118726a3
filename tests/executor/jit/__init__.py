"""Regions: parts of plans that are machine code."""
