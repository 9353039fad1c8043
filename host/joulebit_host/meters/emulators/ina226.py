"""An INA226 or INA219 behind a microcontroller that sends E1 lines.

Protocol (Joulebit's own): `E1,seq,board_us,shunt_raw,bus_raw,marker,crc16` and LF; `C1,chip,config,crc16` at
power-up and after `?`. CRC-16 with polynomial 0x1021 and start value 0xFFFF, most significant bit first, over all
that stands before the last comma. INA226: shunt register 2.5 uV a step, bus register 1.25 mV; INA219: 10 uV, and 4
mV above three flag bits. Both chips average over the whole interval.
"""

from __future__ import annotations

from collections.abc import Callable

from joulebit.errors import JoulebitError
from joulebit_host.meters.emulators.curve import Curve
from joulebit_host.meters.emulators.emulator import Emission, StreamEmulator, Truth


def _shifted(byte: int) -> int:
    """Eight steps of a register with this byte on top: shift left, subtract 0x1021 when a one falls out."""
    register = byte << 8
    for _ in range(8):
        register = (register << 1) & 0xFFFF ^ (0x1021 if register & 0x8000 else 0)
    return register


_TABLE = [_shifted(byte) for byte in range(256)]


def crc16(data: bytes) -> int:
    """The checksum of a line's text."""
    register = 0xFFFF
    for byte in data:
        register = (register << 8) & 0xFFFF ^ _TABLE[register >> 8 ^ byte]
    return register


class InaEmulator(StreamEmulator):
    """See the module."""

    kind = "ina226"
    cannot = frozenset({"nan"})

    def __init__(
        self,
        curve: Curve,
        *,
        chip: str = "INA226",
        shunt_ohm: float = 0.01,
        interval_s: float = 0.02,
        sequence_bits: int = 32,
        sequence_start: int = 0,
        clock_start_us: int = 0,
        marker: Callable[[float], int] | None = None,
        **settings: object,
    ) -> None:
        """sequence_start, clock_start_us: counters at power-up, to try wraps; marker: digital inputs over time."""
        if chip not in ("INA226", "INA219"):
            raise JoulebitError(f"chip must be INA226 or INA219, got {chip!r}")
        super().__init__(curve, interval_s=interval_s, **settings)
        self.kind = chip.lower()
        self._chip = chip
        self._shunt_ohm = shunt_ohm
        self._sequence_bits = sequence_bits
        self._sequence = sequence_start
        self._clock_start_us = clock_start_us
        self._booted_s = 0.0
        self._marker = marker or (lambda t_s: 0)
        self._announce = True

    def powered_up(self, t_s: float) -> None:
        """The board starts again: its counters are at zero."""
        self._sequence = 0
        self._clock_start_us = 0
        self._booted_s = self.device_time(t_s - 1e-4)
        self._announce = True

    def receive(self, data: bytes, t_s: float) -> list[Emission]:
        """Answers `?` with the C1 line."""
        return [Emission(t_s, self._chip_line())] if b"?" in data else []

    def _chip_line(self) -> bytes:
        config = "4527" if self._chip == "INA226" else "399F"
        text = f"C1,{self._chip},{config}".encode()
        return text + b",%04X\n" % crc16(text)

    def reading(self, t_s: float, count: int) -> bytes:
        """See `StreamEmulator`."""
        volts, amperes, true_w = self.measure(t_s, self.interval_s)
        overrange = self.strikes("overrange", t_s)
        if self._chip == "INA226":
            step_v, bus_step_v, full_scale = 2.5e-6, 1.25e-3, 0x7FFF
            shunt = round(amperes * self._shunt_ohm / step_v)
            shunt = full_scale if overrange else max(-0x8000, min(full_scale, shunt))
            steps = max(0, min(0x7FFF, round(volts / bus_step_v)))
            bus, full = steps, shunt in (-0x8000, 0x7FFF)
        else:
            step_v, bus_step_v, full_scale = 10e-6, 4e-3, 32000
            shunt = round(amperes * self._shunt_ohm / step_v)
            shunt = full_scale if overrange else max(-full_scale, min(full_scale, shunt))
            steps = max(0, min(0x1FFF, round(volts / bus_step_v)))
            bus, full = steps << 3 | 2, abs(shunt) >= full_scale
        board_us = self._clock_start_us + round((self.device_time(t_s) - self._booted_s) * 1e6)
        fields = (
            self._sequence % (1 << self._sequence_bits),
            board_us % (1 << 32),
            shunt,
            bus,
            self._marker(t_s) & 255,
        )
        self._sequence += 1
        text = b"E1," + ",".join(map(str, fields)).encode()
        line = text + b",%04X\n" % crc16(text)
        volts, amperes = steps * bus_step_v, shunt * step_v / self._shunt_ohm
        truth = None if full else Truth(t_s, volts * amperes, volts, amperes, true_w=true_w)
        greeting = self._chip_line() if self._announce else b""
        self._announce = False
        return greeting + self.transmit(line, t_s, truth)
