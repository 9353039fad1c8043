"""Linux hwmon: power and energy that drivers show under `/sys/class/hwmon`, PMBus regulators of a PYNQ board among
them.

Address: sensors as `CHIP/CHANNEL`, several with + between them (`hwmon:irps5401/power1+irps5401/power2`), whose
powers are added. CHIP is the chip's name or its directory (hwmon0); CHANNEL is one of

| Channel | Files | Meaning |
|---|---|---|
| `powerN` | `powerN_input`, else `powerN_average` | microwatts |
| `energyN` | `energyN_input` | microjoules since start |
| `inN*currM` | `inN_input`, `currM_input` | millivolts times milliamperes |

or a channel's label (`powerN_label`, such as VCCINT). Energies and powers cannot be mixed. PYNQ's `pynq.get_rails`
reads the same files.

One record holds a line per file. FRAMING: other lines than the settings' files, or no whole number. NOT_A_NUMBER:
a file that could not be read (the sample is not valid). RANGE: a power above `max_power_w`, or an energy that goes
up faster. An energy that goes down, confirmed by the next record: it was reset (the
kernel's counters have 64 bits), WRAP_AMBIGUOUS, new segment.

Kernel: Documentation/hwmon/sysfs-interface.rst.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from joulebit.errors import JoulebitError, did_you_mean
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Sample
from joulebit_host.meters.counters import Accumulator, Step
from joulebit_host.meters.decoding import FilesDecoder
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.files import FileMeter, read_number, read_text

ROOT = Path("/sys/class/hwmon")
_FILE = re.compile(r"(power|energy)(\d+)_(input|average)")
_PAIR = re.compile(r"(in\d+)\*(curr\d+)")


@dataclass(frozen=True)
class HwmonOptions(ErrorLimits):
    """Options of hwmon; `files` is filled in when the meter is opened."""

    interval_s: float = option(0.1, "mean time between polls", unit="s", low=0.001, high=60)
    max_power_w: float = option(1000.0, "more than the sensors together can see", unit="W", low=0.001)
    resolution_w: float = option(0.001, "one step of the power", unit="W", low=0)
    update_s: float = option(0.1, "how old a reading may be", unit="s", low=0, high=60)
    averaging: bool = option(False, "readings are means over the interval, not values of an instant")
    root: str = option(str(ROOT), "where hwmon is")
    files: tuple[str, ...] = option((), "the sensors' files, as recorded; a pair of volts and amperes with *")

    def reading(self) -> Reading:
        """ENERGY for counters."""
        if self.files and "/energy" in self.files[0]:
            return Reading.ENERGY
        return Reading.AVERAGE if self.averaging else Reading.POINT

    def accuracy(self) -> Accuracy:
        """Assumed, where the options do not give the sensor's own: the kernel does not know."""
        known = Accuracy(
            gain=0.05,
            offset_w=0.0,
            power_resolution_w=self.resolution_w,
            energy_resolution_j=1e-6 if self.reading() is Reading.ENERGY else 0.0,
            time_s=self.update_s,
            source="gain 5 %, no offset, readings as old as update_s assumed: give the sensor's own",
            assumed=("gain", "offset_w", "time_s"),
        )
        return self.limited(known)

    def interval(self) -> float:
        """Mean time between polls."""
        return self.interval_s


class HwmonDecoder(FilesDecoder):
    """See the module."""

    def __init__(self, options: HwmonOptions) -> None:
        if not options.files:
            raise JoulebitError("hwmon: the settings name no files")
        super().__init__([name for sensor in options.files for name in sensor.split("*")], digits=19)
        self._options = options
        self._energy = options.reading() is Reading.ENERGY
        most_uj_per_s = options.max_power_w * 1e6
        self._uj = Accumulator(most_uj_per_s, most_uj_per_s * (1 + options.update_s))

    def sampled(self, numbers: dict[str, int], t_s: float, error_s: float) -> list[Sample]:
        """See `FilesDecoder`."""
        if self._energy:
            step = self._uj.take(sum(numbers.values()), t_s)
            if step is Step.DOUBTFUL:
                self.count(Fault.RANGE)
                return []
            if step is Step.BROKEN:
                self.count(Fault.WRAP_AMBIGUOUS)
                self._segment += 1
            energy_j = self._uj.total / 1e6
            return [Sample(t_s=t_s, energy_j=energy_j, segment=self._segment, time_error_s=error_s)]
        return self._power(numbers, t_s, error_s)

    def _power(self, numbers: dict[str, int], t_s: float, error_s: float) -> list[Sample]:
        microwatts = 0
        for sensor in self._options.files:
            product = 1
            for name in sensor.split("*"):
                product *= numbers[name]
            microwatts += product
        watts = microwatts / 1e6
        if abs(watts) > self._options.max_power_w:
            self.count(Fault.RANGE)
            return []
        volts = amperes = None
        if len(self._options.files) == 1 and "*" in self._options.files[0]:
            volts, amperes = (numbers[name] / 1000 for name in self._names)
        return [Sample(t_s=t_s, power_w=watts, voltage_v=volts, current_a=amperes, time_error_s=error_s)]


