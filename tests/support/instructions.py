"""How many bytecode instructions of grpc_guard one guarded operation executes: a gate without a clock.

Two programs that take the same time on one machine differ on another, and by the minute. The
number of instructions does not: it is that of the compiler, and specialisation, which rewrites
instructions while they run, leaves it as it is. What it cannot see: a C function counts as the one instruction that calls
it, whether it takes 10 ns or 10 us; what grpcio, wrapt, asyncio and the program do is not
counted; and the numbers of two minor versions of Python cannot be compared.

``python -m support.instructions``, in the folder tests, writes the numbers of the Python that runs it into
``instructions.json``, which test_instructions.py compares; it belongs into the commit
that changes them.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import grpc
from grpc import _server
from inside import (
    GenericHandler,
    Handlers,
    Mode,
    Stream,
    aio_calls,
    aio_channel,
    aio_given,
    aio_handlers,
    aio_requests,
    always,
    core_which,
    sync_calls,
    sync_channel,
    sync_handlers,
    watching,
)

import grpc_guard

FILE = Path(__file__).with_name("instructions.json")
_COMPILED = ", compiled" if core_which.name() == "c" else ""
PYTHON = (
    f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}{_COMPILED}"
)

_PACKAGE = str(Path(grpc_guard.__file__).parent)
_RPC = "/test/Instructions"
_MESSAGE = b"message"

_ALWAYS = always(Mode.RAISE)

Operation = Callable[[], object]


class _Plain:
    """Stands below the proxies: every operation of a call or context, done at once."""

    def __init__(self) -> None:
        self._state = SimpleNamespace(initial_metadata=None)

    def __next__(self) -> bytes:
        return _MESSAGE

    def __aiter__(self) -> _Plain:
        return self

    def done(self) -> bool:
        return False

    def is_active(self) -> bool:
        return True

    def initial_metadata(self) -> None:
        pass

    def send(self, response: bytes) -> None:
        pass

    async def read(self) -> bytes:
        return _MESSAGE

    __anext__ = read

    async def asend(self, value: None) -> bytes:
        return _MESSAGE

    async def write(self, message: bytes) -> None:
        pass

    async def done_writing(self) -> None:
        pass


class _Starting:
    """A plain multi-callable of the aio api."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, *args: object) -> _Plain:
        return _Plain()


class _OfHandler:
    """A generic handler of one method, and the details of a call of it."""

    method = _RPC

    def __init__(self) -> None:
        self._handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)

    def service(self, details: object) -> Any:
        return self._handler


def counts() -> dict[str, int]:
    """Return the instructions that one operation of each kind executes, in mode ``raise``."""
    return {**_sync_counts(), **asyncio.run(_aio_counts())}


def count(operation: Operation) -> int:
    """Call `operation` twice; return how many instructions of grpc_guard the second executed.

    What the first had to work out, once in a process, is no part of an operation.
    """
    operation()
    executed: list[CodeType] = []
    tracer = sys.gettrace()
    sys.settrace(None)  # what measures coverage
    gc.disable()  # finalisers are not part of the operation
    try:
        with _listing_instructions(executed):
            operation()
    finally:
        gc.enable()
        sys.settrace(tracer)
    return sum(_is_ours(code) for code in executed)


def _is_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(_PACKAGE)


if sys.version_info >= (3, 12):
    _TOOL = 3  # free: coverage has 1, profilers have 2, interrupts.py has 4

    @contextmanager
    def _listing_instructions(executed: list[CodeType]) -> Iterator[None]:
        """Append to `executed` the code of each instruction; f_trace_opcodes misses some here."""
        event = sys.monitoring.events.INSTRUCTION
        sys.monitoring.use_tool_id(_TOOL, "instructions")
        sys.monitoring.register_callback(_TOOL, event, lambda code, _: executed.append(code))
        sys.monitoring.set_events(_TOOL, event)
        try:
            yield
        finally:
            sys.monitoring.set_events(_TOOL, 0)
            sys.monitoring.register_callback(_TOOL, event, None)
            sys.monitoring.free_tool_id(_TOOL)

else:

    @contextmanager
    def _listing_instructions(executed: list[CodeType]) -> Iterator[None]:
        """Append to `executed` the code of each instruction."""

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            if event == "opcode":
                executed.append(frame.f_code)
            return trace

        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(None)


