"""The guard keeps nothing alive: what ends with its last reference still does, at once.

The cyclic garbage collector is off in these tests.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
from support.comparison import (
    Note,
    World,
    left_since,
    leftovers,
    no_collector,
    same_as_plain,
)
from support.services import Service
from support.sharing import until
from support.staging import PATIENCE, Gate, path, wait


class Listening(Service):
    """With a handler that says when it has begun to listen to its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.listening = threading.Event()

    def listen(self, requests: Iterator[bytes], context: Any) -> bytes:
        context.add_callback(self.cancelled.set)
        next(requests)
        self.listening.set()
        return b"".join(requests)


@same_as_plain
def test_dropping_a_call(world: World) -> Iterator[Any]:
    """A sync call without references is cancelled at once, and the server sees it."""
    service = Listening()
    methods = service.methods()
    methods["Listen"] = grpc.stream_unary_rpc_method_handler(service.listen)
    address = world.serve(methods)
    channel, bare = world.connect(address), world.connect(address, single_threaded=True)

    def requests() -> Iterator[bytes]:
        yield b"a"
        service.cancelled.wait(PATIENCE)

    starts: dict[str, Callable[[], Any]] = {
        "unary-stream": lambda: channel.unary_stream(path("Hold"))(b""),
        "single-threaded": lambda: bare.unary_stream(path("Hold"))(b""),
        "stream-stream": lambda: channel.stream_stream(path("Echo"))(requests()),
        "future": lambda: channel.stream_unary(path("Listen")).future(requests()),
    }
    with no_collector():
        for kind, start in starts.items():
            service.cancelled.clear()
            call = start()
            if kind == "future":
                wait(service.listening)
            else:
                next(call)
            state, reference = call._state, weakref.ref(call)
            del call
            yield kind, state.code, state.details, reference()
            wait(service.cancelled)


@same_as_plain
def test_keeping_a_part_of_a_call(world: World) -> Iterator[Any]:
    """Its iterator, or one of its methods, keeps a call alive, and nothing but that."""
    service = Listening()
    parts: dict[str, Callable[[Any], Any]] = {
        "iterator": iter,
        "__next__": lambda call: call.__next__,
        "cancel": lambda call: call.cancel,
        "add_done_callback": lambda call: call.add_done_callback,
        "enumerate": enumerate,
    }
    channel = world.channel(service.methods())
    with no_collector():
        for name, part in parts.items():
            service.cancelled.clear()
            call = channel.unary_stream(path("Hold"))(b"")
            next(call)
            state, kept = call._state, part(call)
            del call
            yield name, state.code
            del kept
            yield name, state.code, state.details
            wait(service.cancelled)


@same_as_plain
def test_dropping_a_call_with_callbacks(world: World) -> Iterator[Any]:
    """A done-callback keeps its call alive until the RPC ends, a nullary one does not."""
    service = Listening()
    channel = world.channel(service.methods())
    with no_collector():
        for register in ("add_done_callback", "add_callback"):
            service.cancelled.clear()
            ended = threading.Event()
            call = channel.unary_stream(path("Hold"))(b"")
            next(call)
            getattr(call, register)(lambda *_, ended=ended: ended.set())
            state, rpc = call._state, call._call
            del call
            yield register, state.code, state.details
            rpc.cancel(grpc.StatusCode.CANCELLED.value[0], "by the test")
            wait(ended)
            wait(service.cancelled)


@same_as_plain
def test_dropping_a_call_that_has_ended(world: World) -> Iterator[Any]:
    """Nothing of an ended call is left, its exception apart."""
    channel = world.channel(Service().methods())
    with no_collector():
        call = channel.unary_stream(path("Numbers"))(b"2")
        call.add_done_callback(lambda done: None)
        ended = threading.Event()
        call.add_callback(ended.set)
        yield list(call)
        wait(ended)
        reference = weakref.ref(call)
        del call
        until(lambda: reference() is None)  # gRPC's thread is on its way out of the callback
        yield reference()


@same_as_plain
def test_dropping_a_message(world: World) -> Iterator[Any]:
    """A message dies with the reader's last reference to it."""
    channel = world.channel(Service().methods())
    start = channel.unary_stream(path("Numbers"), response_deserializer=lambda _: Note())
    with no_collector():
        call = start(b"3")
        first = next(call)
        reference = weakref.ref(first)
        del first
        yield reference()
        yield [weakref.ref(next(call))() for _ in range(2)]


@same_as_plain
def test_the_end_of_a_request_generator(world: World) -> Iterator[Any]:
    """A request generator that is not sent to its end is closed as soon as the RPC is over."""
    service = Service()
    channel = world.channel(service.methods())

    def requests(closed: threading.Event, gate: Gate) -> Iterator[bytes]:
        try:
            yield b"a"
            gate.park()
            yield b"b"
            yield b"c"
        finally:
            closed.set()

    def cancel(closed: threading.Event, gate: Gate) -> None:
        call = channel.stream_stream(path("Echo"))(requests(closed, gate))
        next(call)
        gate.wait()
        call.cancel()

    def drop(closed: threading.Event, gate: Gate) -> None:
        call = channel.stream_stream(path("Echo"))(requests(closed, gate))
        next(call)
        gate.wait()

    def fail(closed: threading.Event, gate: Gate) -> None:
        future = channel.stream_unary(path("Refuse")).future(requests(closed, gate))
        future.exception()

    def run_out(closed: threading.Event, gate: Gate) -> None:
        gate.open()
        channel.stream_unary(path("Count"))(requests(closed, gate))

    with no_collector():
        for end in (cancel, drop, fail, run_out):
            closed, gate = threading.Event(), Gate()
            end(closed, gate)
            gate.open()
            yield end.__name__, closed.wait(PATIENCE)


@same_as_plain
def test_the_end_of_a_response_generator(world: World) -> Iterator[Any]:
    """A response generator that is not iterated to its end is closed when the RPC is over."""
    seen: queue.SimpleQueue[str] = queue.SimpleQueue()

    def handler(request: bytes, context: Any) -> Iterator[bytes]:
        context.add_callback(lambda: seen.put("callback"))
        try:
            while request == b"for ever":
                yield b"1"
            context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        finally:
            seen.put("finally")

    channel = world.channel({"Feed": grpc.unary_stream_rpc_method_handler(handler)})
    with no_collector():
        call = channel.unary_stream(path("Feed"))(b"for ever")
        next(call)
        call.cancel()
        yield sorted(seen.get(timeout=PATIENCE) for _ in range(2))
        call = channel.unary_stream(path("Feed"))(b"")
        yield call.exception().code(), sorted(seen.get(timeout=PATIENCE) for _ in range(2))


@same_as_plain
def test_what_is_left_of_many_calls(world: World) -> Iterator[Any]:
    """Once channels and servers are closed, no object of an RPC is left, on either side."""
    service = Listening()
    with no_collector():
        before = leftovers()
        channel = world.channel(service.methods())
        for _ in range(3):
            list(channel.unary_stream(path("Numbers"))(b"2"))
            list(channel.stream_stream(path("Echo"))(item for item in (b"a", b"b")))
            channel.stream_unary(path("Count"))(item for item in (b"a", b"b"))
            channel.stream_unary(path("Count")).future(iter([b"a"])).result()
        del channel
        world.close()
        until(lambda: not left_since(before))  # gRPC's threads are on their way out of it
        yield left_since(before)
