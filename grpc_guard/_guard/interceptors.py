"""Whether an interceptor of a server has the RPC now: it stands between the handler and gRPC.

What it does is not seen, so it is searched for where a use of the stream is about to be refused: in
the task, or on the thread, that handles the RPC, inside of gRPC's code.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
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
    return any(_is_of_others(frames) for frames, _ in _places(stream))


def goes_on(stream: Stream) -> bool:
    """Tell the same, or whether gRPC will ask an interceptor for more responses."""
    return any(_is_of_others(frames) or _is_of_others(more) for frames, more in _places(stream))


def _is_of_others(frames: list[FrameType]) -> bool:
    """Tell whether gRPC has called others than the guard at the outermost of `frames`, the last."""
    for frame in reversed(frames):
        if whose(frame) is not MACHINERY:
            return True
        if is_of_grpc(frame):
            return False  # the guard has called the handler
    return False


def _places(stream: Stream) -> Iterator[tuple[list[FrameType], list[FrameType]]]:
    """Yield the frames of what handles the RPC of `stream`, and of what is asked for responses.

    Innermost first.
    """
    return _in_thread(stream) if stream.loop is None else _in_task(stream, stream.loop)


def _in_task(
    stream: Stream, loop: asyncio.AbstractEventLoop
) -> Iterator[tuple[list[FrameType], list[FrameType]]]:
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
            yield frames, handled.responses
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


def _in_thread(stream: Stream) -> Iterator[tuple[list[FrameType], list[FrameType]]]:
    state = getattr(stream.call(), "_state", None)
    frames = frames_of_threads()
    try:
        for innermost in frames.values():
            inside: list[FrameType] = []
            asked: list[FrameType] = []  # what handles the RPC, and not a serializer
            for frame in outward(innermost):
                handled = grpcio_rpcs.handled_at(frame)
                if handled is not None and handled[0] is state:
                    yield asked, grpcio_rpcs.responses_at(frame)
                if grpcio_rpcs.asks_handler(frame):
                    asked = inside.copy()
                inside.append(frame)
    finally:
        frames.clear()  # this very frame may be in there
