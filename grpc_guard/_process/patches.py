"""How the process-wide guard reaches a program: patches to grpcio, applied and taken back.

It patches the ``__call__``, ``with_call`` and ``future`` of grpcio's multi-callables, which
channels and stubs made earlier use too; the server classes; and what makes and closes a channel.
These names are private. If a grpcio lacks one, the public factories are patched instead, and the
log says so once.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import grpc.aio
from grpc._cython import cygrpc

from .._catalogue.heap import instances
from .._catalogue.modes import Mode, current_mode, in_force
from .._inspect import switch as inspection
from .._lifecycle import channels, churn, exits, handlers, serving
from .._proxies import servers
from .._proxies.aio import channel as aio_channel
from .._proxies.aio import handlers as aio_handlers
from .._proxies.aio.waits import waiting
from .._proxies.once import name_of, starting
from .._proxies.sync import channel as sync_channel
from .._proxies.sync import handlers as sync_handlers
from .._proxies.sync.intercepted import start_intercepted
from .._proxies.unary import watching
from . import others
from .factories import factory_patches
from .patch import Make, Patch

logger = logging.getLogger("grpc_guard")
OFF = Mode.OFF

_CORES = (cygrpc.Channel, cygrpc.AioChannel)
_patches: list[Patch] = []


def apply() -> None:
    """Apply all patches; if one fails, undo those before it and raise the error."""
    exits.watch()
    if not _patches:
        _patches.extend(_private_patches() or factory_patches())
    try:
        for patch in _patches:
            patch.apply()
        others.apply()
        _adopt_servers()
    except BaseException:
        remove()
        raise


def remove() -> None:
    """Take back all patches, except those on top of which other code has put one."""
    others.remove()
    for patch in reversed(_patches):
        patch.remove()


def _adopt_servers() -> None:
    """Guard the handlers of the servers that exist already."""
    kinds = {_server_class(*names): guard for names, guard in _SERVERS.items()}
    for found in instances({*kinds, *_CORES} - {None}):
        guard = kinds.get(type(found))
        if guard is not None:
            servers.adopt(found, current_mode, guard)
        inspection.switch.use()


# The classes of grpcio that start a stream: class name -> methods and what guards each.
_SYNC_STARTS: dict[str, dict[str, Any]] = {
    "_UnaryStreamMultiCallable": {"__call__": sync_channel.start_unary_stream},
    "_SingleThreadedUnaryStreamMultiCallable": {"__call__": sync_channel.start_unary_stream},
    "_StreamUnaryMultiCallable": {
        "__call__": sync_channel.run_stream_unary,
        "with_call": sync_channel.run_stream_unary,
        "future": sync_channel.start_stream_unary,
    },
    "_StreamStreamMultiCallable": {"__call__": sync_channel.start_stream_stream},
}
_AIO_STARTS: dict[str, dict[str, Any]] = {
    "UnaryStreamMultiCallable": {"__call__": aio_channel.start_unary_stream},
    "StreamUnaryMultiCallable": {"__call__": aio_channel.start_stream_unary},
    "StreamStreamMultiCallable": {"__call__": aio_channel.start_stream_stream},
}
# The classes in which grpcio runs client interceptors; in grpc.aio these run below multi-callables.
_INTERCEPTED: dict[str, dict[str, Any]] = {
    "_UnaryStreamMultiCallable": {"__call__": start_intercepted},
    "_StreamUnaryMultiCallable": {
        "__call__": start_intercepted,
        "with_call": start_intercepted,
        "future": start_intercepted,
    },
    "_StreamStreamMultiCallable": {"__call__": start_intercepted},
}
_SERVERS: dict[tuple[str, str], servers.GuardBehavior] = {
    ("grpc._server", "_Server"): sync_handlers.guard_behavior,
    ("grpc.aio._server", "Server"): aio_handlers.guard_behavior,
}
_WAITS = {  # the waits of aio objects; Channel.channel_ready() uses the first
    ("grpc.aio._channel", "Channel"): ("wait_for_state_change",),
    ("grpc.aio._server", "Server"): ("start", "stop", "wait_for_termination"),
}


def _server_class(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _private_patches() -> list[Patch]:
    """Return the patches to grpcio's own classes; none if one of the names has moved."""
    try:
        return [
            *_start_patches("grpc._channel", _SYNC_STARTS),
            *_start_patches("grpc._interceptor", _INTERCEPTED),
            *_start_patches("grpc.aio._channel", _AIO_STARTS),
            *_unary_patches(),
            *_server_patches(),
            *_channel_patches(),
            *_wait_patches(),
        ]
    except (ImportError, AttributeError) as missing:
        logger.warning(
            "this grpcio %s lacks a private name that the guard patches (%s): guarding only the "
            "channels and servers that are made from now on by grpc's public factories",
            grpc.__version__,
            missing,
        )
        return []


def _start_patches(module: str, starts: dict[str, dict[str, Any]]) -> Iterable[Patch]:
    classes = importlib.import_module(module)
    for class_name, methods in starts.items():
        owner = getattr(classes, class_name)
        for name, start in methods.items():
            yield _patch(owner, name, functools.partial(_guarding, start))


