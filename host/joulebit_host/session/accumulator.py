"""What an accumulator that counts in steps tells of an energy, and how much noise it hides.

**Edges.** The value at an edge is (1 - f) A0 + f A1 of its neighbours. Their rounding errors are those of a
sawtooth at two places w = P h / r steps apart, with the covariance r^2 (1/12 - w (1 - w) / 2) for w < 1, and
independent where w is large (r the step, h the interval).

**Noise.** The differences d_i of neighbouring counts, b_i seconds apart, scatter by the noise of the power and by
rounding, which two neighbouring differences share with opposite signs:

    d = P b + e,    cov(e) = V h I + r^2 / 12 * tridiag(-1, 2, -1)

V is the variance of a mean over one second. The sine transform makes the covariance diagonal: V h + r^2 / 12 *
(2 - 2 cos(pi k / (n + 1))) for the slow modes k = 1, 2, ..., in which rounding nearly cancels, as it does in the
mean of many counts; noise is seen there even if it is far below a step. Only the slowest modes are used, so that
neighbouring readings may resemble each other (as with batch means: GUM 4.2.7). P is eliminated (restricted
likelihood), and V >= 0 has the posterior density of Jeffreys' non-informative prior. For r = 0 it is the scaled
inverse chi-square distribution from which JCGM 101:2008, 6.4.9, gets Student's t; for a large r it says how much
noise may be hidden. The scaled inverse chi-square distribution of the same mean m and variance v gives the term of
the budget: n = 4 + 2 m^2 / v degrees of freedom, variance m (n - 2) / n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from joulebit_host.session.energy import Edge
from joulebit_host.session.noise import NO_NOISE, Noise
from joulebit_host.session.window import Floats, Pieces, Window

_MODES = 10  #: of each window, the slowest
_FEWEST = 4
_GRID = 160  #: values of V at which the posterior is evaluated
_WIDEST = 40.0  #: the largest of them, in units of what the scatter and one step could be
_EXACT = 1e-20  #: squared scatter below this share is the arithmetic's


def accumulator_noise(pieces: Pieces, windows: Sequence[Window], step_j: float) -> Noise:
    """Noise of the mean power over one second, from windows of constant power; `long_run_w2` and `dof` only.

    Args:
        pieces: of an accumulator.
        windows: idle.
        step_j: one step of the accumulator.
    """
    blocks = []
    for window in windows:
        inside = (pieces.edge_s >= window.start_s) & (pieces.edge_s <= window.end_s)
        seconds, joules = np.diff(pieces.edge_s[inside]), np.diff(pieces.end_j[inside])
        modes = min(_MODES, len(seconds) // 3)
        if modes >= _FEWEST:
            rest = joules - seconds * joules.sum() / seconds.sum()
            if float(rest @ rest) > _EXACT * float(joules @ joules):
                blocks.append((_slowest(rest, modes), _slowest(seconds, modes), seconds))
    if not blocks:
        return NO_NOISE
    widest = sum(float(rest @ rest + step_j**2 / 12) / step_s.mean() for rest, _, step_s in blocks)
    free = sum(len(rest) - 1 for rest, _, _ in blocks)
    # The grid is finer towards 0, where most of the density is if rounding hides the noise.
    v = _WIDEST * widest / free * (np.arange(1, _GRID + 1) / _GRID) ** 4
    log_density, information = np.zeros(_GRID), np.zeros(_GRID)
    for rest, seconds, step_s in blocks:
        angle = math.pi * np.arange(1, len(rest) + 1) / (len(step_s) + 1)
        interval_s = float(step_s.mean())
        variance = v[:, None] * interval_s + step_j**2 / 12 * (2 - 2 * np.cos(angle))
        on_seconds = np.sum(seconds**2 / variance, axis=1)
        on_both = np.sum(seconds * rest / variance, axis=1)
        on_rest = np.sum(rest**2 / variance, axis=1)
        log_density -= (np.sum(np.log(variance), axis=1) + np.log(on_seconds)) / 2
        log_density -= (on_rest - on_both**2 / on_seconds) / 2
        information += np.sum((interval_s / variance) ** 2, axis=1)
    log_density += np.log(information) / 2
    weight = np.exp(log_density - log_density.max()) * np.gradient(v)
    weight /= weight.sum()
    mean = float(np.sum(weight * v))
    dof = 4 + 2 * mean**2 / float(np.sum(weight * (v - mean) ** 2))
    return Noise(mean * (dof - 2) / dof, 0.0, 0.0, 0.5, dof, sum(len(step_s) for _, _, step_s in blocks))


def _slowest(values: Floats, modes: int) -> Floats:
    """The first modes of the orthonormal discrete sine transform (DST-I) of values (n,), as (modes,)."""
    count = len(values)
    k, i = np.arange(1, modes + 1), np.arange(1, count + 1)
    return np.asarray(math.sqrt(2 / (count + 1)) * np.sin(math.pi / (count + 1) * np.outer(k, i)) @ values)


def edge_rounding_j(step_j: float, edge: Edge, power_w: float) -> float:
    """Standard uncertainty of an accumulator's value interpolated at an edge, from counting in steps."""
    if step_j <= 0:
        return 0.0
    apart = abs(power_w) * edge.interval_s / step_j
    covariance = 1 / 12 - apart * (1 - apart) / 2 if apart < 1 else 0.0
    f = edge.outside
    return step_j * math.sqrt(((1 - f) ** 2 + f**2) / 12 + 2 * f * (1 - f) * covariance)
