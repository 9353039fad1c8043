"""A CUDA device for tests on machines without one: tensors on a CPU that claim to be elsewhere, with CUDA's rules.

What is computed is computed on the CPU, so results can be compared; what would fail on a CUDA device fails here:
tensors of two devices in one operation, numpy's looking into device memory, products of integer matrices,
`torch._int_mm` with sizes and layouts that cuBLAS refuses, arithmetic on uint16. What could give other bits is
refused too: products in float32 (TF32) and sums in an order that changes from run to run.

    with PretendedCuda():
        TorchEngine(arithmetic, "cuda")
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)

_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution", "_convolution"}
_UNORDERED = {  # sums by atomic additions, or scans by blocks: exact for integers alone
    "cumsum", "cumprod", "index_add", "index_add_", "scatter_add", "scatter_add_", "scatter_reduce", "bincount",
    "histc", "put_", "_index_put_impl_",
}  # fmt: skip
_MOVES = {"_to_copy", "alias", "clone", "copy_", "detach", "select", "slice", "split", "view"}  # work for uint16


class CudaTensor(torch.Tensor):
    """A tensor that says it is on `DEVICE`; its operations come to `_dispatch`."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> CudaTensor:
        tensor = torch.Tensor._make_subclass(cls, inner)
        tensor.inner = inner
        return tensor

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    def __repr__(self) -> str:  # type: ignore[override]
        return f"CudaTensor({self.inner!r})"

    def __array__(self, *_: Any) -> Any:
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(operation, args, kwargs or {})


def _dispatch(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = operation.overloadpacket.__name__
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    _check(name, tensors)
    given = tree_map(_inner, (args, kwargs))
    result = operation(*given[0], **given[1])
    if operation._schema.is_mutable and isinstance(result, torch.Tensor):
        return args[0]
    return tree_map(lambda value: CudaTensor(value) if isinstance(value, torch.Tensor) else value, result)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, CudaTensor) else value


def _check(name: str, tensors: list[torch.Tensor]) -> None:
    """Raises RuntimeError for what a CUDA device could not do, or not always to the same bits."""
    if not all(isinstance(tensor, CudaTensor) or tensor.dim() == 0 for tensor in tensors):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found cuda:0 and cpu")
    kinds = {tensor.dtype for tensor in tensors}
    if name == "_int_mm":
        _check_int8_product(*tensors)
    elif name in _PRODUCTS and kinds != {torch.float64}:
        raise RuntimeError(f"{name}: not exact or not implemented for {kinds} on CUDA")
    if name in _UNORDERED and any(kind.is_floating_point for kind in kinds):
        raise RuntimeError(f"{name}: the order of the sums is not fixed on CUDA")
    if torch.uint16 in kinds and name not in _MOVES:
        raise RuntimeError(f"{name}: not known to be implemented for UInt16 on CUDA")


def _check_int8_product(a: torch.Tensor, b: torch.Tensor) -> None:
    """The conditions of `torch._int_mm` and of cuBLAS's 8-bit products, whose operands lie along the sums."""
    (rows, length), columns = a.shape, b.shape[1]
    sizes = rows > 16 and length > 0 and length % 8 == 0 and columns > 0 and columns % 8 == 0
    layout = a.is_contiguous() and b.t().is_contiguous()
    aligned = a.inner.data_ptr() % 16 == 0 and b.inner.data_ptr() % 16 == 0
    if not (sizes and layout and aligned):
        raise RuntimeError(f"_int_mm: {tuple(a.shape)} {a.stride()} x {tuple(b.shape)} {b.stride()} is refused")


class PretendedCuda(TorchFunctionMode):
    """While it lasts, torch finds a CUDA device. Not for machines that have one."""

    def __enter__(self) -> PretendedCuda:
        self._patches = ExitStack()
        self._patches.enter_context(mock.patch.object(torch.cuda, "is_available", lambda: True))
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patches.close()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.cpu:
            return args[0].inner.clone() if isinstance(args[0], CudaTensor) else args[0]
        if function is torch.Tensor.numpy and isinstance(args[0], CudaTensor):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        if function is torch.Tensor.to and len(args) > 1 and isinstance(args[1], (str, torch.device)):
            kwargs["device"], args = args[1], (args[0], *args[2:])
        if kwargs.get("device") is None:
            return function(*args, **kwargs)
        device = torch.device(kwargs.pop("device"))
        if function is not torch.Tensor.to:
            made = function(*args, **kwargs, device="cpu")
            return CudaTensor(made) if device.type == "cuda" else made
        there = isinstance(args[0], CudaTensor)
        moved = args[0]
        if there != (device.type == "cuda"):
            moved = moved.inner.clone() if there else CudaTensor(moved.clone())
        return function(moved, *args[1:], **kwargs) if args[1:] or kwargs else moved
