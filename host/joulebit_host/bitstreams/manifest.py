"""Manifests: what a bitstream is, which specification it was built from, and that its files are those.

A manifest NAME.json lies beside NAME.bit and NAME.hwh:

| key | holds |
|---|---|
| `format` | 1 |
| `name`, `kind` | file name without suffix; `vivado`, `openxc7` or `virtual` |
| `board`, `part` | such as ZedBoard, xc7z020clg484-1 |
| `configuration`, `specification_hash`, `register_version` | of `joulebit.spec.accelerator` |
| `core`, `register_base`, `register_bytes`, `clock_hz` | the core's instance, address and clock |
| `rtl_commit` | Git commit of the sources, with `+` where they had changes; null for virtual ones |
| `tool` | {name, version} |
| `timing` | {worst_slack_ns, met, signed_off}, or null where there is none |
| `utilisation` | {resource: count}, or null |
| `files` | {bit, hwh: {name, bytes, sha256}} |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS, VERSION, specification_hash
from joulebit_host.bitstreams import zedboard
from joulebit_host.boards.base import Bitstream

__all__ = ["FORMAT", "KINDS", "File", "Manifest", "read_manifest", "write_manifest"]

FORMAT = 1
KINDS = ("vivado", "openxc7", "virtual")  #: the one to be preferred first


@dataclass(frozen=True)
class File:
    """A file beside the manifest, by name, size and hash."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> File:
        content = path.read_bytes()
        return cls(path.name, len(content), hashlib.sha256(content).hexdigest())

    def check(self, directory: Path) -> Path:
        """The file's path; JoulebitError where it is missing or was changed."""
        path = directory / self.name
        if not path.is_file():
            raise JoulebitError(f"{path} is missing: its manifest names it; build the bitstream again")
        found = File.of(path)
        if found != self:
            raise JoulebitError(
                f"{path} is not the file that was built: {found.bytes} bytes, SHA-256 {found.sha256[:8]}..., "
                f"the manifest says {self.bytes}, {self.sha256[:8]}...; build the bitstream again"
            )
        return path


@dataclass(frozen=True)
class Manifest:
    """What the table above says."""

    name: str
    kind: str
    configuration: str
    files: Mapping[str, File]
    tool: Mapping[str, str]
    rtl_commit: str | None = None
    timing: Mapping[str, Any] | None = None
    utilisation: Mapping[str, int] | None = None
    board: str = zedboard.BOARD
    part: str = zedboard.PART
    specification_hash: str = field(default_factory=specification_hash)
    register_version: int = VERSION
    core: str = zedboard.CORE
    register_base: str = f"0x{zedboard.REGISTER_BASE:08X}"
    register_bytes: int = zedboard.REGISTER_BYTES
    clock_hz: int = zedboard.CLOCK_HZ
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise JoulebitError(f"bitstream {self.name}: kind is one of {', '.join(KINDS)}, got {self.kind!r}")

    def text(self) -> str:
        """The manifest as JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    def mismatch(self) -> str | None:
        """Why this package's driver cannot use the bitstream, or None."""
        if self.specification_hash != specification_hash():
            return f"specification {self.specification_hash[:8]}, this package has {specification_hash()[:8]}"
        if self.configuration not in CONFIGS:
            return f"configuration {self.configuration}, known are {', '.join(CONFIGS)}"
        return None

    def bitstream(self, directory: Path) -> Bitstream:
        """For `Board.load`, after the files have been checked."""
        wrong = self.mismatch()
        if wrong is not None:
            raise JoulebitError(f"bitstream {self.name}: {wrong}")
        bit, hwh = (self.files[suffix].check(directory) for suffix in ("bit", "hwh"))
        return Bitstream(self.name, self.configuration, self.specification_hash, bit, hwh, self.core)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file; JoulebitError says what is wrong with it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JoulebitError(f"{path} is no manifest: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else None
        raise JoulebitError(f"{path} is no manifest of format {FORMAT}: got format {found}")
    names = set(Manifest.__dataclass_fields__)
    if set(values) != names:
        wrong = sorted(set(values) ^ names)
        raise JoulebitError(
            f"{path}: missing or unknown keys {', '.join(wrong)}; known are {', '.join(sorted(names))}"
        )
    try:
        values["files"] = {key: File(**entry) for key, entry in values["files"].items()}
    except (TypeError, AttributeError) as error:
        raise JoulebitError(f"{path}: files must be {{bit, hwh: {{name, bytes, sha256}}}}: {error}") from error
    if set(values["files"]) != {"bit", "hwh"} or any(
        Path(f.name).name != f.name for f in values["files"].values()
    ):
        raise JoulebitError(f"{path}: files must be bit and hwh, beside the manifest")
    return Manifest(**values)


def write_manifest(directory: Path, manifest: Manifest) -> Path:
    """Writes NAME.json beside its files, which must be those that it names."""
    for file in manifest.files.values():
        file.check(directory)
    path = directory / f"{manifest.name}.json"
    path.write_text(manifest.text(), encoding="utf-8")
    return path
