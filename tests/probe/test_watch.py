"""The probe at real operations: what it leaves as it is, while it holds them back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import Cancelled, GrpcDriven, Place, ProbedOperation, core_fields, is_timeout, probe
from support.probe.probing import holding
from support.staging import (
    PATIENCE,
    AsyncGate,
    Gate,
    Lost,
    aio_channel,
    aio_server,
    in_thread,
    path,
    settle,
    sync_channel,
    sync_server,
    within,
)

import grpc_guard

Found = Callable[[], list[grpc_guard.Finding]]


def count(request: bytes, context: Any) -> Iterator[bytes]:
    return iter([b"0", b"1", b"2"])


async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def count_async(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for message in count(request, context):
        yield message


COUNT = {"Count": grpc.unary_stream_rpc_method_handler(count_async)}
METHODS = {"Count": grpc.unary_stream_rpc_method_handler(count)}
ECHO = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}


def calls(mode: str = "raise", **options: Any) -> Iterator[Any]:
    with (
        sync_server(METHODS, mode=None) as address,
        sync_channel(address, mode=mode) as channel,
    ):
        yield channel.unary_stream(path("Count"))(b"", **options)


# Sync


def test_not_probing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that starts while nobody probes has nothing of the probe in it."""
    monkeypatch.setattr(core_fields, "counting", False)
    for call in calls():
        direction = call._self_read
        assert direction.watch is None
        assert direction.iterator is call.__wrapped__


def test_held_back_while_owned(found: Found) -> None:
    """A party that comes while a read is held back meets its owner, at that party's line."""
    gate = Gate()
    with holding(sleep=lambda seconds: gate.park()):
        for call in calls():
            owner = in_thread(lambda: next(call), name="owner")
            with gate.held():
                with pytest.raises(grpc_guard.ConcurrencyError) as refused:
                    next(call)
                status = grpc_guard.status(call)
            assert owner.result() == b"0"
            assert list(call) == [b"1", b"2"]
    (finding,) = found()
    assert refused.value.finding == finding
    assert finding.message.endswith(
        ", held back there by the probe (50 ms; near miss within 100 ms first seen in run 1)"
    )
    assert finding.owner is not None
    assert finding.owner.site is not None
    assert finding.owner.site.code == 'owner = in_thread(lambda: next(call), name="owner")'
    assert [owner.name for owner in (status.read, status.write) if owner is not None] == ["owner"]


def test_interrupted_while_held_back() -> None:
    """An exception that comes during a delay gives the direction back."""

    def sleep(seconds: float) -> None:
        prober.sleep = lambda seconds: None
        raise Lost

    with holding(sleep=sleep) as core:
        prober = probe.prober()
        for call in calls():
            with pytest.raises(Lost):
                next(call)
            assert list(call) == [b"0", b"1", b"2"]
    assert core.given_up == []


@pytest.mark.parametrize("mode", ["warn", "serialize"])
def test_let_through_or_in_line(mode: str, found: Found) -> None:
    """In the other modes the second caller goes on, or waits, as without the probe."""
    gate = Gate()
    with holding(sleep=lambda seconds: gate.park()) as core:
        for call in calls(mode):
            owner = in_thread(lambda: next(call), name="owner")
            gate.wait()
            if mode == "warn":
                assert next(call) == b"0"
            gate.open()
            messages = {owner.result(), *call}
            assert messages | {b"0"} == {b"0", b"1", b"2"}
    assert len(found()) == (mode == "warn")
    assert {visit.place.function for visit in core.visits} <= {
        "<lambda>",
        "test_let_through_or_in_line",
    }


def test_deadline() -> None:
    """A delay is at most a tenth of the time left until the RPC's deadline."""
    with holding(most=1000) as core:
        for call in calls(timeout=PATIENCE):
            next(call)
        for call in calls():
            next(call)
    assert 0 < core.decided[0] <= PATIENCE / 10
    assert core.decided[1] == 1000


def test_an_rpc_that_is_over() -> None:
    """Nothing is held back once the RPC is over."""
    with holding() as core:
        for call in calls():
            list(call)
            assert core.decided[0] == 0.05
            assert next(call, None) is None
    assert core.decided[-1] == 0


def test_a_thread_that_runs_a_loop() -> None:
    """A sync read on a loop's thread is never held back: the loop would stand still."""

    async def main() -> None:
        for call in calls():
            next(call)

    with holding() as core:
        in_thread(asyncio.run, main()).result()
    assert core.decided == [0]


def test_a_finaliser() -> None:
    """A read in a finaliser is never held back."""

    class Last:
        def __init__(self, call: Any) -> None:
            self.call = call

        def __del__(self) -> None:
            next(self.call)

    with holding() as core:
        for call in calls():
            last = Last(call)
            del last
    assert core.decided == [0]


