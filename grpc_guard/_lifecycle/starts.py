"""The start of an RPC: where, on which channel, and whether that channel can be used."""

from __future__ import annotations

import functools
from _thread import get_ident
from typing import Any

from grpc.aio import UsageError

from .._catalogue import forks
from .._catalogue.boundary import overlooked
from .._catalogue.clock import monotonic
from .._catalogue.cpython import name_of_threads, threads_by_ident
from .._catalogue.cpython_loops import current_task, name_in_task, running_loop
from .._catalogue.grpcio import has_fork_support
from .._catalogue.modes import Mode, in_force
from .._catalogue.nouns import AIO, CLIENT, SERVER, SYNC, Subject
from .._catalogue.rule import Evidence
from .._catalogue.rules.use_after_fork import (
    AioOfParent,
    ChannelOfParent,
    grpc_makes_channels_anew,
)
from .._core import which
from .._core.stream import Channel, Stream
from .._findings.ledger import ledger
from .._findings.origins import Origin, note_origin
from .._findings.parties import name_of_thread
from .._findings.reporting import warn
from .._findings.whose import LOOP, PROGRAM, kinds
from .channels import DOOMED, ChannelLife, lives_by_core, taken_in
from .closed import note_closed
from .inherited import aio_of_parent
from .unlisted import note_unlisted

REFUSALS = (ValueError, UsageError)  # what grpcio raises for an RPC on a closed channel


# note_origin(), starting(), what starts the RPC, and the multi-callable's method.
_DEPTH_OF_A_START = 4
_DEPTH_OF_A_START_IN_C = 2  # note_origin() and starting() alone


def starting(stream: Stream, multi_callable: Any, depth: int = _DEPTH_OF_A_START) -> None:
    """Note where `multi_callable` is about to start `stream`, and on which channel."""
    try:
        stream.origin = note_origin("start", depth)
        life = taken_in(stream, multi_callable)
        if life is None:
            note_unlisted(stream)
        elif life.generation != forks.generation:
            _used_after_fork(life, stream.rpc)
    except Exception as error:
        if not overlooked(error, _UNNOTICED):
            raise


_UNNOTICED = "the start of a stream goes unnoticed"


def _start_failed(error: BaseException) -> None:
    """Act on an error of what does the same as starting() in C."""
    if not isinstance(error, Exception) or not overlooked(error, _UNNOTICED):
        raise error


def starting_unary(life: ChannelLife | None, rpc: str) -> None:
    """Act on a unary RPC about to start in a forked child, if its channel is the parent's."""
    if life is not None and life.generation != forks.generation:
        _used_after_fork(life, rpc)


def failed_to_start(
    life: Channel | None, rpc: str, error: BaseException, start: Origin | None = None
) -> None:
    """Act on the `error` with which grpcio refused to start an RPC, if its channel was closed.

    It was started at `start`, by default here.
    """
    if life is None or not isinstance(error, REFUSALS):
        return
    try:
        if not life.is_closed():
            return
        closing = None if life.closing is None else life.closing.owner()
        seen = note_closed(error, life)
        caller = (start or note_origin("start")).owner()
        warn(seen, Subject(rpc, CLIENT, life.api), caller=caller, owner=closing)
    except Exception as failure:
        if not overlooked(failure, "the use of a closed channel goes unnoticed"):
            raise


def _used_after_fork(life: ChannelLife, rpc: str) -> None:
    seen: Evidence
    if life.api == AIO:
        is_own = life.generation == DOOMED
        record = aio_of_parent() if is_own else life
        if record is None:
            return  # it has died since
        maker = None if record.origin is None else record.origin.owner()
        seen = AioOfParent(maker, is_own)
    else:
        if grpc_makes_channels_anew(has_fork_support()):
            return
        maker = life.origin.owner()
        seen = ChannelOfParent(maker)
    caller = note_origin("start").owner()
    warn(seen, Subject(rpc, CLIENT, life.api), caller=caller, owner=maker)


_compiled = which.compiled()
if _compiled is not None:
    _compiled.tell(
        {
            "names": globals(),
            "note_origin": note_origin,
            "starting": functools.partial(starting, depth=_DEPTH_OF_A_START_IN_C),
            "start_failed": _start_failed,
            "Stream": Stream,
            "Origin": Origin,
            "kinds": kinds,
            "PROGRAM": PROGRAM,
            "LOOP": LOOP,
            "ledger": ledger,
            "monotonic": monotonic,
            "running_loop": running_loop,
            "current_task": current_task,
            "get_ident": get_ident,
            "threads_by_ident": threads_by_ident,
            "name_of_threads": name_of_threads,
            "name_of_thread": name_of_thread,
            "name_in_task": name_in_task,
            "lives": lives_by_core,
            "forks": forks,
            "in_force": in_force,
            "OFF": Mode.OFF,
            "CLIENT": CLIENT,
            "SERVER": SERVER,
            "SYNC": SYNC,
            **{f"set_{name}": vars(Origin)[name] for name in Origin.__slots__},
        }
    )
