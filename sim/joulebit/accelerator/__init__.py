"""The accelerator without its RTL and with it.

`tiling.py` plans a layer (`layer.py`) as a list of descriptors, cut into tiles (`cuts.py`) as it is the fastest;
`packing.py` lays its tensors out in memory. `functional.py` executes a list as a function of memory, `rtl.py` runs
it on the Verilated design that `build.py` compiles, and `cycles.py` (with `slots.py`) predicts how many cycles it
takes.
"""
