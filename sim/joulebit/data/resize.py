"""Image sizes changed in integer arithmetic, so that every machine gets the same pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Images = npt.NDArray[np.uint8]


def enlarge_bilinear(images: Images, factor: int) -> Images:
    """Images [N, H, W, C] enlarged by bilinear interpolation to uint8 [N, factor H, factor W, C].

    Pixel centres are at halves: output o lies at input (2 o + 1 - factor) / (2 factor), positions beyond
    the border take the border's value. Each value is the weighted sum of four pixels with integer weights
    of sum (2 factor)^2, divided once, rounded half up.
    """
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    rows = _interpolate(images.astype(np.int32), 1, factor)
    both = _interpolate(rows, 2, factor)
    divisor = (2 * factor) ** 2
    return ((both + divisor // 2) // divisor).astype(np.uint8)


def _interpolate(values: npt.NDArray[np.int32], axis: int, factor: int) -> npt.NDArray[np.int32]:
    """One axis enlarged; the result is 2 * factor times too large."""
    size = values.shape[axis]
    position = 2 * np.arange(size * factor) + 1 - factor
    low, weight = position // (2 * factor), (position % (2 * factor)).astype(np.int32)
    shape = [1] * values.ndim
    shape[axis] = -1
    weight = weight.reshape(shape)
    before = values.take(np.clip(low, 0, size - 1), axis)
    after = values.take(np.clip(low + 1, 0, size - 1), axis)
    out: npt.NDArray[np.int32] = before * (np.int32(2 * factor) - weight) + after * weight
    return out


def pad_to(images: Images, size: int) -> Images:
    """Images [N, H, W, C] centred in black squares, uint8 [N, size, size, C]; odd pixels go below and right."""
    count, height, width, channels = images.shape
    if height > size or width > size:
        raise ValueError(f"size must be at least {max(height, width)}, got {size}")
    top, left = (size - height) // 2, (size - width) // 2
    out = np.zeros((count, size, size, channels), np.uint8)
    out[:, top : top + height, left : left + width] = images
    return out


def grey_to_rgb(images: Images) -> Images:
    """The one channel of [N, H, W, 1] three times: uint8 [N, H, W, 3]."""
    if images.shape[-1] != 1:
        raise ValueError(f"images must have 1 channel, got {images.shape[-1]}")
    return np.repeat(images, 3, axis=3)
