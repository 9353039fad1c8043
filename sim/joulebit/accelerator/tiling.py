"""From a convolution to the list of tile descriptors that computes it.

    plan = plan_forward(layer, CONFIGS["default"], addresses, shift=9, x_unsigned=True)
    memory[...] = plan.descriptors.view(np.uint8)

A tile is images x rows x columns of the pass's result (of dz for the weight gradient), with the halo of operands
that it needs, and as many output blocks, words of x and kernel rows and columns as the buffers hold. The planner
tries the ways to cut a layer (`joulebit.accelerator.cuts`) and takes the fastest by the cycle model. What does not
fit is an error.

Convolutions with groups are a convolution per group: the caller plans them one by one. A kernel as large as its
image is planned as 1x1 over all its values (`Layer.flattened`), since NHWC puts them side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.cuts import GAIN, Cut, Cuts, Fit, fastest, ranges, sizes, uneven
from joulebit.accelerator.cycles import list_cycles
from joulebit.accelerator.layer import Layer
from joulebit.accelerator.packing import GradientPiece
from joulebit.errors import JoulebitError
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig, Flag, Operation
from joulebit.spec.descriptor import blank, ceil_div, errors, flag, seal, total_blocks, weight_bytes

__all__ = [
    "Addresses",
    "Layer",
    "Plan",
    "plan_forward",
    "plan_input_gradient",
    "plan_predict",
    "plan_weight_gradient",
]


@dataclass(frozen=True)
class Addresses:
    """Where a layer's tensors lie: byte addresses, multiples of 8. What a pass does not use stays 0."""

    results: int  #: result blocks, 64 bytes per descriptor
    x: int = 0
    g: int = 0  #: dz
    weights: int = 0
    mask: int = 0
    out: int = 0


@dataclass(frozen=True)
class Plan:
    """What the planner gives.

    Attributes:
        descriptors: of DESCRIPTOR_DTYPE, sealed, in order.
        lane_mode: that the weights must be packed for.
        ranges: channels summed over, that the weights must be packed for.
        pieces: of a weight gradient, where its parts lie from Addresses.out on.
        out_bytes: size of the result.
    """

    descriptors: NDArray[Any]
    lane_mode: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    pieces: tuple[GradientPiece, ...] = ()
    out_bytes: int = 0


def _shared(layer: Layer, operation: Operation) -> dict[str, int]:
    """Fields of all descriptors of a pass."""
    return {
        "operation": operation, "stride": layer.stride, "kernel_h": layer.kernel_h, "kernel_w": layer.kernel_w,
        "x_words": layer.x_words, "g_words": layer.g_words, "out_block": 0, "out_blocks": 1,
        "x_pixel_stride": 0, "g_pixel_stride": 0,
    }  # fmt: skip


def _common(layer: Layer, shared: dict[str, int], addresses: Addresses, count: int) -> NDArray[Any]:
    d = blank(count)
    for name, value in shared.items():
        d[name] = value
    d["x_row_stride"] = 8 * layer.x_words * layer.width
    d["x_image_stride"] = 8 * layer.x_words * layer.width * layer.height
    d["g_row_stride"] = 8 * layer.g_words * layer.out_w
    d["g_image_stride"] = 8 * layer.g_words * layer.out_w * layer.out_h
    d["result_address"] = addresses.results + spec.RESULT_BYTES * np.arange(count)
    return d


def _sizes_of(images: tuple[int, int], row: Cut, column: Cut) -> dict[str, int]:
    """Fields of a tile's descriptor that its cut decides, but for the addresses."""
    return {
        "images": images[1] - images[0],
        "x_rows": row.x[1] - row.x[0], "x_columns": column.x[1] - column.x[0],
        "g_rows": row.g[1] - row.g[0], "g_columns": column.g[1] - column.g[0],
        "pad_top": row.pad, "pad_left": column.pad,
    }  # fmt: skip


def _place(
    d: Any, layer: Layer, addresses: Addresses, images: tuple[int, int], row: Cut, column: Cut,
    x_word: int = 0, g_word: int = 0,
) -> None:  # fmt: skip
    """Sizes and operand addresses of one tile."""
    for name, value in _sizes_of(images, row, column).items():
        d[name] = value
    x_pixel = (images[0] * layer.height + row.x[0]) * layer.width + column.x[0]
    g_pixel = (images[0] * layer.out_h + row.g[0]) * layer.out_w + column.g[0]
    d["x_address"] = addresses.x + 8 * (x_pixel * layer.x_words + x_word)
    d["g_address"] = addresses.g + 8 * (g_pixel * layer.g_words + g_word)


