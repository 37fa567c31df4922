"""A storm over the guard: ``nox -s storm``, or ``PYTHONPATH=tests python -m support.storm``.

Some minutes of interrupts, cancellations, forks, streams and refusals, as many of each as its
option says, and what is left behind: counts, and no times. The exit status is 1 if a figure is
not what it has to be. ``--update PAGE`` puts the table into that page.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import contextlib
import logging
import os
import platform
import random
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from inside import Mode

import grpc_guard
from support import storm_starts
from support.forking import in_child
from support.interrupts import Interrupt, interrupted_by_timer
from support.operating import (
    AIO,
    MESSAGE,
    SYNC,
    Plain,
    Subject,
    ThisThread,
    aio_stream,
    client_next,
    client_read,
    run_at_once,
    sync_stream,
)
from support.staging import (
    PATIENCE,
    aio_channel,
    aio_server,
    in_thread,
    path,
    sync_channel,
    sync_server,
    wait,
)
from support.tables import grown, tables

SEED = 1
PARTIES = 50  # tasks in one line
THREADS = 4


class Figure(NamedTuple):
    """What was counted, and what it has to be; None where any number will do."""

    what: str
    count: int
    must: int | None = None

    @property
    def is_right(self) -> bool:
        return self.must is None or self.count == self.must


def interrupts(size: int) -> Iterator[Figure]:
    """Let a signal handler raise `size` times in each kind of operation, at random."""
    return _interrupts(size, None)


def tracers(size: int) -> Iterator[Figure]:
    """Do the same under a trace function, in which most of the signal handlers run."""
    return _interrupts(size, _trace)


def _trace(frame: object, event: str, argument: object) -> Any:
    return _trace


def _interrupts(size: int, trace: Any) -> Iterator[Figure]:
    moments = random.Random(SEED)
    subjects: list[Callable[[], tuple[Subject, Callable[[], Any]]]] = []
    for make in SYNC:
        subjects += [lambda make=make, mode=mode: _sync(make, mode) for mode in _MODES]  # type: ignore[misc]
    subjects += [lambda make=make: _coroutine(make) for make in AIO]  # type: ignore[misc]
    raised = owned = 0
    for fresh in subjects:
        subject, operate = fresh()
        for _ in range(size):
            with interrupted_by_timer() as interrupt_in:
                try:
                    try:
                        sys.settrace(trace)
                        interrupt_in(moments.uniform(1e-6, 1e-4))
                        for _ in range(10_000):  # CPython swallows one that arrives in a finaliser
                            operate()
                    finally:
                        sys.settrace(None)
                except Interrupt:
                    sys.settrace(None)
                    raised += 1
            if not subject.direction.is_free:
                owned += 1
                subject, operate = fresh()
    yield Figure("interrupts that a signal handler raised", raised)
    yield Figure("directions owned for ever", owned, 0)


_MODES = (Mode.RAISE, Mode.WARN, Mode.SERIALIZE)


def _sync(make: Any, mode: Mode) -> tuple[Subject, Callable[[], Any]]:
    subject = make(Plain(), sync_stream(mode))
    return subject, subject.operate


def _coroutine(make: Any) -> tuple[Subject, Callable[[], Any]]:
    subject = make(Plain(steps=0), aio_stream(Mode.RAISE, ThisThread()))  # type: ignore[arg-type]
    return subject, lambda: run_at_once(subject.operate())


def starts(size: int) -> Iterator[Figure]:
    """Interrupt `size` times each way to start a stream, by a signal handler and by a thread."""
    for by, name in (
        (storm_starts.by_signal, "a signal handler"),
        (storm_starts.by_thread, "a thread"),
    ):
        with by() as strike:
            raised, left = storm_starts.starts_struck(strike, size)
        yield Figure(f"starts that {name} interrupted", raised)
        yield Figure("streams that seem open for ever", left["open"], 0)
        yield Figure("generators that seem in use for ever", left["bound"], 0)
    yield Figure("findings", len(_taken()), 0)


def handlers(size: int) -> Iterator[Figure]:
    """Interrupt `size` times a handler of each kind, by a signal handler and by a thread."""
    for by, name in (
        (storm_starts.by_signal, "a signal handler"),
        (storm_starts.by_thread, "a thread"),
    ):
        with by() as strike:
            raised, left = storm_starts.handlers_struck(strike, size)
        yield Figure(f"handlers that {name} interrupted", raised)
        yield Figure("handlers that seem to run for ever", left["open"], 0)
        yield Figure("directions owned for ever", left["owned"], 0)


def cancellations(size: int) -> Iterator[Figure]:
    """Cancel, `size` times, at random, some of the tasks that stand in one line."""
    alone = asyncio.run(_cancel_alone(size))
    yield Figure("tasks cancelled in an operation", alone["cancelled"], size * len(AIO))
    yield Figure("directions owned after that", alone["owned"], 0)
    outcomes = asyncio.run(_cancel(size))
    _taken()  # that they waited
    yield Figure("operations done in line", outcomes["done"])
    yield Figure("tasks cancelled in line", outcomes["cancelled"])
    yield Figure("tasks that wait for ever", outcomes["hangs"], 0)
    yield Figure("directions owned for ever", outcomes["owned"], 0)


async def _cancel_alone(size: int) -> Counter[str]:
    """Cancel one task in each kind of operation, bare or awaited, at one of its steps."""
    moments = random.Random(SEED)
    outcomes: Counter[str] = Counter()

    async def work(subject: Subject) -> None:
        await subject.operate()

    loop = asyncio.get_running_loop()
    for _ in range(size):
        for make in AIO:
            subject = make(Plain(steps=4), aio_stream(Mode.RAISE, loop))
            operation = subject.operate() if moments.random() < 0.5 else work(subject)
            task = asyncio.create_task(operation)
            for _ in range(moments.randrange(4)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=PATIENCE)
            outcomes["cancelled"] += task.cancelled()
            outcomes["owned"] += not subject.direction.is_free
    return outcomes


async def _cancel(size: int) -> Counter[str]:
    moments = random.Random(SEED)
    outcomes: Counter[str] = Counter()

    async def work(subject: Subject) -> None:
        for _ in range(4):
            assert await subject.operate() == MESSAGE
            outcomes["done"] += 1

    for _ in range(size):
        subject = client_read(
            Plain(steps=2), aio_stream(Mode.SERIALIZE, asyncio.get_running_loop())
        )
        tasks = [asyncio.create_task(work(subject)) for _ in range(PARTIES)]
        for victim in moments.sample(tasks, PARTIES // 2):
            for _ in range(moments.randrange(8)):
                await asyncio.sleep(0)
            victim.cancel()
        done, pending = await asyncio.wait(tasks, timeout=PATIENCE)
        outcomes["hangs"] += len(pending)
        outcomes["cancelled"] += sum(task.cancelled() for task in done)
        outcomes["owned"] += not subject.direction.is_free
        for task in done:
            if not task.cancelled():
                task.result()
    return outcomes


_CLEAN = repr((True, True, 1))  # what a forked child has to say


def forks(size: int) -> Iterator[Figure]:
    """Fork `size` children of a process whose threads work, and look at the guard in each."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for mode in _MODES:
                client_next(Plain(), sync_stream(mode)).operate()
            grpc_guard.snapshot()
            with _parked() as (operate, _):
                _refused(operate)

    def look() -> str:
        operated = [client_next(Plain(), sync_stream(mode)).operate() for mode in _MODES]
        with _parked() as (operate, _):
            is_refused = _refused(operate)
        return repr((operated == [MESSAGE] * 3, is_refused, len(grpc_guard.findings())))

    workers = [in_thread(work, name=f"worker-{number}") for number in range(THREADS)]
    told: Counter[str] = Counter()
    try:
        for _ in range(size):
            try:
                told[in_child(look)] += 1
            except AssertionError as error:
                told[str(error)] += 1
    finally:
        stop.set()
        for worker in workers:
            worker.result()
        grpc_guard.clear_findings()
    for said, count in told.items():
        if said != _CLEAN:
            sys.stderr.write(f"{count} forked children: {said}\n")
    yield Figure("forks beside four threads that work", size)
    yield Figure("children that hang or inherit something", size - told[_CLEAN], 0)


