"""A CUDA device for tests on machines without one: tensors in host memory that claim to be elsewhere.

    with EmulatedCuda() as cuda:
        TorchEngine(arithmetic, "cuda")
    cuda.waits    # how often the host waited for the device

Everything is computed by the CPU's kernels, so results can be compared with `==`. What a CUDA device refuses is
refused here, with the rules' sources:

- tensors of two devices in one operation; only elementwise operations take a 0-dimensional CPU tensor (operations
  tagged `pointwise`), and indexing takes CPU indices (PyTorch, "CUDA semantics": cross-GPU operations);
- numpy's looking into device memory, pinning it, and any aliasing of host and device memory: what is moved is
  copied; copies to the host that do not wait;
- dtypes for which an operation has no CUDA kernel: `cuda_dtypes.json`, from PyTorch's own database of operations.
  An operation that neither the database nor the short lists below know is refused, too;
- uint16, uint32 and uint64 in anything but copies and fills (AT_BAREBONES_UNSIGNED_TYPES of PyTorch's
  native/cuda/Copy.cu and FillKernel.cu);
- `torch._int_mm` of sizes that `_int_mm_out_cuda` refuses (native/cuda/Blas.cpp) or with which cuBLAS was seen to
  give wrong sums (rows that are no multiple of 8, pytorch/pytorch#107671); in another layout than rows times
  columns, the one that PyTorch's `test__int_mm` expects to work on all devices; of operands that do not lie at
  multiples of 256 bytes, the alignment that cublasLtMatmul takes for granted where it chooses the algorithm
  (CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, pytorch/pytorch#98975);
- `torch.cdist` of more than 2^31 - 1 distances: its kernel has a block for each (native/cuda/DistanceKernel.cu).

What a device would compute to other bits is refused as well: anything in float32 unless `float32=True` says that
it is meant, and then products with TF32; sums of floats in an order that changes from run to run (the list under
`torch.use_deterministic_algorithms`); products of batches of columns and rows whose result has 2^31 elements
(pytorch/pytorch#196431).

What it cannot show: faults in CUDA's kernels, races between streams, and speed.
"""

from __future__ import annotations

import json
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from cuda_dtypes import DTYPES
from cuda_dtypes import TABLE as TABLE_FILE
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

TABLE = json.loads(TABLE_FILE.read_text(encoding="utf-8"))
MISSING = {
    name: missing.split() for missing, lines in TABLE["missing"].items() for line in lines for name in line.split()
}
_ALIASES = {  # names in the dispatcher that the database does not use
    "__and__": "bitwise_and", "__iand__": "bitwise_and", "__or__": "bitwise_or", "__xor__": "bitwise_xor",
    "__lshift__": "bitwise_left_shift", "__rshift__": "bitwise_right_shift", "_cdist_forward": "cdist",
    "index": "__getitem__", "_unsafe_view": "view",
}  # fmt: skip
_COPIES = {"_to_copy", "clone", "copy_", "empty_like", "fill_", "zero_", "zeros_like"}  # for every dtype
_FLOATS = {"convolution", "native_batch_norm", "nll_loss_forward", "_log_softmax", "max_pool2d_with_indices"}
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution", "convolution_backward"}
_UNORDERED = {  # atomic additions, or scans by blocks: exact for integers alone
    "cumsum", "index_add", "index_add_", "scatter_add", "scatter_add_", "scatter_reduce", "bincount", "histc",
    "put_", "embedding_dense_backward",
}  # fmt: skip
_TABLED = {getattr(torch, name) for name in DTYPES}
_NCCL = _TABLED - {torch.bool, torch.int16}  # ncclDataType_t has no 16-bit integers


class CudaTensor(torch.Tensor):
    """A tensor that says it is on `place` and shares the memory of `inner`; its operations come to `_dispatch`."""

    inner: torch.Tensor
    place: torch.device

    @staticmethod
    def __new__(cls, inner: torch.Tensor, place: torch.device) -> CudaTensor:
        tensor = torch.Tensor._make_subclass(cls, inner)
        tensor.inner, tensor.place = inner, place
        if EmulatedCuda.current:
            EmulatedCuda.current.hold(tensor)
        return tensor

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def __repr__(self) -> str:  # type: ignore[override]
        return f"CudaTensor({self.inner!r}, {self.place})"

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"can't convert {self.place} device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def pin_memory(self, *_: Any) -> Any:
        raise RuntimeError("cannot pin a CUDA tensor: only dense CPU tensors can be pinned")

    def cpu(self) -> torch.Tensor:
        return self.to("cpu")

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(operation, args, kwargs or {})


