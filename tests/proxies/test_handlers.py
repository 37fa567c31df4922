"""Handlers of every kind, added to a server in every way: guarded, and otherwise unchanged."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import functools
import inspect
import threading
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
import wrapt
from inside import (
    Feature,
    Handlers,
    Mode,
    Point,
    Rectangle,
    RouteGuideServicer,
    RouteGuideStub,
    RouteNote,
    RouteSummary,
    Stream,
    add_RouteGuideServicer_to_server,
    aio_given,
    aio_handlers,
    core_stream,
    lifecycle_handlers,
    sync_handlers,
)
from support.staging import (
    SERVICE,
    AsyncGate,
    Gate,
    aio_channel,
    aio_server,
    inside_grpc,
    needs_registration,
    outcome,
    outcomes,
    path,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import ConcurrencyError, guarded, status, wrap

METHOD = "Stream"
RPC = path(METHOD)


def is_guarded(thing: Any) -> bool:
    """Tell whether `thing` is a guarded stream object."""
    try:
        status(thing)
    except TypeError:
        return False
    return True


# Handlers of each shape and style, all of which answer whether what they got is guarded


def tell(requests: Any, context: Any) -> bytes:
    return b"guarded" if is_guarded(requests) and is_guarded(context) else b"plain"


def tell_unary(request: Any, context: Any) -> bytes:
    return b"guarded" if is_guarded(context) else b"plain"


def teller(shape: str) -> Callable[[Any, Any], bytes]:
    return tell if shape.startswith("stream") else tell_unary


def sync_behavior(shape: str) -> Any:
    told = teller(shape)

    def function(requests: Any, context: Any) -> bytes:
        return told(requests, context)

    def generator(requests: Any, context: Any) -> Iterator[bytes]:
        yield told(requests, context)

    return function if shape.endswith("unary") else generator


def aio_behavior(shape: str, style: str) -> Any:
    told = teller(shape)

    async def coroutine(requests: Any, context: Any) -> bytes | None:
        answer = told(requests, context)
        if shape.endswith("unary"):
            return answer
        await context.write(answer)
        return None

    async def async_generator(requests: Any, context: Any) -> Any:
        yield told(requests, context)

    if style == "sync":
        return sync_behavior(shape)
    return coroutine if style == "coroutine" else async_generator


SHAPES = ["unary_stream", "stream_unary", "stream_stream"]
STYLES = [
    *((shape, "coroutine") for shape in SHAPES),
    *((shape, "async generator") for shape in ("unary_stream", "stream_stream")),
    *((shape, "sync") for shape in SHAPES),
]


def method_handler(shape: str, behavior: Any, **options: Any) -> Any:
    return getattr(grpc, f"{shape}_rpc_method_handler")(behavior, **options)


# What holds a handler function


def bare(behavior: Any) -> Any:
    return behavior


def partial(behavior: Any) -> Any:
    return functools.partial(behavior)


def method(behavior: Any) -> Any:
    """Return a bound method of the same kind as `behavior`."""

    class Servicer:
        pass

    # A function of the same kind, with a place for self.
    if asyncio.iscoroutinefunction(behavior):

        async def bound(self: Any, requests: Any, context: Any) -> Any:
            return await behavior(requests, context)
    elif hasattr(behavior, "__code__") and behavior.__code__.co_flags & 0x200:  # CO_ASYNC_GENERATOR

        async def bound(self: Any, requests: Any, context: Any) -> Any:
            async for response in behavior(requests, context):
                yield response
    else:

        def bound(self: Any, requests: Any, context: Any) -> Any:
            return behavior(requests, context)

    Servicer.bound = bound
    return Servicer().bound


HOLDERS = [bare, partial, method]


class Handler(grpc.RpcMethodHandler):
    """A method handler of the application's own class, which is no named tuple."""

    request_deserializer = None
    response_serializer = None
    unary_unary = unary_stream = stream_unary = stream_stream = None

    def __init__(self, shape: str, behavior: Any) -> None:
        self.request_streaming = shape.startswith("stream")
        self.response_streaming = shape.endswith("stream")
        setattr(self, shape, behavior)


