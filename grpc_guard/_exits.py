"""The end of the process: what is left open then is looked for, if the guard is on.

Registered as early as can be, to run after the program's own exit handlers. grpc is not
imported here.
"""

from __future__ import annotations

import atexit
import sys

_registered = False


def watch() -> None:
    """Look for what is left open when this process ends; once is enough."""
    global _registered
    if not _registered:
        _registered = True
        atexit.register(look)


def look() -> None:
    """Look for what is left open, if there is anything that could be."""
    if "grpc_guard._patches" not in sys.modules:
        return  # the program never spoke gRPC
    from ._leaks import look as look_for_leaks
    from ._process import is_enabled

    if is_enabled():
        look_for_leaks()