def _dispatch(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = operation.overloadpacket.__name__
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    place = next(tensor.place for tensor in tensors if isinstance(tensor, CudaTensor))
    if not operation.is_view:
        _check_devices(name, operation, tensors, place)
        _check_dtypes(name, tensors)
        _check_order(name, args, tensors)
        if emulated := EmulatedCuda.current:
            emulated.launched(name, tensors)
    given = tree_map(_inner, (args, kwargs))
    result = operation(*given[0], **given[1])
    if operation._schema.is_mutable and isinstance(result, torch.Tensor):
        return args[0]
    return tree_map(lambda value: CudaTensor(value, place) if isinstance(value, torch.Tensor) else value, result)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, CudaTensor) else value


def _check_devices(name: str, operation: Any, tensors: list[torch.Tensor], place: torch.device) -> None:
    def allowed(position: int, tensor: torch.Tensor) -> bool:
        if isinstance(tensor, CudaTensor):
            return tensor.place == place
        if name in ("index", "index_put_") and position:  # the last tensor of index_put_ holds the values
            return name == "index" or position < len(tensors) - 1 or tensor.dim() == 0
        written = operation._schema.is_mutable and position == 0
        return tensor.dim() == 0 and torch.Tag.pointwise in operation.tags and not written

    if name != "copy_" and not all(allowed(position, tensor) for position, tensor in enumerate(tensors)):
        devices = ", ".join(sorted({str(tensor.device) for tensor in tensors}))
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {devices}")


def _check_dtypes(name: str, tensors: list[torch.Tensor]) -> None:
    dtypes = {tensor.dtype for tensor in tensors}
    if name == "where":
        dtypes -= {torch.bool}  # the condition
    if name in _COPIES or name == "_local_scalar_dense":
        return
    if name == "_int_mm":
        _check_int8_product(*tensors)
    elif name == "allreduce_":
        _refuse(name, dtypes - _NCCL)
    elif name in _FLOATS or "_backward" in name:
        _refuse(name, dtypes - {torch.float32, torch.float64, torch.int64})  # int64: labels, positions
    else:
        known = next((each for each in (_ALIASES.get(name, name), name.rstrip("_")) if each in MISSING), None)
        if known is None:
            raise RuntimeError(f"{name}: nothing says for which dtypes it is implemented on CUDA")
        _refuse(name, {dtype for dtype in dtypes if dtype not in _TABLED or str(dtype)[6:] in MISSING[known]})
    if name == "bmm" and tensors[0].shape[2] == 1 and tensors[0].numel() * tensors[1].shape[2] >= 1 << 31:
        raise RuntimeError(f"{name}: offsets of 32 bits wrap")
    if name == "_cdist_forward" and tensors[0].shape[-2] * tensors[1].shape[-2] >= 1 << 31:
        raise RuntimeError(f"{name}: more distances than CUDA has blocks: invalid configuration argument")


def _refuse(name: str, dtypes: set[torch.dtype]) -> None:
    if dtypes:
        raise RuntimeError(f"{name}: not implemented on CUDA for {', '.join(sorted(map(str, dtypes)))}")


def _check_int8_product(a: torch.Tensor, b: torch.Tensor) -> None:
    (rows, length), columns = a.shape, b.shape[1]
    sizes = rows > 16 and rows % 8 == 0 and length > 0 and length % 8 == 0 and columns > 0 and columns % 8 == 0
    layout = a.is_contiguous() and b.t().is_contiguous()
    aligned = a.storage_offset() % 256 == 0 and b.storage_offset() % 256 == 0
    if not (sizes and layout and aligned and {a.dtype, b.dtype} == {torch.int8}):
        raise RuntimeError(
            f"_int_mm: CUBLAS_STATUS_NOT_SUPPORTED: "
            f"{a.dtype} {tuple(a.shape)} {a.stride()} at {a.storage_offset()} x "
            f"{b.dtype} {tuple(b.shape)} {b.stride()} at {b.storage_offset()}"
        )


def _check_order(name: str, args: tuple[Any, ...], tensors: list[torch.Tensor]) -> None:
    """Raises for what a CUDA device might compute to other bits."""
    floats = {tensor.dtype for tensor in tensors if tensor.dtype.is_floating_point}
    emulated = EmulatedCuda.current
    if torch.float32 in floats and not (emulated and emulated.float32):
        raise RuntimeError(f"{name}: not exact in float32")
    if name in _PRODUCTS and torch.float32 in floats:
        cudnn, precision = torch.backends.cudnn, torch.backends.cuda.matmul.fp32_precision
        free = (cudnn.allow_tf32 or not cudnn.deterministic) if "conv" in name else precision == "tf32"
        if free:
            raise RuntimeError(f"{name}: TF32 is allowed, or cuDNN need not be deterministic")
    accumulates = name == "index_put_" and len(args) > 3 and args[3]
    overlapping = name == "max_pool2d_with_indices_backward" and args[2] != args[3]
    if floats and (name in _UNORDERED or accumulates or overlapping):
        raise RuntimeError(f"{name}: the order of the sums is not fixed on CUDA")


