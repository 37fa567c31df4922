"""The one door to private names of asyncio, and of the loops and time-outs beside it.

Each function says since when its name holds, and what follows where it is missing: the guard
finds less, and nothing fails. ``_thread_id`` of a loop is read where an operation begins,
without a call (see _core/loops.py, which stands in for a loop that lacks it).
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from itertools import repeat
from operator import is_
from typing import Any

from .boundary import is_injected
from .cpython import executor_in

NAMELESS = "(a task without a name)"

_CHAIN_LENGTH = 500  # tasks that wait for each other; a longer chain is not followed


def _public_running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# The loop that runs on this thread, None if none does; the public function raises instead.
# Since Python 3.5.3; where it is missing the public one is asked, which takes longer.
running_loop = getattr(asyncio, "_get_running_loop", _public_running_loop)


def running_loop_now() -> asyncio.AbstractEventLoop | None:
    """Return the same by the function that asyncio has now: what decides, where running_loop() differs.

    trio-asyncio replaces the functions of asyncio when it is imported, which may be after the guard
    was, and no loop of its own runs by asyncio's function in C.
    """
    now: asyncio.AbstractEventLoop | None = getattr(
        asyncio, "_get_running_loop", _public_running_loop
    )()
    return now


# The task that `loop` runs, None if it runs none. By ``asyncio.tasks._current_tasks`` on Python 3.11,
# where the public function is written in Python, and each RPC of a server asks; it is there since 3.7.
# The public one takes over where it is missing.
_current_tasks = (
    getattr(asyncio.tasks, "_current_tasks", None) if sys.version_info < (3, 12) else None
)
current_task: Any = asyncio.current_task if _current_tasks is None else _current_tasks.get


def name_in_task(task: asyncio.Task[Any]) -> str:
    """Return the name of `task`, which its class may tell by code of the program; NAMELESS if it tells none."""
    try:
        name: object = task.get_name()
    except Exception as error:
        if is_injected(error):
            raise
        name = None
    return name if isinstance(name, str) else NAMELESS


def is_being_cancelled(task: object) -> bool:
    """Tell whether `task`, or what it waits for, has a cancellation that is not yet delivered.

    grpcio waits for its own tasks: the one that sends the request, and those of interceptors.
    By ``Task._must_cancel`` and ``Task._fut_waiter``: since Python 3.4, ``task.cancelling()``
    counts those that were delivered as well. True where they are missing, as on a task of
    the program's own kind: an operation that meets it is then no finding.
    """
    if not hasattr(task, "_must_cancel"):
        return True
    waiter: Any = task
    for _ in range(_CHAIN_LENGTH):  # two tasks may wait for each other
        if waiter is None:
            break
        if getattr(waiter, "_must_cancel", False) or waiter.cancelled():
            return True
        waiter = getattr(waiter, "_fut_waiter", None)
    return False


# Where asyncio keeps its tasks: weakly, except eager ones. Python 3.14 keeps most elsewhere.
_KEPT = () if sys.version_info >= (3, 14) else ("_all_tasks", "_scheduled_tasks", "_eager_tasks")


def tables_of_tasks(
    loops: Collection[asyncio.AbstractEventLoop],
) -> list[set[weakref.ref[asyncio.Task[Any]]] | list[weakref.ref[asyncio.Task[Any]]]]:
    """Return tables of weak references to the tasks of `loops`; others may be among them. For any thread.

    Those that asyncio has, the same as long as a task lives, in its own sets, which have to be copied
    or read in one step: by the sets ``_all_tasks`` (up to Python 3.11), ``_scheduled_tasks`` and
    ``_eager_tasks`` (3.12 and 3.13) of asyncio.tasks. If all are missing, ``asyncio.all_tasks()`` is
    called. Before 3.14 it starts again whenever the loop makes a task meanwhile, and gives up in the end.
    """
    kept: list[Any] = [getattr(asyncio.tasks, name, None) for name in _KEPT]
    if not any(tasks is not None for tasks in kept):
        return [[weakref.ref(task) for loop in loops for task in asyncio.all_tasks(loop)]]
    there = [tasks for tasks in kept if tasks is not None]
    return [
        list(map(weakref.ref, tasks.copy())) if isinstance(tasks, set) else tasks.data
        for tasks in there
    ]


def tasks_among(
    references: Iterable[weakref.ref[asyncio.Task[Any]]],
    loops: Collection[asyncio.AbstractEventLoop],
) -> list[asyncio.Task[Any]]:
    """Return the tasks of `loops` that `references` lead to and that are not done."""
    found = [reference() for reference in references]
    return [
        task for task in found if task is not None and task.get_loop() in loops and not task.done()
    ]


# In this attribute a task has the future that it awaits, or None; since Python 3.4.
AWAITED = "_fut_waiter"


def task_awaited_by(task: object) -> asyncio.Task[Any] | None:
    """Return the task that `task` awaits, by the name above; else None."""
    awaited = getattr(task, AWAITED, None)
    return awaited if isinstance(awaited, asyncio.Task) else None


def awaited_by_tasks(tasks: Iterable[asyncio.Task[Any]]) -> list[Any]:
    """Return the future that each of `tasks` awaits, or None; by the name above."""
    return list(map(getattr, tasks, repeat(AWAITED), repeat(None)))


def waits_for_tasks(
    tasks: Sequence[asyncio.Task[Any]],
) -> Iterator[tuple[asyncio.Task[Any], asyncio.Task[Any]]]:
    """Yield those of `tasks` that await a task, each with that one: see task_awaited_by()."""
    if all(map(is_, map(type, awaited_by_tasks(tasks)), repeat(asyncio.Future))):
        return  # as most of them do
    for task in tasks:
        awaited = task_awaited_by(task)
        if awaited is not None:
            yield task, awaited


def error_of(future: object) -> BaseException | None:
    """Return the exception of `future`, by ``_exception``: exception() would mark it as retrieved.

    Since Python 3.4. None where it is missing, as if there were none.
    """
    error: BaseException | None = getattr(future, "_exception", None)
    return error


def arguments_of_callbacks(task: object) -> list[object]:
    """Return the arguments of those callbacks of `task` that are partials, by ``_callbacks``.

    Since Python 3.4, pairs of callback and context since 3.7. None where it is missing.
    """
    return [
        argument
        for callback, _ in getattr(task, "_callbacks", None) or ()
        for argument in getattr(callback, "args", ())
    ]


def timers_of(loop: object) -> tuple[asyncio.TimerHandle, ...]:
    """Return the timers of `loop`, by ``BaseEventLoop._scheduled``.

    Since Python 3.4. None where it is missing, as in uvloop: no time-out is known.
    """
    return tuple(getattr(loop, "_scheduled", ()))


def tasks_stopped_by(timer: object) -> Iterator[object]:
    """Yield the tasks that `timer` times out; a cancelled timer has no callback.

    By ``Handle._callback``, since Python 3.4, and what it is a method of: ``_task`` of
    asyncio.timeout() (since 3.11) and async_timeout, ``_tasks`` of a scope of anyio. None where
    they are missing.
    """
    scope = getattr(getattr(timer, "_callback", None), "__self__", None)
    yield getattr(scope, "_task", None)
    yield from getattr(scope, "_tasks", None) or ()


def arguments_of(timer: object) -> tuple[object, ...]:
    """Return what the callback of `timer` will be given, by ``Handle._args``.

    Since Python 3.4. None where it is missing.
    """
    return getattr(timer, "_args", None) or ()


def default_executor(loop: object) -> Executor | None:
    """Return the executor that `loop` has made for itself, by ``_default_executor``.

    Since Python 3.4; of uvloop's, by what the collector sees. None where neither shows one.
    """
    return getattr(loop, "_default_executor", None) or executor_in(loop)
