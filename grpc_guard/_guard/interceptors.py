"""Whether an interceptor of a server has the RPC now: it stands between the handler and gRPC.

What it does is not seen, so it is searched for where a use of the stream is about to be refused: in
the task, or on the thread, that handles the RPC, inside of gRPC's code.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Iterable, Iterator
from types import FrameType, GeneratorType
from typing import Any, NamedTuple

from .._catalogue import grpcio_rpcs
from .._catalogue.cpython import frames_of_threads
from .._catalogue.cpython_loops import running_loop_now
from .._catalogue.grpcio_contexts import context_among
from .._core.stream import Stream
from .._findings.parties import frames_of_task
from .._findings.stacks import outward
from .._findings.waiters import await_chain, links_of
from .._findings.whose import MACHINERY, is_of_grpc, whose


def runs(stream: Stream) -> bool:
    """Tell whether code of an interceptor runs, or waits, for the RPC of `stream`."""
    return _look(stream).runs


def goes_on(stream: Stream) -> bool:
    """Tell the same, or whether gRPC will ask an interceptor for more responses.

    Of a `stream` whose handler has ended: once that is no more, it never is again.
    """
    if stream in _over:
        return False
    found = _look(stream).goes_on
    if not found:
        _over.add(stream)  # the search takes time with the number of RPCs
    return found


_over: weakref.WeakSet[Stream] = weakref.WeakSet()


class _Seen(NamedTuple):
    """Whether an interceptor runs where an RPC is handled, or that and whether gRPC will ask one."""

    runs: bool
    goes_on: bool


_NOTHING = _Seen(runs=False, goes_on=False)


# Frames are only looked at: one that is kept in a variable of a frame that is among them lives, with
# all that it has in hand, until the collector comes. So nothing here is a generator, either.


def _look(stream: Stream) -> _Seen:
    return _in_threads(stream) if stream.loop is None else _in_tasks(stream, stream.loop)


def _is_of_others(frames: Iterable[FrameType]) -> bool:
    """Tell whether gRPC has called others than the guard at the outermost of `frames`, the last."""
    found = False
    for frame in frames:
        if whose(frame) is not MACHINERY:
            found = True
        elif is_of_grpc(frame):
            found = False  # the guard has called the handler
    return found


def _in_tasks(stream: Stream, loop: asyncio.AbstractEventLoop) -> _Seen:
    operations = [one.step for one in (stream.read, stream.write) if one is not None]
    context = context_among(operations)
    if context is None or context.done():
        return _NOTHING
    state = grpcio_rpcs.rpc_state_of(context)
    current = asyncio.current_task(loop) if running_loop_now() is loop else None
    for task in _in_likely_order(stream, loop):
        if state is None or grpcio_rpcs.rpc_state_in(task) is not state:
            continue
        if task is current:
            frames = frames_of_task(task, sys._getframe())
            is_running, is_sending = _is_of_others(frames), False
            frames.clear()
        else:
            coroutine = task.get_coro()
            is_running = _is_of_others([*await_chain(coroutine)][::-1])
            is_sending = any(map(grpcio_rpcs.sends_response, links_of(coroutine)))
        may_go_on = is_running or _is_of_others(grpcio_rpcs.responses_in(task))
        return _Seen(is_running and not is_sending, may_go_on)
    return _NOTHING


def _in_likely_order(
    stream: Stream, loop: asyncio.AbstractEventLoop
) -> Iterator[asyncio.Task[Any]]:
    """Yield the tasks that may handle the RPC of `stream`: first the one that runs its generator."""
    task = None if stream.handler is None else stream.handler[0]()
    if task is not None:
        yield task
    yield from asyncio.all_tasks(loop)


def _in_threads(stream: Stream) -> _Seen:
    state = getattr(context_among([stream.call()]), "_state", None)
    frames = frames_of_threads()
    try:
        for ident in list(frames) if state is not None else ():
            seen = _on_thread(frames.pop(ident), state)
            if seen is not None:
                return seen
        return _NOTHING
    finally:
        frames.clear()  # this very frame may be in there


def _on_thread(innermost: FrameType, state: Any) -> _Seen | None:
    """Return what is seen on a thread if that handles the RPC of this state."""
    chain = list(outward(innermost))
    del innermost
    try:
        for index, frame in enumerate(chain):
            handled = grpcio_rpcs.handled_at(frame)
            if handled is not None and handled[0] is state:
                # What handles the RPC: further in than what asks for it, and no serializer.
                asks = [at for at in range(index) if grpcio_rpcs.asks_handler(chain[at])]
                is_running = _is_of_others(chain[: asks[-1]]) if asks else False
                may_go_on = _may_go_on(grpcio_rpcs.responses_at(frame))
                return _Seen(is_running, is_running or may_go_on)
        return None
    finally:
        chain.clear()


def _may_go_on(responses: Any) -> bool:
    """Tell whether an iterator of responses is an interceptor's, and may have more."""
    if responses is None or hasattr(type(responses), "_self_stream"):
        return False  # the handler's own, guarded
    return type(responses) is not GeneratorType or responses.gi_frame is not None
