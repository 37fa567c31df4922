"""What waits for a task, a future or a thread: searched on demand, at no cost before.

An operation is often itself a task, or a piece of work for a thread: ``gather(call.read())``,
``run_in_executor(None, next, call)``. Then its own stack has no line of the program. The
done-callbacks of tasks and futures lead to the party that waits for it. A party that waits
without one, in ``Future.result()`` or ``asyncio.run()``, shows that on its stack.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import functools
import operator
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from operator import is_
from types import CoroutineType, FrameType
from typing import Any, NamedTuple

from .._catalogue.cpython import variables_of
from .._catalogue.cpython_awaits import AWAITED, NAMES
from .._catalogue.heap import held_by, held_by_each
from .blocked import blocked_threads
from .records import Frame
from .stacks import ends_in_program, fold, outward

CHAIN_LENGTH = 500  # a longer chain of awaits is not searched to its end
_LOOKED_AT = 1000  # futures on the way to the party that waits; more are not followed

# The attribute in which a thread, or a piece of work for one, has its Note.
NOTE = "_grpc_guard_note"
# The attribute in which an operation in C has the line that asked for it, as cr_origin would.
ASKED_AT = "_grpc_guard_asked_at"
_RUNS_WORK = concurrent.futures.thread._WorkItem.run.__code__

Future = asyncio.Future[Any] | concurrent.futures.Future[Any]
_FUTURES = (asyncio.Future, concurrent.futures.Future)


def links_of(awaitable: object) -> Iterator[Any]:
    """Yield `awaitable` and what it awaits, outermost first."""
    for _ in range(CHAIN_LENGTH):
        if awaitable is None:
            return
        yield awaitable
        awaitable = awaited_by(awaitable)


def await_chain(awaitable: object) -> Iterator[FrameType]:
    """Yield the frames of `awaitable` and of what it awaits, outermost first."""
    for link in links_of(awaitable):
        frame = frame_of(link)
        if frame is not None:
            yield frame


def frames_of_running(coroutine: object) -> list[FrameType]:
    """Return the frames of `coroutine`, which runs, and of what it awaits, outermost first.

    While an exception is thrown into one that awaits no coroutine, it is not on the thread's stack.
    """
    links: list[Any] = [coroutine]
    while links[-1] is not None and len(links) < CHAIN_LENGTH:
        inner = awaited_by(links[-1])
        if inner is None:  # the top of its stack shows what runs for it, if anything does
            inner = next((one for one in reversed(held_by(links[-1])) if _runs(one, links)), None)
        links.append(inner)
    return [frame for frame in map(frame_of, links) if frame is not None]


def _runs(one: Any, links: list[Any]) -> bool:
    if not hasattr(type(one), "throw") or any(map(is_, links, repeat(one))):
        return False
    if _prefix_of(type(one)) is None:
        one = _driven(one)
    prefix = _prefix_of(type(one))
    return prefix is not None and bool(getattr(one, f"{prefix}_running", False))


def awaited_by(awaitable: object) -> Any:
    """Return what `awaitable` awaits; None at the end of the chain."""
    kind: Any = type(awaitable)
    prefix = _prefix_of(kind)
    if prefix is not None:
        return _awaited(kind, prefix)(awaitable)
    return _driven(awaitable)


def _awaited(kind: type, prefix: str) -> Callable[[Any], Any]:
    """Return what reads what an awaitable of this kind awaits; an operation in C tells at any time."""
    return operator.attrgetter(NAMES[prefix]) if hasattr(kind, ASKED_AT) else AWAITED[prefix]


def idle_type(loop: Any) -> type:
    """Return the type at the end of the await chain of a coroutine that awaits a future."""
    return type(loop.create_future().__await__())


def frame_of(link: Any) -> FrameType | None:
    """Return the frame of a coroutine or generator, None for what has none.

    None too for an operation in C, which lends itself the frame of what it drives.
    """
    if type(link) is CoroutineType:
        return link.cr_frame
    kind: Any = type(link)
    prefix = _prefix_of(kind)
    if prefix is None or hasattr(kind, ASKED_AT):
        return None
    return getattr(link, f"{prefix}_frame", None)


# What reads the code of a link (None for what has none), and what reads what it awaits.
Reader = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def reader_of(link: Any) -> Reader:
    """Return what reads `link` and others of its type."""
    kind: Any = type(link)
    prefix = _prefix_of(kind)
    if prefix is None or not hasattr(kind, f"{prefix}_code"):
        return WITHOUT_CODE
    awaited_by = _awaited(kind, prefix)
    if hasattr(kind, ASKED_AT):
        return _no_code, awaited_by
    return operator.attrgetter(f"{prefix}_code"), awaited_by


def _no_code(link: object) -> None:
    return None


def _driven(link: object) -> Any:
    """Read an anext() or a coroutine wrapper: they show what they drive to the collector alone."""
    return next(filter(is_driven, held_by(link)), None)


def is_driven(one: object) -> bool:
    """Tell whether `one`, which something without code holds, is what that drives."""
    kind: Any = type(one)
    return _prefix_of(kind) in _DRIVEN


WITHOUT_CODE: Reader = _no_code, _driven
_DRIVEN = ("ag", "cr")


def driven_by(links: Sequence[Any]) -> Sequence[Any]:
    """Return what each of `links` drives; they are of one type, which is read WITHOUT_CODE."""
    held = held_by_each(links)
    columns = zip(*held, strict=True)
    try:
        for column in columns:
            kinds = list(map(type, column))
            if not all(map(is_, kinds, repeat(kinds[0]))):
                break
            if _prefix_of(kinds[0]) in _DRIVEN:
                return column
    except ValueError:  # not all hold equally many objects
        pass
    return list(map(_driven, links))


def _prefix_of(kind: type) -> str | None:
    """Return the prefix of the attributes of awaitables of this kind; None if they have none.

    None too for a class whose metaclass defines a hash: a table of classes would call it.
    """
    meta: Any = type(kind)
    return _known_prefix(kind) if meta.__hash__ is type.__hash__ else None


@functools.lru_cache(maxsize=64)
def _known_prefix(kind: type) -> str | None:
    return next((prefix for prefix, link in NAMES.items() if hasattr(kind, link)), None)


def stack_of_task(task: asyncio.Task[Any]) -> tuple[Frame, ...]:
    """Return where a suspended `task` is, without the machinery's frames."""
    return fold(reversed(list(await_chain(task.get_coro()))))


