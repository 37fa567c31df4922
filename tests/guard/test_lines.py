"""The line of each party, in the usual ways to start an operation: none of them is a bare task."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from inside import core_fields, core_which, note_where_work_begins, stop_noting
from support.stage import BULK, RPC, handler, withheld
from support.staging import PATIENCE, Gate, in_thread, sync_channel, sync_server, within
from support.subjects import BY_NAME, Kind

import grpc_guard
from grpc_guard import Finding, Owner

Step = Callable[[], Awaitable[Any]]
Reported = queue.Queue[Finding]
Lines = tuple[tuple[str, str], tuple[str, str]]  # of owner and caller: relation and line

READ = "aio client unary_stream read"
DUPLEX = "aio client stream_stream duplex"
WRITE = "aio client stream_stream write"
SERVER_READ = "aio server stream_stream"
SERVER_WRITE = "aio server stream_stream write"


@pytest.fixture
def noting() -> Iterator[None]:
    """Note where work begins, as ``grpc-guard run`` and test sessions do."""
    note_where_work_begins()
    yield
    stop_noting()


def line_of(owner: Owner | None) -> tuple[str, str]:
    """Return how the line of a party was found, and its text."""
    assert owner is not None
    assert owner.site is not None, owner
    assert owner.site.file == __file__
    return owner.relation, owner.site.code


# Both are begun by one line of asyncio


async def gather(step: Step) -> None:
    await asyncio.gather(step(), step(), return_exceptions=True)


async def gather_of_gathers(step: Step) -> None:
    await asyncio.gather(asyncio.gather(step(), step()), return_exceptions=True)


async def wait_for(step: Step) -> None:
    steps = [asyncio.wait_for(step(), PATIENCE), asyncio.wait_for(step(), PATIENCE)]
    await asyncio.gather(*steps, return_exceptions=True)


async def shield(step: Step) -> None:
    steps = [asyncio.shield(step()), asyncio.shield(step())]
    await asyncio.gather(*steps, return_exceptions=True)


async def wait_(step: Step) -> None:
    tasks = {asyncio.ensure_future(step()) for _ in range(2)}
    await asyncio.wait(tasks)
    for task in tasks:
        task.exception()


async def as_completed(step: Step) -> None:
    for each in asyncio.as_completed([step(), step()]):
        try:
            await each
        except grpc_guard.ConcurrencyError:
            pass


async def task_group(step: Step) -> None:
    async def swallow() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(step())
                group.create_task(step())
        except* grpc_guard.ConcurrencyError:
            pass

    await swallow()


async def timeout(step: Step) -> None:
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(step(), step(), return_exceptions=True)


SAME = {
    gather: "await asyncio.gather(step(), step(), return_exceptions=True)",
    gather_of_gathers: (
        "await asyncio.gather(asyncio.gather(step(), step()), return_exceptions=True)"
    ),
    wait_for: "await asyncio.gather(*steps, return_exceptions=True)",
    shield: "await asyncio.gather(*steps, return_exceptions=True)",
    wait_: "await asyncio.wait(tasks)",
    as_completed: "await each",
    task_group: "async with asyncio.TaskGroup() as group:",
    timeout: "await asyncio.gather(step(), step(), return_exceptions=True)",
}


def step_of(kind: Kind, guarded: Any) -> Step:
    """Return the bare operation of the guarded object: no line of a test is in it."""
    if kind.direction == "read":
        return guarded.read  # type: ignore[no-any-return]
    return functools.partial(guarded.write, BULK)


async def stage(name: str, form: Callable[[Step], Awaitable[None]], reported: Reported) -> Finding:
    """Begin two operations by `form`; return the finding of the second."""
    kind = BY_NAME[name]
    async with kind.open("raise") as subject:
        task = asyncio.create_task(form(step_of(kind, subject.guarded)))  # type: ignore[arg-type]
        finding = await asyncio.to_thread(reported.get, timeout=PATIENCE)
        subject.release()
        await within(task)
        subject.call.cancel() if hasattr(subject.call, "cancel") else None
    return finding


@pytest.mark.parametrize("name", [READ, WRITE, SERVER_READ, SERVER_WRITE])
@pytest.mark.parametrize("form", SAME, ids=lambda form: form.__name__)
async def test_both_lines(
    form: Callable[[Step], Awaitable[None]], name: str, reported: Reported, found: Any
) -> None:
    """Both parties show the line that waits for them, and nothing had to be noted for it."""
    finding = await stage(name, form, reported)
    assert line_of(finding.owner) == line_of(finding.caller) == ("awaited-by", SAME[form])
    found()


# No task awaits them yet: their lines have to be noted


async def create_task(step: Step) -> None:
    owner = asyncio.create_task(step())
    caller = asyncio.create_task(step())
    await asyncio.wait([caller])
    caller.exception()
    await owner


async def wait_for_of_a_task(step: Step) -> None:
    tasks = [asyncio.create_task(step()) for _ in range(2)]
    steps = [asyncio.wait_for(task, PATIENCE) for task in tasks]
    await asyncio.gather(*steps, return_exceptions=True)


async def threadsafe(step: Step) -> None:
    loop = asyncio.get_running_loop()

    def consume() -> None:
        futures = [asyncio.run_coroutine_threadsafe(step(), loop) for _ in range(2)]
        for future in futures:
            future.exception(PATIENCE)

    await asyncio.to_thread(consume)


NOT_YET = {
    wait_for_of_a_task: {("asked-at", "tasks = [asyncio.create_task(step()) for _ in range(2)]")},
    threadsafe: {
        (
            "asked-at",
            "futures = [asyncio.run_coroutine_threadsafe(step(), loop) for _ in range(2)]",
        ),
        ("awaited-by", "future.exception(PATIENCE)"),
    },
}


@pytest.mark.parametrize("name", [READ, WRITE, SERVER_READ, SERVER_WRITE])
@pytest.mark.parametrize("form", NOT_YET, ids=lambda form: form.__name__)
async def test_tasks_that_nobody_awaits_yet(
    form: Callable[[Step], Awaitable[None]],
    name: str,
    reported: Reported,
    found: Any,
    noting: None,
) -> None:
    """They show the line that asked for them, or that awaits them if it was quicker."""
    finding = await stage(name, form, reported)
    assert {line_of(finding.owner), line_of(finding.caller)} <= NOT_YET[form]
    found()


@pytest.mark.parametrize("name", [READ, WRITE, SERVER_READ, SERVER_WRITE])
async def test_a_task_that_nobody_awaits(
    name: str, reported: Reported, found: Any, noting: None
) -> None:
    """It shows the line that asked for the operation."""
    finding = await stage(name, create_task, reported)
    assert line_of(finding.owner) == ("asked-at", "owner = asyncio.create_task(step())")
    assert line_of(finding.caller) == ("awaited-by", "await asyncio.wait([caller])")
    found()


async def test_a_task_of_a_loop_in_debug_mode(reported: Reported, found: Any) -> None:
    """asyncio's own debug mode notes the makers of tasks and coroutines too."""
    asyncio.get_running_loop().set_debug(True)
    finding = await stage(READ, create_task, reported)
    assert line_of(finding.owner) == ("asked-at", "owner = asyncio.create_task(step())")
    found()


