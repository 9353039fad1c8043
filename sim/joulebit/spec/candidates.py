"""The values of x that each multiplier of the weight gradient may take: the one table of them.

`joulebit.accelerator.slots` reads it; `joulebit.spec.generate` writes it into `hw/rtl/jb_pkg.sv`, where the
array's selectors (`jb_array`) and the scheduler (`jb_scheduler`) read it.
"""

from __future__ import annotations

__all__ = ["CLASS_MULTIPLIERS", "HOMES", "NO_CANDIDATE", "WINDOW", "WORD", "candidates", "candidates_at"]

WORD = 8  #: channels of x in a word
WINDOW = 3  #: kernel rows and columns in a window
CLASS_MULTIPLIERS = 48  #: of a class, four channels of dz
HOMES = 3  #: candidates 0..2 of a multiplier's 8 are its home
NO_CANDIDATE = 8  #: where a position has none


def candidates() -> tuple[tuple[int, ...], ...]:
    """The candidates of each multiplier of a class, as values of a window.

    Returns:
        48 rows of 8: (3 * row + column) * 8 + channel. Multiplier i has channel i / 2 mod 8 in the columns of row
        i / 16, its home, and one channel in five of the six positions of the other rows: all but the (i mod 6)th,
        channel (i / 2 + (2 + i mod 2) * (position + 1)) mod 8.
    """
    table = []
    for i in range(CLASS_MULTIPLIERS):
        home = [WINDOW * (i // 16) + column for column in range(WINDOW)]
        others = [position for position in range(WINDOW * WINDOW) if position not in home]
        del others[i % 6]
        row = [WORD * position + i // 2 % WORD for position in home]
        row += [WORD * position + (i // 2 + (2 + i % 2) * (position + 1)) % WORD for position in others]
        table.append(tuple(row))
    return tuple(table)


def candidates_at() -> tuple[tuple[int, ...], ...]:
    """The same by positions: 48 rows of 9, which candidate of the multiplier lies there, or NO_CANDIDATE."""
    return tuple(
        tuple(
            next((k for k, value in enumerate(row) if value // WORD == position), NO_CANDIDATE)
            for position in range(WINDOW * WINDOW)
        )
        for row in candidates()
    )
