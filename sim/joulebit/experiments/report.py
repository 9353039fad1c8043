"""The report of one or more runs: one self-contained HTML page, with the figures as PNG files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import joulebit
from joulebit.energy.table import EnergyTableError, load_table
from joulebit.errors import JoulebitError
from joulebit.experiments import compare, figure_style
from joulebit.experiments.arrays import replace_file
from joulebit.experiments.config import as_table, to_toml
from joulebit.experiments.figure_style import Drawing, Style
from joulebit.experiments.results import (
    Baseline,
    Result,
    ResultError,
    baseline,
    changed_keys,
    labels,
    load_results,
)
from joulebit.experiments.series import layer_sign_errors

DEFAULT_NAME = "report.html"
_TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class Shown:
    """A figure of the page."""

    name: str  #: of its PNG, without ending
    section: str
    title: str
    unit: str  #: what the axes say, for those who read the text alone
    sees: str  #: one sentence: what you see
    drawing: Drawing
    png: str = ""  #: path of the PNG, relative to the page


def write_report(runs: Sequence[Path | str], out: Path | str | None = None) -> Path:
    """Writes the report of run directories, finished or not, and returns the path of the page.

    Args:
        runs: at least one.
        out: the page; by default report.html in the run directory, or here when there are several.

    Raises:
        ResultError, RunDirectoryError, ConfigError: a run that cannot be read.
        JoulebitError: matplotlib or jinja2 is missing, or the report cannot be written.
    """
    drawing, environment = _libraries()
    results = load_results(runs)
    page = Path(out) if out else (Path(runs[0]) / DEFAULT_NAME if len(results) == 1 else Path(DEFAULT_NAME))
    if page.is_dir() or page.suffix.lower() not in (".html", ".htm"):
        raise JoulebitError(f"a report is a file that ends in .html, got {page}")
    names = labels(results)
    looks = figure_style.styles(results, names)
    bases = [baseline(result, results) for result in results]
    folder = page.with_name(f"{page.stem}_figures")
    figures, absent = _figures(drawing, results, looks, bases)
    figures = [
        Shown(**{**vars(figure), "png": f"{folder.name}/{number:02d}-{figure.name}.png"})
        for number, figure in enumerate(figures, 1)
    ]
    context = _context(results, names, looks, bases, figures, absent)
    context["dark"] = figure_style.DARK
    context["light"] = figure_style.VARIABLES
    html = environment.get_template(_TEMPLATE).render(context)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("[0-9][0-9]-*.png"):
            old.unlink()
        for figure in figures:
            (page.parent / figure.png).write_bytes(figure.drawing.png)
        replace_file(page, lambda file: file.write(html.encode()))
    except OSError as error:
        raise JoulebitError(f"cannot write the report {page}: {error.strerror or error}") from error
    return page


def _libraries() -> tuple[Any, Any]:
    """The module of figures and the templates; JoulebitError when matplotlib or jinja2 is missing."""
    try:
        import jinja2

        from joulebit.experiments import figures
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        raise JoulebitError(
            f"a report needs {missing}, which is not installed: pip install 'joulebit[simulator]', "
            "or pip install matplotlib jinja2"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=compare.percent,
        accuracy=compare.accuracy_text,
        difference=compare.difference_text,
        joules=compare.joules,
    )
    return figures, environment


# --- figures -----------------------------------------------------------------------------------------------------


def _figures(
    drawing: Any, results: Sequence[Result], looks: Sequence[Style], bases: Sequence[Baseline | None]
) -> tuple[list[Shown], list[str]]:
    """What can be drawn of these runs, and a line for each figure that cannot."""
    ratio_to = sorted({base.title for base in bases if base})
    several = len({id(base.run) if base.run else base.energy_j for base in bases if base}) > 1
    same = " Every run is divided by the baseline of its own model, data and length." if several else ""
    entries = (
        (
            "accuracy-energy", "result", "Accuracy against simulated energy",
            "top-1 accuracy in percent over joules",
            "Each curve is one run and each marker one evaluation on the test set; further left is cheaper, "
            "higher is better, and the large marker is where the run stands at its end (half filled: unfinished). "
            "The paper's Figure 5 has this form.",
            drawing.accuracy_against_energy(results, looks), "no run has been evaluated yet",
        ),
        (
            "accuracy-ratio", "result", "Accuracy against energy ratio",
            "final top-1 accuracy in percent over energy divided by the baseline's energy",
            f"Each point is one finished run, its energy divided by that of {' or '.join(ratio_to)}: a point at "
            f"0.2 used a fifth of it, and dashed lines mark the baseline.{same} "
            "The paper's Figure 4 has this form.",
            drawing.accuracy_against_ratio(results, looks, bases), "no run is finished",
        ),
        (
            "learning-curves", "result", "Loss and accuracy over epochs",
            "training loss in nats and top-1 accuracy in percent over epochs",
            "Left, the training loss (faint: as logged, strong: running mean); right, accuracy on the test set. "
            "With SMD the epochs count the dropped batches, so that such a run is longer and yet computes less.",
            drawing.learning_curves(results, looks), "the metrics are missing",
        ),
        (
            "energy-breakdown", "energy", "Where the energy goes",
            "joules by phase and component",
            "One panel per phase of training, all on the same scale, one bar per run, and one colour per "
            "component: a shorter bar is less energy, and its colours say what the energy was spent on.",
            drawing.energy_breakdown(results, looks),
            "the energy table is missing or no longer gives the recorded total",
        ),
        (
            "skipped-work", "energy", "What was left out",
            "percent of all multiply-accumulates of the schedule",
            "All multiply-accumulates of each run's schedule: grey ones were done at full width, coloured ones "
            "were not, and the colour says why.",
            drawing.skipped_work(results, looks), "no run leaves work out",
        ),
        (
            "skip-ratio", "skip", "Skipped blocks over time",
            "percent of forward multiply-accumulates over epochs",
            "Top, the share of the network's forward computation that closed blocks left out (faint: as logged, "
            "strong: running mean); below, for each residual block, the share of samples that did not enter it: "
            "dark means nearly always skipped.",
            drawing.skip_ratio(results, looks), "no run closes blocks (SLU or stochastic depth)",
        ),
        (
            "predictor-share", "predictor", "Predicted signs over time",
            "percent of weight-gradient signs over epochs",
            "Top, the share of all weight-gradient signs that the narrow product decided, beside what the paper "
            "reports for its own network; below, the same for each layer: dark means nearly all signs predicted.",
            drawing.predictor_share(results, looks), "no run predicts signs (PSG)",
        ),
        (
            "sign-errors", "predictor", "Wrong signs and their bound",
            "percent of predicted signs, log scale",
            "Dots are the share of predicted signs that differ from the exact gradient's, bars the bound of the "
            "paper's equation (3), evaluated now and then in the same stretches of training; the bound assumes "
            "independent, uniform rounding errors, and "
            f"{_above_bound(results)}",
            drawing.sign_errors(results, looks), "no run predicts signs (PSG)",
        ),
        (
            "saturation", "arithmetic", "Saturation",
            "clamped elements per million, by layer and tensor",
            "How often a value did not fit its fixed-point format and was clamped, for each layer and each "
            "tensor, per million elements (z: convolution output, a: activation, dz: gradient at z, da: gradient "
            "of the layer's input): 1,000 per million is one value in a thousand, and 0 is never.",
            drawing.saturation(results, looks), "no fixed-point run has metrics",
        ),
    )  # fmt: skip
    shown, absent = [], []
    for name, section, title, unit, sees, picture, reason in entries:
        if picture:
            shown.append(Shown(name, section, title, unit, sees, picture))
        else:
            absent.append(f"{title}: {reason}")
    return shown, absent


def _above_bound(results: Sequence[Result]) -> str:
    """In how many layers the predictor failed more often than equation (3) allows."""
    layers = above = 0
    for result in results:
        _, wrong, bound = layer_sign_errors(result)
        layers += int(np.isfinite(bound).sum())
        above += int((wrong > bound).sum())
    if not layers:
        return "it was not evaluated in these runs."
    if not above:
        return f"in all {layers} layers the dots respect it."
    return f"in {above} of {layers} layers (red) the dots exceed it: there that assumption fails."


# --- text --------------------------------------------------------------------------------------------------------


def _context(
    results: Sequence[Result],
    names: Sequence[str],
    looks: Sequence[Style],
    bases: Sequence[Baseline | None],
    figures: Sequence[Shown],
    absent: Sequence[str],
) -> dict[str, Any]:
    rows = compare.rows(results)
    index = headline_run(results)
    keys = changed_keys(results) if len(results) > 1 else []
    groups = sorted({(result.config.model.name, result.config.data.name) for result in results})
    return {
        "title": " and ".join(f"{model} on {data}" for model, data in groups),
        "headline": headline(results[index], names[index], bases[index]),
        "cards": _cards(results[index], bases[index]),
        "headline_name": names[index],
        "unfinished": [(name, r.state, str(r.path)) for name, r in zip(names, results) if not r.finished],
        "rows": [
            {
                **row,
                "variable": _variable(look),
                "best": _best(row, rows),
                "reference": result.is_float32 and result.is_standard,
            }
            for row, look, result in zip(rows, looks, results)
        ],
        "has": {key: any(row[key] for row in rows) for key in rows[0]},
        "several": len(results) > 1,
        "several_groups": len(groups) > 1,
        "baselines": sorted({base.title for base in bases if base}),
        "tables": _tables(results),
        "figures": figures,
        "sections": [section for section in _SECTIONS if any(f.section == section["key"] for f in figures)],
        "absent": absent,
        "differences": [(key, [_setting(result, key) for result in results]) for key in keys],
        "runs": [
            {"name": name, "result": result, "toml": to_toml(result.config), "facts": _facts(result)}
            for name, result in zip(names, results)
        ],
        "names": names,
        "version": joulebit.__version__,
    }


_SECTIONS = (
    {"key": "result", "title": "Accuracy and energy"},
    {"key": "energy", "title": "Where energy goes, and what was left out"},
    {"key": "skip", "title": "Selective layer update and stochastic depth"},
    {"key": "predictor", "title": "Predictive sign gradients"},
    {"key": "arithmetic", "title": "Fixed-point arithmetic"},
)


def headline_run(results: Sequence[Result]) -> int:
    """Position of the run that the first sentence is about: E²-Train, else what saves most, else the first."""

    def merit(index: int) -> tuple[bool, bool, float, int]:
        result = results[index]
        saving = result.saving_vs_float32
        return (result.finished, result.method == "E²-Train", -1e9 if saving is None else saving, -index)

    return max(range(len(results)), key=merit)


def headline(result: Result, name: str, base: Baseline | None) -> str:
    """What a person can quote: method, accuracy, simulated joules, saving, energy table."""
    name = name[0].upper() + name[1:] if name.startswith("fixed") else name
    if result.top1 is None:
        reached = f"{name} has used {compare.joules(result.energy_j)} (simulated) so far, without an evaluation"
    elif not result.finished:
        reached = (
            f"{name} has reached {result.top1:.1f} % with {compare.joules(result.energy_j)} (simulated) so far"
        )
    else:
        reached = f"{name} reached {result.top1:.1f} % with {compare.joules(result.energy_j)} (simulated)"
    if not result.finished:
        return f"{reached}; the run is {result.state}. Simulated with table {result.table}."
    saving = result.saving_vs_float32
    compared = ""
    if saving is not None and result.is_float32 and abs(saving) < 5e-4:
        compared = ", the reference of all savings"
    elif saving is not None:
        more = "less" if saving >= 0 else "more"
        compared = (
            f", {100 * abs(saving):.0f} % {more} than float32 SGD for the same number of standard iterations"
        )
    reference = base.run if base else None
    if reference and reference is not result and reference.top1 is not None and result.top1 is not None:
        gap = result.top1 - reference.top1
        accuracy = f"{abs(gap):.1f} points {'higher' if gap > 0 else 'lower'}" if abs(gap) >= 0.05 else "the same"
        than = "" if reference.is_float32 else f" ({reference.method}: {reference.top1:.1f} %)"
        compared += f", at {accuracy} accuracy{than}"
    return f"{reached}{compared}. Simulated with table {result.table}."


def _cards(result: Result, base: Baseline | None) -> list[tuple[str, str, str]]:
    """(figure, what it is, a note) of the headline run."""
    cards = []
    if result.top1 is not None:
        cards.append((f"{result.top1:.1f} %", "top-1 accuracy", f"after {result.top1_epoch:.3g} epochs offered"))
    cards.append((compare.joules(result.energy_j), "simulated energy", f"table {result.table}, training only"))
    if result.saving_vs_float32 is not None and not result.is_float32:
        cards.append((compare.percent(result.saving_vs_float32, 0), "less than float32", "same standard run"))
    if result.mac_saving:
        cards.append((compare.percent(result.mac_saving, 0), "of products left out", "of the standard run's"))
    if result.predictor_share is not None:
        cards.append((compare.percent(result.predictor_share, 0), "of signs predicted", "at PSG's narrow widths"))
    if result.skip_ratio:
        cards.append((compare.percent(result.skip_ratio, 0), "of layers' work skipped", "in computed batches"))
    return cards[:5]


def _best(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Columns in which a finished run is the best of several comparable ones."""
    peers = [
        other
        for other in rows
        if other["finished"] and (other["model"], other["dataset"]) == (row["model"], row["dataset"])
    ]
    if not row["finished"] or len(peers) < 2:
        return set()
    best = set()
    if row["top1"] == max(other["top1"] for other in peers):
        best.add("top1")
    if row["energy_simulated_j"] == min(other["energy_simulated_j"] for other in peers):
        best.add("energy_simulated_j")
    return best


