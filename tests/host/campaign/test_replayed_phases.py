"""Phases that are measured one by one, each repeated for a whole window, and whether they add up to the step."""

from pathlib import Path
from typing import Any

import pytest
from virtual_campaign import virtual_plan

from joulebit_host.campaign.phases import phase_tables
from joulebit_host.campaign.reading import CampaignError
from joulebit_host.campaign.report import PAGE, write_report
from joulebit_host.campaign.run import run_campaign
from joulebit_host.campaign.schema import Campaign, campaign_from_table
from joulebit_host.campaign.summary import summarise

# 10 ms in all: no reading of 0.1 s could tell the phases of one step apart.
PHASES: dict[str, dict[str, int]] = {
    "forward": {"macs.forward.8x8": 10**8},
    "weight_gradient": {"macs.weight_gradient.8x16": 8 * 10**7},
    "update": {"bytes.update.dram": 3 * 10**6},
}


def plan_of(works: dict[str, dict[str, int]], **changes: Any) -> Campaign:
    whole = {key: n for counters in PHASES.values() for key, n in counters.items()}
    replays = [
        {"name": f"step-{i}", "counters": counters, "replay_of": "step", "phase": phase}
        for i, (phase, counters) in enumerate(works.items())
    ]
    methods = [{"name": "step", "counters": whole}, *replays]
    return campaign_from_table(
        virtual_plan(**{"repeats": 2, "session": {"idle_s": 6.0}, "methods": methods, **changes})
    )


def measured(plan: Campaign, folder: Path) -> dict[str, Any]:
    state = run_campaign(plan, folder)
    summary = summarise(plan, state.entries)
    assert summary["complete"]
    write_report(folder, plan, summary, state.entries, False)
    return summary


def truth_j(counters: dict[str, int]) -> float:
    from joulebit.energy.table import load_table

    table = load_table("xc7z020")
    [(key, count)] = counters.items()
    kind = key.split(".")[2]
    if key.startswith("macs."):
        joules, seconds = count * table.mac_pj(kind) * 1e-12, count / table.macs_per_s(kind)
    else:
        joules, seconds = count * table.dram_pj_per_byte * 1e-12, count / 1e9
    return joules + table.static_power_w * seconds


def test_replayed_phases_hold_the_truth_and_add_up(tmp_path: Path) -> None:
    summary = measured(plan_of(PHASES), tmp_path / "c")
    [found] = summary["phases"]
    assert found["whole_method"] == "step"
    assert set(found["energies"]) == set(PHASES)
    for name, counters in PHASES.items():
        energy = found["energies"][name]
        assert abs(energy["value"] - truth_j(counters)) <= energy["u_k2"], name
        assert energy["u_k2"] < 0.05 * energy["value"]
    assert found["additive"]
    assert abs(found["difference"]["value"]) <= found["difference"]["u_k2"]
    [table] = phase_tables(summary["phases"])
    assert table["ways"] == ["by replay"]
    assert table["rows"][-1] == ("verdict", ["adds up"], True)
    page = (tmp_path / "c" / PAGE).read_text(encoding="utf-8")
    assert table["title"] in page
    for _, [cell], _ in table["rows"]:
        assert cell in page
    assert summary["comparisons"] == [], "a phase is not compared with the whole that it is part of"


def test_phases_that_do_not_add_up_are_told(tmp_path: Path) -> None:
    """A replay that does a fifth more than the step's own phase."""
    more = {**PHASES, "forward": {"macs.forward.8x8": int(1.2 * 10**8)}}
    [found] = measured(plan_of(more), tmp_path / "c")["phases"]
    assert not found["additive"]
    assert found["reasons"][0]["rule"] == "not_additive"
    [table] = phase_tables([found])
    assert table["rows"][-1] == ("verdict", ["does NOT add up"], True)
    assert "the phases differ from the whole" in table["notes"][0]


def test_nothing_is_said_before_all_phases_are_measured(tmp_path: Path) -> None:
    plan = plan_of(PHASES)
    state = run_campaign(plan, tmp_path / "c")
    missing = {key: entry for key, entry in state.entries.items() if entry["method"] != "step-1"}
    assert summarise(plan, missing)["phases"] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"replay_of": "step"}, "belong together"),
        ({"replay_of": "stepp", "phase": "forward"}, "did you mean step"),
        ({"replay_of": "other", "phase": "forward"}, "no part itself"),
    ],
)
def test_replays_that_mean_nothing_are_refused(change: dict[str, str], said: str) -> None:
    methods = [
        {"name": "step", "counters": {"macs.forward.8x8": 1}},
        {"name": "other", "counters": {"macs.forward.8x8": 1}, **change},
    ]
    with pytest.raises(CampaignError, match=said):
        campaign_from_table(virtual_plan(methods=methods))


def test_two_replays_of_one_phase_are_refused() -> None:
    same = {"counters": {"macs.forward.8x8": 1}, "replay_of": "step", "phase": "forward"}
    methods = [
        {"name": "step", "counters": {"macs.forward.8x8": 1}},
        *({"name": name, **same} for name in ("a", "b")),
    ]
    with pytest.raises(CampaignError, match="replay the same phase 'forward'"):
        campaign_from_table(virtual_plan(methods=methods))
