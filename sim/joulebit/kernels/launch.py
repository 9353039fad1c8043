"""Handing kernels to threads in a microsecond: letter boxes in shared memory instead of Python's queues.

A step launches hundreds of kernels of some hundred microseconds each. Waking a sleeping thread takes 15 to 30
microseconds, and each thread needs the GIL for it. Here a helper looks at its letter box, without the GIL, until a
kernel lies there or until it has looked for long enough (`serve`); only then it goes to sleep in Python. The
caller puts kernels into the boxes, does its own share and waits likewise (`launch`, `finish`).

A box is 128 bytes, so that no two share a cache line: int64 STATE, FUNCTION, COUNT, ARGUMENTS, RESULT, FAILED.

    ASLEEP --helper--> WAITING --caller--> POSTED --helper--> WAITING ...
       ^                  |
       +--- waited long --+        a FUNCTION of 0 sends the helper back to Python: POSTED --> ASLEEP

Those who wait let other threads of the machine go first every microsecond: where there are more threads than
processors, one's waiting is another's computing. A helper that the caller finds ASLEEP has to be woken; the kernel
lies in its box then. The first box is the caller's own. Kernels are called by their native addresses with int64
arguments; RESULT takes up to two int64.
"""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import pointer

BOX = 128  #: bytes of a letter box
MOST_ARGUMENTS = 48
ASLEEP, WAITING, POSTED = 0, 1, 2
_TURNS_ALONE = 16  #: of a waiting loop, about a microsecond, before other threads of the machine may go first
DONE, UNFINISHED, FAILED = 0, -1, -2  #: what `launch` and `finish` return

_FUNCTION, _COUNT, _ARGUMENTS, _RESULT, _FAILED = 8, 16, 24, 32, 40  # bytes into the box
_I8, _I32, _I64 = (ir.IntType(bits) for bits in (8, 32, 64))
_ADDRESS = types.int64
_RESULTS = (types.none, types.int64, types.UniTuple(types.int64, 2))


def native_address(function: Any, arguments: int) -> int:
    """Where the compiled code of a kernel with so many int64 arguments starts.

    Raises:
        TypeError: it returns something else than nothing, one int64 or two.
    """
    signature = (types.int64,) * arguments
    function.compile(signature)
    compiled = function.overloads[signature]
    if compiled.signature.return_type not in _RESULTS or arguments > MOST_ARGUMENTS:
        raise TypeError(
            f"{function.__name__} returns {compiled.signature.return_type} and takes {arguments} arguments: "
            f"a kernel for threads returns at most two int64 and takes at most {MOST_ARGUMENTS}"
        )
    return int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))


@intrinsic
def _call(typing_context, function, count, arguments, result):  # type: ignore[no-untyped-def]
    """Call compiled code by its address with `count` int64 arguments from memory; whether it failed.

    numba's functions take the address of the result, that of an error and the arguments.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function, count, arguments, result = args
        values = pointer(builder, arguments, _I64)
        byte = _I8.as_pointer()
        error = cgutils.alloca_once(builder, byte)
        status = cgutils.alloca_once_value(builder, ir.Constant(_I32, 0))
        end = builder.append_basic_block("called")
        choice = builder.switch(count, end)
        for number in range(1, MOST_ARGUMENTS + 1):
            block = builder.append_basic_block(f"with_{number}")
            choice.add_case(ir.Constant(_I64, number), block)
            with builder.goto_block(block):
                kind = ir.FunctionType(_I32, [byte, byte.as_pointer(), *[_I64] * number])
                target = builder.inttoptr(function, kind.as_pointer())
                own = [builder.load(builder.gep(values, [ir.Constant(_I64, i)])) for i in range(number)]
                builder.store(builder.call(target, [builder.inttoptr(result, byte), error, *own]), status)
                builder.branch(end)
        builder.position_at_end(end)
        return builder.zext(builder.load(status), _I64)

    return _ADDRESS(*[_ADDRESS] * 4), generate


@intrinsic
def _read(typing_context, address):  # type: ignore[no-untyped-def]
    """The int64 at an address, and all that its writer wrote before."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(pointer(builder, args[0], _I64), "acquire", 8)

    return _ADDRESS(_ADDRESS), generate


