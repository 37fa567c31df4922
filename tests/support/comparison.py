"""Guarded against plain: an act is played without the guard and with it, and must look the same.

An act is a generator (or async generator) that plays on the world it is given and yields
whatever a program can see. The differences that cannot be removed are in
test_transparency.py.
"""

from __future__ import annotations

import collections
import gc
import inspect
import itertools
import logging
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
import pytest

import grpc_guard
from support.staging import Methods, aio_channel, aio_server, run, sync_channel, sync_server

# By wrap() in each mode, and by the guard of the whole process.
WAYS = ("raise", "warn", "serialize", "process")


class _World:
    """Servers and channels: plain, or guarded in one of the WAYS, both sides."""

    def __init__(self, way: str | None, stack: Any) -> None:
        self.mode = None if way == "process" else way
        self._stack = stack
        if way == "process":
            stack.enter_context(grpc_guard.guarded())

    def guard(self, obj: Any) -> Any:
        """Return `obj`, guarded if this world is."""
        return obj if self.mode is None else grpc_guard.wrap(obj, mode=self.mode)

    def logs(self) -> list[tuple[Any, ...]]:
        """Return a list that fills with what grpc and asyncio log from now on."""
        return self._stack.enter_context(_logs())


class World(_World):
    """A world of ``grpc``."""

    def serve(self, methods: Methods, **options: Any) -> str:
        """Start a server and return its address."""
        return self._stack.enter_context(sync_server(methods, mode=self.mode, **options))

    def close(self) -> None:
        """Close the channels and stop the servers."""
        self._stack.close()

    def connect(self, address: str, **options: Any) -> Any:
        """Open a channel."""
        return self._stack.enter_context(sync_channel(address, mode=self.mode, **options))

    def channel(self, methods: Methods, **options: Any) -> Any:
        """Start a server and open a channel to it."""
        return self.connect(self.serve(methods), **options)


class AioWorld(_World):
    """A world of ``grpc.aio``."""

    async def serve(self, methods: Methods, **options: Any) -> str:
        """Start a server and return its address."""
        server = aio_server(methods, mode=self.mode, **options)
        return await self._stack.enter_async_context(server)

    async def close(self) -> None:
        """Close the channels and stop the servers."""
        await self._stack.aclose()

    async def connect(self, address: str, **options: Any) -> Any:
        """Open a channel."""
        channel = aio_channel(address, mode=self.mode, **options)
        return await self._stack.enter_async_context(channel)

    async def channel(self, methods: Methods, **options: Any) -> Any:
        """Start a server and open a channel to it."""
        return await self.connect(await self.serve(methods), **options)


def same_as_plain(act: Callable[..., Any]) -> Callable[[str], None]:
    """Make a test of `act`: guarded, it shows what it shows plain."""
    plain: list[list[Any]] = []

    @pytest.mark.parametrize("way", WAYS)
    def test(way: str) -> None:
        if not plain:
            plain.append(play(act, None))
        assert plain[0], "the act shows nothing"
        pairs = itertools.zip_longest(plain[0], play(act, way), fillvalue="(nothing)")
        differences = [f"plain   {a!r}\nguarded {b!r}" for a, b in pairs if a != b]
        assert not differences, "\n".join(["it is not as it is plain:", *differences])

    test.__name__, test.__doc__ = act.__name__, act.__doc__
    return test


def play(act: Callable[..., Any], way: str | None) -> list[Any]:
    """Play `act` and return what it shows, without what differs from run to run."""
    if inspect.isasyncgenfunction(act):
        return run(_play_async(act, way))
    with ExitStack() as stack:
        return [tidy(fact) for fact in act(World(way, stack))]


async def _play_async(act: Callable[..., Any], way: str | None) -> list[Any]:
    async with AsyncExitStack() as stack:
        return [tidy(fact) async for fact in act(AioWorld(way, stack))]


