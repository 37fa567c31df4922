"""The end of the main thread: what it waits for, and what is called before that."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

# CPython 3.12 starts no thread after the main thread has ended (gh-115533).
starts_threads_at_the_end = sys.version_info[:2] != (3, 12)


def before_threads_are_joined(function: Callable[[], object]) -> None:
    """Call `function` when the main thread has ended, before others are waited for.

    By ``threading._register_atexit()``: since Python 3.9. Never where it is missing.
    """
    register: Any = getattr(threading, "_register_atexit", None)
    if register is not None:
        register(function)


def waits_for_threads(frame: FrameType) -> bool:
    """Tell whether `frame` waits, at the end of the main thread, for the non-daemon threads.

    By ``threading._shutdown()``: since Python 2.5. False where it is missing.
    """
    return frame.f_code is getattr(getattr(threading, "_shutdown", None), "__code__", None)


def is_waited_for(thread: threading.Thread) -> bool:
    """Tell whether a process waits for `thread` at its end: it is no daemon, or of a pool.

    By ``concurrent.futures.thread._threads_queues``: since Python 3.2. Where it is missing, the
    threads of pools are taken for what they are otherwise: those of a server are daemons.
    """
    pools = sys.modules.get("concurrent.futures.thread")
    return not thread.daemon or thread in getattr(pools, "_threads_queues", ())
