"""Methods that an interceptor's objects lack, or that take more than gRPC's: as plain, and guarded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import Stream, aio_calls, aio_given, sync_calls, sync_handlers
from support.comparison import AioWorld, World, same_as_plain, what, what_async
from support.services import AioService, Service
from support.staging import AsyncGate, Gate, in_thread, path, sync_channel

from grpc_guard import ConcurrencyError, Mode

# Names that proxies of sync streams have, or whose absence programs look for.
NAMES = ("next", "add_done_callback", "add_callback", "initial_metadata", "cancel", "send")


class Patient:
    """What an interceptor makes of a call: its next() takes more, and does something else."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Patient:
        return self

    def __next__(self) -> Any:
        return next(self._call)

    def next(self, timeout: float | None = None, *, tag: str = "") -> tuple[Any, ...]:
        """Return the next message with what was given."""
        return timeout, tag, next(self._call)

    def add_done_callback(self, fn: Callable[[Any], object], tag: str = "") -> None:
        """Call `fn` now, and tell the tag."""
        fn(self)
        self.tag = tag

    def add_callback(self, callback: Callable[[], object], *, tag: str) -> bool:
        """The same."""
        callback()
        self.tag = tag
        return True


class Lending(Patient):
    """It has what else the call has."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class Constant(Patient):
    """It has a value by that name."""

    next = 7  # type: ignore[assignment]


def _generate(call: Any) -> Iterator[Any]:
    yield from call


class Making(grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]  # grpc has no types here
    """Makes something else of each call."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._make(continuation(details, request))


@same_as_plain
def test_methods_of_what_an_interceptor_returns(world: World) -> Iterator[Any]:
    """They are there if the object has them, and do what they do."""
    address = world.serve(Service().methods())
    channel = world._stack.enter_context(sync_channel(address, mode=None))
    for make in (Patient, Lending, Constant, _generate):
        intercepted = world.guard(grpc.intercept_channel(channel, Making(make)))
        call = intercepted.unary_stream(path("Numbers"))(b"5")
        yield make, [(name, hasattr(call, name), hasattr(type(call), name)) for name in NAMES]
        yield what(lambda call=call: call.next(0.5, tag="x"))
        yield what(lambda call=call: call.next()), what(next, call)
        yield what(lambda call=call: call.next(1, 2, 3)), what(lambda call=call: call.next.__name__)
        yield list(call), what(lambda call=call: call.next(5))
        yield what(lambda call=call: call.add_done_callback(lambda _: None, "done"))
        yield getattr(call, "tag", None)
        yield what(lambda call=call: call.add_callback(lambda: None, tag="later"))
        yield getattr(call, "tag", None)


class Longer(grpc.aio.StreamStreamCall):  # type: ignore[misc]  # grpc has no types here
    """A call of the program's own, whose operations take more."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.seen: list[Any] = []

    async def read(self, patience: float | None = None) -> Any:
        """Return the next message with what was given."""
        return patience, await self._call.read()

    async def write(self, request: Any, *flags: Any) -> None:
        """Send a message, and note what was given."""
        self.seen.append(flags)
        await self._call.write(request)

    async def done_writing(self, *, why: str = "") -> None:
        """Note the reason."""
        self.seen.append(why)
        await self._call.done_writing()

    def add_done_callback(self, callback: Callable[[Any], object], *, tag: str = "") -> None:
        """Note the tag."""
        self.seen.append(tag)
        self._call.add_done_callback(callback)

    def cancel(self, why: str = "") -> Any:
        """Note the reason."""
        self.seen.append(why)
        return self._call.cancel()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


# What a call must have, and this one leaves to the one below.
Longer.__abstractmethods__ = frozenset()


class OfLonger:
    """A channel that makes such calls."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return what starts one."""
        start = self._channel.stream_stream(*args, **kwargs)

        class Starting(grpc.aio.StreamStreamMultiCallable):  # type: ignore[misc]
            def __call__(self, *args: Any, **kwargs: Any) -> Longer:
                return Longer(start(*args, **kwargs))

        return Starting()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


grpc.aio.Channel.register(OfLonger)


@same_as_plain
async def test_operations_of_calls_of_the_program(world: AioWorld) -> AsyncIterator[Any]:
    """read(), write() and done_writing() take what the program's own take."""
    address = await world.serve(AioService().methods())
    async with grpc.aio.insecure_channel(address) as plain:
        channel = world.guard(OfLonger(plain))
        call = channel.stream_stream(path("Echo"))()
        yield await what_async(call.write(b"a", 1, 2)), await what_async(call.write(b"b"))
        yield await what_async(call.read(patience=5)), await what_async(call.read())
        yield await what_async(call.done_writing(why="end"))
        yield await what_async(call.read(7)), call.seen
        call = channel.stream_stream(path("Echo"))()
        call.add_done_callback(lambda _: None, tag="done")
        yield call.cancel("enough"), call.seen


class MoreOfContext:
    """What an interceptor of a server makes of a context: its write() takes more."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def write(self, message: Any, *, suffix: bytes = b"") -> None:
        """Send a message with a suffix."""
        await self._context.write(message + suffix)

    def add_done_callback(self, callback: Callable[[Any], object], tag: bytes) -> None:
        """Keep the tag."""
        self.tag = tag
        self._context.add_done_callback(callback)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class GivingMore(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types here
    """Gives the handler such a context."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)

        async def give(request: Any, context: Any) -> None:
            await handler.unary_stream(request, MoreOfContext(context))

        return grpc.unary_stream_rpc_method_handler(give)


