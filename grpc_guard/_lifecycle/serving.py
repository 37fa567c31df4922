"""The thread that serves, and how it ends: the rule dead-server."""

from __future__ import annotations

from _thread import get_ident
from typing import Any

from .._catalogue.boundary import never_disturbs
from .._catalogue.cpython import interpreter_shuts_pools, is_shut
from .._catalogue.grpcio import executor_of_state, is_serving
from .._catalogue.nouns import SERVER, SYNC, Subject
from .._catalogue.rules.dead_server import NOT_DEAD, ServingThreadEnded
from .._findings.parties import name_of_thread
from .._findings.records import Owner
from .._findings.reporting import warn
from .handlers import ALL_RPCS, records_of_state


class _Server:
    """The server of `state`, whose serving thread has just ended."""

    def __init__(self, state: Any) -> None:
        self.was_stopped = not is_serving(state)
        self.interpreter_ends = interpreter_shuts_pools()


@never_disturbs("a dead server goes unnoticed")
def serving_ended(state: Any, error: BaseException) -> None:
    """Act on the `error` by which the serving thread of the server of `state` ends."""
    if any(excuse(_Server(state)) for excuse in NOT_DEAD):
        return
    records = records_of_state(state)
    origin = None if records is None else records.origin
    maker = None if origin is None else origin.owner()
    thread = Owner(*name_of_thread(get_ident()), "serve")
    is_shut_down = is_shut(executor_of_state(state))
    seen = ServingThreadEnded(type(error).__qualname__, is_shut_down, maker)
    warn(seen, Subject(ALL_RPCS, SERVER, SYNC), caller=maker or thread, owner=thread)
