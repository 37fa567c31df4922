"""A guarded sync call sends like a plain one, and its future is as before."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Iterator
from typing import Any

import grpc
from support.comparison import World, same_as_plain, traceback_of, what
from support.services import Service
from support.staging import Gate, path


@same_as_plain
def test_sending_from_an_iterator(world: World) -> Iterator[Any]:
    """Request iterators of every kind are sent to their end."""
    channel = world.channel(Service().methods())
    echo, count = channel.stream_stream(path("Echo")), channel.stream_unary(path("Count"))
    kinds = {
        "iterator": lambda: iter([b"a", b"b"]),
        "generator": lambda: (item for item in (b"a", b"b")),
        "map": lambda: map(bytes, (b"a", b"b")),
        "chain": lambda: itertools.chain([b"a"], [b"b"]),
        "call": lambda: channel.unary_stream(path("Numbers"))(b"2"),
        "empty": lambda: iter(()),
    }
    for kind, make in kinds.items():
        yield kind, list(echo(make())), list(echo(request_iterator=make()))
        yield kind, count(make()), count.future(make()).result(), count.with_call(make())[0]


@same_as_plain
def test_requests_that_are_no_iterator(world: World) -> Iterator[Any]:
    """What cannot be iterated fails inside the RPC, with grpcio's own words."""
    logs = world.logs()
    channel = world.channel(Service().methods())
    for requests in ([b"a"], None, 42, b"ab", object):
        yield what(next, channel.stream_stream(path("Echo"))(requests))
        yield what(channel.stream_unary(path("Count")), requests)
        yield what(channel.stream_unary(path("Count")).future(requests).result)
    yield logs
    yield type(what(channel.stream_stream(path("Echo"))))
    yield type(what(channel.stream_unary(path("Count")).future))


@same_as_plain
def test_requests_that_fail(world: World) -> Iterator[Any]:
    """A request iterator that raises, or a serializer that does, ends the RPC as before."""
    logs = world.logs()
    channel = world.channel(Service().methods())

    def failing_requests() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("no more")

    def refuse(message: bytes) -> bytes:
        raise ValueError("cannot be serialized")

    yield what(list, channel.stream_stream(path("Echo"))(failing_requests())) is not None
    yield what(channel.stream_unary(path("Count")), failing_requests())
    yield what(channel.stream_unary(path("Count"), request_serializer=refuse), iter([b"a"]))
    yield what(channel.unary_stream(path("Numbers"), request_serializer=refuse), b"1")
    call = channel.unary_stream(path("Numbers"), response_deserializer=refuse)(b"1")
    yield what(next, call).code(), call.details()
    yield [(name, level) for name, level, *_ in logs]


class _Requests:
    """A user's iterator, which answers one more question."""

    def __init__(self) -> None:
        self.left = [b"b", b"a"]

    def __iter__(self) -> _Requests:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        return self.left.pop()


@same_as_plain
def test_a_multi_callable_that_looks_at_its_requests(world: World) -> Iterator[Any]:
    """What derives from gRPC's own multi-callable finds the user's iterator, as grpcio would."""
    seen: list[Any] = []
    plain = grpc.insecure_channel(world.serve(Service().methods()))

    def looking(made: Any) -> Any:
        class Looking(type(made)):  # type: ignore[misc]
            def __call__(self, request_iterator: Any, **options: Any) -> Any:
                seen.append((isinstance(request_iterator, _Requests), request_iterator.left[:]))
                return super().__call__(request_iterator, **options)

        made.__class__ = Looking
        return made

    stream_stream, stream_unary = plain.stream_stream, plain.stream_unary
    plain.stream_stream = lambda *args, **more: looking(stream_stream(*args, **more))
    plain.stream_unary = lambda *args, **more: looking(stream_unary(*args, **more))
    with world.guard(plain) as channel:
        echo, count = channel.stream_stream(path("Echo")), channel.stream_unary(path("Count"))
        yield list(echo(_Requests())), count(_Requests()), count(request_iterator=_Requests())
    yield seen


