"""Devices of torch by their names."""

from __future__ import annotations

import torch

KINDS = ("cpu", "cuda")


def named_device(name: str) -> torch.device:
    """cpu, cuda (the current CUDA device), cuda:N, or auto: cuda where there is one, else cpu.

    Raises:
        ValueError: there is no such device on this machine, or this build of torch cannot use it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in KINDS or (number and not number.isdecimal()):
        raise ValueError(f"device must be cpu, cuda, cuda:N or auto, got {name!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but torch finds no CUDA device: use cpu or auto")
    last = torch.cuda.device_count() - 1
    if kind == "cuda" and number and int(number) > last:
        raise ValueError(f"device {name!r} was asked for, but the last one is cuda:{last}")
    try:
        torch.zeros(1, device=name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return torch.device(name)
