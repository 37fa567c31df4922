"""The end of the process: open channels and streams are searched then, if the guard is on.

Registered as early as possible, to run after the program's own exit handlers. grpc is not
imported here.
"""

from __future__ import annotations

import atexit
import sys

from .._catalogue.modes import Mode, current_mode

_registered = False


def watch() -> None:
    """Search for what is left open when this process ends; a second call does nothing."""
    global _registered
    if not _registered:
        _registered = True
        atexit.register(look)


def look() -> None:
    """Search for what is left open, if the guard is on and the program has used grpc."""
    if current_mode() is Mode.OFF or "grpc_guard._lifecycle.channels" not in sys.modules:
        return  # switched off again, or the program never spoke gRPC
    from .leaks import look as look_for_leaks

    look_for_leaks()
