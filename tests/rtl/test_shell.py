"""The shell around the core (registers, DMA, descriptors, tile queue) under cocotb, with a stand-in core."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from joulebit.accelerator.build import verilator_environment

HW = Path(__file__).resolve().parents[2] / "hw"


def build_and_run(config: int, build: Path, tiles: int) -> None:
    from cocotb_tools.runner import get_results, get_runner

    os.environ.update(verilator_environment())
    rtl = [HW / "rtl" / "jb_pkg.sv", *sorted(path for path in (HW / "rtl").glob("jb_*.sv") if is_shell(path.stem))]
    if str(HW / "tb" / "shell") not in sys.path:
        sys.path.insert(0, str(HW / "tb" / "shell"))  # the runner hands it on
    runner = get_runner("verilator")
    runner.build(
        sources=[*rtl, HW / "formal" / "jb_axi_rules.sv", HW / "tb/shell/jb_core.sv", HW / "tb/shell/tb_shell.sv"],
        hdl_toplevel="tb_shell",
        parameters={"Config": config},
        build_args=["--assert", "-O3", "--x-assign", "unique", "-Wno-fatal"],
        build_dir=build,
        always=True,
    )
    results = runner.test(
        test_module="shell_bench",
        hdl_toplevel="tb_shell",
        build_dir=build,
        test_dir=build,
        extra_env={
            "JB_CONFIG": str(config),
            "JB_TILES": str(tiles),
        },
    )
    total, failed = get_results(results)
    assert total > 0
    assert failed == 0, f"{failed} of {total} tests failed: see the output above"


def is_shell(name: str) -> bool:
    """Modules outside the core."""
    return name.startswith(
        ("jb_axi_", "jb_dma_", "jb_fifo", "jb_skid", "jb_registers", "jb_descriptor_", "jb_tile_")
    ) or (name in ("jb_control", "jb_engine", "jb_loader", "jb_run_control", "jb_top"))


def test_the_shell_in_the_smallest_configuration(tmp_path: Path) -> None:
    build_and_run(2, tmp_path, tiles=6)


@pytest.mark.slow
@pytest.mark.parametrize("config", [0, 1])
def test_the_shell_in_the_other_configurations(config: int, tmp_path: Path) -> None:
    build_and_run(config, tmp_path, tiles=6)
