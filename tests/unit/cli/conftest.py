"""An empty folder for every command, and stand-ins for what commands import."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JOULEBIT_DEBUG", raising=False)


@pytest.fixture
def stand_in(monkeypatch):
    """Puts functions in place of a module that a command imports."""

    def put(module: str, **names: object) -> None:
        monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**names))

    return put