def _sealed(descriptors: NDArray[Any], config: ArrayConfig) -> NDArray[Any]:
    """Checked by the hardware's own rules: a plan never holds a descriptor that the accelerator refuses."""
    seal(descriptors)
    for index, descriptor in enumerate(descriptors):
        wrong = errors(descriptor, config)
        if wrong:
            names = ", ".join(bit.name for bit in spec.ErrorBit if wrong >> bit & 1)
            raise JoulebitError(f"the plan's descriptor {index} breaks {names}: this is a bug of the planner")
    return descriptors


def _unmappable(layer: Layer, config: ArrayConfig, why: str) -> JoulebitError:
    return JoulebitError(
        f"{layer.kernel_h}x{layer.kernel_w} with {layer.c_in} to {layer.c_out} channels does not fit "
        f"configuration {config.name!r}: {why}"
    )


def _lane_mode(layer: Layer, operation: Operation, config: ArrayConfig) -> int:
    """The mode with the shorter stream of weights, hence fewer cycles."""
    if operation == Operation.INPUT_GRADIENT and layer.stride == 2:
        return 1
    kernel = (layer.kernel_h, layer.kernel_w)
    lengths = [weight_bytes(operation, kernel, mode, layer.x_words, layer.g_words, config) for mode in (0, 1)]
    return int(lengths[1] < lengths[0])


def _convolution(
    layer: Layer,
    config: ArrayConfig,
    operation: Operation,
    addresses: Addresses,
    options: dict[str, int],
    flags: int,
    predict: bool = False,
) -> Plan:
    """Forward or input gradient: tiles of the result, channel ranges one after another within a tile."""
    layer.check()
    forward = operation == Operation.FORWARD
    lane_mode = _lane_mode(layer, operation, config)
    summed = layer.x_words if forward else layer.g_words
    if forward:

        def pixels(x_rows: int, x_columns: int, g_rows: int, g_columns: int) -> int:
            return ceil_div(g_rows, 2) * g_columns
    else:

        def pixels(x_rows: int, x_columns: int, g_rows: int, g_columns: int) -> int:
            return x_rows * x_columns

    channels = 4 * layer.g_words if forward else 8 * layer.x_words
    element = 8 if flags & flag(Flag.RAW) else 1 if flags & flag(Flag.RELU) else 2
    height, width = (layer.out_h, layer.out_w) if forward else (layer.height, layer.width)
    blocks = total_blocks(operation, layer.x_words, layer.g_words, config)
    shared = _shared(layer, operation) | options | {"lane_mode": lane_mode, "out_pixel_stride": channels * element}
    for size in sizes(summed):
        fit = Fit(layer, config, size if forward else layer.x_words * predict, 0 if forward else size, pixels)
        parts = ranges(summed, size)
        works = _convolution_works(layer, operation, lane_mode, flags, parts, blocks, config)
        fields = [work.fields for work in works]
        cuts = _fastest(uneven(fit.cuts(by_x=not forward), last=True), layer.images, shared, fields, config)
        if cuts or predict:
            break
    if cuts is None:
        why = (
            "the predictor beside an input gradient needs all channels at once" if predict else "buffers too small"
        )
        raise _unmappable(layer, config, why)
    tiles = [(place, work) for place in cuts.tiles(layer.images) for work in works]
    d = _common(layer, shared, addresses, len(tiles))
    d["out_row_stride"] = channels * element * width
    d["out_image_stride"] = channels * element * width * height
    if flags & flag(Flag.MASK):
        d["mask_row_stride"] = channels * width
        d["mask_image_stride"] = channels * width * height
    for one, ((images, row, column), work) in zip(d, tiles):
        _place(one, layer, addresses, images, row, column, **{"x_word" if forward else "g_word": work.word})
        for name, value in work.fields.items():
            one[name] = value
        one["w_address"] = addresses.weights + work.weights
        start = (row.g[0], column.g[0]) if forward else (row.x[0], column.x[0])
        pixel = (images[0] * height + start[0]) * width + start[1]
        one["out_address"] = addresses.out + pixel * channels * element
        if flags & flag(Flag.MASK):
            one["mask_address"] = addresses.mask + pixel * channels
    if predict:
        d["flags"][0] |= flag(Flag.PREDICT_FIRST)
        d["flags"][-1] |= flag(Flag.PREDICT_LAST)
    unit = 8 if forward else 4
    return Plan(
        _sealed(d, config),
        lane_mode,
        tuple((unit * start, unit * stop) for start, stop in parts),
        out_bytes=layer.images * height * width * channels * element,
    )


