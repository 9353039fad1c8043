"""The emulators by the kind of meter that they play."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from joulebit_host.meters.emulators.emulator import Emulator
from joulebit_host.meters.emulators.ina226 import InaEmulator
from joulebit_host.meters.emulators.pzem import PzemEmulator
from joulebit_host.meters.emulators.ruideng import RuidengEmulator
from joulebit_host.meters.emulators.scpi import ScpiEmulator
from joulebit_host.meters.emulators.wattsup import WattsUpEmulator
from joulebit_host.meters.emulators.wt300 import WtEmulator

EMULATORS: dict[str, Callable[..., Emulator]] = {
    "ina226": InaEmulator,
    "ina219": partial(InaEmulator, chip="INA219"),
    "wt300": WtEmulator,
    "scpi": ScpiEmulator,
    "ruideng": RuidengEmulator,
    "pzem": PzemEmulator,
    "wattsup": WattsUpEmulator,
}
