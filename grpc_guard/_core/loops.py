"""Which thread runs an event loop: what an aio operation compares itself with."""

from __future__ import annotations

import asyncio
from _thread import get_ident
from typing import Any

from .._catalogue.cpython_loops import running_loop


class _LoopThread:
    """Stands for a loop that does not say which thread runs it (uvloop)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def _thread_id(self) -> int | None:
        return get_ident() if running_loop() is self._loop else None


def loop_thread_of(loop: Any) -> Any:
    """Return what tells, by ``_thread_id``, which thread runs `loop` now.

    asyncio's own loops have that attribute (since Python 3.4); reading it costs a tenth of
    get_running_loop() on CPython 3.11 and tells loops of one thread apart too. It can be
    wrong for loops that inherit it and do not keep it (Qt's), so a mismatch is only a
    reason to look again: see check_loop() of the guard.
    """
    return loop if hasattr(loop, "_thread_id") else _LoopThread(loop)