class Service(grpc.GenericRpcHandler):
    """A generic handler of the application's own class, which makes handlers as it likes."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def service(self, handler_call_details: Any) -> Any:
        return self._make() if handler_call_details.method == RPC else None


def ask_sync(address: str, shape: str, rpc: str = RPC) -> Any:
    with sync_channel(address, mode=None) as channel:
        start = getattr(channel, shape)(rpc)
        answer = start(b"" if shape == "unary_stream" else iter(()))
        return answer if shape.endswith("unary") else b"".join(answer)


async def ask_aio(address: str, shape: str) -> Any:
    async with aio_channel(address, mode=None) as channel:
        call = getattr(channel, shape)(RPC)(b"" if shape == "unary_stream" else [])
        if shape.endswith("unary"):
            return await within(call)
        return b"".join([message async for message in call])


# How they come to the server

WAYS = [
    ("generic", "first"),
    ("generic", "last"),
    ("registered", "first"),
    ("registered", "last"),
    ("constructor", "last"),
]


@pytest.mark.parametrize("hold", HOLDERS)
@pytest.mark.parametrize(("how", "wrapped"), WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_sync_registration(shape, how, wrapped, hold, found):
    """A handler is guarded whichever way it came, before wrap() or after."""
    methods = {METHOD: method_handler(shape, hold(sync_behavior(shape)))}
    with sync_server(methods, how=how, wrapped=wrapped) as address:
        assert ask_sync(address, shape) == b"guarded"
    assert found() == []


@pytest.mark.parametrize("hold", HOLDERS)
@pytest.mark.parametrize(("how", "wrapped"), WAYS)
@pytest.mark.parametrize(("shape", "style"), STYLES)
async def test_aio_registration(shape, style, how, wrapped, hold, found):
    """A handler of any style is guarded whichever way it came, before wrap() or after."""
    needs_registration(how)
    methods = {METHOD: method_handler(shape, hold(aio_behavior(shape, style)))}
    async with aio_server(methods, how=how, wrapped=wrapped) as address:
        assert await ask_aio(address, shape) == b"guarded"
    assert found() == []


@pytest.mark.parametrize("wrapped", ["first", "last"])
@pytest.mark.parametrize("shape", SHAPES)
def test_sync_handlers_of_other_classes(shape, wrapped, found):
    """Generic handlers and method handlers may be of the application's own classes."""
    behavior = sync_behavior(shape)
    service = Service(lambda: Handler(shape, behavior))
    register = functools.partial(lambda server: server.add_generic_rpc_handlers((service,)))
    with sync_server(register, wrapped=wrapped) as address:
        assert ask_sync(address, shape) == b"guarded"
        assert ask_sync(address, shape) == b"guarded"
        with sync_channel(address, mode=None) as channel, pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(path("Other"))(b"")
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert found() == []


@pytest.mark.parametrize("wrapped", ["first", "last"])
@pytest.mark.parametrize(("shape", "style"), STYLES)
async def test_aio_handlers_of_other_classes(shape, style, wrapped, found):
    """Generic handlers and method handlers may be of the application's own classes."""
    behavior = aio_behavior(shape, style)
    service = Service(lambda: Handler(shape, behavior))
    register = functools.partial(lambda server: server.add_generic_rpc_handlers((service,)))
    async with aio_server(register, wrapped=wrapped) as address:
        assert await ask_aio(address, shape) == b"guarded"
        assert await ask_aio(address, shape) == b"guarded"
    assert found() == []


def test_handlers_of_other_classes_that_are_guarded_twice(found):
    """A guard put on by hand takes the place of the process-wide one; a second one does nothing."""
    handler = Handler("unary_stream", sync_behavior("unary_stream"))
    looking, servers = Looking(), []

    def register(server: Any) -> None:
        server.add_registered_method_handlers(SERVICE, {METHOD: handler})
        servers.extend([wrap(server), wrap(server)])
        server.add_registered_method_handlers(SERVICE, {"Known": None})

    with guarded(), sync_server(register, mode=None, interceptors=[looking]) as address:
        assert ask_sync(address, "unary_stream") == b"guarded"
    [seen] = looking.seen
    assert seen.__wrapped__ is handler
    assert seen.unary_stream.__wrapped__ is handler.unary_stream
    assert found() == []


# What the server keeps: looked at from an interceptor, which sees it as grpcio does


