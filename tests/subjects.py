"""Every guarded object, behind one interface: what the contract suite is run over.

A Subject is one direction of one live stream, on a real connection to a plain peer that
holds still until it is released: whoever begins an operation before that stays inside it. A
new proxy joins with one line in KINDS.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from support import (
    PATIENCE,
    AsyncGate,
    Gate,
    Lost,
    aio_channel,
    aio_server,
    in_thread,
    inside_grpc,
    path,
    settle,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import ConcurrencyError, wrap

MESSAGES = [b"0", b"1", b"2", b"3", b"4"]
RPC = path("Stream")
BY_HAND = "(an RPC wrapped by hand)"

# A message that the flow control window of such a peer does not take in: its write stays in
# progress until the peer reads.
BULK = bytes(4 << 20)
NARROW = [("grpc.max_receive_message_length", -1), ("grpc.http2.bdp_probe", 0)]

Carried = list[bytes]  # the first bytes of the messages that an operation carried
Operation = Callable[[], Any]  # of the sync api a function, of aio a coroutine function


@dataclasses.dataclass
class Subject:
    """One direction of one live stream.

    ``guarded``: the object with that direction; ``call``: the call or context it belongs to.
    ``operations``: what can be done in that direction; each returns what it carried.
    ``gate``: where the peer is parked, or what it is that holds up the operation.
    ``rest``: end the RPC in the regular way and return what that carried.
    ``carried``: what went over the wire, in order, as the peer has it.
    ``begun``: for operations that somebody else does for us, what tells that they have begun.
    """

    guarded: Any
    call: Any
    operations: Mapping[str, Operation]
    gate: Gate | AsyncGate
    rest: Callable[[], Awaitable[Carried]]
    carried: Callable[[], Awaitable[Carried]]
    begun: Mapping[str, Gate | AsyncGate] = dataclasses.field(default_factory=dict)

    def release(self) -> None:
        """Let the peer take part, from now on."""
        self.gate.open()

    def lose(self) -> None:
        """Let the peer, or what holds up the operation, fail."""
        self.gate.destroy()

    async def begin(self, name: str) -> asyncio.Future[Carried]:
        """Start an operation by a party of its own called ``owner``; it is inside on return."""
        operation, gate = self.operations[name], self.begun.get(name)
        if asyncio.iscoroutinefunction(operation):
            owner = asyncio.create_task(operation(), name="owner")
            await (settle() if gate is None else gate.wait())
            return owner
        if gate is None:
            return inside_grpc(operation, name="owner").as_future()
        party = in_thread(operation, name="owner")
        gate.wait()
        return party.as_future()

    async def start(self, name: str, party: str = "caller") -> asyncio.Future[Carried]:
        """Start an operation by a party of its own, which may be refused or made to wait."""
        operation = self.operations[name]
        if asyncio.iscoroutinefunction(operation):
            return asyncio.create_task(operation(), name=party)
        return in_thread(operation, name=party).as_future()

    async def do(self, name: str, party: str = "caller") -> Carried:
        """Do an operation by a party of its own, to its end."""
        return await within(await self.start(name, party))


Factory = Callable[[Any], AbstractAsyncContextManager[Subject]]


EOF = grpc.aio.EOF


def label(message: bytes) -> bytes:
    return message[:1]


def _one(step: Callable[[], Any]) -> Carried:
    """Return what one step of an iterator carried; a StopIteration fits in no future."""
    try:
        return [step()]
    except StopIteration:
        return [EOF]


async def _one_async(step: Awaitable[Any]) -> Carried:
    try:
        return [await step]
    except StopAsyncIteration:
        return [EOF]


def _numbered() -> Callable[[], bytes]:
    """Return a function that returns the next message to write: the first is bulky."""
    messages = iter([MESSAGES[0] + BULK, *MESSAGES[1:], *(b"%c" % code for code in range(65, 91))])
    return functools.partial(next, messages)


def _withheld(gate: Gate) -> Any:
    gate.park()
    yield from MESSAGES


async def _withheld_async(gate: AsyncGate) -> Any:
    await gate.park()
    for message in MESSAGES:
        yield message


async def _everything() -> Carried:
    return MESSAGES


def _handler(shape: str, behavior: Any, **options: Any) -> Any:
    return getattr(grpc, f"{shape}_rpc_method_handler")(behavior, **options)


# Reading


@asynccontextmanager
async def sync_client_reads(
    mode: Any, shape: str, *, single_threaded: bool = False, by_hand: bool = False
) -> AsyncIterator[Subject]:
    gate = Gate()
    handler = _handler(shape, lambda request, context: _withheld(gate))
    with (
        sync_server({"Stream": handler}, mode=None) as address,
        sync_channel(
            address, mode=None if by_hand else mode, single_threaded=single_threaded
        ) as channel,
    ):
        request = b"" if shape == "unary_stream" else iter(())
        call = getattr(channel, shape)(RPC)(request)
        if by_hand:
            call = wrap(call, mode=mode)

        async def rest() -> Carried:
            return await within(in_thread(list, call, name="rest").as_future())

        try:
            yield Subject(
                call,
                call,
                {
                    "next": lambda: _one(call.__next__),
                    ".next": lambda: _one(call.next),
                    "initial_metadata": lambda: [] if call.initial_metadata() == () else None,
                },
                gate,
                rest,
                _everything,
            )
        finally:
            gate.open()


@asynccontextmanager
async def aio_client_reads(
    mode: Any, shape: str, *, style: str, by_write: bool = False, by_hand: bool = False
) -> AsyncIterator[Subject]:
    gate = AsyncGate()

    async def respond(request: Any, context: Any) -> Any:
        await gate.park()
        for message in MESSAGES:
            yield message

    async with (
        aio_server({"Stream": _handler(shape, respond)}, mode=None) as address,
        aio_channel(address, mode=None if by_hand else mode) as channel,
    ):
        start = getattr(channel, shape)(RPC)
        call = start() if by_write else start(b"" if shape == "unary_stream" else [])
        if by_hand:
            call = wrap(call, mode=mode)

        async def read() -> Carried:
            return [await call.read()]

        async def step() -> Carried:
            return await _one_async(anext(aiter(call)))

        async def asend() -> Carried:
            return await _one_async(aiter(call).asend(None))

        async def rest() -> Carried:
            if style == "iterate":
                return [message async for message in call]
            messages = []
            while (message := await within(call.read())) is not EOF:
                messages.append(message)
            return messages

        yield Subject(
            call,
            call,
            {"read": read} if style == "read" else {"__anext__": step, "asend": asend},
            gate,
            rest,
            _everything,
        )


@asynccontextmanager
async def sync_server_reads(mode: Any, shape: str) -> AsyncIterator[Subject]:
    """A handler that lends its requests to other threads, as it may while it runs."""
    gate, done = Gate(), Gate()
    lent: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def lend(requests: Any, context: Any) -> Any:
        lent.set_result((context, requests))
        done.park()
        return b"" if shape == "stream_unary" else iter(())

    with (
        sync_server({"Stream": _handler(shape, lend)}, mode=mode) as address,
        sync_channel(address, mode=None) as channel,
    ):
        start = getattr(channel, shape)(RPC)
        call = (start.future if shape == "stream_unary" else start)(_withheld(gate))
        context, requests = await within(asyncio.wrap_future(lent))

        async def rest() -> Carried:
            messages = await within(in_thread(list, requests, name="rest").as_future())
            done.open()
            end = call.result if shape == "stream_unary" else functools.partial(list, call)
            assert not await within(in_thread(end, name="end").as_future())
            return messages

        try:
            yield Subject(
                requests,
                context,
                {"next": lambda: _one(requests.__next__), ".next": lambda: _one(requests.next)},
                gate,
                rest,
                _everything,
            )
        finally:
            gate.open()
            done.open()


@asynccontextmanager
async def aio_server_reads(
    mode: Any, shape: str, *, kind: str = "coroutine", by_hand: bool = False
) -> AsyncIterator[Subject]:
    """A handler that lends its context and its requests to other tasks, or threads."""
    gate, done, thread_done = AsyncGate(), AsyncGate(), Gate()
    lent: concurrent.futures.Future[Any] = concurrent.futures.Future()

    async def coroutine(requests: Any, context: Any) -> Any:
        lent.set_result((wrap(context, mode=mode) if by_hand else context, requests))
        await done.park()
        return b""

    async def async_generator(requests: Any, context: Any) -> Any:
        lent.set_result((context, requests))
        await done.park()
        for never in ():
            yield never

    def function(requests: Any, context: Any) -> Any:
        lent.set_result((context, requests))
        thread_done.park()
        return b""

    def generator(requests: Any, context: Any) -> Any:
        lent.set_result((context, requests))
        thread_done.park()
        yield from ()

    behavior = {
        "coroutine": coroutine,
        "async generator": async_generator,
        "function": function,
        "generator": generator,
    }[kind]
    async with (
        aio_server(
            {"Stream": _handler(shape, behavior)}, mode=None if by_hand else mode
        ) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = getattr(channel, shape)(RPC)(_withheld_async(gate))
        context, requests = await within(asyncio.wrap_future(lent))

        async def read() -> Carried:
            return [await context.read()]

        async def step() -> Carried:
            return await _one_async(anext(aiter(requests)))

        async def bare_step() -> Carried:
            return await _one_async(requests.__anext__())

        async def asend() -> Carried:
            return await _one_async(aiter(requests).asend(None))

        async def rest() -> Carried:
            if behavior in (function, generator):
                messages = await within(in_thread(list, requests, name="rest").as_future())
            else:
                messages = []
                while (message := await within(context.read())) is not EOF:
                    messages.append(message)
            done.open()
            thread_done.open()
            end = await within(call) if shape == "stream_unary" else await within(call.read())
            assert end in (b"", EOF)
            return messages

        operations: dict[str, Operation] = {
            "context.read": read,
            "__anext__": step,
            ".__anext__": bare_step,
            "asend": asend,
            "next": lambda: _one(requests.__next__),
        }
        try:
            yield Subject(
                context if behavior in (coroutine, async_generator) else requests,
                context,
                operations,
                gate,
                rest,
                _everything,
            )
        finally:
            thread_done.open()


# Writing


@asynccontextmanager
async def aio_client_writes(
    mode: Any, shape: str, *, by_hand: bool = False
) -> AsyncIterator[Subject]:
    gate = AsyncGate()
    received: Carried = []

    async def collect(requests: Any, context: Any) -> bytes:
        await gate.park()
        async for message in requests:
            received.append(label(message))
        return b""

    handler = _handler(shape, collect)
    async with (
        aio_server({"Stream": handler}, mode=None, options=NARROW) as address,
        aio_channel(address, mode=None if by_hand else mode) as channel,
    ):
        call = getattr(channel, shape)(RPC)()
        if by_hand:
            call = wrap(call, mode=mode)
        await within(call.wait_for_connection())
        number = _numbered()

        async def write() -> Carried:
            message = number()
            await call.write(message)
            return [label(message)]

        async def done_writing() -> Carried:
            await call.done_writing()
            return []

        async def rest() -> Carried:
            await within(call.done_writing())
            end = await within(call) if shape == "stream_unary" else await within(call.read())
            assert end in (b"", EOF)
            return []

        async def carried() -> Carried:
            return received

        yield Subject(
            call, call, {"write": write, "done_writing": done_writing}, gate, rest, carried
        )


@asynccontextmanager
async def aio_server_writes(
    mode: Any, shape: str, *, kind: str = "coroutine", by_hand: bool = False
) -> AsyncIterator[Subject]:
    """A handler that lends its context to other tasks, and yields what it is told to."""
    number, gate, done, yielding = _numbered(), AsyncGate(), AsyncGate(), AsyncGate()
    lent = asyncio.get_running_loop().create_future()
    orders: asyncio.Queue[Any] = asyncio.Queue()

    async def coroutine(request: Any, context: Any) -> None:
        lent.set_result(wrap(context, mode=mode) if by_hand else context)
        await done.park()

    async def async_generator(request: Any, context: Any) -> Any:
        lent.set_result(context)
        while (order := await orders.get()) is not None:
            message = number()
            yielding.arrive()
            try:
                yield message
            except ConcurrencyError as refusal:
                order.set_exception(refusal)
            except BaseException as error:
                order.set_exception(error)
                raise
            else:
                order.set_result([label(message)])

    behavior = coroutine if kind == "coroutine" else async_generator
    async with (
        aio_server(
            {"Stream": _handler(shape, behavior)}, mode=None if by_hand else mode
        ) as address,
        aio_channel(address, mode=None, options=NARROW) as channel,
    ):
        call = getattr(channel, shape)(RPC)(b"" if shape == "unary_stream" else [])
        context = await within(lent)

        async def collect() -> Carried:
            try:
                await gate.park()
            except Lost:
                call.cancel()
            return [label(message) async for message in call]

        collector = asyncio.create_task(collect())

        async def write() -> Carried:
            message = number()
            await context.write(message)
            return [label(message)]

        async def order() -> Carried:
            outcome = asyncio.get_running_loop().create_future()
            orders.put_nowait(outcome)
            return await outcome

        async def rest() -> Carried:
            done.open()
            orders.put_nowait(None)
            await within(collector)
            return []

        async def carried() -> Carried:
            return await within(collector)

        yield Subject(
            context,
            context,
            {"context.write": write, "yield": order},
            gate,
            rest,
            carried,
            {"yield": yielding},
        )


@asynccontextmanager
async def sync_server_sends(mode: Any, shape: str) -> AsyncIterator[Subject]:
    """A non-blocking handler: it is given a callback to send with, and returns at once."""
    gate = Gate()
    lent: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def lend(request: Any, context: Any, send_response: Any) -> None:
        lent.set_result((context, send_response))

    lend.experimental_non_blocking = True  # type: ignore[attr-defined]
    handler = _handler(shape, lend, response_serializer=gate.park_at(MESSAGES[0]))
    with (
        sync_server({"Stream": handler}, mode=mode) as address,
        sync_channel(address, mode=None) as channel,
    ):
        call = getattr(channel, shape)(RPC)(b"" if shape == "unary_stream" else iter(()))
        received = in_thread(list, call, name="peer").as_future()
        context, send_response = await within(asyncio.wrap_future(lent))
        messages = iter(MESSAGES)

        def send() -> Carried:
            message = next(messages)
            send_response(message)
            return [message]

        async def rest() -> Carried:
            send_response(None)
            return []

        async def carried() -> Carried:
            return await within(received)

        try:
            yield Subject(
                context,
                context,
                {"send_response": send},
                gate,
                rest,
                carried,
                {"send_response": gate},
            )
        finally:
            gate.open()
            call.cancel()


# Iterators that gRPC advances: others reach them through interceptors


def _parked(gate: Gate) -> Any:
    """A user's generator that parks whoever advances it first."""
    for message in MESSAGES:
        yield gate.park_at(MESSAGES[0])(message)


