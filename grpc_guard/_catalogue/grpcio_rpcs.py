"""The door to grpcio's records of RPCs in flight: read on request, and never for each RPC.

As in grpcio.py, each function says since which grpcio its names hold and what follows where they
are missing: less is seen.
"""

from __future__ import annotations

import asyncio
import operator
import re
from collections.abc import Iterable, Iterator
from itertools import repeat
from types import AsyncGeneratorType, CodeType, FrameType
from typing import Any

from grpc import _server
from grpc._cython import cygrpc
from grpc.aio import _call

from .boundary import attribute_of
from .cpython import items_in_pool, variables_of
from .cpython_loops import name_in_task
from .grpcio import AIO_CONTEXT, kind
from .heap import held_by

# In ``due`` of the state of a sync RPC, client or server, from the start of an operation of
# grpcio's core to its end: since 1.0; the last one, of a server's first message, since 1.15.
_SENDS = {
    cygrpc.OperationType.send_message,
    "send_message",
    getattr(_server, "_SEND_INITIAL_METADATA_AND_SEND_MESSAGE_TOKEN", None),
}
_RECEIVES = {cygrpc.OperationType.receive_message, "receive_message"}


def _code(owner: object, name: str) -> CodeType | None:
    return getattr(getattr(owner, name, None), "__code__", None)


def _codes(owner: object, *names: str) -> dict[int, CodeType]:
    """Return the code of functions by its identity, which is quickly compared."""
    found = (_code(owner, name) for name in names)
    return {id(code): code for code in found if code is not None}


# What runs on the thread of a pool for as long as an RPC is handled: since 1.0.
_HANDLES = _codes(_server, "_unary_response_in_pool", "_stream_response_in_pool")
# What that calls the handler by, and takes the next of its responses: since 1.0.
_ASKS_HANDLER = _codes(_server, "_call_behavior", "_take_response_from_response_iterator")
_code_of = operator.attrgetter("f_code")
# Of aio clients: what advances a request iterator, and what sends the message: since 1.25.
_REQUESTS = getattr(_call, "_StreamRequestMixin", None)
_ADVANCES, _SENDS_ONE = _code(_REQUESTS, "_consume_request_iterator"), _code(_REQUESTS, "_write")
SENDING_CODES = {id(_ADVANCES), id(_SENDS_ONE)} - {id(None)}
# The outermost coroutine of an aio server's task for an RPC, and how the task is named after that:
# since 1.30 and 1.45.
_AIO_HANDLES = "_handle_exceptions"
_COROUTINES = 5  # of grpcio's, one in the other, that are searched for what they hold
_RPC_STATE = kind("RPCState")
# The coroutine of another task, which waits until the client leaves, and what it awaits so long.
_AIO_WATCHES, _AIO_AWAITS_CLIENT = "_schedule_rpc_coro", "_handle_cancellation_from_core"
_METHOD = re.compile(r"\[(/.+)\]$")


def is_sending(call: object) -> bool:
    """Tell whether grpcio has a message of a sync `call` or context that it cannot send yet.

    The one request of a unary-stream RPC counts as being sent until that has ended. By
    ``_state.due``: since 1.0. False where it is missing.
    """
    return not _SENDS.isdisjoint(_due(call))


def is_receiving(call: object) -> bool:
    """Tell whether grpcio waits for a message of a sync `call` or context, by ``_state.due``."""
    return not _RECEIVES.isdisjoint(_due(call))


def _due(call: object) -> frozenset[Any]:
    return frozenset(getattr(attribute_of(call, "_state"), "due", None) or ())


def _asks_core(method: Any, *names: str) -> Any:
    """Return `method` if all that it does is to look up these names; else None."""
    code: Any = getattr(method, "__code__", None)
    does = code is not None and code.co_names == names and not code.co_consts[1:]
    return method if does else None


# What tells whether a call of grpc.aio is over, and does nothing but ask the core's call, which the
# object has under this name: since 1.32. Without it each call is asked by its own method.
CORE_CALL, DONE = "_cython_call", "done"
DONE_OF_CALLS = _asks_core(getattr(getattr(_call, "Call", None), DONE, None), CORE_CALL, DONE)


