"""Weights in the order in which the tiles of `dot` read them, 16 channels at a time."""

from __future__ import annotations

from joulebit.kernels.compile import kernel
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import lanes, load_u8, splat, store_all, zeros


@kernel
def pack_quads(w: Int, kernel_h: Int, taps: Int, c_out: Int, packed: Int, excess: Int) -> None:
    """Bytes for `window_tile`: [block of 16 outputs][kernel_h][taps / 4][16][4], the last taps padded with zeros.

    w: address of int8 [kernel_h][taps][c_out], where the taps of a row are its columns and input channels. excess:
    address of int32 [blocks * 16], gets 128 * the sum of an output channel's weights.
    """
    eight, sixteen, top, seven = splat(8), splat(16), splat(24), splat(7)
    sign = splat(128)
    for block in range((c_out + 15) // 16):
        on = lanes(c_out - 16 * block)
        total = zeros()
        for row in range(kernel_h):
            source = w + row * taps * c_out + 16 * block
            for first in range(0, taps, 4):
                left = taps - first
                a = load_u8(source, on)
                b, c, d = zeros(), zeros(), zeros()
                if left > 1:
                    b = load_u8(source + c_out, on)
                if left > 2:
                    c = load_u8(source + 2 * c_out, on)
                if left > 3:
                    d = load_u8(source + 3 * c_out, on)
                store_all(packed, a + (b << eight) + (c << sixteen) + (d << top))
                total = total + ((a ^ sign) + (b ^ sign) + (c ^ sign) + (d ^ sign))
                source += 4 * c_out
                packed += 64
        padded = kernel_h * ((taps + 3) // 4) * 4
        store_all(excess + 64 * block, (total - splat(128 * padded)) << seven)
