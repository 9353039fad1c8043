"""A campaign's report: one self-contained HTML page, written again while the campaign runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joulebit
from joulebit_host.campaign.schema import Campaign, campaign_hash
from joulebit_host.campaign.state import write_file

PAGE = "report.html"
_TEMPLATE = "campaign.html.jinja"
_BAR = 420  #: pixels of the longest bar


def write_report(folder: Path, campaign: Campaign, summary: Mapping[str, Any], running: bool) -> Path | None:
    """Writes FOLDER/report.html; its path, or None where jinja2 is missing (the measurement goes on)."""
    try:
        import jinja2
    except ImportError:
        return None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["joules"] = joules
    cells = summary["cells"]
    counts = {state: sum(cell["state"] == state for cell in cells) for state in _STATES}
    longest = max((group["gross_j"] or 0.0 for group in summary["groups"]), default=0.0) or 1.0
    bars = [
        {
            **group,
            "idle_px": round(_BAR * max(group["idle_j"] or 0.0, 0.0) / longest),
            "net_px": round(_BAR * max(group["net_j"] or 0.0, 0.0) / longest),
        }
        for group in summary["groups"]
    ]
    page = environment.get_template(_TEMPLATE).render(
        campaign=campaign,
        hash=campaign_hash(campaign),
        summary=summary,
        bars=bars,
        counts=counts,
        running=running,
        version=joulebit.__version__,
    )
    path = folder / PAGE
    write_file(path, page)
    return path


_STATES = ("valid", "invalid", "failed", "missing")


def joules(value: float | None, width: float | None = None) -> str:
    """value +- width in J; empty for None."""
    if value is None:
        return ""
    return f"{value:.6g} J" if width is None else f"{value:.6g} ± {width:.2g} J"
