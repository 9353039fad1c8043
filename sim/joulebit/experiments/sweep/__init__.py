"""Many runs from one description: `grid.py` says which, `execute.py` has them done on a Dask cluster by
`worker.py`, `journal.py` remembers what is finished, `table.py` makes one table of it.
"""
