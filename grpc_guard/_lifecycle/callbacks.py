"""The program's callbacks on threads of gRPC: the rule blocked-grpc-thread.

A read is checked only if its call was started in a callback: no other call pays for it.
"""

from __future__ import annotations

import sys
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from .._catalogue.boundary import never_disturbs
from .._catalogue.clock import monotonic
from .._catalogue.grpcio import delivers_events
from .._catalogue.rules.blocked_grpc_thread import SlowCallback, WaitsForItself, rpc_is_over
from .._catalogue.thresholds import thresholds
from .._core.steps import IteratorFromFunction, step_of
from .._core.stream import Channel, Stream
from .._findings.parties import name_of_thread
from .._findings.records import Owner
from .._findings.reporting import warn
from .._findings.stacks import frame_of_function, outward
from .._guard.violations import violate

# The threads in a callback of a call, each with the channel of that call.
running: dict[int, Channel | None] = {}


def run_callback(callback: Callable[..., Any], stream: Stream, *args: Any) -> None:
    """Run a `callback` of the program on a thread of gRPC, for a call or context of `stream`."""
    ident, began = get_ident(), monotonic()
    before = running.get(ident)
    running[ident] = stream.channel
    try:
        callback(*args)
    finally:
        if before is None:
            running.pop(ident, None)
        else:
            running[ident] = before
        _look(callback, stream, monotonic() - began)


@never_disturbs("a slow callback goes unnoticed")
def _look(callback: Callable[..., Any], stream: Stream, seconds: float) -> None:
    if seconds < thresholds().slow_callback_seconds:
        return
    line = frame_of_function(callback)
    kind, name = name_of_thread(get_ident())
    who = Owner(kind, name, "callback", seconds, () if line is None else (line,))
    warn(SlowCallback(seconds), stream.subject, caller=who)


class _Reading:
    def __init__(self, stream: Stream) -> None:
        self.rpc_is_over = stream.is_over()


def refusing(call: Any, stream: Stream) -> Any:
    """Return `call`; if it starts in a callback of its channel, one that refuses to wait there."""
    ident, channel = get_ident(), stream.channel
    if channel is None or running.get(ident) is not channel:
        return call
    if not any(delivers_events(frame) for frame in outward(sys._getframe(1))):
        return call
    step = step_of(call)

    # Must not hold the direction: in a cycle with its step it would keep the call alive.
    def refuse() -> Any:
        is_inside = get_ident() == ident and running.get(ident) is channel
        if is_inside and not rpc_is_over(_Reading(stream)):
            violate(WaitsForItself(), stream, "next")
        return step()

    return IteratorFromFunction(refuse)
