"""The RTL, compiled once per configuration; without Verilator these tests fail and say what to install."""

import pytest

from joulebit.accelerator.rtl import BusTiming, RtlModel

MEMORY = 1 << 22


@pytest.fixture(scope="session")
def devices():
    """Name of a configuration -> its device; one instance per configuration, never reset between tests."""
    made = {}

    def device(config="tiny"):
        if config not in made:
            made[config] = RtlModel(config, MEMORY)
        made[config].configure(BusTiming())
        return made[config]

    yield device
    for model in made.values():
        model.close()