def test_a_deadline_that_a_delay_may_have_cost() -> None:
    """An operation that was delayed and then timed out is noted, another failure is not."""
    gate = Gate()

    def hold(request: bytes, context: Any) -> Iterator[bytes]:
        gate.park()
        yield b""

    methods = {"Count": grpc.unary_stream_rpc_method_handler(hold)}
    with holding() as core:
        with sync_server(methods, mode=None) as address, sync_channel(address) as chan:
            with pytest.raises(grpc.RpcError):
                next(chan.unary_stream(path("Count"))(b"", timeout=1))
            gate.open()
            with pytest.raises(grpc.RpcError):
                next(chan.unary_stream(path("Nothing"))(b"", timeout=PATIENCE))
    assert len(core.given_up) == 1


def test_a_read_without_a_line_of_the_program() -> None:
    """An operation that no line of the program calls stands for its RPC."""
    with holding() as core:
        for call in calls():
            in_thread(call.__next__).result()
            thread = threading.Thread(target=call.__next__)
            thread.start()
            thread.join(PATIENCE)
    # The party's own _run() is a line of this program.
    assert [visit.place.function for visit in core.visits] == ["_run", path("Count")]
    assert core.visits[1].place == Place("", 0, path("Count"))
    assert core.visits[0].party != core.visits[1].party


def test_a_read_by_a_library_alone() -> None:
    """An operation of a library that runs by itself comes from the line of the library."""
    names: dict[str, Any] = {}
    code = "def read(call): return next(call)\ndef work(call): return read(call)"
    exec(compile(code, "/srv/site-packages/worker.py", "exec"), names)
    with holding() as core:
        for call in calls():
            reader = threading.Thread(target=names["work"], args=(call,))
            reader.start()
            reader.join(PATIENCE)
    assert core.visits[0].place == Place("/srv/site-packages/worker.py", 1, "read")


def test_a_thread_that_takes_the_ident_of_another() -> None:
    """Threads that follow each other are different parties, even with equal idents."""
    with holding() as core:
        for call in calls():
            for _ in range(3):
                in_thread(lambda: next(call)).result()
    assert len({visit.party for visit in core.visits}) == 3


def test_what_grpc_alone_advances() -> None:
    """Nobody can meet gRPC where it alone advances: those directions are not held back."""
    written: list[Any] = []
    is_seen = threading.Event()

    def echo(requests: Any, context: Any) -> Iterator[bytes]:
        written.append(context._self_stream.write)
        yield from requests

    def requests() -> Iterator[bytes]:
        yield b"1"
        assert is_seen.wait(
            PATIENCE
        )  # else gRPC may have let go of the direction before it is seen

    methods = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    with (
        holding(),
        sync_server(methods, mode="raise") as address,
        sync_channel(address) as channel,
    ):
        call = channel.stream_stream(path("Echo"))(requests())
        written.append(call._self_stream.write)
        is_seen.set()
        assert list(call) == [b"1"]
    assert [direction.watch for direction in written] == [None, None]
    assert call._self_read.watch is not None
    assert not GrpcDriven.is_shared


def test_two_writers_of_one_table() -> None:
    """An operation that finds the lock taken goes on without the probe, and never waits."""
    with holding() as core:
        prober = probe.prober()
        with prober.mutex:
            for call in calls():
                assert next(call) == b"0"
                watch = call._self_read.watch
                assert watch.collided(sys._getframe()) == ""
    assert core.decided == []