def _sync_counts() -> dict[str, int]:
    def stream(side: str) -> Stream:
        return Stream(_RPC, side, "sync", Mode.RAISE)

    call = sync_calls.responses_of(_Plain(), stream("client"))
    single = sync_calls.single_threaded_responses_of(_Plain(), stream("client"))
    client_requests = sync_calls.requests_of(_Plain(), stream("client"))
    server_requests = sync_handlers.requests_of(_Plain(), stream("server"))
    responses = sync_handlers.responses_of(_Plain(), stream("server"))
    sender = sync_handlers.guard_sender(_Plain().send, stream("server"))
    plain, iterator = _Plain(), _Plain()
    behavior = sync_handlers.guard_behavior(
        lambda request, context: iterator, _RPC, _ALWAYS, True, True, handlers=Handlers(None)
    )
    unary_behavior = sync_handlers.guard_behavior(
        lambda request, context: request, _RPC, _ALWAYS, False, False, handlers=Handlers(None)
    )
    context = _server._Context(SimpleNamespace(), _server._RPCState(), None)

    def handle_unary() -> None:
        unary_behavior(_MESSAGE, context)
        for callback in context._state.callbacks:  # as gRPC does at the end
            callback()
        context._state.callbacks.clear()

    of_handler = _OfHandler()
    generic = GenericHandler(of_handler, _ALWAYS, lambda *_: unary_behavior)
    unary = functools.partial(watching(lambda _, message: message), None)
    wrapped_unary = sync_channel.UnaryUnary(lambda message: message, _RPC, _ALWAYS)
    kept: list[object] = []  # what is started is not finalised while it is counted
    operations: dict[str, Operation] = {
        "sync client: next": functools.partial(next, call),
        "sync client: initial_metadata": single.initial_metadata,
        "sync client: next(request_iterator)": functools.partial(next, client_requests),
        "sync client: start of a stream": lambda: kept.append(
            sync_channel.start_stream_stream(None, lambda _: plain, _RPC, Mode.RAISE, iterator)
        ),
        "sync client: start of a unary call": functools.partial(unary, _MESSAGE),
        "sync client: start of a unary call, wrapped": functools.partial(wrapped_unary, _MESSAGE),
        "sync server: next": functools.partial(next, server_requests),
        "sync server: next(response_iterator)": functools.partial(next, responses),
        "sync server: send_response": functools.partial(sender, _MESSAGE),
        "sync server: start of a stream": lambda: kept.append(behavior(iterator, context)),
        "sync server: start and end of a unary handler": handle_unary,
        "sync server: service of a generic handler": functools.partial(generic.service, of_handler),
    }
    return {name: count(operation) for name, operation in operations.items()}


async def _aio_counts() -> dict[str, int]:
    loop = asyncio.get_running_loop()

    def stream(side: str) -> Stream:
        return Stream(_RPC, side, "aio", Mode.RAISE, loop)

    call = aio_calls.DuplexCall(_Plain(), stream("client"))
    client_requests = aio_requests.AsyncRequestIterator(_Plain(), stream("client"))
    context = aio_given.Context(_Plain(), stream("server"))
    requests = aio_given.RequestIterator(_Plain(), stream("server"), context._self_read)
    plain, multi_callable = _Plain(), SimpleNamespace(_loop=loop)
    wrapped_unary = aio_channel.UnaryUnary(_Starting(loop), _RPC, _ALWAYS)
    wrapped = aio_channel.StreamStream(_Starting(loop), _RPC, _ALWAYS)
    kept: list[object] = []
    operations: dict[str, Operation] = {
        "aio client: read": _done(call.read),
        "aio client: __anext__": _done(aiter(call).__anext__),
        "aio client: asend": _done(functools.partial(aiter(call).asend, None)),
        "aio client: write": _done(functools.partial(call.write, _MESSAGE)),
        "aio client: done_writing": _done(call.done_writing),
        "aio client: anext(request_iterator)": _done(client_requests.__anext__),
        "aio client: start of a stream": lambda: kept.append(
            aio_channel.start_stream_stream(multi_callable, lambda *_: plain, _RPC, Mode.RAISE)
        ),
        "aio client: start of a unary call": lambda: aio_channel.start_unary_unary(
            multi_callable, lambda: None, _RPC, Mode.RAISE
        ),
        "aio client: start of a unary call, wrapped": wrapped_unary,
        "aio client: start of a stream, wrapped": lambda: kept.append(wrapped()),
        "aio server: context.read": _done(context.read),
        "aio server: __anext__": _done(aiter(requests).__anext__),
        "aio server: context.write": _done(functools.partial(context.write, _MESSAGE)),
    }
    numbers = {name: count(operation) for name, operation in operations.items()}
    return {
        **numbers,
        "aio server: start and end of a handler": _handler_count(streams=True),
        "aio server: start and end of a unary handler": _handler_count(streams=False),
        "aio server: yield": _yield_count(stream("server")),
    }


def _handler_count(*, streams: bool) -> int:
    async def handle(request: object, context: object) -> None:
        pass

    behavior = aio_handlers.guard_behavior(
        handle, _RPC, _ALWAYS, streams, streams, handlers=Handlers(None)
    )
    return count(_done(lambda: behavior(_Plain(), _Plain())))


def _yield_count(stream: Stream) -> int:
    async def handle(request: object, context: object) -> Any:
        while True:
            yield _MESSAGE

    context = aio_given.Context(_Plain(), stream)
    responses = aio_handlers._generate(Handlers(None), stream, context, handle(None, context))
    _done(responses.__anext__)()  # the way to the first yield is longer
    return count(_done(responses.__anext__))


def _done(operation: Callable[[], Any]) -> Operation:
    """Return what does an asynchronous operation that never suspends, to its end."""

    def run() -> None:
        try:
            operation().__await__().send(None)
        except StopIteration:
            return
        raise AssertionError("an operation that does nothing was suspended")

    return run


def recorded() -> dict[str, dict[str, int]]:
    """Return what the file has, by version of Python."""
    versions: dict[str, dict[str, int]] = json.loads(FILE.read_text(encoding="utf-8"))
    return versions


def _order(python: str) -> tuple[int, str]:
    minor, _, compiled = python.partition(".")[2].partition(",")
    return int(minor), compiled


def main() -> None:
    """Record the numbers of this Python."""
    versions = {**recorded(), PYTHON: counts()} if FILE.exists() else {PYTHON: counts()}
    in_order = dict(sorted(versions.items(), key=lambda item: _order(item[0])))
    FILE.write_text(json.dumps(in_order, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
