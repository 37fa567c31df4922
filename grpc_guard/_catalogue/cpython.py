"""The one door to private names of CPython and its standard library, except those of asyncio.

Each function says since when its name holds, and what follows where it is missing: the guard
finds less, and nothing fails. Names that start with an underscore and are documented
(``sys._getframe``, ``sys._xoptions``, ``os._exit``) need no door. asyncio is not imported
here: a program may first have to patch it (see cpython_loops.py).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import opcode
import operator
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from .collector import collector_at_rest
from .heap import held_by

if TYPE_CHECKING:
    from concurrent.futures import Executor

_DEADLOCKS = sys.version_info[:2] == (3, 11)  # see frames_of_threads()
_ARE_LIVE = sys.version_info >= (3, 13)  # see variables_of()


def variables_of(frame: FrameType) -> Mapping[str, Any]:
    """Return the local variables of `frame` as they are now, by name.

    ``f_locals`` itself is no dictionary since Python 3.13. Its get() runs signal handlers where the
    variable is missing, and takes a KeyError that one of them raises for its own.
    """
    return frame.f_locals.copy() if _ARE_LIVE else frame.f_locals


# Threads


def frames_of_threads() -> dict[int, FrameType]:
    """Return the frame of each thread by its ident: ``sys._current_frames()``, and safe.

    CPython 3.11 makes the frames under a lock that each new thread takes, too. If the
    collector runs meanwhile and finds an object that lets other threads run while it dies, as
    calls of gRPC do, a thread that starts then stops the whole process for ever (gh-106883).

    Since Python 2.5. Where it is missing no thread shows a frame: owners are named by the
    ident that they noted, without a stack.
    """
    current_frames = getattr(sys, "_current_frames", dict)
    with collector_at_rest() if _DEADLOCKS else contextlib.nullcontext():
        frames: dict[int, FrameType] = current_frames()
        return frames


# The running threads by their ident: enumerate() would take a lock. Since Python 2.4, one dict for
# as long as the process lives, in a forked child too. Where it is missing it is empty here:
# threads are called by their ident.
threads_by_ident: dict[int, threading.Thread] = getattr(threading, "_active", {})


# The property that returns what a thread has in `_name`: to read that costs no frame. Since Python
# 3.3. None where it is missing: the property is asked.
_has_name = hasattr(threading.main_thread(), "_name")
name_of_threads: Any = getattr(threading.Thread, "name", None) if _has_name else None
name_in_thread: Callable[[threading.Thread], str] = operator.attrgetter("_name")


# Pools of threads: concurrent.futures.ThreadPoolExecutor


def timeout_of_wait(frame: FrameType) -> float | None:
    """Return the seconds after which the wait of a thread that is at `frame` ends by itself.

    None if the wait has no timeout, or is not one of the threading module.
    """
    if frame.f_code is not _CONDITION_WAIT:  # an event, a queue, a semaphore wait by it
        return None
    timeout: float | None = frame.f_locals["timeout"]
    return timeout


_CONDITION_WAIT = threading.Condition.wait.__code__


def size_of_pool(pool: object) -> int:
    """Return how many threads `pool` may have, by ``_max_workers``.

    Since Python 3.2. 0 where it is missing: the pool is never taken to be full.
    """
    return int(getattr(pool, "_max_workers", 0))


def has_idle_workers(pool: object) -> bool:
    """Tell whether threads of `pool` wait for work, by ``_idle_semaphore``.

    Since Python 3.8. False where it is missing, and the handlers are checked in any case.
    """
    return int(getattr(getattr(pool, "_idle_semaphore", None), "_value", 0)) > 0


def idents_of_workers(pool: object) -> frozenset[int]:
    """Return the idents of the threads of `pool`, by ``_threads``.

    Since Python 3.2. Where it is missing none is known, and the pool never taken to be full.
    """
    workers: Iterable[threading.Thread] = getattr(pool, "_threads", ())
    return frozenset(worker.ident for worker in tuple(workers) if worker.ident)


def waiting_in_pool(pool: object) -> int:
    """Return how many pieces of work wait for a thread of `pool`, by ``_work_queue``.

    Since Python 3.2. 0 where it is missing: nothing is known to wait, and nothing is reported.
    """
    waiting: Any = getattr(pool, "_work_queue", None)
    return 0 if waiting is None else int(waiting.qsize())


def is_shut(pool: object) -> bool:
    """Tell whether `pool` has been shut down, by ``_shutdown``.

    Since Python 3.2. False where it is missing: the cause of an error is not reported.
    """
    return bool(getattr(pool, "_shutdown", False))


def interpreter_shuts_pools() -> bool:
    """Tell whether the interpreter ends and has shut down all pools, by ``_shutdown``.

    In ``concurrent.futures.thread``, since Python 3.9. True where it is missing, so that the end
    of a program is never reported.
    """
    from concurrent.futures import thread  # here, for a program that never serves

    return bool(getattr(thread, "_shutdown", True))


def processor_time(ident: int) -> int | None:
    """Return the processor time that the thread `ident` has used so far, in nanoseconds.

    By the per-thread clock of Linux (CPUCLOCK_PERTHREAD and CPUCLOCK_SCHED in its
    posix-timers.h): time.pthread_getcpuclockid() would crash for a thread that has just ended.
    None if it cannot be read; such a thread is never reported to stand still.
    """
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # enumerate() takes a lock
    if thread is None or thread.native_id is None or not sys.platform.startswith("linux"):
        return None
    try:
        return time.clock_gettime_ns((~thread.native_id << 3) | 6)
    except OSError:
        return None


def items_in_pool(pool: object) -> list[Any]:
    """Return the pieces of work that wait for a thread of `pool`, as the collector sees them.

    In ``_work_queue``, a queue made in C, which keeps them in a list before Python 3.13. Empty
    where it is missing.
    """
    held = held_by(getattr(pool, "_work_queue", None))
    return [item for one in held for item in (one if type(one) is list else [one])]


def is_worker(frame: FrameType) -> bool:
    """Tell whether `frame` is a pool's own loop, ``concurrent.futures.thread._worker``.

    Since Python 3.2. False where it has another name: its thread is like any other.
    """
    is_of_futures = frame.f_globals.get("__name__") == "concurrent.futures.thread"
    return frame.f_code.co_name == "_worker" and is_of_futures


def executor_in(obj: object) -> Executor | None:
    """Return the executor that `obj`, made in C, holds in a field that only the collector sees.

    None where it shows none: its handlers are not watched.
    """
    from concurrent.futures import Executor  # here, for a program that never serves

    return next((held for held in held_by(obj) if issubclass(type(held), Executor)), None)


# The interpreter


def is_being_imported(module: ModuleType) -> bool:
    """Tell whether the import of `module` has not ended, by ``ModuleSpec._initializing``.

    Since Python 3.7. False where it is missing: the module is taken to be complete.
    """
    return bool(getattr(module.__spec__, "_initializing", False))


def interpreter_flags() -> list[str]:
    """Return the options that this interpreter was started with.

    By ``subprocess._args_from_interpreter_flags()``, as multiprocessing hands them on. Since
    Python 3.2. None where it is missing: a child runs with the default options.
    """
    import subprocess  # for the launcher alone

    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
    return flags


# Functions

_KINDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def in_place_of(plain: Any, function: Any) -> Any:
    """Return `function`, which returns what `plain` does, with its kind, name and attributes.

    Only the flags of its code change, by which ``inspect`` knows a kind: they do not change what
    it returns (see ``types.coroutine()``; since Python 3.11).
    """
    code = getattr(plain, "__code__", None)
    kind = code.co_flags & _KINDS if type(code) is CodeType else 0
    if kind:  # by a new function: 3.13 deprecates replacing the code of one by another kind of code
        code = _of_kind(function.__code__, kind)
        function = FunctionType(code, function.__globals__, closure=function.__closure__)
    if type(plain) is FunctionType:
        function.__defaults__, function.__kwdefaults__ = plain.__defaults__, plain.__kwdefaults__
    return functools.update_wrapper(function, plain)


@functools.lru_cache
def _of_kind(code: CodeType, kind: int) -> CodeType:
    return code.replace(co_flags=code.co_flags | kind)


_UNIT = 2  # bytes of an instruction; caches follow some, as if they were instructions
_RETURN = opcode.opmap["RETURN_VALUE"]
_WORK = ("GET_AWAITABLE", "CALL_FUNCTION_EX", "CALL")


def on_one_line(code: CodeType) -> CodeType:
    """Return `code` as if it were written on one line: that of the last await or call before it returns.

    By the table of lines that CPython has since 3.11 (Objects/locations.md). Where the table
    reads differently, `code` itself.
    """
    line = _line_of_work(code)
    units = len(code.co_code) // _UNIT
    table = bytearray()
    delta = (line - code.co_firstlineno) << 1  # the last bit is a sign
    for left in range(units, 0, -8):
        table.append(0x80 | 13 << 3 | min(left, 8) - 1)  # 13: a line, and no columns
        while delta >= 0x40:
            table.append(0x40 | delta & 0x3F)
            delta >>= 6
        table.append(delta)
        delta = 0
    flat = code.replace(co_linetable=bytes(table))
    return flat if {line for _, _, line in flat.co_lines()} == {line} else code


def _line_of_work(code: CodeType) -> int:
    """Return the line of `code` that a traceback shows: the one that does the operation."""
    instructions = code.co_code[::_UNIT]
    end = instructions.find(_RETURN)
    for name in _WORK:
        last = instructions.rfind(opcode.opmap.get(name, _RETURN), 0, end)
        if last > 0:
            at = last * _UNIT
            return next(
                line for start, stop, line in code.co_lines() if line and start <= at < stop
            )
    return code.co_firstlineno