def _patch(owner: Any, name: str, make: Make) -> Patch:
    if name not in vars(owner):  # an inherited attribute is not patched here
        raise AttributeError(f"{owner.__module__}.{owner.__name__}.{name}")
    return Patch(owner, name, make)


def _guarding(start: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        mode = in_force.mode  # current_mode() and name_of() would be a frame each
        if mode is OFF:
            return plain(self, *args, **kwargs)
        rpc = self._method
        if type(rpc) is not str:
            rpc = name_of(rpc)
        if starting.rpc == rpc:  # by a guard further out
            return plain(self, *args, **kwargs)
        return start(self, functools.partial(plain, self), rpc, mode, *args, **kwargs)

    return method


def _unary_patches() -> Iterable[Patch]:
    owner = importlib.import_module("grpc._channel")._UnaryUnaryMultiCallable
    for name in ("__call__", "with_call", "future"):
        yield _patch(owner, name, functools.partial(watching, blocks=name != "future"))
    owner = importlib.import_module("grpc.aio._channel").UnaryUnaryMultiCallable
    yield _patch(owner, "__call__", _watching_aio)


def _watching_aio(plain: Callable[..., Any]) -> Callable[..., Any]:
    quick = watching(plain)
    careful = _guarding(aio_channel.start_unary_unary, plain)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        is_ready = asyncio._get_running_loop() is getattr(self, "_loop", None)
        if is_ready and not getattr(self, "_interceptors", None):
            return quick(self, *args, **kwargs)
        return careful(self, *args, **kwargs)

    return method


def _wait_patches() -> Iterable[Patch]:
    """Return the patches that notice when an aio channel or server is awaited on another loop."""
    for (module, class_name), names in _WAITS.items():
        owner = getattr(importlib.import_module(module), class_name)
        for name in names:
            yield _patch(owner, name, functools.partial(waiting, name, current_mode))


def _channel_patches() -> Iterable[Patch]:
    """Return the patches that notice when channels are made, closed, and subscribed to."""
    for module, api in (("grpc._channel", "sync"), ("grpc.aio._channel", "aio")):
        owner = importlib.import_module(module).Channel
        yield _patch(owner, "__init__", functools.partial(_making, api))
        yield _patch(owner, "_close", functools.partial(_noting, channels.closing))
    owner = importlib.import_module("grpc._channel").Channel
    yield _patch(owner, "subscribe", functools.partial(_noting, channels.subscribing))
    for name in ("unary_stream", "stream_stream"):
        yield _patch(owner, name, others.looking)


def _making(api: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    def method(
        self: Any, target: Any, options: Any, credentials: Any, *args: Any, **kwargs: Any
    ) -> None:
        plain(self, target, options, credentials, *args, **kwargs)
        if current_mode() is not Mode.OFF:
            operation = "insecure_channel" if credentials is None else "secure_channel"
            channels.made(self, api, operation, target, churn.sharing_key(options, credentials))
            inspection.switch.use()

    return method


def _noting(note: Callable[[Any], None], plain: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if current_mode() is not Mode.OFF:
            note(self)
        return plain(self, *args, **kwargs)

    return method


def _serving(plain: Callable[..., Any]) -> Callable[..., Any]:
    def serve(state: Any) -> Any:
        try:
            return plain(state)
        except BaseException as error:
            if current_mode() is not Mode.OFF:
                serving.serving_ended(state, error)
            raise

    return serve


def _server_patches() -> Iterable[Patch]:
    module: Any = importlib.import_module("grpc._server")
    if hasattr(module, "_serve"):  # the thread of a server runs it; no other patch depends on it
        yield Patch(module, "_serve", _serving)
    for names, guard in _SERVERS.items():
        owner = getattr(importlib.import_module(names[0]), names[1])
        yield _patch(owner, "__init__", functools.partial(_adopting, guard))
        yield _patch(
            owner, "add_generic_rpc_handlers", functools.partial(_guarding_generic_handlers, guard)
        )
        if "add_registered_method_handlers" in vars(owner):
            yield _patch(
                owner,
                "add_registered_method_handlers",
                functools.partial(_guarding_method_handlers, guard),
            )


def _adopting(guard: servers.GuardBehavior, plain: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> None:
        plain(self, *args, **kwargs)
        if current_mode() is not Mode.OFF:
            handlers.made(self, "server")
            servers.adopt(self, current_mode, guard)
            inspection.switch.use()

    return method


def _guarding_generic_handlers(
    guard: servers.GuardBehavior, plain: Callable[..., Any]
) -> Callable[..., Any]:
    def method(self: Any, generic_rpc_handlers: Iterable[Any]) -> None:
        if current_mode() is not Mode.OFF:
            generic_rpc_handlers = servers.guard_generic_handlers(
                generic_rpc_handlers, current_mode, servers.noting(self, guard)
            )
        plain(self, generic_rpc_handlers)

    return method


def _guarding_method_handlers(
    guard: servers.GuardBehavior, plain: Callable[..., Any]
) -> Callable[..., Any]:
    def method(self: Any, service_name: str, method_handlers: Any) -> None:
        if current_mode() is not Mode.OFF:
            method_handlers = servers.guard_method_handlers(
                service_name, method_handlers, current_mode, servers.noting(self, guard)
            )
        plain(self, service_name, method_handlers)

    return method
