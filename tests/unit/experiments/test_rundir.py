"""Run directories: what a crash at any moment leaves behind can be resumed, or is refused in one line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from joulebit.experiments import arrays as arrays_module
from joulebit.experiments.arrays import DamagedFileError, read_arrays, write_arrays
from joulebit.experiments.config import config_hash, load_config
from joulebit.experiments.rundir import (
    RunDirectory,
    RunDirectoryError,
    RunDirectoryWarning,
    holds_run,
    read_config,
    read_metrics,
    read_summary,
    read_weights,
    spec_sha256,
)

CONFIG = load_config("digits-resnet8-fixed")
ARRAYS = {
    "network/conv1.weight": np.arange(24, dtype=np.int32).reshape(2, 3, 4),
    "network/empty": np.zeros((0, 3), np.int64),
    "step": np.array(7, np.int64),
    "flags": np.array([True, False]),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "one"


@pytest.fixture
def run(path: Path):
    with RunDirectory.create(path, CONFIG) as directory:
        yield directory


def assert_equal_arrays(found, expected=ARRAYS):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert np.array_equal(found[name], value)


def saved_run(path: Path, steps: tuple[int, ...]) -> None:
    """A run that was left after checkpoints at these steps, with a metrics line before and after each."""
    with RunDirectory.create(path, CONFIG) as run:
        for step in steps:
            run.append_metrics({"step": step, "when": "before"})
            run.save_checkpoint(step, {"step": np.array(step)}, {"step": step})
            run.append_metrics({"step": step, "when": "after"})


def checkpoints(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "checkpoints").iterdir())


# --- creating ----------------------------------------------------------------------------------------------------


def test_a_new_run_holds_its_configuration_and_its_circumstances(run, path):
    assert read_config(path) == CONFIG
    record = json.loads((path / "run.json").read_text())
    assert record["config_hash"] == config_hash(CONFIG)
    assert record["spec_sha256"] == spec_sha256()
    assert record["engine"] == "numba"
    assert record["versions"]["numpy"] == np.__version__
    assert {"joulebit", "python"} <= set(record["versions"])
    assert record["resumed"] == []
    assert not run.finished
    assert holds_run(path)


def test_a_folder_with_a_run_is_not_created_again(path):
    saved_run(path, (1,))
    with pytest.raises(RunDirectoryError, match="holds an unfinished run: go on with --resume"):
        RunDirectory.create(path, CONFIG)
    with RunDirectory.open_for_resume(path) as run:
        run.write_summary({"top1": 1.0})
    with pytest.raises(RunDirectoryError, match="holds a finished run"):
        RunDirectory.create(path, CONFIG)


def test_a_folder_with_other_files_is_left_alone(path):
    path.mkdir(parents=True)
    (path / "thesis.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"is not empty \(it holds thesis.txt\)"):
        RunDirectory.create(path, CONFIG)
    assert (path / "thesis.txt").read_text() == "mine"


def test_a_path_through_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match=r"cannot create .*file/run: Not a directory"):
        RunDirectory.create(tmp_path / "file" / "run", CONFIG)


def test_a_run_that_never_began_leaves_nothing_behind(path):
    with RunDirectory.create(path, CONFIG) as run:
        run.discard_if_unused()
    assert not path.exists()


def test_a_run_with_a_step_is_never_discarded(path):
    with RunDirectory.create(path, CONFIG) as run:
        run.append_metrics({"step": 1})
        run.discard_if_unused()
    assert holds_run(path)


# --- the lock ----------------------------------------------------------------------------------------------------


def test_two_processes_cannot_write_one_run(run, path):
    code = (
        "import sys\n"
        "from joulebit.experiments.rundir import RunDirectory, RunDirectoryError\n"
        "try: RunDirectory.open_for_resume(sys.argv[1])\n"
        "except RunDirectoryError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert f"is being written by another process (pid {os.getpid()})" in done.stdout


def test_a_killed_process_leaves_no_lock(path):
    code = (
        "import os, signal, sys\n"
        "from joulebit.experiments.config import load_config\n"
        "from joulebit.experiments.rundir import RunDirectory\n"
        "run = RunDirectory.create(sys.argv[1], load_config('digits-resnet8-fixed'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    with RunDirectory.open_for_resume(path, CONFIG) as run:
        assert run.load_latest_checkpoint() is None


def test_a_closed_run_can_be_opened_again(path):
    saved_run(path, (1,))
    for _ in range(2):
        with RunDirectory.open_for_resume(path):
            pass
    record = json.loads((path / "run.json").read_text())
    assert len(record["resumed"]) == 2


# --- resuming ----------------------------------------------------------------------------------------------------


def test_resuming_refuses_another_run_and_says_what_differs(path):
    saved_run(path, (1,))
    other = load_config("digits-resnet8-fixed", ["seed=3", "training.learning_rate=0.2"])
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory.open_for_resume(path, other)
    assert "holds another run" in str(caught.value)
    assert "seed: 0 -> 3; training.learning_rate: 0.05 -> 0.2" in str(caught.value)


def test_resuming_takes_another_integer_engine(path):
    saved_run(path, (1,))
    with RunDirectory.open_for_resume(path, load_config("digits-resnet8-fixed", ["engine=numpy"])) as run:
        assert run.config.engine == "numpy"
    assert json.loads((path / "run.json").read_text())["resumed"][0]["engine"] == "numpy"


def test_resuming_nothing_is_an_error(path):
    with pytest.raises(RunDirectoryError, match="holds no run to resume"):
        RunDirectory.open_for_resume(path)


def test_resuming_under_another_specification_warns(path):
    saved_run(path, (1,))
    record = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**record, "spec_sha256": "0" * 64}))
    with pytest.warns(RunDirectoryWarning, match="another numeric specification"):
        RunDirectory.open_for_resume(path).close()


def test_a_damaged_run_json_is_written_anew(path):
    saved_run(path, (1,))
    (path / "run.json").write_text("{")
    with pytest.warns(RunDirectoryWarning, match="written anew"):
        RunDirectory.open_for_resume(path).close()
    assert json.loads((path / "run.json").read_text())["config_hash"] == config_hash(CONFIG)


# --- metrics -----------------------------------------------------------------------------------------------------


def test_metrics_take_numpy_values_and_have_no_nan(run, path):
    run.append_metrics({"step": np.int64(3), "loss": np.float32(1.5), "bad": float("nan"), "list": np.arange(2)})
    run.append_metrics({"step": 4, "loss": -np.inf, "nested": {"x": (np.bool_(True), None)}})
    assert read_metrics(path) == [
        {"step": 3, "loss": 1.5, "bad": None, "list": [0, 1]},
        {"step": 4, "loss": None, "nested": {"x": [True, None]}},
    ]


def test_a_torn_last_line_is_not_read(run, path):
    run.append_metrics({"step": 1})
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1}]


def test_a_damaged_line_in_the_middle_is_an_error(run, path):
    (path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(RunDirectoryError, match="line 2 is no JSON"):
        read_metrics(path)


def test_no_metrics_are_an_empty_list(run, path):
    assert read_metrics(path) == []


def test_resuming_cuts_the_metrics_back_to_the_checkpoint(path):
    saved_run(path, (5, 10))
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"step": 11}\n{"step": 12, "to')
    with RunDirectory.open_for_resume(path) as run:
        assert run.load_latest_checkpoint().step == 10
        run.append_metrics({"step": 11, "when": "again"})
    assert [(line["step"], line["when"]) for line in read_metrics(path)] == [
        (5, "before"),
        (5, "after"),
        (10, "before"),
        (11, "again"),
    ]


def test_metrics_without_a_checkpoint_are_dropped(path):
    with RunDirectory.create(path, CONFIG) as run:
        run.append_metrics({"step": 1})
    with RunDirectory.open_for_resume(path) as run:
        assert run.load_latest_checkpoint() is None
    assert read_metrics(path) == []


def test_metrics_that_the_disk_lost_are_told(path):
    saved_run(path, (5,))
    (path / "metrics.jsonl").write_text('{"step": 5}\n{"tor')
    with (
        RunDirectory.open_for_resume(path) as run,
        pytest.warns(RunDirectoryWarning, match="some metrics are lost"),
    ):
        assert run.load_latest_checkpoint().step == 5
    assert (path / "metrics.jsonl").read_text() == '{"step": 5}\n'


# --- checkpoints -------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was(run, path):
    run.save_checkpoint(7, ARRAYS, {"counters": {"steps": np.int64(7)}, "rate": 0.1})
    found = run.load_latest_checkpoint()
    assert (found.step, found.meta) == (7, {"counters": {"steps": 7}, "rate": 0.1})
    assert_equal_arrays(found.arrays)


def test_the_last_two_checkpoints_are_kept(path):
    saved_run(path, (1, 2, 30, 400))
    assert checkpoints(path) == ["step-0000000030.npz", "step-0000000400.npz"]


@pytest.mark.parametrize("kept", [0, 1, 100, -40, -1])
def test_a_truncated_checkpoint_falls_back_to_the_one_before(path, kept):
    saved_run(path, (5, 10))
    newest = path / "checkpoints" / "step-0000000010.npz"
    newest.write_bytes(newest.read_bytes()[:kept])
    with RunDirectory.open_for_resume(path) as run:
        with pytest.warns(RunDirectoryWarning, match="damaged.*going back to the checkpoint before"):
            found = run.load_latest_checkpoint()
        assert found.step == 5
        run.append_metrics({"step": 6, "when": "again"})
    assert [(line["step"], line["when"]) for line in read_metrics(path)] == [(5, "before"), (6, "again")]


def test_any_changed_byte_is_noticed(tmp_path):
    file = tmp_path / "a.npz"
    write_arrays(file, ARRAYS, {"step": 1})
    good = file.read_bytes()
    assert_equal_arrays(read_arrays(file)[0])
    unnoticed = 0
    for position in range(0, len(good), 7):
        file.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
        try:
            found, header = read_arrays(file)
        except DamagedFileError:
            continue
        # Only bytes of the archive that carry no content (time stamps, attributes) may change.
        assert header == {"step": 1}
        assert_equal_arrays(found)
        unnoticed += 1
    assert unnoticed < len(good) / 7 / 4


def test_a_checkpoint_swapped_for_another_is_noticed(tmp_path):
    """Valid as an archive, but not what was written."""
    file = tmp_path / "a.npz"
    write_arrays(file, {"a": np.arange(3), "b": np.zeros(2)}, {})
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr("c.npy" if name == "b.npy" else name, content)
    with pytest.raises(DamagedFileError, match="SHA-256"):
        read_arrays(file)


def test_when_all_checkpoints_are_damaged_nothing_is_thrown_away(path):
    saved_run(path, (5, 10))
    for file in (path / "checkpoints").iterdir():
        file.write_bytes(b"PK")
    before = (path / "metrics.jsonl").read_bytes()
    with RunDirectory.open_for_resume(path) as run, warnings.catch_warnings():
        warnings.simplefilter("ignore", RunDirectoryWarning)
        with pytest.raises(RunDirectoryError, match="every checkpoint is damaged"):
            run.load_latest_checkpoint()
    assert (path / "metrics.jsonl").read_bytes() == before


def test_a_half_written_checkpoint_is_no_checkpoint(path):
    saved_run(path, (5,))
    (path / "checkpoints" / ".step-0000000010.npz.tmp").write_bytes(b"half")
    with RunDirectory.open_for_resume(path) as run:
        assert run.load_latest_checkpoint().step == 5


def test_a_full_disk_keeps_the_last_good_checkpoint(path, monkeypatch):
    saved_run(path, (5,))
    with RunDirectory.open_for_resume(path) as run:
        with monkeypatch.context() as patch:

            def full(_: int) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(arrays_module.os, "fsync", full)
            with pytest.raises(RunDirectoryError) as caught:
                run.save_checkpoint(10, ARRAYS, {})
        assert "No space left on device; the checkpoint before is whole" in str(caught.value)
        assert checkpoints(path) == ["step-0000000005.npz"]
        assert run.load_latest_checkpoint().step == 5


def test_python_objects_are_never_saved_or_loaded(tmp_path):
    with pytest.raises(ValueError, match="'a' holds Python objects"):
        write_arrays(tmp_path / "a.npz", {"a": np.array([{}])}, {})
    assert list(tmp_path.iterdir()) == []
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("header.json", "{}")
        with archive.open("a.npy", "w") as entry:
            np.lib.format.write_array(entry, np.array([print]), allow_pickle=True)
    with pytest.raises(DamagedFileError, match="allow_pickle=False"):
        read_arrays(tmp_path / "b.npz")


def test_equal_contents_give_equal_files(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_arrays(tmp_path / name, ARRAYS, {"step": 1})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_numpy_reads_the_files(tmp_path):
    write_arrays(tmp_path / "a.npz", {"conv1.weight": np.arange(3)}, {})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert np.array_equal(file["conv1.weight"], np.arange(3))


# --- results -----------------------------------------------------------------------------------------------------


def test_the_summary_marks_a_run_as_finished(run, path):
    with pytest.raises(RunDirectoryError, match="is not finished: go on with --resume"):
        read_summary(path)
    run.write_summary({"top1": np.float64(97.5), "counters": {"steps": 3}})
    assert run.finished
    assert read_summary(path) == {"top1": 97.5, "counters": {"steps": 3}}


def test_reading_what_is_no_run_is_one_line(tmp_path):
    with pytest.raises(RunDirectoryError, match="holds no run"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text("[]")
    with pytest.raises(RunDirectoryError, match="one JSON object"):
        read_summary(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        read_summary(tmp_path)


def test_weights_are_read_from_a_run_or_a_file(run, path, tmp_path):
    file = run.write_weights({"conv1.weight": np.arange(4, dtype=np.int32)})
    for source in (path, str(file)):
        assert np.array_equal(read_weights(source)["conv1.weight"], np.arange(4))
    with pytest.raises(RunDirectoryError, match="no such file"):
        read_weights(tmp_path)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(RunDirectoryError, match="damaged"):
        read_weights(file)
