"""A generator that passes on another one's items is, to both sides, as if it were not there."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from inside import Relay

Generator = AsyncGenerator[Any, Any]


async def between(generator: Generator) -> Generator:
    """Pass on what `generator` yields."""
    async with contextlib.aclosing(generator):
        relay = Relay(generator)
        async for item in relay:
            with relay:
                relay.sent = yield item


async def echo(seen: list[Any]) -> Generator:
    """Yield a count, and note what happens at each yield."""
    number = 0
    try:
        while number < 5:
            number += 1
            try:
                seen.append((yield number))
            except KeyError as error:
                seen.append(error)
    except BaseException as error:
        seen.append(type(error))
        raise
    finally:
        seen.append("closed")


async def test_items_and_what_is_sent() -> None:
    """Items come in order, what is sent arrives once, the end is the end."""
    seen: list[Any] = []
    relayed = between(echo(seen))
    assert [await anext(relayed), await relayed.asend("a"), await anext(relayed)] == [1, 2, 3]
    assert [item async for item in relayed] == [4, 5]
    assert seen == ["a", None, None, None, None, "closed"]


async def test_exception_that_is_thrown_in() -> None:
    """It arrives at the yield, itself; what the generator makes of it is what the user gets."""
    seen: list[Any] = []
    relayed = between(echo(seen))
    error = KeyError()
    assert [await anext(relayed), await relayed.athrow(error), await anext(relayed)] == [1, 2, 3]
    assert seen == [error, None]
    with pytest.raises(ZeroDivisionError) as caught:
        await relayed.athrow(ZeroDivisionError("mine"))
    assert str(caught.value) == "mine"
    assert seen[2:] == [ZeroDivisionError, "closed"]


async def test_end_before_the_end() -> None:
    """The generator is closed with the one in between, before aclose() returns."""
    seen: list[Any] = []
    relayed = between(echo(seen))
    assert await anext(relayed) == 1
    await relayed.aclose()
    assert seen == [GeneratorExit, "closed"]


async def test_generator_that_fails() -> None:
    """Its exception is the user's."""

    async def failing() -> Generator:
        yield 1
        raise ZeroDivisionError("its own")

    relayed = between(failing())
    assert await anext(relayed) == 1
    with pytest.raises(ZeroDivisionError, match="its own"):
        await anext(relayed)


async def test_nothing_is_kept() -> None:
    """Neither what was sent nor what was thrown in lives on in the relay."""

    class Sent:
        pass

    class Thrown(Exception):
        pass

    async def forgetful() -> Generator:
        while True:
            with contextlib.suppress(Thrown):
                yield 1

    relayed = between(forgetful())
    await anext(relayed)
    sent, thrown = Sent(), Thrown()
    kept = [weakref.ref(sent), weakref.ref(thrown)]
    for step in (relayed.asend(sent), relayed.athrow(thrown)):
        await step
    del sent, thrown, step
    gc.collect()
    assert [reference() for reference in kept] == [None, None]
    await relayed.aclose()


async def test_generator_that_does_not_end() -> None:
    """One that ignores the end gets the same error as without the relay; one may end quietly."""

    async def stubborn() -> Generator:
        with contextlib.suppress(GeneratorExit):
            yield 1
        yield 2

    async def quiet() -> Generator:
        with contextlib.suppress(GeneratorExit):
            yield 1

    for relayed in (stubborn(), between(stubborn())):
        await anext(relayed)
        with pytest.raises(RuntimeError, match="async generator ignored GeneratorExit"):
            await relayed.aclose()
    relayed = between(quiet())
    await anext(relayed)
    await relayed.aclose()
