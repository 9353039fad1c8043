"""What a layer's pass adds to the counters, computed once for each number of samples and added in every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.energy.widths import Widths
from joulebit.nn.graph import ConvPlan

_MOST_KNOWN = 10_000  #: with gates, any number of samples may enter a block


class RememberingAccountant(Accountant):
    """An `Accountant` that repeats what it did for a convolution before, where only the step differs.

    Counts are exact integers that follow from the layer, the widths and the samples alone, except where a
    predictor or chosen channels decide; those are counted anew.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._known: dict[tuple[Any, ...], tuple[ConvPlan, tuple[tuple[str, int], ...]]] = {}
        self._known_widths: Widths | None = None

    def _repeat(self, work: Callable[..., None], conv: ConvPlan, *arguments: int) -> None:
        if self.widths is not self._known_widths:
            self._known, self._known_widths = {}, self.widths
        key = (work.__name__, id(conv), *arguments)
        found = self._known.get(key)
        if found is None:
            own, self.counters = self.counters, Counters()
            try:
                work(conv, *arguments)
                added = tuple(self.counters.items())
            finally:
                self.counters = own
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[key] = (conv, added)  # holds the plan, so that its id stays its own
        self.counters.add_all(found[1])

    def forward(self, conv: ConvPlan, samples: int) -> None:
        self._repeat(super().forward, conv, samples)

    def input_gradient(self, conv: ConvPlan, samples: int) -> None:
        self._repeat(super().input_gradient, conv, samples)

    def norm_backward(self, conv: ConvPlan, samples: int, shifts_only: bool = False) -> None:
        self._repeat(super().norm_backward, conv, samples, shifts_only)

    def weights(self, conv: ConvPlan) -> None:
        self._repeat(super().weights, conv)

    def weight_gradient(
        self,
        conv: ConvPlan,
        samples: int,
        predictor: tuple[int, int] | None = None,
        outputs: Sequence[int] | None = None,
    ) -> None:
        if predictor is None and outputs is None:
            self._repeat(super().weight_gradient, conv, samples)
        else:
            super().weight_gradient(conv, samples, predictor, outputs)
