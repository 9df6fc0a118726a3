"""Folding: write the program of one sample, run a whole batch of such programs as a few large kernels.

The scope, the fibers and the structural interface are three doors to one engine; see docs/folding.md.
"""
