"""What a dump takes, and what it costs a process under load that is asked once in a second.

The process that is asked and the one that asks are separate, and have cores of their own where
there are two. The load is all that one interpreter can do: 64 threads and 500 tasks each send
messages on their own stream and read the answers, beside streams that only live. Quarters of a
second with a dump and without are in random order: a second with a dump is one of the former and
three of the latter, so that what is compared differs by the dump alone. All answers are checked,
once the quarter is over.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from statistics import fmean, median
from typing import Any

import grpc
import grpc.aio

import grpc_guard
from grpc_guard._catalogue.collector import collector_at_rest
from grpc_guard._inspect import asking, remembered
from grpc_guard._inspect import inspection_pb2 as pb
from grpc_guard._inspect.endpoint import Endpoint, reply
from grpc_guard._inspect.messages import VERSION, encoded
from grpc_guard._inspect.places import entries
from grpc_guard._inspect.snapshot import Reply
from grpc_guard._inspect.wire import receive, send

from ._measure import QUICK, Figure, Interval, Plan, Race, ratio_figure

TITLE = "a dump of 10,000 live streams, and one each second of a process under load"
INTRO = (
    "*Processor time* is that of the thread which answers; of a message, that of the whole process. "
    "Under load, the interpreter has nothing to spare: what a dump takes is missing elsewhere."
)

THREADS, TASKS, STREAMS, MANY_STREAMS = 64, 500, 10_000, 100_000
_AT_A_TIME = 50  # RPCs that are started
_PER_CHANNEL = 500
_SERVICE = "benchmark.Dumps"
_TALK = f"/{_SERVICE}/Talk"
_PATIENCE = 600.0  # seconds
_BEFORE, _DUMPS, _AFTER = "without dumps", "with dumps", "without dumps again"
_QUARTER = 0.25  # seconds
_QUIET = 3  # quarters of a second without a dump beside one with it
_ALONE = [("grpc.use_local_subchannel_pool", 1)]

_Second = tuple[float, float, float]  # see _Loaded._seconds()


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the times of a dump, and the cost of one dump each second."""
    rounds = 6 if plan is QUICK else 60
    load = os.getloadavg()[0]
    yield Figure("load average of the machine, at first", load, "count", column="wall clock")
    with _Loaded(STREAMS) as process:
        yield from process.snapshots(bound=100)
        process.load()
        yield from process.under_load(rounds)
    if plan is not QUICK:
        with _Loaded(MANY_STREAMS) as process:
            yield from process.snapshots(bound=1000)


