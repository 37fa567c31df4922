"""lost-exception, and what else becomes of iterators and handlers of grpc.aio."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import (
    GrpcDriven,
    Mode,
    Origin,
    Stream,
    Subject,
    aio_requests,
    losses,
    outliving,
)
from support.comparison import no_collector
from support.staging import AsyncGate, aio_channel, aio_server, outcomes, path, settle, within

from grpc_guard import Finding, guarded

pytestmark = pytest.mark.usefixtures("in_each_mode")
Found = Callable[[], list[Finding]]
STREAM = path("Stream")


def failing() -> Iterator[bytes]:
    yield b"1"
    raise KeyError("secret")


async def failing_async() -> AsyncIterator[bytes]:
    yield b"1"
    raise KeyError("secret")


async def swallow(requests: Any, context: Any) -> bytes:
    return b"%d" % len([message async for message in requests])


@pytest.mark.parametrize("requests", [failing, failing_async])
async def test_an_iterator_that_raises(requests: Any, found: Found) -> None:
    """The type of the exception and its line are told, and nothing else of it."""
    methods = {"Stream": grpc.stream_unary_rpc_method_handler(swallow)}
    async with aio_server(methods, mode=None) as address, aio_channel(address) as channel:
        (outcome,) = await outcomes(channel.stream_unary(STREAM)(requests()))
    assert isinstance(outcome, asyncio.CancelledError)
    (finding,) = found()
    assert (finding.rule, finding.side, finding.api) == ("lost-exception", "client", "aio")
    assert "raised KeyError at " in finding.message
    assert "secret" not in finding.message
    assert finding.caller.site is not None
    assert finding.caller.site.function == requests.__name__


async def test_an_iterator_that_raises_after_the_end(found: Found) -> None:
    """An iterator that fails because its RPC has ended is no loss."""
    gate, ended = AsyncGate(), asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        try:
            yield b"1"
            await gate.park()
            raise KeyError
        finally:
            ended.set()

    answering = AsyncGate()

    async def answer(requests: Any, context: Any) -> bytes:
        return await answering.park(b"done")

    methods = {"Stream": grpc.stream_unary_rpc_method_handler(answer)}
    async with aio_server(methods, mode=None) as address, aio_channel(address) as channel:
        call = channel.stream_unary(STREAM)(requests())
        await gate.wait()
        answering.open()
        assert await within(call) == b"done"
        gate.open()
        await within(ended.wait())
    assert found() == []


async def cancelled_job() -> None:
    job = asyncio.create_task(asyncio.sleep(60))
    await settle()
    job.cancel()
    await job


async def in_coroutine(*call: Any) -> None:
    await cancelled_job()


async def in_generator(*call: Any) -> AsyncIterator[bytes]:
    yield b"1"
    await cancelled_job()


HANDLERS = [
    ("unary_unary", in_coroutine),
    ("stream_unary", in_coroutine),
    ("unary_stream", in_coroutine),
    ("unary_stream", in_generator),
]


@pytest.mark.parametrize(("shape", "behavior"), HANDLERS)
async def test_a_handler_that_ends_by_the_cancellation_of_another(
    shape: str, behavior: Any, found: Found, reported: Any
) -> None:
    """The client waits for ever; the line where the cancellation came out is told."""
    methods = {"Stream": getattr(grpc, f"{shape}_rpc_method_handler")(behavior)}
    async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
        call = getattr(channel, shape)(STREAM)(*([b""] if shape.startswith("unary") else []))
        finding = await within(asyncio.to_thread(reported.get, timeout=20))
        assert (finding.rule, finding.side, finding.rpc) == ("lost-exception", "server", STREAM)
        assert finding.caller.site.function == "cancelled_job"
        assert not call.done()
        call.cancel()
    assert len(found()) == 1


@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream"])
async def test_a_handler_that_is_cancelled(shape: str, found: Found) -> None:
    """A handler whose client has gone is cancelled, and that is how it ends."""
    gate, ended = AsyncGate(), asyncio.Event()

    async def hold(request: bytes, context: Any) -> None:
        try:
            await gate.park()
        finally:
            ended.set()

    methods = {"Stream": getattr(grpc, f"{shape}_rpc_method_handler")(hold)}
    async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
        call = getattr(channel, shape)(STREAM)(b"")
        await gate.wait()
        call.cancel()
        await within(ended.wait())
    assert found() == []


async def test_a_cancelled_handler_that_counts_it_as_done(found: Found) -> None:
    """A handler whose client has gone may call uncancel() to tidy up; it ends as one that is cancelled."""
    gate, ended = AsyncGate(), asyncio.Event()

    async def hold(request: bytes, context: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await gate.park()
        except asyncio.CancelledError:
            task.uncancel()
            await settle()
            task.add_done_callback(lambda _: ended.set())
            raise

    methods = {"Stream": grpc.unary_unary_rpc_method_handler(hold)}
    async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
        call = channel.unary_unary(STREAM)(b"")
        await gate.wait()
        call.cancel()
        await within(ended.wait())
    assert found() == []


class Between(grpc.aio.ServerInterceptor):
    """Runs handlers of `shape`; `is_tolerant`, it turns a CancelledError that is not its own into a status."""

    def __init__(self, shape: str, *, is_tolerant: bool) -> None:
        self.shape = shape
        self.is_tolerant = is_tolerant
        self.ended = asyncio.Event()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        behavior = getattr(await continuation(details), self.shape)

        async def run(request: Any, context: Any) -> Any:
            task: Any = asyncio.current_task()
            task.add_done_callback(lambda _: self.ended.set())
            try:
                return await behavior(request, context)
            except asyncio.CancelledError:
                if not self.is_tolerant:
                    raise
                await context.abort(grpc.StatusCode.UNAVAILABLE, "over")

        async def generate(request: Any, context: Any) -> Any:
            task: Any = asyncio.current_task()
            task.add_done_callback(lambda _: self.ended.set())
            try:
                async for response in behavior(request, context):
                    yield response
            except asyncio.CancelledError:
                if not self.is_tolerant:
                    raise
                await context.abort(grpc.StatusCode.UNAVAILABLE, "over")

        runs = generate if behavior.__name__ == "in_generator" else run
        return getattr(grpc, f"{self.shape}_rpc_method_handler")(runs)


@pytest.mark.parametrize("is_tolerant", [True, False])
@pytest.mark.parametrize(("shape", "behavior"), HANDLERS)
async def test_an_interceptor_around_a_handler_that_ends_by_a_cancellation(
    shape: str, behavior: Any, is_tolerant: bool, found: Found
) -> None:
    """It may turn the exception into a status, and then nothing is lost."""
    between = Between(shape, is_tolerant=is_tolerant)
    methods = {"Stream": getattr(grpc, f"{shape}_rpc_method_handler")(behavior)}
    async with (
        aio_server(methods, interceptors=[between]) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = getattr(channel, shape)(STREAM)(*([b""] if shape.startswith("unary") else []))
        await within(between.ended.wait())
        await settle()
        told = found()
        if is_tolerant:
            if behavior is in_generator:
                assert await within(call.read()) == b"1"
            assert await within(call.code()) is grpc.StatusCode.UNAVAILABLE
        call.cancel()
    assert [str(one.rule) for one in told] == ["lost-exception"] * (not is_tolerant)
    for finding in told:
        assert finding.caller.site is not None
        assert finding.caller.site.function == "cancelled_job"


@pytest.mark.parametrize("is_tolerant", [True, False])
async def test_a_handler_that_is_restarted_behind_an_interceptor(
    is_tolerant: bool, found: Found
) -> None:
    """Only the last exception can be lost, here in the first step of the task; each is noted in place of the one before."""
    callbacks: list[int] = []
    ended = asyncio.Event()

    async def give_up(requests: Any, context: Any) -> None:
        raise asyncio.CancelledError

    class Restarting(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            behavior = (await continuation(details)).stream_unary

            async def run(requests: Any, context: Any) -> bytes:
                task: Any = asyncio.current_task()
                task.add_done_callback(lambda _: ended.set())
                for _ in range(5):
                    try:
                        await behavior(requests, context)
                    except asyncio.CancelledError:
                        callbacks.append(len(task._callbacks))
                if is_tolerant:
                    return b"at last"
                raise asyncio.CancelledError

            return grpc.stream_unary_rpc_method_handler(run)

    methods = {"Stream": grpc.stream_unary_rpc_method_handler(give_up)}
    async with (
        aio_server(methods, interceptors=[Restarting()]) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = channel.stream_unary(STREAM)([])
        await within(ended.wait())
        await settle()
        told = found()
        call.cancel()
    assert len(set(callbacks)) == 1
    assert [str(one.rule) for one in told] == ["lost-exception"] * (not is_tolerant)


class Thing:
    """What a function of the program has in hand."""


async def test_nothing_is_kept_of_what_an_interceptor_may_handle(found: Found) -> None:
    """To look at it leaves no cycle of frames behind."""
    gone: list[weakref.ref[Thing]] = []

    async def in_coroutine(*call: Any) -> None:
        thing = Thing()
        gone.append(weakref.ref(thing))
        await cancelled_job()

    between = Between("unary_unary", is_tolerant=False)
    methods = {"Stream": grpc.unary_unary_rpc_method_handler(in_coroutine)}
    async with (
        aio_server(methods, interceptors=[between]) as address,
        aio_channel(address, mode=None) as channel,
    ):
        with no_collector():
            call = channel.unary_unary(STREAM)(b"")
            await within(between.ended.wait())
            await settle()
            assert [reference() for reference in gone] == [None]
        call.cancel()
    assert len(found()) == 1


class AioBetween(grpc.aio.StreamUnaryClientInterceptor):
    """Hands on the requests by a generator; `is_tolerant`, it ends them where they fail."""

    def __init__(self, *, is_tolerant: bool) -> None:
        self.is_tolerant = is_tolerant

    async def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        async def passing() -> AsyncIterator[bytes]:
            try:
                async for request in requests:
                    yield request
            except KeyError:
                if not self.is_tolerant:
                    raise

        return await continuation(details, passing())


@pytest.mark.parametrize("is_tolerant", [True, False])
async def test_an_interceptor_around_an_iterator_that_raises(
    is_tolerant: bool, found: Found
) -> None:
    """The same for what a request iterator raises."""
    methods = {"Stream": grpc.stream_unary_rpc_method_handler(swallow)}
    between = AioBetween(is_tolerant=is_tolerant)
    async with (
        aio_server(methods, mode=None) as address,
        aio_channel(address, interceptors=[between]) as channel,
    ):
        (outcome,) = await outcomes(channel.stream_unary(STREAM)(failing_async()))
    if is_tolerant:
        assert outcome == b"1"
    else:
        assert isinstance(outcome, asyncio.CancelledError)
    told = found()
    assert [str(one.rule) for one in told] == ["lost-exception"] * (not is_tolerant)
    for finding in told:
        assert finding.caller.site is not None
        assert finding.caller.site.function == "failing_async"


async def test_an_interceptor_that_cancels_the_call_itself(found: Found) -> None:
    """It has the exception, ends the RPC, and tells who awaits it: as the remedy of the rule says."""

    class Telling(grpc.aio.StreamUnaryClientInterceptor):
        async def intercept_stream_unary(
            self, continuation: Any, details: Any, requests: Any
        ) -> Any:
            failed: list[KeyError] = []

            async def passing() -> AsyncIterator[bytes]:
                try:
                    async for request in requests:
                        yield request
                except KeyError as error:
                    failed.append(error)
                    call.cancel()

            call = await continuation(details, passing())
            try:
                return await call
            except asyncio.CancelledError:
                raise RuntimeError from failed[0]

    methods = {"Stream": grpc.stream_unary_rpc_method_handler(swallow)}
    async with (
        aio_server(methods, mode=None) as address,
        aio_channel(address, interceptors=[Telling()]) as channel,
    ):
        (outcome,) = await outcomes(channel.stream_unary(STREAM)(failing_async()))
    assert isinstance(outcome, RuntimeError)
    assert found() == []


async def test_an_interceptor_that_takes_the_requests_itself(found: Found) -> None:
    """What an iterator raises in an interceptor's own loop reaches the program: it is not lost."""

    class Collecting(grpc.aio.StreamUnaryClientInterceptor):
        async def intercept_stream_unary(
            self, continuation: Any, details: Any, requests: Any
        ) -> Any:
            collected = []
            with pytest.raises(KeyError):
                async for request in requests:
                    collected.append(request)
            return await continuation(details, iter(collected))

    methods = {"Stream": grpc.stream_unary_rpc_method_handler(swallow)}
    async with (
        aio_server(methods, mode=None) as address,
        aio_channel(address, interceptors=[Collecting()]) as channel,
    ):
        assert await within(channel.stream_unary(STREAM)(failing_async())) == b"1"
    assert found() == []