@intrinsic
def _write(typing_context, address, value):  # type: ignore[no-untyped-def]
    """Store an int64 after all that was written before."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[1], pointer(builder, args[0], _I64), "release", 8)
        return context.get_dummy_value()

    return types.void(_ADDRESS, _ADDRESS), generate


@intrinsic
def _exchange(typing_context, address, value):  # type: ignore[no-untyped-def]
    """Store an int64 and return what was there."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", pointer(builder, args[0], _I64), args[1], "acq_rel")

    return _ADDRESS(_ADDRESS, _ADDRESS), generate


@intrinsic
def _replace(typing_context, address, old, new):  # type: ignore[no-untyped-def]
    """Store `new` if `old` is there; 1 if it was."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = pointer(builder, args[0], _I64)
        found = builder.cmpxchg(place, args[1], args[2], "acq_rel", "acquire")
        return builder.zext(builder.extract_value(found, 1), _I64)

    return _ADDRESS(*[_ADDRESS] * 3), generate


@intrinsic
def _relax(typing_context):  # type: ignore[no-untyped-def]
    """Tell the processor that this is a loop that waits."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if platform.machine().lower() in ("x86_64", "amd64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _make_way(typing_context):  # type: ignore[no-untyped-def]
    """Let another thread of the machine run on this processor, if one is waiting for it."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if hasattr(os, "sched_yield"):
            kind = ir.FunctionType(_I32, [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


@inline
def _wait(turn: Int) -> None:
    """One turn of a loop that waits."""
    if turn % _TURNS_ALONE == 0:
        _make_way()
    else:
        _relax()


@inline
def _run(box: Int) -> None:
    """Call the kernel in a box."""
    function, count = _read(box + _FUNCTION), _read(box + _COUNT)
    _write(box + _FAILED, _call(function, count, _read(box + _ARGUMENTS), _read(box + _RESULT)))


@kernel
def spin(turns: Int) -> Int:
    """Wait for so many turns of the loops below, to find out how long they take."""
    word = np.zeros(1, np.int64)
    seen = np.int64(0)
    for turn in range(turns):
        seen += _read(np.int64(word.ctypes.data))
        _wait(turn)
    return seen


@kernel
def serve(box: Int, patience: Int) -> None:
    """Run what is put into a helper's box, until nothing came for `patience` turns or a FUNCTION of 0 did."""
    _replace(box, ASLEEP, WAITING)
    turns = np.int64(0)
    while True:
        if _read(box) == POSTED:
            if _read(box + _FUNCTION) == 0:
                _write(box, ASLEEP)
                return
            _run(box)
            _write(box, WAITING)
            turns = np.int64(0)
        turns += 1
        if turns > patience and _replace(box, WAITING, ASLEEP) == 1:
            return
        _wait(turns)


@kernel
def recall(box: Int) -> None:
    """Send a helper back to Python, where it looks into its queue; one that sleeps is there already."""
    _write(box + _FUNCTION, 0)
    _replace(box, WAITING, POSTED)


@kernel
def launch(
    boxes: Int, threads: Int, function: Int, count: Int, rows: Int, row: Int, results: Int, counter: Int,
    patience: Int,
) -> Int:  # fmt: skip
    """Run a kernel on all threads, thread i with the `count` int64 at rows + i * row and its result in results[i].

    counter: address of an int64 that is set to 0 before. Returns DONE, UNFINISHED, FAILED; or, positive, the
    helpers that sleep, a bit each from bit 1 on: the caller, whose share is not done yet, wakes them and calls
    `finish`.
    """
    _write(counter, 0)
    asleep = np.int64(0)
    for thread in range(threads):
        box = boxes + thread * BOX
        _write(box + _FUNCTION, function)
        _write(box + _COUNT, count)
        _write(box + _ARGUMENTS, rows + thread * row)
        _write(box + _RESULT, results + thread * 16)
        if thread > 0 and _exchange(box, POSTED) == ASLEEP:
            asleep |= np.int64(1) << thread
    return asleep if asleep else finish(boxes, threads, True, patience)


@kernel
def finish(boxes: Int, threads: Int, own: Int, patience: Int) -> Int:
    """Do the caller's share, if `own`, and wait for the others, `patience` turns each; as `launch` returns."""
    if own:
        _run(boxes)
    failed = _read(boxes + _FAILED) != 0
    for thread in range(1, threads):
        box = boxes + thread * BOX
        turns = np.int64(0)
        while _read(box) == POSTED:
            turns += 1
            if turns > patience:
                return UNFINISHED
            _wait(turns)
        failed = failed or _read(box + _FAILED) != 0
    return FAILED if failed else DONE
