"""What a run did: multiply-accumulates by operand width, bytes by memory level, elements updated, work skipped.

All quantities are exact integers in one flat dictionary, so that they add up over steps, workers and resumed
runs, go into a checkpoint and into JSON as they are. Energy models read nothing else. Keys:

    macs.<phase>.<kind>          multiply-accumulates; kind such as 8x8, 8x16, 4x10 or fp32
    ops.<phase>.<kind>           element-wise operations (norm, activation, update); kind int16, int32 or fp32
    bytes.<phase>.<level>        bytes moved; level dram or sram
                                 (what each pass moves: `joulebit.energy.accounting`)
    skipped.<phase>.<reason>     multiply-accumulates of <phase> not done; reason smd, slu, sd, psg, frozen,
                                 selection
    pruned.<phase>               multiply-accumulates of <phase> that were done with pruned weights, or for them:
                                 what hardware that skips single zeros could leave out
    updated                      parameters changed, summed over steps
    saturated.<tensor>, elements.<tensor>   clamped and all elements of z, activation, dz, gradient
    predictor.total, predictor.decided, predictor.wrong     weight-gradient elements that PSG's predictor met,
                                 decided, and decided with another sign than the exact product's
    batches.seen, batches.dropped, samples.seen, samples.skipped, steps

phase is forward, input_gradient, weight_gradient, update, other, selection (forward passes that only decide what
is trained) or teacher (those of a distillation's teacher): see `counted_as`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

PHASES = ("forward", "input_gradient", "weight_gradient", "update", "other", "selection", "teacher")
_WORK = ("macs", "ops", "bytes")


class Counters:
    """A dictionary of integers that starts at zero and only adds."""

    def __init__(self, values: Mapping[str, int] | None = None) -> None:
        self._values: dict[str, int] = {key: int(value) for key, value in (values or {}).items()}

    def add(self, key: str, amount: int) -> None:
        self._values[key] = self._values.get(key, 0) + int(amount)

    def add_all(self, amounts: Iterable[tuple[str, int]]) -> None:
        """Add many at once."""
        values = self._values
        for key, amount in amounts:
            values[key] = values.get(key, 0) + amount

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


@contextmanager
def counted_as(counters: Counters, phase: str) -> Iterator[None]:
    """Within: work of any phase counts as work of `phase`.

    For passes that are no training of their own: macs.forward.8x8 of a selection's forward pass becomes
    macs.selection.8x8. Other families of keys (steps, skipped work) count as they are.
    """
    before = counters.as_dict()
    yield
    added = {key: value - before.get(key, 0) for key, value in counters.items()}
    counters.load(before)
    for key, value in added.items():
        family, _, rest = key.partition(".")
        if value:
            counters.add(f"{family}.{phase}.{rest.partition('.')[2]}" if family in _WORK else key, value)
