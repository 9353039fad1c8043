"""`joulebit audit`: a chain that holds is not enough, the joules must follow from the bytes."""

import base64
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from joulebit.errors import JoulebitError
from joulebit_host.campaign import audit as campaign_audit
from joulebit_host.campaign.audit import audit_folder
from joulebit_host.cli.audit import audit
from joulebit_host.evidence.audit import audit_log, audit_path, compare
from joulebit_host.evidence.log import EvidenceLog, canonical, chain, head_path, read_log
from joulebit_host.meters.base import Received
from joulebit_host.session.derive import registered_decoder
from joulebit_host.session.session import measure
from joulebit_host.session.settings import SessionSettings
from joulebit_host.session.timing import VirtualClock

sys.path.insert(0, str(Path(__file__).parent.parent / "session"))
from virtual_meter import Reading, VirtualDevice, VirtualMeter, decoder_for


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """The log of one session, of 4 W on 2.5 W idle."""
    clock = VirtualClock()
    device = VirtualDevice(clock)
    meter = VirtualMeter(device, Reading.AVERAGE, noise_w=0.01)
    path = tmp_path / "cell-0.evidence.jsonl"
    settings = SessionSettings(windows=1)
    measure(path, "cell 0", meter, device.work(1.5, 0.05), settings, decoder_for, clock=clock)
    return path


def forge(path: Path, change: Any) -> None:
    """Rewrites a log with a changed record, chain and head file included: what a determined forger does."""
    head, lines = "0" * 64, []
    for line in path.read_bytes().splitlines():
        record = json.loads(line)["record"]
        change(record)
        content = canonical(record)
        head = chain(head, content)
        lines.append(b'{"hash":"' + head.encode() + b'","record":' + content + b"}\n")
    data = b"".join(lines)
    path.write_bytes(data)
    sides = {"bytes": len(data), "format": "joulebit-evidence-1", "hash": head, "records": len(lines)}
    head_path(path).write_bytes(canonical(sides) + b"\n")


def test_a_session_is_derived_again_from_its_bytes(session: Path) -> None:
    found = audit_path(session.parent, decoder_for)
    assert found["ok"]
    assert found["first_bad"] is None
    (entry,) = found["results"]
    assert entry["derived"] == entry["stored"]
    assert entry["derived"][0]["gross_j"] == pytest.approx(48, rel=0.02)
    assert entry["derived"][0]["valid"]
    assert entry["closed"]


def test_an_altered_byte_is_named_by_its_record(session: Path) -> None:
    data = bytearray(session.read_bytes())
    at = data.index(b'"received"', 5000)
    data[at + 3] ^= 1
    session.write_bytes(data)
    found = audit_path(session, decoder_for)
    assert not found["ok"]
    assert found["first_bad"]["record"] == bytes(data[:at]).count(b"\n")
    assert found["first_bad"]["file"] == str(session)


