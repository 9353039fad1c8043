"""A campaign's report: one self-contained HTML page with its figures as PNG files beside it.

It is written again while the campaign runs, between two measurements. Style and look are those of the training
report (`joulebit.experiments.report`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from joulebit import __version__
from joulebit.experiments import figure_style
from joulebit.experiments.figure_style import Drawing
from joulebit_host.campaign import series
from joulebit_host.campaign.phases import is_usable, mix_label, phase_tables
from joulebit_host.campaign.schema import Campaign, campaign_hash
from joulebit_host.campaign.series import Group
from joulebit_host.campaign.state import write_file
from joulebit_host.campaign.text import joules
from joulebit_host.meters.base import Accuracy
from joulebit_host.meters.limits import limits_text

PAGE = "report.html"
FIGURES = "report_figures"
_TEMPLATE = "campaign.html.jinja"
_STATES = ("valid", "invalid", "failed", "missing")
_SECTIONS = (
    ("result", "Result"),
    ("power", "Power and phases"),
    ("model", "Simulated beside measured"),
    ("quality", "Uncertainty, meters, clocks"),
)


@dataclass(frozen=True)
class Shown:
    """A figure of the page: `sees` is one sentence, what you see; `png` is relative to the page."""

    name: str
    section: str
    title: str
    sees: str
    drawing: Drawing
    png: str


def write_report(
    folder: Path,
    campaign: Campaign,
    summary: Mapping[str, Any],
    entries: Mapping[str, Mapping[str, Any]],
    running: bool,
) -> Path | None:
    """Writes FOLDER/report.html; its path, or None where matplotlib or jinja2 is missing.

    Args:
        folder: of the campaign.
        campaign: its plan.
        summary: see `summary.summarise`.
        entries: of its cells, by key; see `entry`.
        running: the page then loads itself anew.
    """
    try:
        import jinja2

        from joulebit_host.campaign import energy_figures, model_figures, phase_figures
    except ImportError:
        return None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(
            [Path(module).with_name("templates") for module in (__file__, figure_style.__file__)]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["joules"] = joules
    environment.filters["mix"] = mix_label
    groups = series.groups_of(campaign, summary, entries)
    fit = series.fit_of(folder, groups)
    verdicts = _verdicts(summary)
    modules = (energy_figures, phase_figures, model_figures)
    shown, absent = _figures(modules, folder, summary, verdicts, groups, fit)
    (folder / FIGURES).mkdir(exist_ok=True)
    for figure in shown:
        write_file(folder / figure.png, figure.drawing.png)
    for old in set((folder / FIGURES).glob("*.png")) - {folder / figure.png for figure in shown}:
        old.unlink()
    cells = summary["cells"]
    page = environment.get_template(_TEMPLATE).render(
        campaign=campaign,
        hash=campaign_hash(campaign),
        summary=summary,
        headline=headline(summary, running),
        cards=_cards(summary),
        counts={state: sum(cell["state"] == state for cell in cells) for state in _STATES},
        groups=groups,
        verdicts=verdicts,
        divided=phase_tables(summary["phases"]),
        meters=_meters(entries),
        fit=fit,
        figures=shown,
        sections=_SECTIONS,
        absent=absent,
        running=running,
        version=__version__,
        light=figure_style.VARIABLES,
        dark=figure_style.DARK,
    )
    write_file(folder / PAGE, page)
    return folder / PAGE


def _figures(
    modules: tuple[ModuleType, ModuleType, ModuleType],
    folder: Path,
    summary: Mapping[str, Any],
    verdicts: Sequence[Mapping[str, Any]],
    groups: Sequence[Group],
    fit: series.Fit,
) -> tuple[list[Shown], list[str]]:
    """What can be drawn, and a line for each figure that cannot. Mixes have their own figure."""
    energy, phase, model = modules
    groups = [group for group in groups if not (group.summary["part_of"] and group.summary["executions"])]
    phases = [(group, found) for group in groups if (found := series.phases_of(group)) is not None]
    budgets = [(group, series.budget_shares(group)) for group in groups]
    order = [cell["cell"] for cell in summary["cells"]]
    entries = (
        (
            "energies", "result", "Energy of each cell",
            "Top, the means over repeats with their expanded uncertainties: gross is all that the meter saw, "
            "idle what the device would have drawn at rest in that time. Below, how far each cell (repeat) is "
            "from its mean, with its own uncertainty.",
            energy.energies(groups), "no cell is valid yet",
        ),
        (
            "differences", "result", "Which uses less",
            "Each row is a claim, and its bar the difference in units of what can be resolved (k = 2): only "
            "beyond 1 is the claim made, within the grey it is refused.",
            energy.differences(verdicts), "there are no two methods to compare yet",
        ),
        (
            "power", "power", "Power over time",
            "The first valid cell of each method as the meter saw it: idle before, warm-up, the measured "
            "windows, idle after.",
            energy.power(series.traces(folder, groups), groups), "no cell is valid yet",
        ),
        (
            "phases", "power", "Energy per phase",
            "Gross energy of one run divided at the marks that the work set, stacked, and the diamond is "
            "the same energy measured as a whole: the division counts only where both agree within the "
            "joint uncertainty.",
            energy.phases(phases), "the work marks no phases (or its runs are shorter than a reading)",
        ),
        (
            "ways", "power", "Energy per phase, in each way that it was measured",
            "Net energy of each phase of one run. Right, what the regression leaves of each mix (3F: the forward "
            "pass three times), in units of its own uncertainty: beyond the grey, energies are no sum of phases.",
            phase.ways(summary["phases"]), "",
        ),
        (
            "beside", "model", "Simulated beside measured",
            "Left, each cell against the simulator’s joules for the same run (same configuration, same "
            "weights); right, the residuals in standard uncertainties: dots with the table as it is, triangles "
            "with its static power for as long as the run really took, diamonds where the table was fitted to "
            "all other works.",
            model.beside(fit, groups), "no cell came back with counters",
        ),
        (
            "coefficients", "model", "Calibrated energy table",
            "Energy per multiply-accumulate, operation and byte, and static power, fitted to the net energies by "
            "non-negative least squares: bars are k = 2 intervals relative to the value; hatched rows cannot be "
            "told from 0, or from each other, with these runs.",
            model.coefficients(fit.coefficients) if fit.coefficients else None,
            fit.reason or "these works resolve no coefficient: measure some with other proportions",
        ),
        (
            "budgets", "quality", "What the uncertainty is made of",
            "Share of each source in the squared standard uncertainty of the net energy; hatched ones rest "
            "on limits that no data sheet gives.",
            model.budgets(budgets), "no cell is valid yet",
        ),
        (
            "clocks", "quality", "Clocks",
            "Drift and offset of the board’s clock and the meter’s against the host’s, as fitted for each "
            "cell; bars are k = 2 for drift and the half-width of the quickest round trip for the offset.",
            model.clocks(groups, order), "neither board nor meter told its own time",
        ),
    )  # fmt: skip
    shown: list[Shown] = []
    absent = []
    for name, section, title, sees, picture, reason in entries:
        if picture:
            png = f"{FIGURES}/{len(shown) + 1:02d}-{name}.png"
            shown.append(Shown(name, section, title, sees, picture, png))
        elif reason:
            absent.append(f"{title}: {reason}")
    return shown, absent


def headline(summary: Mapping[str, Any], running: bool) -> str:
    """What a person can quote: the largest resolved difference, else how far the campaign is."""
    cells = summary["cells"]
    valid = sum(cell["valid"] for cell in cells)
    resolved = [c for c in summary["comparisons"] if c["energy"] == "net" and c["verdict"] != "not resolved"]
    if resolved:
        best = max(resolved, key=lambda c: abs(c["difference_j"]) / c["u_k2_j"])
        less, more = (best["a"], best["b"]) if best["difference_j"] < 0 else (best["b"], best["a"])
        size = joules(abs(best["difference_j"]), best["u_k2_j"])
        sentence = f"{less} uses {size} less net energy than {more} for one run"
    elif summary["comparisons"]:
        sentence = "No method can be said to use less than another"
    elif summary["phases"] and is_usable(summary["phases"][0]):
        sentence = _largest_phase(summary["phases"][0])
    else:
        sentence = f"{valid} of {len(cells)} cells are measured"
    return f"{sentence}. The campaign is running." if running else f"{sentence}."


def _largest_phase(way: Mapping[str, Any]) -> str:
    name, most = max(way["energies"].items(), key=lambda item: item[1]["value"])
    whole = joules(way["whole"]["value"], way["whole"]["u_k2"])
    part = joules(most["value"], most["u_k2"], way["whole"]["value"])
    return f"One run of {way['whole_method']} takes {whole} net, its phase {name.replace('_', ' ')} {part}"


def _cards(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(figure, what it is, a note)."""
    cells = summary["cells"]
    cards = [(f"{sum(c['valid'] for c in cells)} / {len(cells)}", "cells valid", "each with its evidence log")]
    known = [group for group in summary["groups"] if group["net_j"] is not None and not group["part_of"]]
    for group in sorted(known, key=lambda g: g["net_j"])[:1]:
        cards.append((joules(group["net_j"], group["u_k2_j"]), f"net, {group['method']}", "the least of one run"))
    for group in sorted(known, key=lambda g: -g["net_j"])[: len(known) > 1]:
        cards.append((joules(group["net_j"], group["u_k2_j"]), f"net, {group['method']}", "the most of one run"))
    verdicts = [c["verdict"] for c in summary["comparisons"] if c["energy"] == "net"]
    if verdicts:
        done = sum(verdict != "not resolved" for verdict in verdicts)
        cards.append((f"{done} / {len(verdicts)}", "differences resolved", "of the net energies, k = 2"))
    return cards


def _verdicts(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per pair and energy: `claim` (A uses less than B), `answer` (yes or not resolved)."""
    rows = []
    for c in summary["comparisons"]:
        less, more = (c["a"], c["b"]) if c["difference_j"] < 0 else (c["b"], c["a"])
        resolved = c["verdict"] != "not resolved"
        claim = f"{less} uses less than {more}"
        rows.append({**c, "claim": claim, "answer": "yes" if resolved else "not resolved", "resolved": resolved})
    return rows


def _meters(entries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """The meters that were seen, with their error limits and where these come from."""
    found: dict[str, dict[str, str]] = {}
    for entry in entries.values():
        meter = entry["meter_seen"]
        if "accuracy" not in meter:
            continue
        known = {**meter["accuracy"], "assumed": tuple(meter["accuracy"].get("assumed", ()))}
        limits = Accuracy(**known)
        text = limits_text(limits)
        row = {"meter": entry["meter"], "identity": meter["identity"], "limits": text, "source": limits.source}
        found.setdefault(f"{row['meter']} {row['identity']} {text}", row)
    return list(found.values())
