"""The report of a campaign: what stands in it, and the numbers behind its figures."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from virtual_campaign import virtual_plan

from joulebit_host.campaign import live, series
from joulebit_host.campaign.report import FIGURES, PAGE, headline, write_report
from joulebit_host.campaign.run import run_campaign
from joulebit_host.campaign.schema import Campaign, campaign_from_table
from joulebit_host.campaign.state import State
from joulebit_host.campaign.summary import summarise
from joulebit_host.campaign.text import joules

PNG = b"\x89PNG\r\n\x1a\n"
WORKS = {
    "wide": {"macs.forward.8x8": 10**10, "macs.weight_gradient.8x16": 6 * 10**9, "bytes.update.dram": 5 * 10**8},
    "wide-too": {
        "macs.forward.8x8": 10**10,
        "macs.weight_gradient.8x16": 6 * 10**9,
        "bytes.update.dram": 5 * 10**8,
    },
    "narrow": {"macs.forward.8x8": 10**10, "macs.weight_gradient.4x10": 6 * 10**9, "bytes.update.dram": 10**8},
}


def plan_of(**changes: Any) -> Campaign:
    return campaign_from_table(
        virtual_plan(WORKS, **{"seed": 2, "repeats": 2, "session": {"idle_s": 6.0}, **changes})
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("report") / "campaign"
    state = run_campaign(plan_of(), folder)
    summary = summarise(state.campaign, state.entries)
    assert summary["complete"]
    assert write_report(folder, state.campaign, summary, state.entries, False) == folder / PAGE
    return folder, state, summary


def groups(measured: tuple[Path, State, dict[str, Any]]) -> list[series.Group]:
    _, state, summary = measured
    return series.groups_of(state.campaign, summary, state.entries)


def test_the_page_holds_all_figures_and_the_verdicts(measured: tuple[Path, State, dict[str, Any]]) -> None:
    folder, _, summary = measured
    page = (folder / PAGE).read_text(encoding="utf-8")
    pictures = sorted((folder / FIGURES).glob("*.png"))
    names = [path.stem.partition("-")[2] for path in pictures]
    expected = ["energies", "differences", "power", "phases", "beside", "budgets", "clocks"]
    assert names == expected
    assert all(path.read_bytes().startswith(PNG) for path in pictures)
    assert page.count("<svg") == len(expected)
    assert all(f"{FIGURES}/{path.name}" in page for path in pictures)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "Not drawn: Calibrated energy table: these works resolve no coefficient" in page
    rows = re.findall(
        r'<th scope="row">(\S+ uses less than \S+)</th>.*?class="left [^"]*">([^<]+)</td></tr>', page
    )
    by_claim = {(claim, answer) for claim, answer in rows}
    assert ("narrow uses less than wide", "yes") in by_claim
    assert ("narrow uses less than wide-too", "yes") in by_claim
    same = [answer for claim, answer in rows if {"wide", "wide-too"} == set(claim.split(" uses less than "))]
    assert same == ["not resolved", "not resolved"]
    said = re.fullmatch(
        r"narrow uses (\S+) ± (\S+) J less net energy than wide(-too)? for one run.", headline(summary, False)
    )
    assert said is not None
    differences = [abs(c["difference_j"]) for c in summary["comparisons"] if c["energy"] == "net"]
    assert any(abs(float(said[1]) - difference) < 0.001 for difference in differences)
    assert "time 1 ms (assumed)" in page, "limits that no data sheet gives are named"
    assert "http-equiv" not in page


def test_a_running_campaign_has_a_page_too(tmp_path: Path) -> None:
    plan = plan_of()
    summary = summarise(plan, {})
    write_report(tmp_path, plan, summary, {}, True)
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert 'http-equiv="refresh"' in page
    assert "0 of 6 cells are measured. The campaign is running." in page
    assert "Power over time: no cell is valid yet" in page
    assert list((tmp_path / FIGURES).iterdir()) == []


def test_figures_of_before_do_not_stay(measured: tuple[Path, State, dict[str, Any]], tmp_path: Path) -> None:
    _, state, _ = measured
    (tmp_path / FIGURES).mkdir()
    (tmp_path / FIGURES / "09-old.png").write_bytes(PNG)
    write_report(tmp_path, state.campaign, summarise(state.campaign, {}), {}, True)
    assert not (tmp_path / FIGURES / "09-old.png").exists()


def test_the_trace_shows_the_windows_where_the_power_is(measured: tuple[Path, State, dict[str, Any]]) -> None:
    folder, _, _ = measured
    shown = series.traces(folder, groups(measured), most=2)
    assert len(shown) == 2
    for group, trace in shown:
        entry = group.entries[0]
        assert trace.cell == entry["cell"]
        for (begin, end), window in zip(trace.window_s, entry["windows"], strict=True):
            inside = (trace.t_s > begin) & (trace.t_s < end)
            assert np.mean(trace.mean_w[inside]) == pytest.approx(window["mean_w"], rel=0.02)
        assert len(trace.idle_s) == 2
        for begin, end in trace.idle_s:
            inside = (trace.t_s > begin) & (trace.t_s < end)
            assert np.mean(trace.mean_w[inside]) == pytest.approx(2.5, rel=0.02)
        assert trace.gap_s == ()
        assert (trace.low_w <= trace.mean_w).all()
        assert (trace.mean_w <= trace.high_w).all()


def test_phases_add_up_to_the_mean_of_the_group(measured: tuple[Path, State, dict[str, Any]]) -> None:
    for group in groups(measured):
        phases = series.phases_of(group)
        assert phases is not None
        assert phases.additive
        assert {"forward", "weight_gradient", "update"} <= set(phases.energies)
        total = sum(part.value for part in phases.energies.values())
        assert total == pytest.approx(group.summary["gross_j"], rel=1e-3)
        assert phases.whole.value == pytest.approx(group.summary["gross_j"], rel=1e-9)


def test_shares_of_a_budget_are_of_one(measured: tuple[Path, State, dict[str, Any]]) -> None:
    for group in groups(measured):
        shares = series.budget_shares(group)
        assert sum(shares.values()) == pytest.approx(1.0)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert {"noise", "gain"} <= set(shares)


def test_a_gap_shows_as_a_gap(tmp_path: Path) -> None:
    """Readings are missing for 3 s of the idle before, which such limits allow."""
    device = {"name": "bench", "kind": "virtual", "table": "xc7z020", "faults": ["unplug@3+3"]}
    session = {"idle_s": 6, "warmup_s": 1, "limits": {"largest_gap_share": 0.9}}
    methods = [{"name": "narrow", "counters": WORKS["narrow"]}]
    plan = plan_of(devices=[device], session=session, methods=methods, repeats=1)
    state = run_campaign(plan, tmp_path / "c")
    found = series.groups_of(plan, summarise(plan, state.entries), state.entries)
    [(_, trace)] = series.traces(tmp_path / "c", found)
    [(begin, end)] = trace.gap_s
    assert end - begin == pytest.approx(3.0, abs=0.3)
    hole = (trace.t_s > begin + 0.2) & (trace.t_s < end - 0.2)
    assert np.isnan(trace.mean_w[hole]).all()
    assert np.isfinite(trace.mean_w[~hole]).any()


def test_a_report_that_fails_does_not_stop_the_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a figure")

    monkeypatch.setattr(live, "write_report", broken)
    plan = plan_of(methods=[{"name": "narrow", "counters": WORKS["narrow"]}], repeats=1)
    view = live.LiveView()
    state = run_campaign(plan, tmp_path / "c", observer=view)
    view.finish()
    assert all(map(state.is_done, state.cells))


@pytest.mark.parametrize(
    ("value", "width", "text"),
    [
        (6.69301, 0.0203, "6.693 ± 0.020 J"),
        (0.3517, 0.0152, "352 ± 15 mJ"),
        (15.4916, 0.59, "15.49 ± 0.59 J"),
        (1234.5, 37.0, "1.234 ± 0.037 kJ"),
        (-0.002, 0.05, "-2 ± 50 mJ"),
        (5.0, None, "5 J"),
        (None, None, ""),
    ],
)
def test_joules_as_a_person_quotes_them(value: float | None, width: float | None, text: str) -> None:
    assert joules(value, width) == text