def test_a_probe_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure of the probe is logged, and the operation goes on."""

    def fail(*args: Any) -> Any:
        raise LookupError("broken")

    with holding() as core:
        monkeypatch.setattr(core, "arrive", fail)
        monkeypatch.setattr(core, "collide", fail)
        for call in calls():
            assert next(call) == b"0"
            assert call._self_read.watch.collided(sys._getframe()) == ""
    assert [record.message for record in caplog.records] == [
        "the probe failed; the operation goes on without it",
        "the probe failed; the finding is kept",
    ]
    assert caplog.records[0].levelno == logging.ERROR


def test_the_collector() -> None:
    """A call that the program drops is gone, probed or not, without the collector."""
    gc.disable()
    try:
        with holding():
            for call in calls():
                next(call)
                plain = weakref.ref(call.__wrapped__)
                direction = weakref.ref(call._self_read)
                del call
                assert plain() is None
                assert direction() is None
    finally:
        gc.enable()


# Asyncio


async def test_cancelled_while_held_back_on_a_client() -> None:
    """A read or write that is cancelled during a delay has ended the RPC, as one in progress has."""
    for name in ("read", "write", "done_writing"):
        held = AsyncGate()
        with holding(sleep_async=lambda seconds: held.park()) as core:
            async with (
                aio_server(ECHO, mode=None) as address,
                aio_channel(address) as channel,
            ):
                call = channel.stream_stream(path("Echo"))()
                await within(call.wait_for_connection())
                operation = getattr(call, name)
                task = asyncio.create_task(operation(b"") if name == "write" else operation())
                await held.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await within(task)
                assert call.cancelled()
                assert await within(call.code()) is grpc.StatusCode.CANCELLED
        assert [visit.delay for visit in core.given_up] == [0.05]


@pytest.mark.parametrize("is_probed", [False, True], ids=["in progress", "held back"])
async def test_cancelled_while_held_back_on_a_server(is_probed: bool, found: Found) -> None:
    """A handler's read that is cancelled during a delay has the effect of one in progress."""
    held, told = AsyncGate(), asyncio.get_running_loop().create_future()

    async def handle(requests: Any, context: Any) -> None:
        task = asyncio.create_task(context.read())
        await (held.wait() if is_probed else settle())
        task.cancel()
        await asyncio.wait([task])
        held.open()
        told.set_result((task.cancelled(), await context.read()))

    methods = {"Echo": grpc.stream_stream_rpc_method_handler(handle)}
    with contextlib.ExitStack() as stack:
        if is_probed:
            stack.enter_context(holding(sleep_async=lambda seconds: held.park()))
        async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
            call = channel.stream_stream(path("Echo"))()
            assert await within(told) == (True, grpc.aio.EOF)
            call.cancel()
    assert [finding.rule for finding in found()] == ["cancelled-read"]


async def test_timeout_of_the_task() -> None:
    """A delay is at most a tenth of the time left to the time-out around the operation."""

    async def read(call: Any) -> bytes:
        return await call.read()

    with holding(most=1000, sleep_async=lambda seconds: asyncio.sleep(0)) as core:
        async with (
            aio_server(COUNT, mode=None) as address,
            aio_channel(address) as channel,
        ):
            call = channel.unary_stream(path("Count"))(b"")
            other = asyncio.create_task(asyncio.wait_for(asyncio.Event().wait(), PATIENCE / 2))
            await settle()
            assert await call.read() == b"0"
            assert await within(read(call)) == b"1"
            assert core.decided[0] == 1000
            assert 1 < core.decided[1] <= 2
            async with asyncio.timeout(PATIENCE):
                assert await call.read() == b"2"
            assert 1 < core.decided[2] <= 2
            other.cancel()


async def test_deadline_of_an_aio_call() -> None:
    """A delay is at most a tenth of the time left until the deadline, on both sides."""

    async def handle(requests: Any, context: Any) -> None:
        while await context.read() is not grpc.aio.EOF:
            await context.write(b"0")

    methods = {"Echo": grpc.stream_stream_rpc_method_handler(handle)}
    with holding(most=1000, sleep_async=lambda seconds: asyncio.sleep(0)) as core:
        async with (
            aio_server(methods) as address,
            aio_channel(address) as channel,
        ):
            call = channel.stream_stream(path("Echo"))(timeout=PATIENCE)
            await call.write(b"0")
            await call.read()
            call.cancel()
    assert {visit.place.function for visit in core.visits} == {
        "handle",
        "test_deadline_of_an_aio_call",
    }
    # gRPC tells a server the time that is left in few digits, rounded up.
    assert 0 < max(core.decided) <= 1.1 * PATIENCE / 10


async def test_yield_beside_write(found: Found) -> None:
    """What a handler yields is held back too, and its line is the yield's."""
    held, refused = AsyncGate(), []

    async def handle(requests: Any, context: Any) -> AsyncIterator[bytes]:
        async def write() -> None:
            await held.wait()
            try:
                await context.write(b"progress")
            except grpc_guard.ConcurrencyError as error:
                refused.append(error.finding)
            held.open()

        other = asyncio.create_task(write())
        yield b"result"
        await other

    methods = {"Echo": grpc.stream_stream_rpc_method_handler(handle)}
    with holding(sleep_async=lambda seconds: held.park()) as core:
        async with (
            aio_server(methods) as address,
            aio_channel(address, mode=None) as channel,
        ):
            call = channel.stream_stream(path("Echo"))()
            assert await within(call.read()) == b"result"
            assert await within(call.read()) is grpc.aio.EOF
    assert found() == refused
    (finding,) = refused
    assert finding.message.endswith("near miss within 100 ms first seen in run 1)")
    assert finding.owner.site.code == 'yield b"result"'
    line = inspect.getsourcelines(handle)[1] + 10
    assert core.visits[0].place == Place(__file__, line, "handle")


