"""The epilogue of an input gradient: what follows its sums of products (spec, section 5), for the vector kernels.

The sums are aligned, another gradient is added to them, the activation's mask is applied, and they are shifted
and narrowed. In 32-bit lanes where all of this fits, else in 64-bit ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.kernels.scratch import address

_NO_MASK = np.ones(16, np.uint8)
_LARGEST_GRADIENT = 1 << 15


class InputGradientEpilogue(NamedTuple):
    """The fields are arguments of `Engine.conv_input_gradient`."""

    shift: int
    align: int
    add: NDArray[Any] | None
    add_stride: int
    add_align: int
    mask: NDArray[Any] | None
    mask_below: int

    def covered(self, width: int) -> bool:
        """Whether the vector kernels can do this to a gradient of that width."""
        return (
            0 <= self.shift <= 62
            and -31 <= self.align <= 30
            and -31 <= self.add_align <= 30
            and (self.mask is None or self.mask.dtype == np.uint8)
            and (self.add is None or self.add.shape[2] > (width - 1) // self.add_stride)
        )

    def is_wide(self, weight_sum: int) -> bool:
        """Whether 32-bit lanes might not hold it; weight_sum: the largest sum of |weights| of an input channel."""
        product, added = weight_sum * _LARGEST_GRADIENT, _LARGEST_GRADIENT
        bound = (product << max(self.align, 0)) + (added << max(self.add_align, 0))
        return min(self.align, self.add_align) < 0 or self.shift > 31 or bound >= 1 << 31

    def arguments(self, limit: int) -> tuple[int, ...]:
        """What the kernels take between "wide" and their scratch memory; limit: of the result's magnitude.

        Addresses among them hold as long as `add` and `mask` live.
        """
        add, add_shape = (0, (0, 0, 0, 0)) if self.add is None else (address(self.add), self.add.shape)
        mask = _NO_MASK if self.mask is None else self.mask
        below = self.mask_below if self.mask_below > 0 else 256
        return (
            self.align, add, *add_shape[1:], self.add_stride, self.add_align,
            address(mask), int(self.mask is not None), below, self.shift, limit,
        )  # fmt: skip
