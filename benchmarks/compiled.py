"""A guard in C in place of ours: the least that a guard can cost."""

from __future__ import annotations

import asyncio
import importlib.util
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any

from grpc_guard._catalogue.modes import Mode
from grpc_guard._core.stream import Stream
from grpc_guard._proxies.aio import calls as aio_calls
from grpc_guard._proxies.sync import calls as sync_calls

from ._measure import Block, Figure, Plan, control_figure, process_clock, race, ratio_figure
from ._services import SHAPES, Start, aio_blocks, sync_blocks
from ._stubs import AioCall, SyncCall
from .micro import ResourceProxy, run_through

TITLE = "a compiled core: claim, notes, step and release in one C call"
INTRO = (
    "*Compiled* is `benchmarks/compiled.c`, which claims and notes as we do and can do nothing else. The first two rows are single operations on a "
    "call that does nothing; *the rival* is a lock pair around the bare `next()`, and a wrapt proxy with anyio's ResourceGuard around "
    "`read()`. The others are messages of real streams, of 16 B, with the client guarded by hand, so that the beginning of the stream is not in it; "
    "*guarded twice* has one guard around the other."
)

_SOURCE = Path(__file__).with_suffix(".c")
_SHARE_OF_TIME = 0.8  # of the time for a case end to end
_SIZE = 16  # bytes
_PLAIN, _RIVAL, _GUARDED, _TWICE = "plain", "the rival", "guarded", "guarded twice"
_COMPILED = "compiled"
_SHAPES = ("server stream", "bidi ping-pong")

