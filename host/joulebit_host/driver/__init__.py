"""The driver of the accelerator on any board.

`accelerator.py` puts passes into lists and reads results; `plans.py` keeps what the planner made, `packing.py`
lays tensors out, `memory.py` reuses the board's memory, `faults.py` turns error bits into exceptions,
`tile_costs.py` knows what a list must count, `checking.py` holds a board to the reference.
"""

from joulebit_host.driver.accelerator import Accelerator, DeviceTensor, Job, PassResult, default_bitstream

__all__ = ["Accelerator", "DeviceTensor", "Job", "PassResult", "default_bitstream"]