class _Loaded:
    """The process that is asked."""

    def __init__(self, streams: int) -> None:
        self.streams = streams

    def __enter__(self) -> _Loaded:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.dumps", "--serve", str(self.streams)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.streams = int(self._said()[0])
        self._cores = _leave_the_core()
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_PATIENCE)
        self._process.stdout.close()
        if self._cores:
            os.sched_setaffinity(0, self._cores)

    def _said(self, question: str = "") -> list[float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if question:
            print(question, file=self._process.stdin, flush=True)
        return [float(word) for word in self._process.stdout.readline().split()]

    def snapshots(self, bound: float) -> Iterator[Figure]:
        name = f"snapshot(), {self.streams:,} live aio streams, somebody inside each"
        wall, processor, again, message, answer = self._said("snapshot")
        yield Figure(name, processor, "ms", column="processor time", bound=bound)
        yield Figure(name, wall, "ms", column="wall clock")
        name = f"the same, soon after another one, {self.streams:,} streams"
        yield Figure(name, again, "ms", column="processor time", bound=bound)
        name = f"the message made of it, {self.streams:,} streams"
        yield Figure(name, message, "ms", column="processor time")
        name = f"the answer to a dump, soon after another one, {self.streams:,} streams"
        yield Figure(name, answer, "ms", column="processor time")
        row = f"one task beside {self.streams:,} streams, 2 ms after each message: messages in a second"
        for when, messages in zip(("", ", while a dump is made"), self._said("paced"), strict=True):
            yield Figure(f"{row}{when}", messages, "count", column="wall clock")

    def load(self) -> None:
        """Let the process work, from now on to its end."""
        self._said("load")

    def under_load(self, rounds: int) -> Iterator[Figure]:
        """Yield what a message takes in seconds with a dump and without, and what a dump takes."""
        found: dict[str, list[_Second]] = {_BEFORE: [], _DUMPS: [], _AFTER: []}
        waited: list[float] = []
        first = self._said("answered")
        for _ in range(rounds):
            for name, second in self._seconds(waited).items():
                found[name].append(second)
        dumps, seconds = (
            now - then for now, then in zip(self._said("answered"), first, strict=True)
        )
        row = f"{THREADS} threads and {TASKS} tasks, a dump each second: one message"
        for index, column in enumerate(("wall clock", "processor time")):
            taken = {name: [one[index] for one in windows] for name, windows in found.items()}
            control = Race(taken, _BEFORE, Interval(1, 1, 1)).ratio(_AFTER)
            measured = Race(taken, _BEFORE, control)
            for name in (_BEFORE, _DUMPS):
                yield Figure(f"{row}, {name}", measured.time(name, "us"), "us", column=column)
            yield ratio_figure(f"{row}, {_DUMPS} / {_BEFORE}", column, measured, _DUMPS, bound=1.02)
        for name in (_BEFORE, _DUMPS):
            collecting = 1e3 * fmean(one[2] for one in found[name])
            yield Figure(
                f"the collector in a second, {name}", collecting, "ms", column="wall clock"
            )
        name = "the answer to each of these dumps"
        yield Figure(name, 1e3 * seconds / dumps, "ms", column="processor time", bound=20)
        yield Figure("until a dump was there", 1e3 * median(waited), "ms", column="wall clock")
        yield Figure("dumps", dumps, "count", column="wall clock")
        wrong = self._said("wrong")[0]
        yield Figure("wrong messages and errors", wrong, "count", bound=0, column="wall clock")

    def _seconds(self, waited: list[float]) -> dict[str, _Second]:
        """Return what a message takes in a second, without a dump and with one: the same but for that.

        By the wall clock and the processor's; and what the collector takes of the second.
        """
        kinds = [_DUMPS, *[_BEFORE] * _QUIET, *[_AFTER] * _QUIET]
        taken: dict[str, list[_Second]] = {name: [] for name in kinds}
        for name in random.sample(kinds, len(kinds)):
            taken[name].append(self._quarter(waited if name == _DUMPS else None))
        taken[_DUMPS] += taken[_BEFORE]
        found = {}
        for name, some in taken.items():
            wall, processor, collecting = map(fmean, zip(*some, strict=True))
            found[name] = wall, processor, collecting / _QUARTER
        return found

    def _quarter(self, waited: list[float] | None) -> _Second:
        """Return the same of the next quarter of a second.

        With a dump if there is a list for how long that took.
        """
        before, used_before, began, collected = self._said("count")
        asked = time.perf_counter()
        data = b""
        if waited is not None:
            data = _answer_of(self._process.pid)
            waited.append(time.perf_counter() - asked)
        time.sleep(max(0.0, _QUARTER - (time.perf_counter() - asked)))
        after, used, ended, collecting = self._said("count")
        if waited is not None:
            told = pb.Reply.FromString(data).snapshot
            assert told.pid == self._process.pid
            assert len(told.streams) >= self.streams
        messages = after - before
        return (ended - began) / messages, (used - used_before) / messages, collecting - collected


def _leave_the_core() -> set[int]:
    """Leave the core of this process to those it has started; return which it was, if it can be done."""
    if not hasattr(os, "sched_setaffinity"):
        return set()
    mine = os.sched_getaffinity(0)
    others = set(range(os.cpu_count() or 1)) - mine
    if not others:
        return set()
    os.sched_setaffinity(0, others)
    return mine


def _answer_of(pid: int) -> bytes:
    """Return the bytes that process `pid` answers: to read them would take its processor, if there is one."""
    for _, entry in entries(pid):
        try:
            connection, token = asking._connected(entry, _PATIENCE)
            break
        except ConnectionRefusedError:  # left behind by another one
            continue
    try:
        send(connection, pb.Request(version=VERSION, token=token).SerializeToString(), _PATIENCE)
        return receive(connection, _PATIENCE, asking.LIMIT)
    finally:
        connection.close()


# The process that is asked


class _Work:
    """The messages of all parties so far, and those that were not what they should be."""

    def __init__(self) -> None:
        self.done = [0] * (THREADS + TASKS)
        self.wrong = 0

    def converse(self, call: Any, messages: Any, number: int) -> None:
        """Send and read, as a thread, for ever."""
        try:
            for count in range(sys.maxsize):
                message = b"%d %d" % (number, count)
                messages.put(message)
                self.wrong += next(call) != message
                self.done[number] += 1
        except Exception as error:
            self.wrong += 1
            print(repr(error), file=sys.stderr)

    async def converse_async(self, call: Any, number: int) -> None:
        """Send and read, as a task, for ever."""
        try:
            for count in range(sys.maxsize):
                message = b"%d %d" % (number, count)
                await call.write(message)
                self.wrong += await call.read() != message
                self.done[number] += 1
        except Exception as error:
            self.wrong += 1
            print(repr(error), file=sys.stderr)


async def _echo(requests: Any, context: Any) -> None:
    async for request in requests:
        await context.write(request)


async def _read(call: Any) -> None:
    await call.read()


async def _serve(streams: int) -> None:
    server = grpc.aio.server()
    methods = {"Talk": grpc.stream_stream_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    idle: list[Any] = []
    await _start(idle, streams // 2, target)  # each is two streams: its server's is here as well
    readers = [asyncio.create_task(_read(call)) for call in idle]
    await asyncio.sleep(0)
    work = _Work()
    print(2 * len(idle), flush=True)
    while question := await asyncio.to_thread(_question):
        if question == "snapshot":
            print(*await asyncio.to_thread(_time_of_a_snapshot), flush=True)
        elif question == "paced":
            print(*await _messages_in_a_second(target), flush=True)
        elif question == "load":
            await _begin(work, target, readers)
            print(0, flush=True)
        elif question == "answered":
            print(*_answered, flush=True)
        elif question == "wrong":
            print(work.wrong, flush=True)
        else:
            clocks = time.process_time(), time.perf_counter(), _collected[1]
            print(sum(work.done), *clocks, flush=True)
    os._exit(0)  # the load has no end


_answered = [0, 0.0]  # how often this process has answered, and the processor time of that
_collected = [0.0, 0.0]  # when the collector has begun last, and the time of all its runs


def _watch_the_answers() -> None:
    plain = Endpoint.answer

    def answer(self: Endpoint, connection: Any) -> None:
        began = time.thread_time()
        plain(self, connection)
        _answered[:] = _answered[0] + 1, _answered[1] + time.thread_time() - began

    Endpoint.answer = answer  # type: ignore[method-assign]


def _watch_the_collector(phase: str, _: object) -> None:
    now = time.perf_counter()
    if phase == "start":
        _collected[0] = now
    else:
        _collected[1] += now - _collected[0]


def _question() -> str:
    return sys.stdin.readline().strip()


async def _start(calls: list[Any], number: int, target: str) -> None:
    """Start so many RPCs and add them to `calls`, some at a time: the server cancels more."""
    while len(calls) < number:
        if len(calls) % _PER_CHANNEL == 0:
            start = grpc.aio.insecure_channel(target, options=_ALONE).stream_stream(_TALK)
        some = [start() for _ in range(min(_AT_A_TIME, number - len(calls)))]
        await asyncio.gather(*map(_greet, some))
        calls += some


async def _greet(call: Any) -> None:
    """Have the server begin: its stream lives from then on."""
    await call.write(b"a")
    await call.read()


def _time_of_a_snapshot() -> Iterator[float]:
    """Yield the milliseconds of a snapshot, by the wall clock and in this thread.

    Then those in this thread of one that remembers the one before, of making it a message, and of
    an answer, which is the same in one.
    """
    alone, further, answers = [], [], []
    for number in range(10):
        is_alone = number % 2 == 0  # the first look that follows soon leaves what it has found
        for _ in range(1 if is_alone else 2):
            if is_alone:
                remembered._last[:] = float("-inf"), set(), {}, {}
            wall, processor = time.perf_counter(), time.thread_time()
            with collector_at_rest():
                seen = grpc_guard.snapshot()
                ended, used = time.perf_counter(), time.thread_time()
                encoded(seen)
                taken = ended - wall, used - processor, time.thread_time() - used
                del seen
        (alone if is_alone else further).append(taken)
        for _ in range(2):  # the first one may have nothing to remember
            began = time.thread_time()
            Reply().close()
            taken_by_answer = time.thread_time() - began
        answers.append(taken_by_answer)
    yield from (1e3 * median(one[index] for one in alone) for index in (0, 1))
    yield from (1e3 * median(one[index] for one in further) for index in (1, 2))
    yield 1e3 * median(answers)


async def _messages_in_a_second(target: str) -> Iterator[float]:
    """Yield how many messages one task exchanges in a second, alone and while an answer is made."""
    calls: list[Any] = []
    await _start(calls, 1, target)
    seen: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(9):
        for is_asked, rates in seen.items():
            work = asyncio.to_thread(_answer) if is_asked else asyncio.sleep(0.5)
            done, messages, began = asyncio.create_task(work), 0, time.perf_counter()
            while not done.done():
                await _greet(calls[0])
                messages += 1
                await asyncio.sleep(0.002)
            rates.append(messages / (time.perf_counter() - began))
    return map(median, seen.values())


def _answer() -> None:
    reply()


async def _begin(work: _Work, target: str, tasks: list[Any]) -> None:
    """Start the parties; `tasks` keeps what must not be collected."""
    calls: list[Any] = []
    await _start(calls, TASKS, target)
    tasks += [asyncio.create_task(work.converse_async(call, n)) for n, call in enumerate(calls)]
    stub = grpc.insecure_channel(target, options=_ALONE).stream_stream(_TALK)
    for number in range(TASKS, TASKS + THREADS):
        messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        call = stub(iter(messages.get, None))
        arguments = (call, messages, number)
        threading.Thread(target=work.converse, args=arguments, daemon=True).start()
    # It is due: of the seconds that are measured, some of either kind would have it by chance.
    gc.collect()


def main() -> None:
    """Be the process that is asked; not to be run by hand."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dumps")
    parser.add_argument("--serve", type=int, required=True, metavar="STREAMS")
    streams = parser.parse_args().serve
    _watch_the_answers()
    gc.callbacks.append(_watch_the_collector)
    grpc_guard.enable(inspect=True)
    asyncio.run(_serve(streams))


if __name__ == "__main__":
    main()
