"""The ranging run in campaigns: fixed ranges above the peak, kept in the journal and checked by the audit."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from joulebit_host.campaign import run as running
from joulebit_host.campaign.audit import audit_folder
from joulebit_host.campaign.plan import check_workloads
from joulebit_host.campaign.ranges import RANGED
from joulebit_host.campaign.reading import CampaignError
from joulebit_host.campaign.run import Silent, run_campaign
from joulebit_host.campaign.schema import campaign_from_table
from joulebit_host.campaign.state import State, read_journal
from joulebit_host.evidence.log import SUFFIX, read_log
from joulebit_host.meters.kinds.wt300 import current_ranges

#: The bench's supply is 12 V and the device at rest draws 2.5 W. At 1e8 Hz and 128 products per cycle of 100 pJ
#: each, beside 0.5 W: 1.28 W + 0.5 W above rest, 4.28 W in all, 0.357 A. Of 3000 pJ: 38.4 W, 41.4 W, 3.45 A.
TABLE = """
name = "ranged"
title = "ranged"
source = "invented for this test"
[mac]
default_pj = 100.0
[mac.pj]
8x8 = 100.0
8x16 = 3000.0
[op.pj]
int16 = 1.0
int32 = 1.0
fp32 = 1.0
[memory]
sram_pj_per_byte = 0.0
dram_pj_per_byte = 0.0
[static]
power_w = 0.5
[throughput]
clock_hz = 1.0e8
macs_per_cycle = 128.0
[throughput.by_kind]
"""
LITTLE_A, MUCH_A = (2.5 + 0.5 + 1.28) / 12, (2.5 + 0.5 + 38.4) / 12
AMPERES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def plan(folder: Path, **more: Any) -> dict[str, Any]:
    (folder / "table.toml").write_text(TABLE)
    return {
        "name": "ranged",
        "repeats": 2,
        "backoff_s": 0.0,
        "session": {"idle_s": 5, "warmup_s": 1},
        "methods": [
            {"name": "little", "counters": {"macs.forward.8x8": 2 * 10**9}},
            {"name": "much", "counters": {"macs.forward.8x16": 2 * 10**9}},
        ],
        "meters": [{"name": "wt", "spec": "wt300", "ranging_s": 3, **more.pop("meter", {})}],
        "devices": [{"name": "bench", "kind": "virtual", "table": str(folder / "table.toml")}],
        **more,
    }


def records(folder: Path) -> list[dict[str, Any]]:
    return [dict(record.fields) for record in read_journal(folder)[1] if record.type == RANGED]


def headers(folder: Path) -> dict[str, dict[str, Any]]:
    """Settings of the meter in each log, by cell."""
    logs = sorted(folder.rglob(f"*{SUFFIX}"))
    return {log.parent.name: next(iter(read_log(log))).fields["meter"]["settings"] for log in logs}


def test_ranges_are_the_smallest_above_the_peak_for_all_cells_of_a_work(tmp_path: Path) -> None:
    out = tmp_path / "c"
    state = run_campaign(campaign_from_table(plan(tmp_path)), out)
    for cell in state.cells:
        entry = state.entries[cell.key]
        assert entry["valid"], entry["reasons"]
        assert "overrange" not in entry["faults"]
    found = {record["method"]: record for record in records(out)}
    assert len(records(out)) == 2
    settings = headers(out)
    assert len(settings) == 4
    for method, true_a in (("little", LITTLE_A), ("much", MUCH_A)):
        peak = found[method]["peak"]
        assert peak["current_a"] == pytest.approx(true_a, rel=0.03)
        assert peak["voltage_v"] == pytest.approx(12, rel=0.01)
        assert peak["overrange"] == 0
        ranges = found[method]["ranges"]
        assert ranges["current_range_a"] == min(a for a in AMPERES if a >= 1.25 * peak["current_a"])
        assert ranges["voltage_range_v"] in (15, 30)
        for cell, own in settings.items():
            if cell.startswith(method):
                assert {key: own[key] for key in ranges} == ranges
    assert found["little"]["ranges"]["current_range_a"] == 0.5
    assert found["much"]["ranges"]["current_range_a"] == 5
    assert audit_folder(out)["ok"]


def test_the_choice_is_kept_when_a_campaign_goes_on(tmp_path: Path) -> None:
    class Stop(Silent):
        def ended(self, cell: Any, entry: dict[str, Any]) -> None:
            raise KeyboardInterrupt

    campaign, out = campaign_from_table(plan(tmp_path)), tmp_path / "c"
    with pytest.raises(KeyboardInterrupt):
        run_campaign(campaign, out, observer=Stop())
    (first,) = records(out)
    state = run_campaign(campaign, out, resume=True)
    assert all(map(state.is_done, state.cells))
    assert records(out)[0] == first
    assert sorted(record["method"] for record in records(out)) == ["little", "much"]
    again = State.resume(out, campaign)
    assert again.ranges == state.ranges
    again.close()


def test_the_audit_finds_a_meter_with_other_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "with_ranges", lambda spec, ranges: f"{spec}?current_range_a=10")
    out = tmp_path / "c"
    run_campaign(campaign_from_table(plan(tmp_path, repeats=1)), out)
    found = audit_folder(out)
    assert not found["ok"]
    assert "the journal chose" in found["first_bad"]["reason"]


def test_a_range_that_was_too_small_is_chosen_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work draws more than in its ranging run: the first attempt is invalid, the second has a wider range."""
    real, calls = running.find_ranges, []

    def too_small(*arguments: Any) -> Any:
        calls.append(1)
        ranges, peak = real(*arguments)
        return ({**ranges, "current_range_a": 0.2}, peak) if len(calls) == 1 else (ranges, peak)

    monkeypatch.setattr(running, "find_ranges", too_small)
    table = plan(tmp_path, repeats=1)
    table["methods"] = table["methods"][:1]
    seen: list[dict[str, Any]] = []

    class Watching(Silent):
        def ended(self, cell: Any, entry: dict[str, Any]) -> None:
            seen.append(entry)

    out = tmp_path / "c"
    run_campaign(campaign_from_table(table), out, observer=Watching(), sleep=lambda s: None)
    first, second = seen
    assert not first["valid"]
    assert first["faults"]["overrange"] > 0
    assert second["valid"]
    assert [record["ranges"].get("current_range_a") for record in records(out)] == [0.2, None, 0.5]
    assert audit_folder(out)["ok"]


