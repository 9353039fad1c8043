"""This machine as the device: training in a process of its own, commands, counters; simulated beside measured."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from virtual_campaign import virtual_plan, write_plan

from joulebit.energy.table import load_table
from joulebit.errors import JoulebitError
from joulebit_host.campaign.beside import NotTheSameRun, beside_runs, side_by_side
from joulebit_host.campaign.device import DeviceError
from joulebit_host.campaign.live import PowerNow
from joulebit_host.campaign.local import LocalDevice
from joulebit_host.campaign.own import own_spec
from joulebit_host.campaign.plan import workload
from joulebit_host.campaign.run import run_campaign
from joulebit_host.campaign.schema import DevicePlan, Method, campaign_from_table
from joulebit_host.campaign.state import read_cells
from joulebit_host.campaign.worker import train_once
from joulebit_host.cli.measure import measure
from joulebit_host.meters.base import Received
from joulebit_host.meters.registry import open_meter
from joulebit_host.session.session import Marks
from joulebit_host.session.timing import HostClock

SMALL = ("training.epochs=1", "data.train_limit=100", "data.test_limit=100", "training.statistics_samples=32")
QUICK = {
    "idle_s": 0.4,
    "settle_s": 0.05,
    "warmup_s": 0.1,
    "window_s": 0.5,
    "exchanges": 4,
    "limits": {
        "shortest_window_s": 0.3,
        "fewest_samples": 10,
        "shortest_idle_s": 0.3,
        "fewest_idle_samples": 8,
        "largest_gap_share": 1.0,
        "largest_idle_drift": 10.0,
        "largest_relative_u": 10.0,
    },
}


@pytest.fixture
def powercap(tmp_path: Path) -> Iterator[Path]:
    """A powercap tree whose counter shows 10 W."""
    domain = tmp_path / "powercap" / "intel-rapl:0"
    domain.mkdir(parents=True)
    (domain / "name").write_text("package-0\n")
    (domain / "max_energy_range_uj").write_text("262143328850\n")
    counter, new = domain / "energy_uj", domain / "new"
    begun_s = time.monotonic()  # of a machine that has been up for long, it would exceed the counter's range
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            new.write_text(f"{int((time.monotonic() - begun_s) * 1e7)}\n")
            new.replace(counter)
            time.sleep(0.002)

    counter.write_text(f"{int((time.monotonic() - begun_s) * 1e7)}\n")
    thread = threading.Thread(target=count)
    thread.start()
    yield tmp_path / "powercap"
    stop.set()
    thread.join()


def plan(powercap: Path, method: dict[str, Any], kind: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "here",
        "repeats": 1,
        "retries": 0,
        "session": QUICK,
        "methods": [{"name": "m", **method}],
        "meters": [{"name": "own", "spec": f"rapl?root={powercap}&interval_s=0.02&max_power_w=100000"}],
        "devices": [{"name": "here", "kind": kind}],
        **more,
    }


def test_a_command_is_measured_with_this_machines_counter(powercap: Path, tmp_path: Path) -> None:
    found = '{"config_hash": "c0", "weights_sha256": "ee", "counters": {"steps": 3}}'
    table = plan(powercap, {"command": f"sleep 0.05; echo '{found}'"}, "command")
    state = run_campaign(campaign_from_table(table), tmp_path / "c")
    (entry,) = state.entries.values()
    assert entry["valid"], entry["reasons"]
    assert entry["gross_j"] == pytest.approx(10 * entry["seconds"], rel=0.15)
    assert entry["seconds"] >= 0.05
    assert entry["outcome"]["counters"] == {"steps": 3}
    assert entry["weights_sha256"] == "ee"


def test_a_command_that_fails_says_why(powercap: Path, tmp_path: Path) -> None:
    table = plan(powercap, {"command": "echo no board >&2; exit 3"}, "command")
    (entry,) = run_campaign(campaign_from_table(table), tmp_path / "c").entries.values()
    assert entry["state"] == "failed"
    (reason,) = entry["reasons"]
    assert reason["rule"] == "device_failed"
    assert reason["text"].endswith("ended with exit code 3: no board")


def test_training_is_measured_and_set_beside_its_simulation(powercap: Path, tmp_path: Path) -> None:
    """Settings go down to the worker, results come back: the hashes are those of the same run done here."""
    method = {"source": "digits-lenet-fixed", "set": list(SMALL)}
    state = run_campaign(campaign_from_table(plan(powercap, method, "local")), tmp_path / "c")
    (entry,) = state.entries.values()
    assert entry["valid"], entry["reasons"]
    config = workload(Method("m", source="digits-lenet-fixed", set=SMALL), "").config
    assert config is not None
    here = train_once(config)
    assert entry["config_hash"] == here["config_hash"]
    assert entry["weights_sha256"] == here["weights_sha256"]
    assert entry["outcome"]["counters"] == here["counters"]
    assert entry["runs"] >= 1
    table = load_table("45nm")
    row = side_by_side(entry, here, table)
    assert row["simulated_j"] == pytest.approx(here["energy_simulated_j"]["total"])
    assert row["residual_j"] == pytest.approx(row["measured_j"] - row["simulated_j"])
    assert row["residual_u"] == pytest.approx(2 * row["residual_j"] / row["u_k2_j"])
    with pytest.raises(NotTheSameRun, match="different weights"):
        side_by_side(entry, {**here, "weights_sha256": "0" * 64}, table)
    with pytest.raises(NotTheSameRun, match="different configuration"):
        side_by_side(entry, {**here, "config_hash": "0" * 64}, table)
    assert beside_runs(read_cells(tmp_path / "c")[1], [], table) == [row]


def test_a_worker_that_dies_or_refuses_is_an_error() -> None:
    plan = DevicePlan("d", "local")
    device = LocalDevice(plan)
    try:
        with pytest.raises(DeviceError, match="nothing was prepared"):
            device.run(1, Marks(HostClock()))
        exchange = device.exchange()
        assert exchange.sent_s <= exchange.remote_s <= exchange.received_s
    finally:
        device.close()
    with pytest.raises(DeviceError, match="broke off"):
        device.exchange()
    device.close()
    with pytest.raises(DeviceError, match="broke off"):
        LocalDevice(plan, ("true",))
    with pytest.raises(DeviceError, match="cannot be started"):
        LocalDevice(plan, ("/no/such/program",))


def test_this_machine_without_a_counter_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, powercap: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("joulebit_host.campaign.own.list_meters", lambda: [])
    result = CliRunner().invoke(measure, ["--out", str(tmp_path / "c")])
    assert isinstance(result.exception, JoulebitError)
    assert str(result.exception).startswith("this machine has no energy counter of its own")
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "c").exists()
    assert open_meter(own_spec(powercap)).identity == "RAPL package-0"


def test_the_command_reports_and_exits_by_what_it_found(tmp_path: Path) -> None:
    works = {
        name: {"macs.forward.8x8": n} for name, n in (("more", 2 * 10**9), ("less", 10**9), ("same", 10**9 + 1))
    }
    device = {"faults": ["fail"], "faults_in": ["more"], "faults_last": 1}
    path = write_plan(tmp_path / "plan.toml", virtual_plan(works, device=device, repeats=2))
    out = tmp_path / "c"
    first = CliRunner().invoke(measure, [str(path), "--out", str(out)], standalone_mode=False)
    assert first.return_value == 1
    assert "more.ina.bench.001: failed: device_failed" in first.stderr
    page = (out / "report.html").read_text()
    assert "the virtual device lost its power" in page
    second = CliRunner().invoke(
        measure, [str(path), "--out", str(out), "--resume", "--json"], standalone_mode=False
    )
    assert second.return_value == 0
    import json

    summary = json.loads(second.stdout)
    assert summary["complete"]
    assert len(summary["cells"]) == 6
    wanted = {"gross_j", "idle_j", "net_j", "u_k2_j", "valid", "reasons"}
    assert all(wanted <= set(cell) for cell in summary["cells"])
    verdicts = {(c["a"], c["b"], c["energy"]): c["verdict"] for c in summary["comparisons"]}
    assert verdicts["more", "less", "net"] == "more"
    assert verdicts["less", "same", "net"] == "not resolved"
    assert any(c["sentence"].startswith("refused: less and same") for c in summary["comparisons"])


def test_power_now_follows_accumulators_and_readings(powercap: Path) -> None:
    meter = open_meter(own_spec(powercap))
    now = PowerNow(meter)
    now.feed(Received(0.0, 1.0, b"intel-rapl:0 1000000\n"))
    assert now.power_w is None
    now.feed(Received(2.0, 3.0, b"intel-rapl:0 9000000\n"))
    assert now.power_w == pytest.approx(4.0)
