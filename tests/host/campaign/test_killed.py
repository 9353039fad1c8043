"""Campaigns on the virtual bench that are killed again and again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from virtual_campaign import virtual_plan, write_plan

from joulebit_host.campaign.run import run_campaign
from joulebit_host.campaign.schema import load_campaign
from joulebit_host.campaign.state import JOURNAL, read_cells
from joulebit_host.evidence.audit import audit_path
from joulebit_host.evidence.log import SUFFIX, read_log, verify

WORKS = {
    "mac8": {"macs.forward.8x8": 2 * 10**9, "bytes.forward.sram": 10**8},
    "mac16": {"macs.weight_gradient.8x16": 2 * 10**9},
    "dram": {"bytes.forward.dram": 2 * 10**8},
    "sram": {"bytes.update.sram": 2 * 10**9},
}
RUN = """
import sys
from joulebit_host.cli.measure import measure
sys.exit(measure.main(sys.argv[1:], standalone_mode=False))
"""
KEPT = (
    "cell",
    "state",
    "gross",
    "idle",
    "net",
    "gross_j",
    "net_j",
    "u_k2_j",
    "runs",
    "seconds",
    "samples",
    "reasons",
)


def killed_plan(speed: float) -> dict[str, Any]:
    return virtual_plan(WORKS, device={"speed": speed}, seed=5, repeats=3, retries=2)


def cells(folder: Path) -> list[dict[str, Any]]:
    _, entries = read_cells(folder)
    return [{key: entry[key] for key in KEPT} for entry in entries]


def evidence_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in (".jsonl", ".chain"))


def start(plan: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, str(plan), "--out", str(out), "--resume", "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_somewhere(plan: Path, out: Path, after_bytes: int, after_s: float) -> bool:
    """SIGKILL once so many bytes of evidence are written, and a little later; whether it came in time."""
    before = evidence_bytes(out) if out.exists() else 0
    process = start(plan, out)
    while process.poll() is None and (evidence_bytes(out) if out.exists() else 0) < before + after_bytes:
        time.sleep(0.01)
    time.sleep(after_s)
    killed = process.poll() is None
    os.kill(process.pid, signal.SIGKILL) if killed else None
    process.communicate()
    return killed


def test_a_campaign_killed_ten_times_gives_the_same_cells(tmp_path: Path) -> None:
    plan, quick = tmp_path / "plan.toml", tmp_path / "quick.toml"
    write_plan(plan, killed_plan(100.0))
    write_plan(quick, killed_plan(0.0))
    run_campaign(load_campaign(quick), tmp_path / "whole")
    expected = cells(tmp_path / "whole")
    assert len(expected) == 12
    assert all(cell["state"] == "valid" for cell in expected)
    out = tmp_path / "killed"
    chance = random.Random(20)
    kills = 0
    kept: dict[Path, bytes] = {}
    while kills < 10:
        assert kill_somewhere(plan, out, chance.randrange(1, 150_000), chance.uniform(0, 0.1))
        kills += 1
        # What was on the disk is never changed again, only continued.
        for path, data in kept.items():
            assert path.read_bytes().startswith(data)
        for path in out.rglob(f"*{SUFFIX}"):
            data = path.read_bytes()
            kept[path] = data[: data.rfind(b"\n") + 1]
    process = start(plan, out)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    for path, data in kept.items():
        assert not data or path.read_bytes().startswith(data)
    assert cells(out) == expected
    assert [cell["gross_j"] for cell in json.loads(printed)["cells"]] == [cell["gross_j"] for cell in expected]
    assert audit_path(out)["ok"]
    assert verify(out / JOURNAL).ok
    for cell in expected:
        result = json.loads((out / "cells" / cell["cell"] / "result.json").read_text())
        log = out / "cells" / cell["cell"] / result["evidence"]["file"]
        theirs = tmp_path / "whole" / "cells" / cell["cell"] / f"attempt-001{SUFFIX}"
        assert [r.fields for r in read_log(log) if r.type == "received"] == [
            r.fields for r in read_log(theirs) if r.type == "received"
        ]
    attempts = len(list(out.rglob(f"*{SUFFIX}")))
    assert 12 < attempts <= 12 + 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_more_kills_at_other_moments(tmp_path: Path, seed: int) -> None:
    plan = tmp_path / "plan.toml"
    write_plan(plan, killed_plan(300.0))
    run_campaign(load_campaign(plan), tmp_path / "whole")
    chance = random.Random(seed)
    for _ in range(25):
        if not kill_somewhere(plan, tmp_path / "killed", chance.randrange(1, 60_000), chance.uniform(0, 0.05)):
            break
    process = start(plan, tmp_path / "killed")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert cells(tmp_path / "killed") == cells(tmp_path / "whole")
    assert audit_path(tmp_path / "killed")["ok"]