class _Work(NamedTuple):
    """What a tile does with its pixels: some output blocks, a range of the channels that are summed over."""

    word: int  #: first word of the range
    weights: int  #: bytes before its own, in the stream of all tiles
    fields: dict[str, int]  #: of the descriptor


def _convolution_works(
    layer: Layer,
    operation: Operation,
    lane_mode: int,
    flags: int,
    parts: tuple[tuple[int, int], ...],
    blocks: int,
    config: ArrayConfig,
) -> list[_Work]:
    """All blocks in one tile where the channels fit; else one after another, each over all ranges of channels."""
    side = "x" if operation == Operation.FORWARD else "g"
    works, offset = [], 0
    starts = []
    for part in parts:
        starts.append(offset)
        offset += blocks * _block_bytes(layer, operation, lane_mode, part, config)
    for first, stop in [(0, blocks)] if len(parts) == 1 else [(block, block + 1) for block in range(blocks)]:
        for index, part in enumerate(parts):
            size = _block_bytes(layer, operation, lane_mode, part, config)
            ends = [Flag.FIRST] * (index == 0) + [Flag.LAST] * (index == len(parts) - 1)
            fields = {
                "out_block": first, "out_blocks": stop - first, "w_bytes": size * (stop - first),
                "flags": flags | flag(*ends),
            }  # fmt: skip
            if len(parts) > 1:
                fields |= {f"{side}_words": part[1] - part[0], f"{side}_pixel_stride": 8 * parts[-1][1]}
            works.append(_Work(part[0], starts[index] + size * first, fields))
    return works


def _fastest(
    cuts: Iterable[Cuts],
    batch: int,
    shared: dict[str, int],
    works: Sequence[dict[str, int]],
    config: ArrayConfig,
) -> Cuts | None:
    """The cut with which a list that does each of the works on each tile is the fastest."""
    known: dict[tuple[int, ...], list[dict[str, int]]] = {}

    def cycles(one: Cuts) -> int:
        tiles = []
        for place in one.tiles(batch):
            size = _sizes_of(*place)
            key = tuple(size.values())
            if key not in known:
                known[key] = [shared | size | work for work in works]
            tiles += known[key]
        return list_cycles(tiles, config).total

    return fastest(cuts, cycles)


def _block_bytes(
    layer: Layer, operation: Operation, lane_mode: int, part: tuple[int, int], config: ArrayConfig
) -> int:
    words = part[1] - part[0]
    x_words, g_words = (words, layer.g_words) if operation == Operation.FORWARD else (layer.x_words, words)
    return weight_bytes(operation, (layer.kernel_h, layer.kernel_w), lane_mode, x_words, g_words, config)


def plan_forward(
    layer: Layer,
    config: ArrayConfig,
    addresses: Addresses,
    shift: int = 0,
    rounding: int = 0,
    x_unsigned: bool = False,
    relu: bool = False,
    raw: bool = False,
) -> Plan:
    """z = SAT16(RND*(conv(x, w), shift)); relu: clamped to 0..255 in 8 bits; raw: the sums in 64 bits."""
    chosen = [Flag.X_UNSIGNED] * x_unsigned + [Flag.RELU] * relu + [Flag.RAW] * raw
    options = {"shift": shift, "rounding": rounding}
    return _convolution(layer, config, Operation.FORWARD, addresses, options, flag(*chosen))


