"""What a message through a Sender costs, against what people write by hand."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import queue
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

import grpc_guard
import grpc_guard.aio
from grpc_guard._cli.demo.route_guide_pb2 import RouteNote

from ._measure import Figure, Plan, compare, process_clock, race, ratio_figure

TITLE = "a message sent through a Sender, and by hand (CPU time, and throughput)"
INTRO = """Each message is a small protobuf message that a client sends, through gRPC, to a server in the same
process. The time is that of client and server together; by the wall clock it is the throughput."""

_METHOD = "/benchmark.Service/Swallow"
_LAST = "last"
_MESSAGES = 300  # of one RPC
_THREADS = 8
_GIVEN_UP = 100_000  # receive()s


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield what a message costs, sync and aio, and how many are lost by time-outs: none."""
    for figure in compare(
        {"the queue alone, Sender": _sender_alone, "the queue alone, queue.Queue": _queue_alone},
        subject="the queue alone, Sender",
        reference="the queue alone, queue.Queue",
        plan=plan,
        bound=1.1,
        clock=process_clock,
        operations=5000,
    ):
        yield dataclasses.replace(figure, column="CPU")
    with _serving() as target:
        yield from _threads(target, plan)
        yield from asyncio.run(_tasks(target, plan))
        given_up = _GIVEN_UP if plan.rounds >= 400 else _GIVEN_UP // 20
        yield from _lost("threads", _give_up(target, given_up), given_up)
        yield from _lost("tasks", asyncio.run(_give_up_async(target, given_up)), given_up)


def _compared(
    contenders: dict[str, Any], subject: str, reference: str, plan: Plan
) -> Iterator[Figure]:
    for clock, kind in ((process_clock, "CPU"), (time.perf_counter, "wall clock")):
        measured = race(
            contenders, reference=reference, plan=plan, clock=clock, operations=_MESSAGES
        )
        for name in contenders:
            yield Figure(name, measured.time(name, "us"), "us", column=kind)
        ratio = f"{subject} / ({reference})"
        yield ratio_figure(ratio, kind, measured, subject, bound=1.1)


# From a thread to another


def _sender_alone(operations: int) -> None:
    sender = grpc_guard.Sender[bytes]()
    taking = threading.Thread(target=list, args=[sender])
    taking.start()
    for _ in range(operations):
        sender.send(b"a")
    sender.close()
    taking.join()


def _queue_alone(operations: int) -> None:
    messages: queue.Queue[Any] = queue.Queue(16)
    taking = threading.Thread(target=list, args=[iter(messages.get, None)])
    taking.start()
    for _ in range(operations):
        messages.put(b"a")
    messages.put(None)
    taking.join()


# Threads


def _threads(target: str, plan: Plan) -> Iterator[Figure]:
    with grpc.insecure_channel(target) as channel:
        start = _sync(channel)
        for threads in (1, _THREADS):
            who = "one thread" if threads == 1 else f"{threads} threads"
            contenders = {
                f"{who}, Sender": lambda n, threads=threads: _by_sender(start, n, threads),
                f"{who}, queue.Queue": lambda n, threads=threads: _by_queue(start, n, threads),
            }
            subject, reference = contenders
            try:
                from google.api_core.bidi import BidiRpc
            except ImportError:
                pass
            else:
                contenders[f"{who}, api-core's BidiRpc"] = lambda n, threads=threads: _by_bidi(
                    BidiRpc, start, n, threads
                )
            yield from _compared(contenders, subject, reference, plan)


def _sync(channel: Any) -> Any:
    return channel.stream_stream(
        _METHOD,
        request_serializer=RouteNote.SerializeToString,
        response_deserializer=RouteNote.FromString,
    )


