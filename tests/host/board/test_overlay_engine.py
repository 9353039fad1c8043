"""The engine `overlay`: the bits of every other engine, operation by operation and run by run."""

import json
import subprocess
import sys

import accelerator_bench as bench
import numpy as np
import pytest
from faulty_board import FaultyBoard, ShadowBoard

from joulebit.cli.main import run as joulebit
from joulebit.engine.base import ConvGeometry
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.errors import JoulebitError
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.spec.accelerator import CONFIGS
from joulebit_host.boards.base import BoardMemoryError
from joulebit_host.boards.virtual import VirtualBoard
from joulebit_host.engine.overlay import OverlayEngine, Promise
from joulebit_host.engine.session import OverlaySession

SHORT = ["--set", "training.iterations=6", "--set", "data.train_limit=200", "--set", "data.test_limit=40"]


def engines(arithmetic=None, config="tiny", board=None, **options):
    """(overlay, numpy) of the same widths."""
    arithmetic = arithmetic or Arithmetic()
    session = OverlaySession(board or ShadowBoard(config, memory_bytes=16 << 20), config, **options)
    session.beside = True
    return session.make(arithmetic, 1), NumpyEngine(arithmetic)


def same(got, expected):
    for mine, right in zip(got, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(right))


def compare(overlay, reference, data, shift, rng, key=0):
    """All passes of a convolution, the input gradient in several forms."""
    layer, geometry = data.layer, bench.geometry(data.layer)
    x, w, dz = data.x, data.w, data.dz
    hw = (layer.height, layer.width)
    same(overlay.conv_forward(x, w, geometry, shift, key), reference.conv_forward(x, w, geometry, shift, key))
    add = rng.integers(-32767, 32768, (layer.images, -(-layer.height // 2), -(-layer.width // 2), layer.c_in + 3))
    add = add.astype(np.int16)
    mask = x if data.x_unsigned else None
    for extra in (
        {},
        {"mask": mask, "mask_below": 99 if data.x_unsigned else 0},
        {"align": 3, "add": add, "add_stride": 2, "add_align": 5, "mask": mask},
        {"align": -4, "add": add, "add_stride": 2, "add_align": 0},
        {"align": 2, "add": add, "add_stride": 2, "add_align": -7, "mask": mask},
    ):
        same(
            overlay.conv_input_gradient(dz, w, geometry, hw, shift, key=key, **extra),
            reference.conv_input_gradient(dz, w, geometry, hw, shift, key=key, **extra),
        )
    same(overlay.conv_weight_gradient(x, dz, geometry), reference.conv_weight_gradient(x, dz, geometry))


@pytest.mark.parametrize("config", ["tiny", "default"])
def test_passes_on_random_layers(config):
    rng = np.random.default_rng(21)
    overlay, reference = engines(config=config)
    for number in range(6):
        data = bench.random_data(bench.random_layer(rng, CONFIGS[config]), rng, extreme=number % 3 == 0)
        compare(overlay, reference, data, int(rng.integers(0, 14)), rng)
    assert overlay.session.passes["forward"] == 6
    assert not overlay.session.processor


@pytest.mark.parametrize(
    "arithmetic",
    [
        Arithmetic(rounding="half_even"),
        Arithmetic(rounding="stochastic"),
        Arithmetic(accumulator_bits=20),
        Arithmetic(g_bits=12),
        Arithmetic(x_bits=6, w_bits=4),
    ],
    ids=["half_even", "stochastic", "accumulator 20", "g 12", "x 6, w 4"],
)
def test_other_arithmetic(arithmetic):
    rng = np.random.default_rng(22)
    overlay, reference = engines(arithmetic)
    for _ in range(2):
        data = bench.random_data(bench.random_layer(rng, CONFIGS["tiny"]), rng)
        compare(overlay, reference, data, 6, rng, key=0x1234567)
    assert overlay.session.passes["forward"] == 2


def test_a_kernel_that_covers_its_image_is_a_dense_layer():
    rng = np.random.default_rng(23)
    overlay, reference = engines()
    data = bench.random_data(bench.Layer(3, 5, 4, 5, 7, 5, 4), rng)
    compare(overlay, reference, data, 8, rng)
    assert not overlay.session.processor


@pytest.mark.parametrize(
    ("geometry", "x_shape", "w_shape", "dtype", "why"),
    [
        (ConvGeometry(3, 3, 1, 1, 1, groups=8), (2, 6, 6, 8), (3, 3, 1, 8), np.uint8, "groups"),
        (ConvGeometry(9, 9, 1, 4, 4), (1, 12, 12, 8), (9, 9, 8, 8), np.uint8, "kernel 9"),
        (ConvGeometry(3, 3, 3, 1, 1), (2, 9, 9, 8), (3, 3, 8, 8), np.uint8, "stride 3"),
        (ConvGeometry(3, 3, 1, 1, 1), (2, 6, 6, 8), (3, 3, 8, 8), np.uint16, "uint16"),
    ],
    ids=["groups", "9x9", "stride 3", "16-bit activations"],
)
def test_what_the_hardware_cannot_take_is_computed_and_counted(geometry, x_shape, w_shape, dtype, why):
    rng = np.random.default_rng(24)
    arithmetic = Arithmetic(x_bits=16) if dtype == np.uint16 else Arithmetic()
    overlay, reference = engines(arithmetic)
    x = rng.integers(0, 250, x_shape).astype(dtype)
    w = rng.integers(-127, 128, w_shape).astype(np.int8)
    same(overlay.conv_forward(x, w, geometry, 9), reference.conv_forward(x, w, geometry, 9))
    ((reason, count),) = overlay.session.processor.items()
    assert reason.startswith("forward: ")
    assert why in reason
    assert count == 1


def test_a_batch_that_the_memory_does_not_hold_is_split():
    rng = np.random.default_rng(25)
    layer = bench.Layer(6, 8, 8, 16, 16, 3, 3, 1, 1, 1)
    data = bench.random_data(layer, rng)
    for arithmetic in (Arithmetic(), Arithmetic(rounding="stochastic")):
        board = ShadowBoard("default", memory_bytes=50_000)
        overlay, reference = engines(arithmetic, "default", board)
        compare(overlay, reference, data, 9, rng, key=77)
        assert overlay.session.split > 0


def test_one_sample_that_does_not_fit_is_an_error_with_sizes():
    rng = np.random.default_rng(26)
    data = bench.random_data(bench.Layer(1, 16, 16, 32, 32, 3, 3, 1, 1, 1), rng)
    overlay, _ = engines(None, "default", ShadowBoard("default", memory_bytes=20_000))
    with pytest.raises(BoardMemoryError, match="does not hold one sample of a layer with tensors of 8,192 bytes"):
        overlay.conv_forward(data.x, data.w, bench.geometry(data.layer), 9)


def psg(engine, data, shift, beta_q12):
    """What a layer's backward pass with predicted signs asks of an engine, in its order."""
    geometry, layer = bench.geometry(data.layer), data.layer
    engine.conv_forward(data.x, data.w, geometry, shift)
    exact, clamped = engine.conv_weight_gradient(data.x, data.dz, geometry)
    predicted = engine.conv_weight_gradient_msb(data.x, data.dz, geometry)
    signs, counts = engine.predict_signs(exact, predicted, beta_q12)
    gradient = engine.conv_input_gradient(data.dz, data.w, geometry, (layer.height, layer.width), shift)
    return signs, clamped, counts, gradient, exact, predicted


@pytest.mark.parametrize("config", ["tiny", "default"])
def test_predicted_signs(config):
    rng = np.random.default_rng(27)
    overlay, reference = engines(config=config, selective=True)
    for extreme in (False, True):
        for layer in (bench.Layer(2, 7, 6, 8, 4, 3, 3, 1, 1, 1), bench.Layer(3, 8, 8, 5, 3, 1, 3, 2, 0, 1)):
            data = bench.random_data(layer, rng, extreme=extreme)
            signs, clamped, counts, gradient, exact, predicted = psg(overlay, data, 9, 300)
            right_signs, right_clamped, right_counts, right_gradient, *sums = psg(reference, data, 9, 300)
            np.testing.assert_array_equal(signs, right_signs)
            assert clamped == right_clamped
            assert counts == {name: right_counts[name] for name in ("total", "decided", "threshold")}
            same(gradient, right_gradient)
            assert isinstance(exact, Promise)
            same((overlay.to_numpy(exact), overlay.to_numpy(predicted)), sums)
    assert overlay.session.passes["input gradient and prediction"] == 4
    assert overlay.session.passes["weight signs"] == 4
    assert overlay.session.passes["input gradient"] == 0


@pytest.mark.parametrize("beside", [True, False])
def test_wrong_signs_are_those_that_numpy_counts(beside):
    rng = np.random.default_rng(31)
    overlay, reference = engines(config="default", selective=True, count_wrong=True)
    overlay.session.beside = beside
    wrong = 0
    for layer in (bench.Layer(2, 7, 6, 8, 4, 3, 3, 1, 1, 1), bench.Layer(3, 8, 8, 5, 3, 1, 3, 2, 0, 1)):
        data = bench.random_data(layer, rng)
        data.dz = rng.integers(-70, 71, data.dz.shape).astype(np.int16)  # of which few leading bits remain
        signs, _, counts, *_ = psg(overlay, data, 9, 1)
        right, _, right_counts, *_ = psg(reference, data, 9, 1)
        np.testing.assert_array_equal(signs, right)
        assert counts == right_counts
        wrong += counts["wrong"]
    assert wrong > 0


def test_the_first_layer_is_predicted_alone():
    rng = np.random.default_rng(28)
    overlay, reference = engines(selective=True)
    layer = bench.Layer(2, 7, 6, 3, 4, 3, 3, 1, 1, 1)
    data = bench.random_data(layer, rng)
    data.x = overlay.from_numpy(rng.integers(-127, 128, data.x.shape).astype(np.int8))
    signs = psg(overlay, data, 9, 300)[0]
    np.testing.assert_array_equal(signs, psg(reference, data, 9, 300)[0])
    assert overlay.session.passes["prediction"] == 1


def test_a_predictor_of_other_widths_is_the_processors():
    rng = np.random.default_rng(29)
    overlay, reference = engines(Arithmetic(x_msb_bits=6, g_msb_bits=12), selective=True)
    data = bench.random_data(bench.Layer(2, 7, 6, 8, 4, 3, 3, 1, 1, 1), rng)
    signs, _, counts, *_ = psg(overlay, data, 9, 300)
    right, _, right_counts, *_ = psg(reference, data, 9, 300)
    np.testing.assert_array_equal(signs, right)
    assert counts == right_counts
    assert overlay.session.processor["predicted sums: sums stay on the chip"] == 1


def test_tensors_stay_on_the_board_until_they_change():
    rng = np.random.default_rng(30)
    overlay, reference = engines()
    data = bench.random_data(bench.Layer(2, 6, 6, 8, 8, 3, 3, 1, 1, 1), rng)
    geometry = bench.geometry(data.layer)
    overlay.conv_forward(data.x, data.w, geometry, 5)
    overlay.conv_weight_gradient(data.x, data.dz, geometry)
    assert (overlay.session.operands.uploads, overlay.session.operands.reuses) == (2, 1)
    changed = overlay.put(data.x, np.array([0]), np.zeros_like(data.x[:1]))
    same(overlay.conv_forward(changed, data.w, geometry, 5), reference.conv_forward(changed, data.w, geometry, 5))


def test_with_arithmetic_keeps_the_accelerator():
    overlay, _ = engines()
    other = overlay.with_arithmetic(Arithmetic(g_bits=12))
    assert isinstance(other, OverlayEngine)
    assert other.session is overlay.session
    assert other.arithmetic.g_bits == 12


# --- whole runs


def summary(capsys, *words):
    assert joulebit(["train", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


@pytest.mark.parametrize("preset", ["digits-resnet8-psg", "digits-resnet8-fixed"])
def test_a_run_has_the_weights_of_numba(preset, tmp_path, capsys):
    plain = summary(capsys, preset, *SHORT, "--run-dir", str(tmp_path / "plain"))
    words = (preset, *SHORT, "--engine", "overlay", "--board", "virtual", "--verify-every", "9")
    overlay = summary(capsys, *words, "--run-dir", str(tmp_path / "overlay"))
    assert overlay["weights_sha256"] == plain["weights_sha256"]
    assert overlay["predictor_share"] == plain["predictor_share"]
    (report,) = json.loads((tmp_path / "overlay" / "accelerator.json").read_text())
    assert report["board"] == "virtual"
    assert report["verified"] > 0
    assert report["counters"]["MACS_8X8"] > 0
    assert set(report["processor"]) <= {"predicted sums: sums stay on the chip"}
    if preset.endswith("psg"):
        assert report["counters"]["MACS_GATED"] > 0
        assert overlay["predictor_error"] is None
        assert "--count-wrong" in report["wrong_signs"]
        counting = summary(capsys, *words[:-2], "--count-wrong", "--run-dir", str(tmp_path / "counting"))
        assert counting["weights_sha256"] == plain["weights_sha256"]
        assert counting["predictor_error"] == plain["predictor_error"] > 0


def test_a_run_goes_on_with_another_engine(tmp_path, capsys):
    preset, options = "digits-resnet8-psg", [*SHORT, "--set", "training.checkpoint_every=3"]
    plain = summary(capsys, preset, *options, "--run-dir", str(tmp_path / "plain"))
    board = FaultyBoard()
    board.gone_after = 60
    folder = tmp_path / "broken"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("joulebit_host.engine.session.open_board", lambda *_: board)
        code = joulebit(["train", preset, *options, "--engine", "overlay", "--run-dir", str(folder)])
    error = capsys.readouterr().err
    assert code == 75
    assert "does not answer" in error
    assert "--engine overlay" in error
    assert "--resume" in error
    resumed = summary(capsys, preset, *options, "--run-dir", str(folder), "--resume")
    assert resumed["weights_sha256"] == plain["weights_sha256"]


def test_options_of_boards_need_the_engine(capsys, tmp_path):
    assert joulebit(["train", "digits-resnet8-psg", "--board", "virtual", "--run-dir", str(tmp_path / "r")]) == 2
    assert "add --engine overlay" in capsys.readouterr().err
    code = joulebit(
        ["train", "digits-resnet8-psg", "--engine", "overlay", "--board", "x", "--run-dir", str(tmp_path / "r")]
    )
    assert code == 2
    assert "choose one of virtual" in capsys.readouterr().err


@pytest.mark.rtl
def test_a_step_on_the_rtl(tmp_path, capsys):
    short = ["--set", "training.iterations=1", "--set", "training.batch_size=1", "--set", "data.train_limit=10"]
    short += ["--set", "data.test_limit=1", "--set", "training.statistics_samples=1"]
    preset = "digits-lenet-fixed"
    plain = summary(capsys, preset, *short, "--run-dir", str(tmp_path / "plain"))
    words = ("--engine", "overlay", "--board", "virtual-rtl", "--array-config", "tiny")
    rtl = summary(capsys, preset, *short, *words, "--run-dir", str(tmp_path / "rtl"))
    assert rtl["weights_sha256"] == plain["weights_sha256"]
    (report,) = json.loads((tmp_path / "rtl" / "accelerator.json").read_text())
    assert report["counters"]["CYCLES_TOTAL"] > 0
    assert report["board_s"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["digits-resnet8-psg", "digits-resnet8-fixed"])
def test_a_whole_run_on_digits(preset, tmp_path, capsys):
    plain = summary(capsys, preset, "--run-dir", str(tmp_path / "plain"))
    overlay = summary(capsys, preset, "--engine", "overlay", "--run-dir", str(tmp_path / "overlay"))
    assert overlay["weights_sha256"] == plain["weights_sha256"]
    assert overlay["top1"] == plain["top1"]


SMALL_NETWORK = """
from joulebit.nn.graph import Conv, GlobalPool, Model


def small(classes):
    return Model("small", (Conv(8), Conv(8, stride=2), GlobalPool()), classes)
"""


@pytest.mark.slow
@pytest.mark.rtl
def test_predicted_signs_on_the_rtl(tmp_path, capsys):
    (tmp_path / "networks.py").write_text(SMALL_NETWORK)
    short = ["--set", f"model.name={tmp_path / 'networks.py'}:small", "--set", "training.iterations=3"]
    short += ["--set", "training.batch_size=2", "--set", "training.statistics_samples=2"]
    short += ["--set", "data.train_limit=10", "--set", "data.test_limit=1"]
    preset = "digits-resnet8-psg"
    plain = summary(capsys, preset, *short, "--run-dir", str(tmp_path / "plain"))
    words = ("--engine", "overlay", "--board", "virtual-rtl", "--array-config", "tiny", "--count-wrong")
    rtl = summary(capsys, preset, *short, *words, "--run-dir", str(tmp_path / "rtl"))
    (report,) = json.loads((tmp_path / "rtl" / "accelerator.json").read_text())
    assert report["passes"]["weight signs"] == 6
    assert report["counters"]["MACS_GATED"] > 0
    for name in ("weights_sha256", "predictor_share", "predictor_error"):
        assert rtl[name] == plain[name]


def test_everything_runs_with_numpy_and_pure_python_packages_alone():
    program = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numba", "torch", "scipy", "sklearn", "matplotlib", "jinja2", "llvmlite"):
            raise ModuleNotFoundError(f"blocked: {name}", name=name.split(".")[0])
sys.meta_path.insert(0, Blocked())
from joulebit.cli.main import run
assert run(["board", "check", "--array-config", "tiny"]) == 0
import tempfile
with tempfile.TemporaryDirectory() as folder:
    words = ["train", "digits-resnet8-psg", "--engine", "overlay", "--run-dir", folder + "/run"]
    words += ["--verify-every", "5"]
    for key in ("training.iterations=2", "training.batch_size=4", "data.test_limit=4", "data.train_limit=20",
                "training.statistics_samples=4"):
        words += ["--set", key]
    assert run(words) == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr


def test_the_virtual_board_closes_twice():
    board = VirtualBoard("tiny", memory_bytes=1 << 20)
    board.close()
    board.close()
    with pytest.raises(JoulebitError):
        VirtualBoard("huge")
