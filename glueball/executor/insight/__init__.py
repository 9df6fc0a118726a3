"""What a plan does, shown: facts of each step (facts.py, from work.py, reasons.py, lifetimes.py), times (clock.py),
spans for the profiler (spans.py), and all of it as text, data and picture (explanation.py, table.py, picture.py).

Nothing here runs unless somebody asks: a plan that is not looked at does not know that it can be.
"""
