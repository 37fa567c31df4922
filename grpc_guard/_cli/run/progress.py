"""What is in progress in a guarded program when it is about to be ended, or after some time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from ..._catalogue.settings import INSPECT
from ..._inspect.asking import NoAnswerError, ask
from ..._inspect.places import entries
from ..._inspect.records import Snapshot
from ..._inspect.wording import dump
from .spool import files

SECONDS = 2.0  # for the answers of all processes
_MOST = 20  # streams of each process that stderr shows; a report has them all


class Progress:
    """The last answers of the processes of a run, each printed on stderr as it comes."""

    def __init__(self, spool: str, say: Callable[[str], object]) -> None:
        self._spool = spool
        self._say = say
        self._mutex = threading.Lock()  # one asks at a time
        self.answers: list[Snapshot] = []

    def ask(self, reason: str) -> None:
        """Ask every process that can be asked; it takes no more than SECONDS."""
        with self._mutex:
            deadline = time.monotonic() + SECONDS
            answers = []
            for pid in self._pids():
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                try:
                    answers.append(ask(pid, left))
                except NoAnswerError:
                    continue  # it has ended, or it hangs as a whole
            if answers:
                self.answers = answers
            for answer in answers:
                self._say(f"grpc_guard: in progress {reason}:\n{dump(answer, most=_MOST)}")

    def _ask_as_wanted(self, reason: str) -> None:
        before = self.answers
        self.ask(reason)
        if self.answers is before:
            self._say(
                f"grpc_guard: in progress {reason}: no process answered; one can be asked once it has "
                f"made a channel or a server, unless {INSPECT} is 0 or the guard is off"
            )

    def _pids(self) -> Iterator[int]:
        """Yield the guarded processes that can be asked: each has a file in the spool."""
        known = {pid for pid, _ in files(self._spool)}
        yield from (pid for pid in sorted(known) if any(entries(pid)))

    def answer_of(self, pid: int) -> Snapshot | None:
        """Return the last answer of process `pid`; None if it gave none."""
        return next((answer for answer in self.answers if answer.pid == pid), None)

    def ask_after(self, seconds: float | None) -> threading.Timer | None:
        """Ask in so many seconds, from a thread; None means never. Return a timer to cancel."""
        if seconds is None:
            return None
        timer = threading.Timer(seconds, self._ask_as_wanted, [f"after {seconds:g} s"])
        timer.daemon = True
        timer.start()
        return timer