class Looking(grpc.ServerInterceptor):
    """Keeps the handlers that a server resolves."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        self.seen.append(handler)
        return handler


class AioLooking(grpc.aio.ServerInterceptor):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        self.seen.append(handler)
        return handler


@pytest.mark.parametrize("how", ["generic", "registered"])
def test_sync_unary_handler(how, found):
    """A unary-unary handler is noted, made once, and gets and returns what it did."""
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    looking = Looking()
    with (
        sync_server({"Echo": handler}, how=how, interceptors=[looking]) as address,
        sync_channel(address) as channel,
    ):
        for _ in range(2):
            assert channel.unary_unary(path("Echo"))(b"1") == b"1"
    first, second = looking.seen
    assert first is second
    assert first.unary_unary.__wrapped__ is handler.unary_unary


@pytest.mark.parametrize("style", ["coroutine", "sync"])
@pytest.mark.parametrize("how", ["generic", "registered"])
async def test_aio_unary_handler(how, style, found):
    """A unary-unary handler is noted, made once, and gets and returns what it did."""
    needs_registration(how)

    async def echo(request: Any, context: Any) -> Any:
        return request

    handler = grpc.unary_unary_rpc_method_handler(
        echo if style == "coroutine" else lambda request, context: request
    )
    looking = AioLooking()
    async with (
        aio_server({"Echo": handler}, how=how, interceptors=[looking]) as address,
        aio_channel(address) as channel,
    ):
        for _ in range(2):
            assert await within(channel.unary_unary(path("Echo"))(b"1")) == b"1"
    first, second = looking.seen
    assert first is second
    assert first.unary_unary.__wrapped__ is handler.unary_unary


@pytest.mark.parametrize("kind", ["named tuple", "own class"])
@pytest.mark.parametrize("shape", SHAPES)
def test_guarded_handler_is_made_once(shape, kind, found):
    """A handler is guarded once per method, and is the old one but for its behaviour."""
    behavior = sync_behavior(shape)
    if kind == "own class":
        plain = Handler(shape, behavior)
    else:
        plain = method_handler(shape, behavior, request_deserializer=bytes)
    looking = Looking()
    register = functools.partial(
        lambda server: server.add_generic_rpc_handlers((Service(lambda: plain),))
    )
    with sync_server(register, interceptors=[looking]) as address:
        for _ in range(3):
            assert ask_sync(address, shape) == b"guarded"
    guarded = looking.seen[0]
    assert looking.seen == [guarded] * 3
    assert all(seen is guarded for seen in looking.seen)
    assert guarded is not plain
    assert isinstance(guarded, grpc.RpcMethodHandler)
    assert getattr(guarded, shape).__wrapped__ is behavior
    assert getattr(plain, shape) is behavior
    assert guarded.request_deserializer is plain.request_deserializer
    assert guarded.response_serializer is None
    for other in {"unary_unary", *SHAPES} - {shape}:
        assert getattr(guarded, other) is None
    assert (guarded.request_streaming, guarded.response_streaming) == (
        plain.request_streaming,
        plain.response_streaming,
    )


def test_handler_that_is_made_anew_for_each_call(found):
    """A generic handler may answer with another handler each time: none is stale."""
    numbers = iter(range(3))

    def make() -> Any:
        number = next(numbers)
        return grpc.unary_stream_rpc_method_handler(lambda request, context: iter([b"%d" % number]))

    register = functools.partial(lambda server: server.add_generic_rpc_handlers((Service(make),)))
    with sync_server(register) as address:
        assert [ask_sync(address, "unary_stream") for _ in range(3)] == [b"0", b"1", b"2"]


class Details:
    """The handler_call_details of a method that a client has invented."""

    invocation_metadata = ()

    def __init__(self, number: int) -> None:
        self.method = f"/{SERVICE}/Invented{number}"


def test_methods_that_clients_invent(found):
    """Guarded handlers are kept for so many methods only: names that clients invent do not pile up."""
    plain = grpc.unary_stream_rpc_method_handler(lambda request, context: iter(()))

    class Anything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            return plain

    server = wrap(grpc.server(None))
    server.add_generic_rpc_handlers((Anything(),))
    [generic] = server._state.generic_handlers
    first, *_, one, last = [generic.service(Details(number)) for number in range(1200)]
    assert last.unary_stream.__wrapped__ is plain.unary_stream
    assert generic.service(Details(1198)) is one
    assert generic.service(Details(1199)) is last
    assert generic.service(Details(0)) is not first
    assert len(vars(plain)["_grpc_guard"]) < 1024


@pytest.mark.parametrize("kind", ["named tuple", "own class"])
def test_handlers_that_the_program_drops(kind, found):
    """What a handler holds that was made for one call goes with it, guarded or not."""
    held: list[weakref.ref[Any]] = []

    def make() -> Any:
        def stream(request: Any, context: Any) -> Iterator[bytes]:
            yield b""

        held.append(weakref.ref(stream))
        if kind == "own class":
            return Handler("unary_stream", stream)
        return method_handler("unary_stream", stream)

    server = wrap(grpc.server(None))
    server.add_generic_rpc_handlers((Service(make),))
    [generic] = server._state.generic_handlers
    details = Details(0)
    details.method = RPC
    kept = generic.service(details)
    assert held[0]() is kept.unary_stream.__wrapped__
    assert generic.service(details) is not kept
    assert held[1]() is None
    del kept
    assert held[0]() is None


@pytest.mark.parametrize("hold", [bare, partial])
def test_handlers_that_are_guarded_already(hold, found):
    """Handlers that pass through two guarded servers are guarded once."""
    looking = Looking()
    guarded = wrap(grpc.server(None))
    plain = method_handler("unary_stream", hold(sync_behavior("unary_stream")))
    guarded.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {METHOD: plain}),)
    )
    [generic] = guarded._state.generic_handlers
    details = Details(0)
    details.method = RPC
    twice = {METHOD: generic.service(details)}
    register = functools.partial(_register_both, generic=generic, methods=twice)
    with sync_server(register, interceptors=[looking]) as address:
        for rpc in (RPC, f"/other/{METHOD}"):
            assert ask_sync(address, "unary_stream", rpc) == b"guarded"
    assert len(looking.seen) == 2
    for seen in looking.seen:
        assert seen.unary_stream.__wrapped__ is plain.unary_stream


def _register_both(server: Any, generic: Any, methods: Any) -> None:
    server.add_generic_rpc_handlers((generic,))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("other", methods),))


def test_what_is_no_generic_handler(found):
    """Something that is no handler is refused by grpcio itself, as without the guard."""
    errors = []
    for server in (grpc.server(None), wrap(grpc.server(None))):
        with pytest.raises(Exception, match="service") as error:
            server.add_generic_rpc_handlers((object(),))
        errors.append((error.type, str(error.value)))
    assert errors[0] == errors[1]


def test_handler_without_a_behaviour(found):
    """A handler whose behaviour is missing fails as it does without the guard."""
    empty = Handler("unary_stream", None)
    codes = []
    for mode in (None, "raise"):
        register = functools.partial(
            lambda server: server.add_generic_rpc_handlers((Service(lambda: empty),))
        )
        with (
            sync_server(register, mode=mode) as address,
            sync_channel(address, mode=None) as channel,
            pytest.raises(grpc.RpcError) as error,
        ):
            next(channel.unary_stream(RPC)(b""))
        codes.append((error.value.code(), error.value.details()))
    assert codes[0] == codes[1]


# What a handler is besides its code

KINDS = [
    *(("sync", behavior) for behavior in (tell, sync_behavior("unary_stream"))),
    *(("aio", aio_behavior("unary_stream", style)) for style in ("sync", "coroutine", "generator")),
]


@pytest.mark.parametrize("hold", [bare, method])
@pytest.mark.parametrize(("api", "behavior"), KINDS)
def test_guarded_function_in_the_eyes_of_inspect(api, behavior, hold, found):
    """A guarded handler function is of the kind, has the names and takes the arguments of the plain one."""
    plain = hold(behavior)
    getattr(plain, "__func__", plain).program = "its own"
    guard = sync_handlers.guard_behavior if api == "sync" else aio_handlers.guard_behavior
    guarded = guard(plain, RPC, lambda: Mode.RAISE, False, True, handlers=Handlers(None))
    looks = [
        *(name for name in dir(inspect) if name.startswith("is") and name != "iskeyword"),
        *("signature", "getdoc", "getsourcelines", "getmodule", "getcomments"),
    ]
    for name in looks:
        look = getattr(inspect, name)
        assert outcome(look, guarded) == outcome(look, plain), name
    for name in (
        "__name__",
        "__qualname__",
        "__module__",
        "__doc__",
        "__annotations__",
        "__self__",
    ):
        assert getattr(guarded, name, None) == getattr(plain, name, None), name
    assert guarded.program == "its own"
    assert repr(guarded).split(" at ")[0] == repr(plain).split(" at ")[0]
    with pytest.raises(AttributeError, match="experimental_thread_pool"):
        guarded.experimental_thread_pool  # noqa: B018
    of_the_program = functools.wraps(guarded)(lambda *args: guarded(*args))
    again = guard(of_the_program, RPC, lambda: Mode.RAISE, False, True, handlers=Handlers(None))
    assert again.__wrapped__ is of_the_program


class Answering:
    """A handler that is an object."""

    def __call__(self, request: bytes, context: Any = None) -> Iterator[bytes]:
        yield request


def described(request: bytes, context: Any = None, *, more: int = 1) -> Iterator[bytes]:
    yield request * more


async def described_aio(request: bytes, context: Any = None, *, more: int = 1) -> bytes:
    return request * more


def decorated(behavior: Any) -> Any:
    return wrapt.FunctionWrapper(behavior, lambda plain, _, args, kwargs: plain(*args, **kwargs))


OBJECTS = {
    "object": Answering(),
    "partial": functools.partial(described, more=2),
    "partial of async": functools.partial(described_aio, more=2),
    "wrapt": decorated(described),
}


@pytest.mark.parametrize("api", ["sync", "aio"])
@pytest.mark.parametrize("behavior", OBJECTS.values(), ids=OBJECTS)
def test_guarded_object_in_the_eyes_of_a_program(api, behavior, found):
    """A guarded handler that is no function has the methods of the plain one, its texts and its copies."""
    guard = sync_handlers.guard_behavior if api == "sync" else aio_handlers.guard_behavior
    guarded = guard(behavior, RPC, lambda: Mode.RAISE, False, True, handlers=Handlers(None))
    looks: list[Callable[[Any], object]] = [
        *(getattr(inspect, name) for name in dir(inspect) if name.startswith("is")),
        *(inspect.signature, inspect.getdoc, inspect.getmodule, repr, typing.get_type_hints),
        *(copy.copy, copy.deepcopy, callable, bool),
        *(lambda thing: hasattr(thing, "__get__"), lambda thing: hasattr(thing, "__enter__")),
        *(lambda thing: getattr(thing, "__annotations__", None), lambda thing: hash(thing)),
        lambda thing: isinstance(thing, behavior.__class__),
    ]
    for look in looks:
        seen, plain = outcome(look, guarded), outcome(look, behavior)
        assert str(seen).split(" at ")[0] == str(plain).split(" at ")[0], look


@pytest.mark.parametrize("api", ["sync", "aio"])
@pytest.mark.parametrize("kind", [wrapt.FunctionWrapper, wrapt.BoundFunctionWrapper])
def test_guarded_wrapper_in_the_eyes_of_wrapt(kind, api, found):
    """It is one of the same kind, with what the plain one has: agents look whether they have wrapped it."""

    class Servicer:
        stream = decorated(lambda self, request, context: iter([request]))

    behavior = decorated(described) if kind is wrapt.FunctionWrapper else Servicer().stream
    guard = sync_handlers.guard_behavior if api == "sync" else aio_handlers.guard_behavior
    guarded = guard(behavior, RPC, lambda: Mode.RAISE, False, True, handlers=Handlers(None))
    assert isinstance(behavior, kind)
    assert isinstance(guarded, kind)
    for name in ("_self_wrapper", "_self_instance", "_self_binding", "_self_enabled", "__self__"):
        assert getattr(guarded, name, None) == getattr(behavior, name, None), name
    assert guarded.__wrapped__ is behavior
    assert guarded == behavior
    assert list(guarded(b"1", types.SimpleNamespace())) == [b"1"]
    watch = weakref.ref(guarded)
    del guarded
    assert watch() is None


WRONG: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((b"1",), {}),
    ((b"1", None, b"2"), {}),
    ((b"1", None), {"more": 1}),
    ((b"1", None), {"request": b"1"}),
]


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("hold", [bare, method])
@pytest.mark.parametrize("shape", ["unary_unary", *SHAPES])
async def test_wrong_arguments_of_a_coroutine_function(shape, hold, counts, found):
    """They fail when it is called, and not when what it returns is awaited."""
    if counts:
        core_stream.start_counting()

    async def one(request: Any, context: Any) -> bytes:
        return b""

    async def many(request: Any, context: Any) -> Any:
        yield b""

    reads, responds = (half == "stream" for half in shape.split("_"))
    plain = hold(many if responds else one)
    guarded = aio_handlers.guard_behavior(
        plain, RPC, lambda: Mode.RAISE, reads, responds, handlers=Handlers(None)
    )
    for args, kwargs in WRONG:
        with pytest.raises(TypeError) as expected:
            plain(*args, **kwargs)
        with pytest.raises(TypeError) as error:
            guarded(*args, **kwargs)
        assert str(error.value) == str(expected.value)


def test_annotations_of_what_wrapt_has_decorated(found):
    """To guard one of them leaves those of all others alone, which are those of what it wraps."""

    class Decorated(wrapt.FunctionWrapper):  # a class that no other test has asked
        pass

    behavior = Decorated(described, lambda plain, _, args, kwargs: plain(*args, **kwargs))
    guarded = sync_handlers.guard_behavior(
        behavior, RPC, lambda: Mode.RAISE, False, True, handlers=Handlers(None)
    )
    assert guarded.__annotations__ == behavior.__annotations__ == described.__annotations__


def test_defaults_of_a_guarded_function(found):
    """Frameworks that look for parameters of their own look at them."""
    for guard, behavior in (
        (sync_handlers.guard_behavior, described),
        (aio_handlers.guard_behavior, described_aio),
    ):
        guarded = guard(behavior, RPC, lambda: Mode.RAISE, False, False, handlers=Handlers(None))
        assert guarded.__defaults__ == (None,)
        assert guarded.__kwdefaults__ == {"more": 1}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("hold", [bare, functools.partial, decorated])
async def test_names_of_what_a_coroutine_function_returns(hold, streams, found):
    """They are those of the program's coroutine, for whom repr() and a task's name are read."""
    guarded = aio_handlers.guard_behavior(
        hold(described_aio), RPC, lambda: Mode.RAISE, streams, False, handlers=Handlers(None)
    )
    coroutine = guarded(b"1", types.SimpleNamespace())
    assert coroutine.__name__ == coroutine.__qualname__ == "described_aio"
    assert repr(coroutine).startswith("<coroutine object described_aio at ")
    assert await coroutine == b"1"
    assert str(coroutine.__qualname__)


async def test_done_callback_in_the_eyes_of_grpc(found):
    """It has the names of the program's, and is known to stand for it."""
    given: list[Any] = []
    plain = types.SimpleNamespace(add_done_callback=given.append)
    stream = Stream(RPC, "server", "aio", Mode.RAISE, asyncio.get_running_loop())

    def bye(context: Any) -> None: ...

    aio_given.Context(plain, stream).add_done_callback(bye)
    [visit] = given
    assert (visit.__name__, visit.__wrapped__) == ("bye", bye)


