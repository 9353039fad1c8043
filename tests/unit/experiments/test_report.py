"""The report: one self-contained page that agrees with the files, and figures that agree with the metrics."""

from __future__ import annotations

import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joulebit.errors import JoulebitError
from joulebit.experiments import compare, report, series
from joulebit.experiments.figure_style import BASELINE_COLOUR, DARK, VARIABLES, styles
from joulebit.experiments.report import write_report
from joulebit.experiments.results import load_result
from joulebit.experiments.rundir import read_summary

FIGURES = (
    "accuracy-energy",
    "accuracy-ratio",
    "learning-curves",
    "energy-breakdown",
    "skipped-work",
    "skip-ratio",
    "predictor-share",
    "sign-errors",
    "saturation",
)
VOID = {"meta", "link", "br", "img", "path", "use", "rect", "image", "input", "hr"}


class Page(HTMLParser):
    """What the tests ask of a page: references, ids, rows of the first table, text; balanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.svg_texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "xlink:href", "action", "data", "srcset") and value:
                self.references.append(value)
            if name == "id" and value:
                self.ids.append(value)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "text":
            self.svg_texts.append(data.strip())
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, make_run: Any) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder / "f32", "digits-resnet8-float32", top1=97.5),
        make_run(folder / "fx", "digits-resnet8-fixed", top1=97.0),
        make_run(folder / "e2", "digits-resnet8-e2train", ("method.smd.energy_ratio=0.5",), top1=95.25),
    ]


@pytest.fixture(scope="module")
def file(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(runs, tmp_path_factory.mktemp("out") / "three.html")


@pytest.fixture(scope="module")
def text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


# --- the page ----------------------------------------------------------------------------------------------------


def test_the_page_is_self_contained(text: str, page: Page) -> None:
    assert not re.findall(r"https?:|//[a-z]|@import|file:", text)
    assert not {"script", "link", "iframe"} & set(page.tags)
    for reference in page.references:
        assert reference.startswith(("#", "data:image/png;base64,", "three_figures/")), reference[:60]
    local = [reference[1:] for reference in page.references if reference.startswith("#")]
    assert set(local) <= set(page.ids)


def test_ids_are_unique(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))


def test_every_figure_is_on_the_page_and_beside_it(text: str, page: Page, file: Path) -> None:
    assert [name for name in page.ids if name in FIGURES] == list(FIGURES)
    assert page.tags.count("svg") == len(FIGURES) == text.count("What you see.")
    files = sorted((file.parent / "three_figures").iterdir())
    assert [png.name for png in files] == [f"{n:02d}-{name}.png" for n, name in enumerate(FIGURES, 1)]
    for png in files:
        assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert f"three_figures/{png.name}" in page.references


def test_the_table_equals_the_summaries(page: Page, runs: list[Path]) -> None:
    head, rows = page.rows[0], page.rows[1:4]
    for run, row in zip(runs, rows):
        summary = read_summary(run)
        cells = dict(zip(head, row))
        assert cells["Top-1test set"] == f"{summary['top1']:.2f} %"
        assert cells["Top-5test set"] == f"{summary['top5']:.2f} %"
        assert cells["Energysimulated"] == compare.joules(summary["energy_simulated_j"]["total"])
        saving = "–" if run.name == "f32" else compare.percent(summary["saving_vs_float32"])
        assert cells["Savingvs float32"] == saving
        assert cells["WeightsSHA-256"] == summary["weights_sha256"][:8]
        assert cells["Stepsoffered"] == str(summary["steps"])
    assert [row[0] for row in rows] == ["float32 SGD", "fixed-point SGD", "E²-Train"]


def test_the_first_sentence_can_be_quoted(text: str, runs: list[Path]) -> None:
    summary = read_summary(runs[2])
    energy = compare.joules(summary["energy_simulated_j"]["total"])
    saving = round(100 * summary["saving_vs_float32"])
    expected = (
        f"E²-Train reached 95.2 % with {energy} (simulated), {saving} % less than float32 SGD for the same number "
        "of standard iterations, at 2.2 points lower accuracy. Simulated with table 45nm."
    )
    assert f"<h1>{expected}</h1>" in text


def test_it_says_that_joules_are_simulated_and_what_is_the_paper_s(text: str, page: Page) -> None:
    assert "Simulated joules: counters × energy table, not measured" in text
    assert "paper: at least 60 % (ResNet-74, CIFAR-10, β = 0.05)" in page.svg_texts
    assert "Horowitz" in text  # where the table's numbers come from


def test_identity_of_every_run(text: str, runs: list[Path]) -> None:
    for run in runs:
        result = load_result(run)
        assert result.config_hash in text
        assert read_summary(run)["weights_sha256"] in text
        assert result.start["spec_sha256"] in text
        assert f"numpy {result.start['versions']['numpy']}" in text


def test_differences_of_configuration(page: Page) -> None:
    rows = {row[0]: row[1:] for row in page.rows if len(row) == 4}
    assert rows["method.update"] == ["sgd", "sgd", "psg"]
    assert rows["engine"] == ["float32", "numba", "numba"]
    assert "training.epochs" not in rows


def test_colours_follow_light_and_dark(text: str) -> None:
    body = text[text.index("<body>") :]
    assert "prefers-color-scheme: dark" in text
    assert set(DARK) == set(VARIABLES.values())
    for colour in VARIABLES:
        assert colour not in re.sub(rf"var\(--[a-z0-9-]+, {colour}\)", "", body), colour


def test_the_same_run_gives_the_same_page(runs: list[Path], tmp_path: Path) -> None:
    first, second = (write_report(runs[1:2], tmp_path / folder / "r.html") for folder in "ab")
    assert first.read_bytes() == second.read_bytes()
    for png in (tmp_path / "a" / "r_figures").iterdir():
        assert png.read_bytes() == (tmp_path / "b" / "r_figures" / png.name).read_bytes()


# --- other runs --------------------------------------------------------------------------------------------------


def test_an_unfinished_run_is_shown_and_named(tmp_path: Path, make_run: Any) -> None:
    run = make_run(tmp_path / "half", "digits-resnet8-e2train", ("method.smd.energy_ratio=1.0",), finished=False)
    with open(run / "metrics.jsonl", "a") as handle:
        handle.write('{"kind": "train", "st')  # a line that is being written
    file = write_report([run])
    assert file == run / "report.html"
    text = file.read_text(encoding="utf-8")
    assert "E²-Train is unfinished: 19 of 40 steps." in text
    assert "E²-Train has reached 85.0 %" not in text  # nobody evaluated that
    assert "E²-Train has reached 80.0 % with" in text
    assert "Not drawn: Accuracy against energy ratio: no run is finished" in text
    assert 'id="predictor-share"' in text
    Page(text)


def test_a_run_that_never_met_the_test_set(tmp_path: Path, make_run: Any) -> None:
    run = make_run(tmp_path / "early", "digits-lenet-fixed", finished=False)
    metrics = run / "metrics.jsonl"
    metrics.write_text("".join(line for line in metrics.open() if '"evaluation"' not in line))
    text = write_report([run], tmp_path / "early.html").read_text(encoding="utf-8")
    assert "so far, without an evaluation; the run is unfinished: 10 of 20 steps" in text
    assert 'id="accuracy-energy"' not in text and 'id="learning-curves"' in text


def test_a_finished_run_without_metrics(tmp_path: Path, make_run: Any) -> None:
    run = make_run(tmp_path / "bare", "digits-resnet8-fixed")
    (run / "metrics.jsonl").unlink()
    text = write_report([run], tmp_path / "bare.html").read_text(encoding="utf-8")
    assert "Fixed-point SGD reached 90.0 %" in text
    assert 'id="energy-breakdown"' in text and 'id="learning-curves"' not in text
    assert "Loss and accuracy over epochs: the metrics are missing" in text


def test_a_diverged_run(tmp_path: Path, make_run: Any) -> None:
    run = make_run(tmp_path / "nan", "digits-resnet8-fixed")
    metrics = run / "metrics.jsonl"
    metrics.write_text(re.sub(r'"loss": [0-9.e-]+', '"loss": null', metrics.read_text()))
    Page(write_report([run], tmp_path / "nan.html").read_text(encoding="utf-8"))


def test_names_are_escaped(tmp_path: Path, make_run: Any) -> None:
    run = make_run(tmp_path / "run", "digits-lenet-fixed", ('name="<script>x</script> & co"',), finished=False)
    text = write_report([run], tmp_path / "x.html").read_text(encoding="utf-8")
    assert "<script" not in text and "&lt;script&gt;" in text


def test_a_second_report_leaves_no_old_figures(runs: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    folder = tmp_path / "r_figures"
    folder.mkdir()
    (folder / "99-old.png").write_bytes(b"")
    (folder / "mine.png").write_bytes(b"")
    write_report(runs[1:2], page)
    assert not (folder / "99-old.png").exists() and (folder / "mine.png").exists()


# --- errors ------------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line(runs: list[Path], tmp_path: Path) -> None:
    for given, out, message in (
        ([], None, "no runs given"),
        ([tmp_path / "nowhere"], None, "no such folder"),
        ([tmp_path], None, "holds no run"),
        (runs, tmp_path / "report.pdf", r"ends in \.html"),
        (runs, tmp_path, r"ends in \.html"),
    ):
        with pytest.raises(JoulebitError, match=message) as error:
            write_report(given, out)
        assert "\n" not in str(error.value)


def test_damaged_metrics_name_the_line(runs: list[Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([lines[0], lines[1][:50], *lines[2:]]) + "\n")
    with pytest.raises(JoulebitError, match=r"metrics\.jsonl: line 2 is no JSON"):
        write_report([run], tmp_path / "r.html")


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_a_missing_library_is_named(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "joulebit.experiments.figures", raising=False)
    monkeypatch.delattr("joulebit.experiments.figures", raising=False)
    for name in list(sys.modules):
        if name.startswith(f"{missing}."):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(JoulebitError, match=rf"needs {missing}, which is not installed: pip install 'joulebit"):
        write_report(runs, tmp_path / "r.html")


# --- what the figures are drawn from -----------------------------------------------------------------------------


def test_layer_maps_hold_the_recorded_shares(runs: list[Path]) -> None:
    result = load_result(runs[2])
    layers, cells = series.layer_map(result, "decided", "total", inverse=False)
    assert layers == ["conv1", *(f"block{b}.conv{c}" for b in (1, 2, 3) for c in (1, 2))]
    assert np.nanmin(cells) == pytest.approx(0.75, abs=2e-3) and np.nanmax(cells) <= 0.75
    blocks, closed = series.layer_map(result, "entered", "samples", inverse=True)
    assert blocks == ["block1", "block2", "block3"]
    assert (closed[[0, 2]] == 0).all()
    assert closed[1].mean() == pytest.approx(0.3, abs=0.051)  # 3 of 10 lines, spread over bins of their size


def test_the_skip_share_of_all_lines_is_that_of_the_run(runs: list[Path]) -> None:
    result = load_result(runs[2])
    epochs, shares = series.skip_share(result)
    assert len(epochs) == len(shares) == len(result.train)
    assert shares.mean() == pytest.approx(result.skip_ratio, rel=1e-9)  # every line is one batch


def test_sign_errors_are_compared_where_the_bound_was_evaluated(runs: list[Path]) -> None:
    result = load_result(runs[2])
    for record in result.train[1:]:  # other steps do not count
        for values in record["layers"].values():
            if "wrong" in values:
                values["wrong"] = values["decided"]
    layers, wrong, bound = series.layer_sign_errors(result)
    assert len(layers) == 7
    assert wrong == pytest.approx(np.full(7, 0.125), abs=2e-3)
    assert bound == pytest.approx(np.full(7, 0.25))


def test_saturation_rates(runs: list[Path]) -> None:
    layers, rates = series.saturation_rates(load_result(runs[1]))
    assert len(layers) == 7
    assert (rates[:, 0] == 1e-3).all() and np.isnan(rates[:, 1:]).all()


def test_layers_are_in_network_order() -> None:
    names = ["head", "block10.conv1", "block2.conv2", "block2.conv1", "conv1", "block2"]
    expected = ["conv1", "block2", "block2.conv1", "block2.conv2", "block10.conv1", "head"]
    assert sorted(names, key=series.network_order) == expected


def test_a_running_mean_keeps_constants_and_leaves_gaps_out() -> None:
    values = np.ones(90)
    values[10:14] = np.nan
    assert (series.smooth(values) == 1).all()
    assert (series.smooth(np.array([1.0, 5.0])) == [1.0, 5.0]).all()


def test_runs_keep_colours_of_their_own(runs: list[Path]) -> None:
    results = [load_result(run) for run in [*runs, *runs]]
    looks = styles(results, [str(n) for n in range(6)])
    assert looks[0].colour == BASELINE_COLOUR
    assert len({look.colour for look in looks}) == 6
    assert len({look.marker for look in looks}) == 6


def test_the_headline_is_about_e2_train_or_the_largest_saving(runs: list[Path]) -> None:
    results = [load_result(run) for run in runs]
    assert report.headline_run(results) == 2
    assert report.headline_run(results[:2]) == 1


def test_a_changed_energy_table_is_not_passed_off_as_the_old_one(runs: list[Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[1], tmp_path / "run"))
    config = run / "config.toml"
    config.write_text(config.read_text().replace('table = "45nm"', 'table = "xc7z020"'))
    assert load_result(run).energy is None
    text = write_report([run], tmp_path / "r.html").read_text(encoding="utf-8")
    assert 'id="energy-breakdown"' not in text and "no longer gives the recorded total" in text
