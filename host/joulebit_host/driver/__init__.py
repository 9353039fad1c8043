"""The driver of the accelerator on any board.

`accelerator.py` loads the board and runs lists; `jobs.py` gathers passes, `lists.py` keeps their descriptors in
board memory, `results.py` reads and checks what they leave. `plans.py` keeps what the planner made, `packing.py`
lays tensors out, `memory.py` reuses the board's memory, `faults.py` turns error bits into exceptions,
`tile_costs.py` knows what a list must count, `checking.py` holds a board to the reference.
"""

from joulebit_host.driver.accelerator import Accelerator, default_bitstream
from joulebit_host.driver.jobs import DeviceTensor, Job
from joulebit_host.driver.results import PassResult

__all__ = ["Accelerator", "DeviceTensor", "Job", "PassResult", "default_bitstream"]
