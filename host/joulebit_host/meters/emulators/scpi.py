"""A bench supply that speaks SCPI: `*IDN?`, `MEAS:VOLT?`, `MEAS:CURR?`, `MEAS:POW?` (and POWE, POWER), `READ?`,
`FETCH?`.

Each question is measured when it is asked, which takes `answer_s`. Overload reads 9.9E37, no value 9.91E37.
"""

from __future__ import annotations

from joulebit_host.meters.emulators.curve import Curve
from joulebit_host.meters.emulators.emulator import Emission, PolledEmulator, Truth


class ScpiEmulator(PolledEmulator):
    """See the module."""

    kind = "scpi"

    def __init__(
        self,
        curve: Curve,
        *,
        interval_s: float = 0.5,
        answer_s: float = 0.02,
        questions: tuple[str, ...] = ("MEAS:VOLT?", "MEAS:CURR?", "MEAS:POW?"),
        reads: str = "CURR",
        **settings: object,
    ) -> None:
        """questions: what the host of `play` asks; reads: quantity (VOLT, CURR, POW) of READ? and FETCH?."""
        super().__init__(curve, interval_s=interval_s, **settings)  # type: ignore[arg-type]
        self._takes_s = answer_s
        self._questions = questions
        self._reads = reads
        self._last: dict[str, float] = {}

    def polls(self) -> list[bytes]:
        """See `PolledEmulator`."""
        return [question.encode() + b"\n" for question in self._questions]

    def receive(self, data: bytes, t_s: float) -> list[Emission]:
        """See `Emulator`."""
        out = []
        now_s = t_s
        for line in data.decode("ascii", "replace").split("\n"):
            command = line.strip().upper().removeprefix(":")
            if not command.endswith("?"):
                continue
            now_s += self._takes_s + self.latency_s()
            if command == "*IDN?":
                out.append(Emission(now_s, b"JOULEBIT,EMULATED SUPPLY,0,1.0\n"))
                continue
            which = self._reads if command in ("READ?", "FETCH?", "FETC?") else command.removeprefix("MEAS:")[:4]
            which = which.removesuffix("?")[:4].removesuffix("E")
            if which not in ("VOLT", "CURR", "POW"):
                continue
            frame = self._answer(which, now_s)
            if frame:
                out.append(Emission(now_s, frame))
        return out

    def _answer(self, which: str, t_s: float) -> bytes:
        volts, amperes, true_w = self.measure(t_s)
        self._last.setdefault("VOLT", round(volts, 4))
        self._last[which] = round({"VOLT": volts, "CURR": amperes, "POW": volts * amperes}[which], 4)
        text = f"{self._last[which]:.4f}"
        good = True
        if self.strikes("overrange", t_s):
            text, good = "9.90000000E+37", False
        elif self.strikes("nan", t_s):
            text, good = "9.91000000E+37", False
        last = self._last
        truth = Truth(t_s, last.get("POW"), last["VOLT"], last.get("CURR"), true_w=true_w) if good else None
        return self.transmit(text.encode() + b"\n", t_s, truth)
