"""cocotb and cocotbext-axi on the whole accelerator: hw/tb/accelerator_cocotb.py."""

import os
import sys
from pathlib import Path

import pytest

from joulebit.accelerator.build import hardware_folder, sources, verilator_environment
from joulebit.spec.accelerator import CONFIGS


@pytest.mark.rtl
@pytest.mark.slow
@pytest.mark.parametrize("config", ["tiny"])
def test_all_passes_with_random_pauses_on_the_buses(config, tmp_path, monkeypatch):
    from cocotb_tools.runner import get_runner

    for name, value in verilator_environment().items():
        monkeypatch.setenv(name, value)
    folders = [str(hardware_folder() / "tb"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    monkeypatch.setattr(sys, "path", [*folders[:2], *sys.path])
    runner = get_runner("verilator")
    runner.build(
        sources=[*sources(), hardware_folder() / "tb" / "tb_accelerator.sv"],
        hdl_toplevel="tb_accelerator",
        parameters={"Config": list(CONFIGS).index(config)},
        build_args=["-Wno-fatal", "-Wno-lint", "--unroll-count", "256", "-CFLAGS", "-O0"],
        build_dir=str(tmp_path / "build"),
    )
    results = runner.test(
        hdl_toplevel="tb_accelerator",
        test_module="accelerator_cocotb",
        build_dir=str(tmp_path / "build"),
        test_dir=str(tmp_path),
        extra_env={"JB_CONFIG": config},
    )
    text = Path(results).read_text()
    assert "<failure" not in text
    assert "<error" not in text
    assert text.count("<testcase") == 10
