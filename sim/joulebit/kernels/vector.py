"""Vectors of 16 integers inside kernels, with operators.

`I32` and `I64` hold 16 lanes of 32 or 64 bits and know + - * & ^ << >> and unary minus, lane by lane. Memory is
addressed by integers (bytes). Loads and stores of tensors take a `Lanes` mask: lanes that are off read as 0 and
are not written, so that any number of channels works. LLVM splits the vectors to what the processor has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDTH = 16

_BIT, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


class _Vector(types.Type):  # type: ignore[misc]
    """A numba type for WIDTH lanes of `bits` bits."""

    def __init__(self, bits: int) -> None:
        self.llvm = ir.VectorType(ir.IntType(bits), WIDTH)
        super().__init__(name=f"Vector{WIDTH}x{bits}")


class _Lanes(_Vector):
    pass


class _Vector32(_Vector):
    pass


class _Vector64(_Vector):
    pass


LANES, I32, I64 = _Lanes(1), _Vector32(32), _Vector64(64)

for _kind, _instance in ((_Lanes, LANES), (_Vector32, I32), (_Vector64, I64)):

    def _model(manager: Any, kind: Any, _llvm: Any = _instance.llvm) -> Any:
        return models.PrimitiveModel(manager, kind, _llvm)

    register_model(_kind)(_model)


def vector_type(element: ir.IntType) -> ir.VectorType:
    return ir.VectorType(element, WIDTH)


def constant(llvm: ir.VectorType, value: int) -> ir.Constant:
    """All lanes `value`."""
    return ir.Constant(llvm, [value] * llvm.count)


def _operators() -> None:
    named = {
        operator.add: "add",
        operator.sub: "sub",
        operator.mul: "mul",
        operator.and_: "and_",
        operator.xor: "xor",
        operator.lshift: "shl",
        operator.rshift: "ashr",
    }
    for symbol, name in named.items():
        both = [signature(kind, kind, kind) for kind in (I32, I64)]
        infer_global(symbol)(type(f"Vector_{name}", (ConcreteTemplate,), {"cases": both}))
        for kind in (I32, I64):

            def lower(context: Any, builder: Any, sig: Any, args: Any, _name: str = name) -> Any:
                return getattr(builder, _name)(*args)

            lower_builtin(symbol, kind, kind)(lower)


_operators()


def _vector_intrinsic(result: Any, arguments: tuple[Any, ...], build: Callable[..., Any], doc: str) -> Any:
    """An intrinsic of up to 4 arguments whose code is build(builder, *llvm values)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = build(builder, *args)
        return context.get_dummy_value() if value is None else value

    def typed() -> tuple[Any, Any]:
        return result(*arguments), generate

    by_count: dict[int, Callable[..., Any]] = {
        0: lambda typing_context: typed(),
        1: lambda typing_context, a: typed(),
        2: lambda typing_context, a, b: typed(),
        3: lambda typing_context, a, b, c: typed(),
        4: lambda typing_context, a, b, c, d: typed(),
    }
    function = by_count[len(arguments)]
    function.__doc__ = doc
    return intrinsic(function)


def pointer(builder: Any, address: Any, element: Any) -> Any:
    return builder.inttoptr(address, element.as_pointer())


def splat_value(builder: Any, value: Any, llvm: ir.VectorType) -> Any:
    """A vector with `value` in all lanes."""
    undefined = ir.Constant(llvm, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_I32, llvm.count), [0] * llvm.count))


def _masked(builder: Any, name: str, function_type: ir.FunctionType, args: list[Any]) -> Any:
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args)


