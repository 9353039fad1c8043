"""A Watts Up? PRO: `#V,R,0;` asks for its version, `#H,R,0;` for the names of the fields, `#L,W,3,E,,n;` starts
its stream.

Each packet: W and V in tenths, A in thousandths, WH in tenths, cost, WH and cost per month, the largest and
smallest W, V and A so far, power factor in hundredths, duty cycle, power cycle, Hz in tenths, VA in tenths.
"""

from __future__ import annotations

from joulebit_host.meters.emulators.curve import Curve
from joulebit_host.meters.emulators.emulator import Emission, StreamEmulator, Supply, Truth

_NAMES = "W,V,A,WH,Cost,WH/Mo,Cost/Mo,Wmax,Vmax,Amax,Wmin,Vmin,Amin,PF,DC,PC,Hz,VA"


class WattsUpEmulator(StreamEmulator):
    """See the module."""

    kind = "wattsup"
    cannot = frozenset({"overrange"})

    def __init__(
        self,
        curve: Curve,
        *,
        interval_s: float = 1.0,
        power_factor: float = 0.6,
        counter_start_wh: float = 0.0,
        supply: Supply | None = None,
        **settings: object,
    ) -> None:
        """power_factor: of the load; counter_start_wh: its energy at the start."""
        super().__init__(curve, interval_s=interval_s, supply=supply or Supply(120.3), **settings)
        self.streaming = False
        self._factor = power_factor
        self._joules = counter_start_wh * 3600
        self._most = [0, 0, 0]
        self._least = [10**6] * 3

    def powered_up(self, t_s: float) -> None:
        """Only the cable was out; but the stream has to be started again."""
        self.streaming = False

    def receive(self, data: bytes, t_s: float) -> list[Emission]:
        """See `Emulator`."""
        out = []
        for packet in data.decode("ascii", "replace").split(";"):
            words = packet.strip().split(",")
            if words[0] == "#V":
                out.append(Emission(t_s, b"#v,-,8,0,0,0,0,0,3,9,1;\r\n"))
            elif words[0] == "#H":
                out.append(Emission(t_s, f"#h,-,18,{_NAMES};\r\n".encode()))
            elif words[0] == "#L" and len(words) >= 4:
                self.streaming = words[2] == "3"
        return out

    def reading(self, t_s: float, count: int) -> bytes:
        """See `StreamEmulator`."""
        volts, amperes, true_w = self.measure(t_s, self.interval_s)
        watts = max(0.0, volts * amperes)
        self._joules += watts * self.interval_s
        now = [round(watts * 10), round(volts * 10), round(max(0.0, amperes) / self._factor * 1000)]
        self._most = [max(a, b) for a, b in zip(self._most, now)]
        self._least = [min(a, b) for a, b in zip(self._least, now)]
        wh = int(self._joules / 360)
        values: list[int | str] = [*now, wh, wh * 12 // 1000, wh * 30, wh * 4 // 10, *self._most, *self._least]
        values += [round(self._factor * 100), 0, 0, 600, round(volts * amperes / self._factor * 10)]
        truth: Truth | None = Truth(t_s, now[0] / 10, now[1] / 10, now[2] / 1000, wh * 360.0, true_w)
        if self.strikes("nan", t_s):
            values[0], truth = "_", None
        return self.transmit(("#d,-,18," + ",".join(map(str, values)) + ";\r\n").encode(), t_s, truth)
