"""What waits for a future: found on the stacks of threads, and through its callbacks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

from inside import inspect_lines, waiters
from support.metaclasses import Telling
from support.staging import PATIENCE, in_thread, settle


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


def test_a_thread_that_has_its_loop_run_a_task() -> None:
    """It waits for that task, by itself or as one of several."""
    found: list[str] = []

    async def look() -> None:
        task = asyncio.current_task()
        assert task is not None
        *_, innermost = waiters.stack_of_waiter(task)
        found.append(innermost.code)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(look())
    assert found.pop() == "loop.run_until_complete(look())"
    several = asyncio.gather(loop.create_task(look()))
    loop.run_until_complete(several)
    assert found.pop() == "loop.run_until_complete(several)"
    loop.close()
    asyncio.run(look())
    assert found == ["asyncio.run(look())"]


def test_a_callback_whose_variable_has_no_value_yet() -> None:
    """It holds nothing there, and what else it holds is looked at."""
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future.add_done_callback(lambda _: (later, other))
    assert list(waiters._waiting_for(future)) == []
    other: concurrent.futures.Future[None] = concurrent.futures.Future()
    assert list(waiters._waiting_for(future)) == [other]
    later = None
    assert later is None


class Odd(metaclass=Telling):
    """An awaitable of a program, around another of its kind."""

    __slots__ = ("future", "inner")

    def __init__(self, future: asyncio.Future[None], inner: Odd | None = None) -> None:
        self.future, self.inner = future, inner

    def __await__(self) -> Odd:
        return self

    def __iter__(self) -> Odd:
        return self

    def __next__(self) -> asyncio.Future[None]:
        self.future._asyncio_future_blocking = True
        return self.future


async def test_an_awaitable_of_a_class_with_a_hash_of_its_own() -> None:
    """A chain of awaits ends there, and nothing of the program's class is called."""

    async def wait() -> None:
        await Odd(future, Odd(future))  # type: ignore[misc]

    loop = asyncio.get_running_loop()
    future = loop.create_future()
    task = asyncio.create_task(wait())
    await settle()
    Telling.calls.clear()
    frames = list(waiters.await_chain(task.get_coro()))
    _, shown = inspect_lines.Lines().shown(task.get_coro(), ())
    called = [*Telling.calls]
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE)
    assert called == []
    assert [frame.f_code.co_name for frame in frames] == ["wait"]
    assert len(shown) == 1
