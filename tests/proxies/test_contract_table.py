"""The tables of _proxies/contract.py against the classes of the installed grpcio, in both directions.

A method that a new grpcio adds fails here instead of going unguarded, and so does an entry
that no grpcio has now.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import grpc
import grpc._channel
import grpc._interceptor
import grpc._server
import grpc.aio
import grpc.aio._interceptor
import pytest
from grpc._cython import cygrpc
from inside import (
    Forward,
    Kind,
    Proxy,
    Server,
    aio_calls,
    aio_channel,
    aio_given,
    aio_server,
    proxies_contract,
    sync_calls,
    sync_channel,
    sync_handlers,
)
from support.staging import RELEASE

MEASURED = (1, 85)  # what the tables were made from

# Table -> the classes of grpcio whose public methods it lists.
GRPCIO: dict[str, tuple[type, ...]] = {
    "SYNC_CALL": (
        grpc.Call,
        grpc.Future,
        grpc._channel._MultiThreadedRendezvous,
        grpc._channel._SingleThreadedRendezvous,
        grpc._interceptor._FailureOutcome,
        grpc._interceptor._UnaryOutcome,
    ),
    "SYNC_CHANNEL": (grpc.Channel, grpc._channel.Channel, grpc._interceptor._Channel),
    "SYNC_CONTEXT": (grpc.ServicerContext, grpc._server._Context),
    "SYNC_SERVER": (grpc.Server, grpc._server._Server),
    "SYNC_MULTI_CALLABLE": (
        grpc.UnaryUnaryMultiCallable,
        grpc.UnaryStreamMultiCallable,
        grpc.StreamUnaryMultiCallable,
        grpc.StreamStreamMultiCallable,
        grpc._channel._UnaryUnaryMultiCallable,
        grpc._channel._UnaryStreamMultiCallable,
        grpc._channel._SingleThreadedUnaryStreamMultiCallable,
        grpc._channel._StreamUnaryMultiCallable,
        grpc._channel._StreamStreamMultiCallable,
    ),
    "AIO_CALL": (
        grpc.aio.UnaryStreamCall,
        grpc.aio.StreamUnaryCall,
        grpc.aio.StreamStreamCall,
        grpc.aio._call.UnaryStreamCall,
        grpc.aio._call.StreamUnaryCall,
        grpc.aio._call.StreamStreamCall,
        grpc.aio._interceptor.InterceptedUnaryStreamCall,
        grpc.aio._interceptor.InterceptedStreamUnaryCall,
        grpc.aio._interceptor.InterceptedStreamStreamCall,
    ),
    "AIO_CHANNEL": (grpc.aio.Channel, grpc.aio._channel.Channel),
    "AIO_CONTEXT": (grpc.aio.ServicerContext, cygrpc._ServicerContext),
    "AIO_SYNC_CONTEXT": (cygrpc._SyncServicerContext,),
    "AIO_SERVER": (grpc.aio.Server, grpc.aio._server.Server),
}

# Proxy -> its table, and the class of grpcio that it stands for.
PROXIES: dict[type, tuple[str, type]] = {
    sync_calls.Call: ("SYNC_CALL", grpc._channel._MultiThreadedRendezvous),
    sync_calls.StreamCall: ("SYNC_CALL", grpc._channel._MultiThreadedRendezvous),
    sync_calls.SingleThreadedStreamCall: ("SYNC_CALL", grpc._channel._SingleThreadedRendezvous),
    sync_channel.Channel: ("SYNC_CHANNEL", grpc._channel.Channel),
    sync_channel.UnaryUnary: ("SYNC_MULTI_CALLABLE", grpc._channel._UnaryUnaryMultiCallable),
    sync_channel.UnaryStream: ("SYNC_MULTI_CALLABLE", grpc._channel._UnaryStreamMultiCallable),
    sync_channel.StreamUnary: ("SYNC_MULTI_CALLABLE", grpc._channel._StreamUnaryMultiCallable),
    sync_channel.StreamStream: ("SYNC_MULTI_CALLABLE", grpc._channel._StreamStreamMultiCallable),
    sync_handlers.Context: ("SYNC_CONTEXT", grpc._server._Context),
    Server: ("SYNC_SERVER", grpc._server._Server),
    aio_server.Server: ("AIO_SERVER", grpc.aio._server.Server),
    aio_calls.ReadingCall: ("AIO_CALL", grpc.aio._call.UnaryStreamCall),
    aio_calls.DuplexCall: ("AIO_CALL", grpc.aio._call.StreamStreamCall),
    aio_calls.WritingCall: ("AIO_CALL", grpc.aio._call.StreamUnaryCall),
    aio_channel.Channel: ("AIO_CHANNEL", grpc.aio._channel.Channel),
    aio_given.Context: ("AIO_CONTEXT", cygrpc._ServicerContext),
}

# What Python calls by itself: where grpcio's class has it, the proxy must have its own.
SPECIAL = """
    __iter__ __next__ __aiter__ __anext__ __await__ __call__ __enter__ __exit__ __aenter__
    __aexit__ __len__ __getitem__ __contains__ __reversed__