Layer = Callable[[Any], Any]  # puts a guard around a call


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the cost of an operation and of a message; nothing where there is no C compiler."""
    core = build()
    if core is None:
        print("  no C compiler here, or no headers of Python")
        return
    yield from _one_next(core, plan)
    yield from asyncio.run(_one_read(core, plan))
    for api, open_blocks in {"sync": sync_blocks, "aio": aio_blocks}.items():
        with open_blocks() as blocks:
            for shape in _SHAPES:
                contenders = blocks(shape, _SIZE, layers(core, api))
                del contenders["client only"], contenders["server only"], contenders["both"]
                yield from _messages(f"{api} {shape}", contenders, SHAPES[shape] // 2, plan)


def build() -> Any:
    """Compile the core and return its module; None where that cannot be done."""
    command = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    headers = {sysconfig.get_path(kind) for kind in ("include", "platinclude")}
    if shutil.which(command[0]) is None:
        return None
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / f"_compiled{sysconfig.get_config_var('EXT_SUFFIX')}"
        ended = subprocess.run(
            [*command, "-O2", "-fPIC", *(f"-I{path}" for path in headers), _SOURCE, "-o", library],
            capture_output=True,
        )
        if ended.returncode != 0:
            return None
        spec = importlib.util.spec_from_file_location("_compiled", library)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


# One operation


def _one_next(core: Any, plan: Plan) -> Iterator[Figure]:
    call = SyncCall()
    lock = threading.Lock()
    acquire, release = lock.acquire, lock.release

    def stepping(iterator: Any) -> Block:
        def step(operations: int) -> None:
            for _ in repeat(None, operations):
                next(iterator)

        return step

    def locked(operations: int) -> None:
        for _ in repeat(None, operations):
            acquire()
            next(call)
            release()

    contenders = {
        _PLAIN: stepping(call),
        _RIVAL: locked,
        _GUARDED: stepping(_guard_sync(SyncCall())),
        _TWICE: stepping(_guard_sync(_guard_sync(SyncCall()))),
        _COMPILED: stepping(core.Iterator(SyncCall())),
    }
    return _operation("sync client: next", contenders, plan)


async def _one_read(core: Any, plan: Plan) -> list[Figure]:
    def stepping(call: Any) -> Block:
        async def act(operations: int) -> None:
            for _ in repeat(None, operations):
                await call.read()

        return run_through(act)

    contenders = {
        _PLAIN: stepping(AioCall()),
        _RIVAL: stepping(ResourceProxy(AioCall())),
        _GUARDED: stepping(_guard_aio(AioCall())),
        _TWICE: stepping(_guard_aio(_guard_aio(AioCall()))),
        _COMPILED: stepping(_CompiledCall(core, AioCall())),
    }
    return list(_operation("aio client: read", contenders, plan))


def _operation(row: str, contenders: Mapping[str, Block], plan: Plan) -> Iterator[Figure]:
    measured = race(contenders, reference=_PLAIN, plan=plan)
    for name in contenders:
        yield Figure(row, measured.time(name, "ns"), "ns", column=name)
    for name in (_GUARDED, _COMPILED):
        yield ratio_figure(row, f"{name} / {_RIVAL}", measured, name, _RIVAL)
    yield control_figure(row, measured)


# Messages of real streams


def _messages(
    row: str, contenders: Mapping[str, Block], operations: int, plan: Plan
) -> Iterator[Figure]:
    for block in contenders.values():
        block(operations)  # connects, and warms the path
    measured = race(
        contenders,
        reference=_PLAIN,
        plan=plan,
        clock=process_clock,
        operations=operations,
        seconds=_SHARE_OF_TIME * plan.seconds_end_to_end,
    )
    yield Figure(row, measured.time(_PLAIN, "us"), "us", column=_PLAIN)
    for name in (_GUARDED, _TWICE, _COMPILED):
        yield ratio_figure(row, name, measured, name)
    yield control_figure(row, measured)


def layers(core: Any, api: str) -> dict[str, Callable[[Start], Start]]:
    """Return, by column, a function that makes a guarded start of an RPC from the plain one."""
    if api == "aio":
        return {
            _GUARDED: lambda start: lambda *request: _guard_aio(start(*request)),
            _TWICE: lambda start: lambda *request: _guard_aio(_guard_aio(start(*request))),
            _COMPILED: lambda start: lambda *request: _CompiledCall(core, start(*request)),
        }

    def twice(call: Any) -> Any:
        return _guard_sync(_guard_sync(call))

    def requests_twice(requests: Any) -> Any:
        return _guard_requests(_guard_requests(requests))

    return {
        _GUARDED: _around(_guard_sync, _guard_requests),
        _TWICE: _around(twice, requests_twice),
        _COMPILED: _around(core.Iterator, core.Iterator),
    }


def _around(guard_call: Layer, guard_requests: Layer) -> Callable[[Start], Start]:
    def around(start: Start) -> Start:
        def begin(request: Any) -> Any:
            one_request = isinstance(request, bytes)
            return guard_call(start(request if one_request else guard_requests(request)))

        return begin

    return around


def _stream(loop: asyncio.AbstractEventLoop | None = None) -> Stream:
    api = "sync" if loop is None else "aio"
    return Stream("/benchmark.Service/Method", "client", api, Mode.RAISE, loop)


def _guard_sync(call: Any) -> Any:
    return sync_calls.StreamCall(call, _stream())


def _guard_requests(requests: Any) -> Any:
    return sync_calls.RequestIterator(requests, _stream())


def _guard_aio(call: Any) -> Any:
    kind = aio_calls.DuplexCall if hasattr(call, "write") else aio_calls.ReadingCall
    return kind(call, _stream(asyncio.get_running_loop()))


class _CompiledCall:
    """The methods that our streams use, guarded in C."""

    __slots__ = ("_call", "_direction", "done_writing", "read", "write")

    def __init__(self, core: Any, call: Any) -> None:
        loop = asyncio.get_running_loop()
        self._call = call
        self._direction = lambda step: core.Direction(step, loop)
        self.read = self._direction(call.read)
        if hasattr(call, "write"):
            self.write = self._direction(call.write)
            self.done_writing = call.done_writing

    def __aiter__(self) -> Any:
        return self._direction(self._call.__aiter__().__anext__)
