"""Interceptors of ``grpc``, inside and outside of the guard, see and do what they did before."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
from support.comparison import World, same_as_plain, what
from support.services import Service
from support.staging import path, sync_channel

SYNC_KINDS = (
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
)


class Interceptor(*SYNC_KINDS):
    """Hands each RPC to `act` and notes what it sees."""

    def __init__(self, act: Callable[..., Any]) -> None:
        self.seen: list[Any] = []
        self._act = act

    def _intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        self.seen.append((details.method, details.timeout, details.metadata))
        self.seen.append(isinstance(request, Iterator))
        result = self._act(lambda request: continuation(details, request), request)
        kinds = (grpc.Call, grpc.Future, Iterator, types.GeneratorType)
        self.seen.append([isinstance(result, kind) for kind in kinds])
        return result

    intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = _intercept


def hand_on(go_on: Callable[[Any], Any], request: Any) -> Any:
    """Do nothing."""
    return go_on(request)


def change_requests(go_on: Callable[[Any], Any], request: Any) -> Any:
    """Change the requests on their way."""
    return go_on(request if isinstance(request, bytes) else map(bytes.upper, request))


def change_responses(go_on: Callable[[Any], Any], request: Any) -> Any:
    """Return a generator in the place of the call."""
    call = go_on(request)
    return (response + b"!" for response in call) if isinstance(request, bytes) else call


def call_back(go_on: Callable[[Any], Any], request: Any) -> Any:
    """Watch the call."""
    call = go_on(request)
    call.add_done_callback(lambda done: done.code())
    assert call.is_active() or call.done()
    return call


def fail(go_on: Callable[[Any], Any], request: Any) -> Any:
    """Raise."""
    raise ValueError("intercepted")


def both_orders(world: World, address: str, interceptor: Interceptor) -> Iterator[Any]:
    """The interceptor outside of the guard, and inside."""
    yield grpc.intercept_channel(world.connect(address), interceptor)
    with sync_channel(address, mode=None) as plain:
        yield world.guard(grpc.intercept_channel(plain, interceptor))


@same_as_plain
def test_intercepting_a_client(world: World) -> Iterator[Any]:
    """A client interceptor works outside and inside of the guard."""
    address = world.serve(Service().methods())
    for act in (hand_on, change_requests, change_responses, call_back, fail):
        interceptor = Interceptor(act)
        for channel in both_orders(world, address, interceptor):
            yield act.__name__, isinstance(channel, grpc.Channel)
            yield from through_every_shape(channel)
        yield interceptor.seen


def through_every_shape(channel: Any) -> Iterator[Any]:
    """What RPCs of every shape give."""
    start = channel.unary_stream(path("Numbers"))
    call = what(start, b"3", timeout=100, metadata=(("key", "value"),))
    yield what(list, call), hasattr(call, "cancel"), hasattr(call, "code")
    echo = channel.stream_stream(path("Echo"))
    yield what(lambda: list(echo(iter([b"a", b"b"]))))
    yield what(lambda: list(echo(letter for letter in (b"a", b"b"))))
    count = channel.stream_unary(path("Count"))
    yield what(count, iter([b"a"])), what(lambda: count.with_call(iter([b"a"]))[0])
    yield what(lambda: count.future(iter([b"a"])).result())


@same_as_plain
def test_a_generator_in_the_place_of_a_call(world: World) -> Iterator[Any]:
    """A generator that an interceptor returns stays a generator: send(), throw(), close()."""
    seen: list[Any] = []

    def generate(go_on: Callable[[Any], Any], request: Any) -> Iterator[bytes]:
        try:
            for response in go_on(request):
                seen.append((yield response))
        finally:
            seen.append("finally")

    address = world.serve(Service().methods())
    for channel in both_orders(world, address, Interceptor(generate)):
        start = channel.unary_stream(path("Numbers"))
        responses = start(b"4")
        yield next(responses), responses.send("sent"), inspect.isgenerator(responses)
        yield responses.close(), what(next, responses)
        responses = start(b"4")
        yield next(responses), what(responses.throw, ValueError("thrown"))
        first, *rest = start(b"3")
        yield first, rest, seen


class ServerInterceptor(grpc.ServerInterceptor):
    """Wraps the behaviour of streaming handlers, and notes what it sees."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        self.seen.append((isinstance(handler, grpc.RpcMethodHandler), type(handler)))
        if handler.stream_unary is not None:
            plain = handler.stream_unary
            return handler._replace(stream_unary=lambda *args: plain(*args) + b"?")
        name = "unary_stream" if handler.unary_stream else "stream_stream"
        behavior = getattr(handler, name)
        if behavior is None:
            return handler
        self.seen.append((inspect.isgeneratorfunction(behavior), behavior.__name__))

        def wrapped(request: Any, context: Any) -> Iterator[bytes]:
            for response in behavior(request, context):
                yield response + b"!"

        return handler._replace(**{name: wrapped})


@same_as_plain
def test_intercepting_a_sync_server(world: World) -> Iterator[Any]:
    """A server interceptor wraps handlers as before."""
    interceptor = ServerInterceptor()
    address = world.serve(Service().methods(), interceptors=[interceptor])
    channel = world.connect(address)
    yield list(channel.unary_stream(path("Numbers"))(b"2")), channel.unary_unary(path("Unary"))(b"")
    yield list(channel.stream_stream(path("Echo"))(iter([b"a"])))
    yield channel.stream_unary(path("Count"))(iter([b"a"]))
    yield what(next, channel.unary_stream(path("Nothing"))(b"")), interceptor.seen


@same_as_plain
def test_driving_the_generator_of_a_handler(world: World) -> Iterator[Any]:
    """Send(), throw() and close() of a handler's generator reach it where it yields."""
    seen: list[Any] = []

    def handler(request: bytes, context: Any) -> Iterator[bytes]:
        try:
            seen.append((yield b"1"))
            yield b"2"
        except ValueError as error:
            seen.append(error)
            yield b"caught"
        finally:
            seen.append("finally")

    class Driver(grpc.ServerInterceptor):
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            plain = continuation(details)

            def drive(request: Any, context: Any) -> Iterator[bytes]:
                responses = plain.unary_stream(request, context)
                yield next(responses)
                yield responses.send("sent")
                yield responses.throw(ValueError("thrown"))
                responses.close()

            return plain._replace(unary_stream=drive)

    methods = {"Drive": grpc.unary_stream_rpc_method_handler(handler)}
    channel = world.connect(world.serve(methods, interceptors=[Driver()]))
    yield list(channel.unary_stream(path("Drive"))(b"")), seen
