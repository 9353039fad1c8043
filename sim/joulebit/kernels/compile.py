"""The `@kernel` decorator: one place for the compiler's options, and an on-disk cache that notices edits.

numba's own cache looks at the file that holds a function and misses edits in functions that it calls from
other files. Here the cache directory is named after a hash of all kernel sources, the versions of numba and
llvmlite, the processor and JOULEBIT_CPU. JOULEBIT_CACHE_DIR overrides its parent, ~/.cache/joulebit/kernels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config

from joulebit.kernels.cpu import cpu_level, host_features


@cache
def cache_directory() -> Path:
    """Where the compiled kernels of exactly these sources, on this processor, are kept."""
    parent = os.environ.get("JOULEBIT_CACHE_DIR")
    if not parent:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        parent = os.path.join(base, "joulebit", "kernels")
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    digest.update(f"{numba.__version__} {llvmlite.__version__} {cpu_level().name}".encode())
    digest.update(f"{config.BOUNDSCHECK} {config.CPU_NAME} {config.CPU_FEATURES} {config.OPT}".encode())
    digest.update(" ".join(sorted(host_features())).encode())
    return Path(parent) / digest.hexdigest()[:20]


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel: no GIL, C division, machine integers; widths and modes come in as arguments."""
    previous = config.CACHE_DIR
    config.CACHE_DIR = str(cache_directory())
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = previous


def inline(function: Callable[..., Any]) -> Any:
    """A helper that is compiled into each kernel that calls it."""
    return numba.njit(nogil=True, error_model="numpy", inline="never", forceinline=True)(function)


def called(function: Callable[..., Any]) -> Any:
    """A helper that kernels call: worth it where its loop needs the registers that theirs would leave it."""
    return numba.njit(nogil=True, error_model="numpy")(function)
