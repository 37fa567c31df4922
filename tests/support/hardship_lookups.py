"""What the compiled core looks up, or follows from one object to the next: see hardship.py."""

from __future__ import annotations

import contextlib
import types
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

from inside import (
    AioDirection,
    GenericHandler,
    Mode,
    Stream,
    aio_given,
    always,
    loops_door,
    starts,
    waiters,
)

Act = Callable[[], object]
CORE, LONGEST = 8, 9


class Pause:
    """What a coroutine awaits: it suspends it once."""

    def __await__(self) -> Iterator[None]:
        yield None


class Task:
    """A task on its own, suspended."""

    def __init__(self, coroutine: Any) -> None:
        self._coroutine = coroutine
        with contextlib.suppress(StopIteration):
            coroutine.send(None)

    def get_coro(self) -> Any:
        return self._coroutine

    def get_name(self) -> str:
        return "task"


async def waits() -> None:
    await Pause()


async def awaits() -> None:
    await waits()


async def iterates() -> None:
    async def messages() -> AsyncIterator[None]:
        await waits()
        yield

    async for _ in messages():
        pass


@types.coroutine
def generates() -> Iterator[Any]:
    yield from waits().__await__()


async def awaits_a_generator() -> None:
    await generates()


class Given:
    """What an operation is done with: its methods are of its class."""

    async def read(self) -> None:
        await Pause()


class Service:
    """A generic handler, in a program."""

    def __init__(self) -> None:
        self.handler: Any = SimpleNamespace(
            request_streaming=False, response_streaming=False, unary_unary=answer
        )

    def service(self, details: Any) -> Any:
        return None if details.method == "/a/none" else self.handler


def answer(request: Any, context: Any) -> Any:
    return request


def lookup_acts(core: Any, refused: Callable[..., None]) -> dict[str, Act]:
    """Return, by name, what `core` looks up and follows."""
    shapes = (waits, awaits, iterates, awaits_a_generator)
    tasks = [Task(shape()) for shape in shapes for _ in range(3)]

    def kind(code: Any, link: Any) -> int:
        return 1

    def followed() -> None:
        known = waiters.reader_of, kind, waiters.WITHOUT_CODE, waiters.is_driven
        found = core.chains(tasks, LONGEST, CORE, *known)
        assert sorted(len(group[0]) for group in found) == [3] * len(shapes)
        short = core.chains(tasks, 1, 1, *known)
        assert [len(group[0]) for group in short] == [len(tasks)]

    def not_followed() -> None:
        known = waiters.WITHOUT_CODE, waiters.is_driven
        refused(lambda: core.chains(tasks, LONGEST, CORE), TypeError)
        refused(lambda: core.chains([7], LONGEST, CORE, None, None, *known), AttributeError)
        refused(lambda: core.chains(tasks, LONGEST, CORE, None, lambda *_: -1, *known), ValueError)
        refused(lambda: core.chains(tasks, LONGEST, CORE, None, lambda *_: "", *known), TypeError)
        refused(lambda: core.chains(tasks, LONGEST, CORE, lambda _: 7, kind, *known), TypeError)

    usual: Any = type("Usual", (), {"__slots__": ("__next__",)})
    bare = type("Bare", (), {"__slots__": ("first",)})

    def by_slot() -> None:
        refused(lambda: core.next_by_slot(usual, 7), TypeError)
        refused(lambda: core.next_by_slot(bare, vars(bare)["first"]), AttributeError)
        refused(lambda: core.attributes_by_slot(7, 7, 7), TypeError)
        assert not core.attributes_by_slot(Given, None, None)
        refused(lambda: core.calls_by_slot(7), TypeError)
        assert not core.calls_by_slot(Given)
        refused(lambda: core.iterates_by_slot(int), TypeError)
        assert not core.iterates_by_slot(Given)
        core.empty_slots(usual, {"__len__"})

    proxy = GenericHandler(Service(), always(Mode.RAISE), lambda behavior, *_: behavior)

    def served() -> None:
        for rpc in ("/a/b", "/a/b", "/a/none"):
            proxy.service(SimpleNamespace(method=rpc))
        proxy.__wrapped__.handler.__dict__.pop("_grpc_guard", None)

    usual_party = {  # made before memory lacks
        "running_loop": loops_door.running_loop,
        "current_task": loops_door.current_task,
        "get_ident": starts.get_ident,
    }

    # What an origin notes: of a task, of a thread that threading does not know, of another name.
    def noted() -> None:
        core.note_origin("x")  # which file this is, Python finds out
        core.tell({"running_loop": lambda: 7, "current_task": lambda _: Task(waits())})
        try:
            assert core.note_origin("x").name == "task"
            core.tell({"current_task": lambda _: None, "get_ident": lambda: 7})
            assert core.note_origin("x").kind == "thread"
            core.tell({"running_loop": loops_door.running_loop})
            assert not core.note_origin("x").on_loop
        finally:
            core.tell(usual_party)

    given = Given()
    stream = Stream("/a/b", "client", "aio", Mode.RAISE, SimpleNamespace(_thread_id=1))  # type: ignore[arg-type]

    def called() -> None:
        for one in (given, Given()):
            context = aio_given.Context(one, stream)
            assert type(context._self_read) is AioDirection
            context.read().close()

    return {
        "chains that are followed": followed,
        "refusals of chains": not_followed,
        "classes whose slots are filled": by_slot,
        "generic handlers": served,
        "origins of tasks and strangers": noted,
        "methods of what is given": called,
    }
