"""Pickles that would run something do not."""

import io
import os
import pickle

import numpy as np
import pytest

from joulebit.data.safe_pickle import load_plain_pickle


def load(data):
    return load_plain_pickle(io.BytesIO(data))


class _Calls:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_a_command_is_refused_before_it_runs(tmp_path, protocol):
    witness = tmp_path / "witness"
    data = pickle.dumps({b"data": _Calls(os.system, f"touch {witness}")}, protocol)
    with pytest.raises(pickle.UnpicklingError, match=r"it names (posix|nt)\.system"):
        load(data)
    assert not witness.exists()


@pytest.mark.parametrize(
    "call",
    [
        _Calls(eval, "1 + 1"),
        _Calls(getattr, "", "format"),
        _Calls(np.fromfile, "/etc/hostname"),
        _Calls(np.zeros, 10),
        _Calls(bytearray, 10),
        _Calls(pickle.loads, b"N."),
    ],
    ids=["eval", "getattr", "fromfile", "zeros", "bytearray", "loads"],
)
def test_every_other_name_is_refused(call):
    with pytest.raises(pickle.UnpicklingError, match=r"it names .*, which no data file needs"):
        load(pickle.dumps(call, 2))


@pytest.mark.parametrize("name", ["ndarray.tofile", "dtype.__class__", "_reconstruct.__globals__"])
def test_attributes_of_allowed_names_are_not_reached(name):
    module = b"numpy" if not name.startswith("_") else b"numpy.core.multiarray"
    data = (
        b"\x80\x04\x8c" + bytes([len(module)]) + module + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
    )
    with pytest.raises(pickle.UnpicklingError, match="it names"):
        load(data)


def test_other_codecs_are_refused():
    """``_codecs.encode`` with any codec could unpack a bomb."""
    with pytest.raises(pickle.UnpicklingError, match="an encoding to 'zlib', expected latin1"):
        load(b"c_codecs\nencode\n(Vx\nVzlib\ntR.")


def test_persistent_and_extension_objects_are_refused():
    for data in (b"Pname\n.", b"\x80\x02\x82\x01."):
        with pytest.raises(pickle.UnpicklingError):
            load(data)


def test_object_arrays_are_refused():
    with pytest.raises(pickle.UnpicklingError, match="array type 'O8', expected u1"):
        load(pickle.dumps({"data": np.array([{}, []], object)}, 2))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (b"K\x01K\x02\x86", "state is not"),
        (b"(K\x01K\x02K\x03K\x04K\x05t", "does not hold a shape"),
    ],
)
def test_forged_array_states_are_refused(state, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        load(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R" + state + b"b.")


def test_a_shape_that_its_bytes_do_not_fill_is_refused():
    class Forged:
        def __reduce__(self):
            whole = np.zeros((2, 3), np.uint8).__reduce__()
            return (whole[0], whole[1], (1, (1 << 40, 3), np.dtype("u1"), False, b"abc"))

    with pytest.raises(pickle.UnpicklingError, match=r"array of shape \[1099511627776, 3\] with 3 bytes"):
        load(pickle.dumps(Forged(), 2))


@pytest.mark.parametrize("protocol", range(5))
def test_plain_values_and_byte_arrays_come_back(protocol):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    value = load(pickle.dumps({"a": [1, 2.5, None, ("x",)], "b": array}, protocol))
    assert value["a"] == [1, 2.5, None, ("x",)]
    assert np.array_equal(value["b"], array)
    assert np.array_equal(load(pickle.dumps(array, protocol)), array)


def test_any_cut_of_a_pickle_is_an_unpickling_error():
    data = pickle.dumps({"data": np.arange(6, dtype=np.uint8), "labels": [1, 2]}, 2)
    for length in range(len(data) - 1):
        with pytest.raises(pickle.UnpicklingError):
            load(data[:length])
