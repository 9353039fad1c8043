"""What the meters' tests share: emulator and decoder of each serial kind, side by side."""

from __future__ import annotations

import pytest

from joulebit_host.meters.emulators.catalogue import EMULATORS
from joulebit_host.meters.registry import decoder_for

PAIRS = [
    ("ina226", {"sequence_bits": 16}, {"sequence_bits": 16, "sequence_start": 65_000}),
    ("ina226", {}, {"sequence_start": (1 << 32) - 300, "clock_start_us": (1 << 32) - 5_000_000}),
    ("ina219", {}, {}),
    ("wt300", {}, {}),
    ("scpi", {"power": "MEAS:POW?"}, {}),
    ("ruideng", {"model": "UM24C"}, {"model": "UM24C"}),
    ("ruideng", {"model": "UM25C"}, {"model": "UM25C"}),
    ("ruideng", {"model": "UM34C"}, {"model": "UM34C"}),
    ("pzem", {"model": "017"}, {"model": "017"}),
    ("pzem", {"model": "004T"}, {"model": "004T"}),
    ("wattsup", {}, {}),
]


def name_of(pair: tuple[str, dict, dict]) -> str:
    kind, settings, _ = pair
    return "-".join([kind, *(str(v) for v in settings.values() if len(str(v)) < 8)])


@pytest.fixture(params=PAIRS, ids=name_of)
def pair(request):
    """(kind, decoder maker, emulator maker) of one serial meter."""
    kind, settings, emulated = request.param

    def emulator(curve, **more):
        return EMULATORS[kind](curve, **emulated, **more)

    return kind, lambda: decoder_for(kind, settings), emulator