def stack_of_waiter(waited_for: Future | threading.Thread) -> tuple[Frame, ...]:
    """Return where a party waits for a task, future or thread; empty if none is found.

    If several wait, it is the nearest one that has a line of the program, else of a library.
    """
    nearest: tuple[Frame, ...] = ()
    todo: deque[Any] = deque([waited_for])
    seen = {id(waited_for)}
    blocked = blocked_threads()
    try:
        while todo and len(seen) < _LOOKED_AT:
            waited = todo.popleft()
            for frame, _ in blocked.get(id(waited), ()):
                stack = fold(outward(frame))
                if stack:
                    return stack
            for future in _waiting_for(waited):
                if id(future) in seen:
                    continue
                seen.add(id(future))
                if isinstance(future, asyncio.Task):
                    stack = stack_of_task(future)
                    if ends_in_program(stack):
                        return stack
                    nearest = nearest or stack
                todo.append(future)
        return nearest
    finally:
        blocked.clear()


def work_at(frame: FrameType | None) -> Any:
    """Return the piece of work that a pool's thread does at `frame`; None if it is not a pool's."""
    for outer in outward(frame):
        if outer.f_code is _RUNS_WORK:
            return variables_of(outer).get("self")
    return None


class Note(NamedTuple):
    """The party that asked for a thread, or for work on one, and where; its task is held weakly."""

    site: Callable[[], Frame | None]
    task: Callable[[], asyncio.Task[Any] | None]


def stack_noted(thing: object) -> tuple[Frame, ...]:
    """Return the line that started `thing`, a thread or a piece of work, if it was noted.

    If a library started it on behalf of a task, it is the line of the task.
    """
    note: Note | None = getattr(thing, NOTE, None)
    if note is None:
        return ()
    site, task = note.site(), note.task()
    if site is not None:
        return (site,)
    return () if task is None else stack_of_task(task) or stack_of_waiter(task)


def _waiting_for(future: Any) -> Iterator[Future]:
    """Yield the tasks and futures that go on when `future` is done."""
    yield from getattr(future, "_asyncio_awaited_by", None) or ()  # since Python 3.14
    callbacks = getattr(future, "_callbacks", None) or getattr(future, "_done_callbacks", None)
    for entry in tuple(callbacks or ()):
        # asyncio keeps (callback, context) pairs, concurrent.futures the callbacks.
        yield from _futures_of(entry[0] if type(entry) is tuple else entry)


def _futures_of(callback: Any) -> Iterator[Future]:
    held: list[Any] = [getattr(callback, "__self__", None)]
    if isinstance(callback, functools.partial):
        held += [callback.func, *callback.args]
        held.append(getattr(callback.func, "__self__", None))
        callback = callback.func
    for cell in getattr(callback, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    for one in held:
        yield from _futures_in(one)


def _futures_in(held: Any) -> Iterable[Future]:
    """Return the futures that `held`, which a callback holds, stands for."""
    if isinstance(held, _FUTURES):
        return (held,)
    parent = getattr(held, "_parent_task", None)  # of a TaskGroup
    if parent is None and type(held).__module__.startswith("anyio."):
        parent = getattr(getattr(held, "cancel_scope", None), "_host_task", None)
    if isinstance(parent, asyncio.Future):
        return (parent,)
    queue = getattr(held, "_done", held)  # as_completed() waits for a queue of what is done
    getters = getattr(queue, "_getters", None)
    if isinstance(getters, deque):
        return [getter for getter in getters if isinstance(getter, asyncio.Future)]
    return ()
