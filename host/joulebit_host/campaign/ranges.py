"""The ranging run of a campaign: which fixed ranges a meter has for all cells of the same work.

A meter that changes its range while it measures loses readings, and one with too wide a range loses accuracy. So
where a meter of the plan has `ranging_s`, the work is done for that long with the widest ranges before the first
cell of each (meter, device, method, model); then each range is the smallest that holds the peak with a margin of
25 %, for all repeats. The choice goes into the journal (record `ranged`: work, ranges, peak) and, as settings of
the meter, into the header of each log; a campaign that is resumed keeps it. A cell that was out of range in spite
of it (a reading with overrange is not valid, see `session.derive`) is ranged again before its next attempt: a
record without ranges withdraws the choice.

The audit compares each log's header with the last choice that the journal holds before the attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from joulebit_host.campaign.device import Device
from joulebit_host.campaign.reading import CampaignError
from joulebit_host.campaign.schema import MeterPlan
from joulebit_host.evidence.log import Record
from joulebit_host.meters.base import Meter
from joulebit_host.meters.registry import kind as kind_of
from joulebit_host.meters.registry import kind_names, parse_spec
from joulebit_host.session.derive import registered_decoder
from joulebit_host.session.ranging import find_peak

RANGED = "ranged"  #: type of the journal's record
MARGIN = 1.25
Key = tuple[str, str, str, str]  #: method, model, meter, device


def check_ranging(plan: MeterPlan) -> None:
    """Raises CampaignError for a meter that is to be ranged but has no ranges to choose from, or fixes them."""
    if not plan.ranging_s:
        return
    found = None if plan.spec == "own" else parse_spec(plan.spec)[0]
    if found is None or not found.ranges:
        able = [name for name in kind_names() if kind_of(name).ranges]
        raise CampaignError(
            f"meter {plan.name}: ranging_s is for meters whose ranges can be set ({', '.join(able)}), got "
            f"{plan.spec!r}: leave it out"
        )
    fixed = [r.option for r in found.ranges if f"{r.option}=" in plan.spec]
    if fixed:
        raise CampaignError(
            f"meter {plan.name}: its specification fixes {' and '.join(fixed)}, which ranging_s would choose: "
            "leave one of the two out"
        )


def with_ranges(spec: str, ranges: Mapping[str, float]) -> str:
    """The specification with these options."""
    if not ranges:
        return spec
    more = "&".join(f"{name}={value:g}" for name, value in ranges.items())
    return f"{spec}{'&' if '?' in spec else '?'}{more}"


def find_ranges(
    plan: MeterPlan, device: Device, open_meter: Callable[[str, Device], Meter]
) -> tuple[dict[str, float], dict[str, Any]]:
    """(ranges by option, the peak) of the work that the device is prepared for.

    Args:
        plan: the meter, with `ranging_s`.
        device: prepared.
        open_meter: opens a specification beside this device.

    Raises JoulebitError where the meter gives no valid reading, or the peak exceeds the largest range.
    """
    found, _, _ = parse_spec(plan.spec)
    widest = {r.option: max(r.values("")) for r in found.ranges}
    meter = open_meter(with_ranges(plan.spec, widest), device)
    identity = meter.identity
    own = {r.option: max(r.values(identity)) for r in found.ranges}
    if own != widest:
        meter.close()
        meter, widest = open_meter(with_ranges(plan.spec, own), device), own
    peak = find_peak(meter, registered_decoder, device.run, plan.ranging_s, device.clock)
    chosen = {}
    for r in found.ranges:
        value = getattr(peak, r.quantity)
        values = list(r.values(identity))
        chosen[r.option] = widest[r.option] if value is None else peak.smallest_range(values, value, MARGIN)
    return chosen, asdict(peak)


def record_key(record: Record) -> Key:
    """Of a journal's record `ranged`."""
    fields = record.fields
    return fields["method"], fields["model"], fields["meter"], fields["device"]
