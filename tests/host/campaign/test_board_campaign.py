"""Campaigns on a board: the accelerator's own counters come back, and the virtual bench follows them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from joulebit.energy.table import load_table
from joulebit_host.boards.virtual import VirtualBoard
from joulebit_host.campaign.audit import audit_folder
from joulebit_host.campaign.beside import beside_runs
from joulebit_host.campaign.board import BoardDevice, board_profile
from joulebit_host.campaign.board_worker import WatchedBoard
from joulebit_host.campaign.measured import measured_runs
from joulebit_host.campaign.plan import check_workloads, workload
from joulebit_host.campaign.reading import CampaignError
from joulebit_host.campaign.run import run_campaign
from joulebit_host.campaign.schema import DevicePlan, Method, campaign_from_table
from joulebit_host.campaign.state import State, read_cells
from joulebit_host.campaign.worker import train_once
from joulebit_host.cli.calibrate import calibrate
from joulebit_host.session.session import Marks
from joulebit_host.session.timing import HostClock

SHORT = ["training.iterations=3", "data.train_limit=100", "data.test_limit=40", "training.statistics_samples=32"]
HIDDEN = """
name = "hidden"
title = "hidden"
source = "invented for this test"
[mac]
default_pj = 12.0
[mac.pj]
8x8 = 16.1
8x16 = 31.3
4x10 = 9.4
gated = 1.3
[op.pj]
int16 = 13.0
int32 = 31.0
fp32 = 90.0
[memory]
sram_pj_per_byte = 8.3
dram_pj_per_byte = 517.0
[static]
power_w = 0.67
[throughput]
clock_hz = 1.0e8
macs_per_cycle = 179.0
[throughput.by_kind]
8x8 = 338.0
"""
PORTS = (610.0, 290.0)
TRUTH_PJ = {"macs.all.8x8": 16.1, "macs.all.8x16": 31.3, "macs.all.4x10": 9.4, "macs.all.gated": 1.3,
            "bytes.all.port0": PORTS[0], "bytes.all.port1": PORTS[1]}  # fmt: skip
IDLE_W, STATIC_W = 2.5, 0.67


def campaign(
    folder: Path, methods: dict[str, tuple[str, list[str]]], session: dict[str, float] | None = None, **device: Any
) -> State:
    (folder / "hidden.toml").write_text(HIDDEN)
    plan = {
        "name": "board",
        "repeats": 2,
        "session": {"idle_s": 8, "warmup_s": 1, **(session or {})},
        "methods": [{"name": n, "source": source, "set": changes} for n, (source, changes) in methods.items()],
        "meters": [{"name": "ina", "spec": "ina226?interval_s=0.1"}],
        "devices": [
            {
                "name": "zed",
                "kind": "board",
                "board": "virtual",
                "table": str(folder / "hidden.toml"),
                "port_pj_per_byte": list(PORTS),
                "idle_w": IDLE_W,
                **device,
            }
        ],
    }
    return run_campaign(campaign_from_table(plan), folder / "campaign")


def test_a_campaign_recovers_the_hidden_truth_of_the_accelerators_counters(tmp_path: Path) -> None:
    """Four cells. Truth by this test's own arithmetic: counted work times the hidden prices, and static power."""
    methods = {"fixed": ("digits-lenet-fixed", SHORT), "psg": ("digits-resnet8-psg", SHORT)}
    state = campaign(tmp_path, methods)
    assert len(state.cells) == 4
    for cell in state.cells:
        entry = state.entries[cell.key]
        assert entry["valid"], entry["reasons"]
        found = entry["outcome"]["accelerator"]
        assert found["board"] == "virtual" and found["array_config"] == "default"
        registers, work = found["counters"], found["work"]
        assert work["macs.all.8x8"] == registers["MACS_8X8"] > 0
        assert work["bytes.all.port0"] == registers["PORT0_READ_BYTES"] + registers["PORT0_WRITE_BYTES"]
        assert work["bytes.all.port1"] == registers["PORT1_READ_BYTES"] + registers["PORT1_WRITE_BYTES"]
        assert (registers["DECIDED"] > 0) == (registers["MACS_GATED"] > 0) == (cell.method == "psg")
        assert set(work) <= set(TRUTH_PJ)
        assert "lists" not in found
        net_j = sum(n * TRUTH_PJ[key] * 1e-12 for key, n in work.items()) + STATIC_W * entry["seconds"]
        gross_j = net_j + IDLE_W * entry["seconds"]
        assert abs(entry["net_j"] - net_j) <= entry["u_k2_j"]
        assert abs(entry["gross_j"] - gross_j) <= entry["gross_u_k2_j"]
        assert entry["u_k2_j"] < 0.1 * net_j
        source, changes = methods[cell.method]
        config = workload(Method("m", source=source, set=tuple(changes)), "").config
        assert config is not None
        here = train_once({**config, "engine": "numba"})
        assert entry["weights_sha256"] == here["weights_sha256"]
        assert entry["config_hash"] == here["config_hash"]
        # The accelerator leaves out the sums that would tell which decided signs are wrong.
        assert entry["outcome"]["counters"] == {
            k: n for k, n in here["counters"].items() if k != "predictor.wrong"
        }
    assert audit_folder(tmp_path / "campaign")["ok"]
    _, entries = read_cells(tmp_path / "campaign")
    assert len(beside_runs(entries, [], load_table("xc7z020"))) == 4
    runs = measured_runs([(tmp_path, entry) for entry in entries], "net")
    assert all(set(run.counters) <= set(TRUTH_PJ) for run in runs)


