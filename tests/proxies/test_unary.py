"""Unary RPCs: they are not guarded, but a wrong channel is reported."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import (
    aio_channels,
    core_which,
    current_mode,
    forks,
    grpcio_door,
    in_force,
    lifecycle_channels,
    proxies_unary,
    starts,
    sync_channels,
)
from support.staging import (
    PATIENCE,
    aio_channel,
    aio_server,
    logged_by_us,
    path,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import Finding, guarded, wrap

Found = Callable[[], list[Finding]]

METHODS = {"Same": grpc.unary_unary_rpc_method_handler(lambda request, context: request)}

WAYS: dict[str, Callable[[Any], Any]] = {
    "__call__": lambda same: same(b"1"),
    "with_call": lambda same: same.with_call(b"1")[0],
    "future": lambda same: same.future(b"1").result(),
}
way = pytest.mark.parametrize("way", WAYS)


def by_hand(channel: Any) -> Any:
    return wrap(channel)


def as_it_is(channel: Any) -> Any:
    return channel


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes this process one that was forked a moment ago."""
    monkeypatch.setattr(grpcio_door.cygrpc, "_GRPC_ENABLE_FORK_SUPPORT", False)
    monkeypatch.setattr(forks, "generation", forks.generation)
    return forks._after_fork


# What stays grpcio's own


@way
@pytest.mark.parametrize("mode", ["raise", "off"])
def test_a_sync_unary_rpc(way: str, mode: str) -> None:
    """It makes no stream and no record, and its future is grpcio's own."""
    with sync_server(METHODS) as address, guarded(mode):
        with sync_channel(address, mode=None) as plain, sync_channel(address) as channel:
            for same in (plain.unary_unary(path("Same")), channel.unary_unary(path("Same"))):
                assert WAYS[way](same) == b"1"
                assert type(same.future(b"")) is grpc._channel._MultiThreadedRendezvous
                life = lifecycle_channels.life_of(same)
                assert life is None or not life.streams


async def test_an_aio_unary_rpc() -> None:
    """It makes no stream and no record, and its call is grpcio's own."""
    async with aio_server(METHODS) as address, aio_channel(address) as channel:
        same = channel.unary_unary(path("Same"))
        with guarded():
            plain = grpc.aio.insecure_channel(address)
        for multi_callable in (same, plain.unary_unary(path("Same"))):
            with guarded():
                call = multi_callable(b"1")
            assert type(call) is grpc.aio._call.UnaryUnaryCall
            assert await within(call) == b"1"
            life = lifecycle_channels.life_of(multi_callable)
            assert life is not None
            assert not life.streams
        await plain.close()


