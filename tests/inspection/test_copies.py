"""The bytes of what has not changed since the last answer: the same as if they were made anew."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from inside import (
    core_which,
    inspect_living,
    inspect_messages,
    inspect_servers,
    inspect_telling,
    inspection_pb2,
    sight,
    snapshots,
)
from support.staging import PATIENCE, aio_channel, aio_server, path, within

from grpc_guard import wrap

compiled: Any = core_which.compiled()
if compiled is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)

MANY = 30  # more than are fetched ahead


class Clock:
    """Time passes when the test says so, and no other thread runs while a look is told."""

    now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    for module in (sight, snapshots, inspect_servers, inspect_telling):
        monkeypatch.setattr(module, "monotonic", found)
    monkeypatch.setattr(snapshots, "now", lambda: "now")
    monkeypatch.setattr("grpc_guard._inspect.native._NAP", 0.0)
    monkeypatch.setattr(inspect_messages, "_spare", [])
    monkeypatch.setattr(inspect_messages, "_closed", [float("inf")])  # answers follow each other
    return found


def looked_at(is_answered: bool = True) -> tuple[Any, int]:
    """Check that an answer is the message of the records; return it, and how many streams were the same."""
    handled = inspect_living.Handled()
    listed = inspect_living.streams_listed(handled)
    look = sight.Sight(inspect_living.loops_of(listed), handled, listed)
    try:
        streams = look.streams_among(listed)
        records = inspect_messages.reply_with(snapshots._told(list(streams), look, None))
        with contextlib.closing(inspect_messages.Answer()) as parts:
            few = snapshots._told(list(streams), look, parts)
            if is_answered:
                assert inspect_messages.reply_with(few, parts) == records
            same = parts.copies.known()[1]
    finally:
        look.forget_frames()
    return inspection_pb2.Reply.FromString(records).snapshot, same


class Scene:
    """Streams in which a task reads on either side: what is sent by one is read, sent back, and read again."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.tasks: list[Any] = []
        self.echoed, self.read, self.ended = (asyncio.Event() for _ in range(3))

    async def echo(self, requests: Any, context: Any) -> None:
        try:
            async for request in requests:
                await context.write(request)
                self.echoed.set()  # and it reads before anybody else runs
        finally:
            self.ended.set()

    async def reads(self, call: Any) -> None:
        while await call.read() is not grpc.aio.EOF:
            self.read.set()

    async def begin(self, channel: Any) -> None:
        call = channel.stream_stream(path("Echo"))()
        self.calls.append(call)
        self.tasks.append(asyncio.create_task(self.reads(call), name=f"reader {len(self.calls)}"))
        await self.send(call)

    async def send(self, call: Any) -> None:
        self.echoed.clear()
        self.read.clear()
        await within(call.write(b"0"))
        await within(self.echoed.wait())
        await within(self.read.wait())


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[tuple[Scene, Any, str]]:
    found = Scene()
    handlers = {"Echo": grpc.stream_stream_rpc_method_handler(found.echo)}
    async with aio_server(handlers) as address, aio_channel(address) as channel:
        try:
            for _ in range(MANY):
                await found.begin(channel)
            yield found, channel, address
        finally:
            for call in found.calls:
                call.cancel()
            for task in found.tasks:
                task.cancel()
            await asyncio.wait(found.tasks, timeout=PATIENCE)


def name_of(told: Any, number: int) -> str:
    """Return the name of the task that reads the stream of a client, the so manieth."""
    streams = [one for one in told.streams if one.side == "client" and one.rpc == path("Echo")]
    found: str = streams[number].read.owner.name
    return found


