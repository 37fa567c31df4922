"""The doors to what is not ours: each answers on the installed versions, and does without its name."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.machinery
import importlib.util
import inspect
import os
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import grpc.experimental
import pytest
from inside import cpython_door, frames_of_threads, grpcio_door, grpcio_ends_door, loops_door
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    path,
    settle,
    sync_channel,
    sync_server,
    wait,
)

NOTHING = types.SimpleNamespace()  # has none of the names


@pytest.fixture
def reloaded() -> Callable[[Any], Any]:
    """Return a function that executes a module again, into a copy: others keep theirs."""

    def execute(module: Any) -> Any:
        spec = importlib.util.spec_from_file_location(module.__name__, module.__file__)
        assert spec is not None
        assert spec.loader is not None
        copy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(copy)
        return copy

    return execute


# CPython: threads


def test_frames_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parked thread shows its frame; without the name no thread does."""
    gate = Gate()
    parked = in_thread(gate.park)
    gate.wait()
    names = [frame.f_code.co_name for frame in frames_of_threads().values()]
    assert "frames_of_threads" in names
    assert len(names) > 1
    monkeypatch.delattr(sys, "_current_frames")
    assert frames_of_threads() == {}
    assert gc.get_threshold()[0] > 0
    gate.open()
    parked.result()


def test_threads_by_ident(monkeypatch: pytest.MonkeyPatch, reloaded: Any) -> None:
    """The running thread is in the table; without the name the table is empty."""
    me = threading.current_thread()
    assert cpython_door.threads_by_ident[threading.get_ident()] is me
    with monkeypatch.context() as without:
        without.delattr(threading, "_active")
        assert reloaded(cpython_door).threads_by_ident == {}


