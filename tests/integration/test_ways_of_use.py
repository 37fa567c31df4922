"""What Python offers to use calls with: tools of iterators, selects, hand-overs, callbacks."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import heapq
import itertools
import queue
import threading
import weakref
from collections.abc import Iterator
from concurrent import futures
from typing import Any, Protocol, runtime_checkable

import grpc
import grpc.aio
from support.comparing import (
    AIO_SERVICE,
    SYNC_SERVICE,
    aio_connected,
    compare,
    compare_async,
    connected,
)
from support.staging import PATIENCE, path, wait


def test_the_tools_of_iterators() -> None:
    """Responses go through heapq, itertools, unpacking and comprehensions as from any iterator."""

    def program() -> Any:
        with connected(SYNC_SERVICE) as channel:
            count, echo = channel.unary_stream(path("Count")), channel.stream_stream(path("Echo"))
            call = count(b"9")
            parts = list(itertools.islice(call, 2)), list(itertools.islice(call, 1, 3)), list(call)
            one, other = itertools.tee(count(b"3"))
            first, *rest = count(b"3")
            grown = [b"x"]
            grown += count(b"2")
            grown[:1] = count(b"1")
            return (
                parts,
                (list(one), list(other), first, rest, grown),
                list(heapq.merge(*(count(b"%d" % number) for number in (2, 3, 4)))),
                list(zip(count(b"3"), count(b"4"), strict=False)),
                list(itertools.zip_longest(count(b"1"), count(b"3"))),
                list(itertools.chain.from_iterable(map(count, [b"1", b"2"]))),
                list(itertools.takewhile(lambda message: message < b"2", count(b"5"))),
                (sorted(count(b"3"), reverse=True), max(count(b"3")), b"2" in count(b"4")),
                (dict(enumerate(count(b"2"))), collections.deque(count(b"5"), maxlen=2)),
                [(a, b) for a in count(b"2") for b in count(b"2")],
                list(echo(itertools.islice(itertools.cycle([b"a", b"b"]), 3))),
                list(echo(count(b"3"))),
            )

    seen = compare(program)
    assert seen[0] == ([b"0", b"1"], [b"3", b"4"], [b"5", b"6", b"7", b"8"])
    assert seen[-1] == [b"echo 0", b"echo 1", b"echo 2"]


def test_streams_that_are_handed_on() -> None:
    """From thread to thread by a queue, a pool, a barrier and join(), one after the other."""

    def program() -> Any:
        with connected(SYNC_SERVICE) as channel, futures.ThreadPoolExecutor(3) as pool:
            count = channel.unary_stream(path("Count"))
            call = count(b"9")
            got = [pool.submit(next, call).result() for _ in range(3)]
            thread = threading.Thread(target=lambda: got.append(next(call)))
            thread.start()
            thread.join()
            streams = queue.Queue[Any]()

            def take_one() -> None:
                stream = streams.get(timeout=PATIENCE)
                got.append(next(stream))
                streams.put(stream)

            streams.put(call)
            for taken in [pool.submit(take_one) for _ in range(3)]:
                taken.result()
            barrier, shared = threading.Barrier(2), count(b"4")

            def take_turns(own: int) -> list[bytes]:
                taken = []
                for turn in range(4):
                    if turn % 2 == own:
                        taken.append(next(shared))
                    barrier.wait(PATIENCE)
                return taken

            by_turns = [pool.submit(take_turns, own) for own in (0, 1)]

            def pages() -> Iterator[bytes]:
                yield from count(b"3")

            generator = pages()
            one = next(generator)
            rest = pool.submit(list, generator).result()
            return got, list(call), [turns.result() for turns in by_turns], one, rest

    got, rest, turns, _, _ = compare(program)
    assert got + rest == [b"%d" % number for number in range(9)]
    assert turns == [[b"0", b"2"], [b"1", b"3"]]


def test_a_select_loop_of_tasks() -> None:
    """A read that is pending over many rounds, beside a queue; tasks that are cancelled before they began."""

    async def program() -> Any:
        async with aio_connected(AIO_SERVICE) as channel:
            call = channel.stream_stream(path("Echo"))()
            outbox = collections.deque([b"a", b"b", b"c"])
            got: list[bytes] = []
            never = asyncio.create_task(call.read())
            never.cancel()
            await asyncio.wait([never])
            call.read().close()
            tasks: dict[str, asyncio.Task[Any]] = {"read": asyncio.create_task(call.read())}
            while tasks:
                if "write" not in tasks and outbox:
                    tasks["write"] = asyncio.create_task(call.write(outbox.popleft()))
                done, _ = await asyncio.wait(
                    tasks.values(), return_when=asyncio.FIRST_COMPLETED, timeout=0
                )
                for name in [name for name, task in tasks.items() if task in done]:
                    result = tasks.pop(name).result()
                    if name == "write" and not outbox:
                        tasks["end"] = asyncio.create_task(call.done_writing())
                    if name == "read" and result is not grpc.aio.EOF:
                        got.append(result)
                        tasks["read"] = asyncio.create_task(call.read())
            return got, await call.code()

    got, _ = compare_async(program)
    assert got == [b"echo a", b"echo b", b"echo c"]


def test_the_tools_of_asyncio() -> None:
    """anext() with a default, aclosing, as_completed, shield, wait_for and groups of tasks."""

    async def program() -> Any:
        async with aio_connected(AIO_SERVICE) as channel, contextlib.AsyncExitStack() as stack:
            count = channel.unary_stream(path("Count"))
            messages = aiter(count(b"2"))
            defaults = [await anext(messages, None) for _ in range(4)]
            part = await stack.enter_async_context(contextlib.aclosing(aiter(count(b"9"))))
            begun = [await anext(part), await anext(part)]
            call = channel.stream_stream(path("Echo"))()
            stack.callback(call.cancel)
            pending = asyncio.ensure_future(call.read())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(pending), 0)
            await call.write(b"late")
            late = await pending
            async with asyncio.TaskGroup() as group:
                lock, taken = asyncio.Lock(), []

                async def take() -> None:
                    async with lock:
                        taken.append(await call.read())

                for number in range(3):
                    group.create_task(take())
                    await call.write(b"%d" % number)

            async def drained(number: int) -> list[bytes]:
                return [message async for message in count(b"%d" % number)]

            completed = asyncio.as_completed([drained(number) for number in range(3)])
            return defaults, begun, late, taken, sorted([await one for one in completed])

    defaults, begun, late, taken, _ = compare_async(program)
    assert defaults == [b"0", b"1", None, None]
    assert begun == [b"0", b"1"]
    assert late == b"echo late"
    assert taken == [b"echo 0", b"echo 1", b"echo 2"]


@runtime_checkable
class Cancellable(Protocol):
    """What a program may ask for with isinstance()."""

    def cancel(self) -> bool: ...


@runtime_checkable
class Writable(Protocol):
    """What a program may ask for with isinstance()."""

    async def write(self, message: bytes) -> None: ...


def test_what_a_program_asks_of_calls() -> None:
    """Protocols, abstract classes, patterns and single dispatch take guarded calls for plain ones."""

    @functools.singledispatch
    def kind(thing: object) -> str:
        return "object"

    kind.register(grpc.Call, lambda thing: "call")
    kind.register(grpc.aio.Call, lambda thing: "aio call")

    def asked(call: Any) -> Any:
        match call:
            case grpc.Call() | grpc.aio.Call():
                matched = True
            case _:
                matched = False
        is_one = (isinstance(call, of) for of in (Cancellable, Writable, grpc.Future, Iterator))
        names = sorted(name for name in dir(call) if not name.startswith("_"))
        kept = weakref.WeakSet([call])
        return kind(call), matched, tuple(is_one), names, call in kept, {call: 1}[call]

    def program() -> Any:
        with connected(SYNC_SERVICE) as channel:
            call = channel.unary_stream(path("Count"))(b"2")
            future = channel.stream_unary(path("Join")).future(iter([b"a"]))
            return asked(call), asked(future), list(call), future.result()

    async def aio_program() -> Any:
        async with aio_connected(AIO_SERVICE) as channel:
            calls = [
                channel.unary_stream(path("Count"))(b"0"),
                channel.stream_stream(path("Echo"))(),
                channel.stream_stream(path("Echo"))(iter(())),
                channel.stream_unary(path("Join"))(),
            ]
            seen = [asked(call) for call in calls]
            for call in calls:
                call.cancel()
            return seen

    assert compare(program)[0][:3] == ("call", True, (True, False, True, True))
    assert [one[2][1] for one in compare_async(aio_program)] == [False, True, True, True]


def test_callbacks_of_a_sync_call() -> None:
    """They get the call, run in order and although one raises, and late ones run at once."""

    def program() -> Any:
        with connected(SYNC_SERVICE) as channel:
            seen: list[Any] = []
            over = threading.Event()
            call = channel.unary_stream(path("Count"))(b"2")
            call.add_done_callback(lambda done: seen.append((done is call, done.code())))
            call.add_done_callback(lambda done: seen.append(done.nonsense))
            call.add_done_callback(functools.partial(lambda tag, done: seen.append(tag), "tag"))
            call.add_done_callback(lambda done: over.set())
            messages = list(call)
            wait(over)
            call.add_done_callback(lambda done: seen.append("late"))
            return messages, seen, call.add_callback(lambda: None)

    _, seen, _ = compare(program)
    assert seen == [(True, grpc.StatusCode.OK), "tag", "late"]
