"""Guarded servers, sync and aio: handlers are wrapped where they are registered.

What a handler gets and returns is guarded. Unary-unary handlers get and return the plain objects;
the guard only notes that they run.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from .._catalogue.grpcio import METHOD_HANDLER, stores_of_handlers
from .._catalogue.modes import ChooseMode, current_mode
from .._findings.records import Owner
from .._lifecycle.handlers import Handlers, handlers_of, made
from .behaviors import choice_of, plain_behavior
from .contract import SYNC_SERVER, forwards
from .proxy import Proxy, in_c, isinstance_exactly


class GuardOfServer(Protocol):
    """Returns a handler function of one server with its stream objects guarded."""

    def __call__(
        self,
        behavior: Any,
        rpc: str,
        choose: ChooseMode,
        request_streaming: bool,
        response_streaming: bool,
        /,
    ) -> Any: ...


class GuardBehavior(Protocol):
    """The same for any server, which has its records in `handlers`: see noting()."""

    def __call__(
        self,
        behavior: Any,
        rpc: str,
        choose: ChooseMode,
        request_streaming: bool,
        response_streaming: bool,
        /,
        *,
        handlers: Handlers,
    ) -> Any: ...


_NONE: dict[object, Any] = {}
_CACHE_SIZE = 1024  # methods; a generic handler may serve names that clients invent


def guard_handler(handler: Any, rpc: str, choose: ChooseMode, guard_behavior: GuardOfServer) -> Any:
    """Return the guarded twin of a grpc.RpcMethodHandler; None for None."""
    if handler is None:
        return handler
    if isinstance_exactly(handler, _Handler):
        if not _gives_way(choice_of(handler._self_behavior), choose):
            return handler
        handler = handler.__wrapped__
    requests, responses = bool(handler.request_streaming), bool(handler.response_streaming)
    attribute = f"{'stream' if requests else 'unary'}_{'stream' if responses else 'unary'}"
    behavior = getattr(handler, attribute)
    if behavior is None:
        return handler
    chosen = choice_of(behavior)
    if chosen is not None:
        if not _gives_way(chosen, choose):
            return handler
        behavior = plain_behavior(behavior)
    guarded = guard_behavior(behavior, rpc, choose, requests, responses)
    if hasattr(handler, "_replace"):  # grpcio's own handlers are named tuples
        return handler._replace(**{attribute: guarded})
    return _Handler(handler, attribute, guarded)


def _gives_way(chosen: ChooseMode | None, choose: ChooseMode) -> bool:
    """Tell whether a guard gives way to another: the process-wide one does to one from wrap()."""
    return chosen is current_mode and choose is not current_mode


class _Handler(Proxy):
    """A handler object of an application's own class, with its behaviour replaced."""

    __slots__ = ("_self_attribute", "_self_behavior")

    def __init__(self, handler: Any, attribute: str, behavior: Any) -> None:
        super().__init__(handler)
        self._self_attribute = attribute
        self._self_behavior = behavior

    def _behavior(self, attribute: str) -> Any:
        if attribute == self._self_attribute:
            return self._self_behavior
        return getattr(self.__wrapped__, attribute)

    @property
    def unary_unary(self) -> Any:
        return self._behavior("unary_unary")

    @property
    def unary_stream(self) -> Any:
        return self._behavior("unary_stream")

    @property
    def stream_unary(self) -> Any:
        return self._behavior("stream_unary")

    @property
    def stream_stream(self) -> Any:
        return self._behavior("stream_stream")


class GenericHandler(Proxy):
    """A grpc.GenericRpcHandler whose method handlers come out guarded."""

    __slots__ = ("_self_behavior", "_self_choose", "_self_key")

    def __init__(self, handler: Any, choose: ChooseMode, guard_behavior: GuardOfServer) -> None:
        super().__init__(handler)
        self._self_choose = choose
        self._self_behavior = guard_behavior
        self._self_key = object()

    @in_c("service")
    def service(self, handler_call_details: Any) -> Any:
        """See grpc.GenericRpcHandler.service."""
        plain = self.__wrapped__.service(handler_call_details)
        if type(plain) is METHOD_HANDLER:  # as nearly all; it holds its twin strongly
            twins = plain.__dict__.get("_grpc_guard", _NONE)
            guarded = twins.get((self._self_key, handler_call_details.method))
            if guarded is not None:
                return guarded
        return self._guarded(plain, handler_call_details)

    def _guarded(self, plain: Any, handler_call_details: Any) -> Any:
        rpc = handler_call_details.method
        twins = _twins_of(plain)
        guarded = twins.get((self._self_key, rpc))
        if type(guarded) is weakref.ref:
            guarded = guarded()
        return self._twin(plain, rpc, twins) if guarded is None else guarded

    def _twin(self, plain: Any, rpc: str, twins: dict[object, Any]) -> Any:
        guarded = guard_handler(plain, rpc, self._self_choose, self._self_behavior)
        if guarded is not plain:
            if len(twins) >= _CACHE_SIZE:  # clients choose the names
                twins.clear()
            twins[self._self_key, rpc] = _held(guarded)
        return guarded