def plan_input_gradient(
    layer: Layer,
    config: ArrayConfig,
    addresses: Addresses,
    shift: int = 0,
    rounding: int = 0,
    raw: bool = False,
    masked: bool = False,
    mask_below: int = 0,
    predict: bool = False,
    x_unsigned: bool = False,
) -> Plan:
    """Gradient of x, in 16 bits or raw; masked by the tensor at addresses.mask (x's shape, 8 bits).

    predict: the predictor runs beside it, on x (x_unsigned says of which sign) and all of dz.
    """
    chosen = [Flag.RAW] * raw + [Flag.MASK] * masked + [Flag.PREDICT] * predict
    chosen += [Flag.X_UNSIGNED] * (x_unsigned and predict)
    options = {"shift": shift, "rounding": rounding, "mask_below": mask_below}
    if predict:
        _check_predictor(layer, config)
    return _convolution(layer, config, Operation.INPUT_GRADIENT, addresses, options, flag(*chosen), predict)


def _check_predictor(layer: Layer, config: ArrayConfig) -> None:
    blocks = total_blocks(Operation.PREDICT, layer.x_words, layer.g_words, config)
    needed = 8 * layer.kernel_h * layer.kernel_w * layer.x_words * blocks
    if needed > config.predictor_depth:
        raise _unmappable(
            layer, config, f"the predictor holds {config.predictor_depth} words, this layer needs {needed}"
        )


def plan_predict(layer: Layer, config: ArrayConfig, addresses: Addresses, x_unsigned: bool = False) -> Plan:
    """The predicted weight gradient alone. It stays on the chip for `plan_weight_gradient(selective=True)`."""
    layer.check()
    _check_predictor(layer, config)
    shared = _shared(layer, Operation.PREDICT) | {"flags": flag(*[Flag.X_UNSIGNED] * x_unsigned)}
    fit = Fit(layer, config, layer.x_words, layer.g_words)
    cuts = _fastest(uneven(fit.cuts(by_x=False), last=False), layer.images, shared, [{}], config)
    if cuts is None:
        raise _unmappable(layer, config, "buffers too small")
    tiles = list(cuts.tiles(layer.images))
    d = _common(layer, shared, addresses, len(tiles))
    for one, tile in zip(d, tiles):
        _place(one, layer, addresses, *tile)
    d["flags"][0] |= flag(Flag.PREDICT_FIRST)
    d["flags"][-1] |= flag(Flag.PREDICT_LAST)
    return Plan(_sealed(d, config))


def plan_weight_gradient(
    layer: Layer,
    config: ArrayConfig,
    addresses: Addresses,
    x_unsigned: bool = False,
    selective: bool = False,
    threshold_q12: int = 0,
) -> Plan:
    """Sum of x * dz: int64, or with selective the signs (predicted ones where they are decided)."""
    layer.check()
    if selective:
        _check_predictor(layer, config)
    flags = flag(Flag.SELECTIVE if selective else Flag.RAW, *[Flag.X_UNSIGNED] * x_unsigned)
    shared = _shared(layer, Operation.WEIGHT_GRADIENT) | {"threshold_q12": threshold_q12, "flags": flags}
    for words, kernel_h, kernel_w in _gradient_parts(layer, config, selective):
        blocks = total_blocks(Operation.WEIGHT_GRADIENT, layer.x_words, layer.g_words, config)
        most = config.psum_depth // 8 // (words * kernel_h * kernel_w)
        best = None
        for together in sizes(blocks):
            if together > most:
                continue
            found = _gradient_tiles(layer, config, shared, (words, kernel_h, kernel_w), together)
            if found and (best is None or found.cycles < best.cycles * GAIN):
                best = found
        if best:
            return _gradient_plan(layer, config, addresses, shared, best.tiles)
    raise _unmappable(layer, config, "buffers or sums too small")


def _gradient_parts(layer: Layer, config: ArrayConfig, selective: bool) -> Iterator[tuple[int, int, int]]:
    """(words of x, kernel rows, kernel columns) per tile that the sums' memory holds, largest first."""
    room = config.psum_depth // 8
    whole = (layer.x_words, layer.kernel_h, layer.kernel_w)
    if selective:
        if whole[0] * whole[1] * whole[2] <= room:
            yield whole
        return
    for kernel_h in sizes(layer.kernel_h):
        for kernel_w in sizes(layer.kernel_w):
            for words in sizes(layer.x_words):
                if words * kernel_h * kernel_w <= room:
                    yield words, kernel_h, kernel_w


class _GradientTile(NamedTuple):
    """A tile of a weight gradient: which part of the result, from which pixels, and its descriptor's fields."""

    piece: GradientPiece
    place: tuple[tuple[int, int], Cut, Cut]
    words: tuple[int, int]  #: first words of x and dz
    fields: dict[str, int]


