"""What happens inside a Python process of a guarded program, before the program starts.

grpc is not imported here: the program may first have to set environment variables or to
patch the standard library (gevent). The guard goes on right after the program's own import
of grpc.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

import wrapt

from .. import _messages
from .._findings import Finding, ledger
from .._modes import Mode, parse_mode
from .spool import Writer

MODE = "GRPC_GUARD"
SPOOL = "GRPC_GUARD_SPOOL"


def start() -> None:
    """Arrange for the guard, as the launcher's environment variables say."""
    mode = parse_mode(os.environ[MODE], source=MODE)
    writer = Writer(os.environ[SPOOL])
    writer.started(mode)
    ledger.add_sink(writer.found)
    ledger.add_sink(_to_stderr)
    # Registered first, so run last: after the program's own exit handlers.
    atexit.register(writer.ended)
    wrapt.register_post_import_hook(lambda module: _enable(mode), "grpc")


def _enable(mode: Mode) -> None:
    from .._guard import start_counting
    from .._process import enable

    start_counting()
    enable(mode)


def _to_stderr(finding: Finding) -> None:
    if finding.count > 1:
        return  # the summary counts
    stderr: Any = sys.__stderr__  # the program may have put something else in sys.stderr
    if stderr is not None and not stderr.closed:
        stderr.write(f"{_messages.report(finding)}\n")
        stderr.flush()
