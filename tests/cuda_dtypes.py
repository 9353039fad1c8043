"""Writes cuda_dtypes.json: the dtypes for which a CUDA device has no kernel, by the operation's name in ATen.

    pip install expecttest      # which torch.testing's own module needs
    python tests/cuda_dtypes.py

Source: `op_db`, PyTorch's database of operations (torch.testing._internal.common_methods_invocations), whose
`dtypesIfCUDA` PyTorch's tests hold against its CUDA kernels. It knows no uint16, uint32 and uint64. Of an
operation with several entries (`bmm` has two), a dtype is missing only where all of them miss it.
"""

from __future__ import annotations

import json
import textwrap
from collections import defaultdict
from pathlib import Path

import torch

TABLE = Path(__file__).with_name("cuda_dtypes.json")
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")  #: that the table speaks of


def missing_dtypes() -> dict[str, list[str]]:
    """By sets of missing dtypes ("bool int8"): the operations that lack them, in alphabetical order, by lines."""
    from torch.testing._internal.common_methods_invocations import op_db

    known: dict[str, set[torch.dtype]] = defaultdict(set)
    for entry in op_db:
        for name in {entry.aten_name, entry.name}:
            if name and "." not in name:
                known[name] |= set(entry.dtypesIfCUDA)
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(known):
        groups[" ".join(each for each in DTYPES if getattr(torch, each) not in known[name])].append(name)
    return {missing: textwrap.wrap(" ".join(names), 110) for missing, names in sorted(groups.items())}


if __name__ == "__main__":
    table = {"torch": torch.__version__.partition("+")[0], "missing": missing_dtypes()}
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
