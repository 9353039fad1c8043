"""The optimiser's step on the weights of many layers at once (spec, section 7), and their quantisation after it.

A network has dozens of layers, most of them small: a call for each takes longer than its numbers. Here threads
draw whole layers, the last one first, since later layers are larger.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from joulebit.kernels import parameters
from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.launch import read_word, write_word
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import fetch_add, pointer

#: int64 that describe a layer: addresses of masters (int32), momenta and gradient (int64) and of the quantised
#: weights (int8 up to 8 bits, else int16); their number; shift and inverse as in `parameters.update`; learning
#: rate Q.20, momentum Q.15, decay Q.24; bits of a weight; a place for the shift of the quantised weights
FIELDS = 12


@intrinsic
def _pointer(typing_context, address):  # type: ignore[no-untyped-def]
    """An address as `numba.carray` takes it."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return pointer(builder, args[0], ir.IntType(8))

    return types.voidptr(types.int64), generate


@inline
def _field(layer: Int, number: Int) -> Int:
    return read_word(layer + 8 * number)


@kernel
def update(counter: Int, layers: Int, table: Int) -> None:
    """One step of the layers that this thread draws from the counter; table: address of int64 [layers][FIELDS]."""
    number = layers - 1 - fetch_add(counter, 1)
    while number >= 0:
        layer = table + 8 * FIELDS * number
        size, bits = _field(layer, 4), _field(layer, 10)
        master = carray(_pointer(_field(layer, 0)), size, np.int32)
        momentum = carray(_pointer(_field(layer, 1)), size, np.int64)
        gradient = carray(_pointer(_field(layer, 2)), size, np.int64)
        parameters.update(
            master, momentum, gradient, _field(layer, 5), _field(layer, 6), _field(layer, 7), _field(layer, 8),
            _field(layer, 9),
        )  # fmt: skip
        peak, shift, limit = parameters.peak_of(master), np.int64(0), (np.int64(1) << (bits - 1)) - 1
        while peak >> shift > limit:
            shift += 1
        if bits <= 8:
            parameters.quantise(master, carray(_pointer(_field(layer, 3)), size, np.int8), shift, limit)
        else:
            parameters.quantise(master, carray(_pointer(_field(layer, 3)), size, np.int16), shift, limit)
        write_word(layer + 8 * (FIELDS - 1), shift)
        number = layers - 1 - fetch_add(counter, 1)