class _Gradient(NamedTuple):
    tiles: list[_GradientTile]
    cycles: int


def _gradient_tiles(
    layer: Layer, config: ArrayConfig, shared: dict[str, int], part: tuple[int, int, int], together: int
) -> _Gradient | None:
    """Tiles with at most `part` = (words of x, kernel rows, kernel columns) and `together` output blocks each."""
    words, kernel_h, kernel_w = part
    blocks = total_blocks(Operation.WEIGHT_GRADIENT, layer.x_words, layer.g_words, config)
    lane_words = config.out_lanes // spec.GRADIENTS_PER_WORD
    selective = bool(shared["flags"] & flag(Flag.SELECTIVE))
    narrow = not selective and together < blocks  # dz' channels of other blocks are not loaded
    element = 1 if selective else 8
    done = _Gradient([], 0)
    offset = 0
    for rows in ranges(layer.kernel_h, kernel_h):
        for columns in ranges(layer.kernel_w, kernel_w):
            pieces = []
            for block in ranges(blocks, together):
                for word in ranges(layer.x_words, words):
                    pieces.append(GradientPiece(offset, block, word, rows, columns))
                    offset += pieces[-1].elements(config) * element
            fit = Fit(layer, config, words, together * lane_words if narrow else layer.g_words)
            best = None
            for cuts in uneven(fit.cuts(by_x=False, taps=(rows, columns)), last=False):
                tiles = _gradient_list(layer, shared, pieces, cuts, lane_words if narrow else 0)
                cycles = list_cycles([tile.fields for tile in tiles], config).total
                if best is None or cycles < best.cycles * GAIN:
                    best = _Gradient(tiles, cycles)
            if best is None:
                return None
            done = _Gradient(done.tiles + best.tiles, done.cycles + best.cycles)
    return done


def _gradient_list(
    layer: Layer, shared: dict[str, int], pieces: list[GradientPiece], cuts: Cuts, lane_words: int
) -> list[_GradientTile]:
    """One piece after another, each over all pixels.

    lane_words: words of dz per output block, where only those of a piece are loaded; else 0.
    """
    tiles = []
    known: dict[tuple[Any, ...], dict[str, int]] = {}
    for number, piece in enumerate(pieces):
        words, g_word = piece.words[1] - piece.words[0], piece.blocks[0] * lane_words
        fields = shared | {
            "x_words": words,
            "x_pixel_stride": 8 * layer.x_words if words < layer.x_words else 0,
            "out_block": 0 if lane_words else piece.blocks[0],
            "out_blocks": piece.blocks[1] - piece.blocks[0],
            "kernel_h": piece.rows[1] - piece.rows[0],
            "kernel_w": piece.columns[1] - piece.columns[0],
        }
        if lane_words:
            fields["g_words"] = min(layer.g_words, piece.blocks[1] * lane_words) - g_word
            fields["g_pixel_stride"] = 8 * layer.g_words
        places = list((cuts if number == 0 else replace(cuts, first=0)).tiles(layer.images))
        for index, place in enumerate(places):
            ends = flag(*[Flag.FIRST] * (index == 0), *[Flag.LAST] * (index == len(places) - 1))
            sizes = _sizes_of(*place)
            key = (*fields.values(), *sizes.values(), ends)
            known.setdefault(key, fields | sizes | {"flags": shared["flags"] | ends})
            tiles.append(_GradientTile(piece, place, (piece.words[0], g_word), known[key]))
    return tiles


def _gradient_plan(
    layer: Layer, config: ArrayConfig, addresses: Addresses, shared: dict[str, int], tiles: list[_GradientTile]
) -> Plan:
    d = _common(layer, shared, addresses, len(tiles))
    for one, tile in zip(d, tiles):
        _place(one, layer, addresses, *tile.place, x_word=tile.words[0], g_word=tile.words[1])
        for name, value in tile.fields.items():
            one[name] = value
        one["out_address"] = addresses.out + tile.piece.offset
    pieces = tuple(dict.fromkeys(tile.piece for tile in tiles))
    element = 1 if shared["flags"] & flag(Flag.SELECTIVE) else 8
    return Plan(
        _sealed(d, config), pieces=pieces, out_bytes=sum(piece.elements(config) * element for piece in pieces)
    )
