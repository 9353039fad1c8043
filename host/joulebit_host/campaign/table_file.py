"""A calibrated energy table as a file in the project's format, see `joulebit.energy.table`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tomli_w

from joulebit.energy.table import EnergyTable, parse_table
from joulebit_host.campaign.calibration import STATIC, Calibration, MeasuredRun


def calibrated_table(
    calibration: Calibration, runs: Sequence[MeasuredRun], base: EnergyTable, name: str, source: str
) -> str:
    """TOML text. Fitted coefficients replace those of `base`; what no run did keeps the base's value.

    Throughputs come from the measured times, since the static power is drawn for as long as the array computes.
    Comments say how well each value is known.

    Runs that were counted by an accelerator (`bytes.all.port0`) know the traffic of its ports: `dram_pj_per_byte`
    is then the mean over all bytes, and `sram_pj_per_byte` is 0, since what the chip does is in the products.
    """
    fitted = {c.name: c.value for c in calibration.coefficients}
    kinds = {**base.mac_by_kind_pj, **_part(fitted, "mac.")}
    mac: dict[str, Any] = {}
    if base.multiply is not None:
        mac["multiply"] = [[8, 8, base.multiply(64)], [32, 32, base.multiply(1024)]]
    else:
        mac["default_pj"] = base.mac_default_pj
    if base.add is not None:
        mac["add"] = [[8, base.add(8)], [32, base.add(32)]]
        mac["accumulate_bits"] = base.accumulate_bits
    if base.shift is not None:
        mac["shift"] = [[8, base.shift(8)], [32, base.shift(32)]]
    mac["pj"] = kinds
    table = {
        "name": name,
        "title": f"{base.title}, calibrated",
        "source": source,
        "mac": mac,
        "op": {"pj": {**base.op_by_kind_pj, **_part(fitted, "op.")}},
        "memory": _memory(fitted, runs, base),
        "static": {"power_w": fitted.get(STATIC, base.static_power_w)},
        "throughput": {
            "clock_hz": base.clock_hz,
            "macs_per_cycle": base.macs_per_cycle,
            "by_kind": {**base.macs_per_cycle_by_kind, **_rates(runs, base)},
        },
    }
    lines = [f"# {source}.", f"# All that no run did is of the table {base.name}.", "#"]
    for c in calibration.coefficients:
        known = "" if c.resolved else "  NOT RESOLVED"
        lines.append(f"# {c.name:<12} {c.value:.6g} {c.unit}, k = 2: [{c.low:.6g}, {c.high:.6g}]{known}")
    lines += [f"# Not resolved: {entry['text']}." for entry in calibration.unresolved]
    text = "\n".join(lines) + "\n" + tomli_w.dumps(table)
    parse_table(text, name)
    return text


def _part(fitted: dict[str, float], prefix: str) -> dict[str, float]:
    return {key[len(prefix) :]: value for key, value in fitted.items() if key.startswith(prefix)}


def _memory(fitted: dict[str, float], runs: Sequence[MeasuredRun], base: EnergyTable) -> dict[str, float]:
    sram, dram = base.sram_pj_per_byte, base.dram_pj_per_byte
    ports = _part(fitted, "memory.port")
    moved = {port: sum(run.counters.get(f"bytes.all.port{port}", 0) for run in runs) for port in ports}
    if total := sum(moved.values()):
        sram, dram = 0.0, sum(ports[port] * count for port, count in moved.items()) / total
    return {
        "sram_pj_per_byte": fitted.get("memory.sram", sram),
        "dram_pj_per_byte": fitted.get("memory.dram", dram),
    }


def _rates(runs: Sequence[MeasuredRun], base: EnergyTable) -> dict[str, float]:
    """Multiply-accumulates per cycle by kind, from the measured times: least squares of the relative errors of

        seconds_i = sum over kinds of count_ik / rate_k,    rates above 0.

    Runs that wait for memory make rates smaller, as they do on the device. A kind that the times say nothing about
    has the base's rate.
    """
    import numpy as np
    from scipy.optimize import nnls

    kinds = sorted({key.split(".")[2] for run in runs for key in run.counters if key.startswith("macs.")})
    counts = np.array([[_macs(run, kind) for kind in kinds] for run in runs], dtype=np.float64)
    seconds = np.array([run.seconds for run in runs])
    use = counts.sum(axis=1) > 0
    if not use.any():
        return {}
    rows = counts[use] / seconds[use, None]
    scale = np.max(rows, axis=0)
    each, _ = nnls(rows / scale, np.ones(int(use.sum())))
    return {k: float(1 / (e / n) / base.clock_hz) for k, e, n in zip(kinds, each, scale, strict=True) if e > 0}


def _macs(run: MeasuredRun, kind: str) -> int:
    return sum(n for key, n in run.counters.items() if key.startswith("macs.") and key.split(".")[2] == kind)
