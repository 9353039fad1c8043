"""Where the names of points go in a figure, so that no name lies on another one or on a point."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin
from typing import NamedTuple

_DISTANCES = (9.0, 17.0, 27.0, 39.0, 53.0, 69.0)
_DIRECTIONS = (0, 8, 2, 14, 4, 12, 6, 10, 1, 15, 7, 9, 3, 13, 5, 11)  # sixteenths of a turn: right and left first
_GLYPH, _LINE = 0.56, 1.1  # width of a letter and height of a line, over the font's size


class Place(NamedTuple):
    """Of one label: its centre, relative to its point."""

    x: float
    y: float
    far: bool  #: so far away that it needs a line to its point


class _Box(NamedTuple):
    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: _Box) -> float:
        """The common area."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(0.0, width) * max(0.0, height)


def places(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    sizes: Sequence[float],
    area: tuple[float, float, float, float],
    marker: float = 8.0,
    taken: Sequence[tuple[float, float, float, float]] = (),
) -> list[Place]:
    """A place for every text near its point, the first ones first; all lengths in one unit (printer's points).

    points: their positions. sizes: of the texts' fonts. area: (left, bottom, right, top) inside which labels stay.
    marker: side of the points' squares. taken: areas without labels, such as a legend.
    """
    half = marker / 2
    used = [_Box(x - half, y - half, x + half, y + half) for x, y in points] + [_Box(*box) for box in taken]
    frame = _Box(*area)
    found = []
    for (x, y), text, size in zip(points, texts, sizes, strict=True):
        width, height = _GLYPH * size * len(text), _LINE * size
        best: tuple[float, Place, _Box] | None = None
        for distance in _DISTANCES:
            for direction in _DIRECTIONS:
                angle = direction * pi / 8
                dx, dy = cos(angle) * (distance + width / 2), sin(angle) * (distance + height / 2)
                box = _Box(x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2)
                outside = width * height - box.overlap(frame)
                cost = sum(box.overlap(other) for other in used) + 2 * outside
                place = Place(dx, dy, distance > _DISTANCES[0])
                if best is None or cost < best[0] - 1e-9:
                    best = (cost, place, box)
            assert best is not None
            if best[0] <= 1e-9:
                break
        assert best is not None
        used.append(best[2])
        found.append(best[1])
    return found
