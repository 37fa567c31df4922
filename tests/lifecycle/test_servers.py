"""dead-server and abandoned-handler; and unary handlers in flight."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from inside import (
    Mode,
    Stream,
    abandoned,
    contexts_door,
    core_entries,
    cpython_door,
    lifecycle_handlers,
    process_patches,
    serving,
)
from support.staging import PATIENCE, Gate, in_thread, path, sync_channel, sync_server, wait

from grpc_guard import Finding, guarded, wrap

Found = Callable[[], list[Finding]]
METHODS = {"Same": grpc.unary_unary_rpc_method_handler(lambda request, context: request)}


# dead-server


@contextlib.contextmanager
def serving_on(pool: ThreadPoolExecutor) -> Iterator[tuple[Any, str]]:
    """Yield a server of a guarded process, and its address; it is not stopped."""
    with guarded():
        server = grpc.server(pool)
    handlers = grpc.method_handlers_generic_handler("test.Guard", METHODS)
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    with guarded():
        server.start()
        yield server, f"127.0.0.1:{port}"


def test_a_pool_that_somebody_else_shuts_down(
    found: Found, reported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server no longer serves, and the finding says where it was made, and why."""
    died: queue.Queue[Any] = queue.Queue()
    monkeypatch.setattr(threading, "excepthook", died.put)
    pool = ThreadPoolExecutor(2)
    with serving_on(pool) as (_, address), sync_channel(address, mode=None) as channel:
        assert channel.unary_unary(path("Same"))(b"1", timeout=PATIENCE) == b"1"
        pool.shutdown()
        call = channel.unary_unary(path("Same")).future(b"1")
        finding = reported.get(timeout=PATIENCE)
        assert died.get(timeout=PATIENCE).exc_type is RuntimeError  # as without the guard
        call.cancel()
    assert (finding.rule, finding.severity, finding.side) == ("dead-server", "error", "server")
    assert "ended by RuntimeError: the pool of the server had been shut down" in finding.message
    assert finding.caller.operation == "server"
    assert finding.caller.site.function == "serving_on"
    assert found() == [finding]


def test_a_server_that_was_stopped(found: Found) -> None:
    """An exception that ends the thread of a stopped server is not reported."""
    pool = ThreadPoolExecutor(2)
    with serving_on(pool) as (server, _):
        wait(server.stop(None))
        pool.shutdown()
        serving.serving_ended(server._state, RuntimeError())
    assert found() == []


