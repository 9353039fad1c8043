"""From a convolution to the list of tile descriptors that computes it.

    plan = plan_forward(layer, CONFIGS["default"], addresses, shift=9, x_unsigned=True)
    memory[...] = plan.descriptors.view(np.uint8)

A tile is images x rows x columns of the pass's result (of dz for the weight gradient), with the halo of operands
that it needs, and as many output blocks, words of x and kernel rows and columns as the buffers hold. The planner
tries the ways to cut a layer and takes the one with the lowest estimated time. What does not fit is an error.

Convolutions with groups are a convolution per group: the caller plans them one by one. A kernel as large as its
image is planned as 1x1 over all its values (`Layer.flattened`), since NHWC puts them side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.packing import GradientPiece, pad8
from joulebit.errors import JoulebitError
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig, Flag, Operation
from joulebit.spec.descriptor import bank_words, blank, ceil_div, errors, flag, seal, total_blocks, weight_bytes

__all__ = [
    "Addresses",
    "Layer",
    "Plan",
    "plan_forward",
    "plan_input_gradient",
    "plan_predict",
    "plan_weight_gradient",
]

MAX_KERNEL = 7
MAX_PADDING = 7
TILE_OVERHEAD = 100  #: cycles, for choosing between plans
MAX_IMAGES = 0xFFFF


@dataclass(frozen=True)
class Layer:
    """A convolution of a batch: sizes of x, channels, kernel, stride, zero padding (rows, columns)."""

    images: int
    height: int
    width: int
    c_in: int
    c_out: int
    kernel_h: int
    kernel_w: int
    stride: int = 1
    padding_h: int = 0
    padding_w: int = 0

    @property
    def out_h(self) -> int:
        return (self.height + 2 * self.padding_h - self.kernel_h) // self.stride + 1

    @property
    def out_w(self) -> int:
        return (self.width + 2 * self.padding_w - self.kernel_w) // self.stride + 1

    @property
    def x_words(self) -> int:
        """8-channel words of a pixel of x."""
        return ceil_div(self.c_in, spec.ACTIVATIONS_PER_WORD)

    @property
    def g_words(self) -> int:
        """4-channel words of a pixel of z or dz: tensors have channels in eights."""
        return pad8(self.c_out) // spec.GRADIENTS_PER_WORD

    def flattened(self) -> Layer:
        """The same layer as 1x1 over all values of an image where its kernel covers the image; else itself.

        Its c_in is height * width * (c_in padded to 8): weights [h, w, c_in, c_out] must be padded likewise and
        reshaped to [1, 1, ...].
        """
        whole = (self.kernel_h, self.kernel_w) == (self.height, self.width)
        if not whole or self.padding_h or self.padding_w or self.kernel_h * self.kernel_w == 1:
            return self
        return Layer(self.images, 1, 1, self.height * self.width * pad8(self.c_in), self.c_out, 1, 1)

    def check(self) -> None:
        """JoulebitError for what no descriptor can say."""
        allowed = (
            ("stride", self.stride, self.stride in (1, 2), "1 or 2"),
            ("kernel", max(self.kernel_h, self.kernel_w), max(self.kernel_h, self.kernel_w) <= MAX_KERNEL,
             f"at most {MAX_KERNEL}x{MAX_KERNEL}, unless it covers an unpadded image"),
            ("padding", max(self.padding_h, self.padding_w), max(self.padding_h, self.padding_w) <= MAX_PADDING,
             f"at most {MAX_PADDING}"),
        )  # fmt: skip
        for name, value, good, what in allowed:
            if not good:
                raise JoulebitError(f"the accelerator cannot run a convolution with {name} {value}: {what}")
        if min(self.images, self.out_h, self.out_w, self.c_in, self.c_out) < 1:
            raise JoulebitError(f"a convolution needs images, channels and a result of at least 1, got {self}")


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


class _Cut(NamedTuple):
    """One axis of a tile: the part of x, the part of dz or z, and x's zeros before it."""

    x: tuple[int, int]  #: start, stop
    g: tuple[int, int]
    pad: int


