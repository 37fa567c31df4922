"""Who waits for a future: found on the stacks of threads, and in what its callbacks hold."""

from __future__ import annotations

import concurrent.futures
import threading

from inside import waiters
from support.staging import PATIENCE, in_thread


class Told(threading.Condition):
    """Tells when a thread has begun to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.release()
        return super().wait(timeout)


def test_a_thread_that_waits_without_a_line() -> None:
    """Threads that do nothing but wait are passed over, and one with a line is found."""
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future._condition = told = Told()  # type: ignore[attr-defined]
    bare = [threading.Thread(target=future.result, daemon=True) for _ in range(2)]
    bare[0].start()
    assert told.waits.acquire(timeout=PATIENCE)
    assert waiters.stack_of_waiter(future) == ()
    party = in_thread(lambda: future.result(PATIENCE))
    assert told.waits.acquire(timeout=PATIENCE)
    bare[1].start()
    assert told.waits.acquire(timeout=PATIENCE)
    *_, innermost = waiters.stack_of_waiter(future)
    assert innermost.code == "party = in_thread(lambda: future.result(PATIENCE))"
    future.set_result(None)
    party.result()
    for thread in bare:
        thread.join(PATIENCE)


def test_a_callback_whose_variable_has_no_value_yet() -> None:
    """It holds nothing there, and what else it holds is looked at."""
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future.add_done_callback(lambda _: (later, other))
    assert list(waiters._waiting_for(future)) == []
    other: concurrent.futures.Future[None] = concurrent.futures.Future()
    assert list(waiters._waiting_for(future)) == [other]
    later = None
    assert later is None