async def test_yield_that_is_let_through(found: Found) -> None:
    """A yield beside a write that is held back goes on in mode warn, and is not held back."""
    held = AsyncGate()

    async def handle(requests: Any, context: Any) -> AsyncIterator[bytes]:
        other = asyncio.create_task(context.write(b"progress"))
        await held.wait()
        yield b"result"
        held.open()
        await other

    methods = {"Echo": grpc.stream_stream_rpc_method_handler(handle)}
    with holding(sleep_async=lambda seconds: held.park()) as core:
        async with (
            aio_server(methods, mode="warn") as address,
            aio_channel(address, mode=None) as channel,
        ):
            call = channel.stream_stream(path("Echo"))()
            assert await within(call.read()) == b"result"
            assert await within(call.read()) == b"progress"
            assert await within(call.read()) is grpc.aio.EOF
    (finding,) = found()
    assert finding.message.endswith("near miss within 100 ms first seen in run 1)")
    assert len(core.visits) == 1
    ((_, place),) = core.pairs
    assert place.function == "handle"


async def test_cancelled_while_a_yield_is_held_back() -> None:
    """A handler whose RPC is cancelled while its yield is held back is told as ever."""
    held, ended = AsyncGate(), asyncio.Event()

    async def handle(requests: Any, context: Any) -> AsyncIterator[bytes]:
        try:
            yield b"result"
        finally:
            ended.set()

    methods = {"Echo": grpc.stream_stream_rpc_method_handler(handle)}
    with holding(sleep_async=lambda seconds: held.park()):
        async with (
            aio_server(methods) as address,
            aio_channel(address, mode=None) as channel,
        ):
            call = channel.stream_stream(path("Echo"))()
            await held.wait()
            call.cancel()
            await within(ended.wait())
            held.open()


class Stream:
    """A stream record of a handler."""

    loop: Any = None
    rpc = "/rpc"
    handler = None

    def call(self) -> None: ...

    def is_over(self) -> bool:
        return False


async def test_yields_pass_on_everything() -> None:
    """What gRPC sends, throws or closes reaches the handler through the probe."""
    heard: list[Any] = []

    async def responses() -> AsyncIterator[Any]:
        try:
            heard.append((yield 1))
            try:
                yield 2
            except Lost as lost:
                heard.append(type(lost))
            yield 3
        finally:
            heard.append("closed")

    with holding():
        stream: Any = Stream()
        stream.loop = asyncio.get_running_loop()
        watch = probe.prober().watch(stream, None)
        generator = watch.yields(responses())
        assert await generator.__anext__() == 1
        assert await generator.asend("sent") == 2
        assert await generator.athrow(Lost()) == 3
        await generator.aclose()
    assert heard == ["sent", Lost, "closed"]


async def test_a_begun_and_cancelled_operation() -> None:
    """An operation that is cancelled at its first wait may go on waiting, return or have returned."""
    cancellation = asyncio.CancelledError()

    async def at_once() -> None:
        return

    async def sleeps() -> str:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "swallowed"
        return "never"

    async def tidies_up() -> str:
        waits = asyncio.get_running_loop().create_future()
        try:
            await waits
        except asyncio.CancelledError:
            assert waits.cancelled()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return "tidy"
        return "never"

    with pytest.raises(asyncio.CancelledError):
        await Cancelled(at_once(), cancellation)
    assert await Cancelled(sleeps(), cancellation) == "swallowed"
    assert await Cancelled(tidies_up(), cancellation) == "tidy"


async def test_a_task_that_is_gone() -> None:
    """A visit keeps no task alive."""

    async def read() -> bytes:
        return b"0"

    with holding(sleep_async=lambda seconds: asyncio.sleep(0)) as core:
        stream: Any = Stream()
        stream.loop = asyncio.get_running_loop()
        step = probe.prober().watch(stream, None).watching(read)
        task = asyncio.create_task(step())
        await asyncio.wait([task])
        (visit,) = core.visits
        assert visit.delay == 0.05
        assert visit.party == weakref.ref(task)
        assert visit.place == Place("", 0, "/rpc")
        alive = weakref.ref(task)
        del task
        gc.collect()
        assert alive() is None


async def test_off_its_loop() -> None:
    """What runs beside its own loop is not held back."""
    with holding():
        stream: Any = Stream()
        stream.loop = asyncio.new_event_loop()
        try:
            watch = probe.prober().watch(stream, None)
            assert watch._allowance(None) == 0
            assert watch._party() is None
        finally:
            stream.loop.close()


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (TimeoutError(), True),
        (asyncio.CancelledError(), True),
        (ValueError(), False),
        (StopIteration(), False),
    ],
)
def test_timeouts(error: BaseException, is_one: bool) -> None:
    """A cancellation and a time-out count, other errors do not."""
    assert is_timeout(error) == is_one


def test_visit() -> None:
    """A visit without a delay is not held."""
    assert not ProbedOperation(Place("", 0, ""), 1).is_held
