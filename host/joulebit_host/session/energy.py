"""Joules of a window: the integral over pieces of power, its edges interpolated, its gaps bounded.

    start_s                                            end_s
       |                                                 |
    ---+--|-------|-------|:::gap:::|-------|-------|----+--|---
       part    whole pieces                            part

Covered parts: sum of (b - a) * (P(a) + P(b)) / 2, with P linear inside a piece (constant for AVERAGE and
ENERGY). A gap (also where the record ends inside the window) gets seconds * (max + min) / 2 of the window's
powers, with the half-width seconds * (max - min) / 2.

An edge's interval may hold a jump: the work starting. Where the power on both sides of the interval differs by far
more than it scatters, a step is put there instead of the interpolation: for constant pieces where it makes the
interval's mean what was read, for linear ones at the edge itself. Half of what that changes is the half-width
`filled_j`; without a clear step it is what one at the edge would change, f (1 - f) h |P+ - P-| for constant pieces
and (1 - f)^2 h |P+ - P-| / 2 for linear ones, f being the share of the interval h outside the window. And the
samples' times may be off: `jump_w` is the change of power across the edge, by which a time error counts.
Changes count as far as the neighbours' scatter and the rounding of readings do not explain them: noise and
quantisation are terms of their own (JCGM 100:2008, 4.3.10: nothing is counted twice). Beyond the edge a slow
meter's neighbours are seconds away: of them only the nearest is at the edge, and a jump behind it is none of the
edge's, unless the time error reaches it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from joulebit_host.meters.base import Reading
from joulebit_host.session.window import Floats, Pieces, Window

_NEIGHBOURS = 3  #: readings on either side whose mean says what the power is there
_NEAR_S = 1.0  #: readings beyond an edge that begin farther away say nothing of it, but for the time error
_CLEAR = 6.0  #: a step is clear when it exceeds the neighbours' scatter by this factor


@dataclass(frozen=True)
class Edge:
    """What an edge adds to the uncertainty.

    Attributes:
        jump_w: change of power across it.
        correction_j: what a step in its interval adds to the interpolation.
        filled_j: half-width of what is not known about the power in its interval.
        time_error_s: half-width of its sample's own time error.
        outside: share of its interval that lies outside of the window, in [0, 1].
        interval_s: length of its interval.
        inside_w: power beside it, in the window.
        inside_variance_w2: of inside_w, from noise and rounding.
    """

    jump_w: float
    correction_j: float
    filled_j: float
    time_error_s: float
    outside: float
    interval_s: float
    inside_w: float = 0.0
    inside_variance_w2: float = 0.0


@dataclass(frozen=True, eq=False)
class Integral:
    """A window's energy and what its uncertainty needs.

    Attributes:
        energy_j: gaps included, at the middle of their bounds.
        seconds: length of the window.
        gap_s, gap_j: time without readings; half-width of its energy.
        mean_w: energy_j / seconds.
        min_w, max_w: of these powers.
        sum_w2_s2: sum of squares of the readings' weights, in s^2: the variance of the energy is this times the
            variance of one reading, if they are independent (JCGM 100:2008, 5.1.2).
        values_w: readings that lie in the window with all that they cover, in order.
        samples: how many these are.
        start, end: the edges.
        complete: the record covers the window to both its ends.
    """

    energy_j: float
    seconds: float
    gap_s: float
    gap_j: float
    mean_w: float
    min_w: float
    max_w: float
    sum_w2_s2: float
    values_w: Floats
    samples: int
    start: Edge
    end: Edge
    complete: bool


def integrate(pieces: Pieces, window: Window, step_w: float = 0.0, time_error_s: float = 0.0) -> Integral:
    """Energy of the window. Without any covered piece in it, the energy is 0 and all of the window is a gap.

    Args:
        pieces, window: as they are.
        step_w: one step of the readings' power; a change of one step may be nothing but rounding.
        time_error_s: how far the samples' times may be off; so far beyond an edge a jump counts as the edge's.
    """
    reach_s = max(_NEAR_S, time_error_s)
    edge = pieces.edge_s
    first = max(int(np.searchsorted(edge, window.start_s, side="right")) - 1, 0)
    last = min(int(np.searchsorted(edge, window.end_s, side="left")), len(edge) - 1)
    inside = slice(first, max(last, first))
    begin, finish = edge[inside], edge[1:][inside]
    a = np.clip(begin, window.start_s, window.end_s)
    b = np.clip(finish, window.start_s, window.end_s)
    covered = ~pieces.gap[inside] & (b > a)
    length = np.where(covered, finish - begin, 1.0)
    from_share = np.where(covered, (a - begin) / length, 0.0)
    to_share = np.where(covered, (b - begin) / length, 0.0)
    # Weights of the left and the right reading of each piece: integrals of the two hat functions over its part.
    right = np.where(covered, length * (to_share**2 - from_share**2) / 2, 0.0)
    left = np.where(covered, b - a, 0.0) - right
    left_w, right_w = pieces.left_w[inside], pieces.right_w[inside]
    energy_j = float(np.sum(left * left_w + right * right_w))
    covered_s = float(np.sum(np.where(covered, b - a, 0.0)))
    gap_s = max(window.seconds - covered_s, 0.0)
    if gap_s < 1e-9 * window.seconds:
        gap_s = 0.0  # rounding
    if pieces.reading is Reading.POINT:
        weights = np.zeros(len(left) + 1)
        weights[:-1] += left
        weights[1:] += right
        values = np.append(np.where(covered, left_w, np.nan), np.nan)
        values[1:] = np.where(np.isnan(values[1:]) & covered, right_w, values[1:])
        within = np.append(begin, finish[-1:])
        counted = (within >= window.start_s) & (within <= window.end_s) & ~np.isnan(values)
    else:
        weights = left + right
        values = np.where(covered, right_w, np.nan)
        counted = covered & (from_share <= 0) & (to_share >= 1)
    known = values[counted] if np.any(counted) else values[~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    start = _edge(pieces, window.start_s, step_w, reach_s, starts=True)
    end = _edge(pieces, window.end_s, step_w, reach_s, starts=False)
    energy_j += gap_s * (low + high) / 2 + start.correction_j + end.correction_j
    return Integral(
        energy_j=energy_j,
        seconds=window.seconds,
        gap_s=gap_s,
        gap_j=gap_s * (high - low) / 2,
        mean_w=energy_j / window.seconds,
        min_w=low,
        max_w=high,
        sum_w2_s2=float(np.sum(weights**2)),
        values_w=values[counted],
        samples=int(np.count_nonzero(counted)),
        start=start,
        end=end,
        complete=len(edge) > 1 and bool(edge[0] <= window.start_s and edge[-1] >= window.end_s),
    )


def energies(pieces: Pieces, start_s: Floats, end_s: Floats) -> Floats:
    """Joules of many stretches at once, (m,); nothing is added for gaps (see `seconds_in_gaps`)."""
    return _primitive(pieces, end_s) - _primitive(pieces, start_s)


def seconds_in_gaps(pieces: Pieces, start_s: Floats, end_s: Floats) -> Floats:
    """How long no reading covers each stretch, (m,)."""
    gap = np.concatenate(([0.0], np.cumsum(np.where(pieces.gap, np.diff(pieces.edge_s), 0.0))))
    inside = np.interp(end_s, pieces.edge_s, gap) - np.interp(start_s, pieces.edge_s, gap)
    first, last = pieces.edge_s[0], pieces.edge_s[-1]
    outside = np.clip(first - start_s, 0, end_s - start_s) + np.clip(end_s - last, 0, end_s - start_s)
    return np.asarray(inside + outside)


def _primitive(pieces: Pieces, t_s: Floats) -> Floats:
    """Energy from the record's begin to each time."""
    edge = pieces.edge_s
    step = np.diff(edge)
    whole = np.concatenate(([0.0], np.cumsum(step * (pieces.left_w + pieces.right_w) / 2)))
    at = np.clip(np.searchsorted(edge, t_s, side="right") - 1, 0, len(step) - 1)
    length = np.clip(t_s - edge[at], 0.0, step[at])
    slope = np.divide(pieces.right_w - pieces.left_w, step, out=np.zeros(len(step)), where=step > 0)
    return np.asarray(whole[at] + length * (pieces.left_w[at] + slope[at] * length / 2))


