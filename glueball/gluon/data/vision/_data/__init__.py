"""Small real data sets that come with the package; README.md names their sources and licences. Reader:
../optical_digits.py.
"""
