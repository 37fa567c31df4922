"""Objects left open at the end: found if they are leaked, and legal if kept on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import grpc.experimental
import pytest
from inside import (
    Mode,
    Origin,
    Stream,
    catalogue_thresholds,
    frames_of_threads,
    in_force,
    ledger,
    lifecycle_channelless,
    lifecycle_exits,
    lifecycle_leaks,
    never_stopped,
    parked,
    starts,
)
from support.staging import (
    Gate,
    aio_server,
    in_thread,
    logged_by_us,
    path,
    settle,
    sync_server,
    within,
)

from grpc_guard import Finding, guarded

Found = Callable[[], list[Finding]]

METHODS = {
    "Numbers": grpc.unary_stream_rpc_method_handler(lambda _, context: iter([b"1", b"2"])),
    "Count": grpc.stream_unary_rpc_method_handler(lambda requests, context: b"at once"),
    "Echo": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
}

kept: list[Any] = []  # what a module can reach


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    """Guard the process; what the tests make is theirs, and given up after them."""
    ledger.test_attempt = object()
    try:
        with guarded():
            yield
    finally:
        ledger.test_attempt = None
        kept.clear()
        gc.collect()


def mine(origin: Origin) -> bool:
    return origin.test_attempt is ledger.test_attempt


def none(ident: int, frame: Any) -> bool:
    return False


def look(*keepers: object, threads: Any = none) -> None:
    lifecycle_leaks.look(mine, keepers, threads)


def rules(found: Found) -> list[str]:
    return sorted(finding.rule for finding in found())


@contextlib.contextmanager
def rested_collector() -> Iterator[None]:
    """Have the collector run only where it is asked to."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Hidden:
    """Holds an object where only the running function can reach it."""

    def __init__(self, obj: Any) -> None:
        self.obj = obj


# Channels


class Unhashable(type):
    def __eq__(cls, other: object) -> bool:
        return cls is other

    __hash__ = None  # type: ignore[assignment]


def test_beside_a_class_that_cannot_be_hashed(found: Found) -> None:
    """What a program holds besides, of whatever class, hides nothing."""
    kept.append(Unhashable("Strange", (), {})())
    channel = grpc.insecure_channel("127.0.0.1:1")
    look()
    assert rules(found) == ["unclosed-channel"]
    channel.close()


@pytest.mark.parametrize("is_old", [False, True])
def test_a_channel_that_is_garbage(is_old: bool, found: Found) -> None:
    """It is collected: among the young objects first, and among the old if it is not there."""
    ran: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            ran.append(info["generation"])

    hidden = Hidden(grpc.insecure_channel("127.0.0.1:1"))
    hidden.obj = hidden, hidden.obj  # a cycle
    if is_old:
        gc.collect()  # what has outlived it is old
    with rested_collector():
        del hidden
        gc.callbacks.append(note)
        try:
            look()
        finally:
            gc.callbacks.remove(note)
    assert found() == []
    assert ran == ([1, 2] if is_old else [1])


def test_an_open_channel(found: Found) -> None:
    """A channel that is alive and was never closed is left open."""
    channel = grpc.insecure_channel("127.0.0.1:1")
    look()
    (finding,) = found()
    assert (finding.rule, finding.rpc, finding.api) == ("unclosed-channel", "127.0.0.1:1", "sync")
    assert finding.owner is None
    assert finding.caller.operation == "insecure_channel"
    assert finding.caller.held_seconds is not None
    assert finding.caller.site is not None
    assert finding.caller.site.code == 'channel = grpc.insecure_channel("127.0.0.1:1")'
    assert ": never closed; made " in finding.message
    assert finding.message.endswith(f"{__file__}:{finding.caller.site.line}")
    channel.close()
    look()
    assert found() == []


