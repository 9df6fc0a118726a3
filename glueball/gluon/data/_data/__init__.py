"""Small real data sets that come with the package; README.md names their sources and licences. Readers: ../series.py,
../text.py.
"""