def test_a_server_at_the_end_of_the_program(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter shuts down all pools before a server that the program does not stop."""
    state = SimpleNamespace(stage=SimpleNamespace(value="started"), thread_pool=None)
    with monkeypatch.context() as ending:
        ending.setattr("concurrent.futures.thread._shutdown", True)
        serving.serving_ended(state, RuntimeError())
        assert found() == []
    serving.serving_ended(state, ValueError())  # of an unknown server
    (finding,) = found()
    assert finding.message.endswith(": the thread that serves all RPCs has ended by ValueError")


def test_a_serving_thread_that_ends_unguarded(found: Found) -> None:
    """While the guard is off, what was put in place is inert."""

    def plain(state: object) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        process_patches._serving(plain)(None)
    assert process_patches._serving(lambda state: state)(3) == 3
    assert found() == []


# Handlers


class Holding:
    """A streaming and a unary method whose handlers park."""

    def __init__(self) -> None:
        self.gate = Gate()

    def methods(self) -> dict[str, Any]:
        return {
            "Hold": grpc.unary_stream_rpc_method_handler(self.hold),
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
        }

    def hold(self, request: bytes, context: Any) -> Iterator[bytes]:
        self.gate.park()
        yield b"1"

    def unary(self, request: bytes, context: Any) -> bytes:
        return self.gate.park(b"1")


def begin(channel: Any, shape: str) -> Any:
    if shape == "unary":
        return channel.unary_unary(path("Unary")).future(b"")
    return channel.unary_stream(path("Hold"))(b"")


@contextlib.contextmanager
def outliving(shape: str, seconds: float) -> Iterator[None]:
    """Have a handler outlive its RPC in the block; it is reported after so many `seconds`."""
    holding = Holding()
    with guarded("off", thresholds={"abandoned_handler_seconds": seconds}):
        with sync_server(holding.methods()) as address:
            with sync_channel(address, mode=None) as channel:
                call = begin(channel, shape)
                with holding.gate.held():
                    call.cancel()
                    yield


@pytest.mark.parametrize("shape", ["stream", "unary"])
def test_an_abandoned_handler(shape: str, found: Found, reported: Any) -> None:
    """A handler that stands still after its client has gone is reported, with its line."""
    with outliving(shape, 0.0):
        finding = reported.get(timeout=PATIENCE)
    assert (finding.rule, finding.side) == ("abandoned-handler", "server")
    assert finding.caller.stack[0].function == ("unary" if shape == "unary" else "hold")
    assert found() == [finding]


@pytest.mark.parametrize("shape", ["stream", "unary"])
def test_a_handler_that_ends_in_time(shape: str, found: Found) -> None:
    """Nothing is left that looks at it: a program may compare its lists of threads."""
    watch = abandoned.watch
    with outliving(shape, 1000.0):
        deadline = time.monotonic() + PATIENCE
        while (timer := watch.timer) is None or not timer.is_alive():
            assert time.monotonic() < deadline, "nobody looks at it"
    timer.join(PATIENCE)
    assert not timer.is_alive()
    assert (watch.suspects, watch.timer) == ({}, None)
    assert found() == []


@pytest.mark.parametrize("time", [None, 0])
def test_a_handler_that_still_works(
    time: int | None, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler whose thread has run since, or is unknown, may be about to end."""
    holding, looks, last = Holding(), [], threading.Event()

    def processor_time(ident: int) -> int | None:
        looks.append(ident)
        if len(looks) == (2 if time is None else 4):
            last.set()
        return None if time is None else len(looks)

    monkeypatch.setattr(abandoned, "processor_time", processor_time)
    with guarded("off", thresholds={"abandoned_handler_seconds": 0}):
        with sync_server(holding.methods()) as address:
            with sync_channel(address, mode=None) as channel:
                call = begin(channel, "stream")
                with holding.gate.held():
                    call.cancel()
                    wait(last)
    assert found() == []


def test_when_a_handler_has_stood_still_long_enough(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at until it has stood still for the whole time, or has ended."""
    monkeypatch.setattr(abandoned, "processor_time", lambda ident: 1)
    who = SimpleNamespace(kind="thread", name="w", operation="/a/b", site=None, held_seconds=1.0)
    with guarded("off", thresholds={"abandoned_handler_seconds": 60}):
        suspect = abandoned.Suspect(1, lambda: (who, None))
        assert not suspect.is_settled()
        assert abandoned.Suspect(1, lambda: None).is_settled()
    assert found() == []


class Unsettled:
    """A suspect that is to be looked at again."""

    def is_settled(self) -> bool:
        return False


def test_a_child_has_no_suspects() -> None:
    """A forked child begins with none, and without the timer of its parent."""
    watch = abandoned._Watch()
    watch.suspects[Unsettled()] = None  # type: ignore[index]
    watch._look()  # armed again, since it is not settled
    assert watch.timer is not None
    watch.timer.cancel()
    watch.add(Unsettled())  # type: ignore[arg-type]
    assert len(watch.suspects) == 2
    watch.forget()
    assert (watch.suspects, watch.timer) == ({}, None)


def test_a_suspect_that_comes_during_the_look() -> None:
    """It is kept for the next one, and so is one that is not settled."""
    watch = abandoned._Watch()

    def look() -> None:
        watch.suspects[later] = None  # as add() does

    later: Any = Unsettled()
    watch.suspects[abandoned.Suspect(0, look)] = None
    watch._look()
    assert watch.suspects == {later: None}
    assert watch.timer is not None
    watch.timer.cancel()


def test_the_processor_time_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting thread uses none; for one that has ended, or off Linux, nothing is known."""
    assert cpython_door.processor_time(-1) is None
    threads = {1: SimpleNamespace(native_id=0x3FFFFFF), 2: threading.current_thread()}
    monkeypatch.setattr(threading, "_active", threads)
    assert cpython_door.processor_time(1) is None
    assert (cpython_door.processor_time(2) or 1) > 0
    monkeypatch.setattr("sys.platform", "darwin")
    assert cpython_door.processor_time(2) is None


class OwnContext:
    """A context of an interceptor: `tells` is what its add_callback() returns."""

    def __init__(self, tells: object) -> None:
        self.tells = tells
        self.callbacks: list[Any] = []

    def add_callback(self, callback: Any) -> object:
        self.callbacks.append(callback)
        return self.tells


class UsualContext(OwnContext):
    """A context of grpcio's own class, whose list of callbacks is read."""

    def __init__(self, state: object, tells: object = True) -> None:
        super().__init__(tells)
        if state is not ...:
            self._state = state


def test_an_rpc_that_ended_before_its_handler_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no callback can be added, the end is checked at once; a context may not tell."""
    for module in (core_entries, contexts_door):
        monkeypatch.setattr(module, "SERVER_CONTEXT", UsualContext)
    handlers = lifecycle_handlers.Handlers(None)
    listed: list[Any] = []
    for context, is_gone in (
        (OwnContext(False), False),  # it is the program's, and not asked
        (object(), False),
        (UsualContext(SimpleNamespace(callbacks=None)), True),
        (UsualContext(SimpleNamespace(callbacks=listed)), False),
        (UsualContext(SimpleNamespace(callbacks=7), False), True),
        (UsualContext(SimpleNamespace(), False), True),
        (UsualContext(..., False), True),
    ):
        entry = handlers.enter_unary("/a/b", context)
        assert entry.is_over() is is_gone, context
    assert [type(entry) for entry in listed] == [type(entry)]


def test_a_thread_that_has_gone_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler whose thread serves another RPC by now, or is in none, is not looked at."""
    monkeypatch.setattr(abandoned, "watch", abandoned._Watch())
    handlers = lifecycle_handlers.Handlers(None)
    entry, later = handlers.enter_unary("/a/b"), handlers.enter_unary("/a/b")
    assert not entry.is_over()
    entry()  # its thread handles the later one
    assert entry.is_over()
    later.ended = True
    later()
    assert not later.is_over()
    assert handlers._look_at(later) is None
    assert abandoned.watch.suspects == {}


def test_the_end_of_an_rpc_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An RPC may end when its stream, or the records of its server, are gone."""
    monkeypatch.setattr(core_entries, "SERVER_CONTEXT", UsualContext)
    handlers = lifecycle_handlers.Handlers(None)
    callbacks: list[Any] = []
    context = UsualContext(SimpleNamespace(callbacks=callbacks))
    stream = Stream("/a/b", "server", "sync", Mode.RAISE)
    handlers.enter(stream, context)
    unary = handlers.enter_unary("/a/b")
    (entry,) = callbacks
    entry()
    stream.ended = True
    entry()
    stream.ended = False
    del handlers
    entry()
    unary()
    assert unary.is_over()
    del stream
    entry()


def test_unary_handlers_in_flight(found: Found) -> None:
    """A unary handler is there while it runs, as a streaming one is."""
    holding = Holding()
    with ThreadPoolExecutor(2) as pool:
        server = wrap(grpc.server(pool))
        handlers = grpc.method_handlers_generic_handler("test.Guard", holding.methods())
        server.add_generic_rpc_handlers((handlers,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with sync_channel(f"127.0.0.1:{port}", mode=None) as channel:
            call = begin(channel, "unary")
            with holding.gate.held():
                (owner,) = server.snapshot()
                assert (owner.operation, owner.stack[0].function) == (path("Unary"), "unary")
            assert call.result(timeout=PATIENCE) == b"1"
            assert in_thread(server.snapshot).result() == ()
        wait(server.stop(None))
    assert found() == []
