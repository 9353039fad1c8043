"""Exact products of integer matrices on tensors: 8-bit limbs, or float64 where those do not work.

An integer tensor is written as sum over k of 256^k * limb_k + offset with int8 limbs, and the product of two
such sums is put together from `torch._int_mm` products, which are exact 32-bit integers (`_LONGEST_SUM` keeps
them so).

Where 8-bit products are missing or inexact (old GPUs; CPUs whose 8-bit instructions saturate), the single
limb is the tensor in float64: every partial sum stays below 2^53, so that no order of summation matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, reduce
from math import prod
from typing import Any

import numpy as np
import torch

_LONGEST_SUM = 1 << 16  # terms of one product: 2^16 * 2^14 < 2^31 (int8), 2^16 * 2^32 < 2^53 (float64)
_ALIGNMENT = 256  # bytes: what cublasLtMatmul takes for granted where it chooses the algorithm itself
_INT32_SAFE = 1 << 30  # a sum below this can be rounded in 32 bits


@dataclass(frozen=True)
class Limbs:
    """An integer tensor as sum over k of 256^k * parts[k] + offset, the parts int8; or one float64 part."""

    parts: list[torch.Tensor]  #: least significant first
    offset: int
    magnitude: int  #: bound of the absolute value

    def map(self, function: Any) -> Limbs:
        """The same with `function`, which must keep or gather elements, applied to each part."""
        return Limbs([function(part) for part in self.parts], self.offset, self.magnitude)


def limbs(tensor: torch.Tensor, int8: bool) -> Limbs:
    """The limbs of an int8, uint8, int16 or uint16 tensor."""
    magnitude = _magnitude(tensor.dtype)
    if not int8:
        return Limbs([tensor.to(torch.float64)], 0, magnitude)
    if tensor.dtype == torch.int8:
        return Limbs([tensor], 0, magnitude)
    if tensor.dtype == torch.uint8:
        return Limbs([(tensor ^ 0x80).view(torch.int8)], 128, magnitude)
    # bytes in native order: the low one minus 128, the high one as it is (int16) or minus 128 (uint16)
    # (flat first: a last dimension of size 1 counts as contiguous whatever its stride, which bytes do not allow)
    pair = tensor.contiguous().reshape(-1).view(torch.uint8).reshape(*tensor.shape, 2)
    low, high = (pair[..., 0], pair[..., 1]) if np.little_endian else (pair[..., 1], pair[..., 0])
    if tensor.dtype == torch.int16:
        return Limbs([(low ^ 0x80).view(torch.int8), high.contiguous().view(torch.int8)], 128, magnitude)
    return Limbs([(low ^ 0x80).view(torch.int8), (high ^ 0x80).view(torch.int8)], 128 + (128 << 8), magnitude)


def multiply(a: Limbs, b: Limbs) -> torch.Tensor:
    """a @ b exactly, for limbs of [M, K] and [K, N]: int64, or int32 where every sum is below 2^30."""
    length = a.parts[0].shape[1]
    dtype = torch.int32 if length * a.magnitude * b.magnitude < _INT32_SAFE else torch.int64
    products = []
    for start in range(0, length, _LONGEST_SUM):
        part = slice(start, start + _LONGEST_SUM)
        left = Limbs([limb[:, part] for limb in a.parts], a.offset, a.magnitude)
        right = Limbs([limb[part] for limb in b.parts], b.offset, b.magnitude)
        products.append(_multiply_part(left, right, dtype))
    return reduce(torch.add, products)


def _multiply_part(a: Limbs, b: Limbs, dtype: torch.dtype) -> torch.Tensor:
    """`multiply` for at most _LONGEST_SUM terms per sum. 32-bit arithmetic may wrap on the way, not at the end."""
    if a.parts[0].dtype == torch.float64:
        return torch.matmul(a.parts[0], b.parts[0]).to(dtype)
    length, columns = b.parts[0].shape
    sides = [*b.parts]
    if b.offset:  # one more column: the sums of a's rows
        sides.append(torch.ones((length, 1), dtype=torch.int8, device=b.parts[0].device))
    side = torch.cat(sides, 1) if len(sides) > 1 else sides[0]
    terms = []
    for rank, limb in enumerate(a.parts):
        product = int8_matmul(limb, side)
        for other in range(len(b.parts)):
            field = product[:, other * columns : (other + 1) * columns].to(dtype)
            terms.append(_shifted(field, 8 * (rank + other)))
        if b.offset:
            terms.append(product[:, -1:].to(dtype) * (b.offset << (8 * rank)))
    if a.offset:
        terms.append((_column_sums(b, length) * a.offset).to(dtype))
    return reduce(torch.add, terms)


def _column_sums(b: Limbs, length: int) -> torch.Tensor:
    """Sum of the represented values of each column, int64 [N]."""
    total = reduce(
        torch.add, (_shifted(part.sum(0, dtype=torch.int64), 8 * rank) for rank, part in enumerate(b.parts))
    )
    return total + length * b.offset if b.offset else total


def _shifted(value: torch.Tensor, bits: int) -> torch.Tensor:
    return value << bits if bits else value


def int8_matmul(a: torch.Tensor, b: torch.Tensor, align: bool | None = None) -> torch.Tensor:
    """a @ b as int32, for int8 [M, K] and [K, N] with K <= 2^16.

    align (default: on CUDA) lays the operands out as cuBLAS wants them: more than 16 rows, K and N multiples
    of 8, a row-major and b column-major, both at addresses that suit any of its algorithms. M becomes a multiple
    of 16, too: with 17 rows a version of cuBLAS gave wrong sums (pytorch/pytorch#107671).
    """
    if align is None:
        align = a.is_cuda
    if not align:
        return torch._int_mm(_with_plain_strides(a), _with_plain_strides(b))
    (rows, length), columns = a.shape, b.shape[1]
    a = _laid_out(a, max(32, rows + -rows % 16), length + -length % 8)
    b = _laid_out(b.t(), columns + -columns % 8, length + -length % 8)
    return torch._int_mm(a, b.t())[:rows, :columns]


def _laid_out(matrix: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The int8 matrix with zeros up to so many rows and columns, row-major, at a multiple of 256 bytes."""
    below, beside = rows - matrix.shape[0], columns - matrix.shape[1]
    if below or beside:
        return torch.nn.functional.pad(matrix, (0, beside, 0, below)).contiguous()
    if matrix.is_contiguous() and matrix.storage_offset() % _ALIGNMENT == 0:
        return matrix
    return matrix.clone(memory_format=torch.contiguous_format)


def _with_plain_strides(matrix: torch.Tensor) -> torch.Tensor:
    """The same matrix, copied unless it is row-major or column-major with disjoint lines of more than one element.

    On a CPU `torch._int_mm` of torch 2.13 believes the strides: for a single row that came out of a
    transposition, or for patches whose rows overlap in memory, it reads another matrix.
    """
    (rows, columns), (by_row, by_column) = matrix.shape, matrix.stride()
    plain = (by_column == 1 and by_row >= columns) or (by_row == 1 and by_column >= rows)
    if plain and min(rows, columns) > 1:
        return matrix
    return matrix.clone(memory_format=torch.contiguous_format)


@cache
def int8_products_are_exact(device: str) -> bool:
    """True when `int8_matmul` gives exact sums on a device.

    Tried with operands that saturate 16-bit sums, and with random ones, which tell rows from columns; sizes from
    those of a small layer to one for which a library takes its algorithms for large products.
    """
    rng = np.random.default_rng(0)
    low, high = -128, 127
    for rows, length, columns in ((2048, 576, 64), (64, 256, 64), (33, 145, 17), (5, 27, 1)):
        for ends in ((low, low), (low, high), (high, low), (high, high), None):
            a, b = np.empty((rows, length), np.int8), np.empty((length, columns), np.int8)
            for matrix, end in zip((a, b), ends or (None, None)):
                matrix[:] = rng.integers(low, high, matrix.shape, endpoint=True) if end is None else end
            try:
                product = int8_matmul(torch.from_numpy(a).to(device), torch.from_numpy(b).to(device))
                exact = np.array_equal(product.cpu().numpy(), a.astype(np.float64) @ b.astype(np.float64))
            except torch.OutOfMemoryError:
                raise
            except (RuntimeError, NotImplementedError):
                return False
            if not exact:
                return False
    return True


def largest_sum(terms: int, *factors: torch.dtype) -> int:
    """Bound of the absolute value of a sum of so many products of elements of these dtypes."""
    return terms * prod(map(_magnitude, factors))


def sum_dtype(terms: int, a: torch.dtype, b: torch.dtype) -> torch.dtype:
    """int32 where the sum of so many products cannot reach 2^30, else int64."""
    return torch.int32 if largest_sum(terms, a, b) < _INT32_SAFE else torch.int64


def _magnitude(dtype: torch.dtype) -> int:
    limits = torch.iinfo(dtype)
    return max(int(limits.max), -int(limits.min))