# Coroutines in which grpc.aio waits for its core alone: since 1.32, the last one since 1.49.
_AWAIT_CORE = frozenset(
    (
        "execute_batch",
        "_receive_message",
        "_send_message",
        "receive_serialized_message",
        "send_serialized_message",
        "_handle_status_once_received",
        "_handle_cancellation_from_core",
        "_schedule_rpc_coro",
    )
)


def awaits_core(code: CodeType) -> bool:
    """Tell whether a coroutine of this code awaits grpcio's core: its chain has no code of others.

    By names of coroutines in cygrpc. False where they are missing: the chain is followed to its end.
    """
    return code.co_name in _AWAIT_CORE and "_cygrpc" in code.co_filename


def call_that_asks(frames: Iterable[FrameType]) -> Any:
    """Return the aio call whose requests one of `frames` takes from an iterator; else None."""
    asking = (frame for frame in frames if _ADVANCES is not None and frame.f_code is _ADVANCES)
    return next((variables_of(frame).get("self") for frame in asking), None)


def is_cancelled_here(call: Any) -> bool:
    """Tell whether an aio `call` was cancelled on this side: who awaits it gets a CancelledError.

    By ``_cython_call.is_locally_cancelled()``: since 1.25. False where it is missing: an exception
    that cancels the call goes unnoticed.
    """
    core = attribute_of(call, CORE_CALL)
    return bool(getattr(core, "is_locally_cancelled", bool)())


def sending_call(inner: FrameType, outer: FrameType) -> Any:
    """Return the aio call whose requests these two frames of a chain send; else None."""
    if _ADVANCES is not None and outer.f_code is _ADVANCES and inner.f_code is _SENDS_ONE:
        return variables_of(outer).get("self")
    return None


# Servers of the sync api: by ``_state`` of a server, and in it ``rpc_states`` and ``thread_pool``.


def handled_at(frame: FrameType) -> tuple[Any, str] | None:
    """Return the state of the RPC that `frame` handles, and its name; None for another frame."""
    if id(frame.f_code) not in _HANDLES:
        return None
    names = variables_of(frame)
    state, event = names.get("state"), names.get("rpc_event")
    return None if state is None else (state, _method_of(event))


def handled_among(frames: Iterable[FrameType]) -> tuple[Any, str] | None:
    """Return the same of a thread that is at `frames`."""
    if _HANDLES.keys().isdisjoint(map(id, map(_code_of, frames))):  # most: no loop in Python then
        return None
    return next(filter(None, map(handled_at, frames)), None)


def asks_handler(frame: FrameType) -> bool:
    """Tell whether `frame`, of a sync server, calls the handler of an RPC, or takes its response."""
    return id(frame.f_code) in _ASKS_HANDLER


def responses_at(frame: FrameType) -> Any:
    """Return the iterator that `frame`, which handles an RPC, asks for responses; None if none is."""
    return variables_of(frame).get("response_iterator")


def is_over(rpc_state: Any) -> bool:
    """Tell whether an RPC of a sync server has ended, by its ``statused`` and ``client``."""
    has_status = bool(getattr(rpc_state, "statused", False))
    return has_status or getattr(rpc_state, "client", None) == "cancelled"


def rpc_states_of(server: Any) -> Any:
    """Return the states of the RPCs that a sync `server` keeps; empty if unknown."""
    return getattr(getattr(server, "_state", None), "rpc_states", ())


def waiting_rpcs(server: Any) -> Iterator[str]:
    """Yield the names of the RPCs of a sync `server` that wait for a thread of its pool."""
    states = rpc_states_of(server)
    for item in items_in_pool(getattr(getattr(server, "_state", None), "thread_pool", None)):
        arguments = list(_arguments_of(item))
        if any(type(one) is _server._RPCState and one in states for one in arguments):
            yield from (_method_of(one) for one in arguments if hasattr(one, "call_details"))


def _arguments_of(item: Any) -> Iterator[Any]:
    """Yield the arguments of a work item: they are in a tuple, in Python 3.14 inside another.

    They are the item's own attributes, which are in a dict as soon as somebody has asked for that.
    """
    for held in held_by(item, *(one for one in held_by(item) if type(one) is dict)):
        for one in held if type(held) is tuple else ():
            yield from one if type(one) is tuple else [one]


