"""When a streamed sample was taken, by the host's clock."""

from __future__ import annotations

from collections import deque


class ClockAlignment:
    """Host time of a device time stamp.

    A frame arrives after its time stamp by a delay that is never negative and varies (USB, scheduling). The
    smallest host - device difference of the last `window_s` is the best estimate of the clocks' offset: the delays
    only add. The window is short, so that drift between the clocks (100 ppm: 0.2 ms in 2 s) hardly matters.
    """

    def __init__(self, window_s: float = 2.0) -> None:
        self.window_s = window_s
        self._smallest: deque[tuple[float, float]] = deque()  # (device time, difference), differences increasing
        self._last_s = float("-inf")

    def reset(self) -> None:
        """After the device's clock jumped."""
        self._smallest.clear()

    def host_time(self, device_t_s: float, arrived_s: float) -> float:
        """Host time of the sample with this device time, which arrived at this host time; it never runs
        backwards.
        """
        difference = arrived_s - device_t_s
        smallest = self._smallest
        while smallest and smallest[-1][1] >= difference:
            smallest.pop()
        smallest.append((device_t_s, difference))
        while smallest[0][0] < device_t_s - self.window_s:
            smallest.popleft()
        self._last_s = max(self._last_s, device_t_s + smallest[0][1])
        return self._last_s
