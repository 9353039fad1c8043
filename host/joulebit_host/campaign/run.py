"""Carries a campaign out: cell after cell, attempt after attempt, until all are valid or no retry is left.

Rules that an attempt can break beside those of its session (see `session.settings.Limits`):

    device_failed           the device broke off, was silent or refused its settings
    meter_failed            the meter could not be opened
    ranging_failed          the ranging run found no ranges (see `ranges`)
    no_result               nothing could be derived from what the meter sent
    configuration_mismatch  the device did another configuration than it was sent
    executions_differ       the device executed the phases of a mix another number of times than it was asked to
    weights_differ          equal configurations gave other weights than before

A retry waits: `backoff_s`, doubled each time, at most `largest_backoff_s`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from joulebit.errors import JoulebitError
from joulebit_host.campaign.device import Device, open_device
from joulebit_host.campaign.entry import CHECKS, FAILURE, OUTCOME, failed_entry
from joulebit_host.campaign.plan import Cell, Workload, check_workloads, parts, workload
from joulebit_host.campaign.ranges import find_ranges, with_ranges
from joulebit_host.campaign.schema import Campaign, campaign_hash
from joulebit_host.campaign.state import State
from joulebit_host.evidence.log import EvidenceLog, meter_header, read_log
from joulebit_host.meters.base import Fault, Meter, Received
from joulebit_host.session.derive import RESULT, derive, registered_decoder
from joulebit_host.session.session import Session


class Observer(Protocol):
    """Is told what happens, for a live view and a report. Nothing that it does is awaited by the measurement."""

    def begun(self, state: State) -> None:
        """The campaign is open."""
        ...

    def attempt(self, cell: Cell, attempt: int, meter: Meter) -> None:
        """A measurement begins."""
        ...

    def received(self, received: Received) -> None:
        """The meter sent something."""
        ...

    def ended(self, cell: Cell, entry: dict[str, Any]) -> None:
        """An attempt came to its end."""
        ...

    def waiting(self, seconds: float, why: str) -> None:
        """Nothing happens for so long."""
        ...


class Silent:
    """An observer that does nothing."""

    def begun(self, state: State) -> None:
        """See `Observer`."""

    def attempt(self, cell: Cell, attempt: int, meter: Meter) -> None:
        """See `Observer`."""

    def received(self, received: Received) -> None:
        """See `Observer`."""

    def ended(self, cell: Cell, entry: dict[str, Any]) -> None:
        """See `Observer`."""

    def waiting(self, seconds: float, why: str) -> None:
        """See `Observer`."""


OpenDevice = Callable[..., Device]


def run_campaign(
    campaign: Campaign,
    folder: Path,
    resume: bool = False,
    observer: Observer | None = None,
    sleep: Callable[[float], None] = time.sleep,
    open_: OpenDevice = open_device,
) -> State:
    """Does all that is missing or invalid. The state at the end; its cells may still be invalid.

    Args:
        campaign: the plan.
        folder: see `state`.
        resume: go on with what the folder holds.
        observer: see `Observer`.
        sleep: waits between attempts.
        open_: opens a device, see `device.open_device`.
    """
    check_workloads(campaign)
    observer = observer or Silent()
    hashes = {
        (m.name, model): workload(m, model).config_hash for m in campaign.methods for model in _models(campaign)
    }
    state = State.resume(folder, campaign) if resume else State.create(folder, campaign)
    try:
        observer.begun(state)
        for cell in state.cells:
            # A configuration that was changed since then is another measurement.
            same = state.entries.get(cell.key, {}).get("config_hash") == hashes[cell.method, cell.model]
            if not (same and state.is_done(cell)):
                _do_cell(state, cell, observer, sleep, open_)
        state.finish()
    except BaseException:
        state.close()
        raise
    return state


def _models(campaign: Campaign) -> tuple[str, ...]:
    return campaign.models or ("",)


def _do_cell(
    state: State, cell: Cell, observer: Observer, sleep: Callable[[float], None], open_: OpenDevice
) -> None:
    campaign = state.campaign
    for retry in range(campaign.retries + 1):
        if retry:
            seconds = min(campaign.backoff_s * 2.0 ** (retry - 1), campaign.largest_backoff_s)
            observer.waiting(seconds, f"before retry {retry} of {cell.key}")
            sleep(seconds)
        elif campaign.cooldown_s:
            observer.waiting(campaign.cooldown_s, f"cooling down before {cell.key}")
            sleep(campaign.cooldown_s)
        entry = _attempt(state, cell, observer, open_)
        observer.ended(cell, entry)
        if entry["valid"]:
            return


def _attempt(state: State, cell: Cell, observer: Observer, open_: OpenDevice) -> dict[str, Any]:
    """One attempt from opening to its entry. Only what is not a measurement's own fault is raised."""
    method, meter_plan, device_plan = parts(state.campaign, cell)
    work = workload(method, cell.model)
    if meter_plan.ranging_s and not state.ranges.get(cell.group):
        failed = _range(state, cell, work, open_)
        if failed is not None:
            return failed
    spec = with_ranges(meter_plan.spec, state.ranges.get(cell.group, {}))
    device: Device | None = None
    meter: Meter | None = None
    rule = "device_failed"
    try:
        try:
            tries = state.tries.get(cell.key, 0)
            device = open_(device_plan, cell.seed(state.campaign.seed), tries)
            device.prepare(work)
            rule = "meter_failed"
            meter = _open_meter(spec, device)
        except (JoulebitError, OSError) as error:
            text = " ".join(str(error).split())
            return state.end_without_log(cell, failed_entry(cell.as_json(), rule, text))
        attempt = state.begin(cell)
        observer.attempt(cell, attempt, meter)
        with EvidenceLog.create(state.log_path(cell, attempt), meter_header(meter)) as log:
            _measure(state, cell, attempt, work, device, meter, log, observer)
        entry = state.end(cell, attempt)
        if meter_plan.ranging_s and entry["faults"].get(Fault.OVERRANGE.value):
            state.ranged(cell, {}, {})
        return entry
    finally:
        if meter is not None:
            meter.close()
        if device is not None:
            device.close()