def _method_of(event: Any) -> str:
    method = getattr(getattr(event, "call_details", None), "method", "(unknown)")
    # Of a registered method the details are empty, and the tag is its name: since 1.64.
    method = method or getattr(event, "tag", None) or "(unknown)"
    return method.decode(errors="replace") if isinstance(method, bytes) else str(method)


# Servers of the aio api


def handles_an_rpc(task: asyncio.Task[Any]) -> bool:
    """Tell whether an aio server handles an RPC in `task`."""
    return getattr(task.get_coro(), "__name__", "") == _AIO_HANDLES


def any_handles_an_rpc(tasks: Iterable[asyncio.Task[Any]]) -> bool:
    """Tell whether an aio server handles an RPC in one of `tasks`."""
    coroutines = map(operator.methodcaller("get_coro"), tasks)
    return _AIO_HANDLES in map(getattr, coroutines, repeat("__name__"), repeat(""))


def method_of_task(task: asyncio.Task[Any]) -> str | None:
    """Return the name of the RPC that `task` handles; None if grpcio has not named the task so."""
    named = _METHOD.search(name_in_task(task))
    return None if named is None else named[1]


def rpc_state_in(task: asyncio.Task[Any]) -> Any:
    """Return grpcio's record of the RPC that an aio server handles in `task`; None if it does not.

    By what the outermost coroutine holds: since 1.30. None where their names are others.
    """
    return _held_of(_RPC_STATE, held_by(task.get_coro())) if handles_an_rpc(task) else None


def rpc_state_of(context: Any) -> Any:
    """Return the same of a context of an aio server's."""
    return _held_of(_RPC_STATE, [context])


def _held_of(kind: type, holders: list[Any]) -> Any:
    return next((one for one in held_by(*holders) if type(one) is kind), None)


def context_in(task: asyncio.Task[Any]) -> Any:
    """Return the context of the RPC that an aio server handles in `task`, which waits; else None.

    By what the coroutines of grpcio hold, as long as the task has not ended: since 1.30.
    """
    found = (_held_of(AIO_CONTEXT, held_by(link)) for link in _grpcs_coroutines(task))
    return next((one for one in found if one is not None), None)


def responses_in(task: asyncio.Task[Any]) -> list[FrameType]:
    """Return where generators stand that `task`, in which an RPC is handled, asks for responses."""
    held = [one for link in _grpcs_coroutines(task) for one in held_by(*held_by(link))]
    frames = [one.ag_frame for one in held if type(one) is AsyncGeneratorType]
    return [one for one in frames if one is not None]


def _grpcs_coroutines(task: asyncio.Task[Any]) -> Iterator[Any]:
    link: Any = task.get_coro() if handles_an_rpc(task) else None
    for _ in range(_COROUTINES):
        if link is None:
            return
        yield link
        link = getattr(link, "cr_await", None)


def sends_response(link: Any) -> bool:
    """Tell whether a coroutine sends a message of an aio server or client: by its name, since 1.30."""
    return getattr(link, "__name__", "") == "_send_message"


def client_has_left(task: asyncio.Task[Any]) -> bool:
    """Tell whether the client of the RPC that is handled in `task` has cancelled it, or is gone.

    Until then a coroutine of grpcio's waits for that: since 1.49. True where it has another name.
    """
    for other in asyncio.all_tasks(task.get_loop()):
        coroutine: Any = other.get_coro()
        if getattr(coroutine, "__name__", "") == _AIO_WATCHES:
            waits = (
                getattr(getattr(coroutine, "cr_await", None), "__name__", "") == _AIO_AWAITS_CLIENT
            )
            if waits and any(one is task for one in held_by(*held_by(coroutine))):
                return False
    return True


def is_served_by(server: Any, task: asyncio.Task[Any]) -> bool:
    """Tell whether `task` handles an RPC of `server`: it holds that server's own list of handlers."""
    referents = held_by(getattr(server, "_server", None))
    lists = {id(one) for one in referents if type(one) is list}
    held: list[Any] = [task.get_coro()]
    for _ in range(4):  # coroutine, what it encloses, the coroutine of the RPC, what that encloses
        held = held_by(*held)
        if any(id(one) in lists for one in held):
            return True
    return False
