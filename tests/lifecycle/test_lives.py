"""The lives of channels: closed ones, crowded ones, too many of them, and those of a parent."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import io
import json
import os
import queue
import subprocess
import sys
import unittest
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from inside import (
    Origin,
    catalogue_thresholds,
    forks,
    grpcio_door,
    lifecycle_channels,
    lifecycle_churn,
    lifecycle_inherited,
    note_origin,
    starts,
)
from support.staging import (
    RELEASE,
    AsyncGate,
    Gate,
    aio_channel,
    aio_server,
    inside_grpc,
    logged_by_us,
    path,
    sync_channel,
    sync_server,
    within,
)

import grpc_guard
from grpc_guard import Finding, guarded, wrap

Found = Callable[[], list[Finding]]
SHARED = [("grpc.use_local_subchannel_pool", 0)]


def count(requests: Any, context: Any) -> bytes:
    return str(sum(1 for _ in requests)).encode()


METHODS = {
    "Same": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
    "Numbers": grpc.unary_stream_rpc_method_handler(lambda _, context: iter([b"1", b"2"])),
    "Count": grpc.stream_unary_rpc_method_handler(count),
    "Echo": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
}

WAYS: dict[str, Callable[[Any], Any]] = {
    "unary_stream": lambda channel: channel.unary_stream(path("Numbers"))(b""),
    "stream_stream": lambda channel: channel.stream_stream(path("Echo"))(iter([])),
    "stream_unary": lambda channel: channel.stream_unary(path("Count"))(iter([])),
    "with_call": lambda channel: channel.stream_unary(path("Count")).with_call(iter([])),
    "future": lambda channel: channel.stream_unary(path("Count")).future(iter([])),
    "unary_unary": lambda channel: channel.unary_unary(path("Same"))(b""),
    "unary_unary with_call": lambda channel: channel.unary_unary(path("Same")).with_call(b""),
    "unary_unary future": lambda channel: channel.unary_unary(path("Same")).future(b""),
}
AIO_WAYS = ("unary_unary", "unary_stream", "stream_stream", "stream_unary")

way = pytest.mark.parametrize("way", WAYS)
aio_way = pytest.mark.parametrize("way", AIO_WAYS)


def close_it(channel: Any) -> None:
    channel.close()


def leave_it(channel: Any) -> None:
    with channel:
        pass


async def leave_it_async(channel: Any) -> None:
    async with channel:
        pass


async def close_it_async(channel: Any) -> None:
    await channel.close()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets thresholds for this test."""

    def set_limits(**values: Any) -> None:
        monkeypatch.setattr(
            catalogue_thresholds, "_current", catalogue_thresholds.Thresholds(**values)
        )

    return set_limits


# closed-channel


def check_closed(found: Found, error: BaseException, api: str, closer: str, maker: str) -> None:
    (finding,) = found()
    assert (finding.rule, finding.side, finding.api) == ("closed-channel", "client", api)
    assert finding.caller.site is not None
    assert finding.caller.site.function == "<lambda>"
    assert finding.owner is not None
    assert finding.owner.operation == "close"
    assert finding.owner.site is not None
    assert finding.owner.site.function == closer
    made = finding.message.rpartition(" at ")[2]
    assert made.startswith(maker)
    assert "the channel was closed " in finding.message
    (note,) = error.__notes__
    assert note.startswith("grpc_guard: channel to ")
    assert finding.message.endswith(note.partition(": channel to ")[2].partition(": ")[2])


@way
@pytest.mark.parametrize("end", [close_it, leave_it])
def test_a_sync_rpc_on_a_closed_channel(way: str, end: Callable[..., None], found: Found) -> None:
    """grpcio's own error goes on, and says who closed the channel and where it was made."""
    plain = grpc.insecure_channel("127.0.0.1:1")
    plain.close()
    with pytest.raises(ValueError, match="[Cc]losed") as bare:
        WAYS[way](plain)
    channel = wrap(grpc.insecure_channel("127.0.0.1:1"))
    end(channel)
    with pytest.raises(ValueError, match="[Cc]losed") as caught:
        WAYS[way](channel)
    assert type(caught.value) is type(bare.value)
    assert str(caught.value) == str(bare.value)
    check_closed(found, caught.value, "sync", end.__name__, __file__)


