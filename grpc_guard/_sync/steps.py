"""Sync operations: what ``next()`` of a guarded iterator runs.

The methods are the directions' own, and a proxy's ``__next__`` is a slot that holds the
bound method: next() then reaches the token without looking anything up on the proxy, which
is the larger part of what a guarded operation costs. For the same reason they give back by
append(), which is quicker than GIVE_BACK but a call: at the end of the stack it is refused.
"""

from __future__ import annotations

from _thread import get_ident
from time import monotonic
from typing import Any

from .._guard import GIVE_BACK, Direction, Fed
from .._owners import operation
from .._violations import contended, used_after_end

# the local name `direction` is how _owners recognises an owner's frame


class Responses(Direction):
    """A client that reads its responses."""

    __slots__ = ()

    @operation("next")
    def advance(direction) -> Any:
        step = direction.step
        try:
            del direction[1]
        except IndexError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return step()
            finally:
                try:
                    direction.append(0)
                except RecursionError:
                    direction += GIVE_BACK
        return contended(direction, "next", step)


class Requests(Direction):
    """A handler that reads its requests, which end with it."""

    __slots__ = ()

    @operation("next")
    def advance(direction) -> Any:
        if direction.stream.ended:
            used_after_end(direction.stream, "next")
        try:
            del direction[1]
        except IndexError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return direction.step()
            finally:
                try:
                    direction.append(0)
                except RecursionError:
                    direction += GIVE_BACK
        return contended(direction, "next", direction.step)


class UsersRequests(Fed):
    """gRPC's own thread, which advances a client's request iterator."""

    __slots__ = ()

    @operation("next(request_iterator)")
    def advance(direction) -> Any:
        try:
            del direction[1]
        except IndexError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                iterated = direction.step
                return iterated()
            finally:
                try:
                    direction.append(0)
                except RecursionError:
                    direction += GIVE_BACK
        return contended(direction, "next(request_iterator)", direction.step)


class UsersResponses(Fed):
    """gRPC, which advances a handler's response iterator; the handler ends when that does."""

    __slots__ = ()

    @operation("next(response_iterator)")
    def advance(direction) -> Any:
        try:
            del direction[1]
        except IndexError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                iterated = direction.step
                return iterated()
            except BaseException:
                direction.stream.ended = True
                raise
            finally:
                try:
                    direction.append(0)
                except RecursionError:
                    direction += GIVE_BACK
        return contended(direction, "next(response_iterator)", direction.step)
