"""Results that are too large for the caches: written past them.

A store to memory that is not in the cache first fetches the line that it is about to overwrite. A result that is
larger than what the last-level cache keeps is therefore made in a buffer, a few rows of pixels at a time, and goes
from there to memory in whole cache lines, by stores that fetch nothing.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from joulebit.kernels.compile import inline
from joulebit.kernels.scalar import Int
from joulebit.kernels.scratch import address
from joulebit.kernels.vector import I32, load_all, pointer

LINE = 64
_LARGE = 16 << 20  #: bytes from which on a result would not stay in the caches until it is read


@intrinsic
def _store_past(typing_context, address, value):  # type: ignore[no-untyped-def]
    """16 int32 values to a whole cache line."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        store = builder.store(args[1], pointer(builder, args[0], I32.llvm), align=LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(types.int64, I32), generate


@intrinsic
def drain(typing_context):  # type: ignore[no-untyped-def]
    """What was streamed is in memory before anything that is stored after this."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if platform.machine().lower() in ("x86_64", "amd64"):  # elsewhere stores in order are enough
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse.sfence"), [])
        return context.get_dummy_value()

    return types.void(), generate


@inline
def stream(target: Int, source: Int, size: Int) -> None:
    """Copy bytes past the caches; target and size: multiples of LINE."""
    for offset in range(0, size, LINE):
        _store_past(target + offset, load_all(source + offset))


def streams(result: NDArray[Any], piece: int) -> bool:
    """Whether `result` goes past the caches, in pieces of `piece` bytes from its start."""
    return result.nbytes >= _LARGE and piece % LINE == 0 and address(result) % LINE == 0