def _twins_of(plain: Any) -> dict[object, Any]:
    """Return the guarded twins of a method handler, which are in its attributes.

    They refer to what the handler refers to, so a table of the guard could not drop them in time.
    """
    if issubclass(type(plain), Proxy) or not hasattr(plain, "__dict__"):
        return {}
    twins: dict[object, Any] = plain.__dict__.setdefault("_grpc_guard", {})
    return twins


def _held(guarded: Any) -> Any:
    """Return a weak reference to the twin of a handler, if the twin keeps that handler itself."""
    try:
        return weakref.ref(guarded)
    except TypeError:  # a named tuple, as grpcio's handlers are
        return guarded


def guard_generic_handlers(
    handlers: Iterable[Any], choose: ChooseMode, guard_behavior: GuardOfServer
) -> tuple[Any, ...]:
    """Return `handlers` guarded; any other object in it is left for grpcio to refuse."""

    def guard(handler: Any) -> Any:
        if isinstance_exactly(handler, GenericHandler):
            if not _gives_way(handler._self_choose, choose):
                return handler
            handler = handler.__wrapped__
        return GenericHandler(handler, choose, guard_behavior)

    return tuple(guard(handler) if hasattr(handler, "service") else handler for handler in handlers)


def guard_method_handlers(
    service: str, handlers: Mapping[str, Any], choose: ChooseMode, guard_behavior: GuardOfServer
) -> dict[str, Any]:
    """Return the registered method handlers of `service` guarded."""
    return {
        method: guard_handler(handler, f"/{service}/{method}", choose, guard_behavior)
        for method, handler in handlers.items()
    }


def noting(server: Any, guard_behavior: GuardBehavior) -> GuardOfServer:
    """Return `guard_behavior` for the handlers of a plain `server`, which notes them in flight."""
    return functools.partial(guard_behavior, handlers=handlers_of(server))


def adopt(server: Any, choose: ChooseMode, guard_behavior: GuardBehavior) -> None:
    """Guard in place the handlers that `server` has already.

    grpcio has no public access to them.
    """
    guard = noting(server, guard_behavior)
    for store in stores_of_handlers(server):
        if type(store) is list and all(hasattr(handler, "service") for handler in store):
            store[:] = guard_generic_handlers(store, choose, guard)
        elif type(store) is dict:
            guarded = {
                rpc: guard_handler(handler, rpc, choose, guard)
                for rpc, handler in store.items()
                if hasattr(handler, "request_streaming")
            }
            store.update(guarded)


@forwards(SYNC_SERVER)
class Server(Proxy):
    """A guarded server: its handlers are guarded, no matter when they are registered."""

    __slots__ = ("_self_behavior", "_self_choose")

    def __init__(self, server: Any, choose: ChooseMode, guard_behavior: GuardBehavior) -> None:
        super().__init__(server)
        self._self_choose = choose
        self._self_behavior = noting(server, guard_behavior)
        made(server, "wrap")
        adopt(server, choose, guard_behavior)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self.__wrapped__), "snapshot"})

    def snapshot(self) -> tuple[Owner, ...]:
        """Return the parties that handle RPCs of this server now, the longest first.

        Each is a thread or task: ``operation`` is the RPC, ``held_seconds`` how long it has been
        handled, and the end of ``stack`` the current line. Any thread may call it.
        """
        return handlers_of(self.__wrapped__).snapshot()

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """See grpc.Server.add_generic_rpc_handlers."""
        self.__wrapped__.add_generic_rpc_handlers(
            guard_generic_handlers(generic_rpc_handlers, self._self_choose, self._self_behavior)
        )

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Any]
    ) -> None:
        """See grpc.Server.add_registered_method_handlers."""
        self.__wrapped__.add_registered_method_handlers(
            service_name,
            guard_method_handlers(
                service_name, method_handlers, self._self_choose, self._self_behavior
            ),
        )
