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


@inline
def following(counter: Int, first: Int, grain: Int, run: Int) -> Int:
    """Where the portion after that at `first` starts: of `grain` units, `run` of them drawn at once."""
    beyond = first + grain
    return beyond if beyond % (grain * run) else grain * run * fetch_add(counter, 1)


@inline
def samples_at_once(samples: Int, size: Int) -> Int:
    """How many samples side by side, of `size` bytes each, a thread draws: small ones share lines and pages."""
    return max(np.int64(1), min(samples // 16, RUN_BYTES // size))


@inline
def next_sample(counter: Int, sample: Int, run: Int) -> Int:
    """The sample after this one, where a thread draws `run` at once."""
    return following(counter, sample, np.int64(1), run)


def portions(units: int, elements: int, threads: int) -> tuple[int, int, int]:
    """How to share out so many units of `elements` elements: (grain, run, threads) for `following`.

    Every thread has at least four turns if there are so many portions.
    """
    grain = max(1, PORTION // elements)
    count = -(-units // grain)
    run = max(1, min(RUN, count // (4 * threads)))
    return grain, run, max(1, min(threads, -(-count // run)))
