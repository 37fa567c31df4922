"""Handlers of a guarded sync server run, fail and end as on a plain one."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from support.comparison import World, same_as_plain, what
from support.services import Status, handled
from support.staging import PATIENCE, path, wait


@same_as_plain
def test_failing_handlers(world: World) -> Iterator[Any]:
    """abort(), abort_with_status(), set_code() and exceptions reach the client as before."""
    logs = world.logs()

    def abort(context: Any) -> None:
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    def abort_with_status(context: Any) -> None:
        metadata = (("key", "value"),)
        context.abort_with_status(Status(grpc.StatusCode.DATA_LOSS, "lost", metadata))

    def abort_with_ok(context: Any) -> None:
        context.abort(grpc.StatusCode.OK, "fine")

    def set_code(context: Any) -> None:
        context.set_code(grpc.StatusCode.ABORTED)
        context.set_details("by code")

    def fail(context: Any) -> None:
        raise ValueError("broken")

    def stop(context: Any) -> None:
        raise StopIteration

    def cancel(context: Any) -> None:
        context.cancel()

    for break_off in (abort, abort_with_status, abort_with_ok, set_code, fail, stop):

        def at_once(request: Any, context: Any) -> Iterator[bytes]:
            break_off(context)
            return iter([b"1"])

        def midway(request: Any, context: Any) -> Iterator[bytes]:
            yield b"1"
            break_off(context)

        def single(requests: Any, context: Any) -> bytes:
            next(requests)
            break_off(context)
            return b"1"

        for shape in ("unary_stream", "stream_stream"):
            yield shape, handled(world, shape, at_once), handled(world, shape, midway)
        yield handled(world, "stream_unary", single)
    yield [line[:3] for line in logs]
    yield handled(world, "stream_unary", lambda requests, context: cancel(context))[0].code()


@same_as_plain
def test_a_client_that_goes_away(world: World) -> Iterator[Any]:
    """A handler whose client cancels is told by the request iterator, and its finally runs."""
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    reading, ended = threading.Event(), threading.Event()

    def handler(requests: Any, context: Any) -> Iterator[bytes]:
        context.add_callback(ended.set)
        try:
            yield next(requests)
            reading.set()
            wait(ended)
            yield next(requests)
        except Exception as error:
            seen.put((type(error), context.is_active(), what(list, requests)))
            raise
        finally:
            seen.put("finally")

    channel = world.channel({"Echo": grpc.stream_stream_rpc_method_handler(handler)})
    call = channel.stream_stream(path("Echo"))(iter([b"a"]))
    yield next(call)
    wait(reading)
    call.cancel()
    yield seen.get(timeout=PATIENCE), seen.get(timeout=PATIENCE)


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@same_as_plain
def test_where_a_handler_runs(world: World) -> Iterator[Any]:
    """Handler, response iterator and callbacks run in the threads and contexts of before."""
    seen: list[Any] = []
    ended = threading.Event()

    def note(place: str) -> None:
        name = threading.current_thread().name
        seen.append((place, name.startswith("worker"), VARIABLE.get(), VARIABLE.set(place) and 0))

    def handler(requests: Any, context: Any) -> Iterator[bytes]:
        note("handler")
        context.add_callback(ended.set)

        def responses() -> Iterator[bytes]:
            note("response iterator")
            yield b"1"
            note("after a yield")

        return responses()

    def single(requests: Any, context: Any) -> bytes:
        note("single")
        return b"".join(requests)

    for shape, behavior in (("stream_stream", handler), ("stream_unary", single)):
        yield handled(world, shape, behavior)
    wait(ended)
    yield seen


class Servicer:
    """Handlers as methods, class methods, static methods and callable objects."""

    def method(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"method"

    @classmethod
    def of_class(cls, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"class method"

    @staticmethod
    def static(request: bytes, context: Any) -> Iterator[bytes]:
        yield b"static method"

    def __call__(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"callable object"


@same_as_plain
def test_the_kinds_of_handlers(world: World) -> Iterator[Any]:
    """Any callable can be a handler."""
    servicer = Servicer()
    for behavior in (servicer.method, Servicer.of_class, Servicer.static, servicer):
        yield handled(world, "unary_stream", behavior)


class _Pool(ThreadPoolExecutor):
    """A pool that notes what it runs."""

    def __init__(self) -> None:
        super().__init__(1)
        self.submitted: list[str] = []

    def submit(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.submitted.append(function.__name__)
        return super().submit(function, *args, **kwargs)


@same_as_plain
def test_a_thread_pool_of_its_own(world: World) -> Iterator[Any]:
    """A handler's attribute experimental_thread_pool says where it runs."""
    with _Pool() as pool:

        def handler(request: bytes, context: Any) -> Iterator[bytes]:
            yield b"1"

        handler.experimental_thread_pool = pool
        yield handled(world, "unary_stream", handler), len(pool.submitted)


@same_as_plain
def test_a_handler_that_does_not_block(world: World) -> Iterator[Any]:
    """A handler with experimental_non_blocking gets a function to send its responses with."""
    names: list[int] = []

    def handler(request: bytes, context: Any, send: Callable[[bytes | None], None]) -> None:
        names.append(len(threading.current_thread().name) > 0)
        for response in (b"1", b"2", None):
            send(response)

    handler.experimental_non_blocking = True
    with _Pool() as pool:
        handler.experimental_thread_pool = pool
        yield handled(world, "unary_stream", handler), names
