"""The name of the running thread or task: cheap, because each RPC asks for it."""

from __future__ import annotations

import asyncio
from _thread import get_ident

from .._catalogue.cpython_loops import name_in_task
from .._findings.parties import name_of_thread


def this_thread() -> str:
    """Return the name of the running thread."""
    return name_of_thread(get_ident())[1]


def this_task() -> str:
    """Return the name of the running task, or of the thread if no task runs."""
    loop = asyncio._get_running_loop()
    task = None if loop is None else asyncio.current_task(loop)
    return this_thread() if task is None else name_in_task(task)