@contextmanager
def tf32_switched_on() -> Iterator[None]:
    """As by TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1, which NVIDIA's containers set."""
    matmul = torch.backends.cuda.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
    try:
        yield
    finally:
        matmul.fp32_precision = before


class EmulatedCuda(TorchFunctionMode):
    """While it lasts, torch finds CUDA devices. Not for machines that have one.

    Args:
        devices: how many.
        float32: arithmetic in float32 is meant.

    Attributes:
        launches: how often each operation that runs a kernel was called, and `synchronize`.
        waits: copies between host and device, and reads of single values: each waits for all that was launched.
        used, peak: bytes of the tensors that live on the devices, now and at most. What an operation allocates for
            itself is not seen.
    """

    current: EmulatedCuda | None = None

    def __init__(self, devices: int = 1, float32: bool = False) -> None:
        super().__init__()
        self.devices, self.float32 = devices, float32
        self.launches: Counter[str] = Counter()
        self.waits = self.used = self.peak = self._device = 0
        self._holders: Counter[int] = Counter()  # tensors that use a storage, by its address

    def __enter__(self) -> EmulatedCuda:
        self._patches = ExitStack()
        for name, function in {
            "is_available": lambda: self.devices > 0,
            "device_count": lambda: self.devices,
            "current_device": lambda: self._device,
            "set_device": lambda device: setattr(self, "_device", self._place(device).index),
            "get_device_name": lambda *_: "emulated",
            "synchronize": lambda *_: self.launched("synchronize", []),
            "max_memory_allocated": lambda *_: self.peak,
        }.items():
            self._patches.enter_context(mock.patch.object(torch.cuda, name, function))
        self._patches.enter_context(mock.patch.object(EmulatedCuda, "current", self))
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patches.close()

    def launched(self, name: str, tensors: list[torch.Tensor]) -> None:
        """An operation runs on the device; it may wait to read a value, count a mask or copy what is elsewhere."""
        self.launches[name] += 1
        picks = name in ("index", "index_put_") and any(tensor.dtype == torch.bool for tensor in tensors[1:])
        self.waits += any(tensor.dim() and not isinstance(tensor, CudaTensor) for tensor in tensors)
        self.waits += name in ("_local_scalar_dense", "nonzero", "masked_select", "synchronize") or picks

    def hold(self, tensor: CudaTensor) -> None:
        """A tensor lives on a device."""
        storage = tensor.inner.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if not self._holders[address]:
            self.used += size
            self.peak = max(self.peak, self.used)
        self._holders[address] += 1
        weakref.finalize(tensor, self._release, address, size)

    def _release(self, address: int, size: int) -> None:
        self._holders[address] -= 1
        if not self._holders[address]:
            self.used -= size

    def _place(self, device: Any) -> torch.device:
        if isinstance(device, int):
            device = torch.device("cuda", device)
        device = torch.device(device)
        index = self._device if device.index is None else device.index
        if device.type == "cuda" and not index < self.devices:
            raise RuntimeError("CUDA error: invalid device ordinal")
        return torch.device("cuda", index) if device.type == "cuda" else device

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        moving = function is torch.Tensor.to
        if moving and len(args) > 1 and isinstance(args[1], (str, torch.device)):
            kwargs["device"], args = args[1], (args[0], *args[2:])
        if kwargs.get("device") is None:
            return function(*args, **kwargs)
        place = self._place(kwargs.pop("device"))
        if moving:
            if kwargs.pop("non_blocking", False) and place.type == "cpu":
                raise RuntimeError("to: the host may read a non-blocking copy before it is there")
            moved = self._moved(args[0], place)
            return function(moved, *args[1:], **kwargs) if args[1:] or kwargs else moved
        made = function(*args, **kwargs, device="cpu")
        if place.type == "cpu":
            return made
        if function in (torch.tensor, torch.as_tensor):
            return self._moved(made, place)
        return CudaTensor(made, place)

    def _moved(self, tensor: torch.Tensor, place: torch.device) -> torch.Tensor:
        if tensor.device == place:
            return tensor
        self.waits += 1
        copied = _inner(tensor.detach()).clone()
        return copied if place.type == "cpu" else CudaTensor(copied, place)
