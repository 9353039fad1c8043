"""Handing kernels to threads in a microsecond: letter boxes in shared memory instead of Python's queues.

A step launches hundreds of kernels of some hundred microseconds each. Waking a sleeping thread takes 15 to 30
microseconds, and each thread needs the GIL for it. Here a helper looks at its letter box, without the GIL, until a
kernel lies there or until it has looked for long enough (`serve`); only then it goes to sleep in Python. The
caller puts kernels into the boxes, does its own share and waits likewise (`launch`, `finish`).

A box is 128 bytes, so that no two share a cache line: int64 STATE, FUNCTION, COUNT, ARGUMENTS, RESULT, FAILED.

    ASLEEP --helper--> WAITING --caller--> POSTED --helper--> RUNNING --helper--> WAITING ...
       ^                  |                   |
       +--- waited long --+                   +--caller: does it itself--> WAITING
       +-------- a FUNCTION of 0 sends the helper back to Python

A helper that is late does not hold up the caller, who takes back what nobody has begun. Besides, each helper has
LATER boxes for kernels that nobody waits for yet (`begin`): it works on them whenever its own box is empty, so
that it computes, too, while the caller is in Python. Such a kernel looks now and then whether something `waits` in
the helper's own box; it returns INTERRUPTED then, and is called again after that. Who wants its results calls
`finish` on those boxes.

Those who wait let other threads of the machine go first every microsecond: where there are more threads than
processors, one's waiting is another's computing. A helper that the caller finds ASLEEP has to be woken; the kernel
lies in its box then. The first box, and the first LATER boxes, are the caller's own. Kernels are called by their
native addresses with int64 arguments; RESULT takes up to two int64.
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
from joulebit.kernels.workers import PLACES

BOX = 128  #: bytes of a letter box
MOST_ARGUMENTS = 48
LATER = PLACES  #: boxes of each thread for kernels that nobody waits for yet
ASLEEP, WAITING, POSTED, RUNNING = 0, 1, 2, 3
_TURNS_ALONE = 16  #: of a waiting loop, about a microsecond, before other threads of the machine may go first
DONE, UNFINISHED, FAILED = 0, -1, -2  #: what `launch` and `finish` return
INTERRUPTED = -(1 << 62)  #: what a kernel that was begun returns when it is to be called again

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
def read_word(typing_context, address):  # type: ignore[no-untyped-def]
    """The int64 at an address, and all that its writer wrote before."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(pointer(builder, args[0], _I64), "acquire", 8)

    return _ADDRESS(_ADDRESS), generate


@intrinsic
def write_word(typing_context, address, value):  # type: ignore[no-untyped-def]
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
def waits(box: Int) -> Int:
    """Whether something lies in a helper's own box; box: 0 for the caller's, who never interrupts its own work."""
    return box != 0 and read_word(box) == POSTED


@inline
def _done(box: Int) -> Int:
    """Call the kernel in a box that this thread has taken; False if it is to be called again."""
    function, count, result = read_word(box + _FUNCTION), read_word(box + _COUNT), read_word(box + _RESULT)
    failed = _call(function, count, read_word(box + _ARGUMENTS), result)
    if failed == 0 and read_word(result) == INTERRUPTED:
        return False
    write_word(box + _FAILED, failed)
    write_word(box, WAITING)
    return True


@inline
def _take(box: Int) -> Int:
    """Whether something lay in the box that is this thread's to do now."""
    return read_word(box) == POSTED and _replace(box, POSTED, RUNNING) == 1


@kernel
def spin(turns: Int) -> Int:
    """Wait for so many turns of the loops below, to find out how long they take."""
    word = np.zeros(1, np.int64)
    seen = np.int64(0)
    for turn in range(turns):
        seen += read_word(np.int64(word.ctypes.data))
        _wait(turn)
    return seen


@kernel
def serve(box: Int, later: Int, patience: Int) -> None:
    """Run what is put into a helper's box, and between that what lies in its LATER boxes from `later` on.

    Until nothing came for `patience` turns, or a FUNCTION of 0 into its box.
    """
    _replace(box, ASLEEP, WAITING)
    turns, held = np.int64(0), np.int64(0)  # held: a LATER box that is taken and not done
    leave = False
    while True:
        own = _take(box)
        if own and read_word(box + _FUNCTION) == 0:
            leave = True
        place = later
        while held == 0 and not own and place < later + LATER * BOX:
            if _take(place):
                held = place
            place += BOX
        current = box if own and not leave else held
        if current != 0:
            turns = np.int64(0)
            if _done(current) and current == held:
                held = np.int64(0)
        elif leave:
            write_word(box, ASLEEP)
            return
        else:
            turns += 1
            if turns > patience and _replace(box, WAITING, ASLEEP) == 1:
                return
            _wait(turns)


@kernel
def recall(box: Int) -> None:
    """Send a helper back to Python, where it looks into its queue; one that sleeps is there already."""
    write_word(box + _FUNCTION, 0)
    _replace(box, WAITING, POSTED)


@inline
def _post(
    boxes: Int, step: Int, threads: Int, function: Int, count: Int, rows: Int, row: Int, results: Int, counter: Int
) -> Int:  # fmt: skip
    """Put a kernel into the boxes of all threads, which are `step` bytes apart; which were ASLEEP, a bit each."""
    write_word(counter, 0)
    asleep = np.int64(0)
    for thread in range(threads):
        box = boxes + thread * step
        write_word(box + _FUNCTION, function)
        write_word(box + _COUNT, count)
        write_word(box + _ARGUMENTS, rows + thread * row)
        write_word(box + _RESULT, results + thread * 16)
        if _exchange(box, POSTED) == ASLEEP and thread > 0:
            asleep |= np.int64(1) << thread
    return asleep


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
    asleep = _post(boxes, BOX, threads, function, count, rows, row, results, counter)
    return asleep if asleep else finish(boxes, BOX, threads, patience)


@kernel
def begin(
    boxes: Int, later: Int, threads: Int, function: Int, count: Int, rows: Int, row: Int, results: Int,
    counter: Int,
) -> Int:  # fmt: skip
    """As `launch`, by the LATER boxes (`later`: the first thread's), for helpers alone as yet; which to wake."""
    _post(later, LATER * BOX, threads, function, count, rows, row, results, counter)
    asleep = np.int64(0)
    for thread in range(1, threads):
        asleep |= _replace(boxes + thread * BOX, ASLEEP, WAITING) << thread
    return asleep


@kernel
def finish(boxes: Int, step: Int, threads: Int, patience: Int) -> Int:
    """Do the caller's share and what nobody has begun, and wait for the others, `patience` turns each.

    boxes: the first thread's; step: bytes from one thread's to the next. Returns DONE, UNFINISHED or FAILED.
    """
    for thread in range(threads):
        if _take(boxes + thread * step):
            while not _done(boxes + thread * step):
                pass
    failed = False
    for thread in range(threads):
        box = boxes + thread * step
        turns = np.int64(0)
        while read_word(box) == RUNNING:
            turns += 1
            if turns > patience:
                return UNFINISHED
            _wait(turns)
        failed = failed or read_word(box + _FAILED) != 0
    return FAILED if failed else DONE
