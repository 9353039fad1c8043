"""Energies by phase from mixes, end to end on the virtual bench: hidden truth, interactions, refusals, audit."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from virtual_campaign import virtual_plan, write_plan

from joulebit.energy.table import load_table
from joulebit_host.campaign.audit import audit_folder
from joulebit_host.campaign.command import CommandDevice
from joulebit_host.campaign.mixes import multiplied, warnings
from joulebit_host.campaign.plan import check_workloads, workload
from joulebit_host.campaign.reading import CampaignError
from joulebit_host.campaign.run import checks
from joulebit_host.campaign.schema import Campaign, as_table, campaign_from_table, campaign_hash, load_campaign
from joulebit_host.campaign.state import State, read_cells
from joulebit_host.cli.audit import audit
from joulebit_host.cli.measure import measure
from joulebit_host.session.session import Marks

COUNTERS = {
    "macs.forward.8x8": 10**8,
    "macs.input_gradient.8x16": 8 * 10**7,
    "macs.weight_gradient.8x16": 8 * 10**7,
    "bytes.update.dram": 4 * 10**6,
    "bytes.other.dram": 2 * 10**6,
}
PHASES = ("forward", "input_gradient", "weight_gradient", "update")


def phases_plan(device: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    bench = {"gain": 0.0008, **(device or {})}
    return virtual_plan(
        {"step": COUNTERS}, device=bench, session={"idle_s": 6.0}, **{"mixes": [{"of": "step"}], **changes}
    )


def true_j() -> dict[str, float]:
    """From the table that the bench hides: joules of one execution."""
    table = load_table("xc7z020")
    found = {}
    for key, count in COUNTERS.items():
        family, phase, kind = key.split(".")
        picojoules = table.mac_pj(kind) if family == "macs" else table.dram_pj_per_byte
        seconds = count / (table.macs_per_s(kind) if family == "macs" else 1e9)
        found[phase] = count * picojoules * 1e-12 + table.static_power_w * seconds
    return found


def campaign(folder: Path, table: dict[str, Any]) -> tuple[dict[str, Any], Path, int]:
    """(summary, the campaign's folder, exit code) by the command itself."""
    out = folder / "measured"
    file = write_plan(folder / "plan.toml", table)
    result = CliRunner().invoke(measure, [str(file), "--out", str(out), "--json"])
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout), out, result.exit_code


def holds(found: dict[str, Any], factor: float = 1.0) -> None:
    for name, joules in true_j().items():
        energy = found["energies"][name]
        assert abs(energy["value"] - joules) <= factor * energy["u_k2"], name


