"""Tasks inside operations of ours: they are where they were as long as these go on."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import pytest
from inside import core_which, sight
from support.readers import HANDLERS, begun, line, once, opened, readers, waits_for
from support.staging import aio_channel, aio_server, within

if core_which.compiled() is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)


pytestmark = pytest.mark.usefixtures("followed")


async def test_a_read_that_goes_on_is_not_followed_again(followed: list[Any]) -> None:
    """Nor is anything made for that: no weak reference to its direction, or to what its task waits for."""
    async with aio_server(HANDLERS) as address, aio_channel(address) as channel:
        call = await opened(channel)
        for _ in range(2):
            reading = await begun(once(call))
            for at in range(3):
                followed.clear()
                assert line(*readers()) == "await call.read()  # once"
                assert (reading in followed) == (at == 0)
            assert weakref.getweakrefcount(waits_for(reading)) == 0
            await within(call.write(b"1"))
            await within(reading)
        call.cancel()


async def test_the_same_task_at_another_line(followed: list[Any]) -> None:
    """And at the same one, in another read: it has not been there for as long, and need not be followed."""
    read = asyncio.Event()

    async def reads(call: Any) -> None:
        for _ in range(2):
            await call.read()  # often
            read.set()
        await call.read()  # last

    async with aio_server(HANDLERS) as address, aio_channel(address) as channel:
        call = await opened(channel)
        reading = await begun(reads(call))
        seen = []
        for at in range(3):
            for _ in range(3):
                (owner,) = readers()
            assert owner is not None
            assert owner.held_seconds is not None
            seen.append(line(owner))
            if at < 2:
                read.clear()
                await within(call.write(b"1"))
                await within(read.wait())  # and it reads again before anybody else runs
                followed.clear()
                (later,) = readers()
                assert (reading in followed) == (at == 1)
                assert later is not None
                assert later.held_seconds is not None
                assert later.held_seconds < owner.held_seconds
        assert seen == ["await call.read()  # often"] * 2 + ["await call.read()  # last"]
        call.cancel()
        await asyncio.wait({reading})


class Advancing(asyncio.Task[None]):
    """A task that another thread runs on while a look asks it: it is in the next operation then."""

    direction: Any = None

    def get_coro(self) -> Any:
        if self.direction is not None:
            self.direction.since = time.monotonic()
        return super().get_coro()


async def test_a_task_that_goes_on_during_the_look(followed: list[Any]) -> None:
    """What was found belongs to the operation that it was found for: the next one is followed anew."""
    async with aio_server(HANDLERS) as address, aio_channel(address) as channel:
        call = await opened(channel)
        reading = Advancing(once(call), loop=asyncio.get_running_loop())
        await asyncio.sleep(0)
        reading.direction = call._self_read
        assert line(*readers()) == "await call.read()  # once"
        reading.direction = None
        for at in range(2):
            followed.clear()
            assert line(*readers()) == "await call.read()  # once"
            assert (reading in followed) == (at == 0)
        call.cancel()
        await asyncio.wait({reading})


async def test_streams_that_come_and_go() -> None:
    """Those in the memory of others that were remembered are told by what they are."""
    async with aio_server(HANDLERS) as address, aio_channel(address) as channel:
        for _ in range(5):
            calls = [await opened(channel) for _ in range(3)]
            reading = [await begun(once(one)) for one in calls]
            for _ in range(3):
                assert len([one for one in readers() if one is not None]) == 3
            calls[1].cancel()
            await asyncio.wait(reading[1:2])
            assert len([one for one in readers() if one is not None]) == 2
            for one in calls:
                one.cancel()
            await asyncio.wait(reading)
            del calls, reading, one
            gc.collect()
            assert not any(readers())


async def test_without_the_streams_of_the_process() -> None:
    """A look that does not know them has weak references, which serve as well."""
    loop = asyncio.get_running_loop()
    async with aio_server(HANDLERS) as address, aio_channel(address) as channel:
        call = await opened(channel)
        reading = await begun(once(call))
        for _ in range(3):
            crowd = sight.Sight({loop}).crowd
            seen = [one for one in crowd.directions() if one.stream.side == "client"]
            assert [line(crowd.owner(one)) for one in seen] == ["await call.read()  # once"]
        assert weakref.getweakrefcount(waits_for(reading)) == 1
        assert line(*readers()) == "await call.read()  # once"
        call.cancel()
        await asyncio.wait({reading})
