"""From a campaign's plan to its cells, and to what each cell asks of its device."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joulebit_host.campaign.schema import Campaign, DevicePlan, MeterPlan, Method


@dataclass(frozen=True)
class Cell:
    """One measurement of the plan.

    Attributes:
        method, model, meter, device: names; model is "" where the method's own is used.
        repeat: from 0.
    """

    method: str
    model: str
    meter: str
    device: str
    repeat: int

    @property
    def key(self) -> str:
        """Unique in the campaign; also the name of the cell's folder."""
        parts = [self.method, self.model, self.meter, self.device] if self.model else []
        parts = parts or [self.method, self.meter, self.device]
        return ".".join([*parts, f"{self.repeat + 1:03d}"])

    @property
    def group(self) -> tuple[str, str, str, str]:
        """What repeats have in common."""
        return self.method, self.model, self.meter, self.device

    def seed(self, campaign_seed: int) -> int:
        """Of all that is drawn for this cell: equal whenever the cell is done."""
        return int.from_bytes(hashlib.sha256(f"{campaign_seed}/{self.key}".encode()).digest()[:6], "big")

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "cell": self.key,
            "method": self.method,
            "model": self.model,
            "meter": self.meter,
            "device": self.device,
            "repeat": self.repeat,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cell:
        """What `as_json` wrote."""
        return cls(data["method"], data["model"], data["meter"], data["device"], data["repeat"])


@dataclass(frozen=True)
class Workload:
    """What goes down to the device.

    Attributes:
        method: name.
        config: table of a training configuration, None without one.
        config_hash: of the training configuration; "" without one.
        command: shell command, or "".
        counters: of one run, where the plan gives them.
        executions: of each phase in one run of a mix; empty for a plain run.
    """

    method: str
    config: Mapping[str, Any] | None = None
    config_hash: str = ""
    command: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    executions: Mapping[str, int] = field(default_factory=dict)


def cells_in_order(campaign: Campaign) -> list[Cell]:
    """All cells. Repeat by repeat, each in an order of its own drawn from the seed, so that drift over days does
    not fall on one method (and a campaign that is stopped early has about as many repeats of each).
    """
    chance = random.Random(campaign.seed)
    cells = []
    for repeat in range(campaign.repeats):
        block = [
            Cell(method.name, model, meter.name, device.name, repeat)
            for method in campaign.methods
            for model in campaign.models or ("",)
            for meter in campaign.meters
            for device in campaign.devices
        ]
        chance.shuffle(block)
        cells += block
    return cells


def parts(campaign: Campaign, cell: Cell) -> tuple[Method, MeterPlan, DevicePlan]:
    """The plan's entries that a cell names."""
    return (
        next(m for m in campaign.methods if m.name == cell.method),
        next(m for m in campaign.meters if m.name == cell.meter),
        next(d for d in campaign.devices if d.name == cell.device),
    )


def workload(method: Method, model: str) -> Workload:
    """What a method with this model ("" for its own) asks of a device; ConfigError for a bad configuration."""
    if not method.source:
        return Workload(
            method.name, command=method.command, counters=dict(method.counters), executions=dict(method.executions)
        )
    from joulebit.experiments.config import as_table, config_hash, load_config

    changes = [*method.set, *([f'model.name="{model}"'] if model else [])]
    config = load_config(method.source, changes)
    return Workload(method.name, as_table(config), config_hash(config), executions=dict(method.executions))


def check_workloads(campaign: Campaign) -> None:
    """Raises for the first configuration or meter that cannot be used, before anything is measured."""
    from joulebit_host.campaign.mixes import check_trained
    from joulebit_host.campaign.ranges import check_ranging
    from joulebit_host.meters.registry import parse_spec

    for method in campaign.methods:
        for model in campaign.models or ("",):
            work = workload(method, model)
            if method.executions and work.config is not None:
                check_trained(method, work.config, campaign.devices)
    for meter in campaign.meters:
        if meter.spec != "own":
            parse_spec(meter.spec)
        check_ranging(meter)
    for device in campaign.devices:
        if device.table:
            from joulebit_host.campaign.bench import check_bench

            check_bench(device, campaign.meters)
