"""What this processor can do at most: loops of nothing but multiply-adds, and of nothing but copies."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from joulebit.kernels.compile import kernel
from joulebit.kernels.dot import literals, multiply_add
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import I32, copy_bytes, splat_value

SUMS = 12  #: independent chains, enough to hide the latency of a multiply-add
LANES = 16

_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic(prefer_literal=True)
def _multiply_add_often(typing_context, quads, count):  # type: ignore[no-untyped-def]
    """SUMS multiply-adds, count times, all operands in registers. quads: 1 for bytes, 0 for 16-bit pairs."""
    (use_quads,) = literals(quads)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        slots = [cgutils.alloca_once(builder, I32.llvm) for _ in range(SUMS)]
        for slot in slots:
            builder.store(ir.Constant(I32.llvm, [0] * LANES), slot)
        unknown = ir.FunctionType(_I32, [_I32])
        with cgutils.for_range(builder, args[1]):
            # a number that the optimiser cannot see through, so that no product can leave the loop
            seed = builder.asm(unknown, "", "=r,0", [ir.Constant(_I32, 0x01020304)], side_effect=True)
            same = splat_value(builder, seed, I32.llvm)
            for slot in slots:
                total = multiply_add(builder, bool(use_quads), builder.load(slot), same, same)
                builder.store(total, slot)
        result = builder.load(slots[0])
        for slot in slots[1:]:
            result = builder.xor(result, builder.load(slot))
        return builder.sext(builder.extract_element(result, ir.Constant(_I32, 0)), _I64)

    return types.int64(quads, types.int64), generate


@kernel
def multiply_bytes(count: Int) -> Int:
    """count * SUMS * 64 products of 8 x 8 bits."""
    return _multiply_add_often(1, count)


@kernel
def multiply_pairs(count: Int) -> Int:
    """count * SUMS * 32 products of 16 x 16 bits."""
    return _multiply_add_often(0, count)


@kernel
def copy_often(target: Int, source: Int, size: Int, count: Int) -> None:
    """`size` bytes from one address to another, count times."""
    for _ in range(count):
        copy_bytes(target, source, size)
