"""Where bitstreams lie, and the choice of the one that fits."""

from __future__ import annotations

import os
from pathlib import Path

from joulebit.errors import JoulebitError, did_you_mean
from joulebit.spec.accelerator import CONFIGS, specification_hash
from joulebit_host.bitstreams.manifest import KINDS, Manifest, read_manifest
from joulebit_host.boards.base import Bitstream

__all__ = ["VARIABLE", "directories", "find", "manifests", "repository"]

VARIABLE = "JOULEBIT_BITSTREAMS"  #: further folders, separated as in PATH
_PACKAGED = Path(__file__).with_name("files")  #: in the checkout a link to `bitstreams/`


def repository() -> Path | None:
    """`bitstreams/` of the checkout that this package runs from, if it does."""
    root = Path(__file__).resolve().parents[3]
    return root / "bitstreams" if (root / "hw" / "synth").is_dir() else None


def directories() -> list[Path]:
    """Folders that are looked into, in this order: those of the variable, then the package's own."""
    named = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    missing = [str(path) for path in named if not path.is_dir()]
    if missing:
        raise JoulebitError(f"{VARIABLE} names {', '.join(missing)}, which is no folder")
    own = next((path for path in (repository(), _PACKAGED) if path is not None and path.is_dir()), None)
    return named + ([own] if own is not None else [])


def manifests() -> list[tuple[Path, Manifest]]:
    """(folder, manifest) of every bitstream there is."""
    return [
        (path.parent, read_manifest(path)) for folder in directories() for path in sorted(folder.glob("*.json"))
    ]


def _build_command(config: str, virtual: bool) -> str:
    if virtual:
        return "write it by `python -m joulebit_host.bitstreams`"
    return (
        f"build it by `make -C hw vivado ARGS='--config {config}'` (or openxc7) where the tools are installed, "
        f"and copy .bit, .hwh and .json to a folder that {VARIABLE} names"
    )


def find(config: str, virtual: bool | None = None) -> Bitstream:
    """The bitstream of a configuration that this package's driver can use, its files checked.

    Args:
        config: of `joulebit.spec.accelerator.CONFIGS`.
        virtual: True for virtual boards, False for real ones, None for a real one if there is any.

    Raises:
        JoulebitError: names what there is, why it does not fit, and what to build.
    """
    if config not in CONFIGS:
        raise JoulebitError(
            f"no configuration {config!r}{did_you_mean(config, CONFIGS)}; known: {', '.join(CONFIGS)}"
        )
    wanted = [
        (folder, manifest)
        for folder, manifest in manifests()
        if manifest.configuration == config and virtual in (None, manifest.kind == "virtual")
    ]
    fitting = [(folder, manifest) for folder, manifest in wanted if manifest.mismatch() is None]
    if fitting:
        folder, manifest = min(fitting, key=lambda item: KINDS.index(item[1].kind))
        return manifest.bitstream(folder)
    kind = "virtual " if virtual else "" if virtual is None else "real "
    there = "; ".join(f"{manifest.name} has {manifest.mismatch()}" for _, manifest in wanted)
    looked = ", ".join(map(str, directories())) or "no folder"
    raise JoulebitError(
        f"no {kind}bitstream of configuration {config} and specification {specification_hash()[:8]} in {looked}"
        f"{f' ({there})' if there else ''}: {_build_command(config, bool(virtual))}"
    )
