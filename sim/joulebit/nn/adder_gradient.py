"""The weight gradient of an adder layer: sum (x - w) dz, out of the products of x and dz (spec, section 15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, Engine


@dataclass(frozen=True)
class DistanceGradient:
    """Turns sum x dz into sum (x - w) dz = sum x dz - w sum dz, for the exact gradient and the predictor's."""

    w: Array  #: of the trained output channels
    channels: NDArray[np.int64] | None  #: which those are; None: all
    engine: Engine

    @classmethod
    def of(cls, w: Array, channels: NDArray[np.int64] | None, engine: Engine) -> DistanceGradient:
        return cls(w if channels is None else engine.take_channels(w, channels), channels, engine)

    def sums(self, dz: Array, predicted: bool) -> list[Array]:
        """sum dz by output channel, int64 of the engine's kind; then of the predictor's operand, if asked."""
        found = [self.engine.channel_sums(dz)]
        if predicted:
            found.append(self.engine.channel_sums(dz, msb=True))
        return [self.engine.from_numpy(s if self.channels is None else s[self.channels]) for s in found]

    def gradients(
        self, exact: Array, predicted: Array | None, sums: Sequence[Array]
    ) -> tuple[Array, Array | None]:
        """Both gradients, from both products and both sums."""
        fmt = self.engine.arithmetic
        exact = exact - self.w * sums[0]
        if predicted is None:
            return exact, None
        leading = self.engine.narrow_gradient(self.w, fmt.x_bits - fmt.x_msb_bits, fmt.w_bits)
        return exact, predicted - leading * sums[1]