@same_as_plain
def test_a_single_response(world: World) -> Iterator[Any]:
    """A stream-unary RPC gives response, call and future as before."""
    count = world.channel(Service().methods()).stream_unary(path("Count"))
    yield count(iter([b"a", b"b"]))
    response, call = count.with_call(iter([b"a"]))
    yield response, call.code(), call.trailing_metadata(), repr(call)
    future = count.future(iter([b"a"]))
    yield future.result(), future.result(timeout=0), future.exception(), future.traceback()
    yield future.done(), future.cancelled(), future.running(), future.code(), repr(future)
    yield iter(future) is future, list(future)


@same_as_plain
def test_a_single_response_that_fails(world: World) -> Iterator[Any]:
    """The error of a stream-unary RPC is a snapshot, and that of a future is the future."""
    refuse = world.channel(Service().methods()).stream_unary(path("Refuse"))
    for start in (refuse, refuse.with_call):
        error = what(start, iter([b"a"]))
        yield error, error.code(), error.details(), error.trailing_metadata()
        yield what(pickle.dumps, error), what(copy.copy, error), what(copy.deepcopy, error)
    future = refuse.future(iter([b"a"]))
    yield what(future.result) == future, future.exception() == future, traceback_of(future)
    yield repr(future), what(future.result, timeout=0) == future


@same_as_plain
def test_a_future_in_progress(world: World) -> Iterator[Any]:
    """A stream-unary future runs out of time, is cancelled, and calls back with itself."""
    gate = Gate()
    seen: list[Any] = []

    def requests() -> Iterator[bytes]:
        yield b"a"
        gate.park()

    future = world.channel(Service().methods()).stream_unary(path("Count")).future(requests())
    future.add_done_callback(lambda done: seen.append((done is future, done == future)))
    gate.wait()
    yield what(future.result, 0), what(future.exception, 0), what(future.traceback, 0)
    yield future.running(), future.done(), repr(future), future.is_active()
    yield future.cancel(), future.cancelled(), future.done(), future.cancel()
    yield what(future.result), what(future.exception), what(future.traceback), repr(future)
    gate.open()
    ended = Gate()
    future.add_done_callback(lambda done: ended.open())
    ended.park()


@same_as_plain
def test_arguments_of_a_call(world: World) -> Iterator[Any]:
    """Timeout, metadata, credentials, readiness and compression reach gRPC, by name or not."""
    service = Service()
    channel = world.channel(service.methods())
    numbers, count = channel.unary_stream(path("Numbers")), channel.stream_unary(path("Count"))
    metadata = (("mine", "1"), ("mine-bin", b"\0"))
    gzip = grpc.Compression.Gzip
    yield list(numbers(b"1", 10, metadata, None, True, gzip))
    yield list(numbers(request=b"1", timeout=10, metadata=metadata, compression=gzip))
    yield count(iter([b"a"]), 10, metadata, None, True, gzip)
    yield count(request_iterator=iter([b"a"]), metadata=metadata, wait_for_ready=True)
    yield [[pair for pair in seen if pair[0] != "user-agent"] for seen in service.seen]
    token = grpc.access_token_call_credentials("token")
    yield what(next, numbers(b"1", credentials=token))
    yield what(count, iter([b"a"]), credentials=token)
    yield type(what(numbers, b"1", metadata=((1, 2),)))
    yield what(numbers), what(numbers, b"1", nonsense=1), what(count, iter([b"a"]), nonsense=1)
    nobody = world.connect("127.0.0.1:1")
    yield what(next, nobody.unary_stream(path("Numbers"))(b"1", timeout=10)).code()
    ready = nobody.unary_stream(path("Numbers"))(b"1", timeout=0.1, wait_for_ready=True)
    yield what(next, ready).code()
