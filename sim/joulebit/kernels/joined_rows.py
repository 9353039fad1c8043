"""Pixels of several rows of an image, joined lane by lane: operands of the multiply-adds of `dot`.

A lane is a channel. It holds its four bytes, or its pair of 16-bit integers, of as many rows, so that one
multiply-add takes the products of a channel with the weights of all these rows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from joulebit.kernels.dot import multiply_add
from joulebit.kernels.vector import I32, LANES, WIDTH, constant, pointer, vector_type

_I32 = ir.IntType(32)


def _joined(builder: Any, bits: int, addresses: Any, lanes: Any) -> Any:
    """[WIDTH][len(addresses)] integers of `bits` bits, as lanes; a power of two of addresses."""
    memory = vector_type(ir.IntType(bits))
    kind = ir.FunctionType(memory, [memory.as_pointer(), _I32, LANES.llvm, memory])
    load = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{WIDTH}i{bits}.p0")
    align = ir.Constant(_I32, bits // 8)
    rows = [
        builder.call(load, [pointer(builder, address, memory), align, lanes, constant(memory, 0)])
        for address in addresses
    ]
    while len(rows) > 1:  # side by side, then in the order of the lanes
        count = 2 * rows[0].type.count
        every = ir.Constant(ir.VectorType(_I32, count), list(range(count)))
        rows = [builder.shuffle_vector(a, b, every) for a, b in zip(rows[::2], rows[1::2], strict=True)]
    order = [row * WIDTH + lane for lane in range(WIDTH) for row in range(len(addresses))]
    joined = builder.shuffle_vector(rows[0], rows[0], ir.Constant(ir.VectorType(_I32, len(order)), order))
    return builder.bitcast(joined, I32.llvm)


@intrinsic
def load_quads(typing_context, a, b, c, d, lanes):  # type: ignore[no-untyped-def]
    """The bytes at four addresses, one after another in each lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _joined(builder, 8, args[:4], args[4])

    return I32(*[types.int64] * 4, LANES), generate


@intrinsic
def load_pairs(typing_context, a, b, lanes):  # type: ignore[no-untyped-def]
    """The 16-bit integers at two addresses: those at a are the lower halves of the lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _joined(builder, 16, args[:2], args[2])

    return I32(types.int64, types.int64, LANES), generate


@intrinsic
def add_quads(typing_context, total, left, right):  # type: ignore[no-untyped-def]
    """total + the products of the four unsigned bytes of each lane of left with the signed ones of right."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return multiply_add(builder, True, *args)

    return I32(I32, I32, I32), generate
