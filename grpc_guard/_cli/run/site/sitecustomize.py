"""Brings the guard into a Python process, then steps aside for the sitecustomize it hides."""

import os
import sys


def _start() -> None:
    try:
        from grpc_guard._cli.run import child
    except ImportError:
        return  # another environment, without grpc_guard: its processes stay plain
    child.start()


if "GRPC_GUARD_SPOOL" in os.environ:
    _start()

_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _here]
sys.modules.pop(__name__, None)
# The one that was hidden, or the error with which Python learns that there is none.
import sitecustomize  # type: ignore[import-not-found]  # noqa: E402, F401
