"""Sweeps: which runs they have, what the journal keeps, what one table says of them."""

from __future__ import annotations

import csv
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from joulebit.cli.main import run
from joulebit.cli.sweep import _SweepBar
from joulebit.errors import JoulebitError
from joulebit.experiments.config import ConfigError, config_hash, load_config
from joulebit.experiments.rundir import RunDirectoryBusyError
from joulebit.experiments.sweep.execute import cluster, execute, run_folder
from joulebit.experiments.sweep.grid import read_sweep
from joulebit.experiments.sweep.journal import Journal
from joulebit.experiments.sweep.table import Results, groups, write_csv

DESCRIPTION = """
base = "digits-lenet-fixed"
set = ["training.epochs=1"]
seeds = [3, 5]
[grid]
"method.beta" = [0.02, 0.05, 0.1]
training.batch_size = [32, 64]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


# --- which runs ---------------------------------------------------------------------------------------------


def test_every_combination_of_grid_and_seeds_is_one_run_with_the_hash_of_its_configuration(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path, DESCRIPTION))
    points = sweep.points()
    assert len(points) == len(sweep) == 3 * 2 * 2
    expected = {
        (beta, batch, seed): config_hash(
            load_config(
                "digits-lenet-fixed",
                ["training.epochs=1", f"method.beta={beta}", f"training.batch_size={batch}", f"seed={seed}"],
            )
        )
        for beta in (0.02, 0.05, 0.1)
        for batch in (32, 64)
        for seed in (3, 5)
    }
    found = {(p.settings["method.beta"], p.settings["training.batch_size"], p.config.seed): p.key for p in points}
    assert found == expected
    assert all(config_hash(point.config) == point.key for point in points)


def test_cases_are_combined_with_the_grid_and_may_have_files_as_base(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('extends = "digits-lenet-fixed"\nname = "own"\nseed = 11\n')
    path = written(
        tmp_path,
        'base = "digits-resnet8-psg"\n[grid]\n"training.batch_size" = [16, 32]\n'
        '[[cases]]\nname = "plain"\n[[cases]]\nname = "own"\nbase = "own.toml"\nset = ["training.epochs=2"]\n',
    )
    points = read_sweep(path).points()
    assert [(p.settings["case"], p.settings["training.batch_size"]) for p in points] == [
        ("plain", 16),
        ("plain", 32),
        ("own", 16),
        ("own", 32),
    ]
    assert [p.config.seed for p in points] == [0, 0, 11, 11]  # without seeds, the base's own
    assert points[2].config.training.epochs == 2


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("seeds = 2", "base is missing"),
        ('base = "digits-lenet-fixd"', "did you mean"),
        ('base = "digits-lenet-fixed"\nseedz = 2', "unknown key 'seedz'"),
        ('base = "digits-lenet-fixed"\nseeds = 0', "seeds must be"),
        ('base = "digits-lenet-fixed"\nseeds = [1, 1]', "seeds must be"),
        ('base = "digits-lenet-fixed"\nset = "x"', "set must be a list"),
        ('base = "digits-lenet-fixed"\n[grid]\nseed = [1]', "seeds = [1]"),
        ('base = "digits-lenet-fixed"\n[grid]\n"method.beta" = []', "must be a list of values"),
        ('base = "digits-lenet-fixed"\n[grid]\n"method.bta" = [0.1]', "unknown key 'bta'"),
        ('base = "digits-lenet-fixed"\n[grid]\n"method.beta" = [0.1, 2]', "method.beta = 2"),
        ('base = "digits-lenet-fixed"\n[grid]\n"method.beta" = [0.1, 0.1]', "the same run"),
        ('base = "digits-lenet-fixed"\n[[cases]]\n[[cases]]', "the same name"),
        ('base = "digits-lenet-fixed"\ncases = 3', "must be [[cases]]"),
    ],
)
def test_a_wrong_description_is_told_in_one_line(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_sweep(written(tmp_path, text)).points()
    assert what in str(caught.value) and "\n" not in str(caught.value)


def test_dry_run_counts_the_runs_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["sweep", str(written(tmp_path, DESCRIPTION)), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == 12
    assert not (tmp_path / "runs").exists()


# --- the journal --------------------------------------------------------------------------------------------


def test_the_journal_keeps_the_last_row_of_a_run_and_drops_a_torn_line(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.add({"key": "a", "status": "failed"})
        journal.add({"key": "b", "status": "done", "top1": 9.5})
        journal.add({"key": "a", "status": "done"})
    with open(journal.path, "ab") as file:
        file.write(b'{"key": "c", "sta')
    with Journal(tmp_path) as again:
        assert again.done("a") and again.done("b") and not again.done("c")
        again.add({"key": "c", "status": "done"})
        again.add({"key": "b", "status": "failed"})
        assert not again.done("b") and len(again) == 3
        assert again.row("c") == {"key": "c", "status": "done"}
        assert again.row("b")["status"] == "failed"
    lines = journal.path.read_bytes().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["a", "b", "a", "c", "b"]


def test_one_process_at_a_time_writes_a_sweep(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(JoulebitError, match="another sweep"):
        Journal(tmp_path)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"key": "a", "status": "done"}\nrubbish\n')
    with pytest.raises(JoulebitError, match="line 2"):
        Journal(tmp_path)


# --- doing them ---------------------------------------------------------------------------------------------


class Heard:
    """Implements SweepProgress."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.failures: list[tuple[str, int]] = []

    def ended(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)

    def failed(self, key: str, error: str, attempt: int) -> None:
        self.failures.append((error, attempt))

    def running(self, shares: Mapping[str, float]) -> None:
        assert all(0 <= share <= 1 for share in shares.values())