def _variable(look: Style) -> str:
    return figure_style.VARIABLES[look.colour]


def _tables(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Energy tables and where their numbers come from."""
    found: dict[str, str] = {}
    for result in results:
        try:
            table = load_table(result.config.energy.table)
            found[result.table] = f"{table.title}; {table.source}"
        except EnergyTableError:
            found[result.table] = "not found here"
    return sorted(found.items())


def _setting(result: Result, key: str) -> str:
    value: Any = as_table(result.config)
    for part in key.split("."):
        value = value[part] if isinstance(value, Mapping) and part in value else "–"
    if key == "engine":
        return result.config.engine
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _facts(result: Result) -> list[tuple[str, str, bool]]:
    """(name, value, is it a hash or path) of a run, in the order shown."""
    start, config = result.start, result.config
    versions = start.get("versions", {})
    facts = [
        ("state", result.state, False),
        ("run directory", str(result.path), True),
        ("configuration (SHA-256)", result.config_hash, True),
        ("weights (SHA-256)", result.summary["weights_sha256"] if result.summary else "–", True),
        ("specification (SHA-256)", str(start.get("spec_sha256", "–")), True),
        ("engine", config.engine, False),
        ("seed", str(config.seed), False),
        ("energy table", result.table, False),
        ("steps", f"{result.step:,} (of which computed: {result.counters['batches.seen']:,})", False),
        ("started", str(start.get("started", "–")), False),
        ("machine", f"{start.get('platform', '–')}, {start.get('cpu_count', '–')} processors", False),
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.items()) or "–", False),
    ]
    resumed = start.get("resumed") or []
    if resumed:
        facts.insert(-1, ("resumed", ", ".join(str(entry.get("started", "–")) for entry in resumed), False))
    return facts


__all__ = ["ResultError", "headline", "headline_run", "write_report"]