def test_a_peak_above_the_largest_range_fails_the_cell(tmp_path: Path) -> None:
    table = plan(tmp_path, repeats=1, retries=0)
    table["methods"] = table["methods"][1:]
    (tmp_path / "table.toml").write_text(TABLE.replace("3000.0", "18000.0"))
    state = run_campaign(campaign_from_table(table), tmp_path / "c")
    (entry,) = state.entries.values()
    assert entry["state"] == "failed"
    (reason,) = entry["reasons"]
    assert reason["rule"] == "ranging_failed"
    assert "exceeds the largest range 20" in reason["text"]


@pytest.mark.parametrize(
    ("meter", "message"),
    [
        ({"spec": "ina226"}, r"whose ranges can be set \(wt300\), got 'ina226'"),
        ({"spec": "wt300?current_range_a=1"}, "its specification fixes current_range_a"),
        ({"ranging_s": -1}, "ranging_s must be at least 0"),
    ],
)
def test_what_cannot_be_ranged_is_found_first(tmp_path: Path, meter: dict[str, Any], message: str) -> None:
    with pytest.raises(CampaignError, match=message):
        check_workloads(campaign_from_table(plan(tmp_path, meter=meter)))


@pytest.mark.parametrize(
    ("identity", "least", "most"),
    [
        ("YOKOGAWA,WT310,91K123456,F1.02", 0.005, 20),
        ("YOKOGAWA,WT310E,C2,F1", 0.005, 20),
        ("YOKOGAWA,WT310HC,91K1,F1", 1, 40),
        ("YOKOGAWA,WT310EH,91K1,F1", 1, 40),
        ("YOKOGAWA,WT333E,91K1,F1", 0.5, 20),
        ("", 0.005, 20),
    ],
)
def test_current_ranges_follow_the_model(identity: str, least: float, most: float) -> None:
    values = current_ranges(identity)
    assert (min(values), max(values)) == (least, most)
    steps = [b / a for a, b in itertools.pairwise(values)]
    assert all(math.isclose(step, 2) or math.isclose(step, 2.5) for step in steps)
