"""Iterators of the program's own classes, which do more than a generator: guarded as plain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
from support.comparison import AioWorld, World, same_as_plain, what
from support.services import AioService, Service
from support.staging import path


class SetUp:
    """It begins in ``__iter__``, as in the tutorial of Python."""

    def __init__(self, messages: Any = (b"a", b"b")) -> None:
        self._messages = messages

    def __iter__(self) -> SetUp:
        self._rest = iter(self._messages)
        return self

    def __next__(self) -> bytes:
        return next(self._rest) + b"!"


class Restarted(SetUp):
    """It is one iterator, and makes others, which begin anew."""

    def __init__(self, messages: Any = (b"a", b"b")) -> None:
        self._messages = list(messages)
        self._rest = iter(self._messages)

    def __iter__(self) -> Any:
        return iter(self._messages)


class Generating(SetUp):
    """Its ``__iter__`` is a generator."""

    def __iter__(self) -> Any:
        for message in self._messages:
            yield message + b"?"


class NoIterator(SetUp):
    """What its ``__iter__`` returns cannot be advanced."""

    def __iter__(self) -> Any:
        return 7


class OfObjects:
    """A descriptor that serves objects alone: to ask the class fails, or is seen."""

    asked: list[str] = []

    def __get__(self, owned: Any, owner: type | None = None) -> int:
        if owned is None:
            self.asked.append("the class")
            raise OSError("ask an object")
        return 7


class Described(SetUp):
    """Its class has such descriptors, of which one even has the name of a method."""

    size = OfObjects()
    close = OfObjects()
    __weight__ = OfObjects()

    def __init__(self, messages: Any = (b"a", b"b")) -> None:
        self._rest = iter(messages)

    def __iter__(self) -> Described:
        return self


class Switching:
    """It becomes of another class with each message: Python looks at the class for each."""

    def __init__(self, messages: Any = ()) -> None:
        pass

    def __iter__(self) -> Switching:
        return self

    def __next__(self) -> bytes:
        self.__class__ = Switched
        return b"first"

    def __aiter__(self) -> Switching:
        return self

    async def __anext__(self) -> bytes:
        return Switching.__next__(self)


class Switched(Switching):
    """The same after its first message."""

    def __next__(self) -> bytes:
        self.__class__ = Ended
        return b"second"

    async def __anext__(self) -> bytes:
        return Switched.__next__(self)


class Ended(Switching):
    """The same after its last one."""

    def __next__(self) -> bytes:
        raise StopIteration

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


KINDS: tuple[Callable[..., Any], ...] = (
    SetUp,
    Restarted,
    Generating,
    NoIterator,
    Described,
    Switching,
)


@same_as_plain
async def test_requests_of_a_call_that_asyncio_iterates(world: AioWorld) -> AsyncIterator[Any]:
    """gRPC calls ``iter()`` of a sync iterator: the program's own code runs, once."""
    channel = await world.channel(AioService().methods())
    for make in KINDS:
        call = channel.stream_stream(path("Echo"))(make())
        yield make, await call.code() if make is NoIterator else [one async for one in call]
    yield OfObjects.asked


@same_as_plain
async def test_responses_of_a_sync_handler_that_asyncio_iterates(
    world: AioWorld,
) -> AsyncIterator[Any]:
    """The same of what a sync handler returns."""
    for make in KINDS:
        handler = grpc.unary_stream_rpc_method_handler(lambda request, context, make=make: make())
        channel = await world.channel({"Mine": handler})
        call = channel.unary_stream(path("Mine"))(b"")
        yield make, await call.code() if make is NoIterator else [one async for one in call]
    yield OfObjects.asked


