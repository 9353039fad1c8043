"""Ways to cut a layer into tiles that fit the accelerator's memories, and the choice between them.

A list of tiles waits for its first load and its last results, and each tile costs a little beside its work: many
small tiles end sooner than few large ones, up to a point. The cycle model says which cut is the fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from joulebit.accelerator.layer import MAX_PADDING, Layer
from joulebit.spec.accelerator import ArrayConfig
from joulebit.spec.descriptor import bank_words, ceil_div

__all__ = ["GAIN", "Axis", "Cut", "Cuts", "Fit", "fastest", "ranges", "sizes"]

MAX_IMAGES = 0xFFFF  #: of a descriptor
MOST_TILES = 4  #: times the fewest that do, of the cuts that are looked at
GAIN = 0.99  #: a cut into more tiles, which reads more, must take less than this part of the cycles


class Cut(NamedTuple):
    """One axis of a tile: the part of x, the part of dz or z, and x's zeros before it."""

    x: tuple[int, int]  #: start, stop
    g: tuple[int, int]
    pad: int


@dataclass(frozen=True)
class Axis:
    """Rows or columns of a layer."""

    x: int
    g: int
    kernel: int
    stride: int
    padding: int

    def from_g(self, size: int, taps: tuple[int, int]) -> list[Cut] | None:
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
            cuts.append(Cut((low, high), (start, stop), low - first))
        return cuts

    def from_x(self, size: int) -> list[Cut] | None:
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
            cuts.append(Cut((start, stop), (first, last), pad))
        return cuts


def axes(layer: Layer) -> tuple[Axis, Axis]:
    return (
        Axis(layer.height, layer.out_h, layer.kernel_h, layer.stride, layer.padding_h),
        Axis(layer.width, layer.out_w, layer.kernel_w, layer.stride, layer.padding_w),
    )


def longest(cuts: list[Cut]) -> tuple[int, int]:
    """Largest x and g parts."""
    return max(cut.x[1] - cut.x[0] for cut in cuts), max(cut.g[1] - cut.g[0] for cut in cuts)


def sizes(length: int, even: bool = False) -> Iterator[int]:
    """Lengths of nearly equal parts, longest first; even ones where rows go in pairs."""
    seen = set()
    for parts in range(1, length + 1):
        size = ceil_div(length, parts)
        if even and parts > 1:
            size += size % 2
        if size not in seen:
            seen.add(size)
            yield size


def ranges(words: int, size: int) -> tuple[tuple[int, int], ...]:
    return tuple((start, min(start + size, words)) for start in range(0, words, size))


@dataclass(frozen=True)
class Cuts:
    """How images, rows and columns are cut."""

    images: int
    rows: list[Cut]
    columns: list[Cut]
    first: int = 0  #: images of the first tile, 0: as many as in the others
    last: int = 0  #: and of the last one

    def groups(self, batch: int) -> list[tuple[int, int]]:
        """Ranges of images."""
        groups = list(ranges(batch, self.images))
        start, stop = groups[0]
        if self.first and stop - start > self.first:
            groups[:1] = [(start, start + self.first), (start + self.first, stop)]
        start, stop = groups[-1]
        if self.last and stop - start > self.last:
            groups[-1:] = [(start, stop - self.last), (stop - self.last, stop)]
        return groups

    def tiles(self, batch: int) -> Iterator[tuple[tuple[int, int], Cut, Cut]]:
        """Images, rows and columns of each tile, in order."""
        for images in self.groups(batch):
            for row in self.rows:
                for column in self.columns:
                    yield images, row, column

    def count(self, batch: int) -> int:
        """Number of tiles."""
        return len(self.groups(batch)) * len(self.rows) * len(self.columns)


@dataclass(frozen=True)
class Fit:
    """What one tile must not exceed."""

    layer: Layer
    config: ArrayConfig
    x_words: int  #: 0: x is not loaded
    g_words: int  #: 0: dz is not loaded
    #: words of partial sums per image, from rows and columns of x and of dz or z
    pixels: Callable[[int, int, int, int], int] | None = field(default=None)

    def images(self, rows: list[Cut], columns: list[Cut]) -> int:
        """Most images of such tiles that fit; 0 when not even one does."""
        (x_rows, g_rows), (x_columns, g_columns) = longest(rows), longest(columns)
        half = self.config.bank_depth // 2
        most = min(self.layer.images, MAX_IMAGES)
        for words, height, width in ((self.x_words, x_rows, x_columns), (self.g_words, g_rows, g_columns)):
            if words:
                most = min(most, half // bank_words(1, height, width, words))
        if self.pixels:
            most = min(most, self.config.psum_depth // 2 // self.pixels(x_rows, x_columns, g_rows, g_columns))
        return most

    def cuts(self, by_x: bool, taps: tuple[tuple[int, int], tuple[int, int]] | None = None) -> list[Cuts]:
        """Cuts of x (by_x) or of dz and z into tiles that fit, the fewest tiles first; none where nothing fits."""
        row_axis, column_axis = axes(self.layer)
        lengths = (row_axis.x, column_axis.x) if by_x else (row_axis.g, column_axis.g)
        taps = taps or ((0, self.layer.kernel_h), (0, self.layer.kernel_w))
        column_cuts = [
            column_axis.from_x(size) if by_x else column_axis.from_g(size, taps[1]) for size in sizes(lengths[1])
        ]
        found = []
        for size in sizes(lengths[0], even=True):
            rows = row_axis.from_x(size) if by_x else row_axis.from_g(size, taps[0])
            for columns in column_cuts:
                most = 0 if rows is None or columns is None else self.images(rows, columns)
                if rows is None or columns is None or most < 1:
                    continue
                found += [Cuts(images, rows, columns) for images in sizes(self.layer.images) if images <= most]
                break  # narrower columns only cost more
        batch = self.layer.images
        found.sort(key=lambda cuts: cuts.count(batch))
        return [cuts for cuts in found if cuts.count(batch) <= MOST_TILES * found[0].count(batch)]


def uneven(cuts: Iterable[Cuts], last: bool) -> list[Cuts]:
    """And the same cuts with a first tile of one image, and with a last one."""
    return [
        replace(one, first=first, last=ends)
        for one in cuts
        for first, ends in ((0, 0), (1, 0), (0, 1), (1, 1))
        if not (first or ends) or (one.images > 1 and (last or not ends))
    ]


def fastest(cuts: Iterable[Cuts], cycles: Callable[[Cuts], int]) -> Cuts | None:
    """The cut that takes the fewest cycles; one after another must be faster by more than GAIN says."""
    best, least = None, 0.0
    for one in cuts:
        taken = cycles(one)
        if best is None or taken < least * GAIN:
            best, least = one, taken
    return best
