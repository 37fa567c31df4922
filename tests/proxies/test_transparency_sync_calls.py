"""A guarded sync call looks and acts like a plain one: reading, ending, failing."""

from __future__ import annotations

import copy
import functools
import itertools
import pickle
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from support.comparison import World, kind, same_as_plain, traceback_of, what
from support.services import Service
from support.staging import Gate, inside_grpc, path, wait


def ending(call: Any) -> Iterator[Any]:
    """What a call that has ended shows."""
    yield "repr", repr(call), str(call), f"{call}"
    yield "code", call.code(), call.details()
    yield "metadata", call.initial_metadata(), call.trailing_metadata()
    yield "state", call.is_active(), call.running(), call.done(), call.cancelled()
    yield "time", call.time_remaining()
    yield "result", what(call.result), what(call.result, timeout=0)
    yield "exception", what(call.exception), what(call.exception, timeout=0)
    yield "traceback", traceback_of(call)
    yield "next", what(next, call), what(next, call, None), what(call.next)
    yield "cancel", call.cancel(), call.cancelled()


@same_as_plain
def test_reading_to_the_end(world: World) -> Iterator[Any]:
    """All messages arrive in order, and the ended call shows code, metadata and result."""
    channel = world.channel(Service().methods())
    call = channel.unary_stream(path("Numbers"))(b"3")
    yield call.initial_metadata()
    yield list(call)
    yield from ending(call)


@same_as_plain
def test_reading_a_single_threaded_call_to_the_end(world: World) -> Iterator[Any]:
    """The call without a thread of its own shows the same, and refuses what would block."""
    channel = world.channel(Service().methods(), single_threaded=True)
    call = channel.unary_stream(path("Numbers"))(b"3")
    for method in ("code", "details", "trailing_metadata", "debug_error_string", "result"):
        yield method, what(getattr(call, method))
    yield "before", what(call.exception), what(call.traceback), repr(call), call.is_active()
    yield next(call), call.initial_metadata()
    yield list(call)
    yield from ending(call)


@same_as_plain
def test_an_open_call(world: World) -> Iterator[Any]:
    """A call in progress shows what it is, and timeouts of its future run out."""
    channel = world.channel(Service().methods())
    call = channel.unary_stream(path("Hold"))(b"", timeout=1000)
    yield next(call)
    yield repr(call), str(call), bool(call), call.is_active(), call.running(), call.done()
    yield 900 < call.time_remaining() < 1000
    for method in (call.result, call.exception, call.traceback):
        yield what(method, 0), what(method, timeout=0)
    yield call.add_callback(lambda: None)


@same_as_plain
def test_iteration_helpers(world: World) -> Iterator[Any]:
    """Every way to iterate over a call gives the same as on the plain call."""
    start = world.channel(Service().methods()).unary_stream(path("Numbers"))

    def delegating(call: Any) -> Iterator[bytes]:
        yield from call

    call = start(b"3")
    yield "iter", iter(call) is call, iter(iter(call)) is call
    yield "next", next(call), call.next(), call.__next__(), next(call, "default")
    yield "zip", list(zip(start(b"3"), "abc", strict=False))
    yield "enumerate", list(enumerate(start(b"2")))
    yield "map", list(map(int, start(b"2")))
    yield "set", sorted(set(start(b"3")))
    yield "star", [*start(b"2")], max(start(b"3")), b"".join(start(b"3"))
    first, *rest = start(b"3")
    yield "unpack", first, rest
    yield "islice", list(itertools.islice(call := start(b"4"), 2)), list(call)
    yield "chain", list(itertools.chain(start(b"1"), start(b"2")))
    yield "yield from", list(delegating(start(b"3")))
    yield "in", b"1" in (call := start(b"4")), list(call)
    yield "not in", b"x" not in start(b"2")
    call = start(b"4")
    for _ in call:
        break
    for number in call:
        yield "for", number
    else:
        yield "for", "else"


@same_as_plain
def test_a_call_as_a_member(world: World) -> Iterator[Any]:
    """A call is hashed and compared by identity, in sets and as a key."""
    start = world.channel(Service().methods()).unary_stream(path("Numbers"))
    call, other = start(b"1"), start(b"1")
    yield call == call, call == other, call != other, call == 1, call is None
    yield {call: "value"}.get(call), {call, other} == {call}, hash(call) == hash(other)
    yield kind(lambda: call < other), kind(len, call), kind(lambda: call[0])