@pytest.mark.filterwarnings("ignore::grpc.experimental.ExperimentalApiWarning")
def test_channels_that_grpcio_keeps(found: Found) -> None:
    """The channels of one-shot calls, which grpcio itself keeps and closes, are not leaks."""
    with sync_server(METHODS) as address:
        for number in range(30):  # which would be many channels from one place
            options = (("test.number", number),)
            call = grpc.experimental.unary_stream(
                b"", address, path("Numbers"), options=options, insecure=True
            )
            assert list(call) == [b"1", b"2"]
        look()
        assert found() == []
        unfinished = grpc.experimental.unary_stream(b"", address, path("Numbers"), insecure=True)
        look()
        assert rules(found) == ["unfinished-stream"]  # that is still the program's
        unfinished.cancel()
        cache = importlib.import_module("grpc._simple_stubs").ChannelCache.get()
        with cache._lock:
            for key in tuple(cache._mapping):
                cache._evict_locked(key)


async def test_an_open_aio_channel(found: Found) -> None:
    """The same for a channel of grpc.aio."""
    async with grpc.aio.insecure_channel("127.0.0.1:1"):
        look()
        assert [(finding.rule, finding.api) for finding in found()] == [("unclosed-channel", "aio")]
    look()
    assert found() == []


def test_a_dropped_channel(found: Found) -> None:
    """A channel that was given up is no leak: grpcio has closed it, or will when it is collected."""
    grpc.insecure_channel("127.0.0.1:1")
    circle = [grpc.insecure_channel("127.0.0.1:1")]
    circle.append(circle)  # type: ignore[arg-type]
    del circle
    look()
    assert found() == []


def test_a_channel_that_a_stub_holds(found: Found) -> None:
    """A channel lives in the stubs that were made from it."""
    multi_callable = grpc.insecure_channel("127.0.0.1:1").unary_stream("/a/b")
    look()
    assert rules(found) == ["unclosed-channel"]
    look(multi_callable)
    del multi_callable
    look()
    assert found() == []


def test_a_channel_of_somebody_else(found: Found) -> None:
    """A channel made before the test, or in a wider fixture, does not belong to the test."""
    ledger.test_attempt = None
    channel = grpc.insecure_channel("127.0.0.1:1")
    ledger.test_attempt = object()
    look()
    assert found() == []
    channel.close()


def test_a_channel_that_a_module_reaches(found: Found) -> None:
    """A channel that is reachable from a module's names is kept on purpose."""
    kept.append({"deep": [Hidden(grpc.insecure_channel("127.0.0.1:1"))]})
    look()
    assert found() == []


def test_a_channel_made_at_module_level(found: Found) -> None:
    """A channel that was made outside of any function is kept on purpose."""
    names: dict[str, Any] = {"grpc": grpc}
    exec(compile("channel = grpc.insecure_channel('127.0.0.1:1')", "app.py", "exec"), names)
    look()
    assert found() == []
    names["channel"].close()


def test_a_channel_that_a_keeper_holds(found: Found) -> None:
    """A channel that a fixture of a wider scope holds may outlive the test."""
    channel = grpc.insecure_channel("127.0.0.1:1")
    look([channel])
    look(channel._call_state)
    assert found() == []
    channel.close()


def test_a_channel_that_a_thread_holds(found: Found) -> None:
    """A channel that a running thread holds is in use, if the thread counts."""
    gate = Gate()

    def use() -> None:
        with grpc.insecure_channel("127.0.0.1:1") as channel:
            assert gate.park(channel) is channel

    party = in_thread(use)
    with gate.held():
        look(threads=lambda ident, frame: True)
        assert found() == []
        look()
        assert rules(found) == ["unclosed-channel"]
    party.result()


def test_threads_of_a_pool() -> None:
    """A thread of a pool is told from others."""
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate.park)
        party = in_thread(gate.park)
        with gate.held():
            gate.wait(2)
            frames = frames_of_threads()
            found = {
                thread.name.split("-")[0]: lifecycle_leaks.is_of_a_pool(frames[thread.ident])
                for thread in threading.enumerate()
                if thread.ident in frames and thread.name.startswith(("Thread", "party"))
            }
            frames.clear()
    party.result()
    assert found["party"] is False
    assert found.get("ThreadPoolExecutor", True)


