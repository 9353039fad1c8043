"""The presets: configurations that come with the package, one TOML file each in the folder `presets`.

A file whose name starts with an underscore only serves to be extended and is not listed.
"""

from __future__ import annotations

from pathlib import Path

from joulebit.errors import did_you_mean
from joulebit.experiments.validators import ConfigError

FOLDER = Path(__file__).with_name("presets")


def names() -> list[str]:
    """All presets, sorted."""
    return sorted(file.stem for file in FOLDER.glob("*.toml") if not file.stem.startswith("_"))


def path(name: str) -> Path:
    """The file of a preset; ConfigError names the nearest known one."""
    file = FOLDER / f"{name}.toml"
    if not file.is_file():
        raise ConfigError(
            f"unknown preset {name!r}{did_you_mean(name, names())}: "
            "`joulebit presets` lists them; the path of a file ends in .toml"
        )
    return file
