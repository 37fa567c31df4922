"""Signals of a launcher: a signal to the launcher alone is passed on to the program, once.

The program runs in the launcher's process group, so a signal to the group (Ctrl-C, a terminal
that hangs up, ``kill -- -PGID``) has reached it already and must not be passed on. A second
process of the group, the witness, distinguishes the two: no other process knows its pid, so a
signal that it also gets was sent to the group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

_GRACE = 0.02  # seconds for a sender that goes through the processes one by one


class Forwarding:
    """While the block runs, signals wait to be handed on by :meth:`wait`. For POSIX.

    Those that come after the program has ended are dropped at the end of the block: nobody is
    there for them, and they must not keep the launcher from saying how the program went.
    """

    def __init__(self) -> None:
        self._handed_on = {
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGHUP,
            signal.SIGQUIT,
            signal.SIGUSR1,
            signal.SIGUSR2,
        }
        self._mask: set[Any] = set()
        self._witness = _Witness()

    def __enter__(self) -> Forwarding:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._handed_on, signal.SIGCHLD})
        # A signal that is ignored by default may be dropped (macOS does) even if a thread waits.
        self._on_child = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._witness.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._witness.end()
        while late := self._handed_on & signal.sigpending():
            signal.sigwait(late)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        signal.signal(signal.SIGCHLD, self._on_child)

    def options(self) -> dict[str, Any]:
        """Return what Popen needs to know: the program has the mask that it would have had."""
        return {"preexec_fn": lambda: signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)}

    def wait(
        self,
        child: subprocess.Popen[bytes],
        before_end: Callable[[str], object] = lambda reason: None,
    ) -> int:
        """Hand on signals until `child` ends; return its exit status, negative for a signal.

        ``before_end(reason)`` is called before the first signal that would end it is handed on.
        """
        ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        while True:
            status = child.poll()
            if status is not None:
                return status
            received = signal.sigwait({*self._handed_on, signal.SIGCHLD})
            if received in ending:
                ending.clear()
                before_end(f"at {name_of(received)}")
            if received != signal.SIGCHLD and not self._witness.has_got(received):
                child.send_signal(received)  # does nothing if it has ended


class _Witness:
    """A process of our group that only reports which signals it has received. Dies with us."""

    def start(self) -> None:
        """Fork it; the signals in question are blocked, and stay blocked in it."""
        self._ours, its = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:  # pragma: no cover  # no coverage is written at os._exit
            try:
                self._ours.close()
                _testify(its)
            finally:
                os._exit(0)
        its.close()

    def end(self) -> None:
        self._ours.close()
        with contextlib.suppress(ChildProcessError):  # with SIGCHLD ignored it is gone
            os.waitpid(self._pid, 0)

    def has_got(self, number: int) -> bool:
        """Tell whether signal `number` reached the witness too; False if that is dead."""
        try:
            self._ours.sendall(bytes([number]))
            return self._ours.recv(1) == b"\1"
        except OSError:
            return False


def _testify(questions: socket.socket) -> None:  # pragma: no cover  # as above
    while number := questions.recv(1):
        if number[0] not in signal.sigpending():
            time.sleep(_GRACE)
        got = number[0] in signal.sigpending()
        if got:
            signal.sigwait(number)
        questions.sendall(bytes([got]))


class Ignoring:
    """For systems without POSIX signals: Ctrl-C reaches every process of the console anyway."""

    def __enter__(self) -> Ignoring:
        # A handler that does nothing and not SIG_IGN, which the program would inherit.
        self._before = signal.signal(signal.SIGINT, lambda number, frame: None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def options(self) -> dict[str, Any]:
        """Return what Popen needs to know: nothing."""
        return {}

    def wait(
        self,
        child: subprocess.Popen[bytes],
        before_end: Callable[[str], object] = lambda reason: None,
    ) -> int:
        """Return the exit status of `child`; the moment before its end is not known here."""
        return child.wait()


def handling(platform: str = sys.platform) -> Forwarding | Ignoring:
    """Return how a launcher on `platform` treats signals."""
    return Ignoring() if platform == "win32" else Forwarding()


def name_of(number: int) -> str:
    """Return the name of a signal, which a real-time signal lacks."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