def failing(world: World, call: Any) -> Iterator[Any]:
    """What a call that fails after one message shows: the exception, and itself."""
    yield next(call)
    try:
        next(call)
    except grpc.RpcError as raised:
        error = raised
    yield "type", type(error), isinstance(error, grpc.Call), isinstance(error, grpc.Future)
    yield "identity", error == call, call == error, error != call, hash(error) == hash(call)
    yield "member", {call: 1}.get(error), {error, call} == {call}, [call].index(error)
    yield "texts", repr(error), str(error), repr(call), error.args
    yield "chain", error.__context__, error.__cause__
    yield "status", error.code(), error.details(), error.debug_error_string()
    yield "again", what(next, call) == call, what(list, call) == call, call.exception() == call
    yield from ending(call)


@same_as_plain
def test_a_server_that_aborts(world: World) -> Iterator[Any]:
    """The error that the server sent is raised, and is the call."""
    yield from failing(
        world, world.channel(Service().methods()).unary_stream(path("Fail"))(b"abort")
    )


@same_as_plain
def test_a_server_that_aborts_a_single_threaded_call(world: World) -> Iterator[Any]:
    """The error that the server sent is raised, and is the call without a thread too."""
    channel = world.channel(Service().methods(), single_threaded=True)
    yield from failing(world, channel.unary_stream(path("Fail"))(b"abort"))


@same_as_plain
def test_a_handler_that_raises(world: World) -> Iterator[Any]:
    """What the handler raised is logged on the server and told to the client."""
    logs = world.logs()
    yield from failing(world, world.channel(Service().methods()).unary_stream(path("Fail"))(b""))
    yield logs


@same_as_plain
def test_a_method_that_does_not_exist(world: World) -> Iterator[Any]:
    """Every shape fails with UNIMPLEMENTED."""
    channel = world.channel(Service().methods())
    yield what(next, channel.unary_stream(path("Nothing"))(b""))
    yield what(next, channel.stream_stream(path("Nothing"))(iter([])))
    yield what(channel.stream_unary(path("Nothing")), iter([]))
    yield what(channel.stream_unary(path("Nothing")).with_call, iter([]))
    yield what(channel.stream_unary(path("Nothing")).future(iter([])).result)


@same_as_plain
def test_a_deadline(world: World) -> Iterator[Any]:
    """A read whose deadline passes raises, and the call has ended."""
    service = Service()
    channel = world.channel(service.methods())
    yield list(channel.unary_stream(path("Numbers"))(b"1"))
    call = channel.unary_stream(path("Hold"))(b"", timeout=1)  # not spent on the connection
    yield what(list, call) == call, call.code(), call.time_remaining(), call.cancelled()
    yield what(call.result) == call, call.exception() == call
    wait(service.cancelled)


@same_as_plain
def test_cancelling(world: World) -> Iterator[Any]:
    """cancel() ends the call at once, the server sees it, and futures say so."""
    service = Service()
    call = world.channel(service.methods()).unary_stream(path("Hold"))(b"")
    yield next(call), call.cancel(), call.cancel()
    wait(service.cancelled)
    yield what(next, call) == call
    yield from ending(call)


@same_as_plain
def test_cancelling_during_a_read(world: World) -> Iterator[Any]:
    """A reader is raised out of its next() when another thread cancels."""
    service = Service()
    call = world.channel(service.methods()).unary_stream(path("Hold"))(b"")
    next(call)
    reader = inside_grpc(next, call)
    call.cancel()
    yield reader.exception() == call, call.code()
    wait(service.cancelled)


@same_as_plain
def test_done_callbacks(world: World) -> Iterator[Any]:
    """Done-callbacks get the call itself, in order, at once if it is over; errors are logged."""
    logs = world.logs()
    seen: list[Any] = []
    ended = Gate()
    call = world.channel(Service().methods()).unary_stream(path("Hold"))(b"")
    next(call)

    def note(done: Any) -> None:
        seen.append((done is call, done == call, type(done) is type(call), done.code()))

    def fail(done: Any) -> None:
        raise ValueError("broken callback")

    class Watcher:
        def __repr__(self) -> str:
            return "a watcher"

        def fail(self, done: Any) -> None:
            raise ValueError("broken method")

    yield call.add_done_callback(note)
    yield call.add_done_callback(fn=note)
    for broken in (fail, Watcher().fail, functools.partial(fail)):
        yield call.add_done_callback(broken)
    yield call.add_callback(lambda: seen.append("nullary"))
    call.add_done_callback(lambda done: ended.open())
    call.cancel()
    ended.park()
    yield seen, logs
    yield call.add_done_callback(note), seen[-1], len(seen)
    yield what(call.add_done_callback, fail)
    yield call.add_callback(print), len(seen)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # grpcio's own
@same_as_plain
def test_copying_and_pickling_a_call(world: World) -> Iterator[Any]:
    """A call cannot be pickled or copied, and says so as before."""
    call = world.channel(Service().methods()).unary_stream(path("Numbers"))(b"1")
    list(call)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield type(what(pickle.dumps, call, protocol))
    yield type(what(copy.copy, call)), type(what(copy.deepcopy, call))
