"""Register-blocked inner loops of the convolutions: sums of short dot products, 16 output channels at a time.

One 32-bit lane holds the running sum of an output channel. A step multiplies a group of inputs that is the same
for all lanes (4 unsigned bytes, or a pair of 16-bit integers) with one group of weights per lane:

    quads:  sum += u8[0..3] . s8[0..3]     vpdpbusd
    pairs:  sum += s16[0..1] . s16[0..1]   vpdpwssd

With AVX2 both are made of vpmaddwd and vpaddd (vpmaddubsw, made for bytes, saturates at 255 * 127 * 2).
Sums are modulo 2^32; callers prove that they fit. All addresses and strides are in bytes. The size of a tile
is what fits the registers: its sums, the weights of one step and one group of inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from joulebit.kernels.cpu import CpuLevel, cpu_level
from joulebit.kernels.vector import I32, pointer, request, splat_value

_I16, _I32, _I64 = (ir.IntType(bits) for bits in (16, 32, 64))
_SUM = I32.llvm
_QUAD = 4  # steps that one load brings to all quarters of a vector
_BLOCK = 64  # bytes of one vector: 16 lanes of 32 bits


#: output rows and columns of a `window_tile` of 1 or 2 blocks of 16 channels
_WINDOW_TILES = {
    CpuLevel.AVX512VNNI: {1: (2, 8), 2: (1, 8)},
    CpuLevel.AVX2: {1: (1, 4), 2: (1, 2)},
}
#: input channels of an `outer_tile` of 1 or 2 blocks of 16 output channels
_OUTER_TILES = {CpuLevel.AVX512VNNI: {1: 16, 2: 8}, CpuLevel.AVX2: {1: 4, 2: 2}}


def outer_columns(blocks: int) -> int:
    """Input channels of an `outer_tile`, for the size of its buffer of sums."""
    return _OUTER_TILES[cpu_level()][blocks]


def literals(*values: Any) -> tuple[int, ...]:
    """Python values of arguments that shape the code; numba calls again with literals after the error."""
    if not all(isinstance(value, types.IntegerLiteral) for value in values):
        raise TypingError("tile sizes must be written as numbers")
    return tuple(value.literal_value for value in values)


def multiply_add(builder: Any, quads: bool, total: Any, same: Any, weights: Any) -> Any:
    """total + dot products of one step, in the instructions of the processor."""
    if cpu_level() >= CpuLevel.AVX512VNNI:
        name = "vpdpbusd" if quads else "vpdpwssd"
        kind = ir.FunctionType(_SUM, [_SUM, _SUM, _SUM])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512.{name}.512")
        return builder.call(function, [total, same, weights])
    halves = ir.VectorType(_I16, 32)
    left, right = builder.bitcast(same, halves), builder.bitcast(weights, halves)
    if not quads:
        return builder.add(total, _pair_products(builder, left, right))
    eight = ir.Constant(halves, [8] * 32)
    even = builder.and_(left, ir.Constant(halves, [255] * 32)), builder.ashr(builder.shl(right, eight), eight)
    odd = builder.lshr(left, eight), builder.ashr(right, eight)
    products = builder.add(_pair_products(builder, *even), _pair_products(builder, *odd))
    return builder.add(total, products)


def _pair_products(builder: Any, left: Any, right: Any) -> Any:
    """16 sums of two products of 16-bit integers each, by two vpmaddwd."""
    half, result = ir.VectorType(_I16, 16), ir.VectorType(_I32, 8)
    kind = ir.FunctionType(result, [half, half])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx2.pmadd.wd")
    sums = []
    for first in (0, 16):
        lanes = ir.Constant(ir.VectorType(_I32, 16), list(range(first, first + 16)))
        parts = [builder.shuffle_vector(value, value, lanes) for value in (left, right)]
        sums.append(builder.call(function, parts))
    return builder.shuffle_vector(*sums, ir.Constant(ir.VectorType(_I32, 16), list(range(16))))


@intrinsic
def add_products(typing_context, total, left, right):  # type: ignore[no-untyped-def]
    """total + low * low + high * high of the signed 16-bit halves of each lane of left and right."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return multiply_add(builder, False, *args)

    return I32(I32, I32, I32), generate


