"""One message of a real stream, client and server in this process: guarded against plain.

And probed against guarded: no two parties come near each other here, nothing is held back.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import grpc.aio

import grpc_guard
from grpc_guard._probe.process import probe
from grpc_guard._probe.settings import ProbeSettings

from ._measure import Figure, Plan, compare, process_clock

TITLE = "one message of 16 bytes in a server stream of 200 (CPU time of client and server together)"

_MESSAGE = bytes(16)
_STREAM = 200  # messages
_METHOD = "/benchmark.Service/Stream"

Guard = Callable[[Any], Any]
GUARDS: dict[str, Guard] = {"plain": lambda obj: obj, "guarded": grpc_guard.wrap}


class _Service(grpc.GenericRpcHandler):
    """Answers a number with a stream of so many messages."""

    def __init__(self, stream: Callable[..., Any]) -> None:
        self._handler = grpc.unary_stream_rpc_method_handler(stream)

    def service(self, handler_call_details: Any) -> Any:
        return self._handler


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the cost of a message, sync and aio."""
    with ExitStack() as stack:
        blocks = {
            f"sync, {name}": stack.enter_context(_sync(guard)) for name, guard in GUARDS.items()
        }
        yield from _compare("sync", blocks, plan)
        yield from _compare_probed("sync", blocks["sync, guarded"], plan)
    with asyncio.Runner() if hasattr(asyncio, "Runner") else _Runner() as runner:
        pairs = {name: runner.run(_open_aio(guard)) for name, guard in GUARDS.items()}
        blocks = {
            f"aio, {name}": functools.partial(_run_aio, runner.run, channel)
            for name, (channel, _) in pairs.items()
        }
        yield from _compare("aio", blocks, plan)
        yield from _compare_probed("aio", blocks["aio, guarded"], plan)
        for channel, server in pairs.values():
            runner.run(channel.close())
            runner.run(server.stop(None))


def _compare(api: str, blocks: dict[str, Any], plan: Plan) -> Iterator[Figure]:
    return compare(
        blocks,
        subject=f"{api}, guarded",
        reference=f"{api}, plain",
        plan=plan,
        clock=process_clock,
        unit="us",
        operations=_STREAM,
    )


def _compare_probed(api: str, guarded: Callable[[int], object], plan: Plan) -> Iterator[Figure]:
    settings = ProbeSettings(seed=0)

    def probed(messages: int) -> None:
        probe.use(settings)  # for the streams that start from now on
        guarded(messages)
        probe.use(None)

    return compare(
        {f"{api}, guarded": guarded, f"{api}, probed": probed},
        subject=f"{api}, probed",
        reference=f"{api}, guarded",
        plan=plan,
        bound=1.1,
        clock=process_clock,
        unit="us",
        operations=_STREAM,
    )


@contextmanager
def _sync(guard: Guard) -> Iterator[Callable[[int], None]]:
    def stream(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in range(int(request)):
            yield _MESSAGE

    server = guard(grpc.server(concurrent.futures.ThreadPoolExecutor(2)))
    server.add_generic_rpc_handlers((_Service(stream),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with guard(grpc.insecure_channel(f"127.0.0.1:{port}")) as channel:
        start = channel.unary_stream(_METHOD)

        def receive(messages: int) -> None:
            for _ in start(b"%d" % messages):
                pass

        yield receive
    server.stop(None).wait()


async def _open_aio(guard: Guard) -> tuple[Any, Any]:
    async def stream(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        for _ in range(int(request)):
            yield _MESSAGE

    server = guard(grpc.aio.server())
    server.add_generic_rpc_handlers((_Service(stream),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return guard(grpc.aio.insecure_channel(f"127.0.0.1:{port}")), server


def _run_aio(run: Callable[[Coroutine[Any, Any, None]], None], channel: Any, messages: int) -> None:
    async def receive() -> None:
        async for _ in channel.unary_stream(_METHOD)(b"%d" % messages):
            pass

    run(receive())


class _Runner:
    """asyncio.Runner, for Python 3.10."""

    def __enter__(self) -> _Runner:
        self._loop = asyncio.new_event_loop()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(coroutine)
