"""The virtual bench on simulated counters: power follows a run's counters through a hidden energy table.

What a run costs: `simulate_energy` of its counters by the table in the plan, which nothing but this module reads.
How long it takes: the table's throughput for multiply-accumulates, and beside them, so that the slowest counts,
DRAM at 1 GB/s, SRAM at 10 GB/s, operations at one per cycle. The phases follow each other, each at constant power.
Counters are those that the plan gives, or those of the training run that it names, done here once; of a mix with
each phase's multiplied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from joulebit.energy.counters import PHASES
from joulebit.energy.model import COMPONENTS, simulate_energy
from joulebit.energy.table import EnergyTable
from joulebit_host.campaign.bench import Bench, Profile
from joulebit_host.campaign.device import DeviceError
from joulebit_host.campaign.mixes import multiplied
from joulebit_host.campaign.plan import Workload

DRAM_BYTES_PER_S, SRAM_BYTES_PER_S = 1e9, 1e10


def run_profile(counters: Mapping[str, int], table: EnergyTable) -> Profile:
    """(phase, seconds, watts above rest) of one run, phase by phase."""
    report = simulate_energy(counters, table)
    profile = []
    for phase in PHASES:
        rows = {key: n for key, n in counters.items() if key.split(".")[1:2] == [phase]}
        seconds = max(
            sum(n / table.macs_per_s(k.split(".")[2]) for k, n in rows.items() if k.startswith("macs.")),
            rows.get(f"bytes.{phase}.dram", 0) / DRAM_BYTES_PER_S,
            rows.get(f"bytes.{phase}.sram", 0) / SRAM_BYTES_PER_S,
            sum(n for k, n in rows.items() if k.startswith("ops.")) / table.clock_hz,
        )
        if seconds > 0:
            joules = sum(report.energy_aj[phase, c] for c in COMPONENTS if c != "static") / 1e18
            profile.append((phase, seconds, joules / seconds + table.static_power_w))
    return profile


@lru_cache(maxsize=64)
def _trained(config: str, data_dir: str) -> Mapping[str, Any]:
    """The training run itself: its weights and counters are what a device would send back."""
    from joulebit_host.campaign.worker import train_once

    return train_once(json.loads(config), data_dir or None)


class VirtualDevice(Bench):
    """See the module, and `device.Device`."""

    def do(self, work: Workload) -> tuple[dict[str, Any], Profile]:
        """See `Bench`."""
        if work.config is not None:
            summary = _trained(json.dumps(dict(work.config)), self.plan.data_dir)
            counters = multiplied(summary["counters"], work.executions)
            result = {key: summary[key] for key in ("config_hash", "weights_sha256", "top1", "steps")}
        else:
            counters = multiplied(work.counters, work.executions)
            result = {"config_hash": "", "weights_sha256": ""}
        profile = run_profile(counters, self.table)
        if not profile:
            raise DeviceError(f"method {work.method}: its counters hold no work: give macs, ops or bytes")
        executions = {"executions": dict(work.executions)} if work.executions else {}
        return {**result, "counters": counters, **executions}, profile
