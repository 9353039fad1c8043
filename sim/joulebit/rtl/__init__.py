"""The accelerator's RTL, compiled by Verilator: `build.py` makes a library of it, `model.py` runs it."""