@dataclass(frozen=True)
class _Axis:
    """Rows or columns of a layer."""

    x: int
    g: int
    kernel: int
    stride: int
    padding: int

    def from_g(self, size: int, taps: tuple[int, int]) -> list[_Cut] | None:
        """Parts of `size` pixels of z or dz and the x that taps (start, stop) meet; None where none can say it."""
        cuts = []
        for start in range(0, self.g, size):
            stop = min(start + size, self.g)
            first = start * self.stride + taps[0] - self.padding
            last = (stop - 1) * self.stride + taps[1] - self.padding
            low, high = max(first, 0), min(last, self.x)
            if high <= 0:
                low, high = 0, 1
            if low >= self.x or low - first > MAX_PADDING:
                return None
            cuts.append(_Cut((low, high), (start, stop), low - first))
        return cuts

    def from_x(self, size: int) -> list[_Cut] | None:
        """Parts of `size` pixels of x and the dz that reaches them."""
        cuts = []
        for start in range(0, self.x, size):
            stop = min(start + size, self.x)
            first = max(0, ceil_div(start + self.padding - self.kernel + 1, self.stride))
            first = min(first, self.g - 1)
            last = max(first + 1, min(self.g, (stop - 1 + self.padding) // self.stride + 1))
            pad = start + self.padding - first * self.stride
            if not 0 <= pad <= MAX_PADDING:
                return None
            cuts.append(_Cut((start, stop), (first, last), pad))
        return cuts


def _axes(layer: Layer) -> tuple[_Axis, _Axis]:
    return (
        _Axis(layer.height, layer.out_h, layer.kernel_h, layer.stride, layer.padding_h),
        _Axis(layer.width, layer.out_w, layer.kernel_w, layer.stride, layer.padding_w),
    )


def _longest(cuts: list[_Cut]) -> tuple[int, int]:
    """Largest x and g parts."""
    return max(cut.x[1] - cut.x[0] for cut in cuts), max(cut.g[1] - cut.g[0] for cut in cuts)


def _sizes(length: int, even: bool = False) -> Iterator[int]:
    """Lengths of nearly equal parts, longest first; even ones where rows go in pairs."""
    seen = set()
    for parts in range(1, length + 1):
        size = ceil_div(length, parts)
        if even and parts > 1:
            size += size % 2
        if size not in seen:
            seen.add(size)
            yield size


def _ranges(words: int, size: int) -> tuple[tuple[int, int], ...]:
    return tuple((start, min(start + size, words)) for start in range(0, words, size))


@dataclass(frozen=True)
class _Spatial:
    """How images, rows and columns are cut."""

    images: int
    rows: list[_Cut]
    columns: list[_Cut]

    def tiles(self, batch: int) -> Iterator[tuple[tuple[int, int], _Cut, _Cut]]:
        for images in _ranges(batch, self.images):
            for row in self.rows:
                for column in self.columns:
                    yield images, row, column


@dataclass(frozen=True)
class _Fit:
    """What one tile must not exceed: (images, x rows, x columns, g rows, g columns) -> whether it fits."""

    layer: Layer
    config: ArrayConfig
    x_words: int  #: 0: x is not loaded
    g_words: int  #: 0: dz is not loaded
    pixels: Callable[[int, int, int, int], int] | None = field(default=None)  #: words of partial sums per image

    def images(self, rows: list[_Cut], columns: list[_Cut]) -> int:
        """Most images of such tiles that fit; 0 when not even one does."""
        (x_rows, g_rows), (x_columns, g_columns) = _longest(rows), _longest(columns)
        half = self.config.bank_depth // 2
        most = min(self.layer.images, MAX_IMAGES)
        for words, height, width in ((self.x_words, x_rows, x_columns), (self.g_words, g_rows, g_columns)):
            if words:
                most = min(most, half // bank_words(1, height, width, words))
        if self.pixels:
            most = min(most, self.config.psum_depth // 2 // self.pixels(x_rows, x_columns, g_rows, g_columns))
        return most

    def spatial(self, by_x: bool, taps: tuple[tuple[int, int], tuple[int, int]] | None = None) -> _Spatial | None:
        """The cut with the lowest cost: tiles' overhead, loads, pixels computed; None when nothing fits."""
        row_axis, column_axis = _axes(self.layer)
        lengths = (row_axis.x, column_axis.x) if by_x else (row_axis.g, column_axis.g)
        taps = taps or ((0, self.layer.kernel_h), (0, self.layer.kernel_w))
        best: tuple[float, _Spatial] | None = None
        column_cuts = [
            column_axis.from_x(size) if by_x else column_axis.from_g(size, taps[1]) for size in _sizes(lengths[1])
        ]
        for size in _sizes(lengths[0], even=True):
            rows = row_axis.from_x(size) if by_x else row_axis.from_g(size, taps[0])
            for columns in column_cuts:
                if rows is None or columns is None:
                    continue
                images = self.images(rows, columns)
                if images < 1:
                    continue
                images = ceil_div(self.layer.images, ceil_div(self.layer.images, images))
                spatial = _Spatial(images, rows, columns)
                cost = self._cost(spatial)
                if best is None or cost < best[0]:
                    best = cost, spatial
                break  # narrower columns only cost more
        return best[1] if best else None

    def _cost(self, spatial: _Spatial) -> float:
        cost = 0.0
        groups = ceil_div(self.layer.images, spatial.images)
        for row in spatial.rows:
            for column in spatial.columns:
                x = (row.x[1] - row.x[0]) * (column.x[1] - column.x[0]) * self.x_words
                g = (row.g[1] - row.g[0]) * (column.g[1] - column.g[0]) * self.g_words
                cost += groups * TILE_OVERHEAD + self.layer.images * max(x, g)
        return cost


def _common(layer: Layer, operation: Operation, addresses: Addresses, count: int) -> NDArray[Any]:
    d = blank(count)
    d["operation"] = operation
    d["stride"] = layer.stride
    d["kernel_h"], d["kernel_w"] = layer.kernel_h, layer.kernel_w
    d["x_row_stride"] = 8 * layer.x_words * layer.width
    d["x_image_stride"] = 8 * layer.x_words * layer.width * layer.height
    d["g_row_stride"] = 8 * layer.g_words * layer.out_w
    d["g_image_stride"] = 8 * layer.g_words * layer.out_w * layer.out_h
    d["x_words"], d["g_words"] = layer.x_words, layer.g_words
    d["out_blocks"] = 1
    d["result_address"] = addresses.results + spec.RESULT_BYTES * np.arange(count)
    return d


def _place(
    d: Any, layer: Layer, addresses: Addresses, images: tuple[int, int], row: _Cut, column: _Cut,
    x_word: int = 0, g_word: int = 0,
) -> None:  # fmt: skip
    """Sizes and operand addresses of one tile."""
    d["images"] = images[1] - images[0]
    d["x_rows"], d["x_columns"] = row.x[1] - row.x[0], column.x[1] - column.x[0]
    d["g_rows"], d["g_columns"] = row.g[1] - row.g[0], column.g[1] - column.g[0]
    d["pad_top"], d["pad_left"] = row.pad, column.pad
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

    for size in _sizes(summed):
        fit = _Fit(layer, config, size if forward else layer.x_words * predict, 0 if forward else size, pixels)
        spatial = fit.spatial(by_x=not forward)
        if spatial or predict:
            break
    if spatial is None:
        why = (
            "the predictor beside an input gradient needs all channels at once" if predict else "buffers too small"
        )
        raise _unmappable(layer, config, why)
    ranges = _ranges(summed, size)
    channels = 4 * layer.g_words if forward else 8 * layer.x_words
    element = 8 if flags & flag(Flag.RAW) else 1 if flags & flag(Flag.RELU) else 2
    height, width = (layer.out_h, layer.out_w) if forward else (layer.height, layer.width)
    blocks = total_blocks(operation, layer.x_words, layer.g_words, config)
    block_ranges = [(0, blocks)] if len(ranges) == 1 else [(block, block + 1) for block in range(blocks)]
    tiles = [
        (tile, block, index) for tile in spatial.tiles(layer.images) for block in block_ranges
        for index in range(len(ranges))
    ]  # fmt: skip
    d = _common(layer, operation, addresses, len(tiles))
    for name, value in options.items():
        d[name] = value
    d["lane_mode"] = lane_mode
    d["out_pixel_stride"] = channels * element
    d["out_row_stride"] = channels * element * width
    d["out_image_stride"] = channels * element * width * height
    if flags & flag(Flag.MASK):
        d["mask_row_stride"] = channels * width
        d["mask_image_stride"] = channels * width * height
    offsets = np.cumsum(
        [0] + [blocks * _block_bytes(layer, operation, lane_mode, part, config) for part in ranges]
    )
    for number, ((images, row, column), block, index) in enumerate(tiles):
        part = ranges[index]
        one = d[number]
        words = {"x_word" if forward else "g_word": part[0]}
        _place(one, layer, addresses, images, row, column, **words)
        if len(ranges) > 1:
            one["x_words" if forward else "g_words"] = part[1] - part[0]
            one["x_pixel_stride" if forward else "g_pixel_stride"] = 8 * summed
        size = _block_bytes(layer, operation, lane_mode, part, config)
        one["out_block"], one["out_blocks"] = block[0], block[1] - block[0]
        one["w_bytes"] = size * (block[1] - block[0])
        one["w_address"] = addresses.weights + offsets[index] + size * block[0]
        one["flags"] = flags | flag(*[Flag.FIRST] * (index == 0), *[Flag.LAST] * (index == len(ranges) - 1))
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
        tuple((unit * start, unit * stop) for start, stop in ranges),
        out_bytes=layer.images * height * width * channels * element,
    )


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
    spatial = _Fit(layer, config, layer.x_words, layer.g_words).spatial(by_x=False)
    if spatial is None:
        raise _unmappable(layer, config, "buffers too small")
    tiles = list(spatial.tiles(layer.images))
    d = _common(layer, Operation.PREDICT, addresses, len(tiles))
    for one, tile in zip(d, tiles):
        _place(one, layer, addresses, *tile)
    d["flags"] = flag(*[Flag.X_UNSIGNED] * x_unsigned)
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
    for words, kernel_h, kernel_w in _gradient_parts(layer, config, selective):
        plan = _weight_gradient(layer, config, addresses, selective, words, kernel_h, kernel_w)
        if plan is None:
            continue
        d = plan.descriptors
        d["flags"] |= flag(Flag.SELECTIVE if selective else Flag.RAW, *[Flag.X_UNSIGNED] * x_unsigned)
        d["threshold_q12"] = threshold_q12
        return replace(plan, descriptors=_sealed(d, config))
    raise _unmappable(layer, config, "buffers or sums too small")


def _gradient_parts(layer: Layer, config: ArrayConfig, selective: bool) -> Iterator[tuple[int, int, int]]:
    """(words of x, kernel rows, kernel columns) per tile that the sums' memory holds, largest first."""
    room = config.psum_depth // 8
    whole = (layer.x_words, layer.kernel_h, layer.kernel_w)
    if selective:
        if whole[0] * whole[1] * whole[2] <= room:
            yield whole
        return
    for kernel_h in _sizes(layer.kernel_h):
        for kernel_w in _sizes(layer.kernel_w):
            for words in _sizes(layer.x_words):
                if words * kernel_h * kernel_w <= room:
                    yield words, kernel_h, kernel_w


def _weight_gradient(
    layer: Layer,
    config: ArrayConfig,
    addresses: Addresses,
    selective: bool,
    words: int,
    kernel_h: int,
    kernel_w: int,
) -> Plan | None:
    blocks = total_blocks(Operation.WEIGHT_GRADIENT, layer.x_words, layer.g_words, config)
    together = min(blocks, config.psum_depth // 8 // (words * kernel_h * kernel_w))
    together = ceil_div(blocks, ceil_div(blocks, together))
    lane_words = config.out_lanes // spec.GRADIENTS_PER_WORD
    narrow = not selective and together < blocks
    g_words = together * lane_words if narrow else layer.g_words
    tiles = []
    pieces, offset, element = [], 0, 1 if selective else 8
    for rows in _ranges(layer.kernel_h, kernel_h):
        for columns in _ranges(layer.kernel_w, kernel_w):
            spatial = _Fit(layer, config, words, g_words).spatial(by_x=False, taps=(rows, columns))
            if spatial is None:
                return None
            places = list(spatial.tiles(layer.images))
            for block in _ranges(blocks, together):
                for word in _ranges(layer.x_words, words):
                    piece = GradientPiece(offset, block, word, rows, columns)
                    pieces.append(piece)
                    offset += piece.elements(config) * element
                    tiles += [(piece, place, n == 0, n == len(places) - 1) for n, place in enumerate(places)]
    d = _common(layer, Operation.WEIGHT_GRADIENT, addresses, len(tiles))
    for one, (piece, place, first, last) in zip(d, tiles):
        g_word = piece.blocks[0] * lane_words if narrow else 0
        _place(one, layer, addresses, *place, x_word=piece.words[0], g_word=g_word)
        one["x_words"] = piece.words[1] - piece.words[0]
        if one["x_words"] < layer.x_words:
            one["x_pixel_stride"] = 8 * layer.x_words
        one["out_block"] = 0 if narrow else piece.blocks[0]
        one["out_blocks"] = piece.blocks[1] - piece.blocks[0]
        if narrow:
            one["g_words"] = min(layer.g_words, piece.blocks[1] * lane_words) - g_word
            one["g_pixel_stride"] = 8 * layer.g_words
        one["kernel_h"] = piece.rows[1] - piece.rows[0]
        one["kernel_w"] = piece.columns[1] - piece.columns[0]
        one["flags"] = flag(*[Flag.FIRST] * first, *[Flag.LAST] * last)
        one["out_address"] = addresses.out + piece.offset
    return Plan(d, pieces=tuple(pieces), out_bytes=offset)
