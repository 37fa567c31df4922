"""What wrap() makes of an object: its guarded twin."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from .._catalogue.grpcio import AIO_CONTEXT, AIO_SYNC_CONTEXT, loop_of, method_of
from .._catalogue.modes import Mode, ModeName, always, current_mode, parse_mode
from .._catalogue.nouns import AIO, CLIENT, SERVER, SYNC
from .._catalogue.thresholds import thresholds
from .._core.stream import Stream
from .._lifecycle.unlisted import note_unlisted
from .aio import calls as aio_calls
from .aio import channel as aio_channel
from .aio import given as aio_given
from .aio.server import Server as AioServer
from .proxy import GuardedByItself, Proxy, isinstance_exactly
from .servers import Server
from .sync import calls as sync_calls
from .sync import channel as sync_channel
from .sync import handlers as sync_handlers

_UNNAMED = "(an RPC wrapped by hand)"

# The guarded twins of calls and contexts that were wrapped by hand: wrapping one twice must
# not make two guards that do not know each other.
_twins: weakref.WeakKeyDictionary[object, weakref.ref[object]] = weakref.WeakKeyDictionary()

_twins_by_id: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def guard_by_hand(obj: Any, mode: ModeName | Mode | None) -> Any:
    """Do what wrap() says."""
    if mode is not None:
        chosen = parse_mode(mode, source="wrap(mode)")
    else:
        chosen = current_mode()
        if chosen is Mode.OFF:
            chosen = Mode.RAISE
    guard = _guard_for(obj)
    if guard is None:
        raise TypeError(
            f"wrap() takes a channel, a server, a call or a servicer context of grpc or grpc.aio, "
            f"not {type(obj).__name__}: {obj!r:.200}"
        )
    if chosen is Mode.OFF or isinstance_exactly(obj, GuardedByItself):
        return obj
    thresholds()  # a bad threshold is an error here, and not at an RPC
    plain: Any = obj
    if isinstance_exactly(obj, Proxy):
        if getattr(obj, "_self_choose", None) is not current_mode:
            return obj
        plain = plain.__wrapped__  # guarded by enable(), through a public factory
    return guard(plain, chosen)


def _guard_for(obj: Any) -> Callable[[Any, Mode], Any] | None:
    for kind, guard in _KINDS:
        if isinstance(obj, kind):
            return guard
    return None


def _one_twin(make: Callable[[Any, Mode], Any]) -> Callable[[Any, Mode], Any]:
    def guard(obj: Any, mode: Mode) -> Any:
        try:
            reference = _twins.get(obj)
        except TypeError:  # cannot be held weakly
            return _twin_by_id(obj, mode, make)
        twin = reference() if reference is not None else None
        if twin is None:
            twin = make(obj, mode)
            _twins[obj] = weakref.ref(twin)
        return twin

    return guard


def _twin_by_id(context: Any, mode: Mode, make: Callable[[Any, Mode], Any]) -> Any:
    """Return the one twin of a context that cannot be held weakly; its twin holds it."""
    twin = _twins_by_id.get(id(context))
    if twin is None:
        twin = _twins_by_id[id(context)] = make(context, mode)
    return twin


@_one_twin
def _sync_call(call: Any, mode: Mode) -> Any:
    method = method_of(call) or _UNNAMED
    return sync_calls.guard_call(call, note_unlisted(Stream(method, CLIENT, SYNC, mode)))


@_one_twin
def _sync_context(context: Any, mode: Mode) -> Any:
    stream = note_unlisted(Stream(_UNNAMED, SERVER, SYNC, mode))
    stream.track_context(context, sync_handlers.has_ended)
    return sync_handlers.Context(context, stream)


def _aio_call(kind: type[aio_calls.Call]) -> Callable[[Any, Mode], Any]:
    @_one_twin
    def guard(call: Any, mode: Mode) -> Any:
        loop = loop_of(call) or asyncio.get_running_loop()
        stream = note_unlisted(Stream(_UNNAMED, CLIENT, AIO, mode, loop))
        return aio_calls.guard_call(call, stream, kind)

    return guard


@_one_twin
def _aio_context(context: Any, mode: Mode) -> Any:
    stream = note_unlisted(Stream(_UNNAMED, SERVER, AIO, mode, asyncio.get_running_loop()))
    return aio_given.Context(context, stream)


_KINDS: tuple[tuple[type, Callable[[Any, Mode], Any]], ...] = (
    (grpc.Channel, lambda channel, mode: sync_channel.Channel(channel, always(mode))),
    (grpc.aio.Channel, lambda channel, mode: aio_channel.Channel(channel, always(mode))),
    (grpc.Server, lambda server, mode: Server(server, always(mode), sync_handlers.guard_behavior)),
    (
        grpc.aio.Server,
        lambda server, mode: AioServer(server, always(mode)),
    ),
    (grpc.aio.StreamStreamCall, _aio_call(aio_calls.DuplexCall)),
    (grpc.aio.UnaryStreamCall, _aio_call(aio_calls.ReadingCall)),
    (grpc.aio.StreamUnaryCall, _aio_call(aio_calls.WritingCall)),
    (grpc.Call, _sync_call),
    (grpc.ServicerContext, _sync_context),
    (AIO_CONTEXT, _aio_context),
    (AIO_SYNC_CONTEXT, _sync_context),
)
