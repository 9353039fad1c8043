import re

from joulebit.spec import accelerator as spec
from joulebit.spec.generate import PACKAGE_PATH, main, package


def localparams(text):
    return {name: value for name, value in re.findall(r"localparam [^=]*?(\w+) = ([^;]+);", text)}


def test_the_committed_package_is_the_one_that_the_specification_gives():
    assert PACKAGE_PATH.read_text() == package()
    assert main(["--check"]) == 0


def test_a_package_that_was_edited_by_hand_is_found(tmp_path):
    edited = tmp_path / "jb_pkg.sv"
    edited.write_text(package().replace("localparam int SHIFT_BITS = 8;", "localparam int SHIFT_BITS = 9;"))
    assert edited.read_text() != package()
    assert main(["--check", "--output", str(edited)]) == 1
    assert main(["--output", str(edited)]) == 0
    assert edited.read_text() == package()


def test_every_name_is_there_once_and_fields_fill_their_blocks():
    names = re.findall(r"localparam [^=]*?(\w+) =", package())
    assert len(names) == len(set(names))
    values = localparams(package())
    for prefix, table, size in (("", spec.DESCRIPTOR, 128), ("RESULT_", spec.RESULT, 64)):
        covered = []
        for field in table:
            low = int(values[f"{prefix}{field.name.upper()}_LSB"])
            covered += range(low, low + int(values[f"{prefix}{field.name.upper()}_BITS"]))
        assert covered == list(range(8 * size))
    for kind, prefix in ((spec.ErrorBit, "ERR"), (spec.Flag, "FLAG")):
        assert all(int(values[f"{prefix}_{member.name}"]) == member.value for member in kind)
