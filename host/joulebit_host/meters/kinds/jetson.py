"""Jetson boards: the INA3221 monitors' files, read directly.

Kernel 4.9 (JetPack 4): `/sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_N`, `in_powerN_input` in milliwatts.
Kernel 5 (JetPack 5 and later): `/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/inN_label`, `inN_input` in millivolts,
`currN_input` in milliamperes.

Address: rails by name with + between them (`jetson:VDD_IN`), whose powers are added; the board's input rail by
default (VDD_IN, POM_5V_IN or VIN_SYS_5V0, the first that is there). Records, faults and rules as in `hwmon`; the
older kernel's milliwatts are `in_powerN_input`. No data sheet of the boards gives error limits: 5 %
and 50 mW are assumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from joulebit.errors import JoulebitError, did_you_mean
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Sample
from joulebit_host.meters.decoding import FilesDecoder
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.files import FileMeter, read_text

ROOT = Path("/sys/bus/i2c/drivers")
INPUT_RAILS = ("VDD_IN", "POM_5V_IN", "VIN_SYS_5V0", "VDD_GPU_SOC")
_MILLIWATTS, _MILLIVOLTS, _MILLIAMPERES = "mW", "mV", "mA"


@dataclass(frozen=True)
class JetsonOptions(ErrorLimits):
    """Options of the INA3221; `rails` is filled in when the meter is opened."""

    interval_s: float = option(0.1, "mean time between polls", unit="s", low=0.005, high=60)
    max_power_w: float = option(200.0, "more than the rails together can take", unit="W", low=0.1)
    root: str = option(str(ROOT), "where the I2C drivers are")
    rails: tuple[str, ...] = option((), "the rails' records in order: NAME:mW, or NAME:mV and NAME:mA")

    def reading(self) -> Reading:
        """Averages inside the monitor are much shorter than the interval."""
        return Reading.POINT

    def accuracy(self) -> Accuracy:
        """Assumed, except for the step."""
        known = Accuracy(
            gain=0.05,
            offset_w=0.05,
            power_resolution_w=0.04,
            time_s=0.02,
            source="gain 5 %, offset 50 mW and 20 ms assumed; one step of 8 mA at 5 V",
            assumed=("gain", "offset_w", "time_s"),
        )
        return self.limited(known)

    def interval(self) -> float:
        """Mean time between polls."""
        return self.interval_s


class JetsonDecoder(FilesDecoder):
    """See the module."""

    def __init__(self, options: JetsonOptions) -> None:
        if not options.rails:
            raise JoulebitError("jetson: the settings name no rails")
        super().__init__(options.rails, digits=9)
        self._options = options

    def sampled(self, numbers: dict[str, int], t_s: float, error_s: float) -> list[Sample]:
        """See `FilesDecoder`."""
        microwatts, millivolts = 0, 0
        for rail, value in numbers.items():
            unit = rail.rpartition(":")[2]
            if unit == _MILLIWATTS:
                microwatts += value * 1000
            elif unit == _MILLIVOLTS:
                millivolts = value
            else:
                microwatts += millivolts * value
        watts = microwatts / 1e6
        if not -1.0 <= watts <= self._options.max_power_w:
            self.count(Fault.RANGE)
            return []
        return [Sample(t_s=t_s, power_w=watts, time_error_s=error_s)]


def rails(root: Path) -> dict[str, list[tuple[str, Path]]]:
    """Every rail: name -> (name:unit, file), one file of milliwatts or two of millivolts and milliamperes."""
    found: dict[str, list[tuple[str, Path]]] = {}
    for path in sorted(root.glob("ina3221x/*/iio:device*/rail_name_*")):
        name, number = read_text(path), path.name.rpartition("_")[2]
        if name:
            found[name] = [(f"{name}:{_MILLIWATTS}", path.parent / f"in_power{number}_input")]
    for path in sorted(root.glob("ina3221/*/hwmon/hwmon*/in*_label")):
        name, number = read_text(path), path.name[2:].removesuffix("_label")
        if name and (path.parent / f"curr{number}_input").exists():
            volts, amperes = path.parent / f"in{number}_input", path.parent / f"curr{number}_input"
            found[name] = [(f"{name}:{_MILLIVOLTS}", volts), (f"{name}:{_MILLIAMPERES}", amperes)]
    return found


def _open(address: str, options: JetsonOptions) -> Meter:
    there = rails(Path(options.root))
    if not there:
        raise JoulebitError(f"this is no Jetson: no INA3221 under {options.root}")
    wanted = address.split("+") if address else [rail for rail in INPUT_RAILS if rail in there][:1]
    for name in wanted:
        if name not in there:
            raise JoulebitError(
                f"jetson: no rail {name!r}{did_you_mean(name, there)}; there are {', '.join(there)}"
            )
    if not wanted:
        raise JoulebitError(f"jetson: which rail is the board's input? name one of {', '.join(there)}")
    files = [entry for name in wanted for entry in there[name]]
    options = replace(options, rails=tuple(name for name, _ in files))
    return FileMeter("jetson", f"INA3221 {'+'.join(wanted)}", options, files)


def find(root: Path = ROOT) -> list[tuple[str, str, bool, str]]:
    """(spec, title, usable, hint) of every rail."""
    return [(f"jetson:{name}", f"Jetson rail {name}", True, "") for name in rails(root)]


KIND = Kind("jetson", "Jetson board's INA3221 monitors", "rails, or none", JetsonOptions, JetsonDecoder, _open)