def test_name_of_threads(monkeypatch: pytest.MonkeyPatch, reloaded: Any) -> None:
    """It returns what a thread has in `_name`; where threads have no such name it is None."""
    me = threading.current_thread()
    assert cpython_door.name_of_threads.fget(me) == me._name  # type: ignore[attr-defined, union-attr]
    with monkeypatch.context() as without:
        without.setattr(threading, "main_thread", object)
        assert reloaded(cpython_door).name_of_threads is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_by_ident_in_a_child() -> None:
    """A forked child has the same table, with its own thread."""
    code = (
        "import os, threading; table = threading._active; pid = os.fork()\n"
        "same = threading._active is table and list(table) == [threading.get_ident()]\n"
        "os._exit(not same) if not pid else os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE).returncode == 0


# CPython: pools


def test_pool() -> None:
    """A pool tells its size, its threads, whether one is idle, and what waits for one."""
    gate = Gate()
    with ThreadPoolExecutor(1) as pool:
        assert cpython_door.size_of_pool(pool) == 1
        assert cpython_door.idents_of_workers(pool) == frozenset()
        first, second = pool.submit(gate.park), pool.submit(int)
        gate.wait()
        assert not cpython_door.has_idle_workers(pool)
        assert cpython_door.waiting_in_pool(pool) == 1
        (worker,) = cpython_door.idents_of_workers(pool)
        frame = frames_of_threads()[worker]
        chain = []
        while frame is not None:
            chain.append(cpython_door.is_worker(frame))
            frame = frame.f_back  # type: ignore[assignment]
        assert chain.count(True) == 1
        gate.open()
        assert (first.result(PATIENCE), second.result(PATIENCE)) == (None, 0)
        while not cpython_door.has_idle_workers(pool):
            pool.submit(int).result(PATIENCE)
        assert cpython_door.waiting_in_pool(pool) == 0


def test_pool_without_its_names() -> None:
    """A pool that tells nothing is never taken to be full."""
    assert cpython_door.size_of_pool(NOTHING) == 0
    assert not cpython_door.has_idle_workers(NOTHING)
    assert not cpython_door.has_idle_workers(None)
    assert cpython_door.idents_of_workers(NOTHING) == frozenset()
    assert cpython_door.waiting_in_pool(NOTHING) == 0
    assert cpython_door.executor_in(NOTHING) is None


# CPython: the interpreter


def test_import_in_progress() -> None:
    """A module is being imported until it has been executed."""
    name = "grpc_guard_test_of_an_import"
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    assert not cpython_door.is_being_imported(module)
    module.__spec__._initializing = True  # type: ignore[attr-defined]  # as importlib does
    assert cpython_door.is_being_imported(module)
    module.__spec__ = None
    assert not cpython_door.is_being_imported(module)


def test_importlib_tells_of_an_import(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag is the one that importlib sets on a real module."""
    (tmp_path / "in_progress.py").write_text(
        "import sys\nseen = sys.modules[__name__].__spec__._initializing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("in_progress")
    monkeypatch.delitem(sys.modules, "in_progress")
    assert module.seen
    assert not cpython_door.is_being_imported(module)


def test_interpreter_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child gets the options of its parent; without the name the default ones."""
    code = "import sys; from inside import cpython_door; print(cpython_door.interpreter_flags())"
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    told = subprocess.run(
        [sys.executable, "-bb", "-c", code],
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert "'-bb'" in told.stdout
    monkeypatch.delattr(subprocess, "_args_from_interpreter_flags")
    assert cpython_door.interpreter_flags() == []


# asyncio


async def test_running_loop(monkeypatch: pytest.MonkeyPatch, reloaded: Any) -> None:
    """The running loop, by either name, and None where none runs."""
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as without:
        without.delattr(asyncio, "_get_running_loop")
        doors = (loops_door, reloaded(loops_door))
    assert doors[1].running_loop is doors[1]._public_running_loop
    for door in doors:
        assert door.running_loop() is loop
        assert await asyncio.to_thread(door.running_loop) is None


async def test_cancellation_on_its_way() -> None:
    """A task is being cancelled from the asking to the delivery, waiting or not yet begun."""
    waiting = asyncio.create_task(asyncio.Event().wait())
    await settle()
    fresh = asyncio.create_task(asyncio.Event().wait())
    for task in (waiting, fresh):
        assert not loops_door.is_being_cancelled(task)
        task.cancel()
        assert loops_door.is_being_cancelled(task)
    await asyncio.wait([waiting, fresh])
    assert loops_door.is_being_cancelled(NOTHING)  # and so no finding


async def test_error_that_nobody_looks_at() -> None:
    """The error of a future is found, and does not count as looked at."""
    future = asyncio.get_running_loop().create_future()
    assert loops_door.error_of(future) is None
    error = ValueError()
    future.set_exception(error)
    assert loops_door.error_of(future) is error
    assert future._log_traceback  # type: ignore[attr-defined]
    future.exception()
    assert loops_door.error_of(NOTHING) is None


async def test_timers_and_what_they_stop() -> None:
    """The timer of a time-out around a task is found on its loop, and leads to the task."""
    loop = asyncio.get_running_loop()

    def tell(what: object) -> None:
        pass

    handle = loop.call_later(1000, tell, NOTHING)
    async with asyncio.timeout(1000):
        await settle()
        timers = loops_door.timers_of(loop)
        assert handle in timers
        assert [loops_door.arguments_of(timer) for timer in timers if timer is handle] == [
            (NOTHING,)
        ]
        stopped = [task for timer in timers for task in loops_door.tasks_stopped_by(timer)]
        assert asyncio.current_task() in stopped
    handle.cancel()
    assert list(loops_door.tasks_stopped_by(handle)) == [None]
    assert loops_door.timers_of(NOTHING) == ()
    assert list(loops_door.tasks_stopped_by(NOTHING)) == [None]
    assert loops_door.arguments_of(NOTHING) == ()


def test_scope_of_anyio() -> None:
    """A scope of anyio has many tasks."""
    import anyio

    async def main() -> None:
        with anyio.fail_after(1000):
            await settle()
            timers = loops_door.timers_of(asyncio.get_running_loop())
            stopped = [task for timer in timers for task in loops_door.tasks_stopped_by(timer)]
            assert asyncio.current_task() in stopped

    anyio.run(main)


async def test_arguments_of_callbacks() -> None:
    """What a partial among the callbacks of a task was given is found; other callbacks have none."""
    import functools

    task = asyncio.create_task(settle())
    task.add_done_callback(functools.partial(lambda mark, task: None, NOTHING))
    task.add_done_callback(lambda task: None)
    assert NOTHING in loops_door.arguments_of_callbacks(task)
    await task
    assert loops_door.arguments_of_callbacks(NOTHING) == []


async def test_default_executor() -> None:
    """The executor of a loop, once it has made one."""
    loop = asyncio.get_running_loop()
    assert loops_door.default_executor(loop) is None
    await asyncio.to_thread(int)
    assert isinstance(loops_door.default_executor(loop), ThreadPoolExecutor)
    assert loops_door.default_executor(NOTHING) is None


# grpcio: channels


def test_classes_of_grpcio() -> None:
    """The compiled classes are there; one that is not has no instances."""
    for name in ("Channel", "AioChannel", "AioServer", "_ServicerContext", "_SyncServicerContext"):
        assert grpcio_door.kind(name) is getattr(grpcio_door.cygrpc, name)
    assert not isinstance(NOTHING, grpcio_door.kind("there is no such class"))


@pytest.mark.parametrize("intercepted", [False, True])
def test_sync_channel(intercepted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel leads to its core, through interceptors too; the core knows target and closing."""
    plain = grpc.insecure_channel("127.0.0.1:1")
    channel = plain
    if intercepted:

        class Interceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
            def intercept_unary_unary(self, proceed: Any, details: Any, request: Any) -> Any:
                return proceed(details, request)

        channel = grpc.intercept_channel(plain, Interceptor())
    anchor, core = grpcio_door.anchor_and_core(channel)
    assert type(core) is grpcio_door.cygrpc.Channel
    assert grpcio_door.target_of(core) == "127.0.0.1:1"
    assert not grpcio_door.is_core_closed(anchor)
    assert plain.unary_unary("/a/b")._channel is core  # what is read where an RPC starts
    plain.close()
    assert grpcio_door.is_core_closed(anchor)
    monkeypatch.delattr(plain, "_call_state")
    assert grpcio_door.anchor_and_core(plain) == (None, None)


async def test_aio_channel() -> None:
    """A channel of the aio api closes its core itself, and its loop is known."""
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    anchor, core = grpcio_door.anchor_and_core(channel)
    assert anchor is channel
    assert type(core) is grpcio_door.cygrpc.AioChannel
    assert grpcio_door.target_of(core) in ("127.0.0.1:1", None)  # None before grpcio 1.67
    assert not grpcio_door.is_core_closed(anchor)
    multi_callable = channel.unary_unary("/a/b")
    assert multi_callable._channel is core
    assert multi_callable._loop is grpcio_door.loop_of(channel) is asyncio.get_running_loop()
    await channel.close()
    assert grpcio_door.is_core_closed(anchor)


def test_channel_without_its_names() -> None:
    """A channel that tells nothing has no record, and its end is not reported."""
    assert grpcio_door.anchor_and_core(NOTHING) == (None, None)
    assert not grpcio_door.is_core_closed(NOTHING)
    assert not grpcio_door.is_core_closed(types.SimpleNamespace(_channel=NOTHING))
    assert grpcio_door.target_of(NOTHING) is None
    assert grpcio_door.loop_of(NOTHING) is None


def test_fork_support(monkeypatch: pytest.MonkeyPatch) -> None:
    """grpcio says whether it supports forks; where it does not say, it is taken to."""
    told = grpcio_door.cygrpc._GRPC_ENABLE_FORK_SUPPORT
    assert grpcio_door.has_fork_support() is bool(told)
    monkeypatch.setattr(grpcio_door.cygrpc, "_GRPC_ENABLE_FORK_SUPPORT", not told)
    assert grpcio_door.has_fork_support() is not bool(told)
    monkeypatch.delattr(grpcio_door.cygrpc, "_GRPC_ENABLE_FORK_SUPPORT")
    assert grpcio_door.has_fork_support()


# grpcio: calls

METHODS = {
    "Echo": grpc.unary_stream_rpc_method_handler(lambda request, context: iter([request])),
}


@pytest.mark.parametrize("single_threaded", [False, True])
def test_sync_call(single_threaded: bool) -> None:
    """A call notes its end, its name and its deadline."""
    single = ((grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),)
    options = single if single_threaded else ()
    with (
        sync_server(METHODS, mode=None) as address,
        grpc.insecure_channel(address, options=options) as channel,
    ):
        call = channel.unary_stream(path("Echo"))(b"", timeout=1000)
        name = type(call).__name__
        assert name == (
            grpcio_door.SINGLE_THREADED_CALL if single_threaded else grpcio_door.MULTI_THREADED_CALL
        )
        assert grpcio_door.rpc_is_over(call) is False
        is_noted, deadline = grpcio_door.deadline_of(call)
        assert is_noted
        assert deadline == call._deadline > time.time()
        assert list(call) == [b""]
        assert call._state.initial_metadata is not None  # what is read where it is asked for
        assert grpcio_door.rpc_is_over(call) is True
        assert grpcio_door.method_of(call) in (path("Echo"), None)  # None before grpcio 1.63
        untimed = channel.unary_stream(path("Echo"))(b"")
        assert grpcio_door.deadline_of(untimed) == (True, None)
        assert list(untimed) == [b""]


def test_call_without_its_names() -> None:
    """A call that notes nothing may be asked."""
    assert grpcio_door.rpc_is_over(NOTHING) is None
    assert grpcio_door.method_of(NOTHING) is None
    assert grpcio_door.deadline_of(NOTHING) == (False, None)


async def coroutine_function() -> int:
    """It is awaited."""
    return 1


async def async_generator_function() -> Any:
    yield 1


def generator_function() -> Any:
    yield 1


@pytest.mark.parametrize(
    "plain", [coroutine_function, async_generator_function, generator_function, len]
)
def test_a_function_in_place_of_another(plain: Any) -> None:
    """It says of itself what the other says, and returns what it is written to return."""
    returned = object()
    function = cpython_door.in_place_of(plain, lambda: returned)
    for tell in (
        inspect.iscoroutinefunction,
        asyncio.iscoroutinefunction,
        inspect.isasyncgenfunction,
        inspect.isgeneratorfunction,
    ):
        assert tell(function) is tell(plain)
    assert (function.__name__, function.__doc__) == (plain.__name__, plain.__doc__)
    assert function() is returned


async def test_intercepted_aio_call() -> None:
    """A call that begins when its interceptors let it has a task that says so."""

    class Interceptor(grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
        async def intercept_unary_stream(self, proceed: Any, details: Any, request: Any) -> Any:
            return await proceed(details, request)

    channel = grpc.aio.insecure_channel("127.0.0.1:1", interceptors=[Interceptor()])
    call = channel.unary_stream("/a/b")(b"")
    assert isinstance(getattr(call, grpcio_door.INTERCEPTORS_TASK), asyncio.Task)
    assert grpcio_door.queue_of_writes(call) is None  # it sends one request
    assert grpcio_door.queue_of_writes(NOTHING) is None
    call.cancel()
    await channel.close()


async def test_read_of_a_call_that_was_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """grpcio's error for a call that was cancelled before is told from one that cancels a read."""
    started = asyncio.Event()

    async def hold(request: bytes, context: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    methods = {"Hold": grpc.unary_stream_rpc_method_handler(hold)}
    async with (
        aio_server(methods, mode=None) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = channel.unary_stream(path("Hold"))(b"")
        reading = asyncio.create_task(call.read())
        await asyncio.wait_for(started.wait(), PATIENCE)
        reading.cancel()
        errors = []
        for read in (reading, call.read()):
            try:
                await read
            except asyncio.CancelledError as error:
                errors.append(error)
        assert [grpcio_door.tells_of_the_end(error) for error in errors] == [False, True]
        monkeypatch.delattr(grpcio_door._call.Call, "_raise_for_status")
        assert grpcio_door.tells_of_the_end(errors[0])  # and so no finding


def test_sender_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame that advances a request iterator is known; others are taken for it without its name."""
    seen: list[bool] = []
    asked = threading.Event()

    def requests() -> Iterator[bytes]:
        frame: Any = sys._getframe()
        while frame is not None:
            seen.append(grpcio_door.sends_requests(frame))
            frame = frame.f_back
        asked.set()
        yield b""

    methods = {"Sum": grpc.stream_unary_rpc_method_handler(lambda requests, context: b"")}
    with sync_server(methods, mode=None) as address, sync_channel(address, mode=None) as channel:
        channel.stream_unary(path("Sum"))(requests(), timeout=PATIENCE)
        wait(asked)
    assert seen.count(True) == 1
    assert not grpcio_door.sends_requests(sys._getframe())
    monkeypatch.delattr(grpcio_door._channel, "_consume_request_iterator")
    assert grpcio_door.sends_requests(sys._getframe())


# grpcio: servers


def test_sync_server() -> None:
    """A server shows its pool and where it keeps its handlers."""
    with contextlib.closing(_Pool()) as pool:
        server = grpc.server(pool.executor)
        handler = grpc.method_handlers_generic_handler("test.Doors", METHODS)
        server.add_generic_rpc_handlers((handler,))
        assert not grpcio_door.is_aio_server(server)
        assert grpcio_door.executor_of_server(server) is pool.executor
        assert [handler] in grpcio_door.stores_of_handlers(server)


async def test_aio_server() -> None:
    """A server of the aio api shows them to the collector, and its loop by name."""
    with contextlib.closing(_Pool()) as pool:
        server = grpc.aio.server(pool.executor)
        handler = grpc.method_handlers_generic_handler("test.Doors", METHODS)
        server.add_generic_rpc_handlers((handler,))
        assert grpcio_door.is_aio_server(server)
        assert grpcio_door.executor_of_server(server) is pool.executor
        assert grpcio_door.loop_of(server) is asyncio.get_running_loop()
        assert any(
            type(store) is list and handler in store
            for store in grpcio_door.stores_of_handlers(server)
        )
        await server.stop(None)


def test_aio_server_that_is_left_running() -> None:
    """One that was not stopped while its loop ran cannot be any more."""

    async def main(is_stopped: bool) -> Any:
        server = grpc.aio.server()
        assert not grpcio_ends_door.is_left_running(server._server)
        await server.start()
        assert not grpcio_ends_door.is_left_running(server._server)
        assert any(one is server._server for one in grpcio_ends_door.objects_of_aio())
        if is_stopped:
            await server.stop(None)
        return server

    assert not grpcio_ends_door.is_left_running(asyncio.run(main(True))._server)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(main(False))
    assert grpcio_ends_door.is_left_running(server._server)
    loop.run_until_complete(server.stop(None))
    assert not grpcio_ends_door.is_left_running(server._server)
    loop.close()


def test_aio_that_stays_initialized(monkeypatch: pytest.MonkeyPatch) -> None:
    """grpcio is asked while a loop that it knows seems to run, where it can be asked."""
    asked: list[Any] = []
    monkeypatch.setattr(
        grpcio_ends_door.cygrpc, "init_grpc_aio", lambda: asked.append(asyncio.get_running_loop())
    )

    async def main() -> tuple[list[Any], Any]:
        found = [grpc.aio.server()._server]
        grpcio_ends_door.keep_aio_initialized(found)  # the one that runs
        return found, asyncio.get_running_loop()

    found, loop = asyncio.run(main())
    grpcio_ends_door.keep_aio_initialized(found)
    assert asked == [loop, loop]
    assert asyncio._get_running_loop() is None
    grpcio_ends_door.keep_aio_initialized([NOTHING])  # without a loop
    monkeypatch.delattr(grpcio_ends_door.cygrpc, "init_grpc_aio")
    grpcio_ends_door.keep_aio_initialized(found)
    assert asked == [loop, loop]


def test_server_without_its_names() -> None:
    """The handlers of a server that tells nothing are not found, and not watched."""
    assert not grpcio_door.is_aio_server(NOTHING)
    assert not grpcio_ends_door.is_left_running(NOTHING)
    assert grpcio_door.executor_of_server(NOTHING) is None
    assert grpcio_door.stores_of_handlers(types.SimpleNamespace(_state=NOTHING)) == []
    assert not any(isinstance(s, list | dict) for s in grpcio_door.stores_of_handlers(NOTHING))


class _Pool:
    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1)

    def close(self) -> None:
        self.executor.shutdown()


# What may not be imported early


@pytest.mark.parametrize(
    ("door", "unwanted"),
    [("cpython", {"asyncio", "grpc", "concurrent.futures"}), ("cpython_loops", {"grpc"})],
)
def test_imports_of_a_door(door: str, unwanted: set[str]) -> None:
    """A program may have to patch or to configure what a door leads to before it is imported."""
    code = f"import sys, grpc_guard._catalogue.{door}; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert not unwanted & set(told.stdout.split())