def test_a_forged_result_does_not_follow_although_the_chain_holds(session: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        if record["type"] == "result":
            record["result"]["windows"][0]["net"]["value"] *= 0.99

    forge(session, change)
    entry = audit_log(session, decoder_for)
    assert entry["record"] is None  # the chain is good
    assert not entry["ok"]
    assert entry["differences"][0].startswith("result.windows[0].net.value: stored")


def test_a_forged_reading_does_not_follow_either(session: Path) -> None:
    changed = Counter[str]()

    def change(record: dict[str, Any]) -> None:
        if record["type"] == "received" and record["t_s"] > 1025 and not changed["x"]:
            changed["x"] += 1
            record["data"] = as_text(b"999 1025.0 9.5 +\n")

    forge(session, change)
    assert changed["x"] == 1
    assert not audit_log(session, decoder_for)["ok"]


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_head_kept_elsewhere_shows_a_forged_log(session: Path) -> None:
    head = audit_log(session, decoder_for)["head"]
    assert audit_log(session, decoder_for, head)["ok"]
    forge(session, lambda record: record.update(note="x") if record["type"] == "mark" else None)
    assert not audit_log(session, decoder_for, head)["ok"]


def test_a_session_that_was_cut_off_is_sound_and_has_no_result(session: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.evidence.jsonl"
    header = next(read_log(session)).fields
    log = EvidenceLog.create(cut, {"meter": header["meter"]})
    for i in range(50):
        log.received(Received(i * 0.1, i * 0.1, f"{i} {i * 0.1} 3.0 +\n".encode()))
    log.sync()
    log.abandon()
    entry = audit_log(cut, decoder_for)
    assert entry["ok"]
    assert not entry["closed"]
    assert entry["stored"] is None
    assert entry["derived"] == {
        "samples": 50,
        "seconds": pytest.approx(4.9),
        "gross_j": pytest.approx(14.7),
        "gap_s": 0.0,
    }


def test_an_unknown_meter_is_a_reason_and_no_crash(session: Path) -> None:
    entry = audit_log(session)  # the registry knows no meter "virtual"
    assert not entry["ok"]
    assert "cannot be derived" in entry["reason"]


def test_the_command_prints_one_json_object_and_its_exit_code(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(meter: Mapping[str, Any]) -> Any:
        return decoder_for(meter)

    monkeypatch.setattr(campaign_audit, "audit_folder", lambda path: audit_folder(path, chosen))
    good = CliRunner().invoke(audit, [str(session.parent), "--json"], standalone_mode=False)
    assert good.return_value == 0
    assert set(json.loads(good.stdout)) == {"ok", "first_bad", "results"}
    table = CliRunner().invoke(audit, [str(session)], standalone_mode=False)
    assert "cell-0" in table.stdout
    assert "ok" in table.stdout
    session.write_bytes(session.read_bytes()[:-40])
    bad = CliRunner().invoke(audit, [str(session), "--json"], standalone_mode=False)
    assert bad.return_value == 1
    assert json.loads(bad.stdout)["ok"] is False


def test_folders_without_evidence_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(JoulebitError, match="holds no evidence"):
        audit_path(tmp_path)
    with pytest.raises(JoulebitError, match="no such"):
        audit_path(tmp_path / "nothing")


def test_results_are_compared_to_the_ninth_digit() -> None:
    stored = {"a": [1.0, {"b": "x", "c": True}], "d": None}
    assert list(compare(stored, {"a": [1.0 + 1e-12, {"b": "x", "c": True}], "d": None})) == []
    assert list(compare(stored, {"a": [1.0 + 1e-8, {"b": "x", "c": 1}], "e": 0})) == [
        "result.a[0]: stored 1.0, derived 1.00000001",
        "result.d is only stored",
        "result.e is only derived",
    ]
    assert list(compare([1], [1, 2])) == ["result: stored [1], derived [1, 2]"]
    assert list(compare(False, True)) == ["result: stored False, derived True"]


def test_a_log_of_a_real_meters_frames_is_audited_by_the_registry(tmp_path: Path) -> None:
    """Frames of an emulated INA226; 4 W work from 15 s to 40 s on 2.5 W idle."""
    from joulebit_host.evidence.log import RECEIVED
    from joulebit_host.meters.emulators.catalogue import EMULATORS
    from joulebit_host.meters.emulators.curve import Steps
    from joulebit_host.meters.options import as_settings
    from joulebit_host.meters.registry import options_for
    from joulebit_host.session.derive import CONFIGURATION, RESULT, derive

    options: Any = options_for("ina226", {"interval_s": 0.05})
    header = {
        "kind": "ina226",
        "identity": "INA226 config 4127",
        "settings": as_settings(options),
        "reading": options.reading().value,
        "accuracy": vars(options.accuracy()),
        "interval_s": options.interval(),
    }
    emulator = EMULATORS["ina226"](Steps([(0, 2.5), (15, 4.0), (40, 2.5)]), interval_s=0.05, seed=3)
    path = tmp_path / "run" / "cell.evidence.jsonl"
    path.parent.mkdir()
    with EvidenceLog.create(path, {"meter": header}) as log:
        log.append(CONFIGURATION, session="s", settings=SessionSettings().as_json())
        for received in emulator.play(55.0):
            log.received(received)
        for name, t_s in (("idle_start", 1.0), ("idle_end", 12.0), ("window_start", 16.0), ("window_end", 38.0)):
            log.mark(name, t_s, **({"index": 0} if name == "window_start" else {}))
        log.mark("idle_start", 42.0)
        log.mark("idle_end", 53.0)
        log.append(RESULT, result=derive(read_log(path), registered_decoder))
    process = subprocess.run(
        [sys.executable, "-m", "joulebit.cli", "audit", str(path.parent), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found["ok"]
    (window,) = found["results"][0]["derived"]
    assert window["valid"]
    assert window["gross_j"] == pytest.approx(4.0 * 22, rel=2e-3)
    assert window["net_j"] == pytest.approx(1.5 * 22, rel=2e-3)
    assert any(record.type == RECEIVED for record in read_log(path))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    process = subprocess.run(
        [sys.executable, "-m", "joulebit.cli", "audit", str(path.parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert "NOT OK" in process.stdout
    assert "record" in process.stderr
