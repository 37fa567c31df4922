"""Client interceptors of the sync api: what the program passes to one, and gets from one.

An interceptor may put its own generator around the requests, and around the responses. Two
callers that meet in such a generator never reach the guard of the RPC below: Python stops the
second one first. So the objects that the program itself holds are guarded too, by the record of
that RPC.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import GeneratorType
from typing import Any

from ..._catalogue.boundary import never_disturbs
from ..._catalogue.modes import Mode
from ..._catalogue.nouns import CLIENT, SYNC
from ..._core import steps
from ..._core.stream import Stream
from ..._findings.origins import Origin, note_origin
from ..._guard.generators import bind
from ..._lifecycle.unlisted import note_unlisted
from ..proxy import NextProxy, proxy_of


class Handed:
    """What the program passes to interceptors: the requests, until an RPC has begun below them, and its line."""

    __slots__ = ("origin", "outer", "requests", "rpc", "stream")

    def __init__(self, rpc: str, requests: object, outer: Handed | None) -> None:
        self.rpc = rpc
        self.requests = requests
        self.outer = outer
        self.stream: Stream | None = None
        self.origin: Origin | None = None
        self._note()

    @never_disturbs("the line at which interceptors are called goes unnoticed")
    def _note(self) -> None:
        self.origin = note_origin("start")


handed_here: contextvars.ContextVar[Handed | None] = contextvars.ContextVar("handed", default=None)


def join(stream: Stream) -> None:
    """Note that `stream` begins below the interceptors that are running here, if there are any.

    Raises ConcurrencyError if the generator that the program passed to them feeds another live
    RPC. If one interceptor starts several RPCs, the generator feeds the first.
    """
    handed = handed_here.get()
    while handed is not None:
        # Interceptors may start other RPCs as well. Of this one, all would show the same line of theirs.
        if handed.rpc == stream.rpc and handed.origin is not None:
            stream.origin = handed.origin
        if handed.stream is None:
            handed.stream = stream
            requests, handed.requests = handed.requests, None
            if type(requests) is GeneratorType and requests.gi_frame is not None:
                bind(requests, stream, "next(request_iterator)")
        handed = handed.outer


class Responses(NextProxy):
    """The generator that an interceptor returned in place of a call: one reader at a time."""

    __slots__ = ()

    @property
    def _self_read(self) -> steps.Responses:
        direction: steps.Responses = steps.direction_of(self.__next__)
        return direction


def responses_of(responses: Any, stream: Stream) -> Responses:
    """Return the proxy of the responses that an interceptor returned."""
    return proxy_of(Responses, responses, stream, steps.Responses(stream, responses).advance)


def start_intercepted(
    multi_callable: Any, start: Callable[..., Any], rpc: str, mode: Mode, *args: Any, **kwargs: Any
) -> Any:
    """Start an RPC by interceptors; guard what they return if it is a generator.

    Calls are guarded already. Whether other iterators may be shared is up to the author of the
    interceptor.
    """
    requests = args[0] if args else kwargs.get("request_iterator")
    handed = Handed(rpc, requests, handed_here.get())
    token = handed_here.set(handed)
    try:
        responses = start(*args, **kwargs)
    finally:
        handed_here.reset(token)
        handed.requests = None
    if type(responses) is not GeneratorType:
        return responses
    stream = handed.stream or note_unlisted(Stream(rpc, CLIENT, SYNC, mode))
    return responses_of(responses, stream)