@pytest.mark.slow
def test_calibration_recovers_every_resolvable_coefficient(tmp_path: Path) -> None:
    """Works of other mixes: kinds of layers, batch sizes (weights come again for fewer products), predicted signs,
    and a selection whose forward passes train nothing. The meter's noise is 2 mW: windows of two minutes tell what
    a gated product takes, a thousandth of the energy, from nothing."""
    lenet, resnet, psg = "digits-lenet-fixed", "digits-resnet8-fixed", "digits-resnet8-psg"
    methods = {
        "lenet": (lenet, SHORT),
        "lenet-8": (lenet, [*SHORT, "training.batch_size=8"]),
        "lenet-2": (lenet, [*SHORT, "training.batch_size=2"]),
        "resnet": (resnet, SHORT),
        "resnet-8": (resnet, [*SHORT, "training.batch_size=8"]),
        "psg": (psg, SHORT),
        "psg-8": (psg, [*SHORT, "training.batch_size=8"]),
        "psg-2": (psg, [*SHORT, "training.batch_size=2"]),
        "psg-exact": (psg, [*SHORT, "method.beta=0.9"]),
        "selection": ("digits-resnet8-loss-selection", [*SHORT, "training.iterations=12"]),
    }
    state = campaign(tmp_path, methods, {"window_s": 120, "idle_s": 60}, noise_w=0.002)
    assert all(map(state.is_done, state.cells))
    out = tmp_path / "fitted.toml"
    result = CliRunner().invoke(calibrate, [str(tmp_path / "campaign"), "--write", str(out), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    coefficients = {c["name"]: c for c in found["coefficients"]}
    truth = {
        "mac.8x8": 16.1, "mac.8x16": 31.3, "mac.4x10": 9.4, "mac.gated": 1.3, "memory.port0": PORTS[0],
        "memory.port1": PORTS[1], "static": STATIC_W,
    }  # fmt: skip
    assert set(coefficients) == set(truth)
    for name, c in coefficients.items():
        assert c["resolved"], c
        assert c["low"] <= truth[name] <= c["high"], c
    assert found["unresolved"] == []
    assert found["chi2"] < 3 * found["dof"]
    assert all(row["within_k2"] in (True, None) for row in found["left_out"])
    assert len(found["beside"]) == len(state.cells)
    table = load_table(str(out))
    assert table.mac_pj("gated") == pytest.approx(coefficients["mac.gated"]["value"])
    assert table.sram_pj_per_byte == 0
    ports = [coefficients[f"memory.port{n}"]["value"] for n in (0, 1)]
    assert min(ports) < table.dram_pj_per_byte < max(ports)


def test_the_power_curve_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "hidden.toml").write_text(HIDDEN)
    table = load_table(str(tmp_path / "hidden.toml"))
    ports = {"port0": 100.0, "port1": 50.0}
    slow = {"MACS_8X8": 338 * 1000, "PORT1_READ_BYTES": 8_000_000}
    counted = {"MACS_8X16": 10**6, "MACS_GATED": 10**6, "CYCLES_TOTAL": 25_000}
    profile = board_profile([("forward", slow), ("weight_gradient", counted)], 1e8, table, ports, 2e-3)
    assert [(phase, pytest.approx(seconds)) for phase, seconds, _ in profile] == [
        ("forward", 0.01),
        ("other", 2e-3),
        ("weight_gradient", 250e-6),
        ("other", 2e-3),
    ]
    joules = [seconds * (watts - STATIC_W) for _, seconds, watts in profile]
    assert joules == pytest.approx([338e3 * 16.1e-12 + 8e6 * 50e-12, 0, 1e6 * (31.3 + 1.3) * 1e-12, 0], abs=1e-15)


def test_a_board_in_real_time_sends_its_counters_and_no_temperature() -> None:
    """Two runs are the same run: one run's counters come back."""
    method = Method("m", source="digits-lenet-fixed", set=tuple(SHORT))
    device = BoardDevice(DevicePlan("d", "board", board="virtual", array_config="open"))
    try:
        device.prepare(workload(method, ""))
        assert device.temperature is None
        device.run(1, Marks(HostClock()))
        once = device.outcome()
        device.run(2, Marks(HostClock()))
        assert device.outcome() == once
    finally:
        device.close()
    assert once["accelerator"]["array_config"] == "open"
    assert once["engine"] == "overlay"


@pytest.mark.rtl
@pytest.mark.slow
def test_on_the_rtl_lists_take_their_cycles_and_all_else_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "hidden.toml").write_text(HIDDEN)
    table = load_table(str(tmp_path / "hidden.toml"))
    one = ("training.iterations=1", "training.batch_size=1", "training.statistics_samples=1")
    work = workload(
        Method("m", source="digits-lenet-fixed", set=(*one, "data.train_limit=2", "data.test_limit=1")), ""
    )
    found = {}
    for board in ("virtual", "virtual-rtl"):
        device = BoardDevice(DevicePlan("d", "board", board=board, array_config="tiny"))
        try:
            device.prepare(work)
            found[board] = device.trained()
        finally:
            device.close()
    model, rtl = found["virtual"], found["virtual-rtl"]
    assert rtl["weights_sha256"] == model["weights_sha256"]
    assert rtl["accelerator"]["work"] == model["accelerator"]["work"]
    lists = rtl["accelerator"]["lists"]
    assert [phase for phase, _ in lists] == [phase for phase, _ in model["accelerator"]["lists"]]
    assert all(counters["CYCLES_TOTAL"] >= counters["CYCLES_COMPUTE"] > 0 for _, counters in lists)
    profile = board_profile(lists, 1e8, table, {"port0": 1.0, "port1": 1.0}, 0.0)
    assert [seconds for _, seconds, _ in profile] == [counters["CYCLES_TOTAL"] / 1e8 for _, counters in lists]