def _load_vector(builder: Any, address: Any) -> Any:
    return builder.load(pointer(builder, address, _SUM), align=4)


def _store_vector(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, pointer(builder, address, _SUM), align=4)


def _broadcast(builder: Any, address: Any) -> Any:
    return splat_value(builder, builder.load(pointer(builder, address, _I32), align=4), _SUM)


def _broadcast_quad(builder: Any, address: Any) -> Any:
    """Four steps of 4 bytes, in every quarter of a vector. The optimiser must not make four loads of it again."""
    quad = ir.VectorType(_I32, _QUAD)
    four = builder.load(pointer(builder, address, quad), align=4)
    lanes = ir.Constant(ir.VectorType(_I32, 16), [lane % _QUAD for lane in range(16)])
    wide = builder.shuffle_vector(four, ir.Constant(quad, ir.Undefined), lanes)
    return builder.asm(ir.FunctionType(_SUM, [_SUM]), "", "=v,0", [wide], side_effect=False)


def _spread(builder: Any, quads: Any, step: int) -> Any:
    """One of the steps of `_broadcast_quad` in all lanes."""
    lanes = ir.Constant(ir.VectorType(_I32, 16), [lane // _QUAD * _QUAD + step for lane in range(16)])
    return builder.shuffle_vector(quads, quads, lanes)


def _store_tile(builder: Any, sums: dict[tuple[int, int, int], Any], y: Any, y_row: Any, y_pixel: Any) -> None:
    """Write the sums of (row, column, block) to y + row * y_row + column * y_pixel + 64 * block."""
    for (r, c, b), slot in sums.items():
        row, column = (builder.mul(step, ir.Constant(_I64, i)) for step, i in ((y_row, r), (y_pixel, c)))
        address = builder.add(builder.add(y, row), builder.add(column, ir.Constant(_I64, _BLOCK * b)))
        _store_vector(builder, builder.load(slot), address)


class _Cursor:
    """An address that a loop moves; the optimiser keeps it in a register.

    To the optimiser its value comes from nowhere: else it makes every offset from it an address of its own that
    the loop moves, and there are more of them than registers.
    """

    def __init__(self, builder: Any, start: Any) -> None:
        self._builder = builder
        self._slot = cgutils.alloca_once(builder, _I64)
        builder.store(start, self._slot)

    @property
    def value(self) -> Any:
        same = ir.FunctionType(_I64, [_I64])
        self.set(self._builder.asm(same, "", "=r,0", [self._builder.load(self._slot)], side_effect=False))
        return self._builder.load(self._slot)

    def set(self, address: Any) -> None:
        self._builder.store(address, self._slot)

    def advance(self, step: Any) -> None:
        amount = ir.Constant(_I64, step) if isinstance(step, int) else step
        self.set(self._builder.add(self._builder.load(self._slot), amount))


@intrinsic(prefer_literal=True)
def window_tile(  # type: ignore[no-untyped-def]
    typing_context, quads, blocks, x, x_row, x_pixel, taps, tap_row, run, w, w_block, y, y_row, y_pixel
):
    """Sums of a tile of output pixels and blocks * 16 channels of a direct convolution.

    Literals: quads (1, or 0 for pairs), blocks (1 or 2). For output pixel (r, c) the inputs are `taps`
    runs of `run` 4-byte steps, the first at x + r * x_row + c * x_pixel, each next one tap_row further on. The
    weights of block b are 64-byte steps from w + b * w_block. Sums go to y + r * y_row + c * y_pixel + 64 b.
    """
    use_quads, tile_blocks = literals(quads, blocks)
    tile_rows, tile_columns = _WINDOW_TILES[cpu_level()][tile_blocks]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, x_row, x_pixel, taps, tap_row, run, w, w_block, y, y_row, y_pixel = args[2:]
        tile = [(r, c, b) for r in range(tile_rows) for c in range(tile_columns) for b in range(tile_blocks)]
        sums = {place: cgutils.alloca_once(builder, _SUM) for place in tile}
        for slot in sums.values():
            builder.store(ir.Constant(_SUM, [0] * 16), slot)
        shifts = [builder.mul(x_pixel, ir.Constant(_I64, c)) for c in range(tile_columns)]
        tap_starts = [
            _Cursor(builder, builder.add(x, builder.mul(x_row, ir.Constant(_I64, r)))) for r in range(tile_rows)
        ]
        inputs = [_Cursor(builder, start.value) for start in tap_starts]
        weights = [
            _Cursor(builder, builder.add(w, builder.mul(w_block, ir.Constant(_I64, b))))
            for b in range(tile_blocks)
        ]
        with cgutils.for_range(builder, taps):
            for start, cursor in zip(tap_starts, inputs, strict=True):
                cursor.set(start.value)
                start.advance(tap_row)
            with cgutils.for_range(builder, run):
                loaded = [_load_vector(builder, cursor.value) for cursor in weights]
                for r, cursor in enumerate(inputs):
                    here = cursor.value
                    for c, shift in enumerate(shifts):
                        same = _broadcast(builder, builder.add(here, shift))
                        for b, weight in enumerate(loaded):
                            slot = sums[r, c, b]
                            total = multiply_add(builder, bool(use_quads), builder.load(slot), same, weight)
                            builder.store(total, slot)
                for cursor in inputs:
                    cursor.advance(4)
                for cursor in weights:
                    cursor.advance(_BLOCK)
        _store_tile(builder, sums, y, y_row, y_pixel)
        return context.get_dummy_value()

    return types.void(quads, blocks, *[types.int64] * 11), generate


@intrinsic(prefer_literal=True)
def sliding_tile(  # type: ignore[no-untyped-def]
    typing_context, quads, x, x_row, x_pixel, taps, tap_row, groups, w, y, y_row, y_pixel
):
    """`window_tile` of one block for kernels 3 wide at stride 1, with fewer loads.

    Output pixels side by side share two of their three inputs: each is loaded once and meets three vectors of
    weights. A tap is 3 * groups steps of 4 bytes, `groups` per input pixel.
    """
    (use_quads,) = literals(quads)
    tile_rows, tile_columns = _WINDOW_TILES[cpu_level()][1]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, x_row, x_pixel, taps, tap_row, groups, w, y, y_row, y_pixel = args[1:]
        tile = [(r, c) for r in range(tile_rows) for c in range(tile_columns)]
        sums = {place: cgutils.alloca_once(builder, _SUM) for place in tile}
        for slot in sums.values():
            builder.store(ir.Constant(_SUM, [0] * 16), slot)
        shifts = [builder.mul(x_pixel, ir.Constant(_I64, c)) for c in range(tile_columns + 2)]
        starts = [builder.add(x, builder.mul(x_row, ir.Constant(_I64, r))) for r in range(tile_rows)]
        tap_starts = [_Cursor(builder, start) for start in starts]
        inputs = [_Cursor(builder, start) for start in starts]
        weights = _Cursor(builder, w)
        column_size = builder.mul(groups, ir.Constant(_I64, _BLOCK))
        columns = [builder.mul(column_size, ir.Constant(_I64, column)) for column in range(3)]
        with cgutils.for_range(builder, taps):
            for start, cursor in zip(tap_starts, inputs, strict=True):
                cursor.set(start.value)
                start.advance(tap_row)
            with cgutils.for_range(builder, groups):
                first = weights.value
                loaded = [_load_vector(builder, builder.add(first, column)) for column in columns]
                for r, cursor in enumerate(inputs):
                    here = cursor.value
                    for position, shift in enumerate(shifts):
                        same = _broadcast(builder, builder.add(here, shift))
                        for column, weight in enumerate(loaded):
                            if 0 <= position - column < tile_columns:
                                slot = sums[r, position - column]
                                total = multiply_add(builder, bool(use_quads), builder.load(slot), same, weight)
                                builder.store(total, slot)
                    cursor.advance(4)
                weights.advance(_BLOCK)
            weights.advance(columns[2])
        _store_tile(builder, {(r, c, 0): slot for (r, c), slot in sums.items()}, y, y_row, y_pixel)
        return context.get_dummy_value()

    return types.void(quads, *[types.int64] * 10), generate


@intrinsic(prefer_literal=True)
def coupled_tile(  # type: ignore[no-untyped-def]
    typing_context, blocks, x, x_row, x_part, x_pixel, taps, tap_row, run, w, w_block, y, y_row, y_pixel
):
    """`window_tile` of pairs for kernels 3 wide at stride 1, with four products for two outputs instead of six.

    Literal: blocks (1 or 2). run is even. With d0 .. d3 the inputs of two outputs side by side and w0 .. w2 the
    weights, x holds d0 - d2, d1 + d2, d2 - d1, d1 - d3 (parts 0 .. 3, x_part apart), for each couple of outputs;
    couples are x_pixel apart. The weights of a block are two lists [taps][run][2] of 64-byte vectors: of
    (w0 + w1 + w2, w0 - w1 + w2) for parts 1 and 2, then of (2 w0, -2 w2) for parts 0 and 3. Twice the outputs are

        2 y0 = 2 w0 (d0 - d2) + s + t    2 y1 = -2 w2 (d1 - d3) + s - t
        s = (w0 + w1 + w2)(d1 + d2)      t = (w0 - w1 + w2)(d2 - d1)
    """
    (tile_blocks,) = literals(blocks)
    tile_rows, tile_columns = _WINDOW_TILES[cpu_level()][tile_blocks]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, x_row, x_part, x_pixel, taps, tap_row, run, w, w_block, y, y_row, y_pixel = args[1:]
        couples = tile_columns // 2
        tile = [(r, c, b) for r in range(tile_rows) for c in range(tile_columns) for b in range(tile_blocks)]
        sums = {place: cgutils.alloca_once(builder, _SUM) for place in tile}
        for slot in sums.values():
            builder.store(ir.Constant(_SUM, [0] * 16), slot)
        shifts = [builder.mul(x_pixel, ir.Constant(_I64, c)) for c in range(couples)]
        weights = [
            _Cursor(builder, builder.add(w, builder.mul(w_block, ir.Constant(_I64, b))))
            for b in range(tile_blocks)
        ]
        for parts in ((1, 2), (0, 3)):
            starts = {
                (r, k): _Cursor(
                    builder,
                    builder.add(
                        builder.add(x, builder.mul(x_row, ir.Constant(_I64, r))),
                        builder.mul(x_part, ir.Constant(_I64, part)),
                    ),
                )
                for r in range(tile_rows)
                for k, part in enumerate(parts)
            }
            inputs = {place: _Cursor(builder, start.value) for place, start in starts.items()}
            with cgutils.for_range(builder, taps):
                for place, start in starts.items():
                    inputs[place].set(start.value)
                    start.advance(tap_row)
                with cgutils.for_range(builder, builder.ashr(run, ir.Constant(_I64, 1))):
                    here = [cursor.value for cursor in weights]
                    sources = {place: cursor.value for place, cursor in inputs.items()}
                    for step, k in ((0, 0), (0, 1), (1, 0), (1, 1)):
                        offset = ir.Constant(_I64, _BLOCK * (2 * step + k))
                        loaded = [_load_vector(builder, builder.add(first, offset)) for first in here]
                        for r in range(tile_rows):
                            source = builder.add(sources[r, k], ir.Constant(_I64, 4 * step))
                            for couple, shift in enumerate(shifts):
                                same = _broadcast(builder, builder.add(source, shift))
                                for b, weight in enumerate(loaded):
                                    slot = sums[r, 2 * couple + k, b]
                                    total = multiply_add(builder, False, builder.load(slot), same, weight)
                                    builder.store(total, slot)
                    for cursor in inputs.values():
                        cursor.advance(8)
                    for cursor in weights:
                        cursor.advance(4 * _BLOCK)
            if parts == (1, 2):
                for (r, c, b), slot in sums.items():
                    if c % 2 == 0:
                        other = sums[r, c + 1, b]
                        s, t = builder.load(slot), builder.load(other)
                        builder.store(builder.add(s, t), slot)
                        builder.store(builder.sub(s, t), other)
        for slot in sums.values():
            builder.store(builder.ashr(builder.load(slot), ir.Constant(_SUM, [1] * 16)), slot)
        _store_tile(builder, sums, y, y_row, y_pixel)
        return context.get_dummy_value()

    return types.void(blocks, *[types.int64] * 12), generate


@intrinsic(prefer_literal=True)
def outer_tile(  # type: ignore[no-untyped-def]
    typing_context, blocks, x, x_row, x_pixel, g, g_row, g_pixel, height, width, sums, next_x, x_ahead, next_g,
    g_ahead,
):  # fmt: skip
    """Adds outer products of pairs over height x width positions to columns x (blocks * 16) sums in memory.

    Literal: blocks (1 or 2). At position (i, j) the pairs x[0 .. columns - 1], 4 bytes each from
    x + i * x_row + j * x_pixel, meet blocks * 16 pairs from g + i * g_row + j * g_pixel. sums is
    [columns][blocks][16] int32. Meanwhile x_ahead bytes from next_x on, and g_ahead from next_g on, are fetched at
    every position: single requests, since processors drop many at once.
    """
    (tile_blocks,) = literals(blocks)
    tile_columns = outer_columns(tile_blocks)
    # one block has as many loads as products, which wait for them: the last four inputs take one load together
    shuffled = tile_columns - (_QUAD if tile_blocks == 1 and cpu_level() > CpuLevel.AVX2 else 0)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, x_row, x_pixel, g, g_row, g_pixel, height, width, sums, next_x, x_ahead, next_g, g_ahead = args[1:]
        soon = [(_Cursor(builder, next_x), x_ahead), (_Cursor(builder, next_g), g_ahead)]
        tile = [(c, b) for c in range(tile_columns) for b in range(tile_blocks)]
        slots = {place: cgutils.alloca_once(builder, _SUM) for place in tile}

        def place_of(c: int, b: int) -> Any:
            return builder.add(sums, ir.Constant(_I64, _BLOCK * (c * tile_blocks + b)))

        for place, slot in slots.items():
            builder.store(_load_vector(builder, place_of(*place)), slot)
        rows = [_Cursor(builder, x), _Cursor(builder, g)]
        cursors = [_Cursor(builder, x), _Cursor(builder, g)]
        with cgutils.for_range(builder, height):
            for start, cursor, step in zip(rows, cursors, (x_row, g_row), strict=True):
                cursor.set(start.value)
                start.advance(step)
            with cgutils.for_range(builder, width):
                pairs, gradients = (cursor.value for cursor in cursors)
                loaded = [
                    _load_vector(builder, builder.add(gradients, ir.Constant(_I64, _BLOCK * b)))
                    for b in range(tile_blocks)
                ]
                for c in range(tile_columns):
                    here = builder.add(pairs, ir.Constant(_I64, 4 * c))
                    if c == shuffled:
                        quad = _broadcast_quad(builder, here)
                    same = _broadcast(builder, here) if c < shuffled else _spread(builder, quad, c - shuffled)
                    for b, gradient in enumerate(loaded):
                        slot = slots[c, b]
                        builder.store(multiply_add(builder, False, builder.load(slot), same, gradient), slot)
                cursors[0].advance(x_pixel)
                cursors[1].advance(g_pixel)
                for cursor, step in soon:
                    request(builder, cursor.value, 0, 2)
                    cursor.advance(step)
        for place, slot in slots.items():
            _store_vector(builder, builder.load(slot), place_of(*place))
        return context.get_dummy_value()

    return types.void(blocks, *[types.int64] * 13), generate


def _tile_size(pick: Callable[[int], int], doc: str) -> Any:
    """An intrinsic that gives a size of the tile with a literal number of blocks as a constant."""

    def size(typing_context, blocks):  # type: ignore[no-untyped-def]
        value = pick(*literals(blocks))
        return types.int64(blocks), lambda context, builder, sig, args: ir.Constant(_I64, value)

    size.__doc__ = doc
    return intrinsic(prefer_literal=True)(size)


window_rows = _tile_size(lambda blocks: _WINDOW_TILES[cpu_level()][blocks][0], "Rows of a `window_tile`.")
window_columns = _tile_size(lambda blocks: _WINDOW_TILES[cpu_level()][blocks][1], "Columns of a `window_tile`.")
outer_channels = _tile_size(outer_columns, "Input channels of an `outer_tile`.")
