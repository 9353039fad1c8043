"""Two clocks, one time: offset and drift of a remote clock (board, meter) against the host's monotonic clock.

**Exchanges.** The host asks at t1, the remote reads its clock T, the answer is there at t2. T was read at
some time between t1 and t2, so the middle is off by at most half of the round trip (D. Mills, RFC 5905,
section 8). Slow round trips say little and only the quickest of each stretch of time are kept; a line through
them by weighted least squares gives offset and drift:

    host = host_0 + (1 + drift) * (remote - remote_0)

Two things remain unknown: where in the quickest round trip the clock was read, the same for all exchanges
(half of it either way: `shift_error_s`, common to all times), and the scatter of the line (`line_u_s`, JCGM
100:2008, H.3).

**Streams.** A meter that streams time stamps gives only arrivals, never early: offset and drift follow from
the line below all points that comes nearest to them (S. Moon, P. Skelly, D. Towsley, Estimation and removal
of clock skew from network delay measurements, INFOCOM 1999), an edge of the lower convex hull.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from joulebit.errors import JoulebitError
from joulebit_host.session.window import Floats

_STRETCHES = 12  #: of the exchanges' time; each keeps its quickest


@dataclass(frozen=True)
class Exchange:
    """One request and its answer: host's clock before, remote clock, host's clock after; seconds."""

    sent_s: float
    remote_s: float
    received_s: float

    @property
    def round_trip_s(self) -> float:
        return self.received_s - self.sent_s

    @property
    def middle_s(self) -> float:
        return (self.sent_s + self.received_s) / 2


@dataclass(frozen=True)
class ClockFit:
    """A remote clock in terms of the host's.

    Attributes:
        host_0_s, remote_0_s: a point of the line.
        drift: host seconds per remote second, less 1.
        drift_u: standard uncertainty of it.
        shift_error_s: half-width of an error common to all converted times.
        scatter_s: standard deviation of the kept points about the line.
        mean_remote_s, spread_s2, weight: of the kept points, for `line_u_s`.
        kept, total: exchanges used and given.
        first_s, last_s: remote times of the first and the last exchange.
    """

    host_0_s: float
    remote_0_s: float
    drift: float
    drift_u: float
    shift_error_s: float
    scatter_s: float
    mean_remote_s: float
    spread_s2: float
    weight: float
    kept: int
    total: int
    first_s: float
    last_s: float

    @property
    def offset_s(self) -> float:
        """Host's clock less the remote clock, at `remote_0_s`."""
        return self.host_0_s - self.remote_0_s

    def host_s(self, remote_s: float) -> float:
        """The host's clock when the remote clock showed remote_s."""
        return self.host_0_s + (1 + self.drift) * (remote_s - self.remote_0_s)

    def line_u_s(self, remote_s: float) -> float:
        """Standard uncertainty of `host_s` from the scatter about the line."""
        variance = self.scatter_s**2 / self.weight
        if self.spread_s2 > 0:
            variance += self.drift_u**2 * (remote_s - self.mean_remote_s) ** 2
        return math.sqrt(variance)

    def as_json(self) -> dict[str, Any]:
        """For people and for results."""
        return {
            "offset_s": self.offset_s,
            "at_remote_s": self.remote_0_s,
            "drift_ppm": 1e6 * self.drift,
            "drift_u_ppm": 1e6 * self.drift_u,
            "shift_error_s": self.shift_error_s,
            "scatter_s": self.scatter_s,
            "kept": self.kept,
            "total": self.total,
            "first_s": self.first_s,
            "last_s": self.last_s,
        }


