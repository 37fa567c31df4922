"""What happens inside a Python process of a guarded program, before the program starts.

grpc is not imported here: the program may first have to set environment variables or to
patch the standard library (gevent). The guard is switched on right after the program's own import
of grpc. An error here does not stop the program: it is reported, and the program runs unguarded.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from ..._catalogue.boundary import is_injected
from ..._catalogue.cpython_ends import before_threads_are_joined
from ..._catalogue.modes import Mode, parse_mode
from ..._catalogue.settings import MODE, SPOOL, environment, resolve
from ..._findings import wording
from ..._findings.ledger import ledger, logger
from ..._findings.records import Finding
from ..._findings.reporting import RULE_OF_RECORD, told
from ..._inspect import lingering
from ..._inspect.switch import switch
from ..._lifecycle import exits
from ..._probe.settings import ProbeSettings, resolve_probe
from ..._process.import_hook import after_import
from ..._reports.looks import look_of, text_of
from .spool import Writer, recall


@functools.cache
def start() -> None:
    """Prepare the guard as the launcher's environment variables say; a second call does nothing.

    Called by grpc_guard.pth, which no other launcher can hide, and by site/sitecustomize.py.
    """
    writer = Writer(os.environ[SPOOL])
    try:
        mode = resolve(environment(MODE), parse=parse_mode, default=Mode.OFF).value
        if mode is not Mode.OFF:  # the program may have switched it off for its children
            _arrange(mode, resolve_probe(), writer)
    except Exception as error:  # nothing of the program runs before this, nor its signal handlers
        _give_up(error, writer)


def _arrange(mode: Mode, probe: ProbeSettings | None, writer: Writer) -> None:
    writer.started()
    ledger.add_sink(writer.found, sparse=True)
    ledger.add_sink(_to_stderr, sparse=True)
    told.elsewhere = True
    logger.addFilter(_is_for_the_log)
    # Registered first, so run last: after the program's own exit handlers.
    atexit.register(_end, writer)
    exits.watch()
    _tell_at_quick_exit(writer)
    switch.when_in_use(functools.partial(_tell_when_asked, writer))
    lingering.watch(
        lambda text: _print_to_stderr(f"grpc_guard: {text}"), before=_before_pools_are_joined
    )
    # pytest, should that be the program, would warn of a plugin that is imported already.
    sys.modules["grpc_guard"].__doc__ = f"{sys.modules['grpc_guard'].__doc__} PYTEST_DONT_REWRITE"
    after_import("grpc", functools.partial(_enable, mode, probe, writer))


def _enable(mode: Mode, settings: ProbeSettings | None, writer: Writer) -> None:
    try:
        from ..._core.stream import start_counting
        from ..._process.noting import note_where_work_begins
        from ..._process.switch import enable

        start_counting()
        note_where_work_begins()
        if settings is not None:
            from ..._probe.process import probe

            probe.remember(recall(os.environ[SPOOL]))
        enable(mode, probe=settings is not None and str(settings))
        writer.has_guarded = True
    except Exception as error:  # for example, another module that is called grpc
        if is_injected(error):
            raise
        _give_up(error, writer)


def _before_pools_are_joined(function: Callable[[], object]) -> None:
    """Call `function` when the main thread has ended, before pools of threads are waited for as well.

    The last that asks for this is called first, and their module asks when it is imported.
    """
    left = [function]

    def once() -> None:
        if left:
            left.pop()()

    before_threads_are_joined(once)
    after_import("concurrent.futures.thread", lambda: before_threads_are_joined(once))


def _tell_when_asked(writer: Writer) -> None:
    if switch.wanted:
        from ..._inspect.endpoint import endpoint

        endpoint.asked = writer.so_far


def _end(writer: Writer) -> None:
    writer.ended()
    ledger.add_sink(writer.found)  # nothing reports the counts of later findings


def _give_up(error: Exception, writer: Writer) -> None:
    _print_to_stderr(f"grpc_guard: process {os.getpid()} is not guarded: {error}")
    writer.unguarded(str(error))


def _tell_at_quick_exit(writer: Writer) -> None:
    """Let os._exit(), with which forked workers end, tell the totals as a normal exit does."""
    plain = os._exit

    @functools.wraps(plain)
    def _exit(status: int) -> None:
        writer.ended()
        plain(status)

    os._exit = _exit  # type: ignore[assignment]


def _to_stderr(finding: Finding) -> None:
    if finding.count == 1 and not finding.is_advice:  # the summary counts, and has the advice
        _print_to_stderr(_shown(finding))


def _shown(finding: Finding) -> str:
    """Return the report for stderr: fitted to a terminal, else as a log has it.

    Without rich: the program has not chosen it, and may have its own module of that name.
    """
    look = look_of(sys.__stderr__)
    if look is None:
        return wording.report(finding)
    from ..._reports.blocks import of_finding  # here: it is seldom needed

    return text_of(of_finding(finding), look, getattr(sys.__stderr__, "encoding", None))


def _print_to_stderr(text: str) -> None:
    stderr: Any = sys.__stderr__  # the program may have put something else in sys.stderr
    if stderr is not None and not stderr.closed:
        with contextlib.suppress(OSError):
            stderr.write(f"{text}\n")
            stderr.flush()


def _is_for_the_log(record: logging.LogRecord) -> bool:
    """Keep findings from logging's last resort, stderr, where they have been shown already."""
    return not hasattr(record, RULE_OF_RECORD) or logger.hasHandlers()