async def _parked_async(gate: AsyncGate) -> Any:
    for message in MESSAGES:
        if message == MESSAGES[0]:
            await gate.park()
        yield message


class _Lending(grpc.StreamStreamClientInterceptor, grpc.StreamUnaryClientInterceptor):
    """Lends the requests that it is given, and sends none, until it is told to end."""

    def __init__(self) -> None:
        self.lent: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.end = Gate()

    def _requests(self) -> Any:
        self.end.park()
        yield from ()

    def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        self.lent.set_result(request_iterator)
        return continuation(client_call_details, self._requests())

    intercept_stream_unary = intercept_stream_stream


@asynccontextmanager
async def sync_client_requests(mode: Any, shape: str) -> AsyncIterator[Subject]:
    gate, interceptor = Gate(), _Lending()

    def collect(requests: Any, context: Any) -> Any:
        rest = b"".join(requests)
        return rest if shape == "stream_unary" else iter([rest])

    with (
        sync_server({"Stream": _handler(shape, collect)}, mode=None) as address,
        sync_channel(address, mode=None) as plain,
    ):
        channel = wrap(grpc.intercept_channel(plain, interceptor), mode=mode)
        start = getattr(channel, shape)(RPC)
        call = (start.future if shape == "stream_unary" else start)(_parked(gate))
        requests = await within(asyncio.wrap_future(interceptor.lent))

        async def rest() -> Carried:
            messages = await within(in_thread(list, requests, name="rest").as_future())
            interceptor.end.open()
            end = call.result if shape == "stream_unary" else functools.partial(next, call)
            assert await within(in_thread(end, name="end").as_future()) == b""
            return messages

        operations = {"next(request_iterator)": lambda: _one(requests.__next__)}
        try:
            yield Subject(
                requests,
                call,
                operations,
                gate,
                rest,
                _everything,
                {"next(request_iterator)": gate},
            )
        finally:
            gate.open()
            interceptor.end.open()


