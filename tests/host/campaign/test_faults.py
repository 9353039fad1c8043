"""Each fault, injected once: its stated verdict, one bounded retry, and nothing lost."""

import time
from pathlib import Path
from typing import Any

import pytest
from virtual_campaign import virtual_plan

from joulebit_host.campaign.entry import read_entry
from joulebit_host.campaign.reading import CampaignError
from joulebit_host.campaign.run import Silent, run_campaign
from joulebit_host.campaign.schema import campaign_from_table
from joulebit_host.campaign.state import JOURNAL, State, read_cells
from joulebit_host.evidence.audit import audit_path
from joulebit_host.evidence.log import SUFFIX, read_log, verify

TRAINING = {"name": "m", "source": "digits-lenet-fixed", "set": ["training.epochs=1", "data.train_limit=200"]}
COUNTED = {"name": "m", "counters": {"macs.forward.8x8": 2 * 10**9, "bytes.forward.sram": 10**8}}


def plan(method: dict[str, Any] = COUNTED, spec: str = "ina226?interval_s=0.1", **more: Any) -> dict[str, Any]:
    return virtual_plan(meter=spec, **{"retries": 2, "methods": [method], **more})


class Watching(Silent):
    """Keeps every entry."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.waits: list[float] = []

    def ended(self, cell: Any, entry: dict[str, Any]) -> None:
        self.entries.append(entry)

    def waiting(self, seconds: float, why: str) -> None:
        self.waits.append(seconds)


def run(table: dict[str, Any], folder: Path, resume: bool = False) -> tuple[State, Watching]:
    watching = Watching()
    return run_campaign(campaign_from_table(table), folder, resume, watching, sleep=lambda s: None), watching


@pytest.mark.parametrize(
    ("device", "state", "rules"),
    [
        ({"faults": ["unplug@12+3"]}, "invalid", {"gaps"}),
        ({"faults": ["stall@12+3"]}, "invalid", {"gaps"}),
        ({"faults": ["overrange@12+1"]}, "invalid", {"gaps", "invalid_readings"}),
        ({"faults": ["drop=0.05"]}, "invalid", {"gaps", "idle_gaps"}),
        ({"faults": ["corrupt=0.05"]}, "invalid", {"gaps", "idle_gaps"}),
        ({"faults": ["stall@0+10000"]}, "failed", {"no_result"}),
        ({"faults": ["drift"], "idle_drift_w": 0.5}, "invalid", {"idle_drift"}),
        ({"faults": ["hot"]}, "invalid", {"temperature"}),
        ({"faults": ["fail"]}, "failed", {"device_failed"}),
        ({"faults": ["missing"]}, "failed", {"meter_failed"}),
    ],
)
def test_each_fault_has_its_verdict_and_the_retry_succeeds(
    tmp_path: Path, device: dict[str, Any], state: str, rules: set[str]
) -> None:
    done, seen = run(plan(device=device), tmp_path / "c")
    first, second = seen.entries
    assert first["state"] == state
    assert {reason["rule"] for reason in first["reasons"]} == rules
    assert second["state"] == "valid"
    assert all(map(done.is_done, done.cells))
    assert verify(tmp_path / "c" / JOURNAL).ok
    assert audit_path(tmp_path / "c")["ok"]
    logs = sorted((tmp_path / "c").rglob(f"*{SUFFIX}"))
    assert len(logs) == (1 if "missing" in str(device) else 2)


@pytest.mark.parametrize(
    ("fault", "rule"), [("wrong_config", "configuration_mismatch"), ("wrong_weights", "weights_differ")]
)
def test_another_configuration_or_other_weights_are_refused(tmp_path: Path, fault: str, rule: str) -> None:
    """Two methods of the same configuration, one of them on a device that sends back something else."""
    methods = [{**TRAINING, "name": name} for name in ("good", "bad")]
    device = {"faults": [fault], "faults_in": ["bad"], "faults_last": 9}
    _, seen = run({**plan(device=device, retries=0, seed=_good_first()), "methods": methods}, tmp_path / "c")
    by_method = {entry["method"]: entry for entry in seen.entries}
    assert by_method["good"]["valid"], by_method["good"]["reasons"]
    assert [reason["rule"] for reason in by_method["bad"]["reasons"]] == [rule]
    assert by_method["bad"]["state"] == "invalid"


def _good_first() -> int:
    from joulebit_host.campaign.plan import cells_in_order

    methods = [{**COUNTED, "name": name} for name in ("good", "bad")]
    return next(
        seed
        for seed in range(20)
        if cells_in_order(campaign_from_table({**plan(seed=seed), "methods": methods}))[0].method == "good"
    )


def test_a_run_that_is_too_short_is_refused(tmp_path: Path) -> None:
    _, seen = run(plan(whole_runs=True, retries=0), tmp_path / "c")
    assert {r["rule"] for r in seen.entries[0]["reasons"]} == {"window_too_short", "too_few_samples"}


def test_retries_are_bounded_and_wait_longer_each_time(tmp_path: Path) -> None:
    table = plan(device={"faults": ["fail"], "faults_last": 99}, retries=4, backoff_s=10, largest_backoff_s=50)
    done, seen = run(table, tmp_path / "c")
    assert len(seen.entries) == 5
    assert seen.waits == [10, 20, 40, 50]
    assert not any(map(done.is_done, done.cells))


def test_resume_does_only_what_is_missing_or_invalid(tmp_path: Path) -> None:
    methods = [{**COUNTED, "name": name} for name in ("a", "b", "c")]
    device = {"faults": ["fail"], "faults_in": ["b"], "faults_last": 2}
    table = {**plan(device=device, retries=1), "methods": methods}
    _, first = run(table, tmp_path / "c")
    assert sorted(e["method"] for e in first.entries) == ["a", "b", "b", "c"]
    with pytest.raises(CampaignError, match="add --resume"):
        run(table, tmp_path / "c")
    done, second = run(table, tmp_path / "c", resume=True)
    assert [e["method"] for e in second.entries] == ["b"]
    assert all(map(done.is_done, done.cells))
    _, third = run(table, tmp_path / "c", resume=True)
    assert third.entries == []
    with pytest.raises(CampaignError, match=r"another plan.*seed"):
        run({**table, "seed": 4}, tmp_path / "c", resume=True)


def test_a_configuration_that_was_changed_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    text = 'extends = "digits-lenet-fixed"\n[training]\nepochs = 1\n[data]\ntrain_limit = 200\n'
    file.write_text(text)
    table = plan({"name": "m", "source": str(file)})
    _, first = run(table, tmp_path / "c")
    assert run(table, tmp_path / "c", resume=True)[1].entries == []
    file.write_text(text.replace("200", "100"))
    _, second = run(table, tmp_path / "c", resume=True)
    (before,), (after,) = first.entries, second.entries
    assert before["valid"] and after["valid"]
    assert before["config_hash"] != after["config_hash"]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "swap"])
def test_a_cell_whose_evidence_was_altered_is_measured_again(tmp_path: Path, damage: str) -> None:
    methods = [{**COUNTED, "name": name} for name in ("a", "b")]
    table = {**plan(), "methods": methods}
    run(table, tmp_path / "c")
    log, other = sorted((tmp_path / "c").rglob(f"*{SUFFIX}"))
    data = bytearray(log.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        log.write_bytes(data)
    elif damage == "cut":
        log.write_bytes(data[: len(data) // 2])
    elif damage == "remove":
        log.unlink()
    else:  # a whole good log, but of another cell
        log.write_bytes(other.read_bytes())
        log.with_name(log.name + ".head").write_bytes(other.with_name(other.name + ".head").read_bytes())
    with pytest.raises(Exception, match="attempt-001"):
        read_cells(tmp_path / "c")
    done, seen = run(table, tmp_path / "c", resume=True)
    assert len(seen.entries) == 1
    assert seen.entries[0]["method"] == log.parent.name.partition(".")[0]
    assert any("attempt 1" in line for line in done.repaired)


def test_everything_is_made_again_from_the_logs(tmp_path: Path) -> None:
    run(plan(), tmp_path / "c")
    (result,) = (tmp_path / "c").rglob("result.json")
    before = result.read_text()
    result.unlink()
    _, seen = run(plan(), tmp_path / "c", resume=True)
    assert seen.entries == []
    assert result.read_text() == before
    (log,) = (tmp_path / "c").rglob(f"*{SUFFIX}")
    entry = read_entry(log)
    result_record = next(r for r in read_log(log) if r.type == "result")
    window = result_record.fields["result"]["windows"][0]
    assert entry["gross_j"] == pytest.approx(window["gross"]["value"] / window["repeats"], rel=1e-12)
    assert entry["u_k2_j"] == pytest.approx(window["net"]["u_k2"] / window["repeats"], rel=1e-9)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    state = State.create(tmp_path / "c", campaign_from_table(plan()))
    try:
        with pytest.raises(Exception, match=r"another process|in use|lock"):
            run(plan(), tmp_path / "c", resume=True)
    finally:
        state.close()


@pytest.mark.parametrize(
    "spec", ["ina226?interval_s=0.1", "wt300?current_range_a=0.5", "ruideng", "scpi", "ina219?interval_s=0.1"]
)
def test_the_bench_finds_the_true_joules_with_every_meter(tmp_path: Path, spec: str) -> None:
    """2e9 products of 5 pJ, 1e8 bytes of 7 pJ, 1.65 W for as long as 338 products per cycle of 10 ns take."""
    started = time.perf_counter()
    done, _ = run(plan(spec=spec), tmp_path / "c")
    (entry,) = done.entries.values()
    assert entry["valid"], entry["reasons"]
    seconds = 2e9 / (338 * 1e8)
    net_j = 2e9 * 5e-12 + 1e8 * 7e-12 + 1.65 * seconds
    assert abs(entry["net_j"] - net_j) <= 1.5 * entry["u_k2_j"]
    assert abs(entry["gross_j"] - net_j - 2.5 * seconds) <= 1.5 * entry["gross_u_k2_j"]
    assert time.perf_counter() - started < 30
