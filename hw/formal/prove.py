"""Runs the proofs of this folder by yowasp-sby and z3, and prints what was proved and how.

    python hw/formal/prove.py            # all
    python hw/formal/prove.py fifo walk  # some

A proof by k-induction holds for all time; a bounded one for so many cycles after a reset.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RTL = HERE.parent / "rtl"
BUILD = HERE.parent / "build" / "formal"


@dataclass(frozen=True)
class Proof:
    """One proof.

    Attributes:
        top: module that carries the properties.
        sources: files of this folder and of ../rtl.
        depth: cycles: of the induction, or of the bounded check.
        prove: by k-induction, else bounded.
        parameters: of the top module, smaller than in the design where that makes it possible.
        twin: a module that is read with SYNTHESIS first, with its vendor's cells, and renamed to `<name>_cells`.
        product: a file with what stands for multipliers.
    """

    name: str
    top: str
    sources: tuple[str, ...]
    depth: int
    prove: bool
    claim: str
    parameters: tuple[tuple[str, int], ...] = ()
    twin: str = ""
    product: str = ""


PROOFS = (
    Proof("skid", "jb_skid", ("jb_skid.sv",), 4, True, "order, no loss, offers stand", (("Width", 4),)),
    Proof(
        "fifo",
        "jb_fifo",
        ("jb_fifo.sv",),
        4,
        True,
        "order, no loss, limits, offers stand",
        (("Width", 4), ("Depth", 8)),
    ),
    Proof(
        "fifo_bram",
        "fv_fifo_bram",
        ("jb_fifo.sv", "jb_fifo_bram.sv", "fv_fifo_bram.sv"),
        12,
        False,
        "order, no loss, limits, offers stand",
    ),
    Proof(
        "walk", "jb_dma_walk", ("jb_dma_walk.sv",), 3, True, "length, 4 KB, never beyond the request, offers stand"
    ),
    Proof(
        "read_port",
        "fv_read_port",
        ("jb_axi_rules.sv", "jb_axi_read_port.sv", "fv_read_port.sv"),
        12,
        False,
        "AXI3 rules, outstanding bursts, beats to their owner",
    ),
    Proof(
        "write_port",
        "fv_write_port",
        ("jb_axi_rules.sv", "jb_skid.sv", "jb_fifo.sv", "jb_axi_write_port.sv", "fv_write_port.sv"),
        10,
        False,
        "AXI3 rules, no interleaving, data in order and never beyond the request",
    ),
    Proof(
        "lite_bridge",
        "fv_lite_bridge",
        ("jb_axi_lite_bridge.sv", "fv_lite_bridge.sv"),
        12,
        False,
        "requests stand, bursts have their length, one response",
    ),
    Proof(
        "registers",
        "fv_registers",
        ("jb_pkg.sv", "jb_registers.sv", "jb_registers_counters.sv", "fv_registers.sv"),
        4,
        True,
        "AXI4-Lite handshakes, no event is lost",
    ),
    Proof(
        "mac",
        "fv_mac",
        ("jb_mac.sv", "fv_mac.sv"),
        12,
        False,
        "the array's multiplier and its DSP48E1 are the same",
        twin="jb_mac",
        product="fv_mac_product.v",
    ),
    Proof(
        "mux8",
        "fv_mux8",
        ("jb_mux8.sv", "fv_mux8.sv"),
        1,
        True,
        "the selector of eight and its MUXF7 are the same",
        twin="jb_mux8",
    ),
)


def find(name: str) -> Path:
    """A file of this folder or of the RTL."""
    for folder in (HERE, RTL):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{name} is neither in {HERE} nor in {RTL}")


def script(proof: Proof) -> str:
    """The sby file of a proof."""
    define = "-DJB_PROPERTIES " if proof.top.startswith("jb_") else ""
    reads = "\n".join(f"read_verilog -sv -formal {define}{name}" for name in proof.sources)
    if proof.twin:
        cells = "read_verilog -sv +/xilinx/cells_sim.v\n"
        twin = f"read_verilog -sv -formal -DSYNTHESIS {proof.twin}.sv\nrename {proof.twin} {proof.twin}_cells\n"
        reads = f"{cells}{twin}{reads}"
    product = f"techmap -map {proof.product}\nselect -assert-none t:$mul\n" if proof.product else ""
    parameters = "".join(f" -chparam {name} {value}" for name, value in proof.parameters)
    properties = [f"{proof.top}_properties.svh"] if define else []
    extra = [proof.product] if proof.product else []
    files = "\n".join(str(find(name)) for name in (*proof.sources, *properties, *extra))
    return (
        f"[options]\nmode {'prove' if proof.prove else 'bmc'}\ndepth {proof.depth}\n\n"
        f"[engines]\nsmtbmc z3\n\n"
        f"[script]\n{reads}\nhierarchy -check -top {proof.top}{parameters}\nprep -top {proof.top} -flatten\n"
        f"{product}memory_map\nopt -full\n\n[files]\n{files}\n"
    )


def run(proof: Proof) -> tuple[bool, float]:
    """Whether the proof holds, and the seconds it took."""
    BUILD.mkdir(parents=True, exist_ok=True)
    file = BUILD / f"{proof.name}.sby"
    file.write_text(script(proof))
    tools = Path(sysconfig.get_path("scripts"))
    command = [str(tools / "yowasp-sby"), "-f", "-d", str(BUILD / proof.name)]
    for option, tool in (("yosys", "yosys"), ("smtbmc", "yosys-smtbmc"), ("witness", "yosys-witness")):
        command += [f"--{option}", str(tools / f"yowasp-{tool}")]
    start = time.monotonic()
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        print(done.stdout[-4000:] + done.stderr[-2000:], file=sys.stderr)
    return done.returncode == 0, time.monotonic() - start


def main() -> int:
    parser = argparse.ArgumentParser(description="Prove the properties of the RTL.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(proof.name for proof in PROOFS)}")
    names = parser.parse_args().names
    unknown = set(names) - {proof.name for proof in PROOFS}
    if unknown:
        parser.error(f"no proof named {', '.join(sorted(unknown))}")
    failed = []
    for proof in PROOFS:
        if names and proof.name not in names:
            continue
        holds, seconds = run(proof)
        how = "k-induction" if proof.prove else f"{proof.depth} cycles"
        print(
            f"{'proved' if holds else 'FAILED':8} {proof.name:12} {how:12} {seconds:6.1f} s  {proof.claim}",
            flush=True,
        )
        if not holds:
            failed.append(proof.name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
