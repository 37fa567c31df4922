"""Signals of a launcher: what is sent to it reaches the program, once.

What the terminal sends (Ctrl-C, Ctrl-\\) goes to the whole process group, so the program has it
already; what somebody sends to the launcher alone has to be handed on.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from types import TracebackType

_FROM_KERNEL = 0x80  # si_code of a signal that the terminal sent (Linux)
_HANDED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


class Forwarding:
    """While the block runs, signals wait to be handed on by :meth:`wait`."""

    def __init__(self) -> None:
        self._mask: set[signal.Signals] = set()

    def __enter__(self) -> Forwarding:
        self._mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, {*_HANDED_ON, signal.SIGCHLD}))  # type: ignore[arg-type]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def in_child(self) -> None:
        """Give the program the signal mask that it would have had."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def wait(self, child: subprocess.Popen[bytes]) -> int:
        """Hand on signals until `child` ends; return its exit status, negative for a signal."""
        while True:
            status = child.poll()
            if status is not None:
                return status
            received = signal.sigwaitinfo({*_HANDED_ON, signal.SIGCHLD})
            if received.si_signo != signal.SIGCHLD and received.si_code != _FROM_KERNEL:
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(received.si_signo)