def change_beyond_noise(start: Edge, end: Edge) -> float:
    """How far the power inside of a window differs between its begin and its end, noise and rounding taken off."""
    return _beyond_noise(end.inside_w - start.inside_w, start.inside_variance_w2 + end.inside_variance_w2)


def _edge(pieces: Pieces, t_s: float, step_w: float, reach_s: float, starts: bool) -> Edge:
    """The edge of a window at t_s."""
    edge = pieces.edge_s
    if len(edge) < 2 or not edge[0] <= t_s <= edge[-1]:
        return Edge(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    at = int(np.searchsorted(edge, t_s, side="right" if starts else "left")) - 1
    at = min(max(at, 0), len(edge) - 2)
    interval_s = float(edge[at + 1] - edge[at])
    share = float(t_s - edge[at]) / interval_s if interval_s > 0 else 0.0
    # Beyond the edge the work may begin or end within a few readings of a slow meter: that is no jump at the edge.
    before = _neighbours(pieces, at - 1, -1, t_s, reach_s if starts else math.inf)
    after = _neighbours(pieces, at + 1, 1, t_s, math.inf if starts else reach_s)
    left_w, right_w = float(pieces.left_w[at]), float(pieces.right_w[at])
    # As seen from inside the window: `outside` is the share of the interval beyond the edge.
    outside, inner, outer = (share, after, before) if starts else (1.0 - share, before, after)
    inner_end_w, outer_end_w = (right_w, left_w) if starts else (left_w, right_w)
    correction_j = filled_j = 0.0
    known = [powers for powers in (inner, outer) if len(powers)]
    scatter = np.concatenate([powers - powers.mean() for powers in known]) if known else np.zeros(0)
    noise_w2 = float(np.sum(scatter**2)) / max(len(scatter) - len(known), 1)
    rounding_w2 = step_w**2 / 12  # in the worst case the same for all readings on one side
    scatter_w = float(np.sqrt(noise_w2 + rounding_w2))
    jumps = [0.0]
    if len(known) == 2:
        inner_w, outer_w = float(inner.mean()), float(outer.mean())
        change_w = _beyond_noise(inner_w - outer_w, noise_w2 * (1 / len(inner) + 1 / len(outer)) + 2 * rounding_w2)
        jumps.append(change_w)
    if not pieces.gap[at]:
        # One reading is no level: it counts where it stands out.
        changes_w = [abs(own_w - powers.mean()) for own_w in (left_w, right_w) for powers in known]
        jumps += [own_w for own_w in changes_w if own_w > _CLEAR * scatter_w]
        if len(known) == 2:
            clear = len(scatter) > 3 and abs(inner_w - outer_w) > _CLEAR * scatter_w
            inside_s = (1 - outside) * interval_s
            if pieces.reading is Reading.POINT:
                step_j = inside_s * (inner_w - (inner_end_w + _between(inner_end_w, outer_end_w, outside)) / 2)
                filled_j = (1 - outside) ** 2 * interval_s / 2 * change_w
            else:
                beyond = (inner_w - left_w) / (inner_w - outer_w) if inner_w != outer_w else outside
                whole = left_w * interval_s - outer_w * outside * interval_s
                step_j = (inner_w * inside_s if beyond <= outside else whole) - left_w * inside_s
                filled_j = outside * inside_s * change_w
            if clear:
                correction_j, filled_j = step_j, abs(step_j) / 2
    return Edge(
        jump_w=float(max(jumps)),
        correction_j=correction_j,
        filled_j=filled_j,
        time_error_s=float(pieces.time_error_s[at]),
        outside=min(max(outside, 0.0), 1.0),
        interval_s=interval_s,
        inside_w=float(inner.mean()) if len(inner) else inner_end_w,
        inside_variance_w2=noise_w2 / max(len(inner), 1) + rounding_w2,
    )


def _beyond_noise(change_w: float, variance_w2: float) -> float:
    """What of a change its noise does not explain: the root of the unbiased estimate of its square."""
    return float(np.sqrt(max(change_w**2 - variance_w2, 0.0)))


def _between(inner_w: float, outer_w: float, outside: float) -> float:
    """Power at the edge on the straight line between an interval's two ends."""
    return outer_w + (inner_w - outer_w) * outside


def _neighbours(pieces: Pieces, at: int, direction: int, t_s: float, reach_s: float) -> Floats:
    """The nearest few readings on one side, up to a gap: the farther end of each piece.

    Of pieces that begin farther than reach_s from t_s, none but the first.
    """
    found: list[float] = []
    while 0 <= at < len(pieces.gap) and not pieces.gap[at] and len(found) < _NEIGHBOURS:
        near_s = pieces.edge_s[at + 1] if direction < 0 else pieces.edge_s[at]
        if found and abs(t_s - near_s) > reach_s:
            break
        found.append(float(pieces.left_w[at] if direction < 0 else pieces.right_w[at]))
        at += direction
    return np.array(found, dtype=np.float64)
