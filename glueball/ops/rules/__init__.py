"""The classes of rules that hang beneath operators: infer.py (shapes and dtypes), grad.py (gradients), check.py
(samples for tests), and what families share. What an operator is stands in ../opdef.py."""
