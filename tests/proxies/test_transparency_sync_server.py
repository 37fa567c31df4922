"""Handlers of a guarded sync server see what they see on a plain one."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
from support.comparison import World, same_as_plain, what
from support.services import STREAMING, handled
from support.staging import PATIENCE, path, wait


@same_as_plain
def test_the_context_of_a_handler(world: World) -> Iterator[Any]:
    """Every method of the context gives the handler of each shape what it gave before."""
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ended = threading.Event()

    def look(context: Any) -> Iterator[Any]:
        yield context.is_active(), context.time_remaining() > 1e6
        yield context.peer(), context.peer_identities(), context.peer_identity_key()
        yield context.auth_context()
        yield [pair for pair in context.invocation_metadata() if pair[0] != "user-agent"]
        yield context.set_trailing_metadata((("key", "value"),)), context.trailing_metadata()
        yield context.send_initial_metadata((("key", "initial"),))
        yield what(context.send_initial_metadata, ())
        yield context.set_compression(grpc.Compression.Gzip)
        yield context.disable_next_message_compression()
        yield context.set_code(grpc.StatusCode.DATA_LOSS), context.code()
        yield context.set_details("lost"), context.details()
        yield context.add_callback(ended.set), context.add_callback(callback=ended.set)

    def responses(request: Any, context: Any) -> Iterator[bytes]:
        seen.put(list(look(context)))
        yield b"1"

    def single(request: Any, context: Any) -> bytes:
        seen.put(list(look(context)))
        return b"1"

    for shape in STREAMING:
        yield shape, handled(world, shape, single if shape == "stream_unary" else responses)
        yield shape, seen.get(timeout=PATIENCE)
        wait(ended)
        ended.clear()


@same_as_plain
def test_callbacks_of_a_context(world: World) -> Iterator[Any]:
    """Callbacks run once the RPC has ended and may look at the context; later ones are refused."""
    seen: list[Any] = []
    ended = threading.Event()
    kept: list[Any] = []

    def note(context: Any) -> None:
        seen.append((context.is_active(), context.code(), context.peer(), context.auth_context()))

    def handler(request: bytes, context: Any) -> Iterator[bytes]:
        context.add_callback(lambda: note(context))
        context.add_callback(ended.set)
        kept.append(context)
        yield b"1"

    yield handled(world, "unary_stream", handler)
    wait(ended)
    yield seen, kept[0].add_callback(ended.set), kept[0].is_active()


@same_as_plain
def test_reading_the_requests(world: World) -> Iterator[Any]:
    """Every way to iterate works on the request iterator."""

    def by_next(requests: Any, context: Any) -> bytes:
        return next(requests) + requests.next() + next(requests, b"-") + next(requests, b"-")

    def by_for(requests: Any, context: Any) -> bytes:
        return b"".join(request for request in requests)

    def by_in(requests: Any, context: Any) -> bytes:
        return b"%d %s" % (b"a" in requests, next(requests))

    def by_tools(requests: Any, context: Any) -> bytes:
        assert iter(requests) is requests
        return b"".join(itertools.chain(*zip(requests, [b"1", b"2"], strict=False)))

    def past_the_end(requests: Any, context: Any) -> bytes:
        return repr([list(requests), list(requests), type(what(next, requests))]).encode()

    for handler in (by_next, by_for, by_in, by_tools, past_the_end):
        yield handler.__name__, handled(world, "stream_unary", handler)


@same_as_plain
def test_the_ways_to_respond(world: World) -> Iterator[Any]:
    """Handlers respond with any iterator; other objects fail inside the RPC as before."""
    logs = world.logs()
    ways = {
        "iterator": lambda request, context: iter([b"1", b"2"]),
        "generator": lambda request, context: (item for item in (b"1", b"2")),
        "map": lambda request, context: map(bytes, [b"1", b"2"]),
        "empty": lambda request, context: iter(()),
        "list": lambda request, context: [b"1"],
        "None": lambda request, context: None,
        "number": lambda request, context: 42,
        "None inside": lambda request, context: iter([b"1", None, b"2"]),
    }
    for name, handler in ways.items():
        yield name, handled(world, "unary_stream", handler)
        yield name, handled(world, "stream_stream", handler)
    yield handled(world, "stream_unary", lambda requests, context: None)
    yield [line[:3] for line in logs]


@same_as_plain
def test_requests_as_the_response(world: World) -> Iterator[Any]:
    """A handler may return its own requests."""
    yield handled(world, "stream_stream", lambda requests, context: requests)
    yield handled(world, "stream_stream", lambda requests, context: map(bytes, requests))


@same_as_plain
def test_serializers_of_a_handler(world: World) -> Iterator[Any]:
    """Deserializers and serializers of a handler are called as before, and may fail."""
    # A request deserializer that fails makes grpcio's own server.stop() hang now and then.
    logs = world.logs()

    def refuse(message: bytes) -> bytes:
        raise ValueError("refused")

    def shout(message: bytes) -> bytes:
        return message.upper()

    for options in (
        {"request_deserializer": shout},
        {"response_serializer": shout},
        {"response_serializer": refuse},
    ):
        echo = grpc.stream_stream_rpc_method_handler(lambda requests, _: requests, **options)
        call = world.channel({"Echo": echo}).stream_stream(path("Echo"))(iter([b"a"]))
        yield what(list, call)
    yield [line[:3] for line in logs]
