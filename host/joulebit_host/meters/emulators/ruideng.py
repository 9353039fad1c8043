"""A RuiDeng UM24C, UM25C or UM34C: 130 bytes after each byte F0.

Big-endian. Volts, amperes and watts as the display shows them (the UM25C has one digit more of volts and amperes);
ten data groups of mAh and mWh, of which the chosen one counts. The last two bytes are FF F1, on the UM34C one byte
of charge state and a checksum over 32 of the odd bytes.
"""

from __future__ import annotations

from joulebit.errors import JoulebitError
from joulebit_host.meters.emulators.curve import Curve
from joulebit_host.meters.emulators.emulator import Emission, PolledEmulator, Truth

_NUMBERS = {"UM24C": 0x0963, "UM25C": 0x09C9, "UM34C": 0x0D4C}
_SUMMED = "1 3 7 9 15 17 19 23 31 39 41 45 49 53 55 57 59 63 67 69 73 79 83 89 97 99 109 111 113 119 121 127"


class RuidengEmulator(PolledEmulator):
    """See the module."""

    kind = "ruideng"
    cannot = frozenset({"overrange", "nan"})

    def __init__(
        self,
        curve: Curve,
        *,
        model: str = "UM25C",
        interval_s: float = 0.5,
        group: int = 0,
        counter_start_mwh: int = 0,
        celsius: int = 28,
        **settings: object,
    ) -> None:
        """group: the data group that counts; counter_start_mwh: its energy at the start."""
        if model not in _NUMBERS:
            raise JoulebitError(f"model must be one of {', '.join(_NUMBERS)}, got {model!r}")
        super().__init__(curve, interval_s=interval_s, **settings)  # type: ignore[arg-type]
        self._model = model
        self.group = group
        self.counter_start_mwh = counter_start_mwh
        self._celsius = celsius

    def polls(self) -> list[bytes]:
        """See `PolledEmulator`."""
        return [b"\xf0"]

    def receive(self, data: bytes, t_s: float) -> list[Emission]:
        """See `Emulator`."""
        out = []
        for byte in data:
            if byte == 0xF0:
                frame = self._answer(t_s)
                if frame:
                    out.append(Emission(t_s + self.latency_s(), frame))
        return out

    def _answer(self, t_s: float) -> bytes:
        volts, amperes, true_w = self.measure(t_s)
        fine = self._model == "UM25C"
        per_volt, per_ampere = (1000, 10_000) if fine else (100, 1000)
        v, a = round(volts * per_volt), max(0, round(amperes * per_ampere))
        w = max(0, round(volts * amperes * 1000))
        joules = self.curve.energy_j(0.0, t_s) * (1 + self.imperfections.gain)
        mwh = self.counter_start_mwh + int(joules / 3.6)
        groups = [0] * 20
        groups[2 * self.group : 2 * self.group + 2] = [int(mwh / volts), mwh]
        record = bytearray(130)

        def put(offset: int, value: int, size: int = 2) -> None:
            record[offset : offset + size] = value.to_bytes(size, "big")

        put(0, _NUMBERS[self._model])
        put(2, v)
        put(4, a)
        put(6, w, 4)
        put(10, self._celsius)
        put(12, self._celsius * 9 // 5 + 32)
        put(14, self.group)
        for i, value in enumerate(groups):
            put(16 + 4 * i, value, 4)
        put(112, int(self.device_time(t_s)), 4)
        put(122, round(volts / max(amperes, 1e-3) * 10), 4)
        record[128:] = b"\xff\xf1"
        if self._model == "UM34C":
            record[128] = 0
            record[129] = 0
            for position in map(int, _SUMMED.split()):
                record[129] ^= record[position]
        truth = Truth(t_s, w / 1000, v / per_volt, a / per_ampere, mwh * 3.6, true_w)
        return self.transmit(bytes(record), t_s, truth)
