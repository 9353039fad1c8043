"""Joules as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joulebit.experiments.figure_style import joule_scale


def joules(value: float | None, width: float | None = None) -> str:
    """value ± width with a prefix, to two digits of the width: `6.693 ± 0.020 J`; empty for None."""
    if value is None:
        return ""
    factor, unit = joule_scale(max(abs(value), width or 0.0, 1e-9))
    if not width:
        return f"{value / factor:.4g} {unit}"
    digits = max(0, 1 - int(f"{width / factor:e}".partition("e")[2]))
    return f"{value / factor:.{digits}f} ± {width / factor:.{digits}f} {unit}"


def phases_text(found: Mapping[str, Any]) -> str:
    """One line for a method's replayed phases (see `summary.summarise`): each, and whether they add up."""
    parts = ", ".join(f"{name} {joules(q['value'], q['u_k2'])}" for name, q in found["energies"].items())
    rest = found["difference"]
    verdict = "they add up" if found["additive"] else "they do NOT add up"
    return (
        f"{found['whole_method']} by phase (replayed, net): {parts}; sum − whole = "
        f"{joules(rest['value'], rest['u_k2'])}: {verdict}"
    )