def counting(key: str, table: dict[str, Any], run_dir: str, data_dir: str | None) -> dict[str, Any]:
    """A run that leaves a mark for each call; seed 5 with batches of 64 fails, seed 3 with 64 only at first."""
    folder = Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    calls = len(list(folder.iterdir()))
    (folder / str(calls)).touch()
    if table["training"]["batch_size"] == 64 and (table["seed"] == 5 or calls == 0):
        raise ValueError("no such luck")
    return {"key": key, "status": "done", "top1": 50.0 + table["seed"], "energy_simulated_j": 2.0}


@pytest.fixture
def threads() -> Iterator[Any]:
    """A cluster of threads in this process."""
    from distributed import Client, LocalCluster

    local = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with local, Client(local) as client:
        yield client


def test_failures_are_tried_again_and_then_written_down_while_others_go_on(tmp_path: Path, threads: Any) -> None:
    points = read_sweep(written(tmp_path, DESCRIPTION)).points()
    heard = Heard()
    with Journal(tmp_path / "out") as journal:
        execute(threads, points, journal, tmp_path / "out", None, heard, retries=1, task=counting)
        assert len(journal) == 12
        failed = [row for row in Results(points, journal) if row["status"] == "failed"]
    assert {(row["settings"]["training.batch_size"], row["seed"]) for row in failed} == {(64, 5)}
    assert all(row["error"] == "ValueError: no such luck" for row in failed)
    assert len(heard.rows) == 12
    assert heard.failures == [("ValueError: no such luck", 1)] * 6
    for point in points:
        calls = len(list(run_folder(tmp_path / "out", point.key).iterdir()))
        assert calls == (2 if point.config.training.batch_size == 64 else 1)

    # Called again: what is done stays, what failed is tried once more.
    with Journal(tmp_path / "out") as journal:
        execute(threads, points, journal, tmp_path / "out", None, Heard(), retries=0, task=counting)
        rows = list(Results(points, journal))
    assert sum(len(list(run_folder(tmp_path / "out", p.key).iterdir())) for p in points) == 18 + 3
    combined = groups(rows)
    assert len(combined) == 6
    small = [group for group in combined if group["settings"]["training.batch_size"] == 32]
    assert all((g["done"], g["failed"], g["top1"], g["energy_spread_j"]) == (2, 0, 54.0, 0.0) for g in small)
    assert all(abs(g["top1_spread"] - 2**0.5) < 1e-12 for g in small)
    write_csv(tmp_path / "t.csv", rows, ["method.beta", "training.batch_size"])
    with open(tmp_path / "t.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["seed"] for line in lines] == ["3", "5"] * 6
    assert sum(line["status"] == "failed" for line in lines) == 3


def busy_at_first(key: str, table: dict[str, Any], run_dir: str, data_dir: str | None) -> dict[str, Any]:
    """A run whose folder another process holds until it was asked for three times."""
    folder = Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    calls = len(list(folder.iterdir()))
    (folder / str(calls)).write_text(str(time.monotonic()))
    if calls < 3:
        raise RunDirectoryBusyError(f"{run_dir} is in use")
    return {"key": key, "status": "done", "top1": 50.0, "energy_simulated_j": 2.0}


def test_a_folder_in_use_is_waited_for_and_counts_as_no_attempt(
    tmp_path: Path, threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_s = 0.2
    monkeypatch.setattr("joulebit.experiments.sweep.execute._BUSY_S", wait_s)
    monkeypatch.setattr("joulebit.experiments.sweep.execute._RETRY_S", 0.0)
    (point,) = read_sweep(written(tmp_path, 'base = "digits-lenet-fixed"\nseeds = [3]\n')).points()
    heard = Heard()
    with Journal(tmp_path / "out") as journal:
        execute(threads, [point], journal, tmp_path / "out", None, heard, retries=0, task=busy_at_first)
        (row,) = Results([point], journal)
    assert row["status"] == "done"
    folder = run_folder(tmp_path / "out", point.key)
    assert heard.failures == [(f"{folder} is in use", 1)] * 3
    called_s = [float((folder / str(call)).read_text()) for call in range(4)]
    assert all(later - earlier >= wait_s for earlier, later in itertools.pairwise(called_s))


def test_no_scheduler_at_the_address_is_one_line() -> None:
    with pytest.raises(JoulebitError, match="dask scheduler"), cluster(1, "nonsense://here"):
        pass


# --- what is told of it -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "told"), [(10, 4), (100_000, 2)])
def test_every_run_is_told_of_a_small_sweep_and_of_a_large_one_one_a_second_and_every_failure(
    capsys: pytest.CaptureFixture[str], total: int, told: int
) -> None:
    bar = _SweepBar(total, done=0)
    row = {"settings": {"method.beta": 0.1}, "seed": 3, "status": "done", "top1": 50.0}
    for _ in range(3):
        bar.ended(row)
    bar.ended({**row, "status": "failed", "error": "no such luck"})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == told
    assert lines[0] == f"[1/{total}] method.beta = 0.1, seed 3: top-1 50.00 %"
    assert lines[-1] == f"[4/{total}] method.beta = 0.1, seed 3: failed: no such luck"
    assert bar.done == 3


def test_a_scheduler_that_served_many_runs_remembers_one_kind_of_them(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    points = read_sweep(written(tmp_path, DESCRIPTION)).points()
    local = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with local, Client(local) as client, Journal(tmp_path / "out") as journal:
        execute(client, points, journal, tmp_path / "out", None, Heard(), retries=0, task=counting)
        assert set(local.scheduler.task_prefixes) == {"run"}
