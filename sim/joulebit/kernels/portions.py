"""How threads share out a long row of elements, in portions that fit the first-level cache.

Each thread takes several portions side by side: where another thread's portion starts, two processors would fetch
and write the same cache lines (those that a kernel asks for ahead of its use), and their own fetching ahead stops.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import fetch_add

PORTION = 4096  #: elements of one that has all channels of a few pixels
RUN = 8  #: portions side by side, at most
RUN_BYTES = 32_768  #: of samples side by side, at most
_AHEAD = 4096  #: bytes ahead of its use at which memory is asked for, at least


@inline
def following(counter: Int, first: Int, grain: Int, run: Int) -> Int:
    """Where the portion after that at `first` starts: of `grain` units, `run` of them drawn at once."""
    beyond = first + grain
    return beyond if beyond % (grain * run) else grain * run * fetch_add(counter, 1)


@inline
def units_ahead(first: Int, after: Int, units: Int) -> Int:
    """How many units ahead of its use to ask for memory: to the same place of a thread's next portion, at `after`.

    0 where there is none. A loop that takes 16 channels of all pixels before the next 16 leaps through a portion,
    which processors do not foresee; and what lies right behind it may be another thread's.
    """
    return after - first if after < units else np.int64(0)


@inline
def samples_at_once(samples: Int, size: Int) -> Int:
    """How many samples side by side, of `size` bytes each, a thread draws: small ones share lines and pages."""
    return max(np.int64(1), min(samples // 16, RUN_BYTES // size))


@inline
def next_sample(counter: Int, sample: Int, run: Int) -> Int:
    """The sample after this one, where a thread draws `run` at once."""
    return following(counter, sample, np.int64(1), run)


@inline
def ahead_of_row(size: Int) -> Int:
    """How many bytes ahead of its use to ask for memory that a loop takes row by row, of `size` bytes each.

    As in `units_ahead`, to the same place of the next row; further, where rows are short.
    """
    return max(np.int64(_AHEAD), size)


def portions(units: int, elements: int, threads: int) -> tuple[int, int, int]:
    """How to share out so many units of `elements` elements: (grain, run, threads) for `following`.

    Every thread has at least four turns if there are so many portions.
    """
    grain = max(1, PORTION // elements)
    count = -(-units // grain)
    run = max(1, min(RUN, count // (4 * threads)))
    return grain, run, max(1, min(threads, -(-count // run)))