def _produce(send: Callable[[RouteNote], object], operations: int, threads: int) -> None:
    note = RouteNote(message="a note of some forty characters, no more")

    def produce() -> None:
        for _ in range(operations // threads):
            send(note)

    if threads == 1:
        produce()
    else:
        parties = [threading.Thread(target=produce) for _ in range(threads)]
        for party in parties:
            party.start()
        for party in parties:
            party.join()
    send(RouteNote(message=_LAST))


def _by_sender(start: Any, operations: int, threads: int) -> None:
    with grpc_guard.Sender[RouteNote]() as sender:
        call = start(sender)
        _produce(sender.send, operations, threads)
        next(call)
    assert next(call, None) is None


def _by_queue(start: Any, operations: int, threads: int) -> None:
    notes: queue.Queue[Any] = queue.Queue(16)

    def requests() -> Iterator[RouteNote]:
        while (note := notes.get()) is not None:
            yield note

    call = start(requests())
    _produce(notes.put, operations, threads)
    next(call)
    notes.put(None)
    assert next(call, None) is None


def _by_bidi(kind: Any, start: Any, operations: int, threads: int) -> None:
    rpc = kind(start)
    rpc.open()
    _produce(rpc.send, operations, threads)
    rpc.recv()
    rpc.close()


# Tasks


async def _tasks(target: str, plan: Plan) -> list[Figure]:
    async with grpc.aio.insecure_channel(target) as channel:
        start = _sync(channel)
        contenders: dict[str, Any] = {}
        for tasks in (1, _THREADS):
            who = "one task" if tasks == 1 else f"{tasks} tasks"
            contenders |= {
                f"{who}, Sender": (_by_sender_async, tasks),
                f"{who}, asyncio.Queue and a task": (_by_queue_async, tasks),
                f"{who}, a lock around write()": (_by_lock_async, tasks),
            }
        figures: list[Figure] = []
        for clock, kind in ((process_clock, "CPU"), (time.perf_counter, "wall clock")):
            times = await _race_async(contenders, start, plan, clock)
            for name in contenders:
                figures.append(Figure(name, min(times[name]) * 1e6, "us", column=kind))
            names = list(contenders)
            for subject, reference in ((names[0], names[1]), (names[3], names[4])):
                ratios = sorted(
                    a / b for a, b in zip(times[subject], times[reference], strict=True)
                )
                figures.append(
                    Figure(
                        f"{subject} / ({reference})",
                        ratios[len(ratios) // 2],
                        "x",
                        bound=1.1,
                        column=kind,
                    )
                )
        return figures


async def _race_async(
    contenders: dict[str, Any], start: Any, plan: Plan, clock: Callable[[], float]
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order, chance = list(contenders), random.Random(0)
    deadline = time.perf_counter() + 2 * plan.seconds
    while time.perf_counter() < deadline:
        chance.shuffle(order)
        for name in order:
            act, tasks = contenders[name]
            began = clock()
            await act(start, _MESSAGES, tasks)
            times[name].append((clock() - began) / _MESSAGES)
    return times


async def _produce_async(
    send: Callable[[RouteNote], Awaitable[object]], operations: int, tasks: int
) -> None:
    note = RouteNote(message="a note of some forty characters, no more")

    async def produce() -> None:
        for _ in range(operations // tasks):
            await send(note)

    await asyncio.gather(*(produce() for _ in range(tasks)))
    await send(RouteNote(message=_LAST))


async def _by_sender_async(start: Any, operations: int, tasks: int) -> None:
    async with grpc_guard.aio.Sender[RouteNote]() as sender:
        call = start(sender)
        await _produce_async(sender.send, operations, tasks)
        await call.read()
    assert await call.read() is grpc.aio.EOF


async def _by_queue_async(start: Any, operations: int, tasks: int) -> None:
    notes: asyncio.Queue[Any] = asyncio.Queue(16)
    call = start()

    async def write() -> None:
        while (note := await notes.get()) is not None:
            await call.write(note)
        await call.done_writing()

    writing = asyncio.create_task(write())
    await _produce_async(notes.put, operations, tasks)
    await call.read()
    await notes.put(None)
    await writing
    assert await call.read() is grpc.aio.EOF


async def _by_lock_async(start: Any, operations: int, tasks: int) -> None:
    call, turn = start(), asyncio.Lock()

    async def send(note: RouteNote) -> None:
        async with turn:
            await call.write(note)

    await _produce_async(send, operations, tasks)
    await call.read()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


# Receiving with time-outs


def _lost(who: str, got: list[int], given_up: int) -> Iterator[Figure]:
    lost, doubled = len(range(max(got) + 1)) - len(set(got)), len(got) - len(set(got))
    yield Figure(
        f"{who}: {given_up:,} receive()s that give up at random, messages lost", lost, "count"
    )
    yield Figure(f"{who}: the same, messages received twice", doubled, "count")


def _numbered(stop: threading.Event) -> Iterator[RouteNote]:
    number = 0
    while not stop.is_set():
        yield RouteNote(message=str(number))
        number += 1
        time.sleep(0)
    yield RouteNote(message=_LAST)


def _give_up(target: str, times: int) -> list[int]:
    stop, chance = threading.Event(), random.Random(0)
    got: list[int] = []
    with grpc.insecure_channel(target) as channel:
        start = channel.stream_stream(
            "/benchmark.Service/Echo",
            request_serializer=RouteNote.SerializeToString,
            response_deserializer=RouteNote.FromString,
        )
        receiver = grpc_guard.Receiver[RouteNote](start(_numbered(stop)))
        for _ in range(times):
            try:
                got.append(int(receiver.receive(chance.choice((0, 1e-5, 1e-4))).message))
            except TimeoutError:
                pass
        stop.set()
        got.extend(int(note.message) for note in receiver if note.message != _LAST)
    return got


async def _give_up_async(target: str, times: int) -> list[int]:
    stop, chance = threading.Event(), random.Random(0)
    got: list[int] = []

    async def numbered() -> Any:
        for note in _numbered(stop):
            yield note

    async with grpc.aio.insecure_channel(target) as channel:
        start = channel.stream_stream(
            "/benchmark.Service/Echo",
            request_serializer=RouteNote.SerializeToString,
            response_deserializer=RouteNote.FromString,
        )
        receiver = grpc_guard.aio.Receiver[RouteNote](start(numbered()))
        for _ in range(times):
            receiving = asyncio.create_task(receiver.receive(chance.choice((None, 0, 1e-4))))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.7:
                receiving.cancel()
            try:
                got.append(int((await receiving).message))
            except (TimeoutError, asyncio.CancelledError):
                pass
        stop.set()
        got.extend([int(note.message) async for note in receiver if note.message != _LAST])
    return got


# The server


class _Service(grpc.GenericRpcHandler):
    """Swallows what it is sent, and answers the last; or answers all."""

    def service(self, handler_call_details: Any) -> Any:
        behavior = _swallow if handler_call_details.method == _METHOD else _echo
        return grpc.stream_stream_rpc_method_handler(behavior)


def _swallow(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    last = RouteNote(message=_LAST).SerializeToString()
    for request in requests:
        if request == last:
            yield request


def _echo(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    yield from requests


@contextmanager
def _serving() -> Iterator[str]:
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((_Service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
