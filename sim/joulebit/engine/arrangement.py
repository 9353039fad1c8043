"""How the pixels of a convolution are laid before the tiles of its kernels (`joulebit.kernels.dot`).

Tiles take 8 pixels of a row, or of two rows, by vectors of 16 output channels. Where a window is a single pixel,
any pixels may stand side by side, so that small images fill tiles. Where there are fewer output channels than
lanes, pixels side by side share a vector: p pixels of c channels are one of p * c in memory, and the convolution
is one with a kernel wider by p - 1 strides.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import ConvGeometry
from joulebit.kernels.dot import outer_columns

_TILE, _LANES, _GROUP = 8, 16, 4  # pixels of a tile, channels of a vector, bytes of a step
_FINISH = 8  # steps that the requantisation of a vector of sums takes as long as
_MOST_LANES = 64


def as_larger_images(
    shape: tuple[int, ...], geometry: ConvGeometry, most: int
) -> tuple[int, int, int, int] | None:
    """A shape [images, rows, columns, channels] that fills tiles better than `shape`; None: there is none.

    shape: of the input, [samples, height, width, channels]. There is one where each window is a pixel, or the
    whole image. It has up to `most` pixels (a power of 2) in two rows, and at least 8 images if possible, for the
    threads.
    """
    samples, height, width, channels = shape
    kernel, padding = (geometry.kernel_h, geometry.kernel_w), (geometry.padding_h, geometry.padding_w)
    if padding != (0, 0) or geometry.groups > 1:
        return None
    if kernel == (height, width):
        pixels, channels = samples, height * width * channels
    elif kernel == (1, 1) and geometry.stride == 1 and width % _TILE:
        pixels = samples * height * width
    else:
        return None
    size = math.gcd(pixels, most)
    while size > 2 * _TILE and pixels // size < 8:
        size //= 2
    rows = 2 if size >= 2 * _TILE else 1
    if size // rows <= width and kernel == (1, 1):
        return None
    return pixels // size, rows, size // rows, channels


@cache
def pixels_together(out_w: int, kernel_w: int, stride: int, c_in: int, c_out: int, kernel_h: int) -> int:
    """How many output pixels side by side share vectors so that a forward pass takes the fewest steps."""

    def steps(together: int) -> int:
        vectors = -(-together * c_out // _LANES)
        run = -(-(kernel_w + (together - 1) * stride) * c_in // _GROUP)
        return vectors * -(-out_w // together // _TILE) * (kernel_h * run + _FINISH)

    return min(_fitting(out_w, c_out), key=steps)


def _fitting(out_w: int, c_out: int) -> list[int]:
    """How many pixels of a row could share vectors."""
    return [1] + [p for p in range(2, _MOST_LANES // c_out + 1) if out_w % p == 0]


@cache
def gradients_together(out_w: int, kernel_w: int, stride: int, c_in: int, c_out: int) -> int:
    """As `pixels_together`, for the outer products of a weight gradient: of inputs by vectors of gradients."""

    def steps(together: int) -> int:
        vectors = -(-together * c_out // _LANES)
        run = (kernel_w + (together - 1) * stride) * c_in
        pairs, single = (-(-run // outer_columns(blocks)) * outer_columns(blocks) for blocks in (2, 1))
        return out_w // together * (vectors // 2 * 2 * pairs + vectors % 2 * single)

    return min(_fitting(out_w, c_out), key=steps)


def widened(w: NDArray[Any], together: int, stride: int) -> NDArray[Any]:
    """Weights [kernel_h, kernel_w, c_in, c_out] of the convolution of `together` pixels at once."""
    kernel_h, kernel_w, c_in, c_out = w.shape
    wide = np.zeros((kernel_h, kernel_w + (together - 1) * stride, c_in, together, c_out), w.dtype)
    for pixel in range(together):
        wide[:, pixel * stride : pixel * stride + kernel_w, :, pixel] = w
    return wide.reshape(*wide.shape[:3], together * c_out)


def narrowed(dw: NDArray[np.int64], c_out: int, stride: int) -> NDArray[np.int64]:
    """The weight gradient of a convolution from that of the one of several pixels at once, see `widened`."""
    kernel_h, wide, c_in, lanes = dw.shape
    together = lanes // c_out
    kernel_w = wide - (together - 1) * stride
    parts = dw.reshape(kernel_h, wide, c_in, together, c_out)
    return np.asarray(
        sum(parts[:, pixel * stride : pixel * stride + kernel_w, :, pixel] for pixel in range(together))
    )
