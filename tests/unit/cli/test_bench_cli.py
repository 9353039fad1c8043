"""`joulebit bench`: tables, charts and JSON of every bench, from results made up here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from joulebit.bench import growth, kernels, peers, step, workers
from joulebit.cli.main import run

SPREAD = {"ratio": 0.4, "ratio_low": 0.35, "ratio_high": 0.5}


def step_result(model: str, threads: int) -> dict[str, Any]:
    return {
        "model": model,
        "batch": 64,
        "threads": threads,
        "float32_step_s": 0.2,
        "relative": {name: SPREAD for name in step.CONTESTANTS},
    }


PEERS = {
    "batch": 64,
    "missing": {"qtorch": "qtorch is not installed: pip install qtorch ninja"},
    "peers": {name: {"title": name, "computes": "floats"} for name in ("joulebit", "float32_nchw", "torch_ao")},
    "models": {
        "resnet20": {
            "float32": "float32_nchw",
            "peers": {name: {"step_s": 0.1, **SPREAD} for name in ("joulebit", "float32_nchw", "torch_ao")},
        }
    },
}
KERNELS = {
    "model": "resnet20",
    "batch": 64,
    "threads": 2,
    "ceilings": {"byte_gmac_s": 1000.0, "pair_gmac_s": 500.0, "memory_gb_s": 70.0},
    "step_s": 0.1,
    "step_cpu_s": 0.2,
    "between_s": 0.01,
    "kernels": [
        {"name": "conv_forward", "shape": "16 > 16", "calls": 6, "s": 0.02, "cpu_s": 0.04, "gmac_s": 300.0,
         "gmac_share": 0.3, "gb_s": 6.0, "gb_share": 0.1},
        {"name": "norm_forward", "shape": "32x32x16", "calls": 6, "s": 0.01, "cpu_s": 0.02, "gmac_s": None,
         "gmac_share": None, "gb_s": 20.0, "gb_share": 0.3},
    ],
}  # fmt: skip
CURVE = {
    "x": "layers",
    "y": "ms per step",
    "points": [{"x": n, "y": 2.0 * n, "y_low": 1.9 * n, "y_high": 2.2 * n} for n in (8, 20, 74)],
    "law": {"overhead": 0.0, "slope": 2.0, "off_by": 0.01},
}
FLAT = {key: value for key, value in CURVE.items() if key != "law"}
GROWTH = {
    "threads": 2,
    "curves": {
        **{name: CURVE for name in ("depth", "batch", "epoch", "sweep", "sweep_again", "sweep_memory")},
        **{name: FLAT for name in ("memory_mapped", "memory_read", "pages_mapped")},
    },
}
WORKERS = {
    "identical": True,
    "launches": [
        {"workers": n, "threads": 1, "step_s": 0.1, "weights_sha256": "ab" * 32, **SPREAD} for n in (None, 2)
    ],
}


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [step_result(model, threads) for threads in (1, 2) for model in ("resnet20", "lenet5")]
    for module, name, result in (
        (step, "bench_networks", steps),
        (peers, "bench_peers", PEERS),
        (kernels, "bench_kernels", KERNELS),
        (growth, "bench_growth", GROWTH),
        (workers, "bench_workers", WORKERS),
    ):
        monkeypatch.setattr(module, name, lambda *_, result=result, **__: result)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("networks", "0.40 (0.35 to 0.50)"),
        ("peers", "torch_ao"),
        ("kernels", "16 > 16"),
        ("growth", "16 at 8"),
        ("workers", "same weights: yes"),
    ],
)
def test_a_table_for_people_and_one_object_for_programs(
    capsys: pytest.CaptureFixture[str], command: str, told: str
) -> None:
    assert run(["bench", command]) == 0
    assert told in capsys.readouterr().out
    assert run(["bench", command, "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_a_peer_that_is_missing_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "peers"]) == 0
    assert "without qtorch: qtorch is not installed: pip install qtorch ninja\n" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["networks", "peers", "kernels", "growth"])
def test_charts_are_png_files_of_moderate_size(tmp_path: Path, command: str) -> None:
    chart = tmp_path / "chart.png"
    assert run(["bench", command, "--chart", str(chart)]) == 0
    assert chart.read_bytes().startswith(b"\x89PNG") and 5_000 < chart.stat().st_size < 100_000


def test_all_of_it_is_drawn_and_kept(tmp_path: Path) -> None:
    assert run(["bench", "all", "--out", str(tmp_path / "figures")]) == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"step-times.png", "peers.png", "roofline.png", "growth.png", "bench.json"}
    kept = json.loads((tmp_path / "figures" / "bench.json").read_text())
    assert set(kept) == {"networks", "peers", "kernels", "growth", "workers"}


@pytest.mark.parametrize(
    ("chart", "told"), [("chart.svg", "must end in .png"), ("no/where.png", "no folder 'no'")]
)
def test_where_no_chart_can_be_is_told_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], chart: str, told: str
) -> None:
    assert run(["bench", "peers", "--chart", chart]) == 2
    assert told in capsys.readouterr().err