def test_too_many_channels(found: Found) -> None:
    """Kept channels are no longer on purpose where one place makes more than a handful."""
    limit = catalogue_thresholds.Thresholds().kept
    for _ in range(limit):
        kept.append(grpc.insecure_channel("127.0.0.1:1"))
    look()
    assert found() == []
    for _ in range(limit + 1):
        kept.append(grpc.insecure_channel("127.0.0.1:1"))
    look()
    (finding,) = found()
    assert finding.message.endswith(f", and {limit} more from there")


# Streams


def test_an_open_stream(found: Found) -> None:
    """A stream that is neither drained nor cancelled is reported, whether its channel is or not."""
    requests: queue.Queue[bytes | None] = queue.Queue()
    with sync_server(METHODS, mode=None) as address, grpc.insecure_channel(address) as channel:
        call = channel.stream_stream(path("Echo"))(iter(requests.get, None))
        requests.put(b"1")
        assert next(call) == b"1"
        look(channel)
        (finding,) = found()
        assert (finding.rule, finding.rpc) == ("unfinished-stream", path("Echo"))
        assert ": neither drained nor cancelled; started " in finding.message
        assert ", last " in finding.message
        assert finding.caller.site is not None
        assert finding.caller.site.code.startswith("call = channel.stream_stream")
        requests.put(None)
        assert list(call) == []
        look(channel)
        assert found() == []


def test_a_cancelled_stream(found: Found) -> None:
    """A stream that was cancelled has ended, as has one of which the channel was closed."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        call = channel.unary_stream("/a/b")(b"", wait_for_ready=True)
        call.cancel()
        look(channel)
        other = channel.unary_stream("/a/b")(b"", wait_for_ready=True)
    look()
    assert found() == []
    assert other.code() is grpc.StatusCode.CANCELLED


def test_a_dropped_stream(found: Found) -> None:
    """A sync call that was dropped has been cancelled by grpcio."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        channel.unary_stream("/a/b")(b"", wait_for_ready=True)
        look(channel)
    assert found() == []