@way
def test_a_unary_rpc_that_fails(way: str) -> None:
    """Its error is grpcio's own, without a note, and has passed one frame of the guard at most."""
    errors = []
    with sync_server({}) as address, sync_channel(address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            WAYS[way](channel.unary_unary(path("Same")))
        errors.append(caught.value)
        with sync_channel(address, mode=None) as plain, guarded():
            with pytest.raises(grpc.RpcError) as caught:
                WAYS[way](plain.unary_unary(path("Same")))
            errors.append(caught.value)
    in_c = core_which.name() == "c" and way == "__call__"  # of what wrap() returns: no frame at all
    for error, is_in_c in zip(errors, (in_c, False), strict=True):
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert not hasattr(error, "__notes__")
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        ours = [file for file in files if file.startswith(os.path.dirname(proxies_unary.__file__))]
        assert ours == [proxies_unary.__file__] * (
            way != "future" and not is_in_c  # result() of a future is grpcio's
        )


def test_which_method_starts_unary_rpcs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method in Python, unless there is a compiled core, which has one around it."""
    monkeypatch.setattr(core_which, "compiled", lambda: None)
    assert proxies_unary.in_c(len, print) is len
    compiled = SimpleNamespace(UnaryStart=lambda *told: told)
    monkeypatch.setattr(core_which, "compiled", lambda: compiled)
    sync: Any = proxies_unary.in_c(len, print)
    aio: Any = proxies_unary.in_c(len, print, repr, "late")
    assert (sync[0], sync[2], *sync[6:]) == (len, None, print, None, None)
    assert (aio[2], *aio[6:]) == (in_force, print, "late", repr)


def test_another_error_at_the_start_of_a_unary_rpc() -> None:
    """A ValueError on a channel that is open is the program's own."""

    with sync_channel("127.0.0.1:1") as channel:
        same = channel.unary_unary(path("Same"))
        with pytest.raises(ValueError, match="closed"):
            same.future(b"", credentials=Credentials())


class Credentials:
    """Call credentials that cannot be had."""

    @property
    def _credentials(self) -> Any:
        raise ValueError("closed")


def test_a_closed_channel_after_the_guard_was_taken_back(found: Found) -> None:
    """Patches that stay because other code has patched on top report nothing."""
    owner = importlib.import_module("grpc._channel")._UnaryUnaryMultiCallable
    with guarded():
        left = owner.__call__
        channel = grpc.insecure_channel("127.0.0.1:1")
    channel.close()
    with pytest.raises(ValueError, match="closed"):
        left(channel.unary_unary(path("Same")), b"")
    assert found() == []


@way
def test_a_closed_channel_of_a_factory_that_was_patched(way: str, found: Found) -> None:
    """Where the public factories are patched, their channels tell nothing while the guard is off."""
    channel = sync_channels.Channel(grpc.insecure_channel("127.0.0.1:1"), current_mode)
    same = channel.unary_unary(path("Same"))
    channel.close()
    with pytest.raises(ValueError, match="closed"):
        WAYS[way](same)
    assert found() == []


@way
def test_a_closed_channel_that_the_guard_of_the_process_cannot_report(
    way: str, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only some of its patches could be applied, it is off: wrap() reports all the same."""
    owner = importlib.import_module("grpc._channel")._UnaryUnaryMultiCallable
    monkeypatch.setattr(proxies_unary, "patched", {owner})
    with sync_channel("127.0.0.1:1") as channel:
        same = channel.unary_unary(path("Same"))
    with pytest.raises(ValueError, match="closed"):
        WAYS[way](same)
    assert [(finding.rule, finding.count) for finding in found()] == [("closed-channel", 1)]


# Interceptors


class Sync(grpc.UnaryUnaryClientInterceptor):
    """Lets every RPC through."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details, request)


class OfStreams(grpc.StreamStreamClientInterceptor):
    """Lets every RPC through, and leaves unary ones alone."""

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return continuation(details, requests)


@way
def test_a_closed_channel_below_interceptors(way: str, found: Found) -> None:
    """It is reported once, whether the process or the channel is guarded, or both."""
    for mode, guard in (("raise", as_it_is), ("raise", by_hand), ("off", by_hand)):
        with guarded(mode):
            plain = grpc.insecure_channel("127.0.0.1:1")
            channel = grpc.intercept_channel(guard(plain), Sync())
            same = channel.unary_unary(path("Same"))
            channel.close()
            with pytest.raises(ValueError, match="closed"):
                WAYS[way](same)
        (finding,) = found()
        assert (finding.rule, finding.rpc, finding.count) == ("closed-channel", path("Same"), 1)


@way
def test_a_closed_channel_around_interceptors(way: str, found: Found) -> None:
    """Guarding the process and the outermost channel tells of it once."""
    with guarded():
        channel = wrap(grpc.intercept_channel(grpc.insecure_channel("127.0.0.1:1"), Sync()))
        channel.close()
        with pytest.raises(ValueError, match="closed"):
            WAYS[way](channel.unary_unary(path("Same")))
    assert [(finding.rule, finding.count) for finding in found()] == [("closed-channel", 1)]


@way
def test_a_closed_channel_guarded_twice(way: str, found: Found) -> None:
    """Interceptors that leave unary RPCs alone hand out what is guarded already."""
    plain = grpc.insecure_channel("127.0.0.1:1")
    channel = wrap(grpc.intercept_channel(wrap(plain), OfStreams()))
    channel.close()
    with pytest.raises(ValueError, match="closed"):
        WAYS[way](channel.unary_unary(path("Same")))
    assert [(finding.rule, finding.count) for finding in found()] == [("closed-channel", 1)]


@way
def test_intercepting_a_unary_rpc(way: str) -> None:
    """Interceptors below and above the guard work."""
    with sync_server(METHODS) as address, sync_channel(address, mode=None) as plain:
        for channel in (
            wrap(grpc.intercept_channel(plain, Sync())),
            grpc.intercept_channel(wrap(plain), Sync()),
        ):
            assert WAYS[way](channel.unary_unary(path("Same"))) == b"1"


class Unary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, go_on: Any, details: Any, request: Any) -> Any:
        return await go_on(details, request)


class Answering(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, go_on: Any, details: Any, request: Any) -> Any:
        return b"from a cache"


class UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, go_on: Any, details: Any, request: Any) -> Any:
        return await go_on(details, request)


class StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, go_on: Any, details: Any, requests: Any) -> Any:
        return await go_on(details, requests)


class StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, go_on: Any, details: Any, requests: Any) -> Any:
        return await go_on(details, requests)


def letting_through() -> list[Any]:
    return [Unary(), UnaryStream(), StreamUnary(), StreamStream()]


