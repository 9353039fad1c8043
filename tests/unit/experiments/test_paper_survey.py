"""The survey's printed figures: exact counts, and names that exist."""

import pytest

from joulebit.experiments.config import ConfigError, load_config
from joulebit.experiments.papers import paper_rows
from joulebit.experiments.papers.survey import CLASSES


def computed(runs=()):
    return {(r["row"], r["quantity"]): r for r in paper_rows("survey", runs)}


def test_published_networks_have_their_published_sizes():
    rows = computed()
    assert rows["AlexNet", "parameters, millions"]["computed"] == 60.965224
    assert rows["VGG-16", "parameters, millions"]["computed"] == 138.357544
    assert rows["filter pruning, VGG-16", "inference cost saved"]["computed"] == pytest.approx(34.2, abs=0.05)
    assert rows["filter pruning, ResNet-110", "inference cost saved"]["computed"] == pytest.approx(38.6, abs=0.5)
    assert rows["1x1 filters (SqueezeNet)", "fewer weights, times"]["computed"] == 9
    assert rows["binary weights", "smaller weights, times"]["computed"] == 32
    assert rows["half of the batches skipped", "training cost saved"]["computed"] == 50


def test_layers_without_products_leave_those_of_the_first_and_last():
    rows, first, last = computed(), 3 * 3 * 3 * 16 * 32 * 32, 64 * 10
    share = 100 * (first + last) / 40_551_040
    for kind in ("adder", "shift"):
        assert rows[f"ResNet-20, {kind} layers", "forward products left"]["computed"] == f"{share:.2f} %"


def test_presets_keep_the_rule():
    widths = [r["computed"] for r in computed().values() if r["kind"] == "preset"]
    assert len(widths) == 3 and all(text.endswith("W <= A <= G kept") for text in widths)


@pytest.mark.parametrize("here", [here for _, _, here in CLASSES if "=" in here])
def test_what_is_named_is_a_configuration(here):
    if "data_selection" in here:
        base = "digits-resnet8-decreasing-selection" if "schedule" in here else "digits-resnet8-random-selection"
        assert here.partition("=")[2] in str(load_config(base, [here]).method.data_selection)
        return
    more = ["method.pruning.sparsity=0.5"] if "pruning" in here else []
    config = load_config("digits-resnet8-fixed", [*more, here])
    assert config != load_config("digits-resnet8-fixed", more)
    with pytest.raises(ConfigError):
        load_config("digits-resnet8-fixed", [*more, here.replace("=", "_no=", 1)])


def test_real_runs_stand_beside_quoted_accuracies():
    def run(method, top1, engine="numba", dataset="cifar10"):
        return {"method": method, "top1": top1, "engine": engine, "dataset": dataset}

    runs = [run("sgd+binary", 80.0), run("sgd+binary+smd", 82.5), run("sgd", 91.0, "float32"),
            run("sgd+ternary", 99.0, dataset="mnist")]  # fmt: skip
    rows = computed(runs)
    binary = rows["binary weights, CIFAR-10", "test error"]
    assert (binary["printed"], binary["computed"], binary["kind"]) == (9.90, 17.5, "run")
    assert rows["full precision, CIFAR-10", "top-1"]["computed"] == 91.0
    assert rows["ternary weights, CIFAR-10", "top-1"]["kind"] == "not-run"