def _load(element: ir.IntType, extend: str, target: ir.VectorType) -> Callable[..., Any]:
    memory = vector_type(element)

    def build(builder: Any, address: Any, lanes: Any) -> Any:
        kind = ir.FunctionType(memory, [memory.as_pointer(), _I32, LANES.llvm, memory])
        args = [
            pointer(builder, address, memory),
            ir.Constant(_I32, element.width // 8),
            lanes,
            constant(memory, 0),
        ]
        value = _masked(builder, f"llvm.masked.load.v{WIDTH}i{element.width}.p0", kind, args)
        return value if memory == target else getattr(builder, extend)(value, target)

    return build


def _store(element: ir.IntType) -> Callable[..., Any]:
    memory = vector_type(element)

    def build(builder: Any, address: Any, value: Any, lanes: Any) -> None:
        kind = ir.FunctionType(ir.VoidType(), [memory, memory.as_pointer(), _I32, LANES.llvm])
        short = value if value.type == memory else builder.trunc(value, memory)
        align = ir.Constant(_I32, element.width // 8)
        _masked(
            builder,
            f"llvm.masked.store.v{WIDTH}i{element.width}.p0",
            kind,
            [short, pointer(builder, address, memory), align, lanes],
        )

    return build


def _lanes(builder: Any, count: Any) -> Any:
    limit = splat_value(builder, builder.trunc(count, _I32), I32.llvm)
    return builder.icmp_signed("<", ir.Constant(I32.llvm, list(range(WIDTH))), limit)


def _smaller(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed(">", a, b), a, b)


def _narrow_saturating(builder: Any, value: Any) -> Any:
    low, high = constant(I64.llvm, -(1 << 31)), constant(I64.llvm, (1 << 31) - 1)
    return builder.trunc(_larger(builder, _smaller(builder, value, high), low), I32.llvm)


def _fold(operation: str, bits: int, count: int = WIDTH) -> Callable[..., Any]:
    """Reduce all lanes to one 64-bit integer."""
    element = ir.IntType(bits)

    def build(builder: Any, value: Any) -> Any:
        name = f"llvm.vector.reduce.{operation}.v{count}i{bits}"
        function_type = ir.FunctionType(element, [ir.VectorType(element, count)])
        result = builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [value])
        return result if element == _I64 else builder.sext(result, _I64)

    return build


def _plain_load(kind: _Vector) -> Callable[..., Any]:
    def build(builder: Any, address: Any) -> Any:
        return builder.load(pointer(builder, address, kind.llvm), align=kind.llvm.element.width // 8)

    return build


def _plain_store(kind: _Vector) -> Callable[..., Any]:
    def build(builder: Any, address: Any, value: Any) -> None:
        builder.store(value, pointer(builder, address, kind.llvm), align=kind.llvm.element.width // 8)

    return build


_A = types.int64
_make = _vector_intrinsic

lanes = _make(LANES, (_A,), _lanes, "Mask of the first `count` lanes (none for 0 or less, all from 16 on).")
splat = _make(
    I32, (_A,), lambda b, v: splat_value(b, b.trunc(v, _I32), I32.llvm), "I32 with a scalar in all lanes."
)
splat_halves = _make(
    I32,
    (_A,),
    lambda b, v: b.bitcast(splat_value(b, b.trunc(v, _I16), ir.VectorType(_I16, 2 * WIDTH)), I32.llvm),
    "I32 with a 16-bit integer in all halves.",
)
splat64 = _make(I64, (_A,), lambda b, v: splat_value(b, v, I64.llvm), "I64 with a scalar in all lanes.")
zeros = _make(I32, (), lambda b: constant(I32.llvm, 0), "I32 zeros.")
zeros64 = _make(I64, (), lambda b: constant(I64.llvm, 0), "I64 zeros.")

load_u8 = _make(I32, (_A, LANES), _load(_I8, "zext", I32.llvm), "uint8 lanes as I32.")
load_i16 = _make(I32, (_A, LANES), _load(_I16, "sext", I32.llvm), "int16 lanes as I32.")
load_i64 = _make(I64, (_A, LANES), _load(_I64, "sext", I64.llvm), "int64 lanes.")
store_8 = _make(types.void, (_A, I32, LANES), _store(_I8), "The low 8 bits of each lane.")
store_16 = _make(types.void, (_A, I32, LANES), _store(_I16), "The low 16 bits of each lane.")
store_32 = _make(types.void, (_A, I32, LANES), _store(_I32), "32-bit lanes.")
store_i64 = _make(types.void, (_A, I64, LANES), _store(_I64), "64-bit lanes.")
load_all = _make(I32, (_A,), _plain_load(I32), "16 int32 values.")
load_all64 = _make(I64, (_A,), _plain_load(I64), "16 int64 values.")
store_all = _make(types.void, (_A, I32), _plain_store(I32), "16 int32 values.")
store_all64 = _make(types.void, (_A, I64), _plain_store(I64), "16 int64 values.")

smaller = _make(I32, (I32, I32), _smaller, "Lane-wise minimum.")
larger = _make(I32, (I32, I32), _larger, "Lane-wise maximum.")
smaller64 = _make(I64, (I64, I64), _smaller, "Lane-wise minimum.")
larger64 = _make(I64, (I64, I64), _larger, "Lane-wise maximum.")
widen = _make(I64, (I32,), lambda b, v: b.sext(v, I64.llvm), "I32 as I64.")
narrow = _make(I32, (I64,), lambda b, v: b.trunc(v, I32.llvm), "The low 32 bits of each lane.")
narrow_saturating = _make(I32, (I64,), _narrow_saturating, "I64 as I32, clamped to 32 bits.")
multiply_wide = _make(
    I64, (I32, I32), lambda b, x, y: b.mul(b.sext(x, I64.llvm), b.sext(y, I64.llvm)), "Exact 64-bit products."
)
count_different = _make(
    I32,
    (I32, I32, I32),
    lambda b, n, x, y: b.sub(n, b.sext(b.icmp_signed("!=", x, y), I32.llvm)),
    "count_different(n, x, y): n + 1 in the lanes where x != y, else n.",
)
count_greater = _make(
    I32,
    (I32, I32, I32),
    lambda b, n, x, y: b.sub(n, b.sext(b.icmp_signed(">", x, y), I32.llvm)),
    "count_greater(n, x, y): n + 1 in the lanes where x > y, else n.",
)
count_different64 = _make(
    I32,
    (I64, I64, LANES),
    lambda b, x, y, on: b.zext(b.and_(b.icmp_signed("!=", x, y), on), I32.llvm),
    "count_different64(x, y, lanes): 1 in the lanes that are on where x != y, else 0.",
)
where_between = _make(
    LANES,
    (I32, I32, I32),
    lambda b, v, low, high: b.and_(b.icmp_signed(">", v, low), b.icmp_signed("<", v, high)),
    "where_between(v, low, high): lanes with low < v < high.",
)
where_equal = _make(LANES, (I32, I32), lambda b, x, y: b.icmp_signed("==", x, y), "Lanes where x == y.")
keep = _make(
    I32, (LANES, I32), lambda b, m, v: b.select(m, v, constant(I32.llvm, 0)), "v where the mask is on, else 0."
)
keep64 = _make(
    I64, (LANES, I64), lambda b, m, v: b.select(m, v, constant(I64.llvm, 0)), "v where the mask is on, else 0."
)


def _halves(operation: Callable[..., Any]) -> Callable[..., Any]:
    """An operation on the 32 16-bit halves of the lanes."""
    packed = ir.VectorType(_I16, 2 * WIDTH)

    def build(builder: Any, x: Any, y: Any) -> Any:
        return builder.bitcast(operation(builder, *(builder.bitcast(v, packed) for v in (x, y))), I32.llvm)

    return build


def _pairs(element: ir.IntType) -> Callable[..., Any]:
    """16 integers at each of two addresses as pairs of 16-bit integers."""
    load = _load(element, "zext", vector_type(element))
    side_by_side = ir.Constant(ir.VectorType(_I32, 2 * WIDTH), [i // 2 + i % 2 * WIDTH for i in range(2 * WIDTH)])

    def build(builder: Any, first: Any, second: Any, on: Any, on_second: Any) -> Any:
        value = builder.shuffle_vector(load(builder, first, on), load(builder, second, on_second), side_by_side)
        if element != _I16:
            value = builder.zext(value, ir.VectorType(_I16, 2 * WIDTH))
        return builder.bitcast(value, I32.llvm)

    return build


pairs_i16 = _make(
    I32,
    (_A, _A, LANES, LANES),
    _pairs(_I16),
    "pairs_i16(first, second, lanes, lanes of the second): int16 at two addresses, a pair per lane.",
)
pairs_u8 = _make(I32, (_A, _A, LANES, LANES), _pairs(_I8), "`pairs_i16` of uint8.")


def _side_by_side(first: int) -> Callable[..., Any]:
    """Halves first .. first + 15 of two vectors as pairs."""
    packed, both = ir.VectorType(_I16, 2 * WIDTH), ir.VectorType(_I32, 2 * WIDTH)
    order = [first + i // 2 + i % 2 * 2 * WIDTH for i in range(2 * WIDTH)]

    def build(builder: Any, x: Any, y: Any) -> Any:
        value = builder.shuffle_vector(*(builder.bitcast(v, packed) for v in (x, y)), ir.Constant(both, order))
        return builder.bitcast(value, I32.llvm)

    return build


def _bytes_as_halves(builder: Any, address: Any) -> Any:
    memory = ir.VectorType(_I8, 2 * WIDTH)
    value = builder.load(pointer(builder, address, memory), align=1)
    return builder.bitcast(builder.zext(value, ir.VectorType(_I16, 2 * WIDTH)), I32.llvm)


load_halves_u8 = _make(I32, (_A,), _bytes_as_halves, "32 uint8 as 16-bit halves.")
low_pairs = _make(I32, (I32, I32), _side_by_side(0), "The first 16 halves of two vectors side by side, as pairs.")
high_pairs = _make(I32, (I32, I32), _side_by_side(WIDTH), "The last 16 halves of two vectors, as pairs.")


def _add_saturating(builder: Any, x: Any, y: Any) -> Any:
    kind = ir.FunctionType(x.type, [x.type, x.type])
    name = f"llvm.sadd.sat.v{x.type.count}i{x.type.element.width}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [x, y])


add_halves = _make(I32, (I32, I32), _halves(lambda b, x, y: b.add(x, y)), "Sums of 16-bit halves, modulo 2^16.")
sub_halves = _make(I32, (I32, I32), _halves(lambda b, x, y: b.sub(x, y)), "Differences of 16-bit halves.")
mul_halves = _make(
    I32, (I32, I32), _halves(lambda b, x, y: b.mul(x, y)), "Products of 16-bit halves, modulo 2^16."
)
add_halves_saturating = _make(
    I32, (I32, I32), _halves(_add_saturating), "Sums of signed 16-bit halves, clamped to 16 bits."
)
shift_halves = _make(
    I32, (I32, I32), _halves(lambda b, x, y: b.ashr(x, y)), "Signed 16-bit halves >> 16-bit halves, floor."
)
smaller_halves = _make(I32, (I32, I32), _halves(_smaller), "Minimum of signed 16-bit halves.")
larger_halves = _make(I32, (I32, I32), _halves(_larger), "Maximum of signed 16-bit halves.")
fold_sum = _make(_A, (I32,), _fold("add", 32), "Sum of all lanes, modulo 2^32.")
fold_max = _make(_A, (I32,), _fold("smax", 32), "The largest lane.")
fold_min_halves = _make(
    _A,
    (I32,),
    lambda b, v: _fold("smin", 16, 2 * WIDTH)(b, b.bitcast(v, ir.VectorType(_I16, 2 * WIDTH))),
    "The smallest of the signed 16-bit halves.",
)
fold_max64 = _make(_A, (I64,), _fold("smax", 64), "The largest lane.")


@intrinsic
def copy_bytes(typing_context, target, source, count):  # type: ignore[no-untyped-def]
    """memcpy of `count` bytes between addresses."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = _I8.as_pointer()
        cgutils.raw_memcpy(builder, builder.inttoptr(args[0], byte), builder.inttoptr(args[1], byte), args[2], 1)
        return context.get_dummy_value()

    return types.void(_A, _A, _A), generate


@intrinsic
def fetch_add(typing_context, address, amount):  # type: ignore[no-untyped-def]
    """Atomically add to the int64 at an address and return what it was: how threads share out samples."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", pointer(builder, args[0], _I64), args[1], "monotonic")

    return _A(_A, _A), generate


def request(builder: Any, address: Any, write: int, level: int) -> None:
    """Ask for the cache line at an address, which need not exist."""
    byte = _I8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    hints = [ir.Constant(_I32, value) for value in (write, level, 1)]
    builder.call(function, [builder.inttoptr(address, byte), *hints])


def _prefetch(write: int, level: int, doc: str) -> Any:
    """An intrinsic of `request`."""

    def ahead(typing_context, address):  # type: ignore[no-untyped-def]
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            request(builder, args[0], write, level)
            return context.get_dummy_value()

        return types.void(_A), generate

    ahead.__doc__ = doc
    return intrinsic(ahead)


prefetch = _prefetch(0, 3, "Fetch the cache line of an address, to be read soon.")
prefetch_far = _prefetch(0, 2, "Fetch the cache line of an address to the second-level cache.")
prefetch_write = _prefetch(1, 3, "Fetch the cache line of an address, to be written soon.")
