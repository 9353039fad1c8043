"""What a run did: multiply-accumulates by operand width, bytes by memory level, elements updated, work skipped.

All quantities are exact integers in one flat dictionary, so that they add up over steps, workers and resumed
runs, go into a checkpoint and into JSON as they are. Energy models read nothing else. Keys:

    macs.<phase>.<kind>          multiply-accumulates; kind such as 8x8, 8x16, 4x10 or fp32
    ops.<phase>.<kind>           element-wise operations (norm, activation, update); kind int16, int32 or fp32
    bytes.<phase>.<level>        bytes moved; level dram or sram
                                 (what each pass moves: `joulebit.energy.accounting`)
    skipped.<phase>.<reason>     multiply-accumulates of <phase> not done; reason smd, slu, sd, psg, frozen
    updated                      parameters changed, summed over steps
    saturated.<tensor>, elements.<tensor>   clamped and all elements of z, activation, dz, gradient
    predictor.total, predictor.decided, predictor.wrong     weight-gradient elements that PSG's predictor met,
                                 decided, and decided with another sign than the exact product's
    batches.seen, batches.dropped, samples.seen, steps

phase is forward, input_gradient, weight_gradient, update or other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PHASES = ("forward", "input_gradient", "weight_gradient", "update", "other")


class Counters:
    """A dictionary of integers that starts at zero and only adds."""

    def __init__(self, values: Mapping[str, int] | None = None) -> None:
        self._values: dict[str, int] = {key: int(value) for key, value in (values or {}).items()}

    def add(self, key: str, amount: int) -> None:
        self._values[key] = self._values.get(key, 0) + int(amount)

    def merge(self, other: Counters | Mapping[str, int]) -> None:
        for key, value in other.items():
            self.add(key, value)

    def load(self, values: Mapping[str, int]) -> None:
        """Replace everything, as after a resume."""
        self._values = {key: int(value) for key, value in values.items()}

    def items(self) -> Iterable[tuple[str, int]]:
        return self._values.items()

    def __getitem__(self, key: str) -> int:
        return self._values.get(key, 0)

    def total(self, prefix: str) -> int:
        """Sum over all keys that start with prefix."""
        return sum(value for key, value in self._values.items() if key.startswith(prefix))

    def as_dict(self) -> dict[str, int]:
        """A sorted copy."""
        return dict(sorted(self._values.items()))