def test_handler_with_a_thread_pool_of_its_own(found):
    """The pool that a handler asks for is the one it runs in."""
    with concurrent.futures.ThreadPoolExecutor(1, "special") as pool:

        def where(request: Any, context: Any) -> Iterator[bytes]:
            yield threading.current_thread().name.encode() + b" " + tell_unary(request, context)

        where.experimental_thread_pool = pool  # type: ignore[attr-defined]
        with sync_server({METHOD: grpc.unary_stream_rpc_method_handler(where)}) as address:
            assert ask_sync(address, "unary_stream") == b"special_0 guarded"


@pytest.mark.parametrize("shape", ["unary_stream", "stream_stream"])
def test_handler_that_does_not_block(shape, found):
    """A non-blocking handler gets a guarded callback to send with."""

    def send(request: Any, context: Any, send_response: Any) -> None:
        send_response(teller(shape)(request, context))
        send_response(None)

    send.experimental_non_blocking = True  # type: ignore[attr-defined]
    with sync_server({METHOD: method_handler(shape, send)}) as address:
        assert ask_sync(address, shape) == b"guarded"


class Calling(grpc.ServerInterceptor):
    """Calls the guarded behaviour in its own way."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        shape = shape_of(handler)
        behavior = getattr(handler, shape)
        return method_handler(
            shape, lambda request, context: self._call(behavior, request, context)
        )


class AioCalling(Calling, grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        shape = shape_of(handler)
        behavior = getattr(handler, shape)

        async def call(request: Any, context: Any) -> Any:
            async for response in self._call(behavior, request, context):
                yield response

        async def call_unary(request: Any, context: Any) -> Any:
            return await self._call(behavior, request, context)

        return method_handler(shape, call if handler.response_streaming else call_unary)


def shape_of(handler: Any) -> str:
    return "_".join(
        "stream" if streams else "unary"
        for streams in (handler.request_streaming, handler.response_streaming)
    )


def as_grpc(behavior: Any, request: Any, context: Any) -> Any:
    return behavior(request, context)


def by_keyword(behavior: Any, request: Any, context: Any) -> Any:
    return behavior(request, context=context)


def with_a_list(behavior: Any, request: Any, context: Any) -> Any:
    return behavior([b"1", b"2"], context)


def with_more(behavior: Any, request: Any, context: Any) -> Any:
    return behavior(request, context, b"more")


def test_sync_behaviour_called_by_an_interceptor(found):
    """What is not called as gRPC does it is handed on; requests may be of any kind."""

    def listing(requests: Any, context: Any) -> Iterator[bytes]:
        yield b"list" if type(requests) is list else tell(requests, context)

    methods = {METHOD: method_handler("stream_stream", listing)}
    with sync_server(methods, interceptors=[Calling(by_keyword)]) as address:
        assert ask_sync(address, "stream_stream") == b"plain"
    with sync_server(methods, interceptors=[Calling(with_a_list)]) as address:
        assert ask_sync(address, "stream_stream") == b"list"


@pytest.mark.parametrize("shape", SHAPES)
async def test_behaviour_that_gets_more_from_an_interceptor(shape, found):
    """What an interceptor adds, such as who asks, reaches the handler as it is."""

    def answer(request: Any, context: Any, more: Any) -> bytes:
        return tell(request, context) + more if shape.startswith("stream") else more

    def answers(request: Any, context: Any, more: Any) -> Iterator[bytes]:
        yield answer(request, context, more)

    async def answer_aio(request: Any, context: Any, more: Any) -> bytes:
        return answer(request, context, more)

    async def answers_aio(request: Any, context: Any, more: Any) -> Any:
        yield answer(request, context, more)

    streams = shape.endswith("stream")
    expected = b"guardedmore" if shape.startswith("stream") else b"more"
    methods = {METHOD: method_handler(shape, answers if streams else answer)}
    with sync_server(methods, interceptors=[Calling(with_more)]) as address:
        assert ask_sync(address, shape) == expected
    methods = {METHOD: method_handler(shape, answers_aio if streams else answer_aio)}
    async with aio_server(methods, interceptors=[AioCalling(with_more)]) as address:
        assert await ask_aio(address, shape) == expected


async def test_aio_behaviour_called_by_an_interceptor(found):
    """What is not called as gRPC does it is handed on; requests may be of any kind."""

    async def listing(requests: Any, context: Any) -> Any:
        yield b"list" if type(requests) is list else tell(requests, context)

    methods = {METHOD: method_handler("stream_stream", listing)}
    async with aio_server(methods, interceptors=[AioCalling(by_keyword)]) as address:
        assert await ask_aio(address, "stream_stream") == b"plain"
    async with aio_server(methods, interceptors=[AioCalling(with_a_list)]) as address:
        assert await ask_aio(address, "stream_stream") == b"list"


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("hold", [bare, lambda behavior: types.MethodType(behavior, b"self")])
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("api", ["sync", "aio"])
async def test_behaviour_called_with_too_few_arguments(api, streams, hold, count, found):
    """It does what it does without the guard, and is not noted."""

    def plain(*args: Any) -> Any:
        return args

    async def plain_aio(*args: Any) -> Any:
        return args

    handlers = Handlers(None)
    guard = sync_handlers.guard_behavior if api == "sync" else aio_handlers.guard_behavior
    behavior = hold(plain if api == "sync" else plain_aio)
    guarded = guard(behavior, RPC, lambda: Mode.RAISE, streams, False, handlers=handlers)
    given = guarded(*[b"1"] * count)
    assert handlers.snapshot() == ()
    if api == "aio":
        given = await given
    assert given == ((b"self",) if hold is not bare else ()) + (b"1",) * count


async def stream_from_a_thread(behavior: Any, request: Any, context: Any) -> Any:
    async for response in await asyncio.to_thread(behavior, request, context):
        yield response


async def from_a_thread(behavior: Any, request: Any, context: Any) -> Any:
    return await (await asyncio.to_thread(behavior, request, context))


async def test_aio_behaviour_called_in_a_thread(found):
    """An interceptor may call it where no loop runs, and hand what it returns to the loop."""

    async def respond(requests: Any, context: Any) -> Any:
        yield tell(requests, context)

    methods = {METHOD: method_handler("stream_stream", respond)}
    async with aio_server(methods, interceptors=[AioCalling(stream_from_a_thread)]) as address:
        assert await ask_aio(address, "stream_stream") == b"plain"


def noted() -> bytes:
    """Return how many handlers of the RPC are noted to be in flight."""
    in_flight = [
        owner for _, records in lifecycle_handlers.servers() for owner in records.snapshot()
    ]
    return b"%d" % sum(owner.operation == RPC for owner in in_flight)


WAYS_TO_CALL = [(as_grpc, b"1"), (by_keyword, b"0")]


@pytest.mark.parametrize(("way", "times"), WAYS_TO_CALL)
def test_sync_unary_behaviour_called_by_an_interceptor(way, times, found):
    """A unary one is noted where it is called as gRPC does it, and handed on elsewhere."""
    methods = {METHOD: method_handler("unary_unary", lambda request, context: noted())}
    with sync_server(methods, interceptors=[Calling(way)]) as address:
        with sync_channel(address, mode=None) as channel:
            assert channel.unary_unary(RPC)(b"") == times


@pytest.mark.parametrize(("way", "times"), [*WAYS_TO_CALL, (from_a_thread, b"0")])
async def test_aio_unary_behaviour_called_by_an_interceptor(way, times, found):
    """A unary one is noted where it is called as gRPC does it, and handed on elsewhere."""

    async def count(request: Any, context: Any) -> bytes:
        return noted()

    methods = {METHOD: method_handler("unary_unary", count)}
    async with aio_server(methods, interceptors=[AioCalling(way)]) as address:
        async with aio_channel(address, mode=None) as channel:
            assert await within(channel.unary_unary(RPC)(b"")) == times


# Generated code


def places(count: int) -> list[Point]:
    return [Point(latitude=number) for number in range(count)]


class Guide(RouteGuideServicer):
    """RouteGuide, whose streaming handlers let two readers meet."""

    def __init__(self) -> None:
        self.errors: list[Any] = []
        self.gate = Gate()

    def GetFeature(self, request: Point, context: Any) -> Feature:  # noqa: N802
        return Feature(name="here", location=request)

    def ListFeatures(self, request: Rectangle, context: Any) -> Iterator[Feature]:  # noqa: N802
        for place in places(3):
            yield Feature(location=place)

    def RecordRoute(self, requests: Any, context: Any) -> RouteSummary:  # noqa: N802
        reader = inside_grpc(next, requests, name="reader")
        self.errors.append(outcome(next, requests))
        self.gate.open()
        reader.result()
        return RouteSummary(point_count=1 + sum(1 for _ in requests))

    def RouteChat(self, requests: Any, context: Any) -> Iterator[RouteNote]:  # noqa: N802
        yield from requests


@pytest.mark.parametrize("wrapped", ["first", "last"])
def test_sync_generated_code(wrapped, found):
    """A servicer that generated code registers is guarded, and a generated stub's calls are."""
    guide = Guide()
    register = functools.partial(add_RouteGuideServicer_to_server, guide)
    with sync_server(register, wrapped=wrapped) as address, sync_channel(address) as channel:
        stub = RouteGuideStub(channel)
        assert stub.GetFeature(Point(latitude=1)).location.latitude == 1
        features = stub.ListFeatures(Rectangle())
        assert is_guarded(features)
        assert [feature.location.latitude for feature in features] == [0, 1, 2]

        def route() -> Iterator[Point]:
            guide.gate.park()
            yield from places(5)

        assert stub.RecordRoute(route()).point_count == 5
        notes = [RouteNote(message=str(number)) for number in range(3)]
        assert list(stub.RouteChat(iter(notes))) == notes
    [finding] = found()
    assert isinstance(guide.errors[0], ConcurrencyError)
    assert finding == guide.errors[0].finding
    assert finding.rpc.endswith(".RouteGuide/RecordRoute")


