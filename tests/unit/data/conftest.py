"""Keeps the real files away from tests that do not ask for them."""

import pytest


@pytest.fixture(autouse=True)
def _no_data_dir_from_outside(request, monkeypatch):
    if request.node.get_closest_marker("dataset") is None:
        monkeypatch.delenv("JOULEBIT_DATA_DIR", raising=False)
