"""Servers of grpc.aio that a program never stops: what the guard does must not make it wait for them.

Once such a server has gone, grpcio waits for ever for its RPCs when the last object of grpc.aio goes.
At the end of a process, and of a test, the guard has the collector run, or makes objects enough for
that. Without it, a process has ended before its garbage is collected.
"""

from __future__ import annotations

import atexit

from .._catalogue.boundary import never_disturbs
from .._catalogue.collector import collector_at_rest
from .._catalogue.grpcio_ends import is_left_running, keep_aio_initialized, objects_of_aio

_have_been = False  # servers of grpc.aio that the guard knows of
_is_kept = False


def watch() -> None:
    """Let this process end: called first of all that has been registered for its end until now."""
    global _have_been
    _have_been = True
    atexit.unregister(let_end)
    atexit.register(let_end)


@never_disturbs("a process may wait at its end for a server of grpc.aio")
def let_end() -> None:
    """Let the last object of grpc.aio go without a wait; the process is about to end."""
    _keep(is_end=True)


@never_disturbs("a test may wait at its end for a server of grpc.aio")
def let_collect() -> None:
    """Do that if there is a server that was not stopped and cannot be any more."""
    if _have_been:
        _keep(is_end=False)


def _keep(is_end: bool) -> None:
    global _is_kept
    if _is_kept:
        return
    with collector_at_rest():  # it would find them first
        objects = objects_of_aio()
        if objects and (is_end or any(map(is_left_running, objects))):
            _is_kept = True
            keep_aio_initialized(objects)