def _range(state: State, cell: Cell, work: Workload, open_: OpenDevice) -> dict[str, Any] | None:
    """The ranging run of a cell's group, on a device of its own; the entry of a failed attempt, or None."""
    _, meter_plan, device_plan = parts(state.campaign, cell)
    device: Device | None = None
    rule = "device_failed"
    try:
        device = open_(device_plan, cell.seed(state.campaign.seed), state.tries.get(cell.key, 0))
        device.prepare(work)
        rule = "ranging_failed"
        state.ranged(cell, *find_ranges(meter_plan, device, _open_meter))
    except (JoulebitError, OSError) as error:
        text = " ".join(str(error).split())
        return state.end_without_log(cell, failed_entry(cell.as_json(), rule, text))
    finally:
        if device is not None:
            device.close()
    return None


def _measure(
    state: State,
    cell: Cell,
    attempt: int,
    work: Workload,
    device: Device,
    meter: Meter,
    log: EvidenceLog,
    observer: Observer,
) -> None:
    """A session, and in its log also what came back from the device and what is wrong with it."""
    campaign = state.campaign
    details = {
        "cell": cell.as_json(),
        "attempt": attempt,
        "campaign": campaign_hash(campaign),
        "config_hash": work.config_hash,
        **({"executions": dict(work.executions)} if work.executions else {}),
    }
    session = Session(
        f"{campaign.name}/{cell.key}",
        meter,
        device.run,
        campaign.session,
        log,
        repeatable=not campaign.whole_runs,
        clock=device.clock,
        temperature=device.temperature,
        exchange=device.exchange,
        on_received=observer.received,
        details=details,
    )
    try:
        session.run()
        outcome = device.outcome()
    except (JoulebitError, OSError) as error:
        log.append(FAILURE, rule="device_failed", text=" ".join(str(error).split()))
        return
    log.append(OUTCOME, **outcome)
    log.append(CHECKS, reasons=checks(state, cell, work, outcome))
    try:
        result = derive(read_log(log.path), registered_decoder)
    except (JoulebitError, ValueError, IndexError, ZeroDivisionError) as error:
        text = f"nothing can be derived from what the meter sent: {' '.join(str(error).split())}"
        log.append(FAILURE, rule="no_result", text=text)
        return
    log.append(RESULT, result=result)


def checks(state: State, cell: Cell, work: Workload, outcome: dict[str, Any]) -> list[dict[str, str]]:
    """Rules of the module that what came back from the device breaks."""
    done, weights = str(outcome.get("config_hash", "")), str(outcome.get("weights_sha256", ""))
    reasons = []
    if work.config_hash and done != work.config_hash:
        text = f"configuration {work.config_hash[:12]} was sent, {done[:12] or 'none'} came back"
        reasons.append({"rule": "configuration_mismatch", "text": text})
    executed = outcome.get("executions", {})
    if work.executions and executed != dict(work.executions):
        text = f"executions {_counts(work.executions)} were asked for, {_counts(executed)} came back"
        reasons.append({"rule": "executions_differ", "text": text})
    reference = state.reference_weights(cell, work.config_hash)
    if reference and weights != reference:
        text = f"weights {weights[:12] or '(none)'}; this configuration gave {reference[:12]} before"
        reasons.append({"rule": "weights_differ", "text": text})
    return reasons


def _counts(executions: Mapping[str, int]) -> str:
    return ", ".join(f"{phase} {count}" for phase, count in executions.items()) or "(none)"


def _open_meter(spec: str, device: Device) -> Meter:
    from joulebit_host.campaign.bench import Bench
    from joulebit_host.campaign.own import own_meter
    from joulebit_host.meters.registry import open_meter

    if isinstance(device, Bench):
        return device.meter(spec)
    return own_meter() if spec == "own" else open_meter(spec)
