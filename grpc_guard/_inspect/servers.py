"""Servers: which RPCs are handled now and where, which wait for a thread, which are over.

All of it is read off what grpcio itself holds while it serves, so that handlers which were there
before the guard are seen as well. Since when is known where the guard has seen them begin.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import is_
from types import AsyncGeneratorType
from typing import Any

from .._catalogue.clock import monotonic
from .._catalogue.cpython import idents_of_workers, size_of_pool
from .._catalogue.cpython_loops import name_in_task
from .._catalogue.grpcio import executor_of_server, is_aio_server, loop_of
from .._catalogue.grpcio_rpcs import (
    handled_among,
    is_over,
    is_served_by,
    method_of_task,
    rpc_states_of,
    waiting_rpcs,
)
from .._core import which
from .._core.stream import AioDirection, Stream
from .._findings.parties import name_of_task, name_of_thread
from .._findings.records import Frame, Owner
from .._lifecycle.handlers import Handlers, servers
from . import inspection_pb2 as pb
from .elsewhere import steps
from .encoding import encoding_of, tag
from .messages import Answer
from .native import slices_of
from .records import HandlerSnapshot, ServerSnapshot, new_handler, new_owner
from .sending import suspended
from .sight import Sight

_UNNAMED = "(a unary RPC)"


def servers_seen(sight: Sight, answer: Answer | None) -> Iterator[ServerSnapshot]:
    """Yield the servers of this process that the guard knows.

    If there is an `answer`, it gets the handlers of each, and the record has those that are threads.
    """
    for number, (server, handlers) in enumerate(servers(), start=1):
        is_aio = is_aio_server(server)
        found: Iterable[HandlerSnapshot]
        if is_aio:
            look = _Look(server, handlers, sight)
            if answer is not None and look.is_usual:
                look.answered(answer)
                found = ()
            else:
                found = look.described()
        else:
            found = _sync_handlers(server, handlers, sight)
        told = ServerSnapshot(
            number=number,
            api=str(handlers.api),
            pool_size=size_of_pool(executor_of_server(server)) or None,
            handlers=tuple(sorted(found, key=_held, reverse=True)),
            waiting=() if is_aio else tuple(waiting_rpcs(server)),
        )
        if answer is not None and len(answer.handlers) < number:
            answer.put_handlers()  # none
        yield told


def _held(one: HandlerSnapshot) -> float:
    return one.handler.held_seconds or 0.0


# Sync


def _sync_handlers(server: Any, handlers: Handlers, sight: Sight) -> Iterator[HandlerSnapshot]:
    streams, is_served = sight.handled.by(handlers), _serving(server)
    for ident, frames in sight.threads.items():
        handled = handled_among(frames)
        if handled is not None and is_served(handled[0], ident):
            rpc_state, rpc = handled
            stack = sight.lines.stack(frames)
            kind, name = name_of_thread(ident)
            owner = _handler(sight, kind, name, rpc, stack, streams.get(ident), monotonic())
            yield new_handler(rpc, owner, is_over(rpc_state))


def _serving(server: Any) -> Callable[[Any, int], bool]:
    """Return what tells whether an RPC, by its state, that a thread handles is one of `server`.

    One that is over is in no server's books any more, though its handler still runs.
    """
    all_servers = [one for one, _ in servers() if not is_aio_server(one)]
    books = [(one, rpc_states_of(one)) for one in all_servers]
    pools = [(one, idents_of_workers(executor_of_server(one))) for one in all_servers]

    def is_served(rpc_state: Any, ident: int) -> bool:
        known = [one for one, states in books if rpc_state in states]
        known = known or [one for one, workers in pools if ident in workers]
        return server is (known or all_servers)[0]

    return is_served


def _handler(
    sight: Sight,
    kind: str,
    name: str,
    rpc: str,
    stack: tuple[Frame, ...],
    noted: tuple[Stream | str, float] | None,
    present: float,
) -> Owner:
    """Return who handles `rpc`, at its line; `noted` is what it began to handle last, and when."""
    held = None
    if noted is not None and _rpc_of(noted[0]) == rpc:
        what, since = noted
        held = max(0.0, present - since)
        # Between two messages the generator shows no frame of its own.
        write = what.write if isinstance(what, Stream) else None
        if type(write) is not AioDirection and (at_rest := list(suspended(write))):
            stack = (*stack, *sight.lines.stack(at_rest))
    return new_owner(kind, name, "handler", held, stack, "inside", None)


def _rpc_of(what: Stream | str) -> str:
    return what.rpc if isinstance(what, Stream) else what


# Aio


class _Look:
    """The handlers of one server in the tasks of its loop."""

    def __init__(self, server: Any, handlers: Handlers, sight: Sight) -> None:
        self._server, self._sight = server, sight
        self._streams = sight.handled.by(handlers)
        self._migrated = list(handlers.threads())
        self._known: dict[str, tuple[str | None, str]] = {}  # thousands of tasks have the same name
        self._loop = loop_of(server)
        # The same for all: who has come first is told first, however long this look takes.
        self._present = monotonic()
        self._is_alone = sum(1 for one, _ in servers() if loop_of(one) is self._loop) == 1

    @property
    def is_usual(self) -> bool:
        """Tell whether all handlers are tasks, and no other server has some on the same loop."""
        return self._is_alone and not self._migrated

    def described(self) -> Iterator[HandlerSnapshot]:
        """Yield the records of the handlers."""
        for tasks, stack in self._by_stack():
            for task in itertools.chain.from_iterable(slices_of(tasks)):
                if task.get_loop() is self._loop and (
                    self._is_alone or is_served_by(self._server, task)
                ):
                    yield self._one(task, stack)

    def answered(self, answer: Answer) -> None:
        """Put the bytes of the handlers into an `answer`, by the compiled core."""
        compiled: Any = which.compiled()
        field = pb.ServerSnapshot.DESCRIPTOR.fields_by_name["handlers"]
        encoding = encoding_of(HandlerSnapshot, field.message_type)

        def one(task: asyncio.Task[Any], stack: tuple[Frame, ...]) -> tuple[float, HandlerSnapshot]:
            described = self._one(task, stack)
            return _held(described), described

        functions = self._named, one
        loop = None if len(self._sight.loops) == 1 else self._loop
        tables = loop, self._streams, AioDirection, self._known
        before = answer.copies, self._sight.crowd
        known = *tables, *functions, _UNNAMED, self._present, *before
        told = known, encoding, tag(field.number)
        for sought, stack in self._by_stack():
            tasks = sought if type(sought) is list else list(sought)
            for some in slices_of(range(len(tasks)), answer.together):
                part = tasks, some[0], len(some)
                compiled.answer_handlers(*told, *part, stack, answer.of_handlers)
        answer.put_handlers()

    def _by_stack(self) -> Iterator[tuple[Sequence[asyncio.Task[Any]], tuple[Frame, ...]]]:
        """Yield the tasks that handle RPCs, by the lines at which they are.

        One that its loop runs now is where its thread is. While gRPC sends what a handler yields, its
        task shows no line of it: the generator does.
        """
        running = list(steps(self._sight))
        for tasks, stack in self._sight.rpc_tasks:
            for task, line in running:
                if any(map(is_, tasks, itertools.repeat(task))):
                    yield [task], line
                    tasks = [one for one in tasks if one is not task]
            if stack:
                yield tasks, stack
                continue
            by_line: dict[tuple[Frame, ...], list[asyncio.Task[Any]]] = {}
            for task in itertools.chain.from_iterable(slices_of(tasks)):
                by_line.setdefault(self._yielding(task), []).append(task)
            yield from ((some, line) for line, some in by_line.items())

    def _yielding(self, task: asyncio.Task[Any]) -> tuple[Frame, ...]:
        """Return the line at which the generator is suspended by which `task` handles its RPC, if it is one."""
        noted = self._streams.get(id(task))
        handler = noted[0].handler if noted is not None and isinstance(noted[0], Stream) else None
        generator = None if handler is None else handler[1]()
        if type(generator) is not AsyncGeneratorType or generator.ag_running:
            return ()
        frame = generator.ag_frame
        return () if frame is None else self._sight.lines.stack([frame])

    def _named(self, task: asyncio.Task[Any]) -> tuple[str | None, str]:
        return method_of_task(task), name_of_task(task)

    def _one(self, task: asyncio.Task[Any], stack: tuple[Frame, ...]) -> HandlerSnapshot:
        noted = self._streams.get(id(task))
        name = name_in_task(task)
        if name not in self._known:
            self._known[name] = self._named(task)
        method, party = self._known[name]
        rpc = method or (_rpc_of(noted[0]) if noted is not None else _UNNAMED)
        owner = _handler(self._sight, "task", party, rpc, stack, noted, self._present)
        in_pool = None
        if self._migrated and not owner.stack:  # it may be a sync handler, which a thread runs
            in_pool = next((one for one in self._migrated if one.operation == rpc), None)
        if in_pool is not None:
            self._migrated.remove(in_pool)
            owner = dataclasses.replace(in_pool, operation="handler")
        return new_handler(rpc, owner, None)