class AioGuide(RouteGuideServicer):
    """RouteGuide for asyncio, whose streaming handlers let two readers meet."""

    def __init__(self) -> None:
        self.errors: list[Any] = []

    async def GetFeature(self, request: Point, context: Any) -> Feature:  # noqa: N802
        return Feature(name="here", location=request)

    async def ListFeatures(self, request: Rectangle, context: Any) -> Any:  # noqa: N802
        for place in places(3):
            yield Feature(location=place)

    async def RecordRoute(self, requests: Any, context: Any) -> RouteSummary:  # noqa: N802
        first, refused = await outcomes(context.read(), context.read())
        self.errors.append(refused)
        count = 1 if first.latitude == 0 else 0
        async for _ in requests:
            count += 1
        return RouteSummary(point_count=count)

    async def RouteChat(self, requests: Any, context: Any) -> Any:  # noqa: N802
        async for note in requests:
            yield note


@pytest.mark.parametrize("wrapped", ["first", "last"])
async def test_aio_generated_code(wrapped, found):
    """A servicer that generated code registers is guarded, and a generated stub's calls are."""
    guide = AioGuide()
    register = functools.partial(add_RouteGuideServicer_to_server, guide)
    async with (
        aio_server(register, wrapped=wrapped) as address,
        aio_channel(address) as channel,
    ):
        stub = RouteGuideStub(channel)
        assert (await within(stub.GetFeature(Point(latitude=1)))).location.latitude == 1
        features = stub.ListFeatures(Rectangle())
        assert is_guarded(features)
        assert [feature.location.latitude async for feature in features] == [0, 1, 2]
        assert (await within(stub.RecordRoute(places(5)))).point_count == 5
        notes = [RouteNote(message=str(number)) for number in range(3)]
        assert [note async for note in stub.RouteChat(notes)] == notes
    [finding] = found()
    assert isinstance(guide.errors[0], ConcurrencyError)
    assert finding == guide.errors[0].finding
    assert finding.rpc.endswith(".RouteGuide/RecordRoute")


