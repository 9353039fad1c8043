"""RAPL: the energy counters of Intel and AMD processors, through Linux powercap.

`/sys/class/powercap/intel-rapl:0/` (package 0; AMD uses the same names) holds `name`, `energy_uj` and
`max_energy_range_uj`, the value after which the counter starts again. Address: domains by name or directory with +
between them (`rapl:package-0+package-1`); all packages by default. Sub-domains (core, dram) lie inside of their
package or beside it and are taken only if named.

One record holds a line per domain, `NAME ENERGY_UJ`. FRAMING: not exactly the domains of the settings, each with a
whole number; also a file that could not be read. RANGE: a counter above its range. A value below the last one is
one turn (WRAPPED), provided that no second turn was possible: the time since the last record times `max_power_w`
must be less than one range. Otherwise, also when the counter seems to have run on, nobody knows: a new segment
(WRAP_AMBIGUOUS).

Power is not measured: it is left to differences of energy. Counters are updated about every 1 ms. No data sheet
gives an error limit: 5 % are assumed (option `gain_error`). Since CVE-2020-8694 only root may read `energy_uj`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from joulebit.errors import JoulebitError, did_you_mean
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Received, Sample
from joulebit_host.meters.decoding import FrameDecoder
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.files import FileMeter, read_number, read_text


@dataclass(frozen=True)
class RaplOptions(ErrorLimits):
    """Options of RAPL; `domains` and `ranges_uj` are filled in when the meter is opened."""

    interval_s: float = option(0.1, "mean time between polls", unit="s", low=0.001, high=60)
    max_power_w: float = option(
        1000.0, "more than any domain can take; bounds the turns of a counter", unit="W", low=1
    )
    root: str = option("/sys/class/powercap", "where powercap is")
    domains: tuple[str, ...] = option((), "directories of the domains, as recorded")
    ranges_uj: tuple[int, ...] = option((), "their counters' ranges, as recorded")

    def reading(self) -> Reading:
        """An accumulator."""
        return Reading.ENERGY

    def accuracy(self) -> Accuracy:
        """The gain is an assumption."""
        known = Accuracy(
            gain=0.05,
            offset_w=0.0,
            energy_resolution_j=61e-6 * max(1, len(self.domains)),
            time_s=0.001,
            source="no data sheet: gain 5 % assumed; one step 2^-14 J, update every 1 ms",
            assumed=("gain",),
        )
        return self.limited(known)

    def interval(self) -> float:
        """Mean time between polls."""
        return self.interval_s


class RaplDecoder(FrameDecoder):
    """See the module."""

    def __init__(self, options: RaplOptions) -> None:
        super().__init__()
        if not options.domains or len(options.domains) != len(options.ranges_uj):
            raise JoulebitError("rapl: the settings name no domains with their ranges")
        self._options = options
        self._last: list[int] | None = None
        self._last_s = 0.0
        self._total_uj = 0
        self._segment = 0

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        values = self._values(received.data)
        if values is None:
            self.count(Fault.FRAMING)
            return []
        ranges = self._options.ranges_uj
        if any(not 0 <= value <= top for value, top in zip(values, ranges)):
            self.count(Fault.RANGE)
            return []
        t_s = (received.t_sent_s + received.t_s) / 2
        if self._last is not None:
            possible_uj = (t_s - self._last_s) * self._options.max_power_w * 1e6
            steps = [(new - old) % (top + 1) for new, old, top in zip(values, self._last, ranges)]
            if any(possible_uj >= top or step > possible_uj + 1e6 for step, top in zip(steps, ranges)):
                self.count(Fault.WRAP_AMBIGUOUS)
                self._segment += 1
            else:
                self.count(Fault.WRAPPED, sum(new < old for new, old in zip(values, self._last)))
                self._total_uj += sum(steps)
        self._last, self._last_s = values, t_s
        return [
            Sample(
                t_s=t_s,
                energy_j=self._total_uj / 1e6,
                segment=self._segment,
                time_error_s=(received.t_s - received.t_sent_s) / 2,
            )
        ]

    def _values(self, data: bytes) -> list[int] | None:
        lines = data.decode("ascii", "replace").split("\n")
        if lines.pop() or len(lines) != len(self._options.domains):
            return None
        values = []
        for line, domain in zip(lines, self._options.domains):
            name, _, text = line.partition(" ")
            if name != domain or not text.isdigit() or not text.isascii() or len(text) > 20:
                return None
            values.append(int(text))
        return values


def _domains(root: Path) -> dict[str, Path]:
    """Every readable domain: directory name -> directory."""
    names = sorted(os.listdir(root)) if root.is_dir() else []
    return {name: root / name for name in names if ":" in name and (root / name / "energy_uj").exists()}


def _label(path: Path) -> str:
    return read_text(path / "name") or path.name


def _open(address: str, options: RaplOptions) -> Meter:
    root = Path(options.root)
    domains = _domains(root)
    if not domains:
        raise JoulebitError(f"this machine has no RAPL counters: no domain in {root} (virtual machines hide them)")
    if address:
        chosen = []
        for name in address.split("+"):
            fitting = [d for d, path in domains.items() if name in (d, _label(path))]
            if not fitting:
                labels = [_label(path) for path in domains.values()]
                raise JoulebitError(
                    f"rapl: no domain {name!r}{did_you_mean(name, labels)}; there are {', '.join(labels)}"
                )
            chosen.append(fitting[0])
    else:
        chosen = [d for d in domains if d.count(":") == 1]
    ranges = []
    for name in chosen:
        path = domains[name] / "energy_uj"
        if read_number(path) is None:
            raise JoulebitError(f"{path} cannot be read: only root may, unless its permissions are changed")
        top = read_number(domains[name] / "max_energy_range_uj")
        if not top or top <= 0:
            raise JoulebitError(f"{domains[name]} does not say its counter's range")
        ranges.append(top)
    options = replace(options, domains=tuple(chosen), ranges_uj=tuple(ranges))
    identity = "RAPL " + "+".join(_label(domains[name]) for name in chosen)
    return FileMeter("rapl", identity, options, [(name, domains[name] / "energy_uj") for name in chosen])


def find(root: Path = Path("/sys/class/powercap")) -> list[tuple[str, str, bool, str]]:
    """(spec, title, usable, hint) of every domain."""
    found = []
    for name, path in _domains(root).items():
        usable = read_number(path / "energy_uj") is not None
        found.append((f"rapl:{name}", f"RAPL {_label(path)}", usable, "" if usable else "only root may read it"))
    return found


KIND = Kind("rapl", "processor energy counters (RAPL)", "domains, or none", RaplOptions, RaplDecoder, _open)
