"""Energy tables: the published constants, the laws between them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulebit.energy.table import EnergyTableError, load_table, parse_table, table_names

TEXT = """
name = "mine"
title = "Mine"
source = "a bench"
[mac]
default_pj = 2.0
[mac.pj]
fp32 = 9.0
[op.pj]
int16 = 1.0
int32 = 2.0
fp32 = 3.0
[memory]
sram_pj_per_byte = 1.5
dram_pj_per_byte = 100.0
[static]
power_w = 0.5
[throughput]
clock_hz = 1e8
macs_per_cycle = 10.0
[throughput.by_kind]
8x8 = 20.0
"""


def test_the_package_has_two_tables_that_load_under_their_names() -> None:
    assert table_names() == ["45nm", "xc7z020"]
    for name in table_names():
        assert load_table(name).name == name


def test_45nm_meets_the_published_constants() -> None:
    table = load_table("45nm")
    assert table.multiply is not None and table.add is not None
    assert table.multiply(8 * 8) == pytest.approx(0.2)
    assert table.multiply(32 * 32) == pytest.approx(3.1)
    assert table.add(8) == pytest.approx(0.03)
    assert table.add(32) == pytest.approx(0.1)
    assert table.mac_pj("fp32") == pytest.approx(3.7 + 0.9)
    assert table.sram_pj_per_byte * 8 == 20
    assert 1300 <= table.dram_pj_per_byte * 8 <= 2600


def test_the_paper_s_95_and_97_percent_follow_from_45nm() -> None:
    table = load_table("45nm")
    assert table.multiply is not None and table.add is not None
    assert round(100 * (1 - table.multiply(64) / 3.7)) == 95
    assert round(100 * (1 - table.add(8) / 0.9)) == 97


def test_other_widths_lie_on_a_power_law() -> None:
    table = load_table("45nm")
    # log(3.1 / 0.2) / log(1024 / 64) = 0.98857; 128 bit products: 0.2 * 2^0.98857 = 0.39684, and an addition.
    assert table.mac_pj("8x8") == pytest.approx(0.3)
    assert table.mac_pj("8x16") == pytest.approx(0.49684, abs=1e-4)
    assert table.mac_pj("16x8") == table.mac_pj("8x16")
    assert table.mac_pj("4x10") == pytest.approx(0.2 * (40 / 64) ** 0.98857 + 0.1, abs=1e-5)


def test_45nm_operations_agree_with_its_laws() -> None:
    table = load_table("45nm")
    assert table.op_pj("int16") == pytest.approx(table.mac_pj("16x16"), abs=1e-4)
    assert table.op_pj("int32") == pytest.approx(table.mac_pj("32x32"), abs=1e-4)
    assert table.op_pj("fp32") == table.mac_pj("fp32")


def test_wider_operands_never_cost_less() -> None:
    for name in table_names():
        energies = [load_table(name).mac_pj(kind) for kind in ("4x10", "8x8", "8x16", "8x32", "fp32")]
        assert energies == sorted(energies)


def test_a_table_of_one_s_own_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    table = load_table(str(path))
    assert (table.name, table.mac_pj("3x7"), table.mac_pj("fp32")) == ("mine", 2.0, 9.0)
    assert table.macs_per_s("8x8") == 2e9
    assert table.macs_per_s("8x16") == 1e9
    assert (table.byte_pj("sram"), table.byte_pj("dram")) == (1.5, 100.0)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(EnergyTableError, match="did you mean xc7z020"):
        load_table("xc7z02")
    with pytest.raises(EnergyTableError, match=r"no energy table at nowhere\.toml"):
        load_table("nowhere.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"', "", "t: name is missing"),
        ("default_pj = 2.0", "defualt_pj = 2.0", "mac.multiply is missing"),
        ("power_w = 0.5", "power_w = -0.5", "static.power_w must be a number of at least 0"),
        ("power_w = 0.5", "power_w = true", "static.power_w must be a number"),
        ("power_w = 0.5", "power_w = inf", "static.power_w must be a number"),
        ("clock_hz = 1e8", "clock_hz = 0", "throughput.clock_hz must be a number above 0"),
        (
            "power_w = 0.5",
            "power_w = 0.5\npowerw = 1",
            "static.powerw is no key of an energy table.*did you mean power_w",
        ),
        ("int32 = 2.0", "int31 = 2.0", "op.pj.int32 is missing"),
        ("int32 = 2.0", "int32 = 2.0\nint8 = 1.0", "op.pj.int8 is no key"),
        ("[static]", "[extra]\na = 1\n[static]", "t: extra is no key"),
        ("[memory]", "[[memory]]", "memory must be a table"),
        ("[mac]", "[mac", "t is no TOML"),
        ('title = "Mine"', "title = 3", "title must be a text"),
        ("default_pj = 2.0", "multiply = [[8, 8], [1, 1]]", "mac.multiply must be two rows of 3 numbers"),
        (
            "default_pj = 2.0",
            "multiply = [[8, 8, 1], [8, 8, 2]]\nadd = [[1, 1], [2, 2]]\naccumulate_bits = 32",
            "two different points",
        ),
    ],
)
def test_faulty_tables_are_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(EnergyTableError, match=message.replace("(", r"\(")):
        parse_table(TEXT.replace(old, new), "t")


def test_unknown_work_is_refused() -> None:
    table = load_table("45nm")
    with pytest.raises(EnergyTableError, match="kind 'int8'"):
        table.mac_pj("int8")
    with pytest.raises(EnergyTableError, match="kind 'int8'"):
        table.op_pj("int8")
    with pytest.raises(EnergyTableError, match="must be sram or dram"):
        table.byte_pj("flash")
