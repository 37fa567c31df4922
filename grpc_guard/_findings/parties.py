"""Threads, tasks and greenlets as the parties to a finding."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from _thread import get_ident
from collections.abc import Iterable, Iterator
from types import FrameType, FunctionType
from typing import Any, cast

from .._catalogue.boundary import is_injected
from .._catalogue.cpython import name_in_thread, name_of_threads, threads_by_ident
from .._catalogue.cpython_loops import name_in_task, running_loop_now
from .._catalogue.heap import instances, with_subclasses
from .records import Frame, Owner
from .stacks import ends_in_program, fold, line_in, outward
from .waiters import ASKED_AT, frames_of_running, stack_noted, stack_of_waiter, work_at
from .whose import LOOP, whose

_STARTS_A_TASK = cast("FunctionType", asyncio.BaseEventLoop.create_task).__code__
_HANDLER = "HandleExceptions["  # how grpc.aio names the task of a handler


def this_party(frame: FrameType, operation: str, *, is_task: bool) -> Owner:
    """Describe the caller: the running task or thread, with its stack from `frame` outward."""
    if is_task:
        # Without a loop, it is a thread that uses an aio object.
        task = None if running_loop_now() is None else asyncio.current_task()
        if task is not None:
            return task_at(task, operation, None, stack_within(frame))
    greenlet = _running_greenlet()
    stack = fold(outward(frame))
    if greenlet is not None:
        return Owner(*greenlet, operation, None, stack)
    return thread_at(get_ident(), frame, operation, None, stack)


def stack_within(frame: FrameType) -> tuple[Frame, ...]:
    """Return the stack from `frame` outward; where a loop runs it, up to the loop."""
    return fold(_of_task(frame))


def _of_task(frame: FrameType) -> Iterator[FrameType]:
    """Yield the frames from `frame` outward that belong to the running task, or start an eager one."""
    for caller in outward(frame):
        if whose(caller) is LOOP and caller.f_code is not _STARTS_A_TASK:
            return
        yield caller


def frames_of_task(task: asyncio.Task[Any], frame: FrameType) -> list[FrameType]:
    """Return the frames of the running `task`, innermost first, of which `frame` is one or further in."""
    get_coro: Any = getattr(task, "get_coro", None)  # a task of another class may not tell
    chain = [] if get_coro is None else frames_of_running(get_coro())
    inner = itertools.takewhile(lambda one: one not in chain, _of_task(frame))
    return [*inner, *reversed(chain)]


def task_at(
    task: asyncio.Task[Any], operation: str, held: float | None, stack: tuple[Frame, ...]
) -> Owner:
    """Describe `task` in `operation`, whose own stack is `stack`.

    If that has no line of the program, the task consists of the operation, or a library made it
    for the program: the line is searched elsewhere.
    """
    relation = "inside"
    for elsewhere, find in _LINES_OF_TASKS:
        if ends_in_program(stack):
            break
        found = find(task)
        if found and (not stack or ends_in_program(found)):
            stack, relation = found, elsewhere
    return Owner("task", name_of_task(task), operation, held, stack, relation)


def _asked_at(task: asyncio.Task[Any]) -> tuple[Frame, ...]:
    """Return where the coroutine of `task` was made, if its thread, or the coroutine, notes that."""
    coroutine = task.get_coro()
    origin: Any = getattr(coroutine, "cr_origin", None) or getattr(coroutine, ASKED_AT, ())
    return line_in((file, line, function) for file, line, function in origin)


def _made_at(task: asyncio.Task[Any]) -> tuple[Frame, ...]:
    """Return where `task` was made, if its loop is in debug mode."""
    trace = getattr(task, "_source_traceback", None) or ()
    return line_in((entry.filename, entry.lineno or 0, entry.name) for entry in reversed(trace))


_LINES_OF_TASKS = (
    ("awaited-by", stack_of_waiter),
    ("asked-at", _asked_at),
    ("started-at", _made_at),
)


def name_of_running_task() -> str:
    """Return the name of the task that runs, as name_of_task() does."""
    task = asyncio.current_task()
    return "(no task)" if task is None else name_of_task(task)


def name_of_task(task: asyncio.Task[Any]) -> str:
    """Return the name of `task`; a handler of grpc.aio is named after its RPC."""
    return shown_name(name_in_task(task))


def shown_name(name: str) -> str:
    """Return the name of a task as name_of_task() does."""
    if name.startswith(_HANDLER) and name.endswith("]"):
        return f"handler of {name[len(_HANDLER) : -1]}"
    return name


def names_of_tasks(tasks: Iterable[asyncio.Task[Any]]) -> list[str]:
    """Return the names of `tasks`: see name_of_task()."""
    names = [name_in_task(task) for task in tasks]
    shown = {name: shown_name(name) for name in set(names) if name[:1] == _HANDLER[0]}
    return list(map(shown.get, names, names)) if shown else names


def thread_at(
    ident: int, frame: FrameType, operation: str, held: float | None, stack: tuple[Frame, ...]
) -> Owner:
    """Describe the thread `ident`, which is at `frame` in `operation`; its own stack is `stack`.

    If that is empty, the operation itself was handed to the thread.
    """
    relation = "inside"
    started: tuple[Frame, ...] = ()
    thread = threads_by_ident.get(ident)
    if thread is not None:
        started = stack_noted(thread)
    if not stack:
        work = work_at(frame)
        if work is not None:
            stack, relation = stack_of_waiter(work.future), "awaited-by"
            if not stack:
                stack, relation = stack_noted(work), "asked-at"
        elif thread is not None:
            stack, relation = stack_of_waiter(thread), "awaited-by"
            if not stack:
                stack, relation = started, "started-at"
        if not stack:
            relation = "inside"
    kind, name = name_of_thread(ident)
    return Owner(kind, name, operation, held, stack, relation, started[-1] if started else None)


def name_of_thread(ident: int) -> tuple[str, str]:
    """Return the kind of party that a thread is, and its name."""
    thread = threads_by_ident.get(ident)
    if thread is not None and type(thread).name is name_of_threads:
        return "thread", name_in_thread(thread)
    return "thread", _name_by_itself(thread) or f"thread {ident}"


def _name_by_itself(thread: threading.Thread | None) -> str | None:
    """Return the name that a thread of the program's own class tells, if it tells one."""
    try:
        name: object = None if thread is None else thread.name
    except Exception as error:
        if is_injected(error):
            raise
        return None
    return name if isinstance(name, str) else None


def suspended_greenlets() -> Iterator[tuple[str, FrameType]]:
    """Yield the suspended greenlets, which no thread shows among its frames."""
    if "gevent" not in sys.modules:
        return
    from greenlet import greenlet

    for candidate in instances(with_subclasses(greenlet)):
        if candidate.gr_frame is not None:
            yield _name_of_greenlet(candidate), candidate.gr_frame


def _running_greenlet() -> tuple[str, str] | None:
    """Return the kind of party and its name, if it is a greenlet and not a thread's main one."""
    if "gevent" not in sys.modules:
        return None
    from greenlet import getcurrent

    greenlet = getcurrent()
    return None if greenlet.parent is None else ("greenlet", _name_of_greenlet(greenlet))


def _name_of_greenlet(greenlet: object) -> str:
    return str(getattr(greenlet, "name", None) or hex(id(greenlet)))