class _AioLending:
    def __init__(self) -> None:
        self.lent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.end = AsyncGate()

    async def _requests(self) -> Any:
        await self.end.park()
        for never in ():
            yield never

    async def intercept(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        self.lent.set_result(request_iterator)
        return await continuation(client_call_details, self._requests())


class _AioLendingDuplex(_AioLending, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = _AioLending.intercept


class _AioLendingWriter(_AioLending, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = _AioLending.intercept


@asynccontextmanager
async def aio_client_requests(mode: Any, shape: str) -> AsyncIterator[Subject]:
    gate = AsyncGate()
    interceptor = _AioLendingWriter() if shape == "stream_unary" else _AioLendingDuplex()

    async def collect(requests: Any, context: Any) -> bytes:
        return b"".join([message async for message in requests])

    async def echo(requests: Any, context: Any) -> Any:
        yield await collect(requests, context)

    handler = _handler(shape, collect if shape == "stream_unary" else echo)
    async with (
        aio_server({"Stream": handler}, mode=None) as address,
        aio_channel(address, mode=mode, interceptors=[interceptor]) as channel,
    ):
        call = getattr(channel, shape)(RPC)(_parked_async(gate))
        if shape == "stream_stream":
            end = asyncio.create_task(call.read())
        requests = await within(interceptor.lent)

        async def step() -> Carried:
            return await _one_async(anext(requests))

        async def rest() -> Carried:
            messages = [message async for message in requests]
            interceptor.end.open()
            assert await within(call if shape == "stream_unary" else end) == b""
            return messages

        yield Subject(
            requests,
            call,
            {"anext(request_iterator)": step},
            gate,
            rest,
            _everything,
            {"anext(request_iterator)": gate},
        )


class _LendingResponses(grpc.ServerInterceptor):
    """Lends the responses of the handler, and sends none, until it is told to end."""

    def __init__(self) -> None:
        self.lent: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.end = Gate()

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        shape = "stream_stream" if handler.request_streaming else "unary_stream"
        guarded = getattr(handler, shape)

        def behavior(request: Any, context: Any) -> Any:
            self.lent.set_result((context, guarded(request, context)))
            self.end.park()
            yield from ()

        return _handler(shape, behavior)


class _AioLendingResponses(_LendingResponses, grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        return super().intercept_service(lambda details: handler, handler_call_details)


@asynccontextmanager
async def server_responses(mode: Any, shape: str, *, aio: bool = False) -> AsyncIterator[Subject]:
    gate = Gate()
    methods = {"Stream": _handler(shape, lambda request, context: _parked(gate))}
    interceptor = _AioLendingResponses() if aio else _LendingResponses()
    async with AsyncExitStack() as stack:
        if aio:
            server = aio_server(methods, mode=mode, interceptors=[interceptor])
            address = await stack.enter_async_context(server)
            channel = await stack.enter_async_context(aio_channel(address, mode=None))
        else:
            server = sync_server(methods, mode=mode, interceptors=[interceptor])
            address = stack.enter_context(server)
            channel = stack.enter_context(sync_channel(address, mode=None))
        call = getattr(channel, shape)(RPC)(b"" if shape == "unary_stream" else iter(()))
        context, responses = await within(asyncio.wrap_future(interceptor.lent))

        async def rest() -> Carried:
            messages = await within(in_thread(list, responses, name="rest").as_future())
            interceptor.end.open()
            assert (await within(call.read()) if aio else next(call, EOF)) is EOF
            return messages

        try:
            yield Subject(
                responses,
                context,
                {"next(response_iterator)": lambda: _one(responses.__next__)},
                gate,
                rest,
                _everything,
                {"next(response_iterator)": gate},
            )
        finally:
            gate.open()
            interceptor.end.open()


# The table


@dataclasses.dataclass(frozen=True)
class Kind:
    """A guarded object: how to get one, and the operations of one of its directions."""

    name: str
    rule: str
    open: Factory
    operations: tuple[str, ...]
    rpc: str = RPC

    @property
    def side(self) -> str:
        return "client" if " client " in f" {self.name} " else "server"

    @property
    def api(self) -> str:
        return self.name.split()[0]

    @property
    def direction(self) -> str:
        return self.rule.removeprefix("concurrent-")

    @property
    def has_tasks(self) -> bool:
        """Whether its operations are awaited."""
        return self.api == "aio" and not any(name.startswith("next") for name in self.operations)

    @property
    def advanced_by_grpc(self) -> bool:
        """Whether it is an iterator of the user's, and other parties are interceptors."""
        return "iterator)" in self.operations[0]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Which operation may not be begun while which is in progress: (inside, arriving)."""
        return [
            (inside, arriving)
            for inside in self.operations
            for arriving in self.operations
            if (inside, arriving) not in _LEGAL
        ]


_LEGAL = [
    ("done_writing", "done_writing"),  # grpcio makes it idempotent
    ("yield", "yield"),  # one generator does both, one after the other
    # Waiting for metadata alone is no read once it has arrived, and grpcio lets no other
    # thread near the call while one waits for it.
    ("initial_metadata", "initial_metadata"),
]


def _kind(name: str, operations: str, factory: Any, *args: Any, **kwargs: Any) -> Kind:
    reads = factory.__name__.endswith("reads")
    return Kind(
        name,
        "concurrent-read" if reads else "concurrent-write",
        lambda mode: factory(mode, *args, **kwargs),
        tuple(operations.split()),
        BY_HAND if kwargs.get("by_hand") and not name.startswith("sync") else RPC,
    )


NEXT = "next .next"
STEP = "__anext__ asend"
REQUESTS = "context.read __anext__ .__anext__ asend"

KINDS = [
    _kind("sync client unary_stream", NEXT, sync_client_reads, "unary_stream"),
    _kind("sync client stream_stream", NEXT, sync_client_reads, "stream_stream"),
    _kind(
        "sync client single-threaded",
        f"{NEXT} initial_metadata",
        sync_client_reads,
        "unary_stream",
        single_threaded=True,
    ),
    _kind("sync client by hand", NEXT, sync_client_reads, "stream_stream", by_hand=True),
    _kind("aio client unary_stream read", "read", aio_client_reads, "unary_stream", style="read"),
    _kind(
        "aio client unary_stream iterate", STEP, aio_client_reads, "unary_stream", style="iterate"
    ),
    _kind("aio client stream_stream read", "read", aio_client_reads, "stream_stream", style="read"),
    _kind(
        "aio client stream_stream iterate", STEP, aio_client_reads, "stream_stream", style="iterate"
    ),
    _kind(
        "aio client duplex read",
        "read",
        aio_client_reads,
        "stream_stream",
        style="read",
        by_write=True,
    ),
    _kind(
        "aio client unary_stream by hand",
        "read",
        aio_client_reads,
        "unary_stream",
        style="read",
        by_hand=True,
    ),
    _kind(
        "aio client stream_stream by hand",
        STEP,
        aio_client_reads,
        "stream_stream",
        style="iterate",
        by_hand=True,
    ),
    _kind("sync server stream_unary", NEXT, sync_server_reads, "stream_unary"),
    _kind("sync server stream_stream", NEXT, sync_server_reads, "stream_stream"),
    _kind("aio server stream_unary", REQUESTS, aio_server_reads, "stream_unary"),
    _kind("aio server stream_stream", REQUESTS, aio_server_reads, "stream_stream"),
    _kind(
        "aio server async generator",
        REQUESTS,
        aio_server_reads,
        "stream_stream",
        kind="async generator",
    ),
    _kind("aio server function", "next", aio_server_reads, "stream_unary", kind="function"),
    _kind("aio server generator", "next", aio_server_reads, "stream_stream", kind="generator"),
    _kind("aio server by hand", "context.read", aio_server_reads, "stream_unary", by_hand=True),
    _kind("aio client stream_unary write", "write done_writing", aio_client_writes, "stream_unary"),
    _kind(
        "aio client stream_stream write", "write done_writing", aio_client_writes, "stream_stream"
    ),
    _kind(
        "aio client stream_unary write by hand",
        "write done_writing",
        aio_client_writes,
        "stream_unary",
        by_hand=True,
    ),
    _kind(
        "aio client stream_stream write by hand",
        "write done_writing",
        aio_client_writes,
        "stream_stream",
        by_hand=True,
    ),
    _kind("aio server unary_stream write", "context.write", aio_server_writes, "unary_stream"),
    _kind("aio server stream_stream write", "context.write", aio_server_writes, "stream_stream"),
    _kind(
        "aio server unary_stream yield",
        "context.write yield",
        aio_server_writes,
        "unary_stream",
        kind="async generator",
    ),
    _kind(
        "aio server stream_stream yield",
        "context.write yield",
        aio_server_writes,
        "stream_stream",
        kind="async generator",
    ),
    _kind(
        "aio server write by hand", "context.write", aio_server_writes, "unary_stream", by_hand=True
    ),
    _kind("sync server unary_stream send", "send_response", sync_server_sends, "unary_stream"),
    _kind("sync server stream_stream send", "send_response", sync_server_sends, "stream_stream"),
    _kind(
        "sync client stream_unary requests",
        "next(request_iterator)",
        sync_client_requests,
        "stream_unary",
    ),
    _kind(
        "sync client stream_stream requests",
        "next(request_iterator)",
        sync_client_requests,
        "stream_stream",
    ),
    _kind(
        "aio client stream_unary requests",
        "anext(request_iterator)",
        aio_client_requests,
        "stream_unary",
    ),
    _kind(
        "aio client stream_stream requests",
        "anext(request_iterator)",
        aio_client_requests,
        "stream_stream",
    ),
    _kind(
        "sync server unary_stream responses",
        "next(response_iterator)",
        server_responses,
        "unary_stream",
    ),
    _kind(
        "sync server stream_stream responses",
        "next(response_iterator)",
        server_responses,
        "stream_stream",
    ),
    _kind(
        "aio server unary_stream responses",
        "next(response_iterator)",
        server_responses,
        "unary_stream",
        aio=True,
    ),
    _kind(
        "aio server stream_stream responses",
        "next(response_iterator)",
        server_responses,
        "stream_stream",
        aio=True,
    ),
]


ENDS = ("done_writing", "initial_metadata")  # operations that carry no message


def each_operation(
    choose: Callable[[Kind], bool] = lambda kind: True,
    *,
    without: tuple[str, ...] = (),
    with_ends: bool = False,
) -> list[Any]:
    """Return every guarded object with each of its operations, as parameters of a test."""
    return [
        pytest.param(kind, operation, id=f"{kind.name}: {operation}")
        for kind in KINDS
        if choose(kind)
        for operation in kind.operations
        if operation not in without and (with_ends or operation not in ENDS)
    ]


async def ended(future: asyncio.Future[Any]) -> BaseException | None:
    """Wait for `future`; return what it raised."""
    await asyncio.wait([future], timeout=PATIENCE)
    assert future.done()
    return asyncio.CancelledError() if future.cancelled() else future.exception()