def channels(chip: Path) -> dict[str, str]:
    """Power and energy channels of a chip: channel -> its file or files, relative to the chip's directory."""
    found: dict[str, str] = {}
    names = sorted(entry.name for entry in chip.iterdir()) if chip.is_dir() else []
    for name in names:
        match = _FILE.fullmatch(name)
        if match and (match[3] == "input" or f"{match[1]}{match[2]}_input" not in names):
            found[match[1] + match[2]] = name
    for name in names:
        match_in = re.fullmatch(r"in(\d+)_input", name)
        if match_in and f"curr{match_in[1]}_input" in names and f"power{match_in[1]}" not in found:
            found[f"in{match_in[1]}*curr{match_in[1]}"] = f"{name}*curr{match_in[1]}_input"
    return found


def _label(chip: Path, channel: str) -> str:
    return read_text(chip / f"{channel.split('*', maxsplit=1)[0]}_label") or ""


def _chips(root: Path) -> list[Path]:
    return sorted(root.iterdir()) if root.is_dir() else []


def _find_sensor(root: Path, sensor: str) -> str:
    """The recorded name of a sensor: DIRECTORY/FILE, with * between the files of a pair."""
    wanted_chip, slash, wanted = sensor.partition("/")
    known = []
    for chip in _chips(root):
        names = (chip.name, read_text(chip / "name"))
        for channel, files in channels(chip).items():
            known.append(f"{names[1] or chip.name}/{channel}")
            if slash and wanted_chip in names and wanted in (channel, _label(chip, channel)):
                return "*".join(f"{chip.name}/{file}" for file in files.split("*"))
        pair = _PAIR.fullmatch(wanted)
        if pair and wanted_chip in names and all((chip / f"{part}_input").exists() for part in pair.groups()):
            return "*".join(f"{chip.name}/{part}_input" for part in pair.groups())
    there = f"there are {', '.join(known)}" if known else f"{root} has no power or energy sensor"
    raise JoulebitError(f"hwmon: no sensor {sensor!r}{did_you_mean(sensor, known)}; {there}")


def _open(address: str, options: HwmonOptions) -> Meter:
    root = Path(options.root)
    if not address:
        raise JoulebitError(
            "hwmon needs its sensors, such as hwmon:ina226/power1; `joulebit meter list` shows them"
        )
    files = tuple(_find_sensor(root, sensor) for sensor in address.split("+"))
    if len({"/energy" in file for file in files}) > 1:
        raise JoulebitError("hwmon: energies and powers cannot be added to each other")
    options = replace(options, files=files)
    names = [name for sensor in files for name in sensor.split("*")]
    return FileMeter("hwmon", f"hwmon {address}", options, [(name, root / name) for name in names])


def find(root: Path = ROOT) -> list[tuple[str, str, bool, str]]:
    """(spec, title, usable, hint) of every sensor."""
    found = []
    for chip in _chips(root):
        for channel, files in channels(chip).items():
            usable = all(read_number(chip / file) is not None for file in files.split("*"))
            label = f" {_label(chip, channel)}".rstrip()
            title = f"hwmon {read_text(chip / 'name') or chip.name} {channel}{label}"
            found.append((f"hwmon:{chip.name}/{channel}", title, usable, "" if usable else "cannot be read"))
    return found


KIND = Kind("hwmon", "Linux hwmon sensors, PMBus among them", "sensors", HwmonOptions, HwmonDecoder, _open)
