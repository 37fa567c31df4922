"""Contexts of interceptors: none of their methods is called, and the RPC inside is followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import grpc
import pytest
import wrapt
from inside import contexts_door, lifecycle_handlers
from support.staging import PATIENCE, Gate, in_thread, path, sync_channel, sync_server, wait

from grpc_guard import Finding, guarded, wrap

Found = Callable[[], list[Finding]]


class Refusing:
    """A context of the program's, which nobody but the program may ask anything."""

    def add_callback(self) -> None:
        raise NotImplementedError("not supported here")

    is_active = add_callback


class Around(Refusing):
    """The same around another context."""

    def __init__(self, inner: object) -> None:
        self.inner = inner
        self.labels = {"rpc": "one"}


class Slotted(Refusing):
    __slots__ = ("inner",)

    def __init__(self, inner: object) -> None:
        self.inner = inner


class Plain:
    """An object that is no context, and holds one."""

    def __init__(self, inner: object) -> None:
        self.inner = inner


class Between(grpc.ServerInterceptor):
    """Gives each handler what `make` returns for its context."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        name = next(one for one in METHODS.values() if getattr(handler, one) is not None)
        inner = getattr(handler, name)
        return handler._replace(**{name: lambda given, own: inner(given, self.make(own))})


METHODS = {
    "UnaryUnary": "unary_unary",
    "UnaryStream": "unary_stream",
    "StreamUnary": "stream_unary",
    "StreamStream": "stream_stream",
}


def answer(request: Any, context: Any) -> bytes:
    return request if isinstance(request, bytes) else b"".join(request)


def answers(request: Any, context: Any) -> Iterator[bytes]:
    yield answer(request, context)


HANDLERS = {
    name: getattr(grpc, f"{arity}_rpc_method_handler")(
        answers if arity.endswith("stream") else answer
    )
    for name, arity in METHODS.items()
}


@pytest.mark.parametrize("mode", [None, "usual"])
def test_a_context_that_refuses(mode: Any, found: Found) -> None:
    """RPCs of all kinds answer as without the guard."""
    made: list[Any] = []

    def make(own: Any) -> Any:
        made.append(mock.create_autospec(grpc.ServicerContext) if len(made) % 2 else Refusing())
        return made[-1]

    with (
        sync_server(HANDLERS, mode=mode, interceptors=[Between(make)]) as address,
        sync_channel(address, mode=None) as channel,
    ):
        for name, arity in METHODS.items():
            call = getattr(channel, arity)(path(name))
            for _ in range(2):
                request = iter([b"1"]) if arity.startswith("stream") else b"1"
                answered = call(request, timeout=PATIENCE)
                assert (answered if arity.endswith("unary") else b"".join(answered)) == b"1"
    assert len(made) == 8
    assert all(one.method_calls == [] for one in made[1::2])
    assert found() == []


def test_the_context_of_grpc() -> None:
    """It is found in what an interceptor's own holds, unless there are two, or none."""
    seen: list[Any] = []

    def look(request: bytes, context: Any) -> bytes:
        seen.append(context)
        of = contexts_door.context_within
        for around in (
            context,
            Around(context),
            Slotted(context),
            wrapt.ObjectProxy(context),
            Around(Slotted(Around(context))),
        ):
            assert of(around) is context
        two = Around(context)
        two.other = Around(context)  # type: ignore[attr-defined]
        assert of(two) is context  # the nearer one
        for other in seen[:-1]:
            two.other = other  # type: ignore[attr-defined]
            assert of(two) is None
        endless = Around(None)
        endless.inner = Around(endless)
        for none in (Around(Plain(context)), endless, Refusing(), mock.MagicMock(), object(), None):
            assert of(none) is None
        return request

    methods = {"Look": grpc.unary_unary_rpc_method_handler(look)}
    with sync_server(methods) as address, sync_channel(address, mode=None) as channel:
        for _ in range(2):
            assert channel.unary_unary(path("Look"))(b"1", timeout=PATIENCE) == b"1"
    assert len(seen) == 2


def test_an_abandoned_handler_behind_an_interceptor(found: Found, reported: Any) -> None:
    """The end of its RPC is known, although the handler has the interceptor's own context."""
    gate = Gate()
    methods = {
        "UnaryUnary": grpc.unary_unary_rpc_method_handler(lambda request, own: gate.park(b"1"))
    }
    with (
        guarded("off", thresholds={"abandoned_handler_seconds": 0.0}),
        sync_server(methods, interceptors=[Between(Around)]) as address,
        sync_channel(address, mode=None) as channel,
    ):
        call = channel.unary_unary(path("UnaryUnary")).future(b"1")
        with gate.held():
            call.cancel()
            finding = reported.get(timeout=PATIENCE)
    assert (finding.rule, finding.rpc) == ("abandoned-handler", path("UnaryUnary"))
    assert found() == [finding]


def test_an_rpc_that_is_over_behind_an_interceptor() -> None:
    """It is looked at as the handler begins."""

    class Handlers(lifecycle_handlers.Handlers):
        def _rpc_ended(self, entry: Any) -> None:
            ended.append(entry.rpc)

    ended: list[str] = []
    handlers, kept = Handlers(None), []
    methods = {
        "UnaryUnary": grpc.unary_unary_rpc_method_handler(lambda request, own: kept.append(own))
    }
    with sync_server(methods, mode=None) as address, sync_channel(address, mode=None) as channel:
        assert channel.unary_unary(path("UnaryUnary")).future(b"1").exception(PATIENCE) is not None
    entry = handlers.enter_unary("/a/b", Around(kept[0]))
    assert ended == ["/a/b"]
    assert entry.is_over()


def test_a_handler_on_a_thread_of_an_interceptor() -> None:
    """The server does not have it handle the RPC, and does not list it."""
    gate = Gate()

    class Handing(grpc.ServerInterceptor):
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            inner = continuation(details).unary_unary
            return grpc.unary_unary_rpc_method_handler(
                lambda request, own: in_thread(inner, request, own).result()
            )

    server = wrap(grpc.server(ThreadPoolExecutor(1), interceptors=[Handing()]))
    methods = {"Hold": grpc.unary_unary_rpc_method_handler(lambda *given: gate.park(b"1"))}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Guard", methods),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with sync_channel(address, mode=None) as channel:
            call = channel.unary_unary(path("Hold")).future(b"")
            with gate.held():
                assert server.snapshot() == ()
            assert call.result(PATIENCE) == b"1"
    finally:
        wait(server.stop(None))