async def nothing() -> Any:
    return
    yield


async def end(call: Any) -> Any:
    return [message async for message in call] if hasattr(call, "__aiter__") else await call


@pytest.fixture
def collected() -> Iterator[None]:
    """Finalise in this test what it leaves."""
    yield
    gc.collect()


def finalised_by_grpcio(test: Any) -> Any:
    """grpcio 1.66 raises the error of a call again, when it is finalised."""
    ignored = "ignore:Exception ignored in. <function InterceptedCall.__del__"
    ignoring = pytest.mark.filterwarnings(f"{ignored}:pytest.PytestUnraisableExceptionWarning")
    return ignoring(pytest.mark.usefixtures("collected")(test))


@finalised_by_grpcio
@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
@pytest.mark.parametrize("guard", [as_it_is, by_hand])
async def test_a_closed_aio_channel_with_interceptors(
    shape: str, guard: Callable[[Any], Any], found: Found
) -> None:
    """grpcio's error comes after the interceptors, and is reported with the line of the start."""
    with guarded("raise" if guard is as_it_is else "off"):
        plain = grpc.aio.insecure_channel("127.0.0.1:1", interceptors=letting_through())
        channel = guard(plain)
        start = getattr(channel, shape)(path("Same"))
        await channel.close()
        call = start(b"" if shape.startswith("unary") else nothing())
        assert found() == []
        with pytest.raises(grpc.aio.UsageError, match=r"^Channel is closed\.") as caught:
            await within(end(call))
    (finding,) = found()
    assert (finding.rule, finding.rpc, finding.api) == ("closed-channel", path("Same"), "aio")
    assert finding.caller.site is not None
    assert finding.caller.site.code.startswith("call = start(")
    assert finding.owner is not None
    assert finding.owner.operation == "close"
    (note,) = caught.value.__notes__
    assert note.startswith("grpc_guard: channel to ")


async def test_a_closed_aio_channel_that_is_guarded_twice(found: Found) -> None:
    """By hand, and with the process: it is reported once."""
    with guarded():
        channel = wrap(grpc.aio.insecure_channel("127.0.0.1:1"))
        same = channel.unary_unary(path("Same"))
        await channel.close()
        with pytest.raises(grpc.aio.UsageError, match=r"^Channel is closed\."):
            same(b"")
    (finding,) = found()
    assert (finding.rule, finding.rpc, finding.count) == ("closed-channel", path("Same"), 1)


@finalised_by_grpcio
async def test_an_interceptor_that_needs_no_channel(found: Found) -> None:
    """An RPC that an interceptor answers is not on a closed channel, nor is a cancelled one."""
    channel = wrap(grpc.aio.insecure_channel("127.0.0.1:1", interceptors=[Answering()]))
    same = channel.unary_unary(path("Same"))
    await channel.close()
    assert await within(same(b"")) == b"from a cache"
    call = same(b"")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(call)
    assert found() == []


async def test_interceptors_of_an_open_aio_channel(found: Found) -> None:
    """Nothing is looked at later where the channel is open, or has no record."""
    async with aio_server(METHODS) as address:
        async with aio_channel(address, interceptors=[Unary()]) as channel:
            assert await within(channel.unary_unary(path("Same"))(b"1")) == b"1"
        async with aio_channel(address, mode=None, interceptors=[Unary()]) as channel:
            with guarded():
                assert await within(channel.unary_unary(path("Same"))(b"1")) == b"1"
    assert found() == []


@finalised_by_grpcio
async def test_bookkeeping_of_an_intercepted_rpc_that_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong in the records stays out of the program, and is in the log."""
    channel = wrap(grpc.aio.insecure_channel("127.0.0.1:1", interceptors=[Unary()]))
    await channel.close()
    monkeypatch.setattr(aio_channels, "note_origin", None)
    with pytest.raises(grpc.aio.UsageError):
        await within(channel.unary_unary(path("Same"))(b""))
    assert logged_by_us(caplog) == ["the use of a closed channel goes unnoticed"]
    for record in caplog.records:
        record.exc_info = None  # whose frames hold the call


# Forks


@way
@pytest.mark.parametrize(
    ("mode", "guard"), [("raise", as_it_is), ("off", by_hand), ("raise", by_hand)]
)
def test_a_unary_rpc_on_the_parents_channel(
    way: str, mode: str, guard: Callable[[Any], Any], child: Callable[[], None], found: Found
) -> None:
    """It is reported, but not on the child's own channel, or on one without a record."""
    with sync_server(METHODS) as address, sync_channel(address, mode=None) as unknown:
        with guarded(mode):
            with grpc.insecure_channel(address) as plain:
                same = guard(plain).unary_unary(path("Same"))
                child()
                assert WAYS[way](same) == b"1"
                (finding,) = found()
                assert finding.rule == "use-after-fork"
                assert (finding.rpc, finding.count) == (path("Same"), 1)
                assert finding.caller.site is not None
                assert finding.caller.site.function == "<lambda>"
            with grpc.insecure_channel(address) as plain:
                assert WAYS[way](guard(plain).unary_unary(path("Same"))) == b"1"
            assert WAYS[way](unknown.unary_unary(path("Same"))) == b"1"
        assert WAYS[way](unknown.unary_unary(path("Same"))) == b"1"
    assert found() == []