class _Parking(Plain):
    """Its operation waits as long as the storm takes: a Gate has a deadline, for tests."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def __next__(self) -> bytes:
        self.entered.set()
        self.go.wait()
        return MESSAGE


@contextlib.contextmanager
def _parked() -> Iterator[tuple[Callable[[], Any], Any]]:
    """Yield an operation that a thread is inside of until the block ends, and that thread."""
    plain = _Parking()
    subject = client_next(plain, sync_stream(Mode.RAISE))
    owner = in_thread(subject.operate, name="owner")
    wait(plain.entered)
    try:
        yield subject.operate, owner
    finally:
        plain.go.set()
        owner.result()


def _refused(operate: Callable[[], Any]) -> bool:
    try:
        operate()
    except grpc_guard.ConcurrencyError:
        return True
    return False


def streams(size: int) -> Iterator[Figure]:
    """Drain `size` streams in each api, on a real server, and compare the tables half-way."""

    def numbers(request: bytes, context: Any) -> Iterator[bytes]:
        yield b"1"

    async def aio_numbers(request: bytes, context: Any) -> Any:
        yield b"1"

    sync_handler = grpc.unary_stream_rpc_method_handler(numbers)
    aio_handler = grpc.unary_stream_rpc_method_handler(aio_numbers)
    drained, seen = 0, []
    with sync_server({"Numbers": sync_handler}) as address, sync_channel(address) as channel:
        for _ in range(2):
            for _ in range(size // 2):
                drained += list(channel.unary_stream(path("Numbers"))(b"")) == [b"1"]
            seen.append(tables())

    async def drain() -> int:
        drained = 0
        async with aio_server({"Numbers": aio_handler}) as at, aio_channel(at) as channel:
            for _ in range(2):
                for _ in range(size // 2):
                    call = channel.unary_stream(path("Numbers"))(b"")
                    drained += [each async for each in call] == [b"1"]
                seen.append(tables())
        return drained

    drained += asyncio.run(drain())
    yield Figure("streams drained, sync and aio", drained, size // 2 * 4)
    yield Figure("tables that grew in the second half", len(grown(*seen[:2]) | grown(*seen[2:])), 0)
    yield Figure("findings", len(_taken()), 0)


def refusals(size: int) -> Iterator[Figure]:
    """Let four threads try `size` operations on a direction that a fifth is inside of."""
    with _parked() as (operate, owner), concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        share = size // THREADS
        list(pool.map(lambda _: _refused(operate), range(100)))
        before = tables()

        def party(_: int) -> int:
            return sum(_refused(operate) for _ in range(share))

        refused = sum(pool.map(party, range(THREADS)))
        leftover = grown(before, tables())
        kept = not owner.is_done
    found = _taken()
    yield Figure("operations refused", refused, share * THREADS)
    yield Figure("entries of the ledger that report them", len(found))
    yield Figure("refusals that no entry counts", refused + 100 - sum(f.count for f in found), 0)
    yield Figure("tables that grew", len(leftover), 0)
    yield Figure("owners that were disturbed", int(not kept or owner.result() != MESSAGE), 0)


def _taken() -> tuple[Any, ...]:
    found = grpc_guard.findings()
    grpc_guard.clear_findings()
    return found


# And what they do at once by default. A process forks before it has used gRPC, whose own state may
# hang in the child.
PARTS: dict[Callable[[int], Iterator[Figure]], int] = {
    forks: 500,
    interrupts: 10_000,
    tracers: 1_000,
    starts: 10_000,
    handlers: 10_000,
    cancellations: 2_000,
    streams: 20_000,
    refusals: 100_000,
}


def main() -> None:
    """Run every part, print the table, and say by the exit status whether all is right."""
    parser = argparse.ArgumentParser(prog="python -m support.storm")
    for part, size in PARTS.items():
        parser.add_argument(
            f"--{part.__name__}", type=int, default=size, metavar="N", help=part.__doc__
        )
    parser.add_argument("--update", type=Path, metavar="PAGE", help="put the table into that page")
    arguments = parser.parse_args()
    lines = [
        f"CPython {platform.python_version()}, grpcio {grpc.__version__}, {platform.system()}:",
        "",
        "| part | what was counted | | has to be |",
        "|---|---|---|---|",
    ]
    _say("\n".join(lines))
    are_right = True
    for part in PARTS:
        for figure in part(getattr(arguments, part.__name__)):
            must = "" if figure.must is None else f"{figure.must:,}"
            lines.append(f"| {part.__name__} | {figure.what} | {figure.count:,} | {must} |")
            _say(lines[-1])
            are_right = are_right and figure.is_right
    if arguments.update is not None:
        from benchmarks import _document

        _document.update([arguments.update], {"storm": "\n".join(lines)})
    sys.exit(not are_right)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # coroutines that an interrupt kept from being awaited
    logging.getLogger("grpc_guard").addHandler(logging.NullHandler())
    logging.getLogger("grpc_guard").propagate = False
    main()
