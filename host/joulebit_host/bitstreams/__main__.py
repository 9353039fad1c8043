"""Writes the virtual bitstreams of all configurations; `--check` compares them with what lies there.

python -m joulebit_host.bitstreams [--check] [-o FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from joulebit_host.bitstreams.manifest import read_manifest
from joulebit_host.bitstreams.store import repository
from joulebit_host.bitstreams.virtual import virtual_files


def _existing(folder: Path) -> dict[str, bytes]:
    """The files of the virtual bitstreams in a folder, by name."""
    found = {}
    for path in folder.glob("*_virtual_*"):
        found[path.name] = path.read_bytes()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m joulebit_host.bitstreams", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where files differ")
    parser.add_argument(
        "-o", "--output", type=Path, default=repository(), help="folder; the checkout's by default"
    )
    arguments = parser.parse_args()
    if arguments.output is None:
        parser.error("name a folder by -o: this package does not run from a checkout")
    wanted, there = virtual_files(), _existing(arguments.output) if arguments.output.is_dir() else {}
    stale = sorted(name for name in there if name not in wanted)
    changed = sorted(name for name, data in wanted.items() if there.get(name) != data)
    if arguments.check:
        for name in changed + stale:
            print(f"{'stale' if name in stale else 'missing or different'}: {arguments.output / name}")
        return 1 if changed or stale else 0
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (arguments.output / name).unlink()
    for name, data in wanted.items():
        (arguments.output / name).write_bytes(data)
    for path in sorted(arguments.output.glob("*_virtual_*.json")):
        manifest = read_manifest(path)
        manifest.bitstream(arguments.output)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
