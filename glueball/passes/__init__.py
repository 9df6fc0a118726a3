"""Transformations of graphs. pipeline.py is the ordered list; each other file is one pass with its law in the
docstring.
"""
