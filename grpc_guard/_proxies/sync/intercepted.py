"""Client interceptors of the sync api: what the program hands to one, and gets from one.

An interceptor may put a generator of its own around the requests, and around the responses.
Two that meet in such a generator do so before the guard of the RPC below it: Python lets the
second one go no further. So what the program itself holds is guarded too, by the record of
that RPC.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import GeneratorType
from typing import Any

from ..._catalogue.modes import Mode
from ..._catalogue.nouns import CLIENT, SYNC
from ..._core import steps
from ..._core.stream import Stream
from ..._guard.generators import bind
from ..._lifecycle.unlisted import note_unlisted
from ..proxy import NextProxy


class Handed:
    """The requests that the program hands to interceptors, until an RPC has begun below them."""

    __slots__ = ("outer", "requests", "stream")

    def __init__(self, requests: object, outer: Handed | None) -> None:
        self.requests = requests
        self.outer = outer
        self.stream: Stream | None = None


_handed: contextvars.ContextVar[Handed | None] = contextvars.ContextVar("handed", default=None)


def join(stream: Stream) -> None:
    """Note that `stream` begins below the interceptors that are running here, if there are any.

    Raises ConcurrencyError if the generator which the program handed to them feeds another
    live RPC. Of the RPCs that one interceptor starts, the first is the one that is fed.
    """
    handed = _handed.get()
    while handed is not None:
        if handed.stream is None:
            handed.stream = stream
            requests, handed.requests = handed.requests, None
            if type(requests) is GeneratorType and requests.gi_frame is not None:
                bind(requests, stream, "next(request_iterator)")
        handed = handed.outer


class Responses(NextProxy):
    """The generator that an interceptor returned in place of a call: read by one at a time."""

    __slots__ = ()

    def __init__(self, responses: Any, stream: Stream) -> None:
        self.__wrapped__ = responses
        self._self_stream = stream
        self.__next__ = steps.reading_responses(steps.Responses(stream, responses))

    @property
    def _self_read(self) -> steps.Responses:
        direction: steps.Responses = steps.direction_of(self.__next__)
        return direction


def start_intercepted(
    multi_callable: Any, start: Callable[..., Any], rpc: str, mode: Mode, *args: Any, **kwargs: Any
) -> Any:
    """Start an RPC by interceptors; guard what they return if it is a generator.

    Calls are guarded already, and whether other iterators may be shared is for the author of
    the interceptor to say.
    """
    requests = args[0] if args else kwargs.get("request_iterator")
    handed = Handed(requests, _handed.get())
    token = _handed.set(handed)
    try:
        responses = start(*args, **kwargs)
    finally:
        _handed.reset(token)
        handed.requests = None
    if type(responses) is not GeneratorType:
        return responses
    return Responses(responses, handed.stream or note_unlisted(Stream(rpc, CLIENT, SYNC, mode)))
