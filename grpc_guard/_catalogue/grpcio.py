"""The one door to private names of grpcio, except the classes that _process/patches.py patches.

Each function says since which grpcio its name holds (1.66.2 is the oldest that is
supported), and what follows where it is missing: the guard finds less, and nothing fails. Four
are read without a call, as each RPC reads them: ``_channel`` and ``_loop`` of a multi-callable,
``_state.initial_metadata`` of a single-threaded call, ``_state.callbacks`` of a sync server's
context (since 1.0; where it is missing, ``add_callback()`` of the context is called).
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from types import FrameType
from typing import Any

from grpc import ChannelConnectivity, _channel, _server, unary_unary_rpc_method_handler
from grpc._cython import cygrpc
from grpc.aio import _call

from .boundary import attribute_of, is_own
from .cpython import executor_in
from .heap import held_by

# Files of grpcio's own compiled code, by paths of the machine that built it.
COMPILED = ".pyx.pxi"
# The call classes of the sync api: an object of any other class is judged by its methods.
MULTI_THREADED_CALL = "_MultiThreadedRendezvous"
SINGLE_THREADED_CALL = "_SingleThreadedRendezvous"
# Only an aio call with interceptors, which begins when they let it, has this: since 1.25.
INTERCEPTORS_TASK = "_interceptors_task"
# Those without, which need not be asked: since 1.25. Where one is missing, its calls are asked.
PLAIN_AIO_CALLS = tuple(
    getattr(_call, f"{arity}Call")
    for arity in ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
    if hasattr(_call, f"{arity}Call")
)

# The class of the method handlers that grpcio's own functions make: a named tuple with a ``__dict__``.
METHOD_HANDLER: type = type(unary_unary_rpc_method_handler(lambda request, context: None))

_LAYERS = 16  # channels inside channels (interceptors) that are looked through


class _Missing:
    """Stands for a class that this grpcio does not have: nothing is an instance of it."""


def kind(name: str) -> type:
    """Return a class of grpcio's compiled part, or one without instances where it is missing."""
    found: type = getattr(cygrpc, name, _Missing)
    return found


def is_of_grpcio(kind: Any) -> bool:
    """Tell whether a class or function is grpcio's, or of its package for tests, by ``__module__``."""
    return module_of(kind).partition(".")[0] in ("grpc", "grpc_testing")


def module_of(kind: Any) -> str:
    """Return the ``__module__`` of a class or function, which no metaclass is asked for."""
    return str(_module(kind) if isinstance(kind, type) else kind.__module__)


_module = vars(type)["__module__"].__get__


# The contexts of streaming handlers: aio, and sync ones that a server of the aio api runs.
AIO_CONTEXT = kind("_ServicerContext")
AIO_SYNC_CONTEXT = kind("_SyncServicerContext")
# The context of a sync server's handlers: any other class is judged by its methods.
SERVER_CONTEXT: type = getattr(_server, "_Context", _Missing)


# Channels


def anchor_and_core(channel: Any) -> tuple[Any, Any]:
    """Return what closes the core channel of `channel` when it dies, and the core channel.

    By ``Channel._channel`` and, sync, ``Channel._call_state``: since 1.66 and before. Two
    times None where they are missing: the channel has no record, and no warning about it.
    """
    sync, aio = kind("Channel"), kind("AioChannel")
    for _ in range(_LAYERS):
        inner = getattr(channel, "_channel", None)
        if isinstance(inner, aio):
            return channel, inner
        if isinstance(inner, sync):
            anchor = getattr(channel, "_call_state", None)
            return (None, None) if anchor is None else (anchor, inner)
        channel = inner
    return None, None


def is_core_closed(anchor: Any) -> bool:
    """Tell whether the core channel below `anchor`, of anchor_and_core(), is closed.

    By ``_channel.closed()`` (aio) or ``channel.check_connectivity_state()`` (sync), since
    1.66 and before. False where they are missing, so that nothing is reported about its end.
    """
    core = getattr(anchor, "_channel", None)
    if core is not None:
        return bool(getattr(core, "closed", bool)())
    look = getattr(getattr(anchor, "channel", None), "check_connectivity_state", bool)
    try:
        look(False)
    except ValueError as error:
        if not is_own(error):
            raise
        return True
    return False


def state_of_core(anchor: Any) -> str:
    """Return the connection state of the core channel below `anchor`, in gRPC's words.

    By ``check_connectivity_state()`` of what is_core_closed() looks at, since 1.66 and before.
    ``unknown`` where it is missing, and where the channel has been closed a moment ago.
    """
    core = getattr(anchor, "_channel", None) or getattr(anchor, "channel", None)
    look = getattr(core, "check_connectivity_state", bool)
    try:
        state = look(False)
    except Exception as error:
        if not is_own(error) and not isinstance(error, kind("UsageError")):
            raise
        return "unknown"
    names: dict[object, str] = {one.value[0]: one.value[1] for one in ChannelConnectivity}
    return "unknown" if state is False else names.get(state, "unknown")


def target_of(core: Any) -> str | None:
    """Return the target that a core channel was made for; gRPC puts ``dns:///`` before it.

    By ``target`` (sync ``target()``); aio channels have it since 1.67. None where it is missing.
    """
    target = getattr(core, "target", None)
    if callable(target):
        target = target()
    return target.decode().removeprefix("dns:///") if isinstance(target, bytes) else None


