"""A PZEM-003, PZEM-017 or PZEM-004T v3: Modbus-RTU slave with function 04 (and 42, which clears the energy).

It measures once per second of its own clock. CRC: polynomial A001 (reflected 8005), start value FFFF, low byte
first. A question for other registers is answered with exception 02, one for another address not at all.
"""

from __future__ import annotations

from joulebit.errors import JoulebitError
from joulebit_host.meters.emulators.curve import Curve
from joulebit_host.meters.emulators.emulator import Emission, PolledEmulator, Supply, Truth

_ANY = 0xF8


def crc_bytes(data: bytes) -> bytes:
    """The two bytes that end a frame."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return bytes((crc & 0xFF, crc >> 8))


class PzemEmulator(PolledEmulator):
    """See the module."""

    kind = "pzem"
    cannot = frozenset({"overrange"})

    def __init__(
        self,
        curve: Curve,
        *,
        model: str = "017",
        slave: int = 1,
        interval_s: float = 1.0,
        update_s: float = 1.0,
        counter_start_wh: int = 0,
        power_factor: float = 0.61,
        supply: Supply | None = None,
        **settings: object,
    ) -> None:
        """update_s: how often it measures; counter_start_wh: its energy at the start; power_factor: of the 004T's
        load.
        """
        if model not in ("003", "017", "004T"):
            raise JoulebitError(f"model must be 003, 017 or 004T, got {model!r}")
        supply = supply or Supply(230.0 if model == "004T" else 12.0)
        super().__init__(curve, interval_s=interval_s, supply=supply, **settings)  # type: ignore[arg-type]
        self._ac = model == "004T"
        self._slave = slave
        self._update_s = update_s
        self._counter_j = counter_start_wh * 3600.0
        self._counted_s = 0.0
        self._factor = power_factor if self._ac else 1.0
        self._update = -1
        self._registers: list[int] = []
        self._truth = Truth(0.0, None)

    def polls(self) -> list[bytes]:
        """See `PolledEmulator`."""
        question = bytes((self._slave, 4, 0, 0, 0, 10 if self._ac else 8))
        return [question + crc_bytes(question)]

    def receive(self, data: bytes, t_s: float) -> list[Emission]:
        """See `Emulator`. One frame at a time, as from a host that waits for its answer."""
        if len(data) < 4 or crc_bytes(data[:-2]) != data[-2:] or data[0] not in (self._slave, _ANY):
            return []
        body, truth = self._reply(data[1:-2], t_s)
        answer = bytes((data[0], *body))
        frame = self.transmit(answer + crc_bytes(answer), t_s, truth)
        return [Emission(t_s + self.latency_s(), frame)] if frame else []

    def _reply(self, question: bytes, t_s: float) -> tuple[bytes, Truth | None]:
        if question == b"\x42":
            self._counter_j, self._counted_s = 0.0, t_s
            self._update = -1
            return b"\x42", None
        if question[0] != 4 or len(question) != 5:
            return bytes((question[0] | 0x80, 1)), None
        start, count = int.from_bytes(question[1:3], "big"), int.from_bytes(question[3:5], "big")
        self._measure(t_s)
        if not 0 < count <= len(self._registers) - start or self.strikes("nan", t_s):
            return b"\x84\x02", None
        words = self._registers[start : start + count]
        return bytes((4, 2 * count)) + b"".join(word.to_bytes(2, "big") for word in words), self._truth

    def _measure(self, t_s: float) -> None:
        """Takes the last whole update into the registers."""
        update = int(self.device_time(t_s) / self._update_s)
        if update == self._update:
            return
        self._update = update
        end_s = self.true_time(update * self._update_s)
        volts, amperes, true_w = self.measure(end_s, self._update_s)
        watts = max(0.0, volts * amperes)
        if end_s > self._counted_s:
            true_j = self.curve.energy_j(self._counted_s, end_s)
            self._counter_j += true_j * (1 + self.imperfections.gain)
            self._counted_s = end_s
        w, wh = round(watts * 10), int(self._counter_j / 3600)
        low_high = [w & 0xFFFF, w >> 16, wh & 0xFFFF, wh >> 16]
        if self._ac:
            v, a = round(volts * 10), max(0, round(amperes / self._factor * 1000))
            tail = [500, round(self._factor * 100), 0]
            self._registers = [v, a & 0xFFFF, a >> 16, *low_high, *tail]
            self._truth = Truth(end_s, w / 10, v / 10, a / 1000, wh * 3600.0, true_w)
        else:
            v, a = round(volts * 100), max(0, round(amperes * 100))
            self._registers = [v, a, *low_high, 0, 0]
            self._truth = Truth(end_s, w / 10, v / 100, a / 100, wh * 3600.0, true_w)