_FLEETING = [
    (re.compile(r"0x[0-9a-f]+"), "0x…"),
    (re.compile(r"(127\.0\.0\.1|%5B::1%5D|\[::1\]):\d+"), "(address)"),
    (re.compile(r'created_time:"[^"]*"'), "(time)"),
    (re.compile(r"from peer (ipv4:\(address\)|) \{"), "from peer {"),  # it knows, or not yet
    (re.compile(r"Stream removed \((Deadline Exceeded)\)"), r"\1"),  # whose timer is first
    (re.compile(r"\d+(\.\d+)?(e-\d+)?(s|ms| seconds)\b"), "(duration)"),
]


# Up to grpcio 1.74 these come in any order.
_DETAIL = r'(?:\(time\)|grpc_status:\d+|grpc_message:"(?:[^"\\]|\\.)*")'
_DETAILS = re.compile(rf"(?<={{){_DETAIL}(?:, {_DETAIL})*(?=}})")


def tidy(fact: Any) -> Any:
    """Return `fact` without addresses, ports and times; for an exception, its type and text."""
    if isinstance(fact, str):
        for pattern, stand_in in _FLEETING:
            fact = pattern.sub(stand_in, fact)
        return _DETAILS.sub(
            lambda found: ", ".join(sorted(re.findall(_DETAIL, found.group()))), fact
        )
    if isinstance(fact, BaseException) and not isinstance(fact, type):
        return type(fact), tidy(str(fact))
    if isinstance(fact, (tuple, list, grpc.aio.Metadata)):
        return [tidy(item) for item in fact]
    if isinstance(fact, dict):
        return {tidy(key): tidy(value) for key, value in fact.items()}
    return fact


def what(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what `function` returns or raises."""
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        return error


def kind(function: Callable[..., Any], *args: Any) -> str:
    """Return the name of the kind of what `function` returns or raises.

    Of a protocol that is not there, a proxy raises an error of its own, which is AttributeError too.
    """
    return type(what(function, *args)).__name__


async def what_async(awaitable: Any) -> Any:
    """Return what awaiting `awaitable` gives or raises."""
    try:
        return await awaitable
    except BaseException as error:
        return error


@contextmanager
def no_collector() -> Iterator[None]:
    """Run the block without the cyclic garbage collector: only references count."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _logs() -> Iterator[list[tuple[Any, ...]]]:
    lines: list[tuple[Any, ...]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kind, error, _ = record.exc_info or (None, None, None)
            if "Event loop is closed" in f"{error}{record.getMessage()}":
                return  # what an earlier test left to the collector: the loop of this act runs
            lines.append((record.name, record.levelname, tidy(record.getMessage()), kind))

    handler = Handler(logging.WARNING)
    with ExitStack() as stack:
        for name in ("grpc", "asyncio"):
            logger = logging.getLogger(name)
            logger.addHandler(handler)
            stack.callback(logger.removeHandler, handler)
        yield lines


class Note:
    """What lets a weak reference tell when a message dies."""


def leftovers() -> dict[str, int]:
    """Count the objects of grpc and grpc_guard that live for one RPC each."""
    kinds = collections.Counter(
        f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects()
    )
    return {
        kind: count
        for kind, count in kinds.items()
        if kind.startswith(
            (
                "grpc._c",
                "grpc._s",
                "grpc.aio",
                "grpc_guard._proxies.sync",
                "grpc_guard._proxies.aio",
            )
        )
        or kind in ("grpc_guard._core.stream.Stream", "grpc_guard._core.stream.AioDirection")
    }


def left_since(before: dict[str, int]) -> dict[str, int]:
    """Count those that there were not `before`."""
    after = leftovers()
    return {kind: more for kind in after if (more := after[kind] - before.get(kind, 0)) > 0}


def traceback_of(call: Any) -> Any:
    """Return the functions of the call's traceback, without those of the guard."""
    trace = what(call.traceback)
    if not isinstance(trace, TracebackType):
        return trace
    lines = traceback.extract_tb(trace)
    return [line.name for line in lines if "grpc_guard" not in line.filename]