@way
@pytest.mark.parametrize("end", [close_it, leave_it])
def test_a_sync_rpc_on_a_channel_closed_under_the_process_guard(
    way: str, end: Callable[..., None], found: Found
) -> None:
    """Under the process-wide guard it is reported too, even for a stub that the program kept."""
    with guarded():
        channel = grpc.insecure_channel("127.0.0.1:1")
        stub = WAYS[way]
        end(channel)
        with pytest.raises(ValueError, match="[Cc]losed") as caught:
            stub(channel)
    check_closed(found, caught.value, "sync", end.__name__, __file__)


@aio_way
@pytest.mark.parametrize("end", [close_it_async, leave_it_async])
async def test_an_aio_rpc_on_a_closed_channel(
    way: str, end: Callable[..., Any], found: Found
) -> None:
    """grpcio's own error goes on, and says who closed the channel and where it was made."""
    channel = wrap(grpc.aio.insecure_channel("127.0.0.1:1"))
    await end(channel)
    with pytest.raises(grpc.aio.UsageError, match=r"^Channel is closed\.") as caught:
        WAYS[way](channel)
    assert str(caught.value) == "Channel is closed."
    check_closed(found, caught.value, "aio", end.__name__, __file__)


@aio_way
@pytest.mark.parametrize("end", [close_it_async, leave_it_async])
async def test_an_aio_rpc_on_a_channel_closed_under_the_process_guard(
    way: str, end: Callable[..., Any], found: Found
) -> None:
    """Under the process-wide guard it is reported too."""
    with guarded():
        channel = grpc.aio.insecure_channel("127.0.0.1:1")
        await end(channel)
        with pytest.raises(grpc.aio.UsageError) as caught:
            WAYS[way](channel)
    check_closed(found, caught.value, "aio", end.__name__, __file__)


def test_a_sync_stream_that_dies_of_its_channel(found: Found) -> None:
    """The reader's error names the party that closed the channel, unless the RPC had ended."""
    gate = Gate()
    hold = grpc.unary_stream_rpc_method_handler(lambda request, context: iter([gate.park(b"1")]))
    with sync_server({**METHODS, "Hold": hold}, mode=None) as address:
        channel = wrap(grpc.insecure_channel(address))
        ended = channel.unary_stream(path("Numbers"))(b"")
        assert list(ended) == [b"1", b"2"]
        call = channel.unary_stream(path("Hold"))(b"")
        with gate.held():
            reader = inside_grpc(next, call)
            close_it(channel)
            error = reader.exception()
    assert isinstance(error, grpc.RpcError)
    assert error.code() is grpc.StatusCode.CANCELLED  # type: ignore[attr-defined]
    (note,) = error.__notes__
    assert note.startswith(f"grpc_guard: channel to {address}: the channel was closed ")
    assert not hasattr(ended.__wrapped__, "__notes__")
    assert found() == []


async def caught(awaitable: Any) -> BaseException | None:
    """Return the CancelledError that ends `awaitable`: awaiting a task would raise a new one."""
    try:
        await awaitable
    except asyncio.CancelledError as error:
        return error
    return None


async def test_an_aio_stream_that_dies_of_its_channel(found: Found) -> None:
    """The same of a call of grpc.aio, whose reader is cancelled."""
    gate = AsyncGate()

    async def hold(request: bytes, context: Any) -> None:
        await gate.park()

    methods = {"Hold": grpc.unary_stream_rpc_method_handler(hold)}
    async with aio_server(methods, mode=None) as address:
        channel = wrap(grpc.aio.insecure_channel(address))
        call = channel.unary_stream(path("Hold"))(b"")
        reader = asyncio.create_task(caught(call.read()))
        await gate.wait()
        await close_it_async(channel)
        error = await within(reader)
        gate.open()
    assert isinstance(error, asyncio.CancelledError)
    (note,) = error.__notes__
    targets = (address, "(a channel wrapped by hand)")  # older releases of grpcio do not tell it
    says = tuple(f"grpc_guard: channel to {each}: the channel was closed " for each in targets)
    assert note.startswith(says)
    assert found() == []