def test_a_campaign_of_mixes_recovers_the_hidden_energies(tmp_path: Path) -> None:
    summary, out, code = campaign(tmp_path, phases_plan())
    assert code == 0
    assert len(summary["cells"]) == 9
    found = {way["method"]: way for way in summary["phases"]}
    assert set(found) == {"regression"}, "a run of 14 ms is not marked"
    regression = found["regression"]
    holds(regression)
    for phase in PHASES[:3]:
        assert regression["energies"][phase]["u_k2"] < 0.05 * regression["energies"][phase]["value"]
    assert regression["additive"]
    assert regression["fit"]["dof"] == 3
    assert regression["fit"]["p"] > 0.0455
    assert regression["mixes"] == {"measured": 8, "planned": 8}
    assert summary["comparisons"] == [], "a mix is compared with nothing"
    # What was run stands in the evidence: asked for, done, and how often in each window.
    _, entries = read_cells(out)
    methods = {m.name: m for m in load_campaign(tmp_path / "plan.toml").methods}
    assert dict(methods["step"].executions) == dict.fromkeys(PHASES, 1)
    for entry in entries:
        assert entry["outcome"]["executions"] == dict(methods[entry["method"]].executions)
        assert all(window["repeats"] > 1 for window in entry["windows"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "by regression over mixes" in page
    assert "adds up" in page
    assert list((out / "report_figures").glob("*-ways.png"))
    _audited(out)


def _audited(out: Path) -> None:
    """The audit derives the energies by phase again, and finds a changed one."""
    result = CliRunner().invoke(audit, [str(out)])
    assert result.exit_code == 0, result.output
    assert "by regression over mixes" in result.output
    summary = json.loads((out / "summary.json").read_text())
    way = next(way for way in summary["phases"] if way["method"] == "regression")
    way["energies"]["forward"]["value"] *= 1.001
    (out / "summary.json").write_text(json.dumps(summary))
    found = audit_folder(out)
    assert not found["ok"]
    assert found["first_bad"]["file"].endswith("summary.json")
    assert "energies.forward.value" in found["first_bad"]["reason"]


def test_phases_that_cost_more_together_are_flagged(tmp_path: Path) -> None:
    """Each weight gradient costs 15 % more for each forward pass of its run."""
    device = {"interaction": ["forward", "weight_gradient"], "interaction_share": 0.15}
    summary, out, _ = campaign(tmp_path, phases_plan(device))
    [regression] = [way for way in summary["phases"] if way["method"] == "regression"]
    assert not regression["additive"]
    assert not regression["valid"]
    assert regression["fit"]["p"] < 1e-3
    worst = regression["fit"]["interactions"][0]
    assert ["forward", "weight_gradient"] in worst["pairs"] + worst["opposite"]
    truth = 0.15 * true_j()["weight_gradient"] * (1 if ["forward", "weight_gradient"] in worst["pairs"] else -1)
    assert abs(worst["value"] - truth) <= worst["u_k2"]
    assert "does NOT add up" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("meter", ["ina226?interval_s=0.1", "wt300?current_range_a=0.5", "scpi"])
def test_all_three_ways_agree_over_repeats_meters_and_seeds(tmp_path: Path, meter: str, seed: int) -> None:
    """Replay, mixes and (with the fast meter and long phases) markers, five repeats of each."""
    replays = [
        {"name": f"only-{phase}", "counters": {key: count}, "replay_of": "step", "phase": phase}
        for key, count in COUNTERS.items()
        if (phase := key.split(".")[1]) in PHASES
    ]
    plan = phases_plan(meter=meter, repeats=5, seed=seed)
    plan["methods"] += replays
    summary, out, code = campaign(tmp_path, plan)
    assert code == 0
    found = {way["method"]: way for way in summary["phases"]}
    # 15 and 12 intervals at 95.45 %: one may fail, none by far.
    holds(found["regression"], 1.6)
    assert found["regression"]["fit"]["p"] > 1e-3
    for phase in PHASES:
        a, b = (found[way]["energies"][phase] for way in ("replay", "regression"))
        assert abs(a["value"] - b["value"]) <= 1.6 * (a["u_k2"] + b["u_k2"]), phase
    assert audit_folder(out)["first_bad"] is None


@pytest.mark.slow
def test_mixes_on_a_virtual_boards_accelerator_recover_the_hidden_energies(tmp_path: Path) -> None:
    """The worker executes them on the accelerator. Truth: its counters by the hidden prices, and static power."""
    changes = ["training.iterations=2", "training.batch_size=16", "data.train_limit=64", "data.test_limit=20",
               "training.statistics_samples=16"]  # fmt: skip
    plan = virtual_plan(
        methods=[{"name": "step", "source": "digits-resnet8-fixed", "set": changes}],
        mixes=[{"of": "step", "phases": list(PHASES[:3])}],
        device={"kind": "board", "board": "virtual", "gain": 0.0008},
        repeats=2,
    )
    summary, out, code = campaign(tmp_path, plan)
    assert code == 0
    [regression] = [way for way in summary["phases"] if way["method"] == "regression"]
    table = load_table("xc7z020")
    methods = {m.name: m.executions for m in load_campaign(tmp_path / "plan.toml").methods}
    rows, joules = [], []
    for entry in read_cells(out)[1]:
        if entry["method"] != "step":
            picojoules = 0.0
            for key, count in entry["outcome"]["accelerator"]["work"].items():
                kind = key.split(".")[2]
                macs = key.startswith("macs.")
                picojoules += count * (table.mac_pj(kind) if macs else table.dram_pj_per_byte)
            rows.append([1.0, *[float(methods[entry["method"]][phase]) for phase in PHASES[:3]]])
            joules.append(picojoules * 1e-12 + table.static_power_w * entry["seconds"])
    truth, residuals, *_ = np.linalg.lstsq(np.array(rows), np.array(joules), rcond=None)
    assert float(residuals[0]) < 1e-6 * float(np.sum(np.square(joules))), "the board itself is additive"
    for name, expected in zip(("other", *PHASES[:3]), truth):
        energy = regression["energies"][name]
        assert abs(energy["value"] - expected) <= 1.3 * energy["u_k2"], name  # four intervals at 95.45 %
    assert regression["additive"], regression["reasons"]
    assert audit_folder(out)["first_bad"] is None


def test_markers_stand_beside_the_mixes_where_the_meter_is_fast(tmp_path: Path) -> None:
    """Phases of 0.4 s to 1 s, readings of 0.1 s: net energies by markers hold the truth as well."""
    long = {key: 100 * count for key, count in COUNTERS.items()}
    table = virtual_plan({"step": long}, meter="ina226?interval_s=0.05", device={"gain": 0.0008})
    summary, _, _ = campaign(tmp_path, table)
    [markers] = summary["phases"]
    assert markers["method"] == "markers"
    assert markers["valid"], markers["reasons"]
    for name, joules in true_j().items():
        energy = markers["energies"][name]
        assert abs(energy["value"] - 100 * joules) <= 1.5 * energy["u_k2"], name  # five intervals at 95.45 %
        assert energy["u_k2"] < 0.02 * energy["value"]


def plan(mixes: dict[str, Any], **changes: Any) -> Campaign:
    return campaign_from_table(virtual_plan({"step": COUNTERS}, mixes=[{"of": "step", **mixes}], **changes))


def test_each_mix_is_a_method_and_the_plan_is_kept() -> None:
    made = plan({})
    assert [m.name for m in made.methods] == ["step", *(f"step-mix{n}" for n in range(1, 9))]
    assert all(set(m.executions) == set(PHASES) for m in made.methods[1:]), "other is what every run does"
    assert {tuple(m.executions.values()) for m in made.methods[1:]} >= {(1, 1, 1, 3), (3, 3, 3, 1)}
    again = campaign_from_table(as_table(made))
    assert again == made
    assert campaign_hash(again) == campaign_hash(made)
    sorted_keys = campaign_from_table(json.loads(json.dumps(as_table(made), sort_keys=True)))
    assert [list(m.executions) for m in sorted_keys.methods] == [list(m.executions) for m in made.methods]
    by_hand = plan({"runs": [{"forward": n, "update": m} for n, m in ((1, 1), (1, 2), (2, 1), (4, 4))]})
    assert by_hand.methods[1].executions == {"forward": 1, "update": 1}
    some = plan({"runs": [{"forward": 1}, {"forward": 2}, {"update": 1}, {"update": 3, "forward": 1}]})
    assert some.methods[1].executions == {"forward": 1, "update": 0}, "named by another mix: not executed here"
    assert warnings(made) == []
    together = [{"forward": n, "update": n} for n in range(1, 9)]
    [first, second] = warnings(plan({"runs": [*together, {"forward": 8, "update": 7}]}))
    assert "hardly tell forward" in first
    assert "hardly tell update" in second


@pytest.mark.parametrize(
    ("mixes", "changes", "said"),
    [
        ({"of": "stepp"}, {}, "did you mean step"),
        ({"levels": [3, 1]}, {}, "two numbers, the smaller first"),
        ({"runs": [{"forward": 1}, {"forward": 2}]}, {}, "nothing to test additivity with"),
        ({"runs": [{"forward": n, "update": n} for n in range(9)]}, {}, "do not tell forward, update apart"),
        ({"runs": [{"forward": n} for n in range(4)]}, {}, "executes nothing"),
        ({"runs": [{"forward": -1}]}, {}, "whole number >= 0"),
        ({"runs": [{"forward": 1}], "phases": ["forward"]}, {}, "leave out 'phases'"),
        (
            {"levels": [0, 1]},
            {
                "methods": [{"name": "step", "source": "digits-resnet8-fixed"}],
                "devices": [{"name": "here", "kind": "local"}],
            },
            "each phase at least once",
        ),
        (
            {"phases": ["forward", "softmax", "update"]},
            {
                "methods": [{"name": "step", "source": "digits-resnet8-fixed"}],
                "devices": [{"name": "here", "kind": "local"}],
            },
            "its phases are forward",
        ),
        (
            {},
            {
                "methods": [{"name": "step", "command": "true"}],
                "devices": [{"name": "here", "kind": "command"}],
            },
            "which phases a command has",
        ),
    ],
)
def test_mixes_that_say_nothing_are_refused_before_anything_is_measured(
    mixes: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(CampaignError, match=said) as caught:
        plan(mixes, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "device", "said"),
    [
        ("digits-resnet8-psg", {"kind": "board", "board": "virtual"}, "with predicted signs a board"),
        ("digits-resnet8-float32", {"kind": "local"}, "engine float32 has no phases"),
    ],
)
def test_runs_without_phases_of_their_own_are_refused(source: str, device: dict[str, str], said: str) -> None:
    methods = [{"name": "step", "source": source}]
    with pytest.raises(CampaignError, match=said):
        check_workloads(plan({}, methods=methods, devices=[{"name": "d", **device}]))
    check_workloads(plan({}, methods=[{"name": "step", "source": "digits-resnet8-psg"}],
                         devices=[{"name": "here", "kind": "local"}]))  # fmt: skip


def test_what_the_fit_needs_is_asked_for_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(CampaignError, match="needs the package 'scipy'"):
        campaign_from_table(phases_plan())
    campaign_from_table(phases_plan(mixes=[]))


def test_a_device_that_executes_something_else_is_found(tmp_path: Path) -> None:
    """A command that does the same whatever it is asked for; another that listens."""
    deaf = """echo '{"executions": {"forward": 1, "update": 1}}'"""
    listening = """echo "{\\"executions\\": $JOULEBIT_EXECUTIONS}\""""
    runs = [{"forward": n, "update": m} for n, m in ((1, 1), (1, 2), (2, 1), (3, 3))]
    made = plan(
        {"runs": runs},
        methods=[{"name": "step", "command": deaf}],
        devices=[{"name": "here", "kind": "command"}],
    )
    state = State.create(tmp_path / "c", made)
    device = CommandDevice(made.devices[0])
    try:
        for cell in state.cells:
            work = workload(next(m for m in made.methods if m.name == cell.method), "")
            for command, heard in ((deaf, work.executions in ({}, runs[0])), (listening, True)):
                device.prepare(replace(work, command=command))
                device.run(1, Marks(device.clock))
                reasons = checks(state, cell, work, device.outcome())
                assert [r["rule"] for r in reasons] == ([] if heard else ["executions_differ"])
    finally:
        state.close()


def test_counters_of_a_mix_are_those_of_its_phases() -> None:
    counters = {
        "macs.forward.8x8": 5,
        "bytes.update.dram": 3,
        "steps": 7,
        "skipped.forward.slu": 2,
        "pruned.forward": 4,
    }
    found = multiplied(counters, {"forward": 3, "update": 0})
    assert found == {"macs.forward.8x8": 15, "steps": 7, "skipped.forward.slu": 2, "pruned.forward": 12}
    assert multiplied(counters, {}) == counters
