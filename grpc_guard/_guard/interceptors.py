"""Whether an interceptor of a server has the RPC now: it stands between the handler and gRPC.

What it does is not seen, so it is searched for where a use of the stream is about to be refused: in
the task, or on the thread, that handles the RPC, inside of gRPC's code.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from .._catalogue import grpcio_rpcs
from .._catalogue.cpython import frames_of_threads
from .._catalogue.cpython_loops import running_loop_now
from .._catalogue.grpcio import AIO_CONTEXT
from .._catalogue.heap import held_by
from .._core.stream import Stream
from .._findings.parties import frames_of_task
from .._findings.stacks import outward
from .._findings.waiters import await_chain
from .._findings.whose import MACHINERY, is_of_grpc, whose


def runs(stream: Stream) -> bool:
    """Tell whether code of an interceptor runs, or waits, for the RPC of `stream`."""
    return any(now for now, _ in _looks(stream))


def goes_on(stream: Stream) -> bool:
    """Tell the same, or whether gRPC will ask an interceptor for more responses.

    Of a `stream` whose handler has ended: once that is no more, it never is again.
    """
    if stream in _over:
        return False
    found = any(now or later for now, later in _looks(stream))
    if not found:
        _over.add(stream)  # the search takes time with the number of RPCs
    return found


_over: weakref.WeakSet[Stream] = weakref.WeakSet()


# Frames are only looked at: one that is kept in a variable of a frame that is among them lives, with
# all that it has in hand, until the collector comes.


def _looks(stream: Stream) -> Iterator[tuple[bool, bool]]:
    """Yield whether an interceptor runs, and whether gRPC will ask one, where the RPC is handled."""
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


def _in_tasks(stream: Stream, loop: asyncio.AbstractEventLoop) -> Iterator[tuple[bool, bool]]:
    context = _context_of(stream)
    if context is None:
        return
    current = asyncio.current_task(loop) if running_loop_now() is loop else None
    for task in _in_likely_order(stream, loop):
        handled = grpcio_rpcs.handled_in(task)
        if handled is not None and handled.context is context:
            if task is current:
                frames = frames_of_task(task, sys._getframe())
            else:
                frames = [*await_chain(task.get_coro())][::-1]
            is_running = _is_of_others(frames)
            frames.clear()
            yield is_running, _is_of_others(handled.responses)
            return


def _in_likely_order(
    stream: Stream, loop: asyncio.AbstractEventLoop
) -> Iterator[asyncio.Task[Any]]:
    """Yield the tasks that may handle the RPC of `stream`: first the one that runs its generator."""
    task = None if stream.handler is None else stream.handler[0]()
    if task is not None:
        yield task
    for other in asyncio.all_tasks(loop):
        if grpcio_rpcs.method_of_task(other) in (None, stream.rpc):
            yield other


def _context_of(stream: Stream) -> Any:
    """Return grpcio's context of an aio handler's `stream`: what reads and writes is bound to it."""
    held = [direction.step for direction in (stream.read, stream.write) if direction is not None]
    for _ in range(_WRAPPERS):
        held = held_by(*held)
        for one in held:
            if type(one) is AIO_CONTEXT:
                return one
    return None


_WRAPPERS = 4  # around the method of a context: what counts it, and its cell


def _in_threads(stream: Stream) -> Iterator[tuple[bool, bool]]:
    state = getattr(stream.call(), "_state", None)
    frames = frames_of_threads()
    try:
        for ident in list(frames):
            yield from _on_thread(frames.pop(ident), state)
    finally:
        frames.clear()  # this very frame may be in there


def _on_thread(innermost: FrameType, state: Any) -> Iterator[tuple[bool, bool]]:
    chain = list(outward(innermost))
    del innermost
    try:
        for index, frame in enumerate(chain):
            handled = grpcio_rpcs.handled_at(frame)
            if handled is not None and handled[0] is state:
                # What handles the RPC: further in than what asks for it, and no serializer.
                asks = [at for at in range(index) if grpcio_rpcs.asks_handler(chain[at])]
                is_running = _is_of_others(chain[: asks[-1]]) if asks else False
                yield is_running, _is_of_others(grpcio_rpcs.responses_at(frame))
    finally:
        chain.clear()
