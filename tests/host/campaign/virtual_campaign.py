"""A small campaign on the virtual bench, of which each test changes what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w


def virtual_plan(
    works: Mapping[str, Mapping[str, int]] | None = None,
    *,
    device: Mapping[str, Any] | None = None,
    meter: str = "ina226?interval_s=0.1",
    session: Mapping[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """The table of a campaign file.

    Args:
        works: counters of each method; one method that multiplies by default.
        device: keys of the device that differ.
        meter: specification of the only meter, `ina`.
        session: keys of the session that differ.
        changes: of the campaign's own keys.
    """
    works = works or {"mac8": {"macs.forward.8x8": 2 * 10**9}}
    return {
        "name": "virtual",
        "repeats": 1,
        "retries": 0,
        "backoff_s": 0.0,
        "session": {"idle_s": 5.0, "warmup_s": 1.0, **(session or {})},
        "methods": [{"name": name, "counters": dict(counters)} for name, counters in works.items()],
        "meters": [{"name": "ina", "spec": meter}],
        "devices": [{"name": "bench", "kind": "virtual", "table": "xc7z020", **(device or {})}],
        **changes,
    }


def write_plan(path: Path, table: Mapping[str, Any]) -> Path:
    """The file of a campaign's table; path."""
    path.write_text(tomli_w.dumps(dict(table)), encoding="utf-8")
    return path