async def test_an_open_aio_stream(found: Found) -> None:
    """A stream of grpc.aio goes on even if its call was dropped, until it is cancelled."""
    async with (
        aio_server(METHODS, mode=None) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        call = channel.stream_stream(path("Echo"))()
        look(channel)
        (finding,) = found()
        assert (finding.rule, finding.api) == ("unfinished-stream", "aio")
        assert ", last " not in finding.message
        call.cancel()
        call = channel.stream_stream(path("Echo"))()
        await call.write(b"1")
        assert await within(call.read()) == b"1"
        await call.done_writing()
        assert await within(call.read()) is grpc.aio.EOF
        look(channel)
        assert found() == []


async def started_on_a_dropped_channel(address: str, method: str = "Echo") -> Any:
    """Return a call that has begun, and whose channel and stub are gone."""
    call = grpc.aio.insecure_channel(address).stream_stream(path(method))()
    await call.write(b"1")
    assert await within(call.read()) == b"1"
    return call


async def test_an_open_aio_stream_whose_channel_was_dropped(found: Found) -> None:
    """A grpc.aio stream continues without its channel, and is reported until it has ended."""
    async with aio_server(METHODS, mode=None) as address:
        call = await started_on_a_dropped_channel(address)
        look(call)
        assert found() == []  # it is kept
        look()
        (finding,) = found()
        assert (finding.rule, finding.rpc) == ("unfinished-stream", path("Echo"))
        assert ": neither drained nor cancelled; started " in finding.message
        assert ", last read " in finding.message
        assert finding.caller.site is not None
        assert finding.caller.site.function == "started_on_a_dropped_channel"
        await call.write(b"2")
        assert await within(call.read()) == b"2"  # grpcio has not ended it
        await call.done_writing()
        assert await within(call.read()) is grpc.aio.EOF
        look()
        assert found() == []


async def test_an_aio_stream_that_ended_before_its_channel_was_dropped(found: Found) -> None:
    """Only what goes on is remembered when a channel goes, and no longer than its call."""
    async with aio_server(METHODS, mode=None) as address:
        channel = grpc.aio.insecure_channel(address)
        ended = channel.stream_stream(path("Echo"))()
        await ended.done_writing()
        assert await within(ended.read()) is grpc.aio.EOF
        dropped = await started_on_a_dropped_channel(address)
        assert [stream.rpc for stream in lifecycle_channelless.channelless_streams()] == [
            path("Echo")
        ]
        record = weakref.ref(dropped._self_stream)
        dropped.cancel()
        del dropped
        while record() is not None:
            await settle()
            gc.collect()
        del channel
        look()
        assert lifecycle_channelless._streams == {}
        del ended
    assert found() == []


async def test_streams_of_a_dropped_channel_whose_calls_are_equal() -> None:
    """Each has its record, whatever their class says of equality, and loses it with its call."""

    class Equal:
        """A call of somebody's own, equal to all others, and that has no hash."""

        def __eq__(self, other: object) -> bool:
            return True

    calls = [Equal(), Equal()]
    for number, call in enumerate(calls):
        stream = Stream(f"/{number}", "client", "aio", Mode.RAISE)
        stream.track_call(call, lambda call: False)
        lifecycle_channelless.keep_record(stream)
    listed = lifecycle_channelless.channelless_streams
    assert [stream.rpc for stream in listed()] == ["/0", "/1"]
    del calls[0], call
    assert [stream.rpc for stream in listed()] == ["/1"]
    calls.clear()
    assert listed() == listed(is_sorted_out=False) == []


def test_a_sync_stream_whose_channel_was_dropped(found: Found) -> None:
    """A sync call keeps its channel, and both are reported, until it is cancelled."""
    requests: queue.Queue[bytes | None] = queue.Queue()
    with sync_server(METHODS, mode=None) as address:
        call = grpc.insecure_channel(address).stream_stream(path("Echo"))(iter(requests.get, None))
        requests.put(b"1")
        assert next(call) == b"1"
        gc.collect()
        look()
        assert rules(found) == ["unclosed-channel", "unfinished-stream"]
        assert lifecycle_channelless.channelless_streams() == []
        call.cancel()
        requests.put(None)
        del call


def test_a_single_threaded_stream_whose_channel_was_dropped(found: Found) -> None:
    """A call without a thread of its own ends with its channel."""
    options = [(grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1)]
    channel = grpc.insecure_channel("127.0.0.1:1", options)
    call = channel.unary_stream("/a/b")(b"", wait_for_ready=True)
    look(channel)
    assert rules(found) == ["unfinished-stream"]
    del channel
    look()
    assert found() == []
    with pytest.raises(grpc.RpcError):
        next(call)
    assert call.details() == "Channel deallocated!"


FORKING = """
import asyncio, os
import grpc, grpc.aio
import grpc_guard
from grpc_guard._lifecycle import channelless as _channelless

async def main():
    call = grpc.aio.insecure_channel("127.0.0.1:1").stream_stream("/a/b")(wait_for_ready=True)
    assert len(_channelless.channelless_streams()) == 1
    child = os.fork()
    if not child:
        os._exit(len(_channelless.channelless_streams()))
    assert os.waitpid(child, 0)[1] == 0
    assert len(_channelless.channelless_streams()) == 1
    call.cancel()

with grpc_guard.guarded():
    asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forking_beside_a_stream_whose_channel_was_dropped() -> None:
    """The streams of the parent do not belong to the child."""
    subprocess.run(
        [sys.executable, "-c", FORKING],
        env=os.environ | {"GRPC_VERBOSITY": "NONE"},
        timeout=60,
        check=True,
    )


def test_a_blocking_stream_unary_rpc(found: Found) -> None:
    """An RPC that the program waited for, or that was refused, is not a stream left open."""

    with sync_server(METHODS, mode=None) as address, grpc.insecure_channel(address) as channel:
        count = channel.stream_unary(path("Count"))
        assert count(iter([b"1"])) == b"at once"
        future = count.future(iter([b"1"]))
        assert future.result() == b"at once"
        with pytest.raises(TypeError):
            channel.unary_stream(path("Numbers"))(b"", metadata=3)
        look(channel)
    assert found() == []


def test_a_stream_of_which_nothing_is_known(found: Found) -> None:
    """An RPC is not reported if it is unknown whether it continues."""
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        stream = Stream(path("Count"), "client", "sync", Mode.RAISE)
        starts.starting(stream, channel.stream_unary(path("Count")))
        assert stream.channel is not None
        assert not stream.is_over()
        look(channel)
    assert found() == []


# Request iterators


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        catalogue_thresholds,
        "_current",
        catalogue_thresholds.Thresholds(parked_iterator_seconds=0.0),
    )


def ending_at(gate: Gate) -> dict[str, Any]:
    """Return a method that answers when gRPC is parked at `gate`, in the request iterator."""

    def count(requests: Any, context: Any) -> bytes:
        gate.wait()
        return b"at once"

    return {"Count": grpc.stream_unary_rpc_method_handler(count)}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("mode", ["raise", "serialize"])
def test_a_parked_request_iterator(mode: str, found: Found) -> None:
    """A request iterator in which gRPC's thread waits after the RPC is reported, with its line."""
    gate = Gate()

    def requests() -> Iterator[bytes]:
        yield b"1"
        gate.park()

    with (
        guarded(mode),
        sync_server(ending_at(gate), mode=None) as address,
        grpc.insecure_channel(address) as channel,
    ):
        assert channel.stream_unary(path("Count"))(requests()) == b"at once"
        with gate.held():
            look(channel)
    (finding,) = found()
    assert (finding.rule, finding.rpc) == ("parked-request-iterator", path("Count"))
    assert finding.owner is not None
    assert finding.owner.operation == "next(request_iterator)"
    assert [frame.function for frame in finding.owner.stack] == ["requests", "park", "_wait"]
    assert finding.caller.site is not None
    assert finding.caller.site.function == "test_a_parked_request_iterator"
    assert ": the RPC is over, and thread " in finding.message


def test_an_iterator_that_ends_with_its_rpc(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """An iterator that ends within a moment of its RPC is no leak."""
    gate = Gate()

    def requests() -> Iterator[bytes]:
        yield b"1"
        gate.park()

    with (
        sync_server(ending_at(gate), mode=None) as address,
        grpc.insecure_channel(address) as channel,
    ):
        assert channel.stream_unary(path("Count"))(requests()) == b"at once"
        monkeypatch.setattr(parked.time, "sleep", lambda seconds: gate.open())
        look(channel)
    assert found() == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("seconds", "rules"), [(5, []), (60, ["parked-request-iterator"])])
def test_an_iterator_that_polls(found: Found, seconds: float, rules: list[str]) -> None:
    """An iterator in a short wait looks around soon, as the remedy says, and may end then."""
    gate, condition = Gate(), threading.Condition()
    gate.open()

    def requests() -> Iterator[bytes]:
        yield b"1"
        with condition:
            gate.park()
            condition.wait(seconds)

    with (
        sync_server(ending_at(gate), mode=None) as address,
        grpc.insecure_channel(address) as channel,
    ):
        assert channel.stream_unary(path("Count"))(requests()) == b"at once"
        with condition:  # gRPC's thread has let go of it, thus it waits
            look(channel)
            condition.notify()
    assert [finding.rule for finding in found()] == rules


@pytest.mark.usefixtures("impatient")
def test_an_iterator_of_a_live_rpc(found: Found) -> None:
    """An iterator that waits while its RPC lives does what it should, as one of another test."""
    gate = Gate()

    def requests() -> Iterator[bytes]:
        yield b"1"
        gate.park()

    with sync_server(METHODS, mode=None) as address, grpc.insecure_channel(address) as channel:
        call = channel.stream_stream(path("Echo"))(requests())
        with gate.held():
            look(channel, call)
            call.cancel()
            ledger.test_attempt = object()
            look(channel)
        del call
    assert found() == []


def test_failing_to_look(caplog: pytest.LogCaptureFixture) -> None:
    """An error during the check is logged, and stops nothing."""
    with grpc.insecure_channel("127.0.0.1:1"):
        lifecycle_leaks.look(None)  # type: ignore[arg-type]
    assert logged_by_us(caplog) == ["what is left open goes unnoticed"]


# The end of the process


def test_looking_at_the_end(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """At exit the whole process is looked at, if the guard is on and gRPC was spoken."""
    asked: list[bool] = []
    monkeypatch.setattr(lifecycle_leaks, "look", lambda: asked.append(True))
    lifecycle_exits.look()
    assert asked == [True]
    with monkeypatch.context() as off:
        off.setattr(in_force, "mode", Mode.OFF)
        lifecycle_exits.look()
    monkeypatch.delitem(sys.modules, "grpc_guard._lifecycle.channels")
    lifecycle_exits.look()
    assert asked == [True]


def test_registering_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is looked at once, however often the guard is switched on."""
    registered: list[Any] = []
    monkeypatch.setattr(lifecycle_exits.atexit, "register", registered.append)
    monkeypatch.setattr(lifecycle_exits, "_registered", False)
    lifecycle_exits.watch()
    lifecycle_exits.watch()
    assert registered == [lifecycle_exits.look]


PROGRAM = """
import sys
import grpc
import grpc_guard

grpc_guard.enable()
pool = []
at_module_level = grpc.insecure_channel("127.0.0.1:1")

def make(number):
    for _ in range(number):
        pool.append(grpc.insecure_channel("127.0.0.1:1", [("n", number)]))

def forget():
    grpc.insecure_channel("127.0.0.1:1")
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        channel.unary_stream("/a/b")(b"").cancel()

forget()
make(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("number", "leaks"), [(8, 0), (9, 1)])
def test_a_program_that_ends(number: int, leaks: int) -> None:
    """A program is told at its end of what it leaks, and of nothing that it keeps on purpose."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(number)],
        env=os.environ | {"GRPC_VERBOSITY": "NONE"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.count("unclosed-channel: ") == leaks
    assert bool(done.stderr) is bool(leaks)


def test_a_run_that_ends() -> None:
    """Under grpc-guard run the leak is in the summary, and the exit status is the program's."""
    done = subprocess.run(
        [sys.executable, "-m", "grpc_guard", "run", "--", sys.executable, "-c", PROGRAM, "9"],
        env=os.environ | {"GRPC_VERBOSITY": "NONE"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "  unclosed-channel (warning)\n" in done.stderr


NEVER_STOPPED = """
import asyncio
import contextlib
import grpc.aio
import grpc_guard

grpc_guard.enable()

async def main():
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    with contextlib.suppress(grpc.aio.AioRpcError):
        await channel.stream_stream("/a/b")().read()
    cycle = [server, channel]
    cycle.append(cycle)

asyncio.run(main())
"""


@pytest.mark.parametrize("again", ["", 5 * "asyncio.run(main())\n"])
def test_a_program_that_never_stops_its_server(again: str) -> None:
    """It ends: grpcio would wait for ever for a server of grpc.aio that the collector has found."""
    done = subprocess.run(
        [sys.executable, "-c", NEVER_STOPPED + again],
        env=os.environ | {"GRPC_VERBOSITY": "NONE"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "unclosed-channel: " not in done.stderr  # the collector has closed it
    assert "a process may wait" not in done.stderr


def test_a_server_that_is_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """grpc.aio is not shut down by what the guard collects, nor at the end of the process."""
    kept: list[None] = []
    monkeypatch.setattr(never_stopped, "keep_aio_initialized", lambda _: kept.append(None))
    monkeypatch.setattr(never_stopped, "_is_kept", False)
    loop = asyncio.new_event_loop()

    async def start() -> Any:
        server = grpc.aio.server()
        await server.start()
        return server

    server = loop.run_until_complete(start())
    monkeypatch.setattr(never_stopped, "_have_been", False)
    never_stopped.let_collect()
    assert kept == []  # none has been guarded
    never_stopped.watch()
    for _ in range(2):
        never_stopped.let_collect()
        never_stopped.let_end()
    assert kept == [None]
    monkeypatch.setattr(never_stopped, "_is_kept", False)
    never_stopped.let_end()
    assert kept == [None, None]
    loop.run_until_complete(server.stop(None))
    loop.close()


async def test_a_loop_that_is_still_there(found: Found) -> None:
    """Looking disturbs no task."""
    task = asyncio.create_task(asyncio.sleep(0))
    look()
    await task
    assert found() == []