async def test_a_task_of_which_nothing_is_noted(
    reported: Reported, found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no line, and the report says so; an operation in C has noted which line asked for it."""
    monkeypatch.setattr(core_fields, "counting", False)  # what is counted is done in Python
    finding = await stage(READ, create_task, reported)
    assert finding.owner is not None
    asked_at = finding.owner.site and finding.owner.site.function
    is_noted = core_which.name() == "c"
    expected = (create_task.__name__, "asked-at") if is_noted else (None, "inside")
    assert (asked_at, finding.owner.relation) == expected
    found()


# Threads


@pytest.fixture
def parked() -> Iterator[tuple[Any, Callable[[], None]]]:
    """Yield a sync call whose messages are withheld, and what lets them come."""
    gate = Gate()
    method = handler("unary_stream", lambda request, context: withheld(gate))
    with sync_server({"Stream": method}, mode=None) as address, sync_channel(address) as channel:
        yield channel.unary_stream(RPC)(b""), gate.open
        gate.open()


def by_submit(call: Any) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(next, call) for _ in range(2)]
        for future in futures:
            future.exception(PATIENCE)


def by_map(call: Any) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        try:
            list(pool.map(next, [call, call]))
        except grpc_guard.ConcurrencyError:
            pass


def by_thread(call: Any) -> None:
    threads = [threading.Thread(target=call.next) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)


def by_executor(call: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        steps = [loop.run_in_executor(None, next, call) for _ in range(2)]
        await asyncio.gather(*steps, return_exceptions=True)

    asyncio.run(main())


def by_to_thread(call: Any) -> None:
    async def main() -> None:
        steps = [asyncio.to_thread(next, call) for _ in range(2)]
        await asyncio.gather(*steps, return_exceptions=True)

    asyncio.run(main())


OF_THREADS = {
    by_submit: {
        ("awaited-by", "future.exception(PATIENCE)"),
        ("asked-at", "futures = [pool.submit(next, call) for _ in range(2)]"),
    },
    by_map: {
        ("awaited-by", "list(pool.map(next, [call, call]))"),
        ("asked-at", "list(pool.map(next, [call, call]))"),
    },
    by_thread: {("started-at", "thread.start()"), ("awaited-by", "thread.join(PATIENCE)")},
    by_executor: {
        ("awaited-by", "await asyncio.gather(*steps, return_exceptions=True)"),
        ("asked-at", "steps = [loop.run_in_executor(None, next, call) for _ in range(2)]"),
    },
    by_to_thread: {
        ("awaited-by", "await asyncio.gather(*steps, return_exceptions=True)"),
        ("asked-at", "await asyncio.gather(*steps, return_exceptions=True)"),
    },
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("form", OF_THREADS, ids=lambda form: form.__name__)
def test_threads(
    form: Callable[[Any], None],
    parked: tuple[Any, Callable[[], None]],
    reported: Reported,
    found: Any,
    noting: None,
) -> None:
    """A thread that only runs the operation shows the party that waits for it, or started it."""
    call, release = parked
    party = in_thread(form, call, name="program")
    finding = reported.get(timeout=PATIENCE)
    release()
    party.result()
    assert {line_of(finding.owner), line_of(finding.caller)} <= OF_THREADS[form]
    found()