""".split()  # noqa: SIM905

# The future of a stream-unary RPC has one response, which result() gives.
NOT_ITERATED = {sync_calls.Call: {"next", "__iter__", "__next__"}}

# Taking events off the stream is a read where no other thread does it.
READ_HERE = {(sync_calls.SingleThreadedStreamCall, "initial_metadata")}


def table(name: str) -> Mapping[str, Kind]:
    found: Mapping[str, Kind] = getattr(proxies_contract, name)
    return found


def public_methods(cls: type) -> set[str]:
    """The methods that `cls` offers, those of exceptions apart."""
    return {
        name
        for name in dir(cls)
        if not name.startswith("_")
        and callable(getattr(cls, name))
        and not hasattr(BaseException, name)
    }


def own(proxy: type, name: str) -> Any:
    """Return what `proxy` itself defines as `name`; None if it does not, or only hands it on."""
    if name in proxy._self_specials:  # type: ignore[attr-defined]
        return proxy._self_specials[name]  # type: ignore[attr-defined]
    for cls in proxy.__mro__:
        if name in vars(cls):
            found = vars(cls)[name]
            is_ours = cls.__module__.startswith("grpc_guard.") and type(found) is not Forward
            return found if is_ours else None
    return None


def test_naming_the_tables() -> None:
    """Each table is compared with grpcio, and each proxy has a table."""
    names = {name for name in vars(proxies_contract) if name.startswith(("SYNC_", "AIO_"))}
    assert names == set(GRPCIO)
    assert {name for name, _ in PROXIES.values()} <= names


@pytest.mark.parametrize("name", GRPCIO)
def test_adding_a_method_to_grpcio(name: str) -> None:
    """Every public method of grpcio's classes is in the table."""
    offered = set().union(*(public_methods(cls) for cls in GRPCIO[name]))
    assert offered - set(table(name)) == set()


@pytest.mark.skipif(RELEASE < MEASURED, reason="an older grpcio has fewer methods")
@pytest.mark.parametrize("name", GRPCIO)
def test_taking_a_method_out_of_grpcio(name: str) -> None:
    """Every entry of the table is a method of one of grpcio's classes."""
    offered = set().union(*(public_methods(cls) for cls in GRPCIO[name]))
    assert set(table(name)) - offered == set()


@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: f"{proxy.__module__}.{proxy.__name__}")
def test_defining_what_is_guarded(proxy: type) -> None:
    """A proxy defines each method that its table guards, and hands on those that are free."""
    name, plain = PROXIES[proxy]
    for method in public_methods(plain) - NOT_ITERATED.get(proxy, set()):
        kind = table(name)[method]
        if kind is Kind.FREE and (proxy, method) not in READ_HERE:
            assert isinstance(inspect.getattr_static(proxy, method), Forward), method
        else:
            assert own(proxy, method) is not None, method


@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: f"{proxy.__module__}.{proxy.__name__}")
def test_defining_what_python_calls(proxy: type) -> None:
    """A proxy has a special method of its own exactly where grpcio's class has one."""
    _, plain = PROXIES[proxy]
    for name in SPECIAL:
        if name in NOT_ITERATED.get(proxy, set()):
            continue
        if any(name in vars(cls) for cls in plain.__mro__):
            assert own(proxy, name) is not None, name
        else:
            assert own(proxy, name) is None, name


def test_looking_up_a_method_on_a_class_of_contexts() -> None:
    """A method that touches the call can be looked up on the class, as mock.patch.object does."""
    for name, kind in proxies_contract.AIO_CONTEXT.items():
        if kind is Kind.TOUCH:
            assert getattr(aio_given.Context, name).name == name


def test_having_a_proxy_for_every_table() -> None:
    """No class of proxies that the package defines is missing here."""

    def subclasses(cls: type) -> set[type]:
        return {cls}.union(*(subclasses(sub) for sub in type.__subclasses__(cls)))

    def hands_on(cls: type) -> bool:
        is_written = "_self_twins" in vars(cls)  # and not made for a type
        return is_written and any(isinstance(value, Forward) for value in vars(cls).values())

    base = {aio_calls.Call}
    assert {cls for cls in subclasses(Proxy) if hands_on(cls)} <= set(PROXIES) | base