class Giving(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types here
    """Has the handler get an iterator of a class of its own."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler, make = continuation(details), self._make

        def give(requests: Any, context: Any) -> Any:
            return handler.stream_stream(make(requests), context)

        return grpc.stream_stream_rpc_method_handler(give)


@same_as_plain
def test_requests_that_an_interceptor_hands_on(world: World) -> Iterator[Any]:
    """What a handler iterates over is what its ``__iter__`` returns, also after a first step."""

    def all_of_them(requests: Any, context: Any) -> Iterator[bytes]:
        yield from requests

    def first_alone(requests: Any, context: Any) -> Iterator[bytes]:
        iterator = iter(requests)
        yield next(iterator)
        yield from requests

    for make in (SetUp, Generating, Described):
        for handle in (all_of_them, first_alone):
            handler = grpc.stream_stream_rpc_method_handler(handle)
            address = world.serve({"Mine": handler}, interceptors=[Giving(make)])
            channel = world.connect(address)
            yield make, what(list, channel.stream_stream(path("Mine"))(iter([b"a", b"b", b"c"])))
    yield OfObjects.asked


@same_as_plain
def test_requests_of_a_sync_call(world: World) -> Iterator[Any]:
    """gRPC asks for the next one only: nothing else of the program's class runs."""
    channel = world.channel(Service().methods())
    for make in (Restarted, Described, Switching):
        yield make, list(channel.stream_stream(path("Echo"))(make()))
    yield OfObjects.asked


class SetUpInTasks:
    """An async iterator that begins in ``__aiter__``, and counts how often it has."""

    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        self.messages, self.begun = messages, 0

    def __aiter__(self) -> SetUpInTasks:
        self.begun += 1
        return self

    async def __anext__(self) -> bytes:
        return b"%d:" % self.begun + await anext(self.messages)


class GeneratingInTasks(SetUpInTasks):
    """It is an iterator, and makes generators as well, whose end is seen."""

    ended: list[bool] = []

    def __aiter__(self) -> Any:
        self.begun += 1
        return self._generate(self.begun)

    async def _generate(self, number: int) -> AsyncIterator[bytes]:
        try:
            async for message in self.messages:
                yield b"of %d:" % number + message
        finally:
            self.ended.append(True)


class SwitchingInTasks(SetUpInTasks):
    """It becomes of another class with its first message."""

    async def __anext__(self) -> bytes:
        self.__class__ = SetUpInTasks
        return b"first:" + await anext(self.messages)


class GivingInTasks(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types here
    """Has the handler get an iterator of a class of its own."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler, make = await continuation(details), self._make

        async def give(requests: Any, context: Any) -> AsyncIterator[bytes]:
            async for response in handler.stream_stream(make(requests), context):
                yield response

        return grpc.stream_stream_rpc_method_handler(give)


async def _all(requests: Any, context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def _twice(requests: Any, context: Any) -> AsyncIterator[bytes]:
    ended = list(GeneratingInTasks.ended)
    async for request in requests:
        yield request
        break
    await asyncio.sleep(0)  # an event loop closes a generator that nobody has any more
    await asyncio.sleep(0)
    yield b"ended" if GeneratingInTasks.ended != ended else b"not ended"
    async for request in requests:
        yield request


async def _by_hand(requests: Any, context: Any) -> AsyncIterator[bytes]:
    yield await anext(requests)
    iterator = aiter(aiter(requests))
    yield await anext(iterator)
    async for request in iterator:
        yield request


@same_as_plain
async def test_requests_that_an_interceptor_hands_on_to_tasks(
    world: AioWorld,
) -> AsyncIterator[Any]:
    """The same of grpc.aio: all, in two loops, or step by step."""

    async def three() -> AsyncIterator[bytes]:
        for message in (b"a", b"b", b"c"):
            yield message

    for make in (SetUpInTasks, GeneratingInTasks, SwitchingInTasks):
        for handle in (_all, _twice, _by_hand):
            handler = grpc.stream_stream_rpc_method_handler(handle)
            address = await world.serve({"Mine": handler}, interceptors=[GivingInTasks(make)])
            channel = await world.connect(address)
            call = channel.stream_stream(path("Mine"))(three())
            yield make, handle.__name__, [response async for response in call]
