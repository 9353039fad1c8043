"""Random numbers and initial weights (specification, section 11)."""

from __future__ import annotations

from math import isqrt

from oracle import round_shift

WORD = 2**32
GATE, STOCHASTIC_DEPTH, INIT = 4, 5, 6  # purposes of random numbers


def philox(seed, purpose, a, b, index):
    """The four words of Philox4x32-10 for one counter."""
    c0, c1, c2, c3 = index % WORD, a, b, index // WORD + purpose * 2**24
    k0, k1 = seed % WORD, seed // WORD
    for _ in range(10):
        first, second = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (
            second // WORD ^ c1 ^ k0,
            second % WORD,
            first // WORD ^ c3 ^ k1,
            first % WORD,
        )
        k0, k1 = (k0 + 0x9E3779B9) % WORD, (k1 + 0xBB67AE85) % WORD
    return c0, c1, c2, c3


def normal(seed, stream, index):
    """A nearly normal number in Q.28: sixteen half-words, less their mean, over their deviation."""
    words = philox(seed, INIT, stream, 0, 2 * index) + philox(seed, INIT, stream, 0, 2 * index + 1)
    total = sum(word % 2**16 + word // 2**16 for word in words) - 524280
    scale = (isqrt(4 * (3 * 2**116 // (2**32 - 1))) + 1) // 2
    return round_shift(total * scale, 31)


def initial_weights(seed, stream, count, deviation):
    """Masters in Q.28; deviation in Q.30."""
    return [round_shift(normal(seed, stream, index) * deviation, 30) for index in range(count)]
