"""Which kernels this machine can run: portable, AVX2 or AVX512-VNNI.

The environment variable JOULEBIT_CPU (generic, avx2 or avx512vnni) overrides the detection, for tests and for
comparing; asking for features that the processor lacks is an error. All levels produce the same bits.
"""

from __future__ import annotations

import os
from enum import IntEnum
from functools import cache


class CpuLevel(IntEnum):
    """Instruction sets that the fast kernels are written for, each including those before it."""

    GENERIC = 0  #: plain loops, left to the compiler
    AVX2 = 1  #: vpmaddwd on pairs of 16-bit integers, 256 bits wide
    AVX512VNNI = 2  #: vpdpbusd and vpdpwssd, 512 bits wide


_REQUIRED = {
    CpuLevel.GENERIC: (),
    CpuLevel.AVX2: ("avx2",),
    CpuLevel.AVX512VNNI: ("avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"),
}


@cache
def host_features() -> frozenset[str]:
    """Names of the features of this processor, as LLVM calls them; empty where LLVM cannot tell."""
    from llvmlite import binding

    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:
        return frozenset()
    return frozenset(name for name, present in features.items() if present)


def missing_features(level: CpuLevel) -> list[str]:
    """Features that `level` needs and this processor lacks."""
    return [name for name in _REQUIRED[level] if name not in host_features()]


@cache
def cpu_level() -> CpuLevel:
    """The level in use: the one named by JOULEBIT_CPU, else the highest that this processor has."""
    wanted = os.environ.get("JOULEBIT_CPU", "")
    if not wanted:
        return max(level for level in CpuLevel if not missing_features(level))
    known = {level.name.lower(): level for level in CpuLevel}
    if wanted not in known:
        raise ValueError(f"JOULEBIT_CPU must be one of {', '.join(known)}, got {wanted!r}")
    missing = missing_features(known[wanted])
    if missing:
        raise ValueError(f"JOULEBIT_CPU={wanted} needs {', '.join(missing)}, which this processor lacks")
    return known[wanted]
