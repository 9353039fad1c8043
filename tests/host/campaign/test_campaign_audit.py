"""The audit of a whole campaign: nothing of it can be altered, removed or exchanged unseen."""

import shutil
from pathlib import Path

import pytest
from virtual_campaign import virtual_plan

from joulebit_host.campaign.audit import audit_folder
from joulebit_host.campaign.run import run_campaign
from joulebit_host.campaign.schema import campaign_from_table
from joulebit_host.campaign.state import JOURNAL
from joulebit_host.evidence.log import SUFFIX


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("campaign")
    run_campaign(campaign_from_table(virtual_plan(repeats=2)), folder / "out")
    return folder / "out"


@pytest.fixture
def campaign(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "out"))


def logs(folder: Path) -> list[Path]:
    return sorted(folder.rglob(f"*{SUFFIX}"))


def test_an_untouched_campaign_is_ok_with_its_journal(campaign: Path) -> None:
    result = audit_folder(campaign)
    assert result["ok"] and result["first_bad"] is None
    assert {entry["file"] for entry in result["results"]} == {
        str(p) for p in [campaign / JOURNAL, *logs(campaign)]
    }


def test_a_removed_log_is_found(campaign: Path) -> None:
    gone = logs(campaign)[0]
    for file in gone.parent.glob("attempt-*"):
        file.unlink()
    result = audit_folder(campaign)
    assert not result["ok"] and result["first_bad"]["file"] == str(gone)
    assert "missing" in result["first_bad"]["reason"]


def test_all_logs_removed_is_found(campaign: Path) -> None:
    shutil.rmtree(campaign / "cells")
    assert not audit_folder(campaign)["ok"]


def test_another_whole_log_in_its_place_is_found(campaign: Path) -> None:
    first, second = logs(campaign)
    for file in second.parent.glob("attempt-*"):
        shutil.copy(file, first.parent / file.name)
    result = audit_folder(campaign)
    assert not result["ok"] and result["first_bad"]["file"] == str(first)


def test_an_altered_journal_is_found(campaign: Path) -> None:
    journal = campaign / JOURNAL
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)
    result = audit_folder(campaign)
    assert not result["ok"] and result["first_bad"]["file"] == str(journal)
