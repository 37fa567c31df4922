"""How a sender finds out that its RPC is over: by the frame of grpcio that asks for messages.

A client passes its request iterator to the stub before there is a call, so the program cannot
name the call then. But grpcio asks for the first message, and its frame that does so knows the
RPC. Only these frames are recognised; if other code asks, the program has to call attach().
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import grpc

from .._catalogue.cpython import variables_of
from .core import End

Tell = Callable[[End], object]

_CANCELLED = End(grpc.StatusCode.CANCELLED, None)

# The code whose frame asks for messages, and its variable that knows the RPC.
_ASKING = {
    ("grpc._channel", "consume_request_iterator"): "state",
    ("grpc._server", "_take_response_from_response_iterator"): "state",
    ("grpc.aio._call", "_consume_request_iterator"): "self",
}


def watch_asker(tell: Tell) -> None:
    """If grpcio's sender is among the callers, call `tell` with the end of its RPC."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = _ASKING.get((frame.f_globals.get("__name__", ""), frame.f_code.co_name))
        if name is not None:
            variables = variables_of(frame)
            rpc = variables.get(name)
            if name == "self":
                watch_async(rpc, tell)
            elif variables.get("event_handler", rpc) is None:
                _wait_for_end_of(rpc, tell)
            else:
                _watch_state(rpc, tell)
            return
        frame = frame.f_back


def end_of_messages(messages: Any, error: BaseException) -> End:
    """Return how `messages` ended, whose ``next()`` or ``anext()`` raised `error`."""
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        if hasattr(messages, "code") and hasattr(messages, "details"):  # a client's call
            code, details = messages.code(), messages.details()
            if isinstance(error, StopAsyncIteration):
                code, details = _known(code), _known(details)
            return End(code, details, is_normal=True)
        return End(None, "all messages were received", is_normal=True)
    cause = error.with_traceback(None)  # its frames hold messages
    if isinstance(error, grpc.RpcError):
        if not hasattr(error, "code"):  # what a handler's request iterator raises
            return End(grpc.StatusCode.CANCELLED, None, cause)
        return End(error.code(), error.details(), cause)
    return End(None, f"the messages ended by {type(error).__name__}", cause)


def watch(rpc: Any, tell: Tell) -> None:
    """Call `tell` once with the end of `rpc`, a client's call or the context of a handler.

    `rpc` is not kept: dropping the last reference to a call cancels it. Raises TypeError if it
    cannot tell its end.
    """
    state = getattr(rpc, "_state", None)
    if hasattr(state, "callbacks"):  # grpcio's own
        _watch_state(state, tell)
        return
    add_callback = getattr(rpc, "add_callback", None)
    if add_callback is None:
        raise TypeError(f"not a call of grpc, nor the context of a handler: {rpc!r}")
    find = _weakly(rpc)

    def end() -> None:
        tell(_end_by_methods(find()))

    if add_callback(end) is False:
        end()


def watch_async(rpc: Any, tell: Tell) -> None:
    """As watch(), for a call of grpc.aio and for the context of one of its handlers."""
    add_done_callback = getattr(rpc, "add_done_callback", None)
    if add_done_callback is None:
        raise TypeError(f"not a call of grpc.aio, nor the context of a handler: {rpc!r}")

    def end(over: Any) -> None:
        tell(_end_of_context(over) if hasattr(over, "set_code") else _end_of_call(over))

    add_done_callback(end)


# Sync: grpcio's own record of an RPC, client and server


def _watch_state(state: Any, tell: Tell) -> None:
    """As add_callback() of the call or context to which `state` belongs."""

    def end() -> None:
        tell(_end_of_state(state))  # grpcio drops the callback now, and so this reference cycle

    with state.condition:
        if state.callbacks is not None:
            state.callbacks.append(end)
            return
    end()


def _wait_for_end_of(state: Any, tell: Tell) -> None:
    """Call `tell` from a separate thread: a blocking stream-unary call calls no callbacks."""

    def wait() -> None:
        with state.condition:
            while state.code is None:
                state.condition.wait()
        tell(_end_of_state(state))

    threading.Thread(target=wait, name="grpc_guard-sender", daemon=True).start()


def _end_of_state(state: Any) -> End:
    code, details = state.code, state.details
    if getattr(state, "client", None) == "cancelled":  # on a server: its client has left
        return _CANCELLED
    if isinstance(details, bytes):
        details = details.decode(errors="replace")
    return End(grpc.StatusCode.OK if code is None else code, details)


def _weakly(rpc: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(rpc)
    except TypeError:  # a Cython object, such as the context of a sync handler of grpc.aio
        return lambda: rpc


def _end_by_methods(rpc: Any) -> End:
    """Return the end of an RPC whose class is not grpcio's; None if it was dropped."""
    if not hasattr(rpc, "code"):
        return End(None, "the RPC is over")
    return End(rpc.code(), rpc.details())


# Aio


def _end_of_context(context: Any) -> End:
    if not context.done():  # no status was sent: the client has gone
        return _CANCELLED
    code = context.code()
    return End(grpc.StatusCode.OK if code in (None, 0) else code, context.details())


def _end_of_call(call: Any) -> End:
    return End(_known(call.code()), _known(call.details()))


def _known(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that need not wait, since the RPC is over."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    return None