@pytest.mark.parametrize(("times", "is_kept"), [(10, False), (10, True), (8, False)])
async def test_aio_calls_that_were_dropped(times: int, is_kept: bool, found: Found) -> None:
    """Many dropped calls of one line live on to the end of their channel."""
    release = AsyncGate()

    async def hold(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"1"
        await release.park()

    async def first_message(channel: Any) -> Any:
        call = channel.unary_stream(path("Hold"))(b"")
        async for _ in call:
            return call if is_kept else None

    methods = {"Hold": grpc.unary_stream_rpc_method_handler(hold)}
    async with aio_server(methods, mode=None) as address:
        with guarded():
            channel = grpc.aio.insecure_channel(address)
            kept = [await within(first_message(channel)) for _ in range(times)]
            gc.collect()
            await channel.close()
        release.open()
    told = found()
    assert len(kept) == times
    if times == 8 or is_kept or RELEASE < (1, 83):
        assert told == []
        return
    (finding,) = told
    assert finding.rule == "unfinished-stream"
    assert ": dropped while it went on, neither drained nor cancelled; " in finding.message
    assert finding.message.endswith(", and 9 more from there")
    assert finding.caller.site is not None
    assert finding.caller.site.function == "first_message"


def test_a_channel_that_was_closed_unseen(found: Found) -> None:
    """If the close of the channel was not seen, the report says where the channel was made."""
    plain = grpc.insecure_channel("127.0.0.1:1")
    channel = wrap(plain)
    plain.close()
    with pytest.raises(ValueError, match="[Cc]losed"):
        WAYS["unary_stream"](channel)
    (finding,) = found()
    assert finding.owner is None
    assert ": the channel is closed; it was made " in finding.message


def test_closing_twice(found: Found) -> None:
    """The party that closed the channel first is the one that is named."""
    channel = wrap(grpc.insecure_channel("127.0.0.1:1"))
    close_it(channel)
    leave_it(channel)
    with pytest.raises(ValueError, match="[Cc]losed"):
        WAYS["unary_stream"](channel)
    (finding,) = found()
    assert finding.owner is not None
    assert finding.owner.site is not None
    assert finding.owner.site.function == "close_it"


@pytest.mark.parametrize("way", ["wrap", "enable", "both"])
def test_subscribing_to_a_closed_channel(
    way: str, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscription to a closed channel is reported: gRPC's thread would die silently."""
    monkeypatch.setattr(grpc._channel.Channel, "subscribe", lambda *_, **__: None)
    with contextlib.nullcontext() if way == "wrap" else guarded():
        channel: Any = grpc.insecure_channel("127.0.0.1:1")
        channel = channel if way == "enable" else wrap(channel)
        channel.subscribe(print)
        assert found() == []
        channel.close()
        grpc.channel_ready_future(channel)
    (finding,) = found()
    assert (finding.rule, finding.count, finding.rpc) == ("closed-channel", 1, "127.0.0.1:1")
    assert finding.caller.site is not None
    assert finding.caller.site.code == "grpc.channel_ready_future(channel)"
    assert finding.owner is not None
    assert finding.owner.site is not None
    assert finding.owner.site.code == "channel.close()"


def test_another_error_at_the_start(found: Found) -> None:
    """An RPC that cannot start for another reason is not reported as on a closed channel."""
    with sync_channel("127.0.0.1:1") as channel, pytest.raises(TypeError):
        channel.unary_stream(path("Numbers"))(b"", metadata=3)
    with sync_channel("127.0.0.1:1") as channel:
        starts.failed_to_start(None, "/a/b", ValueError("closed"))
        life = lifecycle_channels.life_of(channel.unary_stream(path("Numbers")))
        assert life is not None
        starts.failed_to_start(life, "/a/b", ValueError("closed"))
    assert found() == []


def test_the_record_of_a_channel_goes_with_it() -> None:
    """Nothing keeps a channel alive, and nothing is kept of one that is gone."""
    channel = wrap(grpc.insecure_channel("127.0.0.1:1"))
    key = next(reversed(lifecycle_channels._lives))
    life = weakref.ref(lifecycle_channels._lives[key])
    plain = weakref.ref(channel.__wrapped__)
    assert life() is not None
    del channel
    assert (plain(), life(), lifecycle_channels._lives.get(key)) == (None, None, None)


def test_the_record_of_a_channel_that_has_just_gone() -> None:
    """A channel that is gone counts as closed."""
    channel = wrap(grpc.insecure_channel("127.0.0.1:1"))
    life = next(reversed(lifecycle_channels._lives.values()))
    assert (life.target, life.is_closed()) == ("127.0.0.1:1", False)
    del channel
    assert life.is_closed()


@pytest.mark.parametrize(
    ("core", "target"),
    [
        (SimpleNamespace(target=b"here"), "here"),
        (SimpleNamespace(target=lambda: b"here"), "here"),
        (SimpleNamespace(), None),  # grpcio 1.66, aio
    ],
)
def test_the_target_of_a_channel(core: Any, target: str | None) -> None:
    """The target is what grpcio tells, which not every version does."""
    assert grpcio_door.target_of(core) == target


def test_closing_a_channel_made_before(found: Found) -> None:
    """A channel that was made before the guard was on has no record, and closes."""
    channel = grpc.insecure_channel("127.0.0.1:1")
    with guarded():
        channel.close()
        with pytest.raises(ValueError, match="[Cc]losed"):
            WAYS["unary_stream"](channel)
    assert found() == []


async def test_streams_of_an_aio_channel_made_before(found: Found) -> None:
    """Its streams are guarded, and have no channel."""
    async with aio_server(METHODS) as address, aio_channel(address, mode=None) as channel:
        with guarded():
            call = channel.unary_stream(path("Numbers"))(b"")
        assert [message async for message in call] == [b"1", b"2"]
        assert call._self_stream.channel is None
    assert found() == []


def test_wrapping_a_channel_again() -> None:
    """A channel that is known has been made once, at the first place."""
    with guarded():
        plain = grpc.insecure_channel("127.0.0.1:1")
    with plain:
        life = next(reversed(lifecycle_channels._lives.values()))
        wrap(grpc.intercept_channel(plain))
        assert next(reversed(lifecycle_channels._lives.values())) is life
        assert life.origin.operation == "insecure_channel"
        assert life.target == "127.0.0.1:1"


def test_a_channel_of_the_applications_own(found: Found) -> None:
    """A channel that is not grpcio's has no record, and works."""

    class Own(grpc.Channel):
        def subscribe(self, callback: Any, try_to_connect: Any = False) -> None: ...
        def unsubscribe(self, callback: Any) -> None: ...
        def unary_unary(self, *args: Any, **kwargs: Any) -> Any: ...
        def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
            return lambda request: iter([request])

        def stream_unary(self, *args: Any, **kwargs: Any) -> Any: ...
        def stream_stream(self, *args: Any, **kwargs: Any) -> Any: ...
        def close(self) -> None: ...
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *exc_info: object) -> None: ...

    before = set(lifecycle_channels._lives)
    with wrap(Own()) as channel:
        assert list(channel.unary_stream("/a/b")(b"1")) == [b"1"]
    channel.close()
    assert set(lifecycle_channels._lives) <= before  # another may have gone meanwhile


def test_bookkeeping_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the records is logged, and does not reach the program."""
    with sync_server(METHODS) as address:
        with monkeypatch.context() as broken:
            broken.setattr(lifecycle_channels, "anchor_and_core", None)
            broken.setattr(lifecycle_channels, "note_origin", None)
            broken.setattr(starts, "note_origin", None)
            with sync_channel(address) as channel:
                assert list(channel.unary_stream(path("Numbers"))(b"")) == [b"1", b"2"]
        assert logged_by_us(caplog) == [
            "a channel goes unnoticed",
            "the start of a stream goes unnoticed",
        ]
        caplog.clear()
        channel = wrap(grpc.insecure_channel(address))
        with monkeypatch.context() as broken:
            broken.setattr(lifecycle_channels, "note_party", None)
            channel.close()
        monkeypatch.setattr(lifecycle_channels.ChannelLife, "is_closed", None)
        with pytest.raises(ValueError, match="[Cc]losed"):
            channel.unary_stream(path("Numbers"))(b"")
    assert logged_by_us(caplog) == [
        "the end of a channel goes unnoticed",
        "the use of a closed channel goes unnoticed",
    ]


class Interrupted(collections.deque[Any]):
    def append(self, stream: Any, /) -> None:
        raise KeyboardInterrupt


def test_a_table_of_streams_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that cannot be noted is logged, and starts; an interrupt comes through."""
    with sync_server(METHODS) as address, sync_channel(address) as channel:
        numbers = channel.unary_stream(path("Numbers"))
        life = lifecycle_channels.life_of(numbers)
        with monkeypatch.context() as broken:
            broken.setattr(life, "streams", ())
            assert list(numbers(b"")) == [b"1", b"2"]
            assert logged_by_us(caplog) == ["the start of a stream goes unnoticed"]
            broken.setattr(life, "streams", Interrupted())
            with pytest.raises(KeyboardInterrupt):
                numbers(b"")


# stream-limit


def test_many_streams_on_a_sync_channel(found: Found, limits: Callable[..., None]) -> None:
    """Live streams on one channel are reported when they come near its limit."""
    limits(stream_limit=3)
    with sync_server(METHODS) as address, sync_channel(address) as channel:
        echo = channel.stream_stream(path("Echo"))
        for _ in range(5):
            assert list(echo(iter([b"1"]))) == [b"1"]  # one after the other
        assert found() == []
        requests: queue.Queue[bytes | None] = queue.Queue()
        calls = [echo(iter(requests.get, None)) for _ in range(3)]
        (finding,) = found()
        assert finding.rule == "stream-limit"
        assert finding.rpc == address
        assert ": 3 streams live on the channel, which was made " in finding.message
        assert finding.caller.site is not None
        assert finding.caller.site.code.startswith("calls = ")
        calls += [echo(iter(requests.get, None)) for _ in range(2)]
        assert found() == []  # it has been said
        for call in calls:
            call.cancel()
            requests.put(None)


async def test_many_streams_on_an_aio_channel(found: Found, limits: Callable[..., None]) -> None:
    """The same on a channel of grpc.aio."""
    limits(stream_limit=2)
    async with aio_server(METHODS) as address, aio_channel(address) as channel:
        first = channel.unary_stream(path("Numbers"))(b"")
        assert found() == []
        second = channel.unary_stream(path("Numbers"))(b"")
        assert [finding.rule for finding in found()] == ["stream-limit"]
        for call in (first, second):
            assert [message async for message in call] == [b"1", b"2"]


@pytest.mark.skipif(RELEASE < (1, 80), reason="the core counts a waiting RPC as carried")
def test_rpcs_that_wait(
    found: Found, limits: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the core knows that RPCs wait for the peer, the report says so, and no longer guesses."""
    limits(stream_limit=3)
    monkeypatch.setattr(lifecycle_channels, "_MOMENT", 0.0)
    options = [("grpc.max_concurrent_streams", 2)]
    with (
        sync_server(METHODS, mode=None, options=options) as address,
        sync_channel(address) as channel,
    ):
        echo = channel.stream_stream(path("Echo"))
        requests: list[queue.Queue[bytes | None]] = [queue.Queue() for _ in range(4)]
        calls = []
        for each in requests[:2]:
            each.put(b"1")
            calls.append(echo(iter(each.get, None)))
            assert next(calls[-1]) == b"1"  # it is under way
        calls.append(echo(iter(requests[2].get, None)))
        (finding,) = found()
        assert ": 3 streams live on the channel, " in finding.message
        calls.append(echo(iter(requests[3].get, None)))
        (finding,) = found()
        assert finding.rule == "stream-limit"
        assert ": 1 RPC waits until another ends, because the peer accepts no more than the 2 " in (
            finding.message
        )
        for call, each in zip(calls, requests, strict=True):
            each.put(None)
            list(call)


def test_two_threads_sorting_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that finds the streams sorted by another has nothing to do."""
    life = lifecycle_channels.ChannelLife("here", "sync", note_origin("wrap"), cast("Any", None))

    class Stolen(lifecycle_channels.deque):
        def __len__(self) -> int:
            return 1

    life.streams = Stolen()
    assert life.sorted_out() == []


# channel-churn


def make(address: str, times: int, make_one: Any = grpc.insecure_channel, **options: Any) -> None:
    for _ in range(times):
        make_one(address, **options).close()


@pytest.fixture
def churning(limits: Callable[..., None]) -> Iterator[None]:
    limits(channel_churn=3, channel_churn_seconds=60.0)
    lifecycle_churn.forget_churn()
    with guarded():
        yield
    lifecycle_churn.forget_churn()


@pytest.mark.usefixtures("churning")
def test_many_channels_to_one_target(found: Found) -> None:
    """Channels that one line makes to one target are reported if there are too many."""
    make("127.0.0.1:1", 3)
    make("127.0.0.1:2", 3)
    assert found() == []
    make("127.0.0.1:1", 1)
    (finding,) = found()
    assert (finding.rule, finding.rpc) == ("channel-churn", "127.0.0.1:1")
    assert ": 4 channels to this target within " in finding.message
    assert finding.caller.operation == "insecure_channel"
    assert finding.caller.site is not None
    assert finding.caller.site.function == "make"
    make("127.0.0.1:1", 3)
    assert found() == []  # so many again before it is said again
    make("127.0.0.1:1", 1)
    assert [finding.rule for finding in found()] == ["channel-churn"]


@pytest.mark.usefixtures("churning")
async def test_many_aio_channels_to_one_target(found: Found) -> None:
    """The same for channels of grpc.aio."""
    for _ in range(4):
        async with grpc.aio.insecure_channel("127.0.0.1:1"):
            pass
    assert [(finding.rule, finding.api) for finding in found()] == [("channel-churn", "aio")]


@pytest.mark.usefixtures("churning")
def test_a_channel_for_each_loop(found: Found) -> None:
    """A loop needs a channel of its own, also one that comes to lie where another was."""

    async def use_one() -> None:
        async with grpc.aio.insecure_channel("127.0.0.1:1"):
            pass

    for _ in range(10):
        asyncio.run(use_one())
    assert found() == []


def test_a_loop_that_cannot_be_held() -> None:
    """A loop that cannot be held weakly is known by its identity."""
    unhashable: list[object] = []
    assert lifecycle_churn._number_of(unhashable) == id(unhashable)


@pytest.mark.usefixtures("churning")
@pytest.mark.parametrize("case", [unittest.TestCase, unittest.IsolatedAsyncioTestCase])
def test_the_channel_of_each_set_up(found: Found, case: Any) -> None:
    """Each test of a suite has a channel of its own; a test that makes many is told of."""

    class Tests(case):  # type: ignore[misc]
        def setUp(self) -> None:
            self.channel = grpc.insecure_channel("127.0.0.1:1")
            self.addCleanup(self.channel.close)

    def many(self: Any) -> None:
        make("127.0.0.1:1", 4)

    for number in range(5):
        setattr(Tests, f"test_{number}", lambda self: None)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Tests)
    assert unittest.TextTestRunner(io.StringIO()).run(suite).testsRun == 5
    assert found() == []
    Tests.test_0 = many
    Tests("test_0").run()
    assert [finding.rule for finding in found()] == ["channel-churn"]


@pytest.mark.usefixtures("churning")
def test_advice(found: Found, caplog: pytest.LogCaptureFixture) -> None:
    """Advice is logged as information, and listed separately in reports."""
    caplog.set_level("INFO", logger="grpc_guard")
    make("127.0.0.1:1", 4)
    (finding,) = found()
    assert (finding.severity, finding.is_advice) == ("advice", True)
    (record,) = (record for record in caplog.records if record.name == "grpc_guard")
    assert record.levelname == "INFO"


@pytest.mark.usefixtures("churning")
def test_channels_that_differ(found: Found) -> None:
    """Channels that could not have been one are not too many: other credentials or options."""
    credentials = [grpc.ssl_channel_credentials() for _ in range(4)]
    for number in range(4):
        grpc.secure_channel("127.0.0.1:1", credentials[number]).close()
        grpc.insecure_channel("127.0.0.1:1", [("grpc.max_metadata_size", number + 1)]).close()
    assert found() == []
    make("127.0.0.1:1", 4, credentials=credentials[0], make_one=grpc.secure_channel)
    (finding,) = found()
    assert finding.caller.operation == "secure_channel"


@pytest.mark.usefixtures("churning")
def test_channels_with_connections_of_their_own(found: Found) -> None:
    """A pool of channels that share no connection is made on purpose."""
    make("127.0.0.1:1", 10, options=[("grpc.use_local_subchannel_pool", 1)])
    assert found() == []


@pytest.mark.usefixtures("churning")
def test_channels_over_a_long_time(found: Found, limits: Callable[..., None]) -> None:
    """Channels that are made now and then are not too many."""
    limits(channel_churn=3, channel_churn_seconds=0.0)
    make("127.0.0.1:1", 10)
    assert found() == []


@pytest.mark.usefixtures("churning")
def test_channels_from_many_places(monkeypatch: pytest.MonkeyPatch, found: Found) -> None:
    """Times are kept of a few places only, and of none where there is no line of the program."""
    monkeypatch.setattr(lifecycle_churn, "_PLACES", 1)
    for port in range(1, 5):
        make(f"127.0.0.1:{port}", 1)
    assert len(lifecycle_churn._makers) == 1
    lifecycle_churn.forget_churn()
    monkeypatch.setattr(
        lifecycle_channels, "note_origin", lambda operation: Origin(operation, None)
    )
    make("127.0.0.1:1", 4)
    assert (found(), lifecycle_churn._makers) == ([], {})


# use-after-fork

FORKING = """
import json, os, sys
import grpc
import grpc_guard

grpc_guard.enable()
channel = grpc.insecure_channel("127.0.0.1:1")
child = os.fork()
if child == 0:
    try:
        channel.unary_stream("/a/b")(b"")
    except ValueError as error:  # older grpcio closes the channels of a parent
        assert "closed due to fork" in str(error)
        grpc_guard.clear_findings()
    own = grpc.insecure_channel("127.0.0.1:1")
    own.unary_stream("/a/b")(b"").cancel()
    found = [(f.rule, f.message, f.owner.site.line, f.caller.site.line)
             for f in grpc_guard.findings()]
    os.write(1, json.dumps(found).encode())
    os._exit(0)
os.waitpid(child, 0)
channel.unary_stream("/a/b")(b"").cancel()
assert grpc_guard.findings() == ()
os._exit(0)
"""


@pytest.mark.parametrize("support", [False, True])
def test_using_a_channel_of_an_earlier_process(
    support: bool, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An RPC on a channel from before the fork is reported, unless gRPC supports that."""
    monkeypatch.setattr(grpcio_door.cygrpc, "_GRPC_ENABLE_FORK_SUPPORT", support)
    with sync_server(METHODS) as address, sync_channel(address) as channel:
        monkeypatch.setattr(forks, "generation", forks.generation)
        forks._after_fork()
        assert list(lifecycle_channels.lives()) == []
        assert list(channel.unary_stream(path("Numbers"))(b"")) == [b"1", b"2"]
    assert [finding.rule for finding in found()] == ([] if support else ["use-after-fork"])


@pytest.mark.parametrize("user", ["channel", "server", "neither"])
@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream"])
async def test_grpc_aio_in_a_forked_child(
    user: str, shape: str, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While something of the parent's grpc.aio lives, no channel of the child works."""
    gc.collect()  # what other tests have left
    monkeypatch.setattr(lifecycle_inherited, "_users", weakref.WeakKeyDictionary())
    server = wrap(grpc.aio.server()) if user == "server" else None
    with sync_server(METHODS) as address:
        async with aio_channel(address, mode="raise" if user == "channel" else None) as parents:
            monkeypatch.setattr(forks, "generation", forks.generation)
            forks._after_fork()
            async with aio_channel(address) as channel:
                method = path("Same" if shape == "unary_unary" else "Numbers")
                getattr(channel, shape)(method)(b"")
                told = found()
                assert channel.__wrapped__ in [life.anchor() for life in lifecycle_channels.lives()]
                if user == "neither":
                    assert told == []
                    return
                (finding,) = told
                assert (finding.rule, finding.api) == ("use-after-fork", "aio")
                assert ": a channel or server of the parent process, made " in finding.message
                assert finding.remedy.startswith("fork before the process makes its first ")
                assert finding.owner is not None
                assert finding.owner.operation == "wrap"
                monkeypatch.setattr(lifecycle_inherited, "_users", weakref.WeakKeyDictionary())
                getattr(channel, shape)(method)(b"")
                assert found() == []  # what was the parent's has died
            if user == "channel":
                parents.unary_stream(path("Numbers"))(b"")
                (finding,) = found()
                assert ": the channel is the parent process's, made " in finding.message
    del server


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("support", ["", "true"])
def test_using_the_parents_channel(support: str) -> None:
    """A child that uses its parent's channel is told, unless gRPC supports that; its own is fine."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING],
        env=os.environ | {"GRPC_ENABLE_FORK_SUPPORT": support, "GRPC_VERBOSITY": "NONE"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    if support:
        assert found == []
        return
    ((rule, message, made, used),) = found
    assert (rule, made, used) == ("use-after-fork", 7, 11)
    assert ": the channel is the parent process's, made " in message


# Thresholds


def test_thresholds_from_the_environment() -> None:
    """A variable sets its threshold; an empty one is as none."""
    environment = {"GRPC_GUARD_STREAM_LIMIT": "7", "GRPC_GUARD_BLOCKED_LOOP_SECONDS": "1.5"}
    read = catalogue_thresholds.Thresholds.of(environment | {"GRPC_GUARD_KEPT": ""})
    assert read == catalogue_thresholds.Thresholds(stream_limit=7, blocked_loop_seconds=1.5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("STREAM_LIMIT", "-1", "'-1' is not a number; use a whole number, 0 or more"),
        ("STREAM_LIMIT", "1.5", "'1.5' is not a number; use a whole number, 0 or more"),
        ("STREAM_LIMIT", "²", "'²' is not a number; use a whole number, 0 or more"),
        ("BLOCKED_LOOP_SECONDS", "soon", "'soon' is not a time; use seconds, 0 or more"),
        ("BLOCKED_LOOP_SECONDS", "-1", "'-1' is not a time; use seconds, 0 or more"),
        ("BLOCKED_LOOP_SECONDS", "inf", "'inf' is not a time; use seconds, 0 or more"),
    ],
)
def test_a_bad_threshold(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad value is an error of enable() and wrap() that names the variable and what it takes."""
    monkeypatch.setenv(f"GRPC_GUARD_{name}", value)
    monkeypatch.setattr(catalogue_thresholds, "_current", None)
    with pytest.raises(ValueError, match=r"^GRPC_GUARD_") as caught:
        grpc_guard.enable()
    assert str(caught.value) == f"GRPC_GUARD_{name}: {message}"
    assert not grpc_guard.is_enabled()
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(ValueError, match=name):
        wrap(channel)
