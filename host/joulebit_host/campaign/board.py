"""A board's accelerator as the device under test; and the virtual bench on a virtual board.

    [[devices]]
    name = "zedboard"
    kind = "board"
    board = "remote:192.168.2.99"       # or zed, virtual, virtual-rtl
    array_config = "default"

    [[devices]]
    name = "bench"
    kind = "board"
    board = "virtual"
    table = "hidden.toml"               # an energy table that only the bench reads
    port_pj_per_byte = [610.0, 290.0]
    idle_w = 2.5

Training settings go down to a worker process (see `worker`), which trains with engine `overlay` on the board that
the plan names; the results come back with what the accelerator itself counted (`board_worker`) beside the run's
counters. With a meter at the board, this is a measurement in real time: `BoardDevice`.

A virtual board draws no power. With a `table` in the plan it stands on the virtual bench (`bench`): the worker
trains once, each list of passes that the accelerator ran is noted with its counters, and the list becomes a
piece of the power curve that the emulated meter is given, in the virtual clock (`BoardBench`):

    watts above rest = static + (sum of macs * pJ(width) + sum of bytes * pJ(port)) / seconds
    seconds          = cycles / clock where the board counts them (virtual-rtl), else the slowest of: the table's
                       throughput for the products, 800 MB/s for the bytes of each port (64 bits at 100 MHz)

Between two lists the processor works for `between_lists_s`, at the static power. Bytes cost `port_pj_per_byte` of
the plan, or the table's DRAM where it gives none; products that were left out cost the table's kind `gated`,
nothing where it has none. The same configuration is trained once per process: integers do not change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from joulebit.energy.table import EnergyTable
from joulebit_host.campaign.bench import Bench, Profile
from joulebit_host.campaign.board_worker import work_of
from joulebit_host.campaign.device import DeviceError
from joulebit_host.campaign.local import LocalDevice
from joulebit_host.campaign.plan import Workload
from joulebit_host.campaign.schema import DevicePlan

PORT_BYTES_PER_S = 8e8
_PREPARE_S = 600.0  #: loading a bitstream over a network


class BoardDevice(LocalDevice):
    """See the module, and `device.Device`."""

    def prepare(self, work: Workload) -> None:
        """See `Device`. The board is opened here, and its bitstream loaded, before anything is measured."""
        assert work.config is not None, "the plan gives boards nothing but training configurations"
        config = {**work.config, "engine": "overlay"}
        self._prepare(
            config, work.executions, _PREPARE_S, board=self._plan.board, array_config=self._plan.array_config
        )

    def trained(self) -> dict[str, Any]:
        """One run that nobody measures, with its lists; see `worker`."""
        return self._ask({"do": "run", "repeats": 1, "lists": True}, self._plan.timeout_s)


@lru_cache(maxsize=32)
def _trained(config: str, executions: str, plan: DevicePlan) -> Mapping[str, Any]:
    device = BoardDevice(plan)
    try:
        device.prepare(Workload("", json.loads(config), executions=json.loads(executions)))
        return device.trained()
    finally:
        device.close()


def board_profile(
    lists: Sequence[tuple[str, Mapping[str, int]]],
    clock_hz: float,
    table: EnergyTable,
    port_pj: Mapping[str, float],
    between_s: float,
) -> Profile:
    """The power curve of one run above rest.

    Args:
        lists: (phase, the accelerator's registers by name) of each list of passes.
        clock_hz: of the accelerator.
        table: what products cost, how long they take, and the static power.
        port_pj: pJ per byte of port0 and port1.
        between_s: what the processor takes between two lists.
    """
    profile: Profile = []
    for phase, counters in lists:
        joules, products_s, slowest_s = 0.0, 0.0, 0.0
        for key, count in work_of(dict(counters)).items():
            family, _, kind = key.split(".")
            if family == "bytes":
                joules += count * port_pj[kind] * 1e-12
                slowest_s = max(slowest_s, count / PORT_BYTES_PER_S)
            elif kind == "gated":
                joules += count * table.mac_by_kind_pj.get(kind, 0.0) * 1e-12
            else:
                joules += count * table.mac_pj(kind) * 1e-12
                products_s += count / table.macs_per_s(kind)
        cycles = counters.get("CYCLES_TOTAL", 0)
        seconds = cycles / clock_hz if cycles else max(products_s, slowest_s)
        if seconds > 0:
            profile.append((phase, seconds, joules / seconds + table.static_power_w))
        if between_s > 0:
            profile.append(("other", between_s, table.static_power_w))
    return profile


class BoardBench(Bench):
    """See the module, and `device.Device`."""

    def do(self, work: Workload) -> tuple[dict[str, Any], Profile]:
        """See `Bench`."""
        plan = self.plan
        trained_by = DevicePlan(
            plan.name, "board", timeout_s=plan.timeout_s, data_dir=plan.data_dir, board=plan.board,
            array_config=plan.array_config,
        )  # fmt: skip
        found = dict(
            _trained(json.dumps(work.config, sort_keys=True), json.dumps(dict(work.executions)), trained_by)
        )
        accelerator = dict(found["accelerator"])
        lists = accelerator.pop("lists", [])
        table = self.table
        ports = plan.port_pj_per_byte or (table.dram_pj_per_byte, table.dram_pj_per_byte)
        port_pj = {"port0": ports[0], "port1": ports[1]}
        profile = board_profile(lists, accelerator["clock_hz"], table, port_pj, plan.between_lists_s)
        if not profile:
            raise DeviceError(f"method {work.method}: no pass of it runs on the accelerator")
        kept = ("config_hash", "weights_sha256", "counters", "top1", "steps", "engine", "executions")
        return {**{key: found[key] for key in kept if key in found}, "accelerator": accelerator}, profile
