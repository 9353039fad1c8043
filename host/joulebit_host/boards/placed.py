"""A recognised pass in the memory of a virtual board: its tensors as arrays, and all that follows from its plan.

Whatever does not depend on what the tensors hold is found out once: a training step runs the same lists as the
one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig, Flag, Operation
from joulebit_host.boards.recognise import Found
from joulebit_host.boards.whole_layers import Tiles, tiles_of
from joulebit_host.driver.packing import tensor_bytes, tensor_view
from joulebit_host.driver.plans import PassKey, Template, template_of

__all__ = ["GradientPart", "Placed", "placed"]

_SUM_LIMIT = (1 << 47) - 1  #: beyond it the engine's weight gradient would be clamped
_CONVOLVES = (Operation.FORWARD, Operation.INPUT_GRADIENT)


@dataclass(frozen=True)
class GradientPart:
    """A part of a weight gradient that some tiles form together and the last of them writes.

    Attributes:
        where: of the sums [block, word of x, kernel row, kernel column, 8, lane]; count: of them.
        data: the memory from its first byte on.
        tiles: of the list, the last one included, which is `last`.
        elements: of channels that exist.
    """

    where: tuple[slice, ...]
    count: int
    data: NDArray[np.uint8]
    tiles: slice
    last: int
    elements: int


@dataclass(frozen=True)
class Placed:
    """A pass whose tensors lie in the memory, apart from one another.

    Attributes:
        x, dz, mask, out: tensors; None where the pass has none. out is that of forward and input gradient.
        packed: the packed weights.
        results: the result blocks as 64-bit words [tiles, 8].
        tiles: how out is cut; None without out.
        parts: of a weight gradient.
        counts: (counter, what the pass adds to it), gated products taken for formed ones.
    """

    template: Template
    key: PassKey
    shift: int
    threshold_q12: int
    x: NDArray[Any] | None
    dz: NDArray[np.int16] | None
    packed: NDArray[np.uint8] | None
    mask: NDArray[np.uint8] | None
    out: NDArray[Any] | None
    results: NDArray[np.uint64]
    tiles: Tiles | None
    parts: tuple[GradientPart, ...]
    counts: tuple[tuple[str, int], ...]


def placed(found: Found, memory: NDArray[np.uint8], base: int, listed: tuple[int, int]) -> Placed | None:
    """The pass in a memory whose first byte has address `base`; listed: start and end of its list there.

    None where it must go tile by tile: a tensor outside the memory or on another one, tiles that do not hold all
    channels, sums that the engines would clamp.
    """
    key, template = found.key, found.template
    layer, operation = key.layer, key.operation
    convolves = operation in _CONVOLVES
    tiles = _cut(key, template.config) if convolves else None
    if convolves and tiles is None:
        return None
    if not convolves and layer.images * layer.out_h * layer.out_w * 255 * 32768 > _SUM_LIMIT:
        return None
    forward, backward = operation == Operation.FORWARD, operation == Operation.INPUT_GRADIENT
    x_shape = (layer.images, layer.height, layer.width, layer.c_in)
    z_shape = (layer.images, layer.out_h, layer.out_w, layer.c_out)
    wanted: list[tuple[str, tuple[int, ...] | None, Any]] = [
        ("x_address", x_shape if not backward or key.predict else None, np.uint8 if key.x_unsigned else np.int8),
        ("g_address", None if forward else z_shape, np.int16),
        ("w_address", (1, 1, 1, template.packer.size) if template.weights else None, np.uint8),
        ("mask_address", x_shape if key.masked else None, np.uint8),
    ]
    spans = [listed]
    for name, shape, dtype in wanted:
        if shape is not None:
            start = found.bases[name] - base
            spans.append((start, start + tensor_bytes(shape, dtype)))
    read = list(spans)
    results = found.bases["result_address"] - base
    spans.append((results, results + spec.RESULT_BYTES * len(template)))
    out = found.bases["out_address"] - base
    if template.out:
        spans.append((out, out + template.plan.out_bytes))
    written = spans[len(read) :]
    if any(start < 0 or stop > len(memory) for start, stop in spans):
        return None
    for number, (start, stop) in enumerate(written):
        if any(start < end and begin < stop for begin, end in read + written[:number]):
            return None
    x, dz, packed, mask = (
        None if shape is None else tensor_view(memory[found.bases[name] - base :], shape, dtype)
        for name, shape, dtype in wanted
    )
    kind = np.int64 if key.raw else np.uint8 if key.relu else np.int16
    block = memory[slice(*written[0])].view(np.uint64).reshape(len(template), -1)
    return Placed(
        template,
        key,
        found.shift,
        found.threshold_q12,
        x,
        dz,
        None if packed is None else packed.reshape(-1),
        mask,
        tensor_view(memory[out:], z_shape if forward else x_shape, kind) if convolves else None,
        block,
        tiles,
        tuple(_parts(template, memory[out:])),
        tuple(_counts(template)),
    )


@lru_cache(maxsize=512)
def _cut(key: PassKey, config: ArrayConfig) -> Tiles | None:
    return tiles_of(template_of(key, config).plan.descriptors, key.operation == Operation.INPUT_GRADIENT)


def _parts(template: Template, data: NDArray[np.uint8]) -> Iterator[GradientPart]:
    flags, costs = template.plan.descriptors["flags"], template.costs
    firsts, lasts = (np.flatnonzero(flags >> bit & 1).tolist() for bit in (Flag.FIRST, Flag.LAST))
    for piece, first, last in zip(template.plan.pieces, firsts, lasts):
        yield GradientPart(
            tuple(slice(*ends) for ends in piece[1:]),
            piece.elements(template.config),
            data[piece.offset :],
            slice(first, last + 1),
            last,
            int(costs.macs[last]) // int(costs.positions[last]),
        )


def _counts(template: Template) -> Iterator[tuple[str, int]]:
    totals = template.totals
    yield "MACS_8X8" if template.key.operation == Operation.FORWARD else "MACS_8X16", totals.macs
    yield "MACS_4X10", totals.macs_4x10
    yield "PORT0_READ_BYTES", totals.port0_read
    yield "PORT0_WRITE_BYTES", totals.port0_write
    yield "PORT1_READ_BYTES", totals.port1_read
    yield "PORT1_WRITE_BYTES", totals.port1_write