def fit_exchanges(exchanges: Sequence[Exchange]) -> ClockFit:
    """The line through the quickest exchanges.

    Points are weighted by 1 / round trip^2. The scatter is never taken to be less than a twentieth of the quickest
    round trip: few points lie on a line by chance.

    Raises JoulebitError for fewer than 2 exchanges, or if the answers came before their requests.
    """
    if len(exchanges) < 2:
        raise JoulebitError(f"a clock needs at least 2 exchanges, got {len(exchanges)}")
    if any(e.round_trip_s < 0 for e in exchanges):
        raise JoulebitError(
            "an exchange was answered before it was asked: its times are not of one monotonic clock"
        )
    kept = _quickest(exchanges)
    remote = np.array([e.remote_s for e in kept])
    middle = np.array([e.middle_s for e in kept])
    trip = np.maximum([e.round_trip_s for e in kept], 1e-9)
    quickest = float(trip.min())
    weight = (quickest / trip) ** 2
    remote_0 = float(np.average(remote, weights=weight))
    offset = middle - remote
    x = remote - remote_0
    spread = float(np.sum(weight * x**2))
    mean_offset = float(np.average(offset, weights=weight))
    drift = float(np.sum(weight * x * offset)) / spread if spread > 0 else 0.0
    residual = offset - mean_offset - drift * x
    dof = len(kept) - 2
    scatter = math.sqrt(float(np.sum(weight * residual**2)) / dof) if dof > 0 else quickest / 2
    scatter = max(scatter, quickest / 20)
    return ClockFit(
        host_0_s=remote_0 + mean_offset,
        remote_0_s=remote_0,
        drift=drift,
        drift_u=scatter / math.sqrt(spread) if spread > 0 else 0.0,
        shift_error_s=quickest / 2,
        scatter_s=scatter,
        mean_remote_s=remote_0,
        spread_s2=spread,
        weight=float(weight.sum()),
        kept=len(kept),
        total=len(exchanges),
        first_s=min(e.remote_s for e in exchanges),
        last_s=max(e.remote_s for e in exchanges),
    )


def _quickest(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Of each stretch of time the quickest quarter, at least one; all of them when there are few."""
    if len(exchanges) <= _STRETCHES:
        best = min(e.round_trip_s for e in exchanges)
        quick = [e for e in exchanges if e.round_trip_s <= 3 * best]
        return quick if len(quick) >= 2 else sorted(exchanges, key=lambda e: e.round_trip_s)[:2]
    begin = min(e.middle_s for e in exchanges)
    seconds = max(e.middle_s for e in exchanges) - begin
    stretches: dict[int, list[Exchange]] = {}
    for e in exchanges:
        stretches.setdefault(int(_STRETCHES * (e.middle_s - begin) / seconds) if seconds > 0 else 0, []).append(e)
    kept = []
    for stretch in stretches.values():
        stretch.sort(key=lambda e: e.round_trip_s)
        kept += stretch[: max(1, len(stretch) // 4)]
    return kept if len(kept) >= 2 else list(exchanges)


@dataclass(frozen=True)
class StreamFit:
    """A streaming meter's clock: arrival = offset + (1 + drift) * device time + a delay that is never negative.

    Attributes:
        offset_s: at device time 0, the least delay included.
        drift: host seconds per device second, less 1.
        mean_delay_s, largest_delay_s: beyond the least.
        count: samples.
    """

    offset_s: float
    drift: float
    mean_delay_s: float
    largest_delay_s: float
    count: int

    def as_json(self) -> dict[str, Any]:
        """For people and for results."""
        return {
            "offset_s": self.offset_s,
            "drift_ppm": 1e6 * self.drift,
            "mean_delay_s": self.mean_delay_s,
            "largest_delay_s": self.largest_delay_s,
            "count": self.count,
        }


def fit_stream(device_s: Floats, host_s: Floats) -> StreamFit | None:
    """The line below all arrivals that comes nearest to them; None for fewer than 2 distinct device times.

    Args:
        device_s: (n,) the meter's time stamps, increasing.
        host_s: (n,) the host's clock for each.
    """
    if len(device_s) < 2 or not device_s[-1] > device_s[0]:
        return None
    origin = device_s[0]
    hull: list[tuple[float, float]] = []
    for x, y in zip((device_s - origin).tolist(), (host_s - device_s).tolist(), strict=True):
        while len(hull) >= 2:
            (x1, y1), (x2, y2) = hull[-2:]
            if (y2 - y1) * (x - x1) < (y - y1) * (x2 - x1):
                break
            hull.pop()
        if hull and hull[-1][0] == x:
            if hull[-1][1] <= y:
                continue
            hull.pop()
        hull.append((x, y))
    # Of the lines below all points, the one nearest to them in sum passes below their mean: that edge of the hull.
    mean = float(np.mean(device_s - origin))
    edge = next((i for i in range(1, len(hull)) if hull[i][0] >= mean), len(hull) - 1)
    (x1, y1), (x2, y2) = hull[edge - 1], hull[edge]
    drift = (y2 - y1) / (x2 - x1)
    delay = (host_s - device_s) - (y1 + drift * (device_s - origin - x1))
    return StreamFit(
        offset_s=float(y1 - drift * (x1 + origin)),
        drift=float(drift),
        mean_delay_s=float(np.mean(delay)),
        largest_delay_s=float(np.max(delay)),
        count=len(device_s),
    )
