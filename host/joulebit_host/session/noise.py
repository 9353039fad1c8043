"""How noisy a mean is when neighbouring readings resemble each other.

The variance of a mean of N correlated readings is 2 tau * var / N, with the integrated autocorrelation time tau
= 1/2 + sum of rho(k), summed to the smallest window W >= 5 tau(W) (A. Sokal, Monte Carlo Methods in Statistical
Mechanics, 1997, section 3; U. Wolff, Comput. Phys. Commun. 156 (2004) 143, whose correction for the mean being
taken from the same readings is used too). JCGM 100:2008, 4.2.7 asks for such a treatment of correlated
observations. The estimate of 2 tau * var has the relative variance 2 (2 W + 1) / N (Sokal, eq. 3.19), hence N /
(2 W + 1) degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from joulebit_host.session.window import Floats

_SOKAL_C = 5.0
_ORDER = 3  #: of the differences that tell noise from slow changes


@dataclass(frozen=True)
class Noise:
    """Noise of readings.

    Attributes:
        long_run_w2: 2 tau * variance: what replaces the variance of one reading in the variance of a sum.
        fast_w2: the variance of what changes from reading to reading, whatever slow change there is besides: mean
            square of the third differences, over 20 (J. von Neumann, 1941, for the first, over 2; each further
            one takes more of the slow changes off).
        variance_w2: variance about the mean.
        tau: integrated autocorrelation time in readings; 1/2 for white noise.
        dof: degrees of freedom of long_run_w2.
        count: readings.
    """

    long_run_w2: float
    fast_w2: float
    variance_w2: float
    tau: float
    dof: float
    count: int

    @property
    def effective(self) -> float:
        """How many independent readings would tell as much about the mean."""
        return self.count / max(2 * self.tau, 1e-12)


NO_NOISE = Noise(0.0, 0.0, 0.0, 0.5, float("inf"), 0)


def noise_of(blocks: Sequence[Floats]) -> Noise:
    """Noise of readings whose true value is constant in each block; fewer than 4 readings say nothing."""
    blocks = [np.asarray(block, dtype=np.float64) for block in blocks if len(block) >= 4]
    count = sum(len(block) for block in blocks)
    if count == 0:
        return NO_NOISE
    differences = np.concatenate([np.diff(block, _ORDER) for block in blocks])
    fast = float(np.mean(differences**2)) / math.comb(2 * _ORDER, _ORDER)
    longest = max(len(block) for block in blocks)
    covariance = np.zeros(longest)
    for block in blocks:
        covariance[: len(block)] += _autocovariance_sums(block - block.mean())
    covariance /= count
    variance = float(covariance[0]) * count / (count - len(blocks))
    scale = max(float(np.mean(np.concatenate(blocks) ** 2)), 1e-300)
    if covariance[0] <= 1e-24 * scale:
        return Noise(0.0, 0.0, 0.0, 0.5, float("inf"), count)
    taus = np.cumsum(covariance / covariance[0]) - 0.5
    lags = np.arange(longest)
    enough = np.flatnonzero((lags >= _SOKAL_C * taus) & (lags >= 1))
    window = int(enough[0]) if len(enough) else longest - 1
    tau = max(float(taus[window]), 0.5 / count)
    # The mean of each block is taken from its own readings, which makes every covariance too small.
    width = 2 * window + 1
    correction = 1 + len(blocks) * width / count
    tau *= correction
    dof = max(count / width - len(blocks) + 1, 1.0)
    return Noise(2 * tau * float(covariance[0]), fast, variance, tau, dof, count)


def _autocovariance_sums(values: Floats) -> Floats:
    """sum over i of x[i] x[i + k], for k = 0 ... n - 1, by the fast Fourier transform."""
    n = len(values)
    spectrum = np.fft.rfft(values, 2 * n)
    return np.asarray(np.fft.irfft(spectrum * np.conj(spectrum), 2 * n)[:n])
