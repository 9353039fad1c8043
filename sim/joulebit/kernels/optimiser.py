"""The optimiser's step on the weights of many layers at once (spec, section 7), and their quantisation after it.

A network has dozens of layers, most of them small: a call for each takes longer than its numbers. Here threads
draw whole layers, the last one first, since later layers are larger.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.launch import read_word, write_word
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    fetch_add,
    fold_max,
    lanes,
    larger,
    larger64,
    load_i32,
    load_i64,
    narrow,
    smaller,
    smaller64,
    splat,
    splat64,
    store_8,
    store_16,
    store_32,
    store_i64,
    widen,
    zeros,
)

#: int64 that describe a layer: addresses of masters (int32), momenta and gradient (int64) and of the quantised
#: weights (int8 up to 8 bits, else int16); their number; shift and inverse as in `parameters.update`; learning
#: rate Q.20, momentum Q.15, decay Q.24; bits of a weight; a place for the shift of the quantised weights
FIELDS = 12
_MOST_MEAN, _MOST_GRADIENT, _MOST_MOMENTUM, _MOST_MASTER = ((1 << bits) - 1 for bits in (43, 37, 41, 31))


@inline
def _field(layer: Int, number: Int) -> Int:
    return read_word(layer + 8 * number)


@inline
def _limited(value: Int, limit: Int) -> Int:
    """64-bit lanes within +-limit."""
    return larger64(smaller64(value, splat64(limit)), splat64(-limit))


@inline
def _update(layer: Int) -> Int:
    """Masters and momenta of one layer; returns the largest magnitude of a master."""
    master, momentum, gradient = _field(layer, 0), _field(layer, 1), _field(layer, 2)
    size, shift = _field(layer, 4), _field(layer, 5)
    left, right = min(max(shift, 0), 40), min(max(-shift, 0), 62)
    up, down, half = splat64(left), splat64(right), splat64((np.int64(1) << right) >> 1)
    most = np.int64(_MOST_MEAN) >> left
    inverse, rate, keep = splat64(_field(layer, 6)), splat64(_field(layer, 7)), splat64(_field(layer, 8))
    decay = _field(layer, 9)
    decays = splat64(decay)
    half_15, half_16, half_20, half_24 = splat64(1 << 14), splat64(1 << 15), splat64(1 << 19), splat64(1 << 23)
    s15, s16, s20, s24 = splat64(15), splat64(16), splat64(20), splat64(24)
    none, peak = zeros(), zeros()
    for i in range(0, size, 16):
        on = lanes(size - i)
        mean = _limited((load_i64(gradient + 8 * i, on) + half) >> down, most) << up
        step = _limited((mean * inverse + half_16) >> s16, _MOST_GRADIENT)
        m = widen(load_i32(master + 4 * i, on))
        if decay != 0:
            step = step + ((m * decays + half_24) >> s24)
        v = ((load_i64(momentum + 8 * i, on) * keep + half_15) >> s15) + step
        v = _limited(v, _MOST_MOMENTUM)
        store_i64(momentum + 8 * i, v, on)
        moved = narrow(_limited(m - ((v * rate + half_20) >> s20), _MOST_MASTER))
        store_32(master + 4 * i, moved, on)
        peak = larger(peak, larger(moved, none - moved))
    return fold_max(peak)


@inline
def _quantise(layer: Int, shift: Int) -> None:
    """w = SAT(RND(master, shift)); RND(v, s) is ((v >> s - 1) + 1) >> 1, which cannot overflow."""
    master, w, size, bits = _field(layer, 0), _field(layer, 3), _field(layer, 4), _field(layer, 10)
    before, last_bit = splat(max(shift - 1, 0)), splat(1 if shift > 0 else 0)
    limit = (np.int64(1) << (bits - 1)) - 1
    high, low = splat(limit), splat(-limit)
    for i in range(0, size, 16):
        on = lanes(size - i)
        value = ((load_i32(master + 4 * i, on) >> before) + last_bit) >> last_bit
        value = larger(smaller(value, high), low)
        if bits <= 8:
            store_8(w + i, value, on)
        else:
            store_16(w + 2 * i, value, on)


@kernel
def update(counter: Int, layers: Int, table: Int) -> None:
    """One step of the layers that this thread draws from the counter; table: address of int64 [layers][FIELDS]."""
    number = layers - 1 - fetch_add(counter, 1)
    while number >= 0:
        layer = table + 8 * FIELDS * number
        peak, shift = _update(layer), np.int64(0)
        while peak >> shift >= np.int64(1) << (_field(layer, 10) - 1):
            shift += 1
        _quantise(layer, shift)
        write_word(layer + 8 * (FIELDS - 1), shift)
        number = layers - 1 - fetch_add(counter, 1)