# wrap() of a server that already runs


@asynccontextmanager
async def running(aio: bool, behavior: Any) -> Any:
    """Yield a plain server that has started, and its address."""
    methods = {METHOD: method_handler("unary_stream", behavior)}
    servers: list[Any] = []

    def register(server: Any) -> None:
        servers.append(server)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))

    async with AsyncExitStack() as stack:
        if aio:
            address = await stack.enter_async_context(aio_server(register, mode=None))
        else:
            address = stack.enter_context(sync_server(register, mode=None))
        yield servers[0], address


@pytest.mark.parametrize("aio", [False, True])
async def test_wrap_of_a_running_server(aio, found):
    """Streams that start after wrap() are guarded; one that was open before stays plain."""
    gate = Gate()
    told: list[bytes] = []

    def sync_stream(request: Any, context: Any) -> Iterator[bytes]:
        yield b""
        gate.park()
        told.append(tell_unary(request, context))

    aio_gate = AsyncGate()

    async def aio_stream(request: Any, context: Any) -> Any:
        yield b""
        await aio_gate.park()
        told.append(tell_unary(request, context))

    async with (
        running(aio, aio_stream if aio else sync_stream) as (server, address),
        aio_channel(address, mode=None) as channel,
    ):
        before = channel.unary_stream(RPC)(b"")
        assert await within(before.read()) == b""
        wrap(server)
        after = channel.unary_stream(RPC)(b"")
        assert await within(after.read()) == b""
        gate.open()
        aio_gate.open()
        assert await within(before.read()) is grpc.aio.EOF
        assert await within(after.read()) is grpc.aio.EOF
    assert sorted(told) == [b"guarded", b"plain"]
