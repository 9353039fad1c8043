"""Simulated energy: counters times an energy table.

    energy = sum over macs   of count * pJ(kind)                  component mac
           + sum over ops    of count * pJ(kind)                  component mac
           + sum over bytes  of count * pJ(level)                 component sram or dram
           + sum over macs   of count * static power / rate(kind) component static

for each phase. Time is the array's: element-wise operations and memory traffic run beside it. These joules are
modelled; they never share a column with measured ones.

Every energy of one operation is rounded once, to whole attojoules (1e-18 J), and all that follows is integers:
the phases, the components and the total agree exactly, and twice the counters are exactly twice the energy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from joulebit.energy.counters import PHASES, Counters
from joulebit.energy.steps import training_step
from joulebit.energy.table import EnergyTable
from joulebit.nn.graph import NetworkPlan

COMPONENTS = ("mac", "sram", "dram", "static")
_AJ_PER_PJ = 10**6
_AJ_PER_J = 10**18


@dataclass(frozen=True)
class EnergyReport:
    """Simulated energy of one run."""

    table: str  #: name of the energy table
    energy_aj: Mapping[tuple[str, str], int]  #: by (phase, component), in attojoules: exact
    time_s: float  #: of the array at the table's throughput

    @property
    def total_aj(self) -> int:
        return sum(self.energy_aj.values())

    @property
    def total_j(self) -> float:
        return self.total_aj / _AJ_PER_J

    @property
    def by_phase(self) -> dict[str, float]:
        """Joules by phase."""
        return {p: sum(self.energy_aj[p, c] for c in COMPONENTS) / _AJ_PER_J for p in PHASES}

    @property
    def by_component(self) -> dict[str, float]:
        """Joules by component: mac (all arithmetic), sram, dram, static."""
        return {c: sum(self.energy_aj[p, c] for p in PHASES) / _AJ_PER_J for c in COMPONENTS}

    def saving_against(self, other: EnergyReport) -> float:
        """1 - this / other; ValueError when the other cost nothing."""
        if not other.total_aj:
            raise ValueError("a saving needs a reference that costs energy, got 0 J")
        return 1 - self.total_aj / other.total_aj

    def as_dict(self) -> dict[str, object]:
        """Joules for JSON: total, by_phase, by_component."""
        return {"total": self.total_j, "by_phase": self.by_phase, "by_component": self.by_component}


def simulate_energy(counters: Counters | Mapping[str, int], table: EnergyTable) -> EnergyReport:
    """What the counted work costs by this table.

    Raises:
        EnergyTableError: a kind of work that the table does not know.
        ValueError: a key with an unknown phase or memory level.
    """
    energy = {(phase, component): 0 for phase in PHASES for component in COMPONENTS}
    time_s = 0.0
    for key, count in sorted(counters.items()):
        family, _, rest = key.partition(".")
        if family not in {"macs", "ops", "bytes"}:
            continue
        phase, _, kind = rest.partition(".")
        if phase not in PHASES:
            raise ValueError(f"counter {key} has no phase of {', '.join(PHASES)}")
        if family == "macs":
            seconds = 1 / table.macs_per_s(kind)
            energy[phase, "mac"] += count * round(table.mac_pj(kind) * _AJ_PER_PJ)
            energy[phase, "static"] += count * round(table.static_power_w * seconds * _AJ_PER_J)
            time_s += count * seconds
        elif family == "ops":
            energy[phase, "mac"] += count * round(table.op_pj(kind) * _AJ_PER_PJ)
        else:
            energy[phase, kind] += count * round(table.byte_pj(kind) * _AJ_PER_PJ)
    return EnergyReport(table.name, energy, time_s)


def float32_energy(plan: NetworkPlan, samples: int, steps: int, table: EnergyTable) -> EnergyReport:
    """What `steps` iterations of float32 SGD on batches of `samples` cost, without running them."""
    return simulate_energy(training_step(plan, samples, None).times(steps), table)


def saving_vs_float32(
    counters: Counters | Mapping[str, int], plan: NetworkPlan, samples: int, steps: int, table: EnergyTable
) -> float:
    """1 - simulated energy of a run / that of `steps` iterations of float32 SGD on batches of `samples`.

    steps is the length of the standard mini-batch run that the method replaces: for SMD neither the iterations
    that were computed nor those of the stretched run.
    """
    return simulate_energy(counters, table).saving_against(float32_energy(plan, samples, steps, table))
