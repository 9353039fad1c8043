"""Configurations: every kind of bad one is an error that names the key; equal runs have equal hashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from joulebit.experiments import presets
from joulebit.experiments.config import (
    ConfigError,
    RunConfig,
    as_table,
    config_from_table,
    config_hash,
    differences,
    identity,
    load_config,
    read_toml,
    to_toml,
)

MINIMAL = """
name = "tiny"
[data]
name = "digits32"
[model]
name = "resnet8"
[training]
epochs = 2
"""


@pytest.fixture
def write(tmp_path: Path):
    def write_file(text: str, name: str = "run.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file


def minimal(*overrides: str) -> RunConfig:
    """The minimal run with changes."""
    return load_config("digits-resnet8-fixed", overrides)


def error_of(source: str | Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- reading -----------------------------------------------------------------------------------------------------


def test_a_minimal_file_gets_the_documented_defaults(write):
    config = load_config(write(MINIMAL))
    assert (config.name, config.seed, config.engine, config.energy.table) == ("tiny", 0, "numba", "45nm")
    training = config.training
    assert (training.batch_size, training.learning_rate, training.schedule) == (128, 0.1, "step")
    assert (training.drops, training.drop_factor, training.momentum) == ((0.5, 0.75), 0.1, 0.9)
    assert (training.weight_decay, training.statistics_samples, training.layers) == (1e-4, 1024, "all")
    assert (config.data.mirror, config.data.shift, config.data.part) == (False, 0, "all")
    assert (config.method.update, config.method.beta, config.method.swa_start) == ("sgd", 0.05, 0.75)
    assert (config.arithmetic.x_bits, config.arithmetic.g_bits) == (8, 16)


def test_an_integer_is_accepted_for_a_number_but_nothing_else_is_converted(write):
    config = load_config(write(MINIMAL))
    assert config.training.epochs == 2.0
    assert isinstance(config.training.epochs, float)


def test_configurations_are_frozen(write):
    config = load_config(write(MINIMAL))
    with pytest.raises(AttributeError):
        config.training.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("colour=1", ["unknown key 'colour' at the top level", "known: name, data"]),
        ("training.learnig_rate=1", ["unknown key 'learnig_rate' in [training]", "did you mean learning_rate?"]),
        ("method.smd.probabilty=0.1", ["unknown key 'probabilty' in [method.smd]", "did you mean probability?"]),
        ("method.momentum=0.3", ["unknown key 'momentum' in [method]", "did you mean training.momentum?"]),
        ("arithmetic.bits=8", ["unknown key 'bits' in [arithmetic]", "x_bits"]),
        ("data=3", ["[data] must be a table, got 3"]),
        ("training.epochs=x", ["[training] epochs must be a finite number, got 'x'"]),
        ("training.epochs=true", ["[training] epochs must be a finite number, got True"]),
        ("training.learning_rate=nan", ["[training] learning_rate must be a finite number, got nan"]),
        ("training.batch_size=1.5", ["[training] batch_size must be an integer, got 1.5"]),
        ("training.batch_size=true", ["[training] batch_size must be an integer, got True"]),
        ("seed=one", ["seed must be an integer, got 'one'"]),
        ("data.mirror=1", ["[data] mirror must be true or false, got 1"]),
        ("name=3", ["name must be a string, got 3"]),
        ("training.drops=0.5", ["[training] drops must be a list of numbers, got 0.5"]),
        ('training.drops=[0.5, "x"]', ["[training] drops must be a list of numbers", "'x'"]),
        ("training.drops=[0.75, 0.5]", ["[training] drops must be rising numbers in (0, 1), got [0.75, 0.5]"]),
        ("training.drops=[0.5, 1.0]", ["[training] drops must be rising numbers in (0, 1)"]),
        ("training.batch_size=0", ["[training] batch_size must be at least 1, got 0"]),
        ("training.learning_rate=-0.1", ["[training] learning_rate must be in [0, 2], got -0.1"]),
        ("training.momentum=1", ["[training] momentum must be in [0, 1), got 1.0"]),
        ("training.schedule=steps", ["[training] schedule must be one of step, cosine, linear, constant"]),
        ("training.epochs=0", ["[training] exactly one of iterations and epochs", "got neither"]),
        ("method.update=adam", ["[method] update must be one of sgd, sign, psg, got 'adam'"]),
        ("method.beta=0", ["[method] beta must be in (0, 1), got 0.0"]),
        ("method.smd.probability=1", ["[method.smd] probability must be in [0, 1), got 1.0"]),
        ("method.slu.target_skip=1", ["[method.slu] target_skip must be in [0, 1)"]),
        (
            "method.stochastic_depth.final_survival=2",
            ["[method.stochastic_depth] final_survival must be in [0, 1]"],
        ),
        ("engine=cuda", ["engine must be one of numpy, numba, torch, overlay, float32, got 'cuda'"]),
        ("seed=-1", ["seed must be in [0,"]),
        ("data.part=third", ["[data] part must be one of all, first_half, second_half"]),
        ("data.name=cifar", ["[data] name: unknown data set 'cifar'", "did you mean cifar10?", "npz:PATH"]),
        ("data.name=npz:", ["[data] name: unknown data set 'npz:'"]),
        ('name=""', ["name must not be empty"]),
        ("model.name=resnet9", ["[model] name: a CIFAR ResNet has depth 6n + 2", "got 9"]),
        ("model.name=mobilenet", ["[model] name: unknown model 'mobilenet'", "mobilenetv2"]),
        ("arithmetic.x_bits=40", ["[arithmetic] x_bits must be an integer in [2, 16], got 40"]),
        ("arithmetic.x_bits=8.0", ["[arithmetic] x_bits must be an integer, got 8.0"]),
        ("arithmetic.rounding=up", ["[arithmetic] rounding must be one of half_up", "got 'up'"]),
        ("arithmetic.msb_rounding=stochastic", ["[arithmetic] msb_rounding must not be stochastic"]),
    ],
)
def test_a_bad_key_or_value_is_one_line_that_names_it(override, parts):
    message = error_of("digits-resnet8-fixed", override)
    assert message.startswith("preset digits-resnet8-fixed: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (MINIMAL.replace('name = "tiny"', ""), "missing key 'name' at the top level"),
        (MINIMAL.replace('[model]\nname = "resnet8"', ""), "missing section [model] with the key 'name'"),
        (MINIMAL.replace('name = "resnet8"', ""), "missing key 'name' in [model]"),
        (MINIMAL.replace("[training]\nepochs = 2", ""), "missing section [training]"),
        (MINIMAL + "iterations = 5\n", "exactly one of iterations and epochs must be given (above 0), got both"),
        ("name = ", "is no TOML"),
        ("extends = 3", "extends must be the name of a preset or file, got 3"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_file(write, text, part):
    path = write(text)
    message = error_of(path)
    assert message.startswith(f"{path}: ")
    assert part in message


def test_files_that_cannot_be_read_are_one_line(tmp_path):
    assert "no such file" in error_of(tmp_path / "absent.toml")
    assert "no such file" in error_of("nowhere/absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "is no UTF-8 text" in error_of(tmp_path / "binary.toml")


def test_an_unknown_preset_names_the_nearest_one():
    message = error_of("digits-resnet8-fixd")
    assert "unknown preset 'digits-resnet8-fixd' (did you mean digits-resnet8-fixed?)" in message


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (
            ["method.slu.target_skip=0.2", "method.stochastic_depth.final_survival=0.5"],
            "both decide which blocks run",
        ),
        (["model.name=lenet5", "method.slu.target_skip=0.2"], "method.slu needs at least 2 residual blocks"),
        (
            ["model.name=lenet5", "method.stochastic_depth.final_survival=0.5"],
            "method.stochastic_depth needs at least 2 residual blocks, model lenet5 has 0",
        ),
        (["engine=float32", "method.update=psg"], "must be sgd or sign, got psg"),
        (["engine=float32", "method.slu.target_skip=0.2"], "does not know method.slu"),
        (["method.smd.energy_ratio=0.5"], "no batch is dropped (probability 0)"),
        (["method.smd.probability=0.5", "training.iteration_factor=0.5"], "both set the length of the run"),
        (["training.layers=head"], "needs trained weights"),
        (
            ["training.layers=head", "training.initial_weights=w", "method.update=psg"],
            "'psg' has nothing to act on",
        ),
        (
            ["training.layers=head", "training.initial_weights=w", "method.slu.target_skip=0.2"],
            "method.slu has nothing to act on",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_an_error(overrides, part):
    assert part in error_of("digits-resnet8-fixed", *overrides)


# --- overrides ---------------------------------------------------------------------------------------------------


def test_overrides_are_toml_values_and_bare_words_are_strings():
    config = minimal(
        "seed=7",
        "training.learning_rate = 1e-2",
        "training.drops=[0.25, 0.5]",
        "data.mirror=true",
        "engine=numpy",
        'description="a = b"',
        "training.initial_weights=runs/one/weights.npz",
        "method.smd.probability=0.5",
    )
    assert (config.seed, config.training.learning_rate, config.training.drops) == (7, 0.01, (0.25, 0.5))
    assert (config.data.mirror, config.engine, config.description) == (True, "numpy", "a = b")
    assert config.training.initial_weights == "runs/one/weights.npz"
    assert config.method.smd.probability == 0.5


def test_the_last_of_equal_overrides_wins():
    assert minimal("seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    "text", ["seed", "=3", "training..epochs=3", "training.=3", "a-b=3", "seed=", "seed=[1", "seed=1\nname=2"]
)
def test_an_override_that_is_no_assignment_is_an_error(text):
    assert "--set" in error_of("digits-resnet8-fixed", text)


def test_epochs_and_iterations_replace_each_other():
    assert minimal("training.iterations=5").training.epochs == 0
    back = minimal("training.iterations=5", "training.epochs=3").training
    assert (back.iterations, back.epochs) == (0, 3.0)


# --- extends -----------------------------------------------------------------------------------------------------


def test_a_file_extends_a_preset_key_by_key(write):
    config = load_config(write('extends = "paper-resnet74-cifar10-psg"\nname = "mine"\n[training]\nepochs = 1\n'))
    assert (config.name, config.model.name, config.method.update) == ("mine", "resnet74", "psg")
    assert (config.training.epochs, config.training.iterations, config.training.learning_rate) == (1.0, 0, 0.03)
    assert config.description == ""  # a description tells of its own file alone


def test_a_file_extends_another_by_a_path_relative_to_itself(write, tmp_path, monkeypatch):
    write(MINIMAL, "base.toml")
    path = write('extends = "./base.toml"\nseed = 3\n', "child.toml")
    monkeypatch.chdir("/")
    assert load_config(path).seed == 3
    assert load_config(path).name == "tiny"


def test_a_circle_of_files_is_an_error(write):
    write('extends = "./two.toml"\n', "one.toml")
    path = write('extends = "./one.toml"\n', "two.toml")
    assert "extends itself" in error_of(path)


def test_an_unknown_base_is_an_error_of_the_extending_file(write):
    path = write('extends = "no-such-preset"\n')
    message = error_of(path)
    assert message.startswith(f"{path}: extends: unknown preset 'no-such-preset'")


# --- presets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_valid_and_describes_itself_in_one_line(name):
    config = load_config(name)
    assert config.name == name
    assert 10 < len(config.description) < 110
    assert config.total_steps(391) > 0


def test_presets_for_building_on_are_not_listed():
    assert presets.names()
    assert not [name for name in presets.names() if name.startswith("_")]


def test_descriptions_of_presets_are_unique():
    descriptions = [load_config(name).description for name in presets.names()]
    assert len(set(descriptions)) == len(descriptions)


def test_the_paper_presets_follow_section_4_1():
    for name in presets.names():
        if name.startswith("paper-") and not name.startswith("paper-resnet20-"):  # those are data selection's
            training = load_config(name).training
            assert (training.iterations, training.batch_size, training.drops) == (64_000, 128, (0.5, 0.75)), name


def test_smd_stretches_64000_iterations_to_85333():
    assert load_config("paper-resnet74-cifar10-smd").total_steps(391) == 85_333
    assert load_config("paper-resnet74-cifar10-e2train-40").total_steps(391) == 85_333


def test_fewer_iterations_and_ratios_of_figure_3():
    assert load_config("paper-resnet74-cifar10-sgd", ["training.iteration_factor=0.5"]).total_steps(391) == 32_000
    assert load_config("paper-resnet74-cifar10-smd", ["method.smd.energy_ratio=1"]).total_steps(391) == 128_000


def test_e2train_rows_differ_in_skip_and_beta_alone():
    one = load_config("paper-resnet74-cifar10-e2train-20")
    other = load_config("paper-resnet74-cifar10-e2train-60-beta01")
    assert differences(one, other) == ["method.beta: 0.05 -> 0.1", "method.slu.target_skip: 0.2 -> 0.6"]


def test_epochs_count_batches_of_the_data(write):
    config = load_config(write(MINIMAL))
    assert config.total_steps(45) == 90
    assert load_config(write(MINIMAL), ["training.epochs=0.1"]).total_steps(45) == 5  # 4.5, ties go up


def test_a_run_without_a_step_is_an_error(write):
    config = load_config(write(MINIMAL), ["training.epochs=0.001"])
    with pytest.raises(ConfigError, match="at least one step"):
        config.total_steps(45)


# --- writing and identity ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["demo", "paper-resnet74-cifar10-e2train-40", "paper-resnet74-cifar10-fixed8"])
def test_the_written_file_is_read_back_as_the_same_run(write, name):
    config = load_config(name)
    again = load_config(write(to_toml(config)))
    assert again == config
    assert config_hash(again) == config_hash(config)


def test_the_written_file_holds_every_key(write):
    config = load_config(write(MINIMAL))
    saved = read_toml(write(to_toml(config), "saved.toml"))
    table = as_table(config)
    del table["training"]["iterations"]  # the one of two that does not apply
    assert saved == table


def test_a_table_gives_the_run_it_came_from():
    config = minimal()
    assert config_from_table(as_table(config)) == config


def test_the_hash_is_stable():
    """Of a configuration with every key written out: it changes only with the format, which is public."""
    rates = ["training.sign_learning_rate=0.03", "training.sign_weight_decay=0.0001"]
    assert config_hash(load_config("paper-resnet74-cifar10-psg", rates)) == PSG_HASH


PSG_HASH = "b1f8d8385991526f811338ffa1f77de94b5bfd293831c47af23b5d4f3d458750"


def test_a_technique_that_is_off_does_not_enter_the_hash():
    known = identity(minimal())["method"]
    assert not [name for name, value in known.items() if isinstance(value, dict)]
    assert "smd" in identity(minimal("method.smd.probability=0.5"))["method"]


def test_the_hash_does_not_depend_on_names_or_on_which_integer_engine_computes():
    reference = config_hash(minimal())
    for override in ("name=other", "description=other", "engine=numpy", "engine=torch"):
        assert config_hash(minimal(override)) == reference


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "engine=float32",
        "data.shift=1",
        "model.name=resnet14",
        "training.learning_rate=0.051",
        "training.epochs=11",
        "arithmetic.g_bits=15",
        "method.update=psg",
        "method.smd.probability=0.5",
        "energy.table=xc7z020",
    ],
)
def test_the_hash_depends_on_everything_else(override):
    assert config_hash(minimal(override)) != config_hash(minimal())


def test_differences_name_keys_and_both_values():
    one, other = minimal(), minimal("seed=3", "arithmetic.w_bits=4", "name=other", "engine=numpy")
    assert differences(one, other) == ["arithmetic.w_bits: 8 -> 4", "seed: 0 -> 3"]
    assert differences(one, minimal("engine=torch")) == []
    assert differences(one, minimal("engine=float32")) == ["engine: 'integer' -> 'float32'"]


def test_configurations_work_without_the_simulator_packages():
    code = (
        "import sys\n"
        "for name in 'numba torch scipy sklearn matplotlib jinja2 pynq'.split(): sys.modules[name] = None\n"
        "from joulebit.experiments.config import load_config\n"
        "import joulebit.cli.main\n"
        "print(load_config('demo').name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("demo\n", "")
