"""The name of who runs: cheap, because each RPC asks for it."""

from __future__ import annotations

import asyncio
import threading
from _thread import get_ident


def this_thread() -> str:
    """Return the name of the running thread."""
    ident = get_ident()
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # enumerate() takes a lock
    return f"thread {ident}" if thread is None else thread.name


def this_task() -> str:
    """Return the name of the running task, or of the thread where none runs."""
    loop = asyncio._get_running_loop()
    task = None if loop is None else asyncio.current_task(loop)
    return this_thread() if task is None else task.get_name()