class WarmBoard(VirtualBoard):
    """One with an XADC."""

    def temperature_c(self) -> float | None:
        return 41.5


def test_the_boards_temperature_is_told_between_lists() -> None:
    board, told = WarmBoard("tiny"), []
    try:
        watched = WatchedBoard(board, dict, told.append)
        watched.tell_temperature()
        assert told == [41.5]
        watched.tell_temperature()
        assert told == [41.5]  # the next one in some seconds
    finally:
        board.close()


def test_a_temperature_that_the_worker_tells_is_the_devices() -> None:
    worker = """
import json, sys
print(json.dumps({"hello": "joulebit-device-1"}), flush=True)
for celsius, line in zip((40.25, 47.5), sys.stdin):
    print(json.dumps({"mark": "temperature", "celsius": celsius}), flush=True)
    print(json.dumps({"ok": {"config_hash": "c", "start_s": 1.0, "end_s": 2.0}}), flush=True)
"""
    device = BoardDevice(DevicePlan("d", "board", board="zed"), (sys.executable, "-c", worker))
    try:
        assert device.temperature is None
        device.prepare(workload(Method("m", source="digits-lenet-fixed"), ""))
        assert device.temperature is not None
        assert device.temperature() == 40.25
        device.run(1, Marks(HostClock()))
        assert device.temperature() == 47.5
    finally:
        device.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"board": ""}, "board must be one of virtual, .*got ''"),
        ({"board": "virtua"}, "board must be one of virtual, .*got 'virtua'"),
        ({"board": "remote"}, "board must be one of"),
        ({"board": "zed:1"}, "board must be one of"),
        ({"array_config": "huge"}, "array_config must be one of default, .*got 'huge'"),
        ({"engine": "numba"}, "engine is overlay"),
        ({"board": "zed", "table": "xc7z020"}, "table is for virtual boards"),
        ({"port_pj_per_byte": [1.0]}, r"two numbers >= 0, got \[1.0\]"),
        ({"kind": "local"}, 'set kind = "board"'),
        ({"table": "xc7z020"}, "one that can be emulated"),
    ],
)
def test_what_cannot_be_a_board_is_found_first(changes: dict[str, Any], message: str) -> None:
    plan = {
        "name": "p",
        "methods": [{"name": "m", "source": "digits-lenet-fixed"}],
        "meters": [{"name": "rapl", "spec": "rapl"}],
        "devices": [{"name": "b", "kind": "board", "board": "virtual", **changes}],
    }
    with pytest.raises(CampaignError, match=message):
        check_workloads(campaign_from_table(plan))
