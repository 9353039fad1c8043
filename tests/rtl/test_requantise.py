"""One lane of the output path, alone: every mode and shift, at ties and at the ends of every range."""

import random
import subprocess
from pathlib import Path

import pytest

from joulebit.accelerator.build import verilator_environment

pytestmark = pytest.mark.rtl
HW = Path(__file__).resolve().parents[2] / "hw"
LIMIT = (1 << 47) - 1


@pytest.fixture(scope="module")
def lane(tmp_path_factory):
    folder = tmp_path_factory.mktemp("requantise")
    bench = HW / "tb" / "requantise" / "requantise_bench.cpp"
    command = ["verilator", "--cc", "--exe", "--build", "-Wall", "-CFLAGS", "-O1"]
    command += ["--Mdir", str(folder), "-o", "bench"]
    command += [str(HW / "rtl" / "jb_requantise.sv"), str(bench)]
    subprocess.run(command, check=True, env=verilator_environment(), capture_output=True)

    def run(cases):
        text = "".join(f"{shift} {rounding} {relu} {value}\n" for shift, rounding, relu, value in cases)
        done = subprocess.run([folder / "bench"], input=text, text=True, capture_output=True, check=True)
        return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]

    return run


def rounded(value, shift, rounding):
    """RND*(v, s) of the numeric specification, section 1."""
    if shift == 0:
        return value
    half = 1 << (shift - 1)
    sign = -1 if value < 0 else 1
    return (
        (value + half) >> shift,
        (value + half - 1 + ((value >> shift) & 1)) >> shift,
        sign * ((abs(value) + half) >> shift),
        sign * (abs(value) >> shift),
        value >> shift,
    )[rounding]


def expected(shift, rounding, relu, value):
    wide = rounded(value, shift, rounding)
    if relu:
        return wide, min(max(wide, 0), 255), int(wide > 255)
    return wide, min(max(wide, -32767), 32767), int(abs(wide) > 32767)


def values(shift, random_source):
    """Ties and their neighbours near 0 and near the clamps, one lost bit at each place, the ends, anything."""
    half = 1 << shift >> 1
    whole = [0, 1, 2, 3, 254, 255, 256, 32766, 32767, 32768]
    near = [(n << shift) + half + d for n in whole for d in (-1, 0, 1)]
    near += [half + (1 << place) for place in range(shift)]
    near += [LIMIT, LIMIT - 1, *(random_source.randrange(LIMIT) for _ in range(10))]
    return [sign * value for value in near for sign in (1, -1) if value <= LIMIT]


@pytest.mark.parametrize("rounding", range(5))
def test_every_shift_as_the_specification_says(lane, rounding):
    source = random.Random(rounding)
    cases = [
        (shift, rounding, relu, value) for shift in range(48) for relu in (0, 1) for value in values(shift, source)
    ]
    found = lane(cases)
    assert len(found) == len(cases)
    wrong = [(case, got, expected(*case)) for case, got in zip(cases, found) if got != expected(*case)]
    assert not wrong, wrong[:3]