async def test_what_is_the_same(clock: Clock) -> None:
    """Of streams that are idle nothing is made anew, whatever the time; each change is seen."""
    async with scene() as (found, channel, _):
        for _ in range(3):  # the first look leaves what the next one remembers of tasks
            clock.now += 0.5
            before, same = looked_at()
        assert same == 2 * MANY == len(before.streams)
        clock.now += 1.25
        after, same = looked_at()
        assert same == 2 * MANY
        assert after.streams[0].age_seconds - before.streams[0].age_seconds == 1.25
        assert after.streams[0].read.owner.held_seconds > before.streams[0].read.owner.held_seconds
        (handlers,) = (one.handlers for one in after.servers if one.handlers)
        assert handlers[0].handler.held_seconds > 1.0

        found.tasks[3].set_name("renamed")  # while it waits
        after, same = looked_at()
        assert (same, name_of(after, 3)) == (2 * MANY - 1, "renamed")
        assert looked_at()[1] == 2 * MANY

        before, _ = looked_at()
        clock.now += 2.5
        await found.send(found.calls[5])  # its tasks have gone on, on both sides, to the same lines
        after, same = looked_at()
        assert same == 2 * MANY
        both = zip(before.streams, after.streams, strict=True)
        held = [b.read.owner.held_seconds - a.read.owner.held_seconds for a, b in both]
        assert len([one for one in held if one < 2.5]) == 2  # these reads began later

        await found.begin(channel)
        after, same = looked_at()
        assert (len(after.streams), same) == (2 * MANY + 2, 2 * MANY)
        looked_at()
        assert looked_at()[1] == 2 * MANY + 2

        found.ended.clear()
        found.tasks[0].cancel()  # the numbers of all others are smaller by two when it is over
        await asyncio.wait(found.tasks[:1], timeout=PATIENCE)
        await within(found.ended.wait())
        after, same = looked_at()
        assert len(after.streams) == same == 2 * MANY
        assert [one.number for one in after.streams] == list(range(1, 2 * MANY + 1))


async def test_numbers_of_channels(clock: Clock) -> None:
    """A channel may get another one; what is known of bytes that were not sent is not used."""
    async with scene() as (found, _, address):
        earlier = wrap(grpc.aio.insecure_channel(address))
        async with aio_channel(address) as later:
            await found.begin(later)
            for _ in range(3):
                before, same = looked_at()
            assert same == 2 * MANY + 2
            numbers = [one.channel for one in before.streams if one.side == "client"]
            await earlier.close()
            del earlier
            gc.collect()
            after, same = looked_at()
            fewer = [one.channel for one in after.streams if one.side == "client"]
            assert fewer == [*numbers[:-1], numbers[-1] - 1]
            assert same == 2 * MANY + 1
            looked_at(is_answered=False)
            assert looked_at()[1] == 0
            assert looked_at()[1] == 2 * MANY + 2


@pytest.mark.parametrize("at", [0, MANY // 2, MANY - 1])
async def test_bytes_that_take_the_place_of_others(clock: Clock, at: int) -> None:
    """Longer ones and shorter ones, among those of the last answer, which are before them and behind."""
    async with scene() as (found, _, _):
        for _ in range(3):
            looked_at()
        for name in ("a reader whose name is longer than it was", "short", "?" * 5000, "reader"):
            found.tasks[at].set_name(name)
            clock.now += 1.0
            told, same = looked_at()
            assert name_of(told, at) == name
            assert same == 2 * MANY - 1
            clock.now += 1.0
            assert looked_at()[1] == 2 * MANY


async def test_an_answer_that_does_not_come_to_its_end(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has put in the place of the last one is not taken for that."""

    def some(items: Any, *size: int) -> Any:
        yield items[:MANY] if type(items) is range else items
        if type(items) is range:  # those of an answer
            raise ArithmeticError

    async with scene() as (found, _, _):
        for _ in range(3):
            looked_at()
        for at in (2, 2, MANY - 1):
            found.tasks[at].set_name("another name")
            with monkeypatch.context() as patched, pytest.raises(ArithmeticError):
                patched.setattr(inspect_telling, "slices_of", some)
                looked_at()
            clock.now += 1.0
            assert looked_at()[1] == 0
            assert looked_at()[1] == 2 * MANY


def test_what_copies_take() -> None:
    """Bytes of nobody else, and nothing that they are not."""
    copies, scratch = compiled.Copies(), compiled.Scratch()
    assert copies.known() == (0, 0)
    for wrong in ((), (scratch,), (scratch, 1), (1, scratch)):
        with pytest.raises(TypeError):
            copies.keep(*wrong)
    with pytest.raises(TypeError):
        compiled.Copies(1)
    with memoryview(scratch):
        for both in ((scratch, compiled.Scratch()), (compiled.Scratch(), scratch)):
            with pytest.raises(BufferError):
                copies.keep(*both)
    copies.begin()
    copies.keep(scratch, scratch)
    assert copies.known() == (0, 0)


async def test_nothing_of_the_program_is_kept(clock: Clock) -> None:
    """But the names of tasks, until the streams have gone, or the table."""
    async with scene() as (found, _, _):
        name = "".join(["a", " name"])
        found.tasks[2].set_name(name)
        looked_at()
        things = [*found.tasks, *found.calls]
        before = list(map(sys.getrefcount, things))
        for _ in range(20):
            looked_at()
        assert list(map(sys.getrefcount, things)) == before
        held = sys.getrefcount(name)
        inspect_messages._spare.clear()
        assert sys.getrefcount(name) < held