def test_a_unary_rpc_on_the_parents_channel_with_fork_support(
    child: Callable[[], None], monkeypatch: pytest.MonkeyPatch, found: Found
) -> None:
    """If gRPC supports forks, nothing is reported."""
    monkeypatch.setattr(grpcio_door.cygrpc, "_GRPC_ENABLE_FORK_SUPPORT", True)
    with sync_server(METHODS) as address, sync_channel(address) as channel:
        child()
        assert channel.unary_unary(path("Same"))(b"1") == b"1"
    assert found() == []


async def test_an_aio_unary_rpc_on_the_parents_channel(
    child: Callable[[], None], found: Found
) -> None:
    """It is reported, by a guarded channel and in a guarded process."""
    async with aio_server(METHODS) as address, aio_channel(address) as channel:
        with guarded():
            plain = grpc.aio.insecure_channel(address)
        child()
        assert await within(channel.unary_unary(path("Same"))(b"1")) == b"1"
        assert [finding.rule for finding in found()] == ["use-after-fork"]
        with guarded():
            assert await within(plain.unary_unary(path("Same"))(b"1")) == b"1"
        assert [finding.rule for finding in found()] == ["use-after-fork"]
        await plain.close()


@way
def test_bookkeeping_of_a_unary_rpc_that_fails(
    way: str,
    child: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What goes wrong in the records stays out of the program, and is in the log."""
    with sync_server(METHODS) as address, sync_channel(address) as channel:
        child()
        with monkeypatch.context() as broken:
            broken.setattr(starts, "_used_after_fork", None)
            assert WAYS[way](channel.unary_unary(path("Same"))) == b"1"
        assert logged_by_us(caplog) == ["the start of a unary RPC goes unnoticed"]
        caplog.clear()
        same = channel.unary_unary(path("Same"))
        channel.close()
        monkeypatch.setattr(proxies_unary, "life_of", None)
        monkeypatch.setattr(forks, "generation", 0)
        with pytest.raises(ValueError, match="closed"):
            WAYS[way](same)
        assert logged_by_us(caplog) == ["the refusal of a unary RPC goes unnoticed"]


FORKING = """
import asyncio, json, logging, os, sys
import grpc, grpc.aio
import grpc_guard


class Telling(logging.Handler):
    def emit(self, record):  # before the RPC starts: it might never return
        if os.getpid() != parent:
            (found,) = grpc_guard.findings()
            told = found.rule, found.message, found.owner.site.line, found.caller.site.line
            os.write(1, json.dumps(told).encode())
            os._exit(0)


logging.getLogger("grpc_guard").addHandler(Telling())
parent = os.getpid()
api, guard, call = sys.argv[1:]
if guard == "enable":
    grpc_guard.enable()
if api == "sync":
    channel = grpc.insecure_channel("127.0.0.1:1")
else:
    loop = asyncio.new_event_loop()
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    loop.close()
if guard == "wrap":
    channel = grpc_guard.wrap(channel)
start = getattr(channel.unary_unary("/a/b"), call)
child = os.fork()
if child == 0:
    start(b"")
    os._exit(1)
_, status = os.waitpid(child, 0)
os._exit(os.waitstatus_to_exitcode(status))
"""
FORKED_LINE = 1 + FORKING[: FORKING.index("    start(b")].count("\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("guard", ["enable", "wrap"])
@pytest.mark.parametrize("call", ["sync __call__", "sync with_call", "sync future", "aio __call__"])
def test_a_unary_rpc_in_a_child(guard: str, call: str) -> None:
    """A child that uses its parent's channel is told before the RPC, which may never return."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING, call.split()[0], guard, call.split()[1]],
        env=os.environ | {"GRPC_ENABLE_FORK_SUPPORT": "", "GRPC_VERBOSITY": "NONE"},
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=True,
    )
    rule, message, made, used = json.loads(done.stdout)
    assert (rule, used) == ("use-after-fork", FORKED_LINE)
    assert made < used
    assert ": the channel is the parent process's, made " in message
