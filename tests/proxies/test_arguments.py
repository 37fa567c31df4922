"""Wrong arguments to a guarded object raise what they raise without the guard."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
import wrapt
from inside import Handlers, Mode, aio_handlers

from grpc_guard import guarded, wrap

# The request iterator itself is right in all but the first three.
WRONG: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "none": ((), {}),
    "by position and by name": ((iter(()),), {"request_iterator": iter(())}),
    "another name": ((), {"requests": iter(())}),
    "one more by name": ((iter(()),), {"nonsense": 1}),
    "too many": ((iter(()),) * 9, {}),
    **{name: ((iter(()),), {name: 1}) for name in ("self", "multi_callable", "start", "run")},
    **{name: ((iter(()),), {name: 1}) for name in ("rpc", "mode", "args", "kwargs")},
}
METHODS = ("__call__", "with_call", "future")
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def raised(multi_callable: Any, method: str, arguments: tuple[Any, Any]) -> tuple[type, str]:
    args, kwargs = arguments
    with pytest.raises(TypeError) as caught:
        getattr(multi_callable, method)(*args, **kwargs)
    return type(caught.value), str(caught.value)


def compare(channel: Any, kind: str, methods: Any = METHODS[:1], *, is_aio: bool = False) -> None:
    plain, by_hand = (getattr(one, kind)("/a/b") for one in (channel, wrap(channel)))
    for wrong, arguments in WRONG.items():
        if is_aio and wrong == "none" and kind.startswith("stream"):
            continue  # it is no mistake
        for method in methods:
            expected = raised(plain, method, arguments)
            assert raised(by_hand, method, arguments) == expected
            with guarded(mode=Mode.RAISE):
                assert raised(plain, method, arguments) == expected
                assert raised(by_hand, method, arguments) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_arguments_of_a_sync_start(kind: str) -> None:
    """The text of the TypeError is grpcio's own, whichever way the channel is guarded."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        compare(channel, kind, METHODS if kind.endswith("unary") else METHODS[:1])


@pytest.mark.parametrize("kind", KINDS)
async def test_wrong_arguments_of_an_aio_start(kind: str) -> None:
    """The same in asyncio, where a request iterator may be missing."""
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        compare(channel, kind, is_aio=True)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_requests_by_name(kind: str) -> None:
    """What is given by its name is guarded as well."""
    name = "request" if kind.startswith("unary") else "request_iterator"
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        start = getattr(wrap(channel), kind)("/a/b")
        start = start.future if kind == "stream_unary" else start
        call = start(**{name: iter(()) if "iterator" in name else b""})
        assert (call._self_stream._write is not None) == (name != "request")
        call.cancel()


def test_done_callback_that_cannot_be_called() -> None:
    """It is refused at once."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        for one in (channel, wrap(channel)):
            call = one.unary_stream("/a/b")(b"")
            with pytest.raises(TypeError, match="callable"):
                call.add_done_callback(7)
            call.cancel()


async def test_done_callback_of_an_aio_call_that_cannot_be_called() -> None:
    """The same in asyncio."""
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        for one in (channel, wrap(channel)):
            call = one.unary_stream("/a/b")(b"")
            with pytest.raises(TypeError, match="callable"):
                call.add_done_callback(7)
            call.cancel()


class Wrong:
    """Handlers of asyncio that do not take a request and a context."""

    async def few(self, request: bytes) -> bytes:
        return request

    async def many(self, request: bytes, context: Any, more: int) -> bytes:
        return request * more

    async def by_name(self, request: bytes, context: Any, *, more: int) -> bytes:
        return request * more

    async def yields(self, request: bytes) -> AsyncIterator[bytes]:
        yield request


def as_function(method: Any) -> Any:
    return functools.partial(method.__func__, None)


@pytest.mark.parametrize("responses", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("hold", [lambda method: method, as_function], ids=["method", "partial"])
@pytest.mark.parametrize("name", ["few", "many", "by_name", "yields"])
async def test_aio_handler_of_a_wrong_signature(
    name: str, hold: Callable[[Any], Any], responses: bool
) -> None:
    """It fails when it is called, not when what it returned is awaited."""
    plain = hold(getattr(Wrong(), name))
    kinds = False, responses
    handlers = Handlers(None)
    handler = aio_handlers.guard_behavior(
        plain, "/a/b", lambda: Mode.RAISE, *kinds, handlers=handlers
    )
    for one in (plain, handler):
        with pytest.raises(TypeError, match="positional argument|keyword-only argument"):
            one(b"", None)


def giving_more(behavior: Any) -> Any:
    async def give(plain: Any, _: Any, args: Any, kwargs: Any) -> Any:
        return await plain(*args, 2, **kwargs)

    return wrapt.FunctionWrapper(behavior, give)


async def three(request: bytes, context: Any, times: int) -> bytes:
    await asyncio.sleep(0)
    return request * times


@functools.wraps(three)
async def two(request: bytes, context: Any) -> bytes:
    return await three(request, context, 2)


async def default(request: bytes, context: Any, times: int = 2, *, more: int = 0) -> bytes:
    return await three(request, context, times + more)


async def anything(*args: Any, **kwargs: Any) -> bytes:
    return await three(args[0], None, 2)


class Injected:
    """A method that a decorator gives another argument."""

    @giving_more
    async def decorated(self, request: bytes, context: Any, times: int) -> bytes:
        return await three(request, context, times)


FITTING = {
    **{function.__name__: function for function in (default, anything)},
    "wraps": two,
    "partial": functools.partial(three, times=2),
    "decorated function": giving_more(three),
    "decorated method": Injected().decorated,
}


@pytest.mark.parametrize("plain", FITTING.values(), ids=FITTING)
async def test_aio_handler_that_is_called_as_gRPC_does(plain: Any) -> None:  # noqa: N802
    """It is guarded, whatever else it could take, or what it decorates takes."""
    handlers = Handlers(None)
    handler = aio_handlers.guard_behavior(
        plain, "/a/b", lambda: Mode.RAISE, False, False, handlers=handlers
    )
    handled = asyncio.ensure_future(handler(b"x", None))
    await asyncio.sleep(0)
    assert len(handlers.snapshot()) == 1
    assert await handled == b"xx"


class Unsigned:
    """A handler that is no function, has no name, and does not say what it takes."""

    @property
    def __signature__(self) -> inspect.Signature:
        raise ValueError

    async def __call__(self, request: bytes, context: Any, times: int = 2) -> bytes:
        return request * times


async def test_aio_handler_that_does_not_say_what_it_takes() -> None:
    """It is called with whatever it is given, and fails, if it does, by itself."""
    handler = aio_handlers.guard_behavior(
        functools.partial(Unsigned()),
        *("/a/b", lambda: Mode.RAISE, False, False),
        handlers=Handlers(None),
    )
    assert await handler(b"x", None) == b"xx"
    assert await handler(b"x", None, 3) == b"xxx"
    with pytest.raises(TypeError, match="nonsense"):
        await handler(b"x", None, nonsense=1)


async def test_task_that_has_ended_handles_nothing() -> None:
    """Even if what runs the handler holds its entry still."""
    handlers = Handlers(None)
    entries: list[Any] = []

    async def handle() -> None:
        entries.append(handlers.enter_task("/a/b", asyncio.get_running_loop()))
        assert [one.operation for one in handlers.snapshot()] == ["/a/b"]

    task = asyncio.ensure_future(handle())
    await task
    assert len(entries) == 1
    assert handlers.snapshot() == ()