async def test_a_task_that_cannot_tell(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a task that does not say whether it is being cancelled, nothing is said."""
    own_kind = SimpleNamespace(get_name=lambda: "own")
    monkeypatch.setattr(asyncio, "current_task", lambda: own_kind)
    try:
        raise asyncio.CancelledError  # in a line of the program, or it would be no loss anyway
    except asyncio.CancelledError as error:
        losses.handler_cancelled(Subject(STREAM, "server", "aio"), error)
    assert found() == []


# parked-request-iterator


async def fail(requests: Any, context: Any) -> None:
    await context.read()
    await context.abort(grpc.StatusCode.INTERNAL, "over")


class Outlasting:
    """A request iterator that waits at a gate while its RPC ends."""

    def __init__(self) -> None:
        self.gate, self.left = AsyncGate(), asyncio.Event()

    async def requests(self) -> AsyncIterator[bytes]:
        try:
            yield b"1"
            await self.gate.park()
            yield b"2"
        finally:
            self.left.set()

    async def outlast(self, channel: Any) -> Any:
        call = channel.stream_stream(STREAM)(self.requests())
        await self.gate.wait()
        assert isinstance((await outcomes(call.read()))[0], grpc.aio.AioRpcError)
        return call


FAILING = {"Stream": grpc.stream_stream_rpc_method_handler(fail)}


@pytest.mark.parametrize("mode", ["raise", "serialize"])
async def test_one_more_message_after_the_end(mode: str, found: Found) -> None:
    """A message that an iterator gives when its RPC is over is lost, and that is told at once."""
    outlasting = Outlasting()
    async with (
        aio_server(FAILING, mode=None) as address,
        aio_channel(address, mode=mode) as channel,
    ):
        with guarded("off", thresholds={"parked_iterator_seconds": 0}):
            call = await outlasting.outlast(channel)
            outlasting.gate.open()
            del call
            while not (told := found()):
                await settle()
    (finding,) = told
    assert finding.rule == "parked-request-iterator"
    assert " has given one more message, which is lost; started " in finding.message
    assert finding.owner is not None


async def test_an_iterator_that_ends_within_its_time(found: Found) -> None:
    """An iterator has a moment to end with its RPC."""
    outlasting = Outlasting()
    async with aio_server(FAILING, mode=None) as address, aio_channel(address) as channel:
        call = await outlasting.outlast(channel)
        outlasting.gate.open()
        await within(call.code())
        del call
        gc.collect()
        await within(outlasting.left.wait())
    assert found() == []


@pytest.mark.parametrize(("mode", "patience"), [("raise", 0), ("raise", 60), ("serialize", 0)])
async def test_an_iterator_that_is_parked_to_the_end(
    mode: str, patience: int, found: Found
) -> None:
    """An iterator that is still waiting when its task is cancelled has outlived its RPC."""
    outlasting = Outlasting()
    async with (
        aio_server(FAILING, mode=None) as address,
        aio_channel(address, mode=mode) as channel,
    ):
        with guarded("off", thresholds={"parked_iterator_seconds": patience}):
            call = await outlasting.outlast(channel)
            poller = call.__wrapped__._async_request_poller
            poller.cancel()
            await within(outlasting.left.wait())
            await outcomes(poller)
    told = found()
    assert [finding.rule for finding in told] == ["parked-request-iterator"] * (patience == 0)
    for finding in told:
        assert finding.owner is not None
        assert finding.owner.site is not None
        assert finding.owner.operation == "anext(request_iterator)"


async def test_an_iterator_of_a_call_that_was_cancelled(found: Found) -> None:
    """cancel() ends the iterator as well: nothing is parked."""
    outlasting = Outlasting()
    async with aio_server(FAILING, mode=None) as address, aio_channel(address) as channel:
        call = channel.stream_stream(STREAM)(outlasting.requests())
        call.cancel()
        await outcomes(call.code())
        gc.collect()
    assert found() == []


def leave(error: type[BaseException] | None, stream: Any) -> Any:
    """Leave an iterator of `stream`, whose RPC is over, by `error`."""
    direction = GrpcDriven(stream, "write", None)
    direction.taken = True
    outliving._rpc_ended(lambda: direction, SimpleNamespace(cancelled=bool))
    assert not direction.is_free
    try:
        if error is not None:
            raise error
    except BaseException:
        direction.taken = False
    else:
        direction.taken = False
    assert type(direction) is GrpcDriven
    assert direction.is_free
    return direction


def test_how_an_iterator_is_left(found: Found) -> None:
    """One that ends by itself is not parked; one that the collector takes is reported later."""
    stream: Any = SimpleNamespace(
        loop=None,
        is_instrumented=False,
        origin=None,
        subject=Subject("/a/b", "client", "aio"),
    )
    with guarded("off", thresholds={"parked_iterator_seconds": 0}):
        leave(GeneratorExit, stream)  # it is unknown where it began
        stream.origin = Origin("start", None)
        leave(StopAsyncIteration, stream)
        leave(GeneratorExit, stream)
        assert found() == []
        outliving.tell_parked()
        (finding,) = found()
        assert "task '(collected)' has been in its request iterator" in finding.message
    outliving._rpc_ended(lambda: None, None)


class InterruptError(Exception):
    """What a signal handler raises."""


def test_an_iterator_whose_leaving_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its direction is free all the same, and the next one takes and leaves it."""
    direction: Any = GrpcDriven(Stream("/a/b", "client", "aio", Mode.RAISE), "write", None)
    direction.taken = True
    outliving._rpc_ended(lambda: direction, SimpleNamespace(cancelled=bool))
    take = outliving._take

    def interrupted(direction: Any, value: bool) -> None:
        take(direction, value)
        raise InterruptError

    with monkeypatch.context() as patch:
        patch.setattr(outliving, "_take", interrupted)
        with pytest.raises(InterruptError):
            direction.taken = False
    assert direction.is_free
    direction.taken = True
    assert (type(direction), direction.is_free) == (outliving.Outlived, False)
    direction.taken = False
    assert (type(direction), direction.is_free) == (GrpcDriven, True)


@pytest.mark.parametrize("mode", [Mode.RAISE, Mode.SERIALIZE])
async def test_an_iterator_that_is_asked_again(mode: Mode) -> None:
    """gRPC, which was not in it when the RPC ended, may take one more message."""
    stream = Stream("/a/b", "client", "aio", mode, asyncio.get_running_loop())
    requests: Any = aio_requests.guard_requests(failing_async(), stream)
    outliving._rpc_ended(lambda: requests._self_write, SimpleNamespace(cancelled=bool))
    assert await anext(requests) == b"1"
    assert requests._self_write.is_free


def test_a_call_that_tells_no_end() -> None:
    """A call of another kind is left alone, and so is a stream whose direction has gone."""
    outliving.watch_end(None, SimpleNamespace(write=None))

    class RefusedError(Exception):
        pass

    def refuse(callback: object) -> None:
        raise RefusedError

    for call in (object(), SimpleNamespace(add_done_callback=refuse)):
        outliving.watch_end(call, SimpleNamespace(write=failing_async))
