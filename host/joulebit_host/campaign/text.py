"""Joules as a person reads them."""

from __future__ import annotations

from joulebit.experiments.figure_style import joule_scale


def joules(value: float | None, width: float | None = None, like: float | None = None) -> str:
    """value ± width with a prefix, to two digits of the width: `6.693 ± 0.020 J`; empty for None.

    like: an energy whose prefix is taken, so that a column has one.
    """
    if value is None:
        return ""
    factor, unit = joule_scale(max(abs(value) if like is None else abs(like), width or 0.0, 1e-9))
    if not width:
        return f"{value / factor:.4g} {unit}"
    digits = max(0, 1 - int(f"{width / factor:e}".partition("e")[2]))
    shown = round(value / factor, digits) + 0.0  # no minus before a zero
    return f"{shown:.{digits}f} ± {width / factor:.{digits}f} {unit}"
