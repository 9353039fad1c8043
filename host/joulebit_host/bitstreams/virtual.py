"""Virtual bitstreams: files as small as possible by which pynq loads the accelerator into a virtual board.

They are a function of the specification alone, one per configuration, and are kept in the repository:
`python -m joulebit_host.bitstreams` writes them.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from joulebit.spec.accelerator import CONFIGS, specification_hash
from joulebit_host.bitstreams import zedboard
from joulebit_host.bitstreams.bitfile import pack_bit, pack_note
from joulebit_host.bitstreams.handoff import handoff
from joulebit_host.bitstreams.manifest import File, Manifest

__all__ = ["virtual_files"]


def _note(config: str, hwh: str) -> dict[str, Any]:
    """What the bitstream tells the virtual board.

    The design's hash covers the .hwh, too: pynq keeps what it parsed under the hash of the .bit alone, and takes a
    file of the same name on the board for the same design.
    """
    note: dict[str, Any] = {
        "kind": "virtual",
        "configuration": config,
        "specification_hash": specification_hash(),
        "clock_hz": zedboard.CLOCK_HZ,
    }
    design = hashlib.sha256(json.dumps(note, sort_keys=True).encode() + hwh.encode()).hexdigest()
    return note | {"design_hash": design}


def virtual_files(configs: tuple[str, ...] = tuple(CONFIGS)) -> dict[str, bytes]:
    """Contents of all files by name: a .bit, a .hwh and a manifest per configuration."""
    files: dict[str, bytes] = {}
    for config in configs:
        hwh = handoff(config)
        note = _note(config, hwh)
        name = f"joulebit_{config}_virtual_{note['design_hash'][:8]}"
        bit = pack_bit(pack_note(note), name, zedboard.PART)
        made = {"bit": bit, "hwh": hwh.encode()}
        entries = {
            suffix: File(f"{name}.{suffix}", len(data), hashlib.sha256(data).hexdigest())
            for suffix, data in made.items()
        }
        manifest = Manifest(
            name, "virtual", config, entries, tool={"name": "joulebit_host.bitstreams", "version": "1"}
        )
        files |= {f"{name}.{suffix}": data for suffix, data in made.items()}
        files[f"{name}.json"] = manifest.text().encode()
    return files
