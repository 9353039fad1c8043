"""Distillation in training runs: trained and self-teachers, their cost, resumption, workers, bad input."""

import numpy as np
import pytest
from technique_bench import PARTNERS, alone, outcome, shared, small

from joulebit.experiments.config import ConfigError
from joulebit.techniques.distillation import Distillation

SELF = ("digits-resnet8-self",)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The directory of a small trained network."""
    folder = tmp_path_factory.mktemp("teachers") / "resnet14"
    outcome(small("digits-resnet8-fixed", "model.name=resnet14", "method.swa=true"), folder)
    return folder


def taught(teacher, *overrides, engine="numba"):
    return small("digits-resnet8-fixed", f'method.distillation.teacher="{teacher}"', *overrides, engine=engine)


def test_parts_of_a_run_have_equal_length():
    policy = Distillation(snapshots=3)
    assert [policy.generation(step, 10) for step in range(10)] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]


def test_all_engines_give_the_same_bits_and_a_resumed_run_too(teacher, tmp_path):
    found = {e: outcome(taught(teacher, engine=e), tmp_path / e) for e in ("numpy", "numba", "torch")}
    assert found["numpy"] == found["numba"] == found["torch"]
    assert outcome(taught(teacher), tmp_path / "resumed", stop_after=3) == found["numpy"]
    plain = outcome(small("digits-resnet8-fixed"), tmp_path / "plain")
    assert plain["weights_sha256"] != found["numpy"]["weights_sha256"]


@pytest.mark.parametrize("stop_after", [2, 4])
def test_a_self_taught_run_gives_the_same_bits_everywhere(tmp_path, stop_after):
    found = {e: outcome(small(*SELF, engine=e), tmp_path / e) for e in ("numpy", "numba")}
    assert found["numpy"] == found["numba"]
    assert outcome(small(*SELF, engine="torch"), tmp_path / "t", stop_after=stop_after) == found["numpy"]


@pytest.mark.parametrize("partner", sorted(PARTNERS))
def test_it_combines_and_workers_agree(teacher, partner):
    for config in (taught(teacher, *PARTNERS[partner]), small(*SELF, *PARTNERS[partner])):
        expected = alone(config)
        assert shared(config, 2) == [expected] * 2


def test_the_teachers_forward_passes_are_counted(teacher):
    from joulebit.nn.graph import plan
    from joulebit.nn.models import model

    plain, config = alone(small("digits-resnet8-fixed"))[1], taught(teacher)
    counters = alone(config)[1]
    told = {key: value for key, value in counters.items() if ".teacher." in key}
    assert {key: value for key, value in counters.items() if key not in told and key.startswith("macs")} == {
        key: value for key, value in plain.items() if key.startswith("macs")
    }
    resolved = plan(model("resnet14", 10), (8, 8, 1))
    images = 6 * 12
    convolutions = resolved.macs - resolved.head.macs
    assert counters["macs.teacher.8x8"] == (images + 24) * convolutions  # 24: the statistics of batch norm, once
    assert sum(v for k, v in told.items() if k.startswith("macs")) == images * resolved.macs + 24 * convolutions
    assert counters["bytes.teacher.dram"] > 0


def test_a_self_teacher_costs_from_its_first_snapshot_on():
    counters = alone(small(*SELF))[1]
    per_sample = alone(small("digits-resnet8-fixed"))[1]["macs.forward.8x8"] // (6 * 12)
    assert counters["macs.teacher.8x8"] == (3 * 12 + 24) * per_sample


def test_another_teacher_stops_a_resumed_run(teacher, tmp_path):
    import shutil

    from joulebit.experiments.run import run_training
    from joulebit.experiments.rundir import RunDirectory

    moved = tmp_path / "teacher"
    shutil.copytree(teacher, moved)
    config = taught(moved)
    with RunDirectory.create(tmp_path / "run", config) as run:
        run_training(config, run)
    for entry in moved.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    moved.rmdir()
    outcome(small("digits-resnet8-fixed", "seed=9"), moved)
    (tmp_path / "run" / "summary.json").unlink()
    with (
        RunDirectory.open_for_resume(tmp_path / "run", config) as run,
        pytest.raises(ConfigError, match="has other weights than when the run began"),
    ):
        run_training(config, run, resume=True)


def test_bad_configurations_are_refused(teacher, tmp_path):
    with pytest.raises(ConfigError, match="temperature must be a multiple of 1/16"):
        taught(teacher, "method.distillation.temperature=1.03")
    with pytest.raises(ConfigError, match=r"weight must be in \(0, 1\]"):
        taught(teacher, "method.distillation.weight=0")
    for changing in ("method.early_bird.ratio=0.5", "method.growing.kind=width"):
        with pytest.raises(ConfigError, match='"self" copies a network that keeps its shape'):
            small(*SELF, changing)
    pruned = ("method.pruning.method=snip", "method.pruning.sparsity=0.5", "method.low_bit_weights.kind=binary")
    with pytest.raises(ConfigError, match="does not know which binary weights are pruned"):
        small(*SELF, *pruned)
    with pytest.raises(ConfigError, match="name the directory of a finished run"):
        alone(taught(tmp_path / "nobody"))
    outcome(small("digits-resnet8-fixed", "training.iterations=1", engine="float32"), tmp_path / "float")
    with pytest.raises(ConfigError, match="engine float32: choose a run of an integer engine"):
        alone(taught(tmp_path / "float"))
    outcome(small("digits-lenet-fixed", "training.iterations=1", "data.name=digits32"), tmp_path / "lenet")
    with pytest.raises(ConfigError, match="a 5x5 kernel with padding 0,0 does not fit"):
        alone(taught(tmp_path / "lenet"))


def test_the_teachers_ranges_come_from_its_checkpoint(teacher):
    from joulebit.experiments.distillation import _trained
    from joulebit.experiments.run import Trainer

    config = taught(teacher)
    trainer = Trainer(config, None)
    network = _trained(str(teacher), config, trainer)
    state = network.state()
    original = Trainer(small("digits-resnet8-fixed", "model.name=resnet14"), None).network.state()
    exponents = [name for name in state if name.endswith(".exponents")]
    assert exponents
    assert any((state[name] != original[name]).any() for name in exponents)
    assert not any(np.array_equal(state[name][:1], original[name][:1]) for name in exponents)  # z was seen
