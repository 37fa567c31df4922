"""What it costs to share a channel: a lease of a hot key, against what it replaces."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

import grpc_guard
import grpc_guard.aio

from ._measure import Figure, Plan, compare, process_clock

TITLE = "a lease of a shared channel, taken and closed (CPU time)"

TARGET = "localhost:50051"
KEYS = 10_000
_METHOD = "/benchmark.Service/Unary"
_ALONE = [("grpc.use_local_subchannel_pool", 1)]  # or gRPC shares the connection by itself


class _NoChannel:
    """Stands for the channels of the other keys: ten thousand real ones would be measured too."""

    def close(self) -> None:
        pass


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the time of a get on a hot key: against a dict, a new channel, and many keys."""
    with grpc_guard.ChannelRegistry() as registry, registry.get(TARGET):
        yield from compare(
            {
                "get() and close(), hot key": lambda n: _leases(registry, n),
                "dict look-up under a lock": _look_ups,
            },
            subject="get() and close(), hot key",
            reference="dict look-up under a lock",
            plan=plan,
        )
        yield from compare(
            {
                "get() and close(), hot key": lambda n: _leases(registry, n),
                "making and closing a channel, unconnected": _channels,
            },
            subject="get() and close(), hot key",
            reference="making and closing a channel, unconnected",
            plan=plan,
            bound=1,
            unit="us",
        )
    yield from _rpcs(plan)
    with _of_many(1) as one, _of_many(KEYS) as many:
        yield from compare(
            {
                f"get() and close(), one of {KEYS:,} keys": lambda n: _leases(many, n),
                "get() and close(), the only key": lambda n: _leases(one, n),
            },
            subject=f"get() and close(), one of {KEYS:,} keys",
            reference="get() and close(), the only key",
            plan=plan,
            bound=1.2,
        )
    yield from asyncio.run(_aio(plan))


def _rpcs(plan: Plan) -> Iterator[Figure]:
    """Yield what a unary RPC costs, client and server together."""
    with (
        _serving() as target,
        grpc_guard.ChannelRegistry() as registry,
        registry.get(target) as lease,
        grpc.insecure_channel(target) as channel,
    ):
        stub, plain = lease.unary_unary(_METHOD), channel.unary_unary(_METHOD)
        blocks = {
            "RPC on a lease held all the time": lambda n: _call(stub, n),
            "RPC on a plain channel held all the time": lambda n: _call(plain, n),
            "RPC on a lease of its own": lambda n: _call_on_leases(registry, target, n),
            "RPC on a plain channel of its own": lambda n: _call_on_channels(target, n),
        }
        names = list(blocks)
        for subject, reference, bound in ((names[0], names[1], None), (names[2], names[3], 1)):
            yield from compare(
                {subject: blocks[subject], reference: blocks[reference]},
                subject=subject,
                reference=reference,
                plan=plan,
                bound=bound,
                clock=process_clock,
                unit="us",
                operations=20,
            )


class _Service(grpc.GenericRpcHandler):
    """Answers with the request."""

    def service(self, handler_call_details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)


@contextmanager
def _serving() -> Iterator[str]:
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((_Service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def _call(unary: Any, operations: int) -> None:
    for _ in range(operations):
        unary(b"")


def _call_on_leases(registry: grpc_guard.ChannelRegistry, target: str, operations: int) -> None:
    for _ in range(operations):
        with registry.get(target) as lease:
            lease.unary_unary(_METHOD)(b"")


def _call_on_channels(target: str, operations: int) -> None:
    for _ in range(operations):
        with grpc.insecure_channel(target, options=_ALONE) as channel:
            channel.unary_unary(_METHOD)(b"")


async def _aio(plan: Plan) -> list[Figure]:
    async with grpc_guard.aio.ChannelRegistry() as registry:
        stub = registry.stub(_Stub, TARGET)
        figures = compare(
            {
                "aio: stub(), hot key": lambda n: [registry.stub(_Stub, TARGET) for _ in range(n)],
                "dict look-up under a lock": _look_ups,
            },
            subject="aio: stub(), hot key",
            reference="dict look-up under a lock",
            plan=plan,
        )
        assert registry.stub(_Stub, TARGET) is stub
        return list(figures)


class _Stub:
    def __init__(self, channel: Any) -> None:
        self.channel = channel


def _of_many(keys: int) -> grpc_guard.ChannelRegistry:
    registry = grpc_guard.ChannelRegistry()
    registry._cleanup.pool._make = lambda wanted: _NoChannel()
    for number in range(keys - 1):
        registry.stub(_Stub, f"host-{number}:50051")
    registry.stub(_Stub, TARGET)
    return registry


def _leases(registry: grpc_guard.ChannelRegistry, operations: int) -> None:
    for _ in range(operations):
        registry.get(TARGET).close()


_known = {TARGET: object()}
_lock = threading.Lock()


def _look_ups(operations: int) -> None:
    for _ in range(operations):
        with _lock:
            _known[TARGET]


def _channels(operations: int) -> None:
    for _ in range(operations):
        grpc.insecure_channel(TARGET).close()