@same_as_plain
async def test_operations_of_contexts_of_the_program(world: AioWorld) -> AsyncIterator[Any]:
    """A handler writes as its context lets it; what that lacks is not there."""
    seen: list[Any] = []

    async def handle(request: bytes, context: Any) -> None:
        await context.write(request)
        await context.write(request, suffix=b"!")
        context.add_done_callback(lambda _: None, b"tag")
        await context.write(context.tag)
        seen.extend(hasattr(context, name) for name in ("add_callback", "read", "write"))

    handler = grpc.unary_stream_rpc_method_handler(handle)
    address = await world.serve({"Mine": handler}, interceptors=[GivingMore()])
    channel = await world.connect(address)
    yield [one async for one in channel.unary_stream(path("Mine"))(b"a")], seen


MODES = pytest.mark.parametrize("mode", [Mode.RAISE, Mode.WARN, Mode.SERIALIZE])


class Parked:
    """A call whose operations park at a gate, and note what they were given."""

    def __init__(self, park: Callable[[], Any]) -> None:
        self._park = park
        self.seen: list[Any] = []

    def __iter__(self) -> Parked:
        return self

    def __next__(self) -> Any:
        return self._park()

    def next(self, *args: Any, **kwargs: Any) -> Any:
        """Park."""
        self.seen.append((args, kwargs))
        return self._park()


class ParkedInTasks(Parked):
    """The same in asyncio."""

    async def read(self, *args: Any, **kwargs: Any) -> Any:
        """Park."""
        self.seen.append((args, kwargs))
        return await self._park()

    async def write(self, request: Any, *args: Any) -> Any:
        """Park."""
        return await self.read(request, *args)

    async def done_writing(self, *args: Any) -> Any:
        """Park."""
        return await self.read(*args)

    def done(self) -> bool:
        """It never ends."""
        return False

    def cancelled(self) -> bool:
        """It never ends."""
        return False

    def _unused(self) -> None: ...

    __aiter__ = cancel = add_done_callback = _unused


@MODES
def test_next_of_the_program_beside_another(mode: Mode, found: Any) -> None:
    """It is an operation of the stream: refused, counted or made to wait beside another one."""
    gate = Gate()
    plain = Parked(gate.park)
    call = sync_calls.responses_of(plain, Stream("/x", "client", "sync", mode))
    owner = in_thread(lambda: call.next(1))
    gate.wait()
    if mode is Mode.RAISE:
        with pytest.raises(ConcurrencyError):
            call.next(2, more=3)
    other = in_thread(lambda: None if mode is Mode.RAISE else call.next(2, more=3))
    gate.open()
    assert (owner.result(), other.result()) == (None, None)
    findings = found()
    assert findings
    for finding in findings:
        assert finding.rule.name == "concurrent-read"
        assert finding.owner.site.code == "owner = in_thread(lambda: call.next(1))"
        assert "call.next(2, more=3)" in finding.caller.site.code
    assert plain.seen == [((1,), {}), ((2,), {"more": 3})][: 1 if mode is Mode.RAISE else 2]
    assert next(call) is None  # it is free


@MODES
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("read", "concurrent-read"),
        ("write", "concurrent-write"),
        ("done_writing", "concurrent-write"),
    ],
)
async def test_operations_of_the_program_beside_others(
    name: str, rule: str, mode: Mode, found: Any
) -> None:
    """The same in asyncio."""
    gate = AsyncGate()
    plain = ParkedInTasks(gate.park)
    stream = Stream("/x", "client", "aio", mode, asyncio.get_running_loop())
    call = aio_calls.DuplexCall(plain, stream)
    operation = getattr(call, name)
    owner = asyncio.create_task(call.read(1) if name == "read" else call.write(1))
    await gate.wait()
    other = asyncio.create_task(operation(2, 3))
    await asyncio.sleep(0)
    gate.open()
    if mode is Mode.RAISE:
        with pytest.raises(ConcurrencyError):
            await other
    else:
        assert await other is None
    assert await owner is None
    (finding,) = found()
    assert (finding.rule.name, finding.caller.operation) == (rule, name)
    assert finding.owner.operation == ("read" if name == "read" else "write")
    assert len(plain.seen) == (1 if mode is Mode.RAISE else 2)
    assert await operation(4) is None  # it is free


@pytest.mark.parametrize("name", ["read", "write"])
async def test_operations_of_the_program_after_the_handler(name: str, found: Any) -> None:
    """A context is not used any more, whatever its operations take."""
    stream = Stream("/x", "server", "aio", Mode.RAISE, asyncio.get_running_loop())
    plain = ParkedInTasks(AsyncGate().park)
    context = aio_given.Context(plain, stream)
    stream.ended = True
    with pytest.raises(ConcurrencyError):
        await getattr(context, name)(1, 2)
    (finding,) = found()
    assert (finding.rule.name, finding.caller.operation) == ("handler-returned", f"context.{name}")
    assert plain.seen == []


def test_next_of_the_program_after_the_handler(found: Any) -> None:
    """The same of the requests of a sync handler."""
    stream = Stream("/x", "server", "sync", Mode.RAISE)
    plain = Parked(Gate().park)
    requests = sync_handlers.requests_of(plain, stream)
    stream.ended = True
    with pytest.raises(ConcurrencyError):
        requests.next(1)
    (finding,) = found()
    assert (finding.rule.name, finding.caller.operation) == ("handler-returned", "next")
    assert plain.seen == []
