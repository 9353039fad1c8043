"""NVIDIA GPUs through NVML (package nvidia-ml-py).

Address: the GPU's index or UUID; 0 by default. Each poll asks `nvmlDeviceGetTotalEnergyConsumption` (millijoules
since the driver was loaded; Volta and later) and `nvmlDeviceGetPowerUsage` (milliwatts). The record is JSON as
asked, `{"energy_mj":123456,"power_mw":70123}`; a value that the GPU does not have is null, one that failed this
time is its error's text.

FRAMING: other JSON than that. NOT_A_NUMBER: a value that failed (the sample is not valid). RANGE: a power above
`max_power_w`, or an energy that goes up faster than that. An energy that goes down, confirmed by the
next record: the driver was loaded again, WRAP_AMBIGUOUS, new segment.

The energy counter integrates inside the GPU and is the source wherever it exists; power readings cover only a part
of the time (25 % on A100 and H100: arXiv 2312.02741). Error: 5 % by the same source (NVIDIA's documentation says
+-5 W for power).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from types import ModuleType
from typing import Any

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Received, Sample
from joulebit_host.meters.counters import Accumulator, Step
from joulebit_host.meters.decoding import FrameDecoder
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.files import Pacer


@dataclass(frozen=True)
class NvmlOptions(ErrorLimits):
    """Options of NVML; `counter` is filled in when the meter is opened."""

    interval_s: float = option(0.1, "mean time between polls", unit="s", low=0.005, high=60)
    max_power_w: float = option(2000.0, "more than the GPU can take", unit="W", low=1)
    counter: bool = option(True, "the GPU has an energy counter, as recorded")

    def reading(self) -> Reading:
        """The counter, where there is one."""
        return Reading.ENERGY if self.counter else Reading.POINT

    def accuracy(self) -> Accuracy:
        """Of the documentation and of measurements."""
        known = Accuracy(
            gain=0.05,
            offset_w=0.0 if self.counter else 5.0,
            power_resolution_w=0.001,
            energy_resolution_j=0.001 if self.counter else 0.0,
            time_s=0.1,
            source="arXiv 2312.02741: gain 5 %; NVML API: power +-5 W; counter updated every 0.1 s assumed",
            assumed=("time_s",),
        )
        return self.limited(known)

    def interval(self) -> float:
        """Mean time between polls."""
        return self.interval_s


class NvmlDecoder(FrameDecoder):
    """See the module."""

    def __init__(self, options: NvmlOptions) -> None:
        super().__init__()
        self._options = options
        most_mj_per_s = options.max_power_w * 1000
        self._mj = Accumulator(most_mj_per_s, most_mj_per_s)
        self._segment = 0

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        try:
            record = json.loads(received.data)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or set(record) != {"energy_mj", "power_mw"}:
            self.count(Fault.FRAMING)
            return []
        energy, power = record["energy_mj"], record["power_mw"]
        t_s = (received.t_sent_s + received.t_s) / 2
        error_s = (received.t_s - received.t_sent_s) / 2
        leading = energy if self._options.counter else power
        if isinstance(energy, str) or isinstance(power, str) or leading is None:
            self.count(Fault.NOT_A_NUMBER)
            return [Sample(t_s=t_s, valid=False, segment=self._segment, time_error_s=error_s)]
        if not all(value is None or (type(value) is int and 0 <= value < 1 << 64) for value in (energy, power)):
            self.count(Fault.FRAMING)
            return []
        most_w = self._options.max_power_w
        if (power is not None and power > most_w * 1000) or not self._follows(energy, t_s):
            self.count(Fault.RANGE)
            return []
        return [
            Sample(
                t_s=t_s,
                power_w=None if power is None else power / 1000,
                energy_j=None if energy is None else self._mj.total / 1000,
                segment=self._segment,
                time_error_s=error_s,
            )
        ]

    def _follows(self, energy: int | None, t_s: float) -> bool:
        """Takes the counter; False for a value that is in doubt."""
        if energy is None:
            return True
        step = self._mj.take(energy, t_s)
        if step is Step.BROKEN:
            self.count(Fault.WRAP_AMBIGUOUS)
            self._segment += 1
        return step is not Step.DOUBTFUL


def load_nvml() -> ModuleType:
    """NVML, initialised; JoulebitError without package, driver or GPU."""
    try:
        import pynvml
    except ModuleNotFoundError:
        raise JoulebitError("NVIDIA GPUs need nvidia-ml-py: pip install 'joulebit[meters]'") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise JoulebitError(f"no NVIDIA GPU can be asked: {error}") from None
    module: ModuleType = pynvml
    return module


class NvmlMeter:
    """See the module and `base.Meter`."""

    kind = "nvml"

    def __init__(self, address: str, options: NvmlOptions, nvml: Any = None) -> None:
        """nvml: an initialised module with NVML's functions; loaded by default."""
        self._nvml = nvml = nvml or load_nvml()
        try:
            if address.upper().startswith("GPU-"):
                self._gpu = nvml.nvmlDeviceGetHandleByUUID(address)
            else:
                self._gpu = nvml.nvmlDeviceGetHandleByIndex(int(address or "0"))
            name, uuid = nvml.nvmlDeviceGetName(self._gpu), nvml.nvmlDeviceGetUUID(self._gpu)
        except ValueError:
            raise JoulebitError(f"nvml: a GPU is named by its index or UUID, got {address!r}") from None
        except nvml.NVMLError as error:
            raise JoulebitError(f"nvml: no GPU {address or '0'}: {error}") from None
        self._without: set[str] = set()
        first = self._poll()
        if first["energy_mj"] is None and first["power_mw"] is None:
            raise JoulebitError(f"nvml: {_text(name)} tells neither energy nor power")
        options = replace(options, counter=first["energy_mj"] is not None)
        self.identity = f"{_text(name)} {_text(uuid)}"
        self.settings: Mapping[str, Any] = asdict(options)
        self.reading = options.reading()
        self.accuracy = options.accuracy()
        self.interval_s = options.interval()
        self._pacer = Pacer(self.interval_s)
        self._gone = False

    def _poll(self) -> dict[str, int | str | None]:
        ask = self._nvml
        return {
            "energy_mj": self._ask("energy_mj", ask.nvmlDeviceGetTotalEnergyConsumption),
            "power_mw": self._ask("power_mw", ask.nvmlDeviceGetPowerUsage),
        }

    def _ask(self, name: str, question: Callable[[Any], Any]) -> int | str | None:
        if name in self._without:
            return None
        try:
            return int(question(self._gpu))
        except self._nvml.NVMLError as error:
            if isinstance(error, self._nvml.NVMLError_NotSupported):
                self._without.add(name)
                return None
            return str(error)

    def start(self) -> None:
        """The next read polls at once."""
        self._pacer.restart()

    def read(self, timeout_s: float) -> Received:
        """See `base.Meter`. A GPU of which nothing can be asked has vanished."""
        began_s = time.monotonic()
        if not self._pacer.wait(timeout_s):
            return Received(began_s, time.monotonic(), b"")
        began_s = time.monotonic()
        record = self._poll()
        now_s = time.monotonic()
        if all(isinstance(value, str) or value is None for value in record.values()):
            event = "" if self._gone else "unplugged"
            self._gone = True
            return Received(began_s, now_s, b"", event)
        if self._gone:
            self._gone = False
            return Received(began_s, now_s, b"", "replugged")
        return Received(began_s, now_s, json.dumps(record, separators=(",", ":")).encode())

    def stop(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
        """NVML stays loaded: others in this process may use it."""


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _open(address: str, options: NvmlOptions) -> Meter:
    return NvmlMeter(address, options)


def find() -> list[tuple[str, str, bool, str]]:
    """(spec, title, usable, hint) of every GPU."""
    try:
        nvml = load_nvml()
    except JoulebitError:
        return []
    count = nvml.nvmlDeviceGetCount()
    names = [_text(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(i))) for i in range(count)]
    return [(f"nvml:{i}", name, True, "") for i, name in enumerate(names)]


KIND = Kind("nvml", "NVIDIA GPU (NVML)", "index or UUID, or none", NvmlOptions, NvmlDecoder, _open)
