"""The emulated CUDA device refuses what a real one refuses, and computes the rest to the same bits."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from emulated_cuda import MISSING, TABLE, CudaTensor, EmulatedCuda, tf32_switched_on

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@pytest.fixture
def cuda():
    with EmulatedCuda(devices=2) as device:
        yield device


def ones(*shape, dtype=torch.int64, device="cuda"):
    return torch.ones(shape, dtype=dtype, device=device)


def int8_product(rows, length, columns):
    return torch._int_mm(ones(rows, length, dtype=torch.int8), ones(columns, length, dtype=torch.int8).t())


FAULTS = {
    "a vector of the other device": (lambda: ones(3) + torch.ones(3), "same device, but found cpu, cuda:0"),
    "a vector of the other GPU": (lambda: ones(3) + ones(3, device="cuda:1"), "found cuda:0, cuda:1"),
    "a device scalar in a CPU operation": (lambda: torch.ones(3) * ones(), "same device"),
    "writing into a CPU scalar": (lambda: torch.tensor(1).add_(ones()), "same device"),
    "a CPU scalar where it is no element": (lambda: torch.cat([ones(1), torch.ones(())]), "same device"),
    "a CPU index of index_select": (lambda: ones(3).index_select(0, torch.tensor([0])), "same device"),
    "values of index_put_ on the CPU": (
        lambda: ones(3).index_put_((ones(1),), torch.ones(1, dtype=torch.int64)), "same device",
    ),
    "a CPU tensor at device positions": (lambda: torch.ones(3)[ones(1)], "same device"),
    "a GPU that is not there": (lambda: ones(3, device="cuda:2"), "invalid device ordinal"),
    "numpy": (lambda: ones(3).numpy(), "can't convert cuda:0 device type tensor to numpy"),
    "numpy.asarray": (lambda: np.asarray(ones(3)), "can't convert cuda:0 device type tensor to numpy"),
    "pinned device memory": (lambda: ones(3).pin_memory(), "cannot pin a CUDA tensor"),
    "a copy to the host that does not wait": (lambda: ones(3).to("cpu", non_blocking=True), "may read"),
    "a product of integer matrices": (lambda: ones(2, 2) @ ones(2, 2), "mm: not implemented .* torch.int64"),
    "a product of integer batches": (lambda: ones(2, 2, 2) @ ones(2, 2, 2), "bmm: not implemented"),
    "shifting floats": (lambda: ones(3, dtype=torch.float64) << 1, "bitwise_left_shift|__lshift__"),
    "an int8 product of 16 rows": (lambda: int8_product(16, 8, 8), "_int_mm: CUBLAS_STATUS_NOT_SUPPORTED"),
    "an int8 product of length 12": (lambda: int8_product(24, 12, 8), "_int_mm"),
    "an int8 product of 9 columns": (lambda: int8_product(24, 8, 9), "_int_mm"),
    "an int8 product of 17 rows": (lambda: int8_product(17, 8, 8), "_int_mm"),
    "an int8 product of row-major operands": (
        lambda: torch._int_mm(ones(32, 8, dtype=torch.int8), ones(8, 8, dtype=torch.int8)), "_int_mm",
    ),
    "an int8 product in the middle of memory": (
        lambda: torch._int_mm(ones(33, 8, dtype=torch.int8)[1:], ones(8, 8, dtype=torch.int8).t()), "_int_mm",
    ),
    "a sum of uint16": (lambda: ones(3, dtype=torch.uint16).sum(), "sum: not implemented .* torch.uint16"),
    "arithmetic in uint16": (lambda: ones(3, dtype=torch.uint16) + 1, "add: not implemented"),
    "an index into uint16": (lambda: ones(3, dtype=torch.uint16)[ones(1)], "index: not implemented"),
    "a float32 product": (lambda: ones(2, 2, dtype=torch.float32) @ ones(2, 2, dtype=torch.float32), "not exact"),
    "a float32 sum": (lambda: ones(3, dtype=torch.float32).sum(), "sum: not exact in float32"),
    "a float scan": (lambda: ones(3, dtype=torch.float64).cumsum(0), "order of the sums"),
    "float additions by index": (
        lambda: ones(3, dtype=torch.float64).index_add_(0, ones(2), ones(2, dtype=torch.float64)), "order",
    ),
    "an operation without a rule": (lambda: torch.ops.aten._fused_dropout(ones(3), 0.5), "nothing says"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_refused(name, cuda):
    operation, error = FAULTS[name]
    with pytest.raises((RuntimeError, TypeError), match=error):
        operation()


def test_what_a_device_allows_is_computed(cuda):
    x = torch.arange(6, device="cuda").reshape(2, 3)
    assert isinstance(x, CudaTensor)
    assert (x.device, x.is_cuda, x.to("cpu").is_cuda) == (torch.device("cuda", 0), True, False)
    found = (x + torch.tensor(1))[torch.tensor([1])].to(torch.uint16).to(torch.int32)
    assert found.cpu().numpy().tolist() == [[4, 5, 6]]
    assert int8_product(24, 8, 8).cpu().eq(8).all()
    target = torch.zeros(6, dtype=torch.int64)
    target.copy_(x.reshape(-1).cpu())
    assert target.tolist() == list(range(6))


def test_float32_products_need_tf32_switched_off():
    with EmulatedCuda(float32=True):
        a = ones(2, 2, dtype=torch.float32)
        assert (a @ a).cpu().eq(2).all()
        with tf32_switched_on(), pytest.raises(RuntimeError, match="mm: TF32 is allowed"):
            a @ a
        image, kernel = a[None, None], a[None, None]
        with pytest.raises(RuntimeError, match="convolution: TF32 is allowed"):
            torch.nn.functional.conv2d(image, kernel)
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            assert torch.nn.functional.conv2d(image, kernel).cpu().eq(4).all()


def test_host_and_device_share_no_memory(cuda):
    host = np.zeros(2, np.int64)
    for tensor in (torch.as_tensor(host, device="cuda"), torch.from_numpy(host).to("cuda")):
        back = tensor.cpu()
        tensor += 1
        back += 2
        assert (host.tolist(), tensor.cpu().tolist(), back.tolist()) == ([0, 0], [1, 1], [2, 2])


def test_waits_are_counted(cuda):
    x = torch.zeros(10, dtype=torch.int64, device="cuda")
    y = x[:5] + 1
    assert (cuda.waits, cuda.launches["add"]) == (0, 1)
    assert int(y.sum()) == 5
    assert cuda.waits == 1
    y.copy_(torch.arange(5))
    assert cuda.waits == 2
    x[torch.tensor([2])] = 3  # positions from the CPU, and a value that is filled in
    assert cuda.waits == 3
    assert x[x > 0].cpu().tolist() == [3]  # the device counts, then copies
    assert cuda.waits == 5


def test_bytes_are_counted(cuda):
    x = torch.zeros(1000, dtype=torch.int64, device="cuda")
    y = x[:10]
    assert cuda.used == 8000
    z = y + 1
    assert cuda.used == 8080
    del x, z
    assert (cuda.used, cuda.peak) == (8000, 8080)
    del y
    assert cuda.used == 0


def test_the_device_is_gone_afterwards():
    with EmulatedCuda():
        assert torch.cuda.is_available()
    assert not torch.cuda.is_available()
    with pytest.raises((RuntimeError, AssertionError), match=re.compile("cuda|nvidia", re.IGNORECASE)):
        torch.ones(1, device="cuda")


def test_the_table_of_dtypes_is_of_the_installed_torch():
    assert TABLE["torch"] == torch.__version__.partition("+")[0]  # else: python tests/cuda_dtypes.py
    assert set(MISSING["mm"]) >= {"int8", "int16", "int32", "int64"}
    assert MISSING["sum"] == []
    assert set(MISSING["bitwise_left_shift"]) == {"bool", "float32", "float64"}