def has_fork_support() -> bool:
    """Tell whether gRPC's fork support is on, by ``_GRPC_ENABLE_FORK_SUPPORT``.

    Since 1.15. True if it is missing: then the use of a parent's channel is not a finding.
    """
    return bool(getattr(cygrpc, "_GRPC_ENABLE_FORK_SUPPORT", True))


# Calls


def rpc_is_over(call: Any) -> bool | None:
    """Tell whether the RPC of a sync `call` is over, by ``_state.code``.

    is_active() would wait for a lock that a single-threaded call holds while it waits for
    its initial metadata. Since 1.0. None where it is missing: the call may be asked.
    """
    state = attribute_of(call, "_state")
    return state.code is not None if hasattr(state, "code") else None


def method_of(call: Any) -> str | None:
    """Return the name of the RPC of a sync `call`, by ``_state.method``.

    Since 1.63. None where it is missing: the RPC goes unnamed.
    """
    name: str | None = getattr(attribute_of(call, "_state"), "method", None)
    return name


def loop_of(obj: Any) -> asyncio.AbstractEventLoop | None:
    """Return the loop of a call, multi-callable, channel or server of the aio api, by ``_loop``.

    Since 1.25. None where it is missing: the running loop is taken.
    """
    loop: asyncio.AbstractEventLoop | None = getattr(obj, "_loop", None)
    return loop


def queue_of_writes(call: Any) -> Any:
    """Return the queue of what was written to an intercepted aio `call`: ``_write_to_iterator_queue``.

    Since 1.33. None where it is missing: that a message is changed in it goes unnoticed.
    """
    return attribute_of(call, "_write_to_iterator_queue")


def deadline_of(call: Any) -> tuple[bool, float | None]:
    """Return whether a sync `call` notes its deadline, and that deadline, in time of time.time().

    By ``_deadline``: its public time_remaining() takes a lock that another thread may hold while it
    waits. Since 1.0. (False, None) if it is missing: then the call itself may be asked.
    """
    deadline = getattr(call, "_deadline", None)
    known = float(deadline) if isinstance(deadline, (int, float)) else None
    return hasattr(call, "_deadline"), known


def tells_of_the_end(error: BaseException) -> bool:
    """Tell whether grpcio raised `error` because the call had been cancelled before.

    By ``Call._raise_for_status`` among its frames: since 1.25. True where it has another name,
    and a cancelled operation is then no finding.
    """
    if not hasattr(_call.Call, "_raise_for_status"):
        return True
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "_raise_for_status":
            return True
        trace = trace.tb_next
    return False


def sends_requests(frame: FrameType) -> bool:
    """Tell whether `frame`, in a file of grpcio, advances a request iterator.

    By the names ``consume_request_iterator`` (sync) and ``_consume_request_iterator`` (aio):
    since 1.0. True where the names differ: then a use after a handler's end is not a finding
    if code of grpcio is on the stack.
    """
    if not hasattr(_channel, "_consume_request_iterator"):
        return True
    return frame.f_code.co_name.endswith("consume_request_iterator")


def delivers_events(frame: FrameType) -> bool:
    """Tell whether `frame` delivers all events of a sync channel: ``channel_spin``.

    Since 1.0. False where it has another name: a wait in a callback is not refused.
    """
    is_of_channel = frame.f_globals.get("__name__") == _channel.__name__
    return frame.f_code.co_name == "channel_spin" and is_of_channel


# Servers


def is_serving(state: Any) -> bool:
    """Tell whether the sync server of `state` has been started and not stopped, by ``stage``.

    Since 1.0. False if it is missing: then a dead server is not a finding.
    """
    return getattr(getattr(state, "stage", None), "value", None) == "started"


def executor_of_state(state: Any) -> Executor | None:
    """Return the pool of the sync server of `state`, by ``thread_pool``; None where it is missing."""
    pool: Executor | None = getattr(state, "thread_pool", None)
    return pool


def keeps_channels(frame: FrameType) -> bool:
    """Tell whether `frame` is in ``grpc._simple_stubs``, which keeps channels for one-shot calls.

    Since 1.28. False where it has another name: such channels are taken for the program's.
    """
    return frame.f_globals.get("__name__") == "grpc._simple_stubs"


def is_aio_server(server: Any) -> bool:
    """Tell whether `server` is grpcio's own aio server, by ``_server``: since 1.25."""
    return isinstance(getattr(server, "_server", None), kind("AioServer"))


def executor_of_server(server: Any) -> Executor | None:
    """Return the pool in which `server` runs sync handlers, by ``_state.thread_pool``.

    Since 1.0. For an aio server, whose fields only the collector can see, the pool that it was
    given. None where it is missing: starved-server is not checked.
    """
    if is_aio_server(server):
        return executor_in(server._server)
    pool: Executor | None = getattr(getattr(server, "_state", None), "thread_pool", None)
    return pool


def stores_of_handlers(server: Any) -> list[Any]:
    """Return the lists and dicts in which `server` keeps its handlers, and perhaps more.

    By ``_state.generic_handlers`` and, since 1.66, ``_state.registered_method_handlers``; an aio
    server does the same in fields that only the collector can see. None where they are
    missing: handlers that were added before are not guarded.
    """
    state = getattr(server, "_state", None)
    if state is None:
        return held_by(getattr(server, "_server", None))
    names = ("generic_handlers", "registered_method_handlers")
    return [getattr(state, name) for name in names if hasattr(state, name)]
